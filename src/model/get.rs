//! Getting a model from where a ledger is, after the ledger has been audited.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use colearn_audit::experiments::of;
use colearn_audit::models::{Extent, Held, Models, NoModel, Which, models};
use colearn_audit::{AuditOptions, AuditReport, Prover, SourceError, open_trusting};
use colearn_contracts::{Digest, ExperimentName, Model};
use colearn_records::pins::Pins;

use super::fetch::{FetchError, fetch};
use crate::place::{NoNode, Place, Unsound};

/// Is told how many bytes have come, and of how many.
pub type Bytes<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// Who is told how far it is.
#[derive(Clone, Copy)]
pub struct Progress<'a> {
    /// Told how many entries are audited, and of how many.
    pub entries: &'a (dyn Fn(u64, u64) + Sync),
    /// Told how many bytes have come, and of how many.
    pub bytes: Bytes<'a>,
}

/// A model that was got.
#[derive(Clone, Debug)]
pub struct Got {
    /// What was found of the ledger.
    pub report: AuditReport,
    /// The experiment.
    pub models: Models,
    /// Which of its models was asked for.
    pub which: Which,
    /// Its file.
    pub path: PathBuf,
}

/// Why a model cannot be got.
#[derive(Debug, thiserror::Error)]
pub enum GetError {
    /// The ledger cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// No node answers.
    #[error(transparent)]
    NoNode(#[from] NoNode),
    /// The ledger is not as it should be.
    #[error(transparent)]
    Ledger(#[from] Unsound),
    /// There is no such model.
    #[error(transparent)]
    NoModel(#[from] NoModel),
    /// Its weights cannot be had.
    #[error(transparent)]
    Fetch(#[from] FetchError),
}

/// Audits the ledger of a place, and writes one of an experiment's models to a file: after a crash at any moment
/// the file is as it was, or the model. What had come of it is gone on from. What is known is what is insisted on, and
/// who is asked what a public chain proves of the ledger.
///
/// # Errors
/// If the ledger is not as it should be, there is no such model, or nobody has its weights.
pub fn get(
    place: &Place,
    experiment: Option<&ExperimentName>,
    which: Which,
    out: &Path,
    known: (Pins, Option<&dyn Prover>),
    progress: Progress<'_>,
) -> Result<Got, GetError> {
    let (report, all) = audited(place, known, progress.entries)?;
    let models = of(&all, experiment).map_err(NoModel::from)?.clone();
    fetch(place, models.held(which)?.model, out, progress.bytes)?;
    Ok(Got { report, models, which, path: out.to_owned() })
}

impl Got {
    /// The model, and where it stands in the ledger.
    ///
    /// # Errors
    /// None, once it was got.
    pub fn held(&self) -> Result<Held<'_>, NoModel> {
        self.models.held(self.which)
    }

    /// Whether that is the experiment's model of now.
    pub fn is_current(&self, held: &Held<'_>) -> bool {
        self.models.current().entry == held.entry
    }
}

/// The models of a ledger that can be gone by.
fn audited(
    place: &Place,
    known: (Pins, Option<&dyn Prover>),
    entries: &(dyn Fn(u64, u64) + Sync),
) -> Result<(AuditReport, BTreeMap<ExperimentName, Models>), GetError> {
    let (one, (pins, prover)) = (place.one()?, known);
    let options = AuditOptions { pins, prover, progress: Some(entries), ..AuditOptions::default() };
    let (report, all) = models(&mut *open_trusting(one, &place.trust())?, options)?;
    place.sound(&report)?;
    Ok((report, all))
}

/// What came of fetching the models of an exported ledger.
#[derive(Debug)]
pub struct Beside {
    /// What was found of the export.
    pub report: AuditReport,
    /// How many are there.
    pub there: u64,
    /// Those that could not be had, and why.
    pub lacking: Vec<(Digest, FetchError)>,
}

/// Fetches so many of the models of an exported ledger from the place that it was exported from, to where
/// [`get`] finds them beside the export. One that cannot be had keeps no other from being fetched.
///
/// # Errors
/// If the export is not as it should be or cannot be written to, or the place is not reached.
pub fn beside(
    export: &Path,
    from: &Place,
    extent: Extent,
    progress: Progress<'_>,
) -> Result<Beside, GetError> {
    let (report, all) =
        audited(&Place::new(&export.to_string_lossy()), Default::default(), progress.entries)?;
    let folder = export.join(colearn_audit::merges::EXPORTED);
    let io =
        |source: std::io::Error| FetchError::Io { doing: "create", path: folder.clone(), source };
    colearn_files::create_folder(&folder).map_err(|error| io(error.into()))?;
    // Experiments may have the same, and name it with sizes of which one is false.
    let mut named: BTreeMap<Digest, Vec<&Model>> = BTreeMap::new();
    for model in all.values().flat_map(|models| models.extent(extent)) {
        let same = named.entry(model.digest).or_default();
        if same.iter().all(|it| it.size != model.size) {
            same.push(model);
        }
    }
    let (mut there, mut lacking) = (0, Vec::new());
    for (digest, models) in named {
        let out = folder.join(digest.to_string());
        match fetch_any(from, &models, &out, progress.bytes)? {
            None => there += 1,
            Some(why) => lacking.push((digest, why)),
        }
    }
    Ok(Beside { report, there, lacking })
}

/// Fetches the first of these that can be had. Gives why there is none, where that says nothing of others.
fn fetch_any(
    from: &Place,
    models: &[&Model],
    out: &Path,
    bytes: Bytes<'_>,
) -> Result<Option<FetchError>, FetchError> {
    let mut why = None;
    for model in models {
        match fetch(from, model, out, bytes) {
            Ok(()) => return Ok(None),
            // An operator may have let go of it, or gives it to others, or it has rotten.
            Err(
                error @ (FetchError::Missing { .. }
                | FetchError::WrongBytes { .. }
                | FetchError::Answer { .. }
                | FetchError::Unreadable { .. }
                | FetchError::Busy(_)),
            ) => why = Some(error),
            Err(
                error @ (FetchError::NoWeights(_)
                | FetchError::Net(_)
                | FetchError::Slow(_)
                | FetchError::Io { .. }),
            ) => return Err(error),
        }
    }
    Ok(why)
}
