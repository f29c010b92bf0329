//! `scenariod explain`: what is expected of a client, and from which numbers, before anything is run.

use std::fmt::Write;
use std::time::Duration;

use observation::clock::RunClock;
use observation::{Hello, LoadKind, Server};
use scenario::Scenario;
use telemetry::output::print;
use tokio_util::sync::CancellationToken;
use verdict::{Bounds, Expectation, FaultPlan, Situation, Trip};
use workload::{Arrivals, LoadConfig, Ours};

use crate::failure::{Failure, infrastructure, usage};
use crate::settings::{self, PhaseLengths};

/// Time of a healthy op that is taken for granted, ms: nothing was measured yet.
pub const SERVICE_MS: f64 = 0.5;

/// What to predict, and for whom.
#[derive(Debug)]
pub struct Settings {
    /// One prediction each.
    pub scenarios: Vec<Scenario>,
    /// Lengths of their phases.
    pub lengths: PhaseLengths,
    /// Whose settings count.
    pub client: ClientSource,
}

/// Where the client's settings come from.
#[derive(Debug)]
pub enum ClientSource {
    /// It says so itself.
    Observed {
        /// URL of its observations.
        url: String,
        /// Patience for them.
        wait: Duration,
    },
    /// It is the one of a lab.
    Lab(Box<settings::Lab>),
}

/// Prints the predictions; one with its derivation, several as a table.
pub async fn main(settings: &Settings) -> Result<u8, Failure> {
    let hello = match &settings.client {
        ClientSource::Observed { url, wait } => greeted(url, *wait).await?,
        ClientSource::Lab(lab) => lab_hello(lab)?,
    };
    let Settings { scenarios, lengths, .. } = settings;
    let predicted = scenarios.iter().map(|scenario| predict(&hello, lengths, scenario));
    let predicted = predicted.collect::<Result<Vec<_>, _>>()?;
    print(&client(&hello));
    match &predicted[..] {
        [one] => print(&one.derivation()),
        all => print(&table(all)),
    }
    Ok(0)
}

async fn greeted(url: &str, patience: Duration) -> Result<Hello, Failure> {
    let stop = CancellationToken::new();
    let _stopped = stop.clone().drop_guard();
    let stream = scenario::observe::connect(url, RunClock::start(), patience, stop).await;
    stream.map(|stream| stream.hello).map_err(infrastructure)
}

/// What a lab's client will say of itself.
fn lab_hello(lab: &settings::Lab) -> Result<Hello, Failure> {
    let plan = &lab.load;
    let arrivals = plan.rate.map_or(Arrivals::Closed, Arrivals::Poisson);
    let server = |n: usize| Server { name: format!("memcached{n}"), addr: String::new() };
    let servers = (1..=lab.config.servers).map(server).collect();
    let client = Ours::new(plan.client.clone(), servers).map_err(usage)?;
    Ok(workload::hello(&LoadConfig { arrivals, ..plan.load.clone() }, &client))
}

/// A scenario with what is expected of the client.
struct Predicted {
    scenario: String,
    fault: String,
    offered: f64,
    faulted_share: f64,
    fault_ms: f64,
    expectation: Expectation,
}

fn predict(hello: &Hello, lengths: &PhaseLengths, scenario: &Scenario) -> Result<Predicted, Failure> {
    let names: Vec<String> = hello.servers.iter().map(|server| server.name.clone()).collect();
    let misfit = |why| usage(anyhow::anyhow!("scenario {}: {why}", scenario.name));
    let mut faults = Vec::new();
    let mut texts = Vec::new();
    for fault in &scenario.faults {
        let chosen = fault.target.choose(&names).map_err(misfit)?;
        texts.push(format!("{} at {}", fault.spec.describe(), chosen.join(", ")));
        faults.extend(chosen.into_iter().map(|server| FaultPlan {
            server,
            kind: fault.spec.kind(),
            params: fault.spec.params(),
        }));
    }
    let mut faulted: Vec<&str> = faults.iter().map(|fault| fault.server.as_str()).collect();
    faulted.sort_unstable();
    faulted.dedup();
    let load = &hello.settings.load;
    // A closed loop offers what it can do.
    let closed = f64::from(load.concurrency) / SERVICE_MS * 1e3;
    let offered = load.rate_ops_per_s.filter(|_| load.kind == LoadKind::Open).unwrap_or(closed);
    let faulted_share = faulted.len() as f64 / names.len().max(1) as f64;
    let fault_ms = lengths.of(scenario).testing.as_secs_f64() * 1e3;
    let expectation = Expectation::predict(&Situation {
        settings: &hello.settings,
        servers: names.len(),
        faults,
        offered,
        faulted_share,
        fault_ms,
        service_ms: SERVICE_MS,
    });
    let fault = if texts.is_empty() { "none".to_owned() } else { texts.join("; ") };
    Ok(Predicted { scenario: scenario.name.clone(), fault, offered, faulted_share, fault_ms, expectation })
}

