//! The story of one experiment, told from its actions and outcomes.

mod membership;
mod motions;

use std::collections::{BTreeMap, BTreeSet};

use colearn_contracts::{
    Act, Action, Choice, Decision, Digest, Evaluation, ExperimentName, FinishReason, Invitation,
    LearnerId, MemberName, Merge, MergeVote, Merges, Motion, Outcome, Parameters, PrivacySpent,
    Reason, Scores, Sent, Update, Verdict, Vote,
};
use serde::Serialize;

use self::membership::Membership;
pub use self::membership::Stay;
pub use self::motions::{MotionResult, Moved};
use crate::json;
use crate::record::{DecodedEntry, Record};
use crate::words::Word as _;

/// Everything that happened in an experiment, round by round.
#[derive(Clone, Debug)]
pub struct History {
    /// The experiment.
    pub experiment: ExperimentName,
    /// Everyone who ever joined, in that order.
    pub learners: Vec<LearnerId>,
    /// The rounds, in order; the last may be open.
    pub rounds: Vec<Round>,
    /// Why it ended, if it did.
    pub finished: Option<FinishReason>,
    /// What each learner has stated of its privacy budget.
    pub privacy: BTreeMap<LearnerId, Privacy>,
    /// What learners are called, or were last, by their invitations or themselves.
    pub names: BTreeMap<LearnerId, MemberName>,
    /// What members have measured of models on their own data, in order.
    pub evaluations: Vec<Evaluated>,
    /// Who has or had each name: it is nobody else's (R64).
    bearers: BTreeMap<MemberName, LearnerId>,
    /// What was moved, in order.
    pub motions: Vec<Moved>,
    /// The ledger's time when each learner was last heard of, in ms since 1970.
    pub last_seen_ms: BTreeMap<LearnerId, u64>,
    membership: Membership,
    /// The rules in force.
    rules: Option<Parameters>,
    /// Keys that somebody goes on under another from: what was moved for them gives nobody anything.
    replaced: BTreeSet<LearnerId>,
    /// The ledger's time, in ms since 1970.
    now_ms: u64,
}

/// What a member has measured of a model.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Evaluated {
    /// Who.
    pub learner: LearnerId,
    /// The last opened round then; 0 before the first.
    pub round: u64,
    /// What.
    pub evaluation: Evaluation,
}

/// What a learner has stated of its privacy budget.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Privacy {
    /// Proposals and updates with a statement.
    pub proposals: u32,
    /// The last statement.
    pub spent: Option<PrivacySpent>,
    /// Whether it has declared its budget spent.
    pub exhausted: bool,
}

/// One round.
#[derive(Clone, Debug)]
pub struct Round {
    /// Counted from 1.
    pub number: u64,
    /// Whose turn it was; `None` of a merged round.
    pub proposer: Option<LearnerId>,
    /// What there is to tell of a merged round.
    pub merged: Option<MergedRound>,
    /// The global model it began with.
    pub base: Digest,
    /// What was proposed, and what the proposer measured.
    pub proposal: Option<(Digest, Scores)>,
    /// Who voted how. On merges: from when it is decided which, for it is who named the pair that was
    /// agreed on and can bear the one that was accepted, or any of them if none was.
    pub ballots: BTreeMap<LearnerId, CastVote>,
    /// Why the proposer passed, if it did and said so.
    pub passed: Option<Reason>,
    /// When it was opened, in ms since 1970.
    pub opened_ms: u64,
    /// When voting began, in ms since 1970; `None` if it has not.
    pub voting_ms: Option<u64>,
    /// When each learner voted, or committed to a vote, in ms since 1970.
    pub voted_ms: BTreeMap<LearnerId, u64>,
    /// When it was closed, in ms since 1970.
    pub closed_ms: Option<u64>,
    /// The result; `None` while the round is open, or if the experiment was stopped in it.
    pub result: Option<RoundResult>,
}

