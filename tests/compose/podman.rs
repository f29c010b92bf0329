//! Podman with a storage of its own below `target`, the images of the compose files in it, and stacks that end with their guard.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use super::{PATIENCE, becomes_true, binary, wait_for};
use crate::architecture::workspace;
use crate::harness::real_program;

/// What podman-compose, the images and the containers need.
const PROGRAMS: [&str; 9] = [
    "podman",
    "podman-compose",
    "runc",
    "catatonit",
    "busybox",
    "memcached",
    "prometheus",
    "toxiproxy-server",
    "toxiproxy-cli",
];
/// Ports of the compose files, and of both programs on the host.
const PORTS: [u16; 13] =
    [8474, 9090, 9091, 9092, 11_211, 11_212, 11_213, 19_090, 19_092, 21_211, 21_212, 21_213, 3000];

/// Its storage and its settings: the user's own stay as they are.
#[derive(Debug)]
pub struct Podman {
    folder: PathBuf,
    _alone: tokio::sync::MutexGuard<'static, ()>,
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn is_taken(port: u16) -> bool {
    TcpListener::bind(("0.0.0.0", port)).is_err()
}

impl Podman {
    /// `None`: a program that it needs is not here, as was said. The fixed ports of the compose files allow one stack at a time:
    /// the others wait here.
    pub async fn ready() -> Option<Self> {
        static STACKS: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        let found = PROGRAMS.map(|name| real_program(name).is_some());
        if found.contains(&false) {
            return None;
        }
        let help = Command::new("podman-compose").arg("--help").output().unwrap();
        assert!(
            said(&help).contains("--profile"),
            "this podman-compose knows no profiles: `pip install -r tests/compose/requirements.txt` has one that does"
        );
        eprintln!(
            "NOT STARTED: Grafana, whose image cannot be made here; its settings are checked in tests/deployment.rs"
        );
        let podman = Self { folder: workspace().join("target/containers"), _alone: STACKS.lock().await };
        podman.configure();
        podman.remove_leftovers();
        static IMAGES: OnceLock<()> = OnceLock::new();
        IMAGES.get_or_init(|| {
            let binaries = binary("loadgen").parent().unwrap().to_owned();
            podman.run(
                workspace().join("tests/compose/images").to_str().unwrap(),
                &[binaries.to_str().unwrap()],
            );
        });
        Some(podman)
    }

    /// runc and cgroupfs: crun refuses hybrid cgroups, and not every machine has systemd. The limits are below the hard limits of
    /// a usual machine, because raising one needs a right that containers do not have.
    fn configure(&self) {
        let mut hash = DefaultHasher::new();
        self.folder.hash(&mut hash);
        // Paths of sockets are short, and what is there does not outlast a reboot.
        let runtime = std::env::var("XDG_RUNTIME_DIR").unwrap_or_else(|_| "/run".to_owned());
        let runtime = format!("{runtime}/compose-test-{:08x}", hash.finish() as u32);
        let folder = self.folder.display();
        std::fs::create_dir_all(&self.folder).unwrap();
        let containers = format!(
            "[engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\nlock_type = \"file\"\n\
             tmp_dir = \"{runtime}/engine\"\n\
             [network]\nnetwork_backend = \"netavark\"\nnetwork_config_dir = \"{folder}/networks\"\n\
             [containers]\ndefault_ulimits = [\"nofile=8192:8192\", \"nproc=8192:8192\"]\nlog_driver = \"k8s-file\"\n"
        );
        let storage = format!(
            "[storage]\ndriver = \"overlay\"\ngraphroot = \"{folder}/storage\"\nrunroot = \"{runtime}/storage\"\n"
        );
        std::fs::write(self.folder.join("containers.conf"), containers).unwrap();
        std::fs::write(self.folder.join("storage.conf"), storage).unwrap();
    }

