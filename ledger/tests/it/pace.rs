//! Whether the ledger is still as quick as it was: the part of its benchmarks that needs no quiet machine.

use std::hint::black_box;

use colearn_ledger::{Hash, IndexUse, Ledger, Options};

use crate::recovery::options;

const ENTRIES: u64 = 20_000;

/// Entries of some 300 bytes, as votes are, with two keys each.
fn payload(i: u64) -> Vec<u8> {
    let mut bytes = vec![0x22, 0xf8, 0x01];
    bytes.extend(i.to_be_bytes());
    bytes.resize(251, 7);
    bytes
}

fn keys_of(payload: &[u8]) -> Vec<Vec<u8>> {
    vec![payload[3..11].to_vec(), vec![payload[10] % 7]]
}

#[test]
fn an_index_is_rebuilt_at_the_pace_of_hashing() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let options = Options { segment_bytes: 64 << 20, keys_of, ..options(1) };
        Ledger::open(dir.path(), options).unwrap()
    };
    {
        let (mut ledger, _) = open();
        for i in 0..ENTRIES {
            ledger.append(i, payload(i), keys_of(&payload(i))).unwrap();
        }
        ledger.commit().unwrap();
    }
    let entry = vec![7; 300];
    let hash = || {
        (0..ENTRIES).for_each(|_| {
            black_box(Hash::leaf(black_box(&entry)));
        })
    };
    colearn_testkit::assert_pace("an index rebuilt, to one hash an entry", RATIO, hash, || {
        std::fs::remove_dir_all(dir.path().join("index")).unwrap();
        let (_, opened) = open();
        assert!(matches!(opened.index, IndexUse::Rebuilt(_)));
    });
}

/// As it was on a machine with SHA extensions.
const RATIO: f64 = 0.14;
