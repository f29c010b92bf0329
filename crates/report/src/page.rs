//! A report's page: the shell that all pages share, with the charts' data in it.

use maud::{Markup, html};

use crate::charts::{Chart, Data};
use crate::plain;

const SCRIPT: &str = include_str!("../assets/report.js");

/// The whole document.
pub(crate) fn page(title: &str, data: &Data, body: &Markup) -> String {
    // Plain structs of texts and numbers: there is no way for this to fail.
    let json = serde_json::to_string(data).unwrap_or_else(|_| "{}".to_owned());
    ::page::Page { title, data: &json, script: SCRIPT, style: "", connects: false }.document(body)
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
        (::page::heading(badge, title))
        noscript { p.muted { "Charts need JavaScript; everything else on this page does not." } }
    }
}

/// How a result looks: the class of its badge in the shared style.
pub fn tone(result: verdict::Ruling) -> &'static str {
    match result {
        verdict::Ruling::Pass => "pass",
        verdict::Ruling::Inconclusive => "unsure",
        verdict::Ruling::Invalid => "void",
        verdict::Ruling::Fail | verdict::Ruling::WrongData => "fail",
    }
}

/// A result as a coloured word: the word says it, the colour only helps.
pub(crate) fn badge(result: verdict::Ruling) -> Markup {
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
    fn the_script_does_not_end_its_element() {
        assert!(!SCRIPT.contains("</script") && !SCRIPT.contains("<!--"));
    }

    #[test]
    fn data_from_outside_stays_data() {
        let mut data = Data::default();
        data.charts.push(crate::charts::bands("</script><!--", Vec::new(), Vec::new(), Vec::new()));
        let document = page("x", &data, &html! {});
        assert_eq!(document.matches("</script>").count(), 4);
        let json = document.split_once("id=\"data\">").and_then(|(_, rest)| rest.split_once("</script>"));
        let read: serde_json::Value = serde_json::from_str(json.unwrap().0).unwrap();
        assert_eq!(read["charts"][0]["id"], "</script><!--");
    }
}
