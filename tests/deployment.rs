//! The compose files, the image and Prometheus' files fit each other and the binaries; each alert leads to its page.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::architecture::workspace;
use crate::harness::{PATIENCE, Running, free_port, get, real_program, wait_for};

const COMPOSE: [&str; 2] = ["docker-compose.yml", "docker-compose-memcache.yml"];

fn read(path: &str) -> String {
    std::fs::read_to_string(workspace().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A YAML file with its anchors resolved.
pub fn yaml(path: &str) -> Value {
    let mut value: serde_yaml_ng::Value = serde_yaml_ng::from_str(&read(path)).unwrap();
    value.apply_merge().unwrap();
    serde_json::to_value(value).unwrap()
}

/// The services of a compose file, `extends` followed.
fn services(file: &str) -> BTreeMap<String, Value> {
    let compose = yaml(file);
    let services = compose["services"].as_object().unwrap().clone();
    let resolve = |(name, service): (String, Value)| match service.get("extends") {
        None => (name, service),
        Some(of) => {
            let (file, of) = (of["file"].as_str().unwrap(), of["service"].as_str().unwrap());
            let service =
                yaml(file)["services"].get(of).unwrap_or_else(|| panic!("{file} has no {of}")).clone();
            (name, service)
        }
    };
    services.into_iter().map(resolve).collect()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[test]
fn every_service_is_pinned_healthy_on_loopback_and_starts_after_what_it_needs() {
    for file in COMPOSE {
        let services = services(file);
        let volumes = yaml(file)["volumes"].clone();
        for (name, service) in &services {
            let image = service["image"].as_str().unwrap();
            let tag = image.rsplit_once(':').map(|(_, tag)| tag);
            assert!(tag.is_some_and(|tag| tag != "latest"), "{file}, {name}: {image}");
            let ends = name == "proxies";
            assert!(ends || service["healthcheck"]["test"].is_array(), "{file}, {name}: no health check");
            for port in texts(&service["ports"]) {
                assert!(port.starts_with("127.0.0.1:"), "{file}, {name}: {port} is open to everybody");
            }
            for (needed, how) in service["depends_on"].as_object().into_iter().flatten() {
                let needed = services.get(needed).unwrap_or_else(|| panic!("{file}, {name}: no {needed}"));
                let condition = how["condition"].as_str().unwrap();
                let can = match condition {
                    "service_healthy" => needed["healthcheck"].is_object(),
                    "service_completed_successfully" => needed["healthcheck"].is_null(),
                    _ => false,
                };
                assert!(can, "{file}, {name}: {condition}");
                // What is started by default must not wait for what is not.
                assert!(
                    needed["profiles"].is_null() || needed["profiles"] == service["profiles"],
                    "{file}, {name}"
                );
            }
            for volume in texts(&service["volumes"]) {
                let source = volume.split(':').next().unwrap();
                let known = match source.strip_prefix("./") {
                    Some(path) => workspace().join(path).exists(),
                    None => volumes.get(source).is_some(),
                };
                assert!(known, "{file}, {name}: {volume}");
            }
            assert!(service.get("container_name").is_none(), "{file}, {name}: two stacks side by side");
        }
        let on_request: BTreeSet<&str> = services
            .iter()
            .filter(|(_, service)| texts(&service["profiles"]) == ["full"])
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(on_request, BTreeSet::from(["loadgen", "scenariod"]), "{file}");
        assert!(
            services
                .values()
                .all(|service| service["profiles"].is_null() || texts(&service["profiles"]) == ["full"])
        );
        // podman-compose knows none.
        assert!(yaml(file).get("configs").is_none(), "{file}");
    }
}

#[test]
fn what_is_in_both_compose_files_is_the_same_image() {
    let [all, remote] = COMPOSE.map(services);
    for (name, service) in &remote {
        assert_eq!(service["image"], all[name]["image"], "{name}");
    }
}

#[test]
fn ports_are_those_of_the_documentation_and_prometheus_meets_each_process_once() {
    let services = services(COMPOSE[0]);
    let published = |name: &str| -> Vec<(u16, u16)> {
        let pair = |port: &&str| {
            let mut parts = port.rsplit(':').map(|part| part.parse().unwrap_or_default());
            let inside = parts.next().unwrap();
            (parts.next().unwrap(), inside)
        };
        texts(&services[name]["ports"]).iter().map(pair).collect()
    };
    assert_eq!(published("prometheus"), [(9091, 9090)]);
    assert_eq!(published("grafana"), [(3000, 3000)]);
    assert_eq!(published("toxiproxy"), [8474, 21_211, 21_212, 21_213].map(|port| (port, port)));
    for (n, server) in ["memcached1", "memcached2", "memcached3"].into_iter().enumerate() {
        let port = 11_211 + n as u16;
        assert_eq!(published(server), [(port, port)]);
        assert!(texts(&services[server]["command"]).contains(&port.to_string().as_str()), "{server}");
    }
    let prometheus = yaml("prometheus/prometheus.yml");
    for (job, port) in [("loadgen", 9090), ("scenariod", 9092)] {
        let scrape = prometheus["scrape_configs"].as_array().unwrap();
        let scrape = scrape.iter().find(|one| one["job_name"] == job).unwrap();
        assert_eq!(texts(&scrape["static_configs"][0]["targets"]), [format!("host.docker.internal:{port}")]);
        let dns = &scrape["dns_sd_configs"][0];
        assert_eq!((texts(&dns["names"]), dns["port"].as_u64()), (vec![job], Some(port)));
        assert!(services.contains_key(job));
        // Published under the number that the host's own has, the container would be scraped under both names.
        let published = published(job);
        assert!(
            published
                .iter()
                .all(|(outside, inside)| u64::from(*inside) == port && u64::from(*outside) != port)
        );
    }
    assert_eq!(texts(&services["prometheus"]["extra_hosts"]), ["host.docker.internal:host-gateway"]);
    assert_eq!(
        yaml("grafana/provisioning/datasources/prometheus.yml")["datasources"][0]["url"],
        "http://prometheus:9090"
    );
}

#[test]
fn the_containers_run_the_binaries_with_flags_that_they_have() {
    for file in COMPOSE {
        let services = services(file);
        for name in ["loadgen", "scenariod"] {
            let command = texts(&services[name]["command"]);
            assert_eq!(command[0], name);
            let program = crate::harness::binary(name);
            let help = Command::new(program).arg("--help").output().unwrap();
            let help = String::from_utf8_lossy(&help.stdout).into_owned();
            for flag in &command[1..] {
                let flag = flag.split('=').next().unwrap();
                assert!(
                    help.contains(&format!("{flag} ")) || help.contains(&format!("{flag}\n")),
                    "{name} has no {flag}"
                );
            }
            assert_eq!(texts(&services[name]["volumes"]), ["runs:/runs"]);
        }
    }
}

#[test]
fn the_image_is_built_with_our_compiler_and_runs_as_nobody() {
    let dockerfile = read("Dockerfile");
    let toolchain = read("rust-toolchain.toml");
    let version =
        toolchain.lines().find_map(|line| line.strip_prefix("channel = ")).unwrap().trim_matches('"');
    assert!(dockerfile.contains(&format!("FROM rust:{version}-slim-bookworm AS build")));
    assert!(dockerfile.contains(&format!("RUSTUP_TOOLCHAIN={version}\n")));
    assert!(dockerfile.contains("cargo build --release --locked"));
    let user = dockerfile.lines().rev().find_map(|line| line.strip_prefix("USER ")).unwrap();
    assert!(!user.starts_with('0') && !user.starts_with("root"), "{user}");
    for base in dockerfile.lines().filter_map(|line| line.strip_prefix("FROM ")) {
        let tag = base.split(' ').next().unwrap().rsplit_once(':').unwrap().1;
        assert!(tag.contains('.'), "{base}: not one version");
    }
    // Every member of the workspace must be there, or cargo refuses the workspace.
    let ignored = read(".dockerignore");
    let kept: BTreeSet<&str> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    for member in ["Cargo.toml", "Cargo.lock", "crates", "cmd", "benches", "judged", "simulation", "tests"] {
        assert!(kept.contains(member), "{member}");
    }
    assert!(kept.contains("crates/*/src/target"), "a module of the load bears the name of build folders");
}

/// What `proxies` posts, as the shell of the compose file would, with and without `MEMCACHE_HOST`.
#[tokio::test]
async fn the_stock_toxiproxy_makes_the_proxies_of_the_compose_files() {
    let Some(toxiproxy) = real_program("toxiproxy-server") else { return };
    for (file, host, upstreams) in [
        (COMPOSE[0], None, ["memcached1:11211", "memcached2:11212", "memcached3:11213"]),
        (COMPOSE[0], Some("10.0.0.5"), ["10.0.0.5:11211", "10.0.0.5:11212", "10.0.0.5:11213"]),
        (
            COMPOSE[1],
            None,
            ["host.docker.internal:11211", "host.docker.internal:11212", "host.docker.internal:11213"],
        ),
        (COMPOSE[1], Some("10.0.0.5"), ["10.0.0.5:11211", "10.0.0.5:11212", "10.0.0.5:11213"]),
    ] {
        let proxies = &services(file)["proxies"];
        assert_eq!(texts(&proxies["command"])[2], "wget -qO- --post-data \"$$PROXIES\" \"$$API\"");
        let mut posted = String::new();
        for (n, part) in
            proxies["environment"]["PROXIES"].as_str().unwrap().split("${MEMCACHE_HOST:-").enumerate()
        {
            let (default, rest) = if n == 0 { ("", part) } else { part.split_once('}').unwrap() };
            posted += &format!("{}{rest}", if n == 0 { "" } else { host.unwrap_or(default) });
        }
        // The ports of the compose file may be in use here.
        let posted = posted.replace("0.0.0.0:2121", "127.0.0.1:0").replace("127.0.0.1:01", "127.0.0.1:0");
        let posted = posted.replace("127.0.0.1:02", "127.0.0.1:0").replace("127.0.0.1:03", "127.0.0.1:0");
        let dir = tempfile::tempdir().unwrap();
        let port = free_port().to_string();
        let _running = Running::start(&toxiproxy, &["-host", "127.0.0.1", "-port", &port], dir.path());
        let url = format!("http://127.0.0.1:{port}");
        wait_for("Toxiproxy", PATIENCE, async || get(&format!("{url}/version")).await.is_some()).await;
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        // As wget does, without saying that it is JSON.
        let answer = client.post(format!("{url}/populate")).body(posted).send().await.unwrap();
        assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
        let made: Value = serde_json::from_str(&get(&format!("{url}/proxies")).await.unwrap()).unwrap();
        let made = [1, 2, 3].map(|n| made[format!("memcached{n}")]["upstream"].as_str().unwrap().to_owned());
        assert_eq!(made, upstreams);
    }
}

/// Alerts as `(name, runbook)`.
fn alerts() -> Vec<(String, String)> {
    let rules = yaml("prometheus/rules/alerts.yml");
    let groups = rules["groups"].as_array().unwrap().iter();
    let rules = groups.flat_map(|group| group["rules"].as_array().unwrap());
    let read = |rule: &Value| {
        let annotations = &rule["annotations"];
        let name = rule["alert"].as_str().unwrap().to_owned();
        assert!(annotations["summary"].as_str().is_some_and(|text| text.len() > 20), "{name}: no summary");
        assert!(["warning", "critical"].contains(&rule["labels"]["severity"].as_str().unwrap()), "{name}");
        (name, annotations["runbook_url"].as_str().unwrap().to_owned())
    };
    rules.map(read).collect()
}

#[test]
fn each_alert_leads_to_its_own_heading_and_each_heading_has_its_alert() {
    let page = read("docs/alerts.md");
    let headings: BTreeSet<String> =
        page.lines().filter_map(|line| line.strip_prefix("## ")).map(str::to_owned).collect();
    let alerts = alerts();
    for (name, runbook) in &alerts {
        assert_eq!(*runbook, format!("docs/alerts.md#{}", name.to_lowercase()));
    }
    let names: BTreeSet<String> = alerts.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, headings);
}

#[test]
fn each_alert_is_tested_firing_and_not_firing() {
    let mut seen: BTreeMap<String, BTreeSet<bool>> = BTreeMap::new();
    for file in ["prometheus/tests/client.test.yml", "prometheus/tests/tester.test.yml"] {
        let tests = yaml(file);
        for test in tests["tests"].as_array().unwrap() {
            for check in test["alert_rule_test"].as_array().unwrap() {
                let fires = !check["exp_alerts"].as_array().unwrap().is_empty();
                seen.entry(check["alertname"].as_str().unwrap().to_owned()).or_default().insert(fires);
            }
        }
    }
    let both: BTreeSet<String> =
        seen.into_iter().filter(|(_, seen)| seen.len() == 2).map(|(name, _)| name).collect();
    assert_eq!(both, alerts().into_iter().map(|(name, _)| name).collect());
}

#[test]
fn each_recording_rule_is_tested() {
    let tests = read("prometheus/tests/recording.test.yml");
    let rules = yaml("prometheus/rules/recording.yml");
    for rule in
        rules["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap())
    {
        let name = rule["record"].as_str().unwrap();
        assert!(
            tests.contains(&format!("expr: {name}")) || tests.contains(&format!("expr: '{name}'")),
            "{name}"
        );
    }
}

#[test]
fn promtool_and_the_compose_schema_find_nothing_wrong() {
    let run = |program: &str, args: &[&str]| {
        let Some(program) = real_program(program) else { return };
        let output = Command::new(program).args(args).current_dir(workspace()).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    };
    run("check-jsonschema", &["--builtin-schema", "vendor.compose-spec", COMPOSE[0], COMPOSE[1]]);
    run("promtool", &["check", "config", "prometheus/prometheus.yml"]);
    let tests = ["client", "recording", "tester"].map(|name| format!("prometheus/tests/{name}.test.yml"));
    run("promtool", &["test", "rules", &tests[0], &tests[1], &tests[2]]);
}
