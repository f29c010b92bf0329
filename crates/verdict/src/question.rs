//! Questions to a run. Each is answered, by a criterion or one for each server, or says why it could not be asked: there is no
//! third way, so that nothing is taken for passed that was never looked at.

use crate::{Criterion, NotAsked, Ruling};

/// What a criterion asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question {
    /// Stable name.
    pub(crate) id: &'static str,
    /// In words.
    pub(crate) title: &'static str,
}

/// What was found about the whole run, or about one server.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    pub(crate) result: Ruling,
    pub(crate) expected: String,
    pub(crate) because: String,
    pub(crate) measured: String,
}

/// The answer to one question; only [`Question`] makes one.
#[derive(Debug)]
pub(crate) struct Answer(Inner);

#[derive(Debug)]
enum Inner {
    /// Never empty.
    Asked(Vec<Criterion>),
    NotAsked(NotAsked),
}

impl Question {
    pub(crate) fn asked(&self, finding: Finding) -> Answer {
        Answer(Inner::Asked(vec![self.criterion(finding)]))
    }

    /// One criterion for each finding; `none` says why there may be no finding.
    pub(crate) fn each(&self, findings: impl IntoIterator<Item = Finding>, none: &str) -> Answer {
        let criteria: Vec<Criterion> = findings.into_iter().map(|finding| self.criterion(finding)).collect();
        if criteria.is_empty() { self.not_asked(none) } else { Answer(Inner::Asked(criteria)) }
    }

    pub(crate) fn not_asked(&self, reason: impl Into<String>) -> Answer {
        Answer(Inner::NotAsked(NotAsked { id: self.id, title: self.title, reason: reason.into() }))
    }

    fn criterion(&self, Finding { result, expected, because, measured }: Finding) -> Criterion {
        Criterion { id: self.id, title: self.title, result, expected, because, measured }
    }
}

/// All answers of a run, in the order of the questions.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    pub(crate) criteria: Vec<Criterion>,
    pub(crate) not_asked: Vec<NotAsked>,
}

impl Answers {
    pub(crate) fn add(&mut self, answer: Answer) {
        match answer.0 {
            Inner::Asked(criteria) => self.criteria.extend(criteria),
            Inner::NotAsked(question) => self.not_asked.push(question),
        }
    }

    pub(crate) fn append(&mut self, others: Answers) {
        self.criteria.extend(others.criteria);
        self.not_asked.extend(others.not_asked);
    }

    /// Did everything that was asked pass?
    pub(crate) fn all_pass(&self) -> bool {
        self.criteria.iter().all(|criterion| criterion.result == Ruling::Pass)
    }

    pub(crate) fn was_asked(&self, id: &str) -> bool {
        self.criteria.iter().any(|criterion| criterion.id == id)
    }
}

impl FromIterator<Answer> for Answers {
    fn from_iter<I: IntoIterator<Item = Answer>>(answers: I) -> Self {
        let mut all = Self::default();
        answers.into_iter().for_each(|answer| all.add(answer));
        all
    }
}
