//! The observation stream of a load, as its reader gets it: true, unless somebody has told it to lie.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use observation::hub::{Hub, Reader};
use observation::ndjson::{self, Decoder};
use observation::{Counts, Histogram, Outcome, Record, Tick};

/// What is done to the lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Lie {
    /// Nothing.
    #[default]
    Truth,
    /// The last tick is told again and again.
    Frozen,
    /// The ticks of before are told once more, as if they were of now.
    Earlier,
    /// Ticks are left out.
    Gaps,
    /// The clock of the records goes this far ahead, µs.
    Ahead(u64),
    /// Every op was a quick success, and nothing ever happened.
    AllIsWell,
}

/// Ticks that [`Lie::Earlier`] tells over and over.
const KEPT: usize = 30;
/// How old the run is that [`Lie::Earlier`] tells of, ms.
const AGE_MS: u64 = 3_600_000;
/// What [`Lie::AllIsWell`] says that an op takes, µs.
const QUICK_US: u64 = 300;

/// Where the lines come from.
#[derive(Debug, Default)]
pub struct Source {
    hub: Mutex<Option<Hub>>,
    lie: Mutex<Lie>,
}

impl Source {
    /// From now on of this hub; who listens to another one hears its end.
    pub fn tells_of(&self, hub: Hub) {
        *lock(&self.hub) = Some(hub);
    }

    /// Ends, and has no more to tell.
    pub fn falls_silent(&self) {
        *lock(&self.hub) = None;
    }

    /// From now on.
    pub fn lies(&self, lie: Lie) {
        *lock(&self.lie) = lie;
    }

    /// A new reader.
    pub fn subscribe(self: &Arc<Self>) -> Listener {
        let reader = lock(&self.hub).as_ref().map(Hub::subscribe);
        Listener { source: Arc::clone(self), reader, past: Vec::new(), told: 0 }
    }
}

/// The receiving side.
#[derive(Debug)]
pub struct Listener {
    source: Arc<Source>,
    reader: Option<Reader>,
    /// The last true ticks.
    past: Vec<Tick>,
    /// Lies in a row.
    told: usize,
}

impl Listener {
    /// The next line, true or not; none at the end.
    pub async fn next_line(&mut self) -> Option<Arc<str>> {
        loop {
            let line = self.reader.as_mut()?.next_line().await?;
            let lie = *lock(&self.source.lie);
            let Some(record) = record(&line) else { return Some(line) };
            // What is to be told later must have been heard before.
            let hears = lie == Lie::Truth || (lie == Lie::Earlier && self.past.len() < KEPT);
            if let (true, Record::Tick(tick)) = (hears, &record) {
                self.past.push(tick.clone());
                let surplus = self.past.len().saturating_sub(KEPT);
                self.past.drain(..surplus);
                return Some(line);
            }
            if lie == Lie::Truth {
                return Some(line);
            }
            self.told += 1;
            if let Some(record) = self.lie(lie, record) {
                return ndjson::to_line(&record).ok().map(Into::into);
            }
        }
    }

    fn lie(&self, lie: Lie, record: Record) -> Option<Record> {
        match (lie, record) {
            (Lie::Frozen, Record::Tick(_)) => self.past.last().cloned().map(Record::Tick),
            (Lie::Earlier, Record::Tick(now)) => {
                let then = self.past.get(self.told % self.past.len().max(1))?.clone();
                Some(Record::Tick(Tick { at_us: now.at_us, period_us: now.period_us, ..then }))
            }
            (Lie::Earlier, Record::Hello(mut hello)) => {
                hello.wall_ms = hello.wall_ms.saturating_sub(AGE_MS);
                Some(Record::Hello(hello))
            }
            (Lie::Earlier | Lie::Frozen | Lie::AllIsWell, Record::Event(_)) => None,
            (Lie::Gaps, Record::Tick(_)) => None,
            (Lie::Ahead(by_us), mut record) => {
                match &mut record {
                    Record::Tick(tick) => tick.at_us += by_us,
                    Record::Event(event) => event.at_us += by_us,
                    Record::Host(host) => host.at_us += by_us,
                    _ => {}
                }
                Some(record)
            }
            (Lie::AllIsWell, Record::Tick(tick)) => Some(Record::Tick(well(tick))),
            (_, record) => Some(record),
        }
    }
}

fn record(line: &str) -> Option<Record> {
    let mut decoder = Decoder::default();
    decoder.push(line.as_bytes());
    decoder.next_record::<Record>()?.ok()
}

/// The same numbers of ops, all of them quick and good.
fn well(mut tick: Tick) -> Tick {
    for server in &mut tick.servers {
        for counts in [&mut server.ops, &mut server.attempts] {
            let (mut good, mut bad) = (Counts::default(), 0);
            for class in Outcome::ALL {
                match class.is_ok() {
                    true => good.add(class, counts.get(class)),
                    false => bad += counts.get(class),
                }
            }
            good.add(Outcome::Hit, bad);
            *counts = good;
        }
        let quick = Histogram(vec![(QUICK_US, server.ops.total())]);
        (server.latency, server.service) = (quick.clone(), quick);
        server.breaker = observation::BreakerState::Closed;
    }
    tick
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
