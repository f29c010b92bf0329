//! Declarations, refusals, and the documented table.

use std::path::Path;

use super::*;
use crate::connection::wire::Wire;
use toxiproxy::toxic::{Build, Joined};
use toxiproxy::wire::Stream;

/// Attributes from words such as `min_size=3`.
fn given(words: &str) -> Attributes {
    let pairs = words.split(';').filter_map(|word| word.split_once('='));
    let value = |text: &str| text.parse().map_or_else(|_| text.into(), Attribute::Number);
    pairs.map(|(name, text)| (name.to_owned(), value(text))).collect()
}

fn refusal(name: &str, words: &str) -> String {
    let fault = FAULTS.iter().find(|fault| fault.kind.name == name).unwrap();
    fault.kind.check_all(&given(words)).unwrap_err()
}

#[test]
fn the_names_tell_whose_they_are_and_the_lists_agree() {
    let names: Vec<&str> = FAULTS.iter().map(|fault| fault.kind.name).collect();
    assert_eq!(names, KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>());
    let stock: Vec<&str> = toxiproxy::kinds().iter().map(|kind| kind.name).collect();
    for (at, name) in names.iter().enumerate() {
        assert!(name.starts_with("mc_") && !stock.contains(name) && !names[..at].contains(name), "{name}");
    }
    for fault in FAULTS {
        assert!(fault.kind.extension && matches!(fault.kind.build, Build::Connection(_)));
        assert_eq!(
            fault.kind.params.len(),
            fault.own.len() + crate::selector::PARAMS.len(),
            "{}",
            fault.kind.name
        );
        for ((own, _), param) in fault.own.iter().zip(fault.kind.params) {
            assert_eq!(own, param);
        }
    }
}

#[test]
fn what_would_do_nothing_that_was_meant_is_refused_in_words() {
    for (name, words, wanted) in [
        (
            "mc_stall",
            "commands=gett",
            "mc_stall commands names \"gett\"; known are: read write data get gets",
        ),
        (
            "mc_miss",
            "commands=set",
            "mc_miss commands names \"set\", on which it cannot act; it acts on: get gets",
        ),
        ("mc_lost_write", "commands=read", "mc_lost_write commands names \"read\", on which it cannot act"),
        ("mc_stall", "key_prefix=a b", "mc_stall key_prefix is \"a b\"; keys have at most 250 bytes"),
        ("mc_stall", "min_size=9;max_size=8", "mc_stall min_size is 9, above max_size, 8"),
        ("mc_stall", "commands=get;min_size=9", "mc_stall min_size and max_size need a value to look at"),
        ("mc_delay", "latency=5;commands=touch;max_size=9", "mc_delay min_size and max_size need a value"),
        (
            "mc_stall",
            "share_ppm=0",
            "mc_stall share_ppm is 0; a share in parts per million lies between 1 and",
        ),
        ("mc_stall", "share_ppm=1000001", "mc_stall share_ppm is 1000001"),
        ("mc_stall", "latency=1", "mc_stall has no attribute \"latency\"; it has: commands"),
        ("mc_delay", "", "mc_delay latency and jitter are 0: it would do nothing"),
        ("mc_delay", "latency=x", "mc_delay latency is \"x\"; it must be a whole number"),
        ("mc_slow_value", "rate=0", "mc_slow_value rate must be at least 1"),
        ("mc_split_reply", "size=0", "mc_split_reply size must be at least 1"),
        (
            "mc_split_reply",
            "where=words",
            "mc_split_reply where is \"words\"; it must be \"bytes\" or \"crlf\"",
        ),
        (
            "mc_server_error",
            "text=a\r\nSTORED",
            "mc_server_error text is \"a\\r\\nSTORED\"; it must be at most 200",
        ),
        ("mc_wrong_length", "longer=1;shorter=1", "mc_wrong_length longer and shorter are both set"),
        ("mc_wrong_length", "longer=0", "mc_wrong_length longer and shorter are 0"),
        ("mc_truncate_value", "shorter=0", "mc_truncate_value shorter must be at least 1"),
        ("mc_garbage_after_reply", "text=", "mc_garbage_after_reply text is empty"),
    ] {
        let said = refusal(name, words);
        assert!(said.starts_with(wanted), "{name} {words}: {said}");
    }
    for fault in FAULTS {
        let words = if fault.kind.name.starts_with("mc_delay") { "latency=5" } else { "" };
        assert_eq!(fault.kind.check_all(&given(words)), Ok(()), "{}", fault.kind.name);
        assert_eq!(fault.kind.check_all(&fault.kind.complete(&given(words))), Ok(()), "{}", fault.kind.name);
    }
}

#[test]
fn no_attributes_whatever_make_a_fault_panic_or_spin() {
    let numbers = [i64::MIN, -1, 0, 1, 100, i64::from(u32::MAX), i64::MAX].map(Attribute::Number);
    let texts = ["", "x", "read", "crlf", "\u{0}\r\n", "get,mg,,"].map(Attribute::from);
    let values: Vec<Attribute> = numbers.into_iter().chain(texts).collect();
    for fault in FAULTS {
        for (at, value) in values.iter().enumerate() {
            for other in &values[at..] {
                for odd in [0, 1] {
                    let choose = |index: usize| if index % 2 == odd { value } else { other };
                    let given: Attributes = (fault.kind.params.iter().enumerate())
                        .map(|(index, param)| (param.name.to_owned(), choose(index).clone()))
                        .collect();
                    let _ = fault.kind.check_all(&given);
                    let mut wire = Wire::new(fault, &given, &Joined::default(), 3);
                    wire.push(Stream::Upstream, b"get k x\r\nset k 0 0 3\r\nabc\r\nmg k v k\r\n");
                    wire.push(
                        Stream::Downstream,
                        b"VALUE k 0 9\r\n123456789\r\nEND\r\nSTORED\r\nVA 2 kk\r\nab\r\n",
                    );
                    wire.wait(std::time::Duration::from_secs(5));
                    wire.update(&given);
                    wire.remove();
                }
            }
        }
    }
}

#[test]
fn the_documented_table_is_that_of_the_faults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/memcache-toxics.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (begin, end) = ("<!-- table: begin -->\n", "<!-- table: end -->");
    let (before, rest) = text.split_once(begin).unwrap();
    let (written, after) = rest.split_once(end).unwrap();
    let table = crate::table();
    if written == table {
        return;
    }
    // The one file that a test may write: on request.
    if std::env::var_os("WRITE_DOCS").is_some() {
        std::fs::write(&path, [before, begin, &table, end, after].concat()).unwrap();
    }
    panic!(
        "docs/memcache-toxics.md is out of date; WRITE_DOCS=1 cargo test -p memcache-toxics documented writes it"
    );
}
