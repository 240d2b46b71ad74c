//! A little language for scenarios, one line a step: `who does what: what comes of it`.
//!
//! Learners are `A` to `Z`, models are numbers below 256, the experiment is `x`, its ledger's id is
//! zeros. After the colon stand the outcomes, separated by commas, or the name of the rejection.
//! `at N: ...` advances the clock to N ms. The ledger's head is the number of steps so far.

use colearn_contracts::{
    Act, Action, Admission, Commit, Contract, CreateExperiment, Decision, Digest, ExperimentName,
    Invitation, LearnerId, Model, Moment, Motion, Outcome, Parameters, PrivacySpent, Proposal,
    Reveal, Scores, Sealed, VERSION, Verdict, Vote,
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

/// Short deadlines, and nothing that a rule's own test does not ask for.
pub(crate) fn defaults() -> Parameters {
    Parameters {
        proposal_deadline_ms: 100,
        vote_deadline_ms: 50,
        reveal_deadline_ms: 20,
        motion_deadline_ms: 1000,
        missed_turns: None,
        idle_rotations: None,
        creator_may_stop: true,
        ..Parameters::default()
    }
}

/// These learners, each with the weight behind its letter, or 1.
fn invitations(text: &str) -> Vec<Invitation> {
    let mut invitations: Vec<Invitation> = Vec::new();
    for c in text.chars() {
        match c.to_digit(10) {
            Some(weight) => invitations.last_mut().unwrap().weight = weight,
            None => invitations.push(Invitation { learner: learner(&c.to_string()), weight: 1 }),
        }
    }
    invitations
}

pub(crate) fn invited(text: &str) -> Admission {
    Admission::Invited(invitations(text))
}

pub(crate) fn by_vote(text: &str) -> Admission {
    Admission::ByVote(invitations(text))
}

pub(crate) fn create(parameters: Parameters, admission: Admission) -> Action {
    let model = model(0);
    Action::new(name(), Act::Create(CreateExperiment { parameters, admission, model, plan: None }))
}

pub(crate) fn at(now_ms: u64) -> Moment {
    Moment::without_ledger(now_ms)
}

pub(crate) fn new_contract() -> Contract {
    Contract::new(Digest([0; 32]), VERSION)
}

/// Creates `x`, open to all, by learner Z with these parameters and model 0, then runs the script.
pub(crate) fn check(parameters: Parameters, script: &str) -> Contract {
    check_with(parameters, Admission::Open, script)
}

/// The same with this admission.
pub(crate) fn check_with(parameters: Parameters, admission: Admission, script: &str) -> Contract {
    let mut contract = new_contract();
    contract.apply(at(0), learner("Z"), &create(parameters, admission)).expect("valid parameters");
    play(&mut contract, &name(), script);
    contract
}

/// Runs the script in this experiment. What happens in others meanwhile is not looked at.
pub(crate) fn play(contract: &mut Contract, experiment: &ExperimentName, script: &str) {
    let mut now = 0;
    let mut steps = 0;
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (step, expected) = line.split_once(':').expect("a colon");
        let words: Vec<&str> = step.split_whitespace().collect();
        let here = |mut outcomes: Vec<Outcome>| {
            outcomes.retain(|outcome| outcome.experiment == *experiment);
            describe(&outcomes)
        };
        let got = if words[0] == "at" {
            now = words[1].parse().unwrap();
            steps += 1;
            here(contract.advance(Moment { now_ms: now, head: Digest([steps; 32]) }))
        } else {
            steps += 1;
            let at = Moment { now_ms: now, head: Digest([steps; 32]) };
            let before = contract.clone();
            let action = action(experiment, words[0], &words[1..]);
            match contract.apply(at, learner(words[0]), &action) {
                Ok(outcomes) => here(outcomes),
                Err(rejection) => {
                    assert_eq!(before, *contract, "a rejection changed the state: {line}");
                    let debug = format!("{rejection:?}");
                    debug.split([' ', '(']).next().unwrap().to_owned()
                }
            }
        };
        assert_eq!(got, expected.trim(), "at the line: {line}");
    }
}

/// The vote of a sealed ballot, and its salt.
fn sealed(who: &str, approve: &str, weights: &str, round: &str) -> Reveal {
    let vote = Vote {
        round: round.parse().unwrap(),
        weights: Digest([weights.parse().unwrap(); 32]),
        approve: approve == "yes",
        scores: Scores { vote: Some(-5), test: None },
    };
    Reveal { vote, salt: learner(who).0 }
}

