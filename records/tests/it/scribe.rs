//! Writes ledgers as a node would.

use bytes::Bytes;
use colearn_contracts::*;
use colearn_ledger::note::KeyKind;
use colearn_ledger::{Checkpoint, Entry, Hash, Head, Signer, TreeBuilder, tree};
use colearn_proto::v1;
use colearn_records::follower::{Depth, Fault, Follower, FollowerState, ReadEntry};
use colearn_records::keys::learner_id;
use colearn_records::on_chain::PublicChain;
use colearn_records::transaction::{LedgerId, Seen, Transaction};
use colearn_records::{log_keys, record, upgrade};
use ed25519_dalek::SigningKey;
use proptest::prelude::*;

pub(crate) const ORIGIN: &str = "example.org/log";

pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

pub(crate) fn learner(seed: u8) -> LearnerId {
    learner_id(&key(seed))
}

pub(crate) fn model(byte: u8) -> Model {
    Model { digest: Digest([byte; 32]), size: 1, media_type: "m".to_owned() }
}

/// Limits under which transactions expire after so long.
pub(crate) fn expiring(expiry_ms: u64) -> Limits {
    Limits { expiry_ms, ..Limits::default() }
}

/// The genesis of a ledger that begins with this version.
pub(crate) fn genesis(version: Version, limits: Option<Limits>) -> v1::Genesis {
    v1::Genesis {
        origin: ORIGIN.to_owned(),
        log_public_key: Bytes::copy_from_slice(key(100).verifying_key().as_bytes()),
        nonce: Bytes::from_static(&[7; 32]),
        contract_version: version.number(),
        validators: Vec::new(),
        time_ms: 0,
        limits: limits.as_ref().map(upgrade::limits_message),
        chain: None,
    }
}

/// Writes a ledger with one experiment, as a node would.
pub(crate) struct Scribe {
    pub(crate) id: LedgerId,
    pub(crate) name: ExperimentName,
    pub(crate) contract: Contract,
    pub(crate) head: Head,
    pub(crate) leaves: Vec<Hash>,
    tree: TreeBuilder,
    pub(crate) entries: Vec<Vec<u8>>,
    /// When each entry was recorded.
    times: Vec<u64>,
    pub(crate) now_ms: u64,
    pub(crate) log_key: u8,
    limits: Limits,
    /// What was proposed last.
    pub(crate) proposed: Digest,
}

impl Scribe {
    /// A ledger of the present version, whose experiment anyone may join.
    pub(crate) fn new() -> Self {
        Self::begin(VERSION, Limits::default(), Admission::Open)
    }

    /// A ledger that begins with this version, and has these limits from version 2 on.
    pub(crate) fn begin(version: Version, limits: Limits, admission: Admission) -> Self {
        let mut scribe = Self::empty(version, limits);
        let parameters = Parameters { min_learners: 1, ..Parameters::default() };
        let create = CreateExperiment {
            version: version.number(),
            parameters,
            admission,
            model: model(0),
            plan: None,
        };
        assert!(scribe.act(1, 0, Act::Create(create)));
        scribe
    }

    /// The same without an experiment.
    pub(crate) fn empty(version: Version, limits: Limits) -> Self {
        let stated = (version > Version::V1).then_some(limits);
        Self::of(genesis(version, stated), version, limits)
    }

    /// The same with this first entry.
    pub(crate) fn of(genesis: v1::Genesis, version: Version, limits: Limits) -> Self {
        let stated = (version > Version::V1).then_some(limits);
        let id = LedgerId::of(&genesis);
        let limits_there = stated.unwrap_or_default();
        let contract = match PublicChain::of_genesis(&genesis).unwrap() {
            Some(chain) => {
                Contract::on_chain(Digest(id.0), version, limits_there, chain.charter().clone())
            }
            None => Contract::with_limits(Digest(id.0), version, limits_there),
        };
        let mut scribe = Self {
            id,
            name: "x".parse().unwrap(),
            contract,
            head: Head::EMPTY,
            leaves: Vec::new(),
            tree: TreeBuilder::new(),
            entries: Vec::new(),
            times: Vec::new(),
            now_ms: 1_000,
            log_key: 100,
            limits,
            proposed: Digest([0; 32]),
        };
        scribe.append(record::genesis_payload(genesis));
        scribe
    }

