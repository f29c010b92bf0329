//! Wire drivers: what speaks the protocol for a client.

crate::known_text::known_text! {
    /// A wire driver, as far as the judge has to know it.
    WireDriver {
        /// The meta commands.
        Meta = "meta",
        /// The crate of that name: it writes and deletes without waiting for an answer.
        MemcacheAsync = "memcache-async",
    }
}

impl WireDriver {
    /// Does it wait until the server has acknowledged a write? Of an unknown driver it is taken for granted.
    pub fn acknowledges_writes(&self) -> bool {
        match self {
            WireDriver::MemcacheAsync => false,
            WireDriver::Meta | WireDriver::Other(_) => true,
        }
    }
}

impl Default for WireDriver {
    /// Not said.
    fn default() -> Self {
        WireDriver::Other(String::new())
    }
}
