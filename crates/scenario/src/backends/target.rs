//! What a fault acts on: a server of the test, behind its proxy.

use std::net::{IpAddr, Ipv4Addr};

use ::toxiproxy::wire::Proxy;
use address::Endpoint;
use observation::Server;

/// A proxied server.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Name of the proxy.
    pub name: String,
    /// Address at which the proxy listens, as its API says; may be a wildcard.
    pub listen: String,
    /// Address under which the proxy is reached from here.
    pub dial: String,
    /// The client's server behind the proxy; `None`: the client dials no server at this proxy's port, or has not greeted yet.
    pub server: Option<Server>,
}

impl Target {
    /// A proxy of the Toxiproxy whose API is at the URL `api`.
    pub fn new(proxy: &Proxy, api: &str) -> Self {
        Self {
            name: proxy.name.clone(),
            listen: proxy.listen.clone(),
            dial: dialable(&proxy.listen, api),
            server: None,
        }
    }

    /// The name of the client's server behind it.
    pub fn server_name(&self) -> Option<String> {
        self.server.as_ref().map(|server| server.name.clone())
    }
}

/// Finds the client's server behind each proxy: the one that dials the proxy's address, otherwise the only one that dials its port.
///
/// # Errors
///
/// Which server is behind which proxy cannot be told: says what must change.
pub fn find_servers(targets: &mut [Target], servers: &[Server]) -> Result<(), String> {
    for target in &mut *targets {
        let mut dialling = servers.iter().filter(|server| same(&server.addr, &target.dial));
        target.server = dialling.next().cloned();
        if let (Some(one), Some(other)) = (&target.server, dialling.next()) {
            return Err(format!(
                "the client's servers {} and {} both dial the proxy {} at {}: give each a proxy of its own",
                one.name, other.name, target.name, target.dial
            ));
        }
    }
    let matched: Vec<String> =
        targets.iter().filter_map(|target| Some(target.server.as_ref()?.name.clone())).collect();
    // What is published under another host, out of a container for example, keeps its port.
    let open: Vec<usize> = (0..targets.len()).filter(|&n| targets[n].server.is_none()).collect();
    for &n in &open {
        let by_port = |server: &&Server| {
            !matched.contains(&server.name) && may_be_forwarded(&server.addr, &targets[n].dial)
        };
        let dialling: Vec<&Server> = servers.iter().filter(by_port).collect();
        let Some(&first) = dialling.first() else { continue };
        let rivals: Vec<&Target> = open
            .iter()
            .map(|&n| &targets[n])
            .filter(|rival| dialling.iter().any(|server| may_be_forwarded(&server.addr, &rival.dial)))
            .collect();
        if dialling.len() > 1 || rivals.len() > 1 {
            let proxies = rivals.iter().map(|target| format!("{} ({})", target.name, target.dial));
            let servers = dialling.iter().map(|server| format!("{} ({})", server.name, server.addr));
            return Err(format!(
                "which server is behind which proxy cannot be told: the proxies {} and the client's servers {} share a port, but no \
                 address. Let the client dial the proxies' addresses as they are written here, or give each proxy a port of its own",
                proxies.collect::<Vec<_>>().join(", "),
                servers.collect::<Vec<_>>().join(", ")
            ));
        }
        targets[n].server = Some(first.clone());
    }
    Ok(())
}

/// Host and port, one spelling for each: `localhost` is 127.0.0.1, an IPv4 address in IPv6 is IPv4.
fn canonical(addr: &str) -> Option<(String, u16)> {
    let Endpoint { host, port } = addr.parse().ok()?;
    let host = match host.bare() {
        name if name.eq_ignore_ascii_case("localhost") => Ipv4Addr::LOCALHOST.to_string(),
        text => match text.parse::<IpAddr>() {
            Ok(ip) => ip.to_canonical().to_string(),
            Err(_) => text.trim_end_matches('.').to_ascii_lowercase(),
        },
    };
    Some((host, port.get()))
}

fn same(a: &str, b: &str) -> bool {
    canonical(a).is_some_and(|a| Some(a) == canonical(b))
}

/// Could the one be the other, seen from elsewhere? Two addresses of this machine are what they say.
fn may_be_forwarded(a: &str, b: &str) -> bool {
    let (Some((a, port_a)), Some((b, port_b))) = (canonical(a), canonical(b)) else { return false };
    let is_loopback = |host: &str| host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    port_a == port_b && (a == b || !(is_loopback(&a) && is_loopback(&b)))
}

