//! The same seed: the same dice.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{Running, ServerConfig, echo, eventually, ping, proxied};
use crate::wire::Toxic;

const CONNECTIONS: usize = 40;

/// Which of the connections a toxic of one half acts on, when it is added to open ones.
async fn fallen(seed: u64) -> Vec<bool> {
    let server = Running::with(ServerConfig { seed: Some(seed), ..Running::config() }).await;
    let addr = proxied(&server.client, echo().await).await;
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        ping(&mut stream, Duration::from_secs(10)).await.unwrap();
        open.push(stream);
    }
    let toxic = Toxic {
        name: "half".to_owned(),
        kind: "bandwidth".to_owned(),
        stream: "upstream".to_owned(),
        toxicity: 0.5,
        attributes: [("rate".to_owned(), 0.into())].into(),
    };
    server.client.add_toxic("p", &toxic).await.unwrap();
    for stream in &mut open {
        stream.write_all(b"x").await.unwrap();
    }
    let mut touched = Vec::new();
    eventually("all have read", async || {
        let answer = super::asking::ask(server.addr, "GET", "/dose/links", &[], None).await;
        let links: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        let up = links["p"].as_array().unwrap().iter().filter(|link| link["stream"] == "upstream");
        let up: Vec<_> = up.collect();
        touched = up.iter().map(|link| link["chunks_touched"] == 1).collect();
        up.len() == CONNECTIONS && up.iter().all(|link| link["chunks"] == 2)
    })
    .await;
    touched
}

#[tokio::test]
async fn the_same_seed_rolls_the_same_dice_and_another_does_not() {
    let first = fallen(7).await;
    assert_eq!(fallen(7).await, first);
    assert_ne!(fallen(8).await, first);
    assert!(first.contains(&true) && first.contains(&false));
}