    /// What a killed test left behind.
    fn remove_leftovers(&self) {
        self.run("podman", &["rm", "--all", "--force", "--time=0"]);
        self.run("podman", &["volume", "prune", "--force"]);
        self.run("podman", &["network", "prune", "--force"]);
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("CONTAINERS_CONF", self.folder.join("containers.conf"))
            .env("CONTAINERS_STORAGE_CONF", self.folder.join("storage.conf"));
        // The compose files read them.
        for name in ["MEMCACHE_HOST", "MEMCACHE_BIND", "SCENARIO"] {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, program: &str, args: &[&str]) -> String {
        let output = self.command(program).args(args).output().unwrap();
        assert!(output.status.success(), "{program} {args:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    fn lines(&self, args: &[&str]) -> BTreeSet<String> {
        self.run("podman", args).lines().map(str::to_owned).collect()
    }

    /// `up -d SERVICES`, in `folder`, of a project of this name; no services: all.
    pub async fn up(
        &self,
        project: &str,
        folder: &Path,
        files: &[&str],
        env: &[(&str, &str)],
        services: &[&str],
    ) -> Stack<'_> {
        // The second stack of a test finds the ports of the first in use, and must not need them.
        if self.lines(&["ps", "--all", "--quiet"]).is_empty() {
            let taken: Vec<u16> = PORTS.into_iter().filter(|port| is_taken(*port)).collect();
            assert!(
                taken.is_empty(),
                "ports {taken:?} are in use, and the compose files need them: see who listens with `ss -ltnp`, and stop it"
            );
        }
        let stack = Stack {
            podman: self,
            project: project.to_owned(),
            folder: folder.to_owned(),
            files: files.iter().map(|file| (*file).to_owned()).collect(),
        };
        let profile = if services.contains(&"scenariod") { ["--profile", "full"].as_slice() } else { &[] };
        let mut command = stack.compose(profile);
        command.args(["up", "-d"]).args(services).envs(env.iter().copied());
        let output = command.output().unwrap();
        assert!(output.status.success(), "up: {}", said(&output));
        stack
    }
}

/// A project of podman-compose, which goes down with this.
#[derive(Debug)]
pub struct Stack<'a> {
    podman: &'a Podman,
    project: String,
    folder: PathBuf,
    files: Vec<String>,
}

impl Stack<'_> {
    fn compose(&self, more: &[&str]) -> Command {
        let mut command = self.podman.command("podman-compose");
        command.current_dir(&self.folder).args(["-p", &self.project]).args(more);
        for file in &self.files {
            command.args(["-f", file]);
        }
        command
    }

    fn container(&self, service: &str) -> String {
        format!("{}_{service}_1", self.project)
    }

    /// What a service has said.
    pub fn logs(&self, service: &str) -> String {
        said(&self.podman.command("podman").args(["logs", &self.container(service)]).output().unwrap())
    }

    /// Exactly these services run, and the health check of each succeeds inside its container.
    pub async fn is_healthy(&self, services: &[&str]) {
        let project = format!("label=io.podman.compose.project={}", self.project);
        let running = self.podman.lines(&["ps", "--filter", &project, "--format", "{{.Names}}"]);
        let expected: BTreeSet<String> = services.iter().map(|service| self.container(service)).collect();
        assert_eq!(running, expected);
        for service in services {
            let container = self.container(service);
            // Without systemd nothing else runs it; it is an error where there is none.
            let healthy = becomes_true(PATIENCE, async || {
                let check =
                    self.podman.command("podman").args(["healthcheck", "run", &container]).output().unwrap();
                check.status.success()
            })
            .await;
            assert!(healthy, "{service} is not healthy: {}", self.logs(service));
        }
    }

    /// Copies `SERVICE:PATH` into a folder here.
    pub fn copy(&self, from: &str, to: &Path) {
        let (service, path) = from.split_once(':').unwrap();
        let from = format!("{}:{path}", self.container(service));
        self.podman.run("podman", &["cp", "--overwrite", &from, to.to_str().unwrap()]);
    }

    fn stop(&self) -> Output {
        self.compose(&["--profile", "full"]).args(["down", "--volumes"]).output().unwrap()
    }

    /// Takes it down, and finds nothing of it: no container, network, volume, process or port.
    pub async fn down(self) {
        let output = self.stop();
        assert!(output.status.success(), "down: {}", said(&output));
        let project = format!("label=io.podman.compose.project={}", self.project);
        for what in [["ps", "--all"].as_slice(), &["network", "ls"], &["volume", "ls"]] {
            let left = self.podman.lines(&[what, &["--quiet", "--filter", &project]].concat());
            assert_eq!(left, BTreeSet::new(), "{what:?} after down");
        }
        if !self.podman.lines(&["ps", "--all", "--quiet"]).is_empty() {
            return;
        }
        let storage = self.podman.folder.join("storage");
        wait_for("the last process of the containers to end", PATIENCE, async || {
            processes(&storage).is_empty()
        })
        .await;
        wait_for("the ports to be free", PATIENCE, async || !PORTS.into_iter().any(is_taken)).await;
    }
}

impl Drop for Stack<'_> {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Processes whose command line names this storage: each container has one that watches it.
fn processes(storage: &Path) -> Vec<u32> {
    let names_it = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(storage.to_str().unwrap())
    };
    let processes = std::fs::read_dir("/proc").unwrap();
    let pids = processes.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    pids.filter(names_it).collect()
}
