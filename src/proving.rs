//! What a public chain proves of a ledger, for who audits it: an audit itself asks nobody.

use std::time::Duration;

use colearn_audit::{Proven, Prover, SourceError};
use colearn_light::Light;
use colearn_records::on_chain::{Root, TREE_KEY, Tree};
use colearn_records::pins::Pins;
use colearn_relay::{BadServer, NotProven as NotByChain, Rpc, Settings};
use colearn_sdk::client::{ChainTrust, Client, ClientError, NoTrust, Nodes, ProvenEnd};

use crate::place::{NoNode, Place};

/// How often the chain's servers are asked where they show less than a copy has, each in its turn, and how long is waited
/// between: one may be some blocks behind the server that the copy is from.
const TRIES: usize = 4;
const PAUSE: Duration = Duration::from_secs(2);

/// Whoever is asked what a chain proves.
#[derive(Debug)]
pub struct Proving {
    asked: Asked,
    trust: ChainTrust,
}

#[derive(Debug)]
enum Asked {
    /// The node that mirrors the ledger, by its address, and how it is reached.
    Node(Nodes),
    /// The chain's own servers.
    Chain(Rpc),
}

/// Why a chain proves nothing of a ledger.
#[derive(Debug, thiserror::Error)]
pub enum NotProven {
    /// What is to be trusted is no header.
    #[error(transparent)]
    Trust(#[from] NoTrust),
    /// Nothing is to be trusted.
    #[error(
        "nothing says which header of the chain to trust: give --trust LINE, or put a line `trust` into the chain's settings"
    )]
    Nothing,
    /// What is to be trusted is of another chain than the settings are.
    #[error("the settings are of the chain {settings}, and {trusted} is to be trusted")]
    OtherChain {
        /// The settings' chain.
        settings: String,
        /// The trust line's.
        trusted: String,
    },
    /// Nobody who could be asked answers.
    #[error(transparent)]
    NoNode(#[from] NoNode),
    /// Files have no proof.
    #[error(
        "{0} is a folder, where nothing is proven by a chain: with --trust, read the ledger from a node that mirrors it \
         (http://HOST:PORT), or have the chain itself asked (audit --chain chain.toml), or leave it out"
    )]
    Folder(String),
    /// What the node there shows proves nothing.
    #[error(transparent)]
    Node(#[from] ClientError),
    /// None of the chain's servers can be asked.
    #[error(transparent)]
    Server(#[from] BadServer),
    /// What the chain's servers answer proves nothing.
    #[error(transparent)]
    Chain(#[from] NotByChain),
    /// What the contract keeps is something else.
    #[error("what the contract keeps under its keys is no ledger: it is no contract of colearn")]
    NoLedger,
    /// The contract keeps no root of so many entries.
    #[error(
        "the contract has {total} entries, and keeps no root of the first {size}: no copy of a mirror's ends there ({why})"
    )]
    NoRoot {
        /// How many entries were asked for.
        size: u64,
        /// How many there are.
        total: u64,
        /// What the answer lacks.
        why: NotByChain,
    },
    /// This machine has not what it takes to ask.
    #[error("no server can be asked: {0}")]
    Runtime(std::io::Error),
}

impl Proving {
    /// The node of this place, where a header of a chain is to be trusted; `None` where none is.
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
        Ok(Some(Self { asked: Asked::Node(node), trust }))
    }

    /// The chain's own servers, whatever the place. What is pinned takes the place of what the settings trust.
    ///
    /// # Errors
    /// If nothing is to be trusted, or it is no header of the settings' chain.
    pub fn by_chain(settings: &Settings, pins: &Pins) -> Result<Self, NotProven> {
        let pinned = pins.trust().map(str::parse).transpose()?;
        let trust: ChainTrust =
            pinned.or_else(|| settings.trust.clone()).ok_or(NotProven::Nothing)?;
        if trust.line.chain != settings.chain_id {
            let (settings, trusted) = (settings.chain_id.clone(), trust.line.chain);
            return Err(NotProven::OtherChain { settings, trusted });
        }
        Ok(Self { asked: Asked::Chain(settings.servers()?), trust })
    }

    /// As an audit asks it.
    pub fn prover(&self) -> &dyn Prover {
        self
    }

    fn proven(&self, size: u64) -> Result<Proven, NotProven> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(NotProven::Runtime)?.block_on(async {
            match &self.asked {
                Asked::Node(node) => self.by_node(node, size).await,
                Asked::Chain(rpc) => self.by_servers(rpc, size).await,
            }
        })
    }

    async fn by_node(&self, node: &Nodes, size: u64) -> Result<Proven, NotProven> {
        let client = Client::connect(node.clone()).await?;
        let ProvenEnd { chain, contract, height, time_ms, seen } =
            client.proven_end(&self.trust, size).await?;
        let (size, root) = (seen.size, seen.root);
        Ok(Proven { size, root, total: size, chain, contract, height, time_ms })
    }

    /// The contract keeps the root of each size at which a call has ended, and mirrors end nowhere else.
    async fn by_servers(&self, rpc: &Rpc, size: u64) -> Result<Proven, NotProven> {
        let contract = &self.trust.contract;
        let (mut light, mut tree) = self.end(rpc).await?;
        for _ in 1..TRIES.max(rpc.servers()) {
            if tree.head().size >= size {
                break;
            }
            rpc.go_on();
            tokio::time::sleep(PAUSE).await;
            (light, tree) = self.end(rpc).await?;
        }
        let total = tree.head().size;
        let (light, size, root) = if total <= size {
            (light, total, tree.root())
        } else {
            let shown = rpc.prove(&self.trust, contract, &Root::key(size)).await;
            let shown = shown.map_err(|why| match why {
                NotByChain::Proof(_) | NotByChain::Answer(_) | NotByChain::Value(_) => {
                    NotProven::NoRoot { size, total, why }
                }
                // Nobody has said anything of that root.
                away => NotProven::Chain(away),
            })?;
            let root = Root::from_bytes(&shown.established.value).ok_or(NotProven::NoLedger)?;
            (shown.light, size, root.root)
        };
        let (chain, contract) = (self.trust.line.chain.clone(), contract.clone());
        let (height, time_ms) = (light.height(), light.time_ms());
        Ok(Proven { size, root, total, chain, contract, height, time_ms })
    }

    /// The ledger's end, as the newest header of the server that is asked first proves it.
    async fn end(&self, rpc: &Rpc) -> Result<(Light, Tree), NotProven> {
        let shown = rpc.prove(&self.trust, &self.trust.contract, TREE_KEY).await?;
        let tree = Tree::from_bytes(&shown.established.value).ok_or(NotProven::NoLedger)?;
        Ok((shown.light, tree))
    }
}

impl Prover for Proving {
    fn prove(&self, size: u64) -> Result<Proven, SourceError> {
        self.proven(size).map_err(|error| SourceError::NotProven(error.into()))
    }
}
