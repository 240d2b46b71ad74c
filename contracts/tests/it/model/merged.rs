//! Merged rounds as the model has them: what is wrong with an act, what it adds to the facts, and what
//! follows.

use std::collections::{BTreeMap, BTreeSet};

use colearn_contracts::{
    BallotKind, Close, Decision, Digest, LearnerId, Merge, MergeVote, Merges, Model, PrivacySpent,
    Reason, RevealMergeVote, RevealUpdate, Selection, Sent, Update, Verdict,
};

use super::bounds::reached;
use super::experiment::{Consequence, Experiment};
use super::facts::{Count, Facts, Phase, What, Who};
use super::hashes;
use super::refusals::{Asked, broken};

/// What somebody who trains has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Done {
    Nothing,
    Passed,
    Sealed,
    Sent,
}

/// How the votes on merges stand.
struct Judged {
    electorate: u32,
    cast: u32,
    abstentions: u32,
    unavailable: u32,
    /// The votes of who names a pair, the checkers among them, and what they say.
    pairs: BTreeMap<Merges, (u32, u32, [u32; 3])>,
    checkers: u32,
    checkers_cast: u32,
}

impl Facts {
    /// Who trains in this round and who checks, if it is merged.
    pub(super) fn merged(&self) -> Option<(&[Who], &[Who])> {
        match self.this_round().first() {
            Some((_, What::Trains { participants, checkers, .. })) => {
                Some((participants, checkers))
            }
            _ => None,
        }
    }

    pub(super) fn is_merged(&self) -> bool {
        self.merged().is_some() && !self.is_between()
    }

    fn trains(&self, who: Who) -> bool {
        self.merged().is_some_and(|(participants, _)| participants.contains(&who))
    }

    /// R75 to R77. What somebody has done in training. Who goes before it has done anything passes.
    fn done(&self, who: Who) -> Done {
        let (mut done, mut over) = (Done::Nothing, false);
        for (_, what) in self.this_round() {
            match what {
                What::RevealingUpdates | What::Gathering | What::Judging => over = true,
                What::SealedUpdate { who: it, .. } if *it == who => done = Done::Sealed,
                What::Updated { who: it, .. } if *it == who => done = Done::Sent,
                What::Passed { who: it, .. } if *it == who => done = Done::Passed,
                What::Going { who: it } if *it == who && done == Done::Nothing && !over => {
                    done = Done::Passed;
                }
                _ => {}
            }
        }
        done
    }

    /// What was sent, in joining order.
    fn sent(&self) -> Vec<(Who, &Model)> {
        let of = |who: &Who| {
            self.this_round().iter().find_map(|(_, what)| match what {
                What::Updated { who: it, model, .. } if it == who => Some((*who, model)),
                _ => None,
            })
        };
        self.merged().map_or(vec![], |(all, _)| all.iter().filter_map(of).collect())
    }

    /// R80. What somebody says that it holds.
    fn has(&self, who: Who) -> Option<u64> {
        self.this_round().iter().find_map(|(_, what)| match what {
            What::Has { who: it, held } if *it == who => Some(*held),
            _ => None,
        })
    }

    fn electorate(&self) -> u32 {
        self.seats().0.iter().map(|(_, who)| self.weight(*who)).sum()
    }

    /// R80. The votes of all who have said what they hold, and of those who hold each update.
    fn gathered(&self) -> (u32, Vec<u32>) {
        let (mut said, mut held) = (0, vec![0; self.sent().len()]);
        for (_, who) in self.seats().0 {
            let Some(bits) = self.has(who) else { continue };
            said += self.weight(who);
            for (i, held) in held.iter_mut().enumerate() {
                *held += if bits >> i & 1 == 1 { self.weight(who) } else { 0 };
            }
        }
        (said, held)
    }

