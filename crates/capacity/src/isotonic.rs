//! The closest never-falling sequence, by least squares: pool adjacent violators.

/// Smooths `values` so that none is below the one before it.
pub(crate) fn isotonic(values: &[f64]) -> Vec<f64> {
    // Blocks of equal values: their mean and how many there are.
    let mut blocks: Vec<(f64, usize)> = Vec::new();
    for value in values {
        let mut block = (*value, 1);
        while let Some(last) = blocks.pop_if(|last| last.0 >= block.0) {
            let n = last.1 + block.1;
            block = ((last.0 * last.1 as f64 + block.0 * block.1 as f64) / n as f64, n);
        }
        blocks.push(block);
    }
    blocks.into_iter().flat_map(|(value, n)| std::iter::repeat_n(value, n)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_falls_is_pooled_and_what_rises_stays() {
        assert_eq!(isotonic(&[1.0, 3.0, 2.0, 4.0]), [1.0, 2.5, 2.5, 4.0]);
        assert_eq!(isotonic(&[5.0, 4.0, 3.0]), [4.0, 4.0, 4.0]);
        assert_eq!(isotonic(&[1.0, 2.0]), [1.0, 2.0]);
        assert!(isotonic(&[]).is_empty());
    }
}
