//! What a learner owes, against the contract itself: transcripts that read as the protocol, and random
//! ones with lost connections, restarts and clocks.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use colearn_contracts::{
    Act, Action, Admission, BallotKind, Choice, Close, Contract, CreateExperiment, Decision,
    Digest, Experiment, ExperimentName, FinishReason, Invitation, Join, LINKS, LearnerId, Limits,
    MERGED_MEDIA_TYPE, MemberName, Merge, MergeVote, Merges, Merging, Model, Moment, Motion,
    Outcome, Parameters, PauseReason, PrivacyCap, PrivacySegment, PrivacySpent, PrivateTraining,
    Reason, Rejection, Reveal, RevealMergeVote, RevealUpdate, Selection, SuspendReason, VERSION,
    Verdict, Version,
};
use colearn_records::convert::{ExperimentState, MemberState};
use colearn_sdk::ed25519_dalek::SigningKey;
use colearn_sdk::keys::Key;
use colearn_sdk::learner::{Judgement, Score, Weights};
use colearn_sdk::links::{NoLink, WrongChain};
use colearn_sdk::merging::{Judged, Worth};
use colearn_sdk::participant::{
    Assignment, Duty, Ending, Event, Membership, MergeTask, Participant, Remembered, Secret,
    Standing, Statement, Turn,
};
use colearn_sdk::turn::Trained;
use proptest::prelude::*;

fn name() -> ExperimentName {
    "x".parse().unwrap()
}

fn id(learner: usize) -> LearnerId {
    LearnerId([learner as u8 + 1; 32])
}

fn weights(number: u64) -> Weights {
    Weights::new(number.to_be_bytes().to_vec())
}

fn like(approve: bool) -> Score {
    Score::new(0.5, approve)
}

/// What a learner's hash chains come from.
fn key(learner: usize) -> SigningKey {
    SigningKey::from_bytes(&id(learner).0)
}

/// What the ledger would hold.
#[derive(Clone)]
enum Entry {
    Act(LearnerId, Act),
    Decision(Decision),
}

/// A learner and what it remembers over a restart.
struct Learner {
    participant: Participant,
    /// How many entries it was shown.
    shown: usize,
    held: Digest,
    signed: Option<Turn>,
    sealed: Option<Reveal>,
    sealed_merge_vote: Option<RevealMergeVote>,
    sealed_update: Option<RevealUpdate>,
    trained: Option<Weights>,
    told: Vec<Event>,
}

impl Learner {
    /// Keeps what is to be kept before a statement is signed.
    fn keep(&mut self, statement: &Statement) {
        match statement.sealed.clone() {
            Some(Secret::Vote(reveal)) => self.sealed = Some(reveal),
            Some(Secret::MergeVote(reveal)) => self.sealed_merge_vote = Some(reveal),
            Some(Secret::Update(reveal)) => self.sealed_update = Some(reveal),
            None => {}
        }
    }
}

/// A contract with one experiment, and learners around it.
struct Table {
    contract: Contract,
    entries: Vec<Entry>,
    now_ms: u64,
    learners: Vec<Learner>,
    /// Everything that was ever signed for a turn, by whom.
    signed: BTreeMap<(LearnerId, Turn), Act>,
    made: u64,
}

impl Table {
    /// An open experiment, and learners that have seen it being created.
    fn new(learners: usize, parameters: Parameters) -> Self {
        Self::of(VERSION, learners, parameters, Admission::Open)
    }

    fn of(version: Version, learners: usize, parameters: Parameters, admission: Admission) -> Self {
        let ledger = Digest([9; 32]);
        let model: Model = weights(0).model(MERGED_MEDIA_TYPE);
        let create = CreateExperiment {
            version: version.number(),
            parameters,
            admission,
            model,
            plan: None,
        };
        let held = weights(0).digest();
        let learner = |at| Learner {
            participant: Participant::new(
                id(at),
                ledger,
                name(),
                Some(held),
                Remembered::default(),
            ),
            shown: 0,
            held,
            signed: None,
            sealed: None,
            sealed_merge_vote: None,
            sealed_update: None,
            trained: None,
            told: Vec::new(),
        };
        let mut table = Self {
            contract: Contract::new(ledger, version),
            entries: Vec::new(),
            now_ms: 0,
            learners: (0..learners).map(learner).collect(),
            signed: BTreeMap::new(),
            made: 0,
        };
        table.apply(id(0), Act::Create(create)).unwrap();
        table.show_all();
        table
    }

    /// The same, with everybody seated.
    fn seated(learners: usize, parameters: Parameters) -> Self {
        Self::seated_of(VERSION, learners, parameters, Admission::Open)
    }

    fn seated_of(
        version: Version,
        learners: usize,
        parameters: Parameters,
        admission: Admission,
    ) -> Self {
        let parameters = Parameters { min_learners: learners as u32, ..parameters };
        let mut table = Self::of(version, learners, parameters, admission);
        (0..learners).for_each(|at| table.fulfil(at));
        table.show_all();
        table
    }

    fn apply(&mut self, sender: LearnerId, act: Act) -> Result<(), Rejection> {
        let action = Action::new(name(), act);
        let decided = self.contract.apply(Moment::without_ledger(self.now_ms), sender, &action)?;
        self.entries.push(Entry::Act(sender, action.what));
        self.record(decided);
        Ok(())
    }

    fn record(&mut self, decided: Vec<Outcome>) {
        self.entries.extend(decided.into_iter().map(|outcome| Entry::Decision(outcome.what)));
    }

    fn wait(&mut self, ms: u64) {
        self.now_ms += ms;
        let decided = self.contract.advance(Moment::without_ledger(self.now_ms));
        self.record(decided);
    }

    /// Shows a learner the next entry it has not seen.
    fn show(&mut self, at: usize) -> bool {
        let learner = &mut self.learners[at];
        let Some(entry) = self.entries.get(learner.shown) else { return false };
        learner.shown += 1;
        match entry {
            Entry::Act(sender, act) => learner.participant.observe_act(*sender, act),
            Entry::Decision(decision) => {
                learner.told.extend(learner.participant.observe_decision(decision));
            }
        }
        true
    }

    fn show_all(&mut self) {
        for at in 0..self.learners.len() {
            while self.show(at) {}
        }
    }

    fn duty(&self, at: usize) -> Duty {
        self.learners[at].participant.duty()
    }

    /// The learner's process dies and is started again: it knows what it remembered, and asks where
    /// things stand.
    fn restart(&mut self, at: usize) {
        let learner = &self.learners[at];
        let held = &learner.held;
        let remembered = Remembered {
            signed: learner.signed.clone().into_iter().collect(),
            sealed: learner.sealed.clone(),
            sealed_merge_vote: learner.sealed_merge_vote.clone(),
            sealed_update: learner.sealed_update.clone(),
            trained: learner.trained.clone(),
            lived_with: learner.participant.lived_with().collect(),
        };
        let ledger = self.contract.ledger();
        let mut participant = Participant::new(id(at), ledger, name(), Some(*held), remembered);
        participant.resync(self.standing(at));
        let learner = &mut self.learners[at];
        (learner.participant, learner.shown) = (participant, self.entries.len());
    }

    /// The learner's connection breaks, and it asks where things stand.
    fn reconnect(&mut self, at: usize) {
        let standing = self.standing(at);
        let learner = &mut self.learners[at];
        learner.participant.resync(standing);
        learner.shown = self.entries.len();
    }

    fn experiment(&self) -> &Experiment {
        self.contract.experiment(&name()).unwrap()
    }

    /// The experiment by way of the wire, as a client gets it.
    fn described(&self) -> ExperimentState {
        ExperimentState::read(ExperimentState::of(self.experiment(), 0).message()).unwrap()
    }

