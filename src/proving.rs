//! What a public chain proves of a ledger, for who audits it: an audit itself asks nobody.

use colearn_audit::{Proven, Prover, SourceError};
use colearn_records::pins::Pins;
use colearn_sdk::client::{ChainTrust, Client, ClientError, NoTrust, Nodes, ProvenEnd};

use crate::place::{NoNode, Place};

/// Whoever is asked what a chain proves.
#[derive(Debug)]
pub struct Proving {
    /// The node that mirrors the ledger, by its address, and how it is reached.
    node: Nodes,
    trust: ChainTrust,
}

/// Why a chain proves nothing of a ledger.
#[derive(Debug, thiserror::Error)]
pub enum NotProven {
    /// What is to be trusted is no header.
    #[error(transparent)]
    Trust(#[from] NoTrust),
    /// Nobody who could be asked answers.
    #[error(transparent)]
    NoNode(#[from] NoNode),
    /// Files have no proof.
    #[error(
        "{0} is a folder, where nothing is proven by a chain: with --trust, read the ledger from a node that mirrors \
         it (http://HOST:PORT), or leave it out"
    )]
    Folder(String),
    /// What the node there shows proves nothing.
    #[error(transparent)]
    Node(#[from] ClientError),
    /// This machine has not what it takes to ask.
    #[error("no server can be asked: {0}")]
    Runtime(std::io::Error),
}

impl Proving {
    /// Whoever is asked of the ledger of this place, where a header of a chain is to be trusted; `None` where none is.
    ///
    /// # Errors
    /// If what is to be trusted is no header, the place is a folder, or no node answers there.
    pub fn of(place: &Place, pins: &Pins) -> Result<Option<Self>, NotProven> {
        let Some(line) = pins.trust() else { return Ok(None) };
        let trust = line.parse()?;
        if place.folder().is_some() {
            return Err(NotProven::Folder(place.to_string()));
        }
        let node = Nodes::from(place.one()?).trusting(place.trust());
        Ok(Some(Self { node, trust }))
    }

    /// As an audit asks it.
    pub fn prover(&self) -> &dyn Prover {
        self
    }

    fn proven(&self, size: u64) -> Result<Proven, NotProven> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(NotProven::Runtime)?.block_on(async {
            let client = Client::connect(self.node.clone()).await?;
            let ProvenEnd { chain, contract, height, time_ms, seen } =
                client.proven_end(&self.trust, size).await?;
            Ok(Proven { size: seen.size, root: seen.root, chain, contract, height, time_ms })
        })
    }
}

impl Prover for Proving {
    fn prove(&self, size: u64) -> Result<Proven, SourceError> {
        self.proven(size).map_err(|error| SourceError::NotProven(error.into()))
    }
}
