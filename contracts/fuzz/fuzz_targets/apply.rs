//! No sequence of actions makes the contract panic, a rejection changes nothing, what was accepted is
//! refused when it comes again, and every state keeps what holds in every state.
//!
//! cargo +nightly fuzz run apply --fuzz-dir contracts/fuzz -- -max_total_time=900
#![no_main]

#[path = "../../tests/it/history/state.rs"]
mod state;

use std::sync::OnceLock;

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

/// A share, strict or not.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Share(u8, u8, bool);

impl Share {
    fn threshold(self, bounded: bool) -> Threshold {
        let Self(mut numerator, mut denominator, mut strict) = self;
        if bounded {
            denominator = denominator.max(1);
            numerator = numerator.min(denominator);
            strict &= numerator < denominator;
        }
        Threshold { numerator: numerator.into(), denominator: denominator.into(), strict }
    }
}

#[derive(Arbitrary, Debug)]
struct Rules {
    /// Whether bounds are kept: otherwise hardly any would be.
    bounded: bool,
    threshold: Share,
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
    governance_threshold: Option<Share>,
    creator_may_stop: bool,
    merging: Option<Merged>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Merged {
    numbers: [u16; 4],
    gathers: Option<u16>,
}

impl Merged {
    /// Checkers need what not all rules have.
    fn merging(self, bounded: bool, checkers: bool) -> Merging {
        let [proposers, clip, momentum, check] = self.numbers.map(u32::from);
        match bounded {
            true => Merging {
                proposers: proposers % 64 + 1,
                clip_permille: 1000 + clip % 9001,
                momentum_permille: momentum % 901,
                checkers: if checkers { check % 65 } else { 0 },
                gather_deadline_ms: self.gathers.map(|it| u64::from(it).max(10)),
            },
            false => Merging {
                proposers,
                clip_permille: clip,
                momentum_permille: momentum,
                checkers: check,
                gather_deadline_ms: self.gathers.map(u64::from),
            },
        }
    }
}

impl Rules {
    fn parameters(&self) -> Parameters {
        let bounded = self.bounded;
        let least = |of: u64, least: u64| if bounded { of.max(least) } else { of };
        let some = |of: Option<u64>| of.map(|it| least(it, 1));
        let few = |of: Option<u32>| of.map(|it| if bounded { it.max(1) } else { it });
        let [proposal, vote, reveal, motion] = self.deadlines.map(|it| least(it.into(), 10));
        Parameters {
            threshold: self.threshold.threshold(bounded),
            selection: if self.sortition { Selection::Sortition } else { Selection::RoundRobin },
            close: if self.early { Close::Early } else { Close::All },
            ballot: if self.sealed { BallotKind::Sealed } else { BallotKind::Open },
            proposal_deadline_ms: proposal,
            vote_deadline_ms: vote,
            reveal_deadline_ms: reveal,
            motion_deadline_ms: motion,
            min_learners: least(self.min_learners.into(), 1) as u32,
            max_rounds: some(self.max_rounds),
            patience: some(self.patience),
            missed_turns: few(self.missed_turns),
            idle_rotations: few(self.idle_rotations),
            privacy: self
                .privacy
                .map(|(epsilon_micros, delta_picos)| PrivacyCap { epsilon_micros, delta_picos }),
            max_weights_bytes: match bounded {
                true => self.max_weights_bytes.clamp(1, MAX_WEIGHTS_BYTES),
                false => self.max_weights_bytes,
            },
            governance_threshold: self.governance_threshold.map(|share| {
                let given = share.threshold(bounded);
                match bounded && !given.is_half_at_least() {
                    true => Threshold::MORE_THAN_HALF,
                    false => given,
                }
            }),
            creator_may_stop: self.creator_may_stop,
            merging: self.merging.map(|it| it.merging(bounded, self.sortition && !self.sealed)),
        }
    }
}

/// Who is invited or admitted, and as what.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Invited {
    who: Who,
    weight: u16,
    judge: bool,
    name: Option<u8>,
}

