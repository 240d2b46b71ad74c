//! The learner's side of the protocol, as a pure state machine: records in, what is owed out, results
//! in, statements to sign out.
//!
//! A [`Participant`] knows neither sockets nor clocks nor files. Whoever drives it ([`crate::client`]
//! with a node, [`crate::local`](crate) in simulated time) shows it the experiment's records in their
//! order, asks what the learner owes ([`Participant::duty`]), lets the learner do it, and tells what
//! came of it. What a learner does in a round is decided here and nowhere else.
//!
//! ```text
//!   records ──► observe ──►┌─────────────┐──► duty: Accept, Train, Score ──► learner ──► accepted, trained, scored
//!                          │ Participant │
//!   what was signed ─────► └─────────────┘──► duty: Submit ──► sign, keep, send ──► submitted, refused
//! ```

mod duty;
mod event;
mod observe;
mod standing;
mod statement;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use colearn_contracts::{
    Act, Digest, ExperimentName, Join, LearnerId, MemberName, Model, Parameters, PauseReason,
    PrivacySpent, Proposal, Reason, Rejection, Reveal, Scores, rule_is_stale,
};
use colearn_records::convert::ExperimentState;

pub use self::duty::{Assignment, Duty, Ending};
pub use self::event::Event;
pub use self::standing::{Membership, Phase, Stage, Standing};
use self::statement::Pass;
pub use self::statement::{Statement, Turn};
use crate::learner::{Failure, Judgement, LearnerError, Score, Weights};
use crate::turn::Trained;

/// Why a learner without privacy passes under a cap.
pub(crate) const NOT_PRIVATE: &str =
    "the experiment caps what proposals reveal, and this learner does not train privately";
/// How long a learner waits before it lets a paused experiment go on, the first time.
const FIRST_RESUME_PAUSE: Duration = Duration::from_secs(1);
/// The longest it waits, after several pauses without a proposal in between.
const LONGEST_RESUME_PAUSE: Duration = Duration::from_secs(600);

/// A learner's part in one experiment.
#[derive(Clone, Debug)]
pub struct Participant {
    me: LearnerId,
    ledger: Digest,
    experiment: ExperimentName,
    /// What it calls itself where it joins.
    name: Option<MemberName>,
    /// Nothing is owed before the experiment exists.
    standing: Option<Standing>,
    /// The weights that the learner holds as its current ones.
    held: Option<Digest>,
    /// What is ready to be submitted.
    ready: Option<Statement>,
    /// What is remembered from before a restart.
    remembered: Remembered,
    /// The last round in which this learner's turn was taken, whatever became of it.
    turn_taken: u64,
    /// The round's proposal, until it is put to the vote.
    proposed: Option<(LearnerId, Model)>,
    /// What is known to have been the global model, which nobody proposes again (R60).
    models: BTreeSet<Digest>,
    /// The rules that open motions would set.
    motions: BTreeMap<u64, Parameters>,
    rules_changed: bool,
    /// Pauses in a row without a proposal in between, and whether this learner has answered the last.
    pauses: u32,
    resumed: bool,
}

/// What a learner remembers from before a restart.
#[derive(Clone, Default, Debug)]
pub struct Remembered {
    /// What was signed last: it is sent again rather than signing another.
    pub signed: Vec<Turn>,
    /// The last sealed ballot, with its salt.
    pub sealed: Option<Reveal>,
}

impl Participant {
    /// A participant that has seen nothing yet. `held` are the weights that its learner has now.
    pub fn new(
        me: LearnerId,
        ledger: Digest,
        experiment: ExperimentName,
        held: Option<Digest>,
        remembered: Remembered,
    ) -> Self {
        Self {
            me,
            ledger,
            experiment,
            name: None,
            standing: None,
            held,
            ready: None,
            remembered,
            turn_taken: 0,
            proposed: None,
            models: BTreeSet::new(),
            motions: BTreeMap::new(),
            rules_changed: false,
            pauses: 0,
            resumed: false,
        }
    }

