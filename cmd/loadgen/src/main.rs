//! Drives continuous load through a memcache client, checks every reply, and exports what happened.

mod cli;
mod client;
mod control;
mod look_aside;
mod op_log;
mod overload;
mod run;
mod servers;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // clap exits with 2 on a usage error, which is what the exit codes say.
    let cli = cli::Cli::parse();
    telemetry::logging::init(cli.log_format);
    if let Some(cli::Command::OpLog { file, format }) = &cli.command {
        return show_op_log(file, *format);
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(cli.max_procs.into()).enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(run::run(cli)),
        Err(error) => Err(run::Failure::Infrastructure(error.into())),
    };
    match ended {
        Ok(run::Ended { wrong: true, .. }) => ExitCode::from(5),
        Ok(run::Ended { op_log_failed: true, .. }) => ExitCode::from(6),
        Ok(_) => ExitCode::SUCCESS,
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

fn show_op_log(file: &std::path::Path, format: cli::OpLogFormat) -> ExitCode {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    match op_log::show(file, format, &mut out) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::from(2)
        }
    }
}
