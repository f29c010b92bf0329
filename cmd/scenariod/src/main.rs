//! Drives faults through three-phase scenarios and gives a verdict.

mod cli;
mod compare;
mod explain;
mod failure;
mod goflags;
mod judge;
mod last_word;
mod list;
mod live;
mod metastable;
mod proxy;
mod reap;
mod report;
mod run;
mod settings;
mod stable;
mod suite;
mod task;
mod terminal;
mod world;

use std::process::ExitCode;

use cli::{Cli, Command};
use failure::Failure;
use settings::Process;
use task::Task;
use telemetry::output;

fn main() -> ExitCode {
    // The process that takes a fault away should this one be killed: no flags, no clap.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == scenario::janitor::COMMAND) {
        telemetry::logging::init(telemetry::logging::LogFormat::Text, &[]);
        return scenario::janitor::main();
    }
    let Cli { command, run } = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let process = run.process();
    match command {
        // Its log, threads and exit codes are the stock server's.
        Some(Command::Proxy(args)) => proxy::main(&args.flags()),
        Some(Command::Task(command)) => perform(process, &[], || command.task()),
        None => perform(process, terminal::FOLDED, || run.task()),
    }
}

/// Performs what is asked for, and gives the exit code. `folded`: targets of the log that are told once a phase.
fn perform(process: Process, folded: &[&str], task: impl FnOnce() -> Result<Task, Failure>) -> ExitCode {
    telemetry::logging::init(process.log_format, folded);
    descriptors::raise();
    match task().and_then(|task| run::run(process.threads, task)) {
        Ok(code) => output::exit_code(code),
        Err(failure) => {
            tracing::error!("{:#}", failure.error());
            ExitCode::from(failure.exit_code())
        }
    }
}