/// Text from outside on one line of a terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn client(hello: &Hello) -> String {
    let settings = &hello.settings;
    let breaker = settings.breaker.as_ref().map_or("no breaker".to_owned(), |breaker| {
        let rules = [
            breaker.consecutive_timeouts.map(|k| format!("{k} timeouts in a row")),
            breaker.ratio.map(|rule| format!("{:.0} % of a window fail", rule.failure_ratio * 100.0)),
            breaker
                .slow
                .map(|rule| format!("{:.0} % slower than {} ms", rule.share * 100.0, rule.threshold_ms)),
            breaker.trip_on_refused.then(|| "a refused connect".to_owned()),
        ];
        let rules: Vec<String> = rules.into_iter().flatten().collect();
        format!("breaker for {} ms at {}", breaker.open_ms, rules.join(", or "))
    });
    let load = &settings.load;
    let rate = match load.rate_ops_per_s.filter(|_| load.kind == LoadKind::Open) {
        Some(rate) => format!("open loop of {rate:.0} ops/s"),
        None => format!("closed loop of {} workers", load.concurrency),
    };
    format!(
        "client: {} {}, timeout {} ms, {breaker}; {rate} over {} servers\n",
        plain(&hello.client.name),
        plain(&hello.client.version),
        settings.op_timeout_ms,
        hello.servers.len()
    )
}

impl Predicted {
    fn derivation(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_derivation(&mut out);
        out
    }

    fn write_derivation(&self, out: &mut String) -> std::fmt::Result {
        let expected = &self.expectation;
        writeln!(out, "\n{}\n  fault              {}", plain(&self.scenario), plain(&self.fault))?;
        writeln!(
            out,
            "  assumed            {:.0} ops/s, {:.0} % of the keys at faulted servers, {SERVICE_MS} ms a healthy op, {:.0} s of fault\n",
            self.offered,
            self.faulted_share * 100.0,
            self.fault_ms / 1e3
        )?;
        let mut line = |name: &str, value: String, because: &str| {
            writeln!(out, "  {name:<19}{value}")?;
            if because.is_empty() { Ok(()) } else { writeln!(out, "  {:<19}because {}", "", plain(because)) }
        };
        line("breaker", expected.trip().name().to_owned(), &expected.trips_because)?;
        line("time to trip", within(expected.time_to_trip_ms), &expected.time_to_trip_because)?;
        line("probe cycles", count(expected.probe_cycles), &expected.probe_cycles_because)?;
        let errors = format!("at most {:.1} % of the ops, once it is settled", expected.error_share * 100.0);
        line("goodput", goodput(expected), &expected.goodput_because)?;
        line("errors", errors, "")?;
        line("recovery", within(Some(expected.recovery_ms)), &expected.recovery_because)
    }
}

fn within(bounds: Option<Bounds>) -> String {
    bounds.map_or("-".to_owned(), |bounds| format!("{:.0} to {:.0} ms", bounds.least, bounds.most))
}

fn count(bounds: Option<Bounds>) -> String {
    bounds.map_or("-".to_owned(), |bounds| format!("{:.0} to {:.0}", bounds.least, bounds.most))
}

fn goodput(expected: &Expectation) -> String {
    let computed =
        expected.goodput_ratio.map_or("not computed".to_owned(), |ratio| format!("{:.1} %", ratio * 100.0));
    format!("{computed} of the baseline; at least {:.1} % pass", expected.goodput_retained * 100.0)
}

