//! Runs that are over: which there are, and their pages. Only names that this program makes itself, and no links, are followed.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, open, openat};
use serde::Serialize;
use serde_json::Value;
use telemetry::http::Document;
use verdict::metastable::Stability;

/// Runs that are listed, the latest.
const RUNS_MAX: usize = 50;
/// Longest page.
const PAGE_BYTES: u64 = 32 * 1024 * 1024;
/// Longest verdict.
const VERDICT_BYTES: u64 = 8 * 1024 * 1024;
/// A report runs its own script and is nobody: it comes from a file, and whoever could write that shall not reach this port.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; sandbox allow-scripts";

/// A folder proper, and no link to one.
const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// One of them.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Past {
    /// Name of its folder.
    id: String,
    /// Name of its page.
    page: &'static str,
    /// Its result, for people.
    name: &'static str,
    /// How that looks.
    tone: &'static str,
}

/// The latest, newest first.
pub(super) fn list(runs: &Path) -> Vec<Past> {
    let Ok(entries) = std::fs::read_dir(runs) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| scenario::is_folder(name)).collect();
    // They begin with their time.
    names.sort_unstable_by(|a, b| b.cmp(a));
    names.into_iter().filter_map(|id| past(runs, id)).take(RUNS_MAX).collect()
}

fn past(runs: &Path, id: String) -> Option<Past> {
    let dir = folder(runs, &id)?;
    for page in [report::PAGE, report::SUITE_PAGE] {
        if file(&dir, page).is_some() {
            let (name, tone) = match page {
                report::PAGE => result(&dir),
                _ => ("SUITE", "void"),
            };
            return Some(Past { id, page, name, tone });
        }
    }
    None
}

fn result(dir: &OwnedFd) -> (&'static str, &'static str) {
    let verdict = file(dir, "verdict.json").and_then(|file| read(file, VERDICT_BYTES));
    let verdict: Value = verdict.and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default();
    let all = [
        ("pass", verdict::Ruling::Pass),
        ("inconclusive", verdict::Ruling::Inconclusive),
        ("invalid", verdict::Ruling::Invalid),
        ("fail", verdict::Ruling::Fail),
        ("wrong_data", verdict::Ruling::WrongData),
    ];
    let found = all.into_iter().find(|(name, _)| verdict["result"] == *name);
    match found {
        Some((name, _)) if name != "wrong_data" && verdict["stopped"].is_string() => ("STOPPED", "unsure"),
        Some((_, result)) => (result.name(), report::tone(result)),
        None => stability(dir).unwrap_or(("no verdict", "void")),
    }
}

/// Of an experiment on metastable failure.
fn stability(dir: &OwnedFd) -> Option<(&'static str, &'static str)> {
    let record = file(dir, report::EXPERIMENT_FILE).and_then(|file| read(file, VERDICT_BYTES))?;
    let record: Value = serde_json::from_slice(&record).ok()?;
    if record["wrong_values"].as_u64().unwrap_or(0) > 0 {
        return Some(("WRONG DATA", "fail"));
    }
    if record["complete"] != true {
        return Some(("STOPPED", "unsure"));
    }
    let all = [
        (Stability::Stable, "pass"),
        (Stability::Vulnerable, "unsure"),
        (Stability::Metastable, "fail"),
        (Stability::Degraded, "unsure"),
        (Stability::Inconclusive, "unsure"),
    ];
    let found = all.into_iter().map(|(stability, tone)| (stability.name(), tone));
    let said = record["found"]["cells"]["stability"].as_str().unwrap_or_default().to_uppercase();
    Some(found.into_iter().find(|(name, _)| *name == said).unwrap_or(("EXPERIMENT", "void")))
}

/// The page at `NAME/report.html`, `NAME/suite.html`, or `NAME/RUN/report.html` of an experiment's run.
pub(super) fn find(runs: &Path, path: &str) -> Option<Document> {
    let (path, page) = path.rsplit_once('/')?;
    if ![report::PAGE, report::SUITE_PAGE].contains(&page) {
        return None;
    }
    let dir = match path.split_once('/') {
        None => folder(runs, path)?,
        Some((id, run)) => {
            let plain =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
            let dir = folder(runs, id)?;
            (!run.is_empty() && run.bytes().all(plain))
                .then(|| openat(dir, run, DIRECTORY, Mode::empty()).ok())??
        }
    };
    let body = read(file(&dir, page)?, PAGE_BYTES)?;
    Some(Document { content_type: "text/html; charset=utf-8", body: body.into(), policy: POLICY.to_owned() })
}

