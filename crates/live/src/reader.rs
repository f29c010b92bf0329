//! One reader of a feed: server-sent events of what it has not yet seen.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::feed::{Feed, Inner};

/// Name of the event that carries points.
const POINTS: &str = "points";
/// Points of one event at most.
const POINTS_MAX: usize = 900;
/// When nothing happens, the reader is told that the process is still there.
const BEAT: Duration = Duration::from_secs(1);
/// Pause of a browser before it comes again, ms.
const RETRY_MS: u64 = 1_000;

/// What it has seen is all that it keeps: whoever is slow finds more the next time, and the oldest points gone.
#[derive(Debug)]
pub struct Reader {
    feed: Feed,
    changes: watch::Receiver<u64>,
    greeted: bool,
    seen: Seen,
    told: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Seen {
    instance: u64,
    generation: u64,
    fine: u64,
    coarse: u64,
}

impl Seen {
    /// What an id says; `None`: it is none of ours.
    fn read(id: &str) -> Option<Self> {
        let mut parts = id.split('.').map(|part| part.parse::<u64>().ok());
        let mut next = || parts.next().flatten();
        let seen = Self { instance: next()?, generation: next()?, fine: next()?, coarse: next()? };
        parts.next().is_none().then_some(seen)
    }

    /// Was that a reader of what is there now?
    fn continues(&self, now: &Inner) -> bool {
        (self.instance, self.generation) == (now.origin.instance, now.generation)
            && self.fine <= now.fine.next()
            && self.coarse <= now.coarse.next()
    }
}

impl Reader {
    pub(crate) fn new(feed: Feed, changes: watch::Receiver<u64>, after: Option<&str>) -> Self {
        let seen = after.and_then(Seen::read).unwrap_or_default();
        Self { feed, changes, greeted: false, seen, told: BTreeMap::new() }
    }

    /// The next events; `None` when the feed has ended.
    pub async fn next(&mut self) -> Option<String> {
        loop {
            self.changes.borrow_and_update();
            let text = self.unseen().text();
            if !text.is_empty() {
                return Some(text);
            }
            match timeout(BEAT, self.changes.changed()).await {
                Ok(changed) => changed.ok()?,
                Err(_) => return Some("event: beat\ndata: {}\n\n".to_owned()),
            }
        }
    }

    /// All that there is now, for a page that is not yet connected.
    pub(crate) fn snapshot(&mut self) -> Unseen {
        self.unseen()
    }

    fn unseen(&mut self) -> Unseen {
        let mut events = Vec::new();
        let now = self.feed.lock();
        if !self.greeted || self.seen.generation != now.generation {
            let resumed = !self.greeted && self.seen.continues(&now);
            if !resumed {
                let Inner { origin, generation, .. } = &*now;
                self.seen = Seen { instance: origin.instance, generation: *generation, ..Seen::default() };
            }
            self.greeted = true;
            let Seen { instance, generation, .. } = self.seen;
            events.push((
                "hello",
                format!("{{\"instance\":\"{instance}.{generation}\",\"resumed\":{resumed}}}"),
            ));
        }
        for (name, (version, json)) in &now.told {
            if self.told.get(name) != Some(version) {
                self.told.insert(name, *version);
                events.push((name, json.to_string()));
            }
        }
        if self.seen.fine < now.fine.next() || self.seen.coarse < now.coarse.next() {
            let mut points = "{\"coarse\":[".to_owned();
            self.seen.coarse = now.coarse.write(self.seen.coarse, POINTS_MAX, &mut points);
            points.push_str("],\"fine\":[");
            self.seen.fine = now.fine.write(self.seen.fine, POINTS_MAX, &mut points);
            points.push_str("]}");
            events.push((POINTS, points));
        }
        let Seen { instance, generation, fine, coarse } = self.seen;
        Unseen { events, id: format!("{instance}.{generation}.{fine}.{coarse}") }
    }
}

/// What a reader has not yet seen.
#[derive(Debug, Default)]
pub(crate) struct Unseen {
    /// Name and JSON.
    pub(crate) events: Vec<(&'static str, String)>,
    /// How far it has seen the points with these.
    pub(crate) id: String,
}

impl Unseen {
    /// As server-sent events; empty: there is nothing new.
    fn text(&self) -> String {
        let mut text = String::new();
        for (name, json) in &self.events {
            if *name == "hello" {
                let _ = writeln!(text, "retry: {RETRY_MS}");
            }
            let _ = write!(text, "event: {name}\ndata: {json}\n");
            if *name == POINTS {
                let _ = writeln!(text, "id: {}", self.id);
            }
            text.push('\n');
        }
        text
    }
}
