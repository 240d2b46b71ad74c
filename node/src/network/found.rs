//! From a ledger of one to a ledger of several: the one who has kept it says who keeps it from here on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use colearn_comet::keys::{ConsensusKey, NodeKey};
use colearn_ledger::{Reader, Signer};
use colearn_proto::v1;
use colearn_proto::v1::validator_change::Change;
use colearn_records::founded::{BadFounding, Founded};
use colearn_records::keys;
use colearn_records::log_keys::{KeyChange, LogKeys};
use colearn_records::record::{self, KEY_CHANGES, NotARecord, Record};
use colearn_records::validators::{self, BadChange, Validators};

use crate::clock;
use crate::config::{Config, Progress};
use crate::error::{CometError, NodeError};
use crate::founding;
use crate::keeper::Keeper;
use crate::key_files::KeyFiles;
use crate::open::{OpenLedger, open_unfinished};

/// How far the ledger's time may be ahead of the clock: a chain begins when the clocks of its nodes have come
/// to the time of the entry that founds it.
const MAX_AHEAD_MS: u64 = 60_000;

/// Why nothing was founded.
#[derive(Debug, thiserror::Error)]
pub enum FoundError {
    /// The ledger.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// They cannot keep it together.
    #[error(transparent)]
    Change(#[from] BadChange),
    /// What was made does not hold together.
    #[error(transparent)]
    Founding(#[from] BadFounding),
    /// The one who has kept it would be none of them.
    #[error(
        "none of these nodes has the keys of this folder: make its description anew with `colearn network \
         identity --data DIR`, and name it too"
    )]
    NotAmongThem,
    /// A clock that was ahead has moved the ledger's time on.
    #[error(
        "the ledger's time is ahead of this machine's clock by {} s, and the nodes would wait until then: found \
         the network when the clock has come to it",
        .0.as_secs()
    )]
    Ahead(Duration),
    /// It was about to be founded by others.
    #[error(
        "the founding of other nodes than these was interrupted here, and somebody may have its file already: give \
         the same descriptions again. If nobody has it, remove {} first, and only then",
        .0.display()
    )]
    Interrupted(PathBuf),
    /// It was founded before.
    #[error("several nodes keep this ledger already, and they are others than these")]
    FoundedBefore,
    /// The folder's key is another now than the one that has founded it.
    #[error(
        "this node has another key now than when it kept the ledger alone: ask another for the file"
    )]
    OtherKey,
}

impl From<colearn_ledger::Error> for FoundError {
    fn from(error: colearn_ledger::Error) -> Self {
        Self::Node(error.into())
    }
}

