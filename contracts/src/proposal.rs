//! What was trained: proposals, and the updates of merged rounds.

use serde::{Deserialize, Serialize};

use crate::ballot::Scores;
use crate::id::Digest;
use crate::parameters::Model;
use crate::privacy::PrivacySpent;

/// "In round r, from base model b, I propose weights w."
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Proposal {
    /// The round; must be the current one (R11).
    pub round: u64,
    /// The digest of the global model the proposal was trained from (R15).
    pub base: Digest,
    /// The proposed weights (R16).
    pub weights: Model,
    /// What the proposer says its proposal scores on its own data.
    pub scores: Scores,
    /// What the proposer's proposals have revealed so far; needed under a cap (R42).
    pub privacy: Option<PrivacySpent>,
}

/// "In round r, from base model b, I have trained weights w." What a proposal is in a single round; it
/// is merged with the others' and never accepted alone (R75).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Update {
    /// The round; must be the current one (R11).
    pub round: u64,
    /// The digest of the global model that was trained from (R15).
    pub base: Digest,
    /// The trained weights (R16).
    pub weights: Model,
    /// What the sender says that they score on its own data.
    pub scores: Scores,
    /// What the sender's updates have revealed so far; needed under a cap (R42).
    pub privacy: Option<PrivacySpent>,
}

/// A promise to send an update that nobody can see yet (R76).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CommitUpdate {
    /// The round; must be the current one (R11).
    pub round: u64,
    /// The digest of the global model that was trained from (R15).
    pub base: Digest,
    /// What [`SealedUpdate::commitment`](crate::SealedUpdate::commitment) gives for the update.
    pub commitment: Digest,
}

/// An update that was committed to, with the salt that kept it secret.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RevealUpdate {
    /// The update.
    pub update: Update,
    /// 32 random bytes.
    pub salt: [u8; 32],
}
