//! What is not ours stays as it is, byte for byte, and the call that would touch all of it is never made.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::site::{Client, Kind, Site, scenario};
use crate::architecture::workspace;
use crate::harness::{PATIENCE, part_of_the_machine, wait_for};

/// Foreign proxies with a toxic each, and foreign toxics on proxies that a run uses.
const FOREIGN: usize = 50;
/// Names of others that look like ours.
const ALIKE: [&str; 4] = ["scenariod", "scenariod.4711.1.1700000000", "scenariod.trial", "Scenariod.x"];
const RESET: &str = "/reset";

/// Passes API calls on, and keeps the line of each request.
async fn listen_in(site: &Site) -> (String, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let upstream = site.url.trim_start_matches("http://").to_owned();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let all = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&upstream).await.unwrap();
            let (mut from, mut to) = client.into_split();
            let (mut back, mut on) = server.into_split();
            let heard = Arc::clone(&all);
            tokio::spawn(async move { tokio::io::copy(&mut back, &mut to).await });
            tokio::spawn(async move {
                let mut bytes = [0; 4096];
                while let Ok(n @ 1..) = from.read(&mut bytes).await {
                    heard.lock().unwrap().extend_from_slice(&bytes[..n]);
                    if on.write_all(&bytes[..n]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (url, heard)
}

async fn untouched(kind: Kind) {
    let _machine = part_of_the_machine().await;
    let Some(client) = Client::start().await else { return };
    let Some(site) = Site::start(kind, "site", &client).await else { return };
    for n in 0..FOREIGN {
        let name = ALIKE.get(n).map_or_else(|| format!("foreign {n}"), |name| (*name).to_owned());
        let enabled = n % 3 > 0;
        let proxy =
            json!({"name": name, "listen": "127.0.0.1:0", "upstream": "127.0.0.1:1", "enabled": enabled});
        site.post("/proxies", &proxy).await;
        let toxic =
            json!({"name": name, "type": "latency", "attributes": {"latency": 1 + n}, "toxicity": 0.5});
        site.post(&format!("/proxies/{}/toxics", name.replace(' ', "%20")), &toxic).await;
        site.post(
            "/proxies/memcached3/toxics",
            &json!({"name": name, "type": "slow_close", "attributes": {"delay": n}}),
        )
        .await;
    }
    // The run's own proxies are left as they were, too.
    let before = site.proxies().await;
    let alike = site.traces().await.0.len();
    let (url, heard) = listen_in(&site).await;
    let file = scenario(&site.dir);
    for (n, signal) in [None, Some("TERM"), None].into_iter().enumerate() {
        let mut run = site.scenariod(&format!("run{n}"), &["--scenario-file", &file, "--toxiproxy", &url]);
        if let Some(signal) = signal {
            wait_for("its faults", PATIENCE, async || site.traces().await.0.len() == alike + 4).await;
            run.signal(signal);
        }
        let code = run.exit_code(Duration::from_secs(60)).await;
        assert!([0, 1, 3].contains(&code), "{}", site.log(&format!("run{n}")));
        assert_eq!(site.proxies().await, before);
    }
    let heard = String::from_utf8_lossy(&heard.lock().unwrap()).into_owned();
    assert!(heard.contains("POST /proxies/memcached2/toxics "), "nothing was heard");
    assert!(!heard.contains(RESET), "{heard}");
}

#[tokio::test]
async fn fifty_foreign_proxies_and_toxics_stay_as_they_are_on_the_embedded_proxy() {
    untouched(Kind::Embedded).await;
}

#[tokio::test]
async fn fifty_foreign_proxies_and_toxics_stay_as_they_are_on_a_real_toxiproxy() {
    untouched(Kind::Real).await;
}

#[test]
fn no_program_of_ours_can_ask_for_a_reset() {
    // The server answers it, as it must.
    let rooms = ["crates/scenario/src", "crates/lab/src", "crates/toxiproxy/src/client.rs", "cmd"];
    let mut left: Vec<_> = rooms.iter().map(|room| workspace().join(room)).collect();
    let mut read = 0;
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(path.read_dir().unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(!text.contains(RESET), "{}: /reset touches everybody's proxies", path.display());
            read += 1;
        }
    }
    assert!(read > 20);
}
