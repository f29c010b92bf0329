//! A headless Chromium, driven over the two pipes of `--remote-debugging-pipe`: messages of the DevTools protocol that end with a
//! zero byte.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use serde_json::{Value, json};

/// Longest silence of a browser that was asked something; a loaded machine needs seconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// Path of Chromium. Without it: fails where `CI` is set, else says loudly that the test is skipped.
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    let found = found.into_iter().find(|file| file.is_file());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "chromium is not on PATH, and CI needs it");
        eprintln!("SKIPPED: chromium is not on PATH; this test opens the pages in it");
    }
    found
}

/// A browser with one tab.
pub struct Browser {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    session: Option<String>,
    asked: u64,
    /// What a page must not do: errors, words on the console, requests, dialogs.
    pub complaints: Vec<String>,
    loaded: bool,
    /// What the page may ask for begins with this.
    here: String,
    _profile: tempfile::TempDir,
}

/// How a page is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// The reader's own theme.
    pub dark: bool,
    /// Width of the window, CSS pixels.
    pub width: u32,
}

impl Browser {
    /// `None`: there is no Chromium here.
    pub fn start() -> Option<Self> {
        let profile = tempfile::tempdir().unwrap();
        // The protocol is on descriptors 3 and 4.
        let mut child = Command::new("sh")
            .args(["-c", r#"exec "$0" "$@" 3<&0 4>&1 0</dev/null 1>/dev/null"#])
            .arg(program()?)
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--hide-scrollbars",
            ])
            .args(["--no-first-run", "--disable-extensions", "--disable-background-networking"])
            .args(["--disable-component-update", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (send, from) = sync_channel(1024);
        let messages = BufReader::new(child.stdout.take().unwrap()).split(0);
        // Ends with the pipe.
        std::thread::spawn(move || {
            for message in messages.map_while(Result::ok) {
                if send.send(serde_json::from_slice(&message).unwrap()).is_err() {
                    break;
                }
            }
        });
        let mut browser = Self {
            to: child.stdin.take().unwrap(),
            child,
            from,
            session: None,
            asked: 0,
            complaints: Vec::new(),
            loaded: false,
            here: String::new(),
            _profile: profile,
        };
        let target = browser.ask("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.ask("Target.attachToTarget", attach)["sessionId"].as_str().unwrap().to_owned();
        browser.session = Some(session);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.ask(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, params);
        loop {
            let message = self.receive(method);
            if message["id"] == id {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].clone();
            }
        }
    }

    fn send(&mut self, method: &str, params: Value) -> u64 {
        self.asked += 1;
        let mut message = json!({ "id": self.asked, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.to.write_all(format!("{message}\0").as_bytes()).unwrap();
        self.asked
    }

    fn receive(&mut self, waiting_for: &str) -> Value {
        let message =
            self.from.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("{waiting_for}: {error}"));
        self.note(&message);
        message
    }

    fn note(&mut self, message: &Value) {
        let params = &message["params"];
        match message["method"].as_str() {
            Some("Page.loadEventFired") => self.loaded = true,
            Some("Runtime.exceptionThrown") => {
                self.complaints.push(format!("exception: {}", params["exceptionDetails"]));
            }
            Some("Runtime.consoleAPICalled") => self.complaints.push(format!("console: {}", params["args"])),
            Some("Log.entryAdded") => self.complaints.push(format!("log: {}", params["entry"]["text"])),
            Some("Network.requestWillBeSent") => {
                let url = params["request"]["url"].as_str().unwrap_or_default();
                // The page itself or its own server, and the icon that is there so that none is fetched.
                if !url.starts_with(&self.here) && url != "data:," {
                    self.complaints.push(format!("request: {url}"));
                }
            }
            Some("Page.javascriptDialogOpening") => {
                self.complaints.push(format!("dialog: {}", params["message"]));
                self.send("Page.handleJavaScriptDialog", json!({ "accept": false }));
            }
            _ => {}
        }
    }

    /// Opens an address and waits until it is loaded. The page may ask for whatever is below the address.
    pub fn visit(&mut self, url: &str, look: Look) {
        let scheme =
            json!([{ "name": "prefers-color-scheme", "value": if look.dark { "dark" } else { "light" } }]);
        self.ask("Emulation.setEmulatedMedia", json!({ "features": scheme }));
        let metrics =
            json!({ "width": look.width, "height": 900, "deviceScaleFactor": 1, "mobile": look.width < 600 });
        self.ask("Emulation.setDeviceMetricsOverride", metrics);
        url.clone_into(&mut self.here);
        self.loaded = false;
        self.ask("Page.navigate", json!({ "url": url }));
        while !self.loaded {
            self.receive("load of the page");
        }
    }

    /// Value of an expression in the page.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.ask("Runtime.evaluate", params);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].clone()
    }

    /// The whole page as PNG, in base64.
    pub fn picture(&mut self) -> String {
        let answer = self.ask("Page.captureScreenshot", json!({ "captureBeyondViewport": true }));
        answer["data"].as_str().unwrap().to_owned()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.session = None;
        self.send("Browser.close", json!({}));
        // Its pipe ends when it does. Where it hangs it is ended.
        while self.from.recv_timeout(Duration::from_secs(10)).is_ok() {}
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