/// One line a scenario.
fn table(predicted: &[Predicted]) -> String {
    let mut rows =
        vec![["scenario", "trips?", "time to trip", "goodput", "errors", "recovery"].map(str::to_owned)];
    rows.extend(predicted.iter().map(|one| {
        let expected = &one.expectation;
        let trips = match expected.trip() {
            Trip::Must => "yes",
            Trip::May => "perhaps",
            Trip::MustNot => "no",
        };
        let goodput =
            expected.goodput_ratio.map_or("?".to_owned(), |ratio| format!("{:.1} %", ratio * 100.0));
        [
            plain(&one.scenario),
            trips.to_owned(),
            within(expected.time_to_trip_ms),
            format!("{goodput}, >= {:.1} %", expected.goodput_retained * 100.0),
            format!("<= {:.1} %", expected.error_share * 100.0),
            format!("<= {:.0} ms", expected.recovery_ms.most),
        ]
    }));
    let widths: [usize; 6] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let mut out = "\n".to_owned();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli;
    use crate::task::Task;

    fn asked(flags: &[&str]) -> (Hello, PhaseLengths, Vec<Scenario>) {
        let typed = [&["explain"], flags].concat();
        let Ok(Task::Explain(Settings { scenarios, lengths, client: ClientSource::Lab(lab) })) =
            cli::task(&typed)
        else {
            panic!("{typed:?}")
        };
        (lab_hello(&lab).unwrap(), lengths, scenarios)
    }

    fn predicted(flags: &[&str]) -> (Hello, Vec<Predicted>) {
        let (hello, lengths, scenarios) = asked(flags);
        let all = scenarios.iter().map(|scenario| predict(&hello, &lengths, scenario).unwrap()).collect();
        (hello, all)
    }

    fn trips(flags: &[&str], wanted: Trip) -> Vec<String> {
        let (_, all) = predicted(flags);
        assert_eq!(all.len(), 14);
        let fitting = all.into_iter().filter(|one| one.expectation.trip() == wanted);
        fitting.map(|one| one.scenario).collect()
    }

    #[test]
    fn at_a_timeout_of_a_second_most_scenarios_must_not_trip() {
        let flags = ["--scenario", "all", "--op-timeout", "1s", "--rate", "1500"];
        assert_eq!(trips(&flags, Trip::Must), ["multi-failure-2-servers-packet-loss", "packet-loss-100-pct"]);
        // Five timeouts of 17 % in a row come by chance within the minute, or not.
        assert_eq!(trips(&flags, Trip::May), ["packet-loss-50-pct"]);
        assert_eq!(trips(&flags, Trip::MustNot).len(), 11);
    }

    #[test]
    fn one_scenario_is_derived_and_several_are_a_table() {
        let (hello, all) = predicted(&["--scenario", "packet-loss-100-pct", "--quick"]);
        let text = client(&hello) + &all[0].derivation();
        for words in [
            "client: memcache-client ",
            "timeout 250 ms, breaker for 1000 ms at 5 timeouts in a row, or ",
            "fault              loss-like delay at 100 % loss",
            "1200 ops/s, 33 % of the keys",
            "must trip",
            "because P(op > 250 ms) = 1.0000",
            "time to trip       250 to ",
            "probe cycles       ",
            "at least ",
            "recovery           0 to ",
        ] {
            assert!(text.contains(words), "{words:?} is not in\n{text}");
        }
        let (_, all) = predicted(&["--scenario", "all"]);
        let text = table(&all);
        assert_eq!(text.trim().lines().count(), 15, "{text}");
        assert!(text.trim().starts_with("scenario  ") && text.contains("\npacket-loss-100-pct  "), "{text}");
    }

    #[test]
    fn a_scenario_with_more_servers_than_there_are_is_refused() {
        let (hello, lengths, scenarios) = asked(&["--scenario", "multi-*", "--servers", "1"]);
        let Err(failure) = predict(&hello, &lengths, &scenarios[0]) else { panic!("2 of 1 servers") };
        assert!(failure.error().to_string().contains("2 servers are targeted, but there are only 1"));
    }
}
