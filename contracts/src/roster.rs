//! Who takes part: who may join, the members by key, the seats by number, and the changes of seat
//! that wait for the round's end.
//!
//! Data and what keeps it consistent; who may ask for a change is said in `membership`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::admission::{Admission, Invitation};
use crate::id::LearnerId;
use crate::member::{Member, Seat};
use crate::name::MemberName;
use crate::rejection::Rejection;

/// The right to a seat, where not everybody has it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Right {
    /// What the vote weighs (R37).
    pub(crate) weight: u32,
    /// Whether it is to judge only (R65).
    pub(crate) judge: bool,
    /// What its holder is called (R64).
    pub(crate) name: Option<MemberName>,
    /// How many changes of the admission there were before the one that gave it as it is: who got it
    /// after a motion was moved, or another weight, has no vote on that one (R55).
    pub(crate) since: u64,
}

/// Everyone whom an experiment knows.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Roster {
    /// Whether anyone may join.
    pub(crate) open: bool,
    /// Whether those listed at the beginning were called founders.
    pub(crate) by_vote: bool,
    /// Who may join otherwise.
    pub(crate) admitted: BTreeMap<LearnerId, Right>,
    /// The votes of all of these together, whether they sit or not (R55).
    pub(crate) admitted_weight: u32,
    /// How often it has changed who may join, and as what.
    pub(crate) changes: u64,
    /// Who is called what (R64). A name is nobody else's, also when its bearer has gone.
    pub(crate) names: BTreeMap<MemberName, LearnerId>,
    /// Who is, will be or was a member. Nobody is ever removed: terms, budgets and expulsions are
    /// remembered for the experiment's life.
    pub(crate) members: BTreeMap<LearnerId, Member>,
    /// The seated members by seat: the electorate with the proposer. Fixed while a round is open, so
    /// that the electorate is frozen without a copy of it (R19).
    pub(crate) seats: BTreeMap<u64, LearnerId>,
    /// The votes of the seated members together. Kept, for summing them would cost every proposal a
    /// walk over all members.
    pub(crate) weight: u32,
    pub(crate) next_seat: u64,
    /// How many of the members are keys that were replaced.
    pub(crate) replaced: usize,
    /// Seat changes that wait for the round's end, in order of arrival.
    pub(crate) pending: Vec<LearnerId>,
    /// What there is beside, where only a part of it was read ([`pieces`](crate::pieces)); no part of the
    /// state.
    #[serde(skip)]
    pub(crate) rest: Option<Rest>,
}

/// What a part of a roster knows of the members that are not in it: they are none any more.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Rest {
    /// How many they are.
    pub(crate) members: usize,
    /// How often everybody's budgets have been renewed, theirs too.
    pub(crate) renewals: u64,
}

impl Roster {
    pub(crate) fn new(admission: &Admission) -> Self {
        let mut roster = Self {
            open: *admission == Admission::Open,
            by_vote: matches!(admission, Admission::ByVote(_)),
            ..Self::default()
        };
        for invitation in admission.invitations() {
            roster.give(invitation.clone());
        }
        roster
    }

    /// Whether anyone may join.
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// Who may join now.
    pub(crate) fn admission(&self) -> Admission {
        let invitation = |(learner, right): (&LearnerId, &Right)| Invitation {
            learner: *learner,
            weight: right.weight,
            judge: right.judge,
            name: right.name.clone(),
        };
        let invitations = self.admitted.iter().map(invitation).collect();
        match (self.open, self.by_vote) {
            (true, _) => Admission::Open,
            (false, true) => Admission::ByVote(invitations),
            (false, false) => Admission::Invited(invitations),
        }
    }

    /// R6. Whether the learner may join, all else aside.
    pub(crate) fn admits(&self, learner: LearnerId) -> bool {
        self.open || self.admitted.contains_key(&learner)
    }

    /// Whether the learner is, was, or may become a member by name.
    pub(crate) fn knows(&self, learner: LearnerId) -> bool {
        self.members.contains_key(&learner) || self.admitted.contains_key(&learner)
    }

    /// The right to a seat of a learner that is listed.
    pub(crate) fn right(&self, learner: LearnerId) -> Option<&Right> {
        self.admitted.get(&learner)
    }

