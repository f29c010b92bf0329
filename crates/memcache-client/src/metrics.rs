//! Prometheus metrics of pools and breakers, read from the client at each scrape: they cannot go stale.

use std::collections::HashMap;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};

use crate::breaker::BreakerState;
use crate::client::{Client, ClientStats};
use crate::observer::CloseReason;
use crate::server::ServerStats;

/// Registers the collector of `client`.
pub fn register(registry: &Registry, client: &Client) -> Result<(), prometheus::Error> {
    let mut descs = Vec::new();
    for family in FAMILIES {
        let names = family.labels.iter().map(|name| (*name).to_owned()).collect();
        descs.push(Desc::new(family.name.to_owned(), family.help.to_owned(), names, HashMap::new())?);
    }
    for (name, help, _) in TOTALS {
        descs.push(Desc::new((*name).to_owned(), (*help).to_owned(), Vec::new(), HashMap::new())?);
    }
    registry.register(Box::new(ClientCollector { client: client.clone(), descs }))
}

#[derive(Debug)]
struct ClientCollector {
    client: Client,
    descs: Vec<Desc>,
}

/// Label values after the server, and the number.
type Row = (Vec<&'static str>, u64);

struct Family {
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    counter: bool,
    /// Label values after the server, and the number.
    read: fn(&ServerStats) -> Vec<Row>,
}

fn breaker(stats: &ServerStats) -> crate::breaker::BreakerStats {
    stats.breaker.unwrap_or_default()
}

const FAMILIES: &[Family] = &[
    Family {
        name: "memcache_circuit_breaker_state",
        help: "State of the server's breaker: 0 closed, 1 half-open, 2 open.",
        labels: &["server"],
        counter: false,
        read: |stats| vec![(vec![], breaker(stats).state.gauge() as u64)],
    },
    Family {
        name: "memcache_circuit_breaker_transitions_total",
        help: "Changes of the breaker's state.",
        labels: &["server", "from", "to"],
        counter: true,
        read: |stats| {
            let counts = breaker(stats).transitions;
            let pairs = BreakerState::ALL.into_iter().flat_map(|from| BreakerState::ALL.map(|to| (from, to)));
            let possible = pairs.filter(|(from, to)| from != to);
            possible
                .map(|(from, to)| (vec![from.name(), to.name()], counts[from as usize][to as usize]))
                .collect()
        },
    },
    Family {
        name: "memcache_circuit_breaker_requests",
        help: "Calls that the breaker admitted, since start.",
        labels: &["server"],
        counter: false,
        read: |stats| vec![(vec![], breaker(stats).requests)],
    },
    Family {
        name: "memcache_circuit_breaker_rejections_total",
        help: "Calls that the breaker refused.",
        labels: &["server"],
        counter: true,
        read: |stats| vec![(vec![], breaker(stats).rejections)],
    },
    Family {
        name: "memcache_circuit_breaker_failures",
        help: "Failed calls: total since start, consecutive since the last success.",
        labels: &["server", "type"],
        counter: false,
        read: |stats| {
            let breaker = breaker(stats);
            vec![(vec!["total"], breaker.failures), (vec!["consecutive"], breaker.consecutive_failures)]
        },
    },
    Family {
        name: "memcache_pool_connections",
        help: "Connections now: total = active (in use or being dialled) + idle.",
        labels: &["server", "state"],
        counter: false,
        read: |stats| {
            let pool = stats.pool;
            vec![
                (vec!["total"], pool.total as u64),
                (vec!["active"], pool.active as u64),
                (vec!["idle"], pool.idle as u64),
            ]
        },
    },
    Family {
        name: "memcache_pool_connections_limit",
        help: "Connections at most.",
        labels: &["server"],
        counter: false,
        read: |stats| vec![(vec![], stats.pool.limit as u64)],
    },
    Family {
        name: "memcache_pool_waiting",
        help: "Ops that wait for a connection now.",
        labels: &["server"],
        counter: false,
        read: |stats| vec![(vec![], stats.pool.waiting as u64)],
    },
    Family {
        name: "memcache_pool_connections_created",
        help: "Connections dialled, since start.",
        labels: &["server"],
        counter: false,
        read: |stats| vec![(vec![], stats.pool.created)],
    },
    Family {
        name: "memcache_pool_acquire_errors",
        help: "Ops that got no connection in time, since start.",
        labels: &["server"],
        counter: false,
        read: |stats| vec![(vec![], stats.pool.acquire_errors)],
    },
    Family {
        name: "memcache_pool_dials_total",
        help: "Dials by result: success or error.",
        labels: &["server", "result"],
        counter: true,
        read: |stats| vec![(vec!["success"], stats.pool.created), (vec!["error"], stats.pool.dial_errors)],
    },
    Family {
        name: "memcache_pool_discards_total",
        help: "Connections closed, by reason.",
        labels: &["server", "reason"],
        counter: true,
        read: |stats| {
            CloseReason::ALL.map(|reason| (vec![reason.name()], stats.pool.discards[reason as usize])).into()
        },
    },
    Family {
        name: "memcache_network_received_bytes_total",
        help: "Bytes read from the server.",
        labels: &["server"],
        counter: true,
        read: |stats| vec![(vec![], stats.bytes_read)],
    },
    Family {
        name: "memcache_network_sent_bytes_total",
        help: "Bytes written to the server.",
        labels: &["server"],
        counter: true,
        read: |stats| vec![(vec![], stats.bytes_written)],
    },
];

/// Name, help and source of what has no server.
type Total = (&'static str, &'static str, fn(&ClientStats) -> u64);

/// Attempts beyond the first of an op.
const TOTALS: &[Total] = &[
    ("memcache_retries_total", "Attempts that repeated one whose end is unknown.", |totals| totals.retries),
    ("memcache_hedges_total", "Second copies of slow reads.", |totals| totals.hedges),
];

impl Family {
    fn collect(&self, servers: &[(String, ServerStats)]) -> Result<Vec<MetricFamily>, prometheus::Error> {
        let opts = Opts::new(self.name, self.help);
        let rows = servers.iter().flat_map(|(name, stats)| {
            (self.read)(stats).into_iter().map(move |(labels, value)| {
                let mut all = vec![name.as_str()];
                all.extend(labels);
                (all, value)
            })
        });
        if self.counter {
            let family = IntCounterVec::new(opts, self.labels)?;
            for (labels, value) in rows {
                family.get_metric_with_label_values(&labels)?.inc_by(value);
            }
            Ok(family.collect())
        } else {
            let family = IntGaugeVec::new(opts, self.labels)?;
            for (labels, value) in rows {
                family.get_metric_with_label_values(&labels)?.set(i64::try_from(value).unwrap_or(i64::MAX));
            }
            Ok(family.collect())
        }
    }
}

impl Collector for ClientCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let names = self.client.servers().into_iter().map(|server| server.name);
        let servers: Vec<_> = names.zip(self.client.stats()).collect();
        let families = FAMILIES.iter().map(|family| family.collect(&servers));
        let totals = self.client.totals();
        let totals = TOTALS.iter().map(|(name, help, read)| {
            let counter = IntCounter::new(*name, *help)?;
            counter.inc_by(read(&totals));
            Ok::<_, prometheus::Error>(counter.collect())
        });
        // An error would be a label count that does not fit its names: the test below would have failed.
        families.chain(totals).filter_map(Result::ok).flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Config, ServerAddr, Silent};

    #[tokio::test]
    async fn every_family_is_exported_for_every_server_from_the_start() {
        let servers =
            ["a", "b"].map(|name| ServerAddr { name: name.to_owned(), addr: "127.0.0.1:1".to_owned() });
        let client = Client::new(servers.into(), Config::default(), Arc::new(Silent)).unwrap();
        let registry = Registry::new();
        register(&registry, &client).unwrap();
        let gathered = registry.gather();
        for family in FAMILIES {
            let found = gathered.iter().find(|found| found.name() == family.name);
            let per_server = (family.read)(&ServerStats::default()).len();
            assert_eq!(found.expect(family.name).get_metric().len(), 2 * per_server, "{}", family.name);
        }
    }
}
