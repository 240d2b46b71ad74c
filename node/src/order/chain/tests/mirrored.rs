//! What a mirror takes over, and what it does not, of entries that servers send.

use std::path::Path;

use colearn_contracts::{Charter, Contract, Creators, Digest, Limits, Moment, Outcome, VERSION};
use colearn_ledger::{Ledger, Options};
use colearn_proto::v1;
use colearn_records::log_keys::LogKeys;
use colearn_records::on_chain::{PublicChain, Tree};
use colearn_records::record;
use colearn_testkit::chain::{CONTRACT, ID};

use super::super::mirror::{Mirror, NotMirrored};
use crate::error::{ChainError, NodeError};
use crate::keeper::Keeper;
use crate::open::signer;
use crate::testing::{Draws, key, ledger_id, next_step};

fn genesis() -> v1::Genesis {
    genesis_at(1_000)
}

fn genesis_at(time_ms: u64) -> v1::Genesis {
    let (id, contract) = (ID.to_owned(), CONTRACT.to_owned());
    let charter = Charter { creators: Creators::Anybody, max_members: 100 };
    let chain = PublicChain::new(id, contract, charter, 100_000_000).unwrap();
    chain.genesis(VERSION, &Limits::default(), time_ms)
}

/// What the contract of a chain writes, call by call.
pub(super) struct Written {
    contract: Contract,
    tree: Tree,
    /// The earliest time of what comes next.
    now_ms: u64,
    pub(super) entries: Vec<Vec<u8>>,
    /// The ledger's end after each call that has recorded something.
    pub(super) ends: Vec<Tree>,
}

impl Written {
    pub(super) fn new() -> Self {
        Self::begun_at(1_000)
    }

    /// What one writes that was begun at this time.
    pub(super) fn begun_at(time_ms: u64) -> Self {
        let genesis = genesis_at(time_ms);
        let charter = PublicChain::of_genesis(&genesis).unwrap().unwrap().charter().clone();
        let id = Digest(LogKeys::of_genesis(&genesis).unwrap().ledger().0);
        let contract = Contract::on_chain(id, VERSION, Limits::default(), charter);
        let mut written = Self {
            contract,
            tree: Tree::empty(),
            now_ms: time_ms,
            entries: Vec::new(),
            ends: Vec::new(),
        };
        written.append(time_ms, record::genesis_payload(genesis));
        written.ends.push(written.tree.clone());
        written
    }

    /// What comes next is of this time, or later.
    pub(super) fn wait_until(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    fn append(&mut self, now_ms: u64, payload: Vec<u8>) {
        self.entries.push(self.tree.push(now_ms, payload).unwrap());
    }

    fn outcomes(&mut self, now_ms: u64, outcomes: &[Outcome]) {
        outcomes.iter().for_each(|it| self.append(now_ms, record::outcome_payload(it)));
    }

    fn moment(&self, now_ms: u64) -> Moment {
        Moment { now_ms, head: Digest(self.tree.head().leaf.0) }
    }

    /// Plays so many calls, each of one transaction. Gives how many were recorded.
    pub(super) fn play(&mut self, calls: u32) -> u32 {
        let (mut draws, mut now_ms, mut recorded) = (Draws(7), self.now_ms, 0);
        for _ in 0..calls {
            // Now and then long enough for a deadline.
            now_ms += [0, 1, 7, 60][draws.below(4) as usize];
            let transaction = next_step(&mut draws, &self.contract);
            let action = transaction.action();
            let due = self.contract.touch(self.moment(now_ms), &action.experiment);
            self.outcomes(now_ms, &due);
            let applied = self.contract.apply(self.moment(now_ms), transaction.sender(), action);
            if let Ok(outcomes) = applied {
                self.append(now_ms, record::transaction_payload(&transaction));
                self.outcomes(now_ms, &outcomes);
                recorded += 1;
            }
            if self.ends.last() != Some(&self.tree) {
                self.ends.push(self.tree.clone());
            }
        }
        recorded
    }
}

/// The mirror in a folder, which has the first entry.
pub(super) fn mirror(dir: &Path) -> Mirror {
    let genesis = genesis();
    let own = signer(&genesis.origin, key(255)).unwrap();
    let options = Options { keys_of: record::keys_of, drop_unanchored: true, ..Options::new(own) };
    let (mut ledger, _) = Ledger::open(dir, options).unwrap();
    let keys = LogKeys::of_genesis(&genesis).unwrap();
    if ledger.head().size == 0 {
        ledger.append(1_000, record::genesis_payload(genesis), Vec::new()).unwrap();
        ledger.commit().unwrap();
    }
    // What is drawn is signed for the ledger of all tests.
    Mirror::new(Keeper::open(ledger, &keys).unwrap().0, ledger_id()).unwrap().0
}

fn between<'a>(written: &'a Written, from: &Tree, to: &Tree) -> &'a [Vec<u8>] {
    &written.entries[from.head().size as usize..to.head().size as usize]
}

