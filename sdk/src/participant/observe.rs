//! What a participant makes of the ledger's records.

use colearn_contracts::{Act, Decision, LearnerId, Motion, Proposal, Verdict};
use colearn_records::record::Record;

use super::{Event, Membership, Participant, Phase, Stage, Standing};

impl Participant {
    /// Shows the next record of the ledger; those of other experiments are passed over. Gives what
    /// there is to tell.
    pub fn observe(&mut self, record: &Record) -> Option<Event> {
        match record {
            Record::Transaction(transaction)
                if transaction.action.experiment == self.experiment =>
            {
                self.observe_act(transaction.sender, &transaction.action.what);
                None
            }
            Record::Outcome(outcome) if outcome.experiment == self.experiment => {
                self.observe_decision(&outcome.what)
            }
            Record::Transaction(_)
            | Record::Outcome(_)
            | Record::Genesis(_)
            | Record::KeyRotation(_)
            | Record::Upgrade(_) => None,
        }
    }

    /// Whether an act by somebody else is of any concern to other participants. (With many learners,
    /// not showing each the votes of all others is most of what a simulated round costs.)
    pub fn concerns_all(act: &Act) -> bool {
        matches!(act, Act::Create(_) | Act::Propose(_) | Act::Move { .. } | Act::ReplaceKey { .. })
    }

    /// Shows a recorded act of this experiment.
    pub fn observe_act(&mut self, sender: LearnerId, act: &Act) {
        if let Act::Create(create) = act {
            self.standing = Some(Standing::created(create));
        }
        let Some(standing) = &mut self.standing else { return };
        match act {
            Act::Propose(proposal) => {
                self.pauses = 0;
                let stage = if standing.sealed { Stage::Commit } else { Stage::Open };
                let weights = proposal.weights.clone();
                standing.phase = Phase::Voting { proposer: sender, weights, stage };
            }
            Act::Move { number, motion: Motion::SetParameters(parameters) } => {
                self.motions.insert(*number, (**parameters).clone());
            }
            Act::ReplaceKey { to } if *to == self.me => {
                // This key goes on where the other stood.
                standing.membership = Membership::Member;
            }
            Act::Create(_)
            | Act::Join { .. }
            | Act::Leave { .. }
            | Act::Pass { .. }
            | Act::Vote(_)
            | Act::Commit(_)
            | Act::Reveal(_)
            | Act::Resume { .. }
            | Act::ReplaceKey { .. }
            | Act::Move { .. }
            | Act::MotionVote { .. }
            | Act::Stop => {}
        }
        if sender == self.me {
            self.own_act(act);
        }
        self.drop_what_came_too_late();
    }

    /// An act of this learner, recorded or about to be.
    pub(super) fn own_act(&mut self, act: &Act) {
        let Some(standing) = &mut self.standing else { return };
        match act {
            Act::Join { term } => {
                standing.membership = Membership::Member;
                standing.next_term = term + 1;
                // Whoever joins during a round votes from the next one on (R19).
                standing.votes_from = standing.round + 1;
                standing.unrevealed = false;
            }
            Act::Leave { .. } => standing.membership = Membership::Left,
            Act::ReplaceKey { to } => standing.membership = Membership::Replaced(*to),
            Act::Propose(Proposal { round, .. }) | Act::Pass { round, .. } => {
                self.turn_taken = *round;
            }
            Act::Vote(vote) => self.voted(vote.round),
            Act::Commit(commit) => self.voted(commit.round),
            Act::Reveal(_) => standing.unrevealed = false,
            Act::Resume { .. } => self.resumed = true,
            Act::Create(_) | Act::Move { .. } | Act::MotionVote { .. } | Act::Stop => {}
        }
    }

    /// The vote of a round is cast, or committed to.
    pub(super) fn voted(&mut self, round: u64) {
        if let Some(standing) = &mut self.standing {
            standing.votes_from = standing.votes_from.max(round + 1);
            standing.unrevealed = standing.sealed;
        }
    }

    /// Shows what the contract decided about this experiment. Gives what there is to tell.
    pub fn observe_decision(&mut self, decision: &Decision) -> Option<Event> {
        let standing = self.standing.as_mut()?;
        let mut told = None;
        match decision {
            Decision::RoundOpened { round, proposer, .. } => {
                standing.round = *round;
                standing.phase = Phase::Proposing { proposer: *proposer };
            }
            Decision::RoundClosed { round, verdict, approvals, rejections, electorate, .. } => {
                if let Phase::Voting { weights, .. } =
                    std::mem::replace(&mut standing.phase, Phase::Idle)
                    && *verdict == Verdict::Accepted
                {
                    standing.model = weights;
                }
                standing.unrevealed = false;
                told = Some(Event::RoundClosed {
                    round: *round,
                    verdict: *verdict,
                    approvals: *approvals,
                    rejections: *rejections,
                    electorate: *electorate,
                });
            }
            Decision::RevealOpened { .. } => {
                if let Phase::Voting { stage, .. } = &mut standing.phase {
                    *stage = Stage::Reveal;
                }
            }
            Decision::Waiting { members, min_learners } => {
                standing.phase = Phase::Idle;
                told = Some(Event::Waiting { members: *members, min_learners: *min_learners });
            }
            Decision::Paused { reason } => {
                standing.phase = Phase::Paused(*reason);
                self.pauses = self.pauses.saturating_add(1);
                self.resumed = false;
                told = Some(Event::Paused { reason: *reason });
            }
            Decision::Suspended { learner, reason } if *learner == self.me => {
                standing.unseat(*reason);
                told = Some(Event::Suspended { reason: *reason });
            }
            Decision::MotionOpened { number, .. } => {
                told = Some(Event::MotionOpened { number: *number });
            }
            Decision::MotionTookEffect { number } => match self.motions.remove(number) {
                Some(parameters) => standing.set_rules(&parameters),
                // Of another kind, or moved before this learner came.
                None => self.rules_changed = true,
            },
            Decision::Finished { reason, .. } => standing.phase = Phase::Finished(*reason),
            Decision::VotingOpened { .. }
            | Decision::Suspended { .. }
            | Decision::MotionDecided { .. } => {}
        }
        self.drop_what_came_too_late();
        told
    }
}
