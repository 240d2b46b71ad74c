//! One experiment as the model has it: what an act that breaks no rule adds to the facts, and what
//! follows from the facts, one consequence after another until there is none.

use colearn_contracts::{
    Act, Admission, BallotKind, Close, CreateExperiment, Decision, Digest, FinishReason,
    Invitation, LearnerId, Model, Motion, Parameters, PauseReason, Selection, SuspendReason,
    Verdict, Version,
};

use super::bounds::{self, reached};
use super::facts::{Count, Facts, How, Made, NOBODY, Phase, Standing, What, Who};
use super::hashes::{self, Listed};

pub(super) const WEEK_MS: u64 = 604_800_000;

#[derive(Clone, Debug)]
pub(super) struct Experiment {
    pub(super) ledger: Digest,
    pub(super) name: String,
    pub(super) facts: Facts,
}

/// What comes of the facts next: further facts, and what is told of them.
pub(super) type Consequence = (Vec<What>, Vec<Decision>);

impl Experiment {
    pub(super) fn create(
        ledger: Digest,
        name: &str,
        creator: LearnerId,
        create: &CreateExperiment,
        now_ms: u64,
    ) -> Self {
        let facts = Facts {
            open: create.admission == Admission::Open,
            by_vote: matches!(create.admission, Admission::ByVote(_)),
            model: create.model.clone(),
            all: Vec::new(),
        };
        let mut this = Self { ledger, name: name.to_owned(), facts };
        let version = Version::try_from(create.version).unwrap();
        let parameters = create.parameters.clone();
        this.say(now_ms, What::Follows(version));
        this.say(now_ms, What::Rules { parameters, moved: false });
        this.say(now_ms, What::Waiting);
        let who = this.somebody(now_ms, creator);
        this.say(now_ms, What::Creator { who });
        for Invitation { learner, weight, judge, name } in create.admission.invitations().to_vec() {
            let who = this.somebody(now_ms, learner);
            this.say(now_ms, What::Invited { who, weight, judge, name });
        }
        this
    }

    fn say(&mut self, now_ms: u64, what: What) {
        self.facts.all.push((now_ms, what));
    }

    /// Whose key this is; somebody new if nobody's.
    fn somebody(&mut self, now_ms: u64, key: LearnerId) -> Who {
        match self.facts.holder(key) {
            NOBODY => {
                let who = self.facts.people();
                self.say(now_ms, What::Key { who, key });
                who
            }
            who => who,
        }
    }

    /// R53. The digest of the terms as they are.
    pub(super) fn terms(&self) -> Digest {
        let facts = &self.facts;
        let mut listed: Vec<Listed> = Vec::new();
        for right in facts.rights() {
            let name = right.name.as_ref().map_or("", |it| it.as_str());
            listed.push((facts.key(right.who), right.weight, right.judge, name.to_owned()));
        }
        listed.sort();
        let admission = match (facts.open, facts.by_vote) {
            (true, _) => 0,
            (false, false) => 1,
            (false, true) => 2,
        };
        let creator = facts.key(facts.creator());
        hashes::terms(facts.version(), creator, facts.rules(), admission, &listed)
    }

    /// When time alone brings something about.
    pub(super) fn due_ms(&self) -> Option<u64> {
        let motions = self.facts.open_motions();
        if self.facts.phase() == Phase::Finished {
            return None;
        }
        let motion = motions.iter().map(|made| self.facts.motion_ends(made)).min();
        [self.round_ends(), motion].into_iter().flatten().min()
    }

    fn round_ends(&self) -> Option<u64> {
        let rules = self.facts.rules();
        let lasts = match self.facts.phase() {
            Phase::Proposing => rules.proposal_deadline_ms,
            Phase::Voting => rules.vote_deadline_ms,
            Phase::Revealing | Phase::RevealingUpdates => rules.reveal_deadline_ms,
            Phase::Training => rules.proposal_deadline_ms,
            Phase::Gathering => rules.merging?.gather_deadline_ms?,
            Phase::Judging => rules.vote_deadline_ms,
            Phase::Waiting | Phase::Paused(_) | Phase::Closed | Phase::Finished => return None,
        };
        let began = self.facts.this_round().iter().rev().find(|(_, what)| {
            matches!(
                what,
                What::Opened { .. }
                    | What::Proposed { .. }
                    | What::Revealing
                    | What::Trains { .. }
                    | What::RevealingUpdates
                    | What::Gathering
                    | What::Judging
            )
        });
        began.map(|(ms, _)| ms + lasts)
    }

