//! Toxics that end connections: timeout and reset_peer.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::servers::Server;
use crate::sockets::{
    End, LONG, echo, end_of, is_idle, read_exactly, read_on, sooner_or_later, takes, upstream, works,
};

on_both![
    timeout_closes_after_its_time_without_a_chunk,
    timeout_never_closes_who_keeps_sending,
    an_end_passes_a_timeout_at_once,
    a_removed_timeout_closes_what_it_held,
    a_removed_timeout_closes_what_its_dice_had_spared,
    a_reset_closes_what_a_timeout_had_spared,
    reset_peer_downstream_resets_only_what_was_opened_after_it,
    reset_peer_upstream_resets_only_what_was_opened_after_it,
    reset_peer_waits_for_its_time,
    the_linger_of_reset_peer_outlives_it,
    a_waiting_reset_cannot_be_stopped,
];

/// `timeout_500ms_upstream`, idle
async fn timeout_closes_after_its_time_without_a_chunk(server: &Server) {
    let proxy = server.proxy(echo().await).await;
    for stream in ["upstream", "downstream"] {
        proxy.add("timeout", stream, json!({"timeout": 400})).await;
        takes("an idle connection", 395..500, async || {
            let began = Instant::now();
            let mut client = proxy.connect().await;
            assert_eq!(read_on(&mut client, LONG).await, (vec![], End::Fin));
            Some(began.elapsed())
        })
        .await;
        proxy.remove("t").await;
    }
}

/// `timeout_500ms_upstream`, with a byte now and then: each restarts the clock, none arrives.
async fn timeout_never_closes_who_keeps_sending(server: &Server) {
    let upstream = upstream().await;
    let proxy = server.proxy(upstream.local_addr().unwrap()).await;
    proxy.add("timeout", "upstream", json!({"timeout": 500})).await;
    takes("after the last byte", 500..620, async || {
        let (mut client, mut far) = proxy.pair(&upstream).await;
        let mut last = Instant::now();
        for _ in 0..10 {
            // Sleeps: the client sends at this pace, faster than the timeout.
            sleep(Duration::from_millis(100)).await;
            if last.elapsed() > Duration::from_millis(400) {
                // The machine stalled: nothing can be said.
                return None;
            }
            last = Instant::now();
            client.write_all(b"x").await.unwrap();
        }
        assert_eq!(read_on(&mut client, LONG).await, (vec![], End::Fin));
        let took = last.elapsed();
        assert_eq!(read_on(&mut far, LONG).await, (vec![], End::Fin));
        Some(took)
    })
    .await;
}

async fn an_end_passes_a_timeout_at_once(server: &Server) {
    let upstream = upstream().await;
    let proxy = server.proxy(upstream.local_addr().unwrap()).await;
    proxy.add("timeout", "upstream", json!({"timeout": 0})).await;
    let (mut client, mut far) = proxy.pair(&upstream).await;
    client.write_all(b"lost").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(read_on(&mut far, LONG).await, (vec![], End::Fin));
    assert_eq!(end_of(&mut client).await, End::Fin);
}

/// `timeout_0_removed`
async fn a_removed_timeout_closes_what_it_held(server: &Server) {
    let upstream = upstream().await;
    let proxy = server.proxy(upstream.local_addr().unwrap()).await;
    let (mut client, mut far) = proxy.pair(&upstream).await;
    proxy.add("timeout", "upstream", json!({"timeout": 0})).await;
    client.write_all(b"lost").await.unwrap();
    assert!(is_idle(&mut client).await);
    proxy.remove("t").await;
    assert_eq!(read_on(&mut client, LONG).await, (vec![], End::Fin));
    assert_eq!(read_on(&mut far, LONG).await, (vec![], End::Fin));
}

async fn open(proxy: &crate::servers::Proxy<'_>, n: usize) -> Vec<TcpStream> {
    let mut clients = Vec::new();
    for _ in 0..n {
        let mut client = proxy.connect().await;
        works(&mut client).await;
        clients.push(client);
    }
    clients
}

/// `timeout_toxic_toxicity_0_then_removed`
async fn a_removed_timeout_closes_what_its_dice_had_spared(server: &Server) {
    let proxy = server.proxy(echo().await).await;
    let mut clients = open(&proxy, 50).await;
    proxy.add_toxic(json!({"name": "t", "type": "timeout", "toxicity": 0})).await;
    for client in &mut clients {
        works(client).await;
    }
    proxy.remove("t").await;
    for client in &mut clients {
        assert_eq!(end_of(client).await, End::Fin);
    }
}

/// `timeout_toxic_toxicity_0.1_then_reset`
async fn a_reset_closes_what_a_timeout_had_spared(server: &Server) {
    let proxy = server.proxy(echo().await).await;
    let mut clients = open(&proxy, 50).await;
    proxy.add_toxic(json!({"name": "t", "type": "timeout", "toxicity": 0.1})).await;
    server.done("POST", "/reset", Value::Null).await;
    for client in &mut clients {
        assert_eq!(end_of(client).await, End::Fin);
    }
}

