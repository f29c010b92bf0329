//! What the documents name exists: files, folders, packages, modules, and the names that are said to be in a file.
//!
//! A reference to a file is a link, or code in backticks that looks like a path; `<name>` and `*` stand for any text. It is looked for
//! - from the root of the workspace,
//! - then as the end of a path in the crates that its line names, or anywhere if it names none;
//! - a name alone only beside the other paths of its line, or one folder higher.

use std::collections::BTreeSet;
use std::path::Path;

use crate::architecture::workspace;

/// What is never looked at: built, fetched, or not ours.
const SKIPPED: [&str; 4] = ["target", ".git", "node_modules", "runs"];

/// Ends of names that make a path out of code with a slash.
const ENDINGS: [&str; 9] = [".rs", ".md", ".toml", ".yml", ".json", ".js", ".css", ".py", ".sh"];

/// Everything below the workspace's root, folders too, as paths from there.
fn tree() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![workspace()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            // A module of the load is called target, too.
            let is_source = path.ends_with("src/target");
            if !is_source && SKIPPED.iter().any(|name| path.ends_with(name)) {
                continue;
            }
            found.insert(path.strip_prefix(workspace()).unwrap().to_str().unwrap().to_owned());
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            }
        }
    }
    found
}

/// The documents, as paths from the root.
fn documents(tree: &BTreeSet<String>) -> Vec<&str> {
    let is_document = |path: &&str| {
        ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md"].contains(path)
            || path.strip_prefix("docs/").is_some_and(|name| name.ends_with(".md") && !name.contains('/'))
    };
    tree.iter().map(String::as_str).filter(is_document).collect()
}

/// Does `path` fit a pattern in which `*` is any text within a name?
fn fits(pattern: &str, path: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == path };
    let Some(rest) = path.strip_prefix(before) else { return false };
    let name = rest.find('/').unwrap_or(rest.len());
    (0..=name).any(|end| rest.is_char_boundary(end) && fits(after, &rest[end..]))
}

/// With `*` for each `<placeholder>`, and without a slash at the end.
fn pattern(code: &str) -> String {
    let mut pattern = String::new();
    for (n, part) in code.trim_end_matches('/').split('<').enumerate() {
        match part.split_once('>') {
            Some((_, after)) if n > 0 => pattern.push_str(&format!("*{after}")),
            _ => pattern.push_str(part),
        }
    }
    pattern
}

/// The pieces in backticks.
fn code(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// A path in code, as a pattern; `None`: it is something else.
fn path(code: &str, tops: &BTreeSet<&str>) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./<>*".contains(c);
    if !code.chars().all(plain)
        || code.starts_with(['/', '.', '*'])
        || SKIPPED.iter().any(|name| code.starts_with(name))
    {
        return None;
    }
    let pattern = pattern(code);
    let is_path = match code.split_once('/') {
        Some((top, _)) => {
            tops.contains(top) || ENDINGS.iter().any(|ending| code.ends_with(ending)) || code.ends_with('/')
        }
        None => code.ends_with(".rs"),
    };
    is_path.then_some(pattern)
}

/// The folders of crates that a line names.
fn rooms<'t>(line: &str, tree: &'t BTreeSet<String>) -> Vec<&'t str> {
    let is_room =
        |path: &&str| tree.contains(&format!("{path}/Cargo.toml")) && line.contains(&format!("`{path}"));
    tree.iter().map(String::as_str).filter(is_room).collect()
}

/// Where a name alone may be: beside the paths that a line names from the root, one folder higher, and in the sources of its crates.
fn folders(line: &str, tree: &BTreeSet<String>) -> Vec<String> {
    let mut found: Vec<String> = rooms(line, tree).iter().map(|room| format!("{room}/src")).collect();
    for path in code(line).filter(|code| code.contains('/')) {
        let path = pattern(path);
        let above = path.match_indices('/').map(|(at, _)| &path[..at]).rev();
        found.extend(above.take(2).map(str::to_owned));
        found.push(path);
    }
    found
}

fn exists(pattern: &str, line: &str, tree: &BTreeSet<String>) -> bool {
    if tree.iter().any(|path| fits(pattern, path)) {
        return true;
    }
    if !pattern.contains('/') && !rooms(line, tree).is_empty() {
        let folders = folders(line, tree);
        return folders
            .iter()
            .any(|folder| tree.iter().any(|path| fits(&format!("{folder}/{pattern}"), path)));
    }
    let rooms = rooms(line, tree);
    let within =
        |path: &str| rooms.is_empty() || rooms.iter().any(|room| path.starts_with(&format!("{room}/")));
    let ends = |path: &str| path.match_indices('/').any(|(at, _)| fits(pattern, &path[at + 1..]));
    tree.iter().any(|path| within(path) && ends(path))
}

/// Every document's lines, as `file:line` and text.
fn lines(tree: &BTreeSet<String>) -> Vec<(String, String)> {
    let of = |document: &str| {
        let text = std::fs::read_to_string(workspace().join(document)).unwrap();
        let numbered = text.lines().enumerate();
        numbered.map(|(n, line)| (format!("{document}:{}", n + 1), line.to_owned())).collect::<Vec<_>>()
    };
    documents(tree).into_iter().flat_map(of).collect()
}

