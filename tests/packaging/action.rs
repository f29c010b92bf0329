//! The action: verdicts, annotations and exit codes, with a script in place of scenariod.

use serde_json::{Value, json};

use super::machine::{Ended, Machine, SCENARIOD, commands, verdict};

const ACTION: &str = "action.yml";
const RUN: &str = "20260101T000000Z-packet-loss-100-pct";
const LATER: &str = "20260101T000100Z-packet-loss-100-pct";
const SUITE: &str = "20260101T000000Z-suite/suite.json";

fn assert_outputs(ended: &Ended, result: &str, code: i32) {
    assert_eq!(ended.outputs["result"], result, "{}", ended.said);
    assert_eq!(ended.outputs["exit-code"], code.to_string(), "{}", ended.said);
}

/// The annotations of one kind.
fn annotations<'e>(ended: &'e Ended, kind: &str) -> Vec<&'e str> {
    let begin = format!("::{kind} ");
    commands(&ended.said).into_iter().filter(|line| line.starts_with(&begin)).collect()
}

#[test]
fn a_pass_is_a_notice_a_table_and_a_report() {
    let machine =
        Machine::new(SCENARIOD, 0).judged(RUN, &verdict("pass", &[])).leaves("summary.md", "| the table |\n");
    let Some(ended) = machine.act(ACTION, &[]) else { return };
    assert_eq!(ended.code, 0, "{}", ended.said);
    assert_outputs(&ended, "pass", 0);
    assert_eq!(
        commands(&ended.said),
        ["::notice file=.github/workflows/mine.yml,title=PASS%3A 1 run::packet-loss-100-pct"]
    );
    assert_eq!(ended.summary, "| the table |\n");
    assert!(ended.outputs["report"].ends_with(&format!("/runs/{RUN}/report.html")), "{:?}", ended.outputs);
    assert!(ended.outputs["artifact"].starts_with("scenariod-reliability-"), "{:?}", ended.outputs);
    let (runs, summary) = (&ended.outputs["runs"], ended.outputs["runs"].replace("/runs", "/summary.md"));
    assert_eq!(ended.args[..2], [format!("--runs={runs}"), format!("--summary={summary}")]);
    assert_eq!(ended.args[2..], ["--scenario=packet-loss-100-pct", "--quick", "--lab"]);
}

#[test]
fn a_failure_is_an_error_what_is_open_a_warning_and_advice_a_notice() {
    let mut judged = verdict("fail", &[("recovery", "fail"), ("probes", "inconclusive")]);
    judged["advice"] = json!("use a machine with more processors");
    let Some(ended) = Machine::new(SCENARIOD, 1).judged(RUN, &judged).act(ACTION, &[]) else { return };
    assert_eq!(ended.code, 1, "{}", ended.said);
    assert_outputs(&ended, "fail", 1);
    let at = "file=.github/workflows/mine.yml,title=packet-loss-100-pct%3A";
    let [error] = annotations(&ended, "error")[..] else { panic!("{}", ended.said) };
    assert!(error.starts_with(&format!("::error {at} recovery FAIL::")), "{error}");
    assert!(error.contains("expected within 4458 ms, measured ") && error.contains("%0Abecause "), "{error}");
    let [warning] = annotations(&ended, "warning")[..] else { panic!("{}", ended.said) };
    assert!(warning.starts_with(&format!("::warning {at} probes INCONCLUSIVE::")), "{warning}");
    let advice = format!("::notice {at} what to do::use a machine with more processors");
    assert_eq!(annotations(&ended, "notice"), [advice]);
}

#[test]
fn a_wrong_value_is_an_error_and_has_its_own_exit_code() {
    let judged = verdict("wrong_data", &[("no-wrong-values", "wrong_data")]);
    let Some(ended) = Machine::new(SCENARIOD, 5).judged(RUN, &judged).act(ACTION, &[]) else { return };
    assert_eq!(ended.code, 5, "{}", ended.said);
    assert_outputs(&ended, "wrong-data", 5);
    assert!(annotations(&ended, "error")[0].contains("no-wrong-values WRONG DATA::"), "{}", ended.said);
}

#[test]
fn an_inconclusive_run_fails_the_step_unless_that_is_allowed_and_is_a_warning() {
    let mut judged = verdict("inconclusive", &[("baseline", "inconclusive")]);
    judged["stopped"] = json!("a signal");
    for (allowed, code) in [("false", 3), ("true", 0)] {
        let machine = Machine::new(SCENARIOD, 3).judged(RUN, &judged);
        let Some(ended) = machine.act(ACTION, &[("allow-inconclusive", allowed)]) else { return };
        assert_eq!(ended.code, code, "{}", ended.said);
        assert_outputs(&ended, "inconclusive", 3);
        let warnings = annotations(&ended, "warning");
        assert_eq!((warnings.len(), annotations(&ended, "error").len()), (2, 0), "{}", ended.said);
        assert!(warnings[1].ends_with("STOPPED::a signal"), "{warnings:?}");
    }
    // A pass that is allowed to be inconclusive may still fail.
    let machine = Machine::new(SCENARIOD, 1).judged(RUN, &verdict("fail", &[("recovery", "fail")]));
    let Some(ended) = machine.act(ACTION, &[("allow-inconclusive", "true")]) else { return };
    assert_eq!(ended.code, 1, "{}", ended.said);
}

