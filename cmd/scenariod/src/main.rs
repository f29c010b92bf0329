//! Drives faults through three-phase scenarios and gives a verdict.

mod cli;
mod compare;
mod explain;
mod failure;
mod goflags;
mod judge;
mod last_word;
mod live;
mod metastable;
mod progress;
mod proxy;
mod reap;
mod report;
mod run;
mod settings;
mod stable;
mod suite;
mod world;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // The process that takes a fault away should this one be killed: no flags, no clap.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == scenario::janitor::COMMAND) {
        telemetry::logging::init(telemetry::logging::LogFormat::Text);
        return scenario::janitor::main();
    }
    if let Some(args) = proxy::asked(std::env::args_os()) {
        return proxy::main(&args);
    }
    // clap exits with 2 on a usage error, which is what the exit codes say.
    let cli = cli::Cli::parse();
    telemetry::logging::init(cli.log_format);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(cli.max_procs.into()).enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(run::run(cli)),
        Err(error) => Err(failure::Failure::Infrastructure(error.into())),
    };
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            tracing::error!("{:#}", failure.error());
            ExitCode::from(failure.exit_code())
        }
    }
}
