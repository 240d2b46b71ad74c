//! Who did what in which round: one sign for each, which the page, the terminal and plots draw alike.

use colearn_contracts::{Choice, LearnerId, Verdict};
use colearn_records::history::{History, Round};

/// What a learner did in a round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Deed {
    Approved,
    Rejected,
    Abstained,
    Other,
    Absent,
    Won,
    Lost,
    Missed,
    Due,
    Done,
    None,
}

impl Deed {
    pub(crate) const ALL: [Self; 11] = [
        Self::Approved,
        Self::Rejected,
        Self::Abstained,
        Self::Other,
        Self::Absent,
        Self::Won,
        Self::Lost,
        Self::Missed,
        Self::Due,
        Self::Done,
        Self::None,
    ];

    /// For programs, as a sign, and for people.
    pub(crate) fn told(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Approved => ("approve", "✓", "voted for"),
            Self::Rejected => ("reject", "✗", "voted against"),
            Self::Abstained => ("abstain", "–", "abstained"),
            Self::Other => ("other", "≠", "named another pair of merges"),
            Self::Absent => ("absent", "·", "did not vote"),
            Self::Won => ("won", "▲", "proposed, accepted"),
            Self::Lost => ("lost", "△", "proposed, not accepted"),
            Self::Missed => ("missed", "∅", "had its turn and sent nothing"),
            Self::Due => ("due", "…", "is waited for"),
            Self::Done => ("done", "•", "has done its part"),
            Self::None => ("none", "", "took no part"),
        }
    }
}

/// What each of these learners did in each of these rounds: a row for each learner. Who is waited for in a round that
/// is open is named by `waited_for`.
pub(crate) fn deeds(
    history: &History,
    rounds: &[Round],
    learners: &[LearnerId],
    waited_for: &[LearnerId],
) -> Vec<Vec<Deed>> {
    let rounds: Vec<(&Round, Vec<LearnerId>)> = rounds
        .iter()
        .map(|round| {
            let another = round.merged.as_ref().map(|merged| merged.named_another());
            (round, another.unwrap_or_default())
        })
        .collect();
    let of = |learner: &LearnerId| {
        let one = |(round, another): &(&Round, Vec<LearnerId>)| match another.contains(learner) {
            true => Deed::Other,
            false => deed(history, round, *learner, waited_for.contains(learner)),
        };
        rounds.iter().map(one).collect()
    };
    learners.iter().map(of).collect()
}

fn deed(history: &History, round: &Round, learner: LearnerId, is_waited_for: bool) -> Deed {
    let verdict = round.result.map(|result| result.verdict);
    if verdict.is_none() && is_waited_for {
        return Deed::Due;
    }
    if round.proposer == Some(learner) {
        return match (round.proposal, verdict) {
            (None, _) => Deed::Missed,
            (Some(_), None) => Deed::Done,
            (Some(_), Some(Verdict::Accepted)) => Deed::Won,
            (
                Some(_),
                Some(Verdict::Rejected | Verdict::Expired | Verdict::Passed | Verdict::NoAgreement),
            ) => Deed::Lost,
        };
    }
    if let Some(ballot) = round.ballots.get(&learner) {
        return match ballot.choice {
            Choice::Approve => Deed::Approved,
            Choice::Reject => Deed::Rejected,
            Choice::Abstain => Deed::Abstained,
        };
    }
    let (mut has_sent, mut was_to_train) = (false, false);
    if let Some(merged) = &round.merged {
        if merged.votes.contains_key(&learner) {
            return Deed::Done;
        }
        has_sent = merged.updates.contains_key(&learner) || merged.passed.contains_key(&learner);
        was_to_train = merged.participants.contains(&learner);
    }
    match verdict.is_some() && history.is_member(learner, round.number) {
        true if round.was_voted_on() => Deed::Absent,
        true if was_to_train && !has_sent => Deed::Missed,
        true | false if has_sent => Deed::Done,
        true | false => Deed::None,
    }
}
