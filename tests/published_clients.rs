//! The published Toxiproxy clients, each driven by a script of ours, against our server and against the stock one: the same
//! expectations. `toxiproxy-clients/README.md` says what they do.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use tokio::sync::oneshot;
use toxiproxy::server::{Server, ServerConfig};

use crate::harness::{PATIENCE, Running, free_port, get, real_program, wait_for};

/// Longest run of one client. The CLI starts a process for each of its 150 calls.
const DRIVE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_client_drives_both_servers() {
    drive("toxiproxy-drive-node").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_client_drives_both_servers() {
    drive("toxiproxy-drive-python").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_go_client_drives_both_servers() {
    drive("toxiproxy-drive-go").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cli_drives_both_servers() {
    if real_program("toxiproxy-cli").is_some() {
        drive("toxiproxy-drive-cli").await;
    }
}

/// Runs a client against our server, and against the stock one where it is on `PATH`.
async fn drive(client: &str) {
    if real_program(client).is_none() {
        return;
    }
    let upstream = echo().to_string();

    let addr = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::bind(ServerConfig { addr, ..ServerConfig::default() }).await.unwrap();
    let url = format!("http://{}", server.addr());
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(server.run(async {
        // Dropped, too, ends it.
        let _ = stopped.await;
    }));
    run(client, &url, &upstream, "our server").await;
    drop(stop);
    served.await.unwrap();

    if let Some(stock) = real_program("toxiproxy-server") {
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port().to_string());
        let _stock = Running::start(&stock, &["-host", "127.0.0.1", "-port", &port], dir.path());
        let url = format!("http://127.0.0.1:{port}");
        let version = format!("{url}/version");
        wait_for("the stock server", PATIENCE, async || get(&version).await.is_some()).await;
        run(client, &url, &upstream, "the stock server").await;
    }
}

async fn run(client: &str, url: &str, upstream: &str, server: &str) {
    let Some(program) = real_program(client) else { return };
    let dir = tempfile::tempdir().unwrap();
    // An environment's proxy must not swallow calls to loopback.
    let direct = [("NO_PROXY", "*"), ("no_proxy", "*")];
    let mut running = Running::start_with(&program, &[url, upstream], dir.path(), &direct);
    let code = running.exit_code(DRIVE).await;
    assert_eq!(code, 0, "{client} against {server}: {}", said(dir.path(), client));
}

fn said(dir: &Path, client: &str) -> String {
    ["out", "err"].map(|kind| std::fs::read_to_string(dir.join(format!("{client}.{kind}"))).unwrap()).concat()
}

/// Echoes everything on every connection, for as long as the process lives.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut bytes = [0; 64];
                while let Ok(n @ 1..) = stream.read(&mut bytes) {
                    if stream.write_all(&bytes[..n]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    addr
}
