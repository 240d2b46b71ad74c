//! A little language for scenarios, one line a step: `who does what: what comes of it`.
//!
//! Learners are `A` to `Z`, models are numbers below 256, the experiment is `x`. After the colon
//! stand the outcomes, separated by commas, or the name of the rejection. `at N: ...` advances the
//! clock to N ms.

use colearn_contracts::{
    Action, Admission, Contract, CreateExperiment, Digest, ExperimentName, LearnerId, Model,
    Outcome, Parameters, Proposal, Scores, Verdict, Vote,
};

pub(crate) fn learner(letter: &str) -> LearnerId {
    LearnerId([letter.as_bytes()[0]; 32])
}

pub(crate) fn model(number: u8) -> Model {
    Model { digest: Digest([number; 32]), size: 10, media_type: "m".into() }
}

pub(crate) fn name() -> ExperimentName {
    "x".parse().unwrap()
}

pub(crate) fn defaults() -> Parameters {
    Parameters { proposal_deadline_ms: 100, vote_deadline_ms: 50, ..Parameters::default() }
}

pub(crate) fn invited(letters: &str) -> Admission {
    Admission::Invited(letters.chars().map(|c| learner(&c.to_string())).collect())
}

/// Creates `x` by learner Z with these parameters and model 0, then runs the script.
pub(crate) fn check(parameters: Parameters, script: &str) -> Contract {
    let mut contract = Contract::new();
    let create = Action::Create(CreateExperiment { name: name(), parameters, model: model(0) });
    contract.apply(0, learner("Z"), &create).expect("valid parameters");
    let mut now = 0;
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (step, expected) = line.split_once(':').expect("a colon");
        let words: Vec<&str> = step.split_whitespace().collect();
        let got = if words[0] == "at" {
            now = words[1].parse().unwrap();
            describe(&contract.advance(now))
        } else {
            let before = contract.clone();
            match contract.apply(now, learner(words[0]), &action(&words[1..])) {
                Ok(outcomes) => describe(&outcomes),
                Err(rejection) => {
                    assert_eq!(before, contract, "a rejection changed the state: {line}");
                    let debug = format!("{rejection:?}");
                    debug.split([' ', '(']).next().unwrap().to_owned()
                }
            }
        };
        assert_eq!(got, expected.trim(), "at the line: {line}");
    }
    contract
}

fn action(words: &[&str]) -> Action {
    let number = |word: &str| word.parse::<u64>().unwrap();
    let experiment = name();
    match *words {
        ["joins"] => Action::Join { experiment, term: 0 },
        ["joins", "term", term] => Action::Join { experiment, term: number(term) as u32 },
        ["joins", "nowhere"] => Action::Join { experiment: "nowhere".parse().unwrap(), term: 0 },
        ["leaves"] => Action::Leave { experiment, term: 0 },
        ["leaves", "term", term] => Action::Leave { experiment, term: number(term) as u32 },
        ["stops"] => Action::Stop { experiment },
        ["passes", round] => Action::Pass { experiment, round: number(round) },
        ["proposes", weights, "in", round, "from", base] => Action::Propose(Proposal {
            experiment,
            round: number(round),
            base: Digest([number(base) as u8; 32]),
            weights: model(number(weights) as u8),
            scores: Scores::default(),
        }),
        ["approves" | "rejects", weights, "in", round] => Action::Vote(Vote {
            experiment,
            round: number(round),
            weights: Digest([number(weights) as u8; 32]),
            approve: words[0] == "approves",
            scores: Scores::default(),
        }),
        _ => panic!("no such step: {words:?}"),
    }
}

fn describe(outcomes: &[Outcome]) -> String {
    let texts: Vec<String> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::RoundOpened { round, proposer, .. } => {
                format!("round {round} of {}", proposer.0[0] as char)
            }
            Outcome::VotingOpened { electorate, .. } => format!("{electorate} vote"),
            Outcome::RoundClosed { verdict, approvals, rejections, .. } => match verdict {
                Verdict::Accepted => format!("accepted {approvals}-{rejections}"),
                Verdict::Rejected => format!("rejected {approvals}-{rejections}"),
                Verdict::Expired => "expired".into(),
                Verdict::Passed => "passed".into(),
            },
            Outcome::Waiting { members, .. } => format!("waiting with {members}"),
            Outcome::Finished { reason, .. } => format!("finished {reason:?}"),
        })
        .collect();
    if texts.is_empty() { "ok".into() } else { texts.join(", ") }
}
