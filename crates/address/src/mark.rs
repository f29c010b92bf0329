//! What is wrong with a text, and where in it.

use std::fmt;
use std::ops::Range;

/// A text that can never be an address. Shown as the reason, then the text with a mark under the wrong part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadAddress {
    text: String,
    /// Bytes of the text.
    wrong: Range<usize>,
    why: String,
}

impl BadAddress {
    /// `wrong`: bytes of `text` that make it no address; an empty range points between two characters.
    pub fn new(text: &str, wrong: Range<usize>, why: impl Into<String>) -> Self {
        Self { text: text.to_owned(), wrong, why: why.into() }
    }

    /// The same inside of `whole`, in which the text begins at byte `start`.
    #[must_use]
    pub fn within(self, whole: &str, start: usize) -> Self {
        let wrong = self.wrong.start + start..self.wrong.end + start;
        Self { text: whole.to_owned(), wrong, why: self.why }
    }
}

/// Reads a text without the blanks around it; a mark stays where it is in the whole.
pub(crate) fn trimmed<T>(
    whole: &str,
    read: impl FnOnce(&str) -> Result<T, BadAddress>,
) -> Result<T, BadAddress> {
    let start = whole.len() - whole.trim_start().len();
    read(whole.trim()).map_err(|bad| bad.within(whole, start))
}

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Escaped, so that what cannot be seen is seen, and the mark stays below it.
        let shown = |range: Range<usize>| self.text.get(range).unwrap_or_default().escape_debug().to_string();
        let Range { start, end } = self.wrong.clone();
        let (before, wrong, after) = (shown(0..start), shown(start..end), shown(end..self.text.len()));
        let marks = "^".repeat(wrong.chars().count().max(1));
        let blanks = before.chars().count();
        write!(f, "{}\n    {before}{wrong}{after}\n    {:blanks$}{marks}", self.why, "")
    }
}

impl std::error::Error for BadAddress {}
