//! Two numbers that belong together. In JSON they are a list of two, in the order of the fields.

use serde::{Serialize, Serializer};

/// Declares such a pair.
macro_rules! pair {
    ($(#[$doc:meta])* $name:ident of $number:ty { $(#[$a_doc:meta])* $a:ident, $(#[$b_doc:meta])* $b:ident }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq)]
        pub struct $name {
            $(#[$a_doc])*
            pub $a: $number,
            $(#[$b_doc])*
            pub $b: $number,
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                [self.$a, self.$b].serialize(serializer)
            }
        }

        #[cfg(feature = "schema")]
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                <[$number; 2]>::json_schema(generator)
            }
        }
    };
}

pair! {
    /// How well the moments of a fault are known.
    FaultWidth of f64 {
        /// It began within this time before its acknowledgement, ms.
        on_ms,
        /// It ended within this time before its lift was acknowledged, ms.
        off_ms
    }
}

pair! {
    /// The same number at two times.
    BeforeAfter of f64 {
        /// Before the fault.
        before,
        /// Under it or after it.
        after
    }
}

pair! {
    /// Most dials of a server within 100 ms.
    DialPeaks of u64 {
        /// Before the fault.
        before,
        /// After it was lifted.
        after
    }
}

pair! {
    /// Latency of a phase.
    PhaseLatency of f64 {
        /// Median, ms.
        p50_ms,
        /// 99th percentile, ms.
        p99_ms
    }
}
