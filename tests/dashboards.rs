//! The dashboards: Grafana's own types, and the rules of grafana/dashboard-linter that make sense here.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::process::Command;

use serde_json::{Value, json};

use crate::architecture::workspace;
use crate::harness::real_program;

/// What the linter would find and is meant: panel, rule, and why.
const EXCLUDED: &[(&str, &str, &str)] = &[
    ("Wrong values", "counters", "the tile counts since loadgen began: one is too many, however long ago"),
    ("Runs", "counters", "a table of how many runs ended how, not a rate"),
];

/// A query of a panel.
#[derive(Debug, Clone)]
pub struct Query {
    pub panel: String,
    /// Letter of the query within its panel.
    pub letter: String,
    /// As in the file.
    pub expr: String,
}

/// All dashboards, by file name.
pub fn dashboards() -> Vec<(String, Value)> {
    let mut files: Vec<_> = std::fs::read_dir(workspace().join("grafana/dashboards"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let read = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        (path.file_name().unwrap().to_string_lossy().into_owned(), serde_json::from_str(&text).unwrap())
    };
    files.into_iter().map(read).collect()
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// The panels that show something.
fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    list(dashboard, "/panels").filter(|panel| panel["type"] != "row")
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// The queries of all panels.
pub fn queries(dashboard: &Value) -> Vec<Query> {
    let of = |panel: &Value| {
        let title = text(panel, "title").to_owned();
        let query = move |target: &Value| Query {
            panel: title.clone(),
            letter: text(target, "refId").to_owned(),
            expr: text(target, "expr").to_owned(),
        };
        list(panel, "/targets").map(query).collect::<Vec<_>>()
    };
    panels(dashboard).flat_map(of).collect()
}

/// The queries of the annotations.
pub fn annotations(dashboard: &Value) -> Vec<String> {
    let queries = list(dashboard, "/annotations/list").filter_map(|one| one["expr"].as_str());
    queries.map(str::to_owned).collect()
}

/// With its variables as Grafana puts them in while all is chosen, at a scrape a second.
pub fn substitute(expr: &str) -> String {
    let mut done = expr.to_owned();
    for (name, value) in [
        // `$__rate_interval` is at least four scrapes.
        ("$__rate_interval", "4s"),
        ("$__interval", "1s"),
        ("$__range", "15m"),
        ("$job", ".+"),
        ("$instance", ".+"),
        ("$server", ".+"),
        ("$scenario", ".+"),
    ] {
        done = done.replace(name, value);
    }
    assert!(!done.contains('$'), "{expr}: an unknown variable");
    done
}

/// What the rules find in one dashboard.
struct Findings<'a> {
    file: &'a str,
    found: Vec<String>,
}

impl Findings<'_> {
    fn say(&mut self, panel: &str, rule: &str, what: String) {
        let excluded = EXCLUDED.iter().any(|(at, of, _)| *at == panel && *of == rule);
        if !excluded {
            self.found.push(format!("{}, {panel}: {rule}: {what}", self.file));
        }
    }
}

/// Everything that the rules find, as `file, panel: rule`.
fn lint(file: &str, dashboard: &Value) -> Vec<String> {
    let mut findings = Findings { file, found: Vec::new() };
    lint_variables(dashboard, &mut findings);
    if dashboard["editable"] != false {
        findings.say("dashboard", "uneditable", "what is a file must not be edited elsewhere".to_owned());
    }
    let mut ids = BTreeSet::new();
    for panel in list(dashboard, "/panels") {
        let title = text(panel, "title");
        if !ids.insert(panel["id"].as_u64()) {
            findings.say(title, "id", "not its own".to_owned());
        }
        if title.is_empty() {
            findings.say(title, "title", "none".to_owned());
        }
    }
    for panel in panels(dashboard) {
        lint_panel(panel, &mut findings);
    }
    findings.found
}