    fn standing(&self, at: usize) -> Standing {
        let experiment = self.experiment();
        let member = experiment.member(id(at)).map(|member| MemberState::of(member).message());
        let member = member.map(|member| MemberState::read(member).unwrap());
        Standing::of(id(at), &self.described(), member.as_ref())
    }

    /// Does what the learner owes, as it would: it proposes something new, and approves.
    fn fulfil(&mut self, at: usize) {
        self.made += 1;
        let made = weights(self.made);
        let privacy = self.next_spent(at);
        self.fulfil_with(at, Ok(proposal(made, privacy, Some(like(true)))), Ok(like(true)));
    }

    /// What the learner states next, if it has to state something.
    fn next_spent(&self, at: usize) -> Option<PrivacySpent> {
        let Duty::Train(Assignment { version, cap: Some(_), .. }) = self.duty(at) else {
            return None;
        };
        Some(spent_in(version, self.made, self.made))
    }

    fn fulfil_with(&mut self, at: usize, work: Result<Trained, &str>, score: Result<Score, &str>) {
        match self.duty(at) {
            Duty::Wait | Duty::End(_) => {}
            Duty::Resume { .. } => self.learners[at].participant.resume(),
            Duty::AskRules => {
                let described = self.described();
                self.learners[at].participant.set_rules(&described);
            }
            Duty::Accept(model) => {
                self.learners[at].held = model.digest;
                self.learners[at].participant.accepted(model.digest);
            }
            Duty::Train(asked) => {
                let salt = || Ok::<_, Infallible>([at as u8; 32]);
                let learner = &mut self.learners[at];
                if let Ok(Trained::Proposal { weights, .. }) = &work {
                    learner.trained = Some(weights.clone());
                }
                let work = work.map_err(Into::into);
                learner.participant.trained(asked.round, work, salt).unwrap();
            }
            Duty::Gather { round, updates } => {
                let held = (1 << updates.len()) - 1;
                self.learners[at].participant.gathered(round, held);
            }
            Duty::Merge(task) => {
                let salt = || Ok::<_, Infallible>([at as u8; 32]);
                let judged = judged(&task, score);
                self.learners[at].participant.judged(task.round, &judged, salt).unwrap();
            }
            Duty::Score { round, weights } => {
                let salt = || Ok::<_, Infallible>([at as u8; 32]);
                let score = score.map_err(Into::into);
                let participant = &mut self.learners[at].participant;
                participant.scored(round, weights.digest, score, salt).unwrap();
            }
            Duty::Submit(statement) => {
                self.submit(at, statement);
            }
            Duty::SubmitAgain(turn) => {
                let act = self.signed[&(id(at), turn)].clone();
                self.settle(at, act);
            }
        }
    }

    /// The bytes that are needed now are not to be had.
    fn cannot_get(&mut self, at: usize) {
        if let Duty::Score { .. } | Duty::Accept(_) | Duty::Merge(_) = self.duty(at) {
            let salt = || Ok::<_, Infallible>([at as u8; 32]);
            self.learners[at].participant.unavailable(salt).unwrap();
        }
    }

    /// Signs and submits: remembered first, and never two acts for one turn.
    fn submit(&mut self, at: usize, statement: Statement) {
        let act = self.sign(at, &statement);
        self.settle(at, act);
    }

    fn sign(&mut self, at: usize, statement: &Statement) -> Act {
        let act = statement.act_of(&Key::from(key(at)), self.contract.ledger(), &name()).unwrap();
        let learner = &mut self.learners[at];
        learner.keep(statement);
        if let Some(turn) = &statement.once {
            learner.signed = Some(turn.clone());
            let before = self.signed.insert((id(at), turn.clone()), act.clone());
            let same = before.is_none_or(|before| before == act);
            assert!(same || statement.instead, "two acts for {turn:?}");
        }
        act
    }

    fn settle(&mut self, at: usize, act: Act) {
        match self.apply(id(at), act.clone()) {
            Ok(()) => {
                let learner = &mut self.learners[at];
                learner.told.extend(learner.participant.submitted());
            }
            Err(rejection) => {
                let passes = matches!(rejection, Rejection::NotNew);
                assert!(rejection.is_stale() || passes, "{act:?}: {rejection}");
                assert!(self.learners[at].participant.refused(rejection.rule(), ""));
            }
        }
    }

    /// Everybody does what is owed until nobody owes anything.
    fn run(&mut self) {
        loop {
            self.show_all();
            let busy = |at: &usize| {
                !matches!(self.duty(*at), Duty::Wait | Duty::End(_) | Duty::Resume { .. })
            };
            let Some(at) = (0..self.learners.len()).find(busy) else { return };
            self.fulfil(at);
        }
    }
}

fn rules() -> Parameters {
    Parameters {
        max_rounds: Some(3),
        proposal_deadline_ms: 1_000,
        vote_deadline_ms: 1_000,
        reveal_deadline_ms: 1_000,
        motion_deadline_ms: 10_000,
        missed_turns: None,
        idle_rotations: None,
        ..Parameters::default()
    }
}

fn sealed() -> Parameters {
    Parameters { ballot: BallotKind::Sealed, ..rules() }
}

fn segment(steps: u64) -> PrivacySegment {
    PrivacySegment {
        noise_micros: 1_000_000,
        clip_micros: 1_000_000,
        sampling_nanos: 1_000_000,
        steps,
    }
}

fn spent(epsilon_micros: u64, steps: u64) -> PrivacySpent {
    spent_in(Version::V2, epsilon_micros, steps)
}

fn spent_in(version: Version, epsilon_micros: u64, steps: u64) -> PrivacySpent {
    let training = match version {
        Version::V1 => PrivateTraining::Last(segment(steps)),
        Version::V2 => PrivateTraining::All(vec![segment(steps)]),
    };
    PrivacySpent { epsilon_micros, delta_picos: 1, training }
}

fn merged() -> Parameters {
    Parameters { merging: Some(Merging::default()), ..rules() }
}

/// Merges of these updates, as everybody would compute them: an open one of all, and a guarded one of several.
fn judged(task: &MergeTask, score: Result<Score, &str>) -> Judged {
    let number = |it: &Model| it.digest.0.iter().map(|byte| u64::from(*byte)).sum::<u64>();
    let sum = task.updates.iter().map(number).sum::<u64>() + number(&task.base);
    let merge = |which: u64| weights(1_000_000 * which + sum).digest();
    let merges =
        Merges { open: Some(merge(1)), guarded: (task.updates.len() > 1).then(|| merge(2)) };
    let merges = task.named.unwrap_or(merges);
    let failed = Score::none(Judgement::Reject(Some(Reason::Failed)));
    let worth = Worth::from(score.unwrap_or(failed));
    Judged {
        merges,
        base: task.score_base.then_some((task.base.digest, worth)),
        open: merges.open.map(|_| worth),
        guarded: merges.guarded.map(|_| worth),
        prefers_guarded: merges.guarded.is_some(),
    }
}

/// Weights to propose.
fn proposal(weights: Weights, privacy: Option<PrivacySpent>, score: Option<Score>) -> Trained {
    let scores = score.map(|score| score.scores()).unwrap_or_default();
    Trained::Proposal { weights, privacy, scores }
}

fn pass() -> Trained {
    Trained::Pass { reason: None, told: None }
}

fn exhausted() -> Trained {
    Trained::Exhausted { told: None }
}

