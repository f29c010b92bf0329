//! A Prometheus of our own with the shipped files, its targets on loopback.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::architecture::workspace;
use crate::harness::{PATIENCE, Running, free_port, get, real_program, wait_for};

/// It runs as long as this lives.
pub struct Prometheus {
    url: String,
    http: reqwest::Client,
    _running: Running,
    _dir: tempfile::TempDir,
}

/// Numbers of all series of a range; those that are NaN are none.
pub fn points(answer: &Value) -> usize {
    let series = answer["result"].as_array().unwrap().iter();
    let values = series.flat_map(|one| one["values"].as_array().unwrap());
    values.filter(|pair| pair[1] != "NaN").count()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

impl Prometheus {
    /// The real one; `None`: it is not here, as was said.
    pub fn program() -> Option<PathBuf> {
        real_program("prometheus")
    }

    /// Scrapes these endpoints, `http://HOST:PORT`, and has taken up all rules.
    pub async fn start(loadgens: &[&str], scenariod: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        copy(&workspace().join("prometheus"), &dir.path().join("etc"));
        let file = dir.path().join("etc/prometheus.yml");
        let shipped = std::fs::read_to_string(&file).unwrap();
        let mut config = shipped.clone();
        for (job, urls) in [("loadgen", loadgens), ("scenariod", &[scenariod])] {
            let targets: Vec<&str> = urls.iter().map(|url| url.trim_start_matches("http://")).collect();
            let targets = serde_json::json!([{"targets": targets}]).to_string();
            std::fs::write(dir.path().join(format!("{job}.json")), targets).unwrap();
        }
        for (from, to) in [
            ("/config/loadgen.json", dir.path().join("loadgen.json").display().to_string()),
            ("/config/scenariod.json", dir.path().join("scenariod.json").display().to_string()),
            // Names that nobody has here either.
            ("[loadgen]", "[loadgen.invalid]".to_owned()),
            ("[scenariod]", "[scenariod.invalid]".to_owned()),
        ] {
            assert_eq!(config.matches(from).count(), 1, "{from}");
            config = config.replace(from, &to);
        }
        std::fs::write(&file, config).unwrap();
        let listen = format!("127.0.0.1:{}", free_port());
        let args = [
            format!("--config.file={}", file.display()),
            format!("--storage.tsdb.path={}", dir.path().join("data").display()),
            format!("--web.listen-address={listen}"),
            "--log.level=error".to_owned(),
        ];
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let running = Running::start(&Self::program().unwrap(), &args, dir.path());
        let url = format!("http://{listen}");
        wait_for("Prometheus", PATIENCE, async || get(&format!("{url}/-/ready")).await.is_some()).await;
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { url, http, _running: running, _dir: dir }
    }

    /// `data` of an answer of its API, which must be a success.
    pub async fn ask(&self, call: &str, parameters: &[(&str, String)]) -> Value {
        let escaped = |text: &str| -> String {
            let byte = |byte: u8| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => char::from(byte).to_string(),
                other => format!("%{other:02X}"),
            };
            text.bytes().map(byte).collect()
        };
        let parameters: Vec<String> =
            parameters.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
        let url = format!("{}/api/v1/{call}?{}", self.url, parameters.join("&"));
        let answer: Value = self.http.get(&url).send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["status"], "success", "{url}: {answer}");
        answer["data"].clone()
    }

    /// An expression once a second between two Unix times.
    pub async fn range(&self, expr: &str, from: f64, to: f64) -> Value {
        let parameters = [
            ("query", expr.to_owned()),
            ("start", from.to_string()),
            ("end", to.to_string()),
            ("step", "1".to_owned()),
        ];
        self.ask("query_range", &parameters).await
    }

    /// The samples of the one series that `selector` names, as they were scraped, up to a Unix time.
    pub async fn samples(&self, selector: &str, until: f64) -> Vec<(f64, f64)> {
        let parameters = [("query", format!("{selector}[10m]")), ("time", until.to_string())];
        let answer = self.ask("query", &parameters).await;
        let series = answer["result"].as_array().unwrap();
        assert_eq!(series.len(), 1, "{selector}: {series:?}");
        let pair = |pair: &Value| (pair[0].as_f64().unwrap(), pair[1].as_str().unwrap().parse().unwrap());
        series[0]["values"].as_array().unwrap().iter().map(pair).collect()
    }

    /// Instances for which an alert fires now; an empty text where it names none.
    pub async fn firing(&self, alert: &str) -> Vec<String> {
        let answer = self.ask("alerts", &[]).await;
        let alerts = answer["alerts"].as_array().unwrap().iter();
        let firing = alerts.filter(|one| one["labels"]["alertname"] == alert && one["state"] == "firing");
        firing.map(|one| one["labels"]["instance"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Series of an expression now.
    pub async fn now(&self, expr: &str) -> Vec<Value> {
        self.ask("query", &[("query", expr.to_owned())]).await["result"].as_array().unwrap().clone()
    }

    async fn names(&self, selector: &str) -> BTreeSet<String> {
        let series = self.now(&format!("last_over_time({selector}[10m])")).await;
        series.iter().map(|one| one["metric"]["alertname"].as_str().unwrap().to_owned()).collect()
    }

    /// Alerts that have fired so far.
    pub async fn fired(&self) -> BTreeSet<String> {
        self.names("ALERTS{alertstate=\"firing\"}").await
    }

    /// Alerts that have fired for one instance.
    pub async fn fired_for(&self, instance: &str) -> BTreeSet<String> {
        self.names(&format!("ALERTS{{alertstate=\"firing\",instance=\"{instance}\"}}")).await
    }
}
