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

use std::collections::BTreeMap;
use std::time::Duration;

use colearn_contracts::{
    Act, Digest, ExperimentName, LearnerId, Parameters, PauseReason, Proposal, Reveal, Scores, Vote,
};

pub use self::duty::{Duty, Ending};
pub use self::event::Event;
pub use self::standing::{Membership, Phase, Stage, Standing};
pub use self::statement::{Statement, Turn};
use crate::learner::{LearnerError, Proposed, Score};

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
    /// Nothing is owed before the experiment exists.
    standing: Option<Standing>,
    /// The weights that the learner holds as its current ones.
    held: Option<Digest>,
    /// What is ready to be submitted.
    ready: Option<Statement>,
    /// What was signed last, before a restart: it is sent again rather than signing another.
    signed: Option<Turn>,
    /// The last sealed ballot, with its salt.
    sealed: Option<Reveal>,
    /// The last round in which this learner's turn was taken, whatever became of it.
    turn_taken: u64,
    /// The rules that open motions would set.
    motions: BTreeMap<u64, Parameters>,
    rules_changed: bool,
    /// Pauses in a row without a proposal in between, and whether this learner has answered the last.
    pauses: u32,
    resumed: bool,
}

impl Participant {
    /// A participant that has seen nothing yet. `held` are the weights that its learner has now;
    /// `signed` and `sealed` what it remembers from before a restart.
    pub fn new(
        me: LearnerId,
        ledger: Digest,
        experiment: ExperimentName,
        held: Option<Digest>,
        (signed, sealed): (Option<Turn>, Option<Reveal>),
    ) -> Self {
        Self {
            me,
            ledger,
            experiment,
            standing: None,
            held,
            ready: None,
            signed,
            sealed,
            turn_taken: 0,
            motions: BTreeMap::new(),
            rules_changed: false,
            pauses: 0,
            resumed: false,
        }
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
        self.standing = Some(standing);
        self.drop_what_came_too_late();
    }

    /// What the learner owes now. The same until something is observed or told.
    pub fn duty(&self) -> Duty {
        let Some(standing) = &self.standing else { return Duty::Wait };
        if let Phase::Finished(reason) = standing.phase {
            let (model, rounds) = (standing.model.clone(), standing.round);
            return Duty::End(Ending::Finished { reason, model, rounds });
        }
        match standing.membership {
            Membership::Replaced(by) => return Duty::End(Ending::KeyReplaced(by)),
            Membership::Unseated(reason) => return Duty::End(Ending::Unseated(reason)),
            Membership::Outside => {
                return Duty::Submit(Statement::new(Act::Join { term: standing.next_term }));
            }
            Membership::Left => return Duty::Wait,
            Membership::Member => {}
        }
        if self.rules_changed {
            return Duty::AskRules;
        }
        if self.held != Some(standing.model.digest) {
            return Duty::Accept(standing.model.clone());
        }
        if let Some(statement) = &self.ready {
            return Duty::Submit(statement.clone());
        }
        self.round_duty(standing)
    }

