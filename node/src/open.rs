//! Opening a node's data folder: keys, genesis, ledger, contract.

use colearn_ledger::note::KeyKind;
use colearn_ledger::{Ledger, Opened, Options, Signer};
use colearn_proto::v1;
use colearn_records::follower::Blocks;
use colearn_records::founded::{Founded, OtherFounding};
use colearn_records::keys;
use colearn_records::log_keys::LogKeys;
use colearn_records::network_file::NetworkFile;
use colearn_records::record::{self, Record};
use colearn_records::transaction::LedgerId;

use crate::clock;
use crate::config::Config;
use crate::error::{ChainError, NodeError};
use crate::founding::{self, Keepers};
use crate::genesis;
use crate::keeper::Keeper;
use crate::key_files::KeyFiles;
use crate::resync::{self, Vouched};

/// A ledger ready to be written.
pub(crate) struct OpenLedger {
    pub(crate) keeper: Keeper,
    pub(crate) keys: LogKeys,
    pub(crate) report: Opened,
    /// The first entry that was replayed; those before came from a snapshot.
    pub(crate) replayed_from: u64,
    /// Signs its checkpoints for this node.
    pub(crate) signer: Signer,
    /// The height of the last block that has recorded something, where several nodes keep it.
    pub(crate) height: u64,
    /// What this node has vouched for in a ledger that was set aside, and that did not come again yet.
    pub(crate) vouched: Option<Vouched>,
}

impl OpenLedger {
    /// The same, if one node keeps it.
    ///
    /// # Errors
    /// If a contract on a public chain does, or several do: what one of them recorded by itself would be in no block, and the others' ledger
    /// would not have it.
    pub(crate) fn alone(self) -> Result<Self, NodeError> {
        match self.keys.validators() {
            None if self.keys.is_on_chain() => Err(NodeError::ByContract),
            None => Ok(self),
            Some(_) => Err(NodeError::Together),
        }
    }
}

/// Opens the data folder, or makes a new ledger in it.
///
/// `first` is the first entry of the ledger that a contract on a public chain keeps, where one does.
pub(crate) fn open(config: &Config, first: Option<v1::Genesis>) -> Result<OpenLedger, NodeError> {
    let vouched = resync::vouched(&config.data)?;
    let kept = founding::kept(&config.data)?;
    let given = match &config.network.file {
        Some(NetworkFile::Founded(founded)) => Some(&**founded),
        Some(NetworkFile::Begun(_)) | None => None,
    };
    let founded = given.or(kept.as_ref());
    let opened = OpenLedger { vouched, ..open_unfinished(config, founded, first)? };
    if opened.keys.validators().is_none() && resync::read(&config.data)?.is_some() {
        return Err(NodeError::StartedOverAlone);
    }
    let Some(founded) = founded else { return Ok(opened) };
    let reader = opened.keeper.reader();
    match founding::check(founded, &opened.keys, &reader)? {
        Ok(()) => {}
        // Alone it would go on with another history than the others.
        Err(OtherFounding::Never(_)) if given.is_none() => return Err(NodeError::Unfinished),
        Err(source) => return Err(NodeError::OtherFounding(source)),
    }
    if kept.as_ref() != Some(founded) {
        founding::keep(&config.data, founded)?;
    }
    // Until enough have signed more this is what is shown: the word of the one who kept it alone.
    let dir = config.data.join("ledger");
    if let Ok(None) = colearn_ledger::published(&dir) {
        colearn_ledger::publish(&dir, founded.note())
            .map_err(|source| NodeError::Io { doing: "keep a checkpoint".to_owned(), source })?;
    }
    Ok(opened)
}

/// The genesis of a folder's ledger, and whether it is recorded there. Nothing is made.
fn genesis_of(
    config: &Config,
    kept: Option<&Founded>,
    first: Option<v1::Genesis>,
) -> Result<(Option<v1::Genesis>, bool), NodeError> {
    let file = config.network.file.as_ref();
    let other = |found| match file.map(NetworkFile::ledger) {
        Some(expected) if expected != found => Err(NodeError::OtherNetwork { expected, found }),
        Some(_) | None => Ok(()),
    };
    if let Some(genesis) = genesis::read(&config.data.join("ledger"))? {
        other(LedgerId::of(&genesis))?;
        return Ok((Some(genesis), true));
    }
    if let Some(kept) = kept {
        other(kept.ledger())?;
        return Err(NodeError::NotImported(kept.ledger()));
    }
    // One of its own is never begun there.
    if config.chain.is_some() {
        return Ok((Some(first.ok_or(ChainError::OtherFolder)?), false));
    }
    match file {
        Some(NetworkFile::Founded(founded)) => Err(NodeError::NotImported(founded.ledger())),
        Some(NetworkFile::Begun(genesis)) => Ok((Some(genesis.clone()), false)),
        // Whoever has these keys is to keep a ledger with others, not one of its own.
        None if config.data.join("comet").exists() => Err(NodeError::KeysOnly(config.data.clone())),
        None => Ok((None, false)),
    }
}

