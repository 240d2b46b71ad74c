//! `colearn artifacts`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::UNIX_EPOCH;

use clap::{Args, Subcommand};
use colearn_contracts::{Digest, ExperimentName};
use colearn_node::{ArtifactKind, Keep, KeepArtifacts, Lost, Progress, Shelf, Shelved};
use colearn_sdk::client::{ArtifactRole, Client, StoredArtifact};
use indicatif::BinaryBytes;
use serde_json::{Value, json};

use super::args::node_or_usual;
use super::progress;

#[derive(Subcommand)]
pub(crate) enum Artifacts {
    /// List the models, proposals and updates that a node keeps, and what they take.
    #[command(after_help = "Examples:
  colearn artifacts list --node https://node.example:7400 --auth-key me.pem
  colearn artifacts list --data colearn-data
  colearn artifacts list --data colearn-data --json | jq .kinds

A running node lists what whoever asks may download: a member the weights of its experiments, whom it lets read all
of them also what the ledger does not name. With --data the node must be stopped; weights that it keeps in an object
store are listed there, by the variables that it is started with. What is not named in the ledger was uploaded and
never proposed; what is unfinished has not come whole, which only --data shows. Exit codes: 0; 1 where the node or
the store does not answer, or the folder cannot be read.")]
    List {
        /// A running node's address [env: COLEARN_NODE] [default: http://127.0.0.1:7400]
        #[arg(long, value_name = "URL", conflicts_with = "data")]
        node: Option<String>,
        /// A stopped node's data folder
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove what a stopped node need not keep. Without --yes it only says what that is.
    #[command(after_help = "Examples:
  colearn artifacts prune --data colearn-data --keep-artifacts accepted
  colearn artifacts prune --data colearn-data --keep-artifacts last:10 --keep-updates 2 --yes

The node must be stopped. Kept always is what an experiment began with, its model and the one before, and all
of the open round. Besides what closed rounds have left goes what the ledger has not named within six hours
and what has not come whole within a day. Whoever holds a model can upload it again. A node that runs with the
same --keep-artifacts lets go of the same by itself. Exit codes: 0, also where nothing goes; 1 where the folder
cannot be read or something not be removed.")]
    Prune {
        /// The node's data folder
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        #[command(flatten)]
        keep: KeepArgs,
        /// Remove it
        #[arg(long)]
        yes: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args)]
pub(crate) struct KeepArgs {
    /// Which models and proposals of closed rounds are kept: all; those that became the experiment's model
    /// (accepted); those of so many rounds behind the open one (last:ROUNDS)
    #[arg(long, default_value_t, value_name = "all|accepted|last:ROUNDS")]
    keep_artifacts: KeepArtifacts,
    /// Keep the updates of merged rounds, and merges that became no model, for so many rounds behind the open
    /// one: so far back `colearn audit --merges` can look [default: as long as proposals]
    #[arg(long, value_name = "ROUNDS")]
    keep_updates: Option<u64>,
}

impl Artifacts {
    /// Whether it asks a node for something.
    pub(crate) fn may_ask(&self) -> bool {
        matches!(self, Self::List { data: None, .. })
    }

    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::List { data: Some(data), json, .. } => list(&Listed::in_folder(&data)?, json),
            Self::List { node, json, .. } => list(&Listed::at(&node_or_usual(node)).await?, json),
            Self::Prune { data, keep, yes, json } => {
                let KeepArgs { keep_artifacts: artifacts, keep_updates: updates } = keep;
                prune(&data, Keep { artifacts, updates }, yes, json)
            }
        }
    }
}

fn open(data: &Path) -> anyhow::Result<Shelf> {
    Ok(Shelf::open(data, Some(Progress::new(progress::rebuilding())))?)
}

/// An artifact as it is told.
struct Told {
    /// None of what a node was making when it ended.
    digest: Option<Digest>,
    kind: ArtifactKind,
    /// The experiment and the last round that name it.
    named: Option<(ExperimentName, u64)>,
    size: u64,
    since_ms: u64,
}

impl From<&Shelved> for Told {
    fn from(shelved: &Shelved) -> Self {
        let Shelved { digest, kind, size, .. } = *shelved;
        let since = shelved.since.duration_since(UNIX_EPOCH).unwrap_or_default();
        let since_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        Self { digest, kind, named: shelved.named.clone(), size, since_ms }
    }
}

impl From<StoredArtifact> for Told {
    fn from(stored: StoredArtifact) -> Self {
        let StoredArtifact { digest, size, used, since_ms } = stored;
        let kind = match used.as_ref().and_then(|used| used.role) {
            Some(ArtifactRole::Model) => ArtifactKind::Model,
            Some(ArtifactRole::Proposal) => ArtifactKind::Proposal,
            Some(ArtifactRole::Update) => ArtifactKind::Update,
            None => ArtifactKind::Unnamed,
        };
        let named = used.map(|used| (used.experiment, used.round));
        Self { digest: Some(digest), kind, named, size, since_ms }
    }
}

/// What is there, and what is missing.
struct Listed {
    artifacts: Vec<Told>,
    lost: Vec<Lost>,
}

