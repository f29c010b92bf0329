//! Each act as a raw connection sees it.