/// What happened in a merged round.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MergedRound {
    /// Who was to train, in joining order.
    pub participants: Vec<LearnerId>,
    /// Who had to compute the merges; nobody where all did.
    pub checkers: Vec<LearnerId>,
    /// The model before the base, or the base itself.
    pub previous: Digest,
    /// What was sent, and what its sender measured.
    pub updates: BTreeMap<LearnerId, (Digest, Scores)>,
    /// Who passed, and why if it said so.
    pub passed: BTreeMap<LearnerId, Option<Reason>>,
    /// Which updates were asked for, in order, where members were asked what they hold.
    pub gathering: Option<Vec<Sent>>,
    /// Which of those each member said that it holds: a bit for each, the lowest first.
    pub held: BTreeMap<LearnerId, u64>,
    /// What was merged, in the order of that; `None` before that is certain.
    pub merging: Option<Vec<Sent>>,
    /// Who judged the merges how.
    pub votes: BTreeMap<LearnerId, MergeVote>,
    /// What came of it.
    pub decided: Option<MergeResult>,
}

/// How voting on merges ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MergeResult {
    /// The pair that was agreed on, if one was.
    pub agreed: Option<Merges>,
    /// The votes that named the pair that the most named.
    pub named: u32,
    /// Of those, the votes that could bear the open merge.
    pub bear_open: u32,
    /// Those that could bear the guarded one.
    pub bear_guarded: u32,
    /// Those to whom the guarded one was better.
    pub prefer_guarded: u32,
    /// Which was accepted, if one was.
    pub accepted: Option<Merge>,
}

impl MergedRound {
    /// Whether a learner's update was merged.
    pub fn merges(&self, learner: LearnerId) -> bool {
        self.merging.iter().flatten().any(|sent| sent.learner == learner)
    }

    /// Who named another pair of merges than was agreed on, where one was.
    pub fn named_another(&self) -> Vec<LearnerId> {
        let agreed = self.decided.and_then(|decided| decided.agreed);
        let other = |vote: &MergeVote| {
            !vote.is_abstention() && agreed.is_some_and(|agreed| vote.merges != agreed)
        };
        self.votes.iter().filter(|(_, vote)| other(vote)).map(|(learner, _)| *learner).collect()
    }

    /// The mean of the vote scores and of the test scores of one of the merges: by those who named the pair
    /// that was agreed on, or by all if none was.
    pub fn mean_scores(&self, which: Merge) -> (Option<f64>, Option<f64>) {
        let agreed = self.decided.and_then(|decided| decided.agreed);
        let counted = self.votes.values();
        let counted = counted.filter(|vote| agreed.is_none_or(|agreed| vote.merges == agreed));
        means(counted.map(|vote| match which {
            Merge::Open => vote.scores_open,
            Merge::Guarded => vote.scores_guarded,
        }))
    }

    fn replace_key(&mut self, from: LearnerId, to: LearnerId) {
        let sent = self.merging.iter_mut().flatten().map(|sent| &mut sent.learner);
        let asked = self.gathering.iter_mut().flatten().map(|sent| &mut sent.learner);
        let learners = self.participants.iter_mut().chain(&mut self.checkers);
        let learners = learners.chain(sent).chain(asked);
        learners.filter(|learner| **learner == from).for_each(|learner| *learner = to);
        rename(&mut self.updates, from, to);
        rename(&mut self.passed, from, to);
        rename(&mut self.held, from, to);
        rename(&mut self.votes, from, to);
    }

    /// As JSON for scripts.
    pub fn to_json(&self) -> serde_json::Value {
        let keys = |learners: &[LearnerId]| -> Vec<String> {
            learners.iter().map(ToString::to_string).collect()
        };
        let updates = self.updates.iter().map(|(learner, (weights, scores))| {
            let update = serde_json::json!({
                "weights": weights.to_string(),
                "scores": scores_json(*scores),
                "merged": self.merges(*learner),
            });
            (learner.to_string(), update)
        });
        let votes = self.votes.iter().map(|(learner, vote)| {
            let vote = serde_json::json!({
                "merges": (!vote.is_abstention()).then(|| json::merges(&vote.merges)),
                "bear_open": vote.bear_open,
                "bear_guarded": vote.bear_guarded,
                "prefer_guarded": vote.prefer_guarded,
                "reason": vote.reason.map(|it| it.word()),
                "scores_open": scores_json(vote.scores_open),
                "scores_guarded": scores_json(vote.scores_guarded),
            });
            (learner.to_string(), vote)
        });
        let passed = self.passed.iter().map(|(learner, reason)| {
            (learner.to_string(), reason.map(|reason| reason.word()).into())
        });
        let held = self.held.iter().map(|(learner, bits)| {
            let sent = self.gathering.iter().flatten().enumerate();
            let held = sent.filter(|(at, _)| bits >> at & 1 == 1);
            let held = held.map(|(_, sent)| sent.learner.to_string().into());
            (learner.to_string(), serde_json::Value::Array(held.collect()))
        });
        let means = |which| {
            let (vote, test) = self.mean_scores(which);
            serde_json::json!({ "vote_score": vote, "test_score": test })
        };
        serde_json::json!({
            "participants": keys(&self.participants),
            "checkers": keys(&self.checkers),
            "previous": self.previous.to_string(),
            "updates": updates.collect::<serde_json::Map<_, _>>(),
            "passed": passed.collect::<serde_json::Map<_, _>>(),
            "held": self.gathering.as_ref().map(|_| held.collect::<serde_json::Map<_, _>>()),
            "named_another": keys(&self.named_another()),
            "mean_open": means(Merge::Open),
            "mean_guarded": means(Merge::Guarded),
            "votes": votes.collect::<serde_json::Map<_, _>>(),
            "agreed": self.decided.and_then(|it| it.agreed).as_ref().map(json::merges),
            "named": self.decided.map(|it| it.named),
            "bear_open": self.decided.map(|it| it.bear_open),
            "bear_guarded": self.decided.map(|it| it.bear_guarded),
            "prefer_guarded": self.decided.map(|it| it.prefer_guarded),
            "accepted": self.decided.and_then(|it| it.accepted).map(|it| it.word()),
        })
    }