    /// R13, R47. What is due by now.
    pub(super) fn pass(&mut self, now_ms: u64, head: Digest) -> Vec<Decision> {
        let mut decisions = Vec::new();
        while let Some(due_ms) = self.due_ms().filter(|it| *it <= now_ms) {
            let (facts, told) = match self.round_ends() == Some(due_ms) {
                true => self.round_is_over(now_ms),
                false => {
                    let motions = self.facts.open_motions();
                    let first = motions.iter().find(|it| self.facts.motion_ends(it) == due_ms);
                    self.motion_decided(first.expect("a motion is due"), true).unwrap()
                }
            };
            decisions.extend(told);
            facts.into_iter().for_each(|fact| self.say(now_ms, fact));
            decisions.extend(self.follow(now_ms, head));
        }
        decisions
    }

    /// R13, R22, R35, R36.
    fn round_is_over(&self, now_ms: u64) -> Consequence {
        let count = self.facts.count();
        let sealed = self.facts.rules().ballot == BallotKind::Sealed;
        match self.facts.phase() {
            _ if self.facts.is_merged() => self.merged_is_over(now_ms),
            Phase::Proposing => self.closed(Verdict::Expired, true),
            Phase::Voting if sealed && count.committed > 0 => self.reveal_opens(now_ms),
            _ => self.closed(self.verdict(0), true),
        }
    }

    fn reveal_opens(&self, now_ms: u64) -> Consequence {
        self.reveal_opens_with(now_ms, self.facts.count().committed)
    }

    pub(super) fn reveal_opens_with(&self, now_ms: u64, committed: u32) -> Consequence {
        let deadline_ms = now_ms + self.facts.rules().reveal_deadline_ms;
        let round = self.facts.round();
        (vec![What::Revealing], vec![Decision::RevealOpened { round, committed, deadline_ms }])
    }

    /// R21, R68. The verdict if so many more approve.
    fn verdict(&self, more: u32) -> Verdict {
        let count = self.facts.count();
        if 2 * count.unavailable > count.electorate {
            Verdict::Expired
        } else if reached(self.facts.rules().threshold, count.approvals + more, count.electorate) {
            Verdict::Accepted
        } else {
            Verdict::Rejected
        }
    }

    /// R33. The verdict that the votes which may still come cannot change.
    fn certain(&self, to_come: u32) -> Option<Verdict> {
        let count = self.facts.count();
        let none = self.verdict(0);
        let could_lack = self.facts.version() > Version::V1
            && 2 * (count.unavailable + to_come) > count.electorate;
        let same = none == self.verdict(to_come) && (none == Verdict::Expired) == could_lack;
        same.then_some(none)
    }

    fn closed(&self, verdict: Verdict, waited: bool) -> Consequence {
        let accepted = (verdict == Verdict::Accepted).then(|| self.facts.proposed()).flatten();
        self.closed_as(verdict, waited, self.facts.count(), accepted)
    }

    /// The same of a merged round, with the merge that is accepted.
    pub(super) fn closed_with(
        &self,
        verdict: Verdict,
        waited: bool,
        count: Count,
        merged: Option<Model>,
    ) -> Consequence {
        let (closed, told) = self.closed_as(verdict, waited, count, merged.as_ref());
        let merged = merged.map(|model| What::Merged { model });
        (merged.into_iter().chain(closed).collect(), told)
    }

    fn closed_as(
        &self,
        verdict: Verdict,
        waited: bool,
        count: Count,
        accepted: Option<&Model>,
    ) -> Consequence {
        let told = Decision::RoundClosed {
            round: self.facts.round(),
            verdict,
            approvals: count.approvals,
            rejections: count.rejections,
            abstentions: count.abstentions,
            unavailable: count.unavailable,
            electorate: count.electorate,
            model: accepted.unwrap_or(self.facts.global()).digest,
        };
        (vec![What::Closed { verdict, waited }], vec![told])
    }