    /// R79, R80. What is merged.
    fn merges(&self) -> Vec<(Who, &Model)> {
        let sent = self.sent();
        if self.rules().merging.is_none_or(|it| it.gather_deadline_ms.is_none()) {
            return sent;
        }
        let (said, held) = self.gathered();
        let enough = 2 * said > self.electorate();
        let kept = sent.into_iter().zip(held).filter(|(_, held)| enough && 2 * held > said);
        kept.map(|(update, _)| update).collect()
    }

    /// The votes that can be read.
    fn judgements(&self) -> Vec<(Who, &MergeVote)> {
        let vote = |(_, what): &'_ (u64, What)| match what {
            What::Judged { who, .. } => Some(*who),
            _ => None,
        };
        let who = self.this_round().iter().filter_map(vote);
        who.zip(self.this_round().iter().filter_map(|(_, what)| match what {
            What::Judged { vote, .. } => Some(vote),
            _ => None,
        }))
        .collect()
    }

    fn judged(&self) -> Judged {
        let (_, checkers) = self.merged().expect("a merged round");
        let mut judged = Judged {
            electorate: self.electorate(),
            cast: 0,
            abstentions: 0,
            unavailable: 0,
            pairs: BTreeMap::new(),
            checkers: checkers.len() as u32,
            checkers_cast: 0,
        };
        for (who, vote) in self.judgements() {
            let (weight, checks) = (self.weight(who), u32::from(checkers.contains(&who)));
            judged.cast += weight;
            judged.checkers_cast += checks;
            if vote.merges == Merges::default() {
                judged.abstentions += weight;
                judged.unavailable +=
                    if vote.reason == Some(Reason::Unavailable) { weight } else { 0 };
                continue;
            }
            let pair = judged.pairs.entry(vote.merges).or_default();
            pair.0 += weight;
            pair.1 += checks;
            let says = [vote.bear_open, vote.bear_guarded, vote.prefer_guarded];
            for (sum, says) in pair.2.iter_mut().zip(says) {
                *sum += if says { weight } else { 0 };
            }
        }
        judged
    }

    /// R87. Who has done what was asked of it, and who has not, as the round closes.
    fn duties(&self, agreed: Option<Merges>, waited: bool) -> Vec<What> {
        let gathers = self.rules().merging.is_some_and(|it| it.gather_deadline_ms.is_some());
        let came = |is: fn(&What) -> bool| self.this_round().iter().any(|(_, what)| is(what));
        let judging = came(|what| matches!(what, What::Judging));
        let gathering = gathers && came(|what| matches!(what, What::Gathering));
        let (said, held) = self.gathered();
        let mut duties = Vec::new();
        for (_, who) in self.seats().0 {
            let (mut did, mut missed) = (false, false);
            if self.trains(who) {
                match self.done(who) {
                    Done::Nothing | Done::Sealed => missed = true,
                    Done::Passed => did = true,
                    Done::Sent => {
                        did = true;
                        let place = self.sent().iter().position(|(it, _)| *it == who).unwrap();
                        missed = gathering && 2 * (said - held[place]) > self.electorate();
                    }
                }
            }
            if gathering {
                let has = self.has(who).is_some();
                (did, missed) = (did || has, missed || !has);
            }
            if judging {
                match self.judgements().into_iter().find(|(it, _)| *it == who) {
                    Some((_, vote)) => {
                        did = true;
                        let named = vote.merges != Merges::default();
                        missed |= named && agreed.is_some_and(|it| it != vote.merges);
                    }
                    None => missed |= waited,
                }
            }
            match (missed, did) {
                (true, _) => duties.push(What::MissedDuty { who }),
                (false, true) => duties.push(What::DidDuty { who }),
                (false, false) => {}
            }
        }
        duties
    }
}

impl Judged {
    fn is_agreed(&self, (weight, checkers, _): (u32, u32, [u32; 3])) -> bool {
        2 * weight > self.electorate && 3 * checkers >= 2 * self.checkers
    }

    fn agreed(&self) -> Option<Merges> {
        let agreed = self.pairs.iter().find(|(_, votes)| self.is_agreed(**votes));
        agreed.map(|(pair, _)| *pair)
    }
}

