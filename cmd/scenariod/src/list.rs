//! `scenariod --list`: the catalogue.

use scenario::catalogue;
use telemetry::output::print;

use crate::failure::{Failure, usage};

/// Prints the scenarios, grouped, and the experiments.
pub fn main() -> Result<u8, Failure> {
    let mut suite = String::new();
    for scenario in catalogue::all().map_err(usage)? {
        if scenario.suite != suite {
            suite.clone_from(&scenario.suite);
            print(&format!("{suite}\n"));
        }
        let (testing, total) = (scenario.phases.testing, scenario.phases.total());
        print(&format!(
            "  {:<38}{:<42} fault {:>6}, whole {}\n",
            scenario.name,
            scenario.description,
            humantime::format_duration(testing).to_string(),
            humantime::format_duration(total)
        ));
    }
    print("metastable\n");
    for plan in ::metastable::all().map_err(usage)? {
        print(&format!("  {:<38}{}, {} cells\n", plan.name, plan.description, plan.cells.len()));
    }
    Ok(0)
}
