//! Names from outside cannot break a report, and files are whole.

use observation::journal::Journal;
use observation::{Record, journal};

use super::*;

fn hostile() -> Verdict {
    let note =
        observation::Note { at_us: 0, code: "x".to_owned(), text: "a|b <img> \u{1b}[31m & \"q\"".to_owned() };
    let entry = journal::Entry { at_us: 0, source: journal::Source::Runner, record: Record::Note(note) };
    let mut verdict = verdict::judge(&Journal { entries: vec![entry], truncated: false });
    verdict.scenario = "s\u{1b}]0;x\u{7}<b>|\"'&".to_owned();
    verdict
}

#[test]
fn nothing_from_outside_steers_a_terminal_or_breaks_markup() {
    let verdict = hostile();
    for text in [table(&verdict), markdown(&verdict), junit(&verdict)] {
        assert!(text.chars().all(|c| !c.is_control() || c == '\n'), "{text}");
    }
    assert!(!markdown(&verdict).contains("<b>"));
    let xml = junit(&verdict);
    assert!(xml.contains("s ]0;x &lt;b&gt;|&quot;&apos;&amp;") && !xml.contains("<b>"), "{xml}");
}

#[test]
fn a_journal_without_a_run_is_never_a_pass() {
    let verdict = hostile();
    assert_eq!(verdict.result, verdict::Result::Invalid);
    assert!(table(&verdict).trim_end().lines().last().unwrap().starts_with("INVALID"));
}

#[test]
fn all_files_are_written_and_nothing_else_is_left() {
    let dir = tempfile::tempdir().unwrap();
    write_all(dir.path(), &Journal { entries: Vec::new(), truncated: false }, &hostile()).unwrap();
    let mut names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["junit.xml", "report.html", "summary.md", "verdict.json"]);
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.path().join("verdict.json")).unwrap()).unwrap();
    assert_eq!(json["result"], "invalid");
    assert!(
        write_all(
            &dir.path().join("missing"),
            &Journal { entries: Vec::new(), truncated: false },
            &hostile()
        )
        .is_err()
    );
}
