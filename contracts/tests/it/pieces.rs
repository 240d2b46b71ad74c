//! Experiments that are kept in pieces: whatever is done to them, they decide as those in memory do, and the
//! pieces are those of what is in memory. What they read and write is counted.

use std::cell::Cell;
use std::collections::BTreeMap;

use colearn_contracts::pieces::{self, Kept, Ledger, NotDone, Store};
use colearn_contracts::{
    Act, Action, Admission, BallotKind, Charter, Choice, Contract, CreateExperiment, Creators,
    ExperimentName, Join, LINKS, LearnerId, Limits, Moment, Outcome, Parameters, Phase, Rejection,
    Scores, Selection, VERSION, Version, Vote, link,
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
        let kept: BTreeMap<_, _> = Store::range(&self.store.values, &prefix).into_iter().collect();
        assert_eq!(kept, pieces);
        assert_eq!(self.run(|kept| kept.experiment(name)).unwrap().as_ref(), Some(experiment));
        let (core, seats) = (prefix.len() + 1, prefix.len() + 33);
        for (key, value) in &pieces {
            match (key[prefix.len()], key.len()) {
                (b'c', len) if len == core => assert!(value.len() <= 512, "{}", value.len()),
                (b'm' | b'l', len) if len == seats => {
                    assert!(value.len() <= 120, "{}", value.len())
                }
                _ => {}
            }
        }
    }
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
                assert!(self.store.written.len() <= 3, "{:?}", self.store.written);
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

/// A round of so many, of whom some have left before; the votes on its first proposal one after the other.
fn votes(members: u32, gone: u32, parameters: Parameters) -> (usize, usize, usize) {
    let charter = Charter { creators: Creators::Anybody, max_members: 100_000 };
    let contract = Contract::on_chain(LEDGER, Version::V2, Limits::default(), charter);
    let mut pieces = Pieces::beside(&contract);
    let name: ExperimentName = "a-study-of-middling-length".parse().unwrap();
    let at = Moment::without_ledger(1);
    let who = |number: u32| {
        let mut key = [7; 32];
        key[..4].copy_from_slice(&number.to_be_bytes());
        LearnerId(key)
    };
    let ask = |pieces: &mut Pieces, sender: u32, what: Act| {
        let action = Action::new(name.clone(), what);
        pieces.run(|kept| kept.apply(at, who(sender), &action)).unwrap()
    };
    let drawn = parameters.selection == Selection::Sortition;
    let create = CreateExperiment {
        version: VERSION.number(),
        parameters: Parameters { min_learners: members, ..parameters },
        admission: Admission::Open,
        model: model(0),
        plan: None,
    };
    ask(&mut pieces, 0, Act::Create(create));
    let experiment = pieces.run(|kept| kept.experiment(&name)).unwrap().unwrap();
    for number in members..members + gone {
        ask(&mut pieces, number, Act::Join(Join::new(0, Some(experiment.terms()))));
        ask(&mut pieces, number, Act::Leave { term: 0, renounce: false });
    }
    for number in 0..members {
        ask(&mut pieces, number, Act::Join(Join::new(0, Some(experiment.terms()))));
    }
    let experiment = pieces.run(|kept| kept.experiment(&name)).unwrap().unwrap();
    let Phase::Proposing { proposer, .. } = *experiment.phase() else { panic!("no round") };
    let proposer = u32::from_be_bytes(proposer.0[..4].try_into().unwrap());
    let proposal = colearn_contracts::Proposal {
        round: 1,
        base: model(0).digest,
        weights: model(1),
        scores: Scores::default(),
        privacy: None,
    };
    ask(&mut pieces, proposer, Act::Propose(proposal));
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
        let outcomes = ask(&mut pieces, voter, Act::Vote(vote));
        if outcomes.is_empty() {
            reads = reads.max(pieces.store.reads.get());
            writes = writes.max(pieces.store.written.len());
            bytes = bytes.max(pieces.store.bytes());
        }
    }
    (reads, writes, bytes)
}

#[test]
fn a_vote_costs_the_same_however_many_there_are() {
    for selection in [Selection::RoundRobin, Selection::Sortition] {
        let rules = || Parameters { selection, ballot: BallotKind::Open, ..Parameters::default() };
        let few = votes(5, 0, rules());
        for (members, gone) in [(5, 60), (50, 0), (150, 30)] {
            let many = votes(members, gone, rules());
            println!("{members} members, {gone} gone: reads, writes, bytes {many:?}");
            assert_eq!((many.0, many.1), (few.0, few.1));
            assert!(many.0 <= 2 && many.1 <= 2 && many.2 < few.2 + 8, "{many:?} after {few:?}");
        }
        assert!(few.2 <= 512, "{few:?}");
    }
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
