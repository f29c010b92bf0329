//! The records as JSON Schemas, out of the types themselves: what a source in another language writes is checked against
//! them, and they are written to `docs/`.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::journal::Entry;
use crate::{Record, SCHEMA_VERSION};

/// What a source of observations sends; the other records are the runner's.
const OF_A_SOURCE: [&str; 6] = ["hello", "tick", "event", "host", "look_aside", "gap"];

/// One line of an observation stream.
pub fn stream() -> Value {
    let mut schema = of::<Record>("One line of an observation stream", Some(&OF_A_SOURCE));
    prune(&mut schema);
    schema
}

/// One line of a journal.
pub fn journal() -> Value {
    of::<Entry>("One line of a journal", None)
}

/// `only`: the records that may be at the top.
fn of<T: JsonSchema>(title: &str, only: Option<&[&str]>) -> Value {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>().to_value();
    tolerate(&mut schema, only);
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".to_owned(), title.into());
        let version = format!(
            "Version {SCHEMA_VERSION}. Readers ignore fields, types of records and kinds of events that they do not know."
        );
        root.insert("description".to_owned(), version.into());
    }
    schema
}

/// In place of the variants that stand for whatever is not known: anything that has none of the known names.
fn tolerate(value: &mut Value, only: Option<&[&str]>) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| tolerate(value, None)),
        Value::Object(object) => {
            for tag in ["type", "kind"] {
                alternatives(object, tag, only);
            }
            object.values_mut().for_each(|value| tolerate(value, None));
        }
        _ => {}
    }
}

fn alternatives(object: &mut Map<String, Value>, tag: &str, only: Option<&[&str]>) {
    let Some(Value::Array(variants)) = object.get_mut("oneOf") else { return };
    let name = |variant: &Value| variant["properties"][tag]["const"].as_str().map(str::to_owned);
    let known: Vec<String> = variants.iter().filter_map(name).collect();
    if !known.iter().any(|name| name == "unknown") {
        return;
    }
    let known: Vec<String> = known.into_iter().filter(|name| name != "unknown").collect();
    let wanted = |name: String| name != "unknown" && only.is_none_or(|only| only.contains(&name.as_str()));
    variants.retain(|variant| name(variant).is_some_and(&wanted));
    variants.push(json!({
        "description": format!("A {tag} that this version does not know; readers pass over it."),
        "type": "object",
        "properties": { tag: { "type": "string", "not": { "enum": known } } },
        "required": [tag],
    }));
}

/// Takes away definitions that nothing refers to.
fn prune(schema: &mut Value) {
    loop {
        let Some(definitions) = schema["$defs"].as_object() else { return };
        let text = schema.to_string();
        let unused = |name: &&String| !text.contains(&format!("\"#/$defs/{name}\""));
        let unused: Vec<String> = definitions.keys().filter(unused).cloned().collect();
        if unused.is_empty() {
            return;
        }
        if let Some(definitions) = schema["$defs"].as_object_mut() {
            definitions.retain(|name, _| !unused.contains(name));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    fn docs(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)
    }

    /// The lines of the examples in `docs/observation-stream.md`.
    fn examples() -> Vec<String> {
        let text = std::fs::read_to_string(docs("observation-stream.md")).unwrap();
        let blocks = text.split("```ndjson\n").skip(1).filter_map(|block| block.split("```").next());
        blocks.flat_map(str::lines).map(str::to_owned).collect()
    }

    fn validator(schema: &Value) -> jsonschema::Validator {
        jsonschema::validator_for(schema).unwrap()
    }

    #[test]
    fn the_documented_schemas_are_those_of_the_types() {
        for (name, schema) in
            [("observation-stream.schema.json", stream()), ("journal.schema.json", journal())]
        {
            let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
            if std::env::var_os("WRITE_DOCS").is_some() {
                std::fs::write(docs(name), &text).unwrap();
            }
            let documented = std::fs::read_to_string(docs(name)).unwrap_or_default();
            assert!(documented == text, "docs/{name} is old: WRITE_DOCS=1 cargo test -p observation schema");
        }
    }

    #[test]
    fn the_documented_examples_are_lines_of_the_schema_and_are_read() {
        let stream = validator(&stream());
        let examples = examples();
        assert!(examples.len() >= 5, "{examples:?}");
        for line in examples {
            let value: Value = serde_json::from_str(&line).unwrap();
            if let Err(error) = stream.validate(&value) {
                panic!("{line}: {error} at {}", error.instance_path());
            }
            assert_ne!(serde_json::from_str::<Record>(&line).unwrap(), Record::Unknown, "{line}");
        }
    }

    #[test]
    fn schema_and_reader_agree_on_what_is_required_and_the_minimal_stream_is_minimal() {
        let schema = validator(&stream());
        let mut left_out = std::collections::BTreeSet::new();
        for (index, line) in examples().into_iter().enumerate() {
            let whole: Value = serde_json::from_str(&line).unwrap();
            let mut paths = Vec::new();
            fields(&whole, &mut String::new(), &mut paths);
            for path in paths {
                let mut less = whole.clone();
                let (parent, field) = path.rsplit_once('/').unwrap();
                less.pointer_mut(parent).and_then(Value::as_object_mut).unwrap().remove(field);
                let read = serde_json::from_value::<Record>(less.clone()).is_ok();
                assert_eq!(read, schema.is_valid(&less), "{line} without {path}");
                // The first two are the minimal stream; a class that did not occur is always left out.
                if read && index < 2 && !parent.ends_with("/ops") && !parent.ends_with("/attempts") {
                    left_out.insert(field.to_owned());
                }
            }
        }
        let documented = ["latency", "rate_ops_per_s", "service"].map(str::to_owned);
        assert_eq!(left_out, documented.into(), "what the documentation says may be left out");
    }

    fn fields(value: &Value, path: &mut String, found: &mut Vec<String>) {
        let children: Vec<(String, &Value)> = match value {
            Value::Object(object) => object.iter().map(|(name, child)| (name.clone(), child)).collect(),
            Value::Array(values) => {
                values.iter().enumerate().map(|(n, child)| (n.to_string(), child)).collect()
            }
            _ => Vec::new(),
        };
        for (name, child) in children {
            let length = path.len();
            path.push('/');
            path.push_str(&name);
            if value.is_object() {
                found.push(path.clone());
            }
            fields(child, path, found);
            path.truncate(length);
        }
    }

    #[test]
    fn what_is_not_known_is_a_line_of_the_schema_and_what_is_wrong_is_none() {
        let (stream, journal) = (validator(&stream()), validator(&journal()));
        for (line, of_a_stream) in [
            (json!({"type": "of_tomorrow", "x": [1]}), true),
            (json!({"type": "event", "at_us": 1, "event": {"kind": "of_tomorrow", "x": 1}}), true),
            (json!({"type": "gap", "from_us": 1, "to_us": 2, "reason": "r", "new": 1}), true),
            (json!({"type": "tick", "at_us": 1}), false),
            (json!({"type": "hello"}), false),
            (json!({"type": "end", "at_us": 1, "status": "completed", "clean": true}), false),
            (json!([]), false),
        ] {
            assert_eq!(stream.is_valid(&line), of_a_stream, "{line}");
            let entry = json!({"at_us": 1, "source": "client", "record": line});
            assert_eq!(journal.is_valid(&entry), of_a_stream || line["type"] == "end", "{entry}");
        }
    }
}
