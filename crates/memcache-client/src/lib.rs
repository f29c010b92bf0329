//! A memcache client that answers or refuses one op within one deadline, and never gives a value to the wrong caller.
//!
//! Route → breaker permit → connection → whole reply, all within the op timeout; then, for what may be asked again, the
//! next server in the key's order. Every end has a class ([`Outcome`]).
//!
//! ```
//! # use memcached_fake::FakeMemcached;
//! use std::sync::Arc;
//! use memcache_client::{Client, Config, Key, ServerAddr, Silent};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = FakeMemcached::bind("127.0.0.1:0".parse()?).await?;
//! # let addr = server.addr().to_string();
//! let servers = vec![ServerAddr { name: "cache-1".to_owned(), addr }];
//! let client = Client::new(servers, Config::default(), Arc::new(Silent))?;
//! let key = Key::new("greeting")?;
//! client.set(&key, "hello".into(), None).await?;
//! assert_eq!(client.get(&key).await?.as_deref(), Some(&b"hello"[..]));
//! # Ok(())
//! # }
//! ```
//!
//! # What can be chosen
//! - [`Config::mode`]: a connection an op ([`Mode::Pooled`]), or many ops on a few ([`Mode::Pipelined`]).
//! - [`Config::breaker`]: when a server is left alone, and how it is taken back ([`BreakerConfig`]).
//! - [`Config::routing`]: the next server, a stand-in ([`Routing::gutter`]), or an error at once.
//! - [`Config::retries`], [`Config::hedge`]: second attempts, each within a budget.
//! - [`Config::dial`]: TLS (feature `tls`), a login, a network of one's own ([`Connector`]).
//! - [`Client::execute_many`], [`Client::multi_get`]: many ops in one go, an end for each.
//! - [`Client::get_or_load`]: one load a key, over all processes, by memcached's leases.
//! - [`Client::set_servers`]: another list of servers, while ops run.
//!
//! ```
//! use std::time::Duration;
//! use memcache_client::{BreakerConfig, Config, Hedge, Mode, SlowRule};
//!
//! let config = Config {
//!     op_timeout: Duration::from_millis(100),
//!     mode: Mode::Pipelined { connections: 4, depth: 64 },
//!     hedge: Some(Hedge { after: Duration::from_millis(20), budget: 0.02 }),
//!     breaker: Some(BreakerConfig {
//!         slow: Some(SlowRule::above(Duration::from_millis(50))),
//!         ..BreakerConfig::default()
//!     }),
//!     ..Config::default()
//! };
//! assert!(config.validate().is_ok());
//! ```
//!
//! # Invariants
//! - A connection is used again only after its reply was read to the last byte. A timeout, a dropped future, a reply
//!   that is not allowed and unexpected bytes close it.
//! - A slot of the pool and a half-open permit of a breaker are guards: they cannot leak.
//! - A reply that carries another key or number than its request closes the connection. A server that has been seen to
//!   echo both with its misses is held to it.
//! - Misses, the caller's own mistakes and cancels, and waits in our own queue never count against a server.

mod batch;
pub mod breaker;
pub mod bugs;
mod client;
mod config;
mod connect;
mod error;
mod exchange;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod key;
mod lookaside;
pub mod metrics;
mod observer;
mod op;
mod outcome;
mod pipeline;
mod pool;
mod probe;
mod request;
mod retry;
mod router;
mod server;
mod site;
mod stream;
mod sync;
mod timer;
#[cfg(feature = "tls")]
mod tls;
mod topology;
mod wire;

pub use batch::{BatchCompletion, KeyCompletion, MultiCompletion, OpCompletion};
pub use breaker::Transition;
pub use bytes::Bytes;
pub use client::{Client, ClientStats};
pub use config::{
    BreakerConfig, Codec, Config, ConfigError, Hedge, Mode, OnOpen, PoolConfig, Probes, RatioRule, Routing,
    ServerAddr, SlowRule, UnknownName,
};
pub use connect::{Dial, Login};
pub use error::{Error, PoolFull, ProtocolError};
pub use key::{KEY_MAX, Key, KeyError};
pub use lookaside::Fetch;
pub use observer::{CloseReason, Observer, Silent};
pub use op::{Attempt, Attempts, Completion, LeaseReply, Op, Reply};
pub use outcome::Outcome;
pub use pool::PoolStats;
pub use router::{Candidates, Router};
pub use server::ServerStats;
pub use stream::{Connector, Dialling, Io};
#[cfg(feature = "tls")]
pub use tls::Tls;