    /// The same, which calls itself so where it joins, unless its invitation says what it is called.
    pub fn called(self, name: Option<MemberName>) -> Self {
        Self { name, ..self }
    }

    /// Whose part this is.
    pub fn me(&self) -> LearnerId {
        self.me
    }

    /// Where the experiment stands, as far as it was observed.
    pub fn standing(&self) -> Option<&Standing> {
        self.standing.as_ref()
    }

    /// Goes on from where the experiment stands now, after records were missed. What is ready for a
    /// turn that is still open stays ready: nobody trains twice for one turn.
    pub fn resync(&mut self, standing: Standing) {
        self.resumed = false;
        self.rules_changed = false;
        self.proposed = None;
        self.models.insert(standing.model.digest);
        self.standing = Some(standing);
        self.drop_what_came_too_late();
    }

    /// What the learner owes now. The same until something is observed or told.
    pub fn duty(&self) -> Duty {
        let Some(standing) = &self.standing else { return Duty::Wait };
        if let Phase::Finished(reason) = standing.phase {
            // Whoever took part ends with the final model.
            if standing.membership == Membership::Member && self.held != Some(standing.model.digest)
            {
                return Duty::Accept(standing.model.clone());
            }
            let (model, rounds) = (standing.model.clone(), standing.round);
            return Duty::End(Ending::Finished { reason, model, rounds });
        }
        match standing.membership {
            Membership::Replaced(by) => return Duty::End(Ending::KeyReplaced(by)),
            Membership::Unseated(reason) => return Duty::End(Ending::Unseated(reason)),
            // Everything is looked at before it joins: a member that cannot take the model would let
            // rounds expire.
            Membership::Outside => {
                return match self.held == Some(standing.model.digest) {
                    true => self.join_duty(standing),
                    false => Duty::Accept(standing.model.clone()),
                };
            }
            Membership::Left => {
                let (model, rounds) = (standing.model.clone(), standing.round);
                return Duty::End(Ending::Left { model, rounds });
            }
            Membership::Member => {}
        }
        if self.rules_changed {
            return Duty::AskRules;
        }
        if let Some(statement) = &self.ready {
            return Duty::Submit(statement.clone());
        }
        let owed = self.round_duty(standing);
        let holds = self.held == Some(standing.model.digest);
        match &owed {
            // What was decided before takes no more weights.
            Duty::Submit(_) | Duty::SubmitAgain(_) => owed,
            _ if !holds => Duty::Accept(standing.model.clone()),
            Duty::Accept(_)
            | Duty::Train(_)
            | Duty::Score { .. }
            | Duty::AskRules
            | Duty::Resume { .. }
            | Duty::Wait
            | Duty::End(_) => owed,
        }
    }

    /// Joining, under the terms as they are: where they have changed since, it looks again.
    fn join_duty(&self, standing: &Standing) -> Duty {
        let term = standing.next_term;
        if !standing.is_second() {
            return Duty::Submit(Statement::new(Act::Join(Join::new(term, None))));
        }
        if standing.terms.is_none() {
            return Duty::AskRules;
        }
        let name = self.name.clone().filter(|_| !standing.named);
        Duty::Submit(Statement::new(Act::Join(Join { term, terms: standing.terms, name })))
    }

