//! A row whose files may not grow: it runs in a process of its own, because the limit holds for a whole process.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use observation::journal::Journal;
use verdict::Verdict;

use crate::cli::Cli;
use crate::rows::Row;

/// Unit of `ulimit -f`, bytes.
const BLOCK: u64 = 512;

/// Runs the row there, and judges what it could write.
pub async fn run(row: &Row, cli: &Cli, file_max: u64, seed: u64) -> Result<(Verdict, PathBuf)> {
    let runs = tempfile::Builder::new().prefix("limited-").tempdir_in(&cli.runs)?.keep();
    let mut command = tokio::process::Command::new("sh");
    // Ignored, so that a write that would go too far is an error, as on a full disk, and not the end of the process.
    command.args(["-c", r#"trap "" XFSZ; ulimit -f "$0" && exec "$@""#, &(file_max / BLOCK).to_string()]);
    command.arg(std::env::current_exe()?).args(["--within-limit", "--only", &row.id]);
    command.args(["--seed", &seed.to_string()]).arg("--runs").arg(&runs);
    command.args([
        "--memcached",
        match cli.memcached {
            lab::MemcachedKind::Auto => "auto",
            lab::MemcachedKind::Real => "real",
            lab::MemcachedKind::Fake => "fake",
        },
    ]);
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true).status().await?;
    let folder = std::fs::read_dir(runs.join(&row.id)).ok().and_then(|mut found| found.next());
    let Some(folder) = folder else { bail!("the process of its own left no run folder, {status}") };
    let dir = folder?.path();
    let journal =
        Journal::read(&dir).with_context(|| format!("what was written before the limit, {status}"))?;
    Ok((verdict::judge(&journal), dir))
}