    /// A vote on the merges, as one on what was decided.
    fn cast(vote: &MergeVote, result: &MergeResult) -> CastVote {
        let bears = match result.accepted {
            Some(Merge::Open) => vote.bear_open,
            Some(Merge::Guarded) => vote.bear_guarded,
            None => vote.bear_open || vote.bear_guarded,
        };
        let choice = match vote.is_abstention() {
            true => Choice::Abstain,
            false if bears && result.agreed == Some(vote.merges) => Choice::Approve,
            false => Choice::Reject,
        };
        let scores = match result.accepted {
            // What it measured are other models.
            _ if result.agreed.is_some_and(|agreed| agreed != vote.merges) => Scores::default(),
            Some(Merge::Guarded) => vote.scores_guarded,
            Some(Merge::Open) | None => vote.scores_open,
        };
        CastVote { choice, reason: vote.reason, scores }
    }
}

/// A cast vote.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CastVote {
    /// For, against, or neither.
    pub choice: Choice,
    /// Why not, if it said so.
    pub reason: Option<Reason>,
    /// What the voter measured.
    pub scores: Scores,
}

/// How a round ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RoundResult {
    /// The verdict.
    pub verdict: Verdict,
    /// Votes for.
    pub approvals: u32,
    /// Votes against.
    pub rejections: u32,
    /// Votes for neither.
    pub abstentions: u32,
    /// How many of those could not get the proposal's bytes.
    pub unavailable: u32,
    /// How many could vote.
    pub electorate: u32,
    /// The global model afterwards.
    pub model: Digest,
}

impl RoundResult {
    /// How many could vote and did not.
    pub fn absent(&self) -> u32 {
        self.electorate.saturating_sub(self.approvals + self.rejections + self.abstentions)
    }
}

impl Round {
    /// One that has just begun.
    fn new(number: u64, base: Digest, opened_ms: u64) -> Self {
        Self {
            opened_ms,
            voting_ms: None,
            voted_ms: BTreeMap::new(),
            closed_ms: None,
            number,
            proposer: None,
            merged: None,
            base,
            proposal: None,
            ballots: BTreeMap::new(),
            passed: None,
            result: None,
        }
    }

    /// Whether there was something to vote on.
    pub fn was_voted_on(&self) -> bool {
        self.proposal.is_some() || self.merged.as_ref().is_some_and(|it| it.merging.is_some())
    }

    /// It is certain what becomes of the merges, and with it what each vote was for.
    fn decide(&mut self, result: MergeResult) {
        let Some(merged) = &mut self.merged else { return };
        merged.decided = Some(result);
        let cast = |(learner, vote): (&LearnerId, &MergeVote)| {
            (*learner, MergedRound::cast(vote, &result))
        };
        self.ballots = merged.votes.iter().map(cast).collect();
    }

    /// What a learner measured of this round's proposal, or of the merge that was accepted.
    pub fn scores_of(&self, learner: LearnerId) -> Option<Scores> {
        if Some(learner) == self.proposer {
            return self.proposal.map(|(_, scores)| scores);
        }
        self.ballots.get(&learner).map(|ballot| ballot.scores)
    }

