//! Experiments that are kept in pieces: whatever is done to them, they decide as those in memory do, and the
//! pieces are those of what is in memory. What they read and write is counted.

use std::cell::Cell;
use std::collections::BTreeMap;

use colearn_contracts::pieces::{self, Kept, Ledger, NotDone, Store};
use colearn_contracts::{
    Act, Action, Admission, BallotKind, Charter, Choice, Close, Contract, CreateExperiment,
    Creators, Decision, Digest, Experiment, ExperimentName, Join, LINKS, LearnerId, Limits,
    MAX_MEMBERS, MergeVote, Merges, Merging, Moment, Motion, OpenMotion, Outcome, Parameters,
    Phase, PrivacyCap, Rejection, Scores, Selection, Update, VERSION, Version, Vote, link, terms,
};

use crate::history::world::{Rules, Watch, history};
use crate::history::{LEDGER, chance};
use crate::script::model;

/// A store that counts.
#[derive(Default)]
struct Counted {
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    reads: Cell<usize>,
    /// The bytes that were written, by their keys.
    written: BTreeMap<Vec<u8>, usize>,
}

impl Counted {
    fn forget(&mut self) {
        self.reads.set(0);
        self.written.clear();
    }

    /// How many bytes were written, with their keys.
    fn bytes(&self) -> usize {
        self.written.iter().map(|(key, bytes)| key.len() + bytes).sum()
    }
}

impl Store for Counted {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.reads.set(self.reads.get() + 1);
        self.values.get(key).cloned()
    }

    fn range(&self, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let found = Store::range(&self.values, prefix);
        self.reads.set(self.reads.get() + found.len());
        found
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        assert!(!value.is_empty(), "a store keeps no empty values");
        self.written.insert(key.to_vec(), value.len());
        self.values.insert(key.to_vec(), value.to_vec());
    }

    fn remove(&mut self, key: &[u8]) {
        self.written.insert(key.to_vec(), 0);
        self.values.remove(key);
    }
}

/// Keeps in pieces what a contract has in memory, and compares.
struct Pieces {
    ledger: Ledger,
    store: Counted,
    now_ms: u64,
    /// How often something was counted and nothing followed.
    counted: usize,
}

impl Pieces {
    fn beside(contract: &Contract) -> Self {
        let ledger = Ledger {
            id: contract.ledger(),
            version: contract.version(),
            limits: contract.limits(),
            charter: contract.charter().unwrap().clone(),
        };
        Self { ledger, store: Counted::default(), now_ms: 0, counted: 0 }
    }

    fn run<T>(&mut self, run: impl FnOnce(&mut Kept<'_, Counted>) -> T) -> T {
        self.store.forget();
        let mut kept = Kept::new(&self.ledger, &mut self.store, self.now_ms);
        let result = run(&mut kept);
        self.now_ms = kept.now_ms();
        result
    }

    /// Whether an experiment is kept as it is in memory, and nothing else of it.
    fn compare(&mut self, contract: &Contract, name: &ExperimentName) {
        let Some(experiment) = contract.experiment(name) else { return };
        let pieces = pieces::of(experiment);
        let prefix = [&[b'x', name.as_str().len() as u8], name.as_str().as_bytes()].concat();
        let kind = |key: &[u8]| (key[prefix.len()], key.len() - prefix.len());
        // Who has voted on a motion stays when that has ended.
        let is_open = |key: &[u8]| {
            let number = u64::from_be_bytes(key[prefix.len() + 1..][..8].try_into().unwrap());
            experiment.motions().any(|(open, _)| open == number)
        };
        let kept = Store::range(&self.store.values, &prefix).into_iter();
        let kept: BTreeMap<_, _> =
            kept.filter(|(key, _)| kind(key).0 != b'v' || is_open(key)).collect();
        assert!(kept.keys().eq(pieces.keys()), "{kept:?}: {pieces:?}");
        for (key, value) in &kept {
            match kind(key) {
                // How often budgets were renewed is in none that is whole: what is read says it.
                (b'x', 1) | (b'l', 33) => {}
                _ => assert_eq!(value, &pieces[key], "{key:?}"),
            }
        }
        assert_eq!(self.run(|kept| kept.experiment(name)).unwrap().as_ref(), Some(experiment));
        let standing = self.run(|kept| kept.standing(name)).unwrap().unwrap();
        assert_eq!(told(&standing), told(experiment));
        for (key, value) in &kept {
            match kind(key) {
                (b'c', 1) => assert!(value.len() <= 512, "{}", value.len()),
                (b'm' | b'l', 33) => assert!(value.len() <= 120, "{}", value.len()),
                _ => {}
            }
        }
    }
}

/// What is told of an experiment to who asks.
fn told(experiment: &Experiment) -> impl PartialEq + std::fmt::Debug {
    let one = [experiment.creator(), experiment.created_by()];
    let models = (experiment.model().clone(), experiment.previous().clone(), experiment.plan());
    let seated = experiment.seated();
    let called = |it: LearnerId| (it, experiment.member(it).and_then(|it| it.name.clone()));
    let motions = experiment.motions().map(|(number, open)| {
        let OpenMotion { motion, mover, tally, version, threshold, deadline_ms, .. } = open.clone();
        (number, motion, mover, tally, version, threshold, deadline_ms)
    });
    (
        (one, experiment.version(), experiment.terms(), experiment.parameters().clone(), models),
        (experiment.admission(), experiment.round(), experiment.phase().clone()),
        seated.map(called).collect::<Vec<_>>(),
        (motions.collect::<Vec<_>>(), experiment.last_motion(), experiment.governing_weight()),
    )
}

impl Watch for Pieces {
    fn time(
        &mut self,
        at: Moment,
        touched: Option<&ExperimentName>,
        _: &Contract,
        after: &Contract,
        outcomes: &[Outcome],
    ) {
        let name = touched.unwrap();
        assert_eq!(self.run(|kept| kept.touch(at, name)).unwrap(), outcomes);
        assert_eq!(outcomes.is_empty(), self.store.written.is_empty());
        self.compare(after, name);
    }

