//! What happens in one experiment, counted once more: votes, verdicts, motions.

use std::collections::{BTreeMap, BTreeSet};

use colearn_contracts::{
    Act, Admission, Choice, CreateExperiment, Decision, Digest, Experiment, LearnerId, Motion,
    Parameters, Phase, Reason, Tally, Threshold, Verdict, Version, Vote,
};

use super::merged;

/// The votes of one motion.
struct Counted {
    motion: Motion,
    /// Whose vote counts, with its weight.
    electorate: BTreeMap<LearnerId, u32>,
    voted: BTreeSet<LearnerId>,
    approvals: u32,
    rejections: u32,
    /// The version that judges it, and its threshold; none in version 1, where it is that of the day.
    version: Version,
    threshold: Option<Threshold>,
}

/// The experiment as the test itself follows it.
pub(crate) struct Shadow {
    rounds: u64,
    verdicts: BTreeMap<u64, Verdict>,
    /// Who voted in this round, or committed.
    voted: BTreeSet<LearnerId>,
    tally: Tally,
    proposer: Option<LearnerId>,
    proposed: Option<Digest>,
    /// The model in force, and the one that the next merges come from.
    model: Digest,
    previous: Digest,
    /// The merged round that is open, or was last.
    merged: Option<merged::Counted>,
    motions: BTreeMap<u64, Counted>,
    /// The motion that is being made.
    made: Option<Counted>,
    /// What is adopted and has not taken effect.
    adopted: BTreeMap<u64, Motion>,
    /// The rules in force, and their version: changed by motions and by nothing else.
    parameters: Parameters,
    version: Version,
}

/// Whether so many of so many are enough, by fractions.
pub(crate) fn reaches(threshold: Threshold, votes: u32, of: u32) -> bool {
    let share = u128::from(votes) * u128::from(threshold.denominator);
    let needed = u128::from(of) * u128::from(threshold.numerator);
    if threshold.strict && of > 0 { share > needed } else { share >= needed }
}

/// The governance threshold that version 2 counts by.
pub(crate) fn governance(experiment: &Experiment) -> Threshold {
    let half = Threshold { numerator: 1, denominator: 2, strict: true };
    let given = experiment.parameters().governance_threshold;
    given.filter(|it| it.numerator * 2 >= it.denominator).unwrap_or(half)
}

/// Everybody's right to a seat.
pub(crate) fn rights(experiment: &Experiment) -> BTreeMap<LearnerId, u32> {
    let admission = experiment.admission();
    admission.invitations().iter().map(|it| (it.learner, it.weight)).collect()
}

impl Shadow {
    pub(crate) fn new(create: &CreateExperiment) -> Self {
        Self {
            rounds: 0,
            verdicts: BTreeMap::new(),
            voted: BTreeSet::new(),
            tally: Tally::default(),
            proposer: None,
            proposed: None,
            model: create.model.digest,
            previous: create.model.digest,
            merged: None,
            motions: BTreeMap::new(),
            made: None,
            adopted: BTreeMap::new(),
            parameters: create.parameters.clone(),
            version: Version::try_from(create.version).unwrap(),
        }
    }

    /// Whether what it has followed is what the experiment says.
    pub(crate) fn check(&self, experiment: &Experiment) {
        assert_eq!(experiment.parameters(), &self.parameters);
        assert_eq!(experiment.version(), self.version);
        assert_eq!(experiment.model().digest, self.model);
        assert_eq!(experiment.previous().digest, self.previous);
        assert_eq!(experiment.round(), self.rounds);
        assert!(
            experiment.motions().map(|(number, _)| number).eq(self.motions.keys().copied())
                || matches!(experiment.phase(), Phase::Finished(_))
        );
    }