fn lint_variables(dashboard: &Value, findings: &mut Findings<'_>) {
    let variable = |name: &str| list(dashboard, "/templating/list").find(|one| one["name"] == name);
    for (name, label) in [("datasource", "Data source"), ("job", "Job"), ("instance", "Instance")] {
        match variable(name) {
            None => findings.say("variables", name, "missing".to_owned()),
            Some(one) if one["label"] != label => {
                findings.say("variables", name, format!("label is not {label}"));
            }
            Some(_) => {}
        }
    }
    for one in list(dashboard, "/templating/list").filter(|one| one["type"] == "query") {
        let fine = one["datasource"]["uid"] == "${datasource}"
            && one["multi"] == true
            && one["allValue"] == ".+"
            && one["refresh"] == 2;
        if !fine {
            findings.say(
                "variables",
                text(one, "name"),
                "data source, multi, allValue or refresh".to_owned(),
            );
        }
    }
}

fn lint_panel(panel: &Value, findings: &mut Findings<'_>) {
    let title = text(panel, "title");
    if text(panel, "description").len() < 60 {
        findings.say(title, "description", "does not say how to read it".to_owned());
    }
    if text(&panel["fieldConfig"]["defaults"], "unit").is_empty() {
        findings.say(title, "unit", "none".to_owned());
    }
    if panel["datasource"]["uid"] != "${datasource}" {
        findings.say(title, "data source", "not the variable".to_owned());
    }
    let targets: Vec<&Value> = list(panel, "/targets").collect();
    if targets.is_empty() {
        findings.say(title, "targets", "none".to_owned());
    }
    for target in targets {
        if target["datasource"]["uid"] != "${datasource}" {
            findings.say(title, "data source", "not the variable".to_owned());
        }
        lint_query(title, text(target, "expr"), findings);
    }
}

fn lint_query(title: &str, expr: &str, findings: &mut Findings<'_>) {
    // Each selector, so each pair of braces.
    for selector in expr.split('{').skip(1).filter_map(|rest| rest.split('}').next()) {
        for matcher in [r#"job=~"$job""#, r#"instance=~"$instance""#] {
            if !selector.contains(matcher) {
                findings.say(title, "matchers", format!("{matcher} is missing in {expr}"));
            }
        }
    }
    for range in expr.split('[').skip(1).filter_map(|rest| rest.split(']').next()) {
        if range != "$__rate_interval" {
            findings.say(title, "rate interval", expr.to_owned());
        }
    }
    let names = expr.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':' && c != '(');
    for name in names {
        let name = name.rsplit('(').next().unwrap_or_default();
        let counter = ["_total", "_count", "_sum", "_bucket"].iter().any(|end| name.ends_with(end));
        let rated = ["rate(", "irate(", "increase("].iter().any(|f| expr.contains(&format!("{f}{name}{{")));
        if counter && !rated {
            findings.say(title, "counters", format!("{name} outside of a rate"));
        }
    }
}

#[test]
fn the_dashboards_pass_the_rules_of_grafanas_linter() {
    let all = dashboards();
    assert_eq!(
        all.iter().map(|(file, _)| file.as_str()).collect::<Vec<_>>(),
        ["memcache-client-perf.json", "reliability-deep-dive.json"]
    );
    for (file, dashboard) in &all {
        assert_eq!(lint(file, dashboard), Vec::<String>::new());
        assert_eq!(dashboard["uid"], file.trim_end_matches(".json"));
        // What Grafana 11 to 13 read; the id is theirs to give.
        assert_eq!((&dashboard["schemaVersion"], &dashboard["id"]), (&json!(42), &Value::Null));
    }
    let excluded: BTreeSet<&str> = EXCLUDED.iter().map(|(panel, ..)| *panel).collect();
    let panels: BTreeSet<&str> =
        all.iter().flat_map(|(_, one)| panels(one)).map(|panel| text(panel, "title")).collect();
    assert!(excluded.is_subset(&panels), "an exclusion of a panel that is not there");
}

