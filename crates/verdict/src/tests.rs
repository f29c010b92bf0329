//! Synthetic journals.