fn folder(runs: &Path, id: &str) -> Option<OwnedFd> {
    let runs = open(runs, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    scenario::is_folder(id).then(|| openat(runs, id, DIRECTORY, Mode::empty()).ok())?
}

/// A file proper: no link, and no pipe that would be waited for.
fn file(dir: &OwnedFd, name: &str) -> Option<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat(dir, name, flags, Mode::empty()).ok()?);
    file.metadata().ok()?.is_file().then_some(file)
}

fn read(file: File, most: u64) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    file.take(most + 1).read_to_end(&mut body).ok()?;
    (body.len() as u64 <= most).then_some(body)
}

#[cfg(test)]
mod tests {
    use std::fs::{create_dir, write};
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    const RUN: &str = "20261121T101112Z-packet-loss-100-pct";

    /// Runs of each kind, and what only looks like one.
    fn folders(dir: &Path) -> PathBuf {
        let runs = dir.join("runs");
        create_dir(&runs).unwrap();
        write(dir.join("report.html"), "secret").unwrap();
        for name in
            [RUN, "20261121T101113Z-suite", "20261121T101114Z-linked", "notes", "20261121T101115Z-Odd"]
        {
            create_dir(runs.join(name)).unwrap();
            write(runs.join(name).join("report.html"), name).unwrap();
        }
        std::fs::rename(
            runs.join("20261121T101113Z-suite/report.html"),
            runs.join("20261121T101113Z-suite/suite.html"),
        )
        .unwrap();
        std::fs::remove_file(runs.join("20261121T101114Z-linked/report.html")).unwrap();
        symlink("../../report.html", runs.join("20261121T101114Z-linked/report.html")).unwrap();
        symlink("..", runs.join("20261121T101116Z-up")).unwrap();
        write(runs.join(RUN).join("verdict.json"), r#"{"result":"fail","stopped":null}"#).unwrap();

        let experiment = runs.join("20261121T101110Z-metastable-fast");
        create_dir(&experiment).unwrap();
        create_dir(experiment.join("unprotected-1")).unwrap();
        write(experiment.join("report.html"), "all").unwrap();
        write(
            experiment.join("experiment.json"),
            r#"{"complete":true,"found":{"cells":{"stability":"metastable"}}}"#,
        )
        .unwrap();
        write(experiment.join("unprotected-1/report.html"), "one").unwrap();
        symlink("../..", experiment.join("up")).unwrap();
        runs
    }

    #[test]
    fn only_pages_that_this_program_has_made_are_given() {
        let dir = tempfile::tempdir().unwrap();
        let runs = folders(dir.path());
        assert_eq!(
            find(&runs, "20261121T101110Z-metastable-fast/unprotected-1/report.html").unwrap().body,
            "one"
        );

        let page = find(&runs, &format!("{RUN}/report.html")).unwrap();
        assert_eq!(page.body, RUN);
        assert!(page.policy.contains("sandbox allow-scripts"));
        for path in [
            "",
            "report.html",
            "../report.html",
            "..%2freport.html",
            "./report.html",
            &format!("{RUN}/verdict.json"),
            &format!("{RUN}/../../report.html"),
            &format!("{RUN}//report.html"),
            &format!("{RUN}/report.html/"),
            "20261121T101114Z-linked/report.html",
            "20261121T101116Z-up/report.html",
            "20261121T101115Z-Odd/report.html",
            "notes/report.html",
            "20261121T101110Z-metastable-fast/../report.html",
            "20261121T101110Z-metastable-fast/up/report.html",
            "20261121T101110Z-metastable-fast//report.html",
            "20261121T101110Z-metastable-fast/unprotected-1/x/report.html",
        ] {
            assert!(find(&runs, path).is_none(), "{path}");
        }
        let listed = list(&runs);
        let shown: Vec<_> = listed.iter().map(|past| (past.id.as_str(), past.page, past.name)).collect();
        assert_eq!(
            shown,
            [
                ("20261121T101113Z-suite", "suite.html", "SUITE"),
                (RUN, "report.html", "FAIL"),
                ("20261121T101110Z-metastable-fast", "report.html", "METASTABLE")
            ]
        );
        assert!(list(&dir.path().join("nowhere")).is_empty());
    }
}
