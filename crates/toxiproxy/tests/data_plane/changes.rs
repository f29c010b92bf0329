//! Toxics that come, change and go while data is held: what happens to it.

use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep};

use crate::servers::Server;
use crate::sockets::{
    End, SHORT, echo, end_of, is_idle, read_exactly, read_on, sooner_or_later, takes, upstream, works,
};

on_both![
    latency_comes_and_goes_on_an_open_connection,
    a_removed_latency_gives_all_at_once_in_order,
    an_updated_latency_gives_the_chunk_in_hand_and_counts_anew_for_the_others,
    rate_zero_holds_and_gives_back_unharmed,
    a_stalled_direction_does_not_notice_the_end_of_its_source,
    an_updated_bandwidth_gives_the_chunk_in_hand,
    a_change_behind_a_toxic_restarts_it,
    a_change_behind_a_timeout_restarts_its_clock,
    a_removed_slicer_gives_the_rest,
    toxics_act_in_the_order_of_adding,
    toxics_survive_disable_and_enable,
    reset_takes_the_toxics_and_keeps_the_connections,
    a_broken_connection_hinders_no_change,
];

/// `toxic_add_remove_on_open_connection`
async fn latency_comes_and_goes_on_an_open_connection(server: &Server) {
    let proxy = server.proxy(echo().await).await;
    let mut client = proxy.connect().await;
    works(&mut client).await;
    for stream in ["upstream", "downstream"] {
        proxy.add("latency", stream, json!({"latency": 100})).await;
        takes("with latency", 100..180, async || Some(works(&mut client).await)).await;
        proxy.update("t", json!({"attributes": {"latency": 200}})).await;
        takes("with more latency", 200..280, async || Some(works(&mut client).await)).await;
        proxy.remove("t").await;
        takes("without", 0..80, async || Some(works(&mut client).await)).await;
    }
}

/// `latency_5000_removed_with_data_in_flight`
async fn a_removed_latency_gives_all_at_once_in_order(server: &Server) {
    let proxy = server.proxy(echo().await).await;
    takes("after the removal", 0..1_000, async || {
        let mut client = proxy.connect().await;
        proxy.add("latency", "downstream", json!({"latency": 60_000})).await;
        for byte in b"abc" {
            client.write_all(&[*byte]).await.unwrap();
            // Sleeps: so that they are chunks of their own, mostly.
            sleep(Duration::from_millis(20)).await;
        }
        assert!(is_idle(&mut client).await);
        let began = Instant::now();
        proxy.remove("t").await;
        assert_eq!(read_exactly(&mut client, 3).await, b"abc");
        Some(began.elapsed())
    })
    .await;
}

/// `latency_5000_updated_to_1000_with_two_chunks_in_flight`
async fn an_updated_latency_gives_the_chunk_in_hand_and_counts_anew_for_the_others(server: &Server) {
    let upstream = upstream().await;
    let proxy = server.proxy(upstream.local_addr().unwrap()).await;
    sooner_or_later("first at once, second 600 ms after its arrival", async || {
        proxy.add("latency", "downstream", json!({"latency": 60_000})).await;
        let (mut client, mut far) = proxy.pair(&upstream).await;
        far.write_all(b"a").await.unwrap();
        // Sleeps: its own chunk, and in hand. If it were not: the next attempt.
        sleep(Duration::from_millis(100)).await;
        let sent = Instant::now();
        far.write_all(b"b").await.unwrap();
        // Sleeps: the second chunk waits for a part of its new latency before the update.
        sleep(Duration::from_millis(200)).await;
        proxy.update("t", json!({"attributes": {"latency": 600}})).await;
        let first = read_exactly(&mut client, 1).await;
        let first_took = sent.elapsed();
        let second = read_exactly(&mut client, 1).await;
        let second_took = sent.elapsed();
        proxy.remove("t").await;
        assert_eq!([first, second], [b"a", b"b"]);
        let ms = Duration::from_millis;
        first_took < ms(500) && (ms(600)..ms(750)).contains(&second_took)
    })
    .await;
}

