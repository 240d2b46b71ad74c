//! What somebody may try next: mostly what fits the present state, so that histories get somewhere, and
//! now and then what does not.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use colearn_contracts::{
    Act, Action, Admission, BallotKind, Choice, Close, Commit, Contract, CreateExperiment, Digest,
    Evaluation, Experiment, ExperimentName, Invitation, Join, LINKS, LearnerId, MERGED_MEDIA_TYPE,
    Measure, Member, MemberName, MergeStage, MergeVote, Model, Motion, Parameters, Part,
    PauseReason, Phase, PrivacyCap, PrivacySegment, PrivacySpent, PrivateTraining, Proposal,
    Reason, Reveal, Scores, Sealed, Seat, Selection, Stage, Threshold, Version, Vote, link,
};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::train;

/// A source of chance that a seed gives again.
pub(crate) fn chance(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

pub(crate) fn pick<'a, T>(rng: &mut ChaCha8Rng, items: &'a [T]) -> &'a T {
    &items[rng.random_range(0..items.len())]
}

/// One of these, with the frequency that stands beside it.
fn weighed<T: Copy>(rng: &mut ChaCha8Rng, items: &[(u32, T)]) -> T {
    let mut left = rng.random_range(0..items.iter().map(|(share, _)| share).sum());
    for (share, item) in items {
        if left < *share {
            return *item;
        }
        left -= share;
    }
    items[0].1
}

fn one_of<T: Copy>(rng: &mut ChaCha8Rng, items: impl IntoIterator<Item = T>) -> Option<T> {
    let items: Vec<T> = items.into_iter().collect();
    (!items.is_empty()).then(|| *pick(rng, &items))
}

pub(crate) fn id(number: u8) -> LearnerId {
    LearnerId([number; 32])
}

/// A key that most likely nobody has seen.
fn fresh(rng: &mut ChaCha8Rng) -> LearnerId {
    id(rng.random_range(20..=255))
}

/// The experiments that a history can have.
pub(crate) fn experiment_name(number: u8) -> ExperimentName {
    format!("x{number}").parse().unwrap()
}

fn member_name(rng: &mut ChaCha8Rng) -> MemberName {
    format!("N{}", rng.random_range(0..9)).parse().unwrap()
}

fn model(rng: &mut ChaCha8Rng, media_type: &str) -> Model {
    let mut digest = [0; 32];
    digest[..2].copy_from_slice(&rng.random_range(1..u16::MAX).to_be_bytes());
    Model { digest: Digest(digest), size: 10, media_type: media_type.to_owned() }
}

fn threshold(rng: &mut ChaCha8Rng, version: Version, least: bool) -> Threshold {
    let denominator: u32 = rng.random_range(1..5);
    let from = if least { denominator.div_ceil(2) } else { 0 };
    let numerator = rng.random_range(from..=denominator);
    let strict = version > Version::V1 && numerator < denominator && rng.random_bool(0.3);
    Threshold { numerator, denominator, strict }
}

/// Rules that this version of the contract accepts, but for one set in twenty.
pub(crate) fn parameters(rng: &mut ChaCha8Rng, version: Version) -> Parameters {
    let mut maybe = |most: u64| rng.random_bool(0.5).then(|| rng.random_range(1..=most));
    let (patience, missed, idle) = (maybe(4), maybe(3), maybe(2));
    let half_at_least = version > Version::V1 && rng.random_bool(0.95);
    let selection = *pick(rng, &[Selection::RoundRobin, Selection::Sortition]);
    let ballot = *pick(rng, &[BallotKind::Open, BallotKind::Sealed]);
    let merged = version > Version::V1 && rng.random_bool(0.5);
    let checkers = selection == Selection::Sortition && ballot == BallotKind::Open;
    let checkers = checkers || rng.random_bool(0.02);
    let merging = merged.then(|| train::merging(rng, checkers));
    Parameters {
        threshold: threshold(rng, version, false),
        selection,
        proposal_deadline_ms: 100,
        vote_deadline_ms: *pick(rng, &[50, 70]),
        reveal_deadline_ms: 30,
        motion_deadline_ms: *pick(rng, &[300, 1000]),
        close: *pick(rng, &[Close::All, Close::Early]),
        ballot,
        min_learners: rng.random_range(1..4),
        max_rounds: rng.random_bool(0.2).then(|| rng.random_range(1..60)),
        patience: patience.filter(|_| rng.random_bool(0.2)),
        missed_turns: missed.map(|most| most as u32),
        idle_rotations: idle.map(|most| most as u32),
        privacy: rng
            .random_bool(0.3)
            .then_some(PrivacyCap { epsilon_micros: 2000, delta_picos: 10 }),
        max_weights_bytes: *pick(rng, &[10, 1 << 30]),
        governance_threshold: rng.random_bool(0.5).then(|| threshold(rng, version, half_at_least)),
        creator_may_stop: rng.random_bool(0.5),
        merging,
    }
}

