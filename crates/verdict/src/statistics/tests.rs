//! What the rules do on noise that is known: their operating characteristics.

use super::baseline::assess;
use super::dice::Dice;
use super::*;

const TRIALS: usize = 2_000;
/// Seconds after the fault in which a recovery may be found.
const WINDOW: usize = 60;

/// Normal noise in which each second resembles the one before (AR(1), 0.4).
struct Noise {
    dice: Dice,
    last: f64,
}

impl Noise {
    const RESEMBLANCE: f64 = 0.4;

    fn new(seed: u64) -> Self {
        let mut noise = Self { dice: Dice::new(seed), last: 0.0 };
        noise.last = noise.normal();
        noise
    }

    /// Irwin-Hall would cut the tails that this is about: Box-Muller.
    fn normal(&mut self) -> f64 {
        let mut uniform = || (self.dice.next() >> 11) as f64 / (1u64 << 53) as f64;
        let (u, v) = (1.0 - uniform(), uniform());
        (-2.0 * u.ln()).sqrt() * (2.0 * std::f64::consts::PI * v).cos()
    }

    /// Of variance 1.
    fn next(&mut self) -> f64 {
        let fresh = (1.0 - Self::RESEMBLANCE * Self::RESEMBLANCE).sqrt() * self.normal();
        self.last = Self::RESEMBLANCE * self.last + fresh;
        self.last
    }

    fn goodputs(&mut self, level: f64, noise: f64, n: usize) -> Vec<f64> {
        (0..n).map(|_| 1000.0 * (level + noise * self.next()).max(0.0)).collect()
    }
}

fn seconds(goodputs: &[f64]) -> Vec<Second> {
    let second = |goodput: &f64| Second {
        goodput: *goodput,
        offered: 1000.0,
        error_share: 0.0,
        p99_ms: None,
        late_share: 0.0,
        dropped_share: 0.0,
    };
    goodputs.iter().map(second).collect()
}

fn true_baseline(noise: f64) -> Baseline {
    Baseline { seconds: 30, median: 1000.0, sigma: 1000.0 * noise, error_share: 0.0, p99_ms: None }
}

/// Share of trials in which `found` holds for a baseline (30 s, `noise`) and a plateau at `level` with noise in proportion.
fn share(level: f64, noise: f64, found: impl Fn(&[f64], &[Second]) -> Option<bool>) -> f64 {
    let mut asked = 0;
    let mut yes = 0;
    for seed in 0..TRIALS {
        let mut source = Noise::new(seed as u64);
        let before = source.goodputs(1.0, noise, 30);
        let after = seconds(&source.goodputs(level, noise * level, WINDOW));
        if let Some(found) = found(&before, &after) {
            asked += 1;
            yes += usize::from(found);
        }
    }
    yes as f64 / asked as f64
}

/// Is a share of ours compatible with one that was published from as many trials?
fn assert_near(what: &str, ours: f64, published: f64) {
    let error = (2.0 * published * (1.0 - published) / TRIALS as f64).sqrt();
    let most = 3.0 * error + 1.0 / TRIALS as f64;
    println!("{what}: {:.2} %, published {:.2} %", ours * 100.0, published * 100.0);
    assert!((ours - published).abs() <= most, "{what}: {ours}, published {published}, ± {most}");
}

#[test]
fn with_a_known_baseline_recovery_is_mistaken_as_rarely_as_published() {
    for (noise, level, horizon, published) in [
        (0.05, 1.0, 10, 1.0),
        (0.05, 0.85, 10, 0.0),
        (0.10, 0.80, 10, 0.0015),
        (0.10, 0.85, 10, 0.10),
        (0.15, 0.80, 10, 0.065),
    ] {
        let ours = share(level, noise, |_, after| {
            Some(recovery::find(after, &true_baseline(noise), horizon).is_some())
        });
        assert_near(&format!("noise {noise}, plateau at {level}"), ours, published);
    }
    let longer =
        share(0.80, 0.15, |_, after| Some(recovery::find(after, &true_baseline(0.15), 20).is_some()));
    println!("noise 0.15, plateau at 0.8, 20 s: {:.2} %", longer * 100.0);
    assert!(longer <= 0.005, "twenty seconds help: {longer}");
}

