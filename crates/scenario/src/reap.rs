//! Takes away what dead and frozen runs have left, and nothing else; needs neither their journal nor their janitor.

use toxiproxy::{Client, ClientError};

use crate::kernel;
use crate::ladder;
use crate::owner::OwnedName;

/// One look: removes what is past its deadline, or whose owner is proven dead on this host; gives their names. With the rules of
/// the kernel in this network namespace.
pub async fn once(client: &Client) -> Result<Vec<String>, ClientError> {
    let tables = kernel::sweep_here().await;
    let swept = ladder::sweep(client, OwnedName::is_over).await?;
    let described = swept.iter().map(|one| format!("{one} ({})", one.name.describe()));
    Ok(described.chain(tables).collect())
}