impl Invited {
    fn invitation(self) -> Invitation {
        let Self { who, weight, judge, name } = self;
        Invitation { learner: who.id(), weight: weight.into(), judge, name: name.map(member_name) }
    }
}

/// What a vote says, and with what it is sealed.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Judgement {
    choice: u8,
    reason: Option<u8>,
    score: Option<i64>,
    salt: u8,
    link: Link,
}

/// What a vote on merges says, and with what it is sealed.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Opinion {
    open: Option<u8>,
    guarded: Option<u8>,
    /// Whether it says nothing of what it does not name.
    fits: bool,
    bits: u8,
    reason: Option<u8>,
    score: Option<i64>,
    salt: u8,
    link: Link,
}

/// The link of a hash chain that goes with a vote.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Link {
    /// The one that fits.
    Next,
    None,
    Of(u8),
}

#[derive(Arbitrary, Debug)]
enum Statement {
    Last {
        epsilon: u64,
        delta: u64,
        sampling: u64,
        steps: u64,
    },
    All {
        epsilon: u64,
        delta: u64,
        segments: Vec<[u64; 4]>,
    },
    /// One that goes on from the last.
    More {
        epsilon: u8,
        steps: u8,
    },
}

#[derive(Arbitrary, Debug)]
enum Ask {
    Create { version: u8, rules: Rules, admission: u8, invited: Vec<Invited> },
    Join { term: Option<u8>, terms: bool, name: Option<u8> },
    Leave { term: Option<u8>, renounce: bool },
    Propose { from_now: bool, weights: u8, size: u64, privacy: Option<Statement> },
    Pass { exhausted: bool, reason: Option<u8> },
    Vote(Judgement),
    Commit(Judgement),
    Reveal(Judgement, bool),
    Resume,
    ReplaceKey(u8),
    SetParameters(Box<Rules>),
    Admit(Invited),
    Suspend(Who),
    Expel(Who),
    MoveStop,
    Adopt(bool),
    MotionVote { back: u8, approve: bool },
    Stop,
    Evaluate { number: Option<u8>, measures: Vec<u8> },
    Update { from_now: bool, weights: u8, size: u64, privacy: Option<Statement> },
    CommitUpdate { weights: u8, salt: u8 },
    RevealUpdate { weights: u8, salt: u8 },
    Have(u64),
    MergeVote(Opinion),
    CommitMergeVote(Opinion),
    RevealMergeVote(Opinion, bool),
}

#[derive(Arbitrary, Debug)]
struct Step {
    wait: u16,
    /// In weeks.
    long: bool,
    back: bool,
    head: u8,
    who: Who,
    /// In which of two experiments.
    other: bool,
    /// Names the present round, or this one.
    round: Option<u64>,
    ask: Ask,
}

#[derive(Arbitrary, Debug)]
struct Input {
    /// After how many steps the ledger follows version 2.
    upgraded_after: Option<u8>,
    per_creator: u8,
    experiments: u8,
    rules: Rules,
    admission: u8,
    invited: Vec<Invited>,
    steps: Vec<Step>,
}

fn name(other: bool) -> ExperimentName {
    if other { "y" } else { "x" }.parse().expect("a valid name")
}

fn member_name(number: u8) -> MemberName {
    format!("N{}", number % 6).parse().expect("a valid name")
}

fn model(number: u8, size: u64) -> Model {
    Model { digest: Digest([number; 32]), size, media_type: MERGED_MEDIA_TYPE.into() }
}

fn reason(number: u8) -> Reason {
    match number % 7 {
        0 => Reason::Worse,
        1 => Reason::NotFinite,
        2 => Reason::TooLittleData,
        3 => Reason::CapReached,
        4 => Reason::Policy,
        5 => Reason::Failed,
        _ => Reason::Unavailable,
    }
}

/// The chain of a key, by how many links are left; computed once.
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

fn next_link(experiment: &Experiment, key: LearnerId) -> Option<Digest> {
    let left = experiment.member(key).and_then(|it| it.chain.as_ref()).map_or(0, |it| it.left);
    let left = if left > 0 { left - 1 } else { LINKS };
    (experiment.parameters().selection == Selection::Sortition).then(|| chain(key)[left as usize])
}

