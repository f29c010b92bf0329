//! Each fault by itself: bytes in, bytes out, in both directions.

use std::time::Duration;

use toxiproxy::toxic::Joined;
use toxiproxy::wire::{Attribute, Attributes, Stream};

use super::wire::Wire;
use crate::faults::{FAULTS, Fault, Harm};
use crate::parse::Why;

mod order;
mod random;
mod touched;

fn fault(name: &str) -> &'static Fault {
    FAULTS.iter().find(|fault| fault.kind.name == name).unwrap()
}

/// Attributes from words such as `commands=get min_size=3`.
fn given(words: &str) -> Attributes {
    let pairs = words.split(' ').filter_map(|word| word.split_once('='));
    let value = |text: &str| text.parse().map_or_else(|_| text.into(), Attribute::Number);
    pairs.map(|(name, text)| (name.to_owned(), value(text))).collect()
}

fn wire(name: &str, words: &str) -> Wire {
    fault(name).kind.check_all(&given(words)).unwrap();
    Wire::new(fault(name), &given(words), &Joined::default(), 5)
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What was seen since, as (at the server, at the client).
fn saw(wire: &mut Wire, up: &str, down: &str) {
    assert_eq!(wire.seen(), (up.to_owned(), down.to_owned()));
}

#[test]
fn a_delay_holds_the_chosen_replies_and_what_is_behind_them() {
    let mut wire = wire("mc_delay", "latency=100 commands=get");
    assert!(!wire.up("mn\r\nget a\r\nmn\r\n"));
    saw(&mut wire, "mn\r\nget a\r\nmn\r\n", "");
    assert!(wire.down("MN\r\nEND\r\nMN\r\n"));
    saw(&mut wire, "", "MN\r\n");
    wire.wait(ms(99));
    saw(&mut wire, "", "");
    wire.wait(ms(1));
    saw(&mut wire, "", "END\r\nMN\r\n");
    assert!(!wire.up("mn\r\n") && !wire.down("MN\r\n"));
    saw(&mut wire, "mn\r\n", "MN\r\n");
}

#[test]
fn jitter_stays_around_the_latency() {
    let mut wire = wire("mc_delay", "latency=50 jitter=20");
    for _ in 0..200 {
        wire.up("get a\r\n");
        wire.down("END\r\n");
        let wait = wire.wakes().unwrap() - wire.now;
        assert!((ms(30)..=ms(70)).contains(&wait), "{wait:?}");
        wire.wait(ms(70));
    }
    let times: std::collections::BTreeSet<_> =
        wire.chunks[1].iter().map(|(at, _)| at.as_millis() % 70).collect();
    assert_eq!(wire.chunks[1].len(), 200, "{times:?}");
}

#[test]
fn a_delayed_request_arrives_later_and_a_stalled_one_at_removal_and_both_in_order() {
    let mut late = wire("mc_delay_request", "latency=100 commands=write");
    assert!(late.up("get a\r\nset k 0 0 1\r\nx\r\nget b\r\n"));
    saw(&mut late, "get a\r\n", "");
    late.wait(ms(100));
    saw(&mut late, "set k 0 0 1\r\nx\r\nget b\r\n", "");

    let mut stalled = wire("mc_stall", "key_prefix=user:");
    assert!(!stalled.up("get other\r\n"));
    assert!(stalled.up("get user:1\r\nmn\r\n"));
    assert!(!stalled.down("END\r\n"));
    stalled.wait(Duration::from_secs(1000));
    saw(&mut stalled, "get other\r\n", "END\r\n");
    stalled.remove();
    saw(&mut stalled, "get user:1\r\nmn\r\n", "");
    assert!(stalled.gone);
    stalled.down("END\r\nMN\r\n");
    saw(&mut stalled, "", "END\r\nMN\r\n");
}

#[test]
fn only_large_values_are_held_and_those_of_requests_count_too() {
    let mut held = wire("mc_hold_reply", "min_size=5 max_size=9");
    held.up("get a\r\nset b 0 0 4\r\nabcd\r\nset c 0 0 5\r\nabcde\r\nmn\r\n");
    held.down("VALUE a 0 4\r\nabcd\r\nEND\r\nSTORED\r\n");
    saw(
        &mut held,
        "get a\r\nset b 0 0 4\r\nabcd\r\nset c 0 0 5\r\nabcde\r\nmn\r\n",
        "VALUE a 0 4\r\nabcd\r\nEND\r\nSTORED\r\n",
    );
    assert!(held.down("STORED\r\nMN\r\n"));
    saw(&mut held, "", "");
    held.update(&given("min_size=1000"));
    saw(&mut held, "", "STORED\r\nMN\r\n");
    held.up("mg k v\r\nget n\r\n");
    assert!(!held.down("VA 999\r\n"));
    assert!(!held.down([b'x'; 999]));
    assert!(!held.down("\r\nEND\r\n"));
}

#[test]
fn a_value_trickles_and_a_change_of_rate_counts_from_the_next() {
    let mut wire = wire("mc_slow_value", "rate=1000");
    wire.up("get k\r\nmn\r\n");
    assert!(wire.down(format!("VALUE k 0 100\r\n{}\r\nEND\r\nMN\r\n", "x".repeat(100))));
    assert_eq!(wire.out[1], b"VALUE k 0 100\r\nxxxxxxxxxx");
    let begin = wire.now;
    while let Some(at) = wire.wakes() {
        let step = at - wire.now;
        wire.wait(step);
    }
    assert_eq!(wire.now - begin, ms(90));
    assert!(wire.out[1].ends_with(b"x\r\nEND\r\nMN\r\n") && wire.out[1].len() == 15 + 102 + 9);
}

#[test]
fn a_reply_is_split_everywhere_or_inside_its_line_ends() {
    let mut bytes = wire("mc_split_reply", "delay=2");
    bytes.up("get k\r\n");
    bytes.down("END\r\n");
    bytes.wait(ms(8));
    let pieces: Vec<(u64, &[u8])> =
        bytes.chunks[1].iter().map(|(at, piece)| (at.as_millis() as u64, &piece[..])).collect();
    assert_eq!(pieces, [(0, &b"E"[..]), (8, b"N"), (8, b"D"), (8, b"\r"), (8, b"\n")]);

    let mut ends = wire("mc_split_reply", "where=crlf delay=10");
    ends.up("get k\r\n");
    ends.down("VALUE k 0 1\r\na\r\nEND\r\n");
    for _ in 0..6 {
        ends.wait(ms(10));
    }
    let pieces: Vec<&[u8]> = ends.chunks[1].iter().map(|(_, piece)| &piece[..]).collect();
    assert_eq!(pieces, [&b"VALUE k 0 1\r"[..], b"\n", b"a", b"\r", b"\n", b"END\r", b"\n"]);
}

#[test]
fn probes_are_answered_while_data_hangs() {
    let mut wire = wire("mc_health_only", "version=v9");
    assert!(wire.up("version\r\nmn\r\n"));
    saw(&mut wire, "", "VERSION v9\r\nMN\r\n");
    assert!(wire.up("mg k v\r\nmn\r\n"));
    saw(&mut wire, "", "");
    wire.remove();
    saw(&mut wire, "mg k v\r\nmn\r\n", "");
    wire.down("EN\r\nMN\r\n");
    saw(&mut wire, "", "EN\r\nMN\r\n");
}

#[test]
fn an_error_of_the_faults_own_comes_in_its_turn_and_the_server_sees_nothing() {
    let mut wire = wire("mc_server_error", "commands=set text=no");
    assert!(wire.up("get a\r\nset k 0 0 3\r\nab"));
    saw(&mut wire, "get a\r\n", "");
    assert!(wire.up("c\r\nset n 0 0 1 noreply\r\nx\r\nget b\r\nset l 0 0 0\r\n\r\n"));
    saw(&mut wire, "get b\r\n", "");
    assert!(wire.down("END\r\n"));
    saw(&mut wire, "", "END\r\nSERVER_ERROR no\r\n");
    wire.remove();
    assert!(!wire.gone, "it still owes an answer");
    assert!(wire.down("END\r\n"));
    saw(&mut wire, "", "END\r\nSERVER_ERROR no\r\n");
    assert!(wire.gone);
}

#[test]
fn a_swallowed_request_stays_swallowed_when_the_toxic_is_removed_in_its_middle() {
    let mut wire = wire("mc_server_error", "");
    wire.up("set k 0 0 5\r\nab");
    wire.remove();
    assert!(!wire.gone);
    wire.up("cde\r\nget a\r\n");
    saw(&mut wire, "get a\r\n", "SERVER_ERROR out of memory\r\n");
    assert!(wire.gone);
}

#[test]
fn behind_quiet_requests_an_answer_waits_for_the_server_to_be_through_with_them() {
    let mut wire = wire("mc_miss", "key_prefix=cold");
    wire.up("mg warm:1 v q O1\r\nmg warm:2 v q O2\r\nmg cold:1 v O3 k\r\n");
    saw(&mut wire, "mg warm:1 v q O1\r\nmg warm:2 v q O2\r\nmn\r\n", "");
    wire.down("VA 1 O2\r\nx\r\nMN\r\n");
    saw(&mut wire, "", "VA 1 O2\r\nx\r\nEN O3 kcold:1\r\n");
    // Nothing quiet is left.
    wire.up("mg cold:1 v O4\r\nmg cold:2 v q O5\r\nget cold:a b\r\n");
    saw(&mut wire, "", "EN O4\r\nEND\r\n");
}

#[test]
fn a_reply_becomes_an_error_though_the_op_was_carried_out() {
    let mut wire = wire("mc_error_reply", "min_size=3");
    wire.up("set k 0 0 3\r\nabc\r\nget a b\r\nget b\r\n");
    wire.down("STORED\r\nVALUE a 0 3\r\nab");
    wire.remove();
    assert!(!wire.gone);
    wire.down("c\r\nVALUE b 0 1\r\nx\r\nEND\r\nVALUE b 0 1\r\nx\r\nEND\r\n");
    let error = "SERVER_ERROR out of memory storing object\r\n";
    saw(
        &mut wire,
        "set k 0 0 3\r\nabc\r\nget a b\r\nget b\r\n",
        &format!("{error}{error}VALUE b 0 1\r\nx\r\nEND\r\n"),
    );
    assert!(wire.gone);
}

#[test]
fn lost_writes_are_acknowledged_as_their_kind_is() {
    let mut wire = wire("mc_lost_write", "");
    wire.up("set k 0 0 1\r\nx\r\nms m 1 T0 k O7\r\nx\r\nms m 1 q\r\nx\r\ndelete k\r\nmd k O8\r\ntouch k 9\r\nincr k 1\r\n");
    saw(&mut wire, "incr k 1\r\n", "STORED\r\nHD km O7\r\nDELETED\r\nHD O8\r\nTOUCHED\r\n");
}

#[test]
fn a_busy_or_poisoned_connection_ends_behind_the_replies_that_were_due() {
    for (name, line) in [("mc_busy", "ERROR Too many open connections\r\n"), ("mc_poison", "")] {
        let mut wire = wire(name, "key_prefix=bad");
        wire.up("get good\r\nget bad\r\nget good\r\n");
        assert!(!wire.ended[1]);
        wire.down("END\r\nEND\r\n");
        assert_eq!(wire.seen().1, format!("END\r\n{line}"));
        assert!(wire.ended[1], "{name}");
        assert!(wire.up("get good\r\n"));
        assert_eq!(wire.seen().0, "", "nothing more goes to the server");
    }
}

#[test]
fn values_are_corrupted_truncated_and_named_wrongly_with_the_stream_in_step() {
    let reply = "VALUE a 0 4\r\nabcd\r\nVALUE b 0 0\r\n\r\nEND\r\n";
    let mut corrupt = wire("mc_corrupt_value", "");
    corrupt.up("get a b\r\n");
    for byte in reply.bytes() {
        corrupt.down([byte]);
    }
    let out = std::mem::take(&mut corrupt.out[1]);
    let bits: u32 = out.iter().zip(reply.bytes()).map(|(a, b)| (a ^ b).count_ones()).sum();
    assert_eq!((out.len(), bits), (reply.len(), 1));
    assert_eq!(
        (&out[..13], &out[17..]),
        (&reply.as_bytes()[..13], &reply.as_bytes()[17..]),
        "only the value"
    );

    let mut short = wire("mc_truncate_value", "shorter=3");
    short.up("get a b\r\nmg k v\r\nmn\r\n");
    for byte in format!("{reply}VA 2 c7\r\nxy\r\nMN\r\n").bytes() {
        short.down([byte]);
    }
    assert_eq!(short.seen().1, "VALUE a 0 1\r\na\r\nVALUE b 0 0\r\n\r\nEND\r\nVA 0 c7\r\n\r\nMN\r\n");

    let mut key = wire("mc_wrong_key", "key_prefix=a");
    key.up("get a b\r\nmg az v k\r\nmg a v\r\n");
    key.down(format!("{reply}VA 1 kaz\r\nx\r\nVA 1\r\nx\r\n"));
    assert_eq!(
        key.seen().1,
        format!("{}VA 1 kay\r\nx\r\nVA 1\r\nx\r\n", reply.replacen("VALUE a", "VALUE z", 1))
    );
}

#[test]
fn a_truncated_value_stays_truncated_when_the_toxic_is_removed_inside_it() {
    let mut wire = wire("mc_truncate_value", "shorter=2");
    wire.up("mg k v\r\n");
    wire.down("VA 4\r\na");
    wire.remove();
    assert!(!wire.gone);
    wire.down("bcd\r\n");
    assert_eq!(wire.seen().1, "VA 2\r\nab\r\n");
    assert!(wire.gone);
}

#[test]
fn a_connection_is_cut_inside_a_value() {
    for (words, left) in [("", "ab"), ("after=3", "abc"), ("after=99", "abc")] {
        let mut wire = wire("mc_cut_value", words);
        wire.up("get a\r\n");
        wire.down("VALUE a 0 4\r\nabcd\r\nEND\r\n");
        assert_eq!(wire.seen().1, format!("VALUE a 0 4\r\n{left}"));
        assert!(wire.ended[1] && !wire.ended[0]);
    }
    let mut empty = wire("mc_cut_value", "");
    empty.up("get a\r\n");
    empty.down("END\r\n");
    assert!(!empty.ended[1], "a miss has no value");
    empty.up("mg a v\r\n");
    empty.down("VA 0\r\n");
    assert!(empty.ended[1]);
}

#[test]
fn lengths_lie_both_ways() {
    for (words, line) in [
        ("", "VALUE a 5 3 77"),
        ("longer=0 shorter=1", "VALUE a 5 1 77"),
        ("longer=4000000000", "VALUE a 5 4000000002 77"),
    ] {
        let mut wire = wire("mc_wrong_length", words);
        wire.up("gets a\r\n");
        wire.down("VALUE a 5 2 77\r\nxy\r\nEND\r\n");
        assert_eq!(wire.seen().1, format!("{line}\r\nxy\r\nEND\r\n"), "{words}");
    }
}

#[test]
fn replies_come_twice_swapped_not_at_all_or_with_strays() {
    let (up, down) = ("get a\r\nmg b v\r\nmn\r\n", "VALUE a 0 1\r\nx\r\nEND\r\nVA 1\r\ny\r\nMN\r\n");
    for (name, words, wanted) in [
        ("mc_duplicate_reply", "commands=mg", "VALUE a 0 1\r\nx\r\nEND\r\nVA 1\r\ny\r\nVA 1\r\ny\r\nMN\r\n"),
        ("mc_swap_replies", "commands=get", "VA 1\r\ny\r\nVALUE a 0 1\r\nx\r\nEND\r\nMN\r\n"),
        ("mc_drop_reply", "commands=mg", "VALUE a 0 1\r\nx\r\nEND\r\nMN\r\n"),
        (
            "mc_garbage_after_reply",
            "commands=get text=huh",
            "VALUE a 0 1\r\nx\r\nEND\r\nhuh\r\nVA 1\r\ny\r\nMN\r\n",
        ),
    ] {
        for size in [1, 3, 100] {
            let mut wire = wire(name, words);
            wire.up(up);
            for piece in down.as_bytes().chunks(size) {
                wire.down(piece);
            }
            saw(&mut wire, up, wanted);
        }
    }
}

#[test]
fn replies_are_swapped_only_where_another_one_is_due_and_a_removal_gives_the_held_one_back() {
    let mut wire = wire("mc_swap_replies", "");
    wire.up("get a\r\n");
    wire.down("END\r\n");
    assert_eq!(wire.seen().1, "END\r\n");
    wire.up("get a\r\nget b\r\n");
    wire.down("VALUE a 0 1\r\nx\r\nEN");
    assert_eq!(wire.seen().1, "");
    wire.remove();
    wire.down("D\r\nEND\r\n");
    assert_eq!(wire.seen().1, "VALUE a 0 1\r\nx\r\nEND\r\nEND\r\n");
}

#[test]
fn a_large_reply_is_not_gathered() {
    for (name, times) in [("mc_duplicate_reply", 1), ("mc_swap_replies", 1)] {
        let mut wire = wire(name, "commands=get");
        wire.up("get a\r\nmn\r\n");
        let reply = format!("VALUE a 0 300000\r\n{}\r\nEND\r\n", "x".repeat(300_000));
        for piece in reply.as_bytes().chunks(1000) {
            wire.down(piece);
            assert!(wire.kept() <= 66 * 1024);
        }
        assert_eq!(wire.seen().1, reply.repeat(times), "{name}");
    }
}

#[test]
fn a_share_of_the_ops_is_met_and_the_same_seed_meets_the_same() {
    let run = |seed| {
        let mut wire =
            Wire::new(fault("mc_server_error"), &given("share_ppm=200000"), &Joined::default(), seed);
        for _ in 0..5000 {
            wire.up("get a\r\n");
            let asked = !wire.seen().0.is_empty();
            if asked {
                wire.down("END\r\n");
            }
        }
        wire.chunks[1].iter().map(|(_, bytes)| bytes.starts_with(b"SERVER")).collect::<Vec<_>>()
    };
    let met = run(1);
    let share = met.iter().filter(|met| **met).count() as f64 / met.len() as f64;
    // Four standard errors.
    assert!((share - 0.2).abs() < 4.0 * (0.16f64 / 5000.0).sqrt(), "{share}");
    assert!(met == run(1) && met != run(2));
}

#[test]
fn other_protocols_pass_for_good() {
    for first in [
        &b"\x80\x01\x00\x03"[..],
        b"\x16\x03\x01\x02\x00",
        b"GET / HTTP/1.1\r\n",
        b"set k 0 0 x\r\n",
        b"\r\n",
    ] {
        let mut wire = wire("mc_server_error", "");
        assert!(!wire.up(first));
        assert_eq!(wire.lost(), Some(Why::Unknown));
        wire.down(b"anything\x00 at all");
        wire.up("get a\r\n");
        assert_eq!(wire.out, [[first, b"get a\r\n"].concat(), b"anything\x00 at all".to_vec()]);
    }
}

#[test]
fn a_reply_that_nobody_asked_for_passes_and_with_an_answer_owed_the_connection_ends() {
    let mut idle = wire("mc_server_error", "");
    idle.down("ERROR Too many open connections\r\n");
    assert_eq!((idle.lost(), &idle.out[1][..5]), (Some(Why::Unasked), &b"ERROR"[..]));

    let mut owing = wire("mc_server_error", "commands=set");
    owing.up("get a\r\nset k 0 0 1\r\nx\r\n");
    owing.down("HUH\r\n");
    assert_eq!(owing.lost(), Some(Why::Unknown));
    assert!(owing.ended[1], "later replies would answer the wrong requests");
}

#[test]
fn an_open_connection_is_joined_at_a_request_after_a_rest() {
    let busy = Joined { bytes: [100, 50], tails: [*b"\r\n", *b"ab"], last: Some(Stream::Downstream) };
    let mut wire = Wire::new(fault("mc_server_error"), &given(""), &busy, 5);
    assert!(!wire.down("c\r\nEND\r\n"));
    saw(&mut wire, "", "c\r\nEND\r\n");
    assert!(wire.up("get a\r\n"));
    saw(&mut wire, "mn\r\n", "");
    wire.down("MN\r\n");
    saw(&mut wire, "", "SERVER_ERROR out of memory\r\n");
    // Now it is sure.
    wire.up("get a\r\n");
    saw(&mut wire, "", "SERVER_ERROR out of memory\r\n");
}

#[test]
fn replies_that_were_under_way_when_a_toxic_came_pass_before_its_own() {
    let rest = Joined { bytes: [100, 50], tails: [*b"\r\n"; 2], last: Some(Stream::Downstream) };
    let mut wire = Wire::new(fault("mc_server_error"), &given("commands=get"), &rest, 5);
    wire.up("get a\r\nmn\r\n");
    wire.down("VALUE old 0 2\r\nxy\r\nEND\r\nSTORED\r\nMN\r\nMN\r\n");
    saw(
        &mut wire,
        "mn\r\nmn\r\n",
        "VALUE old 0 2\r\nxy\r\nEND\r\nSTORED\r\nSERVER_ERROR out of memory\r\nMN\r\n",
    );
    assert_eq!(wire.lost(), None);
}

#[test]
fn a_wrong_place_to_begin_is_left_again() {
    let rest = Joined { bytes: [100, 50], tails: [*b"\r\n"; 2], last: Some(Stream::Downstream) };
    let mut wire = Wire::new(fault("mc_stall"), &given("commands=get"), &rest, 5);
    // A value that looks like a request, and then does not.
    wire.up("set k 0 0 1\r\nfoo\r\n");
    assert_eq!(wire.lost(), None);
    wire.down("STORED\r\n");
    assert!(wire.up("get a\r\n"));
    saw(&mut wire, "set k 0 0 1\r\nfoo\r\n", "STORED\r\n");
}

#[test]
fn a_source_is_not_read_on_when_too_much_waits() {
    let mut stalled = wire("mc_stall", "");
    let request = format!("set k 0 0 8000\r\n{}\r\n", "x".repeat(8000));
    let mut taken = 0;
    for _ in 0..1000 {
        taken += stalled.push(Stream::Upstream, request.as_bytes()).0;
    }
    assert!((256 * 1024..300 * 1024).contains(&taken) && stalled.kept() == taken, "{taken}");
    let mut tiny = wire("mc_stall", "");
    let taken = (0..100_000).map(|_| tiny.push(Stream::Upstream, b"mn\r\nget a\r\n").0).sum::<usize>();
    assert!(taken < 100_000, "{taken}");
}

#[test]
fn a_client_that_does_not_read_the_answers_of_a_fault_is_stopped_too() {
    for (name, request) in [
        ("mc_miss", "get k\r\n"),
        ("mc_server_error", "get k\r\n"),
        ("mc_lost_write", "delete k\r\n"),
        ("mc_health_only", "version\r\n"),
    ] {
        let mut wire = wire(name, "");
        wire.set_read(Stream::Downstream, false);
        let requests = request.repeat(1000);
        let taken = (0..1000).map(|_| wire.push(Stream::Upstream, requests.as_bytes()).0).sum::<usize>();
        assert!(taken < 100 * requests.len() && wire.kept() < 300 * 1024, "{name} {taken} {}", wire.kept());
        wire.set_read(Stream::Downstream, true);
        assert!(wire.up(request), "{name}");
        assert_eq!((wire.kept(), wire.lost()), (0, None), "{name}");
    }
    // An op whose reply is held is carried out, however much waits.
    let mut held = wire("mc_hold_reply", "");
    held.up("get a\r\n");
    held.down(format!("VALUE a 0 300000\r\n{}", "x".repeat(250_000)));
    held.down("x".repeat(20_000));
    assert!(held.kept() > 256 * 1024);
    held.up("get b\r\n");
    assert_eq!(held.seen().0, "get a\r\nget b\r\n");
}

#[test]
fn too_many_requests_without_replies_are_given_up_but_endless_quiet_ones_are_not() {
    let mut wire1 = wire("mc_delay", "latency=9");
    for _ in 0..20_000 {
        wire1.up("mn\r\n");
    }
    assert_eq!(wire1.lost(), Some(Why::TooMany));
    let mut wire2 = wire("mc_delay", "latency=9 commands=get");
    for _ in 0..20_000 {
        wire2.up("ms k 1 q\r\nx\r\n");
    }
    wire2.up("mn\r\nget a\r\n");
    wire2.down("NS\r\nNS\r\nMN\r\n");
    assert_eq!(wire2.lost(), None);
    assert!(wire2.down("END\r\n"));
}

#[test]
fn ends_pass_behind_what_waits() {
    let mut wire = wire("mc_delay", "latency=10");
    wire.up("get a\r\nget");
    wire.down("END\r\n");
    wire.end(Stream::Upstream);
    assert_eq!((wire.seen().0.as_str(), wire.ended), ("get a\r\nget", [true, false]));
    wire.end(Stream::Downstream);
    assert!(!wire.ended[1]);
    wire.wait(ms(10));
    assert_eq!((wire.seen().1.as_str(), wire.ended), ("END\r\n", [true, true]));
}

#[test]
fn every_fault_is_seen_in_these_tests() {
    let text = concat!(include_str!("tests.rs"), include_str!("../faults/tests.rs"));
    for fault in FAULTS {
        assert!(text.contains(&format!("\"{}\"", fault.kind.name)), "{}", fault.kind.name);
    }
    assert!(FAULTS.iter().filter(|fault| fault.harm == Harm::None).count() >= 6);
}

#[test]
fn an_update_frees_the_rest_of_a_reply_too() {
    for (name, words) in [
        ("mc_hold_reply", ""),
        ("mc_delay", "latency=100"),
        ("mc_slow_value", "rate=1"),
        ("mc_split_reply", "delay=100"),
    ] {
        let mut wire = wire(name, words);
        wire.up("mg k v\r\n");
        wire.down("VA 4\r\nab");
        wire.update(&given(&format!("{words} key_prefix=other")));
        assert_eq!(wire.seen().1, "VA 4\r\nab", "{name}");
        wire.down("cd\r\n");
        assert_eq!(wire.seen().1, "cd\r\n", "{name}");
    }
}
