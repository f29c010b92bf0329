//! Our client as it ships: routing, breaker, pool and deadline; every reply verified and recorded as the load
//! generator does it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use memcache_client::{Client, Config, Key, Mode, Op, Outcome, PoolConfig, Reply, ServerAddr, Silent};
use tokio::time::Instant;
use workload::mix::OpKind;
use workload::recorder::{Ended, Recorder};
use workload::values;

use crate::keyspace::{Draw, Keyspace, check_length};
use crate::measure::{Crew, Plan, Sample, Seat};

/// Version of the first value that is written here.
const FIRST_VERSION: u64 = 2;

/// What is done with a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Care {
    /// As the peers do: present, and of the right length. Values are made before.
    Bare,
    /// As the load generator does: values are made for each set, every value read is verified against its key, and
    /// latencies go into histograms.
    Verified,
}

/// The default configuration with one connection for each worker.
pub fn config(plan: &Plan) -> Config {
    Config { pool: PoolConfig { max: plan.connections, ..PoolConfig::default() }, ..Config::default() }
}

/// The client of a plan's only server.
pub fn connect(config: Config, plan: &Plan) -> Result<Client> {
    let servers = vec![ServerAddr { name: "memcached1".to_owned(), addr: plan.addr.to_string() }];
    Client::new(servers, config, Arc::new(Silent)).context("client")
}

/// The same client with `plan.depth` requests in flight on each of the plan's connections.
fn pipelined(plan: &Plan) -> Config {
    Config { mode: Mode::Pipelined { connections: plan.connections, depth: plan.depth }, ..config(plan) }
}

/// What all workers share.
struct Shared {
    client: Client,
    keyspace: Arc<Keyspace>,
    recorder: Mutex<Recorder>,
    version: AtomicU64,
    value_size: usize,
}

impl Shared {
    fn new(config: Config, keyspace: Arc<Keyspace>, plan: &Plan) -> Result<Arc<Self>> {
        Ok(Arc::new(Self {
            client: connect(config, plan)?,
            keyspace,
            recorder: Mutex::new(Recorder::new(1)),
            version: AtomicU64::new(FIRST_VERSION),
            value_size: plan.value_size,
        }))
    }

    fn recorder(&self) -> MutexGuard<'_, Recorder> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next op of a worker; a value is made for each set.
    fn op(&self, draw: &mut Draw) -> Op {
        let choice = draw.op();
        let key = self.keyspace.key(choice.key);
        if choice.is_set {
            let version = self.version.fetch_add(1, Ordering::Relaxed);
            let value = values::encode(key.as_bytes(), version, self.value_size);
            Op::Set { key, value, ttl: None }
        } else {
            Op::Get(key)
        }
    }

    fn with_latency(&self, sample: Sample) -> Sample {
        let latency = self.recorder().latency_of(OpKind::Get);
        let quantiles = (latency.value_at_quantile(0.5), latency.value_at_quantile(0.99));
        Sample { latency_us: (!latency.is_empty()).then_some(quantiles), ..sample }
    }
}

/// Runs it, one op in flight for each of the plan's connections.
pub async fn run(care: Care, keyspace: Arc<Keyspace>, plan: &Plan) -> Result<Sample> {
    run_tasks(care, config(plan), plan.connections, keyspace, plan).await
}

/// Runs it pipelined, with as many tasks as requests may be in flight.
pub async fn run_pipelined(keyspace: Arc<Keyspace>, plan: &Plan) -> Result<Sample> {
    run_tasks(Care::Verified, pipelined(plan), plan.connections * plan.depth, keyspace, plan).await
}

async fn run_tasks(
    care: Care,
    config: Config,
    tasks: usize,
    keyspace: Arc<Keyspace>,
    plan: &Plan,
) -> Result<Sample> {
    match care {
        Care::Bare => run_crew(config, tasks, keyspace, plan, bare).await,
        Care::Verified => run_crew(config, tasks, keyspace, plan, verified).await,
    }
}

/// Lets so many workers do `work`, each with ops of its own.
async fn run_crew<W>(
    config: Config,
    workers: usize,
    keyspace: Arc<Keyspace>,
    plan: &Plan,
    work: impl Fn(Seat, Arc<Shared>, Draw) -> W,
) -> Result<Sample>
where
    W: Future<Output = Result<()>> + Send + 'static,
{
    let shared = Shared::new(config, keyspace, plan)?;
    let mut crew = Crew::default();
    for worker in 0..workers {
        let draw = Draw::new(&shared.keyspace, plan.mix, worker);
        let seat = crew.seat();
        crew.spawn(work(seat, Arc::clone(&shared), draw));
    }
    let sample = crew.measure(plan).await?;
    Ok(shared.with_latency(sample))
}

async fn bare(seat: Seat, shared: Arc<Shared>, mut draw: Draw) -> Result<()> {
    let keyspace = &shared.keyspace;
    while seat.goes_on() {
        let choice = draw.op();
        let key = keyspace.key(choice.key);
        let op = if choice.is_set {
            Op::Set { key, value: keyspace.value(choice.key).clone(), ttl: None }
        } else {
            Op::Get(key)
        };
        match shared.client.execute(op).await.result {
            Ok(Reply::Value(value)) => check_length(keyspace, choice.key, Some(value.len()))?,
            Ok(Reply::Stored) => {}
            Ok(other) => bail!("{}: {other:?}", keyspace.name(choice.key)),
            Err(_) => {
                seat.failed(1);
                continue;
            }
        }
        seat.done(1);
    }
    Ok(())
}

