//! The site's policy, as a flag.

use std::path::PathBuf;

use clap::Args;
use colearn_sdk::policy::{Policy, PolicyError};

/// What a learner's site lets leave.
#[derive(Args, Clone)]
pub(crate) struct PolicyArg {
    /// What this site lets leave, whatever the experiment allows (TOML): see docs/how-to/site-policy.md
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

impl PolicyArg {
    /// Reads it, once.
    pub(crate) fn read(&self) -> Result<Option<Policy>, PolicyError> {
        self.policy.as_deref().map(Policy::read).transpose()
    }
}
