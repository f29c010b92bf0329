//! `toxic`: a toxic of the proxy by its own name, for those that are no kind of fault of their own: `mc_*` above all.

use observation::FaultKind;
use observation::effect::Params;
use toxiproxy::wire::{Attributes, Stream};

use super::kind::{Kind, percent};
use crate::file::written::{Keys, Share, Wrong};
use crate::removal::ladder::MARKER;

/// A toxic of the proxy, by its own name.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedToxic {
    /// The toxic's kind, for example `mc_stall`.
    pub toxic: String,
    /// Direction.
    pub stream: Stream,
    /// Share of connections that it acts on, 0-1.
    pub toxicity: f64,
    /// As the proxy's API takes them.
    pub attributes: Attributes,
}

impl Kind for NamedToxic {
    fn read(keys: &mut Keys) -> Result<Self, Wrong> {
        let toxic: String = keys.required("toxic")?;
        if toxic == MARKER {
            let what = format!("{MARKER} does nothing, and marks what scenariod has switched off");
            return Err(keys.wrong("toxic", what));
        }
        let stream = match keys.optional::<String>("stream")? {
            None => Stream::Downstream,
            Some(text) => Stream::ALL
                .into_iter()
                .find(|stream| stream.name() == text)
                .ok_or_else(|| keys.wrong("stream", "expected upstream or downstream"))?,
        };
        let Share(toxicity) = keys.optional("toxicity")?.unwrap_or(Share(1.0));
        let attributes = keys.optional("attributes")?.unwrap_or_default();
        Ok(Self { toxic, stream, toxicity, attributes })
    }

    fn kind(&self) -> FaultKind {
        FaultKind::Toxic
    }

    fn describe(&self) -> String {
        let Self { toxic, stream, toxicity, attributes } = self;
        let given = attributes.iter().map(|(name, value)| format!(", {name} {value}"));
        let given: String = given.collect();
        format!("the toxic {toxic}, {}, on {} of connections{given}", stream.name(), percent(*toxicity))
    }

    /// Under names that the judge cannot take for those of a kind that it knows.
    fn params(&self) -> Params {
        let numbers = self
            .attributes
            .iter()
            .filter_map(|(name, value)| Some((format!("attribute.{name}"), value.number()? as f64)));
        numbers.chain([("toxicity".to_owned(), self.toxicity)]).collect()
    }
}
