//! A client of the API, stock or ours. Every call has a limit; there is no `reset`, because it would touch other people's
//! proxies.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::toxics::check_attributes;
use crate::wire::{
    Attribute, Attributes, DoseBuckets, EXTENSIONS_HEADER, LeaseState, LeaseTerms, NewProxy, Proxy,
    ProxyDose, ProxyUpdate, Toxic, ToxicUpdate,
};

/// Limit of one call. A stock server's DELETE can hang for 25 s and longer.
const CALL: Duration = Duration::from_secs(5);
/// Bytes of an unexpected answer that are kept for the error.
const SHOWN: usize = 200;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The base URL is none.
    #[error("{url:?} is not a URL: {why}")]
    BadUrl {
        /// As given.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// Nobody answers there.
    #[error("no Toxiproxy at {url}: {why}")]
    Unreachable {
        /// Base URL.
        url: String,
        /// What happened.
        why: String,
    },
    /// No answer in time; whether the call took effect is unknown.
    #[error("{call}: no answer within {limit:?}")]
    TimedOut {
        /// Method and path.
        call: String,
        /// The limit.
        limit: Duration,
    },
    /// The server refused.
    #[error("{call}: {status}: {text}")]
    Api {
        /// Method and path.
        call: String,
        /// HTTP status.
        status: u16,
        /// Its text.
        text: String,
    },
    /// An answer that is not that of a Toxiproxy, or an echo that differs from what was asked.
    #[error("{call}: {what}")]
    Unexpected {
        /// Method and path.
        call: String,
        /// What is odd.
        what: String,
    },
    /// Refused here, before sending: the stock server would accept it and do something else, or die.
    #[error("toxic {name}: {why}")]
    BadToxic {
        /// Its name.
        name: String,
        /// What is wrong.
        why: String,
    },
}

impl ClientError {
    /// There is no such proxy or toxic.
    pub fn is_not_found(&self) -> bool {
        matches!(self, ClientError::Api { status: 404, .. })
    }

    /// There was no answer in time.
    pub fn is_timed_out(&self) -> bool {
        matches!(self, ClientError::TimedOut { .. })
    }

    /// The name is taken.
    pub fn is_conflict(&self) -> bool {
        matches!(self, ClientError::Api { status: 409, .. })
    }
}

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// For example `2.12.0`.
    pub text: String,
    /// Extensions of our server; empty for a stock one.
    pub extensions: Vec<String>,
}

impl Version {
    /// Has it this extension?
    pub fn has(&self, extension: &str) -> bool {
        self.extensions.iter().any(|known| known == extension)
    }
}

/// Is told of every call that has ended.
pub trait CallObserver: std::fmt::Debug + Send + Sync {
    /// HTTP method, status (`None`: no answer) and duration.
    fn called(&self, method: &str, status: Option<u16>, took: Duration);
}

/// A client of one server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    base: String,
    http: reqwest::Client,
    observer: Option<Arc<dyn CallObserver>>,
}

struct Answered {
    call: String,
    status: StatusCode,
    extensions: Option<String>,
    body: String,
}

impl Client {
    /// A client of the server at `base_url`, for example `http://127.0.0.1:8474`.
    pub fn new(base_url: &str) -> Result<Self, ClientError> {
        let bad = |why: String| ClientError::BadUrl { url: base_url.to_owned(), why };
        let url = reqwest::Url::parse(base_url).map_err(|error| bad(error.to_string()))?;
        if url.scheme() != "http" {
            return Err(bad("write http://HOST:PORT".to_owned()));
        }
        // An environment's proxy must not swallow calls to loopback.
        let http =
            reqwest::Client::builder().no_proxy().timeout(CALL).build().map_err(|e| bad(e.to_string()))?;
        Ok(Self { base: base_url.trim_end_matches('/').to_owned(), http, observer: None })
    }

    /// The same client, whose calls `observer` is told of.
    pub fn observed(self, observer: Arc<dyn CallObserver>) -> Self {
        Self { observer: Some(observer), ..self }
    }

