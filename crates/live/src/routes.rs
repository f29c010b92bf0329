//! The page and its stream, as routes of the read-only server.

use bytes::Bytes;
use futures::stream::unfold;
use telemetry::http::{Document, Routes};

use crate::page::page;
use crate::{Feed, Page};

/// `routes` with the page at `/` and its stream beside it. `feeds`: one for each of the page's jobs.
pub fn routes(routes: Routes, shown: Page, feeds: Vec<Feed>) -> Routes {
    let first = feeds.first().cloned();
    let document = move || {
        let now = first.as_ref().map(|feed| feed.subscribe(None).snapshot()).unwrap_or_default();
        let (document, policy) = page(&shown, &now);
        Document { content_type: "text/html; charset=utf-8", body: Bytes::from(document), policy }
    };
    routes.page("/", document).feed(Page::STREAM, "text/event-stream; charset=utf-8", move |asked| {
        let job = asked.query("job").and_then(|job| job.parse::<usize>().ok()).unwrap_or(1);
        let after = asked.header("last-event-id").or(asked.query("after"));
        // Jobs that are not there have nothing to say.
        let reader = feeds.get(job.wrapping_sub(1)).map(|feed| feed.subscribe(after));
        Box::pin(unfold(reader, |reader| async move {
            let mut reader = reader?;
            let events = reader.next().await?;
            Some((Bytes::from(events), Some(reader)))
        }))
    })
}
