//! Several runs of one scenario: one verdict, and whether the runs agree.

use crate::Ruling;

/// How the runs of a scenario agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// All alike.
    Deterministic,
    /// Some said nothing, or a few differ from the others.
    Noisy,
    /// It passes and it fails, each of them often: the client itself has two ways.
    Bistable,
}

impl Class {
    /// For records and people.
    pub fn name(self) -> &'static str {
        match self {
            Class::Deterministic => "deterministic",
            Class::Noisy => "noisy",
            Class::Bistable => "bistable",
        }
    }
}

/// So many of a kind are a way of the client's, however many runs there are.
const OFTEN: usize = 2;
/// Or this share of the runs that passed or failed.
const OFTEN_SHARE: f64 = 0.2;

/// One verdict of several runs: wrong data in any of them is decisive, else what more than half of them say, else
/// [`Ruling::Inconclusive`].
pub fn majority(results: &[Ruling]) -> Ruling {
    if results.contains(&Ruling::WrongData) {
        return Ruling::WrongData;
    }
    let leads = |result: &&Ruling| results.iter().filter(|other| other == result).count() * 2 > results.len();
    results.iter().find(leads).copied().unwrap_or(Ruling::Inconclusive)
}

/// How they agree, runs that were repeated because they said nothing among them; `None` of fewer than two.
pub fn class(results: &[Ruling]) -> Option<Class> {
    let (first, others) = results.split_first()?;
    if others.is_empty() {
        return None;
    }
    if others.iter().all(|result| result == first) {
        return Some(Class::Deterministic);
    }
    let passes = results.iter().filter(|result| **result == Ruling::Pass).count();
    let fails = results.iter().filter(|result| matches!(result, Ruling::Fail | Ruling::WrongData)).count();
    let fewer = passes.min(fails);
    let often = fewer >= OFTEN || fewer > 0 && fewer as f64 >= OFTEN_SHARE * (passes + fails) as f64;
    Some(if often { Class::Bistable } else { Class::Noisy })
}

#[cfg(test)]
mod tests {
    use super::{Class, class, majority};
    use crate::Ruling::{Fail, Inconclusive, Invalid, Pass, WrongData};

    #[test]
    fn more_than_half_is_a_majority_and_wrong_data_needs_none() {
        assert_eq!(majority(&[Pass]), Pass);
        assert_eq!(majority(&[Pass, Fail, Pass]), Pass);
        assert_eq!(majority(&[Fail, Inconclusive, Fail]), Fail);
        assert_eq!(majority(&[Invalid, Invalid, Pass]), Invalid);
        assert_eq!(majority(&[Pass, Fail]), Inconclusive);
        assert_eq!(majority(&[Pass, Inconclusive, Fail]), Inconclusive);
        assert_eq!(majority(&[Pass, Pass, Fail, Inconclusive]), Inconclusive);
        assert_eq!(majority(&[]), Inconclusive);
        let mut many = vec![Pass; 99];
        many.push(WrongData);
        assert_eq!(majority(&many), WrongData);
    }

    #[test]
    fn runs_that_are_alike_are_deterministic_whatever_they_say() {
        for result in [Pass, Fail, Inconclusive, Invalid, WrongData] {
            assert_eq!(class(&[result; 3]), Some(Class::Deterministic));
        }
        assert_eq!((class(&[Pass]), class(&[])), (None, None));
    }

    #[test]
    fn a_client_that_often_passes_and_often_fails_has_two_ways() {
        let of = |passes: usize, fails: usize, silent: usize| {
            let runs = [vec![Pass; passes], vec![Fail; fails], vec![Inconclusive; silent]].concat();
            class(&runs).unwrap()
        };
        assert_eq!(of(1, 1, 0), Class::Bistable);
        assert_eq!(of(4, 1, 0), Class::Bistable);
        assert_eq!(of(5, 1, 0), Class::Noisy);
        assert_eq!(of(98, 2, 0), Class::Bistable);
        assert_eq!(of(99, 1, 0), Class::Noisy);
        assert_eq!(of(3, 0, 1), Class::Noisy);
        assert_eq!(of(0, 3, 1), Class::Noisy);
        assert_eq!(of(2, 2, 9), Class::Bistable);
        assert_eq!(class(&[Pass, Pass, WrongData]), Some(Class::Bistable));
        assert_eq!(class(&[Inconclusive, Invalid]), Some(Class::Noisy));
    }
}
