//! The rules an experiment is created with.

use core::fmt;
use core::ops::RangeInclusive;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::Digest;
use crate::privacy::PrivacyCap;

/// The shortest and longest deadline, in milliseconds: 10 ms to 30 days (R2).
pub const DEADLINE_RANGE_MS: RangeInclusive<u64> = 10..=30 * 24 * 3_600_000;
/// The most learners that can ever have been members of one experiment (R8).
pub const MAX_MEMBERS: usize = 100_000;
/// The largest model an experiment can allow, in bytes (R2): 64 GiB.
pub const MAX_WEIGHTS_BYTES: u64 = 64 << 30;

/// The share of the electorate that must approve. Exactly reaching it counts (R21).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Threshold {
    /// Above the line; at most the denominator.
    pub numerator: u32,
    /// Below the line; at least 1.
    pub denominator: u32,
}

impl Threshold {
    /// One half.
    pub const HALF: Self = Self { numerator: 1, denominator: 2 };

    /// Whether the fraction lies between 0 and 1.
    pub fn is_valid(self) -> bool {
        self.denominator != 0 && self.numerator <= self.denominator
    }

    /// Whether `approvals` out of `electorate` reach the threshold. Exactly reaching it counts.
    ///
    /// # Panics
    /// If the threshold [is not valid](Self::is_valid), or more approve than there are: parameters
    /// are checked before an experiment follows them (R2), so neither can come from input.
    ///
    /// ```
    /// use colearn_contracts::Threshold;
    /// assert!(Threshold::HALF.is_met(2, 4));
    /// assert!(!Threshold::HALF.is_met(2, 5));
    /// // Nobody to object: a lone learner's proposal is accepted.
    /// assert!(Threshold { numerator: 1, denominator: 1 }.is_met(0, 0));
    /// ```
    pub fn is_met(self, approvals: u32, electorate: u32) -> bool {
        assert!(self.is_valid(), "a threshold that was never checked");
        assert!(approvals <= electorate, "more approvals than votes");
        // Widened, so that the products cannot overflow.
        u64::from(approvals) * u64::from(self.denominator)
            >= u64::from(electorate) * u64::from(self.numerator)
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.numerator, self.denominator)
    }
}

impl FromStr for Threshold {
    type Err = InvalidParameters;

    fn from_str(text: &str) -> Result<Self, InvalidParameters> {
        let (numerator, denominator) = text.split_once('/').ok_or(InvalidParameters::Threshold)?;
        let number = |part: &str| part.trim().parse().map_err(|_| InvalidParameters::Threshold);
        let threshold = Self { numerator: number(numerator)?, denominator: number(denominator)? };
        if threshold.is_valid() { Ok(threshold) } else { Err(InvalidParameters::Threshold) }
    }
}

/// Who proposes next (R24, R32).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub enum Selection {
    /// In joining order.
    #[default]
    RoundRobin,
    /// Drawn from the ledger's last entry.
    Sortition,
}

/// When voting ends before its deadline (R22, R33).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub enum Close {
    /// When every eligible vote is in.
    #[default]
    All,
    /// As soon as the verdict cannot change.
    Early,
}

/// How votes are cast (R34 to R36).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub enum BallotKind {
    /// For all to see.
    #[default]
    Open,
    /// First as a commitment, to be revealed when all are in.
    Sealed,
}

/// A model as the ledger knows it: digest, size and media type, never the bytes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Model {
    /// SHA-256 of the bytes.
    pub digest: Digest,
    /// The number of bytes; at least 1.
    pub size: u64,
    /// The format, for example `application/x-safetensors`.
    pub media_type: String,
}

/// The rules of one experiment (R2). Members can change them by a vote (R48).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Parameters {
    /// The share of the electorate that must approve.
    pub threshold: Threshold,
    /// Who proposes next.
    pub selection: Selection,
    /// How long the proposer has, in ms of ledger time.
    pub proposal_deadline_ms: u64,
    /// How long the voters have, in ms of ledger time; with sealed ballots, to commit.
    pub vote_deadline_ms: u64,
    /// How long the voters have to reveal sealed ballots, in ms of ledger time.
    pub reveal_deadline_ms: u64,
    /// When voting ends before its deadline.
    pub close: Close,
    /// How votes are cast.
    pub ballot: BallotKind,
    /// Rounds open only while there are at least this many members; at least 1.
    pub min_learners: u32,
    /// The experiment finishes after this many rounds; `None` for no end.
    pub max_rounds: Option<u64>,
    /// The experiment finishes after this many rejected proposals in a row; `None` for never.
    pub patience: Option<u64>,
    /// A member that misses this many proposals or votes in a row is suspended (R39); `None` for
    /// never.
    pub missed_turns: Option<u32>,
    /// After this many whole rotations without a proposal the experiment pauses (R40); `None` for
    /// never.
    pub idle_rotations: Option<u32>,
    /// What each learner's proposals together may reveal; `None` for no cap.
    pub privacy: Option<PrivacyCap>,
    /// The largest proposal, in bytes.
    pub max_weights_bytes: u64,
    /// The share that must approve a motion; `None` for `threshold`.
    pub governance_threshold: Option<Threshold>,
    /// How long members have to vote on a motion, in ms of ledger time.
    pub motion_deadline_ms: u64,
    /// Whether the creator alone may stop the experiment (R29).
    pub creator_may_stop: bool,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            threshold: Threshold::HALF,
            selection: Selection::RoundRobin,
            proposal_deadline_ms: 600_000,
            vote_deadline_ms: 600_000,
            reveal_deadline_ms: 600_000,
            close: Close::All,
            ballot: BallotKind::Open,
            min_learners: 2,
            max_rounds: None,
            patience: None,
            missed_turns: Some(3),
            idle_rotations: Some(1),
            privacy: None,
            max_weights_bytes: 1 << 30,
            governance_threshold: None,
            motion_deadline_ms: 7 * 24 * 3_600_000,
            creator_may_stop: false,
        }
    }
}

