//! What a public chain proves of a ledger, for who audits it: an audit itself asks nobody.

use anyhow::ensure;
use colearn::place::Place;
use colearn_audit::Proven;
use colearn_records::pins::Pins;
use colearn_sdk::client::{ChainTrust, Client, Nodes, ProvenEnd};

/// What the chain proves of the ledger of this place, where a header of it is to be trusted (`--trust`).
///
/// # Errors
/// If the place is a folder, which has no proof, or what the node there shows proves nothing.
pub(crate) fn proven(place: &Place, pins: &Pins) -> anyhow::Result<Option<Proven>> {
    let Some(line) = pins.trust() else { return Ok(None) };
    let trust: ChainTrust = line.parse()?;
    ensure!(
        place.folder().is_none(),
        "{place} is a folder, where nothing is proven by a chain: with --trust, read the ledger from a node that mirrors \
         it (http://HOST:PORT), or leave it out"
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = Client::connect(Nodes::from(place.urls().to_vec())).await?;
        let ProvenEnd { chain, height, seen } = client.proven_end(&trust).await?;
        Ok(Some(Proven { size: seen.size, root: seen.root, chain, height }))
    })
}
