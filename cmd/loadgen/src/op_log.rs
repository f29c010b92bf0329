//! `loadgen op-log`: reads what `--op-log` wrote.

use std::fmt;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use observation::{Counts, OpLogHead, ndjson};
use workload::mix::OpKind;
use workload::op_log::{OpLogReader, Tail};
use workload::recorder::{Latency, latency};
use workload::trace::OpTrace;

use crate::cli::OpLogFormat;

/// Prints a log.
pub fn show(log: &mut OpLogReader, format: OpLogFormat, out: impl Write) -> io::Result<()> {
    let mut out = BufWriter::new(out);
    match format {
        OpLogFormat::Text => text(log, &mut out)?,
        OpLogFormat::Ndjson => lines(log, &mut out)?,
        OpLogFormat::Summary => summary(log, &mut out)?,
    }
    out.flush()
}

/// Was the log at `path` read up to where its writer ended it? Says so if not.
pub fn is_whole(log: &OpLogReader, path: &Path) -> bool {
    match log.tail() {
        Some(Tail::Complete { .. }) => true,
        Some(Tail::Truncated) => {
            tracing::warn!(
                "{} is cut: its writer was killed or the disk was full; what follows is missing",
                path.display()
            );
            false
        }
        Some(Tail::Damaged(why)) => {
            tracing::error!("{} is damaged ({why}); what follows is missing", path.display());
            false
        }
        None => false,
    }
}

fn lines(log: &mut OpLogReader, out: &mut impl Write) -> io::Result<()> {
    let servers = log.head().servers.clone();
    out.write_all(ndjson::to_line(log.head())?.as_bytes())?;
    log.try_for_each(|op| out.write_all(ndjson::to_line(&op.line(&servers))?.as_bytes()))
}

fn text(log: &mut OpLogReader, out: &mut impl Write) -> io::Result<()> {
    let head = log.head().clone();
    write_head(&head, out)?;
    writeln!(
        out,
        "{:>14} {:>10} {:>12}  {:<9} {:>10}  {:<16} {:<15} version",
        "intended s", "lag ms", "latency ms", "op", "key", "home", "outcome"
    )?;
    log.try_for_each(|op| {
        let version = op.version.map_or_else(|| "-".to_owned(), |version| version.to_string());
        writeln!(
            out,
            "{:>14.6} {:>10.3} {:>12.3}  {:<9} {:>10}  {:<16} {:<15} {version}",
            op.intended_us as f64 / 1e6,
            op.lag_us as f64 / 1e3,
            op.latency_us as f64 / 1e3,
            op.kind.name(),
            op.key,
            head.servers.get(op.home as usize).map_or("?", String::as_str),
            op.outcome.name(),
        )
    })
}

fn write_head(head: &OpLogHead, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "run {}, seed {}, begun at Unix {}.{:03} s, servers {}",
        head.instance,
        head.seed,
        head.wall_ms / 1000,
        head.wall_ms % 1000,
        head.servers.join(", ")
    )
}

fn summary(log: &mut OpLogReader, out: &mut impl Write) -> io::Result<()> {
    let mut totals = Totals::default();
    for op in log.by_ref() {
        totals.add(&op);
    }
    write_head(log.head(), out)?;
    write!(out, "{totals}")?;
    match log.tail() {
        Some(Tail::Complete { dropped: 0 }) => writeln!(out, "complete"),
        Some(Tail::Complete { dropped }) => {
            writeln!(out, "complete but for {dropped} ops that the writer could not take")
        }
        Some(Tail::Truncated) | None => writeln!(out, "CUT: there were more ops"),
        Some(Tail::Damaged(why)) => writeln!(out, "DAMAGED: {why}; there may have been more ops"),
    }
}

struct Totals {
    kinds: Vec<(OpKind, Counts, Latency)>,
    /// First and last intended start.
    span: Option<(u64, u64)>,
    lag_max_us: u64,
}

impl Default for Totals {
    fn default() -> Self {
        let kinds = OpKind::ALL.map(|kind| (kind, Counts::default(), latency())).into();
        Self { kinds, span: None, lag_max_us: 0 }
    }
}