#[test]
fn a_round_from_joining_to_accepting_and_to_the_end() {
    let mut table = Table::seated(3, rules());
    assert!(matches!(table.duty(0), Duty::Train(Assignment { round: 1, cap: None, .. })));
    assert_eq!((table.duty(1), table.duty(2)), (Duty::Wait, Duty::Wait));
    table.fulfil(0);
    let Duty::Submit(proposal) = table.duty(0) else { panic!() };
    assert!(proposal.weights.is_some() && proposal.once.is_some());
    table.fulfil(0);
    assert_eq!(table.duty(0), Duty::Wait, "the proposer has no vote");
    table.show_all();
    let Duty::Score { round: 1, weights } = table.duty(1) else { panic!() };
    table.run();
    assert_eq!(table.learners[0].held, table.learners[2].held);
    assert!(table.learners[1].told.contains(&Event::Joined));
    assert!(matches!(table.learners[0].told[1], Event::Proposed { round: 1, .. }));
    assert!(matches!(
        table.learners[1].told[1],
        Event::Voted { round: 1, choice: Choice::Approve, .. }
    ));
    assert_ne!(weights.digest, Digest([0; 32]));
    let finished = FinishReason::MaxRounds;
    let Duty::End(Ending::Finished { reason, rounds: 3, .. }) = table.duty(0) else { panic!() };
    assert_eq!(reason, finished);
}

#[test]
fn what_cannot_be_trained_passes_and_what_cannot_be_scored_is_not_approved() {
    let mut table = Table::seated(2, rules());
    table.fulfil_with(0, Err("no data"), Ok(like(true)));
    table.run();
    let passed = Event::Passed { round: 1, reason: Some("no data".to_owned()) };
    assert!(table.learners[0].told.contains(&passed), "{:?}", table.learners[0].told);

    let mut table = Table::seated(2, rules());
    table.fulfil(0);
    table.fulfil(0);
    table.show_all();
    table.fulfil_with(1, Err(""), Err("another shape"));
    let Duty::Submit(statement) = table.duty(1) else { panic!() };
    let Act::Vote(vote) = statement.act else { panic!() };
    assert!(vote.choice == Choice::Reject && vote.scores.vote.is_none());
    assert_eq!(vote.reason, Some(Reason::Failed));
    table.fulfil_with(1, Err(""), Err(""));
    table.show_all();
    assert_eq!(table.learners[1].held, weights(0).digest(), "the old model stays");
    // A turn given up without a reason is no news beyond itself.
    let mut table = Table::seated(2, rules());
    table.fulfil_with(0, Ok(pass()), Ok(like(true)));
    table.fulfil(0);
    assert!(table.learners[0].told.contains(&Event::Passed { round: 1, reason: None }));
}

#[test]
fn beyond_the_cap_the_budget_is_spent_and_the_learner_still_votes() {
    let cap = PrivacyCap { epsilon_micros: 10, delta_picos: 1 };
    let mut table = Table::seated(2, Parameters { privacy: Some(cap), ..rules() });
    let over = proposal(weights(7), Some(spent(11, 1)), None);
    table.fulfil_with(0, Ok(over), Ok(like(true)));
    let Duty::Submit(statement) = table.duty(0) else { panic!() };
    let reason = Some(Reason::CapReached);
    assert_eq!(statement.act, Act::Pass { round: 1, exhausted: true, reason });
    assert_eq!(statement.weights, None, "nothing leaves the process");
    table.fulfil(0);
    table.show_all();
    // The other's turns follow one another; the first one judges them.
    for round in [2, 3] {
        let stated = (round > 2).then(|| spent(round - 1, round - 1));
        let base = table.experiment().model().digest;
        let asked = Assignment { round, base, version: VERSION, cap: Some(cap), stated };
        assert_eq!(table.duty(1), Duty::Train(asked));
        let within = proposal(weights(round), Some(spent(round, round)), Some(like(true)));
        table.fulfil_with(1, Ok(within), Ok(like(true)));
        table.fulfil(1);
        table.show_all();
        assert!(matches!(table.duty(0), Duty::Score { .. }));
        table.fulfil(0);
        table.fulfil(0);
        table.show_all();
        (0..2).for_each(|at| table.fulfil(at));
    }
    assert!(matches!(table.duty(0), Duty::End(Ending::Finished { rounds: 3, .. })));
}

#[test]
fn a_sealed_ballot_survives_a_restart_at_each_of_its_steps() {
    let mut table = Table::seated(3, sealed());
    table.fulfil(0);
    table.fulfil(0);
    table.show_all();
    table.fulfil(1);
    let Duty::Submit(commitment) = table.duty(1) else { panic!() };
    assert!(commitment.sealed.is_some(), "kept before it is committed to");
    // Sealed and kept, but not signed: committed to again, with the same salt.
    table.learners[1].keep(&commitment);
    table.restart(1);
    assert_eq!(table.duty(1), Duty::Submit(commitment.clone()));
    // Signed and kept, but not sent.
    table.sign(1, &commitment);
    table.restart(1);
    let turn = commitment.once.clone().unwrap();
    assert_eq!(table.duty(1), Duty::SubmitAgain(turn));
    table.fulfil(1);
    // Sent.
    table.restart(1);
    assert_eq!(table.duty(1), Duty::Wait, "nothing is revealed while others commit");
    table.show_all();
    table.fulfil(2);
    table.fulfil(2);
    table.show_all();
    table.restart(1);
    let Duty::Submit(reveal) = table.duty(1) else { panic!() };
    let Some(Secret::Vote(sealed)) = commitment.sealed else { panic!() };
    assert_eq!(reveal.act, Act::Reveal(sealed));
    table.fulfil(1);
    table.restart(1);
    assert_eq!(table.duty(1), Duty::Wait, "revealed once");
    // Without what was sealed there is nothing to reveal, and it says so.
    table.learners[2].sealed = None;
    table.restart(2);
    assert!(table.duty(2) == Duty::Wait && table.learners[2].participant.has_lost_ballot());
    table.wait(1_000);
    table.show_all();
    assert!(!table.learners[2].participant.has_lost_ballot());
    table.run();
    assert!(matches!(table.duty(1), Duty::End(_)));
}

#[test]
fn who_missed_its_turns_is_suspended_and_rejoins_and_is_late_for_that_round() {
    let mut table = Table::seated(3, Parameters { missed_turns: Some(1), ..rules() });
    table.wait(1_000);
    table.show_all();
    let suspended = Event::Suspended { reason: SuspendReason::MissedTurns };
    assert!(table.learners[0].told.contains(&suspended));
    let Duty::Submit(statement) = table.duty(0) else { panic!() };
    assert!(matches!(statement.act, Act::Join(Join { term: 1, terms: Some(_), name: None })));
    table.fulfil(0);
    table.show_all();
    // Two are too few, so its return opens the round; with three others it would be late.
    let mut four = Table::seated(4, Parameters { missed_turns: Some(1), ..rules() });
    let experiment = |table: &Table| table.experiment().round();
    four.wait(1_000);
    four.show_all();
    four.fulfil(0);
    assert_eq!((experiment(&table), experiment(&four)), (2, 2));
    let mut late = Table::new(3, Parameters { min_learners: 2, ..rules() });
    late.fulfil(0);
    late.fulfil(1);
    late.show_all();
    late.fulfil(2);
    late.fulfil(0);
    late.fulfil(0);
    late.show_all();
    assert!(matches!(late.duty(1), Duty::Score { round: 1, .. }));
    assert_eq!(late.duty(2), Duty::Wait, "it joined during the round");
    late.restart(2);
    assert_eq!(late.duty(2), Duty::Wait);
    late.run();
    assert!(matches!(late.duty(2), Duty::End(Ending::Finished { rounds: 3, .. })));
    assert!(late.learners[2].told.iter().any(|told| matches!(told, Event::Voted { round: 2, .. })));
}

#[test]
fn whom_the_members_suspend_or_expel_stays_away() {
    for (motion, reason) in [
        (Motion::Suspend(id(2)), SuspendReason::Decided),
        (Motion::Expel(id(2)), SuspendReason::Expelled),
    ] {
        let mut table = Table::seated(3, rules());
        table.apply(id(0), Act::Move { number: 1, motion }).unwrap();
        table.apply(id(1), Act::MotionVote { number: 1, approve: true }).unwrap();
        table.run();
        assert_eq!(table.duty(2), Duty::End(Ending::Unseated(reason)));
        assert!(table.learners[2].told.contains(&Event::MotionOpened { number: 1 }));
        assert_eq!(table.duty(0), Duty::Wait, "two are too few here");
    }
}

