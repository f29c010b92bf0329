//! [`Bug::DirtyConnection`](super::Bug::DirtyConnection) on a connection: it is used although its last reply has not
//! come, and takes whatever comes for its own.

use super::seeded::Seeded;
use crate::key::Key;

/// Whether a connection is dirty; without the feature, none is.
#[derive(Default)]
pub(crate) struct Dirt(Seeded<()>);

impl Dirt {
    /// On a connection that is dirty from now on.
    pub(crate) fn some() -> Self {
        Self(Seeded::some(()))
    }

    /// Is the connection dirty?
    #[inline]
    pub(crate) fn is_there(&self) -> bool {
        self.0.get().is_some()
    }

    /// Key and number that the reply at hand names, whoever asked for it; `None` on a clean connection.
    #[inline]
    pub(crate) fn echoed(&self, input: &[u8]) -> Option<(Key, u32)> {
        self.0.get().and_then(|()| echoed(input))
    }
}

fn echoed(input: &[u8]) -> Option<(Key, u32)> {
    let line = &input[..input.iter().position(|byte| *byte == b'\n')?];
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace().skip(1);
    let key = words.clone().find_map(|word| word.strip_prefix('k'))?;
    let opaque = words.find_map(|word| word.strip_prefix('O'))?;
    Some((Key::new(key).ok()?, opaque.parse().ok()?))
}