    /// The mean of the vote scores and of the test scores that were recorded, proposer included.
    pub fn mean_scores(&self) -> (Option<f64>, Option<f64>) {
        let own = self.proposal.map(|(_, scores)| scores);
        means(own.into_iter().chain(self.ballots.values().map(|ballot| ballot.scores)))
    }

    /// As JSON for scripts.
    pub fn to_json(&self) -> serde_json::Value {
        let (vote_score, test_score) = self.mean_scores();
        let votes: serde_json::Map<String, serde_json::Value> = self
            .ballots
            .iter()
            .map(|(learner, ballot)| {
                let mut vote = scores_json(ballot.scores);
                vote["choice"] = ballot.choice.word().into();
                vote["approve"] = (ballot.choice == Choice::Approve).into();
                vote["reason"] = ballot.reason.map(|it| it.word()).into();
                (learner.to_string(), vote)
            })
            .collect();
        let voted_ms = self.voted_ms.iter().map(|(learner, at_ms)| (learner.to_string(), *at_ms));
        let voted_ms: BTreeMap<String, u64> = voted_ms.collect();
        serde_json::json!({
            "round": self.number,
            "proposer": self.proposer.map(|it| it.to_string()),
            "base": self.base.to_string(),
            "weights": self.proposal.map(|(digest, _)| digest.to_string()),
            "proposer_scores": self.proposal.map(|(_, own)| scores_json(own)),
            "votes": votes,
            "verdict": self.result.map(|result| result.verdict.word()),
            "approvals": self.result.map(|result| result.approvals),
            "rejections": self.result.map(|result| result.rejections),
            "abstentions": self.result.map(|result| result.abstentions),
            "unavailable": self.result.map(|result| result.unavailable),
            "merged": self.merged.as_ref().map(MergedRound::to_json),
            "pass_reason": self.passed.map(|reason| reason.word()),
            "electorate": self.result.map(|result| result.electorate),
            "mean_vote_score": vote_score,
            "mean_test_score": test_score,
            "opened_ms": self.opened_ms,
            "voting_ms": self.voting_ms,
            "voted_ms": voted_ms,
            "closed_ms": self.closed_ms,
        })
    }
}

/// The means of vote scores and of test scores.
fn means(scores: impl Iterator<Item = Scores> + Clone) -> (Option<f64>, Option<f64>) {
    let vote = mean(scores.clone().filter_map(|scores| scores.vote));
    (vote, mean(scores.filter_map(|scores| scores.test)))
}

/// What is kept under one key is kept under another.
fn rename<T>(of: &mut BTreeMap<LearnerId, T>, from: LearnerId, to: LearnerId) {
    if let Some(it) = of.remove(&from) {
        of.insert(to, it);
    }
}

/// The mean of micro-units, as a number. Summed as integers, so that the order does not matter.
fn mean(values: impl Iterator<Item = i64>) -> Option<f64> {
    let (mut sum, mut count) = (0_i128, 0_u32);
    for value in values {
        sum += i128::from(value);
        count += 1;
    }
    (count > 0).then(|| sum as f64 / f64::from(count) / 1e6)
}

fn scores_json(scores: Scores) -> serde_json::Value {
    serde_json::json!({
        "vote_score": scores.vote.map(unit),
        "test_score": scores.test.map(unit),
    })
}

/// Micro-units as a number.
pub fn unit(micro: i64) -> f64 {
    micro as f64 / 1e6
}

impl History {
    /// An experiment nothing has happened in yet.
    pub fn new(experiment: ExperimentName) -> Self {
        Self {
            experiment,
            learners: Vec::new(),
            rounds: Vec::new(),
            finished: None,
            privacy: BTreeMap::new(),
            names: BTreeMap::new(),
            evaluations: Vec::new(),
            motions: Vec::new(),
            last_seen_ms: BTreeMap::new(),
            bearers: BTreeMap::new(),
            membership: Membership::default(),
            rules: None,
            replaced: BTreeSet::new(),
            now_ms: 0,
        }
    }

    /// Whether nothing of it was recorded, so that there is no such experiment.
    pub fn is_empty(&self) -> bool {
        self.rules.is_none()
    }

    /// The rounds that are closed, in order.
    pub fn closed(&self) -> impl Iterator<Item = &Round> {
        self.rounds.iter().filter(|round| round.result.is_some())
    }

