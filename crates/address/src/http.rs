//! Base URLs of HTTP pages.

use crate::endpoint::Endpoint;
use crate::host;
use crate::mark::{self, BadAddress};

const SCHEME: &str = "http://";

/// A base URL, `http://HOST:PORT` or `http://HOST`, with a path or without; no slash at its end. Blanks around it do not count.
///
/// # Errors
///
/// Other schemes, what is no host, and what comes after a path.
pub fn http_base(text: &str) -> Result<String, BadAddress> {
    mark::trimmed(text, parse)
}

fn parse(text: &str) -> Result<String, BadAddress> {
    let bad = |wrong, why: &str| Err(BadAddress::new(text, wrong, why));
    let Some(rest) = text.strip_prefix(SCHEME) else {
        let scheme = text.find("://").map_or(0, |at| at + 3);
        return bad(0..scheme, "this is not a URL of the form http://HOST:PORT");
    };
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || "?#@\\".contains(c);
    if let Some((at, odd)) = text.char_indices().find(|(_, c)| is_odd(*c)) {
        return bad(at..at + odd.len_utf8(), "this has no place in http://HOST:PORT");
    }
    let place = rest.split('/').next().unwrap_or(rest);
    let checked = match place.rsplit_once(':') {
        Some((host, _)) if !host.is_empty() && !place.ends_with(']') => place.parse::<Endpoint>().map(drop),
        _ => host::parse(place).map(drop),
    };
    checked.map_err(|bad| bad.within(text, SCHEME.len()))?;
    Ok(text.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_has_a_host_and_no_slash_at_its_end() {
        for (text, wanted) in [
            ("http://127.0.0.1:8474", "http://127.0.0.1:8474"),
            (" http://toxiproxy:8474/ ", "http://toxiproxy:8474"),
            ("http://[::1]:8474", "http://[::1]:8474"),
            ("http://[::1]", "http://[::1]"),
            ("http://cache.example/toxiproxy/", "http://cache.example/toxiproxy"),
        ] {
            assert_eq!(http_base(text).unwrap(), wanted);
        }
    }

    #[test]
    fn what_is_no_base_url_is_refused_and_marked() {
        for (text, mark) in [
            ("", "^"),
            ("h:1", "^"),
            ("ftp://x", "^^^^^^"),
            ("https://h:1", "^^^^^^^^"),
            ("http://", "       ^"),
            ("http://h:1:2", "          ^^"),
            ("http://h:0/", "         ^"),
            ("http://::1", "       ^^^"),
            ("http://a b", "        ^"),
            ("http://user@h", "           ^"),
            ("http://h:1?x", "          ^"),
        ] {
            let said = http_base(text).unwrap_err().to_string();
            assert_eq!(said.lines().last().unwrap(), format!("    {mark}"), "{said}");
        }
    }
}
