//! A follower ends in the same state however it is fed, and refuses what is not the ledger.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use colearn_contracts::{
    Act, Action, Admission, Contract, CreateExperiment, Decision, Digest, ExperimentName, Model,
    Moment, Outcome, Parameters, Proposal, Scores, UnknownVersion, VERSION, Vote,
};
use colearn_ledger::note::KeyKind;
use colearn_ledger::{Checkpoint, Entry, Hash, Head, Signer, TreeBuilder, tree};
use colearn_proto::v1;
use colearn_records::follower::{
    BadGenesis, Depth, Fault, Follower, FollowerState, ReadEntry, Unconfirmed,
};
use colearn_records::keys::learner_id;
use colearn_records::transaction::{LedgerId, Seen, Transaction};
use colearn_records::{log_keys, record};
use ed25519_dalek::SigningKey;
use proptest::prelude::*;

const ORIGIN: &str = "example.org/log";

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn name() -> ExperimentName {
    "x".parse().unwrap()
}

fn model(byte: u8) -> Model {
    Model { digest: Digest([byte; 32]), size: 1, media_type: "m".to_owned() }
}

/// Writes a ledger as a node would.
struct Scribe {
    id: LedgerId,
    contract: Contract,
    head: Head,
    leaves: Vec<Hash>,
    tree: TreeBuilder,
    entries: Vec<Vec<u8>>,
    now_ms: u64,
    log_key: u8,
    /// What was proposed last.
    proposed: Digest,
}

impl Scribe {
    fn new() -> Self {
        let genesis = v1::Genesis {
            origin: ORIGIN.to_owned(),
            log_public_key: Bytes::copy_from_slice(key(100).verifying_key().as_bytes()),
            nonce: Bytes::from_static(&[7; 32]),
            contract_version: VERSION.number(),
        };
        let id = LedgerId::of(&genesis);
        let mut scribe = Self {
            id,
            contract: Contract::new(Digest(id.0), VERSION),
            head: Head::EMPTY,
            leaves: Vec::new(),
            tree: TreeBuilder::new(),
            entries: Vec::new(),
            now_ms: 1_000,
            log_key: 100,
            proposed: Digest([0; 32]),
        };
        scribe.append(record::genesis_payload(genesis));
        let parameters = Parameters { min_learners: 1, ..Parameters::default() };
        scribe.act(
            1,
            0,
            Act::Create(CreateExperiment {
                parameters,
                admission: Admission::Open,
                model: model(0),
                plan: None,
            }),
        );
        scribe
    }

    fn append(&mut self, payload: Vec<u8>) {
        let Head { size, leaf, .. } = self.head;
        let bytes = Entry { index: size, parent: leaf, time_ms: self.now_ms, payload }.encode();
        let leaf = Hash::leaf(&bytes);
        self.head = Head { size: size + 1, leaf, time_ms: self.now_ms };
        self.leaves.push(leaf);
        self.tree.push(leaf);
        self.entries.push(bytes);
    }

    fn moment(&self) -> Moment {
        Moment { now_ms: self.now_ms, head: Digest(self.head.leaf.0) }
    }

    fn record_outcomes(&mut self, outcomes: &[Outcome]) {
        outcomes.iter().for_each(|outcome| self.append(record::outcome_payload(outcome)));
    }

    /// Records an action whose signer has seen the first `seen` entries, unless it is refused.
    fn act(&mut self, learner: u8, seen: u64, what: Act) -> bool {
        let action = Action::new(name(), what);
        self.wait(1);
        let key = key(learner);
        let Ok(outcomes) = self.contract.apply(self.moment(), learner_id(&key), &action) else {
            return false;
        };
        let size = seen.min(self.head.size);
        let seen = Seen { size, root: tree::root(&self.tree, size).unwrap() };
        let signed = Transaction::sign(&key, &self.id, seen, action);
        self.append(record::transaction_payload(&signed));
        self.record_outcomes(&outcomes);
        true
    }

    fn wait(&mut self, ms: u64) {
        self.now_ms += ms;
        let outcomes = self.contract.advance(self.moment());
        self.record_outcomes(&outcomes);
    }

    fn change_key(&mut self) {
        let (old, new) = (key(self.log_key), key(self.log_key + 1));
        self.log_key += 1;
        self.append(record::rotation_payload(&log_keys::sign(&self.id, &old, &new)));
    }