    /// Base URL.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// Version and extensions.
    pub async fn version(&self) -> Result<Version, ClientError> {
        let answered = self.call(Method::GET, "/version", None::<&()>).await?;
        // Before 2.5 a bare text.
        let text = match serde_json::from_str::<BTreeMap<String, String>>(&answered.body) {
            Ok(fields) => fields.get("version").cloned().unwrap_or_default(),
            Err(_) => answered.body.trim().to_owned(),
        };
        let extensions = answered.extensions.unwrap_or_default();
        let extensions = extensions.split(',').map(str::trim).filter(|name| !name.is_empty());
        Ok(Version { text, extensions: extensions.map(str::to_owned).collect() })
    }

    /// All proxies by name.
    pub async fn proxies(&self) -> Result<BTreeMap<String, Proxy>, ClientError> {
        self.json(Method::GET, "/proxies", None::<&()>).await
    }

    /// One proxy.
    pub async fn proxy(&self, name: &str) -> Result<Proxy, ClientError> {
        self.json(Method::GET, &proxy_path(name), None::<&()>).await
    }

    /// Makes a proxy.
    pub async fn create_proxy(&self, proxy: &NewProxy) -> Result<Proxy, ClientError> {
        self.json(Method::POST, "/proxies", Some(proxy)).await
    }

    /// Changes a proxy.
    pub async fn update_proxy(&self, name: &str, update: &ProxyUpdate) -> Result<Proxy, ClientError> {
        // POST: servers before 2.6 know no PATCH.
        self.json(Method::POST, &proxy_path(name), Some(update)).await
    }

    /// Deletes a proxy.
    pub async fn delete_proxy(&self, name: &str) -> Result<(), ClientError> {
        self.call(Method::DELETE, &proxy_path(name), None::<&()>).await.map(drop)
    }

    /// A proxy's toxics.
    pub async fn toxics(&self, proxy: &str) -> Result<Vec<Toxic>, ClientError> {
        self.json(Method::GET, &format!("{}/toxics", proxy_path(proxy)), None::<&()>).await
    }

    /// Adds a toxic; its echo must say what was asked.
    pub async fn add_toxic(&self, proxy: &str, toxic: &Toxic) -> Result<Toxic, ClientError> {
        check(toxic)?;
        let path = format!("{}/toxics", proxy_path(proxy));
        let echo: Toxic = self.json(Method::POST, &path, Some(toxic)).await?;
        let same = echo.name == toxic.name && echo.kind == toxic.kind && echo.stream == toxic.stream;
        if !same {
            return Err(differs(&path, toxic, &echo));
        }
        compare(&path, &toxic.attributes, Some(toxic.toxicity), &echo)?;
        Ok(echo)
    }

    /// Changes a toxic; its echo must say what was asked.
    pub async fn update_toxic(
        &self,
        proxy: &str,
        name: &str,
        update: &ToxicUpdate,
    ) -> Result<Toxic, ClientError> {
        let path = toxic_path(proxy, name);
        let echo: Toxic = self.json(Method::POST, &path, Some(update)).await?;
        compare(&path, &update.attributes, update.toxicity, &echo)?;
        Ok(echo)
    }

    /// Removes a toxic.
    pub async fn remove_toxic(&self, proxy: &str, name: &str) -> Result<(), ClientError> {
        self.call(Method::DELETE, &toxic_path(proxy, name), None::<&()>).await.map(drop)
    }

    /// What toxics have touched, by proxy; only our server knows.
    pub async fn dose(&self) -> Result<BTreeMap<String, ProxyDose>, ClientError> {
        self.json(Method::GET, "/dose", None::<&()>).await
    }

    /// What toxics have touched in each 100 ms that ended after `after_us` of the server's clock; only our server knows.
    pub async fn dose_buckets(&self, after_us: u64) -> Result<DoseBuckets, ClientError> {
        self.json(Method::GET, &format!("/dose/buckets?after_us={after_us}"), None::<&()>).await
    }

    /// Takes or renews a lease of all toxics whose names begin with `prefix`; only our server knows them.
    pub async fn renew_lease(&self, prefix: &str, terms: &LeaseTerms) -> Result<LeaseState, ClientError> {
        self.json(Method::PUT, &format!("/leases/{}", encoded(prefix)), Some(terms)).await
    }

