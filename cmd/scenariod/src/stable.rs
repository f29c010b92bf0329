//! `--until-stable`: the judge's rules, asked by the runner.

use observation::journal::Entry;
use scenario::{Stability, UntilStable};
use verdict::steady::Steady;

struct Judge(Steady);

impl Stability for Judge {
    fn entry(&mut self, entry: &Entry) {
        self.0.entry(entry);
    }

    fn stable(&mut self) -> Option<String> {
        self.0.stable()
    }
}

/// A new judge for each run.
pub fn until_stable() -> UntilStable {
    UntilStable::new(|| Box::new(Judge(Steady::default())))
}
