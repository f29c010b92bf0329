//! Request bodies as the stock server reads them: one JSON value, what follows is ignored; field names match regardless of
//! case; unknown fields are ignored; `null` means absent; of a field that comes twice the last counts, and attributes add up.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::toxic::Param;
use crate::wire::{Attribute, Attributes, NewProxy, ProxyUpdate};

/// Text behind `bad request body: `.
pub(super) type Bad = String;

/// A JSON value in which fields keep their order and may come twice, and whole numbers are told from others by how they
/// are written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json {
    Null,
    Flag(bool),
    Whole(i64),
    Number(f64),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Json, E> {
        Ok(Json::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Whole(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(i64::try_from(number).map_or(Json::Number(number as f64), Json::Whole))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json, E> {
        // `-0` is whole, but no integer can be it.
        Ok(if number == 0.0 && number.is_sign_negative() { Json::Whole(0) } else { Json::Number(number) })
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Json::Object(fields))
    }
}

impl Json {
    fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Flag(_) => "a boolean",
            Json::Whole(_) | Json::Number(_) => "a number",
            Json::Text(_) => "a string",
            Json::Array(_) => "an array",
            Json::Object(_) => "an object",
        }
    }
}

/// The body's first JSON value.
pub(super) fn value(bytes: &[u8]) -> Result<Json, Bad> {
    // Bytes that are no UTF-8 become U+FFFD, in names too.
    let text = String::from_utf8_lossy(bytes);
    match serde_json::Deserializer::from_str(&text).into_iter::<Json>().next() {
        None => Err("EOF".to_owned()),
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) if error.is_eof() => Err("unexpected EOF".to_owned()),
        Some(Err(error)) => Err(error.to_string()),
    }
}

/// Fields of a body that is an object, names in lower case; none for `null`.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<(String, Json)>);

/// The fields of the body's first value.
pub(super) fn fields(bytes: &[u8]) -> Result<Fields, Bad> {
    Fields::of(value(bytes)?)
}

/// The proxies of a body that is an array; none for `null`.
pub(super) fn proxies(bytes: &[u8]) -> Result<Vec<NewProxy>, Bad> {
    match value(bytes)? {
        Json::Null => Ok(Vec::new()),
        Json::Array(items) => items.into_iter().map(|item| Fields::of(item)?.new_proxy()).collect(),
        other => Err(format!("cannot use {} as an array of proxies", other.kind())),
    }
}

/// Attributes as they came, before it is known which of them the toxic has.
pub(super) struct Given<'a>(Vec<&'a (String, Json)>);

impl Given<'_> {
    /// Those of `params`: texts, and whole numbers without a point or exponent. The others are not even looked at.
    pub(super) fn of(&self, params: &[Param]) -> Result<Attributes, Bad> {
        let mut attributes = Attributes::new();
        for (name, value) in &self.0 {
            let param = params.iter().find(|param| param.name.eq_ignore_ascii_case(name));
            if let Some(param) = param.filter(|_| *value != Json::Null) {
                attributes.insert(param.name.to_owned(), attribute(param, value)?);
            }
        }
        Ok(attributes)
    }
}

fn attribute(param: &Param, value: &Json) -> Result<Attribute, Bad> {
    let wanted = match (&param.default, value) {
        (Attribute::Number(_), Json::Whole(number)) => return Ok((*number).into()),
        (Attribute::Text(_), Json::Text(text)) => return Ok(text.as_str().into()),
        (Attribute::Number(_), _) => "a 64-bit whole number",
        (Attribute::Text(_), _) => "a string",
    };
    Err(format!("cannot use {} as {}, which is {wanted}", value.kind(), param.name))
}

