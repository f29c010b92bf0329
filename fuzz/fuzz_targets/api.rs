//! See `toxiproxy::server::fuzzing::api`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| toxiproxy::server::fuzzing::api(data));
