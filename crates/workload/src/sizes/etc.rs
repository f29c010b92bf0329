//! Value sizes of ETC, the general-purpose pool in B. Atikoglu, Y. Xu, E. Frachtenberg, S. Jiang and M. Paleczny,
//! "Workload Analysis of a Large-Scale Key-Value Store", SIGMETRICS 2012, doi:10.1145/2254756.2254766, section 5:
//! the sizes 0-14 by a table, all longer ones by a Generalized Pareto distribution.

/// How many of 100 000 values have 0, 1, 2, ... 14 bytes: the paper's table, as the mutilate load generator has it.
const HEAD: [u32; 15] = [536, 47, 17_820, 9_239, 18, 2_740, 65, 606, 23, 837, 837, 8_989, 92, 326, 1_980];
/// What [`HEAD`] counts are parts of.
const HEAD_TOTAL: f64 = 100_000.0;
/// σ of the tail.
const SCALE: f64 = 214.476;
/// k of the tail.
const SHAPE: f64 = 0.348_238;

/// The size below which a share `p` (0-1, both exclusive) of all values lies; its whole part is the size in bytes.
///
/// The paper gives the tail the location 0; it is counted from the end of the head here, as in mutilate,
/// so that no size belongs to both.
pub(super) fn quantile(p: f64) -> f64 {
    let mut below = 0;
    for (bytes, count) in HEAD.into_iter().enumerate() {
        below += count;
        if p * HEAD_TOTAL < f64::from(below) {
            return bytes as f64;
        }
    }
    let head = f64::from(below) / HEAD_TOTAL;
    // The share of the tail that is longer.
    let longer = (1.0 - p) / (1.0 - head);
    HEAD.len() as f64 + SCALE / SHAPE * (longer.powf(-SHAPE) - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_is_that_part_of_the_values_which_the_tail_leaves() {
        assert_eq!(HEAD.iter().sum::<u32>(), 44_155);
        assert_eq!(quantile(0.001), 0.0);
        assert_eq!(quantile(0.441_5), 14.0);
        assert!((quantile(0.441_550_001) - 15.0).abs() < 1e-3);
    }

    #[test]
    fn the_tail_has_the_quantiles_of_its_closed_form() {
        // Median of a Generalized Pareto distribution: location + scale * (2^shape - 1) / shape.
        let median = 15.0 + SCALE * (2f64.powf(SHAPE) - 1.0) / SHAPE;
        assert!((quantile(0.441_55 + 0.558_45 / 2.0) / median - 1.0).abs() < 1e-12);
        // And its distribution function undoes every quantile.
        for p in [0.5, 0.9, 0.99, 0.999, 0.999_999] {
            let beyond = quantile(p) - 15.0;
            let back = 1.0 - 0.558_45 * (1.0 + SHAPE * beyond / SCALE).powf(-1.0 / SHAPE);
            assert!((back - p).abs() < 1e-12, "{p}: {back}");
        }
    }
}