    pub(crate) fn append(&mut self, payload: Vec<u8>) {
        let Head { size, leaf, .. } = self.head;
        let bytes = Entry { index: size, parent: leaf, time_ms: self.now_ms, payload }.encode();
        let leaf = Hash::leaf(&bytes);
        self.head = Head { size: size + 1, leaf, time_ms: self.now_ms };
        self.leaves.push(leaf);
        self.tree.push(leaf);
        self.entries.push(bytes);
        self.times.push(self.now_ms);
    }

    fn moment(&self) -> Moment {
        Moment { now_ms: self.now_ms, head: Digest(self.head.leaf.0) }
    }

    fn record_outcomes(&mut self, outcomes: &[Outcome]) {
        outcomes.iter().for_each(|outcome| self.append(record::outcome_payload(outcome)));
    }

    /// The first so many entries, as their signer saw them.
    pub(crate) fn seen(&self, size: u64) -> Seen {
        let size = size.min(self.head.size);
        Seen { size, root: tree::root(&self.tree, size).unwrap() }
    }

    pub(crate) fn sign(&self, learner: u8, seen: u64, what: Act) -> Transaction {
        let action = Action::new(self.name.clone(), what);
        Transaction::sign(&key(learner), &self.id, self.seen(seen), action)
    }

    /// Records an action whose signer has seen the first `seen` entries, unless it is refused.
    pub(crate) fn act(&mut self, learner: u8, seen: u64, what: Act) -> bool {
        self.wait(1);
        let signed = self.sign(learner, seen, what);
        self.transact(&signed)
    }

    /// Records a transaction, unless it is refused.
    pub(crate) fn transact(&mut self, signed: &Transaction) -> bool {
        if self.check_fresh(signed).is_err() {
            return false;
        }
        if self.is_on_chain() {
            self.touch(&signed.action().experiment);
        }
        let Ok(outcomes) = self.contract.apply(self.moment(), signed.sender(), signed.action())
        else {
            return false;
        };
        self.append(record::transaction_payload(signed));
        self.record_outcomes(&outcomes);
        true
    }

    fn check_fresh(&self, signed: &Transaction) -> Result<(), Rejection> {
        let unseen_ms = self.times.get(signed.seen().size as usize).copied();
        self.contract.check_fresh(self.now_ms, unseen_ms)
    }

    /// Why a transaction is refused now, if it is.
    pub(crate) fn rejection(&self, signed: &Transaction) -> Option<Rejection> {
        let mut contract = self.contract.clone();
        self.check_fresh(signed)
            .and_then(|()| contract.apply(self.moment(), signed.sender(), signed.action()))
            .err()
    }

    pub(crate) fn wait(&mut self, ms: u64) {
        self.now_ms += ms;
        if self.is_on_chain() {
            return;
        }
        let outcomes = self.contract.advance(self.moment());
        self.record_outcomes(&outcomes);
    }

    fn is_on_chain(&self) -> bool {
        self.contract.charter().is_some()
    }

    /// R93. Records what is due of an experiment.
    pub(crate) fn touch(&mut self, name: &ExperimentName) {
        let outcomes = self.contract.touch(self.moment(), name);
        self.record_outcomes(&outcomes);
    }

    pub(crate) fn change_key(&mut self) {
        let (old, new) = (key(self.log_key), key(self.log_key + 1));
        self.log_key += 1;
        self.append(record::rotation_payload(&log_keys::sign(&self.id, &old, &new)));
    }

