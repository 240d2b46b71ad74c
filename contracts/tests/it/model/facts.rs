//! The table of facts of one experiment, and what can be read off it.
//!
//! Nothing is kept but the facts, in their order: every question goes through them again. People are
//! numbered, whatever key they use, so a changed key is one more fact and changes no other.

use std::collections::{BTreeMap, BTreeSet};

use colearn_contracts::{
    Choice, Digest, LearnerId, MemberName, MergeVote, Model, Motion, Parameters, PauseReason,
    PrivacySpent, Reason, Threshold, Verdict, Version,
};

/// Somebody. A key that was replaced is somebody else, who can do nothing.
pub(super) type Who = usize;

/// Somebody of whom there are no facts.
pub(super) const NOBODY: Who = usize::MAX;

/// How somebody's seat was lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum How {
    Left,
    Suspended,
    Expelled,
}

/// The right to a seat.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Right {
    pub(super) who: Who,
    pub(super) weight: u32,
    pub(super) judge: bool,
    pub(super) name: Option<MemberName>,
    /// The fact that gave it.
    pub(super) since: usize,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    /// From here on this is somebody's key.
    Key {
        who: Who,
        key: LearnerId,
    },
    /// A key was replaced by another.
    Replaced {
        who: Who,
        from: LearnerId,
        to: LearnerId,
    },
    /// Somebody who is nothing but a key that a member has replaced.
    Retired {
        who: Who,
    },
    /// Who created it.
    Creator {
        who: Who,
    },
    Invited {
        who: Who,
        weight: u32,
        judge: bool,
        name: Option<MemberName>,
    },
    Withdrawn {
        who: Who,
    },
    Joined {
        who: Who,
        weight: u32,
        judge: bool,
        name: Option<MemberName>,
    },
    /// Renounced without being a member.
    UsedUp {
        who: Who,
    },
    /// Leaves when the round closes.
    Going {
        who: Who,
    },
    Seated {
        who: Who,
    },
    Gone {
        who: Who,
        how: How,
    },
    /// May come again.
    Readmitted {
        who: Who,
    },
    Weighed {
        who: Who,
        weight: u32,
        judge: bool,
    },
    Opened {
        who: Who,
        seat: u64,
    },
    Proposed {
        who: Who,
        model: Model,
        statement: Option<PrivacySpent>,
    },
    Passed {
        who: Who,
        exhausted: bool,
    },
    /// A vote that can be read.
    Said {
        who: Who,
        choice: Choice,
        reason: Option<Reason>,
    },
    Committed {
        who: Who,
        hash: Digest,
        key: LearnerId,
    },
    Linked {
        who: Who,
        link: Digest,
        anchor: bool,
    },
    Revealing,
    /// `waited`: whether all had the time that they were given.
    Closed {
        verdict: Verdict,
        waited: bool,
    },
    /// A merged round opened, with who trains and who checks, in joining order, and the seat of the last
    /// whose turn it was, where they take turns.
    Trains {
        participants: Vec<Who>,
        checkers: Vec<Who>,
        last: Option<u64>,
    },
    SealedUpdate {
        who: Who,
        hash: Digest,
        key: LearnerId,
    },
    Updated {
        who: Who,
        model: Model,
        statement: Option<PrivacySpent>,
    },
    RevealingUpdates,
    Gathering,
    /// What somebody says that it holds.
    Has {
        who: Who,
        held: u64,
    },
    Judging,
    /// A vote on merges that can be read.
    Judged {
        who: Who,
        vote: MergeVote,
    },
    /// What a merged round asked of somebody it has not done, or it has.
    MissedDuty {
        who: Who,
    },
    DidDuty {
        who: Who,
    },
    /// What the votes on merges have come to.
    Merged {
        model: Model,
    },
    /// Who was absent for too long has lost its seat.
    Swept,
    Waiting,
    Paused(PauseReason),
    Resumed,
    Finished,
    Moved {
        who: Who,
        motion: Motion,
        by: Version,
    },
    Backed {
        number: u64,
        who: Who,
        approve: bool,
    },
    Decided {
        number: u64,
        adopted: bool,
    },
    /// `between`: whether it waited for a time between rounds.
    InEffect {
        number: u64,
        between: bool,
    },
    /// The rules; `moved` if by a motion that says so.
    Rules {
        parameters: Parameters,
        moved: bool,
    },
    BudgetsAnew,
    Follows(Version),
    Evaluated {
        who: Who,
    },
}