impl Link {
    fn digest(self, experiment: &Experiment, key: LearnerId) -> Option<Digest> {
        match self {
            Self::Next => next_link(experiment, key),
            Self::None => None,
            Self::Of(byte) => Some(Digest([byte; 32])),
        }
    }
}

impl Opinion {
    fn vote(self, experiment: &Experiment, key: LearnerId, round: u64) -> MergeVote {
        // Of few pairs, so that they agree.
        let digest = |byte: u8| Digest([byte % 4; 32]);
        let merges = Merges { open: self.open.map(digest), guarded: self.guarded.map(digest) };
        let scores = Scores { vote: self.score, test: None };
        let says = |bit: u8, there: bool| self.bits & bit > 0 && (there || !self.fits);
        MergeVote {
            round,
            merges,
            bear_open: says(1, merges.open.is_some()),
            bear_guarded: says(2, merges.guarded.is_some()),
            prefer_guarded: says(4, merges.guarded.is_some()),
            reason: self.reason.map(reason),
            scores_open: scores,
            scores_guarded: scores,
            link: self.link.digest(experiment, key),
        }
    }
}

impl Judgement {
    fn vote(self, experiment: &Experiment, key: LearnerId, round: u64) -> Vote {
        let weights = match experiment.phase() {
            Phase::Voting { weights, .. } => weights.digest,
            _ => Digest([0; 32]),
        };
        let choice = match self.choice % 3 {
            0 => Choice::Approve,
            1 => Choice::Reject,
            _ => Choice::Abstain,
        };
        let link = self.link.digest(experiment, key);
        let scores = Scores { vote: self.score, test: self.score };
        Vote { round, weights, choice, reason: self.reason.map(reason), scores, link }
    }
}

impl Statement {
    fn spent(&self, before: Option<&PrivacySpent>) -> PrivacySpent {
        let segment = |[noise_micros, clip_micros, sampling_nanos, steps]: [u64; 4]| {
            PrivacySegment { noise_micros, clip_micros, sampling_nanos, steps }
        };
        match self {
            Self::Last { epsilon, delta, sampling, steps } => PrivacySpent {
                epsilon_micros: *epsilon,
                delta_picos: *delta,
                training: PrivateTraining::Last(segment([1, 1, *sampling, *steps])),
            },
            Self::All { epsilon, delta, segments } => PrivacySpent {
                epsilon_micros: *epsilon,
                delta_picos: *delta,
                training: PrivateTraining::All(segments.iter().copied().map(segment).collect()),
            },
            Self::More { epsilon, steps } => {
                let mut segments = before.map_or(vec![], |it| it.segments().to_vec());
                match segments.last_mut() {
                    Some(last) => last.steps = last.steps.saturating_add((*steps).into()),
                    None => segments.push(segment([1, 1, 1, (*steps).into()])),
                }
                let epsilon_micros = before.map_or(0, |it| it.epsilon_micros);
                PrivacySpent {
                    epsilon_micros: epsilon_micros.saturating_add((*epsilon).into()),
                    delta_picos: before.map_or(1, |it| it.delta_picos),
                    training: PrivateTraining::All(segments),
                }
            }
        }
    }
}

fn create(version: u32, rules: &Rules, admission: u8, invited: &[Invited]) -> Act {
    let mut invitations: Vec<Invitation> = invited.iter().map(|it| it.invitation()).collect();
    // In order, most of the time, or hardly anything would ever be created.
    if admission < 200 {
        invitations.sort_by_key(|it| it.learner);
        invitations.dedup_by_key(|it| it.learner);
    }
    let mut parameters = rules.parameters();
    if rules.bounded {
        invitations.iter_mut().for_each(|it| it.weight = it.weight.clamp(1, MAX_WEIGHT));
        if let Some(first) = invitations.first_mut() {
            first.judge = false;
            parameters.min_learners = parameters.min_learners.min(invitations.len() as u32);
        }
    }
    Act::Create(CreateExperiment {
        version,
        parameters,
        admission: match admission % 3 {
            0 => Admission::Open,
            1 => Admission::Invited(invitations),
            _ => Admission::ByVote(invitations),
        },
        model: model(0, 1),
        plan: None,
    })
}