/// What a new experiment begins with.
pub(crate) fn creation(rng: &mut ChaCha8Rng, version: Version) -> CreateExperiment {
    let invited = rng.random_range(4..=8);
    let mut invitations: Vec<Invitation> =
        (0..invited).map(|i| Invitation::new(id(i), rng.random_range(1..4))).collect();
    if version > Version::V1 {
        for (i, invitation) in invitations.iter_mut().enumerate() {
            invitation.judge = rng.random_bool(0.15);
            let called = rng.random_bool(0.2).then(|| format!("N{i}").parse().unwrap());
            invitation.name = called;
        }
    }
    let admission = match rng.random_range(0..3) {
        0 => Admission::Open,
        1 => Admission::Invited(invitations),
        _ => Admission::ByVote(invitations),
    };
    let parameters = parameters(rng, version);
    let media_type = match parameters.merging.is_some() || rng.random_bool(0.8) {
        true if rng.random_bool(0.98) => MERGED_MEDIA_TYPE,
        _ => "m",
    };
    let model = Model { digest: Digest([0; 32]), size: 10, media_type: media_type.into() };
    let plan = rng.random_bool(0.1).then_some(Digest([5; 32]));
    CreateExperiment { version: version.number(), parameters, admission, model, plan }
}

/// The hash chain of a key, by how many links are left. Computed once in a test's life.
fn chain(key: LearnerId) -> &'static [Digest] {
    static CHAINS: [OnceLock<Vec<Digest>>; 256] = [const { OnceLock::new() }; 256];
    CHAINS[usize::from(key.0[0])].get_or_init(|| {
        let mut links = vec![Digest(key.0)];
        for left in 0..LINKS as usize {
            links.push(link(links[left].0, 1));
        }
        links
    })
}

/// The link that a member reveals next, or its anchor.
pub(crate) fn next_link(key: LearnerId, member: Option<&Member>) -> Digest {
    match member.and_then(|it| it.chain.as_deref()) {
        Some(chain_so_far) if chain_so_far.left > 0 => chain(key)[chain_so_far.left as usize - 1],
        Some(_) | None => chain(key)[LINKS as usize],
    }
}

/// One of the things that can be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Join,
    Leave,
    Renounce,
    Propose,
    Pass,
    Vote,
    Commit,
    Reveal,
    Resume,
    ReplaceKey,
    Move,
    MotionVote,
    Stop,
    Evaluate,
    Update,
    CommitUpdate,
    RevealUpdate,
    Have,
    MergeVote,
    RevealMergeVote,
}

const KINDS: [Kind; 20] = [
    Kind::Join,
    Kind::Leave,
    Kind::Renounce,
    Kind::Propose,
    Kind::Pass,
    Kind::Vote,
    Kind::Commit,
    Kind::Reveal,
    Kind::Resume,
    Kind::ReplaceKey,
    Kind::Move,
    Kind::MotionVote,
    Kind::Stop,
    Kind::Evaluate,
    Kind::Update,
    Kind::CommitUpdate,
    Kind::RevealUpdate,
    Kind::Have,
    Kind::MergeVote,
    Kind::RevealMergeVote,
];

