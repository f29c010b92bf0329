//! The dose as the proxy counts it: what toxics touched in each 100 ms.

use std::time::Duration;

use ::toxiproxy::Client;
use ::toxiproxy::wire::DoseBucket;
use futures::FutureExt;
use futures::future::BoxFuture;
use observation::Dose;
use observation::clock::RunClock;

use super::Toxiproxy;
use crate::backends::backend::DoseCounter;
use crate::backends::target::Target;
use crate::metrics::{Metrics, PROXY};

/// Time between two reads of the proxy's buckets.
const PERIOD: Duration = Duration::from_millis(200);

/// The buckets of the proxies of one test.
pub(super) struct Buckets {
    client: Client,
    metrics: Metrics,
    proxies: Vec<String>,
    /// End of the last bucket that was read, on the proxy's clock.
    after_us: u64,
}

impl Buckets {
    pub(super) fn new(toxiproxy: &Toxiproxy, targets: &[Target]) -> Self {
        Self {
            client: toxiproxy.client.clone(),
            metrics: toxiproxy.metrics.clone(),
            proxies: targets.iter().map(|target| target.name.clone()).collect(),
            // What happened before this run is not its dose.
            after_us: u64::MAX,
        }
    }
}

impl DoseCounter for Buckets {
    fn period(&self) -> Duration {
        PERIOD
    }

    fn read(&mut self, clock: RunClock) -> BoxFuture<'_, Vec<Dose>> {
        async move {
            let asked_us = clock.now_us();
            // A call that fails loses nothing: the proxy remembers its buckets.
            let Ok(answer) = self.client.dose_buckets(self.after_us).await else { return Vec::new() };
            // Both clocks at the middle of the call.
            let here_us = asked_us.midpoint(clock.now_us());
            let ends = answer.proxies.values().flatten().map(|bucket| bucket.at_us);
            // At the first call, and after a restart of the proxy: from its now on.
            self.after_us = ends.max().unwrap_or(self.after_us.min(answer.now_us));
            // Others on the same Toxiproxy are not this run's.
            let ours = self.proxies.iter().filter_map(|proxy| answer.proxies.get_key_value(proxy));
            let buckets = ours.flat_map(|(proxy, buckets)| buckets.iter().map(move |bucket| (proxy, bucket)));
            let dose = buckets.map(|(proxy, bucket)| {
                let age_us = answer.now_us.saturating_sub(bucket.at_us);
                self.metrics.dose_measured(proxy, PROXY, bucket.chunks_touched, bucket.chunks);
                record(proxy, bucket, here_us.saturating_sub(age_us))
            });
            dose.collect()
        }
        .boxed()
    }
}

fn record(target: &str, bucket: &DoseBucket, at_us: u64) -> Dose {
    Dose {
        at_us,
        period_us: bucket.period_us,
        target: target.to_owned(),
        links: bucket.links,
        links_touched: bucket.links_touched,
        chunks: bucket.chunks,
        chunks_touched: bucket.chunks_touched,
        bytes: bucket.bytes,
        bytes_touched: bucket.bytes_touched,
    }
}
