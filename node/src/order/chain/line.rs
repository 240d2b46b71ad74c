//! From the header of a public chain that is trusted to the newest: what the chain proves of the ledger.

use std::path::{Path, PathBuf};
use std::time::Duration;

use colearn_light::{Light, RawBlock, RawValue, Trust, TrustLine, Way, code, contract_key, proven};
use colearn_records::on_chain::{TREE_KEY, Tree};
use colearn_relay::{Rpc, Settings};
use serde_json::{Value, json};

use crate::clock;
use crate::error::ChainError;

/// How much younger than the one that is kept a header is that is kept in its place.
const KEEP_EVERY: Duration = Duration::from_secs(600);

/// What the chain proves of the ledger under one header.
#[derive(Clone, Debug)]
pub(crate) struct Proven {
    /// The ledger's end.
    pub(crate) tree: Tree,
    /// The header's height.
    pub(crate) height: u64,
    /// Its time, in ms since 1970.
    pub(crate) time_ms: u64,
    /// What servers have answered, for whoever believes neither them nor this node.
    pub(crate) block: RawBlock,
    pub(crate) value: RawValue,
}

/// Follows the chain's headers.
pub(crate) struct Line {
    rpc: Rpc,
    light: Light,
    chain: String,
    /// The contract's address, as text and as bytes.
    name: String,
    contract: [u8; 32],
    code: [u8; 32],
    /// Where the newest header is kept, and the time of the one that is.
    kept: (PathBuf, u64),
}

impl Line {
    /// Begins at the header that `chain.toml` trusts, or at the one that this folder's node believed last, whichever
    /// is newer.
    pub(crate) async fn begin(
        rpc: Rpc,
        settings: &Settings,
        data: &Path,
    ) -> Result<Self, ChainError> {
        let Trust { line: pinned, code } = settings.trust.clone().ok_or(ChainError::NoTrust)?;
        let name = settings.contract.clone().ok_or(ChainError::NoContract)?;
        let contract = colearn_light::address(&name)?;
        if pinned.chain != settings.chain_id {
            let (expected, found) = (settings.chain_id.clone(), pinned.chain);
            return Err(ChainError::OtherChain { expected, found });
        }
        let file = data.join("chain.json");
        let kept = read_kept(&file, &pinned)?.filter(|kept| kept.height > pinned.height);
        let line = kept.unwrap_or(pinned);
        let block = rpc.block(line.height).await?;
        let light = Light::begin(&line, block.read()?)?;
        let (chain, time_ms) = (line.chain, light.time_ms());
        Ok(Self { rpc, light, chain, name, contract, code, kept: (file, time_ms) })
    }

    /// Which headers are asked for, and where.
    pub(crate) fn rpc(&self) -> &Rpc {
        &self.rpc
    }

    /// The contract's address.
    pub(crate) fn contract(&self) -> &str {
        &self.name
    }

    /// The time of the newest header that is believed, in ms since 1970.
    pub(crate) fn time_ms(&self) -> u64 {
        self.light.time_ms()
    }

    /// Goes on to the newest block, and gives what its header proves; `None` if there is no newer one.
    pub(crate) async fn advance(&mut self) -> Result<Option<Proven>, ChainError> {
        let status = self.rpc.status().await?;
        if status.chain_id != self.chain {
            let (expected, found) = (self.chain.clone(), status.chain_id);
            return Err(ChainError::OtherChain { expected, found });
        }
        if status.height <= self.light.height() {
            return Ok(None);
        }
        let mut way = Way::to(status.height);
        let mut newest = None;
        while let Some(height) = way.next(&self.light) {
            let raw = self.rpc.block(height).await?;
            let took = self.light.advance(raw.read()?, clock::now_ms());
            if took.is_ok() {
                newest = Some(raw);
            }
            way.took(&self.light, took)?;
        }
        let Some(block) = newest else { return Ok(None) };
        self.keep();
        self.prove(block).await.map(Some)
    }

    async fn prove(&self, block: RawBlock) -> Result<Proven, ChainError> {
        let height = self.light.height();
        // A header says what the state was after the block before.
        let at = height.saturating_sub(1);
        let info_key = code::info_key(&self.contract);
        let info = self.rpc.value(&info_key, at).await?;
        let code = {
            let answer = proven(&info)?;
            let info = code::info(self.light.value(&info_key, &answer)?)?;
            self.rpc.value(&code::code_key(info.code), at).await?
        };
        let key = contract_key(&self.contract, TREE_KEY);
        let tree = self.rpc.value(&key, at).await?;
        let value = RawValue { value: tree, contract: info, code };
        let established = self.light.established(&self.contract, TREE_KEY, &self.code, &value)?;
        if let Some(admin) = established.admin {
            return Err(ChainError::Admin(admin));
        }
        let tree = Tree::from_bytes(&established.value).ok_or(ChainError::NoTree)?;
        Ok(Proven { tree, height, time_ms: self.light.time_ms(), block, value })
    }

    /// Keeps the newest header now and then, so that a node that comes back after months needs no newer pin as long
    /// as what it has believed is within the trusting period.
    fn keep(&mut self) {
        let (file, kept_ms) = &mut self.kept;
        let time_ms = self.light.time_ms();
        if time_ms < kept_ms.saturating_add(KEEP_EVERY.as_millis() as u64) && file.exists() {
            return;
        }
        let hash = hex::encode(self.light.hash());
        let kept = json!({ "chain": self.chain, "height": self.light.height(), "hash": hash });
        // If it cannot be written the next one is; the pin is there all the same.
        if let Err(error) = colearn_files::replace(file, format!("{kept:#}\n").as_bytes()) {
            tracing::warn!(file = %file.display(), %error, "the newest header is not kept");
            return;
        }
        *kept_ms = time_ms;
    }
}

/// The header that was believed last here; `None` if none was.
fn read_kept(file: &Path, pinned: &TrustLine) -> Result<Option<TrustLine>, ChainError> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(ChainError::Kept { path: file.to_owned(), source }),
    };
    // What cannot be read was never one: it is replaced whole.
    let Ok(kept) = serde_json::from_str::<Value>(&text) else { return Ok(None) };
    let read = || {
        let hash = hex::decode(kept["hash"].as_str()?).ok()?.try_into().ok()?;
        let chain = kept["chain"].as_str().filter(|chain| *chain == pinned.chain)?.to_owned();
        Some(TrustLine { chain, height: kept["height"].as_u64()?, hash, period: pinned.period })
    };
    Ok(read())
}