#[test]
fn what_kept_runs_from_happening_is_an_error_with_its_reason() {
    let said = "2026-01-01T00:00:00Z  INFO metrics\n2026-01-01T00:00:01Z ERROR no Toxiproxy at http://a:1: refused\n";
    let machine = Machine::new(SCENARIOD, 4).leaves("said", said);
    let Some(ended) = machine.act(ACTION, &[]) else { return };
    assert_eq!(ended.code, 4, "{}", ended.said);
    assert_outputs(&ended, "infrastructure", 4);
    let [error] = annotations(&ended, "error")[..] else { panic!("{}", ended.said) };
    assert!(
        error.ends_with("title=scenariod ended with exit code 4::no Toxiproxy at http://a:1: refused"),
        "{error}"
    );
    assert_eq!(ended.outputs["report"], "");
    assert!(ended.summary.contains("exit code 4 (infrastructure)"), "{}", ended.summary);
}

#[test]
fn what_a_client_says_of_itself_is_no_command() {
    let mut judged = verdict("fail", &[("recovery", "fail")]);
    let hostile = "x\r\n::error::y%0A 100 % \"q\" \u{1b}[31m\u{202e}\n::set-output name=result::pass";
    judged["scenario"] = json!("a:b,c\n::error::d");
    for criterion in judged["criteria"].as_array_mut().unwrap() {
        criterion["measured"] = json!(hostile);
    }
    let said = "::error::z\n::add-mask::a\n##[error]w\n::stop-commands::t\n";
    let machine = Machine::new(SCENARIOD, 1).judged(RUN, &judged).leaves("said", said);
    let Some(ended) = machine.act(ACTION, &[]) else { return };
    assert_eq!(ended.code, 1, "{}", ended.said);
    assert_outputs(&ended, "fail", 1);
    // One line, in which nothing of the text is a command or ends a property.
    let [error] = commands(&ended.said)[..] else { panic!("{}", ended.said) };
    let title = "title=a%3Ab%2Cc%0A%3A%3Aerror%3A%3Ad%3A recovery FAIL::";
    assert!(error.starts_with(&format!("::error file=.github/workflows/mine.yml,{title}")), "{error}");
    let text =
        "measured x %0A::error::y%250A 100 %25 \"q\"  [31m %0A::set-output name=result::pass%0Abecause ";
    assert!(error.contains(text), "{error}");
}

#[test]
fn of_more_than_ten_annotations_of_a_kind_the_tenth_counts_the_others() {
    let all = verdict("pass", &[]);
    let ids: Vec<&str> =
        all["criteria"].as_array().unwrap().iter().filter_map(|one| one["id"].as_str()).collect();
    let failed: Vec<(&str, &str)> = ids.iter().map(|id| (*id, "fail")).collect();
    let machine = Machine::new(SCENARIOD, 1).judged(RUN, &verdict("fail", &failed));
    let Some(ended) = machine.act(ACTION, &[]) else { return };
    let errors = annotations(&ended, "error");
    assert_eq!(errors.len(), 10, "{}", ended.said);
    let more = format!("{} more: see the job summary and the artifact", ids.len() - 9);
    assert!(errors[9].ends_with(&more), "{}", errors[9]);
}

fn suite_run(dir: &str, result: &str, rerun: bool) -> Value {
    json!({"scenario": "packet-loss-100-pct", "dir": dir, "result": result, "reasons": ["no disk"], "rerun": rerun})
}

#[test]
fn a_run_that_was_made_again_does_not_count() {
    let open = verdict("inconclusive", &[("baseline", "inconclusive")]);
    // One scenario, once: there is no record of a suite.
    let machine = Machine::new(SCENARIOD, 0).judged(RUN, &open).judged(LATER, &verdict("pass", &[]));
    let Some(ended) = machine.act(ACTION, &[]) else { return };
    assert_eq!(annotations(&ended, "warning"), Vec::<&str>::new(), "{}", ended.said);
    assert!(ended.outputs["report"].ends_with(&format!("{LATER}/report.html")), "{:?}", ended.outputs);

    let suite = json!({"runs": [suite_run(RUN, "INCONCLUSIVE", true), suite_run(LATER, "PASS", false)]});
    let machine = Machine::new(SCENARIOD, 0)
        .judged(RUN, &open)
        .judged(LATER, &verdict("pass", &[]))
        .leaves(SUITE, &suite.to_string())
        .leaves("20260101T000000Z-suite/suite.html", "");
    let Some(ended) = machine.act(ACTION, &[]) else { return };
    assert_eq!(annotations(&ended, "warning"), Vec::<&str>::new(), "{}", ended.said);
    assert!(ended.outputs["report"].ends_with("suite/suite.html"), "{:?}", ended.outputs);
}

