//! Drives continuous load through a memcache client, checks every reply, and exports what happened.

mod cli;
mod client;
mod control;
mod look_aside;
mod op_log;
mod overload;
mod run;

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
        Ok(runtime) => {
            let ended = run::surviving(|| runtime.block_on(run::run(cli)));
            // After a signal a load that was being made ready may still run: nobody waits for it.
            runtime.shutdown_background();
            ended
        }
        Err(error) => Err(run::Failure::Infrastructure(error.into())),
    };
    match ended {
        Ok(ended) => ExitCode::from(ended.code()),
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
