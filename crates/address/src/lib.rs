//! Addresses as people write them, and connections to them: a text that can never be an address is refused with a mark under what is
//! wrong, and all addresses of a name share one time limit without waiting for each other.

mod dial;
mod endpoint;
mod host;
mod http;
mod mark;

/// Prefix of addresses that are paths of Unix sockets.
pub const UNIX: &str = "unix:";

pub use dial::{DialError, connect, connect_any};
pub use endpoint::Endpoint;
pub use host::Host;
pub use http::http_base;
pub use mark::BadAddress;
