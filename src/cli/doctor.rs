//! `colearn doctor`: would a learner with these flags get on, and what to do where not. Nothing is written, and
//! nothing submitted.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use colearn_contracts::{Admission, ExperimentName, Phase};
use colearn_learning::data::{Composition, Dataset};
use colearn_learning::model::ModelSpec;
use colearn_net::{Address, Http, Trust};
use colearn_records::keys::{self, Key};
use colearn_records::plan::Plan;
use colearn_sdk::client::{self, Client, ClientError, Credential, Described, Nodes, Options};
use colearn_sdk::learner::{SAFETENSORS, Weights};
use serde::Serialize;

use super::args::{Data, ModelKeysArg, NodeAddress, PinArgs, Signer};
use super::one_line;
use super::tell::text;

/// A node's clock and this machine's may differ by so much before it is worth a word, and before it matters.
const DIFFERS: Duration = Duration::from_secs(3);
const DIFFERS_MUCH: Duration = Duration::from_secs(30);
/// How long a node has to say what time it is.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many rows a vote should rest on at least.
const FEW_VOTING_ROWS: usize = 20;
/// How many of an experiment's models should fit on the disk and into memory: the base, the previous, what was
/// proposed, what is trained.
const MODELS: u64 = 4;

#[derive(Args)]
#[command(after_help = "Examples:
  colearn doctor
  colearn doctor --node https://ledger.example.org:7400 --key a.pem
  colearn doctor --key a.pem --experiment xray --data mine.csv --label outcome --plan xray.toml
  colearn doctor --key a.pem --experiment xray --json

Takes the flags of colearn learner, joins nothing and writes nothing. Exit codes: 0 a learner would get on;
1 something is in its way.")]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    node: NodeAddress,
    /// The private key to look at: a file, agent:COMMENT or exec:COMMAND
    #[arg(long, value_name = "KEY")]
    key: Option<keys::Place>,
    /// Where the key remembers what must survive a restart [default: as for a learner]
    #[arg(long, value_name = "DIR", requires = "key")]
    memory: Option<PathBuf>,
    #[command(flatten)]
    pins: PinArgs,
    /// The experiment that is to be taken part in
    #[arg(long, value_name = "NAME", requires = "key")]
    experiment: Option<ExperimentName>,
    #[command(flatten)]
    source: Data,
    /// What the experiment has to be like (TOML)
    #[arg(long, value_name = "FILE", requires = "experiment")]
    plan: Option<PathBuf>,
    #[command(flatten)]
    model_keys: ModelKeysArg,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Something that was looked at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct Check {
    /// What.
    check: &'static str,
    #[serde(flatten)]
    found: Found,
}

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "found", rename_all = "snake_case")]
enum Found {
    /// As it should be.
    Good { told: String },
    /// A learner would get on, though perhaps not well.
    Warning { told: String, remedy: String },
    /// A learner would not get on.
    Bad { told: String, remedy: String },
    /// Could not be looked at, or need not be.
    Skipped { told: String },
}

use Found::{Bad, Good, Skipped, Warning};

fn good(told: impl Into<String>) -> Found {
    Good { told: told.into() }
}

fn warning(told: impl Into<String>, remedy: impl Into<String>) -> Found {
    Warning { told: told.into(), remedy: remedy.into() }
}

fn bad(told: impl Into<String>, remedy: impl Into<String>) -> Found {
    Bad { told: told.into(), remedy: remedy.into() }
}

/// What was looked at so far; told as it is found.
struct Findings {
    json: bool,
    checks: Vec<Check>,
}

impl Findings {
    fn add(&mut self, check: &'static str, found: Found) {
        if !self.json {
            let (mark, told, remedy) = match &found {
                Good { told } => ("ok", told, None),
                Warning { told, remedy } => ("WARN", told, Some(remedy)),
                Bad { told, remedy } => ("BAD", told, Some(remedy)),
                Skipped { told } => ("-", told, None),
            };
            println!("{check:<12}{mark:<6}{told}");
            if let Some(remedy) = remedy {
                println!("{:<18}{remedy}", "");
            }
        }
        self.checks.push(Check { check, found });
    }

    fn is_bad(&self) -> bool {
        self.checks.iter().any(|it| matches!(it.found, Bad { .. }))
    }
}

