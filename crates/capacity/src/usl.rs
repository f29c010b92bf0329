//! Gunther's Universal Scalability Law, X(N) = gN / (1 + a(N-1) + bN(N-1)), fitted to throughput over concurrency. What does
//! not fit is refused: a law that does not describe the system predicts nothing.

/// Fewer points fit anything.
const POINTS_MIN: usize = 6;
/// A fit that explains less than this of the variance is refused.
const R2_MIN: f64 = 0.95;
/// Rounds of the refinement; it settles in a few.
const ROUNDS: usize = 100;

/// A fitted law.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usl {
    /// Throughput of one at a time, ops/s.
    pub g: f64,
    /// Contention: the share that is done one after the other.
    pub a: f64,
    /// Coherence: what each costs each other; above 0 throughput falls in the end.
    pub b: f64,
    /// Share of the variance that it explains.
    pub r2: f64,
}

impl Usl {
    /// Throughput at a concurrency, ops/s.
    pub fn at(&self, n: f64) -> f64 {
        law([self.g, self.a, self.b], n)
    }

    /// The concurrency with the highest throughput; `None`: it never falls.
    pub fn best(&self) -> Option<f64> {
        (self.b > 0.0 && self.a < 1.0).then(|| ((1.0 - self.a) / self.b).sqrt())
    }

    /// The highest throughput, ops/s: at the best concurrency or, if it never falls, the limit that it nears; `None`: no limit.
    pub fn peak(&self) -> Option<f64> {
        match self.best() {
            Some(n) => Some(self.at(n)),
            None => (self.a > 0.0).then(|| self.g / self.a),
        }
    }
}

fn law([g, a, b]: [f64; 3], n: f64) -> f64 {
    g * n / (1.0 + a * (n - 1.0) + b * n * (n - 1.0))
}

/// Fits points of (concurrency, throughput in ops/s). `Err`: why there is no fit to be believed.
pub fn fit(points: &[(f64, f64)]) -> Result<Usl, String> {
    let points: Vec<(f64, f64)> = points
        .iter()
        .copied()
        .filter(|(n, x)| n.is_finite() && x.is_finite() && *n > 0.0 && *x > 0.0)
        .collect();
    if points.len() < POINTS_MIN {
        return Err(format!("{} points, at least {POINTS_MIN} are needed", points.len()));
    }
    let start = linear(&points).ok_or("the points do not determine it")?;
    let [g, a, b] = refine(start, &points);
    let mean = points.iter().map(|(_, x)| x).sum::<f64>() / points.len() as f64;
    let total: f64 = points.iter().map(|(_, x)| (x - mean).powi(2)).sum();
    let r2 = if total > 0.0 { 1.0 - misfit([g, a, b], &points) / total } else { 0.0 };
    if !r2.is_finite() || r2 < R2_MIN {
        return Err(format!("R² is {r2:.3}, less than {R2_MIN}: the law does not describe these points"));
    }
    if b < 0.0 {
        return Err(format!("b is {b:.2e}, below 0: throughput would grow faster than concurrency"));
    }
    Ok(Usl { g, a, b, r2 })
}

fn misfit(law_of: [f64; 3], points: &[(f64, f64)]) -> f64 {
    let sum: f64 = points.iter().map(|(n, x)| (x - law(law_of, *n)).powi(2)).sum();
    if sum.is_finite() { sum } else { f64::INFINITY }
}

/// N/X is linear in 1, N-1 and N(N-1): a first guess.
fn linear(points: &[(f64, f64)]) -> Option<[f64; 3]> {
    let (mut matrix, mut right) = ([[0.0; 3]; 3], [0.0; 3]);
    for (n, x) in points {
        let row = [1.0, n - 1.0, n * (n - 1.0)];
        // Errors of X weigh alike, not those of N/X.
        let weight = (x * x / n).powi(2);
        accumulate(&mut matrix, &mut right, row, n / x, weight);
    }
    let [one, a, b] = solve(matrix, right)?;
    (one > 0.0).then(|| [1.0 / one, a / one, b / one])
}

