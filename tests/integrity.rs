//! A wrong value is never missed: it ends a loadgen with an exit code of its own.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use crate::harness::{PATIENCE, Running, binary, free_port, real_program, wait_for};

#[tokio::test]
async fn a_value_that_is_not_the_keys_own_is_exit_code_5() {
    let Some(memcached) = real_program("memcached") else { return };
    let dir = tempfile::tempdir().unwrap();
    let addr = format!("127.0.0.1:{}", free_port());
    let port = addr.rsplit(':').next().unwrap();
    let _server =
        Running::start(&memcached, &["-l", "127.0.0.1", "-p", port, "-U", "0", "-u", "nobody"], dir.path());
    wait_for("memcached", PATIENCE, async || TcpStream::connect(&addr).is_ok()).await;
    // Every key of the load carries something that nobody wrote for it.
    let mut stream = TcpStream::connect(&addr).unwrap();
    for n in 0..200 {
        write!(stream, "set lg:k:{n:08} 0 0 5 noreply\r\nother\r\n").unwrap();
    }
    write!(stream, "mn\r\n").unwrap();
    let mut reply = [0; 4];
    std::io::Read::read_exact(&mut stream, &mut reply).unwrap();
    let args = [
        "--servers",
        &addr,
        "--keys",
        "200",
        "--workload",
        "get-heavy",
        "--duration",
        "1s",
        "--metrics-port",
        "0",
    ];
    let mut loadgen = Running::start(&binary("loadgen"), &args, dir.path());
    assert_eq!(loadgen.exit_code(Duration::from_secs(30)).await, 5);
    let summary = std::fs::read_to_string(dir.path().join("loadgen.out")).unwrap();
    assert!(summary.contains("wrong_value") && !summary.contains(" 0 wrong values"), "{summary}");
}