#[test]
fn a_paused_experiment_is_let_go_on_with_a_growing_pause() {
    let mut table = Table::seated(2, Parameters { idle_rotations: Some(1), ..rules() });
    let mut pauses = Vec::new();
    let pass_all = |table: &mut Table| {
        for _ in 0..2 {
            table.wait(1_000);
        }
        table.show_all();
    };
    let parameters = Parameters { max_rounds: None, ..rules() };
    let parameters = Parameters { idle_rotations: Some(1), ..parameters };
    let mut endless = Table::seated(2, parameters);
    for _ in 0..3 {
        pass_all(&mut endless);
        let paused = Event::Paused { reason: PauseReason::NobodyProposes };
        assert_eq!(endless.learners[0].told.last(), Some(&paused));
        let Duty::Resume { pause } = endless.duty(0) else { panic!() };
        pauses.push(pause.as_secs());
        // It may do so once a pause, whoever was faster.
        endless.fulfil(0);
        endless.fulfil(0);
        assert_eq!(endless.learners[0].told.last(), Some(&Event::Resumed));
        endless.fulfil(1);
        endless.fulfil(1);
        endless.show_all();
    }
    assert_eq!(pauses, [1, 2, 4]);
    // A proposal ends the series.
    let at = (0..2).find(|at| matches!(endless.duty(*at), Duty::Train(_))).unwrap();
    endless.fulfil(at);
    endless.fulfil(at);
    endless.show_all();
    endless.wait(1_000);
    pass_all(&mut endless);
    assert_eq!(endless.duty(0), Duty::Resume { pause: Duration::from_secs(1) });
    // Whoever has just come resumes at once.
    endless.restart(1);
    assert_eq!(endless.duty(1), Duty::Resume { pause: Duration::ZERO });
    pass_all(&mut table);
    assert!(matches!(table.duty(0), Duty::Resume { .. }));
}

#[test]
fn a_replaced_key_ends_and_the_new_one_goes_on() {
    let mut table = Table::seated(2, rules());
    table.fulfil(0);
    table.fulfil(0);
    table.apply(id(1), Act::ReplaceKey { to: id(6) }).unwrap();
    table.show_all();
    assert_eq!(table.duty(1), Duty::End(Ending::KeyReplaced(id(6))));
    // The same place, under the new key: it has the vote that the old one has not cast.
    let standing = table.standing(6);
    assert_eq!(standing.next_term, 1);
    let held = Some(weights(0).digest());
    let ledger = table.contract.ledger();
    let mut new = Participant::new(id(6), ledger, name(), held, Remembered::default());
    new.resync(standing);
    assert!(matches!(new.duty(), Duty::Score { round: 1, .. }), "{:?}", new.duty());
}

#[test]
fn other_rules_hold_from_when_the_motion_took_effect() {
    let mut table = Table::seated(2, rules());
    let changed = Motion::SetParameters(Box::new(Parameters { min_learners: 2, ..sealed() }));
    table.apply(id(0), Act::Move { number: 1, motion: changed }).unwrap();
    // One saw the motion being made, the other comes when it is moved.
    while table.show(0) {}
    table.restart(1);
    table.apply(id(1), Act::MotionVote { number: 1, approve: true }).unwrap();
    table.fulfil(0);
    table.fulfil(0);
    table.show_all();
    assert!(matches!(table.duty(1), Duty::Score { round: 1, .. }));
    table.fulfil(1);
    let Duty::Submit(open) = table.duty(1) else { panic!() };
    assert!(matches!(open.act, Act::Vote(_)), "not before the round ends");
    table.fulfil(1);
    table.show_all();
    assert_eq!(table.duty(1), Duty::AskRules);
    assert_ne!(table.duty(0), Duty::AskRules);
    table.run();
    let committed = |at: usize| {
        table.learners[at].told.iter().any(|told| matches!(told, Event::Committed { .. }))
    };
    assert!(committed(0) && committed(1));
}

#[test]
fn nobody_trains_twice_for_one_turn() {
    let mut table = Table::seated(2, rules());
    table.fulfil(0);
    let Duty::Submit(proposal) = table.duty(0) else { panic!() };
    // A lost connection: what was trained is still there.
    table.reconnect(0);
    assert_eq!(table.duty(0), Duty::Submit(proposal.clone()));
    // A restart after signing: the same is sent.
    table.sign(0, &proposal);
    table.restart(0);
    assert_eq!(table.duty(0), Duty::SubmitAgain(proposal.once.unwrap()));
    // A turn that ran out in the meantime is not taken.
    table.wait(1_000);
    table.reconnect(0);
    assert_eq!(table.duty(0), Duty::Wait);
}

fn drawn() -> Parameters {
    Parameters { selection: Selection::Sortition, max_rounds: None, ..rules() }
}

/// The votes and commitments that were recorded, with their links.
fn links(table: &Table, learner: usize) -> Vec<Option<Digest>> {
    let link = |entry: &Entry| match entry {
        Entry::Act(sender, Act::Vote(vote)) if *sender == id(learner) => Some(vote.link),
        Entry::Act(sender, Act::Commit(commit)) if *sender == id(learner) => Some(commit.link),
        Entry::Act(..) | Entry::Decision(_) => None,
    };
    table.entries.iter().filter_map(link).collect()
}

#[test]
fn where_proposers_are_drawn_each_vote_reveals_the_next_link() {
    for parameters in [drawn(), Parameters { ballot: BallotKind::Sealed, ..drawn() }] {
        let mut table = Table::seated(3, Parameters { max_rounds: Some(12), ..parameters });
        while !matches!(table.duty(0), Duty::End(_)) {
            // Whoever is started again, or has lost its connection, goes on with its chain.
            (0..3).for_each(|at| table.fulfil(at));
            if table.duty(1) == Duty::Wait {
                table.restart(1);
            }
            table.reconnect(2);
            table.show_all();
        }
        for learner in 0..3 {
            let revealed: Vec<Digest> = links(&table, learner).into_iter().flatten().collect();
            assert!(revealed.len() > 2);
            let next = |pair: &[Digest]| colearn_contracts::link(pair[1].0, 1) == pair[0];
            assert!(revealed.windows(2).all(next), "{revealed:?}");
        }
    }
    // Elsewhere none is revealed.
    let mut table = Table::seated(2, rules());
    table.run();
    assert_eq!(links(&table, 1), [None, None]);
}

#[test]
fn who_has_revealed_a_whole_chain_begins_another() {
    let mut table = Table::seated(2, drawn());
    let anchored = |table: &Table| {
        table.experiment().member(id(1)).and_then(|it| Some(it.chain.as_ref()?.anchored))
    };
    let mut first = None;
    while first.is_none() || first == anchored(&table) {
        // With two, both propose in turn: each votes in every other round.
        assert!(table.experiment().round() < 3 * u64::from(LINKS));
        first = first.or(anchored(&table));
        (0..2).for_each(|at| table.fulfil(at));
        table.show_all();
    }
    let revealed = links(&table, 1);
    assert_eq!(revealed.len(), LINKS as usize + 2, "an anchor, its links, and an anchor");
}

#[test]
fn a_link_that_was_not_recorded_is_still_the_next_one() {
    let mut table = Table::seated(3, drawn());
    let until_score = |table: &mut Table, at: usize| {
        while !matches!(table.duty(at), Duty::Score { .. }) {
            (0..3).for_each(|other| table.fulfil(other));
            table.show_all();
        }
    };
    until_score(&mut table, 1);
    table.fulfil(1);
    let Duty::Submit(statement) = table.duty(1) else { panic!() };
    let signed = table.sign(1, &statement);
    let before = links(&table, 1);
    // It comes too late.
    table.wait(1_000);
    table.settle(1, signed.clone());
    table.show_all();
    assert_eq!(links(&table, 1), before);
    until_score(&mut table, 1);
    table.fulfil(1);
    table.fulfil(1);
    let (Act::Vote(lost), revealed) = (signed, links(&table, 1)) else { panic!() };
    let is_anchor = before.is_empty();
    // An anchor belongs to its round.
    assert_eq!(revealed.last() == Some(&lost.link), !is_anchor);
}

