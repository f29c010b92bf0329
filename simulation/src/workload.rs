//! The load: tasks that share a client, and what each checks of its answers.

use std::collections::BTreeMap;
use std::time::Duration;

use memcache_client::{
    Bytes, Client, Completion, Error, Fetch, Key, KeyCompletion, OnOpen, Op, Outcome, Reply,
};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tokio::time::{Instant, sleep, timeout};

use crate::ledger::Shared;
use crate::plan::{Plan, generator};
use crate::value;

/// Simulated time that an op may take beyond its limit: clocks go in steps of a millisecond.
const SLACK: Duration = Duration::from_millis(10);
/// Longest load behind the cache.
const LOAD: Duration = Duration::from_millis(40);
/// Keys of each kind.
const KEYS: u64 = 24;

/// One task.
pub(crate) struct Task {
    pub(crate) plan: Plan,
    pub(crate) client: Client,
    pub(crate) client_index: usize,
    pub(crate) index: usize,
    pub(crate) ledger: Shared,
    /// When the simulation began, on this host's clock.
    pub(crate) birth: Instant,
    rng: ChaCha8Rng,
    /// What the keys of this task alone hold; a key that is not here is in doubt.
    own: BTreeMap<u64, Option<u64>>,
}

impl Task {
    pub(crate) fn new(
        plan: &Plan,
        client: &Client,
        client_index: usize,
        index: usize,
        ledger: &Shared,
        birth: Instant,
    ) -> Self {
        let part = 100 + (client_index * plan.tasks + index) as u64;
        Self {
            plan: plan.clone(),
            client: client.clone(),
            client_index,
            index,
            ledger: ledger.clone(),
            birth,
            rng: generator(plan.seed, part),
            own: BTreeMap::new(),
        }
    }

    /// Runs until the plan's end.
    pub(crate) async fn run(mut self) {
        while self.birth.elapsed() < self.plan.end() {
            self.step().await;
            let pause = self.rng.random_range(0..=self.plan.pause.as_millis() as u64);
            sleep(Duration::from_millis(pause)).await;
        }
    }

    async fn step(&mut self) {
        let n = self.rng.random_range(0..KEYS);
        match self.rng.random_range(0..100) {
            0..24 => self.get(n).await,
            24..38 => self.set(n).await,
            38..43 => self.add(n).await,
            43..47 => self.delete(n).await,
            47..52 => self.touch(n).await,
            52..66 => self.incr(n % 8).await,
            66..67 => self.reset(n % 8).await,
            67..78 => self.multi_get().await,
            78..88 => self.load(n % 8).await,
            _ => self.own(n % 4).await,
        }
    }

    fn key(&self, text: &str) -> Option<Key> {
        let key = Key::new(text);
        if key.is_err() {
            self.ledger.lock().fail(&format!("{text:?} is no key"));
        }
        key.ok()
    }

    fn new_value(&mut self, key: &str) -> (u64, Bytes) {
        let version = self.ledger.lock().next_version(key);
        (version, value::make(key, version, self.rng.random_range(0..=self.plan.padding)))
    }

    fn ttl(&mut self) -> Option<Duration> {
        self.rng.random_bool(0.5).then(|| Duration::from_secs(self.rng.random_range(1..=5)))
    }

    /// When this op will be dropped, if it will.
    fn drawn_end(&mut self) -> Option<Duration> {
        let drops = self.rng.random_bool(self.plan.drops);
        let after = self.plan.config.op_timeout.mul_f64(self.rng.random_range(0.0..1.0));
        (drops && self.birth.elapsed() < self.plan.healed).then_some(after)
    }

    /// Awaits an op and its end, on time; `None`: it was dropped.
    async fn ended<T>(&mut self, what: &str, limit: Duration, op: impl Future<Output = T>) -> Option<T> {
        let dropped_after = self.drawn_end();
        self.ledger.lock().ops[0] += 1;
        let began = Instant::now();
        let ended = match dropped_after {
            Some(after) => timeout(after, op).await.ok(),
            None => Some(op.await),
        };
        let (took, who) = (began.elapsed(), format!("c{} t{}", self.client_index, self.index));
        let mut ledger = self.ledger.lock();
        if ended.is_none() {
            ledger.ops[2] += 1;
            ledger.count("dropped");
            ledger.note(&format!("{who} {what} dropped after {took:?}"));
            return None;
        }
        ledger.ops[1] += 1;
        ledger.check(took <= limit + SLACK, || format!("{who} {what} took {took:?}; {limit:?} is the most"));
        ended
    }