/// An update that somebody commits to.
fn update(experiment: &Experiment, round: u64, weights: u8) -> Update {
    Update {
        round,
        base: experiment.model().digest,
        weights: model(weights, 1),
        scores: Scores::default(),
        privacy: None,
    }
}

fn act(contract: &Contract, experiment: &Experiment, step: &Step) -> Act {
    let who = step.who.id();
    let member = experiment.member(who);
    let round = step.round.unwrap_or(experiment.round());
    let moves = |motion| Act::Move { number: experiment.last_motion().wrapping_add(1), motion };
    match &step.ask {
        Ask::Create { version, rules, admission, invited } => {
            create((*version).into(), rules, *admission, invited)
        }
        Ask::Join { term, terms, name } => Act::Join(Join {
            term: term.map_or(member.map_or(0, |it| it.term.wrapping_add(1)), u32::from),
            terms: terms.then(|| experiment.terms()),
            name: name.map(member_name),
        }),
        Ask::Leave { term, renounce } => Act::Leave {
            term: term.map_or(member.map_or(0, |it| it.term), u32::from),
            renounce: *renounce,
        },
        Ask::Propose { from_now, weights, size, privacy } => Act::Propose(Proposal {
            round,
            base: if *from_now { experiment.model().digest } else { Digest([7; 32]) },
            weights: model(*weights, *size),
            scores: Scores::default(),
            privacy: privacy
                .as_ref()
                .map(|it| it.spent(member.and_then(|member| member.privacy.as_deref()))),
        }),
        Ask::Pass { exhausted, reason: why } => {
            Act::Pass { round, exhausted: *exhausted, reason: why.map(reason) }
        }
        Ask::Vote(judgement) => Act::Vote(judgement.vote(experiment, who, round)),
        Ask::Commit(judgement) => {
            let vote = judgement.vote(experiment, who, round);
            let (ledger, version, salt) =
                (contract.ledger(), experiment.version(), &[judgement.salt; 32]);
            let experiment = experiment.name();
            let sealed = Sealed { version, ledger, experiment, voter: who, vote: &vote, salt };
            let commitment = sealed.commitment();
            Act::Commit(Commit { round, weights: vote.weights, commitment, link: vote.link })
        }
        Ask::Reveal(judgement, with_link) => {
            let mut vote = judgement.vote(experiment, who, round);
            vote.link = vote.link.filter(|_| *with_link);
            Act::Reveal(Reveal { vote, salt: [judgement.salt; 32] })
        }
        Ask::Update { from_now, weights, size, privacy } => Act::Update(Update {
            round,
            base: if *from_now { experiment.model().digest } else { Digest([7; 32]) },
            weights: model(*weights, *size),
            scores: Scores::default(),
            privacy: privacy
                .as_ref()
                .map(|it| it.spent(member.and_then(|member| member.privacy.as_deref()))),
        }),
        Ask::CommitUpdate { weights, salt } => {
            let update = update(experiment, round, *weights);
            let (ledger, salt) = (contract.ledger(), &[*salt; 32]);
            let experiment = experiment.name();
            let sealed = SealedUpdate { ledger, experiment, sender: who, update: &update, salt };
            let commitment = sealed.commitment();
            Act::CommitUpdate(CommitUpdate { round, base: update.base, commitment })
        }
        Ask::RevealUpdate { weights, salt } => Act::RevealUpdate(RevealUpdate {
            update: update(experiment, round, *weights),
            salt: [*salt; 32],
        }),
        Ask::Have(held) => Act::Have { round, held: *held },
        Ask::MergeVote(opinion) => Act::MergeVote(opinion.vote(experiment, who, round)),
        Ask::CommitMergeVote(opinion) => {
            let vote = opinion.vote(experiment, who, round);
            let (ledger, salt) = (contract.ledger(), &[opinion.salt; 32]);
            let (base, experiment) = (experiment.model().digest, experiment.name());
            let sealed = SealedMergeVote { ledger, experiment, voter: who, vote: &vote, salt };
            let commitment = sealed.commitment();
            Act::Commit(Commit { round, weights: base, commitment, link: vote.link })
        }
        Ask::RevealMergeVote(opinion, with_link) => {
            let mut vote = opinion.vote(experiment, who, round);
            vote.link = vote.link.filter(|_| *with_link);
            Act::RevealMergeVote(RevealMergeVote { vote, salt: [opinion.salt; 32] })
        }
        Ask::Resume => Act::Resume { round },
        Ask::ReplaceKey(to) => Act::ReplaceKey { to: LearnerId([to % 64; 32]) },
        Ask::SetParameters(rules) => moves(Motion::SetParameters(Box::new(rules.parameters()))),
        Ask::Admit(invited) => moves(Motion::Admit(invited.invitation())),
        Ask::Suspend(who) => moves(Motion::Suspend(who.id())),
        Ask::Expel(who) => moves(Motion::Expel(who.id())),
        Ask::MoveStop => moves(Motion::Stop),
        Ask::Adopt(second) => moves(Motion::Adopt(if *second { Version::V2 } else { Version::V1 })),
        Ask::MotionVote { back, approve } => {
            let number = experiment.last_motion().saturating_sub((*back % 4).into());
            Act::MotionVote { number, approve: *approve }
        }
        Ask::Stop => Act::Stop,
        Ask::Evaluate { number, measures } => Act::Evaluate(Evaluation {
            number: number.map_or(member.map_or(1, |it| it.evaluations.wrapping_add(1)), u64::from),
            model: experiment.model().digest,
            measures: measures
                .iter()
                .map(|byte| Measure {
                    name: format!("m{byte:03}").parse().expect("a valid name"),
                    value_micros: i64::from(*byte),
                })
                .collect(),
        }),
    }
}