async fn verified(seat: Seat, shared: Arc<Shared>, mut draw: Draw) -> Result<()> {
    while seat.goes_on() {
        let intended = Instant::now();
        let op = shared.op(&mut draw);
        let (kind, key) = (kind(&op), op.key().clone());
        let started = Instant::now();
        let done = shared.client.execute(op).await;
        let ended = Instant::now();
        if let Ok(Reply::Value(value)) = &done.result {
            verify(&key, value)?;
        }
        let outcome = done.outcome();
        let mut recorder = shared.recorder();
        for attempt in &done.attempts {
            recorder.attempted(attempt.server, class(attempt.outcome));
        }
        recorder.ended(Ended {
            kind,
            home: done.home,
            outcome: class(outcome),
            latency_us: micros(ended - intended),
            service_us: micros(ended - started),
        });
        drop(recorder);
        count(&seat, outcome);
    }
    Ok(())
}

fn kind(op: &Op) -> OpKind {
    if matches!(op, Op::Set { .. }) { OpKind::Set } else { OpKind::Get }
}

/// Runs batches of `plan.depth` ops, one in flight for each of the plan's connections.
pub async fn run_batches(keyspace: Arc<Keyspace>, plan: &Plan) -> Result<Sample> {
    let depth = plan.depth;
    let work = move |seat, shared, draw| batches(seat, shared, draw, depth);
    run_crew(config(plan), plan.connections, keyspace, plan, work).await
}

async fn batches(seat: Seat, shared: Arc<Shared>, mut draw: Draw, size: usize) -> Result<()> {
    while seat.goes_on() {
        let intended = Instant::now();
        let ops: Vec<Op> = (0..size).map(|_| shared.op(&mut draw)).collect();
        let started = Instant::now();
        let done = shared.client.execute_many(&ops).await;
        let ended = Instant::now();
        for (op, end) in ops.iter().zip(&done.ops) {
            if let Ok(Reply::Value(value)) = &end.result {
                verify(op.key(), value)?;
            }
        }
        let mut recorder = shared.recorder();
        for attempt in &done.attempts {
            recorder.attempted(attempt.server, class(attempt.outcome));
        }
        for (op, end) in ops.iter().zip(&done.ops) {
            let outcome = end.outcome();
            recorder.ended(Ended {
                kind: kind(op),
                home: end.home,
                outcome: class(outcome),
                latency_us: micros(ended - intended),
                service_us: micros(ended - started),
            });
            count(&seat, outcome);
        }
    }
    Ok(())
}

/// Runs the multi-get of `plan.depth` keys, one in flight for each of the plan's connections.
pub async fn run_multi_get(keyspace: Arc<Keyspace>, plan: &Plan) -> Result<Sample> {
    let depth = plan.depth;
    let work = move |seat, shared, draw| multi_get(seat, shared, draw, depth);
    run_crew(config(plan), plan.connections, keyspace, plan, work).await
}

async fn multi_get(seat: Seat, shared: Arc<Shared>, mut draw: Draw, keys: usize) -> Result<()> {
    while seat.goes_on() {
        let keys: Vec<Key> = (0..keys).map(|_| shared.keyspace.key(draw.op().key)).collect();
        let started = Instant::now();
        let done = shared.client.multi_get(&keys).await;
        let took = micros(started.elapsed());
        for (key, end) in keys.iter().zip(&done.keys) {
            if let Ok(Some(value)) = &end.result {
                verify(key, value)?;
            }
        }
        let mut recorder = shared.recorder();
        for attempt in &done.attempts {
            recorder.attempted(attempt.server, class(attempt.outcome));
        }
        for end in &done.keys {
            let outcome = end.outcome();
            recorder.ended(Ended {
                kind: OpKind::Get,
                home: end.home,
                outcome: class(outcome),
                latency_us: took,
                service_us: took,
            });
            count(&seat, outcome);
        }
    }
    Ok(())
}

fn verify(key: &Key, value: &[u8]) -> Result<()> {
    values::verify(key.as_bytes(), value)
        .map(|_| ())
        .map_err(|wrong| anyhow!("wrong value of {key}: {wrong:?}"))
}

fn count(seat: &Seat, outcome: Outcome) {
    // Every key is there, so a miss is no success here.
    if outcome.is_ok() && outcome != Outcome::Miss {
        seat.done(1);
    } else {
        seat.failed(1);
    }
}

/// The recorder's class of the same name; both enumerate them in the same order.
fn class(outcome: Outcome) -> observation::Outcome {
    observation::Outcome::ALL[outcome as usize]
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_have_the_same_order() {
        for outcome in
            [Outcome::Hit, Outcome::Stored, Outcome::Timeout, Outcome::BreakerOpen, Outcome::Cancelled]
        {
            assert_eq!(format!("{outcome:?}"), format!("{:?}", class(outcome)));
        }
    }
}