impl Experiment {
    /// R84. What the votes come to.
    fn outcome(&self, judged: &Judged) -> (Verdict, Option<Merge>) {
        let Some(pair) = judged.agreed() else { return (Verdict::NoAgreement, None) };
        let [open, guarded, prefer] = judged.pairs[&pair].2;
        let meets = |votes| reached(self.facts.rules().threshold, votes, judged.electorate);
        let open = pair.open.is_some() && meets(open);
        let guarded = pair.guarded.is_some() && meets(guarded);
        let which = match (open, guarded) {
            (true, true) if 2 * prefer > judged.electorate => Some(Merge::Guarded),
            (true, _) => Some(Merge::Open),
            (false, true) => Some(Merge::Guarded),
            (false, false) => None,
        };
        (if which.is_some() { Verdict::Accepted } else { Verdict::Rejected }, which)
    }

    /// R88. Whether all that can still come leads to the same: whatever pair it names, be it a new one,
    /// or none, and whatever it says of that.
    fn is_certain(&self, to_come: u32) -> bool {
        let now = self.facts.judged();
        let outcome = self.outcome(&now);
        let new = Merges { open: Some(Digest([255; 32])), guarded: Some(Digest([254; 32])) };
        let mut pairs: Vec<Merges> = now.pairs.keys().copied().collect();
        pairs.push(new);
        let checks = now.checkers - now.checkers_cast;
        pairs.iter().all(|pair| {
            (0..8).all(|says: u32| {
                let mut then = self.facts.judged();
                let votes = then.pairs.entry(*pair).or_default();
                (votes.0, votes.1) = (votes.0 + to_come, votes.1 + checks);
                for (bit, sum) in votes.2.iter_mut().enumerate() {
                    *sum += if says >> bit & 1 == 1 { to_come } else { 0 };
                }
                self.outcome(&then) == outcome
            })
        })
    }

    /// R73, R74, R86. A merged round opens.
    pub(super) fn trains(&self, now_ms: u64) -> Consequence {
        let facts = &self.facts;
        let merging = facts.rules().merging.expect("merged rounds");
        let with_turns = facts.with_turns();
        let most = merging.proposers as usize;
        let (participants, last) = match facts.rules().selection {
            Selection::RoundRobin => {
                let last = facts.last_seat();
                let (after, before): (Vec<_>, Vec<_>) =
                    with_turns.into_iter().partition(|(seat, _)| last.is_none_or(|it| *seat > it));
                let mut turns = [after, before].concat();
                turns.truncate(most);
                let last = turns.last().map(|(seat, _)| *seat);
                (turns, last)
            }
            Selection::Sortition => (self.first(with_turns, "proposer", most), None),
        };
        let checkers = self.first(facts.seats().0, "checker", merging.checkers as usize);
        let learners = |mut seats: Vec<(u64, Who)>| -> Vec<Who> {
            seats.sort();
            seats.into_iter().map(|(_, who)| who).collect()
        };
        let (participants, checkers) = (learners(participants), learners(checkers));
        let keys =
            |all: &[Who]| -> Vec<LearnerId> { all.iter().map(|it| facts.key(*it)).collect() };
        let told = Decision::TrainingOpened {
            round: facts.round() + 1,
            participants: keys(&participants),
            checkers: keys(&checkers),
            base: facts.global().digest,
            previous: facts.previous().digest,
            deadline_ms: now_ms + facts.rules().proposal_deadline_ms,
        };
        (vec![What::Trains { participants, checkers, last }], vec![told])
    }

