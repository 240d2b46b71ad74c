//! What a participant makes of the ledger's records.

use colearn_contracts::{
    Act, CommitUpdate, Decision, Digest, LINKS, LearnerId, Model, Motion, Proposal, RevealUpdate,
    Sent, Update, Verdict,
};
use colearn_records::convert::ChainState;
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
            | Record::Upgrade(_)
            | Record::Block(_)
            | Record::ValidatorChange(_) => None,
        }
    }

    /// Whether an act of its own is of any concern to other participants. (With many learners,
    /// not showing each the votes of all others is most of what a simulated round costs.)
    pub fn concerns_others(&self, act: &Act) -> bool {
        // Who need not merge takes their word.
        let checks = || self.standing.as_ref().is_some_and(|it| it.checkers.contains(&self.me));
        let is_checked = matches!(act, Act::MergeVote(_)) && checks();
        is_checked
            || matches!(
                act,
                Act::Create(_)
                    | Act::Propose(_)
                    | Act::Update(_)
                    | Act::RevealUpdate(_)
                    | Act::Move { .. }
                    | Act::ReplaceKey { .. }
                    | Act::Leave { renounce: true, .. }
            )
    }

    /// Shows a recorded act of this experiment.
    pub fn observe_act(&mut self, sender: LearnerId, act: &Act) {
        if let Act::Create(create) = act {
            self.standing = Some(Standing::created(self.me, sender, create));
            self.models.insert(create.model.digest);
        }
        let Some(standing) = &mut self.standing else { return };
        match act {
            Act::Propose(proposal) => {
                self.pauses = 0;
                self.proposed = Some((sender, proposal.weights.clone()));
                // One that states nothing does not make the contract forget.
                if sender == self.me && proposal.privacy.is_some() {
                    standing.privacy.clone_from(&proposal.privacy);
                }
            }
            Act::Update(update) | Act::RevealUpdate(RevealUpdate { update, .. }) => {
                self.pauses = 0;
                standing.sent.push(update.weights.clone());
                if sender == self.me && update.privacy.is_some() {
                    standing.privacy.clone_from(&update.privacy);
                }
            }
            Act::MergeVote(vote) => {
                if standing.checkers.contains(&sender) {
                    *standing.checked.entry(vote.merges).or_default() += 1;
                }
                if sender == self.me {
                    standing.reveal(vote.round, vote.link);
                }
            }
            Act::Have { held, .. } => {
                if let Phase::Gathering { updates, .. } = &standing.phase {
                    let lacked = updates.iter().enumerate().filter(|(at, _)| held >> at & 1 == 0);
                    standing.lacked.extend(lacked.map(|(_, update)| update.digest));
                }
            }
            Act::Move { number, motion: Motion::SetParameters(parameters) } => {
                self.motions.insert(*number, (**parameters).clone());
            }
            Act::ReplaceKey { to } => {
                // Perhaps the creator's, or somebody's who is invited.
                standing.terms = None;
                if *to == self.me {
                    // This key goes on where the other stood. The other's chain has ended.
                    (standing.membership, standing.chain) = (Membership::Member, None);
                }
            }
            Act::Leave { renounce: true, .. } => standing.terms = None,
            Act::Vote(vote) if sender == self.me => standing.reveal(vote.round, vote.link),
            Act::Commit(commit) if sender == self.me => standing.reveal(commit.round, commit.link),
            Act::Create(_)
            | Act::Join(_)
            | Act::Leave { .. }
            | Act::Pass { .. }
            | Act::Vote(_)
            | Act::Commit(_)
            | Act::Reveal(_)
            | Act::Resume { .. }
            | Act::Move { .. }
            | Act::MotionVote { .. }
            | Act::Stop
            | Act::Evaluate(_)
            | Act::CommitUpdate(_)
            | Act::RevealMergeVote(_) => {}
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
            Act::Join(join) => {
                standing.membership = Membership::Member;
                standing.next_term = join.term + 1;
                // Whoever joins during a round votes from the next one on (R19).
                standing.votes_from = standing.round + 1;
                standing.unrevealed = false;
            }
            Act::Leave { .. } => standing.membership = Membership::Left,
            Act::ReplaceKey { to } => standing.membership = Membership::Replaced(*to),
            Act::Propose(Proposal { round, .. })
            | Act::Pass { round, .. }
            | Act::Update(Update { round, .. })
            | Act::CommitUpdate(CommitUpdate { round, .. })
            | Act::RevealUpdate(RevealUpdate { update: Update { round, .. }, .. }) => {
                standing.committed = matches!(act, Act::CommitUpdate(_));
                self.took_turn(*round);
            }
            Act::Have { .. } => {
                if let Phase::Gathering { mine, .. } = &mut standing.phase {
                    *mine = false;
                }
            }
            Act::MergeVote(vote) => self.voted(vote.round),
            Act::RevealMergeVote(_) => standing.unrevealed = false,
            Act::Vote(vote) => self.voted(vote.round),
            Act::Commit(commit) => self.voted(commit.round),
            Act::Reveal(_) => standing.unrevealed = false,
            Act::Resume { .. } => self.resumed = true,
            Act::Create(_)
            | Act::Move { .. }
            | Act::MotionVote { .. }
            | Act::Stop
            | Act::Evaluate(_) => {}
        }
    }

    /// What a round asks of who trains in it is done, as far as it can be now.
    pub(super) fn took_turn(&mut self, round: u64) {
        self.turn_taken = round;
        if let Some(Standing { phase: Phase::Training { mine, .. }, .. }) = &mut self.standing {
            *mine = false;
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
            Decision::RoundOpened { round, proposer, deadline_ms, .. } => {
                standing.round = *round;
                standing.phase =
                    Phase::Proposing { proposer: *proposer, deadline_ms: *deadline_ms };
            }
            Decision::TrainingOpened { round, participants, checkers, deadline_ms, .. } => {
                standing.round = *round;
                standing.checkers.clone_from(checkers);
                standing.sent.clear();
                standing.lacked.clear();
                standing.committed = false;
                standing.checked.clear();
                standing.phase = Phase::Training {
                    mine: participants.contains(&self.me),
                    stage: Stage::first(standing.sealed),
                    deadline_ms: *deadline_ms,
                };
            }
            Decision::GatheringOpened { updates, deadline_ms, .. } => {
                let updates = standing.models(updates);
                let mine = standing.membership == Membership::Member
                    && standing.votes_from <= standing.round;
                standing.phase = Phase::Gathering { updates, mine, deadline_ms: *deadline_ms };
            }
            Decision::MergeVotingOpened { updates, deadline_ms, .. } => {
                let updates = standing.models(updates);
                let stage = Stage::first(standing.sealed);
                standing.phase = Phase::Merging { updates, stage, deadline_ms: *deadline_ms };
            }
            Decision::MergeDecided { round, agreed, accepted, .. } => {
                let accepted = *accepted;
                self.accepted_merge = agreed.and_then(|pair| pair.of(accepted?));
                told = Some(Event::Merged { round: *round, accepted });
            }
            Decision::VotingOpened { deadline_ms, .. } => {
                if let Some((proposer, weights)) = self.proposed.take() {
                    let stage = if standing.sealed { Stage::Commit } else { Stage::Open };
                    let deadline_ms = *deadline_ms;
                    standing.phase = Phase::Voting { proposer, weights, stage, deadline_ms };
                }
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
                self.models.insert(*model);
                let accepted = match std::mem::replace(&mut standing.phase, Phase::Idle) {
                    Phase::Voting { weights, .. } if *verdict == Verdict::Accepted => Some(weights),
                    // It has the base's header, and so its size.
                    Phase::Merging { .. } => self
                        .accepted_merge
                        .take()
                        .map(|digest| Model { digest, ..standing.model.clone() }),
                    _ => None,
                };
                if let Some(model) = &accepted
                    && let Some((digest, score)) =
                        self.scored.iter().find(|(digest, _)| *digest == model.digest)
                {
                    self.bearing.lived_with(*digest, *score);
                }
                let before = accepted.map(|model| std::mem::replace(&mut standing.model, model));
                standing.previous = before.filter(|before| *before != standing.model);
                standing.unrevealed = false;
                told = Some(Event::RoundClosed {
                    round: *round,
                    verdict: *verdict,
                    approvals: *approvals,
                    rejections: *rejections,
                    abstentions: *abstentions,
                    unavailable: *unavailable,
                    electorate: *electorate,
                });
            }
            Decision::RevealOpened { deadline_ms: opened_ms, .. } => {
                if let Phase::Training { mine, .. } = &mut standing.phase {
                    *mine = standing.committed;
                }
                if let Phase::Voting { stage, deadline_ms, .. }
                | Phase::Training { stage, deadline_ms, .. }
                | Phase::Merging { stage, deadline_ms, .. } = &mut standing.phase
                {
                    (*stage, *deadline_ms) = (Stage::Reveal, *opened_ms);
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
            Decision::MotionTookEffect { number } => {
                standing.terms = None;
                match self.motions.remove(number) {
                    Some(parameters) => standing.set_parameters(&parameters),
                    // Of another kind, or moved before this learner came.
                    None => self.rules_changed = true,
                }
            }
            Decision::Finished { reason, .. } => standing.phase = Phase::Finished(*reason),
            Decision::Suspended { .. } | Decision::MotionDecided { .. } => {}
        }
        self.drop_what_came_too_late();
        told
    }
}

impl Standing {
    /// The updates that outcomes tell of, as they were sent.
    fn models(&self, updates: &[Sent]) -> Vec<Model> {
        let model = |sent: &Sent| {
            let known = self.sent.iter().find(|model| model.digest == sent.weights).cloned();
            // As large as the base, then, as far as anybody can know.
            known.unwrap_or_else(|| Model { digest: sent.weights, ..self.model.clone() })
        };
        updates.iter().map(model).collect()
    }

    /// The learner's vote or commitment of a round is recorded, with this link.
    fn reveal(&mut self, round: u64, link: Option<Digest>) {
        let Some(link) = link else { return };
        self.chain = Some(match self.chain {
            // It was told twice.
            Some(chain) if chain.link == link => chain,
            Some(chain) if chain.left > 0 => {
                ChainState { link, left: chain.left - 1, anchored: chain.anchored }
            }
            Some(_) | None => ChainState { link, left: LINKS, anchored: round },
        });
    }
}
