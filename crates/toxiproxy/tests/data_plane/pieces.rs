//! Toxics that ration or cut data: bandwidth, slicer, limit_data.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::servers::Server;
use crate::sockets::{
    End, LONG, echo, end_of, is_idle, read_exactly, read_on, sooner_or_later, takes, upstream,
};

on_both![
    bandwidth_is_what_it_says,
    bandwidth_allows_no_burst,
    bandwidth_is_per_connection,
    limit_data_cuts_inside_a_chunk,
    limit_data_ends_when_exactly_reached,
    limit_data_0_ends_at_the_first_byte,
    a_raised_limit_passes_the_difference,
    what_a_removed_limit_has_not_ended_goes_on,
    a_reached_limit_stays_reached,
    slicer_halves_until_small_enough,
    slicer_varies_within_its_bounds,
];

/// `bandwidth_rate_100_upstream_300000_bytes`
async fn bandwidth_is_what_it_says(server: &Server) {
    let upstream = upstream().await;
    let proxy = server.proxy(upstream.local_addr().unwrap()).await;
    for stream in ["upstream", "downstream"] {
        proxy.add("bandwidth", stream, json!({"rate": 100})).await;
        let data: Vec<u8> = (0..100_000u32).map(|n| (n / 11) as u8).collect();
        takes("100 kB at 100 kB/s", 980..1_150, async || {
            let (mut client, mut far) = proxy.pair(&upstream).await;
            if stream == "downstream" {
                std::mem::swap(&mut client, &mut far);
            }
            let began = Instant::now();
            let (sent, got) = tokio::join!(client.write_all(&data), read_exactly(&mut far, data.len()));
            sent.unwrap();
            assert!(got == data);
            Some(began.elapsed())
        })
        .await;
        proxy.remove("t").await;
    }
}

/// `bandwidth_rate_1_50_byte_messages`
async fn bandwidth_allows_no_burst(server: &Server) {
    let proxy = server.proxy(echo().await).await;
    proxy.add("bandwidth", "upstream", json!({"rate": 1})).await;
    // Summed up: what one message waited too long, the stock server takes off the next one's wait.
    takes("five messages of 50 bytes at 1 kB/s", 249..330, async || {
        let mut client = proxy.connect().await;
        let began = Instant::now();
        for _ in 0..5 {
            client.write_all(&[1; 50]).await.unwrap();
            read_exactly(&mut client, 50).await;
        }
        Some(began.elapsed())
    })
    .await;
}

/// Two connections get twice as much.
async fn bandwidth_is_per_connection(server: &Server) {
    let proxy = server.proxy(echo().await).await;
    proxy.add("bandwidth", "downstream", json!({"rate": 100})).await;
    let (mut one, mut two) = (proxy.connect().await, proxy.connect().await);
    takes("30 kB on each of two connections", 290..420, async || {
        let through = async |client: &mut TcpStream| {
            client.write_all(&[3; 30_000]).await.unwrap();
            read_exactly(client, 30_000).await;
        };
        let began = Instant::now();
        tokio::join!(through(&mut one), through(&mut two));
        Some(began.elapsed())
    })
    .await;
}

/// `limit_data_10`, one write of 16
async fn limit_data_cuts_inside_a_chunk(server: &Server) {
    let upstream = upstream().await;
    let proxy = server.proxy(upstream.local_addr().unwrap()).await;
    proxy.add("limit_data", "downstream", json!({"bytes": 10})).await;
    let (mut client, mut far) = proxy.pair(&upstream).await;
    far.write_all(b"0123456789abcdef").await.unwrap();
    assert_eq!(read_on(&mut client, LONG).await, (b"0123456789".to_vec(), End::Fin));
    proxy.remove("t").await;
    proxy.add("limit_data", "upstream", json!({"bytes": 10})).await;
    let (mut client, mut far) = proxy.pair(&upstream).await;
    client.write_all(b"0123456789abcdef").await.unwrap();
    assert_eq!(read_on(&mut far, LONG).await, (b"0123456789".to_vec(), End::Fin));
}

/// `limit_data_10`, two writes of 5
async fn limit_data_ends_when_exactly_reached(server: &Server) {
    let upstream = upstream().await;
    let proxy = server.proxy(upstream.local_addr().unwrap()).await;
    proxy.add("limit_data", "downstream", json!({"bytes": 10})).await;
    let (mut client, mut far) = proxy.pair(&upstream).await;
    for _ in 0..2 {
        assert!(is_idle(&mut client).await);
        far.write_all(b"01234").await.unwrap();
        assert_eq!(read_exactly(&mut client, 5).await, b"01234");
    }
    assert_eq!(read_on(&mut client, LONG).await, (vec![], End::Fin));
}

/// `limit_data_0`
async fn limit_data_0_ends_at_the_first_byte(server: &Server) {
    let upstream = upstream().await;
    let proxy = server.proxy(upstream.local_addr().unwrap()).await;
    proxy.add("limit_data", "downstream", json!({"bytes": 0})).await;
    let (mut client, mut far) = proxy.pair(&upstream).await;
    assert!(is_idle(&mut client).await);
    far.write_all(b"x").await.unwrap();
    assert_eq!(read_on(&mut client, LONG).await, (vec![], End::Fin));
}