/// What is tried, and what only those who try know: their sealed votes and updates.
#[derive(Default)]
pub(crate) struct Aim {
    secrets: BTreeMap<(ExperimentName, LearnerId), Act>,
    /// What reveals that which the last attempt committed to.
    committing: Option<Act>,
}

impl Aim {
    /// Something that somebody may try in this experiment.
    pub(crate) fn attempt(
        &mut self,
        rng: &mut ChaCha8Rng,
        contract: &Contract,
        experiment: &Experiment,
    ) -> (LearnerId, Action) {
        let ledger = contract.version();
        let aimed = rng.random_bool(0.85).then(|| self.aimed(rng, ledger, experiment)).flatten();
        let (who, mut act) = aimed.unwrap_or_else(|| {
            let keys = experiment.members().map(|(learner, _)| learner);
            let who = match rng.random_bool(0.5) {
                true => one_of(rng, keys).unwrap_or(id(0)),
                false => id(rng.random_range(0..12)),
            };
            let kind = *pick(rng, &KINDS);
            // Whoever may stop would, and there would be no history.
            let kind = if kind == Kind::Stop && rng.random_bool(0.9) { Kind::Vote } else { kind };
            (who, self.build(rng, kind, who, ledger, experiment))
        });
        if rng.random_bool(0.08) {
            spoil(rng, &mut act);
        }
        let name = match rng.random_bool(0.005) {
            true => "nowhere".parse().unwrap(),
            false => experiment.name().clone(),
        };
        (who, Action::new(name, act))
    }

    /// Takes note of what was accepted.
    pub(crate) fn accepted(&mut self, sender: LearnerId, action: &Action) {
        let name = &action.experiment;
        match &action.what {
            Act::Commit(_) | Act::CommitUpdate(_) => {
                if let Some(reveal) = self.committing.take() {
                    self.secrets.insert((name.clone(), sender), reveal);
                }
            }
            Act::ReplaceKey { to } => {
                if let Some(reveal) = self.secrets.remove(&(name.clone(), sender)) {
                    self.secrets.insert((name.clone(), *to), reveal);
                }
            }
            _ => {}
        }
    }

    /// Something that most likely is accepted.
    fn aimed(
        &mut self,
        rng: &mut ChaCha8Rng,
        ledger: Version,
        experiment: &Experiment,
    ) -> Option<(LearnerId, Act)> {
        use Kind::*;
        let adopts = ledger > experiment.version();
        let always = [
            (6, Join),
            (2, Leave),
            (1, Renounce),
            (3, ReplaceKey),
            (if adopts { 12 } else { 7 }, Move),
            (if experiment.motions().len() > 0 { 22 } else { 0 }, MotionVote),
            (3, Evaluate),
            (1, Stop),
        ];
        let sealed = experiment.parameters().ballot == BallotKind::Sealed;
        let here: &[(u32, Kind)] = match experiment.phase() {
            Phase::Waiting => &[(40, Join)],
            Phase::Paused(PauseReason::NobodyProposes) => &[(20, Resume), (10, Join)],
            Phase::Paused(_) => &[(30, Join), (20, Move)],
            Phase::Proposing { .. } => &[(38, Propose), (4, Pass)],
            Phase::Voting { stage: Stage::Open, .. } => &[(60, Vote)],
            Phase::Voting { stage: Stage::Commit { .. }, .. } => &[(60, Commit)],
            Phase::Voting { stage: Stage::Reveal { .. }, .. } => &[(60, Reveal)],
            Phase::Merged(round) => match &round.stage {
                MergeStage::Training if sealed => &[(55, CommitUpdate), (4, Pass)],
                MergeStage::Training => &[(55, Update), (4, Pass)],
                MergeStage::Revealing => &[(60, RevealUpdate)],
                MergeStage::Gathering { .. } => &[(60, Have)],
                MergeStage::Voting { stage: Stage::Open, .. } => &[(60, MergeVote)],
                MergeStage::Voting { stage: Stage::Commit { .. }, .. } => &[(60, Commit)],
                MergeStage::Voting { stage: Stage::Reveal { .. }, .. } => &[(60, RevealMergeVote)],
            },
            Phase::Finished(_) => &[(200, Evaluate)],
        };
        let kinds: Vec<(u32, Kind)> = here.iter().chain(&always).copied().collect();
        let kind = weighed(rng, &kinds);
        let who = who_may(rng, kind, experiment)?;
        Some((who, self.build(rng, kind, who, ledger, experiment)))
    }