    /// Does what comes next in the experiment, more or less.
    fn step(&mut self, learner: u8, what: u8, seen: u64) {
        let experiment = self.contract.experiment(&name()).unwrap();
        let (round, base) = (experiment.round(), experiment.model().digest);
        let weights = model(self.head.size as u8);
        let scores = Scores { vote: Some(i64::from(what)), test: None };
        match what {
            0..20 => {
                let term = u32::from(what % 2);
                self.act(learner, seen, Act::Join { term });
            }
            20..24 => {
                self.act(learner, seen, Act::Leave { term: 0 });
            }
            24..30 => self.wait(if what < 26 { 3_600_000 } else { 1_000 }),
            30..34 => self.change_key(),
            34..60 => {
                let proposal = Proposal { round, base, weights, scores, privacy: None };
                // Everybody tries; the contract takes the one whose turn it is.
                for learner in 1..=4 {
                    if self.act(learner, seen, Act::Propose(proposal.clone())) {
                        self.proposed = proposal.weights.digest;
                    }
                }
            }
            _ => {
                let approve = !what.is_multiple_of(3);
                let vote = Vote { round, weights: self.proposed, approve, scores };
                self.act(learner, seen, Act::Vote(vote));
            }
        }
    }

    fn written(steps: &[(u8, u8, u64)]) -> Self {
        let mut scribe = Self::new();
        steps.iter().for_each(|(learner, what, seen)| scribe.step(*learner, *what, *seen));
        scribe
    }

    fn checkpoint(&self, log_key: u8) -> String {
        let root = tree::root(&self.tree, self.head.size).unwrap();
        let signer = Signer::new(ORIGIN, KeyKind::Log, key(log_key)).unwrap();
        Checkpoint { origin: ORIGIN.to_owned(), size: self.head.size, root }.sign(&signer)
    }

    fn follower(&self, depth: Depth) -> Follower {
        Follower::new(depth, &self.entries[0]).unwrap()
    }

    fn read(&self) -> Vec<ReadEntry> {
        let reader = self.follower(Depth::Full).reader();
        self.entries.iter().map(|bytes| reader.read(bytes.clone())).collect()
    }

    /// Follows an entry, handing back what was forgotten.
    fn follow(&self, follower: &mut Follower, entry: &ReadEntry) -> Result<(), Fault> {
        while let Err(forgotten) = follower.prepare(entry) {
            let first = forgotten.0 as usize * 256;
            assert!(follower.recall(forgotten.0, self.leaves[first..first + 256].iter().copied()));
        }
        follower.follow(entry)
    }

    /// Follows all these entries: the follower, or at which place it refuses and why.
    fn follow_all(&self, entries: &[ReadEntry]) -> Result<Follower, (usize, Fault)> {
        let mut follower = self.follower(Depth::Full);
        for (place, entry) in entries.iter().enumerate() {
            self.follow(&mut follower, entry).map_err(|fault| (place, fault))?;
        }
        Ok(follower)
    }
}

fn steps() -> impl Strategy<Value = Vec<(u8, u8, u64)>> {
    prop::collection::vec((1_u8..=4, 0_u8..100, 0_u64..80), 1..40)
}

