//! The shell of every page: one file that fetches nothing. Script and style are named by their hashes, so that the browser runs
//! nothing else, whatever a name from outside contains.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use crate::charts::{Chart, Data};
use crate::plain;

/// uPlot 1.6.32, see `assets/uplot/README.md`.
const UPLOT: &str = include_str!("../assets/uplot/uPlot.iife.min.js");
const SCRIPT: &str = include_str!("../assets/report.js");
const STYLE: &str =
    concat!(include_str!("../assets/uplot/uPlot.min.css"), include_str!("../assets/report.css"));

/// The whole document.
pub(crate) fn page(title: &str, data: &Data, body: &Markup) -> String {
    let policy = format!(
        "default-src 'none'; script-src {} {}; style-src {}; img-src data:; base-uri 'none'; form-action 'none'",
        hash(UPLOT),
        hash(SCRIPT),
        hash(STYLE)
    );
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="referrer" content="no-referrer";
                link rel="icon" href="data:,";
                title { (plain(title)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main { (body) }
                script type="application/json" id="data" { (PreEscaped(block(data))) }
                script { (PreEscaped(UPLOT)) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    markup.into_string()
}

/// As a content security policy names it.
fn hash(text: &str) -> String {
    format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(text)))
}

/// JSON that cannot end its script element.
fn block(data: &Data) -> String {
    // Plain structs of texts and numbers: there is no way for this to fail.
    let json = serde_json::to_string(data).unwrap_or_else(|_| "{}".to_owned());
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// The place of a chart, with its title.
pub(crate) fn figure(chart: &Chart, title: &str, about: &str) -> Markup {
    html! {
        figure {
            figcaption { h3 { (plain(title)) } span.muted { (plain(about)) } }
            div.plot data-chart=(chart.id) {}
        }
    }
}

/// First line of a page.
pub(crate) fn heading(badge: &Markup, title: &str) -> Markup {
    html! {
        header {
            (badge)
            h1 { (plain(title)) }
            button #theme type="button" hidden { "Dark" }
        }
        noscript { p.muted { "Charts need JavaScript; everything else on this page does not." } }
    }
}

/// How a result looks.
pub(crate) fn tone(result: verdict::Result) -> &'static str {
    match result {
        verdict::Result::Pass => "pass",
        verdict::Result::Inconclusive => "unsure",
        verdict::Result::Invalid => "void",
        verdict::Result::Fail | verdict::Result::WrongData => "fail",
    }
}

/// A result as a coloured word: the word says it, the colour only helps.
pub(crate) fn badge(result: verdict::Result) -> Markup {
    html! { span.badge.(tone(result)) { (result.name()) } }
}

/// The result of a whole run: one that was stopped on purpose says so.
pub(crate) fn named(verdict: &verdict::Verdict) -> Markup {
    html! { span.badge.(tone(verdict.result)) { (verdict.name()) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_embedded_ends_its_element() {
        for text in [UPLOT, SCRIPT] {
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
        let mut data = Data::default();
        data.charts.push(crate::charts::bands("</script><!--", Vec::new(), Vec::new(), Vec::new()));
        let block = block(&data);
        assert!(!block.contains('<') && !block.contains('>'), "{block}");
        let read: serde_json::Value = serde_json::from_str(&block).unwrap();
        assert_eq!(read["charts"][0]["id"], "</script><!--");
    }
}
