//! One experiment: the public machine, made of a roster, rounds and motions.
//!
//! What moves it is in the files that add to [`Experiment`]: `round`, `membership` and `governance`.
//! Here is what belongs to none of them: creating, ending, and evaluations.
//! They reach its parts; its parts know nothing of it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::action::{Act, CreateExperiment, Motion};
use crate::admission::Admission;
use crate::draw::{Draw, Seed};
use crate::evaluation::Evaluation;
use crate::id::{Digest, ExperimentName, LearnerId};
use crate::member::{Member, Seat};
use crate::motions::{Electorate, Motions, OpenMotion};
use crate::name::MemberName;
use crate::outcome::{Decision, FinishReason};
use crate::parameters::{Model, Parameters};
use crate::rejection::Rejection;
use crate::roster::Roster;
use crate::round::{Phase, Rounds};
use crate::step::{Context, Step};
use crate::terms::terms;
use crate::version::{Version, v2};

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
    /// What it was created under, or its members have adopted; it follows that whatever the ledger does.
    pub(crate) version: Version,
    pub(crate) creator: LearnerId,
    /// The key that created it, whatever key its creator has now.
    pub(crate) created_by: LearnerId,
    pub(crate) created_ms: u64,
    pub(crate) parameters: Parameters,
    pub(crate) plan: Option<Digest>,
    pub(crate) model: Model,
    /// Every model that was the global one (R60).
    pub(crate) models: BTreeSet<Digest>,
    /// What [`terms`] gives for all that: kept, because everybody who joins is to name it.
    pub(crate) terms: Digest,
    pub(crate) roster: Roster,
    pub(crate) rounds: Rounds,
    pub(crate) motions: Motions,
    /// How often who is no member has changed its key, by its present one (R61).
    pub(crate) keys_replaced: BTreeMap<LearnerId, u32>,
}

