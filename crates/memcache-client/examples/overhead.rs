//! What the client's own decisions cost an op: `cargo run --release -p memcache-client --example overhead`. Prints the
//! median of many rounds, in nanoseconds an op.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::hint::black_box;

use memcache_client::breaker::{Breaker, Fleet, Verdict};
use memcache_client::{BreakerConfig, Router};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

const ROUNDS: usize = 201;
const OPS: u32 = 10_000;

fn report(name: &str, mut op: impl FnMut(u32)) {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            (0..OPS).for_each(&mut op);
            began.elapsed().as_nanos() as f64 / f64::from(OPS)
        })
        .collect();
    rounds.sort_unstable_by(f64::total_cmp);
    println!("{name:<44} {:>7.1} ns", rounds[ROUNDS / 2]);
}

fn main() {
    let breaker = Breaker::new(BreakerConfig::default(), Fleet::new(3, None), ChaCha8Rng::seed_from_u64(1));
    let now = Instant::now();
    let call = |now: Instant| {
        if let Some(permit) = breaker.try_acquire(now).0 {
            black_box(permit.end(Verdict::Success, now));
        }
    };
    report("the clock, read twice", |_| {
        black_box((Instant::now(), Instant::now()));
    });
    report("breaker: acquire and end", |_| call(black_box(now)));
    report("breaker: acquire, end and the clock twice", |_| {
        if let Some(permit) = breaker.try_acquire(Instant::now()).0 {
            black_box(permit.end(Verdict::Success, Instant::now()));
        }
    });
    for servers in [1, 3, 8, 32] {
        let names: Vec<String> = (0..servers).map(|n| format!("memcached{n}")).collect();
        let router = Router::new(names.iter().map(String::as_str));
        let keys: Vec<String> = (0..1024).map(|n| format!("user:{n:08}:profile:0123456789")).collect();
        report(&format!("router: candidates among {servers} servers"), |n| {
            black_box(router.candidates(keys[n as usize % keys.len()].as_bytes()));
        });
    }
}