impl Listed {
    fn in_folder(data: &Path) -> anyhow::Result<Self> {
        let shelf = open(data)?;
        let artifacts = shelf.artifacts(Keep::default())?.iter().map(Told::from).collect();
        Ok(Self { artifacts, lost: shelf.lost() })
    }

    async fn at(node: &str) -> anyhow::Result<Self> {
        let told = Client::connect(node).await?.stored_artifacts().await?;
        let mut artifacts: Vec<Told> = told.stored.into_iter().map(Told::from).collect();
        // As in a folder.
        artifacts.sort_by(|a, b| (a.kind, &a.named, a.digest).cmp(&(b.kind, &b.named, b.digest)));
        let lost =
            told.lost.into_iter().filter_map(|StoredArtifact { digest, size, used, .. }| {
                Some(Lost { digest, size, experiment: used?.experiment })
            });
        Ok(Self { artifacts, lost: lost.collect() })
    }
}

fn list(Listed { artifacts, lost }: &Listed, json: bool) -> anyhow::Result<ExitCode> {
    if json {
        let lost = lost.iter().map(|lost| {
            json!({
                "digest": lost.digest.to_string(),
                "experiment": lost.experiment.as_str(),
                "bytes": lost.size,
            })
        });
        let told = json!({
            "artifacts": artifacts.iter().map(artifact).collect::<Vec<_>>(),
            "kinds": kinds(artifacts.iter()),
            "lost": lost.collect::<Vec<_>>(),
        });
        println!("{}", serde_json::to_string_pretty(&told)?);
        return Ok(ExitCode::SUCCESS);
    }
    for artifact in artifacts {
        println!("{}", line(artifact));
    }
    if !artifacts.is_empty() {
        println!();
    }
    tell_kinds(artifacts.iter());
    for lost in lost {
        println!(
            "lost: {}, which {} needs; whoever holds it can upload it again",
            lost.digest, lost.experiment
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn prune(data: &Path, keep: Keep, yes: bool, json: bool) -> anyhow::Result<ExitCode> {
    let shelf = open(data)?;
    let artifacts = shelf.artifacts(keep)?;
    let go: Vec<&Shelved> = artifacts.iter().filter(|artifact| artifact.goes).collect();
    if yes {
        shelf.remove(go.iter().copied())?;
    }
    let go: Vec<Told> = go.into_iter().map(Told::from).collect();
    if json {
        let told = json!({
            "artifacts": go.iter().map(artifact).collect::<Vec<_>>(),
            "kinds": kinds(go.iter()),
            "removed": yes,
        });
        println!("{}", serde_json::to_string_pretty(&told)?);
        return Ok(ExitCode::SUCCESS);
    }
    if go.is_empty() {
        println!("nothing to remove");
        return Ok(ExitCode::SUCCESS);
    }
    if !yes {
        for artifact in &go {
            println!("{}", line(artifact));
        }
        println!();
    }
    tell_kinds(go.iter());
    match yes {
        true => println!("removed"),
        false => println!("nothing was removed; do it with --yes"),
    }
    Ok(ExitCode::SUCCESS)
}

fn digest_of(artifact: &Told) -> String {
    artifact.digest.map_or_else(|| "-".to_owned(), |digest| digest.to_string())
}

fn line(artifact: &Told) -> String {
    let named = artifact.named.as_ref();
    let named = named.map_or_else(String::new, |(name, round)| format!("  {name} round {round}"));
    let (kind, size) = (artifact.kind.word(), BinaryBytes(artifact.size).to_string());
    format!("{:<64}  {kind:<10} {size:>12}{named}", digest_of(artifact))
}

fn artifact(artifact: &Told) -> Value {
    json!({
        "digest": artifact.digest.map(|digest| digest.to_string()),
        "kind": artifact.kind.word(),
        "experiment": artifact.named.as_ref().map(|(name, _)| name.as_str()),
        "round": artifact.named.as_ref().map(|(_, round)| round),
        "bytes": artifact.size,
        "since_ms": artifact.since_ms,
    })
}

/// How many there are of each kind, and how many bytes they have.
fn sums<'a>(artifacts: impl Iterator<Item = &'a Told>) -> BTreeMap<ArtifactKind, (u64, u64)> {
    let mut sums: BTreeMap<_, _> = ArtifactKind::ALL.map(|kind| (kind, (0, 0))).into();
    for artifact in artifacts {
        let (files, bytes) = sums.entry(artifact.kind).or_default();
        *files += 1;
        *bytes += artifact.size;
    }
    sums
}

fn kinds<'a>(artifacts: impl Iterator<Item = &'a Told>) -> Value {
    let sums = sums(artifacts).into_iter();
    let kinds = sums.map(|(kind, (files, bytes))| {
        (kind.word().to_owned(), json!({ "files": files, "bytes": bytes }))
    });
    Value::Object(kinds.collect())
}

fn tell_kinds<'a>(artifacts: impl Iterator<Item = &'a Told>) {
    let (mut all_files, mut all_bytes) = (0, 0);
    for (kind, (files, bytes)) in sums(artifacts) {
        println!("{:<10}  {files:>8} files {:>12}", kind.word(), BinaryBytes(bytes).to_string());
        all_files += files;
        all_bytes += bytes;
    }
    println!("{:<10}  {all_files:>8} files {:>12}", "in all", BinaryBytes(all_bytes).to_string());
}
