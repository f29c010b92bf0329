//! What tests of a whole load begin with: our client before a fake server, and a way to wait for what the load has done.

use std::time::Duration;

use memcache_client::Config;
use memcached_fake::FakeMemcached;
use observation::Server;
use prometheus::Registry;
use tokio::time::Instant;

use crate::target::Ours;

/// Longest wait.
const PATIENCE: Duration = Duration::from_secs(60);
/// From one look to the next; there is something new every 100 ms.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A server that tells no lies yet.
pub(crate) async fn fake_server() -> FakeMemcached {
    FakeMemcached::bind("127.0.0.1:0".parse().unwrap()).await.unwrap()
}

/// Our client with that server.
pub(crate) fn ours(fake: &FakeMemcached, config: Config) -> Ours {
    Ours::new(config, vec![Server { name: "fake".to_owned(), addr: fake.addr().to_string() }]).unwrap()
}

/// Waits until it holds.
pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "it does not come true within {PATIENCE:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The sum of a counter or gauge over all its series, or over those with this label value. Brought up to date by each tick.
pub(crate) fn exported(registry: &Registry, name: &str, label: Option<&str>) -> f64 {
    let families = registry.gather();
    let series =
        families.iter().filter(|family| family.name() == name).flat_map(|family| family.get_metric());
    let wanted = series.filter(|series| {
        label.is_none_or(|label| series.get_label().iter().any(|pair| pair.value() == label))
    });
    wanted.map(|series| series.get_counter().get_value() + series.get_gauge().get_value()).sum()
}
