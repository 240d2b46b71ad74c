//! One experiment: the public machine, made of a roster, rounds and motions.
//!
//! What moves it is in the files that add to [`Experiment`]: `round`, `membership` and `governance`.
//! They reach its parts; its parts know nothing of it.

use serde::{Deserialize, Serialize};

use crate::action::{Act, CreateExperiment};
use crate::admission::Admission;
use crate::id::{Digest, ExperimentName, LearnerId};
use crate::member::Member;
use crate::motions::{Motions, OpenMotion};
use crate::outcome::{Decision, FinishReason};
use crate::parameters::{Model, Parameters};
use crate::rejection::Rejection;
use crate::roster::Roster;
use crate::round::{Phase, Rounds};
use crate::step::{Context, Step};
use crate::version::Version;

/// The state of one experiment, and the rules that change it.
///
/// Driven only by (context, sender, act): the same sequence gives the same decisions on every machine,
/// for ever. It needs nothing of any other experiment, so it can be kept under a key of its own; a
/// [`Contract`](crate::Contract) is a map of them, with one clock and their deadlines. Call
/// [`Experiment::advance`] before each [`Experiment::apply`], with the same context, and give both
/// times that never run backwards (R30).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Experiment {
    pub(crate) name: ExperimentName,
    /// What it was created under, and follows whatever the ledger does since.
    pub(crate) version: Version,
    pub(crate) creator: LearnerId,
    pub(crate) parameters: Parameters,
    pub(crate) plan: Option<Digest>,
    pub(crate) model: Model,
    pub(crate) roster: Roster,
    pub(crate) rounds: Rounds,
    pub(crate) motions: Motions,
}

impl Experiment {
    /// A new experiment, without members, under this version of the rules.
    ///
    /// That the name is free (R3) is for the caller to see to.
    ///
    /// # Errors
    /// R2, if the rules, the invitation or the model break a bound.
    pub fn create(
        version: Version,
        name: ExperimentName,
        creator: LearnerId,
        create: &CreateExperiment,
    ) -> Result<Self, Rejection> {
        let CreateExperiment { parameters, admission, model, plan } = create;
        parameters.check(model).map_err(Rejection::InvalidParameters)?;
        admission.check(parameters).map_err(Rejection::InvalidParameters)?;

        Ok(Self {
            name,
            version,
            creator,
            parameters: parameters.clone(),
            plan: *plan,
            model: model.clone(),
            roster: Roster::new(admission),
            rounds: Rounds::new(),
            motions: Motions::default(),
        })
    }

    /// Applies one act of `sender`.
    ///
    /// # Errors
    /// The first broken rule, in the order [`Rejection`] declares them; the state is unchanged.
    pub fn apply(
        &mut self,
        context: Context,
        sender: LearnerId,
        what: &Act,
    ) -> Result<Vec<Decision>, Rejection> {
        // Everything that can be refused is checked before anything is changed: each of these returns
        // an error only from a state that it has not touched.
        if let Act::Create(_) = what {
            return Err(Rejection::ExperimentExists);
        }
        self.check_live()?;
        let mut step = Step::new(context);
        match what {
            Act::Create(_) => {}
            Act::Join { term } => self.join(&mut step, sender, *term)?,
            Act::Leave { term } => self.leave(&mut step, sender, *term)?,
            Act::ReplaceKey { to } => self.replace_key(sender, *to)?,
            Act::Resume { round } => self.resume(&mut step, sender, *round)?,
            Act::Propose(proposal) => self.propose(&mut step, sender, proposal)?,
            Act::Pass { round, exhausted } => self.pass(&mut step, sender, *round, *exhausted)?,
            Act::Vote(vote) => self.vote(&mut step, sender, vote)?,
            Act::Commit(commit) => self.commit(&mut step, sender, commit)?,
            Act::Reveal(reveal) => self.reveal(&mut step, sender, reveal)?,
            Act::Move { number, motion } => self.make_motion(&mut step, sender, *number, motion)?,
            Act::MotionVote { number, approve } => {
                self.vote_on_motion(&mut step, sender, *number, *approve)?;
            }
            Act::Stop => self.stop(&mut step, sender)?,
        }
        Ok(step.decisions)
    }