#[test]
fn a_mirror_has_the_contracts_bytes_however_they_come() {
    let mut written = Written::new();
    let recorded = written.play(600);
    assert!(recorded > 150 && written.entries.len() as u32 > recorded + 60, "{recorded}");
    for step in [1, 3, 1_000] {
        let dir = tempfile::tempdir().unwrap();
        let mut mirrored = mirror(dir.path());
        let mut transactions = 0;
        let ends: Vec<&Tree> = written.ends.iter().skip(1).collect();
        for (at, ends) in ends.chunks(step).enumerate() {
            // Now and then it is started anew.
            if at % 40 == 39 {
                drop(mirrored);
                mirrored = mirror(dir.path());
            }
            let to = *ends.last().unwrap();
            let from = mirrored.tree().clone();
            transactions += mirrored.take(between(&written, &from, to), to).unwrap().len();
        }
        assert_eq!(transactions as u32, recorded);
        let reader = mirrored.keeper().reader();
        assert_eq!(reader.entries(0, reader.size(), usize::MAX).unwrap(), written.entries);
        assert_eq!(mirrored.keeper().contract(), &written.contract);
        assert_eq!(mirrored.checkpoint().unwrap().checkpoint.root, written.tree.root());
    }
}

#[test]
fn what_the_chain_does_not_prove_is_not_taken() {
    let mut written = Written::new();
    written.play(40);
    let dir = tempfile::tempdir().unwrap();
    let mut mirrored = mirror(dir.path());
    let to = written.ends[10].clone();
    let from = mirrored.tree().clone();
    let good = between(&written, &from, &to).to_vec();
    let mut lies = vec![Vec::new(), good[1..].to_vec(), good[..good.len() - 1].to_vec()];
    lies.push([&good[..], &good[..1]].concat());
    lies.push(good.iter().rev().cloned().collect());
    for at in 0..good.len() {
        let mut bent = good.clone();
        let last = bent[at].len() - 1;
        bent[at][last] ^= 1;
        lies.push(bent);
    }
    lies.push(vec![vec![7; 9]; good.len()]);
    for lie in &lies {
        let taken = mirrored.take(lie, &to);
        assert!(matches!(taken, Err(NotMirrored::Unproven(ChainError::Unproven { .. }))));
    }
    assert_eq!(mirrored.tree(), &from);
    mirrored.take(&good, &to).unwrap();
}

#[test]
fn a_contract_that_departs_from_the_rules_stops_the_mirror() {
    let mut written = Written::new();
    written.play(60);
    let dir = tempfile::tempdir().unwrap();
    let to = written.ends[20].clone();
    let from = mirror(dir.path()).tree().clone();
    let good = between(&written, &from, &to);
    // The same transaction twice: no contract takes it.
    let payload = colearn_ledger::Entry::decode(&good[0]).unwrap().payload;
    let mut tree = written.ends[0].clone();
    let entries: Vec<_> = [(); 2].map(|()| tree.push(2_000, payload.clone()).unwrap()).into();
    let taken = mirror(dir.path()).take(&entries, &tree);
    let departed = NodeError::from(colearn_ledger::Error::Stopped);
    let Err(NotMirrored::Fatal(error)) = taken else { panic!("taken instead of {departed}") };
    assert!(matches!(error, NodeError::Departure { index: 2, .. }), "{error}");
    // And nothing of it is there.
    assert_eq!(mirror(dir.path()).tree(), &from);
}