/// `bandwidth_rate_0_removed`
async fn rate_zero_holds_and_gives_back_unharmed(server: &Server) {
    let proxy = server.proxy(echo().await).await;
    let mut client = proxy.connect().await;
    works(&mut client).await;
    for stream in ["upstream", "downstream"] {
        proxy.add("bandwidth", stream, json!({"rate": 0})).await;
        client.write_all(b"held").await.unwrap();
        assert!(is_idle(&mut client).await);
        client.write_all(b", too").await.unwrap();
        assert!(is_idle(&mut client).await);
        let took = proxy.remove("t").await;
        assert!(took < Duration::from_secs(2), "{took:?}");
        assert_eq!(read_exactly(&mut client, 9).await, b"held, too");
        works(&mut client).await;
    }
}

/// `bandwidth_rate_0_client_closes`: upstream saw nothing while stalled, then data and end.
async fn a_stalled_direction_does_not_notice_the_end_of_its_source(server: &Server) {
    let upstream = upstream().await;
    let proxy = server.proxy(upstream.local_addr().unwrap()).await;
    proxy.add("bandwidth", "upstream", json!({"rate": 0})).await;
    let (mut client, mut far) = proxy.pair(&upstream).await;
    client.write_all(b"data").await.unwrap();
    drop(client);
    assert!(is_idle(&mut far).await);
    proxy.remove("t").await;
    assert_eq!(read_on(&mut far, crate::sockets::LONG).await, (b"data".to_vec(), End::Fin));
}

async fn an_updated_bandwidth_gives_the_chunk_in_hand(server: &Server) {
    let proxy = server.proxy(echo().await).await;
    let mut client = proxy.connect().await;
    proxy.add("bandwidth", "downstream", json!({"rate": 0})).await;
    client.write_all(b"held").await.unwrap();
    assert!(is_idle(&mut client).await);
    proxy.update("t", json!({})).await;
    assert_eq!(read_exactly(&mut client, 4).await, b"held");
    client.write_all(b"next").await.unwrap();
    assert!(is_idle(&mut client).await);
}

/// Rule d of the dice is a restart: as with an update, the chunk in hand leaves at once.
async fn a_change_behind_a_toxic_restarts_it(server: &Server) {
    for (kind, attributes) in [("bandwidth", json!({"rate": 0})), ("latency", json!({"latency": 60_000}))] {
        let proxy = server.proxy(echo().await).await;
        let mut client = proxy.connect().await;
        proxy.add(kind, "downstream", attributes).await;
        for comes in [true, false] {
            client.write_all(b"held").await.unwrap();
            assert!(is_idle(&mut client).await, "{kind}");
            if comes {
                proxy.add_toxic(json!({"name": "behind", "type": "noop"})).await;
            } else {
                proxy.remove("behind").await;
            }
            assert_eq!(read_exactly(&mut client, 4).await, b"held", "{kind}");
        }
        client.write_all(b"next").await.unwrap();
        assert!(is_idle(&mut client).await, "{kind}");
    }
}

async fn a_change_behind_a_timeout_restarts_its_clock(server: &Server) {
    let proxy = server.proxy(echo().await).await;
    takes("after the toxic behind came", 600..700, async || {
        proxy.add("timeout", "downstream", json!({"timeout": 600})).await;
        let mut client = proxy.connect().await;
        assert!(is_idle(&mut client).await);
        let began = Instant::now();
        proxy.add_toxic(json!({"name": "behind", "type": "noop"})).await;
        assert_eq!(read_on(&mut client, crate::sockets::LONG).await, (vec![], End::Fin));
        let took = began.elapsed();
        proxy.remove("t").await;
        proxy.remove("behind").await;
        Some(took)
    })
    .await;
}

