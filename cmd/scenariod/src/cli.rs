//! What was typed. No other part of the program sees a type of clap's: each group of flags becomes settings here, once.

mod explain;
mod lab;
mod metastable;
mod phases;
mod place;
mod proxy;
mod reap;
mod recorded;
mod run;
mod shell;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::failure::Failure;
use crate::task::Task;
pub use proxy::ProxyArgs;
pub use run::RunArgs;

/// Drive faults through three-phase scenarios - stabilization, testing, recovery - and give a verdict.
#[derive(Debug, Parser)]
#[command(
    name = "scenariod",
    version,
    after_help = EXAMPLES,
    max_term_width = 100,
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    /// What to do other than running scenarios
    #[command(subcommand)]
    pub command: Option<Command>,

    #[command(flatten)]
    pub run: RunArgs,
}

/// Everything that is no run.
#[derive(Debug, Subcommand)]
pub enum Command {
    #[command(flatten)]
    Task(TaskCommand),
    /// The embedded Toxiproxy alone, with the flags of the stock server: it can take that one's place
    Proxy(ProxyArgs),
}

/// What is done with the flags, log and threads that are this program's own.
#[derive(Debug, Subcommand)]
pub enum TaskCommand {
    /// Judge recorded runs again, and write their reports anew
    Judge(recorded::JudgeArgs),
    /// Say what is expected of a client and why, before anything is run
    Explain(explain::ExplainArgs),
    /// Write the reports of recorded runs anew, and of several, or of a suite, a page of all
    Report(recorded::ReportArgs),
    /// Two runs of one scenario side by side: two clients, or two versions of one
    Compare(recorded::CompareArgs),
    /// Does a system stay down after what brought it down is gone? Cells with one protection each, side by side
    Metastable(metastable::MetastableArgs),
    /// Take away what dead and frozen runs have left on a Toxiproxy: past its deadline, or its owner proven dead
    Reap(reap::ReapArgs),
    /// Completions of this program for a shell
    Completions(shell::CompletionsArgs),
    /// The manual page of this program, or one for each of its commands
    Man(shell::ManArgs),
}

const EXAMPLES: &str = "\
Examples:
  scenariod --lab --quick --scenario packet-loss-100-pct   everything embedded, a verdict after a minute
  scenariod --lab --quick --scenario all --jobs 4          the whole catalogue, four labs side by side
  scenariod --lab                                          servers and proxies for loadgen in another terminal
  scenariod --scenario all --loop                          against a running Toxiproxy and loadgen
  scenariod --scenario 'latency-*' --observe http://10.0.0.7:9090
  scenariod explain --scenario packet-loss-10-pct --op-timeout 1s   what would be expected, and why
  scenariod metastable --summary cures.md                  a collapse, its cures and what is none, as a table
  scenariod judge runs/*                                   the same verdicts again, from the journals alone
  scenariod compare runs/A runs/B                          two clients under the same fault, compare.html
  scenariod reap                                           a sidecar that ends what killed runs have left
  scenariod proxy -host 0.0.0.0 -config proxies.json       the embedded Toxiproxy alone, with Toxiproxy's own flags

Exit codes: 0 pass, 1 fail, 2 usage, 3 inconclusive, invalid or stopped, 4 infrastructure, 5 wrong data.";

impl Cli {
    /// Reads the arguments, the program's name first. The error is the exit code after help or a usage error.
    pub fn read(args: impl Iterator<Item = OsString>) -> Result<Self, ExitCode> {
        telemetry::arguments::read(proxy::escaped(args))
    }
}

impl TaskCommand {
    /// The task that it asks for.
    pub fn task(self) -> Result<Task, Failure> {
        Ok(match self {
            TaskCommand::Judge(args) => Task::Judge(args.journals),
            TaskCommand::Explain(args) => Task::Explain(args.settings()?),
            TaskCommand::Report(args) => Task::Report(args.runs),
            TaskCommand::Compare(args) => Task::Compare(args.settings()),
            TaskCommand::Metastable(args) => Task::Metastable(args.settings()?),
            TaskCommand::Reap(args) => Task::Reap(args.settings()?),
            TaskCommand::Completions(args) => args.task(),
            TaskCommand::Man(args) => args.task()?,
        })
    }
}

/// The task of a whole command line, for tests.
#[cfg(test)]
pub fn task(words: &[&str]) -> Result<Task, Failure> {
    let cli = Cli::try_parse_from([&["scenariod"], words].concat()).map_err(crate::failure::usage)?;
    match cli.command {
        Some(Command::Task(command)) => command.task(),
        Some(Command::Proxy(_)) => panic!("the proxy is no task"),
        None => cli.run.task(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_proxy_is_in_the_help_with_the_flags_of_the_stock_server() {
        let mut command = Cli::command();
        let help = command.render_help().to_string();
        let line = help.lines().find(|line| line.trim_start().starts_with("proxy "));
        assert!(line.is_some_and(|line| line.contains("The embedded Toxiproxy alone")), "{help}");
        let help = command.find_subcommand_mut("proxy").unwrap().render_help().to_string();
        assert!(help.contains("-config string") && help.contains("-proxy-metrics"), "{help}");
    }
}
