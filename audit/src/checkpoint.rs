//! The checkpoint that a ledger's entries are held to.

use std::cmp::Reverse;

use colearn_ledger::{Checkpoint, NoteError, SignedCheckpoint, SignedNote};
use colearn_records::log_keys::LogKeys;

use crate::auditor::Auditor;
use crate::finding::{Finding, Kind};
use crate::options::{AuditOptions, Level};
use crate::source::{Source, SourceError, Trouble};

/// Why a place has no checkpoint that can be believed.
#[derive(Debug, thiserror::Error)]
pub enum NoCheckpoint {
    /// Something is not as it should be.
    #[error("{0}")]
    Finding(Finding),
    /// It cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
}

impl From<Trouble> for NoCheckpoint {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Damaged { index, what } => Self::Finding(Finding::damaged(index, what)),
            Trouble::Unreadable(error) => error.into(),
        }
    }
}

/// The newest checkpoint of a place that is signed by the ledger's key of its time, verbatim, with
/// what it says. Where the key never changed only the first entry is read.
///
/// # Errors
/// If there is no genesis or no such checkpoint, or if what has to be read is not as it should be.
pub fn signed_checkpoint(source: &mut dyn Source) -> Result<(Checkpoint, String), NoCheckpoint> {
    let options = || AuditOptions { level: Level::Tree, ..AuditOptions::default() };
    let mut auditor = Auditor::new(options());
    let begun = match auditor.begin(source) {
        Ok(begun) => begun,
        Err(Trouble::Damaged { .. }) => None,
        Err(Trouble::Unreadable(error)) => return Err(error.into()),
    };
    if let (Some((follower, stated)), true) = (&begun, auditor.report.findings.is_empty())
        && let Some(newest) = stated.first()
        && follower.keys().open(&newest.note).is_ok()
    {
        return Ok((newest.checkpoint.clone(), newest.note.clone()));
    }
    // Which key must have signed it, the entries say.
    let mut auditor = Auditor::new(options());
    let followed = auditor.follow_all(source)?;
    let signed = followed.and_then(|followed| followed.checkpoint);
    match (auditor.report.findings.pop(), signed) {
        (None, Some(SignedCheckpoint { checkpoint, note })) => Ok((checkpoint, note)),
        (Some(finding), _) => Err(NoCheckpoint::Finding(finding)),
        (None, None) => Err(NoCheckpoint::Finding(Finding {
            kind: Kind::Checkpoint,
            index: None,
            expected: "a checkpoint".to_owned(),
            got: "none".to_owned(),
        })),
    }
}

/// The checkpoints that these notes state, none of them verified, largest first.
///
/// # Errors
/// If there are none, why the last note is not one.
pub(crate) fn stated(notes: Vec<String>) -> Result<Vec<SignedCheckpoint>, Option<NoteError>> {
    let mut stated = Vec::new();
    let mut bad = None;
    for note in notes {
        match SignedNote::parse(&note).and_then(|parsed| Checkpoint::parse(parsed.text())) {
            Ok(checkpoint) => stated.push(SignedCheckpoint { checkpoint, note }),
            Err(error) => bad = Some(error),
        }
    }
    stated.sort_by_key(|signed| Reverse(signed.checkpoint.size));
    if stated.is_empty() { Err(bad) } else { Ok(stated) }
}

/// The first of the stated checkpoints that is signed by the key of its time.
///
/// # Errors
/// Why the last one is not.
pub(crate) fn newest_signed(
    stated: Vec<SignedCheckpoint>,
    keys: &LogKeys,
) -> Result<SignedCheckpoint, NoteError> {
    let mut error = NoteError::Malformed("there is none");
    for signed in stated {
        match keys.open(&signed.note) {
            Ok(_) => return Ok(signed),
            Err(why) => error = why,
        }
    }
    Err(error)
}
