//! Chains in paused time.

use std::time::Duration;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::toxic::Build;
use crate::toxics;
use crate::wire::Stream;

fn spec(name: &str, kind: &str, toxicity: f64, attributes: &[(&str, i64)]) -> Arc<Spec> {
    let kind = toxics::kind(kind).unwrap();
    let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
    Arc::new(Spec { name: name.to_owned(), kind, toxicity, attributes: kind.complete(&attributes) })
}

fn pipe(specs: &[Arc<Spec>], seed: u64) -> (Pipe, Arc<Dose>) {
    let dose = Arc::new(Dose::default());
    let dice = Dice::new(seed, "p", 0, Stream::Upstream);
    let mut pipe = Pipe::new(dice, Arc::clone(&dose), LinkDose::open(&dose, Stream::Upstream));
    for spec in specs {
        let (behaviour, active) = start(&mut pipe, spec);
        pipe.append(Arc::clone(spec), behaviour, active);
    }
    (pipe, dose)
}

fn start(pipe: &mut Pipe, spec: &Spec) -> (Box<dyn Behaviour>, bool) {
    let Build::Link(build) = spec.kind.build else { unreachable!("no built-in kind") };
    let own = pipe.dice().fork();
    (build(&spec.attributes, own), pipe.dice().throw(spec.toxicity))
}

fn add(pipe: &mut Pipe, spec: Arc<Spec>) {
    let (behaviour, active) = start(pipe, &spec);
    pipe.add(spec, behaviour, active, Instant::now());
}

fn out(pipe: &mut Pipe) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(chunk) = pipe.output().cloned() {
        bytes.extend_from_slice(&chunk);
        pipe.written(chunk.len());
    }
    bytes
}

#[tokio::test(start_paused = true)]
async fn two_latencies_add_up_and_are_counted() {
    let specs =
        [spec("a", "latency", 1.0, &[("latency", 100)]), spec("b", "latency", 1.0, &[("latency", 50)])];
    let (mut pipe, dose) = pipe(&specs, 1);
    let begin = Instant::now();
    pipe.count_read(b"hello");
    pipe.push(Bytes::from_static(b"hello"), begin);
    assert_eq!(pipe.pump(begin), PipeState::Open(Some(begin + Duration::from_millis(100))));
    assert_eq!(
        pipe.pump(begin + Duration::from_millis(100)),
        PipeState::Open(Some(begin + Duration::from_millis(150)))
    );
    assert_eq!(pipe.pump(begin + Duration::from_millis(150)), PipeState::Open(None));
    assert_eq!(out(&mut pipe), b"hello");
    assert_eq!(
        (dose.read_out().chunks_touched, dose.read_out().links_touched),
        (1, 1),
        "once, although both hold it"
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_or_reordered_while_toxics_come_and_go() {
    use rand::RngExt;
    for seed in 0..200 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (mut pipe, _) = pipe(&[], seed);
        let harmless = [
            ("latency", &[("latency", 20), ("jitter", 15)][..]),
            ("bandwidth", &[("rate", 5)]),
            ("bandwidth", &[("rate", 0)]),
            ("slicer", &[("average_size", 2), ("delay", 100)]),
            ("slow_close", &[("delay", 30)]),
            ("noop", &[]),
            ("loss", &[("loss_ppm", 300_000)]),
            ("limit_data", &[("bytes", 1_000_000)]),
        ];
        let (mut sent, mut got, mut present) = (Vec::new(), Vec::new(), Vec::<String>::new());
        for step in 0..300u32 {
            let now = Instant::now();
            match rng.random_range(0..10) {
                0..=4 if pipe.wants_input() => {
                    let piece = step.to_be_bytes();
                    sent.extend_from_slice(&piece);
                    pipe.push(Bytes::copy_from_slice(&piece), now);
                }
                5 if present.len() < 4 => {
                    let (kind, attributes) = harmless[rng.random_range(0..harmless.len())];
                    let name = format!("t{step}");
                    add(&mut pipe, spec(&name, kind, rng.random(), attributes));
                    present.push(name);
                }
                6 if !present.is_empty() => {
                    let name = present.swap_remove(rng.random_range(0..present.len()));
                    pipe.remove(&name, now);
                }
                7 if !present.is_empty() => {
                    let index = pipe.position(&present[0]).unwrap();
                    let mut same = (*pipe.stages[index].spec).clone();
                    same.toxicity = rng.random();
                    pipe.update(&Arc::new(same), now);
                }
                _ => tokio::time::advance(Duration::from_millis(rng.random_range(0..30))).await,
            }
            assert!(matches!(pipe.pump(Instant::now()), PipeState::Open(_)));
            got.extend(out(&mut pipe));
        }
        pipe.end_input(Instant::now());
        for name in present {
            pipe.remove(&name, Instant::now());
        }
        loop {
            let state = pipe.pump(Instant::now());
            got.extend(out(&mut pipe));
            match state {
                PipeState::Ended => break,
                PipeState::Open(_) if pipe.output().is_none() && pipe.ended => break,
                other => assert!(matches!(other, PipeState::Open(_)), "{other:?}"),
            }
        }
        assert!(got == sent, "seed {seed}: {} of {} bytes", got.len(), sent.len());
    }
}

#[tokio::test(start_paused = true)]
async fn removing_a_timeout_closes_also_what_the_dice_had_spared() {
    for toxicity in [0.0, 1.0] {
        let (mut pipe, _) = pipe(&[spec("t", "timeout", toxicity, &[])], 1);
        assert!(matches!(pipe.pump(Instant::now()), PipeState::Open(_)));
        pipe.remove("t", Instant::now());
        assert_eq!(pipe.pump(Instant::now()), PipeState::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn toxicity_is_the_share_of_links_and_neighbours_are_rolled_anew() {
    let active = |pipe: &Pipe, n: usize| pipe.stages[n].active;
    let mut before = 0;
    let mut changed = [0, 0];
    for seed in 0..2_000 {
        let specs = [spec("a", "noop", 0.3, &[]), spec("b", "noop", 0.3, &[])];
        let (mut pipe, _) = pipe(&specs, seed);
        let (a, b) = (active(&pipe, 0), active(&pipe, 1));
        before += u32::from(a);
        add(&mut pipe, spec("c", "noop", 1.0, &[]));
        changed[0] += u32::from(active(&pipe, 0) != a);
        changed[1] += u32::from(active(&pipe, 1) != b);
    }
    assert!((f64::from(before) / 2_000.0 - 0.3).abs() < 0.04, "{before}");
    // Only the one directly before: two independent draws differ with probability 0.42.
    assert_eq!(changed[0], 0);
    assert!((f64::from(changed[1]) / 2_000.0 - 0.42).abs() < 0.05, "{changed:?}");
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_dice() {
    let dice = |seed: u64| {
        (0..64u64)
            .map(|n| pipe(&[spec("a", "noop", 0.5, &[])], seed * 1_000 + n).0.stages[0].active)
            .collect::<Vec<_>>()
    };
    assert_eq!(dice(1), dice(1));
    assert_ne!(dice(1), dice(2));
}
