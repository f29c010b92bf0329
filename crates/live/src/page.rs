//! The page: one document that asks nobody but the process that it came from.

use maud::{Markup, html};
use serde::Serialize;

use crate::reader::Unseen;

use crate::{COARSE_POINTS, COARSE_US, FINE_POINTS, FINE_US};

const SCRIPT: &str = include_str!("../assets/live.js");
const STYLE: &str = include_str!("../assets/live.css");

/// What differs from program to program.
#[derive(Debug, Clone, Serialize)]
pub struct Page {
    /// Name and version of the program.
    pub program: &'static str,
    /// Feeds to choose from, by number from 1.
    pub jobs: usize,
    /// Are there runs, with phases, faults and a verdict?
    pub runs: bool,
    /// The other program's page, if that is known: an `http:` address.
    pub other: Option<String>,
    /// What the other page shows.
    pub other_name: &'static str,
}

impl Page {
    /// Path of the stream.
    pub const STREAM: &'static str = "/v1/live";
}

/// What its script needs to know.
#[derive(Serialize)]
struct Data<'a> {
    #[serde(flatten)]
    page: &'a Page,
    stream: &'static str,
    fine_s: f64,
    coarse_s: f64,
    fine_points: usize,
    coarse_points: usize,
    /// What the stream would tell first, each a name and its JSON: the page is drawn with it before it is connected.
    first: Vec<(&'a str, &'a str)>,
    /// How far that goes.
    after: &'a str,
}

/// The document, and the content security policy to send with it.
pub(crate) fn page(page: &Page, now: &Unseen) -> (String, String) {
    let events = now.events.iter();
    let data = Data {
        first: events.map(|(name, json)| (*name, json.as_str())).collect(),
        after: &now.id,
        page,
        stream: Page::STREAM,
        fine_s: FINE_US as f64 / 1e6,
        coarse_s: COARSE_US as f64 / 1e6,
        fine_points: FINE_POINTS,
        coarse_points: COARSE_POINTS,
    };
    // Plain numbers and texts: there is no way for this to fail.
    let data = serde_json::to_string(&data).unwrap_or_else(|_| "{}".to_owned());
    let shell =
        ::page::Page { title: page.program, data: &data, script: SCRIPT, style: STYLE, connects: true };
    (shell.document(&body(page)), shell.policy())
}

fn body(page: &Page) -> Markup {
    let badge = html! { span.badge.void #phase role="status" { "connecting" } };
    html! {
        (::page::heading(&badge, page.program))
        noscript { p { "This page is drawn by its own script, so it needs JavaScript. The numbers are at /metrics too." } }
        p #link.link role="status" aria-live="polite" { "Connecting…" }
        div.about {
            p #about {}
            p.muted #client {}
        }
        dl.facts {
            (fact("goodput", "goodput"))
            (fact("failing", "failed"))
            (fact("p99", "p99"))
            @if page.runs { (fact("left", "phase ends in")) }
            (fact("connections", "connections"))
        }
        div.windows role="group" aria-label="Time shown" {
            @for (seconds, name) in [(120, "2 min"), (600, "10 min"), (3600, "1 h")] {
                button type="button" data-window=(seconds) aria-pressed=(seconds == 120) { (name) }
            }
            @if page.jobs > 1 {
                label { "Lab "
                    select #job { @for job in 1..=page.jobs { option value=(job) { (job) } } }
                }
            }
        }
        @if page.runs { (figure("phases", "Phases", "")) }
        (figure("goodput", "Goodput", "Operations that succeeded beside those that were offered."))
        (figure("errors", "Errors by class", "Failed operations; nothing here is hidden by retries."))
        (figure("latency", "Latency", "From the intended start: waiting counts."))
        (figure("breakers", "Breakers", "State of each server's circuit breaker."))
        ul.states #states aria-label="Breakers now" {}
        @if page.runs {
            (figure("dose", "Dose", "Was the fault really given? Declared, beside what the proxy touched and what canaries suffered."))
            p.muted #faults {}
        }
        h2 { "Connections" }
        div.pair #pools {}
        p.muted #more {}
        @if page.runs {
            h2 { "Verdict" }
            div #verdict { p.muted { "Nothing has been judged yet." } }
            h2 { "Past runs" }
            div #runs { p.muted { "None yet." } }
        }
        p.muted.foot {
            "A point is 0.2 s in the last 2 minutes and 1 s before. This page shows; it does not judge. "
            @match &page.other {
                Some(other) => { a href=(other) rel="noreferrer" { (page.other_name) } "." }
                None => (page.other_name)
            }
        }
    }
}

fn fact(id: &str, name: &str) -> Markup {
    html! { div { dt { (name) } dd id=(id) { "–" } } }
}

fn figure(id: &str, title: &str, about: &str) -> Markup {
    html! {
        figure {
            figcaption { h3 { (title) } span.muted { (about) } }
            div.plot data-chart=(id) role="img" aria-label=(title) {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_document_that_names_what_it_may_do() {
        let asked = Page { program: "scenariod 1 <b>", jobs: 2, runs: true, other: None, other_name: "" };
        let nothing = Unseen { events: vec![("state", "{}".to_owned())], id: String::new() };
        let (document, policy) = page(&asked, &nothing);
        assert!(document.contains(r#""first":[["state","{}"]]"#));
        assert!(document.contains("scenariod 1 &lt;b&gt;") && !document.contains("<b>"));
        assert!(
            policy.starts_with("default-src 'none'; script-src 'sha256-")
                && policy.contains("connect-src 'self'")
        );
        assert!(!policy.contains("unsafe"));
        // What would be fetched. (uPlot's own head names its place in a comment.)
        assert!(!document.contains(" src=") && !document.contains("href=\"http"));
        assert!(!document.contains(" style=") && !document.contains(" onclick"));
        assert!(!page(&Page { runs: false, jobs: 1, ..asked.clone() }, &nothing).0.contains("Past runs"));
    }
}
