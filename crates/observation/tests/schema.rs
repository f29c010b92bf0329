//! The reader accepts every line that its own schema accepts.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

use observation::journal::Entry;
use observation::ndjson::Decoder;
use observation::{Record, schema};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Value};

/// Draws lines that a schema accepts, in all ways in which JSON writes a number.
struct Lines<'a> {
    root: &'a Value,
    rng: StdRng,
}

impl Lines<'_> {
    fn one_of<'v, T>(&mut self, values: &'v [T]) -> &'v T {
        &values[self.rng.random_range(0..values.len())]
    }

    fn value(&mut self, schema: &Value) -> String {
        if let Some(one) = schema.get("const") {
            return one.to_string();
        }
        if let Some(Value::Array(all)) = schema.get("enum") {
            return self.one_of(all).to_string();
        }
        if let Some(Value::Array(all)) = schema.get("oneOf").or(schema.get("anyOf")) {
            let one = self.one_of(all).clone();
            return self.value(&one);
        }
        let kind = match schema.get("type") {
            Some(Value::Array(kinds)) => self.one_of(kinds).as_str().unwrap().to_owned(),
            Some(kind) => kind.as_str().unwrap().to_owned(),
            None => return self.value(&self.referred(schema).clone()),
        };
        match kind.as_str() {
            "null" => "null".to_owned(),
            "boolean" => self.rng.random::<bool>().to_string(),
            // No name that has a meaning.
            "string" => "\"of_tomorrow\"".to_owned(),
            "integer" => self.integer(schema["format"].as_str().unwrap()),
            "number" => (*self.one_of(&["0", "0.5", "3", "4.0", "1.25e2", "1e3"])).to_owned(),
            "array" => self.array(schema),
            "object" => self.object(schema),
            other => panic!("{other}"),
        }
    }

    fn referred(&self, schema: &Value) -> &Value {
        let name = schema["$ref"].as_str().unwrap_or_else(|| panic!("{schema}"));
        self.root.pointer(name.strip_prefix('#').unwrap()).unwrap()
    }

    /// Small and large ones; as a whole float only as large as every language can hold exactly.
    fn integer(&mut self, format: &str) -> String {
        let most = match format {
            "uint8" => u8::MAX.into(),
            "uint16" => u16::MAX.into(),
            "uint32" => u32::MAX.into(),
            "uint64" | "uint" => u64::MAX,
            other => panic!("{other}"),
        };
        let number = match self.rng.random_range(0..4) {
            0 => most,
            1 => self.rng.random_range(0..=most),
            _ => self.rng.random_range(0..=most.min(200)),
        };
        let exact = number.min(1 << 53);
        match self.rng.random_range(0..4) {
            0 => format!("{exact}.0"),
            1 => format!("{}e-1", u128::from(exact / 10) * 100),
            2 if most >= 2_000 => format!("{}E3", exact % 2),
            _ => number.to_string(),
        }
    }

    fn array(&mut self, schema: &Value) -> String {
        let items: Vec<String> = match schema.get("prefixItems") {
            Some(Value::Array(items)) => items.iter().map(|item| self.value(item)).collect(),
            _ => {
                let length = self.rng.random_range(0..4);
                (0..length).map(|_| self.value(&schema["items"])).collect()
            }
        };
        format!("[{}]", items.join(","))
    }

    fn object(&mut self, schema: &Value) -> String {
        let (mut properties, mut required) = (Map::new(), Vec::new());
        let parts = [schema.get("$ref").map(|_| self.referred(schema).clone()), Some(schema.clone())];
        for part in parts.into_iter().flatten() {
            properties.extend(part.get("properties").and_then(Value::as_object).cloned().unwrap_or_default());
            required.extend(part.get("required").and_then(Value::as_array).cloned().unwrap_or_default());
        }
        let mut fields = Vec::new();
        for (name, schema) in &properties {
            if required.iter().any(|needed| needed == name) || self.rng.random() {
                fields.push(format!("\"{name}\":{}", self.value(schema)));
            }
        }
        let others = match schema.get("additionalProperties") {
            Some(schema @ Value::Object(_)) => self.value(&schema.clone()),
            _ => "[1.5]".to_owned(),
        };
        let name = match schema.pointer("/propertyNames/enum") {
            Some(Value::Array(names)) => self.one_of(names).as_str().unwrap().to_owned(),
            _ => "of_tomorrow".to_owned(),
        };
        if self.rng.random() {
            fields.push(format!("\"{name}\":{others}"));
        }
        format!("{{{}}}", fields.join(","))
    }
}

/// A line of the schema, which a validator confirms.
fn line(schema: &Value, validator: &jsonschema::Validator, seed: u64) -> String {
    let text = Lines { root: schema, rng: StdRng::seed_from_u64(seed) }.value(schema);
    let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    if let Err(error) = validator.validate(&value) {
        panic!("the test's own line is none of the schema: {error} at {}: {text}", error.instance_path());
    }
    text + "\n"
}

#[test]
fn every_line_of_the_schema_is_read() {
    let (stream, journal) = (schema::stream(), schema::journal());
    let of_stream = jsonschema::validator_for(&stream).unwrap();
    let of_journal = jsonschema::validator_for(&journal).unwrap();
    let config = ProptestConfig { failure_persistence: None, cases: 2_000, ..ProptestConfig::default() };
    proptest!(config, |(seed: u64)| {
        let mut decoder = Decoder::default();
        let text = line(&stream, &of_stream, seed);
        decoder.push(text.as_bytes());
        let read = decoder.next_record::<Record>().unwrap();
        prop_assert!(read.is_ok(), "{read:?}: {text}");
        let text = line(&journal, &of_journal, seed);
        decoder.push(text.as_bytes());
        let read = decoder.next_record::<Entry>().unwrap();
        prop_assert!(read.is_ok(), "{read:?}: {text}");
    });
}
