//! The faults: declarations, one list.

mod answer;
mod forge;
mod hold;

use toxiproxy::toxic::{Param, ToxicKind};
use toxiproxy::wire::{Attribute, Attributes};

use crate::act::Act;
use crate::command::Commands;
use crate::selector::Selector;

/// What a fault does to a connection, beyond the op itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// Every byte arrives, in order, only later.
    None,
    /// Some answers are not the server's. The connection stays in step and can be used on when the toxic is removed.
    Data,
    /// The connection ends, or gets out of step: a client has to close it, also when the toxic is gone.
    Connection,
}

impl Harm {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Harm::None => "none",
            Harm::Data => "data",
            Harm::Connection => "connection",
        }
    }
}

/// A fault.
#[derive(Debug)]
pub struct Fault {
    /// How the server knows it.
    pub kind: ToxicKind,
    /// What it does, in a line.
    pub summary: &'static str,
    /// What a client that survives it has shown.
    pub proves: &'static str,
    /// Its own attributes and what they say; the others are those of every fault.
    pub own: &'static [(Param, &'static str)],
    /// What it does to the connection.
    pub harm: Harm,
    /// What happens when it is removed.
    pub removal: &'static str,
    /// How its attributes are read.
    pub(crate) declared: Declared,
}

/// What a kind is read with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Declared {
    pub(crate) name: &'static str,
    pub(crate) params: &'static [Param],
    pub(crate) on: Commands,
    pub(crate) act: fn(&Attributes) -> Result<Act, String>,
}

/// What the attributes of a fault say.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) act: Act,
    pub(crate) selector: Selector,
}

impl Declared {
    /// Reads attributes; what is absent has its default.
    pub(crate) fn read(&self, attributes: &Attributes) -> Result<Plan, String> {
        let mut full = attributes.clone();
        for param in self.params {
            full.entry(param.name.to_owned()).or_insert_with(|| param.default.clone());
        }
        let plan = || {
            let act = (self.act)(&full)?;
            let selector = Selector::read(&full, self.on, act.acts())?;
            Ok(Plan { act, selector })
        };
        plan().map_err(|text: String| format!("{} {text}", self.name))
    }
}

/// Declares a fault: its kind has its own attributes and those of the selector.
macro_rules! fault {
    (
        $name:literal, $act:expr, on: $on:expr, own: [$(($param:expr, $says:expr)),* $(,)?],
        summary: $summary:expr, proves: $proves:expr, harm: $harm:expr, removal: $removal:expr $(,)?
    ) => {{
        const OWN: &[(toxiproxy::toxic::Param, &str)] = &[$(($param, $says)),*];
        const PARAMS: &[toxiproxy::toxic::Param] = &[
            $($param,)*
            crate::selector::COMMANDS,
            crate::selector::KEY_PREFIX,
            crate::selector::MIN_SIZE,
            crate::selector::MAX_SIZE,
            crate::selector::SHARE_PPM,
        ];
        const DECLARED: crate::faults::Declared =
            crate::faults::Declared { name: $name, params: PARAMS, on: $on, act: $act };
        crate::faults::Fault {
            kind: toxiproxy::toxic::ToxicKind {
                name: $name,
                params: PARAMS,
                extension: true,
                check: |attributes| DECLARED.read(attributes).map(drop),
                build: toxiproxy::toxic::Build::Connection(|attributes, rng, joined| {
                    crate::connection::stages(DECLARED, attributes, rng, joined)
                }),
            },
            summary: $summary,
            proves: $proves,
            own: OWN,
            harm: $harm,
            removal: $removal,
            declared: DECLARED,
        }
    }};
}
pub(crate) use fault;

/// One list for both tables.
macro_rules! list {
    ($($fault:expr),* $(,)?) => {
        /// All faults.
        pub const FAULTS: &[Fault] = &[$($fault),*];

        /// Their kinds, for the configuration of a server.
        pub const KINDS: &[ToxicKind] = &[$($fault.kind),*];
    };
}

list![
    hold::DELAY,
    hold::DELAY_REQUEST,
    hold::STALL,
    hold::HOLD_REPLY,
    hold::SLOW_VALUE,
    hold::SPLIT_REPLY,
    answer::HEALTH_ONLY,
    answer::SERVER_ERROR,
    answer::ERROR_REPLY,
    answer::MISS,
    answer::LOST_WRITE,
    forge::CORRUPT_VALUE,
    forge::TRUNCATE_VALUE,
    forge::WRONG_KEY,
    answer::BUSY,
    answer::POISON,
    forge::CUT_VALUE,
    forge::WRONG_LENGTH,
    forge::DUPLICATE_REPLY,
    forge::SWAP_REPLIES,
    forge::DROP_REPLY,
    forge::GARBAGE,
];

/// A text that goes on the wire in one line.
fn line_text(attributes: &Attributes, name: &str) -> Result<String, String> {
    const TEXT_MAX: usize = 200;
    let text = attributes.get(name).and_then(Attribute::text).unwrap_or_default();
    if text.len() > TEXT_MAX || text.bytes().any(|byte| !(b' '..0x7f).contains(&byte)) {
        return Err(format!("{name} is {text:?}; it must be at most {TEXT_MAX} printable ASCII characters"));
    }
    Ok(text.to_owned())
}

/// A text with a default.
const fn text_or(name: &'static str, default: &'static str) -> Param {
    Param { name, default: Attribute::Text(std::borrow::Cow::Borrowed(default)) }
}

#[cfg(test)]
mod tests;
