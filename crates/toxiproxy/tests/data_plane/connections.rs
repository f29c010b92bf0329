//! Opening and ending of connections, and what changes of a proxy do to them.

use std::time::Duration;

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::servers::Server;
use crate::sockets::{
    End, LONG, SHORT, echo, end_of, fill, loopback, read_exactly, read_on, upstream, works,
};

on_both![
    what_is_under_way_is_delivered_although_its_client_has_closed,
    a_held_reply_is_delivered_although_its_client_has_half_closed,
    a_reply_after_a_half_close_is_lost,
    an_upstream_that_sends_and_closes_is_heard_out,
    an_upstream_that_refuses_is_an_orderly_end,
    an_upstream_name_is_resolved_at_the_dial,
    disable_ends_all_and_enable_keeps_the_port,
    disable_resets_who_had_sent_unread_bytes,
    delete_ends_all,
    a_new_upstream_drops_connections_and_keeps_toxics,
    the_same_address_by_another_name_drops_nothing,
    disable_and_enable_20_times,
    an_upstream_that_dies_ends_the_client,
];

/// `half_close_by_client`: EOF from one side ends both directions.
async fn a_reply_after_a_half_close_is_lost(server: &Server) {
    let upstream = upstream().await;
    let proxy = server.proxy(upstream.local_addr().unwrap()).await;
    let (mut client, mut far) = proxy.pair(&upstream).await;
    client.shutdown().await.unwrap();
    assert_eq!(read_on(&mut far, LONG).await, (vec![], End::Fin));
    // Fails or not: nobody listens any more.
    let _ = far.write_all(b"late").await;
    assert_eq!(read_on(&mut client, LONG).await, (vec![], End::Fin));
}

/// `upstream_sends_then_closes`
async fn an_upstream_that_sends_and_closes_is_heard_out(server: &Server) {
    let upstream = upstream().await;
    let proxy = server.proxy(upstream.local_addr().unwrap()).await;
    let (mut client, mut far) = proxy.pair(&upstream).await;
    far.write_all(b"hello").await.unwrap();
    drop(far);
    assert_eq!(read_on(&mut client, LONG).await, (b"hello".to_vec(), End::Fin));
}

/// `upstream_refuses`: accepted, then an orderly end.
async fn an_upstream_that_refuses_is_an_orderly_end(server: &Server) {
    let nobody = upstream().await.local_addr().unwrap();
    let mut client = server.proxy(nobody).await.connect().await;
    assert_eq!(read_on(&mut client, LONG).await, (vec![], End::Fin));
}

async fn an_upstream_name_is_resolved_at_the_dial(server: &Server) {
    let port = echo().await.port();
    let proxy = server.proxy(loopback(1)).await;
    proxy.set(json!({"upstream": format!("localhost:{port}")})).await;
    works(&mut proxy.connect().await).await;
    // A name that nobody has is found out only by the dial.
    proxy.set(json!({"upstream": "nobody.invalid:1"})).await;
    assert_eq!(end_of(&mut proxy.connect().await).await, End::Fin);
}

/// `disable_existing_and_new`
async fn disable_ends_all_and_enable_keeps_the_port(server: &Server) {
    let proxy = server.proxy(echo().await).await;
    let mut client = proxy.connect().await;
    works(&mut client).await;
    let shown = proxy.set(json!({"enabled": false})).await;
    assert_eq!(shown["listen"], proxy.addr.to_string());
    assert_eq!(read_on(&mut client, LONG).await, (vec![], End::Fin));
    let refused = TcpStream::connect(proxy.addr).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    let shown = proxy.set(json!({"enabled": true})).await;
    assert_eq!(shown["listen"], proxy.addr.to_string());
    works(&mut proxy.connect().await).await;
}

/// `disable_with_unread_client_bytes`
async fn disable_resets_who_had_sent_unread_bytes(server: &Server) {
    let upstream = upstream().await;
    let proxy = server.proxy(upstream.local_addr().unwrap()).await;
    // The far end never reads.
    let (mut client, _far) = proxy.pair(&upstream).await;
    assert!(fill(&client).await > 0);
    proxy.set(json!({"enabled": false})).await;
    assert_eq!(end_of(&mut client).await, End::Reset);
}

/// `delete_proxy`
async fn delete_ends_all(server: &Server) {
    let upstream = upstream().await;
    let proxy = server.proxy(upstream.local_addr().unwrap()).await;
    let (mut client, mut far) = proxy.pair(&upstream).await;
    proxy.delete().await;
    assert_eq!(read_on(&mut client, LONG).await, (vec![], End::Fin));
    assert_eq!(read_on(&mut far, LONG).await, (vec![], End::Fin));
    assert!(TcpStream::connect(proxy.addr).await.is_err());
}

/// `update_upstream`
async fn a_new_upstream_drops_connections_and_keeps_toxics(server: &Server) {
    let (old, new) = (upstream().await, upstream().await);
    let proxy = server.proxy(old.local_addr().unwrap()).await;
    proxy.add_toxic(json!({"name": "keepme", "type": "noop"})).await;
    let (mut client, _far) = proxy.pair(&old).await;
    let shown = proxy.set(json!({"upstream": new.local_addr().unwrap().to_string()})).await;
    assert_eq!(read_on(&mut client, LONG).await, (vec![], End::Fin));
    assert_eq!(shown["listen"], proxy.addr.to_string());
    let (mut client, mut far) = proxy.pair(&new).await;
    far.write_all(b"new").await.unwrap();
    drop(far);
    assert_eq!(read_on(&mut client, LONG).await, (b"new".to_vec(), End::Fin));
    assert_eq!(proxy.toxics().await, ["keepme"]);
}