    /// Runs one op, and checks what every op must keep to.
    async fn execute(&mut self, op: Op) -> Option<Completion> {
        let client = self.client.clone();
        let what = format!("{} {}", op.name(), op.key());
        let home = client.home(op.key());
        let (again, elsewhere) = (op.is_idempotent(), op.may_fail_over());
        let done = self.ended(&what, self.plan.config.total_timeout, client.execute(op)).await?;
        let shown = match &done.result {
            Ok(Reply::Value(value)) => {
                format!("{:?}", String::from_utf8_lossy(&value[..value.len().min(30)]))
            }
            Ok(reply) => format!("{reply:?}"),
            Err(error) => error.to_string(),
        };
        let who = format!("c{} t{} {what}", self.client_index, self.index);
        let tried: Vec<_> = done.attempts.iter().map(|attempt| (attempt.server, attempt.outcome)).collect();
        let mut ledger = self.ledger.lock();
        ledger.count(name(done.outcome()));
        ledger.note(&format!("{who} {shown} {tried:?}"));
        ledger.check(done.home == home, || format!("{who} lives on {home} and was sent to {}", done.home));
        let strays = tried.iter().filter(|(server, _)| *server != home).count();
        let stays = self.plan.config.routing.on_open == OnOpen::FailFast || !elsewhere;
        ledger.check(!(stays && strays > 0), || format!("{who} left its home {home}: {tried:?}"));
        let unknown = [Outcome::Timeout, Outcome::Reset, Outcome::Protocol];
        let doubtful = tried.iter().filter(|(_, outcome)| unknown.contains(outcome)).count();
        ledger.check(again || doubtful <= 1, || format!("{who} may have been applied twice: {tried:?}"));
        drop(ledger);
        self.check_calm(&who, done.result.as_ref().err());
        Some(done)
    }

    /// Without faults nothing fails, but for want of room in our own pool.
    fn check_calm(&self, who: &str, error: Option<&Error>) {
        if let Some(error) = error.filter(|error| !matches!(error, Error::PoolExhausted(_)))
            && self.plan.is_calm()
        {
            self.ledger.lock().fail(&format!("{who} failed without a fault: {error}"));
        }
    }

    async fn get(&mut self, n: u64) {
        let text = format!("v:{n}");
        let Some(key) = self.key(&text) else { return };
        let done = self.execute(Op::Get(key)).await;
        match done.map(|done| done.result) {
            Some(Ok(Reply::Value(value))) => self.ledger.lock().check_value(&text, &value),
            Some(Ok(Reply::Miss) | Err(_)) | None => {}
            Some(Ok(other)) => self.odd(&text, &other),
        }
    }

    async fn set(&mut self, n: u64) {
        let text = format!("v:{n}");
        let Some(key) = self.key(&text) else { return };
        let ((_, value), ttl) = (self.new_value(&text), self.ttl());
        match self.execute(Op::Set { key, value, ttl }).await.map(|done| done.result) {
            Some(Ok(Reply::Stored) | Err(_)) | None => {}
            Some(Ok(other)) => self.odd(&text, &other),
        }
    }

    async fn add(&mut self, n: u64) {
        let text = format!("v:{n}");
        let Some(key) = self.key(&text) else { return };
        let ((_, value), ttl) = (self.new_value(&text), self.ttl());
        match self.execute(Op::Add { key, value, ttl }).await.map(|done| done.result) {
            Some(Ok(Reply::Stored | Reply::NotStored) | Err(_)) | None => {}
            Some(Ok(other)) => self.odd(&text, &other),
        }
    }

