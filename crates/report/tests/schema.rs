//! What is written as `verdict.json` is what `docs/verdict.schema.json` says.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]
#![expect(clippy::print_stderr, reason = "a test that is skipped says so")]

use std::path::Path;
use std::process::Command;

use observation::journal::Journal;

/// Path of a real program. Without it: fails where `CI` is set, else says loudly that the test is skipped.
fn check_jsonschema() -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|dir| dir.join("check-jsonschema")).find(|file| file.is_file());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "check-jsonschema is not on PATH, and CI needs it");
        eprintln!("SKIPPED: check-jsonschema is not on PATH; this test validates verdict.json with it");
    }
    found
}

fn validate(program: &Path, file: &Path) -> bool {
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/verdict.schema.json");
    let output = Command::new(program).arg("--schemafile").arg(schema).arg(file).output().unwrap();
    output.status.success()
}

#[test]
fn a_verdict_is_what_its_schema_says() {
    let Some(program) = check_jsonschema() else { return };
    let recorded = zstd::decode_all(&include_bytes!("data/packet-loss-100-pct.jsonl.zst")[..]).unwrap();
    let whole = Journal::parse(&recorded, Path::new("recorded")).unwrap();
    let mut cut = whole.clone();
    cut.entries.truncate(cut.entries.len() / 3);
    let nothing = Journal { entries: Vec::new(), truncated: true };
    let dir = tempfile::tempdir().unwrap();
    for journal in [whole, cut, nothing] {
        report::write_all(dir.path(), &journal, &verdict::judge(&journal)).unwrap();
        assert!(validate(&program, &dir.path().join("verdict.json")));
    }
    let file = dir.path().join("verdict.json");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("\"result\": \"invalid\"", "\"result\": \"of tomorrow\"")).unwrap();
    assert!(!validate(&program, &file), "a schema that accepts everything");
}
