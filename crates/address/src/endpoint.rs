//! Hosts with ports.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use crate::host::{self, Host};
use crate::mark::{self, BadAddress};

/// `HOST:PORT`: where a connection can lead. IPv6 needs brackets here.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Who.
    pub host: Host,
    /// 1 to 65535.
    pub port: NonZeroU16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl FromStr for Endpoint {
    type Err = BadAddress;

    /// Blanks around the address do not count.
    fn from_str(whole: &str) -> Result<Self, BadAddress> {
        mark::trimmed(whole, parse)
    }
}

fn parse(text: &str) -> Result<Endpoint, BadAddress> {
    let bad = |wrong, why: &str| Err(BadAddress::new(text, wrong, why));
    if text.is_empty() {
        return bad(0..0, "the address is missing; write HOST:PORT");
    }
    if let Some(end) = text.find("://") {
        return bad(0..end + 3, "this is a URL; write HOST:PORT");
    }
    let host_end = match text.strip_prefix('[') {
        Some(inner) => match inner.find(']') {
            Some(at) => at + 2,
            None => return bad(text.len()..text.len(), "the bracket is not closed"),
        },
        None => text.find(':').unwrap_or(text.len()),
    };
    let (host, port) = text.split_at(host_end);
    let after = host_end + 1;
    let Some(port) = port.strip_prefix(':') else {
        return bad(host_end..text.len(), "the port is missing; write HOST:PORT");
    };
    if let Some(colon) = port.find(':') {
        return match text.parse::<std::net::Ipv6Addr>() {
            Ok(_) => bad(0..text.len(), "an IPv6 address needs brackets and a port, as in [::1]:11211"),
            Err(_) => bad(after + colon..text.len(), "nothing may follow the port; write HOST:PORT"),
        };
    }
    let host = host::parse(host).map_err(|bad| bad.within(text, 0))?;
    // `parse` alone would take a sign.
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse() {
        Ok(port) if digits => Ok(Endpoint { host, port }),
        _ => bad(after..text.len(), "the port is a number from 1 to 65535"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_endpoint_is_a_host_and_a_port() {
        for (text, shown) in
            [("h:1", "h:1"), (" cache.example:65535 ", "cache.example:65535"), ("[::1]:11211", "[::1]:11211")]
        {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused_and_marked() {
        for (text, mark) in [
            ("http://h:1", "^^^^^^^"),
            ("::1", "^^^"),
            ("h:1:1", "   ^^"),
            ("P;Q", "   ^"),
            ("P;Q:1", " ^"),
            ("h", " ^"),
            ("h:", "  ^"),
            (":1", "^"),
            ("h:0", "  ^"),
            ("h:+1", "  ^^"),
            ("h:65536", "  ^^^^^"),
            ("[::1]", "     ^"),
            ("[::1]1", "     ^"),
            ("[::1:1", "      ^"),
            ("h :1", " ^"),
            (" h: 1", "   ^^"),
            ("a=h:1", " ^"),
        ] {
            let said = text.parse::<Endpoint>().unwrap_err().to_string();
            assert_eq!(said.lines().last().unwrap(), format!("    {mark}"), "{said}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_taken_is_read_back_the_same(text in "[\\[\\]:/%a-c0-9 .é=,;-]{0,12}") {
            match text.parse::<Endpoint>() {
                Ok(endpoint) => prop_assert_eq!(endpoint.to_string().parse::<Endpoint>().unwrap(), endpoint),
                Err(bad) => prop_assert_eq!(bad.to_string().lines().count(), 3),
            }
            if let Ok(host) = text.parse::<Host>() {
                prop_assert_eq!(host.to_string().parse::<Host>().unwrap(), host);
            }
        }
    }
}