#[test]
fn of_a_chain_that_is_not_its_own_nothing_is_revealed() {
    let mut table = Table::seated(2, drawn());
    while links(&table, 1).is_empty() || !matches!(table.duty(1), Duty::Score { .. }) {
        (0..2).for_each(|at| table.fulfil(at));
        table.show_all();
    }
    let mut standing = table.standing(1);
    let chain = standing.chain.as_mut().unwrap();
    chain.left -= 1;
    table.learners[1].participant.resync(standing);
    table.fulfil(1);
    let Duty::Submit(statement) = table.duty(1) else { panic!() };
    let ledger = table.contract.ledger();
    let wrong = Err(NoLink::WrongChain(WrongChain));
    assert_eq!(statement.act_of(&Key::from(key(1)), ledger, &name()), wrong);
}

#[test]
fn who_cannot_judge_abstains_and_says_why() {
    let mut table = Table::seated(3, rules());
    table.fulfil(0);
    table.fulfil(0);
    table.show_all();
    let too_little = Judgement::Abstain(Some(Reason::TooLittleData));
    let worse = Judgement::Reject(Some(Reason::Worse));
    for (at, judgement) in [(1, too_little), (2, worse)] {
        table.fulfil_with(at, Err(""), Ok(Score::new(0.1, judgement)));
        table.fulfil(at);
    }
    table.show_all();
    let closed = table.learners[0].told.iter().find_map(|told| match told {
        Event::RoundClosed { verdict, rejections, abstentions, unavailable, .. } => {
            Some((*verdict, *rejections, *abstentions, *unavailable))
        }
        _ => None,
    });
    assert_eq!(closed, Some((Verdict::Rejected, 1, 1, 0)));
    let voted = |choice, reason| Event::Voted {
        round: 1,
        choice,
        reason: Some(reason),
        scores: Score::new(0.1, false).scores(),
    };
    let told = |at: usize, event: Event| table.learners[at].told.contains(&event);
    assert!(told(1, voted(Choice::Abstain, Reason::TooLittleData)));
    assert!(told(2, voted(Choice::Reject, Reason::Worse)));
    // "I have not got it" is no judgement of it.
    let never_seen = Judgement::Reject(Some(Reason::Unavailable));
    assert_eq!(never_seen.choice(), Choice::Abstain);
}

#[test]
fn who_cannot_get_the_bytes_says_so_and_has_not_missed_its_vote() {
    for parameters in [rules(), sealed()] {
        let parameters = Parameters { missed_turns: Some(1), ..parameters };
        let mut table = Table::seated(4, parameters);
        table.fulfil(0);
        assert_eq!(table.learners[0].participant.deadline_ms(), Some(1_000));
        table.fulfil(0);
        assert_eq!(table.learners[0].participant.deadline_ms(), None, "its turn is taken");
        table.now_ms = 400;
        table.show_all();
        assert_eq!(table.learners[1].participant.deadline_ms(), Some(1_000));
        for at in 1..4 {
            table.cannot_get(at);
            assert!(matches!(table.duty(at), Duty::Submit(_)));
        }
        table.run();
        let told = &table.learners[1].told;
        let voted = Event::Voted {
            round: 1,
            choice: Choice::Abstain,
            reason: Some(Reason::Unavailable),
            scores: Default::default(),
        };
        assert!(told.contains(&voted), "{told:?}");
        let expired = |told: &Event| {
            matches!(told, Event::RoundClosed { verdict: Verdict::Expired, unavailable: 3, .. })
        };
        assert!(told.iter().any(expired), "{told:?}");
        // It is the proposer who has missed its turn.
        let suspended = Event::Suspended { reason: SuspendReason::MissedTurns };
        assert!(table.learners[0].told.contains(&suspended));
        assert!(!told.contains(&suspended));
    }
}

#[test]
fn who_cannot_get_the_global_model_passes_and_abstains() {
    let mut table = Table::seated(3, rules());
    let other = weights(77).digest();
    for at in [0, 2] {
        table.learners[at].held = other;
        table.restart(at);
    }
    assert!(matches!(table.duty(0), Duty::Accept(_)));
    table.cannot_get(0);
    let Duty::Submit(statement) = table.duty(0) else { panic!() };
    let reason = Some(Reason::Unavailable);
    assert_eq!(statement.act, Act::Pass { round: 1, exhausted: false, reason });
    table.fulfil(0);
    table.show_all();
    table.fulfil(1);
    table.fulfil(1);
    table.show_all();
    table.cannot_get(2);
    table.fulfil(2);
    let cast =
        |entry: &Entry| matches!(entry, Entry::Act(_, Act::Vote(vote)) if vote.reason == reason);
    assert!(table.entries.iter().any(cast));
    // It goes on trying, and owes nothing meanwhile.
    assert!(matches!(table.duty(2), Duty::Accept(_)));
    assert_eq!(table.learners[2].participant.deadline_ms(), None);
    table.run();
    assert_eq!(table.learners[0].held, table.learners[2].held);
}

#[test]
fn a_judge_votes_and_is_never_asked_to_train() {
    let judge = Invitation { judge: true, ..Invitation::new(id(1), 1) };
    let invitations = vec![Invitation::new(id(0), 1), judge, Invitation::new(id(2), 1)];
    for selection in [Selection::RoundRobin, Selection::Sortition] {
        let parameters = Parameters { selection, max_rounds: Some(9), ..rules() };
        let admission = Admission::Invited(invitations.clone());
        let mut table = Table::seated_of(VERSION, 3, parameters, admission);
        let mut busy = true;
        while busy {
            busy = false;
            for at in 0..3 {
                assert!(at != 1 || !matches!(table.duty(1), Duty::Train(_)));
                busy |= !matches!(table.duty(at), Duty::Wait | Duty::End(_));
                table.fulfil(at);
                table.show_all();
            }
        }
        assert!(matches!(table.duty(1), Duty::End(Ending::Finished { rounds: 9, .. })));
        assert_eq!(links(&table, 1).len(), 9);
    }
}

#[test]
fn an_experiment_of_version_1_hears_nothing_that_it_does_not_know() {
    let cap = PrivacyCap { epsilon_micros: 100, delta_picos: 1 };
    let parameters = Parameters { privacy: Some(cap), max_rounds: Some(5), ..drawn() };
    let mut table = Table::seated_of(Version::V1, 3, parameters, Admission::Open);
    let joined =
        |entry: &Entry| matches!(entry, Entry::Act(_, Act::Join(join)) if join.terms.is_none());
    assert_eq!(table.entries.iter().filter(|entry| joined(entry)).count(), 3);
    // What was stated is what the next turn begins with.
    let turn = |table: &Table| (0..3).find(|at| matches!(table.duty(*at), Duty::Train(_))).unwrap();
    let at = turn(&table);
    let spent = spent_in(Version::V1, 7, 8);
    let stating = proposal(weights(5), Some(spent.clone()), None);
    table.fulfil_with(at, Ok(stating), Ok(like(true)));
    table.fulfil(at);
    table.show_all();
    let stated = |standing: &Standing| standing.privacy.clone();
    assert_eq!(table.learners[at].participant.standing().and_then(stated), Some(spent));
    // Who abstains, for whatever reason, is against; and nobody reveals a link.
    let abstain = Judgement::Abstain(Some(Reason::TooLittleData));
    let others: Vec<usize> = (0..3).filter(|other| *other != at).collect();
    table.fulfil_with(others[0], Err(""), Ok(Score::none(abstain)));
    table.fulfil(others[0]);
    table.cannot_get(others[1]);
    table.fulfil(others[1]);
    table.show_all();
    for entry in &table.entries {
        if let Entry::Act(_, Act::Vote(vote)) = entry {
            assert_eq!((vote.choice, vote.reason, vote.link), (Choice::Reject, None, None));
        }
    }
    // Passing says no reason, and what was proposed before is proposed again.
    let at = turn(&table);
    table.fulfil_with(at, Err("it failed"), Ok(like(true)));
    let Duty::Submit(statement) = table.duty(at) else { panic!() };
    assert!(matches!(statement.act, Act::Pass { exhausted: false, reason: None, .. }));
    table.fulfil(at);
    table.show_all();
    let at = turn(&table);
    let again = proposal(weights(0), Some(spent_in(Version::V1, 90, 90)), None);
    table.fulfil_with(at, Ok(again), Ok(like(true)));
    let Duty::Submit(statement) = table.duty(at) else { panic!() };
    assert!(matches!(statement.act, Act::Propose(_)));
}

