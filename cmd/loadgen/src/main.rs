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

use run::Failure;
use telemetry::output;
use workload::op_log::OpLogReader;

fn main() -> ExitCode {
    let cli: cli::Cli = match telemetry::arguments::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    telemetry::logging::init(cli.log_format, &[]);
    descriptors::raise();
    if let Some(cli::Command::OpLog { file, format }) = &cli.command {
        return show_op_log(file, *format);
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(cli.max_procs.into()).enable_all().build();
    let ended = match runtime {
        Ok(runtime) => {
            let ended = run::surviving(|| runtime.block_on(run::run(cli)));
            // After a signal, a load may still be in preparation: the exit does not wait for it.
            runtime.shutdown_background();
            ended
        }
        Err(error) => Err(Failure::Infrastructure(error.into())),
    };
    output::exit_code(match ended {
        Ok(ended) => ended.code(),
        Err(Failure::Usage(error)) => {
            tracing::error!("{error:#}");
            2
        }
        Err(Failure::Infrastructure(error)) => {
            tracing::error!("{error:#}");
            4
        }
    })
}

fn show_op_log(file: &std::path::Path, format: cli::OpLogFormat) -> ExitCode {
    let mut log = match OpLogReader::open(file) {
        Ok(log) => log,
        Err(error) => {
            tracing::error!("{error}");
            return ExitCode::from(2);
        }
    };
    let printed = output::write(|out| op_log::show(&mut log, format, out));
    // Only its end shows whether a log is whole.
    output::exit_code(u8::from(printed && !op_log::is_whole(&log, file)))
}