    fn upgraded(&mut self, _: u64, _: Version, _: Limits) {
        panic!("a chain's ledger is never upgraded");
    }

    fn asked(
        &mut self,
        at: Moment,
        _: &Contract,
        after: &Contract,
        (sender, action): (LearnerId, &Action),
        result: &Result<Vec<Outcome>, Rejection>,
    ) {
        let kept = self.run(|kept| kept.apply(at, sender, action));
        assert_eq!(kept, result.clone().map_err(NotDone::Refused), "{action:?}");
        let quiet = result.as_ref().is_ok_and(Vec::is_empty);
        match &action.what {
            _ if result.is_err() => assert!(self.store.written.is_empty(), "refused, and written"),
            Act::Vote(_) | Act::Commit(_) | Act::Reveal(_) | Act::Evaluate(_) if quiet => {
                self.counted += 1;
                // Where it stands, and who has voted. A merged round may read its leading pair and its own.
                assert!(self.store.written.len() <= 2, "{:?}", self.store.written);
                assert!(self.store.reads.get() <= 4, "{}", self.store.reads.get());
            }
            Act::MergeVote(_) | Act::RevealMergeVote(_) | Act::Have { .. } if quiet => {
                self.counted += 1;
                // A pair that a checker is the first of them to name is kept elsewhere from then on.
                let forgotten = self.store.written.values().filter(|bytes| **bytes == 0).count();
                assert!(self.store.written.len() <= 3 + forgotten, "{:?}", self.store.written);
                assert!(forgotten <= 1, "{:?}", self.store.written);
            }
            _ => {}
        }
        self.compare(after, &action.experiment);
    }
}

#[test]
fn pieces_decide_as_the_whole_does() {
    let steps = std::env::var("COLEARN_STEPS").ok().and_then(|steps| steps.parse().ok());
    let mut left: u64 = steps.unwrap_or(25_000);
    let mut counted = 0;
    for seed in 0.. {
        let beginning = crate::history::world::beginning(&mut chance(seed), Rules::OnChain);
        let run = std::panic::catch_unwind(|| {
            let mut pieces = Pieces::beside(&beginning);
            let (count, _) = history(seed, Rules::OnChain, &mut pieces);
            (count.steps, pieces.counted)
        });
        let (steps, quiet) = run.unwrap_or_else(|_| panic!("with the seed {seed}"));
        counted += quiet;
        match left.checked_sub(steps) {
            Some(rest) => left = rest,
            None => break,
        }
    }
    assert!(counted > 1_000, "{counted} quiet votes");
}

/// An experiment that anybody may join, in its first round. Its members are called by number.
struct Crowd {
    pieces: Pieces,
    name: ExperimentName,
    terms: Digest,
}

fn who(number: u32) -> LearnerId {
    let mut key = [7; 32];
    key[..4].copy_from_slice(&number.to_be_bytes());
    LearnerId(key)
}

impl Crowd {
    /// So many members, before whom so many others have come and gone, each under a name.
    fn of(members: u32, gone: u32, parameters: Parameters) -> Self {
        let charter = Charter { creators: Creators::Anybody, max_members: 100_000 };
        let contract = Contract::on_chain(LEDGER, Version::V2, Limits::default(), charter);
        let parameters = Parameters { min_learners: members, ..parameters };
        let terms = terms(VERSION, who(0), &parameters, &Admission::Open);
        let name = "a-study-of-middling-length".parse().unwrap();
        let mut crowd = Self { pieces: Pieces::beside(&contract), name, terms };
        let create = CreateExperiment {
            version: VERSION.number(),
            parameters,
            admission: Admission::Open,
            model: model(0),
            plan: None,
        };
        crowd.ask(0, Act::Create(create));
        for number in members..members + gone {
            crowd.join(number, 0, Some(&format!("number {number}")));
            crowd.ask(number, Act::Leave { term: 0, renounce: false });
        }
        for number in 0..members {
            crowd.join(number, 0, None);
        }
        crowd
    }

