//! The tally against a plain restatement of its rule, for every small case there is.

use colearn_contracts::{
    Act, Action, Admission, Decision, Digest, LearnerId, Parameters, Proposal, Scores, Verdict,
    Vote,
};

use crate::script::{at, create, defaults, model, name, new_contract};

/// R21 in words: the approvals, as a share of those who could vote, are at least the threshold.
fn accepted(votes: &[Option<bool>], threshold: f64) -> bool {
    let approvals = votes.iter().filter(|vote| **vote == Some(true)).count();
    votes.is_empty() || approvals as f64 / votes.len() as f64 >= threshold - 1e-9
}

/// Runs one round in which the electorate casts these votes, `None` for silence.
fn verdict(votes: &[Option<bool>], threshold: &str) -> Verdict {
    let mut contract = new_contract();
    let members = votes.len() as u32 + 1;
    let parameters =
        Parameters { threshold: threshold.parse().unwrap(), min_learners: members, ..defaults() };
    contract.apply(at(0), LearnerId([0; 32]), &create(parameters, Admission::Open)).unwrap();
    for i in 0..members {
        let join = Action::new(name(), Act::Join { term: 0 });
        contract.apply(at(0), LearnerId([i as u8; 32]), &join).unwrap();
    }
    let propose = Action::new(
        name(),
        Act::Propose(Proposal {
            round: 1,
            base: Digest([0; 32]),
            weights: model(1),
            scores: Scores::default(),
            privacy: None,
        }),
    );
    let mut outcomes = contract.apply(at(1), LearnerId([0; 32]), &propose).unwrap();
    for (i, vote) in votes.iter().enumerate() {
        let Some(approve) = *vote else { continue };
        let vote = Action::new(
            name(),
            Act::Vote(Vote {
                round: 1,
                weights: Digest([1; 32]),
                approve,
                scores: Scores::default(),
            }),
        );
        outcomes.extend(contract.apply(at(2), LearnerId([i as u8 + 1; 32]), &vote).unwrap());
    }
    outcomes.extend(contract.advance(at(51)));
    let mut verdicts = outcomes.iter().filter_map(|outcome| match outcome.what {
        Decision::RoundClosed { verdict, .. } => Some(verdict),
        _ => None,
    });
    let verdict = verdicts.next().expect("a round ends by its deadline");
    assert_eq!(verdicts.next(), None, "one verdict a round");
    verdict
}

#[test]
fn every_vote_of_every_electorate_up_to_seven() {
    let thresholds =
        [("0/1", 0.0), ("1/3", 1.0 / 3.0), ("1/2", 0.5), ("2/3", 2.0 / 3.0), ("1/1", 1.0)];
    let mut cases = 0;
    for electorate in 0..=7_u32 {
        for case in 0..3_usize.pow(electorate) {
            let votes: Vec<Option<bool>> = (0..electorate)
                .map(|i| [None, Some(false), Some(true)][case / 3_usize.pow(i) % 3])
                .collect();
            for (text, threshold) in thresholds {
                let expected = accepted(&votes, threshold);
                let got = verdict(&votes, text) == Verdict::Accepted;
                assert_eq!(got, expected, "{votes:?} at {text}");
                cases += 1;
            }
        }
    }
    assert_eq!(cases, 5 * (3_usize.pow(8) - 1) / 2);
}

/// The rule of the original protocol, as it was: everybody but the proposer votes, and an update is
/// accepted if `approvals >= (n - 1) * threshold`.
fn legacy(learners: usize, threshold: f64, approvals: usize) -> bool {
    approvals as f64 >= (learners - 1) as f64 * threshold
}

#[test]
fn where_nobody_is_absent_verdicts_are_those_of_the_original_protocol() {
    // Thresholds that floating point holds exactly.
    let thresholds = [("0/1", 0.0), ("1/4", 0.25), ("1/2", 0.5), ("3/4", 0.75), ("1/1", 1.0)];
    for learners in 2..=8_usize {
        for (text, threshold) in thresholds {
            let parameters = Parameters {
                threshold: text.parse().unwrap(),
                min_learners: learners as u32,
                ..defaults()
            };
            let mut contract = new_contract();
            let first = create(parameters, Admission::Open);
            contract.apply(at(0), LearnerId([0; 32]), &first).unwrap();
            for i in 0..learners {
                let join = Action::new(name(), Act::Join { term: 0 });
                contract.apply(at(0), LearnerId([i as u8; 32]), &join).unwrap();
            }
            // Every pattern of votes, one a round, each learner proposing in its turn.
            let mut model_now = 0;
            for pattern in 0..1_usize << (learners - 1) {
                let (round, proposer) = (pattern as u64 + 1, pattern % learners);
                let proposed = if model_now == 1 { 2 } else { 1 };
                let propose = Action::new(
                    name(),
                    Act::Propose(Proposal {
                        round,
                        base: Digest([model_now; 32]),
                        weights: model(proposed),
                        scores: Scores::default(),
                        privacy: None,
                    }),
                );
                contract.apply(at(1), LearnerId([proposer as u8; 32]), &propose).unwrap();
                let voters = (0..learners).filter(|i| *i != proposer);
                for (bit, voter) in voters.enumerate() {
                    let vote = Action::new(
                        name(),
                        Act::Vote(Vote {
                            round,
                            weights: Digest([proposed; 32]),
                            approve: pattern >> bit & 1 == 1,
                            scores: Scores::default(),
                        }),
                    );
                    contract.apply(at(1), LearnerId([voter as u8; 32]), &vote).unwrap();
                }
                if legacy(learners, threshold, pattern.count_ones() as usize) {
                    model_now = proposed;
                }
                let now = contract.experiment(&name()).unwrap().model().digest;
                assert_eq!(now, Digest([model_now; 32]), "{pattern:b} of {learners} at {text}");
            }
        }
    }
}