/// The published figures but the missed ones are those of a baseline that is known. One that is estimated from 30 s, as
/// ours is, errs itself: at a noise of 10 % an 80 % plateau passes for recovered in 0.4 % instead of 0.15 %, an 85 % plateau in
/// 13 % instead of 10 %, and 0.25 % of the recoveries are missed (published: 0.35 %).
#[test]
fn with_an_estimated_baseline_recovery_is_mistaken_somewhat_more_often() {
    for (noise, level, least, most) in [
        (0.05, 1.0, 0.999, 1.0),
        (0.05, 0.85, 0.0, 0.001),
        (0.10, 1.0, 0.99, 0.999_5),
        (0.10, 0.80, 0.0, 0.015),
        (0.10, 0.85, 0.08, 0.18),
    ] {
        let ours = share(level, noise, |before, after| {
            let baseline = assess(&seconds(before)).ok()?;
            let horizon = recovery::horizon(&baseline, after.len())?;
            Some(recovery::find(after, &baseline, horizon.seconds).is_some())
        });
        println!("noise {noise}, plateau at {level}: {:.2} %", ours * 100.0);
        assert!((least..=most).contains(&ours), "noise {noise}, plateau at {level}: {ours}");
    }
}

/// What the rule is better than: four of five seconds within three sigma. Published: 23 % and 95 %.
#[test]
fn a_plain_band_mistakes_a_plateau_for_recovery_in_most_runs() {
    let plain = |noise: f64| {
        share(0.80, noise, |before, after| {
            let (median, sigma) = (median(before)?, mad_sigma(before)?);
            let within = |second: &Second| (second.goodput - median).abs() <= 3.0 * sigma;
            Some(after.windows(5).any(|five| five.iter().filter(|second| within(second)).count() >= 4))
        })
    };
    let (quiet, noisy) = (plain(0.05), plain(0.10));
    println!("plain band: {:.1} % at noise 5 %, {:.1} % at 10 %", quiet * 100.0, noisy * 100.0);
    assert!((0.20..0.33).contains(&quiet) && noisy >= 0.95, "{quiet} {noisy}");
}

/// How often a baseline of this noise is accepted at all: the rule on halves refuses two of five at 10 %.
#[test]
fn a_noisy_baseline_is_refused_rather_than_used() {
    let accepted = |noise| share(1.0, noise, |before, _| Some(assess(&seconds(before)).is_ok()));
    let [calm, quiet, noisy, wild] = [0.01, 0.05, 0.10, 0.25].map(accepted);
    println!("accepted at noise 1 %: {calm:.3}, 5 %: {quiet:.3}, 10 %: {noisy:.3}, 25 %: {wild:.3}");
    assert!(calm >= 0.999 && quiet >= 0.85 && (0.4..0.8).contains(&noisy) && wild <= 0.05);
}

/// Nominal 95 % covers less in short series of seconds that resemble their neighbours; 99 % makes up for it in a full run, and
/// not in the 10 s of a quick one.
#[test]
fn an_interval_of_99_percent_covers_what_one_of_95_should() {
    let coverage = |above: usize, below: usize, confidence: f64| {
        let covers = |seed: usize| {
            let mut source = Noise::new(seed as u64);
            let (a, b) = (source.goodputs(0.66, 0.03, above), source.goodputs(1.0, 0.05, below));
            bootstrap::ratio_at(&a, &b, confidence, seed as u64)
                .is_ok_and(|ratio| ratio.interval.contains(0.66))
        };
        (0..TRIALS).filter(|seed| covers(*seed)).count() as f64 / TRIALS as f64
    };
    for (above, below, at_95, at_99) in
        [(60, 60, 0.89, 0.96), (59, 30, 0.88, 0.95), (30, 30, 0.88, 0.94), (14, 10, 0.79, 0.87)]
    {
        let got = (coverage(above, below, 0.95), coverage(above, below, 0.99));
        println!("{above} s over {below} s: 95 % covers {:.1} %, 99 % {:.1} %", got.0 * 100.0, got.1 * 100.0);
        // Published without lengths: 95 % covers 88 %.
        assert!(got.0 >= at_95 - 0.02 && got.0 <= 0.95, "{above}/{below}: {got:?}");
        assert!(got.1 >= at_99 - 0.02 && got.1 > got.0, "{above}/{below}: {got:?}");
    }
}
