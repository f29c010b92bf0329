//! E: the integrity of replies. One wrong value is a failure of all.

use std::time::Duration;

use futures::future::join_all;
use memcache_client::{
    CloseReason, Config, Error, Fetch, LeaseReply, Mode, Op, Outcome, PoolConfig, ProtocolError, Reply,
};
use memcached_fake::lies::{Act, Lie, Moment};
use memcached_fake::real::RealMemcached;
use tokio::time::Instant;

use crate::rig::{Rig, client_of, error_of, figure, is_own, key, pass, value_of, wait_for};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn config(mode: Mode) -> Config {
    let pool = PoolConfig { max: 4, ..PoolConfig::default() };
    Config { breaker: None, retries: 0, pool, mode, ..Config::default() }
}

const MODES: [Mode; 2] = [Mode::Pooled, Mode::Pipelined { connections: 2, depth: 64 }];

/// A rig of one server with 50 written keys.
async fn written(config: Config) -> (Rig, Vec<memcache_client::Key>) {
    let rig = Rig::new(1, config).await;
    let keys = rig.keys_on(0, 50);
    for (n, key) in keys.iter().enumerate() {
        rig.client.set(key, value_of(key, n as u64 + 1), None).await.unwrap();
    }
    (rig, keys)
}

#[tokio::test]
async fn e1_late_replies_never_reach_another_op() {
    for mode in MODES {
        let pool = PoolConfig { max: 1, ..PoolConfig::default() };
        let (rig, keys) = written(Config { op_timeout: ms(10), pool, ..config(mode) }).await;
        let lie = rig.fakes[0].lies().add(Lie::new(Act::Delay(ms(12))).every(7));
        let (mut wrong, mut hits) = (0, 0);
        for n in 0..3_000 {
            let key = &keys[n % 50];
            if let Ok(Some(value)) = rig.client.get(key).await {
                hits += 1;
                wrong += u32::from(!is_own(key, &value));
            }
        }
        let late = rig.fakes[0].lies().told(lie);
        assert_eq!(wrong, 0);
        assert!(late >= 250 && hits >= 1_000, "{late} late, {hits} hits");
        figure("E1", format!("{mode:?}: 0 wrong of {hits} hits with {late} late replies"));
    }
}

#[tokio::test]
async fn e3_a_multi_get_that_is_cut_gives_what_came_and_says_so_for_the_rest() {
    for mode in MODES {
        let (rig, keys) = written(config(mode)).await;
        let mut whole = 0;
        for cut in [1, 20, 45, 80, 200, 400] {
            rig.fakes[0].lies().set([Lie::new(Act::CutAfter(cut)).command("mg").every(3).once()]);
            let done = rig.client.multi_get(&keys[..10]).await;
            assert_eq!(done.keys.len(), 10);
            let came = done.keys.iter().take_while(|end| end.result.is_ok()).count();
            whole += came;
            for (key, end) in keys.iter().zip(&done.keys[..came]) {
                assert!(is_own(key, end.result.as_ref().unwrap().as_ref().expect("a cut reply is no miss")));
            }
            assert!(done.keys[came..].iter().all(|end| matches!(end.result, Err(Error::Reset(_)))));
        }
        // Two replies come before the one that is cut.
        assert!((12..60).contains(&whole), "{whole}");
        figure("E3", format!("{mode:?}: {whole} of 60 keys whole, all others typed, none a miss"));
    }
}

#[tokio::test]
async fn e4_an_end_inside_a_value_is_an_error_never_a_short_value() {
    for mode in MODES {
        let (rig, keys) = written(config(mode)).await;
        rig.fakes[0].lies().add(Lie::new(Act::CloseInsideValue).command("mg"));
        for key in &keys {
            assert!(matches!(rig.client.get(key).await, Err(Error::Reset(_))));
        }
    }
    figure("E4", "50 of 50 typed as reset, in both modes");
}

