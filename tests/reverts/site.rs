//! One Toxiproxy with proxies `memcached1..3` before a memcached, and scenariods that use it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::harness::{PATIENCE, Running, binary, free_port, get, real_program, wait_for};

/// Who carries the faults.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// `scenariod proxy`.
    Embedded,
    /// Shopify's.
    Real,
}

/// What all sites of a test share: a memcached, and a client that says how it is.
pub struct Client {
    pub dir: tempfile::TempDir,
    pub memcached: u16,
    pub observe: String,
    _running: [Running; 2],
}

impl Client {
    /// `None` where a real program is missing.
    pub async fn start() -> Option<Self> {
        let memcached = real_program("memcached")?;
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let args = ["-l", "127.0.0.1", "-p", &port.to_string(), "-U", "0", "-u", "nobody"];
        let memcached = Running::start(&memcached, &args, dir.path());
        let metrics = format!("127.0.0.1:{}", free_port());
        let servers = format!("direct=127.0.0.1:{port}");
        let args = ["--servers", &servers, "--rate", "100", "--metrics-port", &metrics];
        let loadgen = Running::start(&binary("loadgen"), &args, dir.path());
        let observe = format!("http://{metrics}");
        wait_for("loadgen", PATIENCE, async || get(&format!("{observe}/healthz")).await.is_some()).await;
        Some(Self { dir, memcached: port, observe, _running: [memcached, loadgen] })
    }
}

/// A Toxiproxy.
pub struct Site {
    pub dir: PathBuf,
    pub url: String,
    observe: String,
    _toxiproxy: Running,
}

impl Site {
    /// `None` where a real program is missing.
    pub async fn start(kind: Kind, name: &str, client: &Client) -> Option<Self> {
        let dir = client.dir.path().join(name);
        std::fs::create_dir(&dir).unwrap();
        let port = free_port().to_string();
        let toxiproxy = match kind {
            Kind::Real => {
                let args = ["-host", "127.0.0.1", "-port", &port];
                Running::start(&real_program("toxiproxy-server")?, &args, &dir)
            }
            Kind::Embedded => {
                let folder = dir.join("proxy");
                std::fs::create_dir(&folder).unwrap();
                let args = ["proxy", "-host", "127.0.0.1", "-port", &port];
                Running::start(&binary("scenariod"), &args, &folder)
            }
        };
        let url = format!("http://127.0.0.1:{port}");
        wait_for("Toxiproxy", PATIENCE, async || get(&format!("{url}/version")).await.is_some()).await;
        let site = Self { dir, url, observe: client.observe.clone(), _toxiproxy: toxiproxy };
        for n in 1..=3 {
            site.add_proxy(&format!("memcached{n}"), client.memcached).await;
        }
        Some(site)
    }

    pub async fn add_proxy(&self, name: &str, server: u16) {
        let body = json!({"name": name, "listen": "127.0.0.1:0", "upstream": format!("127.0.0.1:{server}")});
        self.post("/proxies", &body).await;
    }

    pub async fn post(&self, path: &str, body: &Value) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let reply = client.post(format!("{}{path}", self.url)).json(body).send().await.unwrap();
        assert!(reply.status().is_success(), "{path}: {}", reply.text().await.unwrap());
    }

    /// All proxies, as the API shows them.
    pub async fn proxies(&self) -> String {
        let mut text = None;
        wait_for("the list of proxies", PATIENCE, async || {
            text = get(&format!("{}/proxies", self.url)).await;
            text.is_some()
        })
        .await;
        text.unwrap()
    }

    /// Where a proxy listens.
    pub async fn listens(&self, name: &str) -> String {
        let proxies: Value = serde_json::from_str(&self.proxies().await).unwrap();
        proxies[name]["listen"].as_str().unwrap().to_owned()
    }

    /// What a scenariod has there: its toxics, and then its proxies and whose proxy is off.
    pub async fn traces(&self) -> (Vec<String>, Vec<String>) {
        let proxies: Value = serde_json::from_str(&self.proxies().await).unwrap();
        let (mut toxics, mut others) = (Vec::new(), Vec::new());
        for (name, proxy) in proxies.as_object().unwrap() {
            let all = proxy["toxics"].as_array().unwrap().iter();
            let names = all.map(|toxic| toxic["name"].as_str().unwrap().to_owned());
            toxics.extend(names.filter(|name| name.starts_with("scenariod.")));
            if name.starts_with("scenariod.") {
                others.push(name.clone());
            } else if proxy["enabled"] == false {
                toxics.push(format!("{name} is off"));
            }
        }
        (toxics, others)
    }

    /// Waits until there is neither fault nor claim of a scenariod's.
    pub async fn clean(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        loop {
            let left = self.traces().await;
            if left == (vec![], vec![]) {
                return;
            }
            assert!(Instant::now() < deadline, "after {patience:?} there is still {left:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// A scenariod with its files below `name`.
    pub fn scenariod(&self, name: &str, args: &[&str]) -> Running {
        let dir = self.dir.join(name);
        std::fs::create_dir_all(&dir).unwrap();
        let mut all = vec!["--observe", &self.observe, "--wait", "3s"];
        for (flag, value) in [("--toxiproxy", &*self.url), ("--metrics-port", "127.0.0.1:0")] {
            if !args.contains(&flag) {
                all.extend_from_slice(&[flag, value]);
            }
        }
        all.extend_from_slice(args);
        Running::start(&binary("scenariod"), &all, &dir)
    }

    /// What a scenariod of that name has logged.
    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.join(name).join("scenariod.err")).unwrap()
    }
}

/// A scenario file with one fault of every way down the ladder; its phases are short.
pub fn scenario(dir: &Path) -> String {
    let fault = |target: &str, rest: &str| format!("[[fault]]\ntarget = \"memcached{target}\"\n{rest}\n");
    let text = format!(
        "name = \"short\"\nsuite = \"x\"\ndescription = \"d\"\n[phases]\nstabilization = \"1s\"\ntesting = \"3s\"\nrecovery = \
         \"2s\"\n{}{}{}",
        fault("1", "type = \"down\""),
        fault("2", "type = \"latency\"\nlatency = \"200ms\""),
        fault("3", "type = \"bandwidth\"\nrate = \"64kB/s\""),
    );
    let file = dir.join("short.toml");
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}
