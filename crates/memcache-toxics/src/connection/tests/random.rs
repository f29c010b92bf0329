//! Random traffic in random pieces against a small honest server, with removals at random moments.

use std::collections::VecDeque;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use toxiproxy::toxic::Joined;
use toxiproxy::wire::Stream;

use super::given;
use crate::connection::wire::Wire;
use crate::faults::{FAULTS, Fault, Harm};

/// A request and how its reply is told from all others.
struct Op {
    request: String,
    /// Ways in which a reply to it may begin; none: it has no reply.
    replies: Vec<String>,
    quiet: bool,
}

fn op(n: usize, rng: &mut ChaCha8Rng) -> Op {
    let size = rng.random_range(0..40);
    let value = "v\r\nEND\r\nVA 2\r\n".repeat(3)[..size].to_owned();
    let or_error = |reply: String| vec![reply, "SERVER_ERROR".to_owned()];
    let (request, replies, quiet) = match rng.random_range(0..9) {
        0 => (format!("mg k{n} v k O{n}\r\n"), vec!["VA ".to_owned(), format!("EN kk{n} O{n}")], false),
        1 => (format!("mg k{n} v q k O{n}\r\n"), vec!["VA ".to_owned()], true),
        2 => (format!("ms k{n} {size} k O{n}\r\n{value}\r\n"), vec![format!("HD kk{n} O{n}")], false),
        3 => (format!("ms k{n} {size} O{n} q\r\n{value}\r\n"), vec!["NS".to_owned()], true),
        4 => (format!("get k{n} k\r\n"), vec!["VALUE k".to_owned(), "END".to_owned()], false),
        5 => (format!("set k{n} 0 0 {size}\r\n{value}\r\n"), vec!["STORED".to_owned()], false),
        6 => (format!("set k{n} 0 0 {size} noreply\r\n{value}\r\n"), vec![], false),
        7 => (format!("delete k{n}\r\n"), vec!["DELETED".to_owned()], false),
        _ => ("mn\r\n".to_owned(), vec!["MN".to_owned()], false),
    };
    let replies = replies.into_iter().flat_map(or_error).collect();
    Op { request, replies, quiet }
}

/// Answers the whole requests in `input`.
fn serve(input: &mut Vec<u8>, rng: &mut ChaCha8Rng) -> String {
    let mut out = String::new();
    while let Some(end) = input.windows(2).position(|two| two == b"\r\n") {
        let line = String::from_utf8(input[..end].to_vec()).unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let value = match words[0] {
            "set" => Some(words[4].parse::<usize>().unwrap()),
            "ms" => Some(words[2].parse::<usize>().unwrap()),
            _ => None,
        };
        let whole = end + 2 + value.map_or(0, |length| length + 2);
        if input.len() < whole {
            break;
        }
        assert!(value.is_none() || input[..whole].ends_with(b"\r\n"), "a damaged request: {line}");
        input.drain(..whole);
        let flags: String = (words.iter().skip(2))
            .filter_map(|word| match word.as_bytes()[0] {
                b'k' => Some(format!(" k{}", words[1])),
                b'O' => Some(format!(" {word}")),
                _ => None,
            })
            .collect();
        let quiet = words.contains(&"q");
        let value = "x".repeat(rng.random_range(0..50));
        let hit = rng.random_bool(0.5);
        match words[0] {
            "mg" | "ms" | "get" | "delete" if rng.random_bool(0.1) => out += "SERVER_ERROR oom\r\n",
            "mg" if hit => out += &format!("VA {}{flags}\r\n{value}\r\n", value.len()),
            "mg" if !quiet => out += &format!("EN{flags}\r\n"),
            "ms" if !quiet => out += &format!("HD{flags}\r\n"),
            "get" if hit => out += &format!("VALUE {} 0 {}\r\n{value}\r\nEND\r\n", words[1], value.len()),
            "get" => out += "END\r\n",
            "set" if *words.last().unwrap() != "noreply" => out += "STORED\r\n",
            "delete" => out += "DELETED\r\n",
            "mn" => out += "MN\r\n",
            "mg" | "ms" | "set" => {}
            other => panic!("an unknown request: {other}"),
        }
    }
    out
}

/// Takes one whole reply; gives its first line.
fn reply(input: &mut Vec<u8>) -> Option<String> {
    let (mut at, mut first) = (0, None);
    loop {
        let end = at + input[at..].windows(2).position(|two| two == b"\r\n")?;
        let line = String::from_utf8(input[at..end].to_vec()).unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let length = match words[0] {
            "VA" => Some(words[1].parse::<usize>().unwrap()),
            "VALUE" => Some(words[3].parse::<usize>().unwrap()),
            _ => None,
        };
        at = end + 2 + length.map_or(0, |length| length + 2);
        if input.len() < at {
            return None;
        }
        assert!(input[..at].ends_with(b"\r\n"), "a damaged value behind {line}");
        let more = words[0] == "VALUE";
        first.get_or_insert(line);
        if !more {
            input.drain(..at);
            return first;
        }
    }
}

/// Runs ops through a fault, removed at some step; gives what the client and the server saw, and the wire.
struct Traffic {
    ops: Vec<Op>,
    sent: [Vec<u8>; 2],
    wire: Wire,
}

