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
    /// What it has counted since the last look; `None`: its counters cannot be read now, and the next look has it all.
    async fn count(&mut self) -> Option<(TableName, Since)> {
        let now = table::count(&self.namespace, &self.name).await.ok()?;
        let before = std::mem::replace(&mut self.counted, now);
        let then = std::mem::replace(&mut self.at, Instant::now());
        let counted = Counted {
            seen: now.seen.saturating_sub(before.seen),
            dropped: now.dropped.saturating_sub(before.dropped),
            seen_bytes: now.seen_bytes.saturating_sub(before.seen_bytes),
            dropped_bytes: now.dropped_bytes.saturating_sub(before.dropped_bytes),
        };
        Some((self.name.clone(), Since { counted, at: self.at, period: self.at - then }))
    }
}

/// What a table has counted between two looks.
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
    /// What tables that are gone had counted last.
    last_counts: Vec<(TableName, Since)>,
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

    /// What each table has counted since the last time.
    pub async fn count(&mut self) -> Vec<(TableName, Since)> {
        let mut all = std::mem::take(&mut self.last_counts);
        for active in &mut self.active {
            all.extend(active.count().await);
        }
        all
    }

    /// Takes every table away and reads back that it is gone. Tries everything before it gives the first error; what is left
    /// can be tried again.
    pub async fn remove(&mut self) -> Result<(), TableError> {
        let mut first_error = None;
        let mut left = 0;
        // Forgotten only when it is gone: a panic in between must not hide one.
        while let Some(active) = self.active.get_mut(left) {
            // The counters go with their table.
            self.last_counts.extend(active.count().await);
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
