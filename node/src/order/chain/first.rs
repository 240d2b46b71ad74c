//! The first entry of a ledger that a contract keeps, before there is a folder for it.

use std::time::Duration;

use colearn_proto::v1;
use colearn_records::on_chain::PublicChain;
use colearn_records::record::Record;
use colearn_relay::Settings;

use super::line::Line;
use super::stretch;
use crate::error::{ChainError, NodeError};

/// How often a newer block is looked for before the chain is said to stand still, and how long is waited between.
const PATIENCE: usize = 60;
const PAUSE: Duration = Duration::from_secs(1);

/// The ledger's first entry, as the chain proves it: what made the contract has kept its root.
pub(crate) async fn first_entry(
    settings: &Settings,
    data: &std::path::Path,
) -> Result<v1::Genesis, ChainError> {
    let kept = |source| ChainError::Kept { path: data.to_owned(), source };
    std::fs::create_dir_all(data).map_err(kept)?;
    let mut line = Line::begin(settings.servers()?, settings, data).await?;
    let mut in_vain = 0;
    let first = loop {
        match proven(&mut line).await {
            Ok(Some(first)) => break first,
            // The one that is trusted is the newest.
            Ok(None) if in_vain < PATIENCE => {}
            Ok(None) => return Err(ChainError::Still),
            // Another server may be honest, or there.
            Err(_) if in_vain < line.rpc().servers() => line.rpc().go_on(),
            Err(error) => return Err(error),
        }
        in_vain += 1;
        tokio::time::sleep(PAUSE).await;
    };
    let Ok(Record::Genesis(genesis)) = Record::decode(&first).map(|it| it.record) else {
        return Err(ChainError::NoTree);
    };
    let keeps = PublicChain::of_genesis(&genesis).ok().flatten();
    let contract = settings.contract.as_deref().unwrap_or_default();
    match keeps {
        Some(keeps) if keeps.id() == settings.chain_id && keeps.contract() == contract => {
            Ok(genesis)
        }
        Some(_) | None => Err(ChainError::OtherLedger(contract.to_owned())),
    }
}

/// The first entry, as the newest header proves it; `None` if there is no newer one than was known.
async fn proven(line: &mut Line) -> Result<Option<Vec<u8>>, ChainError> {
    if line.advance().await?.is_none() {
        return Ok(None);
    }
    let sent = line.rpc().entries(line.contract(), 0).await?;
    let first = sent.into_iter().next().ok_or(ChainError::Unproven { index: 0 })?;
    line.check_root(&stretch::first(&first)?).await?;
    Ok(Some(first))
}

/// Whether the ledger in a folder is kept where it is said to be.
pub(crate) fn check_folder(
    settings: Option<&Settings>,
    genesis: &v1::Genesis,
) -> Result<(), NodeError> {
    match (settings, &genesis.chain) {
        (None, None) => Ok(()),
        (None, Some(_)) => Err(NodeError::OnChain),
        (Some(settings), Some(found))
            if found.id == settings.chain_id
                && Some(&found.contract) == settings.contract.as_ref() =>
        {
            Ok(())
        }
        (Some(_), _) => Err(ChainError::OtherFolder.into()),
    }
}
