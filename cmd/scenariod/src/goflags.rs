//! Flags as Go programs take them: one dash or two, `-name value` or `-name=value`, the first other word ends them.

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// Nothing, or a truth value behind `=`.
    Switch,
    /// A whole number of 64 bits, also `0x1f` or `1_000`.
    Number,
}

/// A value that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Of [`Kind::Text`].
    Text(String),
    /// Of [`Kind::Switch`].
    Switch(bool),
    /// Of [`Kind::Number`].
    Number(i64),
}

/// Why there are no flags; in the words of Go.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// `-h` or `-help`.
    #[error("help requested")]
    Help,
    /// Anything else.
    #[error("{0}")]
    Usage(String),
}

/// What was typed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// In order; of a name that comes twice the last one counts.
    pub given: Vec<(String, Value)>,
    /// From the first word on that is no flag.
    pub rest: Vec<String>,
}

/// Reads `args`, without the program's name. `kind` knows the flags.
pub fn parse(args: &[String], kind: impl Fn(&str) -> Option<Kind>) -> Result<Flags, Bad> {
    let mut flags = Flags::default();
    let mut args = args.iter();
    while let Some(arg) = args.as_slice().first() {
        let name = match arg.strip_prefix('-') {
            Some(name) if !name.is_empty() => name.strip_prefix('-').unwrap_or(name),
            _ => break,
        };
        args.next();
        if arg == "--" {
            break;
        }
        if name.is_empty() || name.starts_with(['-', '=']) {
            return Err(Bad::Usage(format!("bad flag syntax: {arg}")));
        }
        let (name, text) = match name.split_once('=') {
            Some((name, text)) => (name, Some(text)),
            None => (name, None),
        };
        let value = match (kind(name), text) {
            (None, _) if ["h", "help"].contains(&name) => return Err(Bad::Help),
            (None, _) => return Err(Bad::Usage(format!("flag provided but not defined: -{name}"))),
            (Some(Kind::Switch), None) => Value::Switch(true),
            (Some(Kind::Switch), Some(text)) => switch(text).map(Value::Switch).ok_or_else(|| {
                Bad::Usage(format!("invalid boolean value {text:?} for -{name}: parse error"))
            })?,
            (Some(kind), text) => {
                let next = || args.next().map(String::as_str);
                let text = text.or_else(next);
                let text = text.ok_or_else(|| Bad::Usage(format!("flag needs an argument: -{name}")))?;
                match kind {
                    Kind::Number => number(text).map(Value::Number).ok_or_else(|| {
                        Bad::Usage(format!("invalid value {text:?} for flag -{name}: parse error"))
                    })?,
                    _ => Value::Text(text.to_owned()),
                }
            }
        };
        flags.given.push((name.to_owned(), value));
    }
    flags.rest = args.cloned().collect();
    Ok(flags)
}

fn switch(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn number(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    let digits = digits.replace('_', "");
    // `from_str_radix` takes a sign of its own.
    if digits.starts_with(['+', '-']) {
        return None;
    }
    i64::from_str_radix(&format!("{sign}{digits}"), radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Result<Flags, Bad> {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        parse(&args, |name| match name {
            "text" => Some(Kind::Text),
            "switch" => Some(Kind::Switch),
            "number" => Some(Kind::Number),
            _ => None,
        })
    }

    fn given(args: &[&str]) -> Vec<(String, Value)> {
        read(args).unwrap().given
    }

    #[test]
    fn one_dash_or_two_with_or_without_an_equals_sign() {
        let text = |value: &str| vec![("text".to_owned(), Value::Text(value.to_owned()))];
        for args in [&["-text", "a"][..], &["--text", "a"], &["-text=a"], &["--text=a"]] {
            assert_eq!(given(args), text("a"), "{args:?}");
        }
        assert_eq!(given(&["-text="]), text(""));
        assert_eq!(given(&["-text=a=b"]), text("a=b"));
        // What follows is the value, whatever it looks like.
        assert_eq!(given(&["-text", "-switch"]), text("-switch"));
    }

    #[test]
    fn switches_take_their_value_behind_an_equals_sign_only() {
        for (arg, wanted) in
            [("-switch", true), ("-switch=T", true), ("--switch=1", true), ("-switch=false", false)]
        {
            assert_eq!(given(&[arg]), [("switch".to_owned(), Value::Switch(wanted))], "{arg}");
        }
        let flags = read(&["-switch", "false"]).unwrap();
        assert_eq!(flags.given, [("switch".to_owned(), Value::Switch(true))]);
        assert_eq!(flags.rest, ["false"]);
    }

    #[test]
    fn numbers_are_written_as_in_go() {
        for (text, wanted) in [
            ("5", 5),
            ("-5", -5),
            ("+5", 5),
            ("0x1F", 31),
            ("-0b101", -5),
            ("0o17", 15),
            ("017", 15),
            ("0", 0),
            ("1_000", 1000),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(given(&["-number", text]), [("number".to_owned(), Value::Number(wanted))], "{text}");
        }
        for text in ["", "x", "1.5", "0x", "--5", "+-5", "9223372036854775808"] {
            let bad = format!("invalid value {text:?} for flag -number: parse error");
            assert_eq!(read(&["-number", text]), Err(Bad::Usage(bad)), "{text}");
        }
    }

    #[test]
    fn the_first_other_word_ends_the_flags() {
        for (args, rest) in [
            (&["-switch", "word", "-nope"][..], &["word", "-nope"][..]),
            (&["-switch", "--", "-nope"], &["-nope"]),
            (&["-switch", "-"], &["-"]),
            (&["-switch", "", "x"], &["", "x"]),
        ] {
            let flags = read(args).unwrap();
            assert_eq!((flags.given.len(), flags.rest), (1, rest.iter().map(|w| (*w).to_owned()).collect()));
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_the_words_of_go() {
        for (args, wanted) in [
            (&["-nope"][..], "flag provided but not defined: -nope"),
            (&["--nope=1"], "flag provided but not defined: -nope"),
            (&["-text"], "flag needs an argument: -text"),
            (&["-switch=maybe"], "invalid boolean value \"maybe\" for -switch: parse error"),
            (&["---text"], "bad flag syntax: ---text"),
            (&["-=x"], "bad flag syntax: -=x"),
        ] {
            assert_eq!(read(args), Err(Bad::Usage(wanted.to_owned())), "{args:?}");
        }
        assert_eq!(read(&["-h"]), Err(Bad::Help));
        assert_eq!(read(&["--help"]), Err(Bad::Help));
    }
}
