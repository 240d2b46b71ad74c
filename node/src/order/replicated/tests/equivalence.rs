//! What several nodes record is what one would have, blocks aside.

use colearn_records::record::Record;
use colearn_records::transaction::Unverified;

use super::history::History;
use super::*;
use crate::keeper::Decision;

#[test]
fn one_node_alone_decides_the_same() {
    let mut network = Network::begun_with(&genesis(4), 1);
    let mut history = History::new(11);
    for _ in 0..150 {
        let block = history.next(&network);
        let answer = network.apply(&block);
        history.done(&block, codes(&answer));
    }
    let genesis = genesis(4);
    let dir = tempfile::tempdir().unwrap();
    let own = crate::open::signer("test", key(1)).unwrap();
    let options = Options {
        keys_of: record::keys_of,
        disk: TestDisk::failing_after(u64::MAX),
        ..Options::new(own)
    };
    let (mut ledger, _) = Ledger::open(dir.path(), options).unwrap();
    ledger.append(BEGIN_MS, record::genesis_payload(genesis.clone()), Vec::new()).unwrap();
    ledger.commit().unwrap();
    let keys = LogKeys::of_genesis(&genesis).unwrap();
    let (mut keeper, _) = Keeper::open(ledger, &keys).unwrap();
    let (mut decided, mut refused) = (0, 0);
    for (time_ms, txs) in &history.blocks {
        keeper.advance(*time_ms).unwrap();
        for (tx, code) in txs {
            // What never comes to the contract has no say here.
            if *code >= code::SEEN {
                continue;
            }
            let Some(ordered::Ordered::Transaction(it)) = ordered::read(tx) else { continue };
            let it = Unverified::decode(it.message().clone()).unwrap().verified_before();
            match keeper.decide(*time_ms, &it).unwrap() {
                Decision::Recorded(_) => assert_eq!(*code, code::RECORDED),
                Decision::Refused(rejection) => {
                    assert_eq!(*code, u32::from(rejection.rule()));
                    refused += 1;
                }
            }
            decided += 1;
        }
    }
    assert!(decided > 250 && refused > 30, "{decided} decided, {refused} refused");
    let _ = keeper.seal().unwrap().wait().unwrap();
    let of_contract = |entries: Vec<Vec<u8>>| -> Vec<(u64, Vec<u8>)> {
        let of_contract = entries.iter().filter(|entry| {
            let record = Record::decode(entry).unwrap().record;
            !matches!(record, Record::Block(_) | Record::ValidatorChange(_))
        });
        let entries = of_contract.map(|entry| Entry::decode(entry).unwrap());
        entries.map(|entry| (entry.time_ms, entry.payload)).collect()
    };
    let alone = keeper.reader().entries(0, keeper.reader().size(), usize::MAX).unwrap();
    assert!(of_contract(alone) == of_contract(network.entries()));
    assert!(*keeper.contract() == network.contract());
}
