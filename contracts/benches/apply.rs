//! What a vote costs the contract alone, with few and with many members, and what a snapshot of its
//! state costs.
//!
//! Run with `cargo bench -p colearn-contracts`. The rates are to be the same whatever the number of
//! members: a hash of the same 300 bytes, measured in the same run, is the yardstick.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::hint::black_box;
// Time is measured here, not decided upon.
#[allow(clippy::disallowed_types)]
use std::time::Instant;

use colearn_contracts::{
    Act, Action, Admission, Choice, Contract, CreateExperiment, Digest, ExperimentName, Join,
    LearnerId, Model, Moment, Parameters, Phase, Proposal, Scores, VERSION, Vote,
};
use colearn_testkit::Figures;
use sha2::{Digest as _, Sha256};

const VOTES: usize = 200_000;

fn id(number: usize) -> LearnerId {
    // Spread over the keys' space, as real keys are.
    LearnerId(Sha256::digest((number as u64).to_be_bytes()).into())
}

fn model(number: u64) -> Model {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&number.to_be_bytes());
    Model { digest: Digest(digest), size: 8, media_type: "m".into() }
}

/// An experiment with this many members, in its first round.
fn contract(members: usize) -> Contract {
    let mut contract = Contract::new(Digest([0; 32]), VERSION);
    let parameters = Parameters { min_learners: members as u32, ..Parameters::default() };
    let create = CreateExperiment {
        version: VERSION.number(),
        parameters,
        admission: Admission::Open,
        model: model(0),
        plan: None,
    };
    let at = Moment::without_ledger(0);
    let experiment: ExperimentName = "bench".parse().unwrap();
    contract.apply(at, id(0), &Action::new(experiment.clone(), Act::Create(create))).unwrap();
    let terms = contract.experiment(&experiment).unwrap().terms();
    let join = Action::new(experiment, Act::Join(Join::new(0, Some(terms))));
    for member in 0..members {
        contract.apply(at, id(member), &join).unwrap();
    }
    contract
}

#[allow(clippy::disallowed_types)]
fn main() {
    let bytes = [7; 300];
    let started = Instant::now();
    for _ in 0..VOTES {
        black_box(Sha256::digest(black_box(bytes)));
    }
    let hashes = VOTES as f64 / started.elapsed().as_secs_f64();
    println!("SHA-256 of 300 bytes: {hashes:.0}/s");
    let mut figures = Figures::of("contract", env!("CARGO_TARGET_TMPDIR"));
    let mut of_few = 0.0;
    for members in [10, 1_000, 10_000, 100_000] {
        let ids: Vec<LearnerId> = (0..members).map(id).collect();
        let mut contract = contract(members);
        let at = Moment::without_ledger(1);
        let experiment = "bench".parse().unwrap();
        let mut votes = 0;
        let mut spent = std::time::Duration::ZERO;
        let mut round = 1;
        while votes < VOTES {
            let now = contract.experiment(&experiment).unwrap();
            let Phase::Proposing { proposer, .. } = *now.phase() else { panic!() };
            let proposal = Proposal {
                round,
                base: now.model().digest,
                weights: model(round),
                scores: Scores::default(),
                privacy: None,
            };
            contract
                .apply(at, proposer, &Action::new(experiment.clone(), Act::Propose(proposal)))
                .unwrap();
            let scores = Scores { vote: Some(950_000), test: Some(940_000) };
            let weights = model(round).digest;
            let choice = Choice::Approve;
            let vote = Vote { round, weights, choice, reason: None, scores, link: None };
            let vote = Action::new(experiment.clone(), Act::Vote(vote));
            let started = Instant::now();
            for voter in ids.iter().filter(|voter| **voter != proposer) {
                black_box(contract.apply(at, *voter, &vote).unwrap());
            }
            spent += started.elapsed();
            votes += members - 1;
            round += 1;
        }
        let rate = votes as f64 / spent.as_secs_f64();
        let figure = format!("votes among {members} members, to few");
        let told = format!("{rate:.0}/s, {:.2} of the hashes, {} rounds", rate / hashes, round - 1);
        match members {
            10 => {
                of_few = rate;
                figures.told(&figure, &told);
            }
            10_000 => figures.at_least(&figure, &told, rate / of_few, 0.7),
            _ => figures.told(&figure, &told),
        }
        let started = Instant::now();
        let snapshot = postcard::to_allocvec(&contract).unwrap();
        let written = started.elapsed();
        let started = Instant::now();
        let restored: Contract = postcard::from_bytes(&snapshot).unwrap();
        println!(
            "{:>14} snapshot: {} bytes in {written:.1?}, restored in {:.1?}",
            "",
            snapshot.len(),
            started.elapsed()
        );
        assert_eq!(restored, contract);
    }
    figures.end();
}
