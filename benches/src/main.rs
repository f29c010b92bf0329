//! Our client side by side with its peers: one real memcached, one interleaved run, CPU per op of each.
//!
//! `README.md` beside this crate says how it measures and what it found.

mod cli;
mod connections;
mod contestants;
mod cpu;
mod decisive;
mod keyspace;
mod machine;
mod measure;
mod micro;
mod proxy;
mod readme;
mod rounds;
mod server;
mod soak;
mod stats;
mod syscalls;
mod table;
mod watched;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    // One thread for every contestant alike; the blocking peer brings its own.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    let ended = runtime.block_on(cli::run(cli));
    // Workers of a contestant that still wait for a reply are not waited for.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    // Nowhere is left to say that standard error is closed.
    let _ = writeln!(std::io::stderr(), "bench: {error:#}");
    ExitCode::FAILURE
}
