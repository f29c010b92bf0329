//! The text of `/metrics`, build information, and a process collector of our own: the one of the crate `prometheus`
//! counts CPU in whole seconds, a stair at one scrape a second.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Media type of the text format; Prometheus 3 refuses a scrape without a known one.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics of `registry` as text.
pub fn render(registry: &Registry) -> Result<String, prometheus::Error> {
    TextEncoder::new().encode_to_string(&registry.gather())
}

/// A text is given to all who ask within this time: what it tells of moves every 100 ms.
const SHARED_FOR: Duration = Duration::from_millis(50);

/// The text of a registry for any number of scrapers: made by one at a time, and shared by those who come together.
#[derive(Debug)]
pub(crate) struct Scrapes {
    registry: Registry,
    last: Mutex<Option<(Instant, Bytes)>>,
}

impl Scrapes {
    pub(crate) fn new(registry: Registry) -> Self {
        Self { registry, last: Mutex::new(None) }
    }

    /// Not older than [`SHARED_FOR`].
    pub(crate) async fn text(&self) -> Result<Bytes, String> {
        let mut last = self.last.lock().await;
        if let Some((made, text)) = &*last
            && made.elapsed() < SHARED_FOR
        {
            return Ok(text.clone());
        }
        let text = Bytes::from(render(&self.registry).map_err(|error| error.to_string())?);
        *last = Some((Instant::now(), text.clone()));
        Ok(text)
    }
}

/// Registers `<name>_build_info{version}` = 1.
pub fn build_info(registry: &Registry, name: &str, version: &str) -> Result<(), prometheus::Error> {
    let opts = Opts::new(format!("{name}_build_info"), "Always 1; the labels say what was built.");
    let info = IntGaugeVec::new(opts, &["version"])?;
    info.with_label_values(&[version]).set(1);
    registry.register(Box::new(info))
}

/// Registers the metrics of this process, read from `/proc` at each scrape.
pub fn process(registry: &Registry) -> Result<(), prometheus::Error> {
    let descs = NAMES
        .iter()
        .map(|(name, help)| Desc::new((*name).to_owned(), (*help).to_owned(), Vec::new(), HashMap::new()));
    registry.register(Box::new(ProcessCollector { descs: descs.collect::<Result<_, _>>()? }))
}

const NAMES: &[(&str, &str)] = &[
    ("process_cpu_seconds_total", "User and system CPU time."),
    ("process_resident_memory_bytes", "Resident memory."),
    ("process_open_fds", "Open file descriptors."),
    ("process_threads", "Threads."),
];

#[derive(Debug)]
struct ProcessCollector {
    descs: Vec<Desc>,
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let read = Process::read().unwrap_or_default();
        let values = [read.cpu_seconds, read.resident_bytes, read.open_fds, read.threads];
        let families = NAMES.iter().zip(values).map(|((name, help), value)| {
            if name.ends_with("_total") {
                let counter = Counter::new(*name, *help)?;
                counter.inc_by(value);
                Ok::<_, prometheus::Error>(counter.collect())
            } else if value.fract() == 0.0 {
                let gauge = IntGauge::new(*name, *help)?;
                gauge.set(value as i64);
                Ok(gauge.collect())
            } else {
                let gauge = Gauge::new(*name, *help)?;
                gauge.set(value);
                Ok(gauge.collect())
            }
        });
        families.filter_map(Result::ok).flatten().collect()
    }
}

#[derive(Debug, Default)]
struct Process {
    cpu_seconds: f64,
    resident_bytes: f64,
    open_fds: f64,
    threads: f64,
}

impl Process {
    fn read() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The command name may contain spaces and brackets; the fields begin after its last bracket.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) / ticks,
            threads: field(20)?,
            resident_bytes: field(24)? * rustix::param::page_size() as f64,
            open_fds: std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_measured() {
        let registry = Registry::new();
        process(&registry).unwrap();
        build_info(&registry, "sample", "1.2.3").unwrap();
        let text = render(&registry).unwrap();
        let value = |name: &str| -> f64 {
            let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
            line.split(' ').next_back().unwrap().parse().unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_threads") >= 1.0);
        assert!(value("process_cpu_seconds_total") >= 0.0);
        assert!(text.contains("sample_build_info{version=\"1.2.3\"} 1"));
    }
}
