//! Several ops at once: every server gets its part in one go, and every op has an end of its own.

use std::borrow::Cow;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::future::join_all;
use tokio::time::Instant;

use crate::client::{Client, attempted};
use crate::error::Error;
use crate::key::Key;
use crate::op::{Attempts, Op, Reply};
use crate::outcome::Outcome;
use crate::request::{Replies, Request};

/// The end of a batch.
#[derive(Debug, Clone)]
pub struct BatchCompletion {
    /// One entry an op, in the order asked.
    pub ops: Vec<OpCompletion>,
    /// One entry a request to a server.
    pub attempts: Attempts,
}

/// One op of a batch: its reply, or its own failure.
#[derive(Debug, Clone)]
pub struct OpCompletion {
    /// Index of the key's home server.
    pub home: usize,
    /// The reply, or why there is none.
    pub result: Result<Reply, Error>,
}

impl OpCompletion {
    /// Its class.
    pub fn outcome(&self) -> Outcome {
        match &self.result {
            Ok(reply) => reply.outcome(),
            Err(error) => error.outcome(),
        }
    }
}

/// The end of a multi-get.
#[derive(Debug, Clone)]
pub struct MultiCompletion {
    /// One entry a key, in the order asked.
    pub keys: Vec<KeyCompletion>,
    /// One entry a request to a server.
    pub attempts: Attempts,
}

/// One key of a multi-get: hit, miss, or its own failure.
#[derive(Debug, Clone)]
pub struct KeyCompletion {
    /// Index of the key's home server.
    pub home: usize,
    /// The value, `None` for a miss, or why neither is known.
    pub result: Result<Option<Bytes>, Error>,
}

impl KeyCompletion {
    /// Its class.
    pub fn outcome(&self) -> Outcome {
        match &self.result {
            Ok(Some(_)) => Outcome::Hit,
            Ok(None) => Outcome::Miss,
            Err(error) => error.outcome(),
        }
    }
}

/// An op that has no end yet.
struct Pending {
    /// Its place in the batch.
    op: usize,
    /// Which server of the key's order is to be asked.
    place: usize,
    retries: u32,
}

impl Client {
    /// Runs several ops, on all their servers at once, by the rules of [`Client::execute`]. Each has an end of its own:
    /// what was answered before a server failed is answered, and the failure of one server is not that of the others'
    /// ops. Ops on one key are done in the order of the batch, unless one of them is tried again.
    ///
    /// ```
    /// # async fn example(client: memcache_client::Client) -> Result<(), memcache_client::KeyError> {
    /// use memcache_client::{Key, Op};
    ///
    /// let (a, b) = (Key::new("a")?, Key::new("b")?);
    /// let ops = [Op::Set { key: a.clone(), value: "1".into(), ttl: None }, Op::Get(a), Op::Delete(b)];
    /// for (op, end) in ops.iter().zip(client.execute_many(&ops).await.ops) {
    ///     match end.result {
    ///         Ok(reply) => println!("{} of {}: {reply:?}", op.name(), op.key()),
    ///         Err(error) => println!("{} of {}: {error}", op.name(), op.key()),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn execute_many(&self, ops: &[Op]) -> BatchCompletion {
        let inner = &*self.inner;
        let mut now = Instant::now();
        let deadline = now + inner.config.total_timeout;
        inner.ops.fetch_add(ops.len() as u64, Ordering::Relaxed);
        let topology = inner.topology.load_full();
        let mut attempts = Attempts::new();
        let mut done = Vec::with_capacity(ops.len());
        let mut pending = Vec::with_capacity(ops.len());
        for (op, request) in ops.iter().enumerate() {
            let home = topology.home(request.key().as_bytes());
            // What is not refused here is asked below, and gets its end there.
            let refused = inner.check(request).err();
            if refused.is_none() {
                pending.push(Pending { op, place: 0, retries: inner.config.retries });
            }
            done.push(OpCompletion { home, result: Err(refused.unwrap_or(Error::Closed)) });
        }
        while !pending.is_empty() {
            let mut groups: Vec<Vec<Pending>> = Vec::new();
            groups.resize_with(topology.servers.len(), Vec::new);
            for one in pending.drain(..) {
                // Mostly the first server is the last: the others are not looked for before.
                let server = match one.place {
                    0 => done[one.op].home,
                    place => topology.candidates(ops[one.op].key().as_bytes())[place],
                };
                groups[server].push(one);
            }
            let topology = &topology;
            let groups = groups.into_iter().enumerate().filter(|(_, group)| !group.is_empty());
            let ended = join_all(groups.map(|(server, group)| async move {
                let asked = group.iter().map(|one| match one.place {
                    0 => Cow::Borrowed(&ops[one.op]),
                    _ => Cow::Owned(ops[one.op].with_ttl_max(inner.config.routing.failover_ttl)),
                });
                let (asked, mut replies) = (asked.collect::<Vec<_>>(), Replies::new(group.len()));
                let request = Request::Many(&asked, &mut replies);
                let result = topology.servers[server].attempt(request, now, deadline).await;
                (server, result, replies.ends, group)
            }));
            let ended = ended.await;
            now = Instant::now();
            for (server, result, replies, group) in ended {
                attempts.push(attempted(server, &result));
                let rest = result.err().unwrap_or(Error::Closed);
                let mut replies = replies.into_iter();
                for mut one in group {
                    // Of an op that is asked again, this is overwritten.
                    let result = &mut done[one.op].result;
                    *result = replies.next().unwrap_or_else(|| Err(rest.clone()));
                    let Err(error) = result else { continue };
                    if now >= deadline {
                        continue;
                    }
                    let op = &ops[one.op];
                    if let Some(place) = inner.after(op, error, one.place, topology, &mut one.retries) {
                        one.place = place;
                        pending.push(one);
                    }
                }
            }
        }
        BatchCompletion { ops: done, attempts }
    }

    /// Reads several keys, from all their servers at once. Each key has an end of its own: the failure of one server
    /// is not that of the others' keys, and is never a miss.
    pub async fn multi_get(&self, keys: &[Key]) -> MultiCompletion {
        let ops: Vec<Op> = keys.iter().cloned().map(Op::Get).collect();
        let BatchCompletion { ops, attempts } = self.execute_many(&ops).await;
        let key = |OpCompletion { home, result }| {
            let value = |reply| if let Reply::Value(value) = reply { Some(value) } else { None };
            KeyCompletion { home, result: result.map(value) }
        };
        MultiCompletion { keys: ops.into_iter().map(key).collect(), attempts }
    }
}
