//! Random histories: whatever is thrown at it, the contract keeps its invariants, and a second
//! contract fed only with what was accepted arrives at the same state.

use std::collections::{BTreeMap, BTreeSet};

use colearn_contracts::{
    Action, Contract, CreateExperiment, Digest, LearnerId, Outcome, Parameters, Phase, Proposal,
    Scores, Threshold, Verdict, Vote,
};
use proptest::prelude::*;

use crate::script::{defaults, model, name};

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Act(u8, Action),
}

fn step() -> impl Strategy<Value = Step> {
    let digest = || (0..4_u8).prop_map(|n| Digest([n; 32]));
    let action = prop_oneof![
        2 => (0..3_u32).prop_map(|term| Action::Join { experiment: name(), term }),
        1 => (0..3_u32).prop_map(|term| Action::Leave { experiment: name(), term }),
        1 => (0..9_u64).prop_map(|round| Action::Pass { experiment: name(), round }),
        6 => (0..9_u64, digest(), 0..4_u8).prop_map(|(round, base, weights)| {
            let weights = model(weights);
            let scores = Scores::default();
            Action::Propose(Proposal { experiment: name(), round, base, weights, scores })
        }),
        9 => (0..9_u64, digest(), any::<bool>()).prop_map(|(round, weights, approve)| {
            let scores = Scores::default();
            Action::Vote(Vote { experiment: name(), round, weights, approve, scores })
        }),
        1 => (0..50_u8).prop_map(|dice| match dice {
            0 => Action::Stop { experiment: name() },
            _ => Action::Stop { experiment: "nowhere".parse().unwrap() },
        }),
    ];
    prop_oneof![
        1 => (0..80_u64).prop_map(Step::Wait),
        9 => (0..5_u8, action).prop_map(|(who, action)| Step::Act(who, action)),
    ]
}

/// Steps that fit the present state as often as not, so that rounds really happen.
fn aim(contract: &Contract, who: u8, action: Action) -> (u8, Action) {
    let Some(experiment) = contract.experiment(&name()) else { return (who, action) };
    match (action, experiment.phase()) {
        (Action::Propose(mut proposal), Phase::Proposing { proposer, .. }) if who > 0 => {
            proposal.round = experiment.round();
            proposal.base = experiment.model().digest;
            (proposer.0[0], Action::Propose(proposal))
        }
        (Action::Vote(mut vote), Phase::Voting { weights, .. }) if vote.round > 2 => {
            vote.round = experiment.round();
            vote.weights = weights.digest;
            (who, Action::Vote(vote))
        }
        (action, _) => (who, action),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_and_replay_agrees(
        steps in proptest::collection::vec(step(), 1..120),
        threshold in (0..4_u32, 1..4_u32).prop_filter("at most 1", |(n, d)| n <= d),
        min_learners in 1..4_u32,
    ) {
        let threshold = Threshold { numerator: threshold.0, denominator: threshold.1 };
        let parameters =
            Parameters { threshold, min_learners, max_rounds: Some(8), ..defaults() };
        let create = Action::Create(CreateExperiment { name: name(), parameters, model: model(0) });
        let mut contract = Contract::new();
        let mut replayer = Contract::new();
        contract.apply(0, LearnerId([0; 32]), &create).unwrap();
        replayer.apply(0, LearnerId([0; 32]), &create).unwrap();

        let mut now = 0;
        let mut verdicts = BTreeMap::new();
        let mut voted = BTreeSet::new();
        for step in steps {
            let round = contract.experiment(&name()).unwrap().round();
            let proposer = match contract.experiment(&name()).unwrap().phase() {
                Phase::Voting { proposer, .. } => Some(*proposer),
                _ => None,
            };
            let (mine, theirs) = match step {
                Step::Wait(ms) => {
                    now += ms;
                    (contract.advance(now), replayer.advance(now))
                }
                Step::Act(who, action) => {
                    prop_assert!(contract.advance(now).is_empty());
                    let (who, action) = aim(&contract, who, action);
                    let before = contract.clone();
                    match contract.apply(now, LearnerId([who; 32]), &action) {
                        Err(_) => {
                            prop_assert_eq!(&before, &contract, "a rejection changed the state");
                            continue;
                        }
                        Ok(outcomes) => {
                            if let Action::Vote(_) = action {
                                prop_assert!(voted.insert((who, round)), "voted twice");
                                prop_assert_ne!(Some(LearnerId([who; 32])), proposer);
                            }
                            let again = replayer.apply(now, LearnerId([who; 32]), &action);
                            (outcomes, again.expect("what was accepted replays"))
                        }
                    }
                }
            };
            prop_assert_eq!(&mine, &theirs);
            for outcome in mine {
                if let Outcome::RoundClosed {
                    round, verdict, approvals, rejections, electorate, ..
                } = outcome
                {
                    prop_assert_eq!(verdicts.insert(round, verdict), None, "one verdict a round");
                    prop_assert!(approvals + rejections <= electorate);
                    let met = u64::from(approvals) * u64::from(threshold.denominator)
                        >= u64::from(electorate) * u64::from(threshold.numerator);
                    match verdict {
                        Verdict::Accepted => prop_assert!(met),
                        Verdict::Rejected => prop_assert!(!met),
                        Verdict::Expired | Verdict::Passed => prop_assert_eq!(electorate, 0),
                    }
                }
            }
            if let Some(deadline) = contract.next_deadline_ms() {
                prop_assert!(deadline > now, "a round outlives its deadline");
            }
        }
        prop_assert_eq!(contract, replayer);
    }
}