    /// Adds an entry of the ledger; those of other experiments are passed over.
    pub fn record(&mut self, entry: &DecodedEntry) {
        self.now_ms = entry.time_ms;
        match &entry.record {
            Record::Genesis(_)
            | Record::KeyRotation(_)
            | Record::Upgrade(_)
            | Record::Block(_)
            | Record::ValidatorChange(_) => {}
            Record::Transaction(transaction) => {
                if transaction.action.experiment == self.experiment {
                    self.action(transaction.sender, &transaction.action);
                }
            }
            Record::Outcome(outcome) => {
                if outcome.experiment == self.experiment {
                    self.outcome(outcome);
                }
            }
        }
    }

    /// Adds an accepted action.
    pub fn action(&mut self, sender: LearnerId, action: &Action) {
        if let Some(spent) = action.what.privacy() {
            self.state(sender, spent);
        }
        self.last_seen_ms.insert(sender, self.now_ms);
        let round = self.rounds.last().map_or(0, |round| round.number);
        match &action.what {
            Act::Join(join) => {
                if let Some(name) = &join.name {
                    self.call(sender, name);
                }
                self.membership.join(sender, round, self.now_ms);
                // Who rejoins keeps the first place.
                if !self.learners.contains(&sender) {
                    self.learners.push(sender);
                }
            }
            Act::Propose(proposal) => {
                // Only accepted actions come here, so it is the last round's: the contract refuses any
                // other (R11).
                if let Some(round) = self.rounds.last_mut() {
                    round.proposal = Some((proposal.weights.digest, proposal.scores));
                }
            }
            Act::Update(update) => self.update(sender, update),
            Act::RevealUpdate(reveal) => self.update(sender, &reveal.update),
            Act::MergeVote(vote) => self.merge_vote(sender, vote),
            Act::RevealMergeVote(reveal) => self.merge_vote(sender, &reveal.vote),
            Act::Have { held, .. } => {
                if let Some(merged) = self.merged_mut() {
                    merged.held.insert(sender, *held);
                }
            }
            Act::Vote(vote) => self.vote(sender, vote),
            Act::Reveal(reveal) => self.vote(sender, &reveal.vote),
            Act::Pass { exhausted, reason, .. } => {
                if *exhausted {
                    self.privacy.entry(sender).or_default().exhausted = true;
                }
                match self.rounds.last_mut() {
                    Some(Round { merged: Some(merged), .. }) => {
                        merged.passed.insert(sender, *reason);
                    }
                    Some(round) => round.passed = *reason,
                    None => {}
                }
            }
            Act::ReplaceKey { to, .. } => self.replace_key(sender, *to),
            Act::Create(create) => {
                self.rules = Some(create.parameters.clone());
                for invitation in create.admission.invitations() {
                    if let Some(name) = &invitation.name {
                        self.call(invitation.learner, name);
                    }
                }
            }
            Act::Evaluate(evaluation) => self.evaluations.push(Evaluated {
                learner: sender,
                round,
                evaluation: evaluation.clone(),
            }),
            Act::Move { number, motion } => self.motions.push(Moved {
                number: *number,
                mover: sender,
                motion: motion.clone(),
                rules: self.rules.clone().map(Box::new),
                votes: BTreeMap::new(),
                decided: None,
                in_effect: false,
            }),
            Act::Leave { .. } => self.membership.leave(sender, round, self.now_ms, None),
            Act::Commit(_) => self.votes(sender),
            Act::MotionVote { number, approve } => {
                if let Some(moved) = self.moved_mut(*number) {
                    moved.votes.insert(sender, *approve);
                }
            }
            Act::CommitUpdate(_) | Act::Resume { .. } | Act::Stop => {}
        }
    }

    /// Somebody votes, or commits to a vote; to reveal it is no other time.
    fn votes(&mut self, sender: LearnerId) {
        if let Some(round) = self.rounds.last_mut() {
            round.voted_ms.entry(sender).or_insert(self.now_ms);
        }
    }

    fn vote(&mut self, sender: LearnerId, vote: &Vote) {
        self.votes(sender);
        if let Some(round) = self.rounds.last_mut() {
            // A sealed ballot counts when it is revealed; a commitment alone tells nothing.
            let Vote { choice, reason, scores, .. } = *vote;
            let ballot = CastVote { choice, reason, scores };
            round.ballots.insert(sender, ballot);
        }
    }