    /// What the present round asks of a member that has the global model.
    fn round_duty(&self, standing: &Standing) -> Duty {
        let round = standing.round;
        match &standing.phase {
            Phase::Proposing { proposer } if *proposer == self.me && self.turn_taken < round => {
                let turn = Turn::propose(self.experiment.clone(), round);
                match self.signed.as_ref() == Some(&turn) {
                    true => Duty::SubmitAgain(turn),
                    false => Duty::Train { round, cap: standing.cap },
                }
            }
            Phase::Voting { proposer, weights, stage: Stage::Reveal }
                if *proposer != self.me && standing.unrevealed =>
            {
                // Without the salt it can never be revealed: another process with this key committed
                // to it, or the memory is lost.
                match self.sealed_for(round, weights.digest) {
                    Some(reveal) => Duty::Submit(Statement::new(Act::Reveal(reveal.clone()))),
                    None => Duty::Wait,
                }
            }
            Phase::Voting { proposer, weights, stage: stage @ (Stage::Open | Stage::Commit) }
                if *proposer != self.me && standing.votes_from <= round =>
            {
                let turn = Turn::vote(self.experiment.clone(), round, weights.digest);
                if self.signed.as_ref() == Some(&turn) {
                    return Duty::SubmitAgain(turn);
                }
                match self.sealed_for(round, weights.digest) {
                    // Sealed before a restart, but not committed to.
                    Some(reveal) if *stage == Stage::Commit => {
                        Duty::Submit(self.commitment(reveal.clone()))
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
        matches!(&self.duty(), Duty::Submit(statement) if matches!(statement.act, Act::Join { .. }))
    }

    /// Whether it has a vote on what is proposed in the present round, by whomever else.
    pub fn may_vote(&self) -> bool {
        self.standing.as_ref().is_some_and(|standing| {
            standing.membership == Membership::Member && standing.votes_from <= standing.round
        })
    }

    /// Whether a sealed ballot was committed to that cannot be revealed, since what was sealed is not
    /// known here.
    pub fn has_lost_ballot(&self) -> bool {
        self.standing.as_ref().is_some_and(|standing| match &standing.phase {
            Phase::Voting { proposer, weights, stage: Stage::Reveal } => {
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
        let sealed = self.sealed.as_ref();
        sealed.filter(|reveal| reveal.vote.round == round && reveal.vote.weights == weights)
    }

    fn commitment(&self, reveal: Reveal) -> Statement {
        Statement::commit(self.ledger, &self.experiment, self.me, reveal)
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

    /// The learner holds these weights as its current ones.
    pub fn accepted(&mut self, weights: Digest) {
        self.held = Some(weights);
    }

    /// The learner has trained, and scored what came out of it, if anything. What the cap does not
    /// allow is not proposed: the budget is spent. A learner that failed passes its turn.
    pub fn trained(&mut self, round: u64, work: Result<(Proposed, Option<Score>), LearnerError>) {
        let Some(standing) = self.standing.as_ref().filter(|it| it.round == round) else { return };
        let turn = Turn::propose(self.experiment.clone(), round);
        self.ready = Some(match work {
            Ok((proposed, score)) => {
                let scores = score.map_or_else(Scores::default, |score| score.scores());
                let proposed = proposed.within(standing.cap);
                Statement::turn(turn, round, &standing.model, proposed, scores)
            }
            Err(error) => Statement::pass(turn, round, false, Some(error.to_string())),
        });
        self.drop_what_came_too_late();
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
        let Some(standing) = self.standing.as_ref().filter(|it| it.round == round) else {
            return Ok(());
        };
        let Phase::Voting { stage, .. } = standing.phase else { return Ok(()) };
        let (approve, scores) = match score {
            Ok(score) => (score.approve, score.scores()),
            Err(_) => (false, Scores::default()),
        };
        let vote = Vote { round, weights, approve, scores };
        self.ready = Some(match stage {
            Stage::Open => Statement::vote(self.experiment.clone(), vote),
            Stage::Commit | Stage::Reveal => {
                let reveal = Reveal { vote, salt: salt()? };
                self.sealed = Some(reveal.clone());
                self.commitment(reveal)
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
    pub fn set_rules(&mut self, parameters: &Parameters) {
        self.rules_changed = false;
        if let Some(standing) = &mut self.standing {
            standing.set_rules(parameters);
        }
    }

    /// What was owed is recorded. Gives what there is to tell.
    pub fn submitted(&mut self) -> Option<Event> {
        match self.settle()? {
            Submitted::Statement(statement) => statement.told(),
            Submitted::Again(_) => None,
        }
    }

    /// What was owed came too late, or somebody else was faster: nobody's fault, and not tried again.
    pub fn refused(&mut self) {
        self.settle();
    }

    /// What was owed is done with, whatever came of it: no turn is taken twice.
    fn settle(&mut self) -> Option<Submitted> {
        let submitted = match self.duty() {
            Duty::Submit(statement) => Submitted::Statement(statement),
            Duty::SubmitAgain(turn) => Submitted::Again(turn),
            Duty::Accept(_)
            | Duty::Train { .. }
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
                *of == round && matches!(phase, Phase::Proposing { proposer } if *proposer == me)
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
                | Act::Join { .. }
                | Act::Leave { .. }
                | Act::Reveal(_)
                | Act::ReplaceKey { .. }
                | Act::Move { .. }
                | Act::MotionVote { .. }
                | Act::Stop,
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
