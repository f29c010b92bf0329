//! The shell of every page of the project: one file that fetches nothing but what it says, with the colours, the style and the
//! charts that all of them share. Script and style are named by their hashes, so that the browser runs nothing else, whatever a
//! name from outside contains.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

/// uPlot 1.6.32, see `assets/uplot/README.md`.
const UPLOT: &str = include_str!("../assets/uplot/uPlot.iife.min.js");
/// What pages do with uPlot alike.
const CHARTS: &str = include_str!("../assets/charts.js");
const STYLE: &str =
    concat!(include_str!("../assets/uplot/uPlot.min.css"), include_str!("../assets/page.css"));

/// What is a page's own.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    /// Name of the tab.
    pub title: &'a str,
    /// JSON for its script, in the element `data`.
    pub data: &'a str,
    /// Runs after uPlot and `charts`.
    pub script: &'a str,
    /// Comes after the shared style.
    pub style: &'a str,
    /// May it ask the server that it came from?
    pub connects: bool,
}

impl Page<'_> {
    /// The whole document.
    pub fn document(&self, body: &Markup) -> String {
        let style = self.whole_style();
        let markup = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content=(self.policy());
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="referrer" content="no-referrer";
                    link rel="icon" href="data:,";
                    title { (plain(self.title)) }
                    style { (PreEscaped(&style)) }
                }
                body {
                    main { (body) }
                    script type="application/json" id="data" { (PreEscaped(block(self.data))) }
                    script { (PreEscaped(UPLOT)) }
                    script { (PreEscaped(CHARTS)) }
                    script { (PreEscaped(self.script)) }
                }
            }
        };
        markup.into_string()
    }

    /// Its content security policy, as far as a document may name its own.
    pub fn policy(&self) -> String {
        let connect = if self.connects { " connect-src 'self';" } else { "" };
        format!(
            "default-src 'none'; script-src {} {} {}; style-src {};{connect} img-src data:; base-uri 'none'; form-action 'none'",
            hash(UPLOT),
            hash(CHARTS),
            hash(self.script),
            hash(&self.whole_style())
        )
    }

    fn whole_style(&self) -> String {
        [STYLE, self.style].concat()
    }
}

/// As a content security policy names it.
fn hash(text: &str) -> String {
    format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(text)))
}

/// JSON that cannot end its script element.
fn block(json: &str) -> String {
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// First line of a page: a badge, a title, and the switch between light and dark.
pub fn heading(badge: &Markup, title: &str) -> Markup {
    html! {
        header {
            (badge)
            h1 { (plain(title)) }
            button #theme type="button" hidden { "Dark" }
        }
    }
}

/// Text from outside without what steers a terminal or a reader's eye: control characters, and marks that turn the
/// direction of what follows.
pub fn plain(text: &str) -> String {
    let harmless = |c: char| match c {
        c if c.is_control() => ' ',
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        '\u{2028}' | '\u{2029}' => ' ',
        c => c,
    };
    text.chars().map(harmless).collect()
}

/// At most `most` characters, and an ellipsis where some are missing.
pub fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: Page<'_> = Page { title: "t", data: "{}", script: "1", style: "", connects: false };

    #[test]
    fn nothing_embedded_ends_its_element() {
        for text in [UPLOT, CHARTS] {
            assert!(!text.contains("</script") && !text.contains("<!--"));
        }
        assert!(!STYLE.contains("</style") && !STYLE.contains("url(") && !STYLE.contains("@import"));
    }

    #[test]
    fn a_hash_is_that_of_the_standard() {
        // echo -n "alert('Hello, world.');" | openssl sha256 -binary | openssl base64, as in the CSP specification.
        assert_eq!(hash("alert('Hello, world.');"), "'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='");
    }

    #[test]
    fn the_data_block_cannot_be_left() {
        let data = r#"{"id":"</script><!--&"}"#;
        let block = block(data);
        assert_eq!(block, r#"{"id":"\u003c/script\u003e\u003c!--\u0026"}"#);
        let page = Page { data, ..PAGE }.document(&html! {});
        assert_eq!(page.matches("</script>").count(), 4);
    }

    #[test]
    fn a_page_asks_nobody_unless_it_says_so() {
        assert!(!PAGE.policy().contains("connect-src") && PAGE.policy().starts_with("default-src 'none'; "));
        assert!(Page { connects: true, ..PAGE }.policy().contains("; connect-src 'self'; img-src data:; "));
    }
}