fn motion(words: &[&str]) -> Motion {
    match *words {
        ["stop"] => Motion::Stop,
        ["admit", who] => Motion::Admit(invitations(who)[0]),
        ["suspend", who] => Motion::Suspend(learner(who)),
        ["expel", who] => Motion::Expel(learner(who)),
        ["set", field, value] => {
            let mut parameters = defaults();
            match field {
                "threshold" => parameters.threshold = value.parse().unwrap(),
                "min_learners" => parameters.min_learners = value.parse().unwrap(),
                "max_rounds" => parameters.max_rounds = value.parse().ok(),
                _ => panic!("no such field: {field}"),
            }
            Motion::SetParameters(Box::new(parameters))
        }
        _ => panic!("no such motion: {words:?}"),
    }
}

fn action(experiment: &ExperimentName, who: &str, words: &[&str]) -> Action {
    match *words {
        ["joins", "nowhere"] => Action::new("nowhere".parse().unwrap(), Act::Join { term: 0 }),
        _ => Action::new(experiment.clone(), act(experiment, who, words)),
    }
}

fn act(experiment: &ExperimentName, who: &str, words: &[&str]) -> Act {
    let number = |word: &str| word.parse::<u64>().unwrap();
    let commit = |committer: &str, approve, weights: &str, round: &str| {
        let Reveal { vote, salt } = sealed(who, approve, weights, round);
        let (ledger, voter) = (Digest([0; 32]), learner(committer));
        let sealed = Sealed { ledger, experiment, voter, vote: &vote, salt: &salt };
        let commitment = sealed.commitment();
        Act::Commit(Commit { round: vote.round, weights: vote.weights, commitment })
    };
    match *words {
        ["commits", approve, "on", weights, "in", round] => commit(who, approve, weights, round),
        // The very bytes that another has committed to.
        ["copies", other, approve, "on", weights, "in", round] => {
            commit(other, approve, weights, round)
        }
        ["reveals", approve, "on", weights, "in", round] => {
            Act::Reveal(sealed(who, approve, weights, round))
        }
        ["resumes", round] => Act::Resume { round: number(round) },
        ["becomes", to] => Act::ReplaceKey { to: learner(to) },
        ["moves", at, ..] => Act::Move { number: number(at), motion: motion(&words[2..]) },
        ["seconds" | "opposes", at] => {
            let approve = words[0] == "seconds";
            Act::MotionVote { number: number(at), approve }
        }
        ["passes", round, "exhausted"] => Act::Pass { round: number(round), exhausted: true },
        ["joins"] => Act::Join { term: 0 },
        ["joins", "term", term] => Act::Join { term: number(term) as u32 },
        ["leaves"] => Act::Leave { term: 0 },
        ["leaves", "term", term] => Act::Leave { term: number(term) as u32 },
        ["stops"] => Act::Stop,
        ["passes", round] => Act::Pass { round: number(round), exhausted: false },
        ["proposes", weights, "in", round, "from", base, ..] => Act::Propose(Proposal {
            round: number(round),
            base: Digest([number(base) as u8; 32]),
            weights: model(number(weights) as u8),
            scores: Scores::default(),
            privacy: words.get(7).map(|epsilon_micros| PrivacySpent {
                epsilon_micros: number(epsilon_micros),
                delta_picos: 10,
                noise_micros: 1_000_000,
                clip_micros: 1_000_000,
                sampling_nanos: 10_000_000,
                steps: 100,
            }),
        }),
        ["approves" | "rejects", weights, "in", round] => Act::Vote(Vote {
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
        .map(|outcome| match &outcome.what {
            Decision::RoundOpened { round, proposer, .. } => {
                format!("round {round} of {}", proposer.0[0] as char)
            }
            Decision::VotingOpened { electorate, .. } => format!("{electorate} vote"),
            Decision::RoundClosed { verdict, approvals, rejections, .. } => match verdict {
                Verdict::Accepted => format!("accepted {approvals}-{rejections}"),
                Verdict::Rejected => format!("rejected {approvals}-{rejections}"),
                Verdict::Expired => "expired".into(),
                Verdict::Passed => "passed".into(),
            },
            Decision::RevealOpened { committed, .. } => format!("reveal {committed}"),
            Decision::Paused { reason, .. } => format!("paused {reason:?}"),
            Decision::Suspended { learner, reason, .. } => {
                format!("{} suspended {reason:?}", learner.0[0] as char)
            }
            Decision::MotionOpened { number, electorate, .. } => {
                format!("motion {number}: {electorate} vote")
            }
            Decision::MotionDecided { number, adopted, approvals, rejections, .. } => {
                let word = if *adopted { "adopted" } else { "rejected" };
                format!("motion {number} {word} {approvals}-{rejections}")
            }
            Decision::MotionTookEffect { number, .. } => format!("motion {number} in effect"),
            Decision::Waiting { members, .. } => format!("waiting with {members}"),
            Decision::Finished { reason, .. } => format!("finished {reason:?}"),
        })
        .collect();
    if texts.is_empty() { "ok".into() } else { texts.join(", ") }
}
