//! The machine under the load: pressure, processor time, what a hypervisor took, TCP's troubles. Read from `/proc` once
//! a second, into the stream and the metrics. What is missing there is missing here.

use std::path::{Path, PathBuf};
use std::time::Duration;

use observation::clock::suspended;
use observation::hub::Hub;
use observation::{Host, Record, Stall};
use prometheus::{Counter, CounterVec, IntCounter, Opts, Registry};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// From one record to the next.
const PERIOD: Duration = Duration::from_secs(1);
/// Files below `/proc/pressure`.
const RESOURCES: [&str; 3] = ["cpu", "io", "memory"];

/// Counters of the machine since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Sample {
    /// By resource.
    stalls: [Option<Stall>; RESOURCES.len()],
    own_cpu_us: Option<u64>,
    busy_us: Option<u64>,
    processors: Option<u32>,
    steal_us: Option<u64>,
    suspended_us: Option<u64>,
    tcp_retransmits: Option<u64>,
    listen_overflows: Option<u64>,
}

impl Sample {
    fn read(proc: &Path, suspended: Duration) -> Self {
        let text = |name: &str| std::fs::read_to_string(proc.join(name)).ok();
        let stat = text("stat");
        Self {
            stalls: RESOURCES.map(|resource| stall(&text(&format!("pressure/{resource}"))?)),
            own_cpu_us: text("self/stat").and_then(|text| own_cpu_us(&text)),
            busy_us: stat.as_deref().and_then(busy_us),
            processors: stat.as_deref().and_then(processors),
            steal_us: stat.as_deref().and_then(steal_us),
            suspended_us: suspended.as_micros().try_into().ok(),
            tcp_retransmits: text("net/snmp").and_then(|text| column(&text, "Tcp:", "RetransSegs")),
            listen_overflows: text("net/netstat")
                .and_then(|text| column(&text, "TcpExt:", "ListenOverflows")),
        }
    }

    /// What came since `before`.
    fn since(&self, before: &Sample) -> Host {
        let count = |now: Option<u64>, before: Option<u64>| Some(now?.saturating_sub(before?));
        let stall = |index: usize| {
            let (now, before) = (self.stalls[index]?, before.stalls[index]?);
            Some(Stall {
                some_us: now.some_us.saturating_sub(before.some_us),
                full_us: now.full_us.saturating_sub(before.full_us),
            })
        };
        Host {
            at_us: 0,
            period_us: 0,
            cpu: stall(0),
            io: stall(1),
            memory: stall(2),
            own_cpu_us: count(self.own_cpu_us, before.own_cpu_us),
            busy_us: count(self.busy_us, before.busy_us),
            processors: self.processors,
            steal_us: count(self.steal_us, before.steal_us),
            suspended_us: count(self.suspended_us, before.suspended_us),
            tcp_retransmits: count(self.tcp_retransmits, before.tcp_retransmits),
            listen_overflows: count(self.listen_overflows, before.listen_overflows),
        }
    }
}

/// `some avg10=0.00 ... total=123` and the like with `full`, which `cpu` of older kernels does not have.
fn stall(text: &str) -> Option<Stall> {
    let total = |kind: &str| {
        let line = text.lines().find(|line| line.split(' ').next() == Some(kind))?;
        line.rsplit_once("total=")?.1.trim().parse().ok()
    };
    Some(Stall { some_us: total("some")?, full_us: total("full").unwrap_or(0) })
}

fn ticks_as_us(ticks: u64) -> u64 {
    ticks.saturating_mul(1_000_000) / rustix::param::clock_ticks_per_second().max(1)
}

/// Fields 14 and 15; the second may contain spaces and brackets.
fn own_cpu_us(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(14 - 3);
    let mut field = || fields.next()?.parse::<u64>().ok();
    Some(ticks_as_us(field()? + field()?))
}

/// A number, from 0, of the line of all processors: user, nice, system, idle, iowait, irq, softirq, steal.
fn all_processors_us(stat: &str, nth: usize) -> Option<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    line.split_whitespace().nth(nth)?.parse().ok().map(ticks_as_us)
}