#[tokio::test]
async fn e5_bytes_that_nobody_asked_for_close_the_connection_before_its_next_op() {
    for mode in MODES {
        for act in [
            Act::DuplicateReply,
            Act::TrailingBytes("END\r\n".into()),
            Act::Early { at: Moment::AfterReply(Duration::ZERO), bytes: "VA 1 kx O1\r\nx\r\n".into() },
            Act::Early { at: Moment::AfterReply(ms(3)), bytes: "EN\r\n".into() },
        ] {
            let (rig, keys) = written(config(mode)).await;
            let before = rig.fakes[0].counters().accepted();
            rig.fakes[0].lies().add(Lie::new(act.clone()).command("mg").every(2));
            for n in 0..100 {
                let key = &keys[n % 50];
                if let Ok(value) = rig.client.get(key).await {
                    assert!(is_own(key, &value.unwrap()), "{act:?}");
                }
                if n % 8 == 0 {
                    pass(ms(4)).await;
                }
            }
            assert!(rig.fakes[0].counters().accepted() > before, "{act:?}: no connection was replaced");
        }
    }
    figure("E5", "0 wrong values, connections replaced, with 4 kinds of unasked bytes in both modes");
}

#[tokio::test]
async fn e5b_replies_of_others_are_refused() {
    for mode in MODES {
        for act in [
            Act::WrongKey,
            Act::WrongOpaque,
            Act::BareEcho,
            Act::WrongLength(3),
            Act::WrongLength(-3),
            Act::SwapWithNext,
        ] {
            let (rig, keys) = written(Config { op_timeout: ms(50), ..config(mode) }).await;
            rig.fakes[0].lies().add(Lie::new(act.clone()).command("mg").every(3));
            let mut refused = 0;
            for round in 0..10 {
                let client = &rig.client;
                let reads = keys.iter().map(|key| async move { (key, client.get(key).await) });
                for (key, result) in join_all(reads).await {
                    match result {
                        Ok(value) => assert!(is_own(key, &value.unwrap()), "{act:?} in round {round}"),
                        Err(_) => refused += 1,
                    }
                }
            }
            assert!(refused > 0, "{act:?} in {mode:?}");
        }
    }
    figure("E5b", "0 wrong values with 6 kinds of replies that are another's, in both modes");
}

#[tokio::test]
async fn e6_a_refused_key_of_a_batch_leaves_the_connection_in_step() {
    for mode in MODES {
        let (rig, keys) = written(config(mode)).await;
        let accepted = rig.fakes[0].counters().accepted();
        rig.fakes[0].lies().add(Lie::new(Act::ServerError("busy".to_owned())).command("mg").every(3));
        for _ in 0..20 {
            rig.client.multi_get(&keys[..10]).await;
        }
        rig.fakes[0].lies().clear();
        for key in &keys {
            assert!(is_own(key, &rig.client.get(key).await.unwrap().unwrap()));
        }
        assert_eq!(rig.fakes[0].counters().accepted(), accepted, "a whole refusal closes nothing");
    }
    // The limit of the server, one byte at a time around it.
    let Some(real) = RealMemcached::for_test().await else { return };
    let (client, _) = client_of([real.addr()], Config { value_max: 2 << 20, ..config(Mode::Pooled) });
    let (mut stored, mut refused) = (0, 0);
    for size in (1 << 20) - 128..=(1 << 20) + 64 {
        let value = vec![b'v'; size];
        match client.set(&key("large"), value.clone().into(), None).await {
            Ok(()) => {
                stored += 1;
                assert_eq!(client.get(&key("large")).await.unwrap().unwrap(), value);
            }
            Err(Error::Server(text)) => {
                refused += 1;
                assert!(text.contains("too large"), "{text}");
                // memcached drops the old value with the refusal: a miss, never an older one.
                assert_eq!(client.get(&key("large")).await.unwrap(), None);
            }
            Err(other) => panic!("{size}: {other}"),
        }
    }
    assert!(stored > 0 && refused > 0);
    figure(
        "E6",
        format!(
            "connections kept through refusals; sizes around 1 MiB: {stored} stored, {refused} refused, 0 lost silently"
        ),
    );
}

