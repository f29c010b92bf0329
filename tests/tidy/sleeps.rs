//! Tests do not sleep in the hope that something has happened meanwhile.
//!
//! A sleep in a test is fine in one of three cases:
//! 1. time is paused, in this test or in all tests of the file;
//! 2. it is the pause of a loop that gives up at a `deadline`, or that runs inside of a `timeout(` or `soon(`;
//! 3. a comment right above it begins with `// Sleeps:` and says why the time itself is what is tested.

use super::functions::{Function, functions, indentation};

/// Begins the comment that gives the reason.
const REASON: &str = "// Sleeps: ";

/// First line of test code; `None`: there is none.
fn test_code(path: &str, lines: &[&str]) -> Option<usize> {
    if path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs") {
        return Some(0);
    }
    lines.iter().position(|line| line.trim() == "mod tests {")
}

fn sleeps(line: &str) -> bool {
    let called = |name: &str| {
        line.match_indices(name).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            !before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
        })
    };
    !line.trim_start().starts_with("//") && (called("sleep(") || called("sleep_until("))
}

/// The lines that open the blocks around a line, innermost first, down to `first`.
fn around(lines: &[&str], at: usize, first: usize) -> Vec<usize> {
    let mut inner = indentation(lines[at]);
    let mut found = Vec::new();
    for line in (first..at).rev() {
        let own = indentation(lines[line]);
        if !lines[line].trim().is_empty() && own < inner {
            found.push(line);
            inner = own;
        }
    }
    found
}

fn is_paused(lines: &[&str], first: usize) -> bool {
    let paused = |line: &&str| line.contains("start_paused");
    let mut above = lines[..first].iter().rev().take_while(|line| line.trim_start().starts_with(['#', '/']));
    let tests: Vec<&str> =
        lines.iter().copied().filter(|line| line.trim_start().starts_with("#[tokio::test")).collect();
    above.any(paused) || (!tests.is_empty() && tests.iter().all(paused))
}

/// Is the sleep the pause of a loop with an end?
fn is_bounded(lines: &[&str], at: usize, first: usize, last: usize) -> bool {
    let blocks = around(lines, at, first);
    let is_loop = |line: &&usize| {
        let text = lines[**line].trim_start();
        text.starts_with("while ") || text.starts_with("loop ")
    };
    let Some(begin) = blocks.iter().find(is_loop) else { return false };
    let end =
        (at..=last).find(|line| indentation(lines[*line]) <= indentation(lines[*begin])).unwrap_or(last);
    let limited = |line: &usize| ["timeout(", "soon("].iter().any(|limit| lines[*line].contains(limit));
    lines[*begin..end].iter().any(|line| line.contains("deadline"))
        || blocks.iter().filter(|line| *line < begin).any(limited)
}

fn unexplained(path: &str, text: &str) -> Vec<String> {
    // The samples below.
    if path == "tests/tidy/sleeps.rs" {
        return Vec::new();
    }
    let lines: Vec<&str> = text.lines().collect();
    let Some(begin) = test_code(path, &lines) else { return Vec::new() };
    let functions = functions(&lines);
    let mut found = Vec::new();
    for at in (begin..lines.len()).filter(|at| sleeps(lines[*at])) {
        let inside = |function: &&Function<'_>| (function.first..=function.last).contains(&at);
        let Some(function) = functions.iter().rfind(inside) else { continue };
        let mut comment = lines[..at].iter().rev().take_while(|line| line.trim_start().starts_with("//"));
        let explained = comment.any(|line| line.trim_start().starts_with(REASON));
        let fine = explained
            || is_paused(&lines, function.first)
            || is_bounded(&lines, at, function.first, function.last);
        if !fine {
            found.push(format!("{path}:{}: {}", at + 1, lines[at].trim()));
        }
    }
    found
}

#[test]
fn tests_wait_for_conditions() {
    let found: Vec<String> =
        super::sources().iter().flat_map(|(path, text)| unexplained(path, text)).collect();
    assert!(
        found.is_empty(),
        "wait for a condition with a deadline, pause time, or say why above it ({REASON}...):\n{}",
        found.join("\n")
    );
}

#[test]
fn sleeps_without_a_reason_are_found() {
    let text = "\
#[tokio::test]
async fn hopes() {
    sleep(ms(1)).await;
}

#[tokio::test(start_paused = true)]
async fn paused() {
    tokio::time::sleep(ms(2)).await;
}

async fn polls() {
    let deadline = Instant::now() + PATIENCE;
    while !there() {
        assert!(Instant::now() < deadline);
        sleep(ms(3)).await;
    }
    sleep(ms(4)).await;
}

async fn limited() {
    soon(async {
        while !there() {
            sleep(ms(5)).await;
        }
    })
    .await;
    for _ in 0..3 {
        std::thread::sleep(ms(6));
    }
    // Sleeps: the peer is silent for this long,
    // and for no longer.
    sleep(ms(7)).await;
}
";
    let lines = |found: Vec<String>| -> Vec<String> {
        found.iter().map(|line| line.rsplit_once("ms(").unwrap().1[..1].to_owned()).collect()
    };
    assert_eq!(lines(unexplained("tests/x.rs", text)), ["1", "4", "6"]);
    assert_eq!(unexplained("crates/x/src/x.rs", text), Vec::<String>::new());
    let inline = format!("fn x() {{}}\n\n#[cfg(test)]\nmod tests {{\n{text}}}\n");
    assert_eq!(lines(unexplained("crates/x/src/x.rs", &inline)), ["1", "4", "6"]);
}
