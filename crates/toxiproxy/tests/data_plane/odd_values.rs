//! Attributes that make no sense. Those that end a stock server's process run on ours only.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::servers::Server;
use crate::sockets::{End, LONG, echo, is_idle, read_exactly, read_on, works};

on_both![
    negative_latency_is_none,
    negative_jitter_does_no_harm,
    a_negative_limit_is_zero,
    a_negative_timeout_waits_for_ever,
    a_negative_slow_close_or_reset_time_is_zero,
    toxicity_out_of_range_is_always_or_never,
];

/// `bad_attribute_negative_latency`
async fn negative_latency_is_none(server: &Server) {
    let proxy = server.proxy(echo().await).await;
    proxy.add("latency", "downstream", json!({"latency": -1_000})).await;
    let mut client = proxy.connect().await;
    client.write_all(&[9; 1_000]).await.unwrap();
    assert_eq!(read_exactly(&mut client, 1_000).await, [9; 1_000]);
}

/// `bad_attribute_negative_jitter`
async fn negative_jitter_does_no_harm(server: &Server) {
    let proxy = server.proxy(echo().await).await;
    proxy.add("latency", "downstream", json!({"latency": 10, "jitter": -100})).await;
    let mut client = proxy.connect().await;
    client.write_all(&[9; 1_000]).await.unwrap();
    assert_eq!(read_exactly(&mut client, 1_000).await, [9; 1_000]);
}

/// `bad_attribute_negative_limit`
async fn a_negative_limit_is_zero(server: &Server) {
    let proxy = server.proxy(echo().await).await;
    proxy.add("limit_data", "downstream", json!({"bytes": -1})).await;
    let mut client = proxy.connect().await;
    assert!(is_idle(&mut client).await);
    client.write_all(&[9; 1_000]).await.unwrap();
    assert_eq!(read_on(&mut client, LONG).await, (vec![], End::Fin));
}

/// `bad_attribute_negative_timeout`
async fn a_negative_timeout_waits_for_ever(server: &Server) {
    let proxy = server.proxy(echo().await).await;
    proxy.add("timeout", "downstream", json!({"timeout": -1_000})).await;
    let mut client = proxy.connect().await;
    client.write_all(&[9; 1_000]).await.unwrap();
    assert!(is_idle(&mut client).await);
}

async fn a_negative_slow_close_or_reset_time_is_zero(server: &Server) {
    let proxy = server.proxy(echo().await).await;
    proxy.add("slow_close", "upstream", json!({"delay": -1_000})).await;
    let mut client = proxy.connect().await;
    works(&mut client).await;
    client.shutdown().await.unwrap();
    assert_eq!(read_on(&mut client, LONG).await, (vec![], End::Fin));
    proxy.remove("t").await;
    proxy.add("reset_peer", "upstream", json!({"timeout": -1_000})).await;
    let mut client = proxy.connect().await;
    client.write_all(b"x").await.unwrap();
    assert_eq!(read_on(&mut client, LONG).await, (vec![], End::Reset));
}

async fn toxicity_out_of_range_is_always_or_never(server: &Server) {
    for (toxicity, holds) in [(2.0, true), (-1.0, false)] {
        let proxy = server.proxy(echo().await).await;
        proxy.add_toxic(json!({"name": "t", "type": "bandwidth", "toxicity": toxicity})).await;
        for _ in 0..4 {
            let mut client = proxy.connect().await;
            client.write_all(b"x").await.unwrap();
            if holds {
                assert!(is_idle(&mut client).await);
            } else {
                read_exactly(&mut client, 1).await;
            }
        }
    }
}

/// `bad_attribute_negative_bandwidth`, `bad_attribute_slicer_default_attributes`,
/// `bad_attribute_slicer_variation_over_average`: the first data byte ends a stock server's process. Ours refuses them, or
/// takes them as 0; either way it lives on and no byte is lost.
#[tokio::test]
async fn what_kills_a_stock_server_does_ours_no_harm() {
    let server = Server::ours(1).await;
    let data: Vec<u8> = (0..40_000u32).map(|n| (n / 3) as u8).collect();
    for (kind, attributes) in [
        ("bandwidth", json!({"rate": -1})),
        ("bandwidth", json!({"rate": i64::MIN})),
        ("bandwidth", json!({"rate": i64::MAX})),
        ("slicer", Value::Null),
        ("slicer", json!({"average_size": -1})),
        ("slicer", json!({"average_size": 10, "size_variation": 1_000})),
        ("slicer", json!({"average_size": i64::MAX, "size_variation": i64::MAX, "delay": i64::MIN})),
        ("slicer", json!({"average_size": 1_000, "size_variation": -5})),
        ("latency", json!({"latency": i64::MAX, "jitter": i64::MAX})),
        ("latency", json!({"latency": i64::MIN, "jitter": i64::MIN})),
        ("slow_close", json!({"delay": i64::MAX})),
        ("limit_data", json!({"bytes": i64::MAX})),
    ] {
        for stream in ["upstream", "downstream"] {
            let proxy = server.proxy(echo().await).await;
            let mut older = proxy.connect().await;
            works(&mut older).await;
            let toxic = json!({"name": "t", "type": kind, "stream": stream, "attributes": attributes});
            let status = proxy.try_toxic(toxic).await;
            assert!([200, 400].contains(&status), "{kind} {attributes}: {status}");
            let mut newer = proxy.connect().await;
            for client in [&mut older, &mut newer] {
                client.write_all(&data).await.unwrap();
            }
            if status == 200 {
                let took = proxy.remove("t").await;
                assert!(took < Duration::from_secs(2), "{kind} {attributes}: {took:?}");
            }
            for client in [&mut older, &mut newer] {
                assert!(read_exactly(client, data.len()).await == data, "{kind} {attributes}");
                works(client).await;
            }
        }
    }
}
