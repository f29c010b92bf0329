//! The fake beside the real one: the same commands, the same bytes.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::time::timeout;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::real::RealMemcached;

/// One command of a random stream.
fn random_command(rng: &mut ChaCha8Rng) -> Vec<u8> {
    let key = format!("k{}", rng.random_range(0..6));
    // Not for numbers: whether counting makes a stale item fresh depends on who else reads it just then.
    let any = if rng.random_bool(0.5) { format!("l{key}") } else { key.clone() };
    let data: String = match rng.random_range(0..3) {
        0 => rng.random_range(0..30u32).to_string(),
        1 => String::new(),
        _ => "x".repeat(rng.random_range(1..40)),
    };
    let n = data.len();
    let noreply = if rng.random_bool(0.1) { " noreply" } else { "" };
    let text = match rng.random_range(0..25) {
        0 => format!("get {key} k1 nothing\r\n"),
        1 => format!("set {any} 7 0 {n}{noreply}\r\n{data}\r\n"),
        2 => format!("add {key} 0 0 {n}{noreply}\r\n{data}\r\n"),
        3 => format!("replace {key} 1 0 {n}\r\n{data}\r\n"),
        4 => format!("append {any} 0 0 {n}\r\n{data}\r\n"),
        5 => format!("prepend {any} 0 0 {n}\r\n{data}\r\n"),
        6 => format!("delete {key}{noreply}\r\n"),
        7 => format!("incr {key} {}\r\n", rng.random_range(0..99)),
        8 => format!("touch {key} 100\r\n"),
        9 => format!("set {key} 0 -1 {n}\r\n{data}\r\n"),
        10..=12 => format!("mg {any} v k f s O{}\r\n", rng.random_range(0..1000)),
        13 => format!("mg {any} k O1 T90\r\n"),
        14 => format!("ms {any} {n} T100 F5 k O9\r\n{data}\r\n"),
        15 => format!("ms {any} {n} ME k O9\r\n{data}\r\n"),
        16 => format!("md {any} k O3\r\n"),
        17 => format!("ma {key} v D5 k O4\r\n"),
        18 => format!("ma c{key} v N0 J13 k O4\r\n"),
        19 => format!("mg {any} v k O5 N30\r\n"),
        20 => format!("mg {any} v k O6 R99\r\n"),
        21 => format!("md l{key} k O7 I T50\r\n"),
        22 => format!("md l{key} k O7 I\r\n"),
        23 => format!("ms {any} {n} C999999999 k O8\r\n{data}\r\n"),
        _ => "nonsense\r\n".to_owned(),
    };
    text.into_bytes()
}

/// Replies to `commands`, up to the answer of a closing `mn`.
async fn replies(addr: SocketAddr, commands: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(commands).await.unwrap();
    stream.write_all(b"mn\r\n").await.unwrap();
    let mut got = Vec::new();
    let end = async {
        while !got.ends_with(b"MN\r\n") {
            assert!(
                stream.read_buf(&mut got).await.unwrap() > 0,
                "closed after {:?}",
                got.escape_ascii().to_string()
            );
        }
    };
    timeout(Duration::from_secs(10), end).await.unwrap();
    got
}

#[tokio::test]
async fn random_commands_get_the_replies_of_the_real_one() {
    let Some(real) = RealMemcached::for_test().await else { return };
    let fake = FakeMemcached::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    for seed in 0..200 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut commands = b"flush_all\r\n".to_vec();
        // Batches small enough that neither side's buffers fill while the other writes.
        (0..100).for_each(|_| commands.extend(random_command(&mut rng)));
        let (fake, real) = (replies(fake.addr(), &commands).await, replies(real.addr(), &commands).await);
        if fake != real {
            let at = fake.iter().zip(&real).take_while(|(a, b)| a == b).count();
            let shown = |bytes: &[u8]| {
                bytes[at.saturating_sub(80)..bytes.len().min(at + 80)].escape_ascii().to_string()
            };
            panic!("seed {seed}: fake ...{}\nreal ...{}", shown(&fake), shown(&real));
        }
    }
}

#[tokio::test]
async fn shutdown_closes_connections() {
    let fake = FakeMemcached::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let mut stream = TcpStream::connect(fake.addr()).await.unwrap();
    stream.write_all(b"mn\r\n").await.unwrap();
    let mut reply = [0; 4];
    stream.read_exact(&mut reply).await.unwrap();
    fake.shutdown().await;
    assert_eq!(stream.read(&mut reply).await.unwrap_or(0), 0);
}