    /// An act that breaks no rule.
    pub(super) fn accept(
        &mut self,
        now_ms: u64,
        head: Digest,
        key: LearnerId,
        act: &Act,
    ) -> Vec<Decision> {
        let who = self.somebody(now_ms, key);
        let (facts, mut decisions) = self.said(now_ms, who, key, act);
        facts.into_iter().for_each(|fact| self.say(now_ms, fact));
        decisions.extend(self.follow(now_ms, head));
        decisions
    }

    fn said(&self, now_ms: u64, who: Who, key: LearnerId, act: &Act) -> Consequence {
        let facts = &self.facts;
        let round = facts.round();
        match act {
            Act::Create(_) => unreachable!("it is there"),
            Act::Join(join) => {
                let right = facts.right(who);
                let (weight, judge) = right.map_or((1, false), |it| (it.weight, it.judge));
                (vec![What::Joined { who, weight, judge, name: join.name.clone() }], vec![])
            }
            Act::Leave { renounce, .. } => self.left(who, *renounce),
            Act::Resume { .. } => (vec![What::Resumed], vec![]),
            Act::ReplaceKey { to } => {
                let other = facts.people();
                // The old key is somebody else from here on: nobody that is known, if it never came.
                let mut all = vec![
                    What::Replaced { who, from: key, to: *to },
                    What::Key { who, key: *to },
                    What::Key { who: other, key },
                ];
                if facts.standing(who) != Standing::NeverCame {
                    all.push(What::Retired { who: other });
                }
                (all, vec![])
            }
            Act::Propose(proposal) => {
                let (model, statement) = (proposal.weights.clone(), proposal.privacy.clone());
                let weights = model.digest;
                let others = facts.seats().0.into_iter().filter(|(_, it)| *it != who);
                let electorate = others.map(|(_, it)| facts.weight(it)).sum();
                let deadline_ms = now_ms + facts.rules().vote_deadline_ms;
                let told = Decision::VotingOpened { round, weights, electorate, deadline_ms };
                (vec![What::Proposed { who, model, statement }], vec![told])
            }
            Act::Pass { exhausted, .. } => {
                (vec![What::Passed { who, exhausted: *exhausted }], vec![])
            }
            Act::Vote(vote) => {
                let (choice, reason) = (vote.choice, vote.reason);
                let mut all = self.linked(who, vote.link);
                all.push(What::Said { who, choice, reason });
                (all, vec![])
            }
            Act::Commit(commit) => {
                let mut all = self.linked(who, commit.link);
                all.push(What::Committed { who, hash: commit.commitment, key });
                (all, vec![])
            }
            Act::Reveal(reveal) => {
                let (choice, reason) = (reveal.vote.choice, reveal.vote.reason);
                (vec![What::Said { who, choice, reason }], vec![])
            }
            Act::Update(update) => {
                let (model, statement) = (update.weights.clone(), update.privacy.clone());
                (vec![What::Updated { who, model, statement }], vec![])
            }
            Act::RevealUpdate(reveal) => {
                let update = &reveal.update;
                let (model, statement) = (update.weights.clone(), update.privacy.clone());
                (vec![What::Updated { who, model, statement }], vec![])
            }
            Act::CommitUpdate(commit) => {
                (vec![What::SealedUpdate { who, hash: commit.commitment, key }], vec![])
            }
            Act::Have { held, .. } => (vec![What::Has { who, held: *held }], vec![]),
            Act::MergeVote(vote) => {
                let mut all = self.linked(who, vote.link);
                all.push(What::Judged { who, vote: vote.clone() });
                (all, vec![])
            }
            Act::RevealMergeVote(reveal) => {
                (vec![What::Judged { who, vote: reveal.vote.clone() }], vec![])
            }
            Act::Move { number, motion } => self.moved(now_ms, who, *number, motion),
            Act::MotionVote { number, approve } => {
                (vec![What::Backed { number: *number, who, approve: *approve }], vec![])
            }
            Act::Stop => self.finished(FinishReason::Stopped),
            Act::Evaluate(_) => (vec![What::Evaluated { who }], vec![]),
        }
    }

    fn linked(&self, who: Who, link: Option<Digest>) -> Vec<What> {
        let anchor = self.facts.chain(who).is_none();
        link.map(|link| What::Linked { who, link, anchor }).into_iter().collect()
    }

