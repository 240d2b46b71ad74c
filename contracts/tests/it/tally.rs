//! The tally against a plain restatement of its rule, for every small case there is.

use colearn_contracts::{
    Action, Contract, CreateExperiment, Digest, LearnerId, Outcome, Parameters, Proposal, Scores,
    Verdict, Vote,
};

use crate::script::{defaults, model, name};

/// R21 in words: the approvals, as a share of those who could vote, are at least the threshold.
fn accepted(votes: &[Option<bool>], threshold: f64) -> bool {
    let approvals = votes.iter().filter(|vote| **vote == Some(true)).count();
    votes.is_empty() || approvals as f64 / votes.len() as f64 >= threshold - 1e-9
}

/// Runs one round in which the electorate casts these votes, `None` for silence.
fn verdict(votes: &[Option<bool>], threshold: &str) -> Verdict {
    let mut contract = Contract::new();
    let members = votes.len() as u32 + 1;
    let parameters =
        Parameters { threshold: threshold.parse().unwrap(), min_learners: members, ..defaults() };
    let create = CreateExperiment { name: name(), parameters, model: model(0) };
    contract.apply(0, LearnerId([0; 32]), &Action::Create(create)).unwrap();
    for i in 0..members {
        let join = Action::Join { experiment: name(), term: 0 };
        contract.apply(0, LearnerId([i as u8; 32]), &join).unwrap();
    }
    let propose = Action::Propose(Proposal {
        experiment: name(),
        round: 1,
        base: Digest([0; 32]),
        weights: model(1),
        scores: Scores::default(),
    });
    let mut outcomes = contract.apply(1, LearnerId([0; 32]), &propose).unwrap();
    for (i, vote) in votes.iter().enumerate() {
        let Some(approve) = *vote else { continue };
        let vote = Action::Vote(Vote {
            experiment: name(),
            round: 1,
            weights: Digest([1; 32]),
            approve,
            scores: Scores::default(),
        });
        outcomes.extend(contract.apply(2, LearnerId([i as u8 + 1; 32]), &vote).unwrap());
    }
    outcomes.extend(contract.advance(51));
    let mut verdicts = outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::RoundClosed { verdict, .. } => Some(*verdict),
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