impl Totals {
    fn add(&mut self, op: &OpTrace) {
        if let Some((_, counts, latency)) = self.kinds.get_mut(op.kind.index()) {
            counts.add(op.outcome, 1);
            latency.saturating_record(op.latency_us.max(1));
        }
        let (first, last) = self.span.unwrap_or((op.intended_us, op.intended_us));
        self.span = Some((first.min(op.intended_us), last.max(op.intended_us)));
        self.lag_max_us = self.lag_max_us.max(op.lag_us);
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ops: u64 = self.kinds.iter().map(|(_, counts, _)| counts.total()).sum();
        let seconds = self.span.map_or(0.0, |(first, last)| (last - first) as f64 / 1e6);
        let lag_ms = self.lag_max_us as f64 / 1e3;
        writeln!(f, "{ops} ops within {seconds:.3} s, started up to {lag_ms:.3} ms late")?;
        for (kind, counts, latency) in self.kinds.iter().filter(|(_, counts, _)| counts.total() > 0) {
            let ms = |us: u64| us as f64 / 1e3;
            let (p50, p99) = (latency.value_at_quantile(0.5), latency.value_at_quantile(0.99));
            let (n, name) = (counts.total(), kind.name());
            write!(
                f,
                "{name:<9}{n:>10}  p50 {:.3} ms  p99 {:.3} ms  max {:.3} ms ",
                ms(p50),
                ms(p99),
                ms(latency.max())
            )?;
            for (outcome, n) in &counts.0 {
                write!(f, " {}={n}", outcome.name())?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use memcached_fake::FakeMemcached;
    use observation::{OpLine, Server};
    use prometheus::Registry;
    use workload::{Load, LoadConfig, Ours};

    use super::*;

    fn shown(path: &Path, format: OpLogFormat) -> (bool, String) {
        let (mut log, mut out) = (OpLogReader::open(path).unwrap(), Vec::new());
        show(&mut log, format, &mut out).unwrap();
        (is_whole(&log, path), String::from_utf8(out).unwrap())
    }

    #[tokio::test]
    async fn a_log_is_shown_in_every_form_and_a_cut_one_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ops");
        let fake = FakeMemcached::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let server = Server { name: "one".to_owned(), addr: fake.addr().to_string() };
        let config = LoadConfig { op_log: Some(path.clone()), seed: 77, ..LoadConfig::default() };
        let client = Ours::new(memcache_client::Config::default(), vec![server]).unwrap();
        let load = Load::start(&config, client, &Registry::new()).unwrap();
        let mut lines = load.hub().subscribe();
        let stored = async { while !lines.next_line().await.unwrap().contains("\"stored\":") {} };
        tokio::time::timeout(Duration::from_secs(60), stored).await.unwrap();
        let ops = load.stop().await.totals.outcomes().total();

        let (whole, text) = shown(&path, OpLogFormat::Text);
        assert!(whole && text.contains(", seed 77, ") && text.contains("servers one\n"), "{text}");
        assert_eq!(text.lines().count() as u64, ops + 2);
        let (whole, lines) = shown(&path, OpLogFormat::Ndjson);
        assert!(whole);
        let parsed: Vec<OpLine> =
            lines.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(parsed.len() as u64, ops);
        assert!(parsed.iter().all(|op| op.home == "one"));
        let (whole, text) = shown(&path, OpLogFormat::Summary);
        assert!(whole && text.contains(&format!("\n{ops} ops within ")), "{text}");
        assert!(text.ends_with("\ncomplete\n") && text.contains(" stored="), "{text}");

        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 30]).unwrap();
        let (whole, text) = shown(&path, OpLogFormat::Summary);
        assert!(!whole && text.ends_with("\nCUT: there were more ops\n"), "{text}");
        std::fs::write(&path, "no log").unwrap();
        let error = OpLogReader::open(&path).unwrap_err().to_string();
        assert!(error.contains("is not an op log"), "{error}");
    }
}
