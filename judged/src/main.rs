//! Judges the judge: clients that are wrong on purpose must fail, each for its own reason; clients that are right in unusual ways
//! must pass; and where the experiment itself is broken, nobody may be blamed and nothing may pass.
//!
//! `cargo run -p judged --features seeded-bugs` prints the table; the exit code is 1 when a row of it is wrong.

mod alike;
mod burn;
mod cli;
mod limited;
mod meddle;
mod queue;
mod rows;
mod stream;
mod table;
mod world;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use telemetry::output;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::cli::Cli;
use crate::world::Judged;

fn main() -> ExitCode {
    // Nothing, unless `RUST_LOG` asks for it.
    let filter =
        std::env::var("RUST_LOG").ok().and_then(|text| text.parse::<Targets>().ok()).unwrap_or_default();
    let log = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_writer(std::io::stderr);
    log.finish().with(filter).init();
    output::exit_code(match run(&Cli::parse()) {
        Ok(right) => u8::from(!right),
        Err(error) => {
            output::print(&format!("error: {error:#}\n"));
            4
        }
    })
}

/// Says whether every row was judged as it should be.
fn run(cli: &Cli) -> Result<bool> {
    std::fs::create_dir_all(&cli.runs).with_context(|| format!("--runs {}", cli.runs.display()))?;
    let _burning = cli.burn.then(burn::Burning::start).transpose()?;
    if let Some(runs) = cli.aa {
        return alike::run(cli, runs);
    }
    let mut rows = rows::chosen(&cli.only)?;
    if cli.twins {
        rows = rows::twins(rows);
    }
    if cli.list {
        output::print(&table::list(&rows));
        return Ok(true);
    }
    let runs: Vec<_> = rows.iter().flat_map(|row| std::iter::repeat_n(row, cli.repeat)).collect();
    let judged = queue::run(&runs, cli, |judged| output::print(&table::line(judged)));
    let text = table::markdown(&judged);
    output::print(&format!("\n{text}"));
    if let Some(path) = &cli.write_docs {
        write_docs(path, &text)?;
    }
    Ok(judged.iter().all(Judged::is_right))
}

/// Puts the table between its two marks.
fn write_docs(path: &Path, table: &str) -> Result<()> {
    const MARKS: [&str; 2] = ["<!-- judge-the-judge: begin -->\n", "<!-- judge-the-judge: end -->"];
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let (before, rest) = text.split_once(MARKS[0]).context("no begin mark in it")?;
    let (_, after) = rest.split_once(MARKS[1]).context("no end mark in it")?;
    let text = [before, MARKS[0], table, MARKS[1], after].concat();
    std::fs::write(path, text).with_context(|| path.display().to_string())
}
