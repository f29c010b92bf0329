//! `scenariod janitor` where nobody reads its log: a terminal that is closed, a broken pipe.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

/// Writes down which tables it is to delete, and has none.
const NFT: &str = r#"#!/bin/sh
case "$1" in
delete) echo "$4" >> "$(dirname "$0")/deleted" ;;
*) echo '{"nftables": []}' ;;
esac
"#;

#[test]
fn with_a_broken_standard_error_the_janitor_removes_everything() {
    let folder = tempfile::tempdir().unwrap();
    let nft = folder.path().join("nft");
    std::fs::write(&nft, NFT).unwrap();
    std::fs::set_permissions(&nft, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::join_paths(
        [folder.path().to_owned()].into_iter().chain(std::env::split_paths(&std::env::var("PATH").unwrap())),
    );
    let (nobody, broken) = std::io::pipe().unwrap();
    drop(nobody);
    let mut janitor = Command::new(env!("CARGO_BIN_EXE_scenariod"))
        .arg("janitor")
        .env("PATH", path.unwrap())
        .env_remove("LOG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(broken)
        .spawn()
        .unwrap();
    let tables = ["scenariod.1.2.3.4.1.6", "scenariod.1.2.3.4.2.6"];
    let mut orders = janitor.stdin.take().unwrap();
    let mut answers = BufReader::new(janitor.stdout.take().unwrap()).lines();
    assert_eq!(answers.next().unwrap().unwrap(), "ok");
    for table in tables {
        writeln!(orders, "own 60000 table - {table}").unwrap();
        assert_eq!(answers.next().unwrap().unwrap(), "ok");
    }
    // The owner dies.
    drop(orders);
    assert!(janitor.wait().unwrap().success());
    let deleted = std::fs::read_to_string(folder.path().join("deleted")).unwrap();
    // Side by side, so in any order.
    let mut deleted: Vec<&str> = deleted.lines().collect();
    deleted.sort_unstable();
    assert_eq!(deleted, tables);
}