/// An address under which a listener of the Toxiproxy at `api` (a URL) is reached. A wildcard is where the API is, on another
/// machine or in another container too.
fn dialable(listen: &str, api: &str) -> String {
    let host = reqwest::Url::parse(api).ok().and_then(|url| url.host_str().map(str::to_owned));
    match listen.rsplit_once(':') {
        Some((_, port)) if is_wildcard(listen) => {
            format!("{}:{port}", host.as_deref().unwrap_or("127.0.0.1"))
        }
        _ => listen.to_owned(),
    }
}

/// Does a listener at this address listen on all interfaces?
pub(crate) fn is_wildcard(listen: &str) -> bool {
    matches!(listen.rsplit_once(':'), Some(("[::]" | "0.0.0.0" | "", _)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(dials: &[&str]) -> Vec<Target> {
        let target = |(n, dial): (usize, &&str)| Target {
            name: format!("p{}", n + 1),
            listen: (*dial).to_owned(),
            dial: (*dial).to_owned(),
            server: None,
        };
        dials.iter().enumerate().map(target).collect()
    }

    /// The server's name behind each proxy.
    fn found(dials: &[&str], servers: &[(&str, &str)]) -> Result<Vec<Option<String>>, String> {
        let mut targets = targets(dials);
        let server = |(name, addr): &(&str, &str)| Server { name: (*name).into(), addr: (*addr).into() };
        let servers: Vec<Server> = servers.iter().map(server).collect();
        find_servers(&mut targets, &servers)?;
        Ok(targets.iter().map(Target::server_name).collect())
    }

    #[test]
    fn proxies_on_one_port_of_several_addresses_are_told_apart_by_the_whole_address() {
        let names = found(
            &["127.0.0.1:21211", "127.0.0.2:21211", "127.0.0.3:21211"],
            &[("c", "127.0.0.3:21211"), ("a", "localhost:21211"), ("b", "127.0.0.2:21211")],
        );
        assert_eq!(names.unwrap(), ["a", "b", "c"].map(|name| Some(name.to_owned())));
    }

    #[test]
    fn a_proxy_that_is_reached_under_another_host_is_known_by_its_port() {
        let names = found(
            &["127.0.0.1:21211", "127.0.0.1:21212", "127.0.0.1:21213"],
            &[("a", "toxiproxy:21211"), ("b", "toxiproxy:21212"), ("direct", "10.0.0.9:11211")],
        );
        assert_eq!(names.unwrap(), [Some("a".to_owned()), Some("b".to_owned()), None]);
    }

    #[test]
    fn two_addresses_of_this_machine_are_never_taken_for_each_other() {
        let names = found(&["127.0.0.1:1", "127.0.0.2:1"], &[("a", "127.0.0.1:1"), ("b", "127.0.0.9:1")]);
        assert_eq!(names.unwrap(), [Some("a".to_owned()), None]);
    }

    #[test]
    fn what_cannot_be_told_is_said_with_all_names() {
        let said = found(&["127.0.0.1:1", "127.0.0.2:1"], &[("a", "one:1"), ("b", "two:1")]).unwrap_err();
        for part in ["p1 (127.0.0.1:1)", "p2 (127.0.0.2:1)", "a (one:1)", "b (two:1)", "a port of its own"] {
            assert!(said.contains(part), "{said}");
        }
        let said = found(&["10.0.0.1:1", "10.0.0.2:1"], &[("a", "one:1")]).unwrap_err();
        assert!(said.contains("p2 (10.0.0.2:1)"), "{said}");
        let said = found(&["h:1"], &[("a", "h:1"), ("b", "h:1")]).unwrap_err();
        assert!(said.contains("a and b both dial the proxy p1"), "{said}");
    }

    #[test]
    fn a_wildcard_is_where_the_api_is() {
        let at = |listen| dialable(listen, "http://toxiproxy:8474");
        assert_eq!(at("[::]:21211"), "toxiproxy:21211");
        assert_eq!(at("0.0.0.0:21211"), "toxiproxy:21211");
        assert_eq!(at("127.0.0.1:21211"), "127.0.0.1:21211");
        assert_eq!(dialable("[::]:1", "http://127.0.0.1:8474"), "127.0.0.1:1");
        assert_eq!(dialable("[::]:1", "http://[::1]:8474"), "[::1]:1");
    }
}
