//! Names from outside cannot break a report, and files are whole.

use observation::journal::Journal;
use observation::{Record, journal};

use super::*;

/// One of each kind: markup, XML, Markdown, mentions, links, control and direction marks.
const ATTACK: &str = "</script><b>]]>\"'&|`*_[x](y)! @all #1 https://example.com \u{1b}]0;x\u{7}\r\n\u{202e}\u{2066}\u{0}\u{fffe}\u{ffff}";

pub(crate) fn hostile() -> Verdict {
    let note = observation::Note::new(0, "x".into(), ATTACK);
    let entry = journal::Entry { at_us: 0, source: journal::Source::Runner, record: Record::Note(note) };
    let mut verdict = verdict::judge(&Journal { entries: vec![entry], truncated: false });
    for text in [&mut verdict.scenario, &mut verdict.client, &mut verdict.run] {
        *text = ATTACK.to_owned();
    }
    verdict.given.push(ATTACK.to_owned());
    for criterion in &mut verdict.criteria {
        for text in [&mut criterion.expected, &mut criterion.because, &mut criterion.measured] {
            *text = ATTACK.to_owned();
        }
    }
    verdict.not_asked[0].reason = ATTACK.to_owned();
    verdict.measures.time_to_trip_ms.insert(ATTACK.to_owned(), None);
    verdict
}

fn nothing() -> Journal {
    Journal { entries: Vec::new(), truncated: false }
}

#[test]
fn nothing_from_outside_steers_a_terminal_or_a_readers_eye() {
    let (journal, verdict) = (nothing(), hostile());
    let side = compare::Side { journal: &journal, verdict: &verdict };
    for text in [table(&verdict), markdown(&verdict), junit(&verdict), compare::table(side, side)] {
        let steering = |c: char| c.is_control() && c != '\n' || ('\u{202a}'..='\u{2069}').contains(&c);
        assert!(!text.contains(steering), "{text:?}");
    }
}