#[test]
fn of_several_runs_the_majority_counts_and_one_that_could_not_be_made_is_an_error() {
    let suite = json!({
        "runs": [suite_run(RUN, "FAIL", false), suite_run(LATER, "PASS", false), suite_run("", "ERROR", false)],
        "repeated": [{"scenario": "packet-loss-100-pct", "result": "PASS", "class": "noisy", "runs": 3}],
    });
    let machine = Machine::new(SCENARIOD, 4)
        .judged(RUN, &verdict("fail", &[("recovery", "fail")]))
        .judged(LATER, &verdict("pass", &[]))
        .leaves(SUITE, &suite.to_string());
    let Some(ended) = machine.act(ACTION, &[("args", "--repeat 3")]) else { return };
    assert_eq!(ended.code, 4, "{}", ended.said);
    let [error] = annotations(&ended, "error")[..] else { panic!("{}", ended.said) };
    assert!(error.ends_with("packet-loss-100-pct%3A could not be run::no disk"), "{error}");
    let [warning] = annotations(&ended, "warning")[..] else { panic!("{}", ended.said) };
    assert!(warning.contains("recovery FAIL::"), "{warning}");
}

#[test]
fn a_scenario_of_the_repository_is_annotated_in_its_file() {
    let file = "reliability/mine.toml";
    let toml = "# one of ours\nname = \"mine\"\nsuite = \"x\"\n";
    let mut judged = verdict("fail", &[("recovery", "fail")]);
    judged["scenario"] = json!("mine");
    let inputs = [("scenarios", ""), ("files", "reliability/mine.toml\n\n  /elsewhere/theirs.toml  \n")];
    let machine = Machine::new(SCENARIOD, 1).has(file, toml).judged(RUN, &judged);
    let Some(ended) = machine.act(ACTION, &inputs) else { return };
    let [error] = annotations(&ended, "error")[..] else { panic!("{}", ended.said) };
    assert!(error.starts_with(&format!("::error file={file},line=2,title=mine%3A recovery")), "{error}");
    let files = ["--scenario-file=reliability/mine.toml", "--scenario-file=/elsewhere/theirs.toml"];
    assert_eq!(ended.args[2..4], files);

    let said = format!("2026-01-01T00:00:00Z ERROR {file}, line 3, column 1: unknown field `x`\n");
    let machine = Machine::new(SCENARIOD, 2).has(file, toml).leaves("said", &said);
    let Some(ended) = machine.act(ACTION, &inputs) else { return };
    assert_eq!(ended.code, 2, "{}", ended.said);
    let [error] = annotations(&ended, "error")[..] else { panic!("{}", ended.said) };
    assert!(error.starts_with(&format!("::error file={file},line=3,col=1,title=")), "{error}");
}

#[test]
fn inputs_become_arguments_and_nothing_in_them_is_expanded() {
    let machine = Machine::new(SCENARIOD, 0).has("latency-x", "").judged(RUN, &verdict("pass", &[]));
    let inputs = [
        ("scenarios", "latency-*, $(id)\nall"),
        ("observe", "http://127.0.0.1:9090"),
        ("toxiproxy", "http://127.0.0.1:1"),
        ("quick", "false"),
        ("args", "--abort-if 'error_rate > 80% for 5s' --repeat 3 $HOME `id`"),
        ("artifact", "mine"),
        ("summary", "false"),
    ];
    let Some(ended) = machine.act(ACTION, &inputs) else { return };
    assert_eq!(ended.code, 0, "{}", ended.said);
    let scenarios = ["--scenario=latency-*", "--scenario=$(id)", "--scenario=all"];
    assert_eq!(ended.args[2..5], scenarios);
    assert_eq!(ended.args[5..7], ["--observe=http://127.0.0.1:9090", "--toxiproxy=http://127.0.0.1:1"]);
    let further = ["--abort-if", "error_rate > 80% for 5s", "--repeat", "3", "$HOME", "`id`"];
    assert_eq!(ended.args[7..], further);
    assert_eq!(ended.outputs["artifact"], "mine");
    assert_eq!(ended.summary, "");
}

#[test]
fn inputs_that_mean_nothing_are_refused_by_name() {
    for (input, value, said) in [
        ("quick", "yes", "quick: expected true or false, not 'yes'"),
        ("summary", "", "summary: expected true or false, not ''"),
        ("args", "--repeat '3", "args: a quote is not closed"),
        ("version", "latest", "version: expected a tag such as v0.1.0, source or path, not 'latest'"),
    ] {
        let machine = Machine::new(SCENARIOD, 0);
        let Some(ended) = machine.act(ACTION, &[(input, value)]) else { return };
        assert_eq!(ended.code, 2, "{input}: {}", ended.said);
        assert_eq!(commands(&ended.said), [format!("::error title=scenariod::{said}")]);
        assert!(ended.args.is_empty(), "{input}");
    }
}