/// `reset_peer_downstream_timeout_0`: idle ones are not touched, older ones end in order.
async fn reset_peer_downstream_resets_only_what_was_opened_after_it(server: &Server) {
    let proxy = server.proxy(echo().await).await;
    let mut older = open(&proxy, 2).await;
    proxy.add("reset_peer", "downstream", json!({"timeout": 0})).await;
    let (mut newer, mut idle) = (proxy.connect().await, proxy.connect().await);
    for client in [&mut older[0], &mut idle] {
        assert!(is_idle(client).await);
    }
    older[1].write_all(b"x").await.unwrap();
    assert_eq!(read_on(&mut older[1], LONG).await, (vec![], End::Fin));
    newer.write_all(b"x").await.unwrap();
    assert_eq!(read_on(&mut newer, LONG).await, (vec![], End::Reset));
}

/// `reset_peer_upstream_timeout_0`: both sockets of a newer connection are reset, and the first chunk is dropped.
async fn reset_peer_upstream_resets_only_what_was_opened_after_it(server: &Server) {
    let upstream = upstream().await;
    let proxy = server.proxy(upstream.local_addr().unwrap()).await;
    let (mut older, mut older_far) = proxy.pair(&upstream).await;
    older.write_all(b"ping").await.unwrap();
    assert_eq!(read_exactly(&mut older_far, 4).await, b"ping");
    proxy.add("reset_peer", "upstream", json!({"timeout": 0})).await;
    let (mut newer, mut newer_far) = proxy.pair(&upstream).await;
    older.write_all(b"x").await.unwrap();
    assert_eq!(read_on(&mut older, LONG).await, (vec![], End::Fin));
    assert_eq!(read_on(&mut older_far, LONG).await, (vec![], End::Fin));
    newer.write_all(b"x").await.unwrap();
    assert_eq!(read_on(&mut newer, LONG).await, (vec![], End::Reset));
    assert_eq!(read_on(&mut newer_far, LONG).await, (vec![], End::Reset));
}

/// `reset_peer_downstream_timeout_600`
async fn reset_peer_waits_for_its_time(server: &Server) {
    let proxy = server.proxy(echo().await).await;
    proxy.add("reset_peer", "downstream", json!({"timeout": 400})).await;
    takes("until the reset", 400..500, async || {
        let mut client = proxy.connect().await;
        let began = Instant::now();
        client.write_all(b"x").await.unwrap();
        assert_eq!(read_on(&mut client, LONG).await, (vec![], End::Reset));
        Some(began.elapsed())
    })
    .await;
}

/// `reset_peer_toxicity_0`: a connection opened while the toxic existed ends in a reset, whenever it is closed.
async fn the_linger_of_reset_peer_outlives_it(server: &Server) {
    let upstream = upstream().await;
    let proxy = server.proxy(upstream.local_addr().unwrap()).await;
    proxy.add_toxic(json!({"name": "t", "type": "reset_peer", "toxicity": 0})).await;
    let (mut client, mut far) = proxy.pair(&upstream).await;
    let mut ping = async || {
        client.write_all(b"ping").await.unwrap();
        assert_eq!(read_exactly(&mut far, 4).await, b"ping");
        far.write_all(b"pong").await.unwrap();
        assert_eq!(read_exactly(&mut client, 4).await, b"pong");
    };
    ping().await;
    proxy.remove("t").await;
    ping().await;
    proxy.set(json!({"enabled": false})).await;
    assert_eq!(read_on(&mut client, LONG).await, (vec![], End::Reset));
    assert_eq!(read_on(&mut far, LONG).await, (vec![], End::Reset));
}

/// `reset_peer_remove_while_waiting_3000`: the connection is reset all the same, at its time. The stock server's call waits
/// until then, with all other changes of that proxy behind it; ours does not make them wait.
async fn a_waiting_reset_cannot_be_stopped(server: &Server) {
    let proxy = server.proxy(echo().await).await;
    sooner_or_later("reset at its time", async || {
        proxy.add("reset_peer", "downstream", json!({"timeout": 1_500})).await;
        let mut client = proxy.connect().await;
        let began = Instant::now();
        client.write_all(b"x").await.unwrap();
        assert!(is_idle(&mut client).await);
        let delete = proxy.remove("t").await;
        if server.is_ours() {
            // It is still open; the first chunk was dropped, so nothing may come behind it. The stock server's has ended by now.
            client.write_all(b"y").await.unwrap();
        }
        assert_eq!(read_on(&mut client, LONG).await, (vec![], End::Reset));
        let ended = began.elapsed();
        assert!(ended >= Duration::from_millis(1_500), "{ended:?}");
        let waited = delete > Duration::from_millis(700);
        waited != server.is_ours() && ended < Duration::from_millis(1_700)
    })
    .await;
}