#[test]
fn in_version_1_a_budget_is_spent_without_a_cap_too() {
    for version in [Version::V1, Version::V2] {
        let mut table = Table::seated_of(version, 2, rules(), Admission::Open);
        table.fulfil_with(0, Ok(exhausted()), Ok(like(true)));
        let Duty::Submit(statement) = table.duty(0) else { panic!() };
        let expected = match version {
            Version::V1 => Act::Pass { round: 1, exhausted: true, reason: None },
            Version::V2 => {
                let reason = Some(Reason::CapReached);
                Act::Pass { round: 1, exhausted: false, reason }
            }
        };
        assert_eq!(statement.act, expected);
        table.fulfil(0);
        assert!(table.learners[0].told.iter().any(|told| {
            matches!(told, Event::Passed { reason: Some(reason), .. } if reason == "the privacy budget is spent")
        }));
    }
}

#[test]
fn who_joins_names_the_terms_as_they_are_and_looks_again_if_they_have_changed() {
    let mut table =
        Table::of(VERSION, 3, Parameters { min_learners: 2, ..rules() }, Admission::Open);
    (0..2).for_each(|at| table.fulfil(at));
    let Duty::Submit(statement) = table.duty(2) else { panic!() };
    let terms = Some(table.experiment().terms());
    assert_eq!(statement.act, Act::Join(Join { term: 0, terms, name: None }));
    // The members change the rules meanwhile, which it does not see.
    let changed = Motion::SetParameters(Box::new(Parameters { min_learners: 2, ..sealed() }));
    table.apply(id(0), Act::Move { number: 1, motion: changed }).unwrap();
    table.apply(id(1), Act::MotionVote { number: 1, approve: true }).unwrap();
    table.wait(1_000);
    table.fulfil(2);
    assert_eq!(table.duty(2), Duty::AskRules);
    assert_eq!(table.learners[2].participant.standing().unwrap().membership, Membership::Outside);
    table.fulfil(2);
    let Duty::Submit(statement) = table.duty(2) else { panic!() };
    let now = Some(table.experiment().terms());
    assert!(now != terms);
    assert_eq!(statement.act, Act::Join(Join { term: 0, terms: now, name: None }));
    table.fulfil(2);
    assert!(table.experiment().member(id(2)).is_some());

    // Or it sees it, and asks before it is refused.
    let mut seen =
        Table::of(VERSION, 3, Parameters { min_learners: 2, ..rules() }, Admission::Open);
    (0..2).for_each(|at| seen.fulfil(at));
    seen.apply(id(0), Act::ReplaceKey { to: id(7) }).unwrap();
    seen.show_all();
    assert_eq!(seen.duty(2), Duty::AskRules);
    seen.fulfil(2);
    seen.fulfil(2);
    assert!(seen.experiment().member(id(2)).is_some());
}

#[test]
fn a_learner_says_its_name_where_its_invitation_does_not() {
    let called: MemberName = "City Hospital".parse().unwrap();
    let named = Invitation { name: Some("Clinic".parse().unwrap()), ..Invitation::new(id(1), 1) };
    let admission = Admission::Invited(vec![Invitation::new(id(0), 1), named]);
    let mut table = Table::of(VERSION, 2, rules(), admission);
    for at in 0..2 {
        let participant = table.learners[at].participant.clone();
        table.learners[at].participant = participant.called(Some(called.clone()));
        table.fulfil(at);
    }
    let experiment = table.experiment();
    let names = [0, 1].map(|at| experiment.name_of(id(at)).map(|name| name.as_str().to_owned()));
    assert_eq!(names, [Some("City Hospital".to_owned()), Some("Clinic".to_owned())]);
    // In version 1 nobody has one.
    let mut first = Table::of(Version::V1, 1, rules(), Admission::Open);
    first.learners[0].participant = first.learners[0].participant.clone().called(Some(called));
    first.fulfil(0);
    assert!(first.experiment().member(id(0)).is_some());
}

#[test]
fn what_was_the_global_model_before_is_not_proposed_again() {
    let mut table = Table::seated(2, Parameters { max_rounds: None, ..rules() });
    let pass = |statement: &Statement| {
        assert!(statement.weights.is_none());
        assert!(matches!(statement.act, Act::Pass { reason: Some(Reason::Worse), .. }));
    };
    // The base itself.
    table.fulfil_with(0, Ok(proposal(weights(0), None, None)), Ok(like(true)));
    let Duty::Submit(statement) = table.duty(0) else { panic!() };
    pass(&statement);
    table.fulfil(0);
    table.show_all();
    // What it was before, as far as is known; after a restart that is found out.
    table.fulfil(1);
    table.fulfil(1);
    table.show_all();
    table.fulfil(0);
    table.fulfil(0);
    table.show_all();
    (0..2).for_each(|at| table.fulfil(at));
    table.restart(0);
    table.fulfil_with(0, Ok(proposal(weights(0), None, None)), Ok(like(true)));
    let Duty::Submit(proposal) = table.duty(0) else { panic!() };
    assert!(matches!(proposal.act, Act::Propose(_)) && !proposal.instead);
    table.fulfil(0);
    let Duty::Submit(statement) = table.duty(0) else { panic!() };
    pass(&statement);
    assert!(statement.instead);
    // Also where it is started again in between.
    table.restart(0);
    let turn = proposal.once.unwrap();
    assert_eq!(table.duty(0), Duty::SubmitAgain(turn));
    table.fulfil(0);
    let Duty::Submit(statement) = table.duty(0) else { panic!() };
    pass(&statement);
    table.fulfil(0);
    table.show_all();
    let passed = |told: &Event| matches!(told, Event::Passed { reason: Some(_), .. });
    assert!(table.learners[0].told.iter().any(passed));
    assert!(matches!(table.duty(1), Duty::Train(_)));
}

#[test]
fn what_is_stated_of_privacy_fits_or_the_turn_is_passed() {
    let passes = |table: &Table, expected: Reason| {
        let Duty::Submit(statement) = table.duty(0) else { panic!() };
        let reason = Some(expected);
        assert_eq!(statement.act, Act::Pass { round: 1, exhausted: false, reason });
    };
    // Under a cap there is nothing to propose without.
    let cap = PrivacyCap { epsilon_micros: 10, delta_picos: 1 };
    let capped = Parameters { privacy: Some(cap), ..rules() };
    let mut table = Table::seated(2, capped.clone());
    table.fulfil_with(0, Ok(proposal(weights(5), None, None)), Ok(like(true)));
    passes(&table, Reason::Policy);
    // A statement that is refused all the same ends the turn and not the learner.
    for rule in [Rejection::PrivacyInvalid, Rejection::PrivacyMissing, Rejection::PrivacyOverCap] {
        let mut table = Table::seated(2, capped.clone());
        let stating = proposal(weights(5), Some(spent(5, 1)), None);
        table.fulfil_with(0, Ok(stating), Ok(like(true)));
        assert!(table.learners[0].participant.refused(rule.rule(), ""));
        passes(&table, Reason::Failed);
    }
}