impl Experiment {
    /// A new experiment, without members, under the version of the rules that the ledger follows.
    ///
    /// That the name is free (R3), and that its creator may have another (R54), is for the caller to see
    /// to.
    ///
    /// # Errors
    /// R52, if it is made for another version; R51, if it has what that version has not; R2, if the
    /// rules, the invitation or the model break a bound.
    pub fn create(
        context: Context,
        name: ExperimentName,
        creator: LearnerId,
        create: &CreateExperiment,
    ) -> Result<Self, Rejection> {
        let CreateExperiment { version: meant, parameters, admission, model, plan } = create;
        let version = context.version;
        if *meant != version.number() {
            return Err(Rejection::OtherVersion { current: version.number() });
        }
        let needed = parameters.needs().max(admission.needs());
        if needed > version {
            return Err(Rejection::NotInVersion { needed: needed.number() });
        }
        parameters.check(version, model).map_err(Rejection::InvalidParameters)?;
        admission.check(version, parameters).map_err(Rejection::InvalidParameters)?;

        let created_ms = context.at.after(0).now_ms;
        let seed = Seed::first(&context.ledger, &name);
        Ok(Self {
            name,
            version,
            creator,
            created_by: creator,
            created_ms,
            parameters: parameters.clone(),
            plan: *plan,
            model: model.clone(),
            models: BTreeSet::from([model.digest]),
            terms: terms(version, creator, parameters, admission),
            roster: Roster::new(admission),
            rounds: Rounds::new(created_ms, seed),
            motions: Motions::default(),
            keys_replaced: BTreeMap::new(),
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
        self.check_known(what)?;
        self.check_live(what)?;
        let mut step = Step::new(context);
        match what {
            Act::Create(_) => {}
            Act::Join(join) => self.join(&mut step, sender, join)?,
            Act::Leave { term, renounce } => self.leave(&mut step, sender, *term, *renounce)?,
            Act::ReplaceKey { to } => self.replace_key(sender, *to)?,
            Act::Resume { round } => self.resume(&mut step, sender, *round)?,
            Act::Propose(proposal) => self.propose(&mut step, sender, proposal)?,
            Act::Pass { round, exhausted, .. } => {
                self.pass(&mut step, sender, *round, *exhausted)?;
            }
            Act::Vote(vote) => self.vote(&mut step, sender, vote)?,
            Act::Commit(commit) => self.commit(&mut step, sender, commit)?,
            Act::Reveal(reveal) => self.reveal(&mut step, sender, reveal)?,
            Act::Move { number, motion } => self.make_motion(&mut step, sender, *number, motion)?,
            Act::MotionVote { number, approve } => {
                self.vote_on_motion(&mut step, sender, *number, *approve)?;
            }
            Act::Stop => self.stop(&mut step, sender)?,
            Act::Evaluate(evaluation) => self.evaluate(sender, evaluation)?,
            Act::Update(update) => self.update(&mut step, sender, update)?,
            Act::CommitUpdate(commit) => self.commit_update(&mut step, sender, commit)?,
            Act::RevealUpdate(reveal) => self.reveal_update(&mut step, sender, reveal)?,
            Act::Have { round, held } => self.have(&mut step, sender, *round, *held)?,
            Act::MergeVote(vote) => self.vote_on_merges(&mut step, sender, vote)?,
            Act::RevealMergeVote(reveal) => self.reveal_merge_vote(&mut step, sender, reveal)?,
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

    /// The key that created it, whatever key its creator has now (R54).
    pub fn created_by(&self) -> LearnerId {
        self.created_by
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

    /// The digest of the version, creator, rules and admission: what who joins agrees to (R53).
    pub fn terms(&self) -> Digest {
        self.terms
    }

    /// What a learner is called (R64).
    pub fn name_of(&self, learner: LearnerId) -> Option<&MemberName> {
        self.roster.name(learner)
    }

    /// The votes of all that may join or are members, whether they take part or not: what motions are
    /// counted over (R55). Of those who take part, where anyone may join.
    pub fn governing_weight(&self) -> u32 {
        if self.roster.is_open() { self.roster.weight() } else { self.roster.admitted_weight() }
    }

    /// Whether a learner has a vote on an open motion (R46, R55) and has not cast it.
    pub fn may_vote_on(&self, number: u64, learner: LearnerId) -> bool {
        let Some(open) = self.motions.open.get(&number) else { return false };
        let has_vote = match open.electorate {
            Electorate::Seated { below } => {
                let member = self.roster.present(learner).ok();
                member.and_then(|it| it.seat.number()).is_some_and(|seat| seat < below)
            }
            Electorate::Admitted { changes } => {
                self.roster.right(learner).is_some_and(|right| right.since < changes)
            }
        };
        has_vote && open.mover != learner && !open.voters.contains(&learner)
    }

    /// Whether a model is, or was, the global one (R60).
    pub fn was_global(&self, model: Digest) -> bool {
        self.models.contains(&model)
    }

    /// When it was created, in ms of ledger time.
    pub fn created_ms(&self) -> u64 {
        self.created_ms
    }

    /// What the next round's proposer is drawn from, from version 2 on (R63).
    pub fn next_seed(&self) -> Seed {
        self.rounds.draws.next.seed
    }

    /// What the next round's proposer is drawn from, from version 2 on (R63).
    pub fn next_draw(&self) -> Draw {
        self.rounds.draws.next
    }

    /// The global model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The model before the global one, if the last round accepted that; otherwise the global one
    /// itself. The last movement, which the next merges go on with, is from here to there (R74).
    pub fn previous(&self) -> &Model {
        self.rounds.previous.as_ref().unwrap_or(&self.model)
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

    /// R5. What is measured of the final model is worth knowing, and changes nothing (R66).
    fn check_live(&self, what: &Act) -> Result<(), Rejection> {
        match (&self.rounds.phase, what) {
            (Phase::Finished(_), Act::Evaluate(_)) => Ok(()),
            (Phase::Finished(_), _) => Err(Rejection::ExperimentFinished),
            (
                Phase::Waiting
                | Phase::Paused(_)
                | Phase::Proposing { .. }
                | Phase::Voting { .. }
                | Phase::Merged(_),
                _,
            ) => Ok(()),
        }
    }

    /// R51. Whether the version that the experiment follows has what is asked. What it has not would be
    /// read by programs of that version as something else, or not at all.
    fn check_known(&self, what: &Act) -> Result<(), Rejection> {
        // Adopting is how an experiment comes to a later version.
        let adopts = matches!(what, Act::Move { motion: Motion::Adopt(_), .. });
        let needed = what.needs();
        if needed > self.version && !adopts {
            return Err(Rejection::NotInVersion { needed: needed.number() });
        }
        Ok(())
    }

    /// R29, R59.
    fn stop(&mut self, step: &mut Step, sender: LearnerId) -> Result<(), Rejection> {
        let unopened = self.rounds.current == 0;
        let is_creator = sender == self.creator;
        let may = if self.version.rules().stop_idle {
            let now_ms = step.now_ms();
            let is_over = |since_ms: u64| now_ms.saturating_sub(since_ms) >= v2::UNUSED_MS;
            // Whose right it is to come back may rather end it.
            let has_part = is_creator || self.has_part(sender);
            (is_creator && (self.parameters.creator_may_stop || unopened))
                || (unopened && is_over(self.created_ms))
                || (has_part && self.rounds.is_between() && is_over(self.rounds.between_since_ms))
        } else {
            // Before anybody takes part, nobody else could.
            let untouched = unopened && self.roster.seats().is_empty();
            is_creator && (self.parameters.creator_may_stop || untouched)
        };
        if !may {
            return Err(Rejection::NotCreator);
        }

        self.finish(step, FinishReason::Stopped);
        Ok(())
    }

    /// R59. Whether a learner is a member, or may become one again.
    fn has_part(&self, learner: LearnerId) -> bool {
        match self.roster.member(learner).map(|member| member.seat) {
            Some(Seat::Expelled | Seat::Replaced) => false,
            Some(
                Seat::Joining | Seat::Seated(_) | Seat::Leaving(_) | Seat::Left | Seat::Suspended,
            ) => self.roster.admits(learner),
            None => self.roster.right(learner).is_some(),
        }
    }

    /// R66.
    fn evaluate(&mut self, sender: LearnerId, evaluation: &Evaluation) -> Result<(), Rejection> {
        let most = v2::EVALUATIONS_PER_ROUND.saturating_mul(self.rounds.current.saturating_add(1));
        let member = self.roster.present_mut(sender)?;
        if !evaluation.is_valid() {
            return Err(Rejection::EvaluationInvalid);
        }
        let expected = member.evaluations + 1;
        if evaluation.number != expected {
            return Err(Rejection::WrongEvaluation { expected });
        }
        if expected > most {
            return Err(Rejection::TooManyEvaluations);
        }

        member.evaluations = expected;
        Ok(())
    }

    /// R53. What the terms are changes with the version, the creator's key, the parameters and who may
    /// join.
    pub(crate) fn terms_changed(&mut self) {
        self.terms = terms(self.version, self.creator, &self.parameters, &self.roster.admission());
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
