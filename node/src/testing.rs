//! What the tests of this crate share: a ledger in a folder, learners, and a history that has
//! something of everything.

use std::path::Path;

use bytes::Bytes;
use colearn_contracts::{
    Act, Action, Admission, Choice, Contract, CreateExperiment, Digest, Experiment, ExperimentName,
    Join, Limits, Model, Motion, Parameters, Phase, Proposal, Reason, Scores, Update, VERSION,
    Vote,
};
use colearn_ledger::{Hash, Ledger, Options};
use colearn_proto::v1;
use colearn_records::keys::learner_id;
use colearn_records::log_keys::LogKeys;
use colearn_records::record;
use colearn_records::transaction::{LedgerId, Seen, Transaction};
use colearn_records::upgrade;
use ed25519_dalek::SigningKey;

use crate::keeper::Keeper;
use crate::open::signer;

const LEARNERS: u64 = 12;

pub(crate) fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

pub(crate) fn name(text: &str) -> ExperimentName {
    text.parse().unwrap()
}

fn genesis() -> v1::Genesis {
    v1::Genesis {
        origin: "test".to_owned(),
        log_public_key: Bytes::copy_from_slice(key(255).verifying_key().as_bytes()),
        nonce: Bytes::from_static(&[7; 32]),
        contract_version: VERSION.number(),
        validators: Vec::new(),
        time_ms: 0,
        limits: Some(upgrade::limits_message(&Limits::default())),
        chain: None,
    }
}

pub(crate) fn log_keys() -> LogKeys {
    LogKeys::of_genesis(&genesis()).unwrap()
}

pub(crate) fn ledger_id() -> LedgerId {
    LedgerId::of(&genesis())
}

/// The ledger in a folder; one that begins with always the same genesis if there is none.
pub(crate) fn ledger(dir: &Path) -> Ledger {
    let own = signer("test", key(255)).unwrap();
    let options = Options { keys_of: record::keys_of, ..Options::new(own) };
    let (mut ledger, _) = Ledger::open(dir, options).unwrap();
    if ledger.head().size == 0 {
        ledger.append(1_000, record::genesis_payload(genesis()), Vec::new()).unwrap();
        ledger.commit().unwrap();
    }
    ledger
}

/// The keeper of the ledger in a folder.
pub(crate) fn keeper(dir: &Path) -> Keeper {
    Keeper::open(ledger(dir), &log_keys()).unwrap().0
}

pub(crate) fn signed(learner: u8, action: Action) -> Transaction {
    let seen = Seen { size: 0, root: Hash::empty_root() };
    Transaction::sign(&key(learner), &ledger_id(), seen, action)
}

fn model(number: u64) -> Model {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&number.to_be_bytes());
    Model { digest: Digest(digest), size: 8, media_type: "m".to_owned() }
}

pub(crate) fn create(experiment: &str) -> Action {
    let create = CreateExperiment {
        version: VERSION.number(),
        parameters: Parameters {
            min_learners: 2,
            proposal_deadline_ms: 100,
            vote_deadline_ms: 100,
            motion_deadline_ms: 300,
            missed_turns: Some(2),
            idle_rotations: Some(2),
            ..Parameters::default()
        },
        admission: Admission::Open,
        model: model(0),
        plan: None,
    };
    Action::new(name(experiment), Act::Create(create))
}

/// The terms of what [`create`] creates, if `creator` does.
fn terms(creator: u8) -> Digest {
    let Act::Create(create) = create("a").what else { unreachable!() };
    colearn_contracts::terms(
        VERSION,
        learner_id(&key(creator)),
        &create.parameters,
        &create.admission,
    )
}

/// Joins what learner `creator` has created.
pub(crate) fn join(experiment: &str, creator: u8, term: u32) -> Action {
    Action::new(name(experiment), Act::Join(Join::new(term, Some(terms(creator)))))
}

/// Numbers that look drawn and are always the same.
pub(crate) struct Draws(pub(crate) u64);

impl Draws {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        // Knuth's MMIX constants; the high bits are the good ones.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// What one of a few learners does next in one of two experiments, mostly something that the contract
/// takes.
pub(crate) fn next_step(draws: &mut Draws, contract: &Contract) -> Transaction {
    let which = ["a", "b"][draws.below(2) as usize];
    let learner = 1 + draws.below(LEARNERS) as u8;
    let Some(experiment) = contract.experiment(&name(which)) else {
        return signed(learner, create(which));
    };
    if draws.below(100) == 0 {
        return replace_key(experiment, learner, draws);
    }
    let learner = match experiment.phase() {
        // Mostly whoever has the turn: of twelve, others would seldom hit it.
        Phase::Proposing { proposer, .. } if draws.below(4) > 0 => {
            let number = (1..=LEARNERS as u8).find(|it| learner_id(&key(*it)) == *proposer);
            number.unwrap_or(learner)
        }
        Phase::Proposing { .. }
        | Phase::Waiting
        | Phase::Paused(_)
        | Phase::Voting { .. }
        | Phase::Merged(_)
        | Phase::Finished(_) => learner,
    };
    let act = next_action(draws, experiment, learner);
    signed(learner, Action::new(experiment.name().clone(), act))
}

fn replace_key(experiment: &Experiment, learner: u8, draws: &mut Draws) -> Transaction {
    let seen = Seen { size: 0, root: Hash::empty_root() };
    let new = key(1 + draws.below(LEARNERS) as u8);
    Transaction::replace_key(&key(learner), &new, &ledger_id(), seen, experiment.name().clone())
}

fn next_action(draws: &mut Draws, experiment: &Experiment, learner: u8) -> Act {
    let me = learner_id(&key(learner));
    let term = experiment.member(me).map_or(0, |member| member.term);
    let round = experiment.round();
    match (draws.below(16), experiment.phase()) {
        (0 | 1, _) | (_, Phase::Waiting) => {
            let term = experiment.member(me).map_or(0, |member| member.term + 1);
            Act::Join(Join::new(term, Some(experiment.terms())))
        }
        (2, _) => Act::Leave { term, renounce: false },
        (3, _) => Act::Move {
            number: experiment.last_motion() + 1,
            motion: Motion::Suspend(learner_id(&key(1 + draws.below(LEARNERS) as u8))),
        },
        (4, _) => Act::MotionVote { number: experiment.last_motion(), approve: true },
        (5, Phase::Proposing { .. } | Phase::Merged(_)) => {
            Act::Pass { round, exhausted: false, reason: Some(Reason::Policy) }
        }
        (_, Phase::Voting { weights, .. }) => Act::Vote(Vote {
            round,
            weights: weights.digest,
            choice: [Choice::Approve, Choice::Reject, Choice::Abstain][draws.below(3) as usize],
            reason: None,
            scores: Scores::default(),
            link: None,
        }),
        (_, Phase::Proposing { .. }) => Act::Propose(Proposal {
            round,
            base: experiment.model().digest,
            weights: model(1 + draws.below(1_000)),
            scores: Scores::default(),
            privacy: None,
        }),
        (_, Phase::Merged(_)) => Act::Update(Update {
            round,
            base: experiment.model().digest,
            weights: model(1 + draws.below(1_000)),
            scores: Scores::default(),
            privacy: None,
        }),
        (_, Phase::Paused(_) | Phase::Finished(_)) => Act::Resume { round },
    }
}