/// Levenberg-Marquardt on X itself.
fn refine(start: [f64; 3], points: &[(f64, f64)]) -> [f64; 3] {
    let (mut best, mut cost, mut damping) = (start, misfit(start, points), 1e-3);
    for _ in 0..ROUNDS {
        let (mut matrix, mut right) = ([[0.0; 3]; 3], [0.0; 3]);
        let [g, a, b] = best;
        for (n, x) in points {
            let below = 1.0 + a * (n - 1.0) + b * n * (n - 1.0);
            let slope = -g * n / (below * below);
            let row = [n / below, slope * (n - 1.0), slope * n * (n - 1.0)];
            accumulate(&mut matrix, &mut right, row, x - law(best, *n), 1.0);
        }
        for (i, row) in matrix.iter_mut().enumerate() {
            row[i] *= 1.0 + damping;
        }
        let Some(by) = solve(matrix, right) else { break };
        let next = [best[0] + by[0], best[1] + by[1], best[2] + by[2]];
        let next_cost = misfit(next, points);
        if next_cost < cost {
            let settled = cost - next_cost <= 1e-12 * cost;
            (best, cost, damping) = (next, next_cost, damping / 10.0);
            if settled {
                break;
            }
        } else {
            damping *= 10.0;
        }
    }
    best
}

fn accumulate(matrix: &mut [[f64; 3]; 3], right: &mut [f64; 3], row: [f64; 3], value: f64, weight: f64) {
    for i in 0..3 {
        for j in 0..3 {
            matrix[i][j] += weight * row[i] * row[j];
        }
        right[i] += weight * row[i] * value;
    }
}

/// Gauss with pivots; `None`: singular.
fn solve(mut matrix: [[f64; 3]; 3], mut right: [f64; 3]) -> Option<[f64; 3]> {
    for column in 0..3 {
        let pivot =
            (column..3).max_by(|a, b| matrix[*a][column].abs().total_cmp(&matrix[*b][column].abs()))?;
        matrix.swap(column, pivot);
        right.swap(column, pivot);
        if matrix[column][column].abs() < 1e-300 {
            return None;
        }
        for row in column + 1..3 {
            let factor = matrix[row][column] / matrix[column][column];
            let above = matrix[column];
            for (cell, above) in matrix[row].iter_mut().zip(above).skip(column) {
                *cell -= factor * above;
            }
            right[row] -= factor * right[column];
        }
    }
    for row in (0..3).rev() {
        let known: f64 = (row + 1..3).map(|column| matrix[row][column] * right[column]).sum();
        right[row] = (right[row] - known) / matrix[row][row];
    }
    right.iter().all(|value| value.is_finite()).then_some(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(law_of: [f64; 3], noise: f64) -> Vec<(f64, f64)> {
        (1..=12)
            .map(|i| {
                let n = f64::from(i * i) / 4.0;
                (n, law(law_of, n) * (1.0 + noise * (f64::from(i) * 2.4).sin()))
            })
            .collect()
    }

    #[test]
    fn a_law_is_found_again_through_noise_too() {
        let exact = fit(&points([1000.0, 0.05, 0.002], 0.0)).unwrap();
        assert!((exact.g - 1000.0).abs() < 0.01 && (exact.a - 0.05).abs() < 1e-6, "{exact:?}");
        assert!((exact.b - 0.002).abs() < 1e-7 && exact.r2 > 0.999_999, "{exact:?}");
        assert!((exact.best().unwrap() - (0.95f64 / 0.002).sqrt()).abs() < 0.01);
        let noisy = fit(&points([1000.0, 0.05, 0.002], 0.03)).unwrap();
        assert!((noisy.peak().unwrap() / exact.peak().unwrap() - 1.0).abs() < 0.05, "{noisy:?}");
    }

    #[test]
    fn a_law_without_coherence_nears_its_limit_and_never_falls() {
        let usl = Usl { g: 50.0, a: 0.2, b: 0.0, r2: 1.0 };
        assert_eq!((usl.best(), usl.peak()), (None, Some(250.0)));
    }

    #[test]
    fn what_the_law_does_not_describe_is_refused() {
        assert!(fit(&points([1000.0, 0.05, 0.002], 0.0)[..5]).unwrap_err().contains("at least 6"));
        assert!(fit(&points([1000.0, 0.05, 0.002], 0.9)).unwrap_err().contains("R²"));
        let refused = fit(&points([100.0, 0.1, -0.0005], 0.0)).unwrap_err();
        assert!(refused.contains("below 0"), "{refused}");
        assert!(fit(&[(1.0, 100.0); 8]).is_err());
    }
}
