//! The part of `README.md` that is written by the run itself.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const BEGIN: &str = "<!-- figures: written by `bench all --write-readme` -->\n";
const END: &str = "<!-- end of figures -->\n";

/// The README beside this crate's sources.
pub fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")
}

/// Replaces the figures in the file.
pub fn write(path: &Path, figures: &str) -> Result<()> {
    let shown = || path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(shown)?;
    std::fs::write(path, replaced(&text, figures).with_context(shown)?).with_context(shown)
}

fn replaced(text: &str, figures: &str) -> Result<String> {
    let (before, rest) = text.split_once(BEGIN).context("no place for the figures")?;
    let (_, after) = rest.split_once(END).context("no end of the figures")?;
    Ok([before, BEGIN, "\n", figures.trim(), "\n\n", END, after].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_figures_are_replaced() {
        let text = format!("a\n{BEGIN}old\n{END}b\n");
        let once = replaced(&text, "new\n").unwrap();
        assert_eq!(once, format!("a\n{BEGIN}\nnew\n\n{END}b\n"));
        assert_eq!(replaced(&once, "new\n").unwrap(), once);
        assert!(replaced("a\n", "new").is_err());
    }

    #[test]
    fn the_readme_has_a_place_for_them() {
        let text = std::fs::read_to_string(path()).unwrap();
        assert!(replaced(&text, "").is_ok());
    }
}