/// `limit_data_raised_10_to_12_after_8`
async fn a_raised_limit_passes_the_difference(server: &Server) {
    let upstream = upstream().await;
    let proxy = server.proxy(upstream.local_addr().unwrap()).await;
    proxy.add("limit_data", "downstream", json!({"bytes": 10})).await;
    let (mut client, mut far) = proxy.pair(&upstream).await;
    far.write_all(b"01234567").await.unwrap();
    assert_eq!(read_exactly(&mut client, 8).await, b"01234567");
    proxy.update("t", json!({"attributes": {"bytes": 12}})).await;
    far.write_all(b"89abcdef").await.unwrap();
    assert_eq!(read_on(&mut client, LONG).await, (b"89ab".to_vec(), End::Fin));
}

async fn what_a_removed_limit_has_not_ended_goes_on(server: &Server) {
    let upstream = upstream().await;
    let proxy = server.proxy(upstream.local_addr().unwrap()).await;
    proxy.add("limit_data", "downstream", json!({"bytes": 10})).await;
    let (mut client, mut far) = proxy.pair(&upstream).await;
    far.write_all(b"01234567").await.unwrap();
    assert_eq!(read_exactly(&mut client, 8).await, b"01234567");
    proxy.remove("t").await;
    far.write_all(b"89abcdef").await.unwrap();
    assert_eq!(read_exactly(&mut client, 8).await, b"89abcdef");
    drop(far);
    assert_eq!(end_of(&mut client).await, End::Fin);
}

/// While the end waits behind it, neither a raised nor a removed limit lets more pass: the stream would have a hole.
async fn a_reached_limit_stays_reached(server: &Server) {
    let upstream = upstream().await;
    for raised in [true, false] {
        let proxy = server.proxy(upstream.local_addr().unwrap()).await;
        proxy.add("limit_data", "downstream", json!({"bytes": 10})).await;
        let wait = json!({"name": "wait", "type": "slow_close", "attributes": {"delay": 900}});
        proxy.add_toxic(wait).await;
        let (mut client, mut far) = proxy.pair(&upstream).await;
        far.write_all(b"0123456789abcdef").await.unwrap();
        assert_eq!(read_exactly(&mut client, 10).await, b"0123456789");
        if raised {
            proxy.update("t", json!({"attributes": {"bytes": 100}})).await;
        } else {
            proxy.remove("t").await;
        }
        far.write_all(b"more").await.unwrap();
        assert_eq!(read_on(&mut client, LONG).await, (vec![], End::Fin));
    }
}

/// Reads pieces as they come, until `bytes` are there: their lengths and times.
async fn pieces(client: &mut TcpStream, bytes: usize) -> Vec<(usize, Instant)> {
    let mut pieces = Vec::new();
    let (mut buffer, mut left) = (vec![0; bytes], bytes);
    while left > 0 {
        let n = timeout(LONG, client.read(&mut buffer)).await.unwrap().unwrap();
        assert!(n > 0, "the connection ended {left} bytes too early");
        pieces.push((n, Instant::now()));
        left -= n;
    }
    pieces
}

/// `slicer_10_0_delay_20ms_100_bytes`
async fn slicer_halves_until_small_enough(server: &Server) {
    let upstream = upstream().await;
    let proxy = server.proxy(upstream.local_addr().unwrap()).await;
    proxy.add("slicer", "downstream", json!({"average_size": 10, "delay": 20_000})).await;
    sooner_or_later("16 pieces, 20 ms apart", async || {
        let (mut client, mut far) = proxy.pair(&upstream).await;
        far.write_all(&[5; 100]).await.unwrap();
        let pieces = pieces(&mut client, 100).await;
        let whole = pieces[pieces.len() - 1].1 - pieces[0].1;
        // Whatever the machine does, the last piece comes 15 delays after the first left; the first may be read late.
        assert!(whole > Duration::from_millis(100), "{whole:?}");
        let sizes: Vec<usize> = pieces.iter().map(|(n, _)| *n).collect();
        sizes == [6, 6, 6, 7].repeat(4)
            && (Duration::from_millis(290)..Duration::from_millis(420)).contains(&whole)
    })
    .await;
}

/// `slicer_10_5`
async fn slicer_varies_within_its_bounds(server: &Server) {
    let upstream = upstream().await;
    let proxy = server.proxy(upstream.local_addr().unwrap()).await;
    let attributes = json!({"average_size": 10, "size_variation": 5, "delay": 5_000});
    proxy.add("slicer", "downstream", attributes).await;
    sooner_or_later("different pieces of 3 to 15 bytes", async || {
        let (mut client, mut far) = proxy.pair(&upstream).await;
        far.write_all(&[5; 200]).await.unwrap();
        let sizes: Vec<usize> = pieces(&mut client, 200).await.iter().map(|(n, _)| *n).collect();
        // The smallest: 16 bytes cut five off their middle.
        sizes.iter().all(|n| (3..=15).contains(n)) && sizes.iter().any(|n| *n != sizes[0])
    })
    .await;
}
