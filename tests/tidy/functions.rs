//! Where functions begin and end, in code that rustfmt has formatted: the closing brace is below the first letter of the header.

/// Longest function without a reason.
const LINES_MAX: usize = 70;

/// Functions that may be longer: the end of the file's path, the name, and why.
const LONGER: &[(&str, &str, &str)] = &[("judged/src/rows/mutants.rs", "rows", "a table: a row a bug")];

/// A function with a body. Lines count from 0.
#[derive(Debug, Clone, Copy)]
pub struct Function<'t> {
    pub name: &'t str,
    pub first: usize,
    pub last: usize,
}

impl Function<'_> {
    fn lines(&self) -> usize {
        self.last - self.first + 1
    }
}

/// Blanks before the text.
pub fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The name, if the line begins a function.
fn named(line: &str) -> Option<&str> {
    let (before, after) = line.trim_start().split_once("fn ")?;
    let qualifiers = ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe", "extern"];
    let header = before.split_whitespace().all(|word| {
        qualifiers.contains(&word) || word.starts_with("pub(in") || word.ends_with(')') || word == "\"C\""
    });
    let name = after.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next()?;
    (header && !name.is_empty()).then_some(name)
}

/// All functions with a body, in order of their first lines.
pub fn functions<'t>(lines: &[&'t str]) -> Vec<Function<'t>> {
    let last = |first: usize| {
        let header = lines[first];
        // On one line, or declared only.
        if header.ends_with('}') || header.ends_with(';') {
            return header.ends_with('}').then_some(first);
        }
        let end = lines[first + 1..].iter().position(|line| {
            let outside = indentation(line) == indentation(header) && !line.is_empty();
            outside && (line.trim() == "}" || line.ends_with(';'))
        });
        end.map(|offset| first + 1 + offset).filter(|last| lines[*last].trim() == "}")
    };
    let named = lines.iter().enumerate().filter_map(|(first, line)| Some((first, named(line)?)));
    named.filter_map(|(first, name)| Some(Function { name, first, last: last(first)? })).collect()
}

#[test]
fn no_function_is_too_long() {
    let mut found = Vec::new();
    let mut long = Vec::new();
    for (path, text) in super::sources() {
        let lines: Vec<&str> = text.lines().collect();
        for function in functions(&lines).into_iter().filter(|function| function.lines() > LINES_MAX) {
            let excused =
                |(file, name, _): &&(&str, &str, &str)| path.ends_with(file) && *name == function.name;
            match LONGER.iter().find(excused) {
                Some(excuse) => long.push(*excuse),
                None => found.push(format!(
                    "{path}:{}: {} has {} lines; at most {LINES_MAX}",
                    function.first + 1,
                    function.name,
                    function.lines()
                )),
            }
        }
    }
    let stale = LONGER.iter().filter(|excuse| !long.contains(excuse));
    found.extend(stale.map(|(file, name, _)| format!("LONGER: {file} has no long function {name}")));
    assert!(found.is_empty(), "split them, or say why not in LONGER:\n{}", found.join("\n"));
}

#[test]
fn functions_are_found_with_their_ends() {
    let text = "\
impl X {
    fn one() {}

    pub(super) async fn two(
        a: u8,
    ) -> u8
    where
        u8: Copy,
    {
        let inner = |x| {
            x
        };
        fn nested() -> u8 {
            3
        }
        a
    }
}

trait Y {
    fn declared(&self) -> u8;
    fn declared_long(
        &self,
    ) -> u8;
}
// fn comment() {
";
    let lines: Vec<&str> = text.lines().collect();
    let found: Vec<_> = functions(&lines).iter().map(|f| (f.name, f.first + 1, f.last + 1)).collect();
    assert_eq!(found, [("one", 2, 2), ("two", 4, 17), ("nested", 13, 15)]);
}
