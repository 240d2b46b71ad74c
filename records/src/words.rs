//! The words by which everything that leaves the process is known: the same ones in plan files,
//! flags, JSON, tables and logs, each written once, here.
//!
//! ```
//! use colearn_contracts::Selection;
//! use colearn_records::words::{Word as _, Words as _};
//!
//! assert_eq!(Selection::RoundRobin.word(), "round_robin");
//! assert_eq!(Selection::parse("round-robin")?, Selection::RoundRobin);
//! # Ok::<(), colearn_records::words::UnknownWord>(())
//! ```

use std::fmt;

use colearn_contracts::{
    Act, Admission, BallotKind, Choice, Close, Decision, FinishReason, Merge, MergeStage, Motion,
    Part, PauseReason, Phase, Reason, Selection, Stage, SuspendReason, Verdict,
};
use colearn_proto::v1;
use serde::Deserialize as _;

use crate::convert::SeatState;

#[doc(hidden)]
pub use serde;

/// Something that is known by one word, in snake_case.
pub trait Word {
    /// The word.
    fn word(&self) -> &'static str;
}

/// One of a few words, each of which says everything. Made by [`words!`](crate::words!).
pub trait Words: Word + Copy + 'static {
    /// Every word, what it stands for, and what that means, in a few more words for people.
    const WORDS: &'static [(&'static str, Self, &'static str)];

    /// What it means, in a few words for people.
    fn meaning(self) -> &'static str;

    /// Finds what a word stands for. Hyphens are read as underscores: `round-robin` is what a flag
    /// looks like.
    ///
    /// # Errors
    /// If it stands for nothing; which words there are is said.
    fn parse(text: &str) -> Result<Self, UnknownWord> {
        let written = text.replace('-', "_");
        let found = Self::WORDS.iter().find(|(word, ..)| *word == written);
        found.map(|(_, value, _)| *value).ok_or_else(|| UnknownWord {
            text: text.to_owned(),
            words: Self::WORDS.iter().map(|(word, ..)| *word).collect(),
        })
    }
}

/// A word that stands for nothing here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownWord {
    /// What was given.
    pub text: String,
    /// What could have been.
    pub words: Vec<&'static str>,
}

impl fmt::Display for UnknownWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not one of {}", self.text, self.words.join(", "))
    }
}

impl std::error::Error for UnknownWord {}

/// Reads one of a few words, for `#[serde(deserialize_with = "...")]`.
///
/// # Errors
/// If it is not a string, or one that stands for nothing.
pub fn deserialize<'de, T: Words, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    T::parse(&text).map_err(serde::de::Error::custom)
}

/// Gives kinds of things their [`Word`], whatever else they hold. A variant without a word does not
/// compile.
#[macro_export]
macro_rules! kinds {
    ($($of:ty { $($variant:ident = $word:literal),+ $(,)? })+) => {$(
        impl $crate::words::Word for $of {
            fn word(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => $word,)+
                }
            }
        }
    )+};
}

/// Makes a few words [`Words`]: each with the variant it stands for, and what that means. A variant
/// without a word does not compile.
///
/// ```
/// #[derive(Clone, Copy, PartialEq, Debug)]
/// enum Weather { Sunny, VeryWet }
///
/// colearn_records::words! {
///     Weather {
///         Sunny = "sunny", "the sun shines";
///         VeryWet = "very_wet", "it rains";
///     }
/// }
///
/// use colearn_records::words::Words as _;
/// assert_eq!(Weather::parse("very_wet"), Ok(Weather::VeryWet));
/// assert_eq!(Weather::Sunny.meaning(), "the sun shines");
/// ```
#[macro_export]
macro_rules! words {
    ($($of:ty { $($variant:ident = $word:literal, $meaning:literal);+ $(;)? })+) => {$(
        $crate::kinds! { $of { $($variant = $word),+ } }

        impl $crate::words::Words for $of {
            const WORDS: &'static [(&'static str, Self, &'static str)] =
                &[$(($word, Self::$variant, $meaning)),+];

            fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => $meaning,)+
                }
            }
        }
    )+};
}

/// Lets [`Words`] be read and written by serde, as their words.
#[macro_export]
macro_rules! serde_words {
    ($($of:ty),+ $(,)?) => {$(
        impl $crate::words::serde::Serialize for $of {
            fn serialize<S: $crate::words::serde::Serializer>(
                &self,
                serializer: S,
            ) -> Result<S::Ok, S::Error> {
                serializer.serialize_str($crate::words::Word::word(self))
            }
        }

        impl<'de> $crate::words::serde::Deserialize<'de> for $of {
            fn deserialize<D: $crate::words::serde::Deserializer<'de>>(
                deserializer: D,
            ) -> Result<Self, D::Error> {
                $crate::words::deserialize(deserializer)
            }
        }
    )+};
}