use What::*;

/// Where somebody stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    NeverCame,
    Joining,
    Seated,
    Going,
    Left,
    Suspended,
    Expelled,
    Retired,
}

/// Where the experiment stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    Waiting,
    Paused(PauseReason),
    Proposing,
    Voting,
    Revealing,
    Training,
    RevealingUpdates,
    Gathering,
    Judging,
    /// A round is closed, and what comes next is not said yet.
    Closed,
    Finished,
}

/// A motion as it was made.
pub(super) struct Made<'a> {
    pub(super) number: u64,
    pub(super) who: Who,
    pub(super) motion: &'a Motion,
    /// The version that judges it.
    pub(super) by: Version,
    /// The fact that says so.
    pub(super) index: usize,
}

/// How the votes of a round stand.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Count {
    pub(super) electorate: u32,
    pub(super) approvals: u32,
    pub(super) rejections: u32,
    pub(super) abstentions: u32,
    pub(super) unavailable: u32,
    pub(super) committed: u32,
}

#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) open: bool,
    pub(super) by_vote: bool,
    pub(super) model: Model,
    /// Each with when it came about.
    pub(super) all: Vec<(u64, What)>,
}

impl Facts {
    fn back(&self) -> impl Iterator<Item = (usize, &What)> {
        self.all.iter().enumerate().rev().map(|(i, (_, what))| (i, what))
    }

    pub(super) fn last(&self) -> &What {
        &self.all[self.all.len() - 1].1
    }

    pub(super) fn people(&self) -> Who {
        self.all.iter().filter(|(_, what)| matches!(what, Key { .. })).count()
    }

    /// Whose key this is.
    pub(super) fn holder(&self, key: LearnerId) -> Who {
        let found = self.back().find_map(|(_, what)| match what {
            Key { who, key: it } if *it == key => Some(*who),
            _ => None,
        });
        found.unwrap_or(NOBODY)
    }

    pub(super) fn key(&self, who: Who) -> LearnerId {
        let key = self.back().find_map(|(_, what)| match what {
            Key { who: it, key } if *it == who => Some(*key),
            _ => None,
        });
        key.expect("everybody has a key")
    }

    /// What a key that was named after so many facts has become.
    pub(super) fn follow(&self, named: LearnerId, after: usize) -> LearnerId {
        self.all[after..].iter().fold(named, |key, (_, what)| match what {
            Replaced { from, to, .. } if *from == key => *to,
            _ => key,
        })
    }

    pub(super) fn creator(&self) -> Who {
        let creator = self.back().find_map(|(_, what)| match what {
            Creator { who } => Some(*who),
            _ => None,
        });
        creator.expect("somebody has created it")
    }

    /// R54. The key that created it, the first one that is told of.
    pub(super) fn created_by(&self) -> LearnerId {
        let key = self.all.iter().find_map(|(_, what)| match what {
            Key { key, .. } => Some(*key),
            _ => None,
        });
        key.expect("the creator is the first of whom anything is told")
    }

    pub(super) fn rules(&self) -> &Parameters {
        self.rules_after(self.all.len())
    }

    /// The rules after so many facts.
    pub(super) fn rules_after(&self, count: usize) -> &Parameters {
        let rules = self.all[..count].iter().rev().find_map(|(_, what)| match what {
            Rules { parameters, .. } => Some(parameters),
            _ => None,
        });
        rules.expect("there are rules")
    }

    pub(super) fn version(&self) -> Version {
        let version = self.back().find_map(|(_, what)| match what {
            Follows(version) => Some(*version),
            _ => None,
        });
        version.expect("it follows a version")
    }

