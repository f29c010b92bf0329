//! Deleting a latency toxic that holds data can hang a stock Toxiproxy for good. The load that does it: 24 connections, 20
//! pipelined gets in a write, clients that give up after 5 to 300 ms.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::site::{Client, Kind, Site};
use crate::harness::{PATIENCE, free_port, get, metric, part_of_the_machine, verdict, wait_for};

const CONNECTIONS: u64 = 24;
const PIPELINED: usize = 20;
/// A call of scenariod's is given up after 5 s; this one waits longer.
const NAIVE: Duration = Duration::from_secs(8);

/// Gets without end, until it is dropped.
fn load(addr: &str) -> JoinSet<()> {
    let mut all = JoinSet::new();
    for n in 0..CONNECTIONS {
        let addr = addr.to_owned();
        all.spawn(async move {
            let mut dice = n;
            loop {
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let gives_up = Duration::from_millis(5 + (dice >> 33) % 296);
                let Ok(mut stream) = TcpStream::connect(&addr).await else {
                    // Sleeps: who was refused comes again after a while.
                    sleep(gives_up).await;
                    continue;
                };
                let mut answers = vec![0; PIPELINED * "END\r\n".len()];
                while stream.write_all("get k\r\n".repeat(PIPELINED).as_bytes()).await.is_ok() {
                    if !matches!(timeout(gives_up, stream.read_exact(&mut answers)).await, Ok(Ok(_))) {
                        break;
                    }
                }
            }
        });
    }
    all
}

fn scenario(dir: &Path, name: &str) -> String {
    let text = format!(
        "name = \"{name}\"\nsuite = \"x\"\ndescription = \"d\"\n[phases]\nstabilization = \"2s\"\ntesting = \"6s\"\nrecovery = \
         \"3s\"\n[[fault]]\ntarget = \"memcached1\"\ntype = \"latency\"\nlatency = \"6s\"\n"
    );
    let file = dir.join(format!("{name}.toml"));
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

/// Their folders; that of a suite has no journal.
fn runs(site: &Site, name: &str) -> Vec<PathBuf> {
    let folders = site.dir.join(name).join("runs").read_dir().unwrap();
    folders
        .map(|folder| folder.unwrap().path())
        .filter(|folder| folder.join("journal.jsonl").exists())
        .collect()
}

/// The journal of the only run.
fn journal(site: &Site, name: &str) -> String {
    std::fs::read_to_string(runs(site, name)[0].join("journal.jsonl")).unwrap()
}

/// Somebody deletes the toxic without asking, and the server hangs: the run must notice.
async fn detected(client: &Client, name: &str) -> Option<()> {
    let site = Site::start(Kind::Real, name, client).await?;
    let _load = load(&site.listens("memcached1").await);
    let metrics = format!("127.0.0.1:{}", free_port());
    let (hangs, never) = (scenario(&site.dir, "hangs"), scenario(&site.dir, "never"));
    let args = ["--metrics-port", &metrics, "--scenario-file", &hangs, "--scenario-file", &never];
    let mut scenariod = site.scenariod("run", &args);
    let mut toxics = Vec::new();
    wait_for("the toxic", PATIENCE, async || {
        toxics = site.traces().await.0;
        !toxics.is_empty()
    })
    .await;
    // Sleeps: a DELETE hangs once enough connections have piled up behind the toxic; the stock server does not count them.
    sleep(Duration::from_secs(3)).await;
    let naive = reqwest::Client::builder().no_proxy().timeout(NAIVE).build().unwrap();
    let url = format!("{}/proxies/memcached1/toxics/{}", site.url, toxics[0]);
    let answer = naive.delete(url).send();
    let stuck = async {
        let mut began = None;
        wait_for("the metric", PATIENCE, async || {
            let text = get(&format!("http://{metrics}/metrics")).await.unwrap_or_default();
            if began.is_none()
                && text.contains("scenario_phase_duration_seconds{phase=\"testing\",scenario=\"hangs\"}")
            {
                began = Some(Instant::now());
            }
            metric(&text, "scenario_cleanup_stuck") == Some(1.0)
        })
        .await;
        began.unwrap().elapsed()
    };
    let (answer, stuck) = tokio::join!(answer, stuck);
    assert!(answer.is_err_and(|error| error.is_timeout()), "{name}: the naive DELETE did not hang");
    eprintln!("{name}: the naive DELETE hung for {NAIVE:?}; said {stuck:?} after the phase");
    assert!(stuck < Duration::from_secs(10));

    let code = scenariod.exit_code(Duration::from_secs(60)).await;
    assert_eq!(code, 4, "{}", site.log("run"));
    assert_eq!(runs(&site, "run").len(), 1, "no further scenario is run");
    let verdict = verdict(&site.dir.join("run"));
    assert!(["inconclusive", "invalid"].contains(&verdict["result"].as_str().unwrap()), "{verdict:#}");
    assert!(journal(&site, "run").contains("\"cleanup_stuck\""));
    Some(())
}

/// The ladder alone under the same load: it seldom hangs, and when it does the run says so.
async fn climbs_down_or_says_so(client: &Client, name: &str) -> Option<bool> {
    let site = Site::start(Kind::Real, name, client).await?;
    let _load = load(&site.listens("memcached1").await);
    let mut scenariod = site.scenariod("run", &["--scenario-file", &scenario(&site.dir, "hangs")]);
    let code = scenariod.exit_code(Duration::from_secs(90)).await;
    let verdict: Value = verdict(&site.dir.join("run"));
    // The DELETE is stuck, or it is answered and the proxy hangs all the same.
    let said = code == 4;
    if said {
        let hangs = site.log("run").contains("a proxy does not answer as before its fault");
        assert!(hangs || journal(&site, "run").contains("\"cleanup_stuck\""), "{}", site.log("run"));
        assert!(["inconclusive", "invalid"].contains(&verdict["result"].as_str().unwrap()), "{verdict:#}");
    } else {
        assert!(!journal(&site, "run").contains("\"cleanup_stuck\""), "{}", site.log("run"));
        site.clean(Duration::from_secs(1)).await;
    }
    Some(said)
}

#[tokio::test]
async fn a_delete_that_hangs_is_said_leaves_no_verdict_and_ends_the_suite() {
    let _machine = part_of_the_machine().await;
    let Some(client) = Client::start().await else { return };
    let (one, two, ladder) = tokio::join!(
        detected(&client, "one"),
        detected(&client, "two"),
        climbs_down_or_says_so(&client, "ladder")
    );
    eprintln!("one {one:?}, two {two:?}; the ladder alone hung: {ladder:?}");
}