    /// How many are listed.
    pub(crate) fn admitted(&self) -> usize {
        self.admitted.len()
    }

    /// R55. The votes of all who are listed, whether they sit or not.
    pub(crate) fn admitted_weight(&self) -> u32 {
        self.admitted_weight
    }

    /// How often who may join, and as what, has changed.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// R8. How many there have been, however many keys they had.
    pub(crate) fn ever(&self) -> usize {
        self.keys() - self.replaced
    }

    /// R8. How many keys have been members.
    pub(crate) fn keys(&self) -> usize {
        self.members.len() + self.rest.map_or(0, |rest| rest.members)
    }

    /// R92. How many take part, or are to when the round ends.
    pub(crate) fn present_count(&self) -> usize {
        let joins = |learner: &&LearnerId| {
            self.members.get(learner).is_some_and(|member| member.seat == Seat::Joining)
        };
        self.seats.len() + self.pending.iter().filter(joins).count()
    }

    /// R64. What a learner is called.
    pub(crate) fn name(&self, learner: LearnerId) -> Option<&MemberName> {
        let invited = self.admitted.get(&learner).and_then(|right| right.name.as_ref());
        invited.or_else(|| self.members.get(&learner)?.name.as_ref())
    }

    /// R64. Whether somebody else is called that.
    pub(crate) fn is_taken(&self, name: &MemberName, learner: LearnerId) -> bool {
        self.names.get(name).is_some_and(|bearer| *bearer != learner)
    }

    pub(crate) fn member(&self, learner: LearnerId) -> Option<&Member> {
        self.members.get(&learner)
    }

    pub(crate) fn member_mut(&mut self, learner: LearnerId) -> Option<&mut Member> {
        self.members.get_mut(&learner)
    }

    pub(crate) fn members(&self) -> impl ExactSizeIterator<Item = (LearnerId, &Member)> {
        self.members.iter().map(|(learner, member)| (*learner, member))
    }

    /// R9. A learner that is a member now, though perhaps not from this round on.
    pub(crate) fn present(&self, learner: LearnerId) -> Result<&Member, Rejection> {
        let member = self.members.get(&learner).filter(|member| member.seat.is_member());
        member.ok_or(Rejection::NotMember)
    }

    /// The same, to be changed.
    pub(crate) fn present_mut(&mut self, learner: LearnerId) -> Result<&mut Member, Rejection> {
        let member = self.members.get_mut(&learner).filter(|member| member.seat.is_member());
        member.ok_or(Rejection::NotMember)
    }

    /// The seats that are taken, in joining order.
    pub(crate) fn seats(&self) -> &BTreeMap<u64, LearnerId> {
        &self.seats
    }

    /// The number that the next seat will have; all seats there are lie below.
    pub(crate) fn next_seat(&self) -> u64 {
        self.next_seat
    }

    /// The votes of the seated members together.
    pub(crate) fn weight(&self) -> u32 {
        self.weight
    }

    /// R43. Whether the learner has turns to propose.
    pub(crate) fn has_turns(&self, learner: LearnerId) -> bool {
        self.member(learner).is_some_and(|member| !member.exhausted && !member.judge)
    }

    /// R65. Whether only judges take part.
    pub(crate) fn has_only_judges(&self) -> bool {
        self.seats.values().all(|learner| self.member(*learner).is_some_and(|it| it.judge))
    }

