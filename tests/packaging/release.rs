//! What a release packs is what the action unpacks. The programs in the archive are scripts: nothing is compiled.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;

use tempfile::TempDir;

use super::TAG;
use super::machine::{Ended, Machine, TOOLS, commands, verdict};
use crate::architecture::workspace;
use crate::harness::real_program;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const RUN: &str = "20260101T000000Z-packet-loss-100-pct";

/// The kind of machine that this is.
fn target() -> String {
    format!("{}-unknown-linux-musl", std::env::consts::ARCH)
}

fn archive() -> String {
    format!("memcache-client-reliability-{TAG}-{}", target())
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A script of the release, with scripts in place of cargo and of GitHub's program.
fn run(script: &str, args: &[&str], dir: &Path) -> Option<Output> {
    let bash = real_program("bash")?;
    let path = workspace().join("ci/release").join(script);
    let args = [&[path.to_str().unwrap()], args].concat();
    let below = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let env = BTreeMap::from([
        ("CARGO_TARGET_DIR".to_owned(), below("target")),
        ("FAKE_ARGS".to_owned(), below("args")),
        ("SOURCE_DATE_EPOCH".to_owned(), "0".to_owned()),
    ]);
    Some(Machine::new(TOOLS, 0).run(&bash, &args, &env))
}

/// All releases: the one of this version, in a folder of its tag.
fn releases() -> Option<TempDir> {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join(TAG);
    let packed = run("package.sh", &[TAG, &target(), folder.to_str().unwrap()], dir.path())?;
    assert!(packed.status.success(), "{}", said(&packed));
    let published = run("publish.sh", &[TAG, folder.to_str().unwrap()], dir.path())?;
    assert!(published.status.success(), "{}", said(&published));
    Some(dir)
}

/// Uses the action by this ref, where these releases and tags are. `version`: the input.
fn used(releases: &Path, by: &str, version: &str) -> Option<Ended> {
    let tags = releases.join("tags");
    let other = COMMIT.replace('0', "f");
    let lines = format!(
        "{other}\trefs/tags/{TAG}\n{COMMIT}\trefs/tags/{TAG}^{{}}\n{COMMIT}\trefs/tags/v0\n{other}\trefs/tags/v9.9.9\n"
    );
    std::fs::write(&tags, lines).unwrap();
    Machine::new(TOOLS, 0)
        .judged(RUN, &verdict("pass", &[]))
        .with_env("FAKE_RELEASES", releases.to_str().unwrap())
        .with_env("FAKE_TAGS", tags.to_str().unwrap())
        .with_value("github.action_ref", by)
        .with_value("github.action_repository", "them/theirs")
        .act("action.yml", &[("version", version)])
}

/// Where the scenariod came from that was used: the last two parts of its path.
fn came_from(ended: &Ended) -> PathBuf {
    let path = PathBuf::from(&ended.values["steps.get.outputs.scenariod"]);
    let parent = path.parent().unwrap().file_name().unwrap();
    Path::new(parent).join(path.file_name().unwrap())
}

fn downloaded() -> PathBuf {
    Path::new(&archive()).join("scenariod")
}

fn built() -> PathBuf {
    Path::new("bin").join("scenariod")
}

#[test]
fn the_release_of_the_actions_own_tag_is_downloaded_also_if_it_is_pinned_by_commit() {
    let Some(releases) = releases() else { return };
    // v0 is a tag that moves, and has no release of its own.
    for (by, version) in [(TAG, ""), (COMMIT, ""), ("v0", ""), ("main", TAG)] {
        let Some(ended) = used(releases.path(), by, version) else { return };
        assert_eq!(ended.code, 0, "{by}: {}", ended.said);
        assert_eq!(ended.outputs["result"], "pass", "{by}: {}", ended.said);
        assert_eq!(came_from(&ended), downloaded(), "{by}: {}", ended.said);
    }
}

#[test]
fn without_a_release_scenariod_is_built() {
    let Some(releases) = releases() else { return };
    for (by, version) in [("v9.9.9", ""), ("main", ""), ("", ""), (TAG, "source")] {
        let Some(ended) = used(releases.path(), by, version) else { return };
        assert_eq!(ended.code, 0, "{by}: {}", ended.said);
        assert_eq!(came_from(&ended), built(), "{by}: {}", ended.said);
    }
}

#[test]
fn what_was_asked_for_by_name_is_not_replaced_by_something_else() {
    let Some(releases) = releases() else { return };
    for (version, why) in [
        ("v9.9.9", "no release v9.9.9 for this machine"),
        ("v1/../x", "no release v1/../x for this machine"),
        ("path", "version is path, but no scenariod is on PATH"),
    ] {
        let Some(ended) = used(releases.path(), TAG, version) else { return };
        assert_eq!(ended.code, 4, "{version}: {}", ended.said);
        let [error] = commands(&ended.said)[..] else { panic!("{}", ended.said) };
        assert!(error.starts_with(&format!("::error title=scenariod::{why}")), "{error}");
    }
}

#[test]
fn an_archive_that_was_changed_is_not_used() {
    let Some(releases) = releases() else { return };
    let file = releases.path().join(TAG).join(format!("{}.tar.gz", archive()));
    let mut bytes = std::fs::read(&file).unwrap();
    bytes.push(0);
    std::fs::write(&file, bytes).unwrap();
    let Some(ended) = used(releases.path(), TAG, "") else { return };
    assert_eq!(ended.code, 4, "{}", ended.said);
    assert!(commands(&ended.said)[0].contains("its checksum is not the one in SHA256SUMS"), "{}", ended.said);
}

#[test]
fn the_setup_puts_scenariod_on_path_for_later_steps() {
    let Some(releases) = releases() else { return };
    let machine = Machine::new(TOOLS, 0)
        .with_env("FAKE_RELEASES", releases.path().to_str().unwrap())
        .with_value("github.action_ref", TAG)
        .with_value("github.action_repository", "them/theirs");
    let Some(ended) = machine.act("ci/setup/action.yml", &[]) else { return };
    assert_eq!(ended.code, 0, "{}", ended.said);
    let folder = machine.added_to_path();
    assert!(Path::new(folder.trim_end()).join("scenariod").is_file(), "{folder}");
    assert_eq!(ended.outputs["scenariod"], format!("{}/scenariod", folder.trim_end()));
}

#[test]
fn an_archive_has_programs_completions_manual_and_licences_and_is_the_same_each_time() {
    let (Some(one), Some(other)) = (releases(), releases()) else { return };
    let [one_file, other_file] =
        [&one, &other].map(|dir| dir.path().join(TAG).join(format!("{}.tar.gz", archive())));
    assert_eq!(std::fs::read(&one_file).unwrap(), std::fs::read(&other_file).unwrap());
    let Some(tar) = real_program("tar") else { return };
    let listed = Machine::new(TOOLS, 0).run(&tar, &["-tzf", one_file.to_str().unwrap()], &BTreeMap::new());
    let listed = said(&listed);
    for file in [
        "loadgen",
        "scenariod",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "README.md",
        "completions/scenariod.bash",
        "completions/_scenariod",
        "completions/scenariod.fish",
        "man/scenariod.1",
    ] {
        let path = format!("{}/{file}", archive());
        assert!(listed.lines().any(|line| line == path), "no {path}: {listed}");
    }
}

#[test]
fn a_tag_that_is_not_our_version_is_not_packed() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("packed");
    let Some(packed) = run("package.sh", &["v99.0.0", &target(), folder.to_str().unwrap()], dir.path())
    else {
        return;
    };
    assert!(!packed.status.success());
    assert!(said(&packed).contains("the tag is v99.0.0, but Cargo.toml has version"), "{}", said(&packed));
}

#[test]
fn a_version_that_is_not_final_is_a_prerelease() {
    for (tag, is_prerelease) in [("v1.0.0", false), ("v1.0.0-rc.1", true)] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.tar.gz"), "").unwrap();
        let Some(published) = run("publish.sh", &[tag, dir.path().to_str().unwrap()], dir.path()) else {
            return;
        };
        assert!(published.status.success(), "{}", said(&published));
        let args = std::fs::read_to_string(dir.path().join("args")).unwrap();
        let args: Vec<&str> = args.lines().collect();
        assert_eq!(args[..3], ["release", "create", tag]);
        assert_eq!(args.contains(&"--prerelease"), is_prerelease, "{tag}");
        assert!(args.ends_with(&["a.tar.gz", "SHA256SUMS"]), "{args:?}");
    }
}
