//! A node's own ledger, followed from the last snapshot on. It was verified when it was recorded, and
//! opening it has checked its bytes; so signatures and vouched histories are not looked at again.

use std::path::PathBuf;

use colearn_ledger::{Entry, Hash, Head, Ledger, Reader};
use colearn_records::follower::{BadGenesis, Blocks, Depth, Fault, Follower, FollowerState};
use colearn_records::log_keys::LogKeys;
use colearn_records::record::{self, Record};
use colearn_records::replay::{Departure, Replay};

use crate::error::NodeError;
use crate::snapshot;

/// How many entries, and how many bytes about, are read at once.
const CHUNK: u64 = 4096;
const CHUNK_BYTES: usize = 8 << 20;

/// Replays the ledger. Gives the first entry that was replayed, too.
///
/// # Errors
/// If an entry is not a record or departs from the contract.
pub(crate) fn replay(ledger: &Ledger, keys: &LogKeys) -> Result<(Replay, u64), NodeError> {
    let reader = ledger.reader();
    let size = reader.size();
    let mut follower = match resume(ledger, keys)? {
        Some(follower) => follower,
        None => begin(&reader)?,
    };
    let entries = follower.reader();
    let first = follower.head().size;
    let mut next = first;
    while next < size {
        for bytes in reader.entries(next, next + CHUNK, CHUNK_BYTES)? {
            let step = follower.follow(&entries.read(bytes));
            step.map_err(|fault| fault_at(next, fault))?;
            next += 1;
        }
    }
    let replay = follower.into_replay().map_err(|fault| fault_at(next, fault))?;
    Ok((replay, first))
}

/// Goes on from the last snapshot, if there is one that can be used.
fn resume(ledger: &Ledger, keys: &LogKeys) -> Result<Option<Follower>, NodeError> {
    let Some((size, bytes)) = ledger.snapshot()? else { return Ok(None) };
    let Some(contract) = snapshot::decode(&bytes) else { return Ok(None) };
    let Some(index) = size.checked_sub(1) else { return Ok(None) };
    let last = ledger.reader().entry(index)?;
    let time_ms = Entry::decode(&last).map_err(|broken| fault_at(index, broken.into()))?.time_ms;
    let keys = keys.before(size);
    // Where several nodes keep the ledger, what is sealed ends with a block.
    let blocks = match (keys.validators(), Record::decode(&last)) {
        (Some(_), Ok(last)) => Blocks::behind(&last),
        (Some(_), Err(_)) | (None, _) => None,
    };
    let state = FollowerState {
        keys,
        head: Head { size, leaf: Hash::leaf(&last), time_ms },
        tree: None,
        replay: Some(Replay::resume(contract)),
        times: None,
        blocks,
    };
    Ok(Follower::resume(Depth::Replay, state))
}

/// Begins with the first entry.
fn begin(reader: &Reader) -> Result<Follower, NodeError> {
    let genesis = reader.entry(0)?;
    let mut follower = Follower::new(Depth::Replay, &genesis).map_err(|bad| match bad {
        BadGenesis::Version(unknown) => NodeError::Version(unknown),
        BadGenesis::Record(_)
        | BadGenesis::OtherRecord
        | BadGenesis::Key
        | BadGenesis::Chain(_)
        | BadGenesis::Limits => NodeError::Genesis(PathBuf::from("the ledger")),
    })?;
    let entry = follower.reader().read(genesis);
    follower.follow(&entry).map_err(|fault| fault_at(0, fault))?;
    Ok(follower)
}

fn fault_at(index: u64, fault: Fault) -> NodeError {
    match fault {
        Fault::Record(source) => NodeError::Record { index, source },
        Fault::Keys(source) => NodeError::Rotation { index, source },
        Fault::Departure(Departure::UnknownVersion(unknown)) => NodeError::Version(unknown),
        Fault::Departure(source) => NodeError::Departure { index, source },
        Fault::SecondGenesis => NodeError::Record { index, source: record::NotARecord::Malformed },
        Fault::Broken(_)
        | Fault::OtherGenesis
        | Fault::Signature(_)
        | Fault::Upgrade(_)
        | Fault::Block(_)
        | Fault::OnChain(_)
        | Fault::Seen { .. }
        | Fault::Expired { .. }
        | Fault::Time(_)
        | Fault::Forgotten(_)
        | Fault::Departed => NodeError::Fault { index, source: fault },
    }
}