fn steal_us(stat: &str) -> Option<u64> {
    all_processors_us(stat, 7)
}

/// All that is neither idle nor stolen.
fn busy_us(stat: &str) -> Option<u64> {
    [0, 1, 2, 5, 6].into_iter().map(|nth| all_processors_us(stat, nth)).sum()
}

fn processors(stat: &str) -> Option<u32> {
    let is_one = |line: &str| {
        line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    u32::try_from(stat.lines().filter(|line| is_one(line)).count()).ok().filter(|n| *n > 0)
}

/// Of two lines that begin with `section`, the first with names, the second with numbers.
fn column(text: &str, section: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(section)).map(str::split_whitespace);
    let at = lines.next()?.position(|column| column == name)?;
    lines.next()?.nth(at)?.parse().ok()
}

/// Handles of the machine's metrics. Its own processor time is exported with the process.
#[derive(Debug)]
struct HostMetrics {
    stalls: CounterVec,
    steal: Counter,
    suspended: Counter,
    tcp_retransmits: IntCounter,
    listen_overflows: IntCounter,
}

impl HostMetrics {
    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let stalls = Opts::new(
            "loadgen_host_stall_seconds_total",
            "Time in which some or all work of the generator's machine waited for a resource.",
        );
        let metrics = Self {
            stalls: CounterVec::new(stalls, &["resource", "share"])?,
            steal: Counter::new(
                "loadgen_host_steal_seconds_total",
                "Processor time that a hypervisor took from the generator's machine.",
            )?,
            suspended: Counter::new(
                "loadgen_host_suspended_seconds_total",
                "Time in which the generator's machine was suspended.",
            )?,
            tcp_retransmits: IntCounter::new(
                "loadgen_host_tcp_retransmits_total",
                "TCP segments that the generator's machine sent again.",
            )?,
            listen_overflows: IntCounter::new(
                "loadgen_host_listen_overflows_total",
                "Connections that a full backlog of the generator's machine refused.",
            )?,
        };
        for resource in RESOURCES {
            metrics.add_stall(resource, Stall::default());
        }
        registry.register(Box::new(metrics.stalls.clone()))?;
        registry.register(Box::new(metrics.steal.clone()))?;
        registry.register(Box::new(metrics.suspended.clone()))?;
        registry.register(Box::new(metrics.tcp_retransmits.clone()))?;
        registry.register(Box::new(metrics.listen_overflows.clone()))?;
        Ok(metrics)
    }

    fn add_stall(&self, resource: &str, stall: Stall) {
        for (share, us) in [("some", stall.some_us), ("full", stall.full_us)] {
            self.stalls.with_label_values(&[resource, share]).inc_by(us as f64 / 1e6);
        }
    }

    fn add(&self, host: &Host) {
        for (resource, stall) in RESOURCES.into_iter().zip([host.cpu, host.io, host.memory]) {
            self.add_stall(resource, stall.unwrap_or_default());
        }
        self.steal.inc_by(host.steal_us.unwrap_or(0) as f64 / 1e6);
        self.suspended.inc_by(host.suspended_us.unwrap_or(0) as f64 / 1e6);
        self.tcp_retransmits.inc_by(host.tcp_retransmits.unwrap_or(0));
        self.listen_overflows.inc_by(host.listen_overflows.unwrap_or(0));
    }
}

/// Looks at the machine once a second.
#[derive(Debug)]
pub(crate) struct HostWatch {
    hub: Hub,
    metrics: HostMetrics,
    proc: PathBuf,
}