#[test]
fn what_has_become_too_old_is_owed_as_it_was() {
    let expires = Limits { expiry_ms: 500, ..Limits::default() };
    let mut table = Table::seated(2, rules());
    table.fulfil(0);
    let Duty::Submit(proposal) = table.duty(0) else { panic!() };
    let signed = table.sign(0, &proposal);
    // The first entry that its signer has not seen was recorded 501 ms ago.
    let refused = expires.check_fresh(501, Some(0));
    assert_eq!(refused, Err(Rejection::TransactionExpired));
    // Whoever drives the participant signs the very same again: nothing else is owed,
    assert_eq!(table.duty(0), Duty::Submit(proposal.clone()));
    assert_eq!(table.sign(0, &proposal), signed);
    // also after a restart;
    table.restart(0);
    assert_eq!(table.duty(0), Duty::SubmitAgain(proposal.once.unwrap()));
    // and if that fails too, the turn is gone: nothing else takes its place.
    assert!(table.learners[0].participant.refused(Rejection::TransactionExpired.rule(), ""));
    assert_eq!(table.duty(0), Duty::Wait);
}

#[test]
fn a_merged_round_is_trained_and_voted_on_by_all() {
    let mut table = Table::seated(3, merged());
    for at in 0..3 {
        assert!(matches!(table.duty(at), Duty::Train(Assignment { round: 1, .. })));
        table.fulfil(at);
        let Duty::Submit(statement) = table.duty(at) else { panic!() };
        assert!(statement.weights.is_some() && statement.once.is_some());
        assert!(matches!(statement.act, Act::Update(_)));
        table.fulfil(at);
        table.show_all();
    }
    let Duty::Merge(task) = table.duty(2) else { panic!() };
    assert_eq!((task.updates.len(), task.previous, task.named), (3, None, None));
    assert!(task.score_base, "what it cannot compare with it cannot bear");
    for at in 0..3 {
        table.fulfil(at);
        table.fulfil(at);
    }
    table.show_all();
    // Half of the last movement goes into the next merge, and the base is known from this one.
    table.run();
    assert!(table.learners[0].told.iter().any(|event| {
        matches!(event, Event::Merged { round: 1, accepted: Some(Merge::Guarded) })
    }));
    assert!(matches!(table.learners[1].told[1], Event::Updated { round: 1, .. }));
    assert!(matches!(table.learners[1].told[2], Event::Judged { round: 1, .. }));
    assert_eq!(table.learners[0].held, table.learners[2].held);
    assert!(matches!(table.duty(0), Duty::End(Ending::Finished { rounds: 3, .. })));
}

/// What a learner says in the second round of merges whose open one it measures so, after the first ones
/// were worth 0.25 and 0.75 to it.
fn second_vote(measure: f64, judgement: Judgement) -> MergeVote {
    let mut table = Table::seated(2, merged());
    let worth = |measure| Worth { score: Score::none(judgement), measure };
    for round in 1..=2 {
        for at in [0, 0, 1, 1] {
            table.fulfil(at);
            table.show_all();
        }
        for at in [1, 0] {
            let Duty::Merge(task) = table.duty(at) else { panic!("{:?}", table.duty(at)) };
            let mut judged = judged(&task, Ok(like(true)));
            judged.merges.guarded = None;
            (judged.guarded, judged.prefers_guarded) = (None, false);
            if at == 0 {
                assert_eq!(
                    judged.base.is_some(),
                    round == 1,
                    "the base is known from the last round"
                );
                judged.base = judged.base.map(|(base, _)| (base, worth(0.25)));
                judged.open = Some(worth(if round == 1 { 0.75 } else { measure }));
            }
            let salt = || Ok::<_, Infallible>([0; 32]);
            table.learners[at].participant.judged(round, &judged, salt).unwrap();
            if (round, at) == (2, 0) {
                let Duty::Submit(Statement { act: Act::MergeVote(vote), .. }) = table.duty(0)
                else {
                    panic!()
                };
                return vote;
            }
            table.fulfil(at);
        }
        table.show_all();
        (0..2).for_each(|at| table.fulfil(at));
    }
    unreachable!()
}

#[test]
fn what_can_be_borne_follows_from_the_models_before() {
    let reject = Judgement::Reject(Some(Reason::Worse));
    assert!(second_vote(-0.25, reject).bear_open);
    let refused = second_vote(-0.26, reject);
    assert!(!refused.bear_open);
    assert_eq!(refused.reason, Some(Reason::Worse));
    // What is no number says nothing: then the learner's own judgement does.
    assert!(!second_vote(f64::NAN, reject).bear_open);
    assert!(second_vote(f64::NAN, Judgement::Approve).bear_open);
    let nothing = second_vote(f64::NAN, Judgement::Abstain(Some(Reason::TooLittleData)));
    assert!(nothing.is_abstention());
    assert_eq!(nothing.reason, Some(Reason::TooLittleData));
}

#[test]
fn a_sealed_update_is_committed_to_before_anybody_sees_it() {
    let sealed = Parameters { ballot: BallotKind::Sealed, ..merged() };
    let mut table = Table::seated(2, sealed);
    table.fulfil(0);
    let Duty::Submit(commitment) = table.duty(0) else { panic!() };
    assert!(matches!(commitment.act, Act::CommitUpdate(_)));
    assert!(commitment.weights.is_none(), "nobody is to have them yet");
    // It dies before it has committed, and after.
    table.learners[0].keep(&commitment);
    table.restart(0);
    let Duty::Submit(again) = table.duty(0) else { panic!() };
    assert_eq!(again.act, commitment.act);
    table.fulfil(0);
    table.restart(0);
    assert_eq!(table.duty(0), Duty::Wait);
    table.show_all();
    (0..2).for_each(|_| table.fulfil(1));
    table.show_all();
    let Duty::Submit(reveal) = table.duty(0) else { panic!() };
    assert!(matches!(reveal.act, Act::RevealUpdate(_)));
    assert!(reveal.weights.is_some());
    table.run();
    assert!(matches!(table.duty(0), Duty::End(Ending::Finished { rounds: 3, .. })));
    let told = &table.learners[1].told;
    assert!(told.contains(&Event::UpdateCommitted { round: 1 }));
    assert!(told.iter().any(|it| matches!(it, Event::Merged { round: 1, accepted: Some(_) })));
}

#[test]
fn what_was_sent_again_after_a_restart_is_not_owed_any_more_before_it_is_seen() {
    for ballot in [BallotKind::Open, BallotKind::Sealed] {
        let mut table = Table::seated(2, Parameters { ballot, ..merged() });
        table.fulfil(0);
        let Duty::Submit(update) = table.duty(0) else { panic!() };
        table.sign(0, &update);
        table.restart(0);
        assert_eq!(table.duty(0), Duty::SubmitAgain(update.once.unwrap()));
        // It had been recorded before the restart, and a node takes the very same once more.
        table.learners[0].participant.submitted();
        assert_eq!(table.duty(0), Duty::Wait, "{ballot:?}");
    }
}

#[test]
fn who_cannot_get_an_update_says_so_and_has_not_missed_its_vote() {
    let mut table = Table::seated(3, merged());
    for at in [0, 0, 1, 1, 2, 2] {
        table.fulfil(at);
    }
    table.show_all();
    table.cannot_get(1);
    let Duty::Submit(Statement { act: Act::MergeVote(vote), .. }) = table.duty(1) else { panic!() };
    assert!(vote.is_abstention());
    assert_eq!(vote.reason, Some(Reason::Unavailable));
}

