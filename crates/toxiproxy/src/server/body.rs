//! Request bodies as the stock server reads them: one JSON value, what follows is ignored; field names match regardless of
//! case; unknown fields are ignored; `null` means absent.

use serde_json::{Map, Value};

use crate::toxic::Param;
use crate::wire::{Attribute, Attributes, ProxyUpdate};

/// Text behind `bad request body: `.
pub(super) type Bad = String;

/// Fields of a body that is an object; none for `null`.
#[derive(Debug, Default)]
pub(super) struct Fields(Map<String, Value>);

/// The body's first JSON value.
pub(super) fn value(bytes: &[u8]) -> Result<Value, Bad> {
    match serde_json::Deserializer::from_slice(bytes).into_iter::<Value>().next() {
        None => Err("EOF".to_owned()),
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) if error.is_eof() => Err("unexpected EOF".to_owned()),
        Some(Err(error)) => Err(error.to_string()),
    }
}

/// Its fields, names in lower case.
pub(super) fn fields(value: Value) -> Result<Fields, Bad> {
    match value {
        Value::Null => Ok(Fields::default()),
        Value::Object(map) => {
            let known = map.into_iter().filter(|(_, value)| !value.is_null());
            Ok(Fields(known.map(|(name, value)| (name.to_lowercase(), value)).collect()))
        }
        other => Err(format!("cannot use {} as an object", kind(&other))),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn attribute(param: &Param, value: &Value) -> Result<Attribute, Bad> {
    let wanted = match (&param.default, value) {
        (Attribute::Number(_), value) => match value.as_i64() {
            Some(number) => return Ok(number.into()),
            None => "a 64-bit whole number",
        },
        (Attribute::Text(_), Value::String(text)) => return Ok(text.as_str().into()),
        (Attribute::Text(_), _) => "a string",
    };
    Err(format!("cannot use {value} as {}, which is {wanted}", param.name))
}

impl Fields {
    fn wrong<T>(&self, name: &str, wanted: &str) -> Result<T, Bad> {
        let found = self.0.get(name).map_or("nothing", kind);
        Err(format!("cannot use {found} as {name}, which is {wanted}"))
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Bad> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => self.wrong(name, "a string"),
        }
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Bad> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => self.wrong(name, "a boolean"),
        }
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<f64>, Bad> {
        match self.0.get(name) {
            None => Ok(None),
            // A 32-bit float, as the stock server stores it, written shortest.
            Some(Value::Number(n)) => match n.as_f64().map(|n| (n as f32).to_string().parse::<f64>()) {
                Some(Ok(n)) if n.is_finite() => Ok(Some(n)),
                _ => self.wrong(name, "a 32-bit number"),
            },
            Some(_) => self.wrong(name, "a number"),
        }
    }

    /// Those of `params` that are given: texts, and whole numbers without a point or exponent.
    pub(super) fn attributes(&self, params: &[Param]) -> Result<Attributes, Bad> {
        match self.0.get("attributes") {
            None => Ok(Attributes::new()),
            Some(Value::Object(map)) => {
                let given = map.iter().filter(|(_, value)| !value.is_null()).filter_map(|(name, value)| {
                    let param = params.iter().find(|param| param.name.eq_ignore_ascii_case(name))?;
                    Some((param, value))
                });
                given.map(|(param, value)| Ok((param.name.to_owned(), attribute(param, value)?))).collect()
            }
            Some(_) => self.wrong("attributes", "an object"),
        }
    }

    pub(super) fn proxy_update(&self) -> Result<ProxyUpdate, Bad> {
        Ok(ProxyUpdate {
            listen: self.text("listen")?,
            upstream: self.text("upstream")?,
            enabled: self.flag("enabled")?,
        })
    }
}
