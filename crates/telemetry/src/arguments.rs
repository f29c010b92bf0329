//! The command line of a program, and the environment variables that stand in for flags.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::builder::Resettable;
use clap::{Arg, Command, Parser};

use crate::logging::{self, LogFormat};
use crate::output;

/// Reads the arguments, the program's name first. The error is the exit code after help or version was printed, or after a usage
/// error.
pub fn read<A: Parser>(words: impl IntoIterator<Item = OsString>) -> Result<A, ExitCode> {
    let command = without_empty_variables(A::command());
    let read = command.try_get_matches_from(words).and_then(|matches| A::from_arg_matches(&matches));
    read.map_err(|asked| {
        if asked.use_stderr() {
            // Where standard error is gone, there is no place to say so.
            let _ = asked.print();
        } else {
            logging::init(LogFormat::Text, &[]);
            output::write(|_| asked.print());
        }
        output::exit_code(asked.exit_code().try_into().unwrap_or(output::LOST))
    })
}

/// An environment variable that is empty is not set: `MEMCACHE_HOST= scenariod`, and what compose files make of a missing one.
fn without_empty_variables(command: Command) -> Command {
    let is_empty = |arg: &Arg| arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
    let command = command.mut_args(|arg| if is_empty(&arg) { arg.env(Resettable::Reset) } else { arg });
    command.mut_subcommands(without_empty_variables)
}