    /// R55. Whether motions that this version judges are counted over all who are admitted.
    pub(super) fn is_governed_by_rights(&self, version: Version) -> bool {
        version > Version::V1 && !self.open
    }

    pub(super) fn phase(&self) -> Phase {
        let phase = self.back().find_map(|(_, what)| match what {
            What::Waiting => Some(Phase::Waiting),
            What::Paused(reason) => Some(Phase::Paused(*reason)),
            What::Opened { .. } => Some(Phase::Proposing),
            What::Proposed { .. } => Some(Phase::Voting),
            What::Revealing => Some(Phase::Revealing),
            What::Trains { .. } => Some(Phase::Training),
            What::RevealingUpdates => Some(Phase::RevealingUpdates),
            What::Gathering => Some(Phase::Gathering),
            What::Judging => Some(Phase::Judging),
            What::Closed { .. } => Some(Phase::Closed),
            What::Finished => Some(Phase::Finished),
            _ => None,
        });
        phase.expect("it waits at first")
    }

    /// R25. Whether no round is open.
    pub(super) fn is_between(&self) -> bool {
        matches!(self.phase(), Phase::Waiting | Phase::Paused(_) | Phase::Closed)
    }

    pub(super) fn round(&self) -> u64 {
        let opens = |(_, what): &&(u64, What)| matches!(what, Opened { .. } | Trains { .. });
        self.all.iter().filter(opens).count() as u64
    }

    /// The seat and person whose turn it is in the last round, if that has one proposer.
    pub(super) fn turn(&self) -> Option<(u64, Who)> {
        self.this_round().first().and_then(|(_, what)| match what {
            Opened { who, seat } => Some((*seat, *who)),
            _ => None,
        })
    }

    /// R24. The seat that had the last turn.
    pub(super) fn last_seat(&self) -> Option<u64> {
        self.back().find_map(|(_, what)| match what {
            Opened { seat, .. } | Trains { last: Some(seat), .. } => Some(*seat),
            _ => None,
        })
    }

    /// The facts since the last round opened.
    pub(super) fn this_round(&self) -> &[(u64, What)] {
        let opens = |(_, what): &(usize, &What)| matches!(what, Opened { .. } | Trains { .. });
        &self.all[self.back().find(opens).map_or(self.all.len(), |(i, _)| i)..]
    }

    /// What this round's proposer has proposed.
    pub(super) fn proposed(&self) -> Option<&Model> {
        self.this_round().iter().find_map(|(_, what)| match what {
            Proposed { model, .. } => Some(model),
            _ => None,
        })
    }

    /// R23. Every model that is or was the global one, in order.
    pub(super) fn globals(&self) -> Vec<&Model> {
        let (mut models, mut proposed) = (vec![&self.model], None);
        for (_, what) in &self.all {
            match what {
                Proposed { model, .. } | Merged { model } => proposed = Some(model),
                Closed { verdict: Verdict::Accepted, .. } => models.extend(proposed),
                _ => {}
            }
        }
        models
    }

    pub(super) fn global(&self) -> &Model {
        self.globals().pop().expect("it begins with one")
    }

    /// R74. What the last movement came from.
    pub(super) fn previous(&self) -> &Model {
        let closed = self.back().find(|(_, what)| matches!(what, Closed { .. }));
        let mut globals = self.globals();
        let global = globals.pop().expect("it begins with one");
        match closed {
            Some((_, Closed { verdict: Verdict::Accepted, .. })) => globals.pop().unwrap_or(global),
            _ => global,
        }
    }

    pub(super) fn standing(&self, who: Who) -> Standing {
        let found = self.back().find_map(|(_, what)| match what {
            Retired { who: it } if *it == who => Some(Standing::Retired),
            Joined { who: it, .. } if *it == who => Some(Standing::Joining),
            Seated { who: it } if *it == who => Some(Standing::Seated),
            Going { who: it } if *it == who => Some(Standing::Going),
            Readmitted { who: it } if *it == who => Some(Standing::Left),
            Gone { who: it, how } if *it == who => Some(match how {
                How::Left => Standing::Left,
                How::Suspended => Standing::Suspended,
                How::Expelled => Standing::Expelled,
            }),
            _ => None,
        });
        // Who renounces without ever having come is as one that has gone.
        let has_term = self.terms(who) > 0;
        found.unwrap_or(if has_term { Standing::Left } else { Standing::NeverCame })
    }

