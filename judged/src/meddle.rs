//! Who breaks an experiment while it runs.

use std::time::Duration;

use anyhow::{Context, Error, Result, bail};
use lab::Servers;
use observation::PhaseKind::{self, Recovery, Stabilization, Testing};
use scenario::Status;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use toxiproxy::wire::Toxic;

use crate::stream::Lie;
use crate::world::World;

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meddler {
    /// Nothing.
    Nobody,
    /// The stream lies from its first line on.
    Lies(Lie),
    /// The stream lies from so long after the begin of a phase.
    LiesFrom(PhaseKind, Duration, Lie),
    /// Three times in this phase no tick comes for more than a second.
    LeavesGaps(PhaseKind),
    /// The toxic acts on another server than the one that the runner knows.
    MovesToxic,
    /// The toxic is deleted so long after it was added.
    EndsToxic(Duration),
    /// What the runner takes away, somebody adds again.
    ProlongsToxic,
    /// Another tool's toxic acts on another server from the beginning.
    AddsToxic,
    /// All proxies go, and come back as they were at their start.
    RestartsProxies,
    /// The load ends, and its stream with it.
    EndsLoad,
    /// The load begins anew.
    RestartsLoad,
    /// The load and its runner get a fifth of the processor time that they want.
    Starves,
    /// Nothing moves for a while.
    Pauses(Duration),
    /// A server ends and begins anew, empty.
    RestartsServer,
}

/// Between two looks at something.
const LOOK: Duration = Duration::from_millis(2);
/// Within this time all toxics of a fault are there.
const BOTH: Duration = Duration::from_millis(100);
/// So long into a phase something happens that is to happen within it.
const INTO: Duration = Duration::from_secs(2);
/// Without processor time, and with it.
const STARVED: (Duration, Duration) = (Duration::from_millis(40), Duration::from_millis(10));
/// Without ticks.
const GAP: Duration = Duration::from_millis(1_200);
/// What the others' toxics are called.
const STRANGER: &str = "stranger";

/// Meddles until it is dropped; ends only when it cannot.
pub async fn meddle(world: &World, mut status: watch::Receiver<Status>) -> Error {
    match act(world, &mut status).await {
        Ok(()) => std::future::pending().await,
        Err(error) => error.context("the one who meddles"),
    }
}

async fn act(world: &World, status: &mut watch::Receiver<Status>) -> Result<()> {
    match world.meddler {
        Meddler::Nobody | Meddler::Lies(_) | Meddler::AddsToxic => {}
        Meddler::LiesFrom(phase, after, lie) => {
            begins(status, phase).await?;
            sleep(after).await;
            world.source.lies(lie);
        }
        Meddler::LeavesGaps(phase) => {
            begins(status, phase).await?;
            for _ in 0..3 {
                sleep(INTO).await;
                world.source.lies(Lie::Gaps);
                sleep(GAP).await;
                world.source.lies(Lie::Truth);
            }
        }
        Meddler::MovesToxic => {
            let (from, to) = (world.proxy(0)?, world.proxy(1)?);
            appears(world, from).await?;
            for toxic in all(world, from).await? {
                world.toxiproxy.remove_toxic(from, &toxic.name).await?;
                world.toxiproxy.add_toxic(to, &toxic).await?;
            }
        }
        Meddler::EndsToxic(after) => {
            let proxy = world.proxy(0)?;
            appears(world, proxy).await?;
            sleep(after).await;
            for toxic in all(world, proxy).await? {
                world.toxiproxy.remove_toxic(proxy, &toxic.name).await?;
            }
        }
        Meddler::ProlongsToxic => {
            let toxic = appears(world, world.proxy(0)?).await?;
            begins(status, Recovery).await?;
            let again = Toxic { name: STRANGER.to_owned(), ..toxic };
            world.toxiproxy.add_toxic(world.proxy(0)?, &again).await?;
        }
        Meddler::RestartsProxies => {
            begins(status, Testing).await?;
            sleep(INTO).await;
            for proxy in world.proxies() {
                world.toxiproxy.delete_proxy(&proxy.name).await?;
                world.toxiproxy.create_proxy(&proxy).await?;
            }
        }
        Meddler::EndsLoad => {
            begins(status, Testing).await?;
            sleep(INTO).await;
            world.stop_load().await;
        }
        Meddler::RestartsLoad => {
            begins(status, Testing).await?;
            sleep(INTO).await;
            world.stop_load().await;
            world.start_load().await?;
        }
        Meddler::Starves => {
            for _ in 0..world.workers {
                tokio::spawn(async {
                    loop {
                        hold_worker(STARVED.0);
                        sleep(STARVED.1).await;
                    }
                });
            }
        }
        Meddler::Pauses(length) => {
            begins(status, Testing).await?;
            sleep(INTO).await;
            for _ in 0..world.workers {
                tokio::spawn(async move { hold_worker(length) });
            }
            // The runner is on this thread.
            hold_worker(length);
        }
        Meddler::RestartsServer => {
            begins(status, Stabilization).await?;
            sleep(INTO).await;
            let Servers::Fake(servers) = world.lab.servers() else { bail!("only the fake can be restarted") };
            let server = servers.first().context("no server")?;
            server.stop_listening().await;
            server.disconnect().await;
            server.flush();
            sleep(Duration::from_millis(300)).await;
            server.resume().await?;
        }
    }
    Ok(())
}

/// What must be there before the runner looks for the first time.
pub async fn beforehand(world: &World) -> Result<()> {
    if let Meddler::Lies(lie) = world.meddler {
        world.source.lies(lie);
    }
    if world.meddler != Meddler::AddsToxic {
        return Ok(());
    }
    let attributes = [("latency".to_owned(), 20.into()), ("jitter".to_owned(), 0.into())].into();
    let toxic = Toxic {
        name: STRANGER.to_owned(),
        kind: "latency".to_owned(),
        stream: "downstream".to_owned(),
        toxicity: 1.0,
        attributes,
    };
    world.toxiproxy.add_toxic(world.proxy(1)?, &toxic).await?;
    Ok(())
}

async fn begins(status: &mut watch::Receiver<Status>, phase: PhaseKind) -> Result<()> {
    status.wait_for(|status| status.phase == phase).await.context("the run has ended")?;
    Ok(())
}

/// The first of the runner's toxics on `proxy`, as soon as it is there.
async fn appears(world: &World, proxy: &str) -> Result<Toxic> {
    loop {
        if let Some(toxic) = world.toxiproxy.toxics(proxy).await?.into_iter().next() {
            return Ok(toxic);
        }
        sleep(LOOK).await;
    }
}

/// All of them: a fault may be one for each direction, and the second comes a moment later.
async fn all(world: &World, proxy: &str) -> Result<Vec<Toxic>> {
    sleep(BOTH).await;
    Ok(world.toxiproxy.toxics(proxy).await?)
}

/// As a host does that has no time for us.
fn hold_worker(length: Duration) {
    let until = Instant::now() + length;
    while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}
