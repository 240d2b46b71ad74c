//! Finding entries by their keys, against a list of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use colearn_ledger::{Ledger, Options, Reader};
use proptest::prelude::*;

use crate::recovery::options;

/// The payload: its keys, of a few letters each. As in `recovery`, no field of the envelope's.
fn payload(keys: &[u8]) -> Vec<u8> {
    [&[0x22, keys.len() as u8], keys].concat()
}

/// Each byte is a key, a byte above 200 none.
fn keys_of(payload: &[u8]) -> Vec<Vec<u8>> {
    payload[2..].iter().filter(|key| **key <= 200).map(|key| vec![*key; 3]).collect()
}

fn open(dir: &std::path::Path) -> Ledger {
    // Large, so that few files are synced.
    let options = Options { segment_bytes: 64 << 20, keys_of, ..options(1) };
    Ledger::open(dir, options).unwrap().0
}

/// Which entries each key is in.
#[derive(Default)]
struct Model(BTreeMap<u8, Vec<u64>>);

impl Model {
    fn append(&mut self, ledger: &mut Ledger, keys: &[u8]) {
        let payload = payload(keys);
        let index = ledger.append(1, payload.clone(), keys_of(&payload)).unwrap().index;
        for key in keys.iter().filter(|key| **key <= 200) {
            let of = self.0.entry(*key).or_default();
            if of.last() != Some(&index) {
                of.push(index);
            }
        }
    }

    fn check(&self, reader: &Reader, froms: &[u64]) {
        for key in 0..=200 {
            let of = self.0.get(&key).map_or(&[][..], |of| of);
            for from in froms {
                let expected = of.iter().find(|index| *index >= from).copied();
                let expected = expected.filter(|index| *index < reader.size());
                assert_eq!(reader.find(&[key; 3], *from).unwrap(), expected, "{key} {from}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// However the ledger has grown, every key leads to its entries, also after it is opened again.
    #[test]
    fn what_is_appended_under_a_key_is_found_from_anywhere(
        steps in prop::collection::vec((0..1_500_usize, any::<bool>(), any::<bool>()), 1..8),
        seed in any::<u64>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (mut ledger, mut model, mut draw) = (open(dir.path()), Model::default(), seed);
        for (count, moved, reopened) in steps {
            for _ in 0..count {
                draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                // Two keys: one of many, one of few, or none.
                let keys = [(draw >> 33) as u8, ((draw >> 45) % 3) as u8];
                model.append(&mut ledger, &keys);
            }
            // What is not committed is found by the writer only.
            let written = model.0.first_key_value().map(|(key, of)| (*key, of[0]));
            if let Some((key, first)) = written {
                prop_assert_eq!(ledger.find(&[key; 3]).unwrap(), Some(first));
            }
            model.check(&ledger.reader(), &[0]);
            ledger.commit().unwrap();
            if moved {
                ledger.update_index().unwrap();
            }
            if reopened {
                drop(ledger);
                ledger = open(dir.path());
            }
            let size = ledger.head().size;
            model.check(&ledger.reader(), &[0, 255, 256, size / 2, size.saturating_sub(1), size]);
        }
        prop_assert_eq!(ledger.reader().find(b"no such", 0).unwrap(), None);
    }
}

#[test]
fn a_long_ledger_s_keys_are_found_while_it_grows_and_after_its_index_is_lost() {
    const SIZE: u64 = 70_000;
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = open(dir.path());
    let mut model = Model::default();
    model.append(&mut ledger, &[7, 9]);
    ledger.commit().unwrap();
    let (reader, done) = (ledger.reader(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        // Nothing that is there is missed at any moment, whichever runs give way to others.
        let reading = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                assert_eq!(reader.find(&[9; 3], 0).unwrap(), Some(0));
                let size = reader.size();
                assert_eq!(reader.find(&[7; 3], size - 1).unwrap(), Some(size - 1));
                assert_eq!(reader.find(&[7; 3], size / 2).unwrap(), Some(size / 2));
            }
        });
        while ledger.head().size < SIZE && !reading.is_finished() {
            (0..250).for_each(|_| model.append(&mut ledger, &[7, 255]));
            ledger.commit().unwrap();
            ledger.update_index().unwrap();
        }
        done.store(true, Ordering::Relaxed);
        reading.join().unwrap();
    });
    let froms = [0, 1, 65_535, 65_536, SIZE - 1];
    model.check(&reader, &froms);
    drop((ledger, reader));
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    let ledger = open(dir.path());
    model.check(&ledger.reader(), &froms);
}
