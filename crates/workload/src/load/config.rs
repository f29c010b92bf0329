//! Everything that says what load to make.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use crate::arrivals::pacer::{Pace, RateChanges};
use crate::arrivals::{Arrivals, Profile, Schedule};
use crate::keys::{KeyDist, KeySize};
use crate::load::error::LoadError;
use crate::look_aside;
use crate::mix::{Mix, OpKind};
use crate::recorder::Recorder;
use crate::shard::Shard;
use crate::sizes::ValueSize;
use crate::ttl::Jitter;

/// Everything that says what load to make.
#[derive(Debug, Clone)]
pub struct LoadConfig {
    /// Open or closed loop, and the rate.
    pub arrivals: Arrivals,
    /// Open loop: rates that replace the one of `arrivals`, one after the other; none start after the last.
    pub profile: Option<Profile>,
    /// Open loop: start what is behind however late, instead of dropping what is more than 100 ms behind.
    pub catch_up: bool,
    /// Ops in flight at most, over all drivers. In a closed loop: the number of workers.
    pub in_flight_max: usize,
    /// Parallel driver tasks; one a core is enough.
    pub drivers: usize,
    /// Name of the mix, see [`crate::mix::PRESETS`].
    pub workload: String,
    /// A mix of its own, in place of the named one.
    pub mix: Option<Mix>,
    /// Number of keys.
    pub keys: usize,
    /// How long keys are.
    pub key_size: KeySize,
    /// How requests are spread over the keys.
    pub key_dist: KeyDist,
    /// Number of hot keys; matters to [`KeyDist::Hot`].
    pub hot_keys: usize,
    /// Share (0-1) of requests that go to the hot keys; matters to [`KeyDist::Hot`].
    pub hot_share: f64,
    /// How long values are.
    pub value_size: ValueSize,
    /// Time to live of written values; `None`: for ever.
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
        if self.shard != Shard::WHOLE && self.keys < self.shard.count() as usize {
            return Err(LoadError::TooFewKeys { keys: self.keys, shards: self.shard.count() });
        }
        Ok(())
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
