//! What connections do under each toxic: the same cases against our server and, where it is on PATH, against the real one.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

use super::{Running, echo, loopback, ping, proxied};
use crate::Client;
use crate::wire::{Attributes, ProxyUpdate, Toxic, ToxicUpdate};

const LONG: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(300);

/// A stock server as a child process.
struct Real {
    child: Child,
    client: Client,
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn real() -> Option<Real> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found: Option<PathBuf> = std::env::split_paths(&path)
        .map(|folder| folder.join("toxiproxy-server"))
        .find(|file| file.is_file());
    let Some(program) = found else {
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
    let real = Real { child, client: Client::new(&format!("http://127.0.0.1:{port}")).unwrap() };
    let deadline = Instant::now() + LONG;
    while real.client.version().await.is_err() {
        assert!(Instant::now() < deadline, "the real server does not answer");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Some(real)
}

/// Runs one case on a fresh server of each kind.
macro_rules! on_both {
    ($name:ident, $case:expr) => {
        #[tokio::test]
        async fn $name() {
            let ours = Running::start().await;
            let case = $case;
            case(ours.client.clone()).await;
            if let Some(real) = real().await {
                case(real.client.clone()).await;
            }
        }
    };
}

fn toxic(kind: &str, stream: &str, attributes: &[(&str, i64)]) -> Toxic {
    let attributes: Attributes =
        attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
    Toxic {
        name: "t".to_owned(),
        kind: kind.to_owned(),
        stream: stream.to_owned(),
        toxicity: 1.0,
        attributes,
    }
}

async fn add(client: &Client, kind: &str, stream: &str, attributes: &[(&str, i64)]) {
    client.add_toxic("p", &toxic(kind, stream, attributes)).await.unwrap();
}

/// How a connection ends within a second, without sending.
async fn end_of(stream: &mut TcpStream) -> &'static str {
    let mut bytes = [0; 64];
    loop {
        match timeout(Duration::from_secs(2), stream.read(&mut bytes)).await {
            Err(_) => return "open",
            Ok(Ok(0)) => return "FIN",
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return "RST",
        }
    }
}

on_both!(latency_comes_and_goes_on_an_open_connection, async |client: Client| {
    let mut stream = TcpStream::connect(proxied(&client, echo().await).await).await.unwrap();
    assert!(ping(&mut stream, LONG).await.unwrap() < SHORT);
    add(&client, "latency", "downstream", &[("latency", 400)]).await;
    let slow = ping(&mut stream, LONG).await.unwrap();
    assert!((Duration::from_millis(395)..Duration::from_millis(700)).contains(&slow), "{slow:?}");
    let update = ToxicUpdate { attributes: [("latency".to_owned(), 0.into())].into(), toxicity: None };
    client.update_toxic("p", "t", &update).await.unwrap();
    assert!(ping(&mut stream, LONG).await.unwrap() < SHORT);
    client.remove_toxic("p", "t").await.unwrap();
    assert!(ping(&mut stream, LONG).await.unwrap() < SHORT);
});

on_both!(rate_zero_holds_and_releases_unharmed, async |client: Client| {
    let mut stream = TcpStream::connect(proxied(&client, echo().await).await).await.unwrap();
    assert!(ping(&mut stream, LONG).await.is_some());
    add(&client, "bandwidth", "downstream", &[("rate", 0)]).await;
    assert_eq!(ping(&mut stream, SHORT).await, None);
    client.remove_toxic("p", "t").await.unwrap();
    let mut late = [0];
    timeout(LONG, stream.read_exact(&mut late)).await.unwrap().unwrap();
    assert!(ping(&mut stream, LONG).await.is_some());
});

on_both!(timeout_discards_and_its_removal_closes, async |client: Client| {
    let mut stream = TcpStream::connect(proxied(&client, echo().await).await).await.unwrap();
    assert!(ping(&mut stream, LONG).await.is_some());
    add(&client, "timeout", "downstream", &[("timeout", 0)]).await;
    assert_eq!(ping(&mut stream, SHORT).await, None);
    client.remove_toxic("p", "t").await.unwrap();
    assert_eq!(end_of(&mut stream).await, "FIN");
});

on_both!(timeout_closes_after_its_time_without_a_chunk, async |client: Client| {
    let addr = proxied(&client, echo().await).await;
    add(&client, "timeout", "upstream", &[("timeout", 300)]).await;
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let began = Instant::now();
    assert_eq!(end_of(&mut stream).await, "FIN");
    assert!((Duration::from_millis(280)..Duration::from_millis(900)).contains(&began.elapsed()));
});

on_both!(reset_peer_resets_what_was_opened_after_it, async |client: Client| {
    let addr = proxied(&client, echo().await).await;
    let mut older = TcpStream::connect(addr).await.unwrap();
    assert!(ping(&mut older, LONG).await.is_some());
    add(&client, "reset_peer", "upstream", &[("timeout", 0)]).await;
    let mut newer = TcpStream::connect(addr).await.unwrap();
    // An idle connection is not touched.
    assert_eq!(timeout(SHORT, newer.read(&mut [0])).await.ok().map(drop), None);
    newer.write_all(b"x").await.unwrap();
    assert_eq!(end_of(&mut newer).await, "RST");
    older.write_all(b"x").await.unwrap();
    assert_eq!(end_of(&mut older).await, "FIN");
});

on_both!(limit_data_cuts_inside_a_chunk, async |client: Client| {
    let addr = proxied(&client, echo().await).await;
    add(&client, "limit_data", "downstream", &[("bytes", 10)]).await;
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(&[7; 25]).await.unwrap();
    let mut got = Vec::new();
    timeout(LONG, stream.read_to_end(&mut got)).await.unwrap().unwrap();
    assert_eq!(got, [7; 10]);
});

on_both!(bandwidth_is_what_it_says, async |client: Client| {
    let addr = proxied(&client, echo().await).await;
    add(&client, "bandwidth", "downstream", &[("rate", 100)]).await;
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let began = Instant::now();
    let (mut reader, mut writer) = stream.split();
    let data = vec![1; 100_000];
    let mut got = vec![0; data.len()];
    let (sent, received) = tokio::join!(writer.write_all(&data), timeout(LONG, reader.read_exact(&mut got)));
    sent.unwrap();
    received.unwrap().unwrap();
    let took = began.elapsed().as_secs_f64();
    assert!((0.8..1.6).contains(&took), "100 kB at 100 kB/s took {took} s");
});

on_both!(slow_close_delays_the_end, async |client: Client| {
    let upstream = TcpListener::bind(loopback(0)).await.unwrap();
    let addr = proxied(&client, upstream.local_addr().unwrap()).await;
    add(&client, "slow_close", "downstream", &[("delay", 400)]).await;
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let (mut server, _) = upstream.accept().await.unwrap();
    server.write_all(b"bye").await.unwrap();
    drop(server);
    let began = Instant::now();
    let mut got = Vec::new();
    timeout(LONG, stream.read_to_end(&mut got)).await.unwrap().unwrap();
    assert_eq!(got, b"bye");
    assert!((Duration::from_millis(380)..Duration::from_millis(1_000)).contains(&began.elapsed()));
});

on_both!(disable_closes_everything_and_enable_keeps_the_port, async |client: Client| {
    let addr = proxied(&client, echo().await).await;
    let mut stream = TcpStream::connect(addr).await.unwrap();
    assert!(ping(&mut stream, LONG).await.is_some());
    let enabled = |enabled| ProxyUpdate { enabled: Some(enabled), ..ProxyUpdate::default() };
    client.update_proxy("p", &enabled(false)).await.unwrap();
    assert_eq!(end_of(&mut stream).await, "FIN");
    assert!(TcpStream::connect(addr).await.is_err());
    client.update_proxy("p", &enabled(true)).await.unwrap();
    assert!(ping(&mut TcpStream::connect(addr).await.unwrap(), LONG).await.is_some());
});

on_both!(an_upstream_that_refuses_is_an_orderly_end, async |client: Client| {
    let nobody = TcpListener::bind(loopback(0)).await.unwrap().local_addr().unwrap();
    let mut stream = TcpStream::connect(proxied(&client, nobody).await).await.unwrap();
    assert_eq!(end_of(&mut stream).await, "FIN");
});

on_both!(no_byte_is_lost_while_toxics_come_and_go, async |client: Client| {
    let stream = TcpStream::connect(proxied(&client, echo().await).await).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let data: Vec<u8> = (0..65_536u32).flat_map(|n| (n as u16).to_be_bytes()).collect();
    let expected = data.clone();
    let sender = tokio::spawn(async move {
        for chunk in data.chunks(512) {
            for pair in chunk.chunks(2) {
                writer.write_all(pair).await.unwrap();
            }
            tokio::task::yield_now().await;
        }
        writer
    });
    let receiver = tokio::spawn(async move {
        let mut got = vec![0; expected.len()];
        timeout(Duration::from_secs(30), reader.read_exact(&mut got)).await.unwrap().unwrap();
        assert!(got == expected);
    });
    while !receiver.is_finished() {
        for stream in ["upstream", "downstream"] {
            add(&client, "latency", stream, &[("latency", 2), ("jitter", 2)]).await;
            client.remove_toxic("p", "t").await.unwrap();
        }
    }
    receiver.await.unwrap();
    drop(sender.await.unwrap());
});

#[tokio::test]
async fn a_client_that_does_not_read_locks_nothing() {
    // The stock server's toxic API hangs here for good.
    let running = Running::start().await;
    let addr = proxied(&running.client, echo().await).await;
    let stuck = TcpStream::connect(addr).await.unwrap();
    // Until nothing more fits: client, proxy and server are all full.
    let mut full_since = Instant::now();
    while full_since.elapsed() < Duration::from_millis(200) {
        if stuck.try_write(&[0; 65_536]).is_ok_and(|n| n > 0) {
            full_since = Instant::now();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for (kind, attributes) in
        [("latency", &[("latency", 100)][..]), ("bandwidth", &[("rate", 1)]), ("loss", &[])]
    {
        let began = Instant::now();
        add(&running.client, kind, "downstream", attributes).await;
        running.client.remove_toxic("p", "t").await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(1), "{kind}: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn loss_delays_the_share_that_the_law_says_and_the_dose_counts_it() {
    let running = Running::start().await;
    let addr = proxied(&running.client, echo().await).await;
    let (p, connections, rounds) = (0.2, 50, 20);
    for stream in ["upstream", "downstream"] {
        let mut loss = toxic("loss", stream, &[("loss_ppm", 200_000)]);
        loss.name = format!("loss-{stream}");
        running.client.add_toxic("p", &loss).await.unwrap();
    }
    let tasks = (0..connections).map(|_| async {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let mut delayed = 0;
        for _ in 0..rounds {
            let took = ping(&mut stream, Duration::from_secs(60)).await.unwrap();
            delayed += u32::from(took > Duration::from_millis(100));
        }
        delayed
    });
    let delayed: u32 = futures::future::join_all(tasks).await.into_iter().sum();
    let n = f64::from(connections * rounds);
    let q = 1.0 - (1.0 - p) * (1.0 - p);
    let error = (q * (1.0 - q) / n).sqrt();
    assert!((f64::from(delayed) / n - q).abs() <= 4.0 * error, "{delayed} of {n}, expected {q}");
    let dose = &running.client.dose().await.unwrap()["p"];
    let touched = dose.total.chunks_touched as f64 / dose.total.chunks as f64;
    assert!((touched - p).abs() < 0.05, "{dose:?}");
}
