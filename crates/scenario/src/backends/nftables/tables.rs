//! The tables of one run: made, counted, and taken away.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::namespace::{CallError, Namespace};
use super::table::{self, Counted, TableName};

/// Why a table could not be made or taken away.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// By `nft`.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The rules had gone before they were taken away.
    #[error("table {0} was gone already: the fault did not last")]
    Gone(TableName),
}

/// One table that is in force.
#[derive(Debug)]
struct Active {
    namespace: Namespace,
    name: TableName,
    counted: Counted,
    at: Instant,
}

impl Active {
    /// The counts between the last look and this one; `None`: a later look was quicker.
    fn since(&mut self, now: Counted) -> Option<(TableName, Since)> {
        if now.seen < self.counted.seen {
            return None;
        }
        let before = std::mem::replace(&mut self.counted, now);
        let then = std::mem::replace(&mut self.at, Instant::now());
        let counted = Counted {
            seen: now.seen - before.seen,
            dropped: now.dropped.saturating_sub(before.dropped),
            seen_bytes: now.seen_bytes.saturating_sub(before.seen_bytes),
            dropped_bytes: now.dropped_bytes.saturating_sub(before.dropped_bytes),
        };
        Some((self.name.clone(), Since { counted, at: self.at, period: self.at - then }))
    }
}

/// The counts of a table between two looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since {
    /// Packets.
    pub counted: Counted,
    /// The second look.
    pub at: Instant,
    /// Time between the two looks.
    pub period: Duration,
}

/// The tables of one run.
#[derive(Debug, Default)]
pub struct Tables {
    active: Vec<Active>,
    /// Counts that were read by a look, and not told yet.
    untold: Vec<(TableName, Since)>,
}

impl Tables {
    /// From now on a `share` (0-1) of the packets that arrive from or for `listen` is lost.
    pub async fn create(
        &mut self,
        namespace: &Namespace,
        name: TableName,
        listen: SocketAddr,
        share: f64,
    ) -> Result<(), TableError> {
        // In this process's namespace other hosts may be clients too, whose replies do not arrive here: half a loss is none.
        let rules = table::ruleset(&name, listen, share, namespace.name().is_none());
        let counted = Counted::default();
        // Remembered before the call: its answer may get lost, its effect not.
        self.active.push(Active {
            namespace: namespace.clone(),
            name: name.clone(),
            counted,
            at: Instant::now(),
        });
        Ok(table::create(namespace, &name, &rules).await?)
    }

    /// The counts of each table since the last time.
    pub async fn count(&mut self) -> Vec<(TableName, Since)> {
        self.look().await;
        self.untold()
    }

    /// Reads the counters of every table, which go with it.
    pub(super) async fn look(&mut self) {
        for active in &mut self.active {
            // What cannot be read now is part of the next look.
            if let Ok(now) = table::count(&active.namespace, &active.name).await {
                self.untold.extend(active.since(now));
            }
        }
    }

    /// Counts that were read, each once.
    pub(super) fn untold(&mut self) -> Vec<(TableName, Since)> {
        std::mem::take(&mut self.untold)
    }

    /// The tables that are in force.
    pub(super) fn in_force(&self) -> Vec<(Namespace, TableName)> {
        self.active.iter().map(|active| (active.namespace.clone(), active.name.clone())).collect()
    }

    /// Takes over what was read of a table's counters, if it is still in force.
    pub(super) fn counted(&mut self, name: &TableName, now: Counted) {
        let active = self.active.iter_mut().find(|active| active.name == *name);
        self.untold.extend(active.and_then(|active| active.since(now)));
    }

    /// Takes every table away and reads back that it is gone. Tries everything before it gives the first error; what is left
    /// can be tried again.
    pub async fn remove(&mut self) -> Result<(), TableError> {
        let mut first_error = None;
        let mut left = 0;
        // Forgotten only when it is gone: a panic in between must not hide one.
        while let Some(active) = self.active.get(left) {
            let error = match table::delete(&active.namespace, &active.name).await {
                Err(error) => {
                    left += 1;
                    Some(TableError::Call(error))
                }
                Ok(was_there) => {
                    let active = self.active.remove(left);
                    (!was_there).then_some(TableError::Gone(active.name))
                }
            };
            first_error = first_error.or(error);
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Is nothing left?
    pub fn is_clean(&self) -> bool {
        self.active.is_empty()
    }
}
