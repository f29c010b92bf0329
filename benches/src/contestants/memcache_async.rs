//! The crate `memcache-async`: classic text on a stream that the caller brings. It sends sets with `noreply`, so they
//! cost no round trip, and their failures are not seen.

use std::sync::Arc;

use ::memcache_async::ascii::Protocol;
use anyhow::{Context, Result};
use tokio::net::TcpStream;

use crate::keyspace::{Draw, Keyspace, check_length};
use crate::measure::{Crew, Plan, Sample};

/// Runs it; with a depth above 1 its `get_multi`.
pub async fn run(keyspace: Arc<Keyspace>, plan: &Plan) -> Result<Sample> {
    let mut crew = Crew::default();
    for worker in 0..plan.connections {
        let stream = TcpStream::connect(plan.addr).await.context("connect")?;
        stream.set_nodelay(true).context("nodelay")?;
        let mut protocol = Protocol::new(stream);
        let (seat, keyspace, depth) = (crew.seat(), Arc::clone(&keyspace), plan.depth);
        let mut draw = Draw::new(&keyspace, plan.mix, worker);
        crew.spawn(async move {
            while seat.goes_on() {
                if depth > 1 {
                    let numbers: Vec<usize> = (0..depth).map(|_| draw.op().key).collect();
                    let names: Vec<&str> = numbers.iter().map(|n| keyspace.name(*n)).collect();
                    let found = protocol.get_multi(&names).await.context("get_multi")?;
                    for (n, name) in numbers.into_iter().zip(names) {
                        check_length(&keyspace, n, found.get(name).map(Vec::len))?;
                    }
                    seat.done(depth);
                    continue;
                }
                let choice = draw.op();
                let name = keyspace.name(choice.key);
                if choice.is_set {
                    protocol.set(name, keyspace.value(choice.key), 0).await.context("set")?;
                } else {
                    let value = protocol.get(name).await.context("get")?;
                    check_length(&keyspace, choice.key, Some(value.len()))?;
                }
                seat.done(1);
            }
            Ok(())
        });
    }
    crew.measure(plan).await
}
