//! Writes the journal. One task owns the file; everybody else sends to it over a bounded queue.

use std::path::{Path, PathBuf};

use observation::Record;
use observation::clock::RunClock;
use observation::journal::{Entry, JournalError, Source, Writer};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::onlooker::Onlooker;
use super::stable::Watching;

/// Entries that may wait for the disk.
const QUEUE: usize = 4096;

enum Message {
    Append(Entry),
    /// Answered when it is on disk.
    Synced(Entry, oneshot::Sender<()>),
}

/// The sending side. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    clock: RunClock,
    queue: mpsc::Sender<Message>,
    /// Is told every entry, too.
    watching: Option<Watching>,
    /// And so is this.
    onlooker: Onlooker,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Message")
    }
}

/// The writing task.
pub(crate) type Writing = JoinHandle<Result<PathBuf, JournalError>>;

/// Creates `dir` and its journal.
pub(crate) fn start(
    dir: &Path,
    clock: RunClock,
    watching: Option<Watching>,
    onlooker: Onlooker,
) -> Result<(Journal, Writing), JournalError> {
    let mut writer = Writer::create(dir)?;
    let (queue, mut messages) = mpsc::channel(QUEUE);
    let writing = tokio::task::spawn_blocking(move || {
        while let Some(message) = messages.blocking_recv() {
            match message {
                Message::Append(entry) => {
                    writer.append(&entry)?;
                    // Readers of a running journal see whole lines as soon as the queue is empty.
                    if messages.is_empty() {
                        writer.flush()?;
                    }
                }
                Message::Synced(entry, done) => {
                    writer.append_synced(&entry)?;
                    // The asker may have gone.
                    let _ = done.send(());
                }
            }
        }
        writer.sync()?;
        Ok(writer.path().to_owned())
    });
    Ok((Journal { clock, queue, watching, onlooker }, writing))
}

impl Journal {
    fn entry(&self, at_us: u64, source: Source, record: Record) -> Entry {
        let entry = Entry { at_us, source, record };
        if let Some(watching) = &self.watching {
            watching.entry(&entry);
        }
        self.onlooker.entry(&entry);
        entry
    }

    /// Appends a record of the runner's, now. A writer that has failed is noticed at the end, and by [`Journal::sync`].
    pub(crate) async fn append(&self, record: Record) {
        let entry = self.entry(self.clock.now_us(), Source::Runner, record);
        let _ = self.queue.send(Message::Append(entry)).await;
    }

    /// Appends a record of the client's, at its aligned moment.
    pub(crate) async fn append_client(&self, at_us: u64, record: Record) {
        let entry = self.entry(at_us, Source::Client, record);
        let _ = self.queue.send(Message::Append(entry)).await;
    }

    /// Appends a record and waits until it is on disk; `false` when it is not.
    pub(crate) async fn sync(&self, record: Record) -> bool {
        let entry = self.entry(self.clock.now_us(), Source::Runner, record);
        let (done, written) = oneshot::channel();
        self.queue.send(Message::Synced(entry, done)).await.is_ok() && written.await.is_ok()
    }
}