    /// What the present round asks of a member that has the global model.
    fn round_duty(&self, standing: &Standing) -> Duty {
        let round = standing.round;
        match &standing.phase {
            Phase::Proposing { proposer, .. }
                if *proposer == self.me && self.turn_taken < round =>
            {
                let turn = Turn::propose(self.experiment.clone(), round);
                match self.remembered.signed.contains(&turn) {
                    true => Duty::SubmitAgain(turn),
                    false => Duty::Train(standing.assignment()),
                }
            }
            Phase::Voting { proposer, weights, stage: Stage::Reveal, .. }
                if *proposer != self.me && standing.unrevealed =>
            {
                // Without the salt it can never be revealed: another process with this key committed
                // to it, or the memory is lost.
                match self.sealed_for(round, weights.digest) {
                    Some(reveal) => Duty::Submit(Statement::new(Act::Reveal(reveal.clone()))),
                    None => Duty::Wait,
                }
            }
            Phase::Voting {
                proposer,
                weights,
                stage: stage @ (Stage::Open | Stage::Commit),
                ..
            } if *proposer != self.me && standing.votes_from <= round => {
                let turn = Turn::vote(self.experiment.clone(), round, weights.digest);
                if self.remembered.signed.contains(&turn) {
                    return Duty::SubmitAgain(turn);
                }
                match self.sealed_for(round, weights.digest) {
                    // Sealed before a restart, but not committed to.
                    Some(reveal) if *stage == Stage::Commit => {
                        Duty::Submit(self.commitment(standing, reveal.clone()))
                    }
                    _ => Duty::Score { round, weights: weights.clone() },
                }
            }
            Phase::Paused(PauseReason::NobodyProposes) if !self.resumed => {
                Duty::Resume { pause: self.resume_pause() }
            }
            Phase::Idle
            | Phase::Paused(_)
            | Phase::Proposing { .. }
            | Phase::Voting { .. }
            | Phase::Finished(_) => Duty::Wait,
        }
    }

    /// Whether it would take part again if it joined, or for the first time.
    pub fn owes_join(&self) -> bool {
        matches!(&self.duty(), Duty::Submit(statement) if matches!(statement.act, Act::Join(_)))
    }

    /// Whether it has a vote on what is proposed in the present round, by whomever else.
    pub fn may_vote(&self) -> bool {
        self.standing.as_ref().is_some_and(|standing| {
            standing.membership == Membership::Member && standing.votes_from <= standing.round
        })
    }

    /// Ledger time at which it is too late for this learner's turn or vote in the present round,
    /// exclusive, if it owes one: with what it still has to get for it.
    pub fn deadline_ms(&self) -> Option<u64> {
        let standing = self.standing.as_ref()?;
        let round = standing.round;
        match &standing.phase {
            Phase::Proposing { proposer, deadline_ms } => {
                (*proposer == self.me && self.turn_taken < round).then_some(*deadline_ms)
            }
            Phase::Voting { proposer, stage: Stage::Open | Stage::Commit, deadline_ms, .. } => {
                (*proposer != self.me && self.may_vote()).then_some(*deadline_ms)
            }
            Phase::Voting { stage: Stage::Reveal, .. }
            | Phase::Idle
            | Phase::Paused(_)
            | Phase::Finished(_) => None,
        }
    }

    /// Whether a sealed ballot was committed to that cannot be revealed, since what was sealed is not
    /// known here.
    pub fn has_lost_ballot(&self) -> bool {
        self.standing.as_ref().is_some_and(|standing| match &standing.phase {
            Phase::Voting { proposer, weights, stage: Stage::Reveal, .. } => {
                *proposer != self.me
                    && standing.unrevealed
                    && self.sealed_for(standing.round, weights.digest).is_none()
            }
            Phase::Voting { .. }
            | Phase::Idle
            | Phase::Paused(_)
            | Phase::Proposing { .. }
            | Phase::Finished(_) => false,
        })
    }

    fn sealed_for(&self, round: u64, weights: Digest) -> Option<&Reveal> {
        let sealed = self.remembered.sealed.as_ref();
        sealed.filter(|reveal| reveal.vote.round == round && reveal.vote.weights == weights)
    }

    fn commitment(&self, standing: &Standing, reveal: Reveal) -> Statement {
        Statement::commit(self.ledger, &self.experiment, self.me, standing, reveal)
    }

