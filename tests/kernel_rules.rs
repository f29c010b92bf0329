//! Rules of the packet filter that a run makes: gone after every death of their owner, and nobody else's is ever touched.
//!
//! Each test has a network namespace of its own, so that its whole rule set can be compared.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tokio::time::Instant;

use crate::harness::{
    PATIENCE, Running, binary, janitor, judged, kill, real_program, stalled, verdict, wait_for,
};
use crate::kernel_loss::permitted;

/// Rules that somebody else has made, with names that are nearly ours.
const FOREIGN: &str = "
table inet scenariod {
  chain input {
    type filter hook input priority 0; policy accept
    tcp dport 9 drop
  }
}
table inet scenariod.1.2.3 {
  set ports {
    type inet_service
    elements = { 1, 2 }
  }
}
table ip scenariod.4026531836.1.1.1.1.1 {
  chain x {
    tcp dport 10 drop
  }
}
";
const SCENARIO: &str = "name = \"real\"\nsuite = \"x\"\ndescription = \"d\"\n[phases]\ntesting = \"6s\"\n[[fault]]\n\
                        target = \"one\"\ntype = \"loss_kernel\"\nloss = \"10%\"\n";
const LAB: [&str; 11] = [
    "--lab",
    "--memcached",
    "fake",
    "--rate",
    "600",
    "--scenario-file",
    "real.toml",
    "--stabilization",
    "10s",
    "--recovery",
    "10s",
];

/// A network namespace with foreign rules in it; taken away when it goes out of scope.
struct Place {
    name: String,
}

impl Place {
    fn make(purpose: &str) -> Self {
        let place = Self { name: format!("kernel-rules-{purpose}-{}", std::process::id()) };
        ip(&["netns", "add", &place.name]);
        ip(&["-n", &place.name, "link", "set", "lo", "up"]);
        let file = std::env::temp_dir().join(format!("{}.nft", place.name));
        std::fs::write(&file, FOREIGN).unwrap();
        place.nft(&["-f", file.to_str().unwrap()]);
        std::fs::remove_file(file).unwrap();
        place
    }

    fn nft(&self, arguments: &[&str]) -> String {
        ip(&[&["netns", "exec", &self.name, "nft"], arguments].concat())
    }

    fn rules(&self) -> String {
        self.nft(&["list", "ruleset"])
    }

    /// Tables of the process of that id.
    fn tables_of(&self, pid: u32) -> Vec<String> {
        let tables = self.nft(&["list", "tables", "inet"]);
        let of = format!(".{pid}.");
        let names = tables.lines().filter_map(|line| line.strip_prefix("table inet "));
        names
            .filter(|name| name.starts_with("scenariod.4") && name.contains(&of))
            .map(str::to_owned)
            .collect()
    }

    /// A lab within it, on its loopback.
    fn lab(&self, dir: &Path) -> Running {
        std::fs::write(dir.join("real.toml"), SCENARIO).unwrap();
        let scenariod = binary("scenariod");
        let within = ["netns", "exec", &self.name, scenariod.to_str().unwrap()];
        Running::start(&real_program("ip").unwrap(), &[&within, &LAB[..]].concat(), dir)
    }

    async fn table_of(&self, lab: &Running) -> String {
        let mut tables = Vec::new();
        wait_for("the table", PATIENCE, async || {
            tables = self.tables_of(lab.id());
            !tables.is_empty()
        })
        .await;
        assert_eq!(tables.len(), 1);
        tables.remove(0)
    }