/// Records that from here on these nodes keep the ledger of a folder, which this one has kept alone, and
/// gives what they need to know. No node may have the folder open. What is recorded already is given again;
/// interrupted anywhere, the next try completes it and gives the same.
///
/// # Errors
/// If they cannot keep it together, this node is none of them, or the folder cannot be opened or written.
pub fn found(
    data: &Path,
    mut nodes: Vec<v1::Validator>,
    progress: Option<Progress>,
) -> Result<Founded, FoundError> {
    if !data.join("ledger").is_dir() {
        return Err(NodeError::Genesis(data.to_owned()).into());
    }
    let (kept, damage) = match founding::kept(data) {
        Ok(kept) => (kept, None),
        // Where the entry is recorded the file follows from that.
        Err(damage @ NodeError::NetworkFile { .. }) => (None, Some(damage)),
        Err(error) => return Err(error.into()),
    };
    let config = Config { progress, ..Config::new(data) };
    let OpenLedger { mut keeper, keys, signer, .. } =
        open_unfinished(&config, kept.as_ref(), None)?;
    nodes.sort_by(|one, other| one.name.cmp(&other.name));
    if keys.validators().is_some() {
        return founded_before(data, &keeper.reader(), &keys, &signer, &nodes, kept);
    }
    if let Some(damage) = damage {
        return Err(damage.into());
    }
    let founding = v1::Founding { validators: nodes };
    let (found, approvals) = (Some(Change::Found(founding)), Vec::new());
    let mut change = v1::ValidatorChange { number: 1, change: found, approvals };
    let key = keys::load(&KeyFiles::of(data).current).map_err(NodeError::from)?;
    validators::approve(&keys.ledger(), &key, &mut change);
    // Two with this key's approval would be two networks, of which each takes itself for this ledger's.
    if kept.as_ref().is_some_and(|kept| *kept.change() != change) {
        return Err(FoundError::Interrupted(founding::file(data)));
    }
    let ahead_ms = keeper.head().time_ms.saturating_sub(clock::now_ms());
    if ahead_ms > MAX_AHEAD_MS {
        return Err(FoundError::Ahead(Duration::from_millis(ahead_ms)));
    }
    // As everybody will, before anything is recorded.
    let index = keeper.head().size;
    let mut after = keys.clone();
    after
        .follow(index, &KeyChange::Validators(change.clone()))
        .map_err(|source| NodeError::Rotation { index, source })?;
    let them = after.validators().ok_or(BadChange::NoNetwork)?;
    check_own(data, them, &signer)?;

    // What an interrupted try was about to record is recorded, to the same bytes.
    let now_ms = kept.map_or_else(clock::now_ms, |kept| kept.time_ms());
    // What time alone decides comes before it, as before anything that is recorded.
    keeper.advance(now_ms)?;
    let alone = keeper.seal()?.wait()?.checkpoint.sign(&signer);
    keeper.note(now_ms, record::validator_change_payload(&change), vec![KEY_CHANGES.to_vec()])?;
    let (root, time_ms) = (keeper.root()?, keeper.head().time_ms);
    let founded = Founded::new(keys.ledger(), alone, change, time_ms, root)?;
    finish(data, keeper, founded)
}

/// Makes it durable: first what is intended, then the entry, so that a ledger which says that several keep
/// it is never without the file.
fn finish(data: &Path, mut keeper: Keeper, founded: Founded) -> Result<Founded, FoundError> {
    founding::keep(data, &founded)?;
    keeper.seal()?.wait()?;
    keeper.update_index()?;
    keeper.close()?;
    colearn_ledger::publish(&data.join("ledger"), founded.note())
        .map_err(|source| NodeError::Io { doing: "keep a checkpoint".to_owned(), source })?;
    Ok(founded)
}

/// One of them is this node, with all three of its keys: or the one who has kept the ledger would look on
/// as the others cannot go on without it.
fn check_own(data: &Path, them: &Validators, signer: &Signer) -> Result<(), FoundError> {
    let own = them.iter().find(|it| it.log_key() == signer.verifier().key());
    let own = own.ok_or(FoundError::NotAmongThem)?;
    let home = data.join("comet");
    if !home.is_dir() {
        return Err(FoundError::NotAmongThem);
    }
    let comet = |error| NodeError::from(CometError::from(error));
    let consensus = ConsensusKey::create_or_open(&home).map_err(comet)?;
    let node = NodeKey::create_or_open(&home).map_err(comet)?;
    let same =
        own.consensus_key().to_bytes() == consensus.public_key() && own.node_id() == node.id();
    if same { Ok(()) } else { Err(FoundError::NotAmongThem) }
}

