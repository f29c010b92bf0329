//! What is said before the end: never more than the verdict will be able to say.

use super::*;
use crate::so_far::{Preview, Standing, so_far};

/// The journal as it was after so many seconds.
fn until(scene: &Scene, seconds: u64) -> Journal {
    let mut journal = scene.journal();
    journal.entries.retain(|entry| entry.at_us <= seconds * 1_000_000);
    journal
}

fn standing(criteria: &[Preview], id: &str) -> Option<Standing> {
    criteria.iter().find(|criterion| criterion.id == id).map(|criterion| criterion.standing)
}

#[test]
fn a_criterion_is_asked_when_its_time_has_come() {
    let scene = hung();
    let before = so_far(&until(&scene, STABLE_S - 1));
    assert_eq!(before.phase, Some(PhaseKind::Stabilization));
    assert!(!before.asked && standing(&before.criteria, "fault-bit").is_none(), "{before:?}");
    assert_eq!(standing(&before.criteria, "baseline"), Some(Standing::Holds));
    let under = so_far(&until(&scene, STABLE_S + FAULT_S - 1));
    assert_eq!((under.phase, under.asked), (Some(PhaseKind::Testing), true), "{under:?}");
    assert_eq!(standing(&under.criteria, "trips-as-expected"), Some(Standing::Holds));
    for later in ["recovery", "stays-recovered", "goodput-after", "completed", "clean"] {
        assert_eq!(standing(&under.criteria, later), None, "{later}");
    }
    let after = so_far(&until(&scene, STABLE_S + FAULT_S + RECOVERY_S - 2));
    assert_eq!(standing(&after.criteria, "recovery"), Some(Standing::Holds), "{after:?}");
}

#[test]
fn what_is_not_met_may_still_be_and_only_wrong_data_is_for_good() {
    let stays_open = Scene { closes_after_ms: Some(8_000), failing_after_ms: 8_000, ..hung() };
    let early = so_far(&until(&stays_open, STABLE_S + FAULT_S + 3));
    assert!(
        matches!(standing(&early.criteria, "recovery"), Some(Standing::Open | Standing::NotYet)),
        "{early:?}"
    );
    let wrong = so_far(&Scene { wrong_values: 1, ..hung() }.journal());
    assert_eq!(standing(&wrong.criteria, "no-wrong-values"), Some(Standing::Broken));
}

#[test]
fn the_client_is_not_blamed_while_the_run_cannot_speak() {
    let noisy = Scene { baseline_failing: 0.2, ..hung() };
    let so_far = so_far(&until(&noisy, STABLE_S + FAULT_S - 1));
    assert!(!so_far.asked && standing(&so_far.criteria, "trips-as-expected").is_none(), "{so_far:?}");
}

#[test]
fn with_the_last_line_it_says_what_the_judge_says() {
    for scene in
        [hung(), slow(), Scene { trips_after_ms: None, ..hung() }, Scene { trip_elsewhere: true, ..hung() }]
    {
        let (journal, verdict) = (scene.journal(), scene.judge());
        let said = so_far(&journal);
        for criterion in &said.criteria {
            let judged = verdict
                .criteria
                .iter()
                .find(|judged| judged.id == criterion.id && judged.measured == criterion.measured);
            let judged = judged.unwrap_or_else(|| panic!("{}: {}", criterion.id, criterion.measured));
            assert_eq!(
                criterion.standing == Standing::Holds,
                judged.result == Ruling::Pass,
                "{}",
                criterion.id
            );
        }
    }
}

#[test]
fn nothing_is_said_of_nothing() {
    let nothing = so_far(&Journal { entries: Vec::new(), truncated: false });
    assert_eq!((nothing.phase, nothing.asked), (None, false));
}
