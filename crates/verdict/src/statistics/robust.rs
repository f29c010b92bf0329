//! Middle and spread that a few wild values do not move.

/// Makes a median absolute deviation comparable with a standard deviation of normal noise.
const MAD_TO_SIGMA: f64 = 1.4826;

/// The middle value, or the mean of the two middle ones; `None` of nothing. What is no number is left out.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    sorted.sort_by(f64::total_cmp);
    let (&low, &high) = (sorted.get(sorted.len().checked_sub(1)? / 2)?, sorted.get(sorted.len() / 2)?);
    Some(if low == high { low } else { low / 2.0 + high / 2.0 })
}

/// Spread around the median as a standard deviation, 1.4826 times the median absolute deviation; `None` of nothing.
pub fn mad_sigma(values: &[f64]) -> Option<f64> {
    let middle = median(values)?;
    let deviations: Vec<f64> = values.iter().map(|value| (value - middle).abs()).collect();
    median(&deviations).map(|deviation| MAD_TO_SIGMA * deviation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wild_value_moves_neither_middle_nor_spread() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[f64::NAN, 7.0]), Some(7.0));
        assert_eq!((median(&[]), median(&[f64::NAN]), mad_sigma(&[])), (None, None, None));
        assert_eq!(median(&[f64::MAX, f64::MAX]), Some(f64::MAX));
        let values = [1.0, 2.0, 3.0, 4.0, 1e9];
        assert_eq!(median(&values), Some(3.0));
        assert_eq!(mad_sigma(&values), Some(1.4826));
        assert_eq!(mad_sigma(&[5.0; 4]), Some(0.0));
    }
}
