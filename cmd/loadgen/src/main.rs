//! Drives continuous load through a memcache client, checks every reply, and exports what happened.

mod cli;
mod run;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // clap exits with 2 on a usage error, which is what the exit codes say.
    let cli = cli::Cli::parse();
    telemetry::logging::init(cli.log_format);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(cli.max_procs.into()).enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(run::run(cli)),
        Err(error) => Err(run::Failure::Infrastructure(error.into())),
    };
    match ended {
        Ok(run::Ended { wrong: false }) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(5),
        Err(run::Failure::Usage(error)) => {
            tracing::error!("{error:#}");
            ExitCode::from(2)
        }
        Err(run::Failure::Infrastructure(error)) => {
            tracing::error!("{error:#}");
            ExitCode::from(4)
        }
    }
}
