//! The crate `memcache`: blocking, classic text, as many threads as connections. Its pool asks a connection for
//! memcached's version before it gives it out, a second round trip for each op, unless it is built not to.

use std::collections::HashMap;
use std::sync::Arc;

use ::memcache::{Client, ConnectionManager, Pool, Url};
use anyhow::{Context, Result};

use crate::keyspace::{Draw, Keyspace, check_length};
use crate::measure::{Crew, Plan, Sample};

/// How the pool gives out a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checkout {
    /// After it has answered; what `Client::with_pool_size` does.
    Tested,
    /// At once.
    Untested,
}

fn connect(checkout: Checkout, plan: &Plan) -> Result<Client> {
    let url = format!("memcache://{}?protocol=ascii&tcp_nodelay=true", plan.addr);
    let size = u32::try_from(plan.connections).context("connections")?;
    if checkout == Checkout::Tested {
        return Client::with_pool_size(url, size).context("connect");
    }
    let manager = ConnectionManager::new(Url::parse(&url).context("url")?);
    let pool = Pool::builder().max_size(size).test_on_check_out(false).build(manager).context("pool")?;
    Client::with_pool(pool).context("connect")
}

/// Runs it; with a depth above 1 its `gets`.
pub async fn run(checkout: Checkout, keyspace: Arc<Keyspace>, plan: &Plan) -> Result<Sample> {
    let client = connect(checkout, plan)?;
    let mut crew = Crew::default();
    for worker in 0..plan.connections {
        let (seat, keyspace, depth) = (crew.seat(), Arc::clone(&keyspace), plan.depth);
        let (client, mut draw) = (client.clone(), Draw::new(&keyspace, plan.mix, worker));
        crew.spawn_thread(move || {
            while seat.goes_on() {
                if depth > 1 {
                    let numbers: Vec<usize> = (0..depth).map(|_| draw.op().key).collect();
                    let names: Vec<&str> = numbers.iter().map(|n| keyspace.name(*n)).collect();
                    let found: HashMap<String, Vec<u8>> = client.gets(&names).context("gets")?;
                    for (n, name) in numbers.into_iter().zip(names) {
                        check_length(&keyspace, n, found.get(name).map(Vec::len))?;
                    }
                    seat.done(depth);
                    continue;
                }
                let choice = draw.op();
                let name = keyspace.name(choice.key);
                if choice.is_set {
                    client.set(name, &keyspace.value(choice.key)[..], 0).context("set")?;
                } else {
                    let value: Option<Vec<u8>> = client.get(name).context("get")?;
                    check_length(&keyspace, choice.key, value.map(|value| value.len()))?;
                }
                seat.done(1);
            }
            Ok(())
        });
    }
    crew.measure(plan).await
}
