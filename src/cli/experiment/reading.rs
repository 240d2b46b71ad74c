//! Experiments as a place tells them: a node is asked and says what it has, a folder is audited on the way.

use std::ffi::OsStr;

use colearn::place::Place;
use colearn_audit::experiments::{Experiments, Told, experiments};
use colearn_audit::{self as audit, AuditOptions};
use colearn_contracts::{ExperimentName, LearnerId};
use colearn_records::convert::ExperimentState;
use colearn_records::history::History;
use colearn_records::keys;
use colearn_records::log_keys::LogKeys;
use colearn_records::record::Record;
use colearn_sdk::client::{Client, Followed, Memory, Trust};

use crate::cli::{key_file, progress};

/// Where experiments are read.
pub(super) enum Reading {
    /// What it says is believed: who wants proof audits it, or exports it.
    Node(Client),
    Folder(Box<Experiments>),
}

impl Reading {
    pub(super) async fn open(place: &Place) -> anyhow::Result<Self> {
        if place.folder().is_none() {
            return Ok(Self::Node(Client::connect(place.urls().to_vec()).await?));
        }
        let place = place.clone();
        let audited = tokio::task::spawn_blocking(move || audited(&place));
        Ok(Self::Folder(Box::new(audited.await??)))
    }

    pub(super) async fn list(&self) -> anyhow::Result<Vec<ExperimentState>> {
        Ok(match self {
            Self::Node(client) => client.experiments().await?,
            Self::Folder(told) => told.states().collect(),
        })
    }

    pub(super) async fn told(&self, name: &ExperimentName) -> anyhow::Result<Told> {
        Ok(match self {
            Self::Node(client) => load_told(client, name).await?,
            Self::Folder(told) => told.told(name)?,
        })
    }

    /// Those of these that a learner has created, has joined or is invited to.
    pub(super) async fn of_learner(
        &self,
        experiments: Vec<ExperimentState>,
        learner: LearnerId,
    ) -> anyhow::Result<Vec<ExperimentState>> {
        let mut mine = Vec::new();
        for state in experiments {
            let invited = || state.admission.invitations().iter().any(|it| it.learner == learner);
            let has_joined = match self {
                _ if state.creator == learner || invited() => true,
                Self::Node(client) => {
                    client.experiment(&state.name, Some(learner)).await?.member.is_some()
                }
                Self::Folder(told) => told.has_joined(&state.name, learner),
            };
            if has_joined {
                mine.push(state);
            }
        }
        Ok(mine)
    }

    /// Who keeps the ledger that this experiment is in, and where it stands.
    pub(super) async fn kept_by(
        self,
        name: &ExperimentName,
    ) -> anyhow::Result<(LogKeys, ExperimentState)> {
        Ok(match self {
            Self::Node(client) => {
                let memory = Memory::default();
                let followed = Followed::open(client, memory, Trust::default()).await?;
                let state = followed.client().experiment(name, None).await?.experiment;
                (followed.keys().clone(), state)
            }
            Self::Folder(told) => (told.keys.clone(), told.told(name)?.state),
        })
    }
}

/// Whose key this is: in 64 hex digits, or a private key, wherever that is kept.
pub(super) fn whose(key: &str) -> anyhow::Result<LearnerId> {
    match keys::parse_learner_id(key) {
        Ok(learner) => Ok(learner),
        Err(_) => Ok(keys::learner_id(&key_file::load(&keys::Place::from(OsStr::new(key)))?)),
    }
}

/// The experiments of a folder that can be gone by.
fn audited(place: &Place) -> anyhow::Result<Experiments> {
    let bar = progress::entries("auditing");
    let progress = progress::on(&bar);
    let options = AuditOptions { progress: Some(&progress), ..AuditOptions::default() };
    let audited = experiments(&mut *audit::open(place.one()?)?, options);
    bar.finish_and_clear();
    let (report, told) = audited?;
    place.sound(&report)?;
    crate::cli::model::warn_of(&report);
    told.ok_or_else(|| anyhow::anyhow!("the ledger at {place} has no checkpoint to go by"))
}

/// What a node says of an experiment and of everything that happened in it so far.
pub(crate) async fn load_told(client: &Client, name: &ExperimentName) -> anyhow::Result<Told> {
    let state = client.experiment(name, None).await?.experiment;
    let mut history = History::new(name.clone());
    let mut entries = client.watch(name, 0).await?;
    // The first message without an entry says that there is nothing more for now.
    while let Some(entry) = entries.next().await?.entry {
        history.record(&Record::decode(&entry)?);
    }
    Ok(Told { state, history })
}