    pub(super) fn is_member(&self, who: Who) -> bool {
        matches!(self.standing(who), Standing::Joining | Standing::Seated | Standing::Going)
    }

    pub(super) fn is_seated(&self, who: Who) -> bool {
        matches!(self.standing(who), Standing::Seated | Standing::Going)
    }

    /// Who is seated, in joining order, and the number of all seats that were ever given.
    pub(super) fn seats(&self) -> (Vec<(u64, Who)>, u64) {
        self.seats_after(self.all.len())
    }

    /// The same after so many facts.
    pub(super) fn seats_after(&self, count: usize) -> (Vec<(u64, Who)>, u64) {
        let (mut seats, mut given) = (Vec::new(), 0);
        for (_, what) in &self.all[..count] {
            match what {
                Seated { who } => {
                    seats.push((given, *who));
                    given += 1;
                }
                Gone { who, .. } => seats.retain(|(_, it)| it != who),
                _ => {}
            }
        }
        (seats, given)
    }

    /// Everybody's right to a seat.
    pub(super) fn rights(&self) -> Vec<Right> {
        self.rights_after(self.all.len())
    }

    /// The same after so many facts.
    pub(super) fn rights_after(&self, count: usize) -> Vec<Right> {
        let mut rights: Vec<Right> = Vec::new();
        for (since, (_, what)) in self.all[..count].iter().enumerate() {
            match what {
                Invited { who, weight, judge, name } => {
                    rights.retain(|it| it.who != *who);
                    let (who, weight, judge, name) = (*who, *weight, *judge, name.clone());
                    rights.push(Right { who, weight, judge, name, since });
                }
                Withdrawn { who } => rights.retain(|it| it.who != *who),
                _ => {}
            }
        }
        rights
    }

    pub(super) fn right(&self, who: Who) -> Option<Right> {
        self.rights().into_iter().find(|it| it.who == who)
    }

    /// What somebody's seat weighs, and whether it is a judge's.
    pub(super) fn part(&self, who: Who) -> (u32, bool) {
        let found = self.back().find_map(|(_, what)| match what {
            Joined { who: it, weight, judge, .. } | Weighed { who: it, weight, judge }
                if *it == who =>
            {
                Some((*weight, *judge))
            }
            _ => None,
        });
        found.unwrap_or((0, false))
    }

    pub(super) fn weight(&self, who: Who) -> u32 {
        self.part(who).0
    }

    /// R7. How many terms somebody has had, or has given up.
    pub(super) fn terms(&self, who: Who) -> u32 {
        let of_it = |what: &What| match what {
            Joined { who: it, .. } | UsedUp { who: it } => *it == who,
            _ => false,
        };
        self.all.iter().filter(|(_, what)| of_it(what)).count() as u32
    }

    /// R64. Whether somebody else has, or had, this name.
    pub(super) fn is_taken(&self, name: &MemberName, by: Who) -> bool {
        self.all.iter().any(|(_, what)| match what {
            Invited { who, name: Some(it), .. } | Joined { who, name: Some(it), .. } => {
                it == name && *who != by
            }
            _ => false,
        })
    }

    /// R61. How often somebody has changed its key, as a member if it has ever been one.
    pub(super) fn keys_changed(&self, who: Who) -> usize {
        let come = |(_, what): &(u64, What)| match what {
            Joined { who: it, .. } | UsedUp { who: it } => *it == who,
            _ => false,
        };
        let since = self.all.iter().position(come).unwrap_or(0);
        let changes = |(_, what): &&(u64, What)| match what {
            Replaced { who: it, .. } => *it == who,
            _ => false,
        };
        self.all[since..].iter().filter(changes).count()
    }

