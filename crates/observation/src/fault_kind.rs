//! Kinds of faults. What a kind does to a request is in [`crate::effect`].

crate::known_text::known_text! {
    /// What a scenario means to do to a server.
    FaultKind {
        /// Replies are late.
        Latency = "latency",
        /// The delay that packet loss causes on a reliable stream, both ways; no byte is lost.
        Loss = "loss",
        /// Packets are really lost, both ways, by the kernel's packet filter.
        LossKernel = "loss_kernel",
        /// A share of the connections hangs.
        Stall = "stall",
        /// Nobody listens.
        Down = "down",
        /// Connections are reset at their first request.
        Reset = "reset",
        /// Replies pass at a limited rate.
        Bandwidth = "bandwidth",
        /// Replies come in small pieces.
        Slicer = "slicer",
        /// Connections end after a number of reply bytes.
        LimitData = "limit_data",
        /// The end of a connection is late.
        SlowClose = "slow_close",
        /// A toxic of the proxy, by its own name.
        Toxic = "toxic",
    }
}
