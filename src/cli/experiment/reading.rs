//! Experiments as a place tells them: a node is asked and says what it has; a folder is audited on the way, and so is what
//! a node has where something is insisted on.

use std::ffi::OsStr;

use anyhow::Context as _;
use colearn::place::Place;
use colearn::proving::Proving;
use colearn_audit::experiments::{Experiments, Told, experiments};
use colearn_audit::{self as audit, AuditOptions, ChainReport};
use colearn_contracts::{ExperimentName, LearnerId};
use colearn_records::convert::ExperimentState;
use colearn_records::history::History;
use colearn_records::keys;
use colearn_records::log_keys::LogKeys;
use colearn_records::pins::Pins;
use colearn_records::record::Record;
use colearn_sdk::client::{Client, Followed, Memory, Trust};

use crate::cli::{key_file, progress};

/// Where experiments are read.
pub(super) enum Reading {
    /// What it says is believed: who wants proof audits it, or exports it.
    Node(Client),
    /// What has been audited: a folder, or a node's ledger of which something is insisted on.
    Audited(Box<Audited>),
}

/// The experiments of a ledger that can be gone by.
pub(super) struct Audited {
    told: Experiments,
    chain: Option<ChainReport>,
}

impl Reading {
    /// Opens a place of which this is insisted on.
    pub(super) async fn open(place: &Place, pins: &Pins) -> anyhow::Result<Self> {
        if place.folder().is_none() && *pins == Pins::default() {
            return Ok(Self::Node(Client::connect(place.urls().to_vec()).await?));
        }
        let (place, pins) = (place.clone(), pins.clone());
        let audited = tokio::task::spawn_blocking(move || audited(&place, pins));
        Ok(Self::Audited(Box::new(audited.await??)))
    }

    pub(super) async fn list(&self) -> anyhow::Result<Vec<ExperimentState>> {
        Ok(match self {
            Self::Node(client) => client.experiments().await?,
            Self::Audited(audited) => audited.told.states().collect(),
        })
    }

    pub(super) async fn told(&self, name: &ExperimentName) -> anyhow::Result<Told> {
        Ok(match self {
            Self::Node(client) => load_told(client, name).await?,
            Self::Audited(audited) => audited.told.told(name)?,
        })
    }

    /// The public chain that keeps the ledger, if one does, and what it is known to prove: by the word of a node nothing.
    pub(super) async fn chain(&self) -> anyhow::Result<Option<ChainReport>> {
        Ok(match self {
            Self::Node(client) => {
                client.first_keys().await?.public_chain().map(|(id, contract)| {
                    let (id, contract) = (id.to_owned(), contract.to_owned());
                    ChainReport { id, contract, ..ChainReport::default() }
                })
            }
            Self::Audited(audited) => audited.chain.clone(),
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
                Self::Audited(audited) => audited.told.has_joined(&state.name, learner),
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
            Self::Audited(audited) => (audited.told.keys.clone(), audited.told.told(name)?.state),
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

fn audited(place: &Place, pins: Pins) -> anyhow::Result<Audited> {
    let proving = Proving::of(place, &pins)?;
    let prover = proving.as_ref().map(Proving::prover);
    let bar = progress::entries("auditing");
    let progress = progress::on(&bar);
    let options =
        AuditOptions { pins, prover, progress: Some(&progress), ..AuditOptions::default() };
    let audited = experiments(&mut *audit::open(place.one()?)?, options);
    bar.finish_and_clear();
    let (report, told) = audited?;
    place.sound(&report)?;
    crate::cli::model::warn_of(&report);
    let told = told.context(format!("the ledger at {place} has no checkpoint to go by"))?;
    Ok(Audited { told, chain: report.chain })
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