    /// R42. What somebody has last stated.
    pub(super) fn stated(&self, who: Who) -> Option<&PrivacySpent> {
        self.back().find_map(|(_, what)| match what {
            Proposed { who: it, statement: Some(statement), .. }
            | Updated { who: it, statement: Some(statement), .. }
                if *it == who =>
            {
                Some(statement)
            }
            _ => None,
        })
    }

    /// R43. Whether somebody has no more turns.
    pub(super) fn is_exhausted(&self, who: Who) -> bool {
        let found = self.back().find_map(|(_, what)| match what {
            Passed { who: it, exhausted: true } if *it == who => Some(true),
            BudgetsAnew => Some(false),
            _ => None,
        });
        found.unwrap_or(false)
    }

    /// R43, R65. Who may have a turn, in joining order.
    pub(super) fn with_turns(&self) -> Vec<(u64, Who)> {
        let mut seats = self.seats().0;
        seats.retain(|(_, who)| !self.is_exhausted(*who) && !self.part(*who).1);
        seats
    }

    pub(super) fn evaluations(&self, who: Who) -> u64 {
        let of_it = |what: &What| matches!(what, Evaluated { who: it } if *it == who);
        self.all.iter().filter(|(_, what)| of_it(what)).count() as u64
    }

    /// R20. Whether somebody has voted in this round, or committed.
    pub(super) fn has_cast(&self, who: Who) -> bool {
        self.this_round().iter().any(|(_, what)| match what {
            Said { who: it, .. } | Committed { who: it, .. } | Judged { who: it, .. } => *it == who,
            _ => false,
        })
    }

    /// What somebody has committed to in this round and not revealed, and under which key.
    pub(super) fn sealed(&self, who: Who) -> Option<(Digest, LearnerId)> {
        let mut sealed = None;
        for (_, what) in self.this_round() {
            match what {
                Committed { who: it, hash, key } if *it == who => sealed = Some((*hash, *key)),
                Said { who: it, .. } | Judged { who: it, .. } if *it == who => sealed = None,
                _ => {}
            }
        }
        sealed
    }

    /// The votes of this round.
    pub(super) fn count(&self) -> Count {
        let mut count = Count::default();
        if self.proposed().is_none() {
            return count;
        }
        let weights: BTreeMap<Who, u32> =
            self.seats().0.iter().map(|(_, who)| (*who, self.weight(*who))).collect();
        let proposer = self.turn().map_or(NOBODY, |(_, who)| who);
        count.electorate =
            weights.iter().filter(|(it, _)| **it != proposer).map(|(_, it)| it).sum();
        for (_, what) in self.this_round() {
            match what {
                Said { who, choice, reason } => {
                    match choice {
                        Choice::Approve => count.approvals += weights[who],
                        Choice::Reject => count.rejections += weights[who],
                        Choice::Abstain => count.abstentions += weights[who],
                    }
                    if *choice == Choice::Abstain && *reason == Some(Reason::Unavailable) {
                        count.unavailable += weights[who];
                    }
                }
                Committed { who, .. } => count.committed += weights[who],
                _ => {}
            }
        }
        count
    }

    /// R39. How many turns somebody has missed in a row.
    pub(super) fn missed(&self, who: Who) -> u32 {
        let (mut missed, mut seated, mut proposer, mut proposed) = (0, false, NOBODY, false);
        let (mut spoken, mut merged) = (false, false);
        for (_, what) in &self.all {
            match what {
                Opened { who, .. } => {
                    (proposer, proposed, spoken, merged) = (*who, false, false, false);
                }
                Trains { .. } => merged = true,
                MissedDuty { who: it } if *it == who => missed += 1,
                DidDuty { who: it } if *it == who => missed = 0,
                Seated { who: it } if *it == who => seated = true,
                Gone { who: it, .. } if *it == who => seated = false,
                Joined { who: it, .. } if *it == who => missed = 0,
                Passed { who: it, .. } if *it == who && !merged => missed = 0,
                Proposed { who: it, .. } => {
                    proposed = true;
                    missed = if *it == who { 0 } else { missed };
                }
                Said { who: it, .. } if *it == who => (missed, spoken) = (0, true),
                Closed { verdict, waited } if !merged => {
                    let turn = !proposed && *verdict == Verdict::Expired && proposer == who;
                    let vote = proposed && *waited && seated && proposer != who && !spoken;
                    missed += u32::from(turn || vote);
                }
                _ => {}
            }
        }
        missed
    }

