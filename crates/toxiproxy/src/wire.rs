//! What goes over the API. Decoding ignores unknown fields.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Attributes of a toxic by name; absent is the parameter's default, mostly 0.
pub type Attributes = BTreeMap<String, Attribute>;

/// A value of an attribute. Stock toxics know whole numbers only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a whole number or a text")]
pub enum Attribute {
    /// A whole number.
    Number(i64),
    /// A text; only extensions have some.
    Text(Cow<'static, str>),
}

impl Attribute {
    /// The number, if it is one.
    pub fn number(&self) -> Option<i64> {
        match self {
            Attribute::Number(number) => Some(*number),
            Attribute::Text(_) => None,
        }
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Attribute::Number(_) => None,
            Attribute::Text(text) => Some(text),
        }
    }
}

impl From<i64> for Attribute {
    fn from(number: i64) -> Self {
        Attribute::Number(number)
    }
}

impl From<&str> for Attribute {
    fn from(text: &str) -> Self {
        Attribute::Text(Cow::Owned(text.to_owned()))
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Attribute::Number(number) => number.fmt(f),
            Attribute::Text(text) => write!(f, "{text:?}"),
        }
    }
}

/// A proxy as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proxy {
    /// Unique name.
    pub name: String,
    /// Where it listens; numeric once it has listened.
    pub listen: String,
    /// Where it dials, resolved at every dial.
    pub upstream: String,
    /// Does it accept?
    pub enabled: bool,
    /// Its toxics, upstream ones first, each stream in chain order.
    #[serde(default)]
    pub toxics: Vec<Toxic>,
}

/// A proxy to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewProxy {
    /// Unique name.
    pub name: String,
    /// `host:port`; port 0 is any free one.
    pub listen: String,
    /// `host:port`.
    pub upstream: String,
    /// Does it accept?
    pub enabled: bool,
}

/// A change of a proxy; `None` keeps the value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyUpdate {
    /// New address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// New upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// On or off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// A toxic as the API shows it and takes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Toxic {
    /// Unique within its proxy.
    pub name: String,
    /// Kind, for example `latency`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `upstream` (client to server) or `downstream`.
    pub stream: String,
    /// Share of links that it acts on, 0-1; drawn per link.
    pub toxicity: f64,
    /// Its numbers.
    #[serde(default)]
    pub attributes: Attributes,
}

/// A change of a toxic; attributes are merged by name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ToxicUpdate {
    /// New attributes.
    #[serde(default)]
    pub attributes: Attributes,
    /// New toxicity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub toxicity: Option<f64>,
}

/// Direction of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// Client to server.
    Upstream,
    /// Server to client.
    Downstream,
}

impl Stream {
    /// Both.
    pub const ALL: [Stream; 2] = [Stream::Upstream, Stream::Downstream];

    /// Matches regardless of case.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stream| stream.name().eq_ignore_ascii_case(text))
    }

    /// `upstream` or `downstream`.
    pub fn name(self) -> &'static str {
        match self {
            Stream::Upstream => "upstream",
            Stream::Downstream => "downstream",
        }
    }
}

/// What toxics of one proxy have really touched since it was made: delayed, held, dropped or cut. An extension of our
/// server, `GET /dose`; counted live.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoseCounters {
    /// Links (one a direction and connection) open now.
    pub links: u64,
    /// Links ever touched.
    pub links_touched: u64,
    /// Chunks read.
    pub chunks: u64,
    /// Chunks touched.
    pub chunks_touched: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Bytes touched.
    pub bytes_touched: u64,
    /// Bytes written to the destination.
    #[serde(default)]
    pub bytes_sent: u64,
}

/// [`DoseCounters`] of a proxy, and of each of its directions. The answer of `GET /dose`, by proxy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyDose {
    /// Both directions together.
    #[serde(flatten)]
    pub total: DoseCounters,
    /// `upstream` and `downstream`.
    #[serde(default)]
    pub streams: BTreeMap<String, DoseCounters>,
}

/// What came in on one link, and what toxics touched of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkCounters {
    /// Chunks read.
    pub chunks: u64,
    /// Chunks touched.
    pub chunks_touched: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Bytes touched.
    pub bytes_touched: u64,
}

/// One open link. The answer of `GET /dose/links`, by proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkDose {
    /// Number of its connection, in the order of accepting.
    pub connection: u64,
    /// `upstream` or `downstream`.
    pub stream: String,
    /// Its counters.
    #[serde(flatten)]
    pub counters: LinkCounters,
}

/// The last minute in buckets of 100 ms. The answer of `GET /dose/buckets?after_us=N`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoseBuckets {
    /// The server's clock when it answered, from its start.
    pub now_us: u64,
    /// By proxy, those that ended after `after_us`, oldest first.
    pub proxies: BTreeMap<String, Vec<DoseBucket>>,
}

/// What toxics of one proxy touched within one bucket of time. An extension of our server, `GET /dose/buckets`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoseBucket {
    /// End of the bucket, by the server's clock.
    pub at_us: u64,
    /// Its length.
    pub period_us: u64,
    /// Links open at the end.
    pub links: u64,
    /// Links that a toxic touched within it.
    pub links_touched: u64,
    /// Chunks read.
    pub chunks: u64,
    /// Chunks touched.
    pub chunks_touched: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Bytes touched.
    pub bytes_touched: u64,
}

/// Extensions that our server announces in this header: toxics by their name, and [`DOSE`].
pub const EXTENSIONS_HEADER: &str = "toxiproxy-extensions";

/// What a server announces that knows `/dose`.
pub const DOSE: &str = "dose";

/// What a server announces that knows `/leases`.
pub const LEASES: &str = "leases";

/// What the owner of toxics asks for: `PUT /leases/PREFIX`. An extension of our server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseTerms {
    /// Without renewal for so long, ms, every toxic whose name begins with the prefix is removed.
    pub ttl_ms: u64,
    /// Proxies that are then switched on.
    #[serde(default)]
    pub enable: Vec<String>,
}

/// The answer to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseState {
    /// As asked for, ms.
    pub ttl_ms: u64,
    /// How often it has lapsed since it was first taken.
    pub lapses: u64,
}
