//! The real Toxiproxy as a child process, where it is on `PATH`.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::loopback;

const PATIENCE: Duration = Duration::from_secs(10);

/// Ends when it is dropped.
pub(super) struct Stock {
    child: Child,
    pub(super) addr: SocketAddr,
}

impl Drop for Stock {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Stock {
    /// `None`, said loudly, when there is none; a failure in CI, which must have one.
    pub(super) async fn start() -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut files = std::env::split_paths(&path).map(|folder| folder.join("toxiproxy-server"));
        let Some(program) = files.find(|file| file.is_file()) else {
            assert!(std::env::var_os("CI").is_none(), "toxiproxy-server is not on PATH, and CI needs it");
            eprintln!("SKIPPED against the real server: toxiproxy-server is not on PATH");
            return None;
        };
        let port = TcpListener::bind(loopback(0)).await.unwrap().local_addr().unwrap().port();
        let child = Command::new(program)
            .args(["-host", "127.0.0.1", "-port", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stock = Self { child, addr: loopback(port) };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(stock.addr).await.is_err() {
            assert!(Instant::now() < deadline, "the real server does not answer");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Some(stock)
    }
}
