//! The compose files, the image and Prometheus' files fit each other and the binaries; each alert leads to its page.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::{Value, json};

use crate::architecture::workspace;
use crate::harness::real_program;

mod setup;

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

/// The services of a compose file.
fn services(file: &str) -> BTreeMap<String, Value> {
    yaml(file)["services"].as_object().unwrap().clone().into_iter().collect()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[test]
fn every_service_is_pinned_healthy_published_where_it_may_be_and_starts_after_what_it_needs() {
    for file in COMPOSE {
        let services = services(file);
        let volumes = yaml(file)["volumes"].clone();
        for (name, service) in &services {
            let image = service["image"].as_str().unwrap();
            let tag = image.rsplit_once(':').map(|(_, tag)| tag);
            assert!(tag.is_some_and(|tag| tag != "latest"), "{file}, {name}: {image}");
            let ends = name == "setup";
            assert!(ends || service["healthcheck"]["test"].is_array(), "{file}, {name}: no health check");
            // What is copied to another host serves others; everything else is for this one.
            let bound = if file == COMPOSE[1] { "${MEMCACHE_BIND:-0.0.0.0}:" } else { "127.0.0.1:" };
            for port in texts(&service["ports"]) {
                assert!(port.starts_with(bound), "{file}, {name}: {port} is not published on {bound}");
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
    }
}

#[test]
fn only_the_two_programs_are_of_a_profile() {
    let profiles: BTreeMap<String, Value> =
        services(COMPOSE[0]).into_iter().map(|(name, service)| (name, service["profiles"].clone())).collect();
    for (name, profile) in &profiles {
        let expected =
            if ["loadgen", "scenariod"].contains(&name.as_str()) { json!(["full"]) } else { Value::Null };
        assert_eq!(*profile, expected, "{name}");
    }
}

#[test]
fn the_file_for_another_host_runs_only_the_three_memcached_and_needs_no_other_file() {
    let [all, remote] = COMPOSE.map(services);
    let servers = ["memcached1", "memcached2", "memcached3"];
    assert_eq!(remote.keys().map(String::as_str).collect::<Vec<_>>(), servers);
    for name in servers {
        let (mut here, mut there) = (all[name].clone(), remote[name].clone());
        let [here_ports, there_ports] = [&mut here, &mut there].map(|service| service["ports"].take());
        assert_eq!(here, there, "{name}: both files start the same server");
        let inside = |ports: &Value| texts(ports)[0].rsplit_once(':').unwrap().1.to_owned();
        assert_eq!(inside(&here_ports), inside(&there_ports), "{name}");
    }
}

/// Every service that is started with this one.
fn pulled_in(services: &BTreeMap<String, Value>, name: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::from([name.to_owned()]);
    for needed in services[name]["depends_on"].as_object().into_iter().flatten() {
        all.extend(pulled_in(services, needed.0));
    }
    all
}

#[test]
fn no_memcached_of_our_own_is_started_unless_it_is_named() {
    let services = services(COMPOSE[0]);
    for name in ["toxiproxy", "prometheus", "grafana", "loadgen", "scenariod"] {
        let with_it = pulled_in(&services, name);
        assert!(!with_it.iter().any(|one| one.starts_with("memcached")), "{name} starts {with_it:?}");
        assert!(with_it.contains("setup"), "{name} starts {with_it:?}");
    }
}

/// Settings of Grafana that we make, as its documentation names them: section and key of `conf/defaults.ini`, whose variable is
/// `GF_SECTION_KEY`.
const GRAFANA: [(&str, &str); 6] = [
    ("auth.anonymous", "enabled"),
    ("auth.anonymous", "org_role"),
    ("dashboards", "default_home_dashboard_path"),
    ("dashboards", "min_refresh_interval"),
    ("security", "admin_password"),
    ("security", "admin_user"),
];

#[test]
fn everybody_on_this_machine_may_view_grafana_and_a_login_edits() {
    let grafana = &services(COMPOSE[0])["grafana"];
    let settings = grafana["environment"].as_object().unwrap();
    let variable =
        |(section, key): (&str, &str)| format!("GF_{section}_{key}").replace('.', "_").to_uppercase();
    let documented: Vec<String> = GRAFANA.into_iter().map(variable).collect();
    assert_eq!(settings.keys().cloned().collect::<BTreeSet<_>>(), documented.into_iter().collect());
    assert_eq!(settings["GF_AUTH_ANONYMOUS_ENABLED"], "true");
    assert_eq!(settings["GF_AUTH_ANONYMOUS_ORG_ROLE"], "Viewer");
    assert_eq!(settings["GF_SECURITY_ADMIN_USER"], "${GRAFANA_USER:-admin}");
    assert_eq!(settings["GF_SECURITY_ADMIN_PASSWORD"], "${GRAFANA_PASSWORD:-admin}");
    assert_eq!(texts(&grafana["ports"]), ["127.0.0.1:3000:3000"]);
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
        assert_eq!(texts(&scrape["file_sd_configs"][0]["files"]), [format!("/config/{job}.json")]);
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
    assert!(texts(&services["prometheus"]["volumes"]).contains(&"config:/config:ro"));
    assert!(texts(&services["toxiproxy"]["command"]).contains(&"-config=/config/toxiproxy.json"));
    assert_eq!(
        yaml("grafana/provisioning/datasources/prometheus.yml")["datasources"][0]["url"],
        "http://prometheus:9090"
    );
}

#[test]
fn the_containers_run_the_binaries_with_flags_that_they_have() {
    let services = services(COMPOSE[0]);
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

#[test]
fn the_image_is_built_with_our_compiler_and_runs_as_nobody() {
    let dockerfile = read("Dockerfile");
    let toolchain = read("rust-toolchain.toml");
    let version =
        toolchain.lines().find_map(|line| line.strip_prefix("channel = ")).unwrap().trim_matches('"');
    assert!(dockerfile.contains(&format!("FROM rust:{version}-slim-bookworm AS build")));
    assert!(dockerfile.contains(&format!("RUSTUP_TOOLCHAIN={version}\n")));
    assert!(dockerfile.contains("cargo build --profile dist --locked"));
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
