//! Hosts: names and IP addresses.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::mark::{self, BadAddress};

/// Longest name that the domain name system knows.
const NAME_MAX: usize = 253;

/// A name or an IP address. IPv6 may be written with brackets or without; it is shown with them, as in front of a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Host(String);

impl Host {
    /// Without brackets.
    pub fn bare(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.contains(':') {
            true => write!(f, "[{}]", self.0),
            false => f.write_str(&self.0),
        }
    }
}

impl FromStr for Host {
    type Err = BadAddress;

    /// Blanks around the host do not count.
    fn from_str(whole: &str) -> Result<Self, BadAddress> {
        mark::trimmed(whole, parse)
    }
}

/// A text without blanks around it.
pub(crate) fn parse(text: &str) -> Result<Host, BadAddress> {
    let all = 0..text.len();
    if let Some(end) = text.find("://") {
        let why = "this is a URL; write the host alone, as in cache.example or 10.0.0.5";
        return Err(BadAddress::new(text, 0..end + 3, why));
    }
    if let Some(inner) = text.strip_prefix('[') {
        let Some(inner) = inner.strip_suffix(']') else {
            return Err(BadAddress::new(
                text,
                text.len()..text.len(),
                "the bracket is not closed at the end",
            ));
        };
        return ipv6(inner).ok_or_else(|| BadAddress::new(text, all, "no IPv6 address is in the brackets"));
    }
    if let Some(colon) = text.find(':') {
        let why = "this is no IPv6 address, and a port has no place here";
        return ipv6(text).ok_or_else(|| BadAddress::new(text, colon..text.len(), why));
    }
    name(text)
}

fn ipv6(text: &str) -> Option<Host> {
    let (ip, zone) = text.split_once('%').map_or((text, None), |(ip, zone)| (ip, Some(zone)));
    let plain = |zone: &str| !zone.is_empty() && zone.chars().all(|c| c.is_ascii_graphic() && c != ']');
    (ip.parse::<Ipv6Addr>().is_ok() && zone.is_none_or(plain)).then(|| Host(text.to_owned()))
}

/// A name, or an IPv4 address.
fn name(text: &str) -> Result<Host, BadAddress> {
    let all = 0..text.len();
    if text.is_empty() {
        return Err(BadAddress::new(text, all, "the host is missing"));
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if let Some((at, odd)) = text.char_indices().find(|(_, c)| !fits(*c)) {
        let why = "a host name has only letters, digits, dots, hyphens and underscores";
        return Err(BadAddress::new(text, at..at + odd.len_utf8(), why));
    }
    // The resolver reads 10.5 as 10.0.0.5 and 1.2.3.4.5 as nothing: neither is meant.
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') && text.parse::<Ipv4Addr>().is_err() {
        return Err(BadAddress::new(text, all, "this is no IPv4 address: it has four numbers up to 255"));
    }
    let labels = text.strip_suffix('.').unwrap_or(text);
    if labels.split('.').any(str::is_empty) || text.len() > NAME_MAX {
        let why = format!("a host name has no empty part and at most {NAME_MAX} characters");
        return Err(BadAddress::new(text, all, why));
    }
    Ok(Host(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_and_ipv6_gets_its_brackets() {
        for (text, shown) in [
            ("cache-1.example", "cache-1.example"),
            (" 10.0.0.5\t", "10.0.0.5"),
            ("cache_a.", "cache_a."),
            ("::1", "[::1]"),
            ("[::1]", "[::1]"),
            ("fe80::1%eth0", "[fe80::1%eth0]"),
        ] {
            assert_eq!(text.parse::<Host>().unwrap().to_string(), shown, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused_and_marked() {
        for (text, mark) in [
            ("", "^"),
            ("   ", "   ^"),
            ("http://h", "^^^^^^^"),
            ("h:11211", " ^^^^^^"),
            ("[::1", "    ^"),
            ("[h]", "^^^"),
            ("[::1]:1", "       ^"),
            ("10.0.0", "^^^^^^"),
            ("256.0.0.1", "^^^^^^^^^"),
            ("P;Q", " ^"),
            ("a b", " ^"),
            ("a..b", "^^^^"),
            ("höst", " ^"),
            ("::1%", "^^^^"),
        ] {
            let said = text.parse::<Host>().unwrap_err().to_string();
            let lines: Vec<&str> = said.lines().collect();
            assert_eq!(lines[1].trim_end(), format!("    {text}").trim_end(), "{said}");
            assert_eq!(lines[2], format!("    {mark}"), "{said}");
        }
    }
}
