//! A node that orders alone, and the contract: the same transactions at the same times, and the same entries.

use colearn_ledger::{Entry, Ledger, Options};
use colearn_records::log_keys::LogKeys;
use colearn_records::on_chain::Tree;
use colearn_records::record::{self, Record};
use serde::Deserialize;

use crate::keeper::{Decision, Keeper};
use crate::open::signer;
use crate::testing::key;

/// What the contract has made of a history: written, and compared with it, by a test of `chain/`.
#[derive(Deserialize)]
struct History {
    /// The first entry, and the ledger's end, in hex.
    first: String,
    end: String,
    calls: Vec<Call>,
}

#[derive(Deserialize)]
struct Call {
    now_ms: u64,
    transaction: String,
    recorded: bool,
}

#[test]
fn the_contract_and_a_node_alone_make_the_same_of_one_experiments_history() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../chain/tests/data/history.json");
    let history = std::fs::read_to_string(path).unwrap();
    let History { first, end, calls } = serde_json::from_str(&history).unwrap();
    let first = hex::decode(first).unwrap();
    let Record::Genesis(genesis) = Record::decode(&first).unwrap().record else { panic!() };
    let keys = LogKeys::of_genesis(&genesis).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let own = signer(&genesis.origin, key(255)).unwrap();
    let options = Options { keys_of: record::keys_of, ..Options::new(own) };
    let (mut ledger, _) = Ledger::open(dir.path(), options).unwrap();
    let first_ms = Entry::decode(&first).unwrap().time_ms;
    ledger.append(first_ms, record::genesis_payload(genesis), Vec::new()).unwrap();
    ledger.commit().unwrap();
    let mut keeper = Keeper::open(ledger, &keys).unwrap().0;
    let mut recorded = 0;
    for Call { now_ms, transaction, recorded: expected } in calls {
        // A record's payload is what comes behind the envelope of its entry.
        let payload = hex::decode(transaction).unwrap();
        let mut alone = Tree::empty();
        let entry = alone.push(now_ms, payload).unwrap();
        let Record::Transaction(signed) = Record::decode(&entry).unwrap().record else { panic!() };
        let signed = signed.verify(&keys.ledger()).unwrap();
        let decision = keeper.decide(now_ms, &signed).unwrap();
        assert_eq!(matches!(decision, Decision::Recorded(_)), expected, "at {now_ms}");
        recorded += usize::from(expected);
        let _ = keeper.seal().unwrap().wait().unwrap();
        keeper.update_index().unwrap();
    }
    assert!(recorded > 80, "{recorded}");
    let size = keeper.head().size;
    let frontier = keeper.reader().frontier(size).unwrap();
    // The last entry, each entry before it by its hash, and the time.
    assert_eq!(hex::encode(Tree::of(keeper.head(), frontier).unwrap().to_bytes()), end);
}