    fn resume_pause(&self) -> Duration {
        // Whoever has just come resumes at once; whoever was there when it paused gives the others
        // ever more time, or a learner that can never propose would fill the ledger.
        match self.pauses.checked_sub(1) {
            None => Duration::ZERO,
            Some(before) => {
                let pause = FIRST_RESUME_PAUSE.saturating_mul(1_u32 << before.min(16));
                pause.min(LONGEST_RESUME_PAUSE)
            }
        }
    }

    /// Whether this learner's turn in a round is over: taken, or gone.
    pub fn is_over(&self, round: u64) -> bool {
        self.standing.as_ref().is_some_and(|standing| {
            standing.round != round
                || self.turn_taken >= round
                || !matches!(standing.phase, Phase::Proposing { proposer, .. } if proposer == self.me)
        })
    }

    /// The learner holds these weights as its current ones.
    pub fn accepted(&mut self, weights: Digest) {
        self.held = Some(weights);
    }

    /// The learner has taken its turn. One that failed passes, and so does one that has nothing new to
    /// propose.
    pub fn trained(&mut self, round: u64, work: Result<Trained, LearnerError>) {
        let Some(standing) = self.standing.as_ref().filter(|it| it.round == round) else { return };
        let turn = Turn::propose(self.experiment.clone(), round);
        let passes = |pass| Statement::pass(turn.clone(), standing, pass);
        self.ready = Some(match work {
            Ok(Trained::Proposal { weights, privacy, scores }) => {
                self.proposal(standing, &weights, privacy, scores).unwrap_or_else(passes)
            }
            Ok(Trained::Pass { reason, told }) => passes(Pass { exhausted: false, reason, told }),
            Ok(Trained::Exhausted { told }) => passes(Pass::exhausted(told)),
            Err(error) => {
                passes(Pass::because(Failure::reason_of(&error), Some(error.to_string())))
            }
        });
        self.drop_what_came_too_late();
    }

    /// The proposal of some weights; or how the turn is passed instead, where it would be refused.
    fn proposal(
        &self,
        standing: &Standing,
        weights: &Weights,
        privacy: Option<PrivacySpent>,
        scores: Scores,
    ) -> Result<Statement, Pass> {
        let base = &standing.model;
        if standing.is_second() && self.models.contains(&weights.digest()) {
            return Err(Pass::because(Reason::Worse, Some("training changed nothing".to_owned())));
        }
        let (size, limit) = (weights.bytes().len() as u64, standing.max_weights_bytes);
        if size > limit {
            let told = format!(
                "the weights have {size} bytes, and the experiment allows {limit}; the members can allow \
                 more: colearn experiment move NAME set --max-weights-bytes N"
            );
            return Err(Pass::because(Reason::Policy, Some(told)));
        }
        match (&privacy, &standing.cap) {
            (None, Some(_)) => {
                return Err(Pass::because(Reason::Policy, Some(NOT_PRIVATE.to_owned())));
            }
            (Some(spent), Some(cap)) if !spent.is_within(cap) => return Err(Pass::exhausted(None)),
            _ => {}
        }
        let proposal = Proposal {
            round: standing.round,
            base: base.digest,
            // What the media type of an experiment is, is said by its model.
            weights: weights.model(&base.media_type),
            scores,
            privacy,
        };
        let turn = Turn::propose(self.experiment.clone(), standing.round);
        Ok(Statement::propose(turn, proposal, weights.clone()))
    }

    /// The learner has scored a proposal, or failed to: what cannot be scored is not approved. `salt`
    /// gives 32 random bytes; it is asked only where ballots are sealed.
    ///
    /// # Errors
    /// That of `salt`.
    pub fn scored<E>(
        &mut self,
        round: u64,
        weights: Digest,
        score: Result<Score, LearnerError>,
        salt: impl FnOnce() -> Result<[u8; 32], E>,
    ) -> Result<(), E> {
        let failed =
            |error: LearnerError| Score::none(Judgement::Reject(Some(Failure::reason_of(&error))));
        self.judged(round, weights, score.unwrap_or_else(failed), salt)
    }