/// The same, where it need not be the ledger of the network's file yet.
pub(crate) fn open_unfinished(
    config: &Config,
    kept: Option<&Founded>,
    first: Option<v1::Genesis>,
) -> Result<OpenLedger, NodeError> {
    let io = |doing: String| move |source| NodeError::Io { doing, source };
    std::fs::create_dir_all(&config.data)
        .map_err(io(format!("create {}", config.data.display())))?;
    let dir = config.data.join("ledger");
    let (genesis, recorded) = genesis_of(config, kept, first)?;
    let files = KeyFiles::of(&config.data);
    let key = match files.load(&files.current)? {
        Some(key) => key,
        // A new key would be of no use to the ledger that is there, and could be taken for the one
        // that is missed.
        None if dir.join("journal").exists() => return Err(NodeError::KeyMissing(files.current)),
        None => keys::load_or_create(&files.current)?,
    };
    let genesis = match genesis {
        Some(genesis) => genesis,
        None => genesis::new(config.origin.clone(), &config.limits, &key)?,
    };
    let signer = |key| signer(&genesis.origin, key);
    let mut own = signer(key)?;
    let own_verifier = own.verifier().clone();
    let old = files.load(&files.old)?.map(signer).transpose()?;
    let progress = config.progress.clone();
    let on_chain = genesis.chain.is_some();
    let begun_together = !genesis.validators.is_empty() || on_chain;
    let options = Options {
        keys_of: record::keys_of,
        // What lies behind the anchor there is of a block that was never acknowledged, and comes again.
        drop_unanchored: begun_together || kept.is_some() || is_founded(&config.data),
        progress: progress.map(|progress| -> Box<dyn Fn(u64, u64)> {
            Box::new(move |done, total| progress.tell(done, total))
        }),
        cosigners: old.into_iter().collect(),
        ..Options::new(own.clone())
    };
    let (mut ledger, mut report) = Ledger::open(&dir, options)?;
    if ledger.head().size == 0 {
        let payload = record::genesis_payload(genesis.clone());
        // Every node of a network, and every mirror of a chain, begins with the same entry.
        let time_ms = if begun_together { genesis.time_ms } else { clock::now_ms() };
        ledger.append(time_ms, payload, Vec::new())?;
        ledger.commit()?;
        report.size = 1;
    } else if !recorded {
        return Err(NodeError::Genesis(dir));
    }
    let keys = genesis::log_keys(&ledger, &genesis)?;
    if keys.validators().is_none() && !on_chain && keys.current().one() != Some(&own_verifier) {
        // A change of the key was recorded but its files are not in place yet.
        let next = files.load(&files.next)?.map(signer).transpose()?;
        let next = next.filter(|next| Some(next.verifier()) == keys.current().one());
        let next = next.ok_or_else(|| NodeError::OtherKey {
            path: files.current.clone(),
            expected: keys.current().to_string(),
        })?;
        // Durable under the new key before the old one's file goes: the next start finds a
        // checkpoint that the key it has can verify, whenever this one is interrupted.
        ledger.set_signers(next.clone(), vec![own.clone()]);
        ledger.commit()?;
        files.install_next()?;
        own = next;
    }
    let height = match keys.validators() {
        Some(_) => last_block(&ledger)?,
        None => 0,
    };
    let (keeper, replayed_from) = Keeper::open(ledger, &keys)?;
    Ok(OpenLedger { keeper, keys, report, replayed_from, signer: own, height, vouched: None })
}

/// Whether several nodes keep the ledger of a folder that one has begun, though the file is lost that says so.
fn is_founded(data: &std::path::Path) -> bool {
    // All of it is read for that. Whoever has no keys for keeping it with others is spared it.
    data.join("comet").is_dir()
        && Keepers::of(&data.join("ledger")).is_some_and(|keepers| keepers.are_several())
}

/// The height of the block that the ledger ends with; 0 before the first.
pub(crate) fn last_block(ledger: &Ledger) -> Result<u64, NodeError> {
    let size = ledger.head().size;
    let Some(index) = size.checked_sub(1) else { return Ok(0) };
    let malformed = |source| NodeError::Record { index, source };
    let last = Record::decode(&ledger.reader().entry(index)?).map_err(malformed)?;
    let blocks = Blocks::behind(&last).ok_or(NodeError::WithinBlock(size))?;
    Ok(blocks.height())
}

/// What signs the checkpoints of the ledger of this name.
pub(crate) fn signer(origin: &str, key: ed25519_dalek::SigningKey) -> Result<Signer, NodeError> {
    Signer::new(origin, KeyKind::Log, key)
        .map_err(|error| NodeError::Origin(origin.to_owned(), error))
}
