//! What a fault acts on: a server of the test, behind its proxy.

use ::toxiproxy::wire::Proxy;
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

    /// Finds the client's server behind it: the one that the client dials at the proxy's port.
    pub fn find_server(&mut self, servers: &[Server]) {
        let port = |addr: &str| addr.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        let Some(listen) = port(&self.listen) else { return };
        let dialled: Vec<_> = servers.iter().filter(|server| port(&server.addr) == Some(listen)).collect();
        self.server = match dialled[..] {
            [one] => Some(one.clone()),
            _ => None,
        };
    }
}

/// An address under which a listener of the Toxiproxy at `api` (a URL) is reached. A wildcard is where the API is, on another
/// machine or in another container too.
fn dialable(listen: &str, api: &str) -> String {
    let host = reqwest::Url::parse(api).ok().and_then(|url| url.host_str().map(str::to_owned));
    match listen.rsplit_once(':') {
        Some(("[::]" | "0.0.0.0" | "", port)) => {
            format!("{}:{port}", host.as_deref().unwrap_or("127.0.0.1"))
        }
        _ => listen.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::dialable;

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
