//! A Toxiproxy and its ladder against the embedded server.

use ::toxiproxy::server::{Server, ServerConfig};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::backends::{Given, Offer, Target};
use crate::faults::{Down, FaultSpec, Loss, LossKernel, NamedToxic, Stall};
use crate::removal::owner::tests::{dead, elsewhere};

/// A running server with a proxy `memcached1`.
struct Rig {
    toxiproxy: Toxiproxy,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Rig {
    async fn start() -> Self {
        let addr = std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0));
        let server = Server::bind(ServerConfig { addr, ..ServerConfig::default() }).await.unwrap();
        let url = format!("http://{}", server.addr());
        let stop = CancellationToken::new();
        let serving = tokio::spawn(server.run(stop.clone().cancelled_owned()));
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let toxiproxy = Toxiproxy::connect(&url, metrics).await.unwrap();
        let rig = Self { toxiproxy, stop, serving };
        rig.proxy("memcached1", "127.0.0.1:2", true).await;
        rig
    }

    async fn proxy(&self, name: &str, upstream: &str, enabled: bool) {
        let (listen, upstream) = ("127.0.0.1:0".to_owned(), upstream.to_owned());
        let proxy = NewProxy { name: name.to_owned(), listen, upstream, enabled };
        self.toxiproxy.client().create_proxy(&proxy).await.unwrap();
    }

    async fn add(&self, name: &str) {
        let plan = latency("latency");
        self.toxiproxy.add("memcached1", name, &plan).await.unwrap();
    }

    async fn proxies(&self) -> Vec<String> {
        self.toxiproxy.client().proxies().await.unwrap().into_keys().collect()
    }

    async fn toxics(&self) -> Vec<String> {
        let toxics = self.toxiproxy.client().toxics("memcached1").await.unwrap();
        toxics.into_iter().map(|toxic| toxic.name).collect()
    }

    async fn stop(self) {
        self.stop.cancel();
        self.serving.await.unwrap();
    }
}

fn latency(attribute: &str) -> ToxicPlan {
    ToxicPlan {
        kind: "latency".to_owned(),
        stream: Stream::Downstream,
        toxicity: 1.0,
        attributes: [(attribute.to_owned(), 1.into())].into(),
    }
}

fn in_a_minute() -> u64 {
    clock::wall_ms() / 1000 + 60
}

const LONG_AGO: u64 = 1_700_000_000;

#[tokio::test]
async fn a_toxic_is_tried_on_a_proxy_that_is_gone_afterwards() {
    let rig = Rig::start().await;
    let owner = Owner::of_run("x");
    for _ in 0..2 {
        assert_eq!(rig.toxiproxy.refuses(&owner, &latency("latency")).await.unwrap(), None);
        assert!(rig.toxiproxy.refuses(&owner, &latency("lateness")).await.unwrap().is_some());
    }
    assert_eq!(rig.proxies().await, ["memcached1"]);
    rig.stop().await;
}

#[tokio::test]
async fn a_sweep_takes_away_what_is_over_and_leaves_the_living_and_the_foreign() {
    let rig = Rig::start().await;
    let (here, there) = (Owner::of_run("x"), elsewhere());
    let over = [dead().name(1, in_a_minute()), there.name(1, LONG_AGO), here.name(1, LONG_AGO)];
    let living = [there.name(2, in_a_minute()), here.name(2, in_a_minute())];
    for name in over.iter().chain(&living) {
        rig.add(&name.to_string()).await;
    }
    let foreign = ["latency_downstream", "scenariod.1.2.3", "scenariod.web1.00c0ffee.4711.99.1.down.02.1"];
    for name in foreign {
        rig.add(name).await;
    }
    let claims = [dead().name(0, in_a_minute()).to_string(), there.name(0, in_a_minute()).to_string()];
    for claim in &claims {
        rig.proxy(claim, NOWHERE, false).await;
    }
    // Somebody's own, with a name like ours.
    let taken = dead().name(3, in_a_minute()).to_string();
    rig.proxy(&taken, "127.0.0.1:2", false).await;

    let swept = rig.toxiproxy.sweep().await.unwrap();
    assert_eq!(swept.len(), over.len() + 1, "{swept:?}");
    let left: Vec<String> =
        living.iter().map(ToString::to_string).chain(foreign.map(str::to_owned)).collect();
    assert_eq!(rig.toxics().await, left);
    let mut proxies = vec!["memcached1".to_owned(), claims[1].clone(), taken];
    proxies.sort();
    assert_eq!(rig.proxies().await, proxies);

    rig.toxiproxy.end(&here, false).await.unwrap();
    assert!(!rig.toxics().await.contains(&living[1].to_string()));
    assert!(rig.toxics().await.contains(&living[0].to_string()));
    rig.stop().await;
}

