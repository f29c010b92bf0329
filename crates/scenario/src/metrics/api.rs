//! The Toxiproxy's API, as scenariod meets it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGaugeVec, Opts, Registry};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use toxiproxy::{CallObserver, Client};

use super::Metrics;
use crate::removal::ladder;

/// Between two looks at the API.
const PERIOD: Duration = Duration::from_secs(1);
/// An API that takes longer is not there for the purpose.
const PATIENCE: Duration = Duration::from_millis(900);

/// Bounds of a call's duration, s; not integers, because Prometheus 3 rewrites `le="1"`.
const BOUNDS: [f64; 9] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.5, 5.5];
/// Statuses that are labels; all others share `other`. `none`: there was no answer.
const CODES: [u16; 7] = [200, 201, 204, 400, 404, 409, 500];
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "DELETE", "PATCH"];

/// What a lab's API has said last; `None`: nothing.
type Looks = Arc<Mutex<BTreeMap<u32, Option<usize>>>>;

#[derive(Debug, Clone)]
pub(crate) struct ApiMetrics {
    /// One series of each, or none while nobody asks.
    up: IntGaugeVec,
    toxics: IntGaugeVec,
    requests: IntCounterVec,
    duration: Histogram,
    looks: Looks,
}

impl ApiMetrics {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            up: IntGaugeVec::new(
                Opts::new(
                    "toxiproxy_api_up",
                    "1 while the API of the Toxiproxy (of all labs) answers, 0 while it does not, asked each second.",
                ),
                &[],
            )?,
            toxics: IntGaugeVec::new(
                Opts::new("toxiproxy_toxics", "Toxics on the proxies, anybody's, as the API told last."),
                &[],
            )?,
            requests: IntCounterVec::new(
                Opts::new(
                    "toxiproxy_api_requests_total",
                    "Calls of the API by method and status, none: no answer.",
                ),
                &["method", "code"],
            )?,
            duration: Histogram::with_opts(
                HistogramOpts::new(
                    "toxiproxy_api_request_duration_seconds",
                    "Duration of the API's calls, those without an answer too.",
                )
                .buckets(BOUNDS.to_vec()),
            )?,
            looks: Arc::default(),
        };
        registry.register(Box::new(metrics.up.clone()))?;
        registry.register(Box::new(metrics.toxics.clone()))?;
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.duration.clone()))?;
        for (method, code) in [("GET", "200"), ("POST", "200"), ("DELETE", "204")] {
            metrics.requests.with_label_values(&[method, code]);
            metrics.requests.with_label_values(&[method, "none"]);
        }
        Ok(metrics)
    }

    /// The number of toxics that one lab's API tells of; `None`: it does not answer.
    fn look(&self, lab: u32, toxics: Option<usize>) {
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        looks.insert(lab, toxics);
        self.show(&looks);
    }

    /// That lab is no more.
    fn forget(&self, lab: u32) {
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        looks.remove(&lab);
        self.show(&looks);
    }

    fn show(&self, looks: &BTreeMap<u32, Option<usize>>) {
        let all: Option<usize> = looks.values().copied().sum();
        let set = |gauge: &IntGaugeVec, value: Option<i64>| match value {
            Some(value) => gauge.with_label_values::<&str>(&[]).set(value),
            // An error means that there is no series.
            None => drop(gauge.remove_label_values::<&str>(&[])),
        };
        set(&self.up, (!looks.is_empty()).then_some(all.is_some().into()));
        let all = all.filter(|_| !looks.is_empty());
        set(&self.toxics, all.map(|all| i64::try_from(all).unwrap_or(i64::MAX)));
    }
}

impl CallObserver for ApiMetrics {
    fn called(&self, method: &str, status: Option<u16>, took: Duration) {
        let method = METHODS.into_iter().find(|known| *known == method).unwrap_or("other");
        let code = match status {
            None => "none".to_owned(),
            Some(status) if CODES.contains(&status) => status.to_string(),
            Some(_) => "other".to_owned(),
        };
        self.requests.with_label_values(&[method, &code]).inc();
        self.duration.observe(took.as_secs_f64());
    }
}

/// Asks the API each second whether it is there and what is on its proxies, until `stop`.
pub async fn watch(client: Client, metrics: Metrics, stop: CancellationToken) {
    let client = client.observed(Arc::new(metrics.api.clone()));
    let mut timer = interval(PERIOD);
    timer.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = timer.tick() => {}
        }
        let answered = timeout(PATIENCE, client.proxies()).await.ok().and_then(Result::ok);
        let toxics = answered.map(|proxies| {
            // What a run makes to claim the place and to try a toxic acts on nobody.
            let used = proxies.values().filter(|proxy| ladder::own_proxy(proxy).is_none());
            used.map(|proxy| proxy.toxics.len()).sum()
        });
        metrics.api.look(metrics.lab, toxics);
    }
    metrics.api.forget(metrics.lab);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_is_up_while_all_labs_answer_and_nobody_counts_toxics_otherwise() {
        let registry = Registry::new();
        let metrics = ApiMetrics::register(&registry).unwrap();
        let shown = || {
            let families = registry.gather();
            ["toxiproxy_api_up", "toxiproxy_toxics"].map(|name| {
                let family = families.iter().find(|family| family.name() == name);
                family.map(|family| family.get_metric()[0].get_gauge().get_value())
            })
        };
        assert_eq!(shown(), [None, None], "nobody has asked");
        metrics.look(1, Some(2));
        metrics.look(2, Some(1));
        assert_eq!(shown(), [Some(1.0), Some(3.0)]);
        metrics.look(2, None);
        assert_eq!(shown(), [Some(0.0), None]);
        metrics.forget(2);
        assert_eq!(shown(), [Some(1.0), Some(2.0)]);
        metrics.forget(1);
        assert_eq!(shown(), [None, None]);
    }

    #[test]
    fn answers_of_all_kinds_have_few_labels() {
        let registry = Registry::new();
        let metrics = ApiMetrics::register(&registry).unwrap();
        for status in 100..1000 {
            metrics.called("GET", Some(status), Duration::from_millis(1));
            metrics.called(&format!("M{status}"), None, Duration::from_secs(9));
        }
        let families = registry.gather();
        let requests =
            families.iter().find(|family| family.name() == "toxiproxy_api_requests_total").unwrap();
        assert!(requests.get_metric().len() <= CODES.len() + 8);
        assert_eq!(metrics.duration.get_sample_count(), 1800);
    }
}
