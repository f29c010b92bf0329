//! See `memcache_client::fuzzing::reply`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| memcache_client::fuzzing::reply(data));
