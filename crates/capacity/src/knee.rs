//! The knee of latency over load, after Satopaa et al., "Finding a 'Kneedle' in a Haystack" (2011): where a normalised curve
//! bends furthest away from its chord.

use crate::isotonic::isotonic;

/// Sensitivity of Kneedle: how far the curve must come back to its chord after the knee.
const SENSITIVITY: f64 = 1.0;
/// Fewer points have no shape.
const POINTS_MIN: usize = 5;

/// A knee.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Knee {
    /// ops/s.
    pub rate: f64,
    /// Latency there, ms, as measured.
    pub latency_ms: f64,
    /// How far the curve lies from its chord there: 0 is a straight line, 1 a right angle.
    pub bend: f64,
}

/// The knee of points of (rate, latency in ms), in any order. `Err`: there is none, and why.
pub fn knee(points: &[(f64, f64)]) -> Result<Knee, String> {
    let mut points: Vec<(f64, f64)> =
        points.iter().copied().filter(|(rate, ms)| rate.is_finite() && *ms > 0.0 && ms.is_finite()).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    if points.len() < POINTS_MIN {
        return Err(format!("{} points, at least {POINTS_MIN} are needed", points.len()));
    }
    let logs: Vec<f64> = points.iter().map(|(_, ms)| ms.ln()).collect();
    let smooth = isotonic(&logs);
    let (x0, x1) = (points[0].0, points[points.len() - 1].0);
    let (y0, y1) = (smooth[0], smooth[smooth.len() - 1]);
    if x1 <= x0 || y1 <= y0 {
        return Err("latency does not rise with load".to_owned());
    }
    let below: Vec<f64> = points
        .iter()
        .zip(&smooth)
        .map(|((rate, _), log)| (rate - x0) / (x1 - x0) - (log - y0) / (y1 - y0))
        .collect();
    let found = below.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    let Some((at, bend)) = found.filter(|(_, bend)| **bend > 0.0) else {
        return Err("the curve does not bend".to_owned());
    };
    let threshold = bend - SENSITIVITY / (points.len() - 1) as f64;
    if below[at..].iter().all(|later| *later >= threshold) {
        return Err("the curve bends, and does not come back to its chord".to_owned());
    }
    Ok(Knee { rate: points[at].0, latency_ms: points[at].1, bend: *bend })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_knee_of_a_queue_is_where_latency_leaves_the_floor() {
        // M/M/1 of 100/s.
        let points: Vec<(f64, f64)> =
            (1..20).map(|i| f64::from(i) * 5.0).map(|rate| (rate, 1000.0 / (100.0 - rate))).collect();
        let found = knee(&points).unwrap();
        assert!((70.0..=90.0).contains(&found.rate), "{found:?}");
        assert!((0.2..0.6).contains(&found.bend), "{found:?}");
        let mut shuffled = points.clone();
        shuffled.reverse();
        assert_eq!(knee(&shuffled), Ok(found));
        // One noisy point does not move it far.
        let mut noisy = points;
        noisy[3].1 *= 3.0;
        assert!((knee(&noisy).unwrap().rate - found.rate).abs() <= 10.0);
    }

    #[test]
    fn a_straight_line_and_too_few_points_have_no_knee() {
        let line: Vec<(f64, f64)> = (0..10).map(f64::from).map(|x| (x, x.exp())).collect();
        assert!(knee(&line).is_err());
        assert!(knee(&[(1.0, 5.0); 10]).unwrap_err().contains("does not rise"));
        assert!(knee(&line[..3]).unwrap_err().contains("at least 5"));
    }
}