    fn state(&mut self, sender: LearnerId, spent: &PrivacySpent) {
        let privacy = self.privacy.entry(sender).or_default();
        privacy.spent = Some(spent.clone());
        privacy.proposals += 1;
    }

    /// The last opened round, if it is a merged one.
    fn merged_mut(&mut self) -> Option<&mut MergedRound> {
        self.rounds.last_mut().and_then(|round| round.merged.as_mut())
    }

    fn update(&mut self, sender: LearnerId, update: &Update) {
        if let Some(merged) = self.merged_mut() {
            merged.updates.insert(sender, (update.weights.digest, update.scores));
        }
    }

    fn merge_vote(&mut self, sender: LearnerId, vote: &MergeVote) {
        self.votes(sender);
        if let Some(merged) = self.merged_mut() {
            merged.votes.insert(sender, vote.clone());
        }
    }

    /// An adopted invitation gives no name that somebody has taken meanwhile.
    fn call(&mut self, learner: LearnerId, name: &MemberName) {
        if *self.bearers.entry(name.clone()).or_insert(learner) == learner {
            self.names.insert(learner, name.clone());
        }
    }

    /// What was done under one key counts as the other's.
    fn replace_key(&mut self, from: LearnerId, to: LearnerId) {
        // In place: a learner keeps its number, which is what people know it by.
        self.learners.iter_mut().filter(|learner| **learner == from).for_each(|it| *it = to);
        rename(&mut self.privacy, from, to);
        rename(&mut self.names, from, to);
        self.bearers.values_mut().filter(|bearer| **bearer == from).for_each(|bearer| *bearer = to);
        rename(&mut self.last_seen_ms, from, to);
        self.membership.replace_key(from, to);
        for moved in &mut self.motions {
            if moved.mover == from {
                moved.mover = to;
            }
            rename(&mut moved.votes, from, to);
        }
        self.replaced.insert(from);
        let evaluated = self.evaluations.iter_mut().filter(|it| it.learner == from);
        evaluated.for_each(|it| it.learner = to);
        for round in &mut self.rounds {
            if round.proposer == Some(from) {
                round.proposer = Some(to);
            }
            if let Some(merged) = &mut round.merged {
                merged.replace_key(from, to);
            }
            rename(&mut round.ballots, from, to);
            rename(&mut round.voted_ms, from, to);
        }
    }

    /// Adds an outcome.
    pub fn outcome(&mut self, outcome: &Outcome) {
        match &outcome.what {
            Decision::RoundOpened { round, proposer, base, .. } => self.rounds.push(Round {
                proposer: Some(*proposer),
                ..Round::new(*round, *base, self.now_ms)
            }),
            Decision::TrainingOpened { round, participants, checkers, base, previous, .. } => {
                let merged = MergedRound {
                    participants: participants.clone(),
                    checkers: checkers.clone(),
                    previous: *previous,
                    updates: BTreeMap::new(),
                    passed: BTreeMap::new(),
                    gathering: None,
                    held: BTreeMap::new(),
                    merging: None,
                    votes: BTreeMap::new(),
                    decided: None,
                };
                self.rounds
                    .push(Round { merged: Some(merged), ..Round::new(*round, *base, self.now_ms) });
            }
            Decision::MergeVotingOpened { updates, .. } => {
                self.voting_opens();
                if let Some(merged) = self.merged_mut() {
                    merged.merging = Some(updates.clone());
                }
            }
            Decision::GatheringOpened { updates, .. } => {
                if let Some(merged) = self.merged_mut() {
                    merged.gathering = Some(updates.clone());
                }
            }
            Decision::MergeDecided {
                round: _,
                agreed,
                named,
                bear_open,
                bear_guarded,
                prefer_guarded,
                accepted,
            } => {
                if let Some(round) = self.rounds.last_mut() {
                    round.decide(MergeResult {
                        agreed: *agreed,
                        named: *named,
                        bear_open: *bear_open,
                        bear_guarded: *bear_guarded,
                        prefer_guarded: *prefer_guarded,
                        accepted: *accepted,
                    });
                }
            }
            Decision::RoundClosed {
                round: _,
                verdict,
                approvals,
                rejections,
                abstentions,
                unavailable,
                electorate,
                model,
            } => {
                if let Some(round) = self.rounds.last_mut() {
                    round.closed_ms = Some(self.now_ms);
                    round.result = Some(RoundResult {
                        verdict: *verdict,
                        approvals: *approvals,
                        rejections: *rejections,
                        abstentions: *abstentions,
                        unavailable: *unavailable,
                        electorate: *electorate,
                        model: *model,
                    });
                }
            }
            Decision::Finished { reason, .. } => self.finished = Some(*reason),
            Decision::VotingOpened { .. } => self.voting_opens(),
            Decision::Suspended { learner, reason } => {
                let round = self.rounds.last().map_or(0, |round| round.number);
                self.membership.leave(*learner, round, self.now_ms, Some(*reason));
            }
            Decision::RevealOpened { .. }
            | Decision::Waiting { .. }
            | Decision::Paused { .. }
            | Decision::MotionOpened { .. } => {}
            Decision::MotionDecided { number, adopted, approvals, rejections, electorate } => {
                if let Some(moved) = self.moved_mut(*number) {
                    moved.decided = Some(MotionResult {
                        adopted: *adopted,
                        approvals: *approvals,
                        rejections: *rejections,
                        electorate: *electorate,
                    });
                }
            }
            Decision::MotionTookEffect { number } => self.takes_effect(*number),
        }
    }

