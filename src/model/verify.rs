//! What a ledger says of a model's file: whether it was accepted, in which round, by whose votes.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use colearn_audit::experiments::of;
use colearn_audit::models::{Models, NoModel, Role};
use colearn_audit::reached::{Reached, reached};
use colearn_audit::{AuditOptions, AuditReport, Promise, SourceError, open_trusting};
use colearn_contracts::{Digest, ExperimentName};

use crate::place::{NoNode, Place};

/// The exit code for a file that is no model that the ledger has accepted. Not 2, which is that of a command line
/// that makes no sense.
const NOT_ACCEPTED: u8 = 3;

/// What a ledger says of a file.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The file.
    pub path: PathBuf,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// What was found of the ledger.
    pub report: AuditReport,
    /// The checkpoint under which all that is told was proven, as it was signed; `None` if there is none.
    pub checkpoint: Option<String>,
    /// The entries of which receipts were handed in: where the ledger can be gone by, it still holds them.
    pub receipts: BTreeSet<u64>,
    /// What the file is to the ledger's experiments.
    pub uses: Vec<Use>,
}

/// What a file is to one experiment.
#[derive(Clone, Debug)]
pub struct Use {
    /// The experiment.
    pub models: Models,
    /// In the order of its rounds; at least one.
    pub roles: Vec<Role>,
    /// Whether the experiment has it now.
    pub is_current: bool,
}

/// Why a file cannot be looked up.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The ledger cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// No node answers.
    #[error(transparent)]
    NoNode(#[from] NoNode),
    /// The ledger has no such experiment.
    #[error(transparent)]
    NoModel(#[from] NoModel),
}

/// Audits the ledger of a place, and looks a model's file up in it: in one experiment, or in all.
///
/// # Errors
/// If the file or the ledger cannot be read. Whatever is wrong with the ledger is in the report.
pub fn verify(
    file: &Path,
    place: &Place,
    experiment: Option<&ExperimentName>,
    options: AuditOptions<'_>,
) -> Result<Verified, VerifyError> {
    let io = |source| VerifyError::Io { path: file.to_owned(), source };
    let opened = File::open(file).map_err(io)?;
    let size = opened.metadata().map_err(io)?.len();
    let digest = Digest(colearn_merge::digest(&opened).map_err(io)?);
    let receipts = options.promises.iter().filter_map(Promise::proven_index).collect();
    let source = &mut *open_trusting(place.one()?, &place.trust())?;
    let (report, reached) = reached(source, options)?;
    let Reached { experiments: all, checkpoint, .. } = reached;
    if report.is_sound() && experiment.is_some() {
        of(&all, experiment).map_err(NoModel::from)?;
    }
    let asked = all.into_iter().filter(|(name, _)| experiment.is_none_or(|asked| asked == name));
    let uses = asked.filter_map(|(_, models)| Use::of(models, digest)).collect();
    Ok(Verified { path: file.to_owned(), digest, size, report, checkpoint, receipts, uses })
}

impl Use {
    fn of(models: Models, digest: Digest) -> Option<Self> {
        let roles = models.roles_of(digest);
        let is_current = models.current().model.digest == digest;
        (!roles.is_empty()).then_some(Self { models, roles, is_current })
    }

    /// Whether the experiment has it, or had it.
    pub fn is_accepted(&self) -> bool {
        self.roles.iter().any(|role| match role {
            Role::Initial | Role::Accepted(_) => true,
            Role::Proposed(_) | Role::Update(..) | Role::Merge(..) => false,
        })
    }
}

impl Verified {
    /// Whether the ledger can be gone by, and some experiment has or had this model.
    pub fn is_accepted(&self) -> bool {
        self.report.is_sound() && self.uses.iter().any(Use::is_accepted)
    }

    /// What a file that was not accepted is to the experiments that know it, each once: `proposal`, `update`, `merge`.
    pub fn roles(&self) -> Vec<&'static str> {
        let roles = self.uses.iter().flat_map(|it| it.roles.iter().map(Role::word));
        roles.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// 0 if it is accepted, 3 if it is not, or the audit's code if the ledger cannot be gone by.
    pub fn exit_code(&self) -> u8 {
        match (self.report.unsound(), self.is_accepted()) {
            (None, true) => 0,
            (None, false) => NOT_ACCEPTED,
            (Some(_), _) => self.report.exit_code(),
        }
    }
}
