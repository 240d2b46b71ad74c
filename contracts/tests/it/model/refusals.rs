//! Every rule that an act breaks, each looked at by itself: which of them is the answer is for the
//! README's table to say.

use colearn_contracts::{
    Act, BallotKind, Digest, Invitation, Join, LearnerId, Motion, PauseReason, Proposal, Selection,
    Version, Vote,
};

use super::bounds;
use super::experiment::{Experiment, WEEK_MS};
use super::facts::{Made, Phase, Standing, Who};
use super::hashes;

/// The names of those that hold.
pub(super) fn broken<const N: usize>(rules: [(&'static str, bool); N]) -> Vec<&'static str> {
    rules.into_iter().filter_map(|(name, holds)| holds.then_some(name)).collect()
}

/// Who asks for it, when, and on a ledger of which version.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub(super) who: Who,
    pub(super) now_ms: u64,
    pub(super) ledger: Version,
    /// R92.
    pub(super) most: Option<u32>,
}

impl Experiment {
    /// All that is wrong with it.
    pub(super) fn refusals(&self, asked: Asked, act: &Act) -> Vec<&'static str> {
        let finished = self.facts.phase() == Phase::Finished;
        let mut all = broken([
            ("NotInVersion", self.facts.version() == Version::V1 && bounds::is_of_version_2(act)),
            ("ExperimentFinished", finished && !matches!(act, Act::Evaluate(_))),
        ]);
        // Nothing that is asked of one that has finished could be right, but for an evaluation.
        if finished && !matches!(act, Act::Evaluate(_)) {
            return all;
        }
        all.extend(match act {
            Act::Create(_) => vec!["ExperimentExists"],
            Act::Join(join) => self.joining(asked, join),
            Act::Leave { term, renounce } => self.leaving(asked, *term, *renounce),
            Act::Resume { round } => self.resuming(asked, *round),
            Act::ReplaceKey { to } => self.changing_key(asked, *to),
            Act::Propose(proposal) => self.proposing(asked, proposal),
            Act::Pass { round, exhausted, .. } => {
                let capped = self.facts.rules().privacy.is_some();
                let second = self.facts.version() > Version::V1;
                let mut all = match self.facts.is_merged() {
                    true => self.passing(asked, *round),
                    false => self.having_the_turn(asked, *round),
                };
                all.extend(broken([("NoPrivacyCap", *exhausted && second && !capped)]));
                all
            }
            Act::Vote(vote) => {
                let mut all = self.balloting(asked, vote.round, vote.weights);
                all.extend(broken([
                    ("BallotSealed", self.facts.rules().ballot == BallotKind::Sealed),
                    ("AlreadyVoted", self.facts.has_cast(asked.who)),
                    ("ReasonMisplaced", !bounds::reason_fits(vote)),
                    ("WrongLink", !self.link_fits(asked.who, vote.link)),
                ]));
                all
            }
            Act::Commit(commit) if self.facts.is_merged() => {
                self.judging_sealed(asked, commit.round, commit.weights, commit.link)
            }
            Act::Commit(commit) => {
                let sealed = self.facts.rules().ballot == BallotKind::Sealed;
                let mut all = self.balloting(asked, commit.round, commit.weights);
                all.extend(broken([
                    // The time to commit is over.
                    ("DeadlinePassed", sealed && self.facts.phase() == Phase::Revealing),
                    ("BallotOpen", !sealed),
                    ("AlreadyVoted", self.facts.has_cast(asked.who)),
                    ("WrongLink", !self.link_fits(asked.who, commit.link)),
                ]));
                all
            }
            Act::Reveal(reveal) => {
                let sealed = self.facts.rules().ballot == BallotKind::Sealed;
                let mut all = self.balloting(asked, reveal.vote.round, reveal.vote.weights);
                let committed = self.facts.sealed(asked.who);
                all.extend(broken([
                    ("BallotOpen", !sealed),
                    ("NotRevealing", sealed && self.facts.phase() == Phase::Voting),
                    ("NothingCommitted", committed.is_none()),
                    (
                        "RevealMismatch",
                        committed.is_some_and(|(hash, voter)| {
                            hash != self.ballot_hash(voter, &reveal.vote, reveal.salt)
                        }),
                    ),
                    ("ReasonMisplaced", !bounds::reason_fits(&reveal.vote)),
                    // The commitment had it.
                    ("WrongLink", reveal.vote.link.is_some()),
                ]));
                all
            }
            Act::Update(update) => self.updating(asked, update),
            Act::CommitUpdate(commit) => self.sealing(asked, commit.round, commit.base),
            Act::RevealUpdate(reveal) => self.unsealing(asked, reveal),
            Act::Have { round, held } => self.having(asked, *round, *held),
            Act::MergeVote(vote) => self.judging_openly(asked, vote),
            Act::RevealMergeVote(reveal) => self.judging_revealed(asked, reveal),
            Act::Move { number, motion } => self.moving(asked, *number, motion),
            Act::MotionVote { number, .. } => self.backing(asked, *number),
            Act::Stop => broken([("NotCreator", !self.may_stop(asked))]),
            Act::Evaluate(evaluation) => {
                let next = self.facts.evaluations(asked.who) + 1;
                broken([
                    ("NotMember", !self.facts.is_member(asked.who)),
                    ("EvaluationInvalid", !bounds::evaluation_fits(evaluation)),
                    ("WrongEvaluation", evaluation.number != next),
                    ("TooManyEvaluations", next > 16 * (self.facts.round() + 1)),
                ])
            }
        });
        all
    }

    /// R6, R7, R53, R64, R92.
    fn joining(&self, Asked { who, most, .. }: Asked, join: &Join) -> Vec<&'static str> {
        let facts = &self.facts;
        let right = facts.right(who);
        let named = right.as_ref().is_some_and(|it| it.name.is_some());
        let second = facts.version() > Version::V1;
        let members = (0..facts.people()).filter(|it| facts.is_member(*it)).count();
        broken([
            ("MembersFull", most.is_some_and(|most| members >= most as usize)),
            ("Expelled", facts.standing(who) == Standing::Expelled),
            ("KeyReplaced", facts.standing(who) == Standing::Retired),
            ("NotInvited", !facts.open && right.is_none()),
            ("AlreadyMember", facts.is_member(who)),
            ("WrongTerm", join.term != facts.terms(who)),
            ("OtherTerms", second && join.terms != Some(self.terms())),
            (
                "NameTaken",
                join.name.as_ref().is_some_and(|name| named || facts.is_taken(name, who)),
            ),
        ])
    }

    /// R7, R9, R58.
    fn leaving(&self, Asked { who, .. }: Asked, term: u32, renounce: bool) -> Vec<&'static str> {
        let facts = &self.facts;
        let stays = matches!(facts.standing(who), Standing::Joining | Standing::Seated);
        let may = stays || (renounce && facts.right(who).is_some());
        let terms = facts.terms(who);
        // A member's present term; the next one of who is none.
        let names = if facts.is_member(who) { terms - 1 } else { terms };
        broken([("NotMember", !may), ("WrongTerm", may && term != names)])
    }

    /// R41, R43, R65.
    fn resuming(&self, Asked { who, .. }: Asked, round: u64) -> Vec<&'static str> {
        let paused = match self.facts.phase() {
            Phase::Paused(reason) => Some(reason),
            _ => None,
        };
        broken([
            ("NotMember", !self.facts.is_member(who)),
            ("WaitingForMembers", paused == Some(PauseReason::OnlyJudges)),
            ("NotPaused", paused.is_none()),
            ("BudgetsSpent", paused == Some(PauseReason::BudgetsSpent)),
            ("WrongRound", round != self.facts.round()),
        ])
    }

    /// R31, R61.
    fn changing_key(&self, Asked { who, .. }: Asked, to: LearnerId) -> Vec<&'static str> {
        let facts = &self.facts;
        let standing = facts.standing(who);
        let second = facts.version() > Version::V1;
        broken([
            ("Expelled", standing == Standing::Expelled),
            ("KeyReplaced", standing == Standing::Retired),
            ("NotMember", !self.knows(who)),
            ("KeyInUse", self.knows(facts.holder(to))),
            ("TooManyKeys", second && facts.keys_changed(who) >= 64),
        ])
    }

    /// Whether somebody is, was or may become a member by name, or has created it.
    fn knows(&self, who: Who) -> bool {
        self.facts.standing(who) != Standing::NeverCame
            || self.facts.right(who).is_some()
            || self.facts.creator() == who
    }

    /// R9, R10, R11, R40.
    pub(super) fn in_the_round(&self, Asked { who, .. }: Asked, round: u64) -> Vec<&'static str> {
        let phase = self.facts.phase();
        broken([
            ("NotMember", !self.facts.is_member(who)),
            ("WaitingForMembers", phase == Phase::Waiting),
            ("Paused", matches!(phase, Phase::Paused(_))),
            ("WrongRound", round != self.facts.round()),
        ])
    }

    /// R12 to R14.
    fn having_the_turn(&self, asked: Asked, round: u64) -> Vec<&'static str> {
        let mut all = self.in_the_round(asked, round);
        all.extend(broken([
            ("RoundIsMerged", self.facts.is_merged()),
            ("AlreadyProposed", self.facts.proposed().is_some()),
            ("NotYourTurn", self.facts.turn().is_none_or(|(_, who)| who != asked.who)),
        ]));
        all
    }

    /// R15, R16, R42, R60, R62.
    fn proposing(&self, asked: Asked, proposal: &Proposal) -> Vec<&'static str> {
        let Proposal { round, base, weights, privacy, .. } = proposal;
        let mut all = self.having_the_turn(asked, *round);
        all.extend(self.trained(asked, *base, weights, privacy.as_ref()));
        all
    }

    /// R12, R17 to R19.
    fn balloting(&self, asked: Asked, round: u64, judged: Digest) -> Vec<&'static str> {
        let proposed = self.facts.proposed().map(|it| it.digest);
        let proposer = self.facts.turn().map(|(_, who)| who);
        let mut all = self.in_the_round(asked, round);
        all.extend(broken([
            ("RoundIsMerged", self.facts.is_merged()),
            ("NothingProposed", proposed.is_none()),
            ("WrongProposal", proposed.is_some_and(|it| it != judged)),
            ("ProposerCannotVote", proposer == Some(asked.who)),
            ("NotInElectorate", !self.facts.is_seated(asked.who)),
        ]));
        all
    }

    /// R63.
    pub(super) fn link_fits(&self, who: Who, link: Option<Digest>) -> bool {
        let drawn = self.facts.rules().selection == Selection::Sortition;
        match (drawn && self.facts.version() > Version::V1, link, self.facts.chain(who)) {
            (false, link, _) => link.is_none(),
            (true, None, _) => false,
            (true, Some(_), None) => true,
            (true, Some(link), Some(last)) => hashes::before_link(link) == last,
        }
    }

    /// R44, R45, R55, R69, and what is said of whom a motion is about.
    fn moving(&self, asked: Asked, number: u64, motion: &Motion) -> Vec<&'static str> {
        let facts = &self.facts;
        let by = match motion {
            Motion::Adopt(version) => facts.version().max(*version),
            _ => facts.version(),
        };
        let mut all = self.deciding(asked, by);
        if !facts.is_governed_by_rights(by) {
            let alone = facts.seats().0.len() < 2 && facts.rules().min_learners > 1;
            all.extend(broken([
                ("WaitingForMembers", facts.round() == 0 || alone),
                ("NotInElectorate", !facts.is_seated(asked.who)),
            ]));
        }
        let open = facts.open_motions();
        let adoptable = |version: Version| version > facts.version() && version <= asked.ledger;
        all.extend(broken([
            ("WrongMotion", number != facts.motions().len() as u64 + 1),
            ("MotionsOpen", open.len() >= 64 || open.iter().any(|it| it.who == asked.who)),
            ("MotionInvalid", !self.motion_fits(motion)),
            ("CannotAdopt", matches!(motion, Motion::Adopt(it) if !adoptable(*it))),
            ("NoSuchMember", !self.is_about_somebody(motion)),
        ]));
        if let (Motion::Admit(invitation), true) = (motion, facts.is_governed_by_rights(by)) {
            let who = facts.holder(invitation.learner);
            let taken = |name| facts.is_taken(name, who);
            all.extend(broken([("NameTaken", invitation.name.as_ref().is_some_and(taken))]));
        }
        all
    }

    /// R9, R46, R55. Who may have a say at all.
    fn deciding(&self, Asked { who, .. }: Asked, by: Version) -> Vec<&'static str> {
        let facts = &self.facts;
        if !facts.is_governed_by_rights(by) {
            return broken([("NotMember", !facts.is_member(who))]);
        }
        broken([
            ("Expelled", facts.standing(who) == Standing::Expelled),
            ("KeyReplaced", facts.standing(who) == Standing::Retired),
            ("NotInvited", facts.right(who).is_none()),
        ])
    }

    /// R2, R44, R49.
    fn motion_fits(&self, motion: &Motion) -> bool {
        let facts = &self.facts;
        let version = facts.version();
        match motion {
            Motion::SetParameters(rules) => {
                let enough = rules.min_learners as usize <= facts.rights().len();
                bounds::rules_fit(rules, version, facts.global())
                    && (enough || !facts.is_governed_by_rights(version))
            }
            Motion::Admit(Invitation { weight, judge, name, .. }) => {
                // Where anyone may join everybody has one vote, and calls itself what it likes.
                let plain = *weight == 1 && !judge && name.is_none();
                (1..=10_000).contains(weight) && (plain || version == Version::V1 || !facts.open)
            }
            Motion::Suspend(_) | Motion::Expel(_) | Motion::Stop | Motion::Adopt(_) => true,
        }
    }

    /// R44, R50.
    fn is_about_somebody(&self, motion: &Motion) -> bool {
        let facts = &self.facts;
        let second = facts.version() > Version::V1;
        match motion {
            Motion::Suspend(key) => facts.is_member(facts.holder(*key)),
            Motion::Expel(key) => {
                let who = facts.holder(*key);
                match facts.standing(who) {
                    Standing::Joining | Standing::Seated | Standing::Going => true,
                    Standing::Left | Standing::Suspended => second,
                    Standing::NeverCame => second && facts.right(who).is_some(),
                    Standing::Expelled | Standing::Retired => false,
                }
            }
            // Nobody could ever use the right of a key that was replaced.
            Motion::Admit(invitation) => {
                let standing = facts.standing(facts.holder(invitation.learner));
                !facts.is_governed_by_rights(facts.version()) || standing != Standing::Retired
            }
            Motion::SetParameters(_) | Motion::Stop | Motion::Adopt(_) => true,
        }
    }

    /// R18, R20, R46, R55.
    fn backing(&self, asked: Asked, number: u64) -> Vec<&'static str> {
        let open = self.facts.open_motions();
        let made: Option<&Made<'_>> = open.iter().find(|it| it.number == number);
        let mut all = self.deciding(asked, made.map_or(self.facts.version(), |made| made.by));
        all.extend(match made {
            None => vec!["NoSuchMotion"],
            Some(made) => broken([
                ("ProposerCannotVote", made.who == asked.who),
                ("NotInElectorate", !self.facts.has_vote_on(made, asked.who)),
                ("AlreadyVoted", self.facts.has_backed(made, asked.who)),
            ]),
        });
        all
    }

    /// R29, R59.
    fn may_stop(&self, Asked { who, now_ms, .. }: Asked) -> bool {
        let facts = &self.facts;
        let creator = facts.creator() == who;
        let unopened = facts.round() == 0;
        let free = creator && facts.rules().creator_may_stop;
        if facts.version() == Version::V1 {
            return free || (creator && unopened && facts.seats().0.is_empty());
        }
        let for_a_week = |since_ms: u64| now_ms - since_ms >= WEEK_MS;
        let standing = facts.standing(who);
        let was_there =
            !matches!(standing, Standing::NeverCame | Standing::Expelled | Standing::Retired);
        let has_part = match facts.open {
            true => was_there,
            false => {
                facts.right(who).is_some()
                    && !matches!(standing, Standing::Expelled | Standing::Retired)
            }
        };
        free || (creator && unopened)
            || (unopened && for_a_week(facts.all[0].0))
            || ((creator || has_part) && facts.is_between() && for_a_week(facts.between_since()))
    }

    fn ballot_hash(&self, voter: LearnerId, vote: &Vote, salt: [u8; 32]) -> Digest {
        let version = self.facts.version();
        hashes::ballot(version, self.ledger, voter, &self.name, vote, salt)
    }
}
