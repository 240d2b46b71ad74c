//! From the header of a public chain that is trusted to the newest: what the chain proves of the ledger.

use std::path::{Path, PathBuf};
use std::time::Duration;

use colearn_light::{Light, RawBlock, RawValue, Trust, TrustLine, Way, code, contract_key, proven};
use colearn_records::on_chain::{Root, TREE_KEY, Tree};
use colearn_relay::{Rpc, Settings};
use serde::{Deserialize, Serialize};

use super::crosscheck::{CrossCheck, KeptBlock};
use super::departed::{Departed, Why};
use crate::clock;
use crate::error::ChainError;

/// How much younger than the one that is kept a header is that is kept in its place.
const KEEP_EVERY: Duration = Duration::from_secs(600);
/// The most headers between two: with halving, what 2^64 blocks take.
const MAX_STEPS: usize = 128;

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

/// The newest header that was believed, as a file: whole, so that beginning with it asks nobody.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// What was trusted when it was believed; of another pin it is nothing.
    pin: String,
    height: u64,
    #[serde(flatten)]
    block: KeptBlock,
}

/// Follows the chain's headers.
pub(crate) struct Line {
    rpc: Rpc,
    light: Light,
    pin: TrustLine,
    /// The contract's address, as text and as bytes.
    name: String,
    contract: [u8; 32],
    code: [u8; 32],
    /// The newest block that is believed, as long as what its header proves is not taken over.
    outstanding: Option<RawBlock>,
    /// Where the newest header is kept, and the time of the one that is.
    kept: (PathBuf, u64),
    cross_check: CrossCheck,
    departed: Departed,
}