/// What was given before, again.
fn founded_before(
    data: &Path,
    reader: &Reader,
    keys: &LogKeys,
    signer: &Signer,
    nodes: &[v1::Validator],
    kept: Option<Founded>,
) -> Result<Founded, FoundError> {
    let (index, founders) = keys.founders().ok_or(BadChange::NoNetwork)?;
    if index == 0 || !founders.iter().map(|it| it.message()).eq(nodes) {
        return Err(FoundError::FoundedBefore);
    }
    if let Some(kept) = kept
        && founding::check(&kept, keys, reader)?.is_ok()
    {
        return Ok(kept);
    }
    // The file is lost, but all that was in it follows from the ledger and the key.
    if keys.before(index).current().one() != Some(signer.verifier()) {
        return Err(FoundError::OtherKey);
    }
    let malformed = |source: NotARecord| NodeError::Record { index, source };
    let decoded = Record::decode(&reader.entry(index)?).map_err(malformed)?;
    let Record::ValidatorChange(change) = decoded.record else {
        return Err(BadChange::NoNetwork.into());
    };
    let origin = signer.verifier().name().to_owned();
    let alone = colearn_ledger::Checkpoint { origin, size: index, root: reader.root(index)? };
    let (note, root) = (alone.sign(signer), reader.root(index + 1)?);
    let founded = Founded::new(keys.ledger(), note, change, decoded.time_ms, root)?;
    founding::keep(data, &founded)?;
    Ok(founded)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use colearn_ledger::Hash;
    use colearn_records::transaction::{Seen, Transaction};

    use super::*;
    use crate::open::open;
    use crate::testing;

    #[test]
    fn a_ledger_whose_time_is_ahead_waits_for_the_clock() {
        for (ahead_ms, refused) in [(MAX_AHEAD_MS / 2, false), (60 * MAX_AHEAD_MS, true)] {
            let dir = tempfile::tempdir().unwrap();
            let OpenLedger { mut keeper, keys, .. } = open(&Config::new(dir.path()), None).unwrap();
            let seen = Seen { size: 0, root: Hash::empty_root() };
            let create = testing::create("a");
            let create = Transaction::sign(&testing::key(1), &keys.ledger(), seen, create);
            keeper.decide(clock::now_ms() + ahead_ms, &create).unwrap();
            let _ = keeper.seal().unwrap().wait().unwrap();
            keeper.close().unwrap();
            let me = super::super::identity(dir.path(), "me", "a:1", "http://a:1").unwrap();
            match found(dir.path(), vec![me.clone()], None) {
                Err(FoundError::Ahead(_)) => assert!(refused),
                founded => {
                    // Ledger time never goes back, and the founding is at the ledger's.
                    let founded = founded.unwrap();
                    assert!(!refused && founded.time_ms() > clock::now_ms());
                    assert!(super::super::ahead(&founded).is_some(), "whoever imports it is told");
                    assert_eq!(found(dir.path(), vec![me], None).unwrap(), founded);
                }
            }
        }
    }
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for file in std::fs::read_dir(from).unwrap() {
            let file = file.unwrap();
            let to = to.join(file.file_name());
            match file.file_type().unwrap().is_dir() {
                true => copy(&file.path(), &to),
                false => drop(std::fs::copy(file.path(), to).unwrap()),
            }
        }
    }

    #[test]
    fn one_key_founds_one_network() {
        let dir = tempfile::tempdir().unwrap();
        let data = |name| dir.path().join(name);
        open(&Config::new(data("a")), None).unwrap().keeper.close().unwrap();
        let identity =
            |name| super::super::identity(&data(name), name, "a:1", "http://a:1").unwrap();
        let (a, b) = (identity("a"), identity("b"));
        copy(&data("a"), &data("before"));
        let founded = found(&data("a"), vec![a.clone()], None).unwrap();

        // Interrupted after the file was kept, and tried again with other nodes.
        let (kept, before) = (data("a").join("network.json"), data("before"));
        let file = before.join("network.json");
        std::fs::copy(&kept, &file).unwrap();
        let refused = found(&before, vec![a.clone(), b.clone()], None);
        assert!(matches!(&refused, Err(FoundError::Interrupted(it)) if *it == file), "{refused:?}");
        assert_eq!(std::fs::read(&file).unwrap(), std::fs::read(&kept).unwrap());
        // Damaged, it may have been given to somebody.
        std::fs::write(&file, "").unwrap();
        let refused = found(&before, vec![a.clone(), b.clone()], None);
        assert!(matches!(refused, Err(FoundError::Node(NodeError::NetworkFile { .. }))));
        std::fs::remove_file(&file).unwrap();
        found(&before, vec![a.clone(), b], None).unwrap();

        // `colearn network genesis ... > network.json`, in the folder itself.
        std::fs::write(&kept, "").unwrap();
        assert_eq!(found(&data("a"), vec![a], None).unwrap(), founded);
        assert_eq!(founding::kept(&data("a")).unwrap(), Some(founded));
    }
}