    /// R25, R58.
    fn left(&self, who: Who, renounce: bool) -> Consequence {
        let facts = &self.facts;
        let mut all = Vec::new();
        let had = facts.right(who).is_some();
        match facts.standing(who) {
            Standing::Joining => all.push(What::Gone { who, how: How::Left }),
            Standing::Seated => all.push(What::Going { who }),
            Standing::Going => {}
            _ => all.push(What::UsedUp { who }),
        }
        if !(renounce && had) {
            return (all, vec![]);
        }
        all.push(What::Withdrawn { who });
        if facts.rights().len() == 1 && !facts.open {
            let (fact, told) = self.finished(FinishReason::Abandoned);
            all.extend(fact);
            return (all, told);
        }
        (all, vec![])
    }

    fn moved(&self, now_ms: u64, who: Who, number: u64, motion: &Motion) -> Consequence {
        let by = match motion {
            Motion::Adopt(version) => *version,
            _ => self.facts.version(),
        };
        let made = Made { number, who, motion, by, index: self.facts.all.len() };
        let electorate = self.facts.motion_electorate(&made).iter().map(|(_, it)| it).sum();
        let deadline_ms = now_ms + self.facts.rules().motion_deadline_ms;
        let told = Decision::MotionOpened { number, electorate, deadline_ms };
        (vec![What::Moved { who, motion: motion.clone(), by }], vec![told])
    }

    fn finished(&self, reason: FinishReason) -> Consequence {
        let (rounds, model) = (self.facts.round(), self.facts.global().digest);
        (vec![What::Finished], vec![Decision::Finished { reason, rounds, model }])
    }

    /// Everything that follows from the facts.
    fn follow(&mut self, now_ms: u64, head: Digest) -> Vec<Decision> {
        let mut decisions = Vec::new();
        while let Some((facts, told)) = self.consequence(now_ms, head) {
            facts.into_iter().for_each(|fact| self.say(now_ms, fact));
            decisions.extend(told);
        }
        decisions
    }

    /// What follows from the facts first.
    fn consequence(&self, now_ms: u64, head: Digest) -> Option<Consequence> {
        let motions = self.motion_consequence();
        match self.facts.phase() {
            Phase::Finished => None,
            _ if motions.is_some() => motions,
            _ if self.facts.is_merged() => self.merged_consequence(now_ms),
            Phase::Training | Phase::RevealingUpdates | Phase::Gathering | Phase::Judging => None,
            Phase::Proposing => {
                let (_, who) = self.facts.turn()?;
                let passed = matches!(self.facts.last(), What::Passed { .. });
                let gone = self.facts.standing(who) == Standing::Going;
                (passed || gone).then(|| self.closed(Verdict::Passed, true))
            }
            Phase::Voting | Phase::Revealing => self.ballots_consequence(now_ms),
            Phase::Closed | Phase::Waiting | Phase::Paused(_) => {
                self.between_consequence(now_ms, head)
            }
        }
    }

