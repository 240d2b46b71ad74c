//! What happens to a running learner, for people and programs to follow.

use std::time::Duration;

use colearn_contracts::{
    Choice, Digest, ExperimentName, FinishReason, Merge, MergeVote, PauseReason, Reason, Scores,
    SuspendReason, Verdict,
};

/// What happens to a running learner.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A site's policy is kept to.
    Policy {
        /// SHA-256 of its file.
        digest: Digest,
        /// What the site calls the data.
        data: ExperimentName,
        /// How many trainings on it have left without differential privacy: no ε bounds what they reveal.
        unprotected: u64,
    },
    /// Connected to the node.
    Connected {
        /// Its address.
        url: String,
    },
    /// Who has signed the first entries is believed and not checked, since their checkpoint was to be
    /// trusted.
    Trusting {
        /// How many.
        size: u64,
    },
    /// The ledger is followed to its end, which takes a while.
    Following {
        /// So many entries so far.
        followed: u64,
        /// Of so many.
        size: u64,
    },
    /// Became a member.
    Joined,
    /// This learner has left, by its own word.
    Left,
    /// It is this learner's turn.
    MyTurn {
        /// The round.
        round: u64,
    },
    /// The proposal is recorded.
    Proposed {
        /// The round.
        round: u64,
        /// What this learner measured of it.
        scores: Scores,
    },
    /// The update, which is merged with the others', is recorded.
    Updated {
        /// The round.
        round: u64,
        /// What this learner measured of it.
        scores: Scores,
    },
    /// A sealed update is committed to.
    UpdateCommitted {
        /// The round.
        round: u64,
    },
    /// The turn was given up.
    Passed {
        /// The round.
        round: u64,
        /// Why, if something went wrong.
        reason: Option<String>,
    },
    /// The vote is recorded.
    Voted {
        /// The round.
        round: u64,
        /// For, against, or neither.
        choice: Choice,
        /// Why not.
        reason: Option<Reason>,
        /// What this learner measured.
        scores: Scores,
    },
    /// The vote on the merges of a round is recorded.
    Judged {
        /// The round.
        round: u64,
        /// What it says.
        vote: Box<MergeVote>,
    },
    /// The votes on the merges are counted.
    Merged {
        /// The round.
        round: u64,
        /// Which of the two is taken, if one is.
        accepted: Option<Merge>,
    },
    /// A round ended.
    RoundClosed {
        /// The round.
        round: u64,
        /// Its verdict.
        verdict: Verdict,
        /// Votes for.
        approvals: u32,
        /// Votes against.
        rejections: u32,
        /// Votes for neither.
        abstentions: u32,
        /// How many of those could not get the proposal's bytes.
        unavailable: u32,
        /// How many could vote.
        electorate: u32,
    },
    /// The experiment waits for members.
    Waiting {
        /// Members now.
        members: u32,
        /// Members needed.
        min_learners: u32,
    },
    /// A sealed vote is committed to.
    Committed {
        /// The round.
        round: u64,
    },
    /// No round opens for now.
    Paused {
        /// Why.
        reason: PauseReason,
    },
    /// The experiment goes on at this learner's word.
    Resumed,
    /// This learner lost its seat.
    Suspended {
        /// Why.
        reason: SuspendReason,
    },
    /// The members are asked to decide something; the learner leaves that to people.
    MotionOpened {
        /// The motion's number.
        number: u64,
    },
    /// What was about to be said came too late.
    TooLate {
        /// In the node's words.
        reason: String,
    },
    /// The connection is lost, weights are not to be had, or a key that is kept elsewhere does not sign; it is tried
    /// again.
    Reconnecting {
        /// Why.
        reason: String,
        /// In how long.
        pause: Duration,
    },
    /// One of several nodes will not do; it is gone on at another one.
    Moved {
        /// The address of the one that will not do.
        from: String,
        /// That of the other one.
        to: String,
        /// Why.
        reason: String,
    },
    /// The node, or somebody between, shows what does not fit. Nothing of it was believed; it is tried again.
    Distrusted {
        /// What does not fit.
        reason: String,
        /// In how long.
        pause: Duration,
    },
    /// The experiment ended.
    Finished {
        /// Why.
        reason: FinishReason,
    },
}

impl Event {
    /// The round that it is about, if it is about one.
    pub fn round(&self) -> Option<u64> {
        match self {
            Self::MyTurn { round }
            | Self::Proposed { round, .. }
            | Self::Updated { round, .. }
            | Self::UpdateCommitted { round }
            | Self::Judged { round, .. }
            | Self::Merged { round, .. }
            | Self::Passed { round, .. }
            | Self::Voted { round, .. }
            | Self::RoundClosed { round, .. }
            | Self::Committed { round } => Some(*round),
            Self::Policy { .. }
            | Self::Connected { .. }
            | Self::Trusting { .. }
            | Self::Following { .. }
            | Self::Distrusted { .. }
            | Self::Left
            | Self::Joined
            | Self::Waiting { .. }
            | Self::Paused { .. }
            | Self::Resumed
            | Self::Suspended { .. }
            | Self::MotionOpened { .. }
            | Self::TooLate { .. }
            | Self::Reconnecting { .. }
            | Self::Moved { .. }
            | Self::Finished { .. } => None,
        }
    }
}

colearn_records::kinds! {
    Event {
        Policy = "policy",
        Connected = "connected",
        Trusting = "trusting",
        Following = "following",
        Joined = "joined",
        Left = "left",
        MyTurn = "my_turn",
        Proposed = "proposed",
        Updated = "updated",
        UpdateCommitted = "update_committed",
        Passed = "passed",
        Voted = "voted",
        Judged = "judged",
        Merged = "merged",
        RoundClosed = "round_closed",
        Waiting = "waiting",
        Committed = "committed",
        Paused = "paused",
        Resumed = "resumed",
        Suspended = "suspended",
        MotionOpened = "motion_opened",
        TooLate = "too_late",
        Reconnecting = "reconnecting",
        Moved = "moved",
        Distrusted = "distrusted",
        Finished = "finished",
    }
}