/// `update_same_values_hostname_listen`
async fn the_same_address_by_another_name_drops_nothing(server: &Server) {
    let upstream = echo().await;
    let proxy = server.proxy(upstream).await;
    let mut client = proxy.connect().await;
    works(&mut client).await;
    let same = json!({"upstream": upstream.to_string(), "enabled": true});
    for listen in [proxy.addr.to_string(), format!("localhost:{}", proxy.addr.port())] {
        let mut change = same.clone();
        change["listen"] = json!(listen);
        let shown = proxy.set(change).await;
        assert_eq!(shown["listen"], proxy.addr.to_string());
        works(&mut client).await;
    }
}

/// `disable_enable_20_times_same_port`
async fn disable_and_enable_20_times(server: &Server) {
    let proxy = server.proxy(echo().await).await;
    for _ in 0..20 {
        let mut client = proxy.connect().await;
        works(&mut client).await;
        proxy.set(json!({"enabled": false})).await;
        proxy.set(json!({"enabled": true})).await;
        assert_eq!(end_of(&mut client).await, End::Fin);
    }
    works(&mut proxy.connect().await).await;
}

/// A reset on one side is an orderly end on the other.
async fn an_upstream_that_dies_ends_the_client(server: &Server) {
    let upstream = upstream().await;
    let proxy = server.proxy(upstream.local_addr().unwrap()).await;
    let (mut client, far) = proxy.pair(&upstream).await;
    socket2::SockRef::from(&far).set_linger(Some(Duration::ZERO)).unwrap();
    drop(far);
    assert_eq!(read_on(&mut client, LONG).await, (vec![], End::Fin));
}

/// `upstream_that_never_answers_syn`: the stock server dials inside its accept loop, without a limit, so every later client
/// hangs and disable answers 503 after 25 s. Ours dials in a task of its own; nobody else waits.
#[tokio::test]
async fn an_upstream_that_never_answers_blocks_nobody() {
    let server = Server::ours(1).await;
    // A queue of one that is full: the kernel drops further SYNs.
    let full = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    full.bind(&loopback(0).into()).unwrap();
    full.listen(0).unwrap();
    let silent = full.local_addr().unwrap().as_socket().unwrap();
    let mut waiting = Vec::new();
    while let Ok(connected) = timeout(SHORT, TcpStream::connect(silent)).await {
        waiting.push(connected.unwrap());
        assert!(waiting.len() < 64, "the queue never fills");
    }
    let proxy = server.proxy(silent).await;
    let mut stuck = [proxy.connect().await, proxy.connect().await];
    for client in &mut stuck {
        assert!(crate::sockets::is_idle(client).await);
    }
    let began = Instant::now();
    proxy.add("latency", "downstream", json!({"latency": 1})).await;
    proxy.remove("t").await;
    proxy.set(json!({"upstream": echo().await.to_string()})).await;
    works(&mut proxy.connect().await).await;
    proxy.set(json!({"enabled": false})).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    for client in &mut stuck {
        assert_eq!(end_of(client).await, End::Fin);
    }
}

/// `toxic_add_while_a_client_does_not_read`: the stock server's toxic API answers 503 after 25 s from then on, also when the
/// client has gone. Ours takes changes at any moment.
#[tokio::test]
async fn a_client_that_does_not_read_locks_nothing() {
    let server = Server::ours(1).await;
    let proxy = server.proxy(echo().await).await;
    let stuck = proxy.connect().await;
    assert!(fill(&stuck).await > 0);
    for (kind, attributes) in [
        ("latency", json!({"latency": 100})),
        ("bandwidth", json!({"rate": 1})),
        ("slicer", json!({"average_size": 10})),
        ("limit_data", json!({"bytes": 1_000_000_000})),
        ("noop", Value::Null),
        ("timeout", json!({"timeout": 0})),
    ] {
        for stream in ["upstream", "downstream"] {
            let began = Instant::now();
            proxy.add(kind, stream, attributes.clone()).await;
            proxy.update("t", json!({})).await;
            proxy.remove("t").await;
            assert!(began.elapsed() < Duration::from_secs(2), "{kind}: {:?}", began.elapsed());
        }
    }
    drop(stuck);
    works(&mut proxy.connect().await).await;
}

/// Replies that find nobody end one direction; what the other holds goes on.
async fn what_is_under_way_is_delivered_although_its_client_has_closed(server: &Server) {
    let upstream = upstream().await;
    let proxy = server.proxy(upstream.local_addr().unwrap()).await;
    let (mut client, mut far) = proxy.pair(&upstream).await;
    proxy.add("latency", "upstream", json!({"latency": 400})).await;
    for byte in [b"a", b"b", b"c", b"d"] {
        client.write_all(byte).await.unwrap();
        // Sleeps: chunks of their own, which are held until different times.
        sleep(Duration::from_millis(60)).await;
    }
    drop(client);
    for byte in [b"a", b"b", b"c", b"d"] {
        assert_eq!(read_exactly(&mut far, 1).await, byte);
        // To nobody: the first is answered by a reset, later ones fail.
        let _ = far.write_all(b"answer").await;
    }
}

async fn a_held_reply_is_delivered_although_its_client_has_half_closed(server: &Server) {
    let upstream = upstream().await;
    let proxy = server.proxy(upstream.local_addr().unwrap()).await;
    let (mut client, mut far) = proxy.pair(&upstream).await;
    proxy.add("latency", "downstream", json!({"latency": 400})).await;
    far.write_all(b"reply").await.unwrap();
    // Sleeps: it is in the proxy by then, and held there; the stock server does not say so.
    sleep(Duration::from_millis(150)).await;
    client.shutdown().await.unwrap();
    assert_eq!(read_on(&mut client, LONG).await, (b"reply".to_vec(), End::Fin));
}
