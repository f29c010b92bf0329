//! Takes away what dead and frozen runs have left, and nothing else. It needs neither their journal nor their janitor.

use toxiproxy::{Client, ClientError};

use crate::backends::{self, Leftover};

/// Looks once: removes what is past its deadline, or whose owner is proven dead on this host, at every backend that can be
/// reached from here. Gives what that was, and whose.
pub async fn once(client: &Client) -> Result<Vec<String>, ClientError> {
    let described = |Leftover { what, whose }| match whose {
        Some(whose) => format!("{what} ({whose})"),
        None => what,
    };
    Ok(backends::reap(client).await?.into_iter().map(described).collect())
}