    /// R63. Whether somebody had a vote in this round or one after it, and neither cast it nor committed
    /// to one by the time that voting ended; or stated the anchor of a chain that is not its first.
    pub(super) fn kept_silent(&self, who: Who, from: u64) -> bool {
        let (mut round, mut seated, mut asked, mut spoken) = (0, false, false, false);
        let (mut silent, mut chains) = (false, 0);
        for (_, what) in &self.all {
            match what {
                Opened { .. } | Trains { .. } => {
                    (round, asked, spoken) = (round + 1, false, false);
                }
                Judging => asked = seated,
                Seated { who: it } if *it == who => seated = true,
                Gone { who: it, .. } if *it == who => seated = false,
                Proposed { who: it, .. } => asked = seated && *it != who,
                Said { who: it, .. } | Committed { who: it, .. } | Judged { who: it, .. }
                    if *it == who =>
                {
                    spoken = true;
                }
                Linked { who: it, anchor: true, .. } if *it == who => {
                    chains += 1;
                    silent |= round >= from && chains > 1;
                }
                Closed { waited, .. } => silent |= round >= from && asked && *waited && !spoken,
                _ => {}
            }
        }
        silent
    }

    /// R68. How many of somebody's proposals in a row most could not get.
    pub(super) fn not_to_be_had(&self, who: Who) -> u32 {
        let (mut lacking, mut proposed) = (0, false);
        for (_, what) in &self.all {
            match what {
                Opened { .. } | Trains { .. } => proposed = false,
                Proposed { who: it, .. } => proposed = *it == who,
                Joined { who: it, .. } if *it == who => lacking = 0,
                Closed { verdict: Verdict::Expired, .. } if proposed => lacking += 1,
                Closed { .. } if proposed => lacking = 0,
                _ => {}
            }
        }
        lacking
    }

    /// R40. How many rounds in a row nothing was proposed in.
    pub(super) fn idle(&self) -> u64 {
        let (mut idle, mut proposed, mut merged) = (0, false, false);
        for (i, (_, what)) in self.all.iter().enumerate() {
            match what {
                Opened { .. } => (proposed, merged) = (false, false),
                Trains { .. } => (proposed, merged) = (false, true),
                Proposed { .. } | Gathering | Judging => (idle, proposed) = (0, true),
                Joined { .. } | Resumed | Rules { moved: true, .. } => idle = 0,
                // R78. A whole rotation.
                Closed { .. } if !proposed && merged => {
                    idle += self.seats_after(i).0.len() as u64;
                }
                Closed { .. } if !proposed => idle += 1,
                _ => {}
            }
        }
        idle
    }

    /// R38. How many proposals in a row were rejected.
    pub(super) fn rejected(&self) -> u64 {
        self.all.iter().fold(0, |rejected, (_, what)| match what {
            Closed { verdict: Verdict::Accepted, .. } => 0,
            Closed { verdict: Verdict::Rejected, .. } => rejected + 1,
            _ => rejected,
        })
    }

    /// R59. Since when no round is open.
    pub(super) fn between_since(&self) -> u64 {
        let closed = self.all.iter().rev().find(|(_, what)| matches!(what, Closed { .. }));
        closed.map_or(self.all[0].0, |(ms, _)| *ms)
    }

    /// R63. The last link of somebody's chain, if it goes on.
    pub(super) fn chain(&self, who: Who) -> Option<Digest> {
        let (mut last, mut revealed) = (None, 0);
        for (_, what) in &self.all {
            match what {
                Linked { who: it, link, anchor } if *it == who => {
                    revealed = if *anchor { 0 } else { revealed + 1 };
                    last = (revealed < 1024).then_some(*link);
                }
                Replaced { who: it, .. } if *it == who => last = None,
                _ => {}
            }
        }
        last
    }

