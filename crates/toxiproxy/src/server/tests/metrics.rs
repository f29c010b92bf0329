//! `/metrics`: what the flags of the stock server show, live, and clean by Prometheus' own linter.

use std::io::Write;
use std::process::{Command, Stdio};

use prometheus::{IntGauge, Registry};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::asking::ask;
use super::{Running, ServerConfig, echo, eventually, proxied};
use crate::server::MetricsConfig;

async fn measured(metrics: MetricsConfig) -> Running {
    Running::with(ServerConfig { metrics, ..Running::config() }).await
}

async fn text(server: &Running) -> String {
    ask(server.addr, "GET", "/metrics", &[], None).await.body
}

/// Names of the families.
fn names(text: &str) -> Vec<&str> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.filter_map(|line| line.split(' ').next()).collect()
}

fn lint(text: &str) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut files = std::env::split_paths(&path).map(|folder| folder.join("promtool"));
    let Some(promtool) = files.find(|file| file.is_file()) else {
        assert!(std::env::var_os("CI").is_none(), "promtool is not on PATH, and CI needs it");
        return eprintln!("SKIPPED: promtool is not on PATH");
    };
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

#[tokio::test]
async fn bytes_count_while_a_connection_is_open() {
    let server = measured(MetricsConfig { proxies: true, program: None }).await;
    assert_eq!(text(&server).await, "");
    let upstream = echo().await;
    let addr = proxied(&server.client, upstream).await;
    let mut open = TcpStream::connect(addr).await.unwrap();
    open.write_all(b"hello").await.unwrap();
    let series = |direction: &str| {
        format!(r#"{{direction="{direction}",listener="{addr}",proxy="p",upstream="{upstream}"}} 5"#)
    };
    eventually("five bytes each way", async || {
        let text = text(&server).await;
        ["upstream", "downstream"].iter().all(|direction| {
            ["received", "sent"].iter().all(|what| {
                text.contains(&format!("toxiproxy_proxy_{what}_bytes_total{}\n", series(direction)))
            })
        })
    })
    .await;
    let text = text(&server).await;
    assert!(text.contains("\ntoxiproxy_dose_links{direction=\"upstream\",proxy=\"p\"} 1\n"), "{text}");
    assert!(
        text.contains("\ntoxiproxy_dose_bytes_total{direction=\"downstream\",proxy=\"p\"} 5\n"),
        "{text}"
    );
    lint(&text);
    let page = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/toxiproxy-compatibility.md"
    ));
    let page = page.unwrap();
    for name in names(&text) {
        assert!(page.contains(&format!("`{name}`")), "{name} is not documented");
    }
}

#[tokio::test]
async fn the_program_shows_what_it_wants_with_or_without_proxies() {
    let registry = Registry::new();
    let gauge = IntGauge::new("program_things", "Things of the program.").unwrap();
    registry.register(Box::new(gauge)).unwrap();
    for (proxies, families) in [
        (false, &["program_things"][..]),
        (
            true,
            &[
                "program_things",
                "toxiproxy_dose_bytes_total",
                "toxiproxy_dose_bytes_touched_total",
                "toxiproxy_dose_chunks_total",
                "toxiproxy_dose_chunks_touched_total",
                "toxiproxy_dose_links",
                "toxiproxy_dose_links_touched_total",
                "toxiproxy_proxy_received_bytes_total",
                "toxiproxy_proxy_sent_bytes_total",
            ],
        ),
    ] {
        let server = measured(MetricsConfig { proxies, program: Some(registry.clone()) }).await;
        proxied(&server.client, echo().await).await;
        let text = text(&server).await;
        assert_eq!(names(&text), families);
        lint(&text);
    }
}

#[tokio::test]
async fn labels_may_hold_anything() {
    let server = measured(MetricsConfig { proxies: true, program: None }).await;
    let body = r#"{"name":"a\"b\\c\nd{}","upstream":"é","enabled":false}"#;
    assert_eq!(ask(server.addr, "POST", "/proxies", &[], Some(body)).await.status, 201);
    let text = text(&server).await;
    assert!(text.contains(r#"proxy="a\"b\\c\nd{}",upstream="é"} 0"#), "{text}");
    lint(&text);
}