    async fn delete(&mut self, n: u64) {
        let text = format!("v:{n}");
        let Some(key) = self.key(&text) else { return };
        match self.execute(Op::Delete(key)).await.map(|done| done.result) {
            Some(Ok(Reply::Deleted | Reply::NotFound) | Err(_)) | None => {}
            Some(Ok(other)) => self.odd(&text, &other),
        }
    }

    async fn touch(&mut self, n: u64) {
        let text = format!("v:{n}");
        let Some(key) = self.key(&text) else { return };
        let ttl = self.ttl();
        match self.execute(Op::Touch(key, ttl)).await.map(|done| done.result) {
            Some(Ok(Reply::Touched | Reply::NotFound) | Err(_)) | None => {}
            Some(Ok(other)) => self.odd(&text, &other),
        }
    }

    async fn incr(&mut self, n: u64) {
        let text = format!("c:{n}");
        let Some(key) = self.key(&text) else { return };
        let running = self.ledger.lock().counters.incr_begins(&text);
        let done = self.execute(Op::Incr { key, delta: 1, initial: Some((1, None)) }).await;
        match done.map(|done| done.result) {
            Some(Ok(Reply::Counter(value))) => {
                let mut ledger = self.ledger.lock();
                if let Err(wrong) = ledger.counters.incr_answered(&text, running, value) {
                    ledger.fail(&wrong);
                }
            }
            Some(Err(_)) | None => {}
            Some(Ok(other)) => self.odd(&text, &other),
        }
    }

    /// Begins a counter anew.
    async fn reset(&mut self, n: u64) {
        let text = format!("c:{n}");
        let Some(key) = self.key(&text) else { return };
        let running = self.ledger.lock().counters.delete_begins(&text);
        let done = self.execute(Op::Delete(key)).await;
        let removed = done.as_ref().and_then(|done| {
            let all_known = done.attempts.iter().all(|tried| {
                matches!(
                    tried.outcome,
                    Outcome::Deleted
                        | Outcome::NotFound
                        | Outcome::Connect
                        | Outcome::BreakerOpen
                        | Outcome::PoolExhausted
                )
            });
            let at_home = done.attempts.last().is_some_and(|tried| tried.server == done.home);
            all_known.then_some(at_home && matches!(done.result, Ok(Reply::Deleted)))
        });
        self.ledger.lock().counters.delete_ended(&text, running, removed);
    }

    async fn multi_get(&mut self) {
        let count = self.rng.random_range(1..=12);
        let texts: Vec<String> =
            (0..count).map(|_| format!("v:{}", self.rng.random_range(0..KEYS))).collect();
        let keys: Vec<Key> = texts.iter().filter_map(|text| self.key(text)).collect();
        let client = self.client.clone();
        let limit = self.plan.config.total_timeout;
        let Some(done) = self.ended("multi_get", limit, client.multi_get(&keys)).await else { return };
        let who = format!("c{} t{} multi_get", self.client_index, self.index);
        let outcomes: Vec<_> = done.keys.iter().map(KeyCompletion::outcome).collect();
        let mut ledger = self.ledger.lock();
        ledger.note(&format!("{who} {} {outcomes:?} {:?}", texts.join(" "), done.attempts));
        ledger.check(done.keys.len() == keys.len(), || format!("{who}: {} answers", done.keys.len()));
        for ((text, key), answer) in texts.iter().zip(&keys).zip(&done.keys) {
            ledger.count(name(answer.outcome()));
            let home = client.home(key);
            ledger.check(answer.home == home, || format!("{who}: {key} lives on {home}"));
            if let Ok(Some(value)) = &answer.result {
                ledger.check_value(text, value);
            }
        }
        drop(ledger);
        for answer in &done.keys {
            self.check_calm(&who, answer.result.as_ref().err());
        }
    }

