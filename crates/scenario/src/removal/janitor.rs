//! A process that takes faults away when their owner cannot: it was killed, it hangs, or their time is over.
//!
//! The owner starts its own program as [`COMMAND`] and talks to it by lines over a pipe. The pipe ends when the owner does, by
//! whatever death; then everything that is still owned is removed at once. It says `ok` when it listens, and then answers every line by `ok`
//! or by an error:
//!
//! | line | meaning |
//! |---|---|
//! | `own <lease, ms> <resource>` | remove it when the pipe ends, or after this time; said before it is made |
//! | `gone <resource>` | its owner has removed it |
//! | `done` | nothing is left to do |
//!
//! | resource | |
//! |---|---|
//! | `run <URL of a Toxiproxy> <owner>` | every toxic and proxy there whose name says that it is this run's |
//! | `table <network namespace, or -> <name>` | a table of packet filter rules |

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::backends::resource::Resource;

/// First and only argument of a program that is to be a janitor.
pub const COMMAND: &str = "janitor";
/// Longest line, bytes.
const LINE_MAX: u64 = 512;
/// Resources that one janitor looks after.
const OWNED_MAX: usize = 1024;
/// Tries to remove one resource, and the pause between them.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(500);
/// Patience of the owner with an answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// A lease without an end would be none.
const LEASE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

#[derive(Debug, PartialEq)]
enum Order {
    Own(Duration, Resource),
    Gone(Resource),
    Done,
}

impl FromStr for Order {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let unknown = || format!("{line:?} is no order");
        match line.split_once(' ') {
            None if line == "done" => Ok(Order::Done),
            Some(("gone", resource)) => Ok(Order::Gone(resource.parse()?)),
            Some(("own", rest)) => {
                let (lease, resource) = rest.split_once(' ').ok_or_else(unknown)?;
                let lease = Duration::from_millis(lease.parse().map_err(|_| unknown())?);
                Ok(Order::Own(lease.min(LEASE_MAX), resource.parse()?))
            }
            _ => Err(unknown()),
        }
    }
}

/// Serves one owner until it is gone. For `main`: everything of the process happens in here.
pub fn main() -> ExitCode {
    // A session of its own: what a terminal or a shell sends to the owner's group does not reach it. This fails only for the
    // leader of a group, which has one already.
    let _ = rustix::process::setsid();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "janitor");
            return ExitCode::FAILURE;
        }
    };
    let left = runtime.block_on(async {
        // Who ends a service sends SIGTERM to all of its processes: this one goes when the owner has gone.
        let asked =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()];
        for kind in asked {
            if let Ok(mut signals) = signal(kind) {
                tokio::spawn(async move { while signals.recv().await.is_some() {} });
            }
        }
        serve(BufReader::new(tokio::io::stdin()), tokio::io::stdout(), |resource| async move {
            resource.remove().await
        })
        .await
    });
    // A thread may still wait for standard input.
    runtime.shutdown_background();
    if left == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Does as the lines say, until `done` or their end; gives how many resources could not be removed.
async fn serve<R: Future<Output = Result<(), String>>>(
    input: impl AsyncBufRead + Unpin + Send + 'static,
    mut output: impl AsyncWrite + Unpin,
    remove: impl Fn(Resource) -> R,
) -> usize {
    answer(&mut output, Ok(())).await;
    // One order is answered before the next is read.
    let (send, mut orders) = mpsc::channel(1);
    tokio::spawn(read(input, send));
    let mut owned: BTreeMap<String, (Instant, Resource)> = BTreeMap::new();
    loop {
        let soonest = owned.values().map(|(until, _)| *until).min();
        let order = tokio::select! {
            order = orders.recv() => order,
            () = sleep_until(soonest.unwrap_or_else(Instant::now)), if soonest.is_some() => {
                let now = Instant::now();
                let (over, lasting): (BTreeMap<_, _>, _) = owned.into_iter().partition(|(_, (until, _))| *until <= now);
                owned = lasting;
                let over: Vec<Resource> = over.into_values().map(|(_, resource)| resource).collect();
                for (resource, _) in take_away("its lease is over", over, &remove).await {
                    // Tried again at the end.
                    owned.insert(resource.to_string(), (Instant::now() + LEASE_MAX, resource));
                }
                continue;
            }
        };
        let answer = match order.as_deref().map(str::parse::<Order>) {
            None => break,
            Some(Err(why)) => Err(why),
            Some(Ok(Order::Own(..))) if owned.len() == OWNED_MAX => {
                Err(format!("more than {OWNED_MAX} resources"))
            }
            Some(Ok(Order::Own(lease, resource))) => {
                owned.insert(resource.to_string(), (Instant::now() + lease, resource));
                Ok(())
            }
            Some(Ok(Order::Gone(resource))) => {
                owned.remove(&resource.to_string());
                Ok(())
            }
            Some(Ok(Order::Done)) => {
                answer(&mut output, Ok(())).await;
                // What is still owned is removed all the same: "done" is no reason to leave something behind.
                break;
            }
        };
        self::answer(&mut output, answer).await;
    }
    let owned = owned.into_values().map(|(_, resource)| resource).collect();
    take_away("its owner is gone", owned, &remove).await.len()
}

async fn answer(output: &mut (impl AsyncWrite + Unpin), answer: Result<(), String>) {
    let line = answer.map_or_else(|why| format!("error: {why}\n"), |()| "ok\n".to_owned());
    // Nobody may be there to hear it; the end of the input says so.
    if output.write_all(line.as_bytes()).await.is_ok() {
        let _ = output.flush().await;
    }
}

