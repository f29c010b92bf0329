//! What a fault counts as touched.

use toxiproxy::toxic::Joined;

use super::{fault, given, wire};
use crate::connection::wire::Wire;

#[test]
fn a_fault_that_changed_neither_bytes_nor_time_touched_nothing() {
    let large = format!("VALUE a 0 70000\r\n{}\r\nEND\r\n", "x".repeat(70_000));
    let get = |reply: &str, touched: &[bool]| (reply.to_owned(), touched.to_vec());
    for (name, words, (reply, touched)) in [
        ("mc_swap_replies", "", get("END\r\n", &[false])),
        // Whole chunks of it come once and where they were.
        ("mc_duplicate_reply", "", get(&large, &[false, false, false])),
        ("mc_swap_replies", "", get(&large, &[false, false, false])),
        ("mc_duplicate_reply", "", get("END\r\n", &[true])),
        ("mc_garbage_after_reply", "", get("END\r\n", &[true])),
        ("mc_truncate_value", "", get("VALUE a 0 0\r\n\r\nEND\r\n", &[false])),
        ("mc_delay", "latency=0 jitter=1", get("END\r\n", &[false])),
        ("mc_cut_value", "", get("VALUE a 0 0\r\n\r\nEND\r\n", &[true])),
        ("mc_hold_reply", "", get("END\r\n", &[true])),
    ] {
        // Of a jitter there may be none: with this seed there is none.
        let seed = if name == "mc_delay" { no_delay() } else { 5 };
        let mut wire = Wire::new(fault(name), &given(words), &Joined::default(), seed);
        for _ in 0..if name == "mc_cut_value" { 1 } else { 3 } {
            wire.up("get a\r\n");
            let found: Vec<bool> = reply.as_bytes().chunks(32 * 1024).map(|chunk| wire.down(chunk)).collect();
            assert_eq!(found, touched, "{name}");
            if name == "mc_delay" {
                break;
            }
        }
    }
    // Each of these is met where it bites, and there alone.
    let mut flip = wire("mc_corrupt_value", "");
    flip.up("get a\r\n");
    let bites = [&b"VALUE a 0 2\r\n"[..], b"x", b"x", b"\r\nEND\r\n"].map(|piece| flip.down(piece));
    assert!(bites == [false, true, false, false] || bites == [false, false, true, false], "{bites:?}");
    let mut swap = wire("mc_swap_replies", "");
    swap.up("get a\r\nget b\r\n");
    assert_eq!(["END\r\n", "END", "\r\n"].map(|piece| swap.down(piece)), [true; 3]);
    let mut short = wire("mc_truncate_value", "");
    short.up("mg a v\r\n");
    assert_eq!(["VA 3\r\n", "ab", "c", "\r\n"].map(|piece| short.down(piece)), [true, false, true, false]);
}

/// A seed whose first draw of a delay between 0 and 1 ms is none.
fn no_delay() -> u64 {
    let is_none = |seed: &u64| {
        let mut wire = Wire::new(fault("mc_delay"), &given("latency=0 jitter=1"), &Joined::default(), *seed);
        wire.up("get a\r\n");
        wire.down("END\r\n");
        wire.wakes().is_none()
    };
    (0..100).find(is_none).unwrap()
}
