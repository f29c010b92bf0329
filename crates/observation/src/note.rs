//! Notes: what a reader of the report should know.

use serde::{Deserialize, Serialize};

use crate::PhaseKind;

crate::known_text::known_text! {
    /// What a note is about.
    NoteCode {
        /// How well the client's clock is aligned with the runner's.
        Clock = "clock",
        /// The backend gives another fault than the scenario means.
        Substitute = "substitute",
        /// Something that an earlier run left behind was removed.
        Leftover = "leftover",
        /// A stop rule of this run.
        AbortIf = "abort-if",
        /// A toxic on these proxies is not the runner's.
        ForeignToxic = "foreign-toxic",
        /// A phase ended early because all was well.
        UntilStable = "until-stable",
        /// A fault could not be taken away, and was tried again.
        Cleanup = "cleanup",
        /// A call that was to take a fault away had no answer.
        CleanupStuck = "cleanup_stuck",
        /// A proxy does not answer as it did before its fault.
        CanaryNotBack = "canary_not_back",
        /// A phase of an experiment on metastable failure began; the text is its name, see [`crate::metastable::CellPhase`].
        MetastablePhase = "metastable-phase",
        /// Why a run of such an experiment says nothing about the system.
        MetastableVoid = "metastable-void",
    }
}

/// Something a reader of the report should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(from = "WrittenNote")]
#[cfg_attr(feature = "schema", schemars(!from))]
pub struct Note {
    /// When.
    pub at_us: u64,
    /// Stable code, for example `substitute` or `foreign-toxic`.
    pub code: NoteCode,
    /// One sentence.
    pub text: String,
    /// The phase that ended, for `until-stable`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<PhaseKind>,
    /// The proxy that has it, for `foreign-toxic`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// Between a toxic and its proxy.
const ON: &str = " on ";

impl Note {
    /// One that is a sentence and no more.
    pub fn new(at_us: u64, code: NoteCode, text: impl Into<String>) -> Self {
        Self { at_us, code, text: text.into(), phase: None, target: None }
    }

    /// `phase` ended early, because all was well.
    pub fn until_stable(at_us: u64, phase: PhaseKind, text: impl Into<String>) -> Self {
        Self { phase: Some(phase), ..Self::new(at_us, NoteCode::UntilStable, text) }
    }

    /// Somebody else's `toxic` is on the proxy `target`.
    pub fn foreign_toxic(at_us: u64, toxic: &str, target: &str) -> Self {
        let text = format!("{toxic}{ON}{target}");
        Self { target: Some(target.to_owned()), ..Self::new(at_us, NoteCode::ForeignToxic, text) }
    }
}

/// A note as it stands in a journal.
#[derive(Deserialize)]
struct WrittenNote {
    at_us: u64,
    code: NoteCode,
    text: String,
    #[serde(default)]
    phase: Option<PhaseKind>,
    #[serde(default)]
    target: Option<String>,
}

impl From<WrittenNote> for Note {
    fn from(WrittenNote { at_us, code, text, mut phase, mut target }: WrittenNote) -> Self {
        // Journals of earlier versions name phase and proxy in the text only.
        match code {
            NoteCode::UntilStable => {
                let mut phases = PhaseKind::ALL.into_iter();
                phase = phase.or_else(|| phases.find(|phase| text.starts_with(phase.name())));
            }
            NoteCode::ForeignToxic => {
                target = target.or_else(|| Some(text.rsplit_once(ON)?.1.to_owned()));
            }
            _ => {}
        }
        Self { at_us, code, text, phase, target }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Note {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn an_early_end_names_its_phase_and_an_old_journal_does_so_in_its_text() {
        let text = "recovery ended after 4.2 s: stable for 3 s";
        let new = Note::until_stable(7, PhaseKind::Recovery, text);
        assert_eq!(read(&serde_json::to_string(&new).unwrap()), new);
        assert_eq!(read(&format!(r#"{{"at_us":7,"code":"until-stable","text":"{text}"}}"#)), new);
        assert_eq!(read(&format!(r#"{{"at_us":7,"code":"clock","text":"{text}"}}"#)).phase, None);
    }

    #[test]
    fn a_foreign_toxic_names_its_proxy_and_an_old_journal_does_so_in_its_text() {
        let new = Note::foreign_toxic(7, "their on toxic", "proxy-a");
        assert_eq!(read(&serde_json::to_string(&new).unwrap()), new);
        assert_eq!(read(r#"{"at_us":7,"code":"foreign-toxic","text":"their on toxic on proxy-a"}"#), new);
    }

    #[test]
    fn a_code_of_another_version_is_kept() {
        let line = r#"{"at_us":1,"code":"of_tomorrow","text":"t"}"#;
        assert_eq!(read(line).code, NoteCode::Other("of_tomorrow".to_owned()));
        assert_eq!(serde_json::to_string(&read(line)).unwrap(), line);
        for code in NoteCode::KNOWN {
            assert_eq!(&NoteCode::from(code.name()), code);
        }
    }
}