words! {
    Selection {
        RoundRobin = "round_robin", "in joining order";
        Sortition = "sortition", "drawn from what all reveal with their votes";
    }
    Close {
        All = "all", "when every eligible vote is in";
        Early = "early", "as soon as the verdict cannot change";
    }
    BallotKind {
        Open = "open", "for all to see";
        Sealed = "sealed", "first as a commitment, revealed when all are in";
    }
    AdmissionKind {
        Open = "open", "anyone";
        Invited = "invited", "the listed learners";
        ByVote = "by_vote", "the listed founders, and whom the members admit";
    }
    Verdict {
        Accepted = "accepted", "what was voted on is the new global model";
        Rejected = "rejected", "too few approved in time";
        Expired = "expired", "nothing was proposed in time, or most could not get it";
        Passed = "passed", "whoever was to train gave up its turn";
        NoAgreement = "no_agreement", "no pair of merges was named by enough";
    }
    Merge {
        Open = "open", "the mean of all updates";
        Guarded = "guarded", "what most updates agree on";
    }
    FinishReason {
        MaxRounds = "max_rounds", "there were as many rounds as there should be";
        Stopped = "stopped", "the creator or the members stopped it";
        Patience = "patience", "too many proposals in a row were rejected";
        Abandoned = "abandoned", "everybody who could decide has renounced";
    }
    PauseReason {
        NobodyProposes = "nobody_proposes", "nobody proposes";
        BudgetsSpent = "budgets_spent", "every privacy budget is spent";
        OnlyJudges = "only_judges", "only judges are there, and nobody who trains";
    }
    Choice {
        Approve = "approve", "the weights should become the global model";
        Reject = "reject", "they should not";
        Abstain = "abstain", "neither";
    }
    Reason {
        Worse = "worse", "the model is worse on this learner's data";
        NotFinite = "not_finite", "the model has weights that are no numbers";
        TooLittleData = "too_little_data", "there is too little data here";
        CapReached = "cap_reached", "this learner has revealed as much as it may";
        Policy = "policy", "this learner's own policy";
        Failed = "failed", "training or judging failed";
        Unavailable = "unavailable", "the bytes were not to be had in time";
    }
    SuspendReason {
        MissedTurns = "missed_turns", "is suspended, having missed too many turns";
        Decided = "decided", "is suspended by the members";
        Expelled = "expelled", "is expelled by the members";
    }
    SeatState {
        Joining = "joining", "takes part from the next round on";
        Seated = "seated", "takes part";
        Leaving = "leaving", "takes part until the round ends";
        Left = "left", "was a member";
        Suspended = "suspended", "lost its seat; may rejoin";
        Expelled = "expelled", "lost its seat; may not rejoin";
        Replaced = "replaced", "goes on under another key";
    }
}

kinds! {
    Phase {
        Waiting = "waiting",
        Paused = "paused",
        Proposing = "proposing",
        Voting = "voting",
        Merged = "merged",
        Finished = "finished",
    }
    MergeStage {
        Training = "training",
        Revealing = "revealing",
        Gathering = "gathering",
        Voting = "voting",
    }
    Part {
        Due = "due",
        Passed = "passed",
        Committed = "committed",
        Sent = "sent",
        Dropped = "dropped",
    }
    Stage {
        Open = "open",
        Commit = "commit",
        Reveal = "reveal",
    }
    Act {
        Create = "create",
        Join = "join",
        Leave = "leave",
        Propose = "propose",
        Pass = "pass",
        Vote = "vote",
        Commit = "commit",
        Reveal = "reveal",
        Resume = "resume",
        ReplaceKey = "replace_key",
        Move = "move",
        MotionVote = "motion_vote",
        Stop = "stop",
        Evaluate = "evaluate",
        Update = "update",
        CommitUpdate = "commit_update",
        RevealUpdate = "reveal_update",
        Have = "have",
        MergeVote = "merge_vote",
        RevealMergeVote = "reveal_merge_vote",
    }
    Motion {
        SetParameters = "set_parameters",
        Admit = "admit",
        Suspend = "suspend",
        Expel = "expel",
        Stop = "stop",
        Adopt = "adopt",
    }
    Decision {
        RoundOpened = "round_opened",
        VotingOpened = "voting_opened",
        RevealOpened = "reveal_opened",
        RoundClosed = "round_closed",
        Waiting = "waiting",
        Paused = "paused",
        Suspended = "suspended",
        MotionOpened = "motion_opened",
        MotionDecided = "motion_decided",
        MotionTookEffect = "motion_took_effect",
        Finished = "finished",
        TrainingOpened = "training_opened",
        GatheringOpened = "gathering_opened",
        MergeVotingOpened = "merge_voting_opened",
        MergeDecided = "merge_decided",
    }
}

/// How it is decided who may join: an [`Admission`] without its learners.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AdmissionKind {
    /// Anyone may.
    Open,
    /// The listed learners may.
    Invited,
    /// The listed founders may, and whom the members admit.
    ByVote,
}

impl From<&Admission> for AdmissionKind {
    fn from(admission: &Admission) -> Self {
        match admission {
            Admission::Open => Self::Open,
            Admission::Invited(_) => Self::Invited,
            Admission::ByVote(_) => Self::ByVote,
        }
    }
}

kinds! {
    v1::MisbehaviorKind {
        Unspecified = "unknown",
        DuplicateVote = "duplicate_vote",
        LightClientAttack = "light_client_attack",
    }
}

impl Word for Admission {
    fn word(&self) -> &'static str {
        AdmissionKind::from(self).word()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn check<T: Words + PartialEq + fmt::Debug>() {
        for (word, value, meaning) in T::WORDS {
            assert!(word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{word}");
            assert_eq!(T::parse(word), Ok(*value));
            assert_eq!(T::parse(&word.replace('_', "-")), Ok(*value));
            assert_eq!((value.word(), value.meaning()), (*word, *meaning));
        }
    }

    #[test]
    fn every_word_is_read_as_what_it_stands_for() {
        check::<Selection>();
        check::<Close>();
        check::<BallotKind>();
        check::<AdmissionKind>();
        check::<Verdict>();
        check::<Merge>();
        check::<FinishReason>();
        check::<PauseReason>();
        check::<SuspendReason>();
        check::<Choice>();
        check::<Reason>();
        check::<SeatState>();
        let error = BallotKind::parse("Sealed").unwrap_err();
        assert_eq!(error.to_string(), "\"Sealed\" is not one of open, sealed");
    }
}
