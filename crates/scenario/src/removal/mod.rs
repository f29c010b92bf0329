//! How faults are taken away, whatever happens to their owner: names that say whose they are, the claim on a Toxiproxy, the
//! ladder, the lease, the janitor and the reaper.

pub(crate) mod claim;
pub mod janitor;
pub(crate) mod ladder;
pub(crate) mod lease;
pub(crate) mod owner;
pub(crate) mod process;
pub mod reap;

pub use claim::ClaimError;
pub use owner::Owner;
