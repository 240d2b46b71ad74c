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

mod bearing;
mod duty;
mod event;
mod observe;
mod standing;
mod statement;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use colearn_contracts::{
    Act, CommitUpdate, Digest, ExperimentName, Join, LearnerId, MemberName, MergeVote, Merges,
    Model, Parameters, PauseReason, PrivacySpent, Proposal, Reason, Rejection, Reveal,
    RevealMergeVote, RevealUpdate, Scores, Update, rule_is_stale,
};
use colearn_records::convert::ExperimentState;

use self::bearing::Bearing;
pub use self::duty::{Assignment, Duty, Ending, MergeTask};
pub use self::event::Event;
pub use self::standing::{Membership, Phase, Stage, Standing};
use self::statement::Pass;
pub use self::statement::{Secret, Statement, Turn};
use crate::learner::{Failure, Judgement, LearnerError, Score, Weights};
use crate::merging::{Judged, Worth};
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
    /// What this learner has trained for a merged round, until it is sent.
    trained: Option<Weights>,
    /// Whether its own judgement decides what it can bear, always.
    own_judge: bool,
    /// Whether what is signed carries no scores.
    hides_scores: bool,
    /// What it can bear otherwise.
    bearing: Bearing,
    /// The merges of this round that it has judged, with its scores.
    scored: Vec<(Digest, f64)>,
    /// The merge that was accepted, until the round closes.
    accepted_merge: Option<Digest>,
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
    /// What was committed to last, with its salt: a vote on a proposal, one on merges, an update and
    /// that update's weights.
    pub sealed: Option<Reveal>,
    /// A vote on merges.
    pub sealed_merge_vote: Option<RevealMergeVote>,
    /// An update.
    pub sealed_update: Option<RevealUpdate>,
    /// What was trained for the turn that is not over.
    pub trained: Option<Weights>,
    /// The last global models, the oldest first, with what its learner measured of each
    /// ([`Participant::lived_with`]).
    pub lived_with: Vec<(Digest, f64)>,
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
            trained: remembered.trained.clone(),
            bearing: Bearing::new(&remembered.lived_with),
            remembered,
            turn_taken: 0,
            proposed: None,
            own_judge: false,
            hides_scores: false,
            scored: Vec::new(),
            accepted_merge: None,
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

    /// The same, which bears what its learner approves of, whatever it has lived with.
    pub fn judging_itself(self, own_judge: bool) -> Self {
        Self { own_judge, ..self }
    }

    /// The same, which tells nobody what its learner has measured: nothing that it signs carries scores.
    pub fn hiding_scores(self, hides_scores: bool) -> Self {
        Self { hides_scores, ..self }
    }

    /// Scores as they are signed.
    fn shown(&self, scores: Scores) -> Scores {
        if self.hides_scores { Scores::default() } else { scores }
    }

    /// The last global models that its learner has measured, the oldest first: what it can bear follows from
    /// these, so after a restart it should know them ([`Remembered::lived_with`]).
    pub fn lived_with(&self) -> impl ExactSizeIterator<Item = (Digest, f64)> {
        self.bearing.models()
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
        self.scored.clear();
        self.accepted_merge = None;
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
            | Duty::Gather { .. }
            | Duty::Merge(_)
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
            Phase::Training { mine: true, stage, .. } => self.training_duty(standing, *stage),
            Phase::Gathering { mine: true, updates, .. } => {
                Duty::Gather { round, updates: updates.clone() }
            }
            Phase::Merging { updates, stage, .. } => self.merging_duty(standing, updates, *stage),
            Phase::Idle
            | Phase::Paused(_)
            | Phase::Proposing { .. }
            | Phase::Voting { .. }
            | Phase::Training { .. }
            | Phase::Gathering { .. }
            | Phase::Finished(_) => Duty::Wait,
        }
    }

    /// What a participant of a merged round owes: an update, or a commitment to one and then the update.
    fn training_duty(&self, standing: &Standing, stage: Stage) -> Duty {
        let round = standing.round;
        let sealed = self.sealed_update_for(round);
        match (stage, sealed) {
            (Stage::Reveal, Some(reveal)) => Duty::Submit(Statement {
                weights: self.trained.clone(),
                ..Statement::new(Act::RevealUpdate(reveal.clone()))
            }),
            // As of a ballot: without the salt it can never be revealed.
            (Stage::Reveal, None) => Duty::Wait,
            (Stage::Open | Stage::Commit, _) => {
                let turn = Turn::propose(self.experiment.clone(), round);
                match (self.remembered.signed.contains(&turn), sealed) {
                    (true, _) => Duty::SubmitAgain(turn),
                    // Sealed before a restart, but not committed to.
                    (false, Some(reveal)) if stage == Stage::Commit => {
                        Duty::Submit(self.update_commitment(reveal.clone()))
                    }
                    (false, _) => Duty::Train(standing.assignment()),
                }
            }
        }
    }

    /// What a voter of a merged round owes.
    fn merging_duty(&self, standing: &Standing, updates: &[Model], stage: Stage) -> Duty {
        let round = standing.round;
        let sealed = self.sealed_merge_vote_for(round);
        if stage == Stage::Reveal {
            return match sealed.filter(|_| standing.unrevealed) {
                Some(reveal) => Duty::Submit(Statement::new(Act::RevealMergeVote(reveal.clone()))),
                None => Duty::Wait,
            };
        }
        let Some(rules) = standing.merging.filter(|_| standing.votes_from <= round) else {
            return Duty::Wait;
        };
        let turn = match stage {
            Stage::Open => Turn::Merge { experiment: self.experiment.clone(), round },
            Stage::Commit | Stage::Reveal => {
                Turn::vote(self.experiment.clone(), round, standing.model.digest)
            }
        };
        if self.remembered.signed.contains(&turn) {
            return Duty::SubmitAgain(turn);
        }
        if let Some(reveal) = sealed.filter(|_| stage == Stage::Commit) {
            return Duty::Submit(self.merge_vote_commitment(standing, reveal.clone()));
        }
        let named = match standing.checkers.is_empty() || standing.checkers.contains(&self.me) {
            true => None,
            false => match Self::named_by_checkers(standing) {
                Some(named) => Some(named),
                None => return Duty::Wait,
            },
        };
        Duty::Merge(MergeTask {
            round,
            base: standing.model.clone(),
            previous: standing.previous.clone(),
            updates: updates.to_vec(),
            lacked: standing.lacked.clone(),
            rules,
            named,
            score_base: !self.bearing.knows(standing.model.digest),
        })
    }

    /// The merges that at least two thirds of the checkers name.
    fn named_by_checkers(standing: &Standing) -> Option<Merges> {
        let enough = |count: u32| 3 * u64::from(count) >= 2 * standing.checkers.len() as u64;
        standing.checked.iter().find(|(_, count)| enough(**count)).map(|(merges, _)| *merges)
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
            Phase::Training { mine, stage: Stage::Open | Stage::Commit, deadline_ms } => {
                mine.then_some(*deadline_ms)
            }
            Phase::Gathering { mine, deadline_ms, .. } => mine.then_some(*deadline_ms),
            Phase::Merging { stage: Stage::Open | Stage::Commit, deadline_ms, .. } => {
                self.may_vote().then_some(*deadline_ms)
            }
            Phase::Voting { stage: Stage::Reveal, .. }
            | Phase::Training { stage: Stage::Reveal, .. }
            | Phase::Merging { stage: Stage::Reveal, .. }
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
            Phase::Training { mine: true, stage: Stage::Reveal, .. } => {
                self.sealed_update_for(standing.round).is_none()
            }
            Phase::Merging { stage: Stage::Reveal, .. } => {
                standing.unrevealed && self.sealed_merge_vote_for(standing.round).is_none()
            }
            Phase::Voting { .. }
            | Phase::Training { .. }
            | Phase::Gathering { .. }
            | Phase::Merging { .. }
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

    fn sealed_update_for(&self, round: u64) -> Option<&RevealUpdate> {
        self.remembered.sealed_update.as_ref().filter(|reveal| reveal.update.round == round)
    }

    fn sealed_merge_vote_for(&self, round: u64) -> Option<&RevealMergeVote> {
        self.remembered.sealed_merge_vote.as_ref().filter(|reveal| reveal.vote.round == round)
    }

    fn update_commitment(&self, reveal: RevealUpdate) -> Statement {
        Statement::commit_update(self.ledger, &self.experiment, self.me, reveal)
    }

    fn merge_vote_commitment(&self, standing: &Standing, reveal: RevealMergeVote) -> Statement {
        Statement::commit_merge_vote(self.ledger, &self.experiment, self.me, standing, reveal)
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
                || match standing.phase {
                    Phase::Proposing { proposer, .. } => {
                        self.turn_taken >= round || proposer != self.me
                    }
                    // What is committed to has still to be sent.
                    Phase::Training { mine, .. } => !mine && !standing.committed,
                    Phase::Voting { .. }
                    | Phase::Gathering { .. }
                    | Phase::Merging { .. }
                    | Phase::Idle
                    | Phase::Paused(_)
                    | Phase::Finished(_) => true,
                }
        })
    }

    /// The learner holds these weights as its current ones.
    pub fn accepted(&mut self, weights: Digest) {
        self.held = Some(weights);
    }

    /// The learner has taken its turn. One that failed passes, and so does one that has nothing new to
    /// propose. `salt` gives 32 random bytes; it is asked only where updates are sealed.
    ///
    /// # Errors
    /// That of `salt`.
    pub fn trained<E>(
        &mut self,
        round: u64,
        work: Result<Trained, LearnerError>,
        salt: impl FnOnce() -> Result<[u8; 32], E>,
    ) -> Result<(), E> {
        let Some(standing) = self.standing.as_ref().filter(|it| it.round == round) else {
            return Ok(());
        };
        let made = match work {
            Ok(Trained::Proposal { weights, privacy, scores }) => self
                .check_trained(standing, &weights, &privacy)
                .map(|()| (weights, privacy, self.shown(scores))),
            Ok(Trained::Pass { reason, told }) => Err(Pass { exhausted: false, reason, told }),
            Ok(Trained::Exhausted { told }) => Err(Pass::exhausted(told)),
            Err(error) => Err(Pass::because(Failure::reason_of(&error), Some(error.to_string()))),
        };
        let turn = Turn::propose(self.experiment.clone(), round);
        let statement = match (made, &standing.phase) {
            (Err(pass), _) => Statement::pass(turn, standing, pass),
            (Ok((weights, privacy, scores)), Phase::Training { stage, .. }) => {
                let update = Update {
                    round,
                    base: standing.model.digest,
                    weights: weights.model(&standing.model.media_type),
                    scores,
                    privacy,
                };
                match stage {
                    Stage::Open => Statement::update(turn, update, weights),
                    Stage::Commit | Stage::Reveal => {
                        let reveal = RevealUpdate { update, salt: salt()? };
                        self.remembered.sealed_update = Some(reveal.clone());
                        self.trained = Some(weights);
                        self.update_commitment(reveal)
                    }
                }
            }
            (Ok((weights, privacy, scores)), _) => {
                let proposal = Proposal {
                    round,
                    base: standing.model.digest,
                    // What the media type of an experiment is, is said by its model.
                    weights: weights.model(&standing.model.media_type),
                    scores,
                    privacy,
                };
                Statement::propose(turn, proposal, weights)
            }
        };
        self.ready = Some(statement);
        self.drop_what_came_too_late();
        Ok(())
    }

    /// Whether what was trained can be sent; or how the turn is passed instead, where it would be refused.
    fn check_trained(
        &self,
        standing: &Standing,
        weights: &Weights,
        privacy: &Option<PrivacySpent>,
    ) -> Result<(), Pass> {
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
        match (privacy, &standing.cap) {
            (None, Some(_)) => Err(Pass::because(Reason::Policy, Some(NOT_PRIVATE.to_owned()))),
            (Some(spent), Some(cap)) if !spent.is_within(cap) => Err(Pass::exhausted(None)),
            (Some(_) | None, Some(_) | None) => Ok(()),
        }
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
        self.has_scored(round, weights, score.unwrap_or_else(failed), salt)
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
            Phase::Proposing { .. } | Phase::Training { .. } => {
                let turn = Turn::propose(self.experiment.clone(), round);
                let pass = Pass::because(Reason::Unavailable, None);
                self.ready = Some(Statement::pass(turn, standing, pass));
                Ok(())
            }
            Phase::Voting { weights, .. } => {
                let unavailable = Score::none(Judgement::Abstain(Some(Reason::Unavailable)));
                self.has_scored(round, weights.digest, unavailable, salt)
            }
            Phase::Gathering { .. } => {
                self.gathered(round, 0);
                Ok(())
            }
            Phase::Merging { .. } => {
                self.say_of_merges(round, &Judged::nothing(), Some(Reason::Unavailable), salt)
            }
            Phase::Idle | Phase::Paused(_) | Phase::Finished(_) => Ok(()),
        }
    }

    /// Which updates can be had: a bit for each, the lowest for the first.
    pub fn gathered(&mut self, round: u64, held: u64) {
        self.ready = Some(Statement::new(Act::Have { round, held }));
        self.drop_what_came_too_late();
    }

    /// The learner has judged the merges of a round, or could not have them. `salt` as in
    /// [`Participant::scored`].
    ///
    /// # Errors
    /// That of `salt`.
    pub fn judged<E>(
        &mut self,
        round: u64,
        judged: &Judged,
        salt: impl FnOnce() -> Result<[u8; 32], E>,
    ) -> Result<(), E> {
        self.say_of_merges(round, judged, judged.reason(), salt)
    }

    fn say_of_merges<E>(
        &mut self,
        round: u64,
        judged: &Judged,
        reason: Option<Reason>,
        salt: impl FnOnce() -> Result<[u8; 32], E>,
    ) -> Result<(), E> {
        let Some(standing) = self.standing.as_ref().filter(|it| it.round == round) else {
            return Ok(());
        };
        let Phase::Merging { stage, .. } = standing.phase else { return Ok(()) };
        if let Some((base, worth)) = judged.base {
            self.bearing.lived_with(base, worth.measure);
        }
        let vote = self.merge_vote(round, judged, reason);
        let scored = [(judged.merges.open, judged.open), (judged.merges.guarded, judged.guarded)];
        self.scored =
            scored.into_iter().filter_map(|(of, worth)| Some((of?, worth?.measure))).collect();
        self.ready = Some(match stage {
            Stage::Open => Statement::merge_vote(self.experiment.clone(), standing, vote),
            Stage::Commit | Stage::Reveal => {
                let reveal = RevealMergeVote { vote, salt: salt()? };
                let commitment = self.merge_vote_commitment(standing, reveal.clone());
                self.remembered.sealed_merge_vote = Some(reveal);
                commitment
            }
        });
        self.drop_what_came_too_late();
        Ok(())
    }

    /// What follows for the vote from what the learner thinks of the merges.
    fn merge_vote(&self, round: u64, judged: &Judged, reason: Option<Reason>) -> MergeVote {
        let abstains = judged.is_abstention();
        let bears = |worth: Option<Worth>| {
            worth.filter(|_| !abstains).is_some_and(|worth| {
                let bears = self.bearing.bears(worth.measure).filter(|_| !self.own_judge);
                bears.unwrap_or(worth.score.judgement == Judgement::Approve)
            })
        };
        let (bear_open, bear_guarded) = (bears(judged.open), bears(judged.guarded));
        let scores = |worth: Option<Worth>| {
            self.shown(worth.map(|it| it.score.scores()).unwrap_or_default())
        };
        MergeVote {
            round,
            merges: if abstains { Merges::default() } else { judged.merges },
            bear_open,
            bear_guarded,
            prefer_guarded: judged.prefers_guarded && !abstains,
            reason: reason.filter(|_| !bear_open && !bear_guarded),
            scores_open: scores(judged.open),
            scores_guarded: scores(judged.guarded),
            link: None,
        }
    }

    fn has_scored<E>(
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
        let vote = statement::vote(standing, weights, score.judgement, self.shown(score.scores()));
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
                statement.once.is_some()
                    || matches!(
                        statement.act,
                        Act::Reveal(_)
                            | Act::RevealUpdate(_)
                            | Act::RevealMergeVote(_)
                            | Act::Have { .. }
                    )
            }
            Duty::SubmitAgain(_) => true,
            Duty::Accept(_)
            | Duty::Train { .. }
            | Duty::Score { .. }
            | Duty::Gather { .. }
            | Duty::Merge(_)
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
            Duty::Submit(Statement {
                act: Act::Propose(_) | Act::Update(_) | Act::CommitUpdate(_),
                once: Some(turn),
                ..
            })
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
            | Duty::Gather { .. }
            | Duty::Merge(_)
            | Duty::AskRules
            | Duty::Resume { .. }
            | Duty::Wait
            | Duty::End(_) => return None,
        };
        self.ready = None;
        match &submitted {
            Submitted::Statement(statement) => self.own_act(&statement.act),
            Submitted::Again(Turn::Propose { round, .. }) => self.took_turn(*round),
            Submitted::Again(Turn::Vote { round, .. } | Turn::Merge { round, .. }) => {
                self.voted(*round);
            }
        }
        Some(submitted)
    }

    /// A statement is for one round, proposal and stage; when these have gone by, nobody signs it.
    fn drop_what_came_too_late(&mut self) {
        let Some(standing) = &self.standing else { return };
        let (round, me) = (standing.round, self.me);
        let still = |act: &Act| match (act, &standing.phase) {
            (
                Act::Propose(Proposal { round: of, .. }) | Act::Pass { round: of, .. },
                Phase::Proposing { proposer, .. },
            ) => *of == round && *proposer == me,
            (Act::Vote(vote), Phase::Voting { weights, stage: Stage::Open, .. }) => {
                vote.round == round && vote.weights == weights.digest
            }
            (Act::Commit(commit), Phase::Voting { weights, stage: Stage::Commit, .. }) => {
                commit.round == round && commit.weights == weights.digest
            }
            (
                Act::Update(Update { round: of, .. }) | Act::Pass { round: of, .. },
                Phase::Training { mine: true, stage: Stage::Open, .. },
            )
            | (
                Act::CommitUpdate(CommitUpdate { round: of, .. }) | Act::Pass { round: of, .. },
                Phase::Training { mine: true, stage: Stage::Commit, .. },
            )
            | (Act::Have { round: of, .. }, Phase::Gathering { mine: true, .. })
            | (
                Act::MergeVote(MergeVote { round: of, .. }),
                Phase::Merging { stage: Stage::Open, .. },
            ) => *of == round,
            (Act::Commit(commit), Phase::Merging { stage: Stage::Commit, .. }) => {
                commit.round == round && commit.weights == standing.model.digest
            }
            (
                Act::Propose(_)
                | Act::Pass { .. }
                | Act::Vote(_)
                | Act::Commit(_)
                | Act::Update(_)
                | Act::CommitUpdate(_)
                | Act::Have { .. }
                | Act::MergeVote(_),
                _,
            ) => false,
            (Act::Resume { round: of }, phase) => *of == round && matches!(phase, Phase::Paused(_)),
            // These are never kept ready: they follow from where things stand.
            (
                Act::Create(_)
                | Act::Join(_)
                | Act::Leave { .. }
                | Act::Reveal(_)
                | Act::RevealUpdate(_)
                | Act::RevealMergeVote(_)
                | Act::ReplaceKey { .. }
                | Act::Move { .. }
                | Act::MotionVote { .. }
                | Act::Stop
                | Act::Evaluate(_),
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