    /// R47, R48. A motion on which somebody has just voted, or that was just decided.
    fn motion_consequence(&self) -> Option<Consequence> {
        let facts = &self.facts;
        let open = facts.open_motions();
        match facts.last() {
            What::Moved { .. } => self.motion_decided(open.last()?, false),
            What::Backed { number, .. } => {
                self.motion_decided(open.iter().find(|it| it.number == *number)?, false)
            }
            What::Decided { number, adopted: true } => {
                let number = *number;
                let made = &facts.motions()[number as usize - 1];
                let told = Decision::MotionTookEffect { number };
                match made.motion {
                    Motion::Stop => {
                        let (fact, finished) = self.finished(FinishReason::Stopped);
                        Some((fact, [vec![told], finished].concat()))
                    }
                    Motion::Admit(invitation) if made.by == Version::V1 => {
                        let mut all = self.admitted(invitation.learner, invitation, false);
                        all.push(What::InEffect { number, between: false });
                        Some((all, vec![told]))
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// R47. What becomes of an open motion, if that is certain, or it is due.
    fn motion_decided(&self, made: &Made<'_>, due: bool) -> Option<Consequence> {
        let (approvals, rejections, electorate, threshold) = self.facts.motion_count(made);
        let to_come = if due { 0 } else { electorate - approvals - rejections };
        let adopted = reached(threshold, approvals, electorate);
        if !adopted && reached(threshold, approvals + to_come, electorate) {
            return None;
        }
        Some(Self::motion_told(made.number, adopted, (approvals, rejections, electorate)))
    }

    fn motion_told(number: u64, adopted: bool, count: (u32, u32, u32)) -> Consequence {
        let (approvals, rejections, electorate) = count;
        let told = Decision::MotionDecided { number, adopted, approvals, rejections, electorate };
        (vec![What::Decided { number, adopted }], vec![told])
    }

    /// R22, R33, R35.
    fn ballots_consequence(&self, now_ms: u64) -> Option<Consequence> {
        let count = self.facts.count();
        let cast = count.approvals + count.rejections + count.abstentions;
        let sealed = self.facts.rules().ballot == BallotKind::Sealed;
        let to_come = match self.facts.phase() {
            Phase::Voting if sealed && count.electorate > 0 => {
                let all = count.committed == count.electorate;
                return all.then(|| self.reveal_opens(now_ms));
            }
            Phase::Revealing => count.committed - cast,
            _ => count.electorate - cast,
        };
        let early = self.facts.rules().close == Close::Early;
        if to_come > 0 && !early {
            return None;
        }
        Some(self.closed(self.certain(to_come)?, to_come == 0))
    }

    /// R25 to R27, R38 to R43, R48, R65. While no round is open.
    fn between_consequence(&self, now_ms: u64, head: Digest) -> Option<Consequence> {
        let facts = &self.facts;
        let phase = facts.all.iter().rposition(|(_, what)| {
            matches!(what, What::Closed { .. } | What::Waiting | What::Paused(_))
        })?;
        let since = || facts.all[phase..].iter().map(|(_, what)| what);
        let closed = facts.phase() == Phase::Closed;
        if closed && !since().any(|what| matches!(what, What::Swept)) {
            return Some(self.swept());
        }
        if let Some(seat) = self.next_to_settle() {
            return Some((vec![seat], vec![]));
        }
        if let Some(number) = facts.adopted() {
            return Some(self.takes_effect(number));
        }
        let enough = facts.seats().0.len() >= facts.rules().min_learners as usize;
        let changed = || {
            since().any(|what| {
                matches!(
                    what,
                    What::Seated { .. }
                        | What::Gone { .. }
                        | What::Resumed
                        | What::InEffect { between: true, .. }
                )
            })
        };
        let goes_on = match facts.phase() {
            Phase::Waiting => enough,
            Phase::Paused(_) => changed(),
            _ => true,
        };
        goes_on.then(|| self.goes_on(now_ms, head))
    }

    /// R39, R68. Who is seated, stays, and has missed too many turns.
    fn swept(&self) -> Consequence {
        let facts = &self.facts;
        let (mut all, mut told) = (Vec::new(), Vec::new());
        if let Some(most) = facts.rules().missed_turns {
            for (_, who) in facts.seats().0 {
                let absent = facts.missed(who) >= most || facts.not_to_be_had(who) >= most;
                if absent && facts.standing(who) == Standing::Seated {
                    all.push(What::Gone { who, how: How::Suspended });
                    let (learner, reason) = (facts.key(who), SuspendReason::MissedTurns);
                    told.push(Decision::Suspended { learner, reason });
                }
            }
        }
        all.push(What::Swept);
        (all, told)
    }

    /// R25. The first that has come or wants to go.
    fn next_to_settle(&self) -> Option<What> {
        self.facts.all.iter().find_map(|(_, what)| match what {
            What::Joined { who, .. } if self.facts.standing(*who) == Standing::Joining => {
                // The joins of earlier terms are facts too; the last one is what counts.
                self.is_last_of(what).then_some(What::Seated { who: *who })
            }
            What::Going { who } if self.facts.standing(*who) == Standing::Going => {
                self.is_last_of(what).then_some(What::Gone { who: *who, how: How::Left })
            }
            _ => None,
        })
    }

    /// Whether no later fact of this kind is about the same.
    fn is_last_of(&self, what: &What) -> bool {
        let same = |other: &What| match (what, other) {
            (What::Joined { who, .. }, What::Joined { who: it, .. })
            | (What::Going { who }, What::Going { who: it }) => who == it,
            _ => false,
        };
        let last = self.facts.all.iter().rev().find(|(_, other)| same(other));
        last.is_some_and(|(_, last)| std::ptr::eq(last, what))
    }

    /// What an admission gives. `seat`: also to the seat that there is (R49, R56).
    fn admitted(&self, learner: LearnerId, invitation: &Invitation, seat: bool) -> Vec<What> {
        let facts = &self.facts;
        let Invitation { weight, judge, name, .. } = invitation;
        let (weight, judge) = (*weight, *judge);
        let mut all = Vec::new();
        let who = match facts.holder(learner) {
            NOBODY => {
                let who = facts.people();
                all.push(What::Key { who, key: learner });
                who
            }
            who => who,
        };
        if !facts.open {
            let name = name.clone().filter(|name| !facts.is_taken(name, who));
            all.push(What::Invited { who, weight, judge, name });
        }
        if facts.standing(who) == Standing::Expelled {
            all.push(What::Readmitted { who });
        }
        if seat && !facts.open {
            all.push(What::Weighed { who, weight, judge });
        }
        all
    }

    /// R48 to R50, R56, R69.
    fn takes_effect(&self, number: u64) -> Consequence {
        let facts = &self.facts;
        let made = &facts.motions()[number as usize - 1];
        let about = |key: LearnerId| facts.follow(key, made.index);
        let (mut all, mut told) = match made.motion {
            Motion::SetParameters(rules) => (self.rules_set(rules), vec![]),
            Motion::Suspend(key) => {
                let (learner, who) = (about(*key), facts.holder(about(*key)));
                let reason = SuspendReason::Decided;
                match facts.is_member(who) {
                    true => (
                        vec![What::Gone { who, how: How::Suspended }],
                        vec![Decision::Suspended { learner, reason }],
                    ),
                    false => (vec![], vec![]),
                }
            }
            Motion::Expel(key) => self.expelled(about(*key)),
            Motion::Admit(invitation) => {
                (self.admitted(about(invitation.learner), invitation, true), vec![])
            }
            Motion::Adopt(version) if *version > facts.version() => self.adopts(*version),
            Motion::Adopt(_) | Motion::Stop => (vec![], vec![]),
        };
        all.push(What::InEffect { number, between: true });
        told.push(Decision::MotionTookEffect { number });
        (all, told)
    }

    fn rules_set(&self, rules: &Parameters) -> Vec<What> {
        let mut all = Vec::new();
        if rules.privacy != self.facts.rules().privacy {
            all.push(What::BudgetsAnew);
        }
        let parameters = under(self.facts.version(), rules);
        all.push(What::Rules { parameters, moved: true });
        all
    }

    fn expelled(&self, learner: LearnerId) -> Consequence {
        let facts = &self.facts;
        let who = facts.holder(learner);
        let right = facts.right(who).is_some();
        // R55. Somebody is left to decide.
        if right && facts.rights().len() == 1 && facts.is_governed_by_rights(facts.version()) {
            return (vec![], vec![]);
        }
        let mut all = Vec::new();
        if right {
            all.push(What::Withdrawn { who });
        }
        let standing = facts.standing(who);
        let there = !matches!(standing, Standing::NeverCame | Standing::Retired);
        if there {
            all.push(What::Gone { who, how: How::Expelled });
        }
        let told = there || (standing == Standing::NeverCame && right);
        let reason = SuspendReason::Expelled;
        (all, told.then_some(Decision::Suspended { learner, reason }).into_iter().collect())
    }

    /// R69.
    fn adopts(&self, version: Version) -> Consequence {
        let facts = &self.facts;
        let parameters = under(version, facts.rules());
        let mut all = vec![What::Follows(version), What::Rules { parameters, moved: false }];
        let mut told = Vec::new();
        for right in facts.rights() {
            let (who, weight, judge) = (right.who, right.weight, right.judge);
            match facts.standing(who) {
                // Nobody could ever use it.
                Standing::Retired => all.push(What::Withdrawn { who }),
                _ if facts.is_member(who) => all.push(What::Weighed { who, weight, judge }),
                _ => {}
            }
        }
        for made in facts.open_motions().iter().filter(|made| made.by < version) {
            let (approvals, rejections, electorate, _) = facts.motion_count(made);
            let count = (approvals, rejections, electorate);
            let (fact, decision) = Self::motion_told(made.number, false, count);
            all.extend(fact);
            told.extend(decision);
        }
        (all, told)
    }

    /// What comes next: the first of these that is so.
    fn goes_on(&self, now_ms: u64, head: Digest) -> Consequence {
        let facts = &self.facts;
        let rules = facts.rules();
        let seats = facts.seats().0;
        let members = seats.len() as u64;
        let idle = rules.idle_rotations.is_some_and(|it| facts.idle() >= u64::from(it) * members);
        let paused = |reason| (vec![What::Paused(reason)], vec![Decision::Paused { reason }]);
        if rules.max_rounds.is_some_and(|most| facts.round() >= most) {
            self.finished(FinishReason::MaxRounds)
        } else if rules.patience.is_some_and(|most| facts.rejected() >= most) {
            self.finished(FinishReason::Patience)
        } else if members < u64::from(rules.min_learners) {
            let (members, min_learners) = (members as u32, rules.min_learners);
            (vec![What::Waiting], vec![Decision::Waiting { members, min_learners }])
        } else if seats.iter().all(|(_, who)| facts.part(*who).1) {
            paused(PauseReason::OnlyJudges)
        } else if facts.with_turns().is_empty() {
            paused(PauseReason::BudgetsSpent)
        } else if idle {
            paused(PauseReason::NobodyProposes)
        } else if rules.merging.is_some() {
            self.trains(now_ms)
        } else {
            let (seat, who) = self.drawn(head);
            let told = Decision::RoundOpened {
                round: facts.round() + 1,
                proposer: facts.key(who),
                base: facts.global().digest,
                deadline_ms: now_ms + rules.proposal_deadline_ms,
            };
            (vec![What::Opened { who, seat }], vec![told])
        }
    }

    /// R24, R32, R63. Whose turn is next.
    fn drawn(&self, head: Digest) -> (u64, Who) {
        let facts = &self.facts;
        let all = facts.with_turns();
        let last = facts.last_seat();
        if facts.rules().selection == Selection::RoundRobin {
            let later = all.iter().find(|(seat, _)| last.is_none_or(|last| *seat > last));
            return *later.unwrap_or(&all[0]);
        }
        let others: Vec<(u64, Who)> =
            all.iter().filter(|(seat, _)| Some(*seat) != last).copied().collect();
        let others = if others.is_empty() { all } else { others };
        let round = facts.round() + 1;
        if facts.version() == Version::V1 {
            return others[hashes::place(self.ledger, head, &self.name, round, others.len())];
        }
        let (seed, known) = self.seed(round);
        let there = others.iter().filter(|(seat, who)| {
            known.is_none_or(|(round, below)| *seat < below && !facts.kept_silent(*who, round))
        });
        let rank = |(seat, _): &&(u64, Who)| hashes::rank(seed, "proposer", *seat);
        *there.min_by_key(rank).or(others.iter().min_by_key(rank)).unwrap()
    }

    /// R63. The seed of a round, with the round whose links made it, and how many seats there had been
    /// then.
    pub(super) fn seed(&self, round: u64) -> (Digest, Option<(u64, u64)>) {
        let mut seed = (hashes::first_seed(self.ledger, &self.name), None);
        let (mut closed, mut version, mut selection) = (0, Version::V1, Selection::RoundRobin);
        let mut links: Vec<(Who, Digest)> = Vec::new();
        for (i, (_, what)) in self.facts.all.iter().enumerate() {
            match what {
                What::Follows(it) => version = *it,
                What::Rules { parameters, .. } => selection = parameters.selection,
                What::Opened { .. } | What::Trains { .. } => links.clear(),
                What::Linked { who, link, anchor: false } => links.push((*who, *link)),
                What::Closed { .. } => {
                    closed += 1;
                    // What is revealed in a round is for the second one after it.
                    if closed + 2 > round {
                        break;
                    }
                    if version == Version::V1 || selection == Selection::RoundRobin {
                        continue;
                    }
                    let (seats, given) = self.facts.seats_after(i);
                    let of = |who: Who| links.iter().find(|(it, _)| *it == who).map(|(_, it)| *it);
                    let revealed: Vec<Digest> =
                        seats.iter().filter_map(|(_, who)| of(*who)).collect();
                    seed = (hashes::next_seed(seed.0, &revealed), Some((closed, given)));
                }
                _ => {}
            }
        }
        seed
    }
}

/// R69. The rules without what a version would refuse.
fn under(version: Version, rules: &Parameters) -> Parameters {
    let mut rules = rules.clone();
    if version > Version::V1 {
        rules.governance_threshold =
            rules.governance_threshold.filter(|it| bounds::half_at_least(*it));
    }
    rules
}