#[tokio::test]
async fn e7_a_batch_whose_end_never_comes_ends_at_its_deadline() {
    for mode in MODES {
        let (rig, keys) = written(config(mode)).await;
        rig.fakes[0].lies().set([Lie::new(Act::Hang).command("mg").every(10)]);
        let began = Instant::now();
        let done = rig.client.multi_get(&keys[..10]).await;
        let took = began.elapsed();
        let came = done.keys.iter().take_while(|end| end.result.is_ok()).count();
        assert!((8..10).contains(&came), "{came}");
        assert!(done.keys[came..].iter().all(|end| matches!(end.result, Err(Error::Timeout(_)))));
        assert!(took >= ms(250) && took <= ms(350), "{took:?}");
        figure("E7", format!("{mode:?}: {came} of 10 keys, and the end after {took:.0?} (timeout 250 ms)"));
    }
}

#[tokio::test]
async fn e8_a_write_that_is_applied_late_is_unknown_and_a_lease_keeps_it_out() {
    // Without: the old write comes after the newer one, and is seen.
    let rig = Rig::new(1, config(Mode::Pooled)).await;
    let k = rig.keys_on(0, 1).remove(0);
    rig.fakes[0].lies().add(Lie::new(Act::LateApply(ms(400))).command("ms").once());
    let old = Op::Set { key: k.clone(), value: value_of(&k, 1), ttl: None };
    assert_eq!(error_of(rig.client.execute(old).await).outcome(), Outcome::Timeout);
    rig.client.set(&k, value_of(&k, 2), None).await.unwrap();
    pass(ms(300)).await;
    let without = u32::from(rig.client.get(&k).await.unwrap().unwrap() != value_of(&k, 2));
    // With: the token is that of a state which is gone.
    let Some(real) = RealMemcached::for_test().await else { return };
    let (client, _) = client_of([real.addr()], config(Mode::Pooled));
    let lease = |key: &memcache_client::Key| Op::Lease {
        key: key.clone(),
        lease: Duration::from_secs(2),
        refresh: None,
    };
    let mut stale = 0;
    for n in 0..200u64 {
        let k = key(&format!("late{n}"));
        let Ok(Reply::Lease(LeaseReply { won: true, token, .. })) = client.execute(lease(&k)).await.result
        else {
            panic!("no lease")
        };
        client.set(&k, value_of(&k, 2), None).await.unwrap();
        let late = Op::Cas { key: k.clone(), value: value_of(&k, 1), ttl: None, token };
        assert_eq!(client.execute(late).await.result.unwrap(), Reply::NotStored);
        stale += u32::from(client.get(&k).await.unwrap().unwrap() != value_of(&k, 2));
    }
    assert_eq!(stale, 0);
    figure(
        "E8",
        format!(
            "the timed out write is reported as unknown; stale reads with leases {stale} of 200, without {without} of 1"
        ),
    );
}

#[tokio::test]
async fn m5_a_hundred_readers_of_one_expired_key_load_it_once() {
    let _alone = crate::rig::alone().await;
    use std::sync::atomic::{AtomicU32, Ordering};
    let Some(real) = RealMemcached::for_test().await else { return };
    let loads = AtomicU32::new(0);
    // Two processes, as far as the server can tell.
    let (one, _) = client_of([real.addr()], config(Mode::Pipelined { connections: 2, depth: 256 }));
    let (two, _) = client_of([real.addr()], config(Mode::Pooled));
    let k = key("popular");
    let both_have_asked = || one.totals().ops > 0 && two.totals().ops > 0;
    let ask = |client: memcache_client::Client| {
        let (k, loads, both_have_asked) = (k.clone(), &loads, &both_have_asked);
        async move {
            let load = async || {
                loads.fetch_add(1, Ordering::Relaxed);
                // As long as it takes until both have asked.
                wait_for("the other's question", both_have_asked).await;
                Ok::<_, std::convert::Infallible>(value_of(&k, 5))
            };
            client.get_or_load(&k, &Fetch::default(), load).await.unwrap()
        }
    };
    let asked = join_all((0..200).map(|n| ask(if n % 2 == 0 { one.clone() } else { two.clone() }))).await;
    assert!(asked.iter().all(|value| *value == value_of(&k, 5)));
    assert_eq!(loads.load(Ordering::Relaxed), 1);
    // Marked stale: one loads, everybody else has the old value meanwhile.
    let invalidate = Op::Invalidate { key: k.clone(), stale_for: Duration::from_secs(30) };
    assert_eq!(one.execute(invalidate).await.result.unwrap(), Reply::Deleted);
    join_all((0..100).map(|_| ask(two.clone()))).await;
    assert_eq!(loads.load(Ordering::Relaxed), 2);
    figure("M5", "1 load for 200 readers of two clients, 1 more after an invalidation");
}

