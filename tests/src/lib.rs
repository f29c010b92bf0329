//! End-to-end tests of the two binaries; everything is in `tests.rs`.