    /// The bytes that this learner's turn or vote takes, of the proposal or of the global model, were not
    /// to be had before its time was over: it says so, rather than nothing. `salt` as in
    /// [`Participant::scored`].
    ///
    /// # Errors
    /// That of `salt`.
    pub fn unavailable<E>(&mut self, salt: impl FnOnce() -> Result<[u8; 32], E>) -> Result<(), E> {
        let Some(standing) = self.standing.as_ref().filter(|_| self.deadline_ms().is_some()) else {
            return Ok(());
        };
        let round = standing.round;
        match &standing.phase {
            Phase::Proposing { .. } => {
                let turn = Turn::propose(self.experiment.clone(), round);
                let pass = Pass::because(Reason::Unavailable, None);
                self.ready = Some(Statement::pass(turn, standing, pass));
                Ok(())
            }
            Phase::Voting { weights, .. } => {
                let unavailable = Score::none(Judgement::Abstain(Some(Reason::Unavailable)));
                self.judged(round, weights.digest, unavailable, salt)
            }
            Phase::Idle | Phase::Paused(_) | Phase::Finished(_) => Ok(()),
        }
    }

    fn judged<E>(
        &mut self,
        round: u64,
        weights: Digest,
        score: Score,
        salt: impl FnOnce() -> Result<[u8; 32], E>,
    ) -> Result<(), E> {
        let Some(standing) = self.standing.as_ref().filter(|it| it.round == round) else {
            return Ok(());
        };
        let Phase::Voting { stage, .. } = standing.phase else { return Ok(()) };
        let vote = statement::vote(standing, weights, score.judgement, score.scores());
        self.ready = Some(match stage {
            Stage::Open => Statement::vote(self.experiment.clone(), standing, vote),
            Stage::Commit | Stage::Reveal => {
                let reveal = Reveal { vote, salt: salt()? };
                let commitment = self.commitment(standing, reveal.clone());
                self.remembered.sealed = Some(reveal);
                commitment
            }
        });
        self.drop_what_came_too_late();
        Ok(())
    }

    /// Lets a paused experiment go on.
    pub fn resume(&mut self) {
        if let Some(standing) = &self.standing {
            self.ready = Some(Statement::new(Act::Resume { round: standing.round }));
        }
    }

    /// The rules in force, as asked for by [`Duty::AskRules`].
    pub fn set_rules(&mut self, experiment: &ExperimentState) {
        self.rules_changed = false;
        if let Some(standing) = &mut self.standing {
            standing.set_rules(self.me, experiment);
        }
    }

    /// What was owed is recorded. Gives what there is to tell.
    pub fn submitted(&mut self) -> Option<Event> {
        match self.settle()? {
            Submitted::Statement(statement) => statement.told(),
            Submitted::Again(_) => None,
        }
    }

    /// What was owed is refused for good, by this rule of the contract. Whether it goes on from there: it
    /// came too late, or somebody else was faster, which is nobody's fault; or something else is owed now;
    /// or it is given up, since it would be refused whenever it came.
    pub fn refused(&mut self, rule: u8, message: &str) -> bool {
        let owed = self.duty();
        if let Duty::Submit(Statement { act: Act::Join(_), .. }) = &owed
            && rule == other_terms()
        {
            if let Some(standing) = &mut self.standing {
                standing.terms = None;
            }
            return true;
        }
        let stale = rule_is_stale(rule);
        if !stale && let Some(pass) = self.pass_instead(&owed, rule, message) {
            self.ready = Some(pass);
            return true;
        }
        let given_up = match &owed {
            Duty::Submit(statement) => {
                statement.once.is_some() || matches!(statement.act, Act::Reveal(_))
            }
            Duty::SubmitAgain(_) => true,
            Duty::Accept(_)
            | Duty::Train { .. }
            | Duty::Score { .. }
            | Duty::AskRules
            | Duty::Resume { .. }
            | Duty::Wait
            | Duty::End(_) => false,
        };
        if stale || given_up {
            self.settle();
        }
        stale || given_up
    }

