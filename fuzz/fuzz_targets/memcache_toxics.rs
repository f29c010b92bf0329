//! See `memcache_toxics::fuzzing::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| memcache_toxics::fuzzing::fuzz(data));
