//! See `observation::fuzzing::stream_or_journal`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| observation::fuzzing::stream_or_journal(data));