#[test]
fn who_need_not_merge_takes_what_two_thirds_of_the_checkers_name() {
    let merging = Some(Merging { checkers: 2, ..Merging::default() });
    let mut table =
        Table::seated(4, Parameters { merging, selection: Selection::Sortition, ..rules() });
    for at in 0..4 {
        table.fulfil(at);
        table.fulfil(at);
    }
    table.show_all();
    let checkers = table.learners[0].participant.standing().unwrap().checkers.clone();
    assert_eq!(checkers.len(), 2);
    let is_checker = |at: &usize| checkers.contains(&id(*at));
    for at in (0..4).filter(is_checker) {
        let other = (0..4).find(|at| !is_checker(at)).unwrap();
        assert_eq!(table.duty(other), Duty::Wait, "not before the checkers have named them");
        assert!(matches!(table.duty(at), Duty::Merge(MergeTask { named: None, .. })));
        table.fulfil(at);
        table.fulfil(at);
        table.show_all();
    }
    for at in (0..4).filter(|at| !is_checker(at)) {
        assert!(matches!(table.duty(at), Duty::Merge(MergeTask { named: Some(_), .. })));
        // Who begins anew has not seen them name it.
        table.restart(at);
        assert!(matches!(table.duty(at), Duty::Merge(MergeTask { named: Some(_), .. })));
    }
    table.run();
    assert!(matches!(table.duty(0), Duty::End(Ending::Finished { rounds: 3, .. })));
}

/// A step of a random history.
#[derive(Clone, Debug)]
enum Step {
    Show(usize, u8),
    Fulfil(usize, u8, bool),
    Restart(usize),
    Reconnect(usize),
    /// Signs what is owed, and dies before it is sent.
    DieSigned(usize),
    Wait(u64),
}

fn step(learners: usize) -> impl Strategy<Value = Step> {
    let who = 0..learners;
    prop_oneof![
        4 => (who.clone(), 1..20_u8).prop_map(|(at, many)| Step::Show(at, many)),
        8 => (who.clone(), any::<u8>(), any::<bool>()).prop_map(|(at, how, like)| Step::Fulfil(at, how, like)),
        1 => who.clone().prop_map(Step::Restart),
        1 => who.clone().prop_map(Step::Reconnect),
        1 => who.prop_map(Step::DieSigned),
        1 => (0..1_500_u64).prop_map(Step::Wait),
    ]
}

/// Merged rounds: by some or all, with checkers or without, with gathering or without.
fn any_merging() -> impl Strategy<Value = Merging> {
    (1..5_u32, 0..4_u32, any::<bool>()).prop_map(|(proposers, checkers, gathers)| Merging {
        proposers,
        checkers,
        gather_deadline_ms: gathers.then_some(1_000),
        ..Merging::default()
    })
}

fn any_rules(version: Version) -> impl Strategy<Value = Parameters> {
    let choice = any::<(bool, bool, bool, bool)>();
    let limits = (prop::option::of(1..4_u32), prop::option::of(1..3_u32), 1..4_u32);
    let merging = prop::option::of(any_merging());
    let merging = merging.prop_map(move |merging| merging.filter(|_| version > Version::V1));
    let all = (choice, limits, merging);
    all.prop_map(|((seal, early, drawn, private), (missed, idle, least), merging)| Parameters {
        // Checkers are drawn, and what they name is seen.
        merging: merging.map(|merging| Merging {
            checkers: if drawn && !seal { merging.checkers } else { 0 },
            ..merging
        }),
        ballot: if seal { BallotKind::Sealed } else { BallotKind::Open },
        close: if early { Close::Early } else { Close::All },
        selection: if drawn { Selection::Sortition } else { Selection::RoundRobin },
        privacy: private.then_some(PrivacyCap { epsilon_micros: 40, delta_picos: 1 }),
        missed_turns: missed,
        idle_rotations: idle,
        min_learners: least,
        max_rounds: Some(6),
        ..rules()
    })
}

fn any_version() -> impl Strategy<Value = Version> {
    prop_oneof![1 => Just(Version::V1), 2 => Just(Version::V2)]
}

impl Table {
    fn take(&mut self, step: &Step) {
        match *step {
            Step::Show(at, many) => {
                for _ in 0..many {
                    self.show(at);
                }
            }
            Step::Fulfil(at, how, approve) => {
                self.made += 1;
                let made = weights(self.made);
                let private = self.next_spent(at);
                let score = Some(like(true));
                let proposed = match (how % 8, &private) {
                    (0, _) => Ok(pass()),
                    // What was the global model at the beginning: it may be known to be none to propose, or
                    // it may be found out.
                    (3, None) => Ok(proposal(weights(0), None, None)),
                    (1, Some(_)) => Ok(exhausted()),
                    (2, _) => Err("it failed"),
                    _ => Ok(proposal(made, private, score)),
                };
                let score = match how % 5 {
                    0 => Err("it failed"),
                    1 => Ok(Score::none(Judgement::Abstain(Some(Reason::TooLittleData)))),
                    _ => Ok(like(approve)),
                };
                match how % 7 {
                    0 => self.cannot_get(at),
                    _ => self.fulfil_with(at, proposed, score),
                }
            }
            Step::Restart(at) => self.restart(at),
            Step::Reconnect(at) => self.reconnect(at),
            Step::DieSigned(at) => {
                if let Duty::Submit(statement) = self.duty(at) {
                    self.sign(at, &statement);
                }
                self.restart(at);
            }
            Step::Wait(ms) => self.wait(ms),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// However connections, processes and clocks behave: nothing that is owed is refused but for having
    /// come too late, nothing is signed twice for a turn, and the experiment gets to its end.
    #[test]
    fn what_is_owed_fits_and_gets_there(
        (version, parameters) in any_version().prop_flat_map(|it| (Just(it), any_rules(it))),
        steps in prop::collection::vec(step(4), 0..120),
    ) {
        let mut table = Table::of(version, 4, parameters, Admission::Open);
        for step in &steps {
            table.take(step);
        }
        // From here on everybody is there. Every budget may be spent, which is an end too.
        for _ in 0..200 {
            table.run();
            let experiment = table.experiment();
            let spent = experiment.proposers().next().is_none();
            if (0..4).all(|at| matches!(table.duty(at), Duty::End(_))) || spent {
                return Ok(());
            }
            for at in 0..4 {
                table.fulfil(at);
            }
            table.wait(500);
        }
        let duties: Vec<Duty> = (0..4).map(|at| table.duty(at)).collect();
        prop_assert!(false, "it does not end: {:?}", duties);
    }

    /// What the records say and what the node describes come to the same.
    #[test]
    fn following_and_asking_agree(
        (version, parameters) in any_version().prop_flat_map(|it| (Just(it), any_rules(it))),
        steps in prop::collection::vec(step(3), 0..120),
    ) {
        let mut table = Table::of(version, 3, parameters, Admission::Open);
        for step in &steps {
            // Whoever is asked about has seen all, and has not died.
            match step {
                Step::Restart(_) | Step::DieSigned(_) | Step::Reconnect(_) => {}
                step => table.take(step),
            }
            table.show_all();
            for at in 0..3 {
                let followed = table.learners[at].participant.standing().unwrap();
                let asked = table.standing(at);
                prop_assert_eq!(followed.round, asked.round);
                prop_assert_eq!(&followed.model, &asked.model);
                prop_assert_eq!(&followed.previous, &asked.previous);
                prop_assert_eq!(&followed.phase, &asked.phase);
                prop_assert_eq!(followed.membership, asked.membership);
                prop_assert_eq!(followed.unrevealed, asked.unrevealed);
                prop_assert_eq!(followed.next_term, asked.next_term);
                prop_assert_eq!(followed.terms, asked.terms);
                prop_assert_eq!(followed.chain, asked.chain);
                prop_assert_eq!(&followed.privacy, &asked.privacy);
            }
        }
    }
}