async fn a_removed_slicer_gives_the_rest(server: &Server) {
    let proxy = server.proxy(echo().await).await;
    proxy.add("slicer", "downstream", json!({"average_size": 1, "delay": 200_000})).await;
    let mut client = proxy.connect().await;
    client.write_all(b"0123456789").await.unwrap();
    assert_eq!(read_exactly(&mut client, 2).await, b"01");
    let began = Instant::now();
    proxy.remove("t").await;
    assert_eq!(read_exactly(&mut client, 8).await, b"23456789");
    // Sliced on, it would have needed 1.4 s at least.
    assert!(began.elapsed() < Duration::from_millis(1_300), "{:?}", began.elapsed());
}

/// What the first toxic discards, the second never sees.
async fn toxics_act_in_the_order_of_adding(server: &Server) {
    let discard = json!({"name": "discard", "type": "timeout", "attributes": {"timeout": 0}});
    let limit = json!({"name": "limit", "type": "limit_data", "attributes": {"bytes": 1}});
    for (first, second, ends) in [(&discard, &limit, false), (&limit, &discard, true)] {
        let proxy = server.proxy(echo().await).await;
        proxy.add_toxic(first.clone()).await;
        let mut older = proxy.connect().await;
        proxy.add_toxic(second.clone()).await;
        let mut newer = proxy.connect().await;
        for client in [&mut older, &mut newer] {
            client.write_all(b"xx").await.unwrap();
            if ends {
                assert_eq!(read_on(client, crate::sockets::LONG).await, (vec![], End::Fin));
            } else {
                assert!(is_idle(client).await);
            }
        }
    }
}

async fn toxics_survive_disable_and_enable(server: &Server) {
    let proxy = server.proxy(echo().await).await;
    proxy.set(json!({"enabled": false})).await;
    proxy.add("latency", "downstream", json!({"latency": 150})).await;
    for _ in 0..2 {
        proxy.set(json!({"enabled": true})).await;
        let mut client = proxy.connect().await;
        takes("a round trip", 150..230, async || Some(works(&mut client).await)).await;
        proxy.set(json!({"enabled": false})).await;
        assert_eq!(proxy.toxics().await, ["t"]);
    }
}

async fn reset_takes_the_toxics_and_keeps_the_connections(server: &Server) {
    let (proxy, off) = (server.proxy(echo().await).await, server.proxy(echo().await).await);
    off.set(json!({"enabled": false})).await;
    let mut client = proxy.connect().await;
    works(&mut client).await;
    proxy.add("bandwidth", "upstream", json!({"rate": 0})).await;
    off.add("noop", "upstream", json!({})).await;
    client.write_all(b"held").await.unwrap();
    assert!(is_idle(&mut client).await);
    server.done("POST", "/reset", serde_json::Value::Null).await;
    assert_eq!(read_exactly(&mut client, 4).await, b"held");
    works(&mut client).await;
    works(&mut off.connect().await).await;
    assert_eq!((proxy.toxics().await.len(), off.toxics().await.len()), (0, 0));
}

/// Removal while the data's receiver has died.
async fn a_broken_connection_hinders_no_change(server: &Server) {
    let upstream = upstream().await;
    let proxy = server.proxy(upstream.local_addr().unwrap()).await;
    proxy.add("latency", "upstream", json!({"latency": 60_000})).await;
    let (mut client, far) = proxy.pair(&upstream).await;
    client.write_all(b"held").await.unwrap();
    assert!(is_idle(&mut client).await);
    socket2::SockRef::from(&far).set_linger(Some(Duration::ZERO)).unwrap();
    drop(far);
    assert_eq!(end_of(&mut client).await, End::Fin);
    let took = proxy.remove("t").await;
    assert!(took < SHORT * 10, "{took:?}");
    let (mut client, mut far) = proxy.pair(&upstream).await;
    client.write_all(b"fine").await.unwrap();
    assert_eq!(read_exactly(&mut far, 4).await, b"fine");
}