fn none_of(what: &str, missing: &[String]) {
    assert!(missing.is_empty(), "{what}; write what is there now:\n{}", missing.join("\n"));
}

#[test]
fn paths_in_the_documents_exist() {
    let tree = tree();
    let tops: BTreeSet<&str> = tree.iter().map(String::as_str).filter(|path| !path.contains('/')).collect();
    let mut missing = Vec::new();
    for (at, line) in lines(&tree) {
        for code in code(&line) {
            if let Some(pattern) = path(code, &tops)
                && !exists(&pattern, &line, &tree)
            {
                missing.push(format!("{at}: `{code}`"));
            }
        }
    }
    none_of("no such file or folder", &missing);
}

#[test]
fn links_in_the_documents_lead_somewhere() {
    let tree = tree();
    let mut missing = Vec::new();
    for (at, line) in lines(&tree) {
        let folder = Path::new(at.split(':').next().unwrap()).parent().unwrap();
        for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap();
            if !file.is_empty() && !target.contains(':') && !workspace().join(folder).join(file).exists() {
                missing.push(format!("{at}: ({target})"));
            }
        }
    }
    none_of("no such file", &missing);
}

#[test]
fn names_that_are_said_to_be_in_a_file_are_in_it() {
    let tree = tree();
    let mut missing = Vec::new();
    for (at, line) in lines(&tree) {
        let pieces: Vec<&str> = line.split('`').collect();
        for window in pieces.windows(4).skip(1).step_by(2) {
            let [name, " in ", path, _] = *window else { continue };
            let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if is_name
                && tree.contains(path)
                && let Ok(text) = std::fs::read_to_string(workspace().join(path))
                && !text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == name)
            {
                missing.push(format!("{at}: `{name}` in `{path}`"));
            }
        }
    }
    none_of("the file has no such name", &missing);
}

#[test]
fn packages_in_the_documents_exist() {
    let tree = tree();
    let manifests = tree.iter().filter(|path| path.ends_with("/Cargo.toml"));
    let text: Vec<String> =
        manifests.map(|path| std::fs::read_to_string(workspace().join(path)).unwrap()).collect();
    let packages: BTreeSet<&str> = text
        .iter()
        .filter_map(|text| text.lines().find_map(|line| line.strip_prefix("name = ")))
        .map(|name| name.trim_matches('"'))
        .collect();
    let mut missing = Vec::new();
    for (at, line) in lines(&tree) {
        let Some((_, command)) = line.split_once("cargo ") else { continue };
        let words: Vec<&str> = command.split([' ', '`']).collect();
        for pair in words.windows(2).filter(|pair| pair[0] == "-p") {
            if !packages.contains(pair[1]) {
                missing.push(format!("{at}: -p {}", pair[1]));
            }
        }
    }
    none_of("no such package", &missing);
}

/// A name that is declared, or the stem of a module's file or folder, anywhere in the workspace.
fn declared(tree: &BTreeSet<String>) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = BTreeSet::new();
    for path in tree {
        let stem = path.rsplit('/').next().unwrap_or(path);
        names.insert(stem.trim_end_matches(".rs").replace('-', "_"));
        if !path.ends_with(".rs") {
            continue;
        }
        let text = std::fs::read_to_string(workspace().join(path)).unwrap();
        let words: Vec<&str> = text
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .filter(|word| !word.is_empty())
            .collect();
        let keywords = ["fn", "mod", "struct", "enum", "trait", "type", "const", "static"];
        let named = words.windows(2).filter(|pair| keywords.contains(&pair[0]));
        names.extend(named.map(|pair| pair[1].to_owned()));
    }
    names
}

#[test]
fn modules_and_items_in_the_documents_exist() {
    let tree = tree();
    let declared = declared(&tree);
    let lock = std::fs::read_to_string(workspace().join("Cargo.lock")).unwrap();
    let foreign = |name: &str| {
        let name = name.replace('_', "-");
        lock.contains(&format!("name = \"{name}\"\n")) && !tree.contains(&format!("crates/{name}"))
    };
    let mut missing = Vec::new();
    for (at, line) in lines(&tree) {
        for code in code(&line).filter(|code| code.contains("::")) {
            let segments: Vec<&str> = code.split("::").collect();
            let plain = |segment: &&str| segment.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if segments.iter().all(plain) && !foreign(segments[0]) {
                let unknown = segments.iter().filter(|segment| !declared.contains(**segment));
                missing.extend(unknown.map(|segment| format!("{at}: `{code}`: {segment}")));
            }
        }
    }
    none_of("nothing has this name", &missing);
}

#[test]
fn patterns_stand_for_any_name() {
    for (code, fitting, other) in [
        ("crates/x/src/<name>.rs", "crates/x/src/any.rs", "crates/x/src/a/b.rs"),
        ("grafana/*.json", "grafana/a.json", "grafana/a/b.json"),
        ("docs/", "docs", "doc"),
        ("a/<b>/c.rs", "a/anything/c.rs", "a/c.rs"),
    ] {
        let pattern = pattern(code);
        assert!(fits(&pattern, fitting) && !fits(&pattern, other), "{code} is {pattern}");
    }
}