    /// What this learner would ask, were it right to ask for this kind of thing.
    pub(crate) fn build(
        &mut self,
        rng: &mut ChaCha8Rng,
        kind: Kind,
        who: LearnerId,
        ledger: Version,
        experiment: &Experiment,
    ) -> Act {
        let second = experiment.version() > Version::V1;
        let member = experiment.member(who);
        let round = experiment.round();
        match kind {
            Kind::Join => {
                let term = member.map_or(0, |member| member.term + 1);
                let name = (second && rng.random_bool(0.15)).then(|| member_name(rng));
                Act::Join(Join { term, terms: second.then(|| experiment.terms()), name })
            }
            Kind::Leave | Kind::Renounce => Act::Leave {
                term: member.map_or(0, |member| member.term),
                renounce: second && (kind == Kind::Renounce || rng.random_bool(0.1)),
            },
            Kind::Propose => Act::Propose(proposal(rng, who, experiment)),
            Kind::Pass => {
                let exhausted = experiment.parameters().privacy.is_some() && rng.random_bool(0.4);
                let reason = second.then(|| reason(rng)).flatten();
                Act::Pass { round, exhausted, reason }
            }
            Kind::Vote => Act::Vote(vote(rng, who, experiment)),
            Kind::Commit if train::open(experiment).is_some() => {
                let (commitment, link, reveal) = train::commit_vote(rng, who, experiment);
                self.committing = Some(Act::RevealMergeVote(reveal));
                let weights = experiment.model().digest;
                Act::Commit(Commit { round, weights, commitment, link })
            }
            Kind::Commit => self.commit(rng, who, experiment),
            Kind::Reveal => match self.secret(experiment, who) {
                Some(reveal @ Act::Reveal(_)) => reveal,
                _ => {
                    let vote = Vote { link: None, ..vote(rng, who, experiment) };
                    Act::Reveal(Reveal { vote, salt: [1; 32] })
                }
            },
            Kind::Update => Act::Update(train::update(rng, who, experiment)),
            Kind::CommitUpdate => {
                let (commit, reveal) = train::commit_update(rng, who, experiment);
                self.committing = Some(Act::RevealUpdate(reveal));
                Act::CommitUpdate(commit)
            }
            Kind::RevealUpdate => match self.secret(experiment, who) {
                Some(reveal @ Act::RevealUpdate(_)) => reveal,
                _ => Act::RevealUpdate(train::commit_update(rng, who, experiment).1),
            },
            Kind::Have => Act::Have { round, held: train::held(rng, experiment) },
            Kind::MergeVote => Act::MergeVote(train::merge_vote(rng, who, experiment)),
            Kind::RevealMergeVote => match self.secret(experiment, who) {
                Some(reveal @ Act::RevealMergeVote(_)) => reveal,
                _ => Act::RevealMergeVote(train::commit_vote(rng, who, experiment).2),
            },
            Kind::Resume => Act::Resume { round },
            Kind::ReplaceKey => Act::ReplaceKey { to: fresh(rng) },
            Kind::Move => {
                let number = experiment.last_motion() + 1;
                Act::Move { number, motion: motion(rng, who, ledger, experiment) }
            }
            Kind::MotionVote => {
                let mine = experiment.motions().map(|(number, _)| number);
                let mine = mine.filter(|number| experiment.may_vote_on(*number, who));
                let open = experiment.motions().map(|(number, _)| number);
                let number = one_of(rng, mine).or_else(|| one_of(rng, open));
                let number = number.unwrap_or(experiment.last_motion());
                Act::MotionVote { number, approve: rng.random_bool(0.7) }
            }
            Kind::Stop => Act::Stop,
            Kind::Evaluate => {
                let number = member.map_or(1, |member| member.evaluations + 1);
                let measure = |name: &str| Measure { name: name.parse().unwrap(), value_micros: 1 };
                let mut measures = vec![measure("alone"), measure("together")];
                measures.truncate(rng.random_range(1..=2));
                Act::Evaluate(Evaluation { number, model: experiment.model().digest, measures })
            }
        }
    }

