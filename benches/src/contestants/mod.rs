//! Who is measured. One file a client; each connects, starts its workers and lets [`Crew`](crate::measure::Crew)
//! measure them.

pub mod async_memcached;
pub mod client;
pub mod memcache;
pub mod memcache_async;
pub mod raw;

use std::sync::Arc;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::keyspace::Keyspace;
use crate::measure::{Plan, Sample};

/// A contestant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Who {
    /// Pre-rendered classic text over plain tokio.
    RawText,
    /// Pre-rendered meta commands over plain tokio, the very bytes that our client sends.
    RawMeta,
    /// Our client; every reply verified and recorded.
    Client,
    /// Our client; replies checked no more than the peers'.
    ClientBare,
    /// Our client's multi-get; every reply verified and recorded.
    ClientMultiGet,
    /// Our client's batches of gets and sets; every reply verified and recorded.
    ClientBatches,
    /// Our client with requests pipelined; every reply verified and recorded.
    ClientPipelined,
    /// The crate `memcache-async`.
    MemcacheAsync,
    /// The crate `async-memcached`.
    AsyncMemcached,
    /// The crate `memcache` with its own pool settings.
    Memcache,
    /// The crate `memcache` with a pool that does not test a connection at each checkout.
    MemcacheUntested,
}

/// What a child process is asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    /// Who.
    pub who: Who,
    /// Does what.
    pub plan: Plan,
}

/// In the child: runs the job.
pub async fn run(job: &Job) -> Result<Sample> {
    let plan = &job.plan;
    let keyspace = Arc::new(Keyspace::new(plan.keys, plan.value_size)?);
    let sample = match job.who {
        Who::RawText => raw::run(raw::Framing::Text, keyspace, plan).await,
        Who::RawMeta => raw::run(raw::Framing::Meta, keyspace, plan).await,
        Who::Client => client::run(client::Care::Verified, keyspace, plan).await,
        Who::ClientBare => client::run(client::Care::Bare, keyspace, plan).await,
        Who::ClientMultiGet => client::run_multi_get(keyspace, plan).await,
        Who::ClientBatches => client::run_batches(keyspace, plan).await,
        Who::ClientPipelined => client::run_pipelined(keyspace, plan).await,
        Who::MemcacheAsync => memcache_async::run(keyspace, plan).await,
        Who::AsyncMemcached => async_memcached::run(keyspace, plan).await,
        Who::Memcache => memcache::run(memcache::Checkout::Tested, keyspace, plan).await,
        Who::MemcacheUntested => memcache::run(memcache::Checkout::Untested, keyspace, plan).await,
    };
    sample.with_context(|| format!("{:?}", job.who))
}
