//! `scenariod proxy`. Its flags are the stock server's, which are Go's: they are not for clap to read.

use std::ffi::OsString;
use std::path::Path;

/// Name of the stock program.
const STOCK: &str = "toxiproxy-server";

/// The embedded Toxiproxy alone.
#[derive(Debug, clap::Args)]
#[command(after_help = crate::proxy::help())]
pub struct ProxyArgs {
    /// Flags of the stock server, with one dash or two; see below
    #[arg(value_name = "FLAG")]
    flags: Vec<OsString>,
}

impl ProxyArgs {
    /// The flags as text.
    pub fn flags(&self) -> Vec<String> {
        self.flags.iter().map(|flag| flag.to_string_lossy().into_owned()).collect()
    }
}

/// The arguments with `--` before the stock server's flags, so that clap takes them as they are. Under the name of that
/// server, this program is it.
pub(super) fn escaped(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = args.collect();
    let named = |program: &OsString| Path::new(program).file_name().is_some_and(|name| name == STOCK);
    if words.first().is_some_and(named) {
        words.insert(1, "proxy".into());
    }
    if words.get(1).is_some_and(|word| word == "proxy") {
        words.insert(2, "--".into());
    }
    words
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Command};
    use super::*;

    fn flags(words: &[&str]) -> Option<Vec<String>> {
        let words = escaped(words.iter().map(|word| OsString::from(*word)));
        match Cli::try_parse_from(words).unwrap().command {
            Some(Command::Proxy(args)) => Some(args.flags()),
            _ => None,
        }
    }

    #[test]
    fn the_first_word_or_the_programs_name_asks_for_the_proxy() {
        assert_eq!(flags(&["scenariod", "proxy", "-port=1"]), Some(vec!["-port=1".to_owned()]));
        assert_eq!(flags(&["/go/bin/toxiproxy-server", "-port=1"]), Some(vec!["-port=1".to_owned()]));
        assert_eq!(flags(&["toxiproxy-server"]), Some(Vec::new()));
        for words in [&["scenariod"][..], &["scenariod", "--lab"], &["scenariod", "--scenario", "proxy"], &[]]
        {
            assert_eq!(flags(words), None, "{words:?}");
        }
    }

    #[test]
    fn the_stock_servers_flags_are_taken_as_they_are() {
        for words in
            [&["-h"][..], &["--help", "-version"], &["-seed", "-5", "--", "-nope"], &["--", "x"], &["help"]]
        {
            let typed = [&["scenariod", "proxy"], words].concat();
            assert_eq!(flags(&typed).unwrap(), words);
        }
    }
}
