//! The commands that are understood, and sets of them.

/// A command of memcached's classic text or meta protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Get,
    Gets,
    Gat,
    Gats,
    Set,
    Add,
    Replace,
    Append,
    Prepend,
    Cas,
    Delete,
    Incr,
    Decr,
    Touch,
    Mg,
    Ms,
    Md,
    Ma,
    Me,
    Mn,
    Version,
    Stats,
    FlushAll,
    Verbosity,
    Quit,
}

use Command as C;

/// Each with its word on the wire.
const NAMES: &[(&str, Command)] = &[
    ("get", C::Get),
    ("gets", C::Gets),
    ("gat", C::Gat),
    ("gats", C::Gats),
    ("set", C::Set),
    ("add", C::Add),
    ("replace", C::Replace),
    ("append", C::Append),
    ("prepend", C::Prepend),
    ("cas", C::Cas),
    ("delete", C::Delete),
    ("incr", C::Incr),
    ("decr", C::Decr),
    ("touch", C::Touch),
    ("mg", C::Mg),
    ("ms", C::Ms),
    ("md", C::Md),
    ("ma", C::Ma),
    ("me", C::Me),
    ("mn", C::Mn),
    ("version", C::Version),
    ("stats", C::Stats),
    ("flush_all", C::FlushAll),
    ("verbosity", C::Verbosity),
    ("quit", C::Quit),
];

impl Command {
    /// The command of that word.
    pub(crate) fn named(word: &[u8]) -> Option<Self> {
        NAMES.iter().find(|(name, _)| name.as_bytes() == word).map(|(_, command)| *command)
    }

    /// Is there one whose word begins so?
    pub(crate) fn may_begin(part: &[u8]) -> bool {
        NAMES.iter().any(|(name, _)| name.as_bytes().starts_with(part))
    }

    pub(crate) fn is_meta(self) -> bool {
        matches!(self, C::Mg | C::Ms | C::Md | C::Ma | C::Me | C::Mn)
    }

    /// Asked for with several keys, answered with `VALUE` items and `END`.
    pub(crate) fn is_retrieval(self) -> bool {
        matches!(self, C::Get | C::Gets | C::Gat | C::Gats)
    }
}

/// A set of commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Commands(u32);

impl Commands {
    /// Ask for values.
    pub(crate) const READ: Self = Self::of(&[C::Get, C::Gets, C::Gat, C::Gats, C::Mg]);
    /// Carry a value.
    pub(crate) const STORE: Self =
        Self::of(&[C::Set, C::Add, C::Replace, C::Append, C::Prepend, C::Cas, C::Ms]);
    /// Change one key.
    pub(crate) const WRITE: Self =
        Self::STORE.or(Self::of(&[C::Delete, C::Incr, C::Decr, C::Touch, C::Md, C::Ma]));
    /// Are about keys.
    pub(crate) const DATA: Self = Self::READ.or(Self::WRITE);
    /// Can be answered as done without knowing what the server holds.
    pub(crate) const ACKNOWLEDGED: Self = Self::STORE.or(Self::of(&[C::Delete, C::Touch, C::Md]));
    /// What a prober asks.
    pub(crate) const HEALTH: Self = Self::of(&[C::Version, C::Mn]);
    /// May be answered with a value, or carry one.
    pub(crate) const SIZED: Self = Self::READ.or(Self::STORE).or(Self::of(&[C::Ma]));
    /// All that have a reply.
    pub(crate) const ANSWERED: Self =
        Self::DATA.or(Self::HEALTH).or(Self::of(&[C::Me, C::Stats, C::FlushAll, C::Verbosity]));

    const fn of(commands: &[Command]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < commands.len() {
            bits |= 1 << commands[at] as u32;
            at += 1;
        }
        Self(bits)
    }

    const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn has(self, command: Command) -> bool {
        self.0 & 1 << command as u32 != 0
    }

    /// The name of a group, or the names, for people.
    pub(crate) fn shown(self) -> String {
        match self {
            Self::READ => "read".to_owned(),
            Self::DATA => "data".to_owned(),
            Self::ANSWERED => "all".to_owned(),
            _ => self.names(),
        }
    }

    /// The names, for people.
    pub(crate) fn names(self) -> String {
        let names: Vec<&str> =
            NAMES.iter().filter(|(_, command)| self.has(*command)).map(|(name, _)| *name).collect();
        names.join(" ")
    }

    /// Reads a list such as `get,gets` or `read`, of commands that `within` has; an empty list is `within` without what is not
    /// about keys.
    pub(crate) fn parse(list: &str, within: Self) -> Result<Self, String> {
        let words: Vec<&str> = list.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
        if words.is_empty() {
            return Ok(within.and(Self::DATA));
        }
        words.into_iter().try_fold(Self(0), |sum, word| {
            let meant = match word {
                "read" => Self::READ,
                "write" => Self::WRITE,
                "data" => Self::DATA,
                _ => match Command::named(word.as_bytes()) {
                    Some(command) => Self::of(&[command]),
                    None => {
                        return Err(format!(
                            "commands names {word:?}; known are: read write data {}",
                            within.names()
                        ));
                    }
                },
            };
            match meant.and(within) {
                none if none.is_empty() => Err(format!(
                    "commands names {word:?}, on which it cannot act; it acts on: {}",
                    within.names()
                )),
                some => Ok(sum.or(some)),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_commands_mean_what_they_say() {
        let parse = |list| Commands::parse(list, Commands::ANSWERED);
        assert_eq!(parse("").unwrap(), Commands::DATA);
        assert_eq!(parse("read, write").unwrap(), Commands::DATA);
        assert_eq!(parse("get ,mn").unwrap().names(), "get mn");
        assert_eq!(Commands::parse("data", Commands::READ).unwrap(), Commands::READ);
        assert!(parse("gett").unwrap_err().contains("\"gett\""));
        assert!(Commands::parse("get", Commands::STORE).unwrap_err().contains("cannot act"));
    }
}