    fn secret(&self, experiment: &Experiment, who: LearnerId) -> Option<Act> {
        self.secrets.get(&(experiment.name().clone(), who)).cloned()
    }

    fn commit(&mut self, rng: &mut ChaCha8Rng, who: LearnerId, experiment: &Experiment) -> Act {
        let mut vote = vote(rng, who, experiment);
        if vote.choice == Choice::Approve && experiment.version() > Version::V1 {
            // What is wrong with a sealed vote is seen when it is revealed.
            vote.reason = rng.random_bool(0.02).then_some(Reason::Worse);
        }
        let salt = [rng.random_range(0..=255); 32];
        // Who copies another's commitment cannot open it.
        let voter = if rng.random_bool(0.03) { id(1) } else { who };
        let (version, ledger, name) =
            (experiment.version(), crate::history::LEDGER, experiment.name());
        let sealed = Sealed { version, ledger, experiment: name, voter, vote: &vote, salt: &salt };
        let commitment = sealed.commitment();
        let commit =
            Commit { round: vote.round, weights: vote.weights, commitment, link: vote.link };
        self.committing = Some(Act::Reveal(Reveal { vote: Vote { link: None, ..vote }, salt }));
        Act::Commit(commit)
    }
}

/// Whoever may do this now.
fn who_may(rng: &mut ChaCha8Rng, kind: Kind, experiment: &Experiment) -> Option<LearnerId> {
    let open = experiment.admission() == Admission::Open;
    let members = |may: fn(&Member) -> bool| {
        experiment.members().filter(move |(_, it)| may(it)).map(|(learner, _)| learner)
    };
    let present = |it: &Member| matches!(it.seat, Seat::Seated(_) | Seat::Joining);
    let invited = || experiment.admission().invitations().to_vec().into_iter().map(|it| it.learner);
    let round = experiment.round();
    match kind {
        Kind::Join => {
            let absent = |learner: &LearnerId| {
                let seat = experiment.member(*learner).map(|member| member.seat);
                matches!(seat, None | Some(Seat::Left | Seat::Suspended))
            };
            match open {
                true => one_of(rng, (0..8).map(id).filter(absent)),
                false => one_of(rng, invited().filter(absent)),
            }
        }
        Kind::Leave => one_of(rng, members(present)),
        Kind::Renounce => match experiment.version() > Version::V1 && rng.random_bool(0.3) {
            true => one_of(rng, invited()),
            false => None,
        },
        Kind::Propose | Kind::Pass => match experiment.phase() {
            Phase::Proposing { proposer, .. } => Some(*proposer),
            _ => one_of(rng, train::participants(experiment, |part| *part == Part::Due)),
        },
        Kind::Update | Kind::CommitUpdate => {
            one_of(rng, train::participants(experiment, |part| *part == Part::Due))
        }
        Kind::RevealUpdate => one_of(
            rng,
            train::participants(experiment, |part| matches!(part, Part::Committed { .. })),
        ),
        Kind::Have => {
            let may =
                |it: &LearnerId| experiment.member(*it).is_some_and(|it| it.last_have != round);
            one_of(rng, experiment.seated().filter(may))
        }
        Kind::Vote | Kind::Commit | Kind::MergeVote => {
            let proposer = match experiment.phase() {
                Phase::Voting { proposer, .. } => Some(*proposer),
                _ => None,
            };
            let may = |learner: &LearnerId| {
                Some(*learner) != proposer
                    && experiment.member(*learner).is_some_and(|it| it.last_vote != round)
            };
            one_of(rng, experiment.seated().filter(may))
        }
        Kind::Reveal | Kind::RevealMergeVote => {
            let may = |learner: &LearnerId| {
                experiment
                    .member(*learner)
                    .is_some_and(|it| it.last_vote == round && it.has_unrevealed())
            };
            one_of(rng, experiment.seated().filter(may))
        }
        Kind::Resume | Kind::Evaluate => one_of(rng, members(present)),
        Kind::ReplaceKey => match rng.random_bool(0.7) {
            true => {
                one_of(rng, members(|it| it.seat != Seat::Replaced && it.seat != Seat::Expelled))
            }
            false => one_of(rng, invited()),
        },
        Kind::Move => {
            let moving =
                |learner: &LearnerId| !experiment.motions().any(|(_, open)| open.mover == *learner);
            match !open && (experiment.version() > Version::V1 || rng.random_bool(0.2)) {
                true => one_of(rng, invited().filter(moving)),
                false => one_of(rng, experiment.seated().filter(moving)),
            }
        }
        Kind::MotionVote => {
            let number = one_of(rng, experiment.motions().map(|(number, _)| number))?;
            let keys = experiment.members().map(|(learner, _)| learner).chain(invited());
            // Now and then somebody who has no vote on it, or has cast it.
            let any = rng.random_bool(0.1);
            one_of(rng, keys.filter(|learner| any || experiment.may_vote_on(number, *learner)))
        }
        // Mostly nobody: whoever may stop would, and there would be no history.
        Kind::Stop => match rng.random_range(0..20) {
            0 => Some(experiment.creator()),
            1 => one_of(rng, members(|_| true)),
            _ => None,
        },
    }
}

