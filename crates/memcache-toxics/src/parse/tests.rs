//! Both directions in any pieces, and what each line means.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::command::Command;
use crate::parse::reply::{Fit, Reply};
use crate::parse::request::{Answered, Request};

/// What a direction is cut into: lines as they are, values joined, and why it stopped.
fn cut(
    grammar: &'static Grammar,
    value: fn(&[u8]) -> Option<u64>,
    pieces: &[&[u8]],
) -> (Vec<Vec<u8>>, Option<Why>) {
    let (mut framer, mut found, mut all) = (Framer::new(grammar), vec![Vec::new()], Vec::new());
    let mut lost = None;
    for piece in pieces {
        let mut input = Bytes::copy_from_slice(piece);
        while lost.is_none() {
            match framer.next(&mut input) {
                Ok(Some(Frame::Line(line))) => {
                    if let Some(length) = value(&line) {
                        framer.expect_value(length);
                    }
                    all.extend_from_slice(&line);
                    found.push(line.to_vec());
                    found.push(Vec::new());
                }
                Ok(Some(Frame::Value(bytes))) => {
                    all.extend_from_slice(&bytes);
                    found.last_mut().unwrap().extend_from_slice(&bytes);
                }
                Ok(Some(Frame::End(end))) => all.extend_from_slice(&end),
                Ok(None) => break,
                Err(why) => lost = Some(why),
            }
        }
        if lost.is_some() {
            all.extend_from_slice(&framer.take_partial());
        }
        all.extend_from_slice(&input);
    }
    all.extend_from_slice(&framer.take_partial());
    assert_eq!(all, pieces.concat(), "every byte is handed out once");
    (found, lost)
}

fn requests(pieces: &[&[u8]]) -> (Vec<Vec<u8>>, Option<Why>) {
    cut(&request::GRAMMAR, |line| Request::parse(line)?.value, pieces)
}

fn replies(pieces: &[&[u8]]) -> (Vec<Vec<u8>>, Option<Why>) {
    cut(&reply::GRAMMAR, |line| Reply::parse(line)?.value, pieces)
}

const REQUESTS: &[u8] = b"get a\r\nset k 1 0 3\r\na\r\n\r\nms m 0 T9 q\r\n\r\nmg kk v k O9\nmn\r\ncas c 0 0 1 77 noreply\r\nz\r\nquit\r\n";
const REPLIES: &[u8] =
    b"VALUE a 0 5\r\nEND\r\n\r\nEND\r\nVA 0 kk\r\n\r\nHD\r\n17\r\nSTAT x y\r\nEND\r\nSERVER_ERROR no\r\nVALUE b 0 1 9\r\n\n\r\n";

#[test]
fn any_pieces_give_the_same_as_one() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for _ in 0..2000 {
        for (bytes, cut) in [(REQUESTS, requests as fn(&[&[u8]]) -> _), (REPLIES, replies)] {
            // Sometimes with one byte changed: then it may be lost, at the same place.
            let mut bytes = bytes.to_vec();
            if rng.random_bool(0.5) {
                let at = rng.random_range(0..bytes.len());
                bytes[at] = b" \r\nVg9\x80"[rng.random_range(0..7)];
            }
            let whole: (Vec<Vec<u8>>, Option<Why>) = cut(&[&bytes]);
            let (mut pieces, mut rest) = (Vec::new(), &bytes[..]);
            while !rest.is_empty() {
                let n = rng.random_range(1..=rest.len().min(9));
                pieces.push(&rest[..n]);
                rest = &rest[n..];
            }
            assert_eq!(cut(&pieces), whole, "{}", bytes.escape_ascii());
            assert_eq!(cut(&bytes.chunks(1).collect::<Vec<_>>()), whole, "{}", bytes.escape_ascii());
        }
    }
}