#[tokio::test]
async fn rc12_hostile_replies_cost_a_connection_and_nothing_else() {
    for mode in MODES {
        for act in [
            Act::HugeLength(u64::MAX),
            Act::HugeLength(1 << 40),
            Act::NoNewline,
            Act::Reply("HTTP/1.1 400 Bad Request\r\n\r\n".into()),
            Act::Reply(vec![0; 300].into()),
            Act::Reply("VA 99999999999999999999 k\r\n".into()),
            Act::Reply("VA -1 k\r\n".into()),
            Act::Reply("\r\n".into()),
        ] {
            let (rig, keys) = written(config(mode)).await;
            rig.fakes[0].lies().add(Lie::new(act.clone()).command("mg"));
            let error = error_of(rig.client.execute(Op::Get(keys[0].clone())).await);
            let bounded = matches!(error, Error::Timeout(_));
            assert!(
                matches!(error, Error::Protocol(_)) || (bounded && matches!(act, Act::Reply(_))),
                "{act:?}: {error}"
            );
            rig.fakes[0].lies().clear();
            assert!(rig.client.get(&keys[0]).await.is_ok(), "{act:?}");
        }
    }
    figure("R-C12", "8 kinds of hostile replies, in both modes: typed, connection closed, next op right");
}

#[tokio::test]
async fn rc13_a_reply_that_drips_ends_at_the_deadline_of_the_op() {
    for mode in MODES {
        let (rig, keys) = written(config(mode)).await;
        rig.fakes[0].lies().add(Lie::new(Act::Drip(ms(40))).command("mg"));
        let began = Instant::now();
        let error = error_of(rig.client.execute(Op::Get(keys[0].clone())).await);
        let took = began.elapsed();
        assert!(matches!(error, Error::Timeout(_)));
        assert!(took <= ms(250 + 60), "{took:?}");
        figure(
            "R-C13",
            format!("{mode:?}: ended after {took:.0?} (deadline 250 ms + 10 ms on an idle machine)"),
        );
    }
}

#[tokio::test]
async fn rc14_values_around_the_limit_are_refused_before_they_are_sent() {
    let (rig, keys) = written(config(Mode::Pooled)).await;
    let before = rig.fakes[0].counters().seen("ms");
    for over in [1, 64, 1 << 20] {
        let value = vec![0; Config::default().value_max + over];
        let error = rig.client.set(&keys[0], value.into(), None).await.unwrap_err();
        assert!(matches!(error, Error::ValueTooLarge { .. }) && error.nothing_sent());
    }
    assert_eq!(rig.fakes[0].counters().seen("ms"), before);
    figure("R-C14", "3 sizes above the limit: refused, nothing sent");
}

#[tokio::test]
async fn rc16_a_connection_with_unasked_bytes_is_not_used() {
    let (rig, keys) = written(config(Mode::Pooled)).await;
    let lies = rig.fakes[0].lies();
    lies.add(Lie::new(Act::Early { at: Moment::AfterReply(ms(5)), bytes: "HD\r\n".into() }).once());
    rig.client.get(&keys[0]).await.unwrap();
    pass(ms(30)).await;
    for key in &keys {
        assert!(is_own(key, &rig.client.get(key).await.unwrap().unwrap()));
    }
    let closes = rig.heard.closes(CloseReason::Reset) + rig.heard.closes(CloseReason::Protocol);
    assert_eq!(closes, 1);
    figure("R-C16", "1 stray line: 0 wrong values, 1 close");
}

#[tokio::test]
async fn desync_is_named() {
    let (rig, keys) = written(config(Mode::Pooled)).await;
    rig.fakes[0].lies().add(Act::WrongOpaque);
    let error = error_of(rig.client.execute(Op::Get(keys[0].clone())).await);
    assert!(matches!(error, Error::Protocol(ProtocolError::Desync { what: "opaque", .. })), "{error}");
}
