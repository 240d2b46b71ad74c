//! Whether the rules are still as quick as they were: `benches/apply.rs` in small.

use std::hint::black_box;

use colearn_contracts::{
    Act, Action, Admission, Choice, Contract, CreateExperiment, Digest, Join, LearnerId, Model,
    Moment, Parameters, Phase, Proposal, Scores, VERSION, Vote,
};
use colearn_testkit::assert_pace;
use sha2::{Digest as _, Sha256};

const MEMBERS: u64 = 1_000;
const ROUNDS: u64 = 5;

fn id(number: u64) -> LearnerId {
    LearnerId(Sha256::digest(number.to_be_bytes()).into())
}

fn model(number: u64) -> Model {
    let digest = Digest(Sha256::digest(number.to_be_bytes()).into());
    Model { digest, size: 8, media_type: "m".into() }
}

#[test]
fn a_vote_is_decided_at_the_pace_of_hashing() {
    let name = crate::script::name();
    let at = Moment::without_ledger(0);
    let mut contract = Contract::new(Digest([0; 32]), VERSION);
    let create = CreateExperiment {
        version: VERSION.number(),
        parameters: Parameters { min_learners: MEMBERS as u32, ..Parameters::default() },
        admission: Admission::Open,
        model: model(0),
        plan: None,
    };
    contract.apply(at, id(0), &Action::new(name.clone(), Act::Create(create))).unwrap();
    let terms = contract.experiment(&name).unwrap().terms();
    let join = Action::new(name.clone(), Act::Join(Join::new(0, Some(terms))));
    let ids: Vec<LearnerId> = (0..MEMBERS).map(id).collect();
    for id in &ids {
        contract.apply(at, *id, &join).unwrap();
    }
    let bytes = [7; 300];
    let hash = || {
        (0..ROUNDS * MEMBERS).for_each(|_| {
            black_box(Sha256::digest(black_box(bytes)));
        });
    };
    assert_pace("a vote decided, to a hash of 300 bytes", RATIO, hash, || {
        for _ in 0..ROUNDS {
            let now = contract.experiment(&name).unwrap();
            let (round, base) = (now.round(), now.model().digest);
            let Phase::Proposing { proposer, .. } = *now.phase() else { panic!() };
            let weights = model(round);
            let digest = weights.digest;
            let proposal =
                Proposal { round, base, weights, scores: Scores::default(), privacy: None };
            let propose = Action::new(name.clone(), Act::Propose(proposal));
            contract.apply(at, proposer, &propose).unwrap();
            let scores = Scores { vote: Some(950_000), test: Some(940_000) };
            let choice = Choice::Approve;
            let vote = Vote { round, weights: digest, choice, reason: None, scores, link: None };
            let vote = Action::new(name.clone(), Act::Vote(vote));
            for voter in ids.iter().filter(|voter| **voter != proposer) {
                contract.apply(at, *voter, &vote).unwrap();
            }
        }
    });
}

/// As it was on a machine with SHA extensions.
const RATIO: f64 = 1.8;