#[test]
fn the_rules_find_what_is_wrong() {
    type Harm = fn(&mut Value);
    let (file, good) = dashboards().remove(0);
    let breaks: &[(&str, Harm)] = &[
        ("description", |d| d["panels"][1]["description"] = json!("Ops")),
        ("unit", |d| d["panels"][1]["fieldConfig"]["defaults"]["unit"] = Value::Null),
        ("data source", |d| d["panels"][1]["datasource"]["uid"] = json!("prometheus")),
        ("targets", |d| d["panels"][1]["targets"] = json!([])),
        ("matchers", |d| d["panels"][1]["targets"][0]["expr"] = json!("up{}")),
        ("rate interval", |d| d["panels"][1]["targets"][0]["expr"] = json!("rate(x_total[1m])")),
        ("counters", |d| d["panels"][1]["targets"][0]["expr"] = json!("sum(x_total)")),
        ("id", |d| d["panels"][1]["id"] = json!(1)),
        ("job", |d| d["templating"]["list"][1]["allValue"] = Value::Null),
        ("uneditable", |d| d["editable"] = json!(true)),
    ];
    for (rule, harm) in breaks {
        let mut bad = good.clone();
        harm(&mut bad);
        let found = lint(&file, &bad);
        assert!(found.iter().any(|one| one.contains(&format!(": {rule}: "))), "{rule}: {found:?}");
    }
}

#[test]
fn the_first_dashboard_is_the_seeds() {
    let (_, dashboard) = dashboards().remove(0);
    assert_eq!(dashboard["refresh"], "1s");
    let titles: Vec<&str> = panels(&dashboard).map(|panel| text(panel, "title")).collect();
    for title in
        ["Operations per second", "Error rate", "Breaker states", "Breaker failures", "Pool connections"]
    {
        assert!(titles.contains(&title), "{title}");
    }
    let phase = &dashboard["panels"][0];
    assert_eq!(
        (text(phase, "type"), &phase["gridPos"]["w"], &phase["gridPos"]["y"]),
        ("state-timeline", &json!(24), &json!(0))
    );
    let colours = &phase["fieldConfig"]["defaults"]["mappings"][0]["options"];
    let colour = |phase: &str| colours[phase]["color"].clone();
    assert_eq!([colour("1"), colour("2"), colour("3")], ["blue", "orange", "green"].map(|name| json!(name)));
}

/// Prometheus' own parser, of which a file of rules is the only one on a command line.
#[test]
fn every_query_is_promql() {
    let Some(promtool) = real_program("promtool") else { return };
    let mut rules = "groups:\n- name: all\n  rules:\n".to_owned();
    for (_, dashboard) in dashboards() {
        let panels = queries(&dashboard).into_iter().map(|query| query.expr);
        for (n, expr) in panels.chain(annotations(&dashboard)).enumerate() {
            let expr = serde_json::to_string(&substitute(&expr)).unwrap();
            let name = dashboard["uid"].as_str().unwrap().replace('-', "_");
            let _ = writeln!(rules, "  - record: {name}:{n}\n    expr: {expr}");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("all.yml");
    std::fs::write(&file, rules).unwrap();
    let output = Command::new(promtool).args(["check", "rules"]).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_dashboards_are_what_grafanas_types_say() {
    let Some(check) = real_program("grafana-schema-check") else { return };
    let run = |files: &[std::path::PathBuf]| {
        let output = Command::new(&check).args(files).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let folder = workspace().join("grafana/dashboards");
    let files: Vec<_> = dashboards().iter().map(|(file, _)| folder.join(file)).collect();
    assert_eq!(run(&files), (true, String::new()));

    // It can fail: a name that nobody knows, and a value that does not fit.
    let (_, mut bad) = dashboards().remove(0);
    bad["panels"][1]["options"]["legend"]["placement"] = json!("left");
    bad["panels"][2]["fieldConfig"]["defaults"]["custom"]["lineWith"] = json!(2);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bad.json");
    std::fs::write(&file, bad.to_string()).unwrap();
    let (fine, said) = run(&[file]);
    assert!(!fine && said.contains("left") && said.contains("lineWith"), "{said}");
}
