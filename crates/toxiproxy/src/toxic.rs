//! What a toxic is: a small state machine for the data of one link, and the declaration of its kind. It never does I/O and
//! never waits, it says until when it wants to be left alone.
//!
//! ```text
//!   push(chunk) ──▶ [ held chunks, clock, counters ] ──▶ pop() = chunk | wait until | end | close
//! ```
//!
//! Whether it acts at all (toxicity) is decided outside; what it holds is given back by [`Behaviour::release`].

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use crate::wire::{Attribute, Attributes, Stream};

/// Bytes as they were read, with the moment from which delays count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// At least one byte, at most 32 KiB.
    pub bytes: Bytes,
    /// When they came in; behind a toxic that delays, when they were due to leave it.
    pub stamp: Instant,
}

/// What a stage has to give.
#[derive(Debug, PartialEq, Eq)]
pub enum Pop {
    /// Data for the next stage.
    Chunk(Chunk),
    /// Nothing before that moment; `None`: nothing before more comes in.
    Wait(Option<Instant>),
    /// Everything has passed, and the input has ended.
    End,
    /// The connection ends here and now.
    Close,
}

/// One toxic on one link.
pub trait Behaviour: Send {
    /// Takes a chunk; says whether it will touch it (delay, hold, drop, cut, change).
    fn push(&mut self, chunk: Chunk, now: Instant) -> bool;

    /// What comes out now.
    fn pop(&mut self, now: Instant) -> Pop;

    /// May more be pushed? Until then the source is not read. What keeps chunks must say no at some bound, or a receiver that
    /// does not read fills the memory.
    fn has_room(&self) -> bool;

    /// The input has ended.
    fn end(&mut self, now: Instant);

    /// New attributes, on an open link.
    fn update(&mut self, attributes: &Attributes, now: Instant);

    /// Gives back what can leave at once, in order: the toxic is being removed, or its dice have spared the link.
    fn release(&mut self) -> VecDeque<Chunk>;

    /// After a release: may it leave the chain, or be spared by its dice? Until then it stays, and acts. One that has begun to
    /// end the connection never may.
    fn drained(&self) -> bool {
        true
    }

    /// Removing it closes the link.
    fn closes_on_removal(&self) -> bool {
        false
    }
}

/// What had passed on a connection when a toxic joined it. Indexed by `Stream as usize`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Joined {
    /// Bytes each way.
    pub bytes: [u64; 2],
    /// The last two of them; zeros before there were two.
    pub tails: [[u8; 2]; 2],
    /// The direction of the last chunk.
    pub last: Option<Stream>,
}

/// How a kind is built from its attributes, a random source of its own, and what had passed.
#[derive(Debug, Clone, Copy)]
pub enum Build {
    /// Acts on the direction that the toxic names.
    Link(fn(&Attributes, ChaCha8Rng) -> Box<dyn Behaviour>),
    /// Acts on both directions of a connection with a state that they share: upstream's stage, then downstream's. Both run
    /// under one lock, and both are asked for output after anything has happened to either. Its dice are rolled once, when it
    /// starts on a connection, and never again.
    Connection(fn(&Attributes, ChaCha8Rng, &Joined) -> [Box<dyn Behaviour>; 2]),
}

/// An attribute that a kind has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Param {
    /// Its name.
    pub name: &'static str,
    /// Its value when absent; its type is that of all values.
    pub default: Attribute,
}

impl Param {
    /// A whole number, 0 by default.
    pub const fn number(name: &'static str) -> Self {
        Self::number_or(name, 0)
    }

    /// A whole number with a default.
    pub const fn number_or(name: &'static str, default: i64) -> Self {
        Self { name, default: Attribute::Number(default) }
    }

    /// A text, empty by default.
    pub const fn text(name: &'static str) -> Self {
        Self { name, default: Attribute::Text(std::borrow::Cow::Borrowed("")) }
    }
}

/// A kind of toxic.
#[derive(Debug)]
pub struct ToxicKind {
    /// Value of `type`.
    pub name: &'static str,
    /// Its attributes.
    pub params: &'static [Param],
    /// Not known to the stock server. What `check` says is then said by the server too; attributes of stock kinds are taken
    /// whatever they are, as the stock server does.
    pub extension: bool,
    /// Refuses what would do nothing that was meant.
    pub check: fn(&Attributes) -> Result<(), String>,
    /// Makes one for a link or connection.
    pub build: Build,
}

/// Largest number that makes sense: clients decode 32 bits, and a stock server dies of sums above 63.
const NUMBER_MAX: i64 = u32::MAX as i64;

impl ToxicKind {
    /// Does it act on both directions of a connection, with one state?
    pub(crate) fn is_of_connections(&self) -> bool {
        matches!(self.build, Build::Connection(_))
    }

    /// Only this kind's attributes, all of them.
    pub fn complete(&self, given: &Attributes) -> Attributes {
        let value = |param: &Param| given.get(param.name).cloned().unwrap_or_else(|| param.default.clone());
        self.params.iter().map(|param| (param.name.to_owned(), value(param))).collect()
    }

    /// Refuses unknown attributes, wrong types, negative or huge numbers, and combinations that the kind itself refuses.
    pub fn check_all(&self, attributes: &Attributes) -> Result<(), String> {
        for (name, value) in attributes {
            let Some(param) = self.params.iter().find(|param| param.name == name) else {
                let known: Vec<&str> = self.params.iter().map(|param| param.name).collect();
                return Err(format!("{} has no attribute {name:?}; it has: {}", self.name, known.join(", ")));
            };
            match (value, &param.default) {
                (Attribute::Number(number), Attribute::Number(_)) if !(0..=NUMBER_MAX).contains(number) => {
                    return Err(format!(
                        "{} {name} is {number}; it must lie between 0 and {NUMBER_MAX}",
                        self.name
                    ));
                }
                (Attribute::Number(_), Attribute::Text(_)) => {
                    return Err(format!("{} {name} is {value}; it must be a text", self.name));
                }
                (Attribute::Text(_), Attribute::Number(_)) => {
                    return Err(format!("{} {name} is {value}; it must be a whole number", self.name));
                }
                _ => {}
            }
        }
        (self.check)(attributes)
    }
}

/// A `check` that takes everything.
pub fn any(_: &Attributes) -> Result<(), String> {
    Ok(())
}

/// A non-negative number; negative ones act as 0, as do absent ones.
pub fn number(attributes: &Attributes, name: &str) -> u64 {
    attributes
        .get(name)
        .and_then(Attribute::number)
        .and_then(|number| u64::try_from(number).ok())
        .unwrap_or(0)
}

/// A text; an absent one is empty.
pub fn text<'a>(attributes: &'a Attributes, name: &str) -> &'a str {
    attributes.get(name).and_then(Attribute::text).unwrap_or("")
}

/// A time in milliseconds, bounded so that it can be added to any instant.
pub fn millis(attributes: &Attributes, name: &str) -> Duration {
    const YEAR_MS: u64 = 365 * 24 * 3600 * 1000;
    Duration::from_millis(number(attributes, name).min(YEAR_MS))
}
