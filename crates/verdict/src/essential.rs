//! What a verdict must rest on. Where it is missing the run is INCONCLUSIVE, however well everything else went.

use crate::Ruling;
use crate::question::{Answers, Finding, Question};

/// Of each group at least one must have been asked: they are views of the same thing. That a fault was there must have been asked of
/// every fault.
const ESSENTIAL: [(&str, &[&str]); 3] = [
    ("whether the fault was there", &[FAULT_BIT]),
    ("what the client did under the fault", UNDER_FAULT),
    ("whether the client came back", &["recovery"]),
];

const UNDER_FAULT: &[&str] = &["trips-as-expected", "goodput-retained", "error-share", "op-deadline"];

/// Not essential to a control run, which has no fault.
const FAULT_BIT: &str = "fault-bit";

const QUESTION: Question = Question { id: "essential", title: "What a verdict must rest on was asked" };

/// Was it asked of every fault whether it was there? Of a control run it need not be.
pub(crate) fn asked_for_the_fault(answers: &Answers, is_control: bool) -> bool {
    let left_out = answers.not_asked.iter().any(|not_asked| not_asked.id == FAULT_BIT);
    is_control || (answers.was_asked(FAULT_BIT) && !left_out)
}

/// Adds a criterion that says what is missing first, if anything is.
///
/// `seen`: ops ended under the fault, or there was none. Without them what was asked of the client then is of other moments.
pub(crate) fn demand(answers: &mut Answers, is_control: bool, seen: bool) {
    let is_asked = |ids: &[&str]| match ids {
        [FAULT_BIT] => asked_for_the_fault(answers, is_control),
        ids if ids == UNDER_FAULT && !seen => false,
        ids => ids.iter().any(|id| answers.was_asked(id)),
    };
    let Some((what, ids)) = ESSENTIAL.into_iter().find(|(_, ids)| !is_asked(ids)) else { return };
    let why = answers.not_asked.iter().filter(|not_asked| ids.contains(&not_asked.id));
    let mut why: Vec<String> =
        why.map(|not_asked| format!("{}: {}", not_asked.id, not_asked.reason)).collect();
    if ids == UNDER_FAULT && !seen {
        why.push("no op ended under the fault".to_owned());
    }
    answers.add(QUESTION.asked(Finding {
        result: Ruling::Inconclusive,
        expected: format!("{what}: at least one of {}", ids.join(", ")),
        because: "without it all the rest proves nothing".to_owned(),
        measured: format!("not asked ({})", why.join("; ")),
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_essential_question_is_asked_somewhere() {
        let asked: Vec<&str> = crate::criteria::none_asked().map(|question| question.id).collect();
        for id in ESSENTIAL.iter().flat_map(|(_, ids)| *ids).filter(|id| **id != FAULT_BIT) {
            assert!(asked.contains(id), "{id}");
        }
        assert_eq!(crate::witness::FAULT_BIT.id, FAULT_BIT);
    }
}