    /// What stands for a proposal that would be refused whenever it came in this round: the only thing that
    /// is signed for a turn for which something else was signed before.
    fn pass_instead(&self, owed: &Duty, rule: u8, message: &str) -> Option<Statement> {
        let standing = self.standing.as_ref()?;
        let turn = match owed {
            Duty::Submit(Statement { act: Act::Propose(_), once: Some(turn), .. })
            | Duty::SubmitAgain(turn @ Turn::Propose { .. }) => turn.clone(),
            _ => return None,
        };
        let reason = match rule == Rejection::NotNew.rule() {
            true => Reason::Worse,
            false => Reason::Failed,
        };
        let pass = Pass::because(reason, Some(message.to_owned()));
        Some(Statement { instead: true, ..Statement::pass(turn, standing, pass) })
    }

    /// What was owed is done with, whatever came of it: no turn is taken twice.
    fn settle(&mut self) -> Option<Submitted> {
        let submitted = match self.duty() {
            Duty::Submit(statement) => Submitted::Statement(statement),
            Duty::SubmitAgain(turn) => Submitted::Again(turn),
            Duty::Accept(_)
            | Duty::Train(_)
            | Duty::Score { .. }
            | Duty::AskRules
            | Duty::Resume { .. }
            | Duty::Wait
            | Duty::End(_) => return None,
        };
        self.ready = None;
        match &submitted {
            Submitted::Statement(statement) => self.own_act(&statement.act),
            Submitted::Again(Turn::Propose { round, .. }) => self.turn_taken = *round,
            Submitted::Again(Turn::Vote { round, .. }) => self.voted(*round),
        }
        Some(submitted)
    }

    /// A statement is for one round, proposal and stage; when these have gone by, nobody signs it.
    fn drop_what_came_too_late(&mut self) {
        let Some(standing) = &self.standing else { return };
        let (round, me) = (standing.round, self.me);
        let still = |act: &Act| match (act, &standing.phase) {
            (Act::Propose(Proposal { round: of, .. }) | Act::Pass { round: of, .. }, phase) => {
                *of == round
                    && matches!(phase, Phase::Proposing { proposer, .. } if *proposer == me)
            }
            (Act::Vote(vote), Phase::Voting { weights, stage: Stage::Open, .. }) => {
                vote.round == round && vote.weights == weights.digest
            }
            (Act::Commit(commit), Phase::Voting { weights, stage: Stage::Commit, .. }) => {
                commit.round == round && commit.weights == weights.digest
            }
            (Act::Vote(_) | Act::Commit(_), _) => false,
            (Act::Resume { round: of }, phase) => *of == round && matches!(phase, Phase::Paused(_)),
            // These are never kept ready: they follow from where things stand.
            (
                Act::Create(_)
                | Act::Join(_)
                | Act::Leave { .. }
                | Act::Reveal(_)
                | Act::ReplaceKey { .. }
                | Act::Move { .. }
                | Act::MotionVote { .. }
                | Act::Stop
                | Act::Evaluate(_)
                | Act::Update(_)
                | Act::CommitUpdate(_)
                | Act::RevealUpdate(_)
                | Act::Have { .. }
                | Act::MergeVote(_)
                | Act::RevealMergeVote(_),
                _,
            ) => false,
        };
        if self.ready.as_ref().is_some_and(|statement| !still(&statement.act)) {
            self.ready = None;
        }
    }
}

/// What was submitted.
enum Submitted {
    Statement(Statement),
    Again(Turn),
}

/// The rule that terms were other ones than who joined named.
fn other_terms() -> u8 {
    Rejection::OtherTerms { current: Digest([0; 32]) }.rule()
}
