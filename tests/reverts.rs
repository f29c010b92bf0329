//! Whatever dies, no fault stays, and nobody else's is touched: scenariod against real memcached, through the embedded proxy
//! in a process of its own and through a real Toxiproxy.

mod foreign;
mod frozen;
mod hung;
mod kills;
mod site;
mod two;