impl Parameters {
    /// Checks the parameters and the model against R2, in the order of the variants.
    ///
    /// # Errors
    /// The first bound that is not kept.
    pub fn check(&self, model: &Model) -> Result<(), InvalidParameters> {
        let thresholds = [Some(self.threshold), self.governance_threshold];
        if thresholds.into_iter().flatten().any(|threshold| !threshold.is_valid()) {
            return Err(InvalidParameters::Threshold);
        }
        let deadlines = [
            self.proposal_deadline_ms,
            self.vote_deadline_ms,
            self.reveal_deadline_ms,
            self.motion_deadline_ms,
        ];
        if deadlines.iter().any(|deadline_ms| !DEADLINE_RANGE_MS.contains(deadline_ms)) {
            return Err(InvalidParameters::Deadline);
        }
        if self.min_learners == 0 || self.min_learners as usize > MAX_MEMBERS {
            return Err(InvalidParameters::MinLearners);
        }
        if self.max_rounds == Some(0) {
            return Err(InvalidParameters::MaxRounds);
        }
        if self.patience == Some(0)
            || self.missed_turns == Some(0)
            || self.idle_rotations == Some(0)
        {
            return Err(InvalidParameters::Patience);
        }
        if self.privacy.is_some_and(|cap| !cap.is_valid()) {
            return Err(InvalidParameters::Privacy);
        }
        if self.max_weights_bytes > MAX_WEIGHTS_BYTES {
            return Err(InvalidParameters::WeightsLimit);
        }
        if model.size == 0 || model.size > self.max_weights_bytes {
            return Err(InvalidParameters::ModelSize);
        }
        let printable = model.media_type.bytes().all(|b| b.is_ascii_graphic());
        if model.media_type.is_empty() || model.media_type.len() > 100 || !printable {
            return Err(InvalidParameters::MediaType);
        }
        Ok(())
    }
}

/// R2. Which bound the parameters do not keep.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum InvalidParameters {
    /// Not a fraction between 0/1 and 1/1.
    Threshold,
    /// A deadline outside [`DEADLINE_RANGE_MS`].
    Deadline,
    /// Zero, above [`MAX_MEMBERS`], or more than are invited.
    MinLearners,
    /// Zero rounds.
    MaxRounds,
    /// Zero rejections, missed turns or rotations.
    Patience,
    /// A privacy cap of nothing, or a δ above 1.
    Privacy,
    /// A weights limit above [`MAX_WEIGHTS_BYTES`].
    WeightsLimit,
    /// The initial model is empty or larger than the weights limit.
    ModelSize,
    /// The media type is not 1 to 100 printable ASCII characters.
    MediaType,
    /// The invitation is empty, too long, or not in strictly ascending order.
    Invited,
    /// A vote weighs nothing or more than it may.
    Weight,
}

impl fmt::Display for InvalidParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Threshold => "a threshold is a fraction from 0/1 to 1/1, for example 2/3",
            Self::Deadline => "a deadline lies between 10 ms and 30 days",
            Self::MinLearners => {
                "min_learners lies between 1 and 100,000 and does not exceed the invited"
            }
            Self::MaxRounds => "max_rounds is at least 1, or absent for no end",
            Self::Patience => {
                "patience, missed_turns and idle_rotations are at least 1, or absent for never"
            }
            Self::Privacy => "a privacy cap has an epsilon above 0 and a delta above 0 and up to 1",
            Self::WeightsLimit => "max_weights_bytes is at most 64 GiB",
            Self::ModelSize => "the initial model has 1 to max_weights_bytes bytes",
            Self::MediaType => "a media type is 1 to 100 printable ASCII characters",
            Self::Invited => {
                "an invitation lists 1 to 1,500 learners, each once, in ascending order"
            }
            Self::Weight => "a member's vote weighs 1 to 10,000",
        })
    }
}

impl core::error::Error for InvalidParameters {}
