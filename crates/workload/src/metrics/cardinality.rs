//! However many servers there are and whatever goes wrong: the series of a load are those of its first second.

use memcache_client::Config;
use observation::Server;
use prometheus::Registry;

use crate::fixture::{exported, until};
use crate::{Arrivals, Load, LoadConfig, Ours};

/// Servers of the test.
const SERVERS: usize = 100;
/// Series that one server may have: outcomes, reasons, breaker, pool, bytes.
const PER_SERVER: usize = 160;

fn series(registry: &Registry) -> usize {
    registry.gather().iter().map(|family| family.get_metric().len()).sum()
}

#[tokio::test]
async fn a_hundred_servers_that_fail_in_many_ways_add_no_series() {
    // Ports, hosts and paths that differ everywhere: only the servers' names may become a label.
    let servers = (0..SERVERS).map(|n| Server {
        name: format!("memcached{n}"),
        addr: match n % 3 {
            0 => format!("127.0.0.1:{}", 1 + n),
            1 => format!("no-such-host-{n}.invalid:11211"),
            _ => format!("unix:/nonexistent/{n}"),
        },
    });
    let config = LoadConfig {
        arrivals: Arrivals::Poisson(2_000.0),
        mix: Some("get=5,set=2,add=1,delete=1,incr=1,touch=1,multiget:8=1".parse().unwrap()),
        ..LoadConfig::default()
    };
    let registry = Registry::new();
    let target = Ours::new(Config::default(), servers.collect()).unwrap();
    let load = Load::start(&config, target, &registry).unwrap();
    let failed = || exported(&registry, "memcache_operations_total", Some("error"));
    // Ten failures a server, and twenty more: each has failed in its own way by then.
    until(|| failed() >= 1_000.0).await;
    let early = series(&registry);
    until(|| failed() >= 3_000.0).await;
    let late = series(&registry);
    let summary = load.stop().await;
    assert!(summary.totals.outcomes().errors() > 1_000);
    assert_eq!(early, late);
    assert!(late < SERVERS * PER_SERVER, "{late} series of {SERVERS} servers");
}
