//! The crate `async-memcached`: one connection a client, classic text.

use std::sync::Arc;

use ::async_memcached::{AsciiProtocol, Client};
use anyhow::{Context, Result};

use crate::keyspace::{Draw, Keyspace, check_length};
use crate::measure::{Crew, Plan, Sample};

/// Runs it; with a depth above 1 its `get_multi`.
pub async fn run(keyspace: Arc<Keyspace>, plan: &Plan) -> Result<Sample> {
    let mut crew = Crew::default();
    for worker in 0..plan.connections {
        let mut client = Client::new(format!("tcp://{}", plan.addr)).await.context("connect")?;
        let (seat, keyspace, depth) = (crew.seat(), Arc::clone(&keyspace), plan.depth);
        let mut draw = Draw::new(&keyspace, plan.mix, worker);
        crew.spawn(async move {
            while seat.goes_on() {
                if depth > 1 {
                    let numbers: Vec<usize> = (0..depth).map(|_| draw.op().key).collect();
                    let names: Vec<&str> = numbers.iter().map(|n| keyspace.name(*n)).collect();
                    let found = client.get_multi(names).await.context("get_multi")?;
                    // Values come in the order of the keys.
                    for (n, value) in numbers.iter().zip(&found) {
                        check_length(&keyspace, *n, value.data.as_ref().map(Vec::len))?;
                    }
                    anyhow::ensure!(found.len() == depth, "{} of {depth} keys were found", found.len());
                    seat.done(depth);
                    continue;
                }
                let choice = draw.op();
                let name = keyspace.name(choice.key);
                if choice.is_set {
                    client.set(name, &keyspace.value(choice.key)[..], None, None).await.context("set")?;
                } else {
                    let value = client.get(name).await.context("get")?;
                    let length = value.and_then(|value| value.data).map(|data| data.len());
                    check_length(&keyspace, choice.key, length)?;
                }
                seat.done(1);
            }
            Ok(())
        });
    }
    crew.measure(plan).await
}