    /// Takes an accepted act, in the state before it.
    pub(crate) fn accepted(&mut self, before: &Experiment, sender: LearnerId, what: &Act) {
        let weight = before.member(sender).map_or(0, |member| member.weight);
        match what {
            Act::Propose(proposal) => {
                assert!(
                    matches!(before.phase(), Phase::Proposing { proposer, .. } if *proposer == sender)
                );
                let seats = before.seated().map(|seated| before.member(seated).unwrap().weight);
                self.tally.electorate = seats.sum::<u32>() - weight;
                (self.proposer, self.proposed) = (Some(sender), Some(proposal.weights.digest));
                let new = !before.was_global(proposal.weights.digest);
                assert!(new || before.version() == Version::V1);
                if let Some(cap) = before.parameters().privacy {
                    let spent = proposal.privacy.as_ref().expect("a statement under a cap");
                    assert!(spent.epsilon_micros <= cap.epsilon_micros);
                }
            }
            Act::Vote(vote) => {
                assert!(self.voted.insert(sender), "voted twice");
                assert_ne!(Some(sender), self.proposer, "voted on its own proposal");
                self.count(vote, weight);
            }
            Act::Commit(_) => {
                assert!(self.voted.insert(sender), "committed twice");
                assert_ne!(Some(sender), self.proposer, "committed on its own proposal");
            }
            Act::Reveal(reveal) => {
                assert!(self.voted.contains(&sender), "revealed what it had not committed to");
                self.count(&reveal.vote, weight);
            }
            Act::ReplaceKey { to } => self.replace_key(sender, *to),
            Act::Move { number, motion } => {
                assert!(!self.motions.contains_key(number));
                self.made = Some(moved(before, sender, motion));
            }
            Act::MotionVote { number, approve } => {
                let motion = self.motions.get_mut(number).expect("an open motion");
                assert!(motion.voted.insert(sender), "voted twice on a motion");
                let weight = motion.electorate[&sender];
                *if *approve { &mut motion.approvals } else { &mut motion.rejections } += weight;
            }
            Act::Update(update) => self.merged().sent(before, sender, update.weights.digest),
            Act::RevealUpdate(reveal) => {
                self.merged().sent(before, sender, reveal.update.weights.digest);
            }
            Act::Have { held, .. } => self.merged().has(sender, weight, *held),
            Act::MergeVote(vote) => {
                assert!(self.voted.insert(sender), "voted twice");
                self.merged().voted(sender, weight, vote);
            }
            Act::RevealMergeVote(reveal) => {
                assert!(self.voted.contains(&sender), "revealed what it had not committed to");
                self.merged().voted(sender, weight, &reveal.vote);
            }
            Act::Pass { .. } => {
                if let Some(merged) = &self.merged {
                    merged.passed(sender);
                }
            }
            Act::Create(_)
            | Act::Join(_)
            | Act::Leave { .. }
            | Act::CommitUpdate(_)
            | Act::Resume { .. }
            | Act::Stop
            | Act::Evaluate(_) => {}
        }
    }

    fn merged(&mut self) -> &mut merged::Counted {
        self.merged.as_mut().expect("a merged round")
    }

    fn count(&mut self, vote: &Vote, weight: u32) {
        match vote.choice {
            Choice::Approve => self.tally.approvals += weight,
            Choice::Reject => self.tally.rejections += weight,
            Choice::Abstain => self.tally.abstentions += weight,
        }
        if vote.reason == Some(Reason::Unavailable) {
            self.tally.unavailable += weight;
        }
    }

    fn replace_key(&mut self, from: LearnerId, to: LearnerId) {
        let rename = |set: &mut BTreeSet<LearnerId>| {
            if set.remove(&from) {
                set.insert(to);
            }
        };
        rename(&mut self.voted);
        if let Some(merged) = &mut self.merged {
            merged.replace_key(from, to);
        }
        if self.proposer == Some(from) {
            self.proposer = Some(to);
        }
        for motion in self.motions.values_mut() {
            rename(&mut motion.voted);
            if let Some(weight) = motion.electorate.remove(&from) {
                motion.electorate.insert(to, weight);
            }
        }
    }

