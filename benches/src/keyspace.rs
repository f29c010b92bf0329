//! Keys, their values, and which is asked for next: the same for every contestant.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use memcache_client::Key;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use workload::KeySize;
use workload::keys::KeyTable;
use workload::values;

use crate::contestants::raw::{Framing, Replies};

/// Beginning of every key; with 8 digits a key has 14 bytes.
const PREFIX: &str = "bench:";
/// Requests of the prefill that are written before their replies are read.
const PREFILL_BATCH: usize = 256;
/// Version of every value written by a contestant that does not make its own.
const VERSION: u64 = 1;

/// All keys, and one value for each that says whose it is.
#[derive(Debug)]
pub struct Keyspace {
    table: KeyTable,
    names: Vec<String>,
    values: Vec<Bytes>,
}

impl Keyspace {
    /// `keys` keys with values of `value_size` bytes.
    pub fn new(keys: usize, value_size: usize) -> Result<Self> {
        let table = KeyTable::new(PREFIX, keys, KeySize::Short).context("keys")?;
        let all = || (0..table.len()).map(|n| table.key(n));
        let values = all().map(|key| values::encode(key.as_bytes(), VERSION, value_size)).collect();
        let names = all().map(|key| key.to_string()).collect();
        Ok(Self { table, names, values })
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Key number `n` as our client takes it.
    pub fn key(&self, n: usize) -> Key {
        self.table.key(n)
    }

    /// Key number `n` as text.
    pub fn name(&self, n: usize) -> &str {
        &self.names[n]
    }

    /// A right value of key number `n`.
    pub fn value(&self, n: usize) -> &Bytes {
        &self.values[n]
    }

    /// Writes every key once and reads every reply.
    pub async fn prefill(&self, addr: SocketAddr) -> Result<()> {
        let mut stream = TcpStream::connect(addr).await.context("prefill: connect")?;
        let mut replies = Replies::new(Framing::Meta);
        let mut batch = Vec::new();
        for start in (0..self.len()).step_by(PREFILL_BATCH) {
            batch.clear();
            let end = (start + PREFILL_BATCH).min(self.len());
            for n in start..end {
                Framing::Meta.render_set(self.name(n), self.value(n), &mut batch);
            }
            stream.write_all(&batch).await.context("prefill: write")?;
            replies.take(&mut stream, end - start).await.context("prefill")?;
        }
        Ok(())
    }
}

/// Which ops are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Mix {
    /// 90 % get, 10 % set.
    Mixed,
    /// Gets only: what batch reads can do.
    Reads,
}

/// One op to make.
#[derive(Debug, Clone, Copy)]
pub struct Choice {
    /// A set rather than a get.
    pub is_set: bool,
    /// Number of the key.
    pub key: usize,
}

/// Draws ops: keys uniformly, kinds by the mix. xorshift64*, a few cycles an op, so that it does not count.
#[derive(Debug, Clone)]
pub struct Draw {
    state: u64,
    keys: u64,
    mix: Mix,
}

impl Draw {
    /// The draw of worker number `worker`.
    pub fn new(keyspace: &Keyspace, mix: Mix, worker: usize) -> Self {
        // Any odd multiplier keeps the seeds apart and away from 0.
        let state = (worker as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self { state, keys: keyspace.len() as u64, mix }
    }

    /// The next op.
    pub fn op(&mut self) -> Choice {
        let word = self.word();
        let key = ((u128::from(word) * u128::from(self.keys)) >> 64) as usize;
        // The low bits are not those that choose the key.
        let is_set = self.mix == Mix::Mixed && (word & 0xffff) < 6_554;
        Choice { is_set, key }
    }

    fn word(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// A peer's reply to a get of key number `n`: it must be there and have its length. Every contestant pays for this;
/// ours verifies the whole value on top.
pub fn check_length(keyspace: &Keyspace, n: usize, value: Option<usize>) -> Result<()> {
    match value {
        Some(length) if length == keyspace.value(n).len() => Ok(()),
        Some(length) => bail!("{} came back with {length} bytes", keyspace.name(n)),
        None => bail!("{} is missing", keyspace.name(n)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_op_in_ten_is_a_set_and_every_key_is_drawn() {
        let keyspace = Keyspace::new(1_000, 100).unwrap();
        let mut draw = Draw::new(&keyspace, Mix::Mixed, 3);
        let mut sets = 0;
        let mut seen = vec![0; keyspace.len()];
        for _ in 0..100_000 {
            let choice = draw.op();
            sets += usize::from(choice.is_set);
            seen[choice.key] += 1;
        }
        assert!((9_600..10_400).contains(&sets), "{sets}");
        assert!(seen.iter().all(|n| (50..160).contains(n)));
        assert_eq!(keyspace.value(7).len(), 100);
        let mut reads = Draw::new(&keyspace, Mix::Reads, 3);
        assert!((0..1_000).all(|_| !reads.op().is_set));
    }
}