    /// Has new experiments follow version 2, if they do not.
    pub(crate) fn upgrade(&mut self) {
        self.wait(1);
        let (version, limits) = (Version::V2, self.limits);
        if self.contract.upgrade(self.now_ms, version, limits).is_ok() {
            let signed = upgrade::sign(&self.id, &key(self.log_key), version, limits);
            self.append(record::upgrade_payload(&signed));
        }
    }

    pub(crate) fn experiment(&self) -> &Experiment {
        self.contract.experiment(&self.name).unwrap()
    }

    /// A vote on what is proposed now.
    pub(crate) fn vote(&self, choice: Choice, reason: Option<Reason>, score: i64) -> Vote {
        let scores = Scores { vote: Some(score), test: None };
        let (round, weights) = (self.experiment().round(), self.proposed);
        Vote { round, weights, choice, reason, scores, link: None }
    }

    /// Somebody of the first four proposes, if anybody may. Everybody tries; the contract takes the one
    /// whose turn it is.
    pub(crate) fn propose(&mut self, seen: u64, score: i64) {
        let experiment = self.experiment();
        let proposal = Proposal {
            round: experiment.round(),
            base: experiment.model().digest,
            weights: model(self.head.size as u8),
            scores: Scores { vote: Some(score), test: None },
            privacy: None,
        };
        for learner in 1..=4 {
            if self.act(learner, seen, Act::Propose(proposal.clone())) {
                self.proposed = proposal.weights.digest;
            }
        }
    }

    /// The join of a learner, as the experiment's version asks for it.
    pub(crate) fn join(&self, who: u8) -> Act {
        let experiment = self.experiment();
        let term = experiment.member(learner(who)).map_or(0, |member| member.term + 1);
        let terms = (experiment.version() > Version::V1).then(|| experiment.terms());
        Act::Join(Join::new(term, terms))
    }

    /// Does what comes next in the experiment, more or less.
    pub(crate) fn step(&mut self, who: u8, what: u8, seen: u64) {
        let experiment = self.experiment();
        let round = experiment.round();
        match what {
            0..20 => {
                let join = self.join(who);
                self.act(who, seen, join);
            }
            20..24 => {
                let term = experiment.member(learner(who)).map_or(0, |member| member.term);
                self.act(who, seen, Act::Leave { term, renounce: what == 23 });
            }
            24..30 => self.wait(if what < 26 { 3_600_000 } else { 1_000 }),
            30..34 if self.is_on_chain() => self.touch(&self.name.clone()),
            30..34 => self.change_key(),
            34..55 => self.propose(seen, i64::from(what)),
            55..58 => {
                let reason = (what == 55).then_some(Reason::TooLittleData);
                // Everybody tries.
                for who in 1..=4 {
                    self.act(who, seen, Act::Pass { round, exhausted: false, reason });
                }
            }
            58..60 => {
                let measures =
                    vec![Measure { name: "accuracy".parse().unwrap(), value_micros: what.into() }];
                let number = experiment.member(learner(who)).map_or(0, |it| it.evaluations) + 1;
                let evaluation = Evaluation { number, model: experiment.model().digest, measures };
                self.act(who, seen, Act::Evaluate(evaluation));
            }
            60..64 => {
                let motion = match what {
                    60 => Motion::Adopt(Version::V2),
                    61 => Motion::Admit(named(5, "Hospital 5")),
                    62 => Motion::Admit(named(6, "Hospital 5")),
                    _ => Motion::Expel(learner(who % 4 + 1)),
                };
                let number = experiment.last_motion() + 1;
                self.act(who, seen, Act::Move { number, motion });
            }
            64..70 => {
                let number = experiment.last_motion();
                self.act(who, seen, Act::MotionVote { number, approve: what > 64 });
            }
            70..100 => {
                let (choice, reason) = match what % 6 {
                    0 => (Choice::Reject, Some(Reason::Worse)),
                    1 => (Choice::Abstain, Some(Reason::Unavailable)),
                    2 => (Choice::Reject, None),
                    _ => (Choice::Approve, None),
                };
                let vote = self.vote(choice, reason, what.into());
                self.act(who, seen, Act::Vote(vote));
            }
            _ => self.upgrade(),
        }
    }

