//! Who makes the load and with what, as the stream and the op log begin.

use observation::{
    Arrivals, DataSettings, Hello, LoadKind, LoadSettings, OpLogHead, SCHEMA_VERSION, ShardSettings,
};

use crate::keys::KeyDist;
use crate::load::config::LoadConfig;
use crate::mix::OpKind;
use crate::recorder::millis;
use crate::shard::Shard;
use crate::target::Target;
use crate::ttl;

/// Who speaks, and everything that an expectation depends on. The clock fields are set when it is sent.
pub fn hello(load: &LoadConfig, target: &impl Target) -> Hello {
    let greeting = target.greeting();
    let started = observation::clock::wall_ms();
    Hello {
        v: SCHEMA_VERSION,
        client: greeting.client,
        instance: format!("{}-{started}", std::process::id()),
        at_us: 0,
        wall_ms: started,
        settings: target.settings(load_settings(load)),
        servers: greeting.servers,
    }
}

/// Head of the op log, whose clock begins now.
pub(crate) fn op_log_head(load: &LoadConfig, instance: String, servers: &[String]) -> OpLogHead {
    OpLogHead {
        format: OpLogHead::FORMAT.to_owned(),
        v: OpLogHead::VERSION,
        instance,
        wall_ms: observation::clock::wall_ms(),
        seed: load.seed,
        servers: servers.to_vec(),
        ops: OpKind::ALL.map(|kind| kind.name().to_owned()).to_vec(),
        outcomes: observation::Outcome::ALL.to_vec(),
    }
}

fn load_settings(load: &LoadConfig) -> LoadSettings {
    let arrivals = match load.arrivals {
        crate::arrivals::Arrivals::Closed => None,
        crate::arrivals::Arrivals::Poisson(_) => Some(Arrivals::Poisson),
        crate::arrivals::Arrivals::Constant(_) => Some(Arrivals::Constant),
    };
    LoadSettings {
        kind: if arrivals.is_some() { LoadKind::Open } else { LoadKind::Closed },
        arrivals,
        rate_ops_per_s: load.arrivals.rate(),
        concurrency: u32::try_from(load.in_flight_max).unwrap_or(u32::MAX),
        workload: load.ops(),
        keys: load.keys as u64,
        seed: load.seed,
        shard: (load.shard != Shard::WHOLE)
            .then(|| ShardSettings { number: load.shard.number(), count: load.shard.count() }),
        data: Some(data_settings(load)),
    }
}

fn data_settings(load: &LoadConfig) -> DataSettings {
    let hot = load.key_dist == KeyDist::Hot;
    DataSettings {
        key_distribution: Some(load.key_dist.to_string()),
        hot_keys: hot.then_some(load.hot_keys() as u64),
        hot_share: hot.then_some(load.hot_share),
        value_size: Some(load.value_size.to_string()),
        ttl_ms: Some(load.ttl.map_or(0, |ttl| millis(ttl::sent(ttl)))),
        ttl_jitter: Some(load.ttl_jitter.share()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_told_of_hot_keys_and_times_to_live_is_what_the_load_makes_of_them() {
        let ttl = Some(Duration::from_millis(1_500));
        let told = data_settings(&LoadConfig { keys: 5, ttl, ..LoadConfig::default() });
        assert_eq!((told.hot_keys, told.ttl_ms), (Some(5), Some(2_000)));
        let told = data_settings(&LoadConfig { ttl: None, ..LoadConfig::default() });
        assert_eq!((told.hot_keys, told.ttl_ms), (Some(10), Some(0)));
    }
}
