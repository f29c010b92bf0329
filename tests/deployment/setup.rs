//! `compose/setup.sh`, the script of the service `setup`, under the shell that the image has.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::services;
use crate::architecture::workspace;
use crate::harness::{PATIENCE, Running, free_port, get, real_program, wait_for};

/// What it says, and whether it succeeds; `None`: no busybox is here, as was said. `seconds`: how long it waits for servers.
fn setup(folder: &Path, host: &str, seconds: u32) -> Option<(String, bool)> {
    let output = Command::new(real_program("busybox")?)
        .args(["sh", "compose/setup.sh", folder.to_str().unwrap(), &seconds.to_string()])
        .current_dir(workspace())
        .env("MEMCACHE_HOST", host)
        .output()
        .unwrap();
    Some((String::from_utf8([output.stdout, output.stderr].concat()).unwrap(), output.status.success()))
}

fn written(folder: &Path, file: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join(file)).unwrap()).unwrap()
}

#[test]
fn the_compose_file_runs_it_as_it_wants_to_be_run() {
    let setup = &services("docker-compose.yml")["setup"];
    assert_eq!(super::texts(&setup["command"]), ["sh", "/setup.sh", "/config", "30"]);
    assert_eq!(setup["environment"]["MEMCACHE_HOST"], "${MEMCACHE_HOST:-}");
    assert!(super::texts(&setup["volumes"]).contains(&"./compose/setup.sh:/setup.sh:ro,Z"));
}

#[tokio::test]
async fn the_stock_toxiproxy_makes_the_proxies_that_setup_writes_for_every_kind_of_host() {
    let Some(toxiproxy) = real_program("toxiproxy-server") else { return };
    for (host, upstreams) in [
        // An empty variable is no variable.
        ("", ["memcached1:11211", "memcached2:11212", "memcached3:11213"]),
        ("10.0.0.5", ["10.0.0.5:11211", "10.0.0.5:11212", "10.0.0.5:11213"]),
        ("cache.example", ["cache.example:11211", "cache.example:11212", "cache.example:11213"]),
        ("fd00::5", ["[fd00::5]:11211", "[fd00::5]:11212", "[fd00::5]:11213"]),
        ("[fd00::5]", ["[fd00::5]:11211", "[fd00::5]:11212", "[fd00::5]:11213"]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let Some((said, succeeds)) = setup(dir.path(), host, 0) else { return };
        assert!(succeeds, "{host}: {said}");
        // The ports of the compose file may be in use here.
        let config = dir.path().join("toxiproxy.json");
        let mut proxies = written(dir.path(), "toxiproxy.json");
        for (n, proxy) in proxies.as_array_mut().unwrap().iter_mut().enumerate() {
            assert_eq!(proxy["listen"], format!("0.0.0.0:2121{}", n + 1), "{said}");
            proxy["listen"] = "127.0.0.1:0".into();
        }
        std::fs::write(&config, proxies.to_string()).unwrap();
        let port = free_port().to_string();
        let args = ["-host", "127.0.0.1", "-port", &port, "-config", config.to_str().unwrap()];
        let _running = Running::start(&toxiproxy, &args, dir.path());
        let url = format!("http://127.0.0.1:{port}");
        wait_for("Toxiproxy", PATIENCE, async || get(&format!("{url}/version")).await.is_some()).await;
        let made: Value = serde_json::from_str(&get(&format!("{url}/proxies")).await.unwrap()).unwrap();
        let made = [1, 2, 3].map(|n| made[format!("memcached{n}")]["upstream"].as_str().unwrap().to_owned());
        assert_eq!(made, upstreams);
    }
}

#[test]
fn localhost_means_the_host_and_not_the_container() {
    let dir = tempfile::tempdir().unwrap();
    for host in ["localhost", "127.0.0.1", "::1", "[::1]"] {
        let Some((said, succeeds)) = setup(dir.path(), host, 0) else { return };
        assert!(succeeds, "{host}: {said}");
        let target = written(dir.path(), "loadgen.json")[0]["targets"][0].as_str().unwrap().to_owned();
        let on_host = target.strip_suffix(":9090").unwrap();
        assert_eq!(
            written(dir.path(), "toxiproxy.json")[0]["upstream"],
            format!("{on_host}:11211"),
            "{said}"
        );
    }
}

#[test]
fn what_is_no_host_is_refused_by_name_and_leaves_no_proxies() {
    let dir = tempfile::tempdir().unwrap();
    for host in ["h:11211", "[h:1]", "[]", "[::1", "http://h", " ", "a b", "h,i", "h\";", "$(id)"] {
        std::fs::write(dir.path().join("toxiproxy.json"), "[]").unwrap();
        let Some((said, succeeds)) = setup(dir.path(), host, 0) else { return };
        assert!(!succeeds, "{host}: {said}");
        assert!(said.contains(&format!("MEMCACHE_HOST='{host}' is no host")), "{said}");
        assert!(!dir.path().join("toxiproxy.json").exists(), "{host}");
    }
}

#[test]
fn servers_that_do_not_answer_are_named_and_leave_no_proxies() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("toxiproxy.json"), "[]").unwrap();
    let Some((said, succeeds)) = setup(dir.path(), "name.invalid", 1) else { return };
    assert!(!succeeds);
    assert!(said.contains("no memcached answers at name.invalid:11211"), "{said}");
    assert!(!dir.path().join("toxiproxy.json").exists());
}