fuzz_target!(|input: Input| {
    let first = if input.upgraded_after.is_some() { Version::V1 } else { Version::V2 };
    let limits = Limits {
        per_creator: input.per_creator.max(1).into(),
        experiments: input.experiments.max(1).into(),
        ..Limits::default()
    };
    let mut contract = Contract::with_limits(Digest([1; 32]), first, limits);
    let begin = create(first.number(), &input.rules, input.admission, &input.invited);
    let begin = Action::new(name(false), begin);
    if contract.apply(Moment::without_ledger(0), LearnerId([0; 32]), &begin).is_err() {
        return;
    }
    let mut now_ms = 0_u64;
    for (i, step) in input.steps.iter().enumerate() {
        if input.upgraded_after.map(usize::from) == Some(i) {
            contract.upgrade(now_ms, Version::V2, limits).expect("a later version");
        }
        let wait = u64::from(step.wait) * if step.long { 604_800_000 } else { 7 };
        now_ms = match step.back {
            true => now_ms.saturating_sub(wait),
            false => now_ms.saturating_add(wait),
        };
        let at = Moment { now_ms, head: Digest([step.head; 32]) };
        contract.advance(at);
        let other = step.other && contract.experiment(&name(true)).is_some();
        let Some(experiment) = contract.experiment(&name(other)) else { return };
        let act = act(&contract, experiment, step);
        let creates = matches!(act, Act::Create(_));
        let action = Action::new(name(if creates { step.other } else { other }), act);
        let before = contract.clone();
        let result = contract.apply(at, step.who.id(), &action);
        if let Act::Create(create) = &action.what {
            let (sender, name) = (step.who.id(), &action.experiment);
            state::check_creation(&before, sender, name, create, &result);
        }
        match result {
            Ok(_) => {
                let mut again = contract.clone();
                assert!(again.apply(at, step.who.id(), &action).is_err(), "counted twice");
            }
            Err(_) => assert_eq!(before, contract, "a rejection changed the state"),
        }
        state::check(&contract, now_ms);
    }
});
