//! What weights a node has, as it says it.

use colearn_contracts::{Digest, ExperimentName};
use colearn_proto::v1;
use colearn_records::convert::{self, BadField};

use super::{BoxFuture, Client, ClientError};

/// How many are taken of a list: who lists more is not believed.
const MAX_LISTED: usize = 1 << 20;

/// What weights a node has, of those that whoever asks may download.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StoredArtifacts {
    /// Those that are stored, in the order of their digests.
    pub stored: Vec<StoredArtifact>,
    /// Those that unfinished experiments need, and the node has not got. Whoever holds one can upload it again.
    pub lost: Vec<StoredArtifact>,
}

/// Weights that a node has, or should have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredArtifact {
    /// Their digest.
    pub digest: Digest,
    /// Their size in bytes.
    pub size: u64,
    /// What they are to the ledger; `None` if it does not name them, or as something that this program does not know.
    pub used: Option<UsedAs>,
    /// When they came or were last submitted with, in ms since 1970; 0 if they are lost.
    pub since_ms: u64,
}

/// The most that weights are to a ledger.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsedAs {
    /// What they are; `None` of what is lost.
    pub role: Option<ArtifactRole>,
    /// The experiment to which they are that.
    pub experiment: ExperimentName,
    /// The last round in which they were that; 0 of what the experiment began with.
    pub round: u64,
}

/// What weights are to an experiment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ArtifactRole {
    /// They are or were its model.
    Model,
    /// They were proposed, and did not become a model.
    Proposal,
    /// An update of a merged round, or a merge that was voted on.
    Update,
}

impl Client {
    /// What weights the node has, of those that whoever asks may download. Nothing of it is proven, but what is
    /// downloaded has its digest.
    ///
    /// # Errors
    /// If the node cannot answer; a node of an earlier release does not know the question.
    pub fn stored_artifacts(&self) -> BoxFuture<'_, Result<StoredArtifacts, ClientError>> {
        Box::pin(async move {
            let request = v1::ListArtifactsRequest {};
            let mut parts = self.answer(self.artifacts().list_artifacts(request)).await?;
            let (mut all, mut count, mut last) = (StoredArtifacts::default(), 0, None);
            while let Some(part) = self.message(&mut parts).await? {
                count += part.artifacts.len();
                // Or it could go on for ever.
                if part.artifacts.is_empty() || count > MAX_LISTED {
                    return Err(ClientError::Malformed("a list without an end".to_owned()));
                }
                for artifact in part.artifacts {
                    let is_lost = artifact.kind() == v1::ArtifactKind::Lost;
                    let artifact = read(artifact)?;
                    // What comes in order comes once.
                    if !is_lost && last.replace(artifact.digest) >= Some(artifact.digest) {
                        return Err(ClientError::Malformed(
                            "a list that is not in order".to_owned(),
                        ));
                    }
                    if is_lost { &mut all.lost } else { &mut all.stored }.push(artifact);
                }
            }
            Ok(all)
        })
    }
}

fn read(artifact: v1::ListedArtifact) -> Result<StoredArtifact, BadField> {
    let role = match artifact.kind() {
        v1::ArtifactKind::Model => Some(ArtifactRole::Model),
        v1::ArtifactKind::Proposal => Some(ArtifactRole::Proposal),
        v1::ArtifactKind::Update => Some(ArtifactRole::Update),
        v1::ArtifactKind::Unspecified | v1::ArtifactKind::Unnamed | v1::ArtifactKind::Lost => None,
    };
    let used = match artifact.experiment.is_empty() {
        true => None,
        false => {
            let experiment = convert::name(&artifact.experiment)?;
            Some(UsedAs { role, experiment, round: artifact.round })
        }
    };
    let digest = convert::digest(&artifact.digest, "digest")?;
    Ok(StoredArtifact { digest, size: artifact.size, used, since_ms: artifact.since_ms })
}
