//! Everything that says what load to make.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use crate::arrivals::pacer::{Pace, RateChanges};
use crate::arrivals::{Arrivals, Profile, Schedule};
use crate::keys::{KeyDist, KeySize, KeyTable};
use crate::load::error::LoadError;
use crate::look_aside;
use crate::mix::{Mix, OpKind};
use crate::oracles;
use crate::recorder::Recorder;
use crate::shard::Shard;
use crate::sizes::ValueSize;
use crate::ttl::{Jitter, Ttl};

/// Memory, in bytes, that the keys of one load may take, with what the oracles know of each.
pub const KEYS_MEMORY_MAX: u64 = 4 << 30;
/// Memory, in bytes, that the ops in flight of one load may take.
pub const IN_FLIGHT_MEMORY_MAX: u64 = 4 << 30;
/// One op in flight, without its value: 7 KiB, measured with 200 000 at a server that is silent.
const OP_MEMORY: u64 = 8 << 10;

/// Everything that says what load to make.
#[derive(Debug, Clone)]
pub struct LoadConfig {
    /// Open or closed loop, and the rate.
    pub arrivals: Arrivals,
    /// Open loop: rates that replace the one of `arrivals`, one after the other; none start after the last.
    pub profile: Option<Profile>,
    /// Open loop: start what is behind however late, instead of dropping what is more than 100 ms behind.
    pub catch_up: bool,
    /// Ops in flight at most, over all drivers, as many as fit into 4 GiB. In a closed loop: the number of
    /// workers.
    pub in_flight_max: usize,
    /// Parallel driver tasks; one a core is enough.
    pub drivers: usize,
    /// Name of the mix, see [`crate::mix::PRESETS`].
    pub workload: String,
    /// A mix of its own, in place of the named one.
    pub mix: Option<Mix>,
    /// Number of keys, as many as fit into 4 GiB.
    pub keys: usize,
    /// How long keys are.
    pub key_size: KeySize,
    /// How requests are spread over the keys.
    pub key_dist: KeyDist,
    /// Number of hot keys, at most all keys; matters to [`KeyDist::Hot`].
    pub hot_keys: usize,
    /// Share (0-1) of requests that go to the hot keys; matters to [`KeyDist::Hot`].
    pub hot_share: f64,
    /// How long values are.
    pub value_size: ValueSize,
    /// Time to live of written values, up to 30 days with its jitter; `None`: for ever. The client rounds it up to whole
    /// seconds.
    pub ttl: Option<Duration>,
    /// How far times to live differ from it.
    pub ttl_jitter: Jitter,
    /// The same seed draws the same ops, keys, sizes and arrivals.
    pub seed: u64,
    /// The part of the load that is made here; everything else describes the whole. Whoever builds the client mixes it into the
    /// client's seed, so that the parts draw different jitter.
    pub shard: Shard,
    /// Load is made for so long before it counts in the summary.
    pub warm_up: Duration,
    /// The workload `look-aside`: requests for keys through the cache to this database, in place of the mix.
    pub look_aside: Option<::look_aside::Setup>,
    /// Where the last ops before a violation are written; `None`: nowhere.
    pub flight_dir: Option<PathBuf>,
    /// Where every op is written; `None`: nowhere.
    pub op_log: Option<PathBuf>,
}

impl Default for LoadConfig {
    fn default() -> Self {
        Self {
            arrivals: Arrivals::Closed,
            profile: None,
            catch_up: false,
            in_flight_max: 100,
            drivers: 4,
            workload: "mixed".to_owned(),
            mix: None,
            keys: 10_000,
            key_size: KeySize::Short,
            key_dist: KeyDist::Hot,
            hot_keys: 10,
            hot_share: 0.3,
            value_size: ValueSize::Uniform { min: 64, max: 512 },
            ttl: Some(Duration::from_secs(300)),
            ttl_jitter: Jitter::NONE,
            seed: 1,
            shard: Shard::WHOLE,
            warm_up: Duration::ZERO,
            look_aside: None,
            flight_dir: None,
            op_log: None,
        }
    }
}

impl LoadConfig {
    /// Checks what a user may have mistyped; a load does it too.
    pub fn validate(&self) -> Result<(), LoadError> {
        self.mix()?;
        if let Some(setup) = &self.look_aside {
            setup.database.validate()?;
            setup.policy.validate()?;
        }
        let shards = self.shard.count();
        if self.keys == 0 {
            return Err(LoadError::NoKeys);
        }
        if self.keys < shards as usize {
            return Err(LoadError::TooFewKeys { keys: self.keys, shards });
        }
        if self.in_flight_max < shards as usize {
            return Err(LoadError::NothingInFlight { ops: self.in_flight_max, shards });
        }
        // A value that is written is there once more, in its request.
        let op = (self.value_size.usual_max() as u64).saturating_mul(2).saturating_add(OP_MEMORY);
        let ops = self.shard.part(self.in_flight_max);
        if (ops as u64).saturating_mul(op) > IN_FLIGHT_MEMORY_MAX {
            return Err(LoadError::TooManyInFlight { ops, op, most: IN_FLIGHT_MEMORY_MAX / op });
        }
        let part = self.shard.part(self.keys);
        let memory = |keys| KeyTable::memory(keys, self.key_size).saturating_add(oracles::memory(keys));
        if memory(part) > KEYS_MEMORY_MAX {
            let mib = memory(part) >> 20;
            // Of very many keys each takes as much as the next.
            let many = 1 << 30;
            let most = KEYS_MEMORY_MAX / (memory(many) / many as u64);
            return Err(LoadError::TooManyKeys { keys: part, mib, most });
        }
        Ttl::new(self.ttl, self.ttl_jitter).validate()?;
        Ok(())
    }