#[test]
fn requests_are_read_as_memcached_reads_them() {
    let read = |line: &'static str| Request::parse(line.as_bytes());
    for (line, command, value, answered, keys) in [
        ("get a b\r\n", Command::Get, None, Answered::Always, "a b"),
        ("gat 30 a b\r\n", Command::Gat, None, Answered::Always, "a b"),
        ("set k 0 0 5\r\n", Command::Set, Some(5), Answered::Always, "k"),
        ("set k 0 0 5 noreply\r\n", Command::Set, Some(5), Answered::Never, "k"),
        ("cas k 0 0 5 99 noreply\n", Command::Cas, Some(5), Answered::Never, "k"),
        ("incr k 5 noreply\r\n", Command::Incr, None, Answered::Never, "k"),
        ("get noreply\r\n", Command::Get, None, Answered::Always, "noreply"),
        ("mg k v q k O1\r\n", Command::Mg, None, Answered::Maybe, "k"),
        ("mg q v\r\n", Command::Mg, None, Answered::Always, "q"),
        ("ms k 7 T0 q\r\n", Command::Ms, Some(7), Answered::Maybe, "k"),
        ("flush_all noreply\r\n", Command::FlushAll, None, Answered::Never, ""),
        ("quit\r\n", Command::Quit, None, Answered::Never, ""),
        ("mn\r\n", Command::Mn, None, Answered::Always, ""),
    ] {
        let request = read(line).unwrap();
        let found: Vec<&[u8]> = request.keys().collect();
        assert_eq!((request.command, request.value, request.answered), (command, value, answered), "{line}");
        assert_eq!(found.join(&b' '), keys.as_bytes(), "{line}");
    }
    for line in
        ["set k 0 0\r\n", "set k 0 0 -1\r\n", "ms k S5\r\n", "set k 0 0 2000000000\r\n", "\r\n", "watch\r\n"]
    {
        assert!(read(line).is_none(), "{line}");
    }
    assert_eq!(read("ms foo 2 T0 k O7 b I\r\n").unwrap().echo(), " kfoo O7 b");
}

#[test]
fn replies_belong_to_the_requests_that_can_have_them() {
    use Command as C;
    for (line, command, quiet, echo, fit) in [
        ("VALUE a 0 1", C::Get, false, "", Fit::More),
        ("END", C::Gets, false, "", Fit::Last),
        ("END", C::Mg, false, "", Fit::No),
        ("VA 3 kfoo O1", C::Mg, false, " kfoo O1", Fit::Last),
        ("VA 3 kfoo O1", C::Mg, false, " kfoo O2", Fit::No),
        ("VA 3 kfoo", C::Mg, false, " kbar", Fit::No),
        ("EN", C::Mg, false, " kfoo O1", Fit::Last),
        ("EN", C::Mg, true, "", Fit::No),
        ("HD", C::Ms, true, "", Fit::No),
        ("NS", C::Ms, true, "", Fit::Last),
        // Quiet on a hit, but not where it creates the item.
        ("HD O1", C::Ma, true, " O1", Fit::Last),
        ("MN", C::Ms, false, "", Fit::No),
        ("SERVER_ERROR x", C::Incr, false, "", Fit::Last),
        ("12", C::Incr, false, "", Fit::Last),
        ("STORED", C::Delete, false, "", Fit::No),
        ("STAT a b", C::Stats, false, "", Fit::More),
        ("VERSION 1", C::Version, false, "", Fit::Last),
    ] {
        assert_eq!(
            Reply::parse(line.as_bytes()).unwrap().fits(command, quiet, echo.as_bytes()),
            fit,
            "{line}"
        );
    }
}

#[test]
fn what_is_not_the_protocol_is_found_out_at_once_and_lines_have_an_end() {
    assert_eq!(requests(&[b"\x80\x00\x00"]).1, Some(Why::Unknown));
    assert_eq!(requests(&[b"\x16\x03\x01"]).1, Some(Why::Unknown));
    assert_eq!(requests(&[b"GET / HTTP"]).1, Some(Why::Unknown));
    assert_eq!(replies(&[b"HTTP/1.1 200"]).1, Some(Why::Unknown));
    assert_eq!(requests(&[b"mg ", &[b'x'; 9000]]).1, Some(Why::LineTooLong));
    assert_eq!(requests(&[b"get ", &[b'x'; 9000]]).1, None);
    assert_eq!(requests(&[b"get ", &[b'x'; 70_000]]).1, Some(Why::LineTooLong));
    assert_eq!(requests(&[b"set k 0 0 1\r\nxx\r\n"]).1, Some(Why::BadValueEnd));
}