fn state(follower: &Follower) -> FollowerState {
    follower.state().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn entry_by_entry_in_chunks_and_resumed_anywhere_it_ends_in_the_same_state(steps in steps()) {
        let scribe = Scribe::written(&steps);
        let entries = scribe.read();
        let whole = scribe.follow_all(&entries).unwrap();
        prop_assert_eq!(whole.contract(), Some(&scribe.contract));
        prop_assert_eq!(whole.head(), scribe.head);
        prop_assert_eq!(whole.keys().current().key(), &key(scribe.log_key).verifying_key());
        prop_assert_eq!(whole.replay().unwrap().due().len(), 0);
        let confirmed = whole.confirm(&scribe.checkpoint(scribe.log_key)).unwrap();
        prop_assert_eq!(confirmed.size, entries.len() as u64);
        if scribe.log_key > 100 {
            let old = whole.confirm(&scribe.checkpoint(100));
            prop_assert!(matches!(old, Err(Unconfirmed::Note(_))));
        }

        // Resumed at every place, that of an outcome that is still due included.
        let mut follower = scribe.follower(Depth::Full);
        for (place, entry) in entries.iter().enumerate() {
            follower.follow(entry).unwrap();
            let mut resumed = Follower::resume(Depth::Full, state(&follower)).unwrap();
            prop_assert_eq!(state(&resumed), state(&follower));
            for entry in &entries[place + 1..] {
                scribe.follow(&mut resumed, entry).unwrap();
            }
            prop_assert_eq!(state(&resumed), state(&whole));
        }

        // A node's way: from the contract of some moment on, without signatures and tree.
        let mut own = scribe.follower(Depth::Replay);
        let reader = own.reader();
        for bytes in &scribe.entries {
            own.follow(&reader.read(bytes.clone())).unwrap();
            own = Follower::resume(Depth::Replay, state(&own)).unwrap();
        }
        prop_assert_eq!(own.contract(), whole.contract());
        prop_assert_eq!(own.keys(), whole.keys());
    }

    #[test]
    fn a_changed_byte_is_refused_where_it_is_or_by_what_follows(
        steps in steps(), at in any::<prop::sample::Index>(), byte in any::<prop::sample::Index>(),
        flip in 1..=255_u8,
    ) {
        let scribe = Scribe::written(&steps);
        let mut entries = scribe.read();
        let at = at.index(entries.len());
        let mut bytes = entries[at].bytes().to_vec();
        let byte = byte.index(bytes.len());
        bytes[byte] ^= flip;
        let reader = scribe.follower(Depth::Full).reader();
        let right = std::mem::replace(&mut entries[at], reader.read(bytes));
        match scribe.follow_all(&entries) {
            Ok(follower) => {
                prop_assert_eq!(at, entries.len() - 1, "nothing follows it");
                let unconfirmed = follower.confirm(&scribe.checkpoint(scribe.log_key));
                prop_assert!(unconfirmed.is_err());
            }
            // The time of a transaction is nobody's but the chain's: it fits if it comes later.
            Err((place, Fault::Broken(_))) if place == at + 1 => {}
            Err((place, fault)) => prop_assert_eq!(place, at, "{}", fault),
        }

        // What was refused, but for a departure, leaves the follower as it was.
        let wrong = std::mem::replace(&mut entries[at], right);
        let mut follower = scribe.follower(Depth::Full);
        for entry in &entries[..at] {
            follower.follow(entry).unwrap();
        }
        let before = follower.state();
        if follower.follow(&wrong).is_err() && (at == 0 || follower.state().is_some()) {
            prop_assert_eq!(follower.state(), before);
            for entry in &entries[at..] {
                follower.follow(entry).unwrap();
            }
        }
    }

    #[test]
    fn a_dropped_repeated_or_swapped_entry_is_refused_at_once(
        steps in steps(), at in any::<prop::sample::Index>(),
    ) {
        let scribe = Scribe::written(&steps);
        let at = at.index(scribe.entries.len() - 1);
        let refused = |entries: &[ReadEntry]| {
            let (place, fault) = scribe.follow_all(entries).unwrap_err();
            (place, matches!(fault, Fault::Broken(_)))
        };
        let mut dropped = scribe.read();
        dropped.remove(at);
        prop_assert_eq!(refused(&dropped), (at, true));
        let mut repeated = scribe.read();
        repeated.insert(at, repeated[at].clone());
        prop_assert_eq!(refused(&repeated), (at + 1, true));
        let mut swapped = scribe.read();
        swapped.swap(at, at + 1);
        prop_assert_eq!(refused(&swapped), (at, true));

        // One that is missing at the end shows in the checkpoint only.
        let mut short = scribe.read();
        short.pop();
        let follower = scribe.follow_all(&short).unwrap();
        let checkpoint = scribe.checkpoint(scribe.log_key);
        let ahead = follower.confirm(&checkpoint).unwrap_err();
        let (stated, followed) = (scribe.head.size, scribe.head.size - 1);
        if follower.keys().current().key() == &key(scribe.log_key).verifying_key() {
            prop_assert_eq!(ahead, Unconfirmed::Ahead { stated, followed });
        } else {
            prop_assert!(matches!(ahead, Unconfirmed::Note(_)), "its key is not known yet");
        }
    }
}

/// A ledger of 600 entries, in which every signer vouches for another moment.
fn long() -> Scribe {
    let mut scribe = Scribe::new();
    let mut learner = 1;
    while scribe.head.size < 600 {
        let seen = scribe.head.size * 7 % 590;
        for what in [1, 2, 40, 70, 71, 27, 25] {
            scribe.step(learner, what, seen);
        }
        learner = learner % 4 + 1;
    }
    scribe
}

#[test]
fn old_histories_are_looked_up_in_leaves_that_are_handed_back() {
    let scribe = long();
    let entries = scribe.read();
    let whole = scribe.follow_all(&entries).unwrap();
    let mut follower = scribe.follower(Depth::Full);
    entries[..520].iter().for_each(|entry| follower.follow(entry).unwrap());
    let mut resumed = Follower::resume(Depth::Full, state(&follower)).unwrap();
    let mut forgotten = 0;
    for entry in &entries[520..] {
        // Asking for leaves accuses nobody, and changes nothing.
        if let Err(fault) = resumed.follow(entry) {
            assert!(matches!(fault, Fault::Forgotten(_)), "{fault}");
            assert!(!resumed.recall(0, scribe.leaves[1..257].iter().copied()));
            scribe.follow(&mut resumed, entry).unwrap();
            forgotten += 1;
        }
    }
    assert!(forgotten > 0);
    assert_eq!(state(&resumed), state(&whole));
}

