//! `--servers`: which servers there are, and how each is called.

use address::{BadAddress, Endpoint, UNIX};
use observation::Server;

/// Servers that are meant when none are given.
const DEFAULT: [&str; 3] =
    ["memcached1=127.0.0.1:21211", "memcached2=127.0.0.1:21212", "memcached3=127.0.0.1:21213"];

/// Those that were given, or those that are meant when none were.
pub fn or_default(given: &[Server]) -> Vec<Server> {
    if given.is_empty() {
        return DEFAULT.iter().filter_map(|text| parse(text).ok()).collect();
    }
    given.to_vec()
}

/// One server: `HOST:PORT`, `unix:/PATH` or `NAME=` one of these. Blanks around name and address do not count.
///
/// # Errors
///
/// What can be neither, with a mark under the wrong part.
pub fn parse(text: &str) -> Result<Server, BadAddress> {
    let (name, start) = match text.split_once('=') {
        Some((name, _)) => (Some(name), name.len() + 1),
        None => (None, 0),
    };
    let addr = addr(&text[start..]).map_err(|bad| bad.within(text, start))?;
    let Some(name) = name else { return Ok(Server { name: addr.clone(), addr }) };
    let bare = name.trim();
    let begins = name.len() - name.trim_start().len();
    let odd = |c: char| c.is_whitespace() || c.is_control();
    match bare.char_indices().find(|(_, c)| odd(*c)) {
        _ if bare.is_empty() => Err(BadAddress::new(text, 0..start, "the name before = is missing")),
        Some((at, c)) => {
            let at = begins + at;
            Err(BadAddress::new(text, at..at + c.len_utf8(), "a name has no blanks"))
        }
        None => Ok(Server { name: bare.to_owned(), addr }),
    }
}

fn addr(text: &str) -> Result<String, BadAddress> {
    let bare = text.trim();
    let Some(path) = bare.strip_prefix(UNIX) else {
        return Ok(text.parse::<Endpoint>()?.to_string());
    };
    let begins = text.len() - text.trim_start().len() + UNIX.len();
    let bad = |why: &str| BadAddress::new(text, begins..begins + path.len(), why);
    if !path.starts_with('/') {
        return Err(bad("a path begins with /, as in unix:/run/memcached.sock"));
    }
    match std::os::unix::net::SocketAddr::from_pathname(path) {
        Ok(_) => Ok(bare.to_owned()),
        Err(error) => Err(bad(&format!("this can be no path of a socket: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_may_have_names_and_blanks_around_them() {
        for (text, name, addr) in [
            ("10.0.0.1:11211", "10.0.0.1:11211", "10.0.0.1:11211"),
            (" b = h:2 ", "b", "h:2"),
            ("\th:1", "h:1", "h:1"),
            ("a=[::1]:1", "a", "[::1]:1"),
            ("s=unix:/run/m.sock", "s", "unix:/run/m.sock"),
            (" unix:/run/m.sock", "unix:/run/m.sock", "unix:/run/m.sock"),
        ] {
            let server = parse(text).unwrap();
            assert_eq!((server.name.as_str(), server.addr.as_str()), (name, addr), "{text:?}");
        }
        assert_eq!(or_default(&[]).len(), DEFAULT.len());
    }

    #[test]
    fn what_can_never_be_a_server_is_refused_and_marked() {
        let long = format!("unix:/{}", "x".repeat(200));
        for (text, mark) in [
            ("", "^"),
            (" ", " ^"),
            ("http://h:1", "^^^^^^^"),
            ("::1", "^^^"),
            ("h:1:1", "   ^^"),
            ("P;Q", "   ^"),
            ("a=", "  ^"),
            ("=h:1", "^"),
            ("a b=h:1", " ^"),
            ("a=b=h:1", "   ^"),
            (" a= h:1:1", "       ^^"),
            ("a=unix:run", "       ^^^"),
            (long.as_str(), &format!("     {}", "^".repeat(201))),
        ] {
            let said = parse(text).unwrap_err().to_string();
            assert_eq!(said.lines().last().unwrap(), format!("    {mark}"), "{said}");
        }
    }
}
