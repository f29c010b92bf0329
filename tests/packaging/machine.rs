//! A runner of GitHub: runs the steps of an action as GitHub would, with scripts in place of the programs of others.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::architecture::workspace;
use crate::deployment::yaml;
use crate::harness::real_program;

/// In place of scenariod.
pub const SCENARIOD: &str = "fake-scenariod";
/// In place of cargo, curl, gh, git and rustup.
pub const TOOLS: &str = "fake-tools";

/// A machine with a workspace, and what scenariod leaves on it.
pub struct Machine {
    dir: TempDir,
    /// Which of the folders with programs is on PATH.
    programs: &'static str,
    env: BTreeMap<String, String>,
    /// What expressions are worth, such as `github.action_ref`.
    values: BTreeMap<String, String>,
}

/// What came of an action.
pub struct Ended {
    /// Exit code of the step that failed; 0: none has.
    pub code: i32,
    /// What all steps have printed.
    pub said: String,
    /// What expressions are worth now.
    pub values: BTreeMap<String, String>,
    /// Outputs of the action.
    pub outputs: BTreeMap<String, String>,
    /// The job summary.
    pub summary: String,
    /// Arguments of the last program that a script took the place of.
    pub args: Vec<String>,
}

impl Machine {
    /// With one of the folders beside this file on PATH. scenariod ends with `code`.
    pub fn new(programs: &'static str, code: i32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["workspace", "temp", "runs"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let env = [
            ("FAKE_ARGS", path("args")),
            ("FAKE_CODE", code.to_string()),
            ("FAKE_RUNS", path("runs")),
            ("GITHUB_JOB", "reliability".to_owned()),
            ("GITHUB_PATH", path("path")),
            ("GITHUB_REPOSITORY", "me/mine".to_owned()),
            ("GITHUB_STEP_SUMMARY", path("summary")),
            ("GITHUB_WORKFLOW_REF", "me/mine/.github/workflows/mine.yml@refs/heads/main".to_owned()),
            ("GITHUB_WORKSPACE", path("workspace")),
            ("HOME", path("")),
            ("RUNNER_TEMP", path("temp")),
        ];
        let env = env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { dir, programs, env, values: BTreeMap::new() }
    }

    /// With an environment variable for all steps.
    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// With the value of an expression.
    pub fn with_value(mut self, expression: &str, value: &str) -> Self {
        self.values.insert(expression.to_owned(), value.to_owned());
        self
    }

    /// With a file that scenariod leaves, by its path from the folder of the run folders.
    pub fn leaves(self, path: &str, text: &str) -> Self {
        self.write("runs", path, text)
    }

    /// With a run folder that has this verdict.
    pub fn judged(self, run: &str, verdict: &Value) -> Self {
        self.leaves(&format!("{run}/verdict.json"), &verdict.to_string())
            .leaves(&format!("{run}/report.html"), "")
    }

    /// With a file of the repository in which the action is used.
    pub fn has(self, path: &str, text: &str) -> Self {
        self.write("workspace", path, text)
    }

    fn write(self, folder: &str, path: &str, text: &str) -> Self {
        let file = self.dir.path().join(folder).join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
        self
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).unwrap_or_default()
    }

    /// Folders that later steps have on PATH.
    pub fn added_to_path(&self) -> String {
        self.read("path")
    }

    /// PATH without a scenariod of this machine's own.
    fn path(&self) -> OsString {
        let ours = workspace().join("tests/packaging").join(self.programs);
        let own = std::env::var_os("PATH").unwrap_or_default();
        let own = std::env::split_paths(&own).filter(|folder| !folder.join("scenariod").exists());
        std::env::join_paths([ours].into_iter().chain(own)).unwrap()
    }

    /// Runs a program with nothing but the environment of this machine.
    pub fn run(&self, program: &Path, args: &[&str], env: &BTreeMap<String, String>) -> Output {
        Command::new(program)
            .args(args)
            .current_dir(self.dir.path().join("workspace"))
            .env_clear()
            .env("PATH", self.path())
            .envs(&self.env)
            .envs(env)
            .output()
            .unwrap()
    }

    /// Runs the scripts of an action with these inputs. `None`: a program is not here, as was said.
    pub fn act(&self, file: &str, inputs: &[(&str, &str)]) -> Option<Ended> {
        let bash = real_program("bash")?;
        real_program("python3")?;
        let action = yaml(file);
        let mut values = self.values.clone();
        for (name, input) in action["inputs"].as_object().unwrap() {
            values.insert(format!("inputs.{name}"), input["default"].as_str().unwrap().to_owned());
        }
        for (name, value) in inputs {
            let default = values.insert(format!("inputs.{name}"), (*value).to_owned());
            assert!(default.is_some(), "{file} has no input {name}");
        }
        let place = workspace().join(file).parent().unwrap().to_str().unwrap().to_owned();
        let (mut said, mut code) = (String::new(), 0);
        for step in action["runs"]["steps"].as_array().unwrap() {
            // What others have made is not run.
            let Some(run) = step["run"].as_str() else { continue };
            assert_eq!(step["shell"], "bash", "{file}: {run}");
            let output = self.step(&bash, run, &self.environment(step, &place, &values));
            said += &String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            if let Some(id) = step["id"].as_str() {
                let named = self.read("output");
                let named = named.lines().map(|line| line.split_once('=').unwrap());
                values.extend(
                    named.map(|(name, value)| (format!("steps.{id}.outputs.{name}"), value.to_owned())),
                );
            }
            if !output.status.success() && step["continue-on-error"] != true {
                code = output.status.code().unwrap();
                break;
            }
        }
        let outputs = action["outputs"].as_object().unwrap().iter();
        let outputs = outputs
            .map(|(name, output)| (name.clone(), resolved(output["value"].as_str().unwrap(), &values)));
        Some(Ended {
            code,
            said,
            outputs: outputs.collect(),
            values,
            summary: self.read("summary"),
            args: self.read("args").lines().map(str::to_owned).collect(),
        })
    }

    fn environment(
        &self,
        step: &Value,
        place: &str,
        values: &BTreeMap<String, String>,
    ) -> BTreeMap<String, String> {
        let given = step["env"].as_object().into_iter().flatten();
        let mut env: BTreeMap<String, String> =
            given.map(|(name, value)| (name.clone(), resolved(value.as_str().unwrap(), values))).collect();
        env.insert("GITHUB_ACTION_PATH".to_owned(), place.to_owned());
        env.insert("GITHUB_OUTPUT".to_owned(), self.dir.path().join("output").to_str().unwrap().to_owned());
        env
    }

    /// As GitHub runs a step whose shell is bash.
    fn step(&self, bash: &Path, run: &str, env: &BTreeMap<String, String>) -> Output {
        let script: PathBuf = self.dir.path().join("step.sh");
        std::fs::write(&script, run).unwrap();
        std::fs::write(self.dir.path().join("output"), "").unwrap();
        let args = ["--noprofile", "--norc", "-eo", "pipefail", script.to_str().unwrap()];
        self.run(bash, &args, env)
    }
}

