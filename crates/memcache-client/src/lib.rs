//! A memcache client that answers or refuses one op within one deadline, and never gives a value to the wrong caller.
//!
//! Route → breaker permit → pool slot → connection → whole reply, all within the op timeout; then, for what may be
//! asked again, the next server in the key's order. Every end has a class ([`Outcome`]).
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//! use memcache_client::{Client, Config, Key, ServerAddr, Silent};
//!
//! let servers = ["127.0.0.1:11211", "127.0.0.1:11212"]
//!     .map(|addr| ServerAddr { name: addr.to_owned(), addr: addr.to_owned() });
//! let client = Client::new(servers.into(), Config::default(), Arc::new(Silent))?;
//! let key = Key::new("greeting")?;
//! client.set(&key, "hello".into(), None).await?;
//! assert_eq!(client.get(&key).await?.as_deref(), Some(&b"hello"[..]));
//! # Ok(())
//! # }
//! ```
//!
//! # Invariants
//! - A connection is used again only after its reply was read to the last byte. A timeout, a dropped future, a reply
//!   that is not allowed and unexpected bytes close it.
//! - A slot of the pool and a half-open permit of a breaker are guards: they cannot leak.
//! - Misses, the caller's own mistakes and cancels, and waits in our own queue never count against a server.

pub mod breaker;
mod client;
mod config;
mod connect;
mod driver;
mod error;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod key;
mod lookaside;
pub mod metrics;
mod observer;
mod op;
mod outcome;
mod pool;
mod retry;
mod router;
mod server;
mod stream;
mod topology;

pub use bytes::Bytes;
pub use client::{Client, ClientStats};
pub use config::{
    BreakerConfig, Config, ConfigError, Driver, Hedge, Mode, OnOpen, PoolConfig, Probes, RatioRule, Routing,
    SlowRule, UnknownName,
};
#[cfg(feature = "tls")]
pub use connect::Tls;
pub use connect::{Dial, Login};
pub use error::{Error, PoolFull, ProtocolError};
pub use key::{KEY_MAX, Key, KeyError};
pub use lookaside::Fetch;
pub use observer::{CloseReason, Observer, Silent, Transition};
pub use op::{Attempt, Attempts, Completion, KeyCompletion, LeaseReply, MultiCompletion, Op, Reply};
pub use outcome::Outcome;
pub use pool::PoolStats;
pub use router::{Candidates, Router};
pub use server::{ServerAddr, ServerStats};
pub use stream::{Connector, Dialling, Io};
