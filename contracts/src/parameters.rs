//! The rules an experiment is created with.

use core::fmt;
use core::ops::RangeInclusive;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::Digest;
use crate::merging::{MERGED_MEDIA_TYPE, Merging};
use crate::privacy::PrivacyCap;
use crate::version::Version;

/// The shortest and longest deadline, in milliseconds: 10 ms to 30 days (R2).
pub const DEADLINE_RANGE_MS: RangeInclusive<u64> = 10..=30 * 24 * 3_600_000;
/// The most learners that can ever have been members of one experiment (R8).
pub const MAX_MEMBERS: usize = 100_000;
/// The largest model an experiment can allow, in bytes (R2): 64 GiB.
pub const MAX_WEIGHTS_BYTES: u64 = 64 << 30;

/// The share of the electorate that must approve: at least this (`1/2`), or more than this (`>1/2`, the
/// *strict* form, from version 2 on) (R21).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Threshold {
    /// Above the line; at most the denominator.
    pub numerator: u32,
    /// Below the line; at least 1.
    pub denominator: u32,
    /// Whether exactly reaching it is not enough.
    pub strict: bool,
}

impl Threshold {
    /// At least one half.
    pub const HALF: Self = Self::at_least(1, 2);
    /// More than one half.
    pub const MORE_THAN_HALF: Self = Self { numerator: 1, denominator: 2, strict: true };

    /// At least so many of so many.
    pub const fn at_least(numerator: u32, denominator: u32) -> Self {
        Self { numerator, denominator, strict: false }
    }

    /// Whether the fraction lies between 0 and 1, and can be reached.
    pub fn is_valid(self) -> bool {
        let Self { numerator, denominator, strict } = self;
        denominator != 0 && numerator <= denominator && !(strict && numerator == denominator)
    }

    /// R57. Whether no less than one half can reach it.
    pub fn is_half_at_least(self) -> bool {
        u64::from(self.numerator) * 2 >= u64::from(self.denominator)
    }

    /// Whether `approvals` out of `electorate` reach the threshold.
    ///
    /// # Panics
    /// If the threshold [is not valid](Self::is_valid), or more approve than there are: parameters
    /// are checked before an experiment follows them (R2), so neither can come from input.
    ///
    /// ```
    /// use colearn_contracts::Threshold;
    /// assert!(Threshold::HALF.is_met(2, 4));
    /// assert!(!Threshold::HALF.is_met(2, 5));
    /// assert!(!Threshold::MORE_THAN_HALF.is_met(2, 4));
    /// // Nobody to object: a lone learner's proposal is accepted.
    /// assert!(Threshold::at_least(1, 1).is_met(0, 0));
    /// ```
    pub fn is_met(self, approvals: u32, electorate: u32) -> bool {
        assert!(self.is_valid(), "a threshold that was never checked");
        assert!(approvals <= electorate, "more approvals than votes");
        // Widened, so that the products cannot overflow.
        let reached = u64::from(approvals) * u64::from(self.denominator);
        let needed = u64::from(electorate) * u64::from(self.numerator);
        reached > needed || (reached == needed && (!self.strict || electorate == 0))
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = if self.strict { ">" } else { "" };
        write!(f, "{more}{}/{}", self.numerator, self.denominator)
    }
}

impl FromStr for Threshold {
    type Err = InvalidParameters;

    fn from_str(text: &str) -> Result<Self, InvalidParameters> {
        let fraction = text.strip_prefix('>');
        let (numerator, denominator) =
            fraction.unwrap_or(text).split_once('/').ok_or(InvalidParameters::Threshold)?;
        let number = |part: &str| part.trim().parse().map_err(|_| InvalidParameters::Threshold);
        let threshold = Self {
            numerator: number(numerator)?,
            denominator: number(denominator)?,
            strict: fraction.is_some(),
        };
        if threshold.is_valid() { Ok(threshold) } else { Err(InvalidParameters::Threshold) }
    }
}

/// Who proposes next (R24, R32).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub enum Selection {
    /// In joining order.
    #[default]
    RoundRobin,
    /// Drawn: from what the members reveal with their votes (R63); in version 1 from the ledger's last
    /// entry.
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
    /// The share that must approve a motion; `None` for more than half (R57), in version 1 for
    /// `threshold`.
    pub governance_threshold: Option<Threshold>,
    /// How long members have to vote on a motion, in ms of ledger time.
    pub motion_deadline_ms: u64,
    /// Whether the creator alone may stop the experiment (R29).
    pub creator_may_stop: bool,
    /// How rounds are merged (R72); `None` for rounds with one proposer each.
    pub merging: Option<Merging>,
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
            merging: None,
        }
    }
}

