//! Flags.

use std::path::PathBuf;

use clap::Parser;
use lab::MemcachedKind;

/// Judges the judge: wrong clients must fail, right ones pass, broken experiments neither.
#[derive(Debug, Clone, Parser)]
#[command(name = "judge-the-judge", version)]
pub struct Cli {
    /// Only these rows: M7, or M for all mutants; may be given several times
    #[arg(long, value_name = "ROW", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Labs side by side
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub jobs: u8,
    /// Runs of a row at most, while the judge refuses to judge a client that it should judge
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=9))]
    pub tries: u8,
    /// Runs of each row
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub repeat: usize,
    /// In place of the mutants, the good client in the same runs: it must pass
    #[arg(long)]
    pub twins: bool,
    /// Instead of the table: so many runs of the good client without a fault, and as many with packet-loss-100-pct
    #[arg(long, value_name = "N")]
    pub aa: Option<usize>,
    /// Burn one core meanwhile
    #[arg(long)]
    pub burn: bool,
    /// The rows, and nothing else
    #[arg(long)]
    pub list: bool,
    /// Which memcached, where a row does not need the fake: auto, real or fake
    #[arg(long, default_value = "auto")]
    pub memcached: MemcachedKind,
    /// Seed of loads and proxies; repeated runs count on from it
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The row's own process: the limit on files is there already
    #[arg(long, hide = true)]
    pub within_limit: bool,
    /// Folder of the run folders
    #[arg(long, default_value = "runs", value_name = "DIR")]
    pub runs: PathBuf,
    /// Puts the table into this file, between its marks
    #[arg(long, value_name = "FILE")]
    pub write_docs: Option<PathBuf>,
}
