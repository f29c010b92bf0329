//! Who breaks an experiment while it runs.

use std::time::Duration;

use anyhow::{Context, Error, Result, bail};
use lab::Servers;
use observation::PhaseKind::{self, Recovery, Stabilization, Testing};
use scenario::Status;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use toxiproxy::wire::Toxic;

use crate::rows::Meddler;
use crate::stream::Lie;
use crate::world::World;

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
/// How long a server is away that is restarted.
const DOWN: Duration = Duration::from_millis(300);
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
            leave_gaps(world).await;
        }
        Meddler::MovesToxic => move_toxics(world).await?,
        Meddler::EndsToxic(after) => end_toxics(world, after).await?,
        Meddler::ProlongsToxic => {
            let toxic = appears(world, world.proxy(0)?).await?;
            begins(status, Recovery).await?;
            let again = Toxic { name: STRANGER.to_owned(), ..toxic };
            world.toxiproxy.add_toxic(world.proxy(0)?, &again).await?;
        }
        Meddler::RestartsProxies => {
            lasts(status, Testing).await?;
            restart_proxies(world).await?;
        }
        Meddler::EndsLoad => {
            lasts(status, Testing).await?;
            world.stop_load().await;
        }
        Meddler::RestartsLoad => {
            lasts(status, Testing).await?;
            world.stop_load().await;
            world.start_load().await?;
        }
        Meddler::Starves => starve(world),
        Meddler::Pauses(length) => {
            lasts(status, Testing).await?;
            pause(world, length);
        }
        Meddler::RestartsServer => {
            lasts(status, Stabilization).await?;
            restart_server(world).await?;
        }
    }
    Ok(())
}

async fn leave_gaps(world: &World) {
    for _ in 0..3 {
        sleep(INTO).await;
        world.source.lies(Lie::Gaps);
        sleep(GAP).await;
        world.source.lies(Lie::Truth);
    }
}

async fn move_toxics(world: &World) -> Result<()> {
    let (from, to) = (world.proxy(0)?, world.proxy(1)?);
    appears(world, from).await?;
    for toxic in all(world, from).await? {
        world.toxiproxy.remove_toxic(from, &toxic.name).await?;
        world.toxiproxy.add_toxic(to, &toxic).await?;
    }
    Ok(())
}

async fn end_toxics(world: &World, after: Duration) -> Result<()> {
    let proxy = world.proxy(0)?;
    appears(world, proxy).await?;
    sleep(after).await;
    for toxic in all(world, proxy).await? {
        world.toxiproxy.remove_toxic(proxy, &toxic.name).await?;
    }
    Ok(())
}

async fn restart_proxies(world: &World) -> Result<()> {
    for proxy in world.proxies() {
        world.toxiproxy.delete_proxy(&proxy.name).await?;
        world.toxiproxy.create_proxy(&proxy).await?;
    }
    Ok(())
}

fn starve(world: &World) {
    for _ in 0..world.workers {
        tokio::spawn(async {
            loop {
                hold_worker(STARVED.0);
                sleep(STARVED.1).await;
            }
        });
    }
}

fn pause(world: &World, length: Duration) {
    for _ in 0..world.workers {
        tokio::spawn(async move { hold_worker(length) });
    }
    // The runner is on this thread.
    hold_worker(length);
}

async fn restart_server(world: &World) -> Result<()> {
    let Servers::Fake(servers) = world.lab.servers() else { bail!("only the fake can be restarted") };
    let server = servers.first().context("no server")?;
    server.stop_listening().await;
    server.disconnect().await;
    server.flush();
    sleep(DOWN).await;
    server.resume().await?;
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

/// Waits until the phase has lasted for [`INTO`].
async fn lasts(status: &mut watch::Receiver<Status>, phase: PhaseKind) -> Result<()> {
    begins(status, phase).await?;
    sleep(INTO).await;
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