#[test]
fn what_another_reader_has_passed_over_is_checked() {
    let mut scribe = Scribe::new();
    let seen = Seen { size: 0, root: Hash::empty_root() };
    let join = Action::new(name(), Act::Join { term: 0 });
    let elsewhere = Transaction::sign(&key(2), &LedgerId([9; 32]), seen, join);
    scribe.append(record::transaction_payload(&elsewhere));
    for depth in [Depth::Chain, Depth::Replay] {
        let careless = scribe.follower(depth).reader();
        let mut follower = scribe.follower(Depth::Full);
        let mut refused = None;
        for bytes in &scribe.entries {
            refused = follower.follow(&careless.read(bytes.clone())).err();
        }
        assert!(matches!(refused, Some(Fault::Signature(_))), "{refused:?}");
    }
}

#[test]
fn after_a_departure_nothing_is_followed() {
    let mut scribe = Scribe::new();
    let waiting = |members| {
        let outcome = Outcome::new(name(), Decision::Waiting { members, min_learners: 9 });
        record::outcome_payload(&outcome)
    };
    scribe.append(waiting(9));
    let entries = scribe.read();
    let mut follower = scribe.follower(Depth::Full);
    entries[..2].iter().for_each(|entry| follower.follow(entry).unwrap());
    assert!(matches!(follower.follow(&entries[2]), Err(Fault::Departure(_))));
    assert_eq!(follower.follow(&entries[2]), Err(Fault::Departed));
    assert_eq!((follower.state(), follower.contract()), (None, None));

    // Who lists all that is wrong goes on, and is told of it once.
    let mut follower = scribe.follower(Depth::Full);
    scribe.append(waiting(8));
    let mut faults = Vec::new();
    for entry in &scribe.read() {
        let past = follower.follow_past(entry, |fault| {
            faults.push(fault);
            Ok(())
        });
        assert_eq!(past, Ok(()));
    }
    assert!(matches!(faults[..], [Fault::Departure(_)]), "{faults:?}");
    assert_eq!(follower.head().size, 4);
}

#[test]
fn only_a_genesis_of_these_rules_begins_a_ledger() {
    let scribe = Scribe::new();
    let begin = |bytes: &[u8]| Follower::new(Depth::Full, bytes).map(|_| ()).unwrap_err();
    assert_eq!(begin(&scribe.entries[1]), BadGenesis::OtherRecord);
    assert!(matches!(begin(b"?"), BadGenesis::Record(_)));
    let entry = |contract_version, key: &'static [u8]| {
        let genesis = v1::Genesis {
            origin: ORIGIN.to_owned(),
            log_public_key: Bytes::from_static(key),
            nonce: Bytes::new(),
            contract_version,
        };
        let payload = record::genesis_payload(genesis);
        Entry { index: 0, parent: Hash::ZERO, time_ms: 0, payload }.encode()
    };
    assert_eq!(begin(&entry(999, &[1; 32])), BadGenesis::Version(UnknownVersion(999)));
    assert_eq!(begin(&entry(VERSION.number(), &[1; 3])), BadGenesis::Key);

    // Another ledger's genesis does not begin this one.
    let mut follower = scribe.follower(Depth::Full);
    let other = follower.reader().read(entry(VERSION.number(), &[1; 32]));
    assert_eq!(follower.follow(&other), Err(Fault::OtherGenesis));
}

#[test]
fn a_state_that_does_not_fit_is_not_resumed() {
    let scribe = long();
    let follower = scribe.follow_all(&scribe.read()).unwrap();
    assert_eq!(scribe.follower(Depth::Full).state(), None, "nothing was followed yet");
    let resume = |change: &dyn Fn(&mut FollowerState), depth| {
        let mut changed = state(&follower);
        change(&mut changed);
        Follower::resume(depth, changed).is_some()
    };
    assert!(resume(&|_| (), Depth::Full));
    assert!(!resume(&|state| state.tree = None, Depth::Chain));
    assert!(resume(&|state| state.tree = None, Depth::Replay));
    assert!(!resume(&|state| state.replay = None, Depth::Replay));
    assert!(resume(&|state| state.replay = None, Depth::Signatures));
    assert!(!resume(&|state| state.head.size -= 1, Depth::Full));
    assert!(!resume(&|state| state.head = Head::EMPTY, Depth::Replay));
    let other = scribe.contract.ledger();
    let other = Digest(other.0.map(|byte| !byte));
    let replay = colearn_records::replay::Replay::resume(Contract::new(other, VERSION));
    assert!(!resume(&|state| state.replay = Some(replay.clone()), Depth::Full));
}