    /// R63. The first so many in the order of the next round's seed.
    fn first(&self, all: Vec<(u64, Who)>, purpose: &str, most: usize) -> Vec<(u64, Who)> {
        let facts = &self.facts;
        let (seed, known) = self.seed(facts.round() + 1);
        let is_for = |seat: u64, who: Who| {
            known.is_none_or(|(round, below)| seat < below && !facts.kept_silent(who, round))
        };
        let (mut for_them, mut others): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(seat, who)| is_for(*seat, *who));
        for_them.sort_by_key(|(seat, _)| hashes::rank(seed, purpose, *seat));
        others.sort_by_key(|(seat, _)| hashes::rank(seed, purpose, *seat));
        for_them.append(&mut others);
        for_them.truncate(most);
        for_them
    }

    /// What follows in an open merged round.
    pub(super) fn merged_consequence(&self, now_ms: u64) -> Option<Consequence> {
        let facts = &self.facts;
        let (participants, _) = facts.merged()?;
        let done = |is: fn(Done) -> bool| participants.iter().any(|who| is(facts.done(*who)));
        match facts.phase() {
            Phase::Training => {
                (!done(|it| it == Done::Nothing)).then(|| self.training_over(now_ms))
            }
            Phase::RevealingUpdates => {
                (!done(|it| it == Done::Sealed)).then(|| self.updates_in(now_ms))
            }
            Phase::Gathering => {
                let seats = facts.seats().0;
                let all = seats.iter().all(|(_, who)| facts.has(*who).is_some());
                all.then(|| self.gathering_over(now_ms))
            }
            Phase::Judging | Phase::Revealing => self.judging_consequence(now_ms),
            _ => None,
        }
    }

    /// Its stage is over.
    pub(super) fn merged_is_over(&self, now_ms: u64) -> Consequence {
        match self.facts.phase() {
            Phase::Training => self.training_over(now_ms),
            Phase::RevealingUpdates => self.updates_in(now_ms),
            Phase::Gathering => self.gathering_over(now_ms),
            Phase::Judging if self.committed() > 0 => {
                self.reveal_opens_with(now_ms, self.committed())
            }
            _ => self.judged(true),
        }
    }

    fn training_over(&self, now_ms: u64) -> Consequence {
        let (participants, _) = self.facts.merged().expect("a merged round");
        let sealed = participants.iter().filter(|who| self.facts.done(**who) == Done::Sealed);
        match sealed.count() as u32 {
            0 => self.updates_in(now_ms),
            committed => {
                let round = self.facts.round();
                let deadline_ms = now_ms + self.facts.rules().reveal_deadline_ms;
                let told = Decision::RevealOpened { round, committed, deadline_ms };
                (vec![What::RevealingUpdates], vec![told])
            }
        }
    }

    fn told(&self, updates: &[(Who, &Model)]) -> Vec<Sent> {
        let sent = |(who, model): &(Who, &Model)| Sent {
            learner: self.facts.key(*who),
            weights: model.digest,
        };
        updates.iter().map(sent).collect()
    }

    /// R78, R80.
    fn updates_in(&self, now_ms: u64) -> Consequence {
        let facts = &self.facts;
        let sent = facts.sent();
        let (participants, _) = facts.merged().expect("a merged round");
        if sent.is_empty() {
            let passed = participants.iter().all(|who| facts.done(*who) == Done::Passed);
            return self.unjudged(if passed { Verdict::Passed } else { Verdict::Expired });
        }
        match facts.rules().merging.and_then(|it| it.gather_deadline_ms) {
            None => self.judging(now_ms),
            Some(lasts_ms) => {
                let (round, updates) = (facts.round(), self.told(&sent));
                let deadline_ms = now_ms + lasts_ms;
                let told = Decision::GatheringOpened { round, updates, deadline_ms };
                (vec![What::Gathering], vec![told])
            }
        }
    }

    fn gathering_over(&self, now_ms: u64) -> Consequence {
        match self.facts.merges().is_empty() {
            true => self.unjudged(Verdict::Expired),
            false => self.judging(now_ms),
        }
    }

    fn judging(&self, now_ms: u64) -> Consequence {
        let facts = &self.facts;
        let told = Decision::MergeVotingOpened {
            round: facts.round(),
            updates: self.told(&facts.merges()),
            electorate: facts.electorate(),
            deadline_ms: now_ms + facts.rules().vote_deadline_ms,
        };
        (vec![What::Judging], vec![told])
    }

    fn unjudged(&self, verdict: Verdict) -> Consequence {
        let mut all = self.facts.duties(None, false);
        let (closed, told) = self.closed_with(verdict, false, Count::default(), None);
        all.extend(closed);
        (all, told)
    }

    fn committed(&self) -> u32 {
        let committed = |(_, what): &(u64, What)| match what {
            What::Committed { who, .. } => Some(self.facts.weight(*who)),
            _ => None,
        };
        self.facts.this_round().iter().filter_map(committed).sum()
    }

    fn judging_consequence(&self, now_ms: u64) -> Option<Consequence> {
        let judged = self.facts.judged();
        let sealed = self.facts.rules().ballot == BallotKind::Sealed;
        let to_come = match self.facts.phase() {
            Phase::Judging if sealed => {
                let all = self.committed() == judged.electorate;
                return all.then(|| self.reveal_opens_with(now_ms, self.committed()));
            }
            Phase::Revealing => self.committed() - judged.cast,
            _ => judged.electorate - judged.cast,
        };
        let early = self.facts.rules().close == Close::Early;
        let over = to_come == 0 || (early && self.is_certain(to_come));
        over.then(|| self.judged(to_come == 0))
    }

    /// R82 to R85, R87.
    fn judged(&self, waited: bool) -> Consequence {
        let judged = self.facts.judged();
        let (verdict, accepted) = self.outcome(&judged);
        let agreed = judged.agreed();
        let named = judged.pairs.values().map(|it| it.0).max().unwrap_or(0);
        // Without agreement it is told of one of those that lead; nobody goes on from these counts.
        let leading = agreed.or_else(|| self.first_to_lead(named));
        let [bear_open, bear_guarded, prefer_guarded] =
            leading.map_or([0; 3], |pair| judged.pairs[&pair].2);
        let mut told = vec![Decision::MergeDecided {
            round: self.facts.round(),
            agreed,
            named,
            bear_open,
            bear_guarded,
            prefer_guarded,
            accepted,
        }];
        let mut all = self.facts.duties(agreed, waited);
        let approvals = match (agreed, accepted) {
            (None, _) => 0,
            (_, Some(Merge::Open)) => bear_open,
            (_, Some(Merge::Guarded)) => bear_guarded,
            (_, None) => bear_open.max(bear_guarded),
        };
        let count = Count {
            electorate: judged.electorate,
            approvals,
            rejections: judged.cast - judged.abstentions - approvals,
            abstentions: judged.abstentions,
            unavailable: judged.unavailable,
            committed: 0,
        };
        let digest = agreed.zip(accepted).and_then(|(pair, which)| match which {
            Merge::Open => pair.open,
            Merge::Guarded => pair.guarded,
        });
        let model = digest.map(|digest| Model { digest, ..self.facts.global().clone() });
        let (closed, more) = self.closed_with(verdict, waited, count, model);
        all.extend(closed);
        told.extend(more);
        (all, told)
    }

    /// The first pair that came to so many votes.
    fn first_to_lead(&self, most: u32) -> Option<Merges> {
        let mut votes: BTreeMap<Merges, u32> = BTreeMap::new();
        for (who, vote) in self.facts.judgements() {
            if vote.merges == Merges::default() {
                continue;
            }
            let sum = votes.entry(vote.merges).or_default();
            *sum += self.facts.weight(who);
            if *sum == most {
                return Some(vote.merges);
            }
        }
        None
    }

    /// R72, R73, R75 to R78. What is wrong with something that who trains sends.
    fn training(&self, asked: Asked, round: u64, sealed: bool) -> Vec<&'static str> {
        let facts = &self.facts;
        let phase = facts.phase();
        let is_sealed = facts.rules().ballot == BallotKind::Sealed;
        let mut all = self.in_the_round(asked, round);
        all.extend(broken([
            ("RoundIsSingle", !facts.is_merged()),
            ("TrainingOver", !matches!(phase, Phase::Training | Phase::RevealingUpdates)),
            ("BallotSealed", !sealed && is_sealed),
            ("BallotOpen", sealed && !is_sealed),
            ("NotParticipant", !facts.trains(asked.who)),
        ]));
        all
    }

    fn sent_once(&self, asked: Asked) -> Vec<&'static str> {
        broken([("AlreadySent", self.facts.done(asked.who) != Done::Nothing)])
    }

    pub(super) fn updating(&self, asked: Asked, update: &Update) -> Vec<&'static str> {
        let Update { round, base, weights, privacy, .. } = update;
        let mut all = self.training(asked, *round, false);
        all.extend(self.sent_once(asked));
        all.extend(self.trained(asked, *base, weights, privacy.as_ref()));
        all
    }

    pub(super) fn sealing(&self, asked: Asked, round: u64, base: Digest) -> Vec<&'static str> {
        let late = self.facts.phase() == Phase::RevealingUpdates;
        let mut all = self.training(asked, round, true);
        all.extend(self.sent_once(asked));
        all.extend(broken([
            ("DeadlinePassed", late),
            ("WrongBase", base != self.facts.global().digest),
        ]));
        all
    }

    pub(super) fn unsealing(&self, asked: Asked, reveal: &RevealUpdate) -> Vec<&'static str> {
        let RevealUpdate { update, salt } = reveal;
        let Update { round, base, weights, privacy, .. } = update;
        let sealed = self.facts.this_round().iter().rev().find_map(|(_, what)| match what {
            What::SealedUpdate { who, hash, key } if *who == asked.who => Some((*hash, *key)),
            _ => None,
        });
        let sealed = sealed.filter(|_| self.facts.done(asked.who) == Done::Sealed);
        let matches = |(hash, key): (Digest, LearnerId)| {
            hash == hashes::update(self.ledger, key, &self.name, update, *salt)
        };
        let mut all = self.training(asked, *round, true);
        all.extend(self.trained(asked, *base, weights, privacy.as_ref()));
        all.extend(broken([
            ("NotRevealing", self.facts.phase() == Phase::Training),
            ("NothingCommitted", sealed.is_none()),
            ("RevealMismatch", sealed.is_some_and(|it| !matches(it))),
        ]));
        all
    }

    pub(super) fn passing(&self, asked: Asked, round: u64) -> Vec<&'static str> {
        let sealed = self.facts.rules().ballot == BallotKind::Sealed;
        let mut all = self.training(asked, round, sealed);
        all.extend(self.sent_once(asked));
        all.extend(broken([("DeadlinePassed", self.facts.phase() == Phase::RevealingUpdates)]));
        all
    }

    pub(super) fn having(&self, asked: Asked, round: u64, held: u64) -> Vec<&'static str> {
        let facts = &self.facts;
        let updates = facts.sent().len();
        let mut all = self.in_the_round(asked, round);
        all.extend(broken([
            ("RoundIsSingle", !facts.is_merged()),
            ("NotGathering", facts.phase() != Phase::Gathering),
            ("NotInElectorate", !facts.is_seated(asked.who)),
            ("AlreadyTold", facts.has(asked.who).is_some()),
            ("NoSuchUpdate", updates < 64 && held >> updates != 0),
        ]));
        all
    }

    /// R12, R19, R81. What is wrong with a ballot on merges, of whatever kind.
    fn judging_ballot(&self, asked: Asked, round: u64) -> Vec<&'static str> {
        let facts = &self.facts;
        let early =
            matches!(facts.phase(), Phase::Training | Phase::RevealingUpdates | Phase::Gathering);
        let mut all = self.in_the_round(asked, round);
        all.extend(broken([
            ("RoundIsSingle", !facts.is_merged()),
            ("NothingProposed", early),
            ("NotInElectorate", !facts.is_seated(asked.who)),
        ]));
        all
    }

    fn judgement(&self, vote: &MergeVote) -> Vec<&'static str> {
        let Merges { open, guarded } = vote.merges;
        let says = [vote.bear_guarded, vote.prefer_guarded].contains(&true);
        let abstains = open.is_none() && guarded.is_none();
        let bears = vote.bear_open || vote.bear_guarded;
        let reason_fits = match vote.reason {
            None => true,
            Some(Reason::Unavailable) => abstains,
            Some(_) => !bears,
        };
        broken([
            ("MergeVoteInvalid", (open.is_none() && vote.bear_open) || (guarded.is_none() && says)),
            ("ReasonMisplaced", !reason_fits),
        ])
    }

    pub(super) fn judging_openly(&self, asked: Asked, vote: &MergeVote) -> Vec<&'static str> {
        let mut all = self.judging_ballot(asked, vote.round);
        all.extend(self.judgement(vote));
        all.extend(broken([
            ("BallotSealed", self.facts.rules().ballot == BallotKind::Sealed),
            ("AlreadyVoted", self.facts.has_cast(asked.who)),
            ("WrongLink", !self.link_fits(asked.who, vote.link)),
        ]));
        all
    }

    pub(super) fn judging_sealed(
        &self,
        asked: Asked,
        round: u64,
        base: Digest,
        link: Option<Digest>,
    ) -> Vec<&'static str> {
        let sealed = self.facts.rules().ballot == BallotKind::Sealed;
        let mut all = self.judging_ballot(asked, round);
        all.extend(broken([
            ("DeadlinePassed", sealed && self.facts.phase() == Phase::Revealing),
            ("BallotOpen", !sealed),
            ("WrongBase", base != self.facts.global().digest),
            ("AlreadyVoted", self.facts.has_cast(asked.who)),
            ("WrongLink", !self.link_fits(asked.who, link)),
        ]));
        all
    }

    pub(super) fn judging_revealed(
        &self,
        asked: Asked,
        reveal: &RevealMergeVote,
    ) -> Vec<&'static str> {
        let RevealMergeVote { vote, salt } = reveal;
        let sealed = self.facts.rules().ballot == BallotKind::Sealed;
        let committed = self.facts.sealed(asked.who);
        let matches = |(hash, voter): (Digest, LearnerId)| {
            hash == hashes::merge_ballot(self.ledger, voter, &self.name, vote, *salt)
        };
        let mut all = self.judging_ballot(asked, vote.round);
        all.extend(self.judgement(vote));
        all.extend(broken([
            ("BallotOpen", !sealed),
            ("NotRevealing", sealed && self.facts.phase() == Phase::Judging),
            ("NothingCommitted", committed.is_none()),
            ("RevealMismatch", committed.is_some_and(|it| !matches(it))),
            ("WrongLink", vote.link.is_some()),
        ]));
        all
    }

    /// R15, R16, R42, R60, R62. What is wrong with what somebody has trained.
    pub(super) fn trained(
        &self,
        asked: Asked,
        base: Digest,
        weights: &Model,
        stated: Option<&PrivacySpent>,
    ) -> Vec<&'static str> {
        let facts = &self.facts;
        let (rules, version) = (facts.rules(), facts.version());
        let cap = rules.privacy;
        let over = |it: &PrivacySpent| {
            cap.is_some_and(|cap| {
                it.epsilon_micros > cap.epsilon_micros || it.delta_picos > cap.delta_picos
            })
        };
        let globals: BTreeSet<Digest> = facts.globals().iter().map(|it| it.digest).collect();
        let is_second = version > colearn_contracts::Version::V1;
        broken([
            ("WrongBase", base != facts.global().digest),
            ("WeightsSize", !(1..=rules.max_weights_bytes).contains(&weights.size)),
            ("MediaTypeDiffers", weights.media_type != facts.model.media_type),
            ("NotNew", is_second && globals.contains(&weights.digest)),
            ("PrivacyMissing", cap.is_some() && stated.is_none()),
            (
                "PrivacyInvalid",
                stated.is_some_and(|it| {
                    !super::bounds::statement_fits(it, facts.stated(asked.who), version)
                }),
            ),
            ("PrivacyOverCap", stated.is_some_and(over)),
        ])
    }
}
