//! What only our server has.

use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::servers::Server;
use crate::sockets::{echo, ping};

#[tokio::test]
async fn loss_delays_the_share_that_the_law_says_and_the_dose_counts_it() {
    let server = Server::ours(1).await;
    let proxy = server.proxy(echo().await).await;
    let (p, connections, rounds) = (0.2, 50, 20);
    for stream in ["upstream", "downstream"] {
        let attributes = json!({"loss_ppm": 200_000});
        proxy
            .add_toxic(json!({"name": stream, "type": "loss", "stream": stream, "attributes": attributes}))
            .await;
    }
    let tasks = (0..connections).map(|_| async {
        let mut client = proxy.connect().await;
        let mut delayed = 0;
        for _ in 0..rounds {
            let took = ping(&mut client, Duration::from_secs(60)).await.unwrap();
            delayed += u32::from(took > Duration::from_millis(100));
        }
        delayed
    });
    let delayed: u32 = join_all(tasks).await.into_iter().sum();
    let n = f64::from(connections * rounds);
    let q = 1.0 - (1.0 - p) * (1.0 - p);
    let error = (q * (1.0 - q) / n).sqrt();
    assert!((f64::from(delayed) / n - q).abs() <= 4.0 * error, "{delayed} of {n}, expected {q}");
    let dose = &server.done("GET", "/dose", Value::Null).await[&proxy.name];
    let touched = dose["chunks_touched"].as_f64().unwrap() / dose["chunks"].as_f64().unwrap();
    assert!((touched - p).abs() < 0.05, "{dose}");
}