    /// A ledger that begins so, and in which all that was done.
    pub(crate) fn written(
        (version, admission): &(Version, Admission),
        steps: &[(u8, u8, u64)],
    ) -> Self {
        // Short, so that some of what is signed early comes too late.
        let mut scribe = Self::begin(*version, expiring(2 * 3_600_000), admission.clone());
        steps.iter().for_each(|(learner, what, seen)| scribe.step(*learner, *what, *seen));
        scribe
    }

    pub(crate) fn checkpoint(&self, log_key: u8) -> String {
        let root = tree::root(&self.tree, self.head.size).unwrap();
        let signer = Signer::new(ORIGIN, KeyKind::Log, key(log_key)).unwrap();
        Checkpoint { origin: ORIGIN.to_owned(), size: self.head.size, root }.sign(&signer)
    }

    pub(crate) fn follower(&self, depth: Depth) -> Follower {
        Follower::new(depth, &self.entries[0]).unwrap()
    }

    pub(crate) fn read(&self) -> Vec<ReadEntry> {
        let reader = self.follower(Depth::Full).reader();
        self.entries.iter().map(|bytes| reader.read(bytes.clone())).collect()
    }

    /// Follows an entry, handing back what was forgotten.
    pub(crate) fn follow(&self, follower: &mut Follower, entry: &ReadEntry) -> Result<(), Fault> {
        while let Err(forgotten) = follower.prepare(entry) {
            let first = forgotten.0 as usize * 256;
            assert!(follower.recall(forgotten.0, self.leaves[first..first + 256].iter().copied()));
        }
        follower.follow(entry)
    }

    /// Follows all these entries: the follower, or at which place it refuses and why.
    pub(crate) fn follow_all(&self, entries: &[ReadEntry]) -> Result<Follower, (usize, Fault)> {
        self.follow_to(Depth::Full, entries)
    }

    /// The same, to this depth.
    pub(crate) fn follow_to(
        &self,
        depth: Depth,
        entries: &[ReadEntry],
    ) -> Result<Follower, (usize, Fault)> {
        let mut follower = self.follower(depth);
        for (place, entry) in entries.iter().enumerate() {
            self.follow(&mut follower, entry).map_err(|fault| (place, fault))?;
        }
        Ok(follower)
    }
}

/// The invitation of a learner that has a name.
pub(crate) fn named(who: u8, name: &str) -> Invitation {
    Invitation { name: Some(name.parse().unwrap()), ..Invitation::new(learner(who), 1) }
}

/// The first four, by keys; in version 2 with names, and one of them a judge.
pub(crate) fn founders(version: Version) -> Admission {
    let mut founders: Vec<Invitation> = (1..=4)
        .map(|who| match version {
            Version::V1 => Invitation::new(learner(who), 1),
            Version::V2 if who == 3 => Invitation::new(learner(who), 2),
            Version::V2 => Invitation { judge: who == 4, ..named(who, &format!("Hospital {who}")) },
        })
        .collect();
    founders.sort_by_key(|invitation| invitation.learner);
    Admission::ByVote(founders)
}

/// How a ledger begins: with either version, and an experiment for all or for some.
pub(crate) fn begin() -> impl Strategy<Value = (Version, Admission)> {
    let version = prop_oneof![Just(Version::V1), Just(Version::V2)];
    (version, any::<bool>()).prop_map(|(version, open)| match open {
        true => (version, Admission::Open),
        false => (version, founders(version)),
    })
}

/// What is done: by whom, what, and how much of the ledger it had seen.
pub(crate) fn steps() -> impl Strategy<Value = Vec<(u8, u8, u64)>> {
    prop::collection::vec((1_u8..=4, 0_u8..104, 0_u64..80), 1..40)
}

pub(crate) fn state(follower: &Follower) -> FollowerState {
    follower.state().unwrap()
}