impl Line {
    /// Begins at the header that `chain.toml` trusts, or at the one that this folder's node believed last because of
    /// that. One of the servers has to have the first of the two.
    pub(crate) async fn begin(
        rpc: Rpc,
        settings: &Settings,
        data: &Path,
    ) -> Result<Self, ChainError> {
        let Trust { line: pin, code, .. } = settings.trust.clone().ok_or(ChainError::NoTrust)?;
        let name = settings.contract.clone().ok_or(ChainError::NoContract)?;
        let contract = colearn_light::address(&name)?;
        if pin.chain != settings.chain_id {
            let (expected, found) = (settings.chain_id.clone(), pin.chain);
            return Err(ChainError::OtherChain { expected, found });
        }
        let file = data.join("chain.json");
        let light = match resume(&file, &pin)? {
            Some(Resumed { light, is_of_pin: true }) => light,
            Some(Resumed { light: before, is_of_pin: false }) => {
                let first = first(&rpc, &pin).await?;
                agree(&rpc, &before, &first, &file).await?;
                first
            }
            None => first(&rpc, &pin).await?,
        };
        let kept = (file, light.time_ms());
        let cross_check = CrossCheck::begin(rpc.clone(), &pin, &light, data)?;
        let departed = Departed::begin(data)?;
        let outstanding = None;
        Ok(Self { rpc, light, pin, name, contract, code, outstanding, kept, cross_check, departed })
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

    /// Goes on to the newest block, and gives what its header proves; `None` if there is no newer one, and what the last
    /// one proves is [taken over](Self::taken).
    ///
    /// # Errors
    /// Why it is not believed; also once another server was found to have another header that is to be believed as well.
    pub(crate) async fn advance(&mut self) -> Result<Option<Proven>, ChainError> {
        self.check().await?;
        let earlier = self.light.clone();
        let status = self.rpc.status().await?;
        if status.chain_id != self.pin.chain {
            let (expected, found) = (self.pin.chain.clone(), status.chain_id);
            return Err(ChainError::OtherChain { expected, found });
        }
        let outstanding = &mut self.outstanding;
        go(&self.rpc, &mut self.light, status.height, |raw| *outstanding = Some(raw)).await?;
        let Some(block) = self.outstanding.clone() else { return Ok(None) };
        if self.light.height() > earlier.height() {
            self.cross_check.compare(&earlier, &self.light, &block);
        }
        self.prove(block).await.map(Some)
    }

    /// Whether nothing contradicts the newest header, as far as is known by now.
    ///
    /// # Errors
    /// If another server was found to have another header that is to be believed as well, or the contract's ledger not to be
    /// what was here.
    pub(crate) async fn check(&mut self) -> Result<(), ChainError> {
        self.departed.check()?;
        self.cross_check.check().await
    }

    /// Whether the contract has kept the root of what is here, by the newest header, which proves more entries than that. If
    /// not, it has another past: whatever a server sends does not lead from here to there.
    ///
    /// # Errors
    /// If it has not, or no server says what it has kept.
    pub(crate) async fn check_past(
        &mut self,
        had: &Tree,
        proven: &Proven,
    ) -> Result<(), ChainError> {
        let key = contract_key(&self.contract, &Root::key(had.head().size));
        let answer = self.rpc.value(&key, self.light.height().saturating_sub(1)).await?;
        let read = colearn_light::proven(&answer)?;
        let is_it = match self.light.value(&key, &read) {
            Ok(kept) => kept == had.kept_root().to_bytes(),
            // It keeps the root behind each of its calls, and what is here ends behind one.
            Err(_) => self.light.absent(&key, &read).map(|()| false)?,
        };
        if is_it {
            return Ok(());
        }
        let (had_size, size) = (had.head().size, proven.tree.head().size);
        let why = Why::Rewritten { had: had_size, size };
        Err(self.depart(&why, had, proven, Some(&answer)))
    }

    /// Believes nothing more, because of what the newest header proves beside what is here.
    pub(crate) fn depart(
        &mut self,
        why: &Why,
        had: &Tree,
        proven: &Proven,
        root: Option<&[u8]>,
    ) -> ChainError {
        self.departed.found(why, (&self.pin.hash, &self.light), (had, proven), root)
    }

    /// Whether the contract has kept the root of this tree behind one of its calls, by the newest header. Which code it
    /// runs was [looked at](Self::advance) under the same header.
    pub(crate) async fn check_root(&self, tree: &Tree) -> Result<(), ChainError> {
        let key = contract_key(&self.contract, &Root::key(tree.head().size));
        let answer = self.rpc.value(&key, self.light.height().saturating_sub(1)).await?;
        let answer = proven(&answer)?;
        let index = tree.head().size.saturating_sub(1);
        match self.light.value(&key, &answer)? == tree.kept_root().to_bytes() {
            true => Ok(()),
            false => Err(ChainError::Unproven { index }),
        }
    }

    /// What the newest header proves is taken over.
    pub(crate) fn taken(&mut self) {
        if let Some(block) = self.outstanding.take() {
            self.keep(&block);
        }
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
    fn keep(&mut self, block: &RawBlock) {
        let (file, kept_ms) = &mut self.kept;
        let time_ms = self.light.time_ms();
        if time_ms < kept_ms.saturating_add(KEEP_EVERY.as_millis() as u64) && file.exists() {
            return;
        }
        let kept = Kept {
            pin: hex::encode(self.pin.hash),
            height: self.light.height(),
            block: KeptBlock::of(self.light.hash(), block),
        };
        let written = serde_json::to_vec(&kept)
            .map_err(|error| error.to_string())
            .and_then(|it| colearn_files::replace(file, &it).map_err(|error| error.to_string()));
        // If it cannot be written the next one is; the pin is there all the same.
        match written {
            Ok(_) => *kept_ms = time_ms,
            Err(error) => {
                tracing::warn!(file = %file.display(), error, "the newest header is not kept");
            }
        }
    }
}

/// The header that is trusted, from a server that has it.
async fn first(rpc: &Rpc, pin: &TrustLine) -> Result<Light, ChainError> {
    let mut tried = 0;
    loop {
        let begun = match rpc.block(pin.height).await {
            Ok(raw) => match raw.read() {
                Ok(block) => Light::begin(pin, block).map_err(ChainError::from),
                Err(error) => Err(error.into()),
            },
            Err(error) => Err(error.into()),
        };
        tried += 1;
        match begun {
            Ok(light) => return Ok(light),
            // One server may lie, or have forgotten it.
            Err(_) if tried < rpc.servers() => rpc.go_on(),
            Err(error) => return Err(error),
        }
    }
}

/// Goes on to the block of this height, by others where it takes them; shows each that is believed.
async fn go(
    rpc: &Rpc,
    light: &mut Light,
    height: u64,
    mut believed: impl FnMut(RawBlock),
) -> Result<(), ChainError> {
    let mut way = Way::to(height);
    for _ in 0..MAX_STEPS {
        let Some(height) = way.next(light) else { break };
        let raw = rpc.block(height).await?;
        let block = raw.read()?;
        // Of any other height it could lead anywhere, and for ever.
        if block.height() != height {
            return Err(ChainError::OtherBlock { asked: height, found: block.height() });
        }
        let took = light.advance(block, clock::now_ms());
        if took.is_ok() {
            believed(raw);
        }
        way.took(light, took)?;
    }
    Ok(())
}

/// Whether what is trusted now and what was believed before, because of something else, are of one chain: the later one
/// follows from the earlier.
async fn agree(rpc: &Rpc, before: &Light, pinned: &Light, file: &Path) -> Result<(), ChainError> {
    let (mut earlier, later) = match before.height() <= pinned.height() {
        true => (before.clone(), pinned),
        false => (pinned.clone(), before),
    };
    let mut tries = 0;
    loop {
        match go(rpc, &mut earlier, later.height(), |_| {}).await {
            Ok(()) if earlier.hash() == later.hash() => return Ok(()),
            Ok(()) => {
                let (height, file) = (before.height(), file.to_owned());
                return Err(ChainError::Contradicted { height, file });
            }
            Err(error) => {
                tries += 1;
                if tries >= rpc.servers() {
                    // Such as where what was believed is too old for anything to follow from it, or no server has it any more:
                    // what is trusted is what chain.toml says, and what is here is held to what that proves.
                    tracing::warn!(%error, "what is trusted is not compared with what was believed before");
                    return Ok(());
                }
                rpc.go_on();
            }
        }
    }
}

/// What was believed last here.
struct Resumed {
    light: Light,
    /// Whether because of what is trusted now.
    is_of_pin: bool,
}

/// What was believed last here; `None` if nothing was, or nothing newer than what is trusted is.
fn resume(file: &Path, pin: &TrustLine) -> Result<Option<Resumed>, ChainError> {
    let text = match std::fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(ChainError::Kept { path: file.to_owned(), source }),
    };
    // What cannot be read was never one: it is replaced whole.
    let Ok(kept) = serde_json::from_slice::<Kept>(&text) else { return Ok(None) };
    let read = || {
        let hash = hex::decode(&kept.block.hash).ok()?.try_into().ok()?;
        let line = TrustLine { height: kept.height, hash, ..pin.clone() };
        Light::begin(&line, kept.block.raw().read().ok()?).ok()
    };
    let is_of_pin = kept.pin == hex::encode(pin.hash);
    if is_of_pin && kept.height <= pin.height {
        return Ok(None);
    }
    Ok(read().map(|light| Resumed { light, is_of_pin }))
}