pub(crate) fn reason(rng: &mut ChaCha8Rng) -> Option<Reason> {
    let reasons = [
        Reason::Worse,
        Reason::NotFinite,
        Reason::TooLittleData,
        Reason::CapReached,
        Reason::Policy,
        Reason::Failed,
        Reason::Unavailable,
    ];
    rng.random_bool(0.5).then(|| *pick(rng, &reasons))
}

/// A vote on what is proposed.
fn vote(rng: &mut ChaCha8Rng, who: LearnerId, experiment: &Experiment) -> Vote {
    let second = experiment.version() > Version::V1;
    let weights = match experiment.phase() {
        Phase::Voting { weights, .. } => weights.digest,
        _ => Digest([9; 32]),
    };
    // Whole rounds of those who could not get the bytes, or half of them never would be.
    let lacking = second && experiment.round() % 5 < 2;
    let (choice, reason) = match rng.random_range(0..10) {
        _ if lacking && rng.random_bool(0.8) => (Choice::Abstain, Some(Reason::Unavailable)),
        0 | 1 if second => (Choice::Abstain, reason(rng)),
        0..4 if second => (Choice::Reject, reason(rng).filter(|it| *it != Reason::Unavailable)),
        0..4 => (Choice::Reject, None),
        _ => (Choice::Approve, None),
    };
    let drawn = second && experiment.parameters().selection == Selection::Sortition;
    Vote {
        round: experiment.round(),
        weights,
        choice,
        reason,
        scores: Scores { vote: rng.random_bool(0.5).then_some(-5), test: None },
        link: drawn.then(|| next_link(who, experiment.member(who))),
    }
}

