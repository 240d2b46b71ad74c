//! Waiting for a node, and following a ledger to its end, or an experiment on it whatever happens to it in between.

use std::ops::ControlFlow;

use colearn_contracts::ExperimentName;
use colearn_records::record::{DecodedEntry, Record};
use colearn_sdk::client::{Client, ClientError, Entries, Followed, Patience};

use super::progress;

/// Tries until it works, while trying again may help and for as long as there is patience.
pub(crate) async fn patiently<T>(
    patience: &mut Patience,
    mut attempt: impl AsyncFnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    loop {
        let error = match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) => error.downcast::<ClientError>()?,
        };
        let (reason, pause) = patience.pause_after(error)?;
        tracing::info!(reason, "waiting for the node");
        tokio::time::sleep(pause).await;
    }
}

/// Follows the ledger to its end, and keeps what was verified.
pub(crate) async fn to_the_end(followed: &mut Followed) -> anyhow::Result<()> {
    let bar = progress::entries("following the ledger");
    followed
        .catch_up_somewhere(&mut |progress| {
            bar.set_length(progress.size);
            bar.set_position(progress.followed);
        })
        .await?;
    bar.finish_and_clear();
    followed.keep()?;
    Ok(())
}

/// Gives an experiment's records to `each`, in order and once, until that has had enough, as the node says them: it is
/// one's own. A stream that breaks is opened again where it broke.
pub(crate) async fn follow(
    node: &str,
    name: &ExperimentName,
    mut each: impl FnMut(&DecodedEntry) -> anyhow::Result<ControlFlow<()>>,
) -> anyhow::Result<()> {
    let (mut patience, mut next) = (Patience::new(None), 0);
    loop {
        let mut entries =
            patiently(&mut patience, async || Ok(open(node, name, next).await?)).await?;
        patience.renew();
        let broken = loop {
            match entries.next().await {
                Ok(message) => {
                    next = message.next;
                    let Some(entry) = message.entry else { continue };
                    if each(&Record::decode(&entry)?)?.is_break() {
                        return Ok(());
                    }
                }
                Err(error) => break error,
            }
        };
        let (reason, pause) = patience.pause_after(broken)?;
        tracing::warn!(reason, "waiting for the node");
        tokio::time::sleep(pause).await;
    }
}

async fn open(node: &str, name: &ExperimentName, next: u64) -> Result<Entries, ClientError> {
    Client::connect(node).await?.watch(name, next).await
}