    fn voting_opens(&mut self) {
        if let Some(round) = self.rounds.last_mut() {
            round.voting_ms = Some(self.now_ms);
        }
    }

    fn moved_mut(&mut self, number: u64) -> Option<&mut Moved> {
        self.motions.iter_mut().rev().find(|moved| moved.number == number)
    }

    fn takes_effect(&mut self, number: u64) {
        let Some(moved) = self.moved_mut(number) else { return };
        moved.in_effect = true;
        match moved.motion.clone() {
            Motion::SetParameters(rules) => self.rules = Some(*rules),
            Motion::Admit(Invitation { learner, name: Some(name), .. })
                if !self.replaced.contains(&learner) =>
            {
                self.call(learner, &name);
            }
            // Who loses a seat is told of besides.
            Motion::Admit(_)
            | Motion::Suspend(_)
            | Motion::Expel(_)
            | Motion::Stop
            | Motion::Adopt(_) => {}
        }
    }

    /// Whether a learner was a member in a round: took part, or could have.
    pub fn is_member(&self, learner: LearnerId, round: u64) -> bool {
        self.membership.contains(learner, round)
    }

    /// The times in which a learner was a member, in order.
    pub fn stays_of(&self, learner: LearnerId) -> &[Stay] {
        self.membership.stays(learner)
    }

    /// A learner's number in joining order, from 1; what people see instead of a key.
    pub fn number_of(&self, learner: LearnerId) -> Option<usize> {
        self.learners.iter().position(|known| *known == learner).map(|at| at + 1)
    }

    /// Whether a learner has missed its turn in a closed round: nothing of it was voted on, or merged.
    pub fn missed_turn(&self, round: &Round, learner: LearnerId) -> bool {
        let trained = round.merged.as_ref().is_some_and(|it| it.participants.contains(&learner));
        let merged = round.merged.as_ref().is_some_and(|it| it.merges(learner));
        round.result.is_some()
            && match round.proposer {
                Some(proposer) => proposer == learner && round.proposal.is_none(),
                None => trained && !merged,
            }
    }

    /// Whether a learner could have voted in a closed round and has not.
    pub fn missed_vote(&self, round: &Round, learner: LearnerId) -> bool {
        round.result.is_some()
            && round.was_voted_on()
            && round.proposer != Some(learner)
            && !round.ballots.contains_key(&learner)
            && self.is_member(learner, round.number)
    }

    /// The mean test score of the global model: that of the last accepted proposal.
    pub fn final_test_score(&self) -> Option<f64> {
        // Rejected proposals have test scores too, but no one goes on from them.
        let accepted =
            |round: &&Round| round.result.is_some_and(|result| result.verdict == Verdict::Accepted);
        self.rounds.iter().rev().find(accepted).and_then(|round| round.mean_scores().1)
    }

