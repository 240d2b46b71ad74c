//! `--merges`: where the weights are that merged rounds are computed again from.

use std::io::{self, Seek as _, Write as _};
use std::path::Path;

use anyhow::Context as _;
use clap::Args;
use colearn_audit::merges::{Keyed, Weights, WeightsFolder};
use colearn_contracts::Model;
use colearn_merge::Source;
use colearn_sdk::client::{Client, ClientError, Destination, Refused};
use tokio::runtime::{Builder, Runtime};

use super::ModelKeysArg;

/// What is downloaded from a node without having been asked for, at most.
const MAX_UNASKED_BYTES: u64 = 64 << 20;

#[derive(Args)]
pub(crate) struct WeightsArgs {
    /// Compute merged rounds again, from the weights in this folder (a node's data folder has them) or at
    /// this node
    #[arg(long, value_name = "DIR|URL")]
    merges: Option<String>,
    #[command(flatten)]
    keys: ModelKeysArg,
}

impl WeightsArgs {
    /// Whether it was said where they are.
    pub(crate) fn are_named(&self) -> bool {
        self.merges.is_some()
    }

    /// Where they are; if that was not said, beside the ledger, as far as they are there and so many bytes are no
    /// burden to get.
    pub(crate) fn weights_beside(
        &self,
        ledger: &str,
        bytes: u64,
    ) -> anyhow::Result<Option<Box<dyn Weights>>> {
        if self.are_named() {
            return self.weights();
        }
        if ledger.contains("://") {
            // What serves a ledger need not be a node.
            let connected = (bytes <= MAX_UNASKED_BYTES).then(|| AtNode::connect(ledger).ok());
            return connected.flatten().map(|node| self.keyed(Box::new(node))).transpose();
        }
        let folder = WeightsFolder::beside(Path::new(ledger));
        folder.map(|folder| self.keyed(Box::new(folder))).transpose()
    }

    /// These, with what opens them, if there is something.
    fn keyed(&self, weights: Box<dyn Weights>) -> anyhow::Result<Box<dyn Weights>> {
        Ok(match self.keys.read()? {
            Some(keys) => Box::new(Keyed { weights, keys }),
            None => weights,
        })
    }

    /// Where they are, if it was said.
    pub(crate) fn weights(&self) -> anyhow::Result<Option<Box<dyn Weights>>> {
        let Some(place) = &self.merges else {
            anyhow::ensure!(
                !self.keys.are_named(),
                "--model-keys needs --merges: nothing else is opened"
            );
            return Ok(None);
        };
        if place.contains("://") {
            return self.keyed(Box::new(AtNode::connect(place)?)).map(Some);
        }
        let metadata = std::fs::metadata(place).with_context(|| format!("cannot read {place}"))?;
        anyhow::ensure!(metadata.is_dir(), "{place} is no folder");
        self.keyed(Box::new(WeightsFolder::new(Path::new(place)))).map(Some)
    }
}

/// Weights that a node has. Whatever it sends, it is what has the digest.
struct AtNode {
    runtime: Runtime,
    client: Client,
}

impl AtNode {
    fn connect(url: &str) -> anyhow::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let client = runtime.block_on(Client::connect(url))?;
        Ok(Self { runtime, client })
    }
}

impl Weights for AtNode {
    fn open(&self, model: &Model) -> io::Result<Option<Box<dyn Source>>> {
        let scratch = colearn_files::scratch();
        let to = Destination::Nameless(scratch.clone());
        let weights = match self.runtime.block_on(self.client.download_to(model, to)) {
            Ok(weights) => weights,
            Err(ClientError::Refused { refused: Refused::NotFound, .. }) => return Ok(None),
            Err(error) => return Err(io::Error::other(error)),
        };
        if weights.is_in_file() {
            return Ok(Some(Box::new(weights)));
        }
        // Small ones, too: those of a whole round would not fit into memory.
        let mut file = tempfile::tempfile_in(scratch)?;
        file.write_all(weights.bytes())?;
        file.rewind()?;
        Ok(Some(Box::new(file)))
    }
}