/// A text with its expressions replaced. What is not known is empty, as on GitHub.
fn resolved(text: &str, values: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${{") {
        let (expression, behind) = after.split_once("}}").unwrap();
        out.push_str(before);
        out.push_str(values.get(expression.trim()).map_or("", String::as_str));
        rest = behind;
    }
    out + rest
}

/// A verdict that was given once, with other results of some criteria.
pub fn verdict(result: &str, criteria: &[(&str, &str)]) -> Value {
    let file = "crates/verdict/tests/journals/packet-loss-100-pct.verdict.json";
    let mut verdict: Value = serde_json::from_str(&super::text(file)).unwrap();
    verdict["result"] = json!(result);
    for criterion in verdict["criteria"].as_array_mut().unwrap() {
        let id = criterion["id"].as_str().unwrap().to_owned();
        if let Some((_, result)) = criteria.iter().find(|(wanted, _)| *wanted == id) {
            criterion["result"] = json!(result);
        }
    }
    verdict
}

/// The commands that GitHub would obey, in order.
pub fn commands(said: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut token = String::new();
    for line in said.lines() {
        if !token.is_empty() {
            if line == format!("::{token}::") {
                token.clear();
            }
        } else if let Some(stopped) = line.strip_prefix("::stop-commands::") {
            token = stopped.to_owned();
        } else if line.trim_start().starts_with("::") {
            found.push(line);
        }
    }
    assert!(token.is_empty(), "commands stay stopped: {said}");
    found
}
