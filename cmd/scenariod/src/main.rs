//! scenariod.
fn main() {}