impl DoctorArgs {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let mut findings = Findings { json: self.json, checks: Vec::new() };
        let key = self.look_at_key(&mut findings);
        self.look_at_clock(&mut findings).await;
        let described = self.look_at_ledger(key.as_ref(), &mut findings).await;
        self.look_at_data(
            described.as_ref().and_then(|(_, weights)| weights.as_ref()),
            &mut findings,
        );
        if self.json {
            println!("{}", serde_json::to_string_pretty(&findings.checks)?);
        }
        Ok(if findings.is_bad() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn signer(&self) -> Option<Signer> {
        Some(Signer::of(self.key.clone()?, self.memory.clone(), self.pins.clone()))
    }

    fn look_at_key(&self, findings: &mut Findings) -> Option<Key> {
        let Some(signer) = self.signer() else {
            findings.add("key", Skipped { told: "none is given: --key FILE".to_owned() });
            return None;
        };
        let (key, memory) = match signer.load() {
            Ok(loaded) => loaded,
            Err(error) => {
                let remedy = "make one with: colearn key new FILE";
                findings.add("key", bad(one_line(&error), remedy));
                return None;
            }
        };
        findings.add("key", good(keys::learner_id(&key).to_string()));
        findings.add("memory", memory_of(&memory));
        Some(key)
    }

    /// Deadlines are the ledger's time; a learner goes by its own clock until then.
    async fn look_at_clock(&self, findings: &mut Findings) {
        let nodes = Nodes::from(&self.node.node);
        for url in nodes.urls() {
            let found = match node_is_ahead(url).await {
                // Of several one is enough: whether one is there is looked at next.
                Err(error) if nodes.urls().len() > 1 => warning(one_line(&error), unreachable(url)),
                Err(error) => bad(one_line(&error), unreachable(url)),
                Ok(None) => Skipped { told: format!("{url} does not say what time it is") },
                Ok(Some(ahead_ms)) => {
                    let differs = Duration::from_millis(ahead_ms.unsigned_abs());
                    let word = if ahead_ms > 0 { "behind" } else { "ahead of" };
                    let told = format!(
                        "this machine's is {} {word} that of {url}",
                        humantime::format_duration(Duration::from_secs(differs.as_secs()))
                    );
                    let remedy = "set the clock, for example with chrony or systemd-timesyncd";
                    match differs {
                        differs if differs >= DIFFERS_MUCH => bad(told, remedy),
                        differs if differs >= DIFFERS => warning(told, remedy),
                        _ => good(format!("as that of {url}, to {} s", DIFFERS.as_secs())),
                    }
                }
            };
            findings.add("clock", found);
        }
    }

    /// The experiment, with its weights, if it is there to be taken part in.
    async fn look_at_ledger(
        &self,
        key: Option<&Key>,
        findings: &mut Findings,
    ) -> Option<(Described, Option<Weights>)> {
        let nodes = Nodes::from(&self.node.node);
        let nodes = match key {
            Some(key) => nodes.signed_by(Credential::new(key)),
            None => nodes,
        };
        let client = match Client::connect(nodes.clone()).await {
            Ok(client) => client,
            Err(error) => {
                findings.add("node", bad(error.to_string(), unreachable(&self.node.node)));
                return None;
            }
        };
        let url = client.url().to_owned();
        findings.add("node", secured(&url));
        let (Some(signer), Some(key), Some(name)) = (self.signer(), key, &self.experiment) else {
            findings.add("experiment", self.experiments_of(&client).await);
            return None;
        };
        let plan = match self.plan.as_deref().map(Plan::read).transpose() {
            Ok(plan) => plan,
            Err(error) => {
                findings.add("plan", bad(error.to_string(), "mend the file, or ask who wrote it"));
                return None;
            }
        };
        let trust = match signer.trust(plan.as_ref()) {
            Ok(trust) => trust,
            Err(error) => {
                let remedy = "see --ledger, --verifier-key, --witness and --trust";
                findings.add("ledger", bad(one_line(&error), remedy));
                return None;
            }
        };
        let model_keys = match self.model_keys.read() {
            Ok(keys) => keys,
            Err(error) => {
                findings.add("model", bad(error.to_string(), "see docs/encrypted.md"));
                return None;
            }
        };
        let planned = plan.is_some();
        let options = Options {
            plan,
            trust,
            model_keys,
            patience: Some(Duration::ZERO),
            ..Options::new(nodes, name.clone(), key.clone())
        };
        match client::prepare(options).await {
            Ok(prepared) => {
                let described = match prepared.described() {
                    Ok(described) => described,
                    Err(error) => {
                        findings.add("experiment", bad(error.to_string(), "name another"));
                        return None;
                    }
                };
                let told =
                    format!("{} entries verified, signed by the ledger's key", described.size);
                findings.add("ledger", good(told));
                if planned {
                    findings.add("plan", good(format!("{name} follows it")));
                }
                look_at_experiment(&described, key, findings);
                Some((described, prepared.weights().cloned()))
            }
            Err(ClientError::OtherPlan(difference)) => {
                let told = format!("{name} differs: {}", difference.join("; "));
                findings
                    .add("plan", bad(told, "agree on one: - is what the plan says, + what is so"));
                None
            }
            Err(error @ ClientError::Encrypted(_)) => {
                findings.add("model", bad(error.to_string(), "see docs/encrypted.md"));
                None
            }
            Err(error @ ClientError::NoExperiment(_)) => {
                let remedy = format!("see: colearn experiment list --node {url}");
                findings.add("experiment", bad(error.to_string(), remedy));
                None
            }
            Err(error) => {
                let remedy = format!("whether the ledger is at fault, says: colearn audit {url}");
                findings.add("ledger", bad(error.to_string(), remedy));
                None
            }
        }
    }

    /// Which there are, where none was named.
    async fn experiments_of(&self, client: &Client) -> Found {
        match client.experiments().await {
            Ok(all) if all.is_empty() => Skipped { told: "the ledger has none yet".to_owned() },
            Ok(all) => {
                let open = all.iter().filter(|it| !matches!(it.phase, Phase::Finished(_))).count();
                Skipped { told: format!("{open} go on: --experiment NAME looks at one") }
            }
            Err(error) => {
                bad(error.to_string(), "see docs/rights.md: who may read, and who says so")
            }
        }
    }

    fn look_at_data(&self, weights: Option<&Weights>, findings: &mut Findings) {
        let Some(weights) = weights else {
            if self.source.is_given() {
                let told = "what it has to be like, the experiment says".to_owned();
                findings.add("data", Skipped { told });
            }
            return;
        };
        let spec = match ModelSpec::of(weights) {
            Ok(spec) => spec,
            Err(_) => {
                let told = "the model is none of the built-in ones: its learner knows".to_owned();
                findings.add("data", Skipped { told });
                return;
            }
        };
        if !self.source.is_given() {
            findings
                .add("data", Skipped { told: "none is given: --data FILE or --task".to_owned() });
            return;
        }
        match self.source.load(Some(&spec.schema)) {
            // What comes with the program has its own schema.
            Ok(data) if data.schema != spec.schema => findings.add(
                "data",
                bad(
                    format!("{} has other columns than the experiment agreed on", data.name),
                    "give the data that it is about: --data or --task",
                ),
            ),
            Ok(data) => findings.add("data", rows_of(&data)),
            Err(error) => {
                let remedy = "compare: colearn data show FILE says what is in it, colearn model show what the model wants";
                findings.add("data", bad(one_line(&error), remedy));
            }
        }
    }
}

/// Whether what must survive a restart can be kept here.
fn memory_of(dir: &Path) -> Found {
    let remedy = "say another folder with --memory DIR";
    let there = dir.display();
    if dir.exists() && !dir.is_dir() {
        return bad(format!("{there} is a file"), remedy);
    }
    // Of a relative path the folder above it all is the one that this runs in.
    let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let Some(beside) = absolute.ancestors().find(|dir| dir.is_dir()) else {
        return bad(format!("{there}: no folder to make it in"), remedy);
    };
    match (may_write(beside), dir.is_dir()) {
        (false, _) => bad(format!("{there} cannot be written to"), remedy),
        (true, true) => good(format!("{there}")),
        (true, false) => good(format!("{there}, which is made when something is to be remembered")),
    }
}

#[cfg(unix)]
fn may_write(dir: &Path) -> bool {
    rustix::fs::access(dir, rustix::fs::Access::WRITE_OK).is_ok()
}

/// What is marked there says nothing of a folder.
#[cfg(not(unix))]
fn may_write(_: &Path) -> bool {
    true
}

/// What keeps others from reading along on the way to a node.
fn secured(url: &str) -> Found {
    match url.parse::<Address>() {
        Ok(address) if !address.is_https() && !address.is_loopback() => warning(
            format!("{url} answers, and whoever is between reads along and can alter it"),
            "have the node speak TLS (docs/doors.md), and say https://",
        ),
        Ok(_) | Err(_) => good(format!("{url} answers")),
    }
}

fn unreachable(url: &str) -> String {
    format!("is it running there, and does a firewall let one through? The address: {url} (--node)")
}

/// By how many ms a node's clock is ahead of this machine's, to the second; `None` if it does not say.
async fn node_is_ahead(url: &str) -> anyhow::Result<Option<i64>> {
    let address: Address = url.parse()?;
    let http = Http::new(&address, &Trust::of_process(), PATIENCE)?;
    let answer = http.get("/healthz", 1 << 16).await?;
    let here = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let date = answer.headers.get("date").and_then(|date| date.to_str().ok());
    let Some(there) = date.and_then(|date| httpdate::parse_http_date(date).ok()) else {
        return Ok(None);
    };
    let there = there.duration_since(UNIX_EPOCH).unwrap_or_default();
    let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    // It leaves out what is less than a second.
    Ok(Some(ms(there).saturating_add(500).saturating_sub(ms(here))))
}

fn look_at_experiment(described: &Described, key: &Key, findings: &mut Findings) {
    let Described { experiment, member, .. } = described;
    let (me, name) = (keys::learner_id(key), &experiment.name);
    let phase = text::phase(&experiment.phase);
    findings.add(
        "experiment",
        match &experiment.phase {
            Phase::Finished(_) => bad(
                format!("{name} is over ({phase})"),
                format!("its model: colearn model get {name} --out FILE"),
            ),
            Phase::Paused(_) => warning(
                format!("{name}: {phase}"),
                format!("a member lets it go on: colearn experiment resume {name} --key FILE"),
            ),
            Phase::Waiting | Phase::Proposing { .. } | Phase::Voting { .. } | Phase::Merged(_) => {
                good(format!("{name}: {phase}, round {}", experiment.round))
            }
        },
    );
    let is_invited = || experiment.admission.invitations().iter().any(|it| it.learner == me);
    findings.add(
        "membership",
        match member {
            Some(member) if member.seat.is_member() => good("a member"),
            _ if matches!(experiment.admission, Admission::Open) || is_invited() => {
                let word = if member.is_some() { "rejoin" } else { "join" };
                good(format!("may {word}"))
            }
            _ => bad(
                format!("{me} is not invited"),
                format!("a member moves it: colearn experiment move {name} --key FILE admit {me}"),
            ),
        },
    );
    if let (Some(cap), Some(member)) = (experiment.parameters.privacy, member) {
        let spent = member.privacy.as_ref().map_or(0, |spent| spent.epsilon_micros);
        let told = format!(
            "epsilon {:.3} of {:.3} is spent",
            spent as f64 / 1e6,
            cap.epsilon_micros as f64 / 1e6
        );
        findings.add(
            "privacy",
            match member.exhausted || spent >= cap.epsilon_micros {
                true => warning(told, "it can vote, and propose nothing more"),
                false => good(told),
            },
        );
    }
    findings.add("model", size_of(described));
}

/// Whether the experiment's models fit here.
fn size_of(described: &Described) -> Found {
    let model = &described.experiment.model;
    let told = format!("{} bytes, {}", model.size, model.media_type);
    if model.media_type != SAFETENSORS {
        return warning(
            told,
            "a learner of one's own takes part with it, or colearn bridge: see docs/python.md",
        );
    }
    match (available_memory(), model.size.saturating_mul(MODELS)) {
        (Some(there), needed) if there < needed => warning(
            format!("{told}; of memory {there} bytes are free, and {needed} would be good to have"),
            "end other programs, or take part on another machine",
        ),
        _ => good(told),
    }
}

/// Linux says it; elsewhere nobody is asked.
fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes.saturating_mul(1024))
}

/// Whether there are rows enough, and of each class, to train on and to judge with.
fn rows_of(data: &Dataset) -> Found {
    let rows = data.rows();
    let told = format!("{rows} rows that fit the experiment's schema");
    // A tenth is kept for votes.
    if rows / 10 < FEW_VOTING_ROWS {
        return warning(
            format!("{told}: a vote would rest on about {}", rows / 10),
            "votes on few rows are chance: more data, or take part as a judge of data that is there",
        );
    }
    let all: Vec<usize> = (0..rows).collect();
    let Composition::Classes(counts) = data.composition(&all) else { return good(told) };
    let classes = data.schema.target.classes().iter().zip(&counts);
    let lacking: Vec<_> = classes.filter(|(_, count)| **count == 0).map(|(name, _)| name).collect();
    match lacking.is_empty() {
        true => good(told),
        false => warning(
            format!(
                "{told}; none of {}",
                lacking.iter().map(|it| it.as_str()).collect::<Vec<_>>().join(", ")
            ),
            "it learns nothing of those here, and judges what others have learned of them by nothing",
        ),
    }
}
