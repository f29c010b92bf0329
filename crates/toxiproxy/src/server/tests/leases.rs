//! Leases over the API: what an owner that stands still leaves behind ends by itself.

use crate::wire::{LeaseTerms, NewProxy, Proxy, ProxyUpdate, Toxic};

use super::{Running, eventually};

fn toxic(name: &str, kind: &str) -> Toxic {
    Toxic {
        name: name.to_owned(),
        kind: kind.to_owned(),
        stream: "downstream".to_owned(),
        toxicity: 1.0,
        attributes: [].into(),
    }
}

#[tokio::test]
async fn without_renewal_the_toxics_of_a_prefix_go_its_proxies_are_enabled_and_nothing_else_changes() {
    let running = Running::start().await;
    let client = &running.client;
    assert!(client.version().await.unwrap().has("leases"));
    for name in ["a", "down", "off"] {
        let (listen, upstream) = ("127.0.0.1:0".to_owned(), "127.0.0.1:1".to_owned());
        client
            .create_proxy(&NewProxy { name: name.to_owned(), listen, upstream, enabled: true })
            .await
            .unwrap();
    }
    client.add_toxic("a", &toxic("somebody", "latency")).await.unwrap();
    for name in ["down", "off"] {
        client.update_proxy(name, &ProxyUpdate { enabled: Some(false), ..Default::default() }).await.unwrap();
    }
    let before = client.proxies().await.unwrap();

    let terms = LeaseTerms { ttl_ms: 300, enable: vec!["down".to_owned(), "gone".to_owned()] };
    client.renew_lease("me.", &terms).await.unwrap();
    client.add_toxic("a", &toxic("me.1", "latency")).await.unwrap();
    client.add_toxic("a", &toxic("men", "latency")).await.unwrap();
    client.add_toxic("down", &toxic("me.2", "noop")).await.unwrap();
    let began = tokio::time::Instant::now();
    eventually("it has been renewed for longer than it lasts", async || {
        assert_eq!(client.renew_lease("me.", &terms).await.unwrap().lapses, 0);
        began.elapsed() > std::time::Duration::from_millis(500)
    })
    .await;
    assert_eq!(client.toxics("down").await.unwrap().len(), 1, "it was renewed for longer than it lasts");

    eventually("the proxy is enabled", async || client.proxy("down").await.unwrap().enabled).await;
    client.remove_toxic("a", "men").await.unwrap();
    let enabled =
        Proxy { enabled: true, listen: client.proxy("down").await.unwrap().listen, ..before["down"].clone() };
    let mut after = before.clone();
    after.insert("down".to_owned(), enabled);
    assert_eq!(client.proxies().await.unwrap(), after);
    assert_eq!(client.renew_lease("me.", &terms).await.unwrap().lapses, 1);
    client.end_lease("me.").await.unwrap();
    assert!(client.end_lease("me.").await.unwrap_err().is_not_found());
    assert!(
        client
            .renew_lease("me.", &LeaseTerms { ttl_ms: 1, ..terms })
            .await
            .unwrap_err()
            .to_string()
            .contains("ttl_ms is 1")
    );
    running.stop().await;
}