impl HostWatch {
    pub(crate) fn register(hub: Hub, registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self { hub, metrics: HostMetrics::register(registry)?, proc: PathBuf::from("/proc") })
    }

    /// Until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut timer = tokio::time::interval(PERIOD);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut before: Option<(Instant, Sample)> = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = timer.tick() => {}
            }
            let proc = self.proc.clone();
            let read = tokio::task::spawn_blocking(move || Sample::read(&proc, suspended()));
            let Ok(sample) = read.await else { return };
            let now = Instant::now();
            if let Some((then, before)) = before.replace((now, sample)) {
                let mut host = sample.since(&before);
                host.at_us = self.hub.clock().at(now);
                host.period_us = (now - then).as_micros() as u64;
                self.metrics.add(&host);
                self.hub.publish(&Record::Host(host));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use observation::clock::RunClock;

    use super::*;

    fn machine(n: u64) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let averages = "avg10=1.00 avg60=2.00 avg300=3.00";
        write("pressure/cpu", format!("some {averages} total={}\n", 1_000 + n));
        write("pressure/io", format!("some {averages} total={n}\nfull {averages} total={}\n", 2 * n));
        let before = "1 (a b) c) S 1 1 1 0 -1 4194560 1 0 0 0";
        write("self/stat", format!("{before} {} {n} 0 0 20 0 5\n", 7 + n));
        write("stat", format!("cpu  {n} 2 3 4 5 6 7 {n} 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10\n"));
        write(
            "net/snmp",
            format!("Ip: Forwarding\nIp: 1\nTcp: RtoMin RetransSegs InErrs\nTcp: 200 {} 5\n", 40 + n),
        );
        write("net/netstat", format!("TcpExt: A ListenOverflows\nTcpExt: 1 {}\nIpExt: X\nIpExt: 3\n", 3 * n));
        dir
    }

    #[test]
    fn what_the_machine_tells_is_taken_as_differences() {
        let sample = |n| Sample::read(machine(n).path(), Duration::from_secs(n));
        let tick = ticks_as_us(1);
        let host = sample(5).since(&sample(2));
        let expected = Host {
            cpu: Some(Stall { some_us: 3, full_us: 0 }),
            io: Some(Stall { some_us: 3, full_us: 6 }),
            memory: None,
            own_cpu_us: Some(6 * tick),
            busy_us: Some(3 * tick),
            processors: Some(1),
            steal_us: Some(3 * tick),
            suspended_us: Some(3_000_000),
            tcp_retransmits: Some(3),
            listen_overflows: Some(9),
            ..Host::default()
        };
        assert_eq!(host, expected);
        // A counter that went back (a container moved) is no negative number.
        assert_eq!(sample(2).since(&sample(5)).tcp_retransmits, Some(0));
        let silent = Sample::read(Path::new("/nonexistent"), Duration::ZERO);
        let nothing = Host { suspended_us: Some(0), ..Host::default() };
        assert_eq!(silent, Sample { suspended_us: Some(0), ..Sample::default() });
        assert_eq!(silent.since(&sample(1)), nothing);
    }

    #[tokio::test]
    async fn this_machine_is_told_in_the_stream_and_the_metrics() {
        let nobody = vec![observation::Server { name: "a".to_owned(), addr: "127.0.0.1:1".to_owned() }];
        let target = crate::Ours::new(Default::default(), nobody).unwrap();
        let hub = Hub::new(crate::hello(&crate::LoadConfig::default(), &target), RunClock::start());
        let registry = Registry::new();
        let watch = HostWatch::register(hub.clone(), &registry).unwrap();
        let stop = CancellationToken::new();
        let mut reader = hub.subscribe();
        let running = tokio::spawn(watch.run(stop.clone()));
        let _hello = reader.next_line().await.unwrap();
        let line = reader.next_line().await.unwrap();
        let Record::Host(host) = serde_json::from_str(&line).unwrap() else { panic!("{line}") };
        assert!(host.period_us > 500_000 && host.own_cpu_us.is_some(), "{line}");
        stop.cancel();
        running.await.unwrap();
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for name in
            ["stall_seconds", "steal_seconds", "suspended_seconds", "tcp_retransmits", "listen_overflows"]
        {
            assert!(text.contains(&format!("\nloadgen_host_{name}_total")), "{text}");
        }
        assert!(text.contains(r#"resource="memory",share="full""#), "{text}");
    }
}
