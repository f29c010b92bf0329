//! One request on a pooled connection that it has for itself: finds the connection, exchanges request and reply by the
//! deadline, and decides what becomes of the connection.

use std::pin::pin;

use tokio::time::Instant;

use crate::bugs::Bug;
use crate::error::Error;
use crate::observer::CloseReason;
use crate::pool::{Closed, Found, Pool, Slot};
use crate::request::{Answer, Request};
use crate::site::Site;
use crate::sync::timeout_at;

/// When what happened in an attempt; a clock that was read once need not be read again.
#[derive(Default)]
pub(crate) struct Times {
    /// The server was waited for from here on.
    pub(crate) at_server: Option<Instant>,
    /// The last reply was read.
    pub(crate) ended: Option<Instant>,
}

/// Makes `request` on a connection of `pool`, in the time from `began`, which is now, to `deadline`.
pub(crate) async fn exchange(
    site: &Site,
    pool: &Pool,
    request: Request<'_>,
    began: Instant,
    deadline: Instant,
    times: &mut Times,
) -> Result<Answer, Error> {
    let mut closed = Closed::new();
    times.at_server = Some(began);
    // Slots that all servers share are waited for.
    let mut slot = if site.config.bugs.is(Bug::SharedPool) { None } else { pool.try_acquire() };
    let ready = slot.as_mut().is_some_and(|slot| slot.take_idle(began, &mut closed));
    if !ready {
        site.tell_closed(&closed);
        closed.clear();
        // In a box: what is seldom waited for takes no room in the future of every op.
        let connected = connected(site, pool, slot.take(), began, &mut times.at_server);
        let connected = Box::pin(timeout_at(deadline, connected)).await;
        slot = Some(connected.unwrap_or_else(|_| Err(Error::Timeout(deadline - began)))?);
    }
    let exchanged = on_slot(slot.as_mut(), request, deadline).await;
    let Some(slot) = slot else { return Err(Error::Timeout(deadline - began)) };
    let Some(result) = exchanged else {
        if let Some(slot) = site.config.bugs.spoil(site, slot) {
            slot.close(CloseReason::Timeout, &mut closed);
        }
        site.tell_closed(&closed);
        return Err(Error::Timeout(deadline - began));
    };
    let now = *times.ended.insert(Instant::now());
    match &result {
        // A server error is a whole reply; for what the codec does not have, nothing was sent.
        Ok(_) | Err(Error::Server(_) | Error::Unsupported { .. }) => closed.extend(slot.finish(now)),
        Err(Error::Protocol(_)) => slot.close(CloseReason::Protocol, &mut closed),
        Err(Error::TooManyConnections) => {
            pool.no_room();
            slot.close(CloseReason::Protocol, &mut closed);
        }
        Err(_) => slot.close(CloseReason::Reset, &mut closed),
    }
    site.tell_closed(&closed);
    result
}

/// `slot`, or the next one, with a connection.
async fn connected<'a>(
    site: &Site,
    pool: &'a Pool,
    slot: Option<Slot<'a>>,
    began: Instant,
    at_server: &mut Option<Instant>,
) -> Result<Slot<'a>, Error> {
    let (mut slot, now) = match slot {
        Some(slot) => (slot, began),
        None => {
            let place = site.config.bugs.shared_place(&site.config).await?;
            (pool.acquire().await?.holding(place), Instant::now())
        }
    };
    *at_server = Some(now);
    find_connection(site, &mut slot, now, at_server).await?;
    Ok(slot)
}

/// Gives the slot an idle connection or a new one.
async fn find_connection(
    site: &Site,
    slot: &mut Slot<'_>,
    now: Instant,
    at_server: &mut Option<Instant>,
) -> Result<(), Error> {
    let mut closed = Closed::new();
    let found = slot.find(now, &mut closed).await;
    site.tell_closed(&closed);
    if matches!(found?, Found::Idle) {
        return Ok(());
    }
    site.config.bugs.refuse_dial(site.index)?;
    // The server is waited for from here on, not our own turn to dial.
    *at_server = Some(Instant::now());
    let dialled = site.dial().await.inspect_err(|_| slot.dial_failed())?;
    slot.put_new(site.speak(dialled)?, site.draw());
    Ok(())
}

/// The end of a request on the slot's connection; `None`: none by `deadline`.
async fn on_slot(
    slot: Option<&mut Slot<'_>>,
    request: Request<'_>,
    deadline: Instant,
) -> Option<Result<Answer, Error>> {
    let (connection, timer) = slot?.use_until(deadline)?;
    let exchange = pin!(async {
        match request {
            Request::One(op) => connection.execute(op).await.map(Answer::One),
            Request::Many(ops, replies) => {
                let ended = Box::pin(connection.execute_many(ops, replies)).await;
                ended.and_then(|()| replies.answer())
            }
        }
    });
    timer.limit(deadline, exchange).await
}
