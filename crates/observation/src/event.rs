//! What has a moment of its own: breakers, probes, dials, findings.

use serde::{Deserialize, Serialize};

use crate::{BreakerState, Outcome};

/// Something that has a moment of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Event {
    /// When.
    pub at_us: u64,
    /// Where; absent: the whole client.
    pub server: Option<String>,
    /// What.
    pub event: EventKind,
}

/// Kinds of events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EventKind {
    /// A breaker changed its state.
    Breaker {
        /// Before.
        from: BreakerState,
        /// After.
        to: BreakerState,
        /// Which rule, with its numbers.
        reason: String,
    },
    /// A half-open probe ended.
    Probe {
        /// How.
        outcome: Outcome,
        /// Its time.
        took_us: u64,
    },
    /// A dial ended.
    Dial {
        /// Did it succeed?
        ok: bool,
        /// Its time.
        took_us: u64,
        /// Why not.
        error: Option<String>,
    },
    /// A connection was closed.
    Closed {
        /// `timeout`, `cancelled`, `protocol`, `reset`, `idle`, `drain`, ...
        reason: String,
    },
    /// A reply that must not be.
    Integrity {
        /// What was found.
        violation: IntegrityKind,
        /// The key asked for.
        key: String,
        /// What a right reply would have carried.
        expected: String,
        /// What came, shortened and escaped.
        got: String,
    },
    /// A read gave an older version than one that was acknowledged before it began.
    StaleRead {
        /// The key asked for.
        key: String,
        /// The version that came.
        got: u64,
        /// The first version known to have replaced it.
        newer: u64,
        /// From that one's acknowledgement to the begin of the read.
        age_us: u64,
        /// The read or that write was served by another than the key's home server.
        elsewhere: bool,
    },
    /// A read gave a value although its delete was acknowledged before the read began.
    Resurrected {
        /// The key asked for.
        key: String,
        /// The version that came.
        got: u64,
        /// From the delete's acknowledgement to the begin of the read.
        age_us: u64,
        /// The read or the delete was served by another than the key's home server.
        elsewhere: bool,
    },
    /// A counter began anew: evicted, expired, or its server restarted.
    CounterReset {
        /// The counter.
        key: String,
        /// What it answered; absent: nothing, it shows by the answers to others.
        value: Option<u64>,
    },
    /// The target rate changed.
    Rate {
        /// ops/s before.
        from: f64,
        /// ops/s after.
        to: f64,
    },
    /// The generator was the limit, not the client.
    Overload {
        /// Starts that were late or dropped in the last second.
        missed: u64,
        /// Starts that were asked for in that second.
        offered: u64,
        /// How far the 99th percentile of its starts lay behind their intended time, µs.
        #[serde(default)]
        lag_p99_us: u64,
    },
    /// A kind that this version does not know.
    #[serde(other)]
    Unknown,
}

/// Ways in which a value can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum IntegrityKind {
    /// The value of another key.
    WrongKey,
    /// Fewer or more bytes than were written.
    WrongLength,
    /// Bytes differ from what was written.
    Corrupt,
    /// Not a value of this workload at all.
    Foreign,
    /// A counter below what was acknowledged.
    LostIncrements,
    /// A counter above what was attempted.
    ExtraIncrements,
    /// A way that this version does not know.
    #[serde(other)]
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_of_a_later_version_are_read_as_unknown() {
        let event = |text: &str| serde_json::from_str::<EventKind>(text).unwrap();
        assert_eq!(event(r#"{"kind":"of_tomorrow","key":"k"}"#), EventKind::Unknown);
        let text = r#"{"kind":"integrity","violation":"of_tomorrow","key":"k","expected":"","got":""}"#;
        let EventKind::Integrity { violation, .. } = event(text) else { panic!("{text}") };
        assert_eq!(violation, IntegrityKind::Unknown);
        let text = r#"{"kind":"stale_read","key":"k","got":3,"newer":5,"age_us":70,"elsewhere":true}"#;
        let stale = EventKind::StaleRead { key: "k".into(), got: 3, newer: 5, age_us: 70, elsewhere: true };
        assert_eq!(event(text), stale);
        assert_eq!(
            event(r#"{"kind":"counter_reset","key":"k"}"#),
            EventKind::CounterReset { key: "k".into(), value: None }
        );
    }
}
