//! What a follower goes on from, as bytes: for who keeps it between two starts.

use std::borrow::Cow;

use colearn_contracts::{Contract, Digest, LAYOUT, Moment};
use colearn_ledger::{Hash, Head, TreeHashes, Verifier};
use colearn_proto::v1;
use prost::Message as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Blocks, Follower, FollowerState, Times};
use crate::log_keys::{Keepers, LogKeys};
use crate::replay::Replay;
use crate::transaction::LedgerId;
use crate::validators::Validators;

/// What stands before a state of this layout: one of another could decode as something that nobody
/// decided, and would be gone on from.
fn prefix() -> String {
    format!("colearn followed ledger 4, contract state {LAYOUT}\n")
}

/// SHA-256 stands behind it: a file that a disk has damaged is none.
const CHECK_BYTES: usize = 32;

#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    ledger: [u8; 32],
    first: StoredKeepers,
    changes: Vec<(u64, StoredKeepers)>,
    size: u64,
    leaf: [u8; 32],
    time_ms: u64,
    tree: Option<(Hashes, Hashes)>,
    /// With the moment of the last decision.
    contract: Option<(Cow<'a, Contract>, u64, [u8; 32])>,
    times: Option<Cow<'a, Times>>,
    blocks: Option<Cow<'a, Blocks>>,
}

/// Who keeps a ledger, for some time.
#[derive(Serialize, Deserialize)]
enum StoredKeepers {
    /// One node, with this key.
    Alone(String),
    /// Several: the log's name, how often they were changed, and each as it is recorded.
    Together(String, u64, Vec<Vec<u8>>),
    /// A contract on a public chain: the log's name.
    OnChain(String),
}

impl StoredKeepers {
    fn of(keepers: &Keepers) -> Self {
        match &keepers.validators {
            None if keepers.verifiers.count() == 0 => {
                Self::OnChain(keepers.verifiers.name().to_owned())
            }
            None => Self::Alone(keepers.verifiers.to_string()),
            Some(validators) => Self::Together(
                keepers.verifiers.name().to_owned(),
                validators.number(),
                validators.iter().map(|it| it.message().encode_to_vec()).collect(),
            ),
        }
    }

    fn read(&self) -> Option<Keepers> {
        match self {
            Self::Alone(key) => Some(Keepers::alone(Verifier::parse(key).ok()?)),
            Self::OnChain(origin) => Some(Keepers::on_chain(origin.clone())),
            Self::Together(origin, number, list) => {
                let list = list.iter().map(|bytes| v1::Validator::decode(&bytes[..]));
                let list = list.collect::<Result<Vec<_>, _>>().ok()?;
                Keepers::together(origin, Validators::read(&list, *number).ok()?).ok()
            }
        }
    }
}

type Hashes = Vec<[u8; 32]>;

impl Follower {
    /// What to go on from later ([`Follower::state`]), as bytes behind those that are there; `None` before
    /// the first entry, after a departure, and while outcomes are decided that are still to be recorded.
    pub fn to_bytes(&self, behind: Vec<u8>) -> Option<Vec<u8>> {
        if self.first.is_some() || self.has_departed() {
            return None;
        }
        if self.replay.as_ref().is_some_and(|replay| replay.due().len() > 0) {
            return None;
        }
        let bytes = |hashes: Vec<Hash>| hashes.into_iter().map(|hash| hash.0).collect();
        let (first, changes) = self.keys.parts();
        // Borrowed: the state of a long ledger is not there twice.
        let stored = Stored {
            ledger: self.keys.ledger().0,
            first: StoredKeepers::of(first),
            changes: changes.iter().map(|(at, it)| (*at, StoredKeepers::of(it))).collect(),
            size: self.head.size,
            leaf: self.head.leaf.0,
            time_ms: self.head.time_ms,
            tree: self.tree.as_ref().map(|tree| {
                let TreeHashes { tiles, leaves } = tree.hashes();
                (bytes(tiles), bytes(leaves))
            }),
            contract: self.replay.as_ref().map(|replay| {
                let Moment { now_ms, head } = replay.decided();
                (Cow::Borrowed(replay.contract()), now_ms, head.0)
            }),
            times: self.times.as_ref().map(Cow::Borrowed),
            blocks: self.blocks.as_ref().map(Cow::Borrowed),
        };
        let (start, mut all) = (behind.len(), behind);
        all.extend_from_slice(prefix().as_bytes());
        let mut all = postcard::to_extend(&stored, all).ok()?;
        let check = Sha256::digest(&all[start..]);
        all.extend_from_slice(&check);
        Some(all)
    }
}

impl FollowerState {
    /// Reads what [`Follower::to_bytes`] gave; `None` if that is damaged, or of another version of
    /// this program.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (all, check) = bytes.split_at_checked(bytes.len().checked_sub(CHECK_BYTES)?)?;
        if Sha256::digest(all)[..] != *check {
            return None;
        }
        let state = all.strip_prefix(prefix().as_bytes())?;
        let (stored, rest): (Stored<'_>, _) = postcard::take_from_bytes(state).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let changes = stored.changes.iter().map(|(index, it)| Some((*index, it.read()?)));
        let hashes = |hashes: Vec<[u8; 32]>| hashes.into_iter().map(Hash).collect();
        Some(Self {
            keys: LogKeys::of_parts(
                LedgerId(stored.ledger),
                stored.first.read()?,
                changes.collect::<Option<_>>()?,
            ),
            head: Head { size: stored.size, leaf: Hash(stored.leaf), time_ms: stored.time_ms },
            tree: stored
                .tree
                .map(|(tiles, leaves)| TreeHashes { tiles: hashes(tiles), leaves: hashes(leaves) }),
            replay: stored.contract.map(|(contract, now_ms, head)| {
                Replay::of_parts(contract.into_owned(), Moment { now_ms, head: Digest(head) })
            }),
            times: stored.times.map(Cow::into_owned),
            blocks: stored.blocks.map(Cow::into_owned),
        })
    }
}
