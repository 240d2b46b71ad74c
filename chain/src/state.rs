//! What the contract keeps beside the experiments: the end of the ledger, its roots, its entries, and what it says
//! of itself.

use colearn_contracts::pieces::{Damaged, Ledger, Store};
use colearn_contracts::{Charter, Creators, Digest, LearnerId, Limits, Version};
use colearn_ledger::Entry;
use colearn_records::on_chain::{Root, TREE_KEY, Tree};
use serde::{Deserialize, Serialize};

/// The key of what every call needs of what the ledger says of itself.
const RULES: &[u8] = b"g";
/// The key of who may create experiments.
const CREATORS: &[u8] = b"c";

/// The key of an entry.
pub(crate) fn entry_key(index: u64) -> Vec<u8> {
    [b"e/", &index.to_be_bytes()[..]].concat()
}

/// Reads the end of the ledger.
pub(crate) fn tree(store: &impl Store) -> Result<Tree, Damaged> {
    let tree = store.get(TREE_KEY).and_then(|bytes| Tree::from_bytes(&bytes));
    tree.ok_or(Damaged { key: TREE_KEY.to_vec() })
}

/// Keeps the end of the ledger, and its root.
pub(crate) fn keep_tree(store: &mut impl Store, tree: &Tree) {
    store.set(TREE_KEY, &tree.to_bytes());
    store.set(&Root::key(tree.head().size), &tree.kept_root().to_bytes());
}

/// The root over so many entries, if a call has ended there.
pub(crate) fn root(store: &impl Store, size: u64) -> Result<Option<Root>, Damaged> {
    let key = Root::key(size);
    let Some(bytes) = store.get(&key) else { return Ok(None) };
    Root::from_bytes(&bytes).map(Some).ok_or(Damaged { key })
}

/// When an entry was recorded.
pub(crate) fn time_ms(store: &impl Store, index: u64) -> Result<u64, Damaged> {
    let key = entry_key(index);
    let entry = store.get(&key).and_then(|bytes| Entry::decode(&bytes).ok());
    entry.map(|entry| entry.time_ms).ok_or(Damaged { key })
}

/// What every call needs of what the ledger says of itself.
#[derive(Serialize, Deserialize)]
struct Rules {
    id: Digest,
    version: Version,
    limits: Limits,
    max_members: u32,
    open: bool,
}

/// Keeps what the ledger says of itself. Who may create lies apart: there may be many, and few calls create.
pub(crate) fn keep_rules(store: &mut impl Store, ledger: &Ledger) {
    let Charter { creators, max_members } = &ledger.charter;
    let rules = Rules {
        id: ledger.id,
        version: ledger.version,
        limits: ledger.limits,
        max_members: *max_members,
        open: *creators == Creators::Anybody,
    };
    // Into memory; nothing of it is without a length.
    store.set(RULES, &postcard::to_allocvec(&rules).unwrap_or_default());
    if let Creators::Listed(keys) = creators {
        store.set(CREATORS, &postcard::to_allocvec(keys).unwrap_or_default());
    }
}

/// What the ledger says of itself; who may create only if that is asked for, otherwise nobody.
pub(crate) fn rules(store: &impl Store, with_creators: bool) -> Result<Ledger, Damaged> {
    let damaged = |key: &[u8]| Damaged { key: key.to_vec() };
    let bytes = store.get(RULES).ok_or_else(|| damaged(RULES))?;
    let rules: Rules = postcard::from_bytes(&bytes).map_err(|_| damaged(RULES))?;
    let creators = match (rules.open, with_creators) {
        (true, _) => Creators::Anybody,
        (false, false) => Creators::Listed(Vec::new()),
        (false, true) => {
            let bytes = store.get(CREATORS).ok_or_else(|| damaged(CREATORS))?;
            let keys: Vec<LearnerId> =
                postcard::from_bytes(&bytes).map_err(|_| damaged(CREATORS))?;
            Creators::Listed(keys)
        }
    };
    let charter = Charter { creators, max_members: rules.max_members };
    Ok(Ledger { id: rules.id, version: rules.version, limits: rules.limits, charter })
}