#[tokio::test]
async fn a_marked_proxy_is_enabled_again_by_whoever_finds_its_marker() {
    let rig = Rig::start().await;
    rig.toxiproxy.disable("memcached1", &dead().name(1, in_a_minute()).to_string()).await.unwrap();
    assert!(!rig.toxiproxy.client().proxy("memcached1").await.unwrap().enabled);
    rig.toxiproxy.sweep().await.unwrap();
    let proxy = rig.toxiproxy.client().proxy("memcached1").await.unwrap();
    assert!(proxy.enabled && proxy.toxics.is_empty());
    rig.stop().await;
}

#[tokio::test]
async fn who_meets_a_living_run_refuses_names_it_and_changes_nothing() {
    let rig = Rig::start().await;
    let (first, second) = (elsewhere(), Owner::of_run("second"));
    rig.toxiproxy.claim(&first, in_a_minute()).await.unwrap();
    let before = rig.toxiproxy.client().proxies().await.unwrap();
    for _ in 0..2 {
        let refused = rig.toxiproxy.claim(&second, in_a_minute()).await.unwrap_err().to_string();
        assert!(refused.contains("in use by scenariod on host other, process "), "{refused}");
        assert!(
            refused.contains("scenario packet-loss-100-pct, until 20") && !refused.contains('\n'),
            "{refused}"
        );
        assert_eq!(rig.toxiproxy.client().proxies().await.unwrap(), before);
    }
    rig.toxiproxy.end(&first, true).await.unwrap();
    rig.toxiproxy.claim(&second, in_a_minute()).await.unwrap();
    rig.toxiproxy.end(&second, true).await.unwrap();

    // A toxic of its alone says the same: its claim may have been deleted by hand.
    rig.add(&first.name(1, in_a_minute()).to_string()).await;
    rig.toxiproxy.claim(&second, in_a_minute()).await.unwrap_err();
    rig.stop().await;
}

#[tokio::test]
async fn a_dead_runs_claim_is_none() {
    let rig = Rig::start().await;
    rig.toxiproxy.claim(&dead(), in_a_minute()).await.unwrap();
    rig.toxiproxy.vacant().await.unwrap();
    rig.toxiproxy.claim(&Owner::of_run("next"), in_a_minute()).await.unwrap();
    rig.stop().await;
}

#[tokio::test]
async fn of_many_that_begin_at_once_never_two_hold_it() {
    let rig = Rig::start().await;
    let mut holders = 0;
    for _ in 0..20 {
        let owners: Vec<Owner> = (0..6).map(|n| Owner::of_run(&format!("s{n}"))).collect();
        let claims = owners.iter().map(|owner| rig.toxiproxy.claim(owner, in_a_minute()));
        let held = futures::future::join_all(claims).await.into_iter().filter(Result::is_ok).count();
        assert!(held <= 1, "{held} hold it");
        holders += held;
        for owner in &owners {
            rig.toxiproxy.end(owner, true).await.unwrap();
        }
    }
    // Else the rule would hold because nobody ever does.
    assert!(holders >= 10, "{holders}");
    assert_eq!(rig.proxies().await, ["memcached1"]);
    rig.stop().await;
}

/// Faults of a run at the rig's only proxy.
struct Run {
    owner: Owner,
    faults: Box<dyn Backend>,
    target: Target,
}

impl Run {
    async fn of(rig: &Rig) -> Self {
        let owner = Owner::of_run("x");
        let proxy = rig.toxiproxy.client().proxy("memcached1").await.unwrap();
        let target = Target::new(&proxy, rig.toxiproxy.client().url());
        Self { faults: rig.toxiproxy.faults(owner.clone(), true), owner, target }
    }

    fn plan(&mut self, spec: &FaultSpec) -> Vec<String> {
        self.faults.plan(spec, &self.target, in_a_minute()).unwrap()
    }
}

#[tokio::test]
async fn the_parts_of_a_fault_bear_its_owners_name_and_go_by_lift_and_remove() {
    let rig = Rig::start().await;
    let mut run = Run::of(&rig).await;
    let mut parts = run.plan(&FaultSpec::Loss(Loss { share: 0.5, burst: 1 }));
    assert_eq!(parts.len(), 2, "one for each direction");
    parts.extend(run.plan(&FaultSpec::Down(Down)));
    assert!(parts.iter().all(|part| part.starts_with(&run.owner.prefix())), "{parts:?}");
    assert_eq!(rig.toxics().await, [] as [String; 0], "nothing is applied by a plan");

    for part in &parts {
        run.faults.apply(part).await.unwrap();
    }
    let mut toxics = rig.toxics().await;
    toxics.sort();
    parts.sort();
    assert_eq!(toxics, parts);
    assert!(!rig.toxiproxy.client().proxy("memcached1").await.unwrap().enabled);

    run.faults.lift().await.unwrap();
    assert!(rig.toxiproxy.client().proxy("memcached1").await.unwrap().enabled);
    run.faults.remove().await.unwrap();
    assert_eq!(rig.toxics().await, [] as [String; 0]);
    // Both may be repeated, and find nothing.
    run.faults.lift().await.unwrap();
    run.faults.read_back().await.unwrap();
    rig.stop().await;
}

