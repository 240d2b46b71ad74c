//! The tally against a plain restatement of its rule, for every small case there is.

use colearn_contracts::{
    Act, Action, Admission, Choice, Contract, Decision, Digest, LearnerId, Parameters, Reason,
    Verdict, Version, Vote,
};

use crate::script::{VERSIONS, at, created, defaults, join, model, name, proposal, vote};

/// What one of the electorate does; `None` is silence.
type Cast = Option<(Choice, Option<Reason>)>;

const FOR: Cast = Some((Choice::Approve, None));
const AGAINST: Cast = Some((Choice::Reject, None));
const NEITHER: Cast = Some((Choice::Abstain, None));
const UNAVAILABLE: Cast = Some((Choice::Abstain, Some(Reason::Unavailable)));

/// R21, R68 in words: if more than half could not get the weights, nothing was proposed; otherwise the
/// approvals, as a share of those who could vote, are at least the threshold, or more than it.
fn expected(casts: &[Cast], threshold: f64, strict: bool) -> Verdict {
    let count = |what: Cast| casts.iter().filter(|cast| **cast == what).count() as f64;
    let all = casts.len() as f64;
    let share = count(FOR) / all;
    let accepted = if strict { share > threshold + 1e-9 } else { share >= threshold - 1e-9 };
    if count(UNAVAILABLE) > all / 2.0 {
        Verdict::Expired
    } else if casts.is_empty() || accepted {
        Verdict::Accepted
    } else {
        Verdict::Rejected
    }
}

/// A contract in which so many learners have joined `x`: all there are to be.
fn joined(version: Version, members: usize, threshold: &str) -> Contract {
    let parameters = Parameters {
        threshold: threshold.parse().unwrap(),
        min_learners: members as u32,
        ..defaults()
    };
    let mut contract = created(version, parameters, Admission::Open);
    let join = join(&contract, 0);
    for i in 0..members {
        contract.apply(at(0), LearnerId([i as u8; 32]), &join).unwrap();
    }
    contract
}

/// Has the first learner propose, and the others cast these votes. The verdict of the round.
fn verdict(mut contract: Contract, casts: &[Cast]) -> Verdict {
    let propose = Action::new(name(), Act::Propose(proposal(1, Digest([0; 32]), model(1))));
    let mut outcomes = contract.apply(at(1), LearnerId([0; 32]), &propose).unwrap();
    for (i, cast) in casts.iter().enumerate() {
        let Some((choice, reason)) = *cast else { continue };
        let vote = Vote { reason, ..vote(1, Digest([1; 32]), choice) };
        let vote = Action::new(name(), Act::Vote(vote));
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

/// Every way in which so many can cast these votes.
fn every(electorate: u32, choices: &[Cast]) -> impl Iterator<Item = Vec<Cast>> {
    let kinds = choices.len();
    (0..kinds.pow(electorate))
        .map(move |case| (0..electorate).map(|i| choices[case / kinds.pow(i) % kinds]).collect())
}

/// Plays every one of them; how many there are.
fn play_all(version: Version, most: u32, choices: &[Cast], thresholds: &[(&str, f64)]) -> usize {
    let mut cases = 0;
    for electorate in 0..=most {
        for (text, threshold) in thresholds {
            let contract = joined(version, electorate as usize + 1, text);
            for casts in every(electorate, choices) {
                let got = verdict(contract.clone(), &casts);
                let strict = text.starts_with('>');
                assert_eq!(got, expected(&casts, *threshold, strict), "{casts:?} at {text}");
                cases += 1;
            }
        }
    }
    cases
}

#[test]
fn every_vote_of_every_electorate_up_to_seven() {
    let thresholds =
        [("0/1", 0.0), ("1/3", 1.0 / 3.0), ("1/2", 0.5), ("2/3", 2.0 / 3.0), ("1/1", 1.0)];
    for version in VERSIONS {
        let cases = play_all(version, 7, &[None, AGAINST, FOR], &thresholds);
        assert_eq!(cases, 5 * (3_usize.pow(8) - 1) / 2);
    }
}

#[test]
fn every_vote_and_abstention_of_every_electorate_up_to_five() {
    let thresholds = [("0/1", 0.0), ("1/2", 0.5), (">0/1", 0.0), (">1/2", 0.5), ("1/1", 1.0)];
    let choices = [None, AGAINST, FOR, NEITHER, UNAVAILABLE];
    let cases = play_all(Version::V2, 5, &choices, &thresholds);
    assert_eq!(cases, 5 * (5_usize.pow(6) - 1) / 4);
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
    for version in VERSIONS {
        for learners in 2..=8_usize {
            for (text, threshold) in thresholds {
                every_pattern(version, learners, text, threshold);
            }
        }
    }
}

/// Every pattern of votes, one a round, each learner proposing in its turn.
fn every_pattern(version: Version, learners: usize, text: &str, threshold: f64) {
    let mut contract = joined(version, learners, text);
    let (mut model_now, mut proposed) = (Digest([0; 32]), model(0));
    for pattern in 0..1_usize << (learners - 1) {
        let (round, proposer) = (pattern as u64 + 1, pattern % learners);
        // Another one each time: what was the global model is not proposed again (R60).
        proposed.digest.0[..8].copy_from_slice(&round.to_be_bytes());
        let propose = Act::Propose(proposal(round, model_now, proposed.clone()));
        let propose = Action::new(name(), propose);
        contract.apply(at(1), LearnerId([proposer as u8; 32]), &propose).unwrap();
        let voters = (0..learners).filter(|i| *i != proposer);
        for (bit, voter) in voters.enumerate() {
            let approves = pattern >> bit & 1 == 1;
            let choice = if approves { Choice::Approve } else { Choice::Reject };
            let vote = Action::new(name(), Act::Vote(vote(round, proposed.digest, choice)));
            contract.apply(at(1), LearnerId([voter as u8; 32]), &vote).unwrap();
        }
        if legacy(learners, threshold, pattern.count_ones() as usize) {
            model_now = proposed.digest;
        }
        let now = contract.experiment(&name()).unwrap().model().digest;
        assert_eq!(now, model_now, "{pattern:b} of {learners} at {text}");
    }
}
