//! What a learner owes, against the contract itself: transcripts that read as the protocol, and random
//! ones with lost connections, restarts and clocks.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use colearn_contracts::{
    Act, Action, Admission, BallotKind, Close, Contract, CreateExperiment, Decision, Digest,
    ExperimentName, FinishReason, LearnerId, Model, Moment, Motion, Outcome, Parameters,
    PauseReason, PrivacyCap, PrivacySpent, Rejection, Reveal, Selection, SuspendReason, VERSION,
};
use colearn_records::convert::{ExperimentState, MemberState};
use colearn_sdk::learner::{Proposed, Score, Weights};
use colearn_sdk::participant::{Duty, Ending, Event, Participant, Standing, Statement, Turn};
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
    Score { vote: 0.5, test: None, approve }
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
    told: Vec<Event>,
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
        let ledger = Digest([9; 32]);
        let model: Model = weights(0).model("m");
        let create = CreateExperiment { parameters, admission: Admission::Open, model, plan: None };
        let held = weights(0).digest();
        let learner = |at| Learner {
            participant: Participant::new(id(at), ledger, name(), Some(held), (None, None)),
            shown: 0,
            held,
            signed: None,
            sealed: None,
            told: Vec::new(),
        };
        let mut table = Self {
            contract: Contract::new(ledger, VERSION),
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
        let parameters = Parameters { min_learners: learners as u32, ..parameters };
        let mut table = Self::new(learners, parameters);
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
        let Learner { held, signed, sealed, .. } = &self.learners[at];
        let remembered = (signed.clone(), sealed.clone());
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

    fn standing(&self, at: usize) -> Standing {
        let experiment = self.contract.experiment(&name()).unwrap();
        // By way of the wire, as a client gets it.
        let described = ExperimentState::of(experiment, 0).message();
        let member = experiment.member(id(at)).map(|member| MemberState::of(member).message());
        let member = member.map(|member| MemberState::read(member).unwrap());
        Standing::of(&ExperimentState::read(described).unwrap(), member.as_ref())
    }

    /// Does what the learner owes, as it would: it proposes something new, and approves.
    fn fulfil(&mut self, at: usize) {
        self.made += 1;
        let made = weights(self.made);
        let proposed = match self.duty(at) {
            Duty::Train { cap: Some(_), .. } => {
                Proposed::Private(made, spent(self.made, self.made))
            }
            _ => Proposed::Weights(made),
        };
        self.fulfil_with(at, Ok((proposed, Some(like(true)))), Ok(like(true)));
    }

    fn fulfil_with(
        &mut self,
        at: usize,
        work: Result<(Proposed, Option<Score>), &str>,
        score: Result<Score, &str>,
    ) {
        match self.duty(at) {
            Duty::Wait | Duty::End(_) => {}
            Duty::Resume { .. } => self.learners[at].participant.resume(),
            Duty::AskRules => {
                let experiment = self.contract.experiment(&name()).unwrap();
                let rules = experiment.parameters().clone();
                self.learners[at].participant.set_rules(&rules);
            }
            Duty::Accept(model) => {
                self.learners[at].held = model.digest;
                self.learners[at].participant.accepted(model.digest);
            }
            Duty::Train { round, cap } => {
                let work = work.map(|(proposed, score)| (proposed.within(cap), score));
                self.learners[at].participant.trained(round, work.map_err(Into::into));
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

    /// Signs and submits: remembered first, and never two acts for one turn.
    fn submit(&mut self, at: usize, statement: Statement) {
        self.sign(at, &statement);
        self.settle(at, statement.act);
    }

    fn sign(&mut self, at: usize, statement: &Statement) {
        let learner = &mut self.learners[at];
        if let Some(reveal) = &statement.sealed {
            learner.sealed = Some(reveal.clone());
        }
        if let Some(turn) = &statement.once {
            learner.signed = Some(turn.clone());
            let before = self.signed.insert((id(at), turn.clone()), statement.act.clone());
            let act = &statement.act;
            assert!(before.is_none_or(|before| before == *act), "two acts for {turn:?}");
        }
    }

    fn settle(&mut self, at: usize, act: Act) {
        match self.apply(id(at), act.clone()) {
            Ok(()) => {
                let learner = &mut self.learners[at];
                learner.told.extend(learner.participant.submitted());
            }
            Err(rejection) => {
                assert!(rejection.is_stale(), "{act:?}: {rejection}");
                self.learners[at].participant.refused();
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

fn spent(epsilon_micros: u64, steps: u64) -> PrivacySpent {
    PrivacySpent {
        epsilon_micros,
        delta_picos: 1,
        noise_micros: 1_000_000,
        clip_micros: 1_000_000,
        sampling_nanos: 1_000_000,
        steps,
    }
}

#[test]
fn a_round_from_joining_to_accepting_and_to_the_end() {
    let mut table = Table::seated(3, rules());
    assert!(matches!(table.duty(0), Duty::Train { round: 1, cap: None }));
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
    assert!(matches!(table.learners[1].told[1], Event::Voted { round: 1, approve: true, .. }));
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
    assert!(!vote.approve && vote.scores.vote.is_none());
    table.fulfil_with(1, Err(""), Err(""));
    table.show_all();
    assert_eq!(table.learners[1].held, weights(0).digest(), "the old model stays");
    // A turn given up without a reason is no news beyond itself.
    let mut table = Table::seated(2, rules());
    table.fulfil_with(0, Ok((Proposed::Pass, None)), Ok(like(true)));
    table.fulfil(0);
    assert!(table.learners[0].told.contains(&Event::Passed { round: 1, reason: None }));
}

#[test]
fn beyond_the_cap_the_budget_is_spent_and_the_learner_still_votes() {
    let cap = PrivacyCap { epsilon_micros: 10, delta_picos: 1 };
    let mut table = Table::seated(2, Parameters { privacy: Some(cap), ..rules() });
    let over = Proposed::Private(weights(7), spent(11, 1));
    table.fulfil_with(0, Ok((over, None)), Ok(like(true)));
    let Duty::Submit(statement) = table.duty(0) else { panic!() };
    assert_eq!(statement.act, Act::Pass { round: 1, exhausted: true });
    assert_eq!(statement.weights, None, "nothing leaves the process");
    table.fulfil(0);
    table.show_all();
    // The other's turns follow one another; the first one judges them.
    for round in [2, 3] {
        assert_eq!(table.duty(1), Duty::Train { round, cap: Some(cap) });
        let within = Proposed::Private(weights(round), spent(round, round));
        table.fulfil_with(1, Ok((within, Some(like(true)))), Ok(like(true)));
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
    table.learners[1].sealed.clone_from(&commitment.sealed);
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
    assert_eq!(reveal.act, Act::Reveal(commitment.sealed.unwrap()));
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
    assert_eq!(statement.act, Act::Join { term: 1 });
    table.fulfil(0);
    table.show_all();
    // Two are too few, so its return opens the round; with three others it would be late.
    let mut four = Table::seated(4, Parameters { missed_turns: Some(1), ..rules() });
    let experiment = |table: &Table| table.contract.experiment(&name()).unwrap().round();
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
    let at = (0..2).find(|at| matches!(endless.duty(*at), Duty::Train { .. })).unwrap();
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
    let mut new = Participant::new(id(6), ledger, name(), held, (None, None));
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

fn any_rules() -> impl Strategy<Value = Parameters> {
    let choice = any::<(bool, bool, bool, bool)>();
    let limits = (prop::option::of(1..4_u32), prop::option::of(1..3_u32), 1..4_u32);
    (choice, limits).prop_map(|((seal, early, drawn, private), (missed, idle, least))| Parameters {
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
                let private = match self.duty(at) {
                    Duty::Train { cap: Some(_), .. } => Some(spent(self.made, self.made)),
                    _ => None,
                };
                let proposed = match (how % 8, private) {
                    (0, _) => Ok((Proposed::Pass, None)),
                    (1, Some(_)) => Ok((Proposed::Exhausted, None)),
                    (2, _) => Err("it failed"),
                    (_, Some(spent)) => Ok((Proposed::Private(made, spent), Some(like(true)))),
                    (_, None) => Ok((Proposed::Weights(made), Some(like(true)))),
                };
                let score = if how % 5 == 0 { Err("it failed") } else { Ok(like(approve)) };
                self.fulfil_with(at, proposed, score);
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
        parameters in any_rules(),
        steps in prop::collection::vec(step(4), 0..120),
    ) {
        let mut table = Table::new(4, parameters);
        for step in &steps {
            table.take(step);
        }
        // From here on everybody is there. Every budget may be spent, which is an end too.
        for _ in 0..200 {
            table.run();
            let experiment = table.contract.experiment(&name()).unwrap();
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
        parameters in any_rules(),
        steps in prop::collection::vec(step(3), 0..120),
    ) {
        let mut table = Table::new(3, parameters);
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
                prop_assert_eq!(&followed.phase, &asked.phase);
                prop_assert_eq!(followed.membership, asked.membership);
                prop_assert_eq!(followed.unrevealed, asked.unrevealed);
                prop_assert_eq!(followed.next_term, asked.next_term);
            }
        }
    }
}
