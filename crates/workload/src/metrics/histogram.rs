//! A Prometheus histogram that is filled from HDR histograms, many samples at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto;

use crate::recorder::Latency;

/// Bounds in seconds. Between 100 µs and 1 s close enough to see timeouts and retransmissions; not integers, because
/// Prometheus 3 rewrites `le="1"`.
const BOUNDS: [f64; 19] = [
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.25, 0.5, 0.75,
    1.5, 2.5, 5.5, 10.5,
];

/// One histogram a label set. Clones share their content.
#[derive(Debug, Clone)]
pub struct LatencyHistograms {
    desc: Desc,
    series: Arc<Mutex<Vec<Series>>>,
}

#[derive(Debug)]
struct Series {
    labels: Vec<proto::LabelPair>,
    counts: [u64; BOUNDS.len()],
    count: u64,
    sum_seconds: f64,
}

impl LatencyHistograms {
    /// `label_values` are addressed by their position.
    pub fn new(
        name: &str,
        help: &str,
        label_names: Vec<&'static str>,
        label_values: Vec<Vec<String>>,
    ) -> Result<Self, prometheus::Error> {
        let names = label_names.iter().map(|name| (*name).to_owned()).collect();
        let desc = Desc::new(name.to_owned(), help.to_owned(), names, HashMap::new())?;
        let series = label_values.into_iter().map(|values| {
            let labels = label_names.iter().zip(values).map(|(name, value)| {
                let mut pair = proto::LabelPair::default();
                pair.set_name((*name).to_owned());
                pair.set_value(value);
                pair
            });
            Series { labels: labels.collect(), counts: [0; BOUNDS.len()], count: 0, sum_seconds: 0.0 }
        });
        Ok(Self { desc, series: Arc::new(Mutex::new(series.collect())) })
    }

    /// Adds all samples of `latency` to the series at `index`.
    pub fn add(&self, index: usize, latency: &Latency) {
        if latency.is_empty() {
            return;
        }
        let mut all = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(series) = all.get_mut(index) else { return };
        for bucket in latency.iter_recorded() {
            let n = bucket.count_at_value();
            let seconds = latency.lowest_equivalent(bucket.value_iterated_to()) as f64 / 1e6;
            let bound = BOUNDS.partition_point(|bound| *bound < seconds);
            if let Some(count) = series.counts.get_mut(bound) {
                *count += n;
            }
            series.count += n;
            series.sum_seconds += seconds * n as f64;
        }
    }
}

impl Collector for LatencyHistograms {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let all = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let mut family = proto::MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(self.desc.help.clone());
        family.set_field_type(proto::MetricType::HISTOGRAM);
        family.set_metric(all.iter().map(Series::metric).collect());
        vec![family]
    }
}

impl Series {
    fn metric(&self) -> proto::Metric {
        let mut cumulative = 0;
        let buckets = BOUNDS.into_iter().zip(self.counts).map(|(bound, n)| {
            cumulative += n;
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(cumulative);
            bucket
        });
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(self.count);
        histogram.set_sample_sum(self.sum_seconds);
        let mut metric = proto::Metric::from_label(self.labels.clone());
        metric.set_histogram(histogram);
        metric
    }
}
