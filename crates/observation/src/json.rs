//! JSON as its schema has it: a number without a fraction is an integer, also as `1.0` or `1e3`, which is how Lua, JavaScript
//! and Python write some of them. serde_json takes them for fractions.

use serde::de::DeserializeOwned;
use serde_json::{Number, Value};

/// Why a text is not the JSON that was expected.
#[derive(Debug, thiserror::Error)]
#[error("{}{error}", .at.as_ref().map_or(String::new(), |at| format!("{at}: ")))]
pub struct JsonError {
    /// JSON pointer of a number that is in the way; `None`: it is something else.
    at: Option<String>,
    error: serde_json::Error,
}

/// Reads a whole text.
pub fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, JsonError> {
    let plain = |error| JsonError { at: None, error };
    let error = match serde_json::from_slice(text) {
        Err(error) if error.is_data() => error,
        read => return read.map_err(plain),
    };
    let Ok(mut value) = serde_json::from_slice::<Value>(text) else { return Err(plain(error)) };
    let rewritten = whole(&mut value);
    match T::deserialize(&value) {
        // Without such a number the error was about something that a `Value` does not show.
        Ok(read) if rewritten => Ok(read),
        Ok(_) => Err(plain(error)),
        Err(error) => Err(JsonError { at: culprit::<T>(&value, &error), error }),
    }
}

/// Makes integers of the numbers without a fraction; gives whether there were any.
fn whole(value: &mut Value) -> bool {
    match value {
        Value::Number(number) => {
            let integer = number.as_f64().filter(|_| number.is_f64()).and_then(integer);
            *number = integer.clone().unwrap_or_else(|| number.clone());
            integer.is_some()
        }
        Value::Array(values) => values.iter_mut().fold(false, |any, value| whole(value) | any),
        Value::Object(fields) => fields.values_mut().fold(false, |any, value| whole(value) | any),
        _ => false,
    }
}

fn integer(number: f64) -> Option<Number> {
    // 2^64 and -2^63 are exact; what lies between them and has no fraction fits.
    const ABOVE: f64 = 18_446_744_073_709_551_616.0;
    const LEAST: f64 = -9_223_372_036_854_775_808.0;
    match number {
        _ if number.fract() != 0.0 => None,
        _ if (0.0..ABOVE).contains(&number) => Some((number as u64).into()),
        _ if (LEAST..0.0).contains(&number) => Some((number as i64).into()),
        _ => None,
    }
}

/// Where the fraction is that `error` is about: the last of the fewest first ones without which there is another error, or none.
fn culprit<T: DeserializeOwned>(value: &Value, error: &serde_json::Error) -> Option<String> {
    let mut found = Vec::new();
    fractions(value, "", &mut found);
    let error = error.to_string();
    let stays = |without: usize| {
        let mut value = value.clone();
        for at in &found[..without] {
            if let Some(number) = value.pointer_mut(at) {
                *number = 0.into();
            }
        }
        T::deserialize(value).is_err_and(|other| other.to_string() == error)
    };
    let counts: Vec<usize> = (0..=found.len()).collect();
    let first = counts.partition_point(|without| stays(*without));
    first.checked_sub(1).and_then(|last| found.get(last).cloned())
}

/// The JSON pointers of all numbers that are no integers.
fn fractions(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Number(number) if number.is_f64() => found.push(at.to_owned()),
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                fractions(value, &format!("{at}/{index}"), found);
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                let name = name.replace('~', "~0").replace('/', "~1");
                fractions(value, &format!("{at}/{name}"), found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Sample {
        count: u32,
        #[serde(default)]
        change: Option<i64>,
        #[serde(default)]
        share: f64,
        #[serde(default)]
        inner: Vec<Sample>,
    }

    fn sample(text: &str) -> Result<Sample, String> {
        read(text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_number_without_a_fraction_is_an_integer_however_it_is_written() {
        for (written, count) in
            [("3", 3), ("3.0", 3), ("3e2", 300), ("0.5e1", 5), ("-0.0", 0), ("4294967295.0", u32::MAX)]
        {
            let read = sample(&format!(r#"{{"count":{written},"change":-2.0,"share":1.0}}"#)).unwrap();
            assert_eq!((read.count, read.change, read.share), (count, Some(-2), 1.0), "{written}");
        }
        assert_eq!(read::<u64>(b"18446744073709549568.0").unwrap(), 18_446_744_073_709_549_568);
        assert_eq!(read::<i64>(b"-9223372036854775808.0").unwrap(), i64::MIN);
    }

    #[test]
    fn a_fraction_where_an_integer_belongs_is_refused_and_its_place_named() {
        let error = sample(r#"{"count":1,"share":0.25,"inner":[{"count":2.0},{"count":1.5,"share":0.5}]}"#);
        let error = error.unwrap_err();
        assert!(error.starts_with("/inner/1/count: ") && error.contains("1.5"), "{error}");
        assert!(sample(r#"{"count":1e300}"#).unwrap_err().starts_with("/count: invalid type"));
        for beyond in ["-1.0", "4294967296.0", "1e10"] {
            let error = sample(&format!(r#"{{"count":{beyond}}}"#)).unwrap_err();
            assert!(error.contains("invalid value"), "{error}");
        }
        assert!(read::<u64>(b"18446744073709551616.0").is_err());
    }

    #[test]
    fn what_else_is_wrong_stays_wrong() {
        for text in
            [r#"{"count":"3"}"#, r#"{"share":1.0}"#, r#"{"count":1,"count":2}"#, "{", r#"{"count":1.0}x"#]
        {
            assert!(sample(text).is_err(), "{text}");
        }
    }
}
