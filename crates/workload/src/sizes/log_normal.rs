//! Log-normal sizes.

/// Sizes whose logarithms are normally distributed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogNormal {
    median: usize,
    sigma: f64,
}

impl LogNormal {
    /// Half of all sizes are below `median` bytes; `sigma` is the standard deviation of the sizes' natural logarithm.
    pub fn new(median: usize, sigma: f64) -> Self {
        Self { median, sigma }
    }

    /// Half of all sizes are below this many bytes.
    pub fn median(&self) -> usize {
        self.median
    }

    /// Standard deviation of the natural logarithm.
    pub fn sigma(&self) -> f64 {
        self.sigma
    }

    /// The size in bytes below which a share `p` (0-1, both exclusive) of all sizes lies.
    pub fn quantile(&self, p: f64) -> f64 {
        self.median as f64 * (self.sigma * normal_quantile(p)).exp()
    }
}

/// A rational function; coefficients from the highest power down.
struct Ratio {
    above: [f64; 8],
    below: [f64; 8],
}

impl Ratio {
    fn at(&self, x: f64) -> f64 {
        let horner = |coefficients: &[f64; 8]| coefficients.iter().fold(0.0, |sum, c| sum * x + c);
        horner(&self.above) / horner(&self.below)
    }
}

/// Up to 0.425 from p = 0.5, in 0.425² - (p - 0.5)².
const CENTRE: Ratio = Ratio {
    above: [
        2_509.080_928_730_122_7,
        33_430.575_583_588_13,
        67_265.770_927_008_7,
        45_921.953_931_549_87,
        13_731.693_765_509_46,
        1_971.590_950_306_551_3,
        133.141_667_891_784_38,
        3.387_132_872_796_366_5,
    ],
    below: [
        5_226.495_278_852_854,
        28_729.085_735_721_943,
        39_307.895_800_092_71,
        21_213.794_301_586_597,
        5_394.196_021_424_751,
        687.187_007_492_057_9,
        42.313_330_701_600_91,
        1.0,
    ],
};
/// Farther out, in √(-ln p) - 1.6, where the root is at most 5.
const MIDDLE: Ratio = Ratio {
    above: [
        0.000_774_545_014_278_341_4,
        0.022_723_844_989_269_184,
        0.241_780_725_177_450_6,
        1.270_458_252_452_368_4,
        3.647_848_324_763_204_5,
        5.769_497_221_460_691,
        4.630_337_846_156_546,
        1.423_437_110_749_683_5,
    ],
    below: [
        1.0507500716444169e-09,
        0.000_547_593_808_499_534_5,
        0.015_198_666_563_616_457,
        0.148_103_976_427_480_08,
        0.689_767_334_985_1,
        1.676_384_830_183_803_8,
        2.053_191_626_637_759,
        1.0,
    ],
};
/// The very ends, in √(-ln p) - 5.
const END: Ratio = Ratio {
    above: [
        2.0103343992922881e-07,
        2.7115555687434876e-05,
        0.001_242_660_947_388_078_4,
        0.026_532_189_526_576_124,
        0.296_560_571_828_504_87,
        1.784_826_539_917_291_3,
        5.463_784_911_164_114,
        6.657_904_643_501_103,
    ],
    below: [
        2.0442631033899397e-15,
        1.421511758316446e-07,
        1.8463183175100548e-05,
        0.000_786_869_131_145_613_3,
        0.014_875_361_290_850_615,
        0.136_929_880_922_735_8,
        0.599_832_206_555_888,
        1.0,
    ],
};

/// The inverse of Φ for `p` in 0-1, both exclusive: M. J. Wichura, "Algorithm AS 241: The Percentage Points of the
/// Normal Distribution", Applied Statistics 37(3), 1988, pages 477-484; about 16 digits.
fn normal_quantile(p: f64) -> f64 {
    let from_centre = p - 0.5;
    if from_centre.abs() <= 0.425 {
        return from_centre * CENTRE.at(0.180_625 - from_centre * from_centre);
    }
    let root = (-p.min(1.0 - p).ln()).sqrt();
    let distance = if root <= 5.0 { MIDDLE.at(root - 1.6) } else { END.at(root - 5.0) };
    distance.copysign(from_centre)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_quantiles_are_those_of_the_tables() {
        for (p, z) in [
            (0.5, 0.0),
            (0.75, 0.674_489_750_196_081_7),
            (0.9, 1.281_551_565_544_600_8),
            (0.924, 1.432_502_720_825_811_9),
            (0.926, 1.446_632_067_158_978_5),
            (0.975, 1.959_963_984_540_053_6),
            (0.999, 3.090_232_306_167_813),
            (0.999_999_999, 5.997_807_019_601_638),
            (0.25, -0.674_489_750_196_081_7),
            (0.001, -3.090_232_306_167_813),
            (1e-06, -4.753_424_308_822_899),
            (1e-12, -7.034_483_825_301_132),
            (1e-300, -37.047_096_299_361_2),
        ] {
            let got = normal_quantile(p);
            assert!((got - z).abs() <= 1e-13 * z.abs(), "{p}: {got} instead of {z}");
        }
    }

    #[test]
    fn the_median_and_a_sigma_more_are_where_they_belong() {
        let sizes = LogNormal::new(300, 1.2);
        assert_eq!(sizes.quantile(0.5), 300.0);
        let one_sigma = sizes.quantile(0.841_344_746_068_542_9);
        assert!((one_sigma / (300.0 * 1.2f64.exp()) - 1.0).abs() < 1e-12, "{one_sigma}");
    }
}
