//! No byte is lost or reordered while toxics come, change and go.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::servers::Server;
use crate::sockets::{LONG, upstream};

on_both![no_two_byte_chunk_is_lost_or_reordered_while_toxics_come_and_go];

/// Chunks of two bytes: their own number.
const CHUNKS: u32 = 65_536;

async fn send(stream: &mut (impl AsyncWriteExt + Unpin)) {
    for n in 0..CHUNKS {
        stream.write_all(&(n as u16).to_be_bytes()).await.unwrap();
        if n % 64 == 0 {
            tokio::task::yield_now().await;
        }
    }
}

async fn receive(stream: &mut (impl AsyncReadExt + Unpin)) {
    let mut pair = [0; 2];
    for n in 0..CHUNKS {
        timeout(LONG * 2, stream.read_exact(&mut pair)).await.unwrap().unwrap();
        assert_eq!(u16::from_be_bytes(pair), n as u16, "chunk {n}");
    }
}

async fn both_ways(stream: TcpStream) {
    let (reader, mut writer) = stream.into_split();
    let mut reader = tokio::io::BufReader::new(reader);
    tokio::join!(send(&mut writer), receive(&mut reader));
}

async fn no_two_byte_chunk_is_lost_or_reordered_while_toxics_come_and_go(server: &Server) {
    let upstream = upstream().await;
    let proxy = server.proxy(upstream.local_addr().unwrap()).await;
    let (client, far) = proxy.pair(&upstream).await;
    let (near, far) = (tokio::spawn(both_ways(client)), tokio::spawn(both_ways(far)));
    let mut changes = 0;
    // At least one of each, however fast the bytes are.
    while changes < 20 || !(near.is_finished() && far.is_finished()) {
        for (kind, attributes, update) in [
            ("latency", json!({"latency": 2, "jitter": 2}), json!({"latency": 1})),
            ("bandwidth", json!({"rate": 100_000}), json!({"rate": 50_000})),
            ("slicer", json!({"average_size": 50, "size_variation": 10}), json!({"average_size": 90})),
            ("slow_close", json!({"delay": 10}), json!({})),
            ("noop", json!({}), json!({})),
        ] {
            for stream in ["upstream", "downstream"] {
                proxy.add(kind, stream, attributes.clone()).await;
                proxy.update("t", json!({"attributes": update})).await;
                proxy.remove("t").await;
                changes += 1;
            }
        }
    }
    near.await.unwrap();
    far.await.unwrap();
}
