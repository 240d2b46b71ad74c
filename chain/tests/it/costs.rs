//! What a vote writes.

use std::collections::BTreeMap;

use colearn_records::transaction::{LedgerId, Seen};
use cosmwasm_std::{Order, Storage as _};

use crate::native::{Native, usual};
use crate::round::{Keeps, play};

/// A contract of which each call's writes are counted, and their bytes with the keys.
struct Counted {
    native: Native,
    calls: Vec<(usize, usize)>,
}

impl Counted {
    fn kept(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.native.deps.storage.range(None, None, Order::Ascending).collect()
    }
}

impl Keeps for Counted {
    fn id(&self) -> LedgerId {
        self.native.id
    }

    fn seen(&self) -> Seen {
        self.native.seen()
    }

    fn submit(&mut self, payloads: &[Vec<u8>]) -> (Vec<u32>, u64) {
        let before = self.kept();
        let codes = self.native.submit(1_000 + self.calls.len() as u64, payloads);
        let after = self.kept();
        let written = after.iter().filter(|(key, value)| before.get(*key) != Some(value));
        let written: Vec<usize> = written.map(|(key, value)| key.len() + value.len()).collect();
        let removed = before.keys().filter(|key| !after.contains_key(*key)).count();
        self.calls.push((written.len() + removed, written.iter().sum()));
        (codes, 0)
    }
}

#[test]
fn a_vote_writes_five_values_however_many_members_there_are() {
    for members in [5, 50, 200] {
        let native =
            Native::begin(1_000, crate::native::Instantiate { max_members: 200, ..usual() });
        let mut counted = Counted { native: native.unwrap(), calls: Vec::new() };
        let votes = play(&mut counted, "a-study", members, members.into()).votes.len();
        let (_, calls) = counted.calls.split_last().unwrap();
        let votes = &calls[calls.len() - votes..];
        let bytes = votes.iter().map(|it| it.1).max().unwrap();
        println!("{members} members: a vote writes at most {bytes} bytes");
        assert!(votes.iter().all(|it| it.0 == 5), "{votes:?}");
        assert!(bytes <= 1_200, "{bytes}");
    }
}
