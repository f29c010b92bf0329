//! What is there only with the feature `seeded-bugs`.

/// A thing that a bug needs. Without the feature it has no size and is always empty, so that the compiler drops
/// whatever would be done with its content.
#[derive(Clone)]
pub(crate) struct Seeded<T> {
    #[cfg(feature = "seeded-bugs")]
    thing: Option<T>,
    #[cfg(not(feature = "seeded-bugs"))]
    nothing: std::marker::PhantomData<T>,
}

#[cfg(feature = "seeded-bugs")]
impl<T> Seeded<T> {
    pub(super) fn some(thing: T) -> Self {
        Self { thing: Some(thing) }
    }

    pub(super) fn none() -> Self {
        Self { thing: None }
    }

    pub(super) fn get(&self) -> Option<&T> {
        self.thing.as_ref()
    }
}

#[cfg(not(feature = "seeded-bugs"))]
impl<T> Seeded<T> {
    #[inline(always)]
    pub(super) fn some(_: T) -> Self {
        Self::none()
    }

    #[inline(always)]
    pub(super) fn none() -> Self {
        Self { nothing: std::marker::PhantomData }
    }

    #[inline(always)]
    pub(super) fn get(&self) -> Option<&T> {
        None
    }
}

impl<T> Default for Seeded<T> {
    #[inline]
    fn default() -> Self {
        Self::none()
    }
}
