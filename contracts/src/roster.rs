//! Who takes part: who may join, the members by key, the seats by number, and the changes of seat
//! that wait for the round's end.
//!
//! Data and what keeps it consistent; who may ask for a change is said in `membership`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::admission::{Admission, Invitation};
use crate::id::LearnerId;
use crate::member::{Member, Seat};
use crate::rejection::Rejection;

/// Everyone whom an experiment knows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Roster {
    /// Whether anyone may join.
    open: bool,
    /// Whether those listed at the beginning were called founders.
    by_vote: bool,
    /// Who may join otherwise, and what their votes weigh.
    admitted: BTreeMap<LearnerId, u32>,
    /// Who is, will be or was a member. Nobody is ever removed: terms, budgets and expulsions are
    /// remembered for the experiment's life.
    members: BTreeMap<LearnerId, Member>,
    /// The seated members by seat: the electorate with the proposer. Fixed while a round is open, so
    /// that the electorate is frozen without a copy of it (R19).
    seats: BTreeMap<u64, LearnerId>,
    /// The votes of the seated members together. Kept, for summing them would cost every proposal a
    /// walk over all members.
    weight: u32,
    next_seat: u64,
    /// Seat changes that wait for the round's end, in order of arrival.
    pending: Vec<LearnerId>,
}

impl Roster {
    pub(crate) fn new(admission: &Admission) -> Self {
        let invitations = admission.invitations();
        Self {
            open: *admission == Admission::Open,
            by_vote: matches!(admission, Admission::ByVote(_)),
            admitted: invitations.iter().map(|it| (it.learner, it.weight)).collect(),
            members: BTreeMap::new(),
            seats: BTreeMap::new(),
            weight: 0,
            next_seat: 0,
            pending: Vec::new(),
        }
    }

    /// Who may join now.
    pub(crate) fn admission(&self) -> Admission {
        let invitation = |(learner, weight): (&LearnerId, &u32)| Invitation {
            learner: *learner,
            weight: *weight,
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
        self.member(learner).is_some_and(|member| !member.exhausted)
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
            Seat::Seated(seat) if member.missed >= limit => Some((seat, *learner)),
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

    /// R49. Lets a learner join, also one that was expelled.
    pub(crate) fn admit(&mut self, invitation: Invitation) {
        let Invitation { learner, weight } = invitation;
        // Where anyone may join nobody is listed, and everybody has one vote.
        if !self.open {
            self.admitted.insert(learner, weight);
        }
        if let Some(member) = self.members.get_mut(&learner)
            && member.seat == Seat::Expelled
        {
            member.seat = Seat::Left;
        }
    }

    /// R50. Withdraws a learner's invitation.
    pub(crate) fn withdraw(&mut self, learner: LearnerId) {
        self.admitted.remove(&learner);
    }

    /// Makes a learner a member from the next settlement on.
    pub(crate) fn join(&mut self, learner: LearnerId, term: u32) {
        let weight = self.admitted.get(&learner).copied().unwrap_or(1);
        let member = self.members.entry(learner).or_insert_with(|| Member::new(weight));
        (member.term, member.seat, member.weight, member.missed) = (term, Seat::Joining, weight, 0);
        self.pending.push(learner);
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
    }

    /// R31. Everything known under one key goes on under another, which is not known.
    pub(crate) fn replace_key(&mut self, from: LearnerId, to: LearnerId) {
        assert!(!self.knows(to), "the new key is known already");
        if let Some(weight) = self.admitted.remove(&from) {
            self.admitted.insert(to, weight);
        }
        if let Some(member) = self.members.get_mut(&from) {
            let before = member.clone();
            // The old key's own record stays, so that it is refused for what it is (R31).
            (member.seat, member.commitment) = (Seat::Replaced, None);
            if let Some(seat) = before.seat.number() {
                self.seats.insert(seat, to);
            }
            self.members.insert(to, before);
        }
        self.pending.iter_mut().filter(|learner| **learner == from).for_each(|it| *it = to);
    }
}
