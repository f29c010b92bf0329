//! The pieces of a scenario file as they are written: keys, values, and the place of each for an error message.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Visitor};
use toml::Spanned;
use toxiproxy::wire::Attributes;

/// Longest duration in a scenario.
const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);
/// Keys that differ by this many letters at most look alike.
const TYPO_MAX: usize = 2;
/// Highest rate, kB/s.
const RATE_MAX: u64 = 4_000_000;

/// An error in the text: its place, and what is wrong there.
#[derive(Debug)]
pub(crate) struct Wrong(pub(crate) Range<usize>, pub(crate) String);

/// An error at a value.
pub(crate) fn wrong<T>(at: &Spanned<T>, what: impl Into<String>) -> Wrong {
    Wrong(at.span(), what.into())
}

/// Reads a duration with its unit; `key` is named in the error.
pub(crate) fn duration(key: &str, text: &Spanned<String>) -> Result<Duration, Wrong> {
    within(Duration::ZERO, key, text)
}

/// Reads the length of a phase, which is above zero.
pub(crate) fn phase(key: &str, text: &Spanned<String>) -> Result<Duration, Wrong> {
    within(duration::SHORTEST, key, text)
}

fn within(least: Duration, key: &str, text: &Spanned<String>) -> Result<Duration, Wrong> {
    duration::within(least..=DURATION_MAX, text.get_ref())
        .map_err(|error| wrong(text, format!("{key}: {error}, not {:?}", text.get_ref())))
}

/// Any value that a key of a fault can have.
#[derive(Debug)]
pub(crate) enum Value {
    Text(String),
    Number(i64),
    Attributes(Attributes),
    /// Nothing that a fault takes: a truth value, a list or a fraction.
    Other,
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a whole number or a table")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        while list.next_element::<de::IgnoredAny>()?.is_some() {}
        Ok(Value::Other)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
        Attributes::deserialize(MapAccessDeserializer::new(map)).map(Value::Attributes)
    }
}

/// A value of one type, read from what is written.
pub(crate) trait FromWritten: Sized {
    /// `name` is the key, for the error.
    fn from_written(name: &str, written: &Spanned<Value>) -> Result<Self, Wrong>;
}

impl FromWritten for String {
    fn from_written(name: &str, written: &Spanned<Value>) -> Result<Self, Wrong> {
        match written.get_ref() {
            Value::Text(text) => Ok(text.clone()),
            _ => Err(wrong(written, format!("{name}: expected a text in quotes"))),
        }
    }
}

impl FromWritten for u32 {
    fn from_written(name: &str, written: &Spanned<Value>) -> Result<Self, Wrong> {
        match written.get_ref() {
            Value::Number(number) => u32::try_from(*number).ok(),
            _ => None,
        }
        .ok_or_else(|| wrong(written, format!("{name}: expected a whole number from 0 to {}", u32::MAX)))
    }
}

impl FromWritten for Duration {
    fn from_written(name: &str, written: &Spanned<Value>) -> Result<Self, Wrong> {
        let text = String::from_written(name, written)?;
        duration(name, &Spanned::new(written.span(), text))
    }
}

impl FromWritten for Attributes {
    fn from_written(name: &str, written: &Spanned<Value>) -> Result<Self, Wrong> {
        match written.get_ref() {
            Value::Attributes(attributes) => Ok(attributes.clone()),
            _ => Err(wrong(written, format!("{name}: expected a table, like {{ latency = 5 }}"))),
        }
    }
}

/// A share, 0-1; written as a percentage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Share(pub(crate) f64);

impl FromWritten for Share {
    fn from_written(name: &str, written: &Spanned<Value>) -> Result<Self, Wrong> {
        let text = String::from_written(name, written)?;
        let share = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
        share.filter(|share| *share > 0.0 && *share <= 100.0).map(|share| Self(share / 100.0)).ok_or_else(
            || wrong(written, format!("{name}: expected a share above 0% and up to 100%, like \"5%\"")),
        )
    }
}

/// A rate in kB/s, 1 kB = 1000 bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct KbPerS(pub(crate) u64);

impl FromWritten for KbPerS {
    fn from_written(name: &str, written: &Spanned<Value>) -> Result<Self, Wrong> {
        let text = String::from_written(name, written)?;
        let rate = text.strip_suffix("kB/s").and_then(|number| number.trim().parse::<u64>().ok());
        rate.filter(|rate| (1..=RATE_MAX).contains(rate)).map(Self).ok_or_else(|| {
            wrong(written, format!("{name}: expected 1 to {RATE_MAX} with its unit, like \"64kB/s\""))
        })
    }
}

/// A `[[fault]]` as it is written.
pub(crate) type WrittenFault = BTreeMap<String, Spanned<Value>>;

/// The keys of one `[[fault]]`, without `target` and `type`. A kind of fault takes those that it knows; [`Keys::end`] refuses the others.
#[derive(Debug)]
pub(crate) struct Keys {
    kind: Spanned<String>,
    written: WrittenFault,
    takes: Vec<&'static str>,
}

impl Keys {
    pub(crate) fn new(kind: Spanned<String>, written: WrittenFault) -> Self {
        Self { kind, written, takes: Vec::new() }
    }

    /// The value of `type`.
    pub(crate) fn kind(&self) -> &Spanned<String> {
        &self.kind
    }

    /// A key that may be missing.
    pub(crate) fn optional<T: FromWritten>(&mut self, name: &'static str) -> Result<Option<T>, Wrong> {
        self.takes.push(name);
        self.written.get(name).map(|written| T::from_written(name, written)).transpose()
    }

    /// A key that the kind cannot do without.
    pub(crate) fn required<T: FromWritten>(&mut self, name: &'static str) -> Result<T, Wrong> {
        match self.optional(name)? {
            Some(value) => Ok(value),
            None => Err(self.missing(name)),
        }
    }

    /// The error for a key that is needed: at one that looks like it, or at the kind.
    fn missing(&self, name: &str) -> Wrong {
        let alike = |written: &String| {
            strsim::damerau_levenshtein(written, name) <= TYPO_MAX && !self.takes.contains(&written.as_str())
        };
        match self.written.iter().find(|(written, _)| alike(written)) {
            Some((written, value)) => {
                wrong(value, format!("{written}: there is no such key; did you mean {name}?"))
            }
            None => wrong(&self.kind, format!("a {} fault needs {name}", self.kind.get_ref())),
        }
    }

    /// An error at the value of a key, or at the kind if the key is missing.
    pub(crate) fn wrong(&self, name: &str, what: impl fmt::Display) -> Wrong {
        let place = self.written.get(name).map_or_else(|| self.kind.span(), Spanned::span);
        Wrong(place, format!("{name}: {what}"))
    }

    /// Fails at the first key that the kind has not taken.
    pub(crate) fn end(self) -> Result<(), Wrong> {
        let left = self.written.iter().filter(|(name, _)| !self.takes.contains(&name.as_str()));
        let Some((name, written)) = left.min_by_key(|(_, written)| written.span().start) else {
            return Ok(());
        };
        let takes = if self.takes.is_empty() { "nothing".to_owned() } else { self.takes.join(", ") };
        Err(wrong(written, format!("{name}: a {} fault takes {takes}", self.kind.get_ref())))
    }
}