fn run(fault: &Fault, words: &str, seed: u64, remove_at: usize) -> Traffic {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut wire = Wire::new(fault, &given(words), &Joined::default(), seed);
    let ops: Vec<Op> = (0..40)
        .map(|n| op(n, &mut rng))
        .chain([Op { request: "mn\r\n".to_owned(), replies: vec!["MN".to_owned()], quiet: false }])
        .collect();
    let mut up: VecDeque<u8> = ops.iter().flat_map(|op| op.request.bytes()).collect();
    let (mut at_server, mut served, mut down) = (Vec::new(), 0, VecDeque::new());
    let mut sent = [up.iter().copied().collect(), Vec::new()];
    let mut step = 0;
    loop {
        if step == remove_at {
            wire.remove();
        }
        step += 1;
        at_server.extend_from_slice(&wire.out[0][served..]);
        served = wire.out[0].len();
        let answers = serve(&mut at_server, &mut rng);
        sent[1].extend_from_slice(answers.as_bytes());
        down.extend(answers.into_bytes());
        let from_server = rng.random_bool(0.5);
        let side = if from_server { &mut down } else { &mut up };
        let n = rng.random_range(1..60).min(side.len());
        let piece: Vec<u8> = side.drain(..n).collect();
        if !piece.is_empty() {
            let stream = if from_server { Stream::Downstream } else { Stream::Upstream };
            let taken = wire.push(stream, &piece).0;
            assert!(taken == piece.len() || wire.ended[1]);
        }
        wire.wait(Duration::from_millis(rng.random_range(0..3)));
        if up.is_empty() && down.is_empty() && served == wire.out[0].len() && step > remove_at {
            break;
        }
    }
    Traffic { ops, sent, wire }
}

/// Attributes to run a fault with.
fn words_for(fault: &Fault) -> Vec<String> {
    let own: &[&str] = match fault.kind.name {
        "mc_delay" | "mc_delay_request" => &["latency=5 jitter=4", "latency=5 "],
        "mc_slow_value" => &["rate=200"],
        "mc_split_reply" => &["size=3", "where=crlf", "delay=0"],
        _ => &[""],
    };
    let meta = ["mg", "ms"].iter().find(|name| fault.declared.on.names().contains(**name)).unwrap();
    let each =
        |own: &&str| [own.to_string(), format!("{own} share_ppm=300000"), format!("{own} commands={meta}")];
    own.iter().flat_map(each).collect()
}

#[test]
fn without_harm_every_byte_arrives_whenever_the_toxic_goes() {
    for fault in FAULTS.iter().filter(|fault| fault.harm == Harm::None) {
        for seed in 0..150 {
            for words in words_for(fault) {
                let traffic = run(fault, &words, seed, 3 + seed as usize);
                assert!(traffic.wire.gone, "{} {words} {seed}", fault.kind.name);
                assert_eq!(traffic.wire.out, traffic.sent, "{} {words} {seed}", fault.kind.name);
            }
        }
    }
}

#[test]
fn with_harm_to_data_alone_each_request_has_its_reply_in_its_turn() {
    for fault in FAULTS.iter().filter(|fault| fault.harm == Harm::Data) {
        for seed in 0..150 {
            for words in words_for(fault) {
                let what = format!("{} {words:?} {seed}", fault.kind.name);
                let traffic = run(fault, &words, seed, 3 + seed as usize);
                assert!(traffic.wire.gone, "{what}");
                assert_eq!(traffic.wire.lost(), None, "{what}");
                let mut client = traffic.wire.out[1].clone();
                let lines: Vec<String> = std::iter::from_fn(|| reply(&mut client)).collect();
                assert!(client.is_empty(), "{what}: {} is no reply", client.escape_ascii());
                assert!(belong(&lines, &traffic.ops), "{what}: {lines:#?} are not the replies");
            }
        }
    }
}

/// Can these be the replies to the ops, in order? Quiet ops and those that asked for silence may be without one.
fn belong(lines: &[String], ops: &[Op]) -> bool {
    let silent = |op: &Op| op.quiet || op.replies.is_empty();
    // How many ops may be answered so far.
    let mut reached = std::collections::BTreeSet::from([0]);
    for line in lines {
        let mut next = std::collections::BTreeSet::new();
        for begin in reached {
            for (at, op) in ops.iter().enumerate().skip(begin) {
                if fits(line, op) {
                    next.insert(at + 1);
                }
                if !silent(op) {
                    break;
                }
            }
        }
        reached = next;
    }
    reached.into_iter().any(|begin| ops[begin..].iter().all(silent))
}

/// The opaque, where there is one, is that of the request. (The key may be a wrong one on purpose.)
fn fits(line: &str, op: &Op) -> bool {
    let opaque = |text: &str| text.split([' ', '\r']).find(|word| word.starts_with('O')).map(str::to_owned);
    let own = opaque(line).is_none_or(|echoed| opaque(&op.request) == Some(echoed));
    own && op.replies.iter().any(|reply| line.starts_with(reply.as_str()))
}

#[test]
fn with_harm_to_the_connection_nothing_panics_and_nothing_piles_up() {
    for fault in FAULTS.iter().filter(|fault| fault.harm == Harm::Connection) {
        for seed in 0..150 {
            for words in words_for(fault) {
                let traffic = run(fault, &words, seed, 3 + seed as usize);
                assert!(traffic.wire.gone || traffic.wire.ended[1], "{} {seed}", fault.kind.name);
                assert_eq!(traffic.wire.kept(), 0, "{} {seed}", fault.kind.name);
            }
        }
    }
}

#[test]
fn an_unmet_connection_is_untouched_by_every_fault() {
    for fault in FAULTS {
        let words =
            if fault.kind.name.starts_with("mc_delay") { "latency=5 key_prefix=zz" } else { "key_prefix=zz" };
        // Probes are answered whatever the key.
        if fault.kind.name != "mc_health_only" {
            let traffic = run(fault, words, 1, 1000);
            assert_eq!(traffic.wire.out, traffic.sent, "{}", fault.kind.name);
        }
    }
}
