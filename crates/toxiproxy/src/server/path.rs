//! Paths of requests: decoded before they are matched, and redirected to their clean form, as the stock server does.

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// What a path needs escaped in the answer to a redirect.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'*')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// A decoded path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Path {
    /// Without doubled slashes and dots.
    Clean(String),
    /// Any other, with where to go instead, encoded again.
    Unclean { clean: String },
}

/// Decodes a path; `None` when an escape in it is none. Decoded before it is split: a name with a slash can be created but
/// never addressed.
pub(super) fn read(path: &str) -> Option<Path> {
    let bytes = path.as_bytes();
    let escaped = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
    if bytes.iter().enumerate().any(|(at, byte)| *byte == b'%' && !(escaped(at + 1) && escaped(at + 2))) {
        return None;
    }
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    let clean = cleaned(&decoded);
    if clean == decoded {
        return Some(Path::Clean(clean));
    }
    Some(Path::Unclean { clean: utf8_percent_encode(&clean, ESCAPED).to_string() })
}

fn cleaned(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            segment => kept.push(segment),
        }
    }
    let end = if path.ends_with('/') && !kept.is_empty() { "/" } else { "" };
    format!("/{}{end}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_decoded_and_cleaned() {
        for (path, wanted) in [
            ("/", "/"),
            ("/proxies", "/proxies"),
            ("/proxies/", "/proxies/"),
            ("/proxies/a%20b", "/proxies/a b"),
            ("/proxies/a%2Fb", "/proxies/a/b"),
            ("/proxies/%ff", "/proxies/\u{fffd}"),
            ("/proxies/...", "/proxies/..."),
        ] {
            assert_eq!(read(path), Some(Path::Clean(wanted.to_owned())), "{path}");
        }
        for (path, wanted) in [
            ("//proxies", "/proxies"),
            ("/a/../proxies", "/proxies"),
            ("/./proxies", "/proxies"),
            ("/proxies/..", "/"),
            ("/../..", "/"),
            ("/%2e%2e/proxies", "/proxies"),
            ("/proxies/%2F", "/proxies/"),
            ("/proxies/a%2F%2Fb", "/proxies/a/b"),
            ("//proxies/", "/proxies/"),
            ("//a%20b%0d", "/a%20b%0D"),
            ("*", "/%2A"),
            ("", "/"),
        ] {
            assert_eq!(read(path), Some(Path::Unclean { clean: wanted.to_owned() }), "{path}");
        }
        for path in ["/%", "/%2", "/%zz", "/a%g0"] {
            assert_eq!(read(path), None, "{path}");
        }
    }
}
