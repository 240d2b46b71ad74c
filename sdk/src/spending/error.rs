//! Why a training is not to be, or what was spent cannot be known.

use std::io;
use std::path::{Path, PathBuf};

use colearn_contracts::{ExperimentName, MAX_SEGMENTS, PrivacyCap, Reason};
use colearn_dp::DpError;

use crate::policy::PolicyError;

/// Why a training is not to be, or what was spent cannot be known. Nothing leaves the process then.
#[derive(Debug, thiserror::Error)]
pub enum SpendingError {
    /// The experiment's cap would be exceeded: the budget is spent.
    #[error(
        "the privacy budget is spent: with the next training epsilon {} at delta {} would be stated, \
         and the experiment's cap is {} at {}",
        micros(*.epsilon_micros), picos(*.delta_picos), micros(.cap.epsilon_micros), picos(.cap.delta_picos)
    )]
    OverCap {
        /// ε that would be stated, in millionths.
        epsilon_micros: u64,
        /// δ that it would be stated for.
        delta_picos: u64,
        /// The cap.
        cap: PrivacyCap,
    },
    /// The learner's own cap would be exceeded: the budget is spent.
    #[error(
        "the privacy budget is spent: the next training would bring epsilon at delta {} to {} in all \
         experiments of this key, and its own limit is {}",
        picos(*.delta_picos), micros(*.epsilon_micros), micros(*.max_epsilon_micros)
    )]
    OverOwn {
        /// ε of all that was done with the data, in millionths.
        epsilon_micros: u64,
        /// δ of that ε.
        delta_picos: u64,
        /// The limit.
        max_epsilon_micros: u64,
    },
    /// The site's limit for its data would be exceeded: the budget is spent.
    #[error(
        "the privacy budget is spent: the next training would bring epsilon at delta {} to {} in all \
         experiments on {data}, and the site's policy allows {}",
        picos(*.delta_picos), micros(*.epsilon_micros), micros(*.max_epsilon_micros)
    )]
    OverSite {
        /// What the site calls the data.
        data: ExperimentName,
        /// ε of all that was done with it, in millionths.
        epsilon_micros: u64,
        /// δ of that ε.
        delta_picos: u64,
        /// The limit.
        max_epsilon_micros: u64,
    },
    /// Something on the site's data was trained without differential privacy: no budget is left.
    #[error(
        "the privacy budget is spent: {unprotected} trainings on {data} have left without differential \
         privacy, which no epsilon bounds, and the site's policy allows {}",
        micros(*.max_epsilon_micros)
    )]
    Unprotected {
        /// What the site calls the data.
        data: ExperimentName,
        /// How many.
        unprotected: u64,
        /// The limit, in millionths.
        max_epsilon_micros: u64,
    },
    /// The site's policy does not allow it.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Under a policy, what is spent is counted by ledger.
    #[error("nothing is spent under a site's policy before it is known on which ledger")]
    NoLedger,
    /// What the learner says that a training takes cannot be.
    #[error(
        "a private training has noise, a clipping norm, a sampling rate of at most 1 and at least one \
         step, and not: noise {}, norm {}, rate {}, {steps} steps",
        micros(*.noise_micros), micros(*.clip_micros), *.sampling_nanos as f64 / 1e9
    )]
    Settings {
        /// The noise multiplier, in millionths.
        noise_micros: u64,
        /// The clipping norm, in millionths.
        clip_micros: u64,
        /// The sampling rate, in billionths.
        sampling_nanos: u64,
        /// The steps.
        steps: u64,
    },
    /// The settings have changed too often.
    #[error(
        "a statement lists at most {MAX_SEGMENTS} changes of settings, and the last one would have to \
         list more; train with the settings of the last, or with more noise or smaller batches"
    )]
    TooManySettings,
    /// What was done cannot be accounted for.
    #[error("what was done cannot be accounted for: {0}")]
    Accountant(#[from] DpError),
    /// The file is not what was written.
    #[error(
        "{}: line {line} is damaged, so it is not known what was spent; put back an intact copy. If \
         there is none, moving the file away makes what the ledger has count alone",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The first line that is not what it was, from 1.
        line: usize,
    },
    /// The file cannot be used.
    #[error("cannot keep what is spent in {}: {source}", path.display())]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl SpendingError {
    pub(super) fn disk(path: &Path, source: io::Error) -> Self {
        Self::Disk { path: path.to_owned(), source }
    }

    /// Whether it is so for good: the budget is spent, and the learner only votes.
    pub fn is_exhausted(&self) -> bool {
        self.reason() == Reason::CapReached
    }

    /// The reason for which a turn is passed.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::OverCap { .. }
            | Self::OverOwn { .. }
            | Self::OverSite { .. }
            | Self::Unprotected { .. } => Reason::CapReached,
            Self::Settings { .. }
            | Self::TooManySettings
            | Self::Accountant(_)
            | Self::Policy(_)
            | Self::NoLedger => Reason::Policy,
            Self::Damaged { .. } | Self::Disk { .. } => Reason::Failed,
        }
    }
}

fn micros(micros: u64) -> f64 {
    micros as f64 / 1e6
}

fn picos(picos: u64) -> String {
    format!("{:e}", picos as f64 / 1e12)
}
