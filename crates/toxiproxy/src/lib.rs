//! toxiproxy.