/// Removes all, in rounds: what fails, or panics, keeps none of the others. Gives what is left, and why. Logs afterwards only,
/// as nobody may read that log, and a full pipe waits for ever.
async fn take_away<R: Future<Output = Result<(), String>>>(
    reason: &str,
    all: Vec<Resource>,
    remove: &impl Fn(Resource) -> R,
) -> Vec<(Resource, String)> {
    let mut said = Vec::new();
    let mut left: Vec<(Resource, String)> =
        all.into_iter().map(|resource| (resource, String::new())).collect();
    for n in 1..=TRIES {
        // At the same time: a Toxiproxy that hangs keeps no table.
        let removals = left.into_iter().map(async |(resource, _)| {
            let removal = AssertUnwindSafe(async { remove(resource.clone()).await }).catch_unwind();
            (removal.await.unwrap_or_else(|_| Err("a panic".to_owned())), resource)
        });
        let mut failed = Vec::new();
        for (removed, resource) in join_all(removals).await {
            match removed {
                Ok(()) => said.push(format!("{resource}: {reason}; taken away at try {n}")),
                Err(why) => failed.push((resource, why)),
            }
        }
        left = failed;
        if left.is_empty() {
            break;
        }
        sleep(PAUSE).await;
    }
    for line in said {
        tracing::warn!("{line}");
    }
    for (resource, why) in &left {
        tracing::error!("{resource}: {reason}; could not be taken away in {TRIES} tries: {why}");
    }
    left
}

/// Reads whole lines; a cut one is an owner that died while it wrote.
async fn read(mut input: impl AsyncBufRead + Unpin, orders: mpsc::Sender<String>) {
    loop {
        let mut line = String::new();
        match (&mut input).take(LINE_MAX).read_line(&mut line).await {
            Ok(_) if line.ends_with('\n') => {
                if orders.send(line.trim_end().to_owned()).await.is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
}

/// Why there is no janitor.
#[derive(Debug, thiserror::Error)]
#[error("the process that takes faults away should this one be killed: {0}")]
pub struct JanitorError(String);

impl JanitorError {
    /// There is none, and a fault would need one.
    pub(crate) fn missing() -> Self {
        Self("it was not started".to_owned())
    }
}

/// The owner's side; clones speak to the same process. Dropping the last one ends the pipe, and so everything that is owned.
#[derive(Debug, Clone)]
pub struct Janitor {
    pipe: Arc<Mutex<Pipe>>,
    lost: CancellationToken,
}

#[derive(Debug)]
struct Pipe {
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Janitor {
    /// Starts `program` as a janitor and waits until it listens.
    pub async fn start(program: &Path) -> Result<Self, JanitorError> {
        let failed = |error: std::io::Error| JanitorError(format!("{}: {error}", program.display()));
        let mut command = Command::new(program);
        command.arg(COMMAND).stdin(Stdio::piped()).stdout(Stdio::piped()).current_dir("/");
        let mut child = command.spawn().map_err(failed)?;
        let (orders, answers) = match (child.stdin.take(), child.stdout.take()) {
            (Some(orders), Some(answers)) => (orders, BufReader::new(answers)),
            _ => return Err(JanitorError("no pipe".to_owned())),
        };
        let lost = CancellationToken::new();
        let gone = lost.clone();
        tokio::spawn(async move {
            // Reaped here; how it ended is of no use any more.
            let _ = child.wait().await;
            gone.cancel();
        });
        let janitor = Self { pipe: Arc::new(Mutex::new(Pipe { orders, answers })), lost };
        janitor.say("").await?;
        Ok(janitor)
    }

    /// Cancelled when the process has ended.
    pub fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    /// From now on `resource` is removed at this process's end, and after `lease` at the latest.
    pub async fn own(&self, resource: &Resource, lease: Duration) -> Result<(), JanitorError> {
        self.say(&format!("own {} {resource}\n", lease.as_millis())).await
    }

    /// `resource` has been removed.
    pub async fn gone(&self, resource: &Resource) -> Result<(), JanitorError> {
        self.say(&format!("gone {resource}\n")).await
    }

    /// Ends the process, which takes away what is still owned.
    pub async fn done(self) -> Result<(), JanitorError> {
        self.say("done\n").await?;
        let ended = timeout(ANSWER_MAX, self.lost.cancelled()).await;
        ended.map_err(|_| JanitorError(format!("it did not end within {ANSWER_MAX:?}")))
    }

    /// Says a line and waits for its answer; says nothing, and waits for the first one.
    async fn say(&self, line: &str) -> Result<(), JanitorError> {
        if line.len() as u64 > LINE_MAX {
            return Err(JanitorError(format!(
                "an order is longer than {LINE_MAX} bytes: {}",
                line.trim_end()
            )));
        }
        let mut pipe = self.pipe.lock().await;
        let Pipe { orders, answers } = &mut *pipe;
        let mut answer = String::new();
        let talk = async {
            orders.write_all(line.as_bytes()).await?;
            answers.take(LINE_MAX).read_line(&mut answer).await
        };
        match timeout(ANSWER_MAX, talk).await {
            Err(_) => Err(JanitorError(format!("no answer within {ANSWER_MAX:?}"))),
            Ok(Err(error)) => Err(JanitorError(error.to_string())),
            Ok(Ok(_)) if answer == "ok\n" => Ok(()),
            Ok(Ok(_)) => Err(JanitorError(format!("it answered {:?}", answer.trim_end()))),
        }
    }
}

#[cfg(test)]
mod tests;