    /// Every motion that was made.
    pub(super) fn motions(&self) -> Vec<Made<'_>> {
        let mut made = Vec::new();
        for (index, (_, what)) in self.all.iter().enumerate() {
            if let Moved { who, motion, by } = what {
                let number = made.len() as u64 + 1;
                made.push(Made { number, who: *who, motion, by: *by, index });
            }
        }
        made
    }

    /// Those that are not decided.
    pub(super) fn open_motions(&self) -> Vec<Made<'_>> {
        let mut motions = self.motions();
        let decided: BTreeSet<u64> = self
            .all
            .iter()
            .filter_map(|(_, what)| match what {
                Decided { number, .. } => Some(*number),
                _ => None,
            })
            .collect();
        motions.retain(|it| !decided.contains(&it.number));
        motions
    }

    /// R48. The first that is adopted and has not taken effect.
    pub(super) fn adopted(&self) -> Option<u64> {
        let mut adopted = Vec::new();
        for (_, what) in &self.all {
            match what {
                Decided { number, adopted: true } => adopted.push(*number),
                InEffect { number, .. } => adopted.retain(|it| it != number),
                _ => {}
            }
        }
        adopted.first().copied()
    }

    /// When a motion is decided at the latest.
    pub(super) fn motion_ends(&self, made: &Made<'_>) -> u64 {
        self.all[made.index].0 + self.rules_after(made.index).motion_deadline_ms
    }

    /// R46, R55. Whose vote counts on a motion, with its weight: of who could when it was moved.
    pub(super) fn motion_electorate(&self, made: &Made<'_>) -> Vec<(Who, u32)> {
        if self.is_governed_by_rights(made.by) {
            let rights = self.rights_after(made.index).into_iter();
            return rights.map(|it| (it.who, it.weight)).collect();
        }
        let mut seats = self.seats_after(made.index).0;
        // In version 1 the mover's vote is none.
        seats.retain(|(_, who)| made.by > Version::V1 || *who != made.who);
        let before = Self { all: self.all[..made.index].to_vec(), ..self.clone() };
        seats.into_iter().map(|(_, who)| (who, before.weight(who))).collect()
    }

    /// Whether somebody may vote on a motion still.
    pub(super) fn has_vote_on(&self, made: &Made<'_>, who: Who) -> bool {
        if self.is_governed_by_rights(made.by) {
            return self.right(who).is_some_and(|it| it.since < made.index);
        }
        let seated = self.back().find_map(|(i, what)| match what {
            Seated { who: it } if *it == who => Some(i),
            _ => None,
        });
        self.is_seated(who) && seated.is_some_and(|since| since < made.index)
    }

    /// R47, R57. The votes for, against, those there are, and the threshold.
    pub(super) fn motion_count(&self, made: &Made<'_>) -> (u32, u32, u32, Threshold) {
        let electorate: BTreeMap<Who, u32> = self.motion_electorate(made).into_iter().collect();
        let (mut approvals, mut rejections) = (0, 0);
        if made.by > Version::V1 {
            approvals += electorate[&made.who];
        }
        for (_, what) in &self.all[made.index..] {
            match what {
                Backed { number, who, approve } if *number == made.number => {
                    *if *approve { &mut approvals } else { &mut rejections } += electorate[who];
                }
                _ => {}
            }
        }
        let threshold = match made.by > Version::V1 {
            true => super::bounds::governance(self.rules_after(made.index)),
            false => {
                let rules = self.rules();
                rules.governance_threshold.unwrap_or(rules.threshold)
            }
        };
        (approvals, rejections, electorate.values().sum(), threshold)
    }

    pub(super) fn has_backed(&self, made: &Made<'_>, who: Who) -> bool {
        self.all[made.index..].iter().any(|(_, what)| match what {
            Backed { number, who: it, .. } => *number == made.number && *it == who,
            _ => false,
        })
    }
}