    fn try_to(&mut self, sender: u32, what: Act) -> Result<Vec<Outcome>, NotDone> {
        let action = Action::new(self.name.clone(), what);
        self.pieces.run(|kept| kept.apply(Moment::without_ledger(1), who(sender), &action))
    }

    fn ask(&mut self, sender: u32, what: Act) -> Vec<Outcome> {
        self.try_to(sender, what).unwrap()
    }

    fn join(&mut self, sender: u32, term: u32, name: Option<&str>) -> Vec<Outcome> {
        let name = name.map(|name| name.parse().unwrap());
        self.ask(sender, Act::Join(Join { name, ..Join::new(term, Some(self.terms)) }))
    }

    /// How many values the last thing asked has read.
    fn reads(&self) -> usize {
        self.pieces.store.reads.get()
    }

    fn experiment(&mut self) -> Experiment {
        let Self { pieces, name, .. } = self;
        pieces.run(|kept| kept.experiment(name)).unwrap().unwrap()
    }

    /// Whose turn it is.
    fn proposer(&mut self) -> u32 {
        let Phase::Proposing { proposer, .. } = *self.experiment().phase() else {
            panic!("nobody proposes")
        };
        u32::from_be_bytes(proposer.0[..4].try_into().unwrap())
    }
}

/// The votes on the first proposal of so many, of whom some have left before.
fn votes(members: u32, gone: u32, parameters: Parameters) -> (usize, usize, usize) {
    votes_of(&mut Crowd::of(members, gone, parameters), members)
}

/// The votes on the first proposal, one after the other: the most that one read and wrote.
fn votes_of(crowd: &mut Crowd, members: u32) -> (usize, usize, usize) {
    let drawn = crowd.experiment().parameters().selection == Selection::Sortition;
    let proposer = crowd.proposer();
    let proposal = colearn_contracts::Proposal {
        round: 1,
        base: model(0).digest,
        weights: model(1),
        scores: Scores::default(),
        privacy: None,
    };
    crowd.ask(proposer, Act::Propose(proposal));
    let (mut reads, mut writes, mut bytes) = (0, 0, 0);
    for voter in (0..members).filter(|voter| *voter != proposer) {
        let vote = Vote {
            round: 1,
            weights: model(1).digest,
            choice: Choice::Approve,
            reason: None,
            scores: Scores::default(),
            link: drawn.then(|| link([voter as u8; 32], LINKS)),
        };
        let outcomes = crowd.ask(voter, Act::Vote(vote));
        if outcomes.is_empty() {
            reads = reads.max(crowd.reads());
            writes = writes.max(crowd.pieces.store.written.len());
            bytes = bytes.max(crowd.pieces.store.bytes());
        }
    }
    (reads, writes, bytes)
}

#[test]
fn a_vote_costs_the_same_however_many_there_are() {
    for selection in [Selection::RoundRobin, Selection::Sortition] {
        let rules = || Parameters { selection, ballot: BallotKind::Open, ..Parameters::default() };
        let few = votes(5, 0, rules());
        for (members, gone) in [(5, 60), (50, 0), (150, 30), (500, 0), (5, 10_000)] {
            let many = votes(members, gone, rules());
            println!("{members} members, {gone} gone: reads, writes, bytes {many:?}");
            assert_eq!((many.0, many.1), (few.0, few.1));
            assert!(many.0 <= 2 && many.1 <= 2 && many.2 < few.2 + 8, "{many:?} after {few:?}");
        }
        assert!(few.2 <= 512, "{few:?}");
    }
}

/// What is read by everything that once read all who had left, beside so many of these.
fn reads_beside(gone: u32) -> Vec<(&'static str, usize)> {
    let ballot = BallotKind::Open;
    let rules = || Parameters { ballot, creator_may_stop: true, ..Parameters::default() };
    let mut crowd = Crowd::of(5, gone, rules());
    let mut reads = Vec::new();
    let mut note = |what, crowd: &Crowd| reads.push((what, crowd.reads()));
    let privacy = Some(PrivacyCap { epsilon_micros: 1, delta_picos: 1 });
    let private = Parameters { min_learners: 5, privacy, ..rules() };
    let motions = [
        Motion::SetParameters(Box::new(private)),
        Motion::Expel(who(4)),
        // Somebody who has gone.
        Motion::Expel(who(5)),
    ];
    for (number, motion) in (1..).zip(motions) {
        crowd.ask(0, Act::Move { number, motion });
        note("a motion", &crowd);
        crowd.ask(1, Act::MotionVote { number, approve: true });
        note("a vote on it", &crowd);
        let adopted = crowd.ask(2, Act::MotionVote { number, approve: true });
        note("the vote that adopts it", &crowd);
        let is_adopted =
            |it: &Outcome| matches!(it.what, Decision::MotionDecided { adopted, .. } if adopted);
        assert!(adopted.iter().any(is_adopted), "{adopted:?}");
    }
    crowd.ask(1, Act::ReplaceKey { to: who(1_000_000) });
    note("another key", &crowd);
    let outcomes = crowd.join(1_000_001, 0, Some("somebody new"));
    assert!(outcomes.is_empty(), "{outcomes:?}");
    note("who comes", &crowd);
    crowd.join(6, 1, None);
    note("who comes back", &crowd);
    crowd.ask(6, Act::Leave { term: 1, renounce: false });
    note("who goes again", &crowd);
    let proposer = crowd.proposer();
    let closed = crowd.ask(proposer, Act::Pass { round: 1, exhausted: false, reason: None });
    note("a round's end, where motions take effect", &crowd);
    let effects = closed.iter().filter(|it| matches!(it.what, Decision::MotionTookEffect { .. }));
    assert_eq!(effects.count(), 3);
    crowd.pieces.run(|kept| kept.standing(&crowd.name)).unwrap();
    note("a question", &crowd);
    crowd.ask(0, Act::Stop);
    note("the end", &crowd);
    reads
}

#[test]
fn what_strangers_leave_behind_is_read_by_nothing() {
    let few = reads_beside(2);
    println!("{few:?}");
    assert_eq!(reads_beside(10_000), few);
    assert!(few.iter().all(|(_, reads)| *reads <= 40), "{few:?}");
}

#[test]
fn where_there_is_room_for_nobody_else_nobody_is_counted() {
    let mut crowd = Crowd::of(5, MAX_MEMBERS as u32 - 5, Parameters::default());
    let join = Act::Join(Join::new(0, Some(crowd.terms)));
    let refused = crowd.try_to(1_000_000, join);
    assert_eq!(refused, Err(NotDone::Refused(Rejection::TooManyMembers)));
    assert!(crowd.reads() <= 15, "{}", crowd.reads());
    // Who has been one may come again.
    crowd.join(5, 1, None);
    assert!(crowd.reads() <= 15, "{}", crowd.reads());
}

/// The most that a vote reads in a merged round of so many in which everybody names another pair.
fn reads_of_merge_votes(members: u32, rules: Parameters) -> usize {
    let merging = rules.merging;
    let mut crowd = Crowd::of(members, 0, rules);
    let Phase::Merged(round) = crowd.experiment().phase().clone() else {
        panic!("no merged round")
    };
    let number = |learner: LearnerId| u32::from_be_bytes(learner.0[..4].try_into().unwrap());
    for (place, participant) in (1..).zip(&round.participants) {
        let update = Update {
            round: 1,
            base: model(0).digest,
            weights: model(place),
            scores: Scores::default(),
            privacy: None,
        };
        crowd.ask(number(participant.learner), Act::Update(update));
    }
    let mut most = 0;
    let mut quiet = 0;
    for voter in 0..members {
        let vote = MergeVote {
            round: 1,
            merges: Merges { open: Some(Digest(who(1_000 + voter).0)), guarded: None },
            bear_open: true,
            bear_guarded: false,
            prefer_guarded: false,
            reason: None,
            scores_open: Scores::default(),
            scores_guarded: Scores::default(),
            link: merging.is_some_and(|it| it.checkers > 0).then(|| link([voter as u8; 32], LINKS)),
        };
        if !crowd.ask(voter, Act::MergeVote(vote)).is_empty() {
            break;
        }
        most = most.max(crowd.reads());
        quiet += 1;
    }
    assert!(quiet > members / 3, "{quiet}");
    most
}

#[test]
fn a_vote_for_a_pair_that_nobody_has_named_does_not_read_the_others() {
    let merging = |checkers| Some(Merging { proposers: 2, checkers, ..Merging::default() });
    let rules =
        || Parameters { ballot: BallotKind::Open, merging: merging(0), ..Parameters::default() };
    let drawn = || Parameters {
        merging: merging(3),
        selection: Selection::Sortition,
        close: Close::Early,
        ..rules()
    };
    // Where rounds close early, the pairs that checkers name are read; here at most three.
    for (rules, checked) in [(rules(), 0), (drawn(), 3)] {
        let few = reads_of_merge_votes(9, rules.clone());
        let many = reads_of_merge_votes(90, rules);
        assert!(few <= 10 && many <= few + checked, "{few} values, and then {many}");
    }
}

#[test]
fn a_damaged_count_of_a_creators_experiments_ends_the_call() {
    let mut crowd = Crowd::of(5, 0, Parameters { creator_may_stop: true, ..Parameters::default() });
    let key = [b"u", &who(0).0[..]].concat();
    for damaged in [None, Some(vec![1]), Some(vec![0; 4])] {
        let before = crowd.pieces.store.values.clone();
        match damaged {
            Some(damaged) => crowd.pieces.store.values.insert(key.clone(), damaged),
            None => crowd.pieces.store.values.remove(&key),
        };
        let stopped = crowd.try_to(0, Act::Stop);
        assert!(matches!(&stopped, Err(NotDone::Damaged(it)) if it.key == key), "{stopped:?}");
        assert!(crowd.pieces.store.written.is_empty());
        crowd.pieces.store.values = before;
    }
    crowd.ask(0, Act::Stop);
    assert!(!crowd.pieces.store.values.contains_key(&key));
}

#[test]
fn a_vote_costs_the_same_beside_motions_and_experiments_of_others() {
    let rules = || Parameters { ballot: BallotKind::Open, ..Parameters::default() };
    let (reads, writes, _) = votes(9, 0, rules());
    let mut crowd = Crowd::of(9, 0, rules());
    for number in 1..9_u32 {
        let motion = Motion::Suspend(who(0));
        crowd.ask(number, Act::Move { number: number.into(), motion });
    }
    let name = crowd.name.clone();
    for number in 0..1_000 {
        // Keys that begin as those of the other one, but for the length.
        crowd.name = format!("{name}-{number}").parse().unwrap();
        let create = CreateExperiment {
            version: VERSION.number(),
            parameters: Parameters::default(),
            admission: Admission::Open,
            model: model(0),
            plan: None,
        };
        crowd.ask(1_000 + number, Act::Create(create));
    }
    crowd.name = name;
    let beside = votes_of(&mut crowd, 9);
    assert_eq!((beside.0, beside.1), (reads, writes));
}

#[test]
fn what_others_have_written_is_not_taken_for_an_experiment() {
    let charter = Charter { creators: Creators::Anybody, max_members: 9 };
    let contract = Contract::on_chain(LEDGER, Version::V2, Limits::default(), charter);
    let mut pieces = Pieces::beside(&contract);
    let name: ExperimentName = "x".parse().unwrap();
    pieces.store.values.insert(b"x\x01xc".to_vec(), vec![255; 9]);
    let at = Moment::without_ledger(1);
    assert!(pieces.run(|kept| kept.touch(at, &name)).is_err());
    let stop = Action::new(name, Act::Stop);
    let stopped = pieces.run(|kept| kept.apply(at, LearnerId([1; 32]), &stop));
    assert!(matches!(&stopped, Err(NotDone::Damaged(damaged)) if damaged.key == b"x\x01xc"));
    assert!(stopped.unwrap_err().to_string().contains("780178"));
}