    /// Ends a lease; its toxics stay.
    pub async fn end_lease(&self, prefix: &str) -> Result<(), ClientError> {
        self.call(Method::DELETE, &format!("/leases/{}", encoded(prefix)), None::<&()>).await.map(drop)
    }

    async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ClientError> {
        let answered = self.call(method, path, body).await?;
        serde_json::from_str(&answered.body).map_err(|error| ClientError::Unexpected {
            what: format!("an answer that is not a Toxiproxy's ({error}): {}", shown(&answered.body)),
            call: answered.call,
        })
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Answered, ClientError> {
        let began = Instant::now();
        let answered = self.ask(method.clone(), path, body).await;
        if let Some(observer) = &self.observer {
            let status = match &answered {
                Ok(answered) => Some(answered.status.as_u16()),
                Err(ClientError::Api { status, .. }) => Some(*status),
                Err(_) => None,
            };
            observer.called(method.as_str(), status, began.elapsed());
        }
        answered
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Answered, ClientError> {
        let call = format!("{method} {path}");
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(body) = body {
            request = request.json(body);
        }
        let failed = |error: reqwest::Error| {
            if error.is_timeout() {
                return ClientError::TimedOut { call: call.clone(), limit: CALL };
            }
            let mut why = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                why = cause.to_string();
                source = cause.source();
            }
            ClientError::Unreachable { url: self.base.clone(), why }
        };
        let response = request.send().await.map_err(failed)?;
        let status = response.status();
        let extensions = response.headers().get(EXTENSIONS_HEADER).and_then(|value| value.to_str().ok());
        let extensions = extensions.map(str::to_owned);
        let body = response.text().await.map_err(failed)?;
        if !status.is_success() {
            let error = serde_json::from_str::<serde_json::Value>(&body).ok();
            let text = error.as_ref().and_then(|error| error.get("error")?.as_str().map(str::to_owned));
            let text = text.unwrap_or_else(|| shown(&body));
            return Err(ClientError::Api { call, status: status.as_u16(), text });
        }
        Ok(Answered { call, status, extensions, body })
    }
}

impl std::fmt::Debug for Answered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.call, self.status)
    }
}

fn shown(body: &str) -> String {
    body.chars().take(SHOWN).collect::<String>().escape_debug().to_string()
}

fn encoded(name: &str) -> String {
    utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
}

fn proxy_path(name: &str) -> String {
    format!("/proxies/{}", encoded(name))
}

fn toxic_path(proxy: &str, toxic: &str) -> String {
    format!("{}/toxics/{}", proxy_path(proxy), encoded(toxic))
}

/// Names that can be addressed again, and numbers that do what they say.
fn check(toxic: &Toxic) -> Result<(), ClientError> {
    let bad = |why: String| Err(ClientError::BadToxic { name: toxic.name.clone(), why });
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    if toxic.name.is_empty() || toxic.name.len() > 96 || !toxic.name.bytes().all(plain) {
        return bad("a name has 1 to 96 characters of a-z, 0-9, dot, dash and underscore".to_owned());
    }
    if !(0.0..=1.0).contains(&toxic.toxicity) {
        return bad(format!("toxicity is {}; it must lie between 0 and 1", toxic.toxicity));
    }
    check_attributes(&toxic.kind, &toxic.attributes).or_else(bad)
}

fn compare(path: &str, asked: &Attributes, toxicity: Option<f64>, echo: &Toxic) -> Result<(), ClientError> {
    let attributes = asked
        .iter()
        .all(|(name, value)| echo.attributes.get(name).cloned().unwrap_or(Attribute::Number(0)) == *value);
    // The server keeps 32 bits of it.
    let toxicity_same = toxicity.is_none_or(|toxicity| (toxicity as f32 - echo.toxicity as f32).abs() < 1e-6);
    if attributes && toxicity_same { Ok(()) } else { Err(differs(path, asked, echo)) }
}

fn differs(path: &str, asked: &impl std::fmt::Debug, echo: &Toxic) -> ClientError {
    ClientError::Unexpected {
        call: path.to_owned(),
        what: format!("asked for {asked:?}, but the server has {echo:?}"),
    }
}