    /// Who is seated and has turns to propose, with their seats, in joining order.
    pub(crate) fn proposers(&self) -> impl Iterator<Item = (u64, LearnerId)> + '_ {
        let seated = self.seats.iter().map(|(seat, learner)| (*seat, *learner));
        seated.filter(|(_, learner)| self.has_turns(*learner))
    }

    /// Every seated member, by key, to be changed.
    pub(crate) fn seated_mut(&mut self) -> impl Iterator<Item = (LearnerId, &mut Member)> {
        let members = self.members.iter_mut().map(|(learner, member)| (*learner, member));
        members.filter(|(_, member)| member.seat.number().is_some())
    }

    /// Who is seated and has missed this many turns in a row, in joining order. Not who is leaving
    /// anyway.
    pub(crate) fn absent(&self, limit: u32) -> Vec<LearnerId> {
        let absent = |(learner, member): (&LearnerId, &Member)| match member.seat {
            Seat::Seated(seat) if member.is_absent(limit) => Some((seat, *learner)),
            Seat::Seated(_)
            | Seat::Joining
            | Seat::Leaving(_)
            | Seat::Left
            | Seat::Suspended
            | Seat::Expelled
            | Seat::Replaced => None,
        };
        // Walked by key and put in order afterwards: at the end of each round almost nobody is found,
        // and looking up every seat's member would cost as much as all of the round's votes.
        let mut absent: Vec<(u64, LearnerId)> = self.members.iter().filter_map(absent).collect();
        absent.sort_unstable();
        absent.into_iter().map(|(_, learner)| learner).collect()
    }

    /// R49. Lets a learner join, also one that was expelled. In version 2 the seat that it has weighs
    /// what the admission says, too: only between rounds (R56).
    pub(crate) fn admit(&mut self, mut invitation: Invitation, with_seat: bool) {
        let learner = invitation.learner;
        // Where anyone may join nobody is listed, and everybody has one vote.
        if !self.open {
            if invitation.name.as_ref().is_some_and(|name| self.is_taken(name, learner)) {
                // Somebody has come meanwhile who calls itself that, and names decide nothing.
                invitation.name = None;
            }
            self.give(invitation);
        }
        if let Some(member) = self.members.get_mut(&learner)
            && member.seat == Seat::Expelled
        {
            member.seat = Seat::Left;
        }
        if with_seat {
            self.weigh(learner);
        }
    }

    fn give(&mut self, invitation: Invitation) {
        let Invitation { learner, weight, judge, name } = invitation;
        if let Some(name) = &name {
            self.names.insert(name.clone(), learner);
        }
        let right = Right { weight, judge, name, since: self.changes };
        self.admitted_weight += weight;
        if let Some(before) = self.admitted.insert(learner, right) {
            self.admitted_weight -= before.weight;
        }
        self.changes += 1;
    }

    /// R50, R58. Takes away a learner's right to a seat. Whether it had one.
    pub(crate) fn withdraw(&mut self, learner: LearnerId) -> bool {
        let Some(right) = self.admitted.remove(&learner) else { return false };
        self.admitted_weight -= right.weight;
        self.changes += 1;
        true
    }

    /// R69. Gives everybody who is a member the weight that is admitted: in version 1 an admission did
    /// not change the seat that there was.
    pub(crate) fn weigh_all(&mut self) {
        let present: Vec<LearnerId> = self
            .members
            .iter()
            .filter(|(_, it)| it.seat.is_member())
            .map(|(who, _)| *who)
            .collect();
        present.into_iter().for_each(|learner| self.weigh(learner));
    }

    /// R69. Takes away the rights of keys that were replaced: version 1 could give them some. Nobody can
    /// ever use them, and they would count in every motion.
    pub(crate) fn withdraw_replaced(&mut self) {
        let is_replaced = |learner: &LearnerId| {
            self.members.get(learner).is_some_and(|member| member.seat == Seat::Replaced)
        };
        let replaced: Vec<LearnerId> = self.admitted.keys().copied().filter(is_replaced).collect();
        for learner in replaced {
            self.withdraw(learner);
        }
    }

    /// Gives a member the weight and the part that it is admitted with.
    fn weigh(&mut self, learner: LearnerId) {
        let Some(right) = self.admitted.get(&learner) else { return };
        let Some(member) = self.members.get_mut(&learner) else { return };
        if member.seat.number().is_some() {
            self.weight = self.weight - member.weight + right.weight;
        }
        (member.weight, member.judge) = (right.weight, right.judge);
    }

    /// Finds the seats of the members that there are: of all, or of those that were read of a roster.
    pub(crate) fn sit(&mut self) {
        self.seats.clear();
        for (learner, member) in &self.members {
            if let Some(seat) = member.seat.number() {
                self.seats.insert(seat, *learner);
            }
        }
    }

    /// Makes a learner a member from the next settlement on.
    pub(crate) fn join(&mut self, learner: LearnerId, term: u32, name: Option<&MemberName>) {
        let right = self.admitted.get(&learner);
        let (weight, judge) = right.map_or((1, false), |right| (right.weight, right.judge));
        let member = self.members.entry(learner).or_insert_with(Member::new);
        (member.term, member.seat, member.weight) = (term, Seat::Joining, weight);
        (member.judge, member.missed, member.unavailable) = (judge, 0, 0);
        if let Some(name) = name {
            member.name = Some(name.clone());
            self.names.insert(name.clone(), learner);
        }
        self.pending.push(learner);
    }

    /// R58. Uses up the term that a learner which is no member could have joined for.
    pub(crate) fn use_up(&mut self, learner: LearnerId, term: u32) {
        let never_came = || Member { seat: Seat::Left, ..Member::new() };
        self.members.entry(learner).or_insert_with(never_came).term = term;
    }

    /// Has a member's seat taken at the next settlement. Whether it takes part until then.
    pub(crate) fn leave(&mut self, learner: LearnerId) -> bool {
        let Some(member) = self.members.get_mut(&learner) else { return false };
        match member.seat {
            Seat::Seated(seat) => {
                member.seat = Seat::Leaving(seat);
                self.pending.push(learner);
                true
            }
            Seat::Joining => {
                member.seat = Seat::Left;
                self.pending.retain(|pending| *pending != learner);
                false
            }
            Seat::Leaving(_) | Seat::Left | Seat::Suspended | Seat::Expelled | Seat::Replaced => {
                false
            }
        }
    }

    /// R25. Gives a seat to who joined and takes it from who left, in order of arrival. Only while no
    /// round is open: the electorate is frozen (R19).
    pub(crate) fn settle(&mut self) {
        for learner in core::mem::take(&mut self.pending) {
            let Some(member) = self.members.get_mut(&learner) else { continue };
            match member.seat {
                Seat::Joining => {
                    member.seat = Seat::Seated(self.next_seat);
                    self.weight += member.weight;
                    self.seats.insert(self.next_seat, learner);
                    // Never given again: a motion's electorate is who sits below a number (R46).
                    self.next_seat += 1;
                }
                Seat::Leaving(seat) => {
                    member.seat = Seat::Left;
                    self.weight -= member.weight;
                    self.seats.remove(&seat);
                }
                Seat::Seated(_)
                | Seat::Left
                | Seat::Suspended
                | Seat::Expelled
                | Seat::Replaced => {}
            }
        }
    }

    /// Takes a member's seat between rounds, and says what it is now.
    pub(crate) fn unseat(&mut self, learner: LearnerId, seat: Seat) {
        assert!(seat.number().is_none(), "who is unseated takes part no more");
        let Some(member) = self.members.get_mut(&learner) else { return };
        if let Some(number) = member.seat.number() {
            self.seats.remove(&number);
            self.weight -= member.weight;
        }
        member.seat = seat;
        self.pending.retain(|pending| *pending != learner);
    }

    /// R48. Gives everybody their turns back: under another cap there may be something left.
    pub(crate) fn renew_budgets(&mut self) {
        self.members.values_mut().for_each(|member| member.exhausted = false);
        if let Some(rest) = &mut self.rest {
            rest.renewals += 1;
        }
    }

    /// R31. Everything known under one key goes on under another, which is not known.
    pub(crate) fn replace_key(&mut self, from: LearnerId, to: LearnerId) {
        assert!(!self.knows(to), "the new key is known already");
        // As it is: it is the same right, also for the motions that are open.
        if let Some(right) = self.admitted.remove(&from) {
            self.admitted.insert(to, right);
        }
        self.names.values_mut().filter(|bearer| **bearer == from).for_each(|bearer| *bearer = to);
        if let Some(member) = self.members.get_mut(&from) {
            // The old key's own record stays, so that it is refused for what it is (R31).
            let left = Member { seat: Seat::Replaced, term: member.term, ..Member::new() };
            let mut before = core::mem::replace(member, left);
            self.replaced += 1;
            before.keys_replaced += 1;
            if let Some(chain) = &mut before.chain {
                chain.end();
            }
            if let Some(seat) = before.seat.number() {
                self.seats.insert(seat, to);
            }
            self.members.insert(to, before);
        }
        self.pending.iter_mut().filter(|learner| **learner == from).for_each(|it| *it = to);
    }
}