    /// Reads through the cache; sometimes marks what is there as stale before.
    async fn load(&mut self, n: u64) {
        let text = format!("l:{n}");
        let Some(key) = self.key(&text) else { return };
        if self.rng.random_bool(0.2) {
            let stale_for = Duration::from_secs(self.rng.random_range(1..=3));
            self.execute(Op::Invalidate { key, stale_for }).await;
            return;
        }
        let fetch = Fetch {
            ttl: Some(Duration::from_secs(self.rng.random_range(1..=6))),
            lease: Duration::from_secs(self.rng.random_range(1..=2)),
            refresh: self.rng.random_bool(0.5).then_some(Duration::from_secs(1)),
        };
        let takes = LOAD.mul_f64(self.rng.random_range(0.0..=1.0));
        let fails = self.rng.random_bool(0.05);
        let (ledger, padding) = (self.ledger.clone(), self.rng.random_range(0..=self.plan.padding));
        let loader = async || {
            sleep(takes).await;
            let version = ledger.lock().next_version(&text);
            if fails { Err("the source fails") } else { Ok(value::make(&text, version, padding)) }
        };
        // The lease read, waits for another's load, a last read, the load, the write; and each who waits may find that
        // the one who loaded for it has given up.
        let once = fetch.lease + self.plan.config.total_timeout * 3 + LOAD;
        let client = self.client.clone();
        let limit = once * (self.plan.tasks as u32 + 1);
        let what = format!("get_or_load {text}");
        let done = self.ended(&what, limit, client.get_or_load(&key, &fetch, loader)).await;
        let Some(done) = done else { return };
        let mut ledger = self.ledger.lock();
        let shown =
            done.as_ref().map(|value| String::from_utf8_lossy(&value[..value.len().min(30)]).into_owned());
        ledger.note(&format!("c{} t{} get_or_load {text} {shown:?}", self.client_index, self.index));
        ledger.count(if done.is_ok() { "loaded" } else { "load failed" });
        if let Ok(value) = done {
            ledger.check_value(&text, &value);
        }
    }

    /// Writes, reads or removes a key that nobody else has; without faults the answer is known.
    async fn own(&mut self, n: u64) {
        let text = format!("p:{}:{}:{n}", self.client_index, self.index);
        let Some(key) = self.key(&text) else { return };
        match self.rng.random_range(0..4) {
            0 => {
                let (version, value) = self.new_value(&text);
                let known = self.own.remove(&n);
                match self.execute(Op::Set { key, value, ttl: None }).await.map(|done| done.result) {
                    Some(Ok(_)) => drop(self.own.insert(n, Some(version))),
                    Some(Err(Error::PoolExhausted(_))) => self.own.extend(known.map(|known| (n, known))),
                    _ => {}
                }
            }
            1 => {
                let known = self.own.remove(&n);
                match self.execute(Op::Delete(key)).await.map(|done| done.result) {
                    Some(Ok(_)) => drop(self.own.insert(n, None)),
                    Some(Err(Error::PoolExhausted(_))) => self.own.extend(known.map(|known| (n, known))),
                    _ => {}
                }
            }
            _ => {
                let Some(Ok(reply)) = self.execute(Op::Get(key)).await.map(|done| done.result) else {
                    return;
                };
                let seen = match &reply {
                    Reply::Value(value) => {
                        self.ledger.lock().check_value(&text, value);
                        value::version(&text, value).ok()
                    }
                    _ => None,
                };
                let wrong = self.own.get(&n).filter(|known| **known != seen);
                if let Some(known) = wrong.filter(|_| self.plan.is_calm()) {
                    self.ledger.lock().fail(&format!("{text} has version {seen:?} instead of {known:?}"));
                }
            }
        }
    }

    fn odd(&self, key: &str, reply: &Reply) {
        self.ledger.lock().fail(&format!("{key}: a reply of another op: {reply:?}"));
    }
}

fn name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Hit => "hit",
        Outcome::Miss => "miss",
        Outcome::Stored => "stored",
        Outcome::NotStored => "not stored",
        Outcome::Deleted => "deleted",
        Outcome::NotFound => "not found",
        Outcome::Timeout => "timeout",
        Outcome::Connect => "connect",
        Outcome::Reset => "reset",
        Outcome::Protocol => "protocol",
        Outcome::ServerError => "server error",
        Outcome::PoolExhausted => "pool exhausted",
        Outcome::BreakerOpen => "breaker open",
        Outcome::WrongValue => "wrong value",
        Outcome::Cancelled => "cancelled",
    }
}
