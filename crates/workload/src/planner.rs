//! Which op comes next, and on which keys.

use std::sync::Arc;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use smallvec::SmallVec;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::keys::KeyDistribution;
use crate::look_aside::ThroughCache;
use crate::mix::{Mix, OpKind};
use crate::op::{Planned, PlannedOp};
use crate::recorder::micros;
use crate::recording::Ended;
use crate::shared::Shared;
use crate::target::{AnyTarget, Op};
use crate::values;

/// Plans the ops of one driver.
#[derive(Debug)]
pub(crate) struct Planner {
    /// What it shares with the others.
    pub(crate) shared: Arc<Shared>,
    /// Which ops.
    pub(crate) mix: Arc<Mix>,
    /// The same, as it changes.
    pub(crate) mixes: watch::Receiver<Arc<Mix>>,
    /// Its own random source.
    pub(crate) rng: ChaCha8Rng,
    /// Which keys.
    pub(crate) keys: Box<dyn KeyDistribution>,
    /// Through a cache to a database, in place of the mix.
    pub(crate) look_aside: Option<ThroughCache>,
}

/// What a driver starts next.
pub(crate) enum Next {
    Op(Planned),
    /// A request for the key of this number.
    Request(ThroughCache, usize),
}

impl Planner {
    /// Draws what starts now.
    pub(crate) fn next(&mut self) -> Next {
        if self.mixes.has_changed().unwrap_or(false) {
            self.mix = Arc::clone(&self.mixes.borrow_and_update());
        }
        match &self.look_aside {
            Some(through) => Next::Request(through.clone(), self.keys.draw(&mut self.rng)),
            None => Next::Op(self.plan()),
        }
    }

    fn plan(&mut self) -> Planned {
        let shared = Arc::clone(&self.shared);
        let oracles = &shared.oracles;
        let op = self.mix.draw(&mut self.rng);
        if op.kind == OpKind::Incr {
            let n = self.rng.random_range(0..shared.counters.len());
            let token = Some(oracles.plan_incr(n));
            return Planned { token, ..Planned::one(Op::Incr { key: shared.counters.key(n), by: 1 }, n, 0) };
        }
        let numbers: SmallVec<[usize; 1]> = (0..op.keys).map(|_| self.keys.draw(&mut self.rng)).collect();
        let (n, key) = (numbers[0], shared.table.key(numbers[0]));
        let (tick, op) = match op.kind {
            OpKind::Get | OpKind::Incr => (oracles.plan_read(), Op::Get(key)),
            OpKind::Delete => (oracles.plan_delete(n), Op::Delete(key)),
            OpKind::MultiGet => {
                let keys = numbers.iter().map(|n| shared.table.key(*n)).collect();
                let op = PlannedOp::MultiGet(keys);
                return Planned { op, numbers, tick: oracles.plan_read(), token: None };
            }
            OpKind::Touch => (0, Op::Touch { key, ttl: shared.ttl.draw(&mut self.rng) }),
            OpKind::Set | OpKind::Add => {
                let version = oracles.plan_write(n);
                let value = values::encode(key.as_bytes(), version, shared.value_size.draw(&mut self.rng));
                let ttl = shared.ttl.draw(&mut self.rng);
                let set = op.kind == OpKind::Set;
                (version, if set { Op::Set { key, value, ttl } } else { Op::Add { key, value, ttl } })
            }
        };
        Planned { op: PlannedOp::One(op), numbers, tick, token: None }
    }
}

impl Next {
    /// Runs it now, although it should have started at `intended`.
    pub(crate) async fn run(self, target: &AnyTarget, intended: Instant) -> Ended {
        match self {
            Next::Op(planned) => Ended::Op(planned.run(target, intended).await),
            Next::Request(through, key) => {
                let end = through.request(key).await;
                Ended::Request { end, latency_us: micros(intended.elapsed()) }
            }
        }
    }
}