    /// A learner's totals.
    pub fn totals_of(&self, learner: LearnerId) -> Totals {
        let mut totals = Totals::default();
        let (mut took_ms, mut timed) = (0_u64, 0_u64);
        for round in &self.rounds {
            // A round that is still open is nobody's fault yet.
            let verdict = round.result.map(|result| result.verdict);
            if round.proposer == Some(learner) {
                match (round.proposal, verdict) {
                    (Some(_), Some(Verdict::Accepted)) => totals.accepted += 1,
                    (Some(_), Some(_)) => totals.rejected += 1,
                    (None, _) | (_, None) => {}
                }
            } else {
                if let Some(ballot) = round.ballots.get(&learner) {
                    match ballot.choice {
                        Choice::Approve => totals.approvals += 1,
                        Choice::Reject => totals.rejections += 1,
                        Choice::Abstain => totals.abstentions += 1,
                    }
                }
                if let (Some(merged), Some(verdict)) = (&round.merged, verdict)
                    && merged.participants.contains(&learner)
                {
                    match (merged.merges(learner), verdict) {
                        (true, Verdict::Accepted) => totals.accepted += 1,
                        (true, _) => totals.rejected += 1,
                        (false, _) => {}
                    }
                }
            }
            totals.missed_turns += u32::from(self.missed_turn(round, learner));
            totals.missed_votes += u32::from(self.missed_vote(round, learner));
            if let (Some(voted_ms), Some(began_ms)) =
                (round.voted_ms.get(&learner), round.voting_ms)
            {
                took_ms = took_ms.saturating_add(voted_ms.saturating_sub(began_ms));
                timed += 1;
            }
            if let Some(scores) = round.scores_of(learner) {
                totals.last_vote_score = scores.vote.map(unit);
                totals.last_test_score = scores.test.map(unit);
            }
        }
        totals.mean_vote_ms = took_ms.checked_div(timed);
        totals.last_seen_ms = self.last_seen_ms.get(&learner).copied();
        totals
    }

    /// As JSON for scripts.
    pub fn to_json(&self) -> serde_json::Value {
        self.to_json_since(0)
    }

    /// The same without the rounds before one: whoever looks at a long experiment again and again needs the
    /// last ones.
    pub fn to_json_since(&self, first: u64) -> serde_json::Value {
        let begin = self.rounds.partition_point(|round| round.number < first);
        let rounds: Vec<serde_json::Value> =
            self.rounds[begin..].iter().map(Round::to_json).collect();
        let learners: Vec<String> = self.learners.iter().map(ToString::to_string).collect();
        let names: BTreeMap<String, &str> =
            self.names.iter().map(|(learner, name)| (learner.to_string(), name.as_str())).collect();
        let totals: BTreeMap<String, Totals> = self
            .learners
            .iter()
            .map(|learner| (learner.to_string(), self.totals_of(*learner)))
            .collect();
        let evaluations: Vec<serde_json::Value> = self
            .evaluations
            .iter()
            .map(|Evaluated { learner, round, evaluation }| {
                let measures = evaluation.measures.iter();
                let measures: BTreeMap<&str, f64> =
                    measures.map(|it| (it.name.as_str(), unit(it.value_micros))).collect();
                serde_json::json!({
                    "learner": learner.to_string(),
                    "round": round,
                    "number": evaluation.number,
                    "model": evaluation.model.to_string(),
                    "measures": measures,
                })
            })
            .collect();
        serde_json::json!({
            "experiment": self.experiment.to_string(),
            "learners": learners,
            "names": names,
            "evaluations": evaluations,
            "motions": self.motions.iter().map(Moved::to_json).collect::<Vec<_>>(),
            "totals": totals,
            "rounds": rounds,
            "finished": self.finished.is_some(),
            "finish_reason": self.finished.map(|reason| reason.word()),
            "final_mean_test_score": self.final_test_score(),
        })
    }
}

/// What a learner did over a whole experiment.
#[derive(Clone, Copy, PartialEq, Default, Debug, Serialize)]
pub struct Totals {
    /// Its proposals that were accepted, and its updates of which something accepted was merged.
    pub accepted: u32,
    /// Its proposals, and merged updates, of which nothing was.
    pub rejected: u32,
    /// Its turns without a proposal, or without an update that was merged.
    pub missed_turns: u32,
    /// Its votes for.
    pub approvals: u32,
    /// Its votes against.
    pub rejections: u32,
    /// Its votes for neither.
    pub abstentions: u32,
    /// Proposals it did not vote on.
    pub missed_votes: u32,
    /// The last vote score it recorded.
    pub last_vote_score: Option<f64>,
    /// The last test score it recorded.
    pub last_test_score: Option<f64>,
    /// How long its votes took on average once they could be cast, in ms.
    pub mean_vote_ms: Option<u64>,
    /// When it was last heard of, in ms since 1970.
    pub last_seen_ms: Option<u64>,
}
