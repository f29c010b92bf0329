//! What an upstream may be written as.

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::servers::Server;
use crate::sockets::{End, LONG, read_exactly, read_on, upstream};

on_both![
    an_upstream_is_reached_in_every_form_that_go_reads,
    an_upstream_that_is_no_address_ends_each_connection,
];

/// The bytes that an upstream behind `text` gets arrive.
async fn reaches(server: &Server, text: &str, upstream: &TcpListener) {
    let new = json!({"name": text, "listen": "127.0.0.1:0", "upstream": text});
    let made = server.done("POST", "/proxies", new).await;
    let mut client = TcpStream::connect(made["listen"].as_str().unwrap()).await.unwrap();
    client.write_all(b"hello").await.unwrap();
    let accepted = tokio::time::timeout(LONG, upstream.accept()).await;
    let (mut far, _) = accepted.unwrap_or_else(|_| panic!("{text:?} leads nowhere")).unwrap();
    assert_eq!(read_exactly(&mut far, 5).await, b"hello", "{text}");
}

async fn an_upstream_is_reached_in_every_form_that_go_reads(server: &Server) {
    let here = upstream().await;
    let port = here.local_addr().unwrap().port();
    for host in ["", "localhost", "127.0.0.1", "[127.0.0.1]", "[::ffff:127.0.0.1]", "0.0.0.0"] {
        reaches(server, &format!("{host}:{port}"), &here).await;
    }
    reaches(server, &format!("127.0.0.1:+{port}"), &here).await;
    // A machine without IPv6 has nothing behind these.
    let Ok(here) = TcpListener::bind("[::1]:0").await else { return };
    let port = here.local_addr().unwrap().port();
    for host in ["[::1]", "[::1%lo]", "[0:0:0:0:0:0:0:1]", "[::]"] {
        reaches(server, &format!("{host}:{port}"), &here).await;
    }
}

async fn an_upstream_that_is_no_address_ends_each_connection(server: &Server) {
    for text in ["h", "127.0.0.1", "::1:80", "[::1", "127.0.0.1:99999", "http://127.0.0.1:80", "a b:80"] {
        let new = json!({"name": text, "listen": "127.0.0.1:0", "upstream": text});
        let made = server.done("POST", "/proxies", new).await;
        let mut client = TcpStream::connect(made["listen"].as_str().unwrap()).await.unwrap();
        assert_eq!(read_on(&mut client, LONG).await, (vec![], End::Fin), "{text}");
    }
}