    async fn gone(&self, pid: u32, patience: Duration) {
        wait_for("the table to go", patience, async || self.tables_of(pid).is_empty()).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

fn ip(arguments: &[&str]) -> String {
    let output = Command::new("ip").args(arguments).output().unwrap();
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

async fn namespaces() -> bool {
    permitted().await && real_program("ip").is_some()
}

#[tokio::test]
async fn a_killed_run_leaves_no_rule_and_neither_its_neighbours_nor_a_strangers_are_touched() {
    if !namespaces().await {
        return;
    }
    judged(async || {
        let place = Place::make("kill");
        let before = place.rules();
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let (killed, mut neighbour) = (place.lab(dirs[0].path()), place.lab(dirs[1].path()));
        let (_, stays) = tokio::join!(place.table_of(&killed), place.table_of(&neighbour));
        let (pid, its_janitor) = (killed.id(), janitor(killed.id()).unwrap());
        let began = Instant::now();
        killed.signal("KILL");
        place.gone(pid, Duration::from_secs(2)).await;
        println!("gone {} ms after SIGKILL", began.elapsed().as_millis());
        assert_eq!(place.tables_of(neighbour.id()), [stays]);
        wait_for("the janitor to end", PATIENCE, async || {
            !Path::new(&format!("/proc/{its_janitor}")).exists()
        })
        .await;

        let code = neighbour.exit_code(Duration::from_secs(60)).await;
        assert_eq!(place.rules(), before, "the foreign rules");
        let verdict = verdict(dirs[1].path());
        (!stalled(&verdict)).then(|| assert_eq!(code, 0, "{verdict:#}"))
    })
    .await;
}

#[tokio::test]
async fn what_two_kills_leave_behind_is_swept_by_the_next_run_and_a_signal_leaves_nothing() {
    if !namespaces().await {
        return;
    }
    let place = Place::make("sweep");
    let before = place.rules();
    let dir = tempfile::tempdir().unwrap();
    let doomed = place.lab(dir.path());
    let left = place.table_of(&doomed).await;
    kill("STOP", &[doomed.id()]);
    kill("KILL", &[janitor(doomed.id()).unwrap(), doomed.id()]);
    drop(doomed);
    assert!(place.rules().contains(&left), "nobody was there to take it away");

    let mut next = place.lab(dir.path());
    let its = place.table_of(&next).await;
    assert!(!place.rules().contains(&left), "swept before the run");
    next.signal("TERM");
    assert_eq!(next.exit_code(PATIENCE).await, 3);
    assert_eq!(place.rules(), before, "{its} went with the signal");
    let log = std::fs::read_to_string(dir.path().join("ip.err")).unwrap();
    assert!(log.contains(&format!("table {left} was left by an earlier run; removed")), "{log}");
}

#[tokio::test]
async fn without_its_janitor_a_run_ends_and_takes_its_rules_away_itself() {
    if !namespaces().await {
        return;
    }
    let place = Place::make("janitor");
    let before = place.rules();
    let dir = tempfile::tempdir().unwrap();
    let mut lab = place.lab(dir.path());
    place.table_of(&lab).await;
    kill("KILL", &[janitor(lab.id()).unwrap()]);
    place.gone(lab.id(), Duration::from_secs(2)).await;
    assert_eq!(lab.exit_code(PATIENCE).await, 3);
    assert_eq!(place.rules(), before);
    let reasons = verdict(dir.path())["reasons"].to_string();
    assert!(reasons.contains("the janitor has ended"), "{reasons}");
}

/// The one line with which a lab of `scenario` is refused, as started by `program` with `before` in front of scenariod.
async fn refusal(program: &Path, before: &[&str], scenario: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("real.toml"), scenario).unwrap();
    // Whoever it is run as may write there.
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let scenariod = binary("scenariod");
    let arguments = [before, &[scenariod.to_str().unwrap()], &LAB[..]].concat();
    let mut refused = Running::start(&program.to_owned(), &arguments, dir.path());
    assert_eq!(refused.exit_code(PATIENCE).await, 4);
    assert!(std::fs::read_dir(dir.path().join("runs")).unwrap().next().is_none(), "no run was begun");
    let name = program.file_name().unwrap().to_str().unwrap();
    let log = std::fs::read_to_string(dir.path().join(format!("{name}.err"))).unwrap();
    let errors: Vec<&str> = log.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(errors.len(), 1, "{log}");
    errors[0].to_owned()
}

#[tokio::test]
async fn where_it_is_not_permitted_one_line_says_what_is_missing_and_nothing_runs() {
    let (Some(env), Some(setpriv)) = (real_program("env"), real_program("setpriv")) else { return };
    if permitted().await {
        let nobody = ["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"];
        let line = refusal(&setpriv, &nobody, SCENARIO).await;
        assert!(line.contains("scenario real: real packet loss is not permitted here (nft "), "{line}");
        assert!(
            line.contains("run as root or with CAP_NET_ADMIN, or use `loss`, the proxy's own delay"),
            "{line}"
        );
        let elsewhere = format!("{SCENARIO}netns = \"no-such-place\"\n");
        let line = refusal(&env, &[], &elsewhere).await;
        assert!(line.contains("there is no network namespace \"no-such-place\" here"), "{line}");
    } else {
        let line = refusal(&env, &[], SCENARIO).await;
        assert!(line.contains("scenario real: real packet loss "), "{line}");
    }
}
