//! Paths and what they answer.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use hyper::HeaderMap;

use crate::metrics::Scrapes;

/// What a handler gives: media type and text, or a reason why not (status 500).
pub type Answer = Result<(&'static str, String), String>;
pub(super) type Handler = Arc<dyn Fn() -> Answer + Send + Sync>;
/// A stream of a body's pieces.
pub type Pieces = Pin<Box<dyn Stream<Item = Bytes> + Send>>;
pub(super) type Streamer = Arc<dyn Fn(&Asked<'_>) -> Pieces + Send + Sync>;
pub(super) type Finder = Arc<dyn Fn(&str) -> Option<Document> + Send + Sync>;

/// A whole page.
#[derive(Debug, Clone)]
pub struct Document {
    /// Media type.
    pub content_type: &'static str,
    /// What it says.
    pub body: Bytes,
    /// Its content security policy; nobody may frame it, whatever it says.
    pub policy: String,
}

/// What a stream may know of who asks for it. All of it is from outside.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// From where.
    pub peer: IpAddr,
    pub(super) query: Option<&'a str>,
    pub(super) headers: &'a HeaderMap,
}

impl Asked<'_> {
    /// The value of `name=value` in the query, as it was sent.
    pub fn query(&self, name: &str) -> Option<&str> {
        let pairs = self.query?.split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// A header, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// A stream route's source out of anything that gives one line after the other.
pub fn lines<S, R, L, F>(
    source: S,
    open: impl Fn(&S) -> R + Send + Sync + 'static,
    next: impl Fn(R) -> F + Clone + Send + Sync + 'static,
) -> impl Fn() -> Pieces + Send + Sync + 'static
where
    S: Send + Sync + 'static,
    R: Send + 'static,
    L: AsRef<str>,
    F: Future<Output = Option<(L, R)>> + Send + 'static,
{
    move || {
        let next = next.clone();
        Box::pin(futures::stream::unfold(open(&source), move |reader| {
            let next = next(reader);
            async move {
                next.await.map(|(line, reader)| (Bytes::copy_from_slice(line.as_ref().as_bytes()), reader))
            }
        }))
    }
}

#[derive(Clone)]
pub(super) enum Route {
    Text(Handler),
    Metrics(Arc<Scrapes>),
    Page(Arc<dyn Fn() -> Document + Send + Sync>),
    /// What is below the path.
    Below(Finder),
    Stream(&'static str, Streamer),
}

/// Paths and what they answer.
#[derive(Clone, Default)]
pub struct Routes {
    pub(super) routes: BTreeMap<&'static str, Route>,
}

impl std::fmt::Debug for Routes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.routes.keys()).finish()
    }
}

impl Routes {
    /// `/healthz`, which answers `ok`, and `/metrics` of a registry.
    pub fn with_metrics(registry: prometheus::Registry) -> Self {
        let healthz =
            Self::default().get("/healthz", || Ok(("text/plain; charset=utf-8", "ok\n".to_owned())));
        healthz.with("/metrics", Route::Metrics(Arc::new(Scrapes::new(registry))))
    }

    /// A route that answers a whole text.
    pub fn get(self, path: &'static str, handler: impl Fn() -> Answer + Send + Sync + 'static) -> Self {
        self.with(path, Route::Text(Arc::new(handler)))
    }

    /// A route that answers a page, made for each who asks.
    pub fn page(self, path: &'static str, page: impl Fn() -> Document + Send + Sync + 'static) -> Self {
        self.with(path, Route::Page(Arc::new(page)))
    }

    /// Everything whose path begins with `prefix`, which ends with a slash: `find` is given the rest, undecoded, on a thread that
    /// may wait for files. `None`: not here.
    pub fn below(
        self,
        prefix: &'static str,
        find: impl Fn(&str) -> Option<Document> + Send + Sync + 'static,
    ) -> Self {
        self.with(prefix, Route::Below(Arc::new(find)))
    }

    /// A route that answers pieces until its reader leaves or the server ends.
    pub fn stream(
        self,
        path: &'static str,
        content_type: &'static str,
        open: impl Fn() -> Pieces + Send + Sync + 'static,
    ) -> Self {
        self.feed(path, content_type, move |_| open())
    }

    /// A stream that depends on who asks for it.
    pub fn feed(
        self,
        path: &'static str,
        content_type: &'static str,
        open: impl Fn(&Asked<'_>) -> Pieces + Send + Sync + 'static,
    ) -> Self {
        self.with(path, Route::Stream(content_type, Arc::new(open)))
    }

    fn with(mut self, path: &'static str, route: Route) -> Self {
        self.routes.insert(path, route);
        self
    }

    /// The route of a path, by the name under which it was declared, and what of the path is below it.
    pub(super) fn find<'p>(&self, path: &'p str) -> Option<(&'static str, &Route, &'p str)> {
        if let Some((name, route)) = self.routes.get_key_value(path)
            && !matches!(route, Route::Below(_))
        {
            return Some((name, route, ""));
        }
        let below = self.routes.iter().filter(|(_, route)| matches!(route, Route::Below(_)));
        below.into_iter().find_map(|(name, route)| Some((*name, route, path.strip_prefix(name)?)))
    }
}
