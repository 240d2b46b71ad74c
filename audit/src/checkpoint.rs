//! The checkpoint that a ledger's entries are held to.

use std::cmp::Reverse;

use colearn_ledger::{Checkpoint, SignedCheckpoint, SignedNote};
use colearn_records::log_keys::LogKeys;

use crate::auditor::Auditor;
use crate::finding::{Finding, Kind};
use crate::options::{AuditOptions, Level};
use crate::source::{Source, SourceError, Stated, Trouble};

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
    if let (Some((follower, stated)), true) = (begun, auditor.report.findings.is_empty())
        && let (Some(SignedCheckpoint { checkpoint, note }), bad) = stated.verified(follower.keys())
        && bad.is_empty()
    {
        return Ok((checkpoint, note));
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

/// The checkpoints that a place states, and what is wrong where there should be one.
#[derive(Default)]
pub(crate) struct StatedCheckpoints {
    /// With the file each is in, none of them verified, largest first.
    checkpoints: Vec<(String, SignedCheckpoint)>,
    /// What is wrong with each of the other files.
    bad: Vec<String>,
}

impl StatedCheckpoints {
    /// Reads what a place holds of checkpoints.
    pub(crate) fn of(files: Vec<Result<Stated, String>>) -> Self {
        let mut stated = Self::default();
        for file in files {
            let read = file.and_then(|Stated { file, note }| {
                let parsed = SignedNote::parse(&note);
                let checkpoint = parsed.and_then(|parsed| Checkpoint::parse(parsed.text()));
                let checkpoint = checkpoint.map_err(|error| format!("{file}: {error}"))?;
                Ok((file, SignedCheckpoint { checkpoint, note }))
            });
            match read {
                Ok(signed) => stated.checkpoints.push(signed),
                Err(why) => stated.bad.push(why),
            }
        }
        stated.checkpoints.sort_by_key(|(_, signed)| Reverse(signed.checkpoint.size));
        stated
    }

    /// The most entries that any of them counts; `None` if there is none.
    pub(crate) fn size(&self) -> Option<u64> {
        self.checkpoints.first().map(|(_, signed)| signed.checkpoint.size)
    }

    /// What is wrong where there should be a checkpoint; empty if nothing is there at all.
    pub(crate) fn complaint(&self) -> String {
        self.bad.join("; ")
    }

    /// The largest of them that is signed by the key of its time, and what is wrong with the others.
    pub(crate) fn verified(self, keys: &LogKeys) -> (Option<SignedCheckpoint>, Vec<String>) {
        let Self { checkpoints, mut bad } = self;
        let mut newest: Option<SignedCheckpoint> = None;
        let mut others = Vec::new();
        for (file, signed) in checkpoints {
            // Nobody signs for what a contract on a chain keeps: the entries have that root or not, and the chain proves
            // it or not.
            let opened = match keys.is_on_chain() {
                true => keys.stated(&signed.note),
                false => keys.open(&signed.note),
            };
            match opened {
                Ok(_) => newest = newest.or(Some(signed)),
                Err(why) => others.push((file, signed, why)),
            }
        }
        // An interrupted change of the key leaves one that counts the change, and that the key before
        // has signed. What it counts, the newest counts too.
        let counted = newest.as_ref().map_or(0, |newest| newest.checkpoint.size);
        others.retain(|(_, signed, _)| {
            signed.checkpoint.size > counted || !keys.have_signed(&signed.note)
        });
        bad.extend(others.into_iter().map(|(file, _, why)| format!("{file}: {why}")));
        (newest, bad)
    }
}
