//! Every duration that a user gives goes through one parser with limits: in flags, in flags that contain one, in files.

use std::path::Path;
use std::process::Command;

use crate::harness::binary;

/// No duration anywhere: too long in several ways, negative, without a unit, empty, with an exponent.
const BAD: [&str; 6] = ["18446744073709551615s", "584942417355y", "-1s", "1", "", "1e9s"];

/// Exit code, and both outputs.
fn run(program: &str, args: &[&str], folder: &Path) -> (Option<i32>, String) {
    let output = Command::new(binary(program)).args(args).current_dir(folder).output().unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), text)
}

/// The usage error names where the duration was, the limit and an example.
fn refused(program: &str, args: &[&str], folder: &Path, named: &str) {
    let (code, text) = run(program, args, folder);
    assert_eq!(code, Some(2), "{program} {args:?}: {text}");
    assert!(!text.contains("panicked"), "{program} {args:?}: {text}");
    for word in [named, " of at most ", "such as "] {
        let has = text.contains(word) || word == " of at most " && text.contains(" to 1");
        assert!(has, "{program} {args:?}: {word:?} is not in: {text}");
    }
}

/// The words in the first column of a section of a help text.
fn section<'a>(help: &'a str, title: &str) -> Vec<&'a str> {
    let lines = help.lines().skip_while(|line| *line != title).skip(1).take_while(|line| !line.is_empty());
    lines.filter_map(|line| line.strip_prefix("  ")).filter_map(|line| line.split(' ').next()).collect()
}

/// Flags that take a duration, by the help of the program or of one of its subcommands.
fn flags_of(help: &str) -> Vec<&str> {
    let flags = help.lines().filter_map(|line| line.trim().split_once(" <DURATION>"));
    flags.map(|(flag, _)| flag.rsplit(' ').next().unwrap()).collect()
}

#[test]
fn every_flag_that_takes_a_duration_refuses_what_is_none() {
    let dir = tempfile::tempdir().unwrap();
    for (program, known) in [("loadgen", "--op-timeout"), ("scenariod", "--blind")] {
        let help = run(program, &["--help"], dir.path()).1;
        assert!(flags_of(&help).contains(&known), "{help}");
        let commands = section(&help, "Commands:");
        assert!(commands.len() > 2, "{help}");
        for command in [None].into_iter().chain(commands.into_iter().map(Some)) {
            let words = Vec::from_iter(command);
            let help = run(program, &[&words[..], &["--help"]].concat(), dir.path()).1;
            for flag in flags_of(&help) {
                for bad in BAD {
                    let given = format!("{flag}={bad}");
                    refused(program, &[&words[..], &[&given]].concat(), dir.path(), flag);
                }
            }
        }
    }
}

#[test]
fn zero_is_refused_by_flags_that_it_would_make_senseless() {
    let dir = tempfile::tempdir().unwrap();
    for (program, args) in [
        ("loadgen", &["--op-timeout=0s"][..]),
        ("loadgen", &["--connect-timeout=0s"]),
        ("loadgen", &["--duration=0s"]),
        ("loadgen", &["--breaker-open=0s"]),
        ("loadgen", &["--db-service=0s"]),
        ("loadgen", &["check-generator", "--duration=0s"]),
        ("loadgen", &["overload", "--mitigate-limit=0s"]),
        ("scenariod", &["--testing=0s"]),
        ("scenariod", &["--stabilization=0s"]),
        ("scenariod", &["--blind=0s"]),
        ("scenariod", &["reap", "--every=0s"]),
        ("scenariod", &["explain", "--op-timeout=0s"]),
    ] {
        refused(program, args, dir.path(), args.last().unwrap().split('=').next().unwrap());
    }
}

#[test]
fn a_duration_inside_of_another_value_has_a_limit_too() {
    let dir = tempfile::tempdir().unwrap();
    for bad in BAD {
        let (profile, backend) = (format!("--profile=5/{bad}"), format!("--backend=5x{bad}"));
        refused("loadgen", &[&profile], dir.path(), "--profile");
        refused("loadgen", &["overload", &backend], dir.path(), "--backend");
        for name in ["breaker", "backoff", "ramp"] {
            refused("loadgen", &[&format!("--mitigation={name}:{bad}")], dir.path(), name);
        }
        refused("scenariod", &[&format!("--abort-if=p99 > {bad}")], dir.path(), "--abort-if");
        // A rule that ends after `for` lacks its last word, which the parser of rules says.
        if !bad.is_empty() {
            refused("scenariod", &[&format!("--abort-if=goodput < 1 for {bad}")], dir.path(), "--abort-if");
        }
    }
}

#[test]
fn a_duration_in_a_file_has_a_limit_and_the_error_names_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let catalogue = crate::architecture::workspace().join("crates/metastable/src/catalogue");
    let plan = std::fs::read_to_string(catalogue.join("metastable-fast.toml")).unwrap();
    let service = plan.lines().find(|line| line.starts_with("service = ")).unwrap();
    let path = |name: &str| dir.path().join(name);
    for bad in BAD {
        let scenario = format!(
            "name = \"x\"\nsuite = \"s\"\ndescription = \"d\"\n[phases]\ntesting = \"{bad}\"\n[[fault]]\ntarget = \"one\"\ntype = \"down\"\n"
        );
        std::fs::write(path("scenario.toml"), scenario).unwrap();
        std::fs::write(path("plan.toml"), plan.replacen(service, &format!("service = \"{bad}\""), 1))
            .unwrap();
        std::fs::write(path("search.toml"), format!("step_duration = \"{bad}\"\n")).unwrap();
        refused("scenariod", &["--scenario-file", "scenario.toml"], dir.path(), "line 5, column 11: testing");
        refused("scenariod", &["metastable", "--file", "plan.toml"], dir.path(), "database.service");
        refused("loadgen", &["overload", "--config", "search.toml"], dir.path(), "step_duration");
    }
}