pub(crate) fn proposal(rng: &mut ChaCha8Rng, who: LearnerId, experiment: &Experiment) -> Proposal {
    let kind = experiment.model().media_type.as_str();
    let weights = match rng.random_range(0..50) {
        0 => experiment.model().clone(),
        1 => Model { digest: Digest([0; 32]), ..model(rng, kind) },
        2 => Model { size: *pick(rng, &[0, 11, 2 << 30]), ..model(rng, kind) },
        3 => Model { media_type: "n".into(), ..model(rng, kind) },
        _ => model(rng, kind),
    };
    let base = experiment.model().digest;
    let stated = experiment.parameters().privacy.is_some() || rng.random_bool(0.2);
    let privacy = (stated && rng.random_bool(0.97)).then(|| {
        let before = experiment.member(who).and_then(|it| it.privacy.as_deref());
        statement(rng, experiment.version(), before)
    });
    Proposal { round: experiment.round(), base, weights, scores: Scores::default(), privacy }
}

/// A statement that goes on from the last one, mostly.
fn statement(
    rng: &mut ChaCha8Rng,
    version: Version,
    before: Option<&PrivacySpent>,
) -> PrivacySpent {
    let segment = |noise_micros, steps| PrivacySegment {
        noise_micros,
        clip_micros: 1,
        sampling_nanos: 1,
        steps,
    };
    let steps = before.map_or(0, PrivacySpent::steps);
    let training = match (version > Version::V1) != rng.random_bool(0.02) {
        false => PrivateTraining::Last(segment(
            1,
            steps + rng.random_range(u64::from(before.is_none())..2),
        )),
        true => {
            let mut all = match before.map(|it| &it.training) {
                Some(PrivateTraining::All(all)) => all.clone(),
                Some(PrivateTraining::Last(_)) | None => vec![segment(1, steps)],
            };
            match all.last_mut() {
                Some(last) if last.steps == 0 || rng.random_bool(0.6) => last.steps += 1,
                Some(PrivacySegment { noise_micros, .. }) => {
                    let noise_micros = *noise_micros % 3 + 1;
                    all.push(segment(noise_micros, rng.random_range(1..5)));
                }
                None => {}
            }
            if rng.random_bool(0.08) {
                let segment = rng.random_range(0..all.len());
                all[segment].steps = all[segment].steps.saturating_sub(rng.random_range(1..3));
            }
            PrivateTraining::All(all)
        }
    };
    let epsilon_micros = before.map_or(0, |it| it.epsilon_micros) + rng.random_range(1..300);
    let delta_picos = if rng.random_bool(0.95) { 10 } else { rng.random_range(0..12) };
    let epsilon_micros = if rng.random_bool(0.03) { epsilon_micros / 2 } else { epsilon_micros };
    PrivacySpent { epsilon_micros, delta_picos, training }
}

fn motion(
    rng: &mut ChaCha8Rng,
    who: LearnerId,
    ledger: Version,
    experiment: &Experiment,
) -> Motion {
    let version = experiment.version();
    let open = experiment.admission() == Admission::Open;
    let known = experiment.members().map(|(learner, _)| learner).collect::<Vec<_>>();
    let somebody = |rng: &mut ChaCha8Rng| match rng.random_bool(0.6) {
        true => one_of(rng, known.iter().copied()).unwrap_or(who),
        false => id(rng.random_range(0..12)),
    };
    if ledger > version && rng.random_bool(0.5) {
        return Motion::Adopt(ledger);
    }
    match rng.random_range(0..100) {
        0..35 => Motion::SetParameters(Box::new(parameters(rng, version))),
        35..65 => {
            let mut invitation = Invitation::new(somebody(rng), 1);
            if !open || rng.random_bool(0.1) {
                invitation.weight = rng.random_range(1..4);
                invitation.judge = version > Version::V1 && rng.random_bool(0.2);
                let called = version > Version::V1 && rng.random_bool(0.2);
                invitation.name = called.then(|| member_name(rng));
            }
            Motion::Admit(invitation)
        }
        65..78 => Motion::Suspend(somebody(rng)),
        78..97 => Motion::Expel(somebody(rng)),
        97 if rng.random_bool(0.3) => Motion::Stop,
        98 => Motion::Adopt(Version::V1),
        _ => Motion::Adopt(Version::V2),
    }
}

