//! Whoever wants to see a run while it lasts: every line of its journal, as it is written.

use std::fmt;
use std::sync::Arc;

use observation::journal::Entry;

type Shown = Arc<dyn Fn(&Entry) + Send + Sync>;

/// Is shown every entry of every run of an environment. Must be quick: the runner waits for it.
#[derive(Clone, Default)]
pub struct Onlooker(Option<Shown>);

impl Onlooker {
    /// `shown` is called with each entry.
    pub fn new(shown: impl Fn(&Entry) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(shown)))
    }

    pub(crate) fn entry(&self, entry: &Entry) {
        if let Some(shown) = &self.0 {
            shown(entry);
        }
    }
}

impl fmt::Debug for Onlooker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Onlooker")
    }
}