#[test]
fn junit_is_well_formed_whatever_a_name_contains_and_blames_nobody_for_a_run_that_says_nothing() {
    let verdict = hostile();
    let text = junit(&verdict);
    let xml = roxmltree::Document::parse(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let cases: Vec<_> = xml.descendants().filter(|node| node.has_tag_name("testcase")).collect();
    assert_eq!(cases.len(), verdict.criteria.len() + verdict.not_asked.len());
    let skipped =
        cases.iter().filter(|case| case.children().any(|child| child.has_tag_name("skipped"))).count();
    let passed = verdict.criteria.iter().filter(|c| c.result == verdict::Ruling::Pass).count();
    assert_eq!((skipped, verdict.result), (cases.len() - passed, verdict::Ruling::Invalid));
    assert!(skipped > 0 && !text.contains("<failure") && !text.contains("<error"));
    assert!(cases[0].attribute("classname").unwrap().starts_with("</script><b>]]>\"'&|`"));
}

#[test]
fn a_criterion_that_failed_is_a_failure_with_its_numbers() {
    let mut verdict = hostile();
    verdict.criteria[0].result = verdict::Ruling::Fail;
    let text = junit(&verdict);
    let xml = roxmltree::Document::parse(&text).unwrap();
    let failure = xml.descendants().find(|node| node.has_tag_name("failure")).unwrap();
    assert!(failure.attribute("message").unwrap().starts_with("FAIL: expected "));
    let suite = xml.descendants().find(|node| node.has_tag_name("testsuite")).unwrap();
    assert_eq!(suite.attribute("failures"), Some("1"));
}

#[test]
fn in_markdown_a_name_is_no_markup_mentions_nobody_and_links_nowhere() {
    let text = markdown(&hostile());
    for markup in ["<b>", "</script>", "@all", "#1", "://", "[x]", "*_"] {
        assert!(!text.contains(markup), "{markup}: {text}");
    }
    // Only the fences of the table's own cells: each row has the pipes of its head.
    let rows = text.lines().filter(|line| line.starts_with('|'));
    for row in rows {
        let pipes = row.replace("\\|", "").matches('|').count();
        assert!(pipes == 5 || pipes == 3, "{row}");
    }
}

#[test]
fn a_comment_has_room_for_any_verdict() {
    let mut verdict = hostile();
    assert!(markdown(&verdict).len() < 8_000);
    let long = "<&@#|".repeat(10_000);
    verdict.scenario.clone_from(&long);
    verdict.given = vec![long.clone(); 500];
    let criterion = verdict::Criterion {
        expected: long.clone(),
        because: long.clone(),
        measured: long,
        ..verdict.criteria[0].clone()
    };
    verdict.criteria = vec![criterion; 500];
    let text = markdown(&verdict);
    assert!(text.len() < 60_000, "{}", text.len());
    assert!(text.trim_end().ends_with("</details>"));
}

#[test]
fn a_journal_without_a_run_is_never_a_pass() {
    let verdict = hostile();
    assert_eq!(verdict.result, verdict::Ruling::Invalid);
    assert!(table(&verdict).trim_end().lines().last().unwrap().starts_with("INVALID"));
}

#[test]
fn a_run_that_was_stopped_is_skipped_and_not_failed() {
    let mut verdict = hostile();
    verdict.stopped = Some("--abort-if goodput < 1: 0 ops/s seen".to_owned());
    let last = table(&verdict).trim_end().lines().last().unwrap().to_owned();
    assert!(
        last.starts_with("STOPPED  ") && last.ends_with(": --abort-if goodput < 1: 0 ops/s seen"),
        "{last}"
    );
    assert!(markdown(&verdict).contains(" STOPPED: "));
    let xml = junit(&verdict);
    assert!(xml.contains("failures=\"0\" errors=\"0\" skipped=\"") && xml.contains("<skipped "), "{xml}");
    assert!(!xml.contains("<error") && !xml.contains("<failure"), "{xml}");
    assert_eq!((verdict.status(), verdict.result.exit_code()), ("stopped", 3));
    // A wrong value is one, stopped or not.
    verdict.result = verdict::Ruling::WrongData;
    assert_eq!((verdict.name(), verdict.status()), ("FAIL (wrong data)", "fail"));
}

#[test]
fn all_files_are_written_and_nothing_else_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let page = write_all(dir.path(), &nothing(), &hostile()).unwrap();
    assert_eq!(page, dir.path().join(PAGE));
    let mut names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["junit.xml", "report.html", "summary.md", "verdict.json"]);
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.path().join("verdict.json")).unwrap()).unwrap();
    assert_eq!(json["result"], "invalid");
    assert!(write_all(&dir.path().join("missing"), &nothing(), &hostile()).is_err());
}

#[test]
fn a_link_is_nothing_but_names() {
    let link = |dir: &str| html::link(Path::new(dir), PAGE);
    assert_eq!(link("../20261121T1-loss"), "./../20261121T1-loss/report.html");
    assert_eq!(link("javascript:alert(1)"), "./javascript%3Aalert%281%29/report.html");
    assert_eq!(link("//example.com/\"onload=x"), "./example.com/%22onload%3Dx/report.html");
}

#[test]
fn different_scenarios_are_not_compared() {
    let journal = nothing();
    let (mut one, mut other) = (hostile(), hostile());
    let refused = |one: &Verdict, other: &Verdict| {
        let side = |verdict| compare::Side { journal: &journal, verdict };
        let (a, b) = (compare::Side { journal: &journal, verdict: one }, side(other));
        compare::refusal(a, b)
    };
    (one.scenario, other.scenario) = ("a".to_owned(), "b".to_owned());
    assert_eq!(
        refused(&one, &other).unwrap(),
        "a and b are different scenarios; --force compares them nevertheless"
    );
    other.scenario = "a".to_owned();
    assert_eq!(refused(&one, &other), None);
}

#[test]
fn differences_say_how_much_and_of_shares_how_many_points() {
    use measures::{Kind, Measure};
    let measure = |kind, value| Measure { name: String::new(), shown: String::new(), value, kind };
    let between = |kind, a, b| measure(kind, a).difference(Some(&measure(kind, b)));
    assert_eq!(between(Kind::Millis, Some(200.0), Some(150.0)), "-50 ms (-25 %)");
    assert_eq!(between(Kind::Share, Some(0.01), Some(0.03)), "+2.00 points");
    assert_eq!(between(Kind::Count, Some(0.0), Some(7.0)), "+7");
    assert_eq!(between(Kind::Count, None, Some(7.0)), "");
}