impl Parameters {
    /// R51. The first version that has all of them.
    pub fn needs(&self) -> Version {
        let thresholds = [Some(self.threshold), self.governance_threshold];
        let strict = thresholds.into_iter().flatten().any(|threshold| threshold.strict);
        if strict || self.merging.is_some() { Version::V2 } else { Version::V1 }
    }

    /// R47, R57. The share that must approve a motion under this version of the rules.
    pub fn governance(&self, version: Version) -> Threshold {
        let left_out = match version.rules().constitution {
            true => Threshold::MORE_THAN_HALF,
            false => self.threshold,
        };
        self.governance_threshold.unwrap_or(left_out)
    }

    /// R69. As members adopt this version: what it would refuse is left out.
    pub(crate) fn adopt(&mut self, version: Version) {
        self.governance_threshold = self
            .governance_threshold
            .filter(|threshold| !version.rules().constitution || threshold.is_half_at_least());
    }

    /// Checks the parameters and the model against R2, as this version of the rules has it, in the
    /// order of the variants.
    ///
    /// # Errors
    /// The first bound that is not kept.
    pub fn check(&self, version: Version, model: &Model) -> Result<(), InvalidParameters> {
        let thresholds = [Some(self.threshold), self.governance_threshold];
        if thresholds.into_iter().flatten().any(|threshold| !threshold.is_valid()) {
            return Err(InvalidParameters::Threshold);
        }
        if version.rules().constitution && !self.governance(version).is_half_at_least() {
            return Err(InvalidParameters::GovernanceThreshold);
        }
        let deadlines = [
            Some(self.proposal_deadline_ms),
            Some(self.vote_deadline_ms),
            Some(self.reveal_deadline_ms),
            Some(self.motion_deadline_ms),
            self.merging.and_then(|merging| merging.gather_deadline_ms),
        ];
        if deadlines.iter().flatten().any(|deadline_ms| !DEADLINE_RANGE_MS.contains(deadline_ms)) {
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
        if let Some(merging) = &self.merging {
            self.check_merging(merging, model)?;
        }
        Ok(())
    }

    /// R72, R86. Whether rounds can be merged as these rules say.
    fn check_merging(&self, merging: &Merging, model: &Model) -> Result<(), InvalidParameters> {
        if !merging.is_valid() {
            return Err(InvalidParameters::Merging);
        }
        // Who takes turns is known for ever, and could be bought; and who takes over what the checkers
        // name has to see it before it votes.
        let drawn = self.selection == Selection::Sortition && self.ballot == BallotKind::Open;
        if merging.checkers > 0 && !drawn {
            return Err(InvalidParameters::Checkers);
        }
        if model.media_type != MERGED_MEDIA_TYPE {
            return Err(InvalidParameters::NotMergeable);
        }
        Ok(())
    }
}

/// R2. Which bound the parameters do not keep.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum InvalidParameters {
    /// Not a fraction between 0/1 and 1/1, or one that cannot be reached.
    Threshold,
    /// A governance threshold below one half (R57).
    GovernanceThreshold,
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
    /// A number of the merging outside its bounds (R72).
    Merging,
    /// Checkers where proposers take turns or ballots are sealed (R86).
    Checkers,
    /// Merged rounds of weights that are not [`MERGED_MEDIA_TYPE`] (R72).
    NotMergeable,
    /// The invitation is empty, too long, or not in strictly ascending order.
    Invited,
    /// A vote weighs nothing or more than it may.
    Weight,
    /// Two are called the same (R64).
    Names,
    /// Nobody is invited to train (R65).
    Judges,
}

impl fmt::Display for InvalidParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Threshold => {
                "a threshold is a fraction from 0/1 to 1/1, for example 2/3, or >1/2 for more than that"
            }
            Self::GovernanceThreshold => {
                "a governance threshold is at least 1/2; left out it is more than half (>1/2)"
            }
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
            Self::Merging => {
                "merged rounds have 1 to 64 proposers and up to 64 checkers, clip_permille is 1,000 to \
                10,000, and momentum_permille up to 900"
            }
            Self::Checkers => {
                "checkers are drawn, and the others read what they name: they need selection sortition \
                and open ballots"
            }
            Self::NotMergeable => {
                "these weights cannot be averaged: merged rounds are for application/x-safetensors; use \
                single rounds"
            }
            Self::Invited => {
                "an invitation lists 1 to 1,500 learners, each once, in ascending order"
            }
            Self::Weight => "a member's vote weighs 1 to 10,000; where anyone may join, 1",
            Self::Names => "no two members have the same name",
            Self::Judges => "somebody must train: not all of the invited can be judges",
        })
    }
}

impl core::error::Error for InvalidParameters {}