#[tokio::test]
async fn what_was_applied_and_not_removed_is_found_by_reading_back() {
    let rig = Rig::start().await;
    let mut run = Run::of(&rig).await;
    let part = run.plan(&FaultSpec::Down(Down)).remove(0);
    run.faults.apply(&part).await.unwrap();
    run.faults.read_back().await.unwrap();
    let proxy = rig.toxiproxy.client().proxy("memcached1").await.unwrap();
    assert!(proxy.enabled && proxy.toxics.is_empty());
    assert!(run.faults.apply("never planned").await.is_err());
    rig.stop().await;
}

#[tokio::test]
async fn a_stock_server_gives_a_stall_for_a_loss_and_no_toxic_that_it_does_not_have() {
    let rig = Rig::start().await;
    let version = Version { text: "2.12.0".to_owned(), extensions: Vec::new() };
    let stock = Toxiproxy { version, ..rig.toxiproxy.clone() };
    let offers =
        |toxiproxy: &Toxiproxy, spec: &FaultSpec| toxiproxy.faults(Owner::of_run("x"), true).offer(spec);
    let loss = FaultSpec::Loss(Loss { share: 0.1, burst: 1 });
    assert_eq!(offers(&rig.toxiproxy, &loss), Offer::Gives(Given::as_meant(&loss)));
    let Offer::Gives(given) = offers(&stock, &loss) else { panic!("refused") };
    assert_eq!(given.spec, FaultSpec::Stall(Stall { share: 0.1 }));
    assert!(given.substitute.unwrap().contains("has no packet loss; given instead: connection stall"));

    let own = |toxic: &str| {
        let (toxic, stream) = (toxic.to_owned(), Stream::Downstream);
        FaultSpec::Toxic(NamedToxic { toxic, stream, toxicity: 1.0, attributes: [].into() })
    };
    assert!(matches!(offers(&stock, &own("latency")), Offer::Gives(_)));
    let Offer::Cannot(why) = offers(&stock, &own("mc_stall")) else { panic!("given") };
    assert!(why.contains("has no toxic \"mc_stall\"; it has: none beside the stock ones"), "{why}");
    let kernel = FaultSpec::LossKernel(LossKernel { share: 0.1, netns: None });
    assert!(matches!(offers(&stock, &kernel), Offer::Cannot(_)));
    rig.stop().await;
}

fn test_of(upstreams: [&str; 2], upstreams_are_given: bool) -> TestProxies {
    let proxy = |(n, upstream): (usize, &str)| NewProxy {
        name: format!("memcached{}", n + 1),
        listen: "127.0.0.1:0".to_owned(),
        upstream: upstream.to_owned(),
        enabled: true,
    };
    TestProxies { wanted: upstreams.into_iter().enumerate().map(proxy).collect(), upstreams_are_given }
}

#[tokio::test]
async fn a_proxy_is_used_as_it_is_unless_somebody_says_what_is_behind_it() {
    let rig = Rig::start().await;
    let upstreams = async || {
        let proxies = rig.toxiproxy.client().proxies().await.unwrap();
        proxies.into_values().map(|proxy| proxy.upstream).collect::<Vec<_>>()
    };
    let found = rig.toxiproxy.prepare(&test_of(["10.0.0.5:1", "10.0.0.5:2"], false)).await.unwrap();
    assert_eq!(found.made, ["memcached2"]);
    assert_eq!(upstreams().await, ["127.0.0.1:2", "10.0.0.5:2"]);
    let found = rig.toxiproxy.prepare(&test_of(["[::1]:1", "10.0.0.5:2"], true)).await.unwrap();
    assert!(found.made.is_empty());
    assert_eq!(upstreams().await, ["[::1]:1", "10.0.0.5:2"]);
    // Where it listens on all interfaces, the host that was named may have another address.
    let everywhere =
        ::toxiproxy::wire::ProxyUpdate { listen: Some("[::]:0".to_owned()), ..Default::default() };
    rig.toxiproxy.client().update_proxy("memcached1", &everywhere).await.unwrap();
    rig.toxiproxy.prepare(&test_of(["localhost:1", "10.0.0.6:2"], true)).await.unwrap();
    assert_eq!(upstreams().await, ["[::1]:1", "10.0.0.6:2"]);
    rig.stop().await;
}

#[tokio::test]
async fn a_proxy_that_was_made_and_led_nowhere_does_not_wait_for_the_next_test() {
    let rig = Rig::start().await;
    let found = rig.toxiproxy.prepare(&test_of(["h:1", "no-such-host.invalid:1"], false)).await.unwrap();
    rig.toxiproxy.withdraw(&found.made).await;
    assert_eq!(rig.proxies().await, ["memcached1"]);
    // Somebody else may have been quicker.
    rig.toxiproxy.withdraw(&found.made).await;
    rig.stop().await;
}
