//! No sequence of actions makes the contract panic, and a rejection changes nothing.
//!
//! cargo +nightly fuzz run apply --fuzz-dir contracts/fuzz -- -max_total_time=900
#![no_main]

use arbitrary::Arbitrary;
use colearn_contracts::*;
use libfuzzer_sys::fuzz_target;

/// A learner, of few, so that they meet.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Who(u8);

impl Who {
    fn id(self) -> LearnerId {
        LearnerId([self.0 % 8; 32])
    }
}

#[derive(Arbitrary, Debug)]
struct Rules {
    threshold: (u8, u8),
    sortition: bool,
    early: bool,
    sealed: bool,
    deadlines: [u16; 4],
    min_learners: u8,
    max_rounds: Option<u64>,
    patience: Option<u64>,
    missed_turns: Option<u32>,
    idle_rotations: Option<u32>,
    privacy: Option<(u64, u64)>,
    max_weights_bytes: u64,
    governance_threshold: Option<(u32, u32)>,
    creator_may_stop: bool,
}

impl Rules {
    fn parameters(&self) -> Parameters {
        let [proposal, vote, reveal, motion] = self.deadlines.map(u64::from);
        Parameters {
            threshold: Threshold {
                numerator: self.threshold.0.into(),
                denominator: self.threshold.1.into(),
            },
            selection: if self.sortition { Selection::Sortition } else { Selection::RoundRobin },
            close: if self.early { Close::Early } else { Close::All },
            ballot: if self.sealed { BallotKind::Sealed } else { BallotKind::Open },
            proposal_deadline_ms: proposal,
            vote_deadline_ms: vote,
            reveal_deadline_ms: reveal,
            motion_deadline_ms: motion,
            min_learners: self.min_learners.into(),
            max_rounds: self.max_rounds,
            patience: self.patience,
            missed_turns: self.missed_turns,
            idle_rotations: self.idle_rotations,
            privacy: self
                .privacy
                .map(|(epsilon_micros, delta_picos)| PrivacyCap { epsilon_micros, delta_picos }),
            max_weights_bytes: self.max_weights_bytes,
            governance_threshold: self
                .governance_threshold
                .map(|(numerator, denominator)| Threshold { numerator, denominator }),
            creator_may_stop: self.creator_may_stop,
        }
    }
}

#[derive(Arbitrary, Debug)]
enum Ask {
    Join(u8),
    Leave(u8),
    Propose { from_now: bool, weights: u8, size: u64, privacy: Option<(u64, u64, u64, u64)> },
    Pass { exhausted: bool },
    Vote { approve: bool, scores: Option<i64> },
    Commit { approve: bool, salt: u8 },
    Reveal { approve: bool, salt: u8 },
    Resume,
    ReplaceKey(u8),
    SetParameters(Box<Rules>),
    Admit(Who, u32),
    Suspend(Who),
    Expel(Who),
    MoveStop,
    MotionVote { back: u8, approve: bool },
    Stop,
}

#[derive(Arbitrary, Debug)]
struct Step {
    wait: u16,
    back: bool,
    head: u8,
    who: Who,
    /// Names the present round, or this one.
    round: Option<u64>,
    ask: Ask,
}

#[derive(Arbitrary, Debug)]
struct Input {
    rules: Rules,
    admission: u8,
    invited: Vec<(u8, u32)>,
    steps: Vec<Step>,
}

fn name() -> ExperimentName {
    "x".parse().expect("a valid name")
}

fn model(number: u8, size: u64) -> Model {
    Model { digest: Digest([number; 32]), size, media_type: "m".into() }
}

fn vote(experiment: &Experiment, round: u64, approve: bool, score: Option<i64>) -> Vote {
    let weights = match experiment.phase() {
        Phase::Voting { weights, .. } => weights.digest,
        _ => Digest([0; 32]),
    };
    let scores = Scores { vote: score, test: score };
    Vote { round, weights, approve, scores }
}