    /// The hot keys that there are.
    pub(super) fn hot_keys(&self) -> usize {
        self.hot_keys.min(self.keys)
    }

    /// This shard's part of the rate, the concurrency and the keys.
    pub(super) fn of_shard(&self) -> Self {
        Self {
            arrivals: self.shard.arrivals(self.arrivals),
            profile: self.profile.as_ref().map(|profile| profile.share(self.shard.count())),
            in_flight_max: self.shard.part(self.in_flight_max),
            keys: self.shard.part(self.keys),
            hot_keys: self.shard.part(self.hot_keys),
            ..self.clone()
        }
    }

    /// Tasks that make the load; none without an op to run.
    pub(super) fn driver_count(&self) -> usize {
        self.drivers.clamp(1, self.in_flight_max.max(1))
    }

    pub(super) fn mix(&self) -> Result<Mix, LoadError> {
        if self.look_aside.is_some() {
            return Ok(OpKind::Get.into());
        }
        let named = || Mix::preset(&self.workload);
        self.mix.clone().or_else(named).ok_or_else(|| LoadError::UnknownWorkload(self.workload.clone()))
    }

    /// Which ops, as it was written: a preset's name or a mix.
    pub(crate) fn ops(&self) -> String {
        match self.look_aside {
            Some(_) => look_aside::NAME.to_owned(),
            None => self.mix.as_ref().map_or_else(|| self.workload.clone(), Mix::to_string),
        }
    }

    /// When each of the drivers starts ops, and its random source for everything else.
    pub(crate) fn paces(
        &self,
        servers: usize,
        start: Instant,
        rates: RateChanges,
    ) -> impl Iterator<Item = (Pace, ChaCha8Rng)> {
        let count = self.driver_count();
        let arrivals = self.arrivals.share(count);
        let share = 1.0 / count as f64;
        (0..count).map(move |index| {
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            rng.set_stream(self.shard.stream(index));
            let schedule_rng = ChaCha8Rng::from_rng(&mut rng);
            let phase = index as f64 / count as f64 + rng.random::<f64>() * 1e-9;
            let mut schedule = Schedule::new(arrivals, start, phase, schedule_rng);
            if let (Some(schedule), Some(profile)) = (&mut schedule, &self.profile) {
                schedule.follow(profile, share, start);
            }
            let pace = Pace {
                schedule,
                // The remainder goes to the first drivers, so that the sum is exact.
                in_flight_max: self.in_flight_max / count + usize::from(index < self.in_flight_max % count),
                catch_up: self.catch_up,
                share,
                rates: rates.clone(),
                recorder: Arc::new(Mutex::new(Recorder::new(servers))),
            };
            (pace, rng)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(config: LoadConfig) -> String {
        config.validate().unwrap_err().to_string()
    }

    #[test]
    fn keys_that_would_take_more_memory_than_the_limit_are_refused_with_what_they_would_take() {
        let keys = |keys| LoadConfig { keys, ..LoadConfig::default() };
        let told = refused(keys(1_000_000_000));
        assert!(
            told.contains("1000000000 keys would take 2") && told.contains("4096 MiB is the limit"),
            "{told}"
        );
        let most: usize =
            told.split("the limit: ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        assert!((10_000_000..20_000_000).contains(&most), "{most}");
        keys(most).validate().unwrap();
        assert!(refused(keys(most + most / 1_000)).contains("is the limit"));
        assert!(refused(keys(usize::MAX)).contains("is the limit"));
        assert!(refused(LoadConfig { key_size: KeySize::Etc, ..keys(most) }).contains("is the limit"));
        // A shard has its own part of them only.
        LoadConfig { shard: "2/2".parse().unwrap(), ..keys(2 * most) }.validate().unwrap();
        assert!(refused(keys(0)).contains("at least one key"));
    }

    #[test]
    fn workers_and_ops_in_flight_are_bounded_and_never_none() {
        let in_flight = |in_flight_max| LoadConfig { in_flight_max, ..LoadConfig::default() };
        for allowed in [1, 200_000] {
            in_flight(allowed).validate().unwrap();
        }
        for wrong in [1_000_000, usize::MAX] {
            let told = refused(in_flight(wrong));
            assert!(told.contains(&format!("{wrong} ops in flight")), "{told}");
            assert!(told.contains("4096 MiB is the limit: 466033 at most"), "{told}");
        }
        let large = |ops| LoadConfig { value_size: "1000000".parse().unwrap(), ..in_flight(ops) };
        large(2_048).validate().unwrap();
        assert!(refused(large(2_200)).contains("limit: 2138 at most"), "{}", refused(large(2_200)));
        assert!(refused(in_flight(0)).contains("0 ops in flight"));
        assert!(refused(LoadConfig { shard: "1/3".parse().unwrap(), ..in_flight(2) }).contains("3 shards"));
    }

    #[test]
    fn a_time_to_live_beyond_30_days_is_refused_and_never_shortened() {
        let ttl = |days: u64, jitter: &str| LoadConfig {
            ttl: Some(Duration::from_secs(days * 24 * 3600)),
            ttl_jitter: jitter.parse().unwrap(),
            ..LoadConfig::default()
        };
        ttl(30, "0%").validate().unwrap();
        assert!(refused(ttl(60, "0%")).contains("60.0 days"), "{}", refused(ttl(60, "0%")));
        assert!(refused(ttl(30, "10%")).contains("33.0 days"));
    }
}
