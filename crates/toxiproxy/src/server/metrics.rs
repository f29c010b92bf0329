//! `/metrics`: the stock server's two counters under their names, but live; what toxics touched, under names of our own; and
//! what the program around the server registered.

use std::sync::Arc;

use prometheus::{Error, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};

use super::proxy::Proxy;
use crate::wire::{DoseCounters, Stream};

/// Media type of the text.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What `/metrics` shows; with neither it is an unknown path, as with the stock server.
#[derive(Debug, Clone, Default)]
pub struct MetricsConfig {
    /// Bytes and doses of the proxies.
    pub proxies: bool,
    /// What the program measures beside them, for example its process.
    pub program: Option<Registry>,
}

impl MetricsConfig {
    pub(super) fn is_on(&self) -> bool {
        self.proxies || self.program.is_some()
    }
}

/// A counter of a direction: name, help, value.
type StreamCounter = (&'static str, &'static str, fn(&DoseCounters) -> u64);

/// Those of the stock server, with its labels.
const TRAFFIC: &[StreamCounter] = &[
    ("toxiproxy_proxy_received_bytes_total", "Bytes read from the source of a direction.", |of| of.bytes),
    ("toxiproxy_proxy_sent_bytes_total", "Bytes written to the destination of a direction.", |of| {
        of.bytes_sent
    }),
];

/// Ours.
const DOSE: &[StreamCounter] = &[
    ("toxiproxy_dose_links_touched_total", "Links that a toxic has touched.", |of| of.links_touched),
    ("toxiproxy_dose_chunks_total", "Chunks that links have read.", |of| of.chunks),
    ("toxiproxy_dose_chunks_touched_total", "Chunks that a toxic has touched.", |of| of.chunks_touched),
    ("toxiproxy_dose_bytes_total", "Bytes that links have read.", |of| of.bytes),
    ("toxiproxy_dose_bytes_touched_total", "Bytes that a toxic has touched.", |of| of.bytes_touched),
];

/// The text. Everything is read at this moment: the labels are the present ones, and a series ends with its proxy.
pub(super) fn text(config: &MetricsConfig, proxies: &[Arc<Proxy>]) -> Result<String, Error> {
    let mut families = config.program.as_ref().map(Registry::gather).unwrap_or_default();
    if config.proxies {
        let ours = Registry::new();
        traffic(&ours, proxies)?;
        doses(&ours, proxies)?;
        families.extend(ours.gather());
        families.sort_by(|a, b| a.name().cmp(b.name()));
    }
    TextEncoder::new().encode_to_string(&families)
}

fn counters(registry: &Registry, of: &[StreamCounter], labels: &[&str]) -> Result<Vec<IntCounterVec>, Error> {
    let made = of.iter().map(|(name, help, _)| {
        let counter = IntCounterVec::new(Opts::new(*name, *help), labels)?;
        registry.register(Box::new(counter.clone())).map(|()| counter)
    });
    made.collect()
}

fn traffic(registry: &Registry, proxies: &[Arc<Proxy>]) -> Result<(), Error> {
    let counters = counters(registry, TRAFFIC, &["direction", "listener", "proxy", "upstream"])?;
    for proxy in proxies {
        let (shown, counted) = (proxy.show(), proxy.dose.by_stream());
        for stream in Stream::ALL {
            let labels = [stream.name(), &shown.listen, &shown.name, &shown.upstream];
            for (counter, (_, _, value)) in counters.iter().zip(TRAFFIC) {
                counter.with_label_values(&labels).inc_by(value(&counted[stream as usize]));
            }
        }
    }
    Ok(())
}

fn doses(registry: &Registry, proxies: &[Arc<Proxy>]) -> Result<(), Error> {
    const LABELS: &[&str] = &["direction", "proxy"];
    let open = Opts::new("toxiproxy_dose_links", "Links that are open now.");
    let open = IntGaugeVec::new(open, LABELS)?;
    registry.register(Box::new(open.clone()))?;
    let counters = counters(registry, DOSE, LABELS)?;
    for proxy in proxies {
        let counted = proxy.dose.by_stream();
        for stream in Stream::ALL {
            let (labels, counted) = ([stream.name(), &proxy.name], &counted[stream as usize]);
            open.with_label_values(&labels).set(i64::try_from(counted.links).unwrap_or(i64::MAX));
            for (counter, (_, _, value)) in counters.iter().zip(DOSE) {
                counter.with_label_values(&labels).inc_by(value(counted));
            }
        }
    }
    Ok(())
}
