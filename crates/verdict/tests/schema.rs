//! The schema of `verdict.json` is what the types say.

use std::path::Path;

#[test]
fn the_documented_schema_is_that_of_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/verdict.schema.json");
    let schema = schemars::schema_for!(verdict::Verdict);
    let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    if std::env::var_os("WRITE_DOCS").is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let documented = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        documented == text,
        "docs/verdict.schema.json is old: WRITE_DOCS=1 cargo test -p verdict --test schema"
    );
}