/// Changes one thing that may make it wrong.
fn spoil(rng: &mut ChaCha8Rng, act: &mut Act) {
    let other = Digest([rng.random_range(0..4); 32]);
    let back = rng.random_bool(0.5);
    let off =
        |number: &mut u64| *number = if back { number.saturating_sub(1) } else { *number + 1 };
    let off_term = |term: &mut u32| *term = if back { term.saturating_sub(1) } else { *term + 1 };
    match act {
        Act::Create(create) => create.version = 3 - create.version,
        Act::Join(join) => match rng.random_range(0..3) {
            0 => join.terms = if back { None } else { Some(other) },
            1 => join.name = Some(member_name(rng)),
            _ => off_term(&mut join.term),
        },
        Act::Leave { term, renounce } => match back {
            true => *renounce ^= true,
            false => off_term(term),
        },
        Act::Propose(proposal) => match rng.random_range(0..3) {
            0 => proposal.base = other,
            1 => proposal.privacy = None,
            _ => off(&mut proposal.round),
        },
        Act::Pass { round, exhausted, reason: why } => match rng.random_range(0..3) {
            0 => *exhausted ^= true,
            1 => *why = reason(rng),
            _ => off(round),
        },
        Act::Vote(vote) => match rng.random_range(0..4) {
            0 => vote.reason = reason(rng),
            1 => vote.link = if back { None } else { Some(other) },
            2 => vote.weights = other,
            _ => off(&mut vote.round),
        },
        Act::Commit(commit) => match rng.random_range(0..3) {
            0 => commit.link = if back { None } else { Some(other) },
            1 => commit.weights = other,
            _ => off(&mut commit.round),
        },
        Act::Reveal(reveal) => match rng.random_range(0..4) {
            0 => reveal.vote.link = Some(other),
            1 => reveal.salt = [0; 32],
            2 => reveal.vote.reason = reason(rng),
            _ => off(&mut reveal.vote.round),
        },
        Act::Resume { round } => off(round),
        Act::ReplaceKey { to } => *to = id(rng.random_range(0..12)),
        Act::Move { number, .. } | Act::MotionVote { number, .. } => off(number),
        Act::Stop => {}
        Act::Evaluate(evaluation) => match back {
            true => evaluation.measures.clear(),
            false => off(&mut evaluation.number),
        },
        Act::Update(update) => match rng.random_range(0..3) {
            0 => update.base = other,
            1 => update.privacy = None,
            _ => off(&mut update.round),
        },
        Act::CommitUpdate(commit) => match back {
            true => commit.base = other,
            false => off(&mut commit.round),
        },
        Act::RevealUpdate(reveal) => match rng.random_range(0..4) {
            0 => reveal.update.weights.size += 1,
            1 => reveal.update.base = other,
            2 => reveal.salt = [0; 32],
            _ => off(&mut reveal.update.round),
        },
        Act::Have { round, held } => match back {
            true => *held = !*held,
            false => off(round),
        },
        Act::MergeVote(vote) => spoil_vote(rng, vote),
        Act::RevealMergeVote(reveal) => match back {
            true => reveal.salt = [0; 32],
            false => spoil_vote(rng, &mut reveal.vote),
        },
    }
}

/// Changes one thing in a vote on merges that may make it wrong.
fn spoil_vote(rng: &mut ChaCha8Rng, vote: &mut MergeVote) {
    let other = Digest([rng.random_range(0..4); 32]);
    match rng.random_range(0..8) {
        0 => vote.reason = reason(rng),
        1 => vote.link = if rng.random_bool(0.5) { None } else { Some(other) },
        2 => vote.merges.open = None,
        3 => vote.merges.guarded = Some(other),
        4 => vote.bear_open ^= true,
        5 => vote.bear_guarded ^= true,
        6 => vote.prefer_guarded ^= true,
        _ => vote.round += 1,
    }
}
