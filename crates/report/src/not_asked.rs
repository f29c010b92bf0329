//! Criteria that could not be asked, for people: by their reason, because many share one.

use verdict::{NotAsked, Verdict};

/// Each reason with what could not be asked because of it, in the order of the criteria.
pub(crate) fn by_reason(verdict: &Verdict) -> Vec<(&str, Vec<&NotAsked>)> {
    let mut reasons: Vec<(&str, Vec<&NotAsked>)> = Vec::new();
    for question in &verdict.not_asked {
        match reasons.iter_mut().find(|(reason, _)| *reason == question.reason) {
            Some((_, questions)) => questions.push(question),
            None => reasons.push((&question.reason, vec![question])),
        }
    }
    reasons
}

/// Their names in one line.
pub(crate) fn names(questions: &[&NotAsked]) -> String {
    questions.iter().map(|question| question.id).collect::<Vec<_>>().join(", ")
}