fn action(contract: &Contract, step: &Step) -> Action {
    let experiment = contract.experiment(&name()).expect("it was created");
    let round = step.round.unwrap_or(experiment.round());
    let number = experiment.last_motion().wrapping_add(1);
    let moves = |motion| Action::new(name(), Act::Move { number, motion });
    match &step.ask {
        Ask::Join(term) => Action::new(name(), Act::Join { term: (*term).into() }),
        Ask::Leave(term) => Action::new(name(), Act::Leave { term: (*term).into() }),
        Ask::Propose { from_now, weights, size, privacy } => Action::new(
            name(),
            Act::Propose(Proposal {
                round,
                base: if *from_now { experiment.model().digest } else { Digest([7; 32]) },
                weights: model(*weights, *size),
                scores: Scores::default(),
                privacy: privacy.map(|(epsilon_micros, delta_picos, sampling_nanos, steps)| {
                    PrivacySpent {
                        epsilon_micros,
                        delta_picos,
                        noise_micros: 1,
                        clip_micros: 1,
                        sampling_nanos,
                        steps,
                    }
                }),
            }),
        ),
        Ask::Pass { exhausted } => Action::new(name(), Act::Pass { round, exhausted: *exhausted }),
        Ask::Vote { approve, scores } => {
            Action::new(name(), Act::Vote(vote(experiment, round, *approve, *scores)))
        }
        Ask::Commit { approve, salt } => {
            let vote = vote(experiment, round, *approve, None);
            let salt = [*salt; 32];
            let voter = step.who.id();
            let (ledger, experiment) = (contract.ledger(), &name());
            let sealed = Sealed { ledger, experiment, voter, vote: &vote, salt: &salt };
            let commitment = sealed.commitment();
            Action::new(name(), Act::Commit(Commit { round, weights: vote.weights, commitment }))
        }
        Ask::Reveal { approve, salt } => Action::new(
            name(),
            Act::Reveal(Reveal {
                vote: vote(experiment, round, *approve, None),
                salt: [*salt; 32],
            }),
        ),
        Ask::Resume => Action::new(name(), Act::Resume { round }),
        Ask::ReplaceKey(to) => {
            Action::new(name(), Act::ReplaceKey { to: LearnerId([to % 64; 32]) })
        }
        Ask::SetParameters(rules) => moves(Motion::SetParameters(Box::new(rules.parameters()))),
        Ask::Admit(who, weight) => {
            moves(Motion::Admit(Invitation { learner: who.id(), weight: *weight }))
        }
        Ask::Suspend(who) => moves(Motion::Suspend(who.id())),
        Ask::Expel(who) => moves(Motion::Expel(who.id())),
        Ask::MoveStop => moves(Motion::Stop),
        Ask::MotionVote { back, approve } => {
            let number = experiment.last_motion().saturating_sub((*back % 4).into());
            Action::new(name(), Act::MotionVote { number, approve: *approve })
        }
        Ask::Stop => Action::new(name(), Act::Stop),
    }
}

fuzz_target!(|input: Input| {
    let mut contract = Contract::new(Digest([1; 32]), VERSION);
    let invitations = input
        .invited
        .iter()
        .map(|(who, weight)| Invitation { learner: LearnerId([*who; 32]), weight: *weight })
        .collect();
    let create = Action::new(
        name(),
        Act::Create(CreateExperiment {
            parameters: input.rules.parameters(),
            admission: match input.admission % 3 {
                0 => Admission::Open,
                1 => Admission::Invited(invitations),
                _ => Admission::ByVote(invitations),
            },
            model: model(0, 1),
            plan: None,
        }),
    );
    if contract.apply(Moment::without_ledger(0), LearnerId([0; 32]), &create).is_err() {
        return;
    }
    let mut now_ms = 0_u64;
    for step in &input.steps {
        now_ms = match step.back {
            true => now_ms.saturating_sub(step.wait.into()),
            false => now_ms.saturating_add(u64::from(step.wait) * 7),
        };
        let at = Moment { now_ms, head: Digest([step.head; 32]) };
        contract.advance(at);
        let action = action(&contract, step);
        let before = contract.clone();
        match contract.apply(at, step.who.id(), &action) {
            Ok(_) => {
                let mut again = contract.clone();
                assert!(again.apply(at, step.who.id(), &action).is_err(), "counted twice");
            }
            Err(_) => assert_eq!(before, contract, "a rejection changed the state"),
        }
        if let Some(deadline_ms) = contract.next_deadline_ms() {
            assert!(deadline_ms > 0);
        }
    }
});