    /// Takes a decision.
    pub(crate) fn decided(&mut self, decision: &Decision) {
        match decision {
            Decision::RoundOpened { round, .. } => {
                assert_eq!(*round, self.rounds + 1, "rounds are counted");
                self.rounds = *round;
                self.voted.clear();
                (self.tally, self.proposer, self.proposed) = (Tally::default(), None, None);
                self.merged = None;
                assert!(self.parameters.merging.is_none());
            }
            Decision::TrainingOpened { round, participants, checkers, base, previous, .. } => {
                assert_eq!(*round, self.rounds + 1, "rounds are counted");
                self.rounds = *round;
                self.voted.clear();
                (self.tally, self.proposer, self.proposed) = (Tally::default(), None, None);
                assert_eq!((*base, *previous), (self.model, self.previous));
                self.merged = Some(merged::Counted::opened(participants, checkers));
                assert!(self.parameters.merging.is_some());
            }
            Decision::GatheringOpened { updates, .. } => self.merged().gathering(updates),
            Decision::MergeVotingOpened { updates, electorate, .. } => {
                let merging = self.parameters.merging.expect("merged rounds");
                self.merged().voting(updates, *electorate, merging.gather_deadline_ms.is_some());
            }
            Decision::MergeDecided { .. } => {
                let rules = self.parameters.clone();
                self.tally = self.merged().decided(&rules, decision);
            }
            Decision::RoundClosed {
                round,
                verdict,
                approvals,
                rejections,
                abstentions,
                unavailable,
                electorate,
                model,
            } => {
                assert_eq!(self.verdicts.insert(*round, *verdict), None, "one verdict a round");
                let told = Tally {
                    electorate: *electorate,
                    approvals: *approvals,
                    rejections: *rejections,
                    abstentions: *abstentions,
                    unavailable: *unavailable,
                };
                assert_eq!(told, self.tally, "the tally is that of the votes");
                self.closed(*verdict);
                assert_eq!(*model, self.model, "the model changes only by acceptance");
            }
            Decision::MotionOpened { number, electorate, .. } => {
                let made = self.made.take().expect("a motion that somebody made");
                assert_eq!(*electorate, made.electorate.values().sum::<u32>());
                self.motions.insert(*number, made);
            }
            Decision::MotionDecided { number, adopted, approvals, rejections, electorate } => {
                let motion = self.motions.remove(number).expect("an open motion");
                let of = motion.electorate.values().sum::<u32>();
                assert_eq!((*approvals, *rejections), (motion.approvals, motion.rejections));
                assert_eq!(*electorate, of);
                let today = self.parameters.governance(Version::V1);
                let met = reaches(motion.threshold.unwrap_or(today), motion.approvals, of);
                // What lapses (R69) may have had enough, by a threshold that was never asked.
                let may_have_lapsed = motion.version == Version::V1 && !*adopted;
                assert!(*adopted == met || may_have_lapsed);
                if *adopted {
                    self.adopted.insert(*number, motion.motion);
                }
            }
            Decision::MotionTookEffect { number } => {
                let motion = self.adopted.remove(number).expect("an adopted motion");
                self.take_effect(motion);
            }
            Decision::VotingOpened { .. }
            | Decision::RevealOpened { .. }
            | Decision::Waiting { .. }
            | Decision::Paused { .. }
            | Decision::Suspended { .. }
            | Decision::Finished { .. } => {}
        }
    }

    fn take_effect(&mut self, motion: Motion) {
        match motion {
            Motion::SetParameters(parameters) => self.parameters = *parameters,
            Motion::Adopt(version) => self.version = self.version.max(version),
            Motion::Admit(_) | Motion::Suspend(_) | Motion::Expel(_) | Motion::Stop => {}
        }
        if self.version > Version::V1 {
            let given = self.parameters.governance_threshold;
            self.parameters.governance_threshold =
                given.filter(|it| it.numerator * 2 >= it.denominator);
        }
    }

    fn closed(&mut self, verdict: Verdict) {
        let before = self.model;
        self.close(verdict);
        self.previous = if verdict == Verdict::Accepted { before } else { self.model };
    }

    fn close(&mut self, verdict: Verdict) {
        if let Some(merged) = &self.merged {
            match merged.verdict {
                Some(judged) => assert_eq!(verdict, judged),
                None => assert!(matches!(verdict, Verdict::Expired | Verdict::Passed)),
            }
            self.model = merged.accepted.unwrap_or(self.model);
            return;
        }
        let Tally { approvals, unavailable, electorate, .. } = self.tally;
        let lacking = unavailable * 2 > electorate;
        let met = reaches(self.parameters.threshold, approvals, electorate);
        match (verdict, self.proposed) {
            (Verdict::Accepted, Some(proposed)) => {
                assert!(met && !lacking);
                self.model = proposed;
            }
            (Verdict::Rejected, Some(_)) => assert!(!met && !lacking),
            (Verdict::Expired, Some(_)) => assert!(lacking),
            (Verdict::Expired | Verdict::Passed, None) => assert_eq!(electorate, 0),
            (Verdict::NoAgreement, _)
            | (Verdict::Passed, Some(_))
            | (Verdict::Accepted | Verdict::Rejected, None) => {
                panic!("{verdict:?} of {:?}", self.proposed)
            }
        }
    }
}

/// A motion's electorate and what judges it, as it is made.
fn moved(before: &Experiment, sender: LearnerId, motion: &Motion) -> Counted {
    let version = match motion {
        Motion::Adopt(version) => *version,
        _ => before.version(),
    };
    let seated = before.seated().map(|it| (it, before.member(it).unwrap().weight));
    let constitution = version > Version::V1;
    let mut electorate = match constitution && before.admission() != Admission::Open {
        true => rights(before),
        false => seated.collect(),
    };
    let mut approvals = electorate[&sender];
    if !constitution {
        electorate.remove(&sender);
        approvals = 0;
    }
    let voted = BTreeSet::from([sender]);
    let threshold = constitution.then(|| governance(before));
    let motion = motion.clone();
    Counted { motion, electorate, voted, approvals, rejections: 0, version, threshold }
}