impl Fields {
    fn of(value: Json) -> Result<Self, Bad> {
        match value {
            Json::Null => Ok(Self::default()),
            Json::Object(fields) => {
                let lower = fields.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value));
                Ok(Self(lower.collect()))
            }
            other => Err(format!("cannot use {} as an object", other.kind())),
        }
    }

    /// Every value of that name is read, so that none can be wrong; the last one counts.
    fn last<'a, T>(
        &'a self,
        name: &str,
        wanted: &str,
        read: impl Fn(&'a Json) -> Option<T>,
    ) -> Result<Option<T>, Bad> {
        let mut found = None;
        for (_, value) in self.0.iter().filter(|(known, value)| known == name && *value != Json::Null) {
            match read(value) {
                Some(value) => found = Some(value),
                None => return Err(format!("cannot use {} as {name}, which is {wanted}", value.kind())),
            }
        }
        Ok(found)
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Bad> {
        self.last(name, "a string", |value| match value {
            Json::Text(text) => Some(text.clone()),
            _ => None,
        })
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, Bad> {
        self.last(name, "a boolean", |value| match value {
            Json::Flag(flag) => Some(*flag),
            _ => None,
        })
    }

    /// A 32-bit float, as the stock server stores it, written shortest.
    pub(super) fn number(&self, name: &str) -> Result<Option<f64>, Bad> {
        self.last(name, "a 32-bit number", |value| {
            let number = match value {
                Json::Whole(number) => *number as f32,
                Json::Number(number) => *number as f32,
                _ => return None,
            };
            number.to_string().parse::<f64>().ok().filter(|number| number.is_finite())
        })
    }

    /// The attributes, which must be an object.
    pub(super) fn attributes(&self) -> Result<Given<'_>, Bad> {
        let mut given = Vec::new();
        for (_, value) in self.0.iter().filter(|(name, _)| name == "attributes") {
            match value {
                Json::Null => {}
                Json::Object(fields) => given.extend(fields),
                other => {
                    return Err(format!("cannot use {} as attributes, which are an object", other.kind()));
                }
            }
        }
        Ok(Given(given))
    }

    pub(super) fn new_proxy(&self) -> Result<NewProxy, Bad> {
        Ok(NewProxy {
            name: self.text("name")?.unwrap_or_default(),
            listen: self.text("listen")?.unwrap_or_default(),
            upstream: self.text("upstream")?.unwrap_or_default(),
            enabled: self.flag("enabled")?.unwrap_or(true),
        })
    }

    pub(super) fn proxy_update(&self) -> Result<ProxyUpdate, Bad> {
        // The name is not used, but must be one.
        self.text("name")?;
        Ok(ProxyUpdate {
            listen: self.text("listen")?,
            upstream: self.text("upstream")?,
            enabled: self.flag("enabled")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_value_is_read() {
        for text in ["{} trailing", "{}}}", "{}\u{0}", "[]x"] {
            assert!(value(text.as_bytes()).is_ok(), "{text}");
        }
        for (text, wanted) in
            [("", "EOF"), (" \n", "EOF"), ("{", "unexpected EOF"), ("[1,", "unexpected EOF")]
        {
            assert_eq!(value(text.as_bytes()), Err(wanted.to_owned()), "{text}");
        }
        for text in ["hello", "{\"a\":1,}", "\u{feff}{}", "{\"a\":\"\u{1}\"}"] {
            assert!(value(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn the_last_of_two_fields_counts_and_neither_may_be_wrong() {
        let name = |text: &str| fields(text.as_bytes()).unwrap().text("name");
        assert_eq!(name(r#"{"name":"a","NAME":"b"}"#), Ok(Some("b".to_owned())));
        assert_eq!(name(r#"{"Name":"b","name":"a","name":null}"#), Ok(Some("a".to_owned())));
        assert!(name(r#"{"name":5,"name":"a"}"#).is_err());
        assert_eq!(name("{\"name\":\"\u{e9}\"}"), Ok(Some("\u{e9}".to_owned())));
        let cut = fields(b"{\"name\":\"\xff\"}").unwrap();
        assert_eq!(cut.text("name"), Ok(Some("\u{fffd}".to_owned())));
    }

    #[test]
    fn attributes_are_whole_numbers_and_add_up() {
        const PARAMS: &[Param] = &[Param::number("a"), Param::number("b")];
        let read = |text: &str| fields(text.as_bytes())?.attributes()?.of(PARAMS);
        let twice = read(r#"{"attributes":{"a":1,"B":2},"ATTRIBUTES":{"A":3,"c":"x"},"attributes":null}"#);
        assert_eq!(twice, Ok([("a".to_owned(), 3.into()), ("b".to_owned(), 2.into())].into()));
        assert_eq!(read(r#"{"attributes":{"a":-0}}"#), Ok([("a".to_owned(), 0.into())].into()));
        for bad in ["1.5", "1.0", "1e3", "\"1\"", "true", "[]", "9223372036854775808"] {
            assert!(read(&format!("{{\"attributes\":{{\"a\":{bad}}}}}")).is_err(), "{bad}");
        }
        assert!(read(r#"{"attributes":[1]}"#).is_err());
    }

    #[test]
    fn a_toxicity_is_a_32_bit_float() {
        let read = |text: &str| fields(format!("{{\"n\":{text}}}").as_bytes()).unwrap().number("n");
        for (text, wanted) in [
            ("0.2", 0.2),
            ("0.123456789", 0.12345679),
            ("16777217", 16777216.0),
            ("1e-50", 0.0),
            ("-1", -1.0),
        ] {
            assert_eq!(read(text), Ok(Some(wanted)), "{text}");
        }
        assert!(read("1e40").is_err());
        assert!(read("\"1\"").is_err());
    }
}