    /// R13, R47. Closes what is due, soonest first; a round before a motion of the same time.
    pub fn advance(&mut self, context: Context) -> Vec<Decision> {
        let mut step = Step::new(context);
        // What closes may open something, but its deadline lies after now, so this ends.
        while let Some(deadline_ms) = self.deadline_ms()
            && deadline_ms <= step.now_ms()
        {
            if self.rounds.deadline_ms() == Some(deadline_ms) {
                self.expire_round(&mut step);
            } else {
                self.expire_motion(&mut step, deadline_ms);
            }
        }
        step.decisions
    }

    /// When the experiment must be advanced next; `None` if time alone changes nothing.
    pub fn deadline_ms(&self) -> Option<u64> {
        match (self.rounds.deadline_ms(), self.motions.deadline_ms()) {
            (Some(round_ms), Some(motion_ms)) => Some(round_ms.min(motion_ms)),
            (round_ms, motion_ms) => round_ms.or(motion_ms),
        }
    }

    /// Its name.
    pub fn name(&self) -> &ExperimentName {
        &self.name
    }

    /// The version of the rules that it follows.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Who created it.
    pub fn creator(&self) -> LearnerId {
        self.creator
    }

    /// Its rules.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The digest of the plan it was created from, if it was.
    pub fn plan(&self) -> Option<Digest> {
        self.plan
    }

    /// Who may join now: what was created, and what the members have decided since.
    pub fn admission(&self) -> Admission {
        self.roster.admission()
    }

    /// The global model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The last opened round; 0 before the first.
    pub fn round(&self) -> u64 {
        self.rounds.current
    }

    /// Where it stands.
    pub fn phase(&self) -> &Phase {
        &self.rounds.phase
    }

    /// What is known of a learner; `None` if it never joined.
    pub fn member(&self, learner: LearnerId) -> Option<&Member> {
        self.roster.member(learner)
    }

    /// Everyone who is, will be or was a member, by key.
    pub fn members(&self) -> impl ExactSizeIterator<Item = (LearnerId, &Member)> {
        self.roster.members()
    }

    /// The members that take part in the present round, in joining order.
    pub fn seated(&self) -> impl ExactSizeIterator<Item = LearnerId> + '_ {
        self.roster.seats().values().copied()
    }

    /// The members that take part and have turns to propose (R43), with their seats, in joining order.
    pub fn proposers(&self) -> impl Iterator<Item = (u64, LearnerId)> + '_ {
        self.roster.proposers()
    }

    /// The votes that those who take part have together.
    pub fn weight(&self) -> u32 {
        self.roster.weight()
    }

    /// The open motions, by number.
    pub fn motions(&self) -> impl ExactSizeIterator<Item = (u64, &OpenMotion)> {
        self.motions.open.iter().map(|(number, motion)| (*number, motion))
    }

    /// The number of the last motion; 0 before the first.
    pub fn last_motion(&self) -> u64 {
        self.motions.last
    }

    /// R5.
    fn check_live(&self) -> Result<(), Rejection> {
        match self.rounds.phase {
            Phase::Finished(_) => Err(Rejection::ExperimentFinished),
            Phase::Waiting | Phase::Paused(_) | Phase::Proposing { .. } | Phase::Voting { .. } => {
                Ok(())
            }
        }
    }

    /// R29.
    fn stop(&mut self, step: &mut Step, sender: LearnerId) -> Result<(), Rejection> {
        // Before anybody takes part, nobody else could.
        let untouched = self.rounds.current == 0 && self.roster.seats().is_empty();
        if sender != self.creator || !(self.parameters.creator_may_stop || untouched) {
            return Err(Rejection::NotCreator);
        }

        self.finish(step, FinishReason::Stopped);
        Ok(())
    }

    /// R27, R29, R38, R48. Nothing changes it any more.
    pub(crate) fn finish(&mut self, step: &mut Step, reason: FinishReason) {
        self.rounds.phase = Phase::Finished(reason);
        // Open motions would have deadlines, and nothing is due any more.
        self.motions.open.clear();
        step.push(Decision::Finished {
            reason,
            rounds: self.rounds.current,
            model: self.model.digest,
        });
    }
}
