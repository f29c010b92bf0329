//! Why two algorithms that looked at the same target say different things.

use crate::gradual::{GradualParams, GradualReport};
use crate::search::{SearchParams, SearchReport, Statistic};

/// Rates within this factor of each other agree: it is the precision of the search, and some noise.
const AGREE: f64 = 1.1;

/// One sentence for each reason; the first says how far they are apart. Empty: one of them found nothing to compare.
pub fn disagreement(
    (gradual, by): (&GradualReport, &GradualParams),
    (search, promise): (&SearchReport, &SearchParams),
) -> Vec<String> {
    let (Some(critical), Some(rate)) = (&gradual.critical, search.rate) else {
        return one_sided(gradual, search);
    };
    let found = gradual.safe.unwrap_or(critical.rate);
    let factor = (found / rate).max(rate / found);
    if factor <= AGREE {
        return vec![format!("Both agree: {found:.0}/s by steps, {rate:.0}/s by the search.")];
    }
    let mut told = vec![format!(
        "They disagree by a factor of {factor:.2}: the steps kept their limits up to {found:.0}/s, the promise is kept up to {rate:.0}/s."
    )];
    let measured = &critical.measured;
    let p99 = match promise.statistic {
        Statistic::Latency => "the p99",
        Statistic::Wait => "the p99 of the wait",
    };
    if found > rate {
        told.push(format!(
            "The steps judge the mean latency (limit {} ms), the search {p99} (limit {} ms): at the critical step the mean was {:.1} ms and the p99 {:.1} ms.",
            by.latency_ms, promise.p99_ms, measured.avg_ms, measured.p99_ms
        ));
        if by.errors > promise.errors {
            told.push(format!(
                "The steps let {} % of ops fail, the search {} %.",
                100.0 * by.errors,
                100.0 * promise.errors
            ));
        }
    } else {
        told.push(format!(
            "One step decided: {}. The search repeats what is close to its limit and needs two failures in a row.",
            critical.because
        ));
        told.push(format!(
            "The peak that a drop is measured from is the highest of noisy steps, the warm-up among them; a step is {:.0} s.",
            by.step_lasts.as_secs_f64()
        ));
    }
    let resolution = by.step / critical.rate;
    if resolution > promise.precision - 1.0 {
        told.push(format!(
            "A step of {:.0}/s is {:.0} % of the critical rate: nothing finer can be seen by steps.",
            by.step,
            100.0 * resolution
        ));
    }
    if measured.missed_share() > 0.001 {
        told.push(format!(
            "At the critical step {:.1} % of the starts were late or dropped, which the steps do not look at.",
            100.0 * measured.missed_share()
        ));
    }
    told
}

fn one_sided(gradual: &GradualReport, search: &SearchReport) -> Vec<String> {
    match (&gradual.critical, search.rate) {
        (None, Some(rate)) if gradual.at_max && !search.at_max => vec![format!(
            "They disagree: the steps reached their highest rate with every limit kept, the promise is kept up to {rate:.0}/s only."
        )],
        (Some(critical), None) => vec![format!(
            "They disagree: the steps broke a limit at {:.0}/s, the search found no rate that keeps the promise.",
            critical.rate
        )],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradual::Critical;
    use crate::step::Measured;

    fn found(safe: f64, rate: f64) -> Vec<String> {
        let measured = Measured { avg_ms: 80.0, p99_ms: 240.0, ..Measured::default() };
        let critical = Critical { rate: safe + 100.0, because: "it was slow".to_owned(), measured };
        let gradual =
            GradualReport { critical: Some(critical), safe: Some(safe), ..GradualReport::default() };
        let search = SearchReport { rate: Some(rate), ..SearchReport::default() };
        disagreement((&gradual, &GradualParams::default()), (&search, &SearchParams::default()))
    }

    #[test]
    fn the_reason_depends_on_who_found_more() {
        assert!(found(250.0, 245.0)[0].starts_with("Both agree"));
        let more = found(250.0, 200.0).join("\n");
        assert!(
            more.contains("factor of 1.25") && more.contains("the mean was 80.0 ms and the p99 240.0 ms"),
            "{more}"
        );
        assert!(more.contains("29 % of the critical rate"), "{more}");
        let less = found(250.0, 400.0).join("\n");
        assert!(less.contains("One step decided: it was slow"), "{less}");
    }

    #[test]
    fn who_found_nothing_disagrees_too() {
        let all = GradualReport { at_max: true, ..GradualReport::default() };
        let some = SearchReport { rate: Some(5.0), ..SearchReport::default() };
        let told = disagreement((&all, &GradualParams::default()), (&some, &SearchParams::default()));
        assert!(told[0].contains("up to 5/s only"), "{told:?}");
        let none = SearchReport::default();
        assert!(
            disagreement((&all, &GradualParams::default()), (&none, &SearchParams::default())).is_empty()
        );
    }
}
