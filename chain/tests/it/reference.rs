//! What a chain's ledger is to be, written as everybody else writes one: the contract in memory, entries, a tree
//! of all leaves. It shares nothing with what is tested but the rules and the formats.

use std::collections::BTreeMap;

use colearn_contracts::{Contract, Digest, ExperimentName, Moment, Outcome};
use colearn_ledger::{Entry, Hash, Head, TreeBuilder, tree};
use colearn_records::follower::{Depth, Follower};
use colearn_records::on_chain::PublicChain;
use colearn_records::record::{self, Record};
use colearn_records::transaction::{LedgerId, Transaction};
use colearn_records::upgrade;

pub(crate) struct Reference {
    pub(crate) contract: Contract,
    pub(crate) head: Head,
    tree: TreeBuilder,
    pub(crate) entries: Vec<Vec<u8>>,
    times: Vec<u64>,
    /// Where calls have ended that recorded something.
    pub(crate) roots: BTreeMap<u64, Hash>,
    now_ms: u64,
}

impl Reference {
    /// That with this first entry.
    pub(crate) fn of(first: &[u8]) -> Self {
        let decoded = Record::decode(first).unwrap();
        let Record::Genesis(genesis) = decoded.record else { panic!("no genesis") };
        let chain = PublicChain::of_genesis(&genesis).unwrap().unwrap();
        let limits = upgrade::limits(genesis.limits.as_ref()).unwrap();
        let version = genesis.contract_version.try_into().unwrap();
        let id = Digest(LedgerId::of(&genesis).0);
        let mut reference = Self {
            contract: Contract::on_chain(id, version, limits, chain.charter().clone()),
            head: Head::EMPTY,
            tree: TreeBuilder::new(),
            entries: Vec::new(),
            times: Vec::new(),
            roots: BTreeMap::new(),
            now_ms: genesis.time_ms,
        };
        reference.append(record::genesis_payload(genesis));
        reference.end(0);
        reference
    }

    pub(crate) fn root(&self) -> Hash {
        tree::root(&self.tree, self.head.size).unwrap()
    }

    /// One call with these transactions. Gives their codes.
    pub(crate) fn submit(&mut self, now_ms: u64, transactions: &[Transaction]) -> Vec<u32> {
        let begun = self.head.size;
        self.now_ms = now_ms;
        let codes = transactions.iter().map(|it| self.decide(it)).collect();
        self.end(begun);
        codes
    }

    fn decide(&mut self, signed: &Transaction) -> u32 {
        let seen = signed.seen();
        // Not that of this call, which has not ended.
        if self.roots.get(&seen.size) != Some(&seen.root) {
            return 201;
        }
        let unseen_ms = self.times.get(seen.size as usize).copied();
        if self.contract.check_fresh(self.now_ms, unseen_ms).is_err() {
            return 201;
        }
        self.touch(&signed.action().experiment);
        match self.contract.apply(self.moment(), signed.sender(), signed.action()) {
            Ok(outcomes) => {
                self.append(record::transaction_payload(signed));
                self.append_all(&outcomes);
                0
            }
            Err(rejection) => rejection.rule().into(),
        }
    }

    /// One call that asks for these.
    pub(crate) fn tick(&mut self, now_ms: u64, names: &[&str]) {
        let begun = self.head.size;
        self.now_ms = now_ms;
        names.iter().filter_map(|name| name.parse().ok()).for_each(|name| self.touch(&name));
        self.end(begun);
    }

    fn touch(&mut self, name: &ExperimentName) {
        let outcomes = self.contract.touch(self.moment(), name);
        self.append_all(&outcomes);
    }

    fn moment(&self) -> Moment {
        Moment { now_ms: self.now_ms, head: Digest(self.head.leaf.0) }
    }

    fn append_all(&mut self, outcomes: &[Outcome]) {
        outcomes.iter().for_each(|it| self.append(record::outcome_payload(it)));
    }

    fn append(&mut self, payload: Vec<u8>) {
        let Head { size, leaf, .. } = self.head;
        let bytes = Entry { index: size, parent: leaf, time_ms: self.now_ms, payload }.encode();
        let leaf = Hash::leaf(&bytes);
        self.head = Head { size: size + 1, leaf, time_ms: self.now_ms };
        self.tree.push(leaf);
        self.entries.push(bytes);
        self.times.push(self.now_ms);
    }

    fn end(&mut self, begun: u64) {
        if self.head.size > begun {
            self.roots.insert(self.head.size, self.root());
        }
    }
}

/// Follows a ledger as an auditor does, and gives the contract's state at its end.
pub(crate) fn follow(entries: &[Vec<u8>]) -> Contract {
    let mut follower = Follower::new(Depth::Full, &entries[0]).unwrap();
    for entry in entries {
        let entry = follower.reader().read(entry.clone());
        follower.follow(&entry).unwrap();
    }
    follower.contract().unwrap().clone()
}
