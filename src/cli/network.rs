//! `colearn network`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use colearn_audit::{self as audit, Source};
use colearn_contracts::{Limits, VERSION};
use colearn_node::Progress;
use colearn_node::network::{self, Imported, Needs, Resynced, Signed};
use colearn_proto::v1;
use colearn_proto::v1::validator_change::Change;
use colearn_records::founded::Founded;
use colearn_records::network_file::{self, NetworkFile};
use colearn_records::transaction::LedgerId;
use colearn_records::upgrade;
use colearn_records::validators::{self, Validators};
use colearn_sdk::client::{Followed, Memory};
use serde_json::{Value, json};

use super::args::{LimitArgs, NodeAddress};
use super::progress;

#[derive(Subcommand)]
pub(crate) enum Network {
    /// Say who this organisation's node is; makes its keys if there are none.
    #[command(after_help = "Example:
  colearn network identity --data colearn-data --name hospital-a \\
      --p2p a.example.org:26656 --url https://a.example.org:7400 > hospital-a.json

What is printed is public: send it to the others. The keys stay in the folder.")]
    Identity {
        /// The node's data folder; created if need be
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// What the organisation is called: a-z 0-9 . -
        #[arg(long)]
        name: String,
        /// Where the others' nodes reach this one
        #[arg(long, value_name = "HOST:PORT")]
        p2p: String,
        /// Where everybody reaches this node
        #[arg(long, value_name = "URL")]
        url: String,
    },
    /// Make the beginning of a ledger that several organisations keep, from who they are; or have them go on
    /// with one that this node has kept alone.
    #[command(after_help = "Examples:
  colearn network genesis hospital-*.json --time 2026-12-01T12:00:00Z > network.json
  colearn network genesis --continue colearn-data hospital-*.json > network.json

Everybody who gives the same files and the same time gets the same bytes: compare the ledger's id with the
others by voice. Then each starts: colearn node --data DIR --network network.json

With --continue the ledger of a folder, whose node is stopped, says in its next entry who keeps it from there
on: the same ledger, with all that was recorded. Send the others the file, and compare the root by voice. They
fetch the ledger with `colearn network import`, and then all start. There is no way back.")]
    Genesis {
        /// What `colearn network identity` printed, of each organisation
        #[arg(required = true, value_name = "FILE")]
        identities: Vec<PathBuf>,
        /// When the ledger begins; no entry is older
        #[arg(
            long,
            value_parser = humantime::parse_rfc3339_weak,
            value_name = "TIME",
            required_unless_present = "continue"
        )]
        time: Option<std::time::SystemTime>,
        /// Go on with the ledger of this data folder, which its node has kept alone
        #[arg(
            long = "continue",
            id = "continue",
            value_name = "DIR",
            conflicts_with_all = [
                "time", "origin", "experiments_per_creator", "max_experiments", "transaction_expiry",
            ]
        )]
        data: Option<PathBuf>,
        /// The ledger's name [default: one made from its nodes]
        #[arg(long, value_name = "NAME")]
        origin: Option<String>,
        #[command(flatten)]
        limits: LimitArgs,
    },
    /// Fetch a ledger that one node has kept alone until now, to go on with it together.
    #[command(after_help = "Examples:
  colearn network import network.json --from https://a.example.org:7400 --data colearn-data
  colearn network import network.json --from /media/colearn-export --data colearn-data

Every entry is verified, and the last must be what the network's file says. Interrupted, run it again: it goes
on with what has come. Then start: colearn node --data colearn-data --network network.json")]
    Import {
        /// What `colearn network genesis --continue` printed
        file: PathBuf,
        /// A node's URL, an exported folder, or a data folder
        #[arg(long, value_name = "PLACE")]
        from: String,
        /// This node's data folder, with the keys that `colearn network identity` has made
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
    },
    /// Show who keeps a ledger: what a file says, or what a node's ledger proves.
    #[command(after_help = "Examples:
  colearn network show network.json
  colearn network show --node https://a.example.org:7400 --json")]
    Show {
        /// A network's file [default: ask the node]
        file: Option<PathBuf>,
        #[command(flatten)]
        node: NodeAddress,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Ask every node of a network how it is.
    #[command(after_help = "Examples:
  colearn network status
  colearn network status --node https://a.example.org:7400 --json

The exit code is 1 if fewer than two thirds of the nodes answer.")]
    Status {
        #[command(flatten)]
        node: NodeAddress,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Start over: set the ledger aside and have the node fetch it from the others.
    #[command(after_help = "Example:
  colearn network resync --data colearn-data
  colearn node --data colearn-data

For a node, stopped, whose ledger or blocks are damaged. The old ledger and blocks stay in the folder, and so do
keys, weights, and what the node's key has signed last. When the blocks are here again the node compares them with what
it had signed; where they differ it does not go on. Interrupted, run it again.")]
    Resync {
        /// The node's data folder
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// Go on where it cannot be read what this node has signed: what the others send is held to nothing then
        #[arg(long)]
        nothing_signed_is_known: bool,
    },
    /// Draft that a node more keeps the ledger.
    #[command(after_help = "Example:
  colearn network admit hospital-e.json --data colearn-data > change.json

The draft has this node's approval; more than two thirds must give theirs: colearn network approve.")]
    Admit {
        /// What `colearn network identity` printed
        identity: PathBuf,
        #[command(flatten)]
        draft: DraftArgs,
    },
    /// Draft that a node less keeps the ledger.
    Remove {
        /// What it is called
        name: String,
        #[command(flatten)]
        draft: DraftArgs,
    },
    /// Draft that this node has moved or has other keys; its own approval is enough.
    #[command(after_help = "Example:
  colearn network update hospital-a-new.json --data colearn-data > change.json
  colearn network submit change.json")]
    Update {
        /// What `colearn network identity` printed, at the new address or of the new keys
        identity: PathBuf,
        #[command(flatten)]
        draft: DraftArgs,
    },
    /// Draft that new experiments follow the latest rules.
    Upgrade {
        #[command(flatten)]
        limits: LimitArgs,
        #[command(flatten)]
        draft: DraftArgs,
    },
    /// Add this node's approval to a draft, in its file.
    #[command(after_help = "Example:
  colearn network approve change.json --data colearn-data")]
    Approve {
        /// The draft
        change: PathBuf,
        /// The node's data folder
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
    },
    /// Have an approved change recorded.
    #[command(after_help = "Example:
  colearn network submit change.json --node https://a.example.org:7400")]
    Submit {
        /// The change
        change: PathBuf,
        #[command(flatten)]
        node: NodeAddress,
    },
}

#[derive(Args)]
pub(crate) struct DraftArgs {
    /// This node's data folder, whose key approves
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    #[command(flatten)]
    node: NodeAddress,
}

impl Network {
    /// The key of a node's own folder, where the command says which that is: with it the node asks the others.
    pub(crate) fn own_key(&self) -> Option<PathBuf> {
        let data = match self {
            Self::Import { data, .. } => data,
            Self::Admit { draft, .. }
            | Self::Remove { draft, .. }
            | Self::Update { draft, .. }
            | Self::Upgrade { draft, .. } => &draft.data,
            _ => return None,
        };
        Some(network::own_key(data)).filter(|key| key.exists())
    }

    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Identity { data, name, p2p, url } => {
                let identity = network::identity(&data, &name, &p2p, &url)?;
                print!("{}", network_file::identity(&identity));
            }
            Self::Genesis { identities, data: Some(data), .. } => {
                let found = move || found(&identities, &data);
                tokio::task::spawn_blocking(found).await??;
            }
            Self::Genesis { identities, data: None, time, origin, limits } => {
                let time = time.context("--time TIME is needed: when the ledger begins")?;
                genesis(&identities, time, origin, &limits.limits())?;
            }
            Self::Import { file, from, data } => {
                let import = move || import(&file, &from, &data);
                tokio::task::spawn_blocking(import).await??;
            }
            Self::Resync { data, nothing_signed_is_known } => {
                let signed = if nothing_signed_is_known { Signed::Any } else { Signed::Known };
                let folder = data.clone();
                let resync = move || network::resync(&folder, signed);
                let done = tokio::task::spawn_blocking(resync).await??;
                tell_resynced(&data, &done);
            }
            Self::Show { file: Some(file), json, .. } => {
                let file = read_network(&file)?;
                show(&file.ledger(), &file.validators()?, json)?;
            }
            Self::Show { file: None, node, json } => {
                let (ledger, validators) = proven(&node.node).await?;
                show(&ledger, &validators, json)?;
            }
            Self::Status { node, json } => return status(&node.node, json).await,
            Self::Admit { identity, draft } => {
                draft.print(Change::Admit(read_identity(&identity)?)).await?;
            }
            Self::Remove { name, draft } => draft.print(Change::Remove(name)).await?,
            Self::Update { identity, draft } => {
                draft.print(Change::Update(read_identity(&identity)?)).await?;
            }
            Self::Upgrade { limits, draft } => {
                let limits = Some(upgrade::limits_message(&limits.limits()));
                let rules = v1::Rules { contract_version: VERSION.number(), limits };
                draft.print(Change::Rules(rules)).await?;
            }
            Self::Approve { change: path, data } => {
                let (ledger, mut change) = read_change(&path)?;
                network::approve(&data, &ledger, &mut change)?;
                let text = network_file::change(&ledger, &change)?;
                colearn_files::replace(&path, text.as_bytes())?;
                eprintln!("{} approve", change.approvals.len());
            }
            Self::Submit { change, node } => {
                let (_, change) = read_change(&change)?;
                let url = first(&node.node);
                let answer = network::submit(&url, &change).await;
                println!("{}", answer.map_err(anyhow::Error::msg)?.trim());
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn first(nodes: &str) -> String {
    nodes.split(',').next().unwrap_or(nodes).trim().to_owned()
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Reads a network's file.
pub(crate) fn read_network(path: &Path) -> anyhow::Result<NetworkFile> {
    network_file::read_network(&read(path)?).with_context(|| path.display().to_string())
}

fn read_identity(path: &Path) -> anyhow::Result<v1::Validator> {
    let it = network_file::read_identity(&read(path)?);
    Ok(it.with_context(|| path.display().to_string())?.message().clone())
}

fn read_change(path: &Path) -> anyhow::Result<(LedgerId, v1::ValidatorChange)> {
    network_file::read_change(&read(path)?).with_context(|| path.display().to_string())
}

fn genesis(
    identities: &[PathBuf],
    time: std::time::SystemTime,
    origin: Option<String>,
    limits: &Limits,
) -> anyhow::Result<()> {
    let nodes = identities.iter().map(|path| read_identity(path));
    let nodes = nodes.collect::<anyhow::Result<Vec<_>>>()?;
    let time_ms = time.duration_since(std::time::UNIX_EPOCH).context("a time before 1970")?;
    let time_ms = u64::try_from(time_ms.as_millis()).context("a time too late")?;
    let genesis = validators::genesis(origin, nodes, time_ms, VERSION, limits)?;
    print!("{}", network_file::network(&genesis)?);
    let validators = Validators::of_genesis(&genesis)?.context("no nodes")?;
    eprintln!("ledger id     {}", LedgerId::of(&genesis));
    eprintln!("{}", tolerates(&validators));
    Ok(())
}

/// Has several go on with the ledger of a folder.
fn found(identities: &[PathBuf], data: &Path) -> anyhow::Result<()> {
    let nodes = identities.iter().map(|path| read_identity(path));
    let nodes = nodes.collect::<anyhow::Result<Vec<_>>>()?;
    let progress = Some(Progress::new(progress::rebuilding()));
    let founded = network::found(data, nodes, progress)?;
    print!("{}", network_file::founded(&founded));
    tell_founded(&founded);
    Ok(())
}

/// Says what is to be compared by voice.
fn tell_founded(founded: &Founded) {
    eprintln!("ledger id     {}", founded.ledger());
    eprintln!("founded       with entry {}", founded.index());
    eprintln!("root          {}", founded.root());
    eprintln!("{}", tolerates(founded.validators()));
}

/// Says what was done, and what comes next.
fn tell_resynced(data: &Path, done: &Resynced) {
    let data = data.display();
    match &done.aside {
        Some(aside) => println!("set aside     {}", aside.display()),
        None => println!("set aside     nothing: there was no ledger"),
    }
    match &done.vouched {
        Some(it) => println!("must come     {} entries with the root {}", it.size, it.root),
        None => println!(
            "must come     what this node has signed is not known: compare with the others"
        ),
    }
    println!(
        "next          {}",
        match done.needs {
            Needs::Nothing => format!("colearn node --data {data}"),
            Needs::File => format!("colearn node --data {data} --network FILE"),
            Needs::Past => format!(
                "colearn network import {data}/network.json --data {data} --from ANOTHER-NODE, then colearn node --data {data}"
            ),
        }
    );
}

/// Fetches a ledger that was founded.
fn import(file: &Path, from: &str, data: &Path) -> anyhow::Result<()> {
    let NetworkFile::Founded(founded) = read_network(file)? else {
        bail!(
            "the ledger of {} was begun by all its nodes: start with `colearn node --network`, which fetches it",
            file.display()
        );
    };
    let bar = progress::entries("fetching");
    bar.set_length(founded.size());
    let mut source: Option<Box<dyn Source>> = None;
    let mut next = |at: u64, size: u64| {
        let source = match &mut source {
            Some(source) => source,
            none => {
                let mut opened = audit::open(from)?;
                opened.begin()?;
                opened.skip(at).map_err(|trouble| super::ledger::trouble_at(from)(trouble))?;
                none.insert(opened)
            }
        };
        let entries = source.next_entries(size);
        Ok(entries.map_err(|trouble| super::ledger::trouble_at(from)(trouble))?)
    };
    let imported = network::import(data, &founded, &mut next, &mut |size| bar.set_position(size));
    bar.finish_and_clear();
    match imported.with_context(|| from.to_owned())? {
        Imported::Before => eprintln!("it is there already"),
        Imported::Now { resumed: 0 } => {}
        Imported::Now { resumed } => eprintln!("resumed       with {resumed} entries"),
    }
    tell_founded(&founded);
    if let Some(ahead) = network::ahead(&founded) {
        eprintln!(
            "ahead         the chain begins in {} s by this machine's clock, and nothing is recorded before: this \
             clock is behind, or the clock of the one who has founded it was ahead",
            ahead.as_secs()
        );
    }
    Ok(())
}

fn tolerates(validators: &Validators) -> String {
    let (count, tolerated) = (validators.count(), validators.tolerated());
    match tolerated {
        0 => format!(
            "nodes         {count}; none may be down or faulty: four tolerate one, seven two"
        ),
        some => format!("nodes         {count}; {some} may be down, or faulty in any way"),
    }
}

/// Who keeps a node's ledger, as that proves.
async fn proven(node: &str) -> anyhow::Result<(LedgerId, Validators)> {
    let followed = Followed::connect(node, Memory::default()).await?;
    let keys = followed.keys();
    let validators = keys.validators().cloned();
    Ok((keys.ledger(), validators.context("one node keeps this ledger")?))
}

fn show(ledger: &LedgerId, validators: &Validators, json: bool) -> anyhow::Result<()> {
    if json {
        let nodes: Vec<Value> =
            validators.iter().map(|it| super::tell::json::validator(it.message())).collect();
        let told = json!({
            "ledger_id": ledger.to_string(),
            "changes": validators.number(),
            "tolerated": validators.tolerated(),
            "validators": nodes,
        });
        println!("{}", serde_json::to_string_pretty(&told)?);
        return Ok(());
    }
    println!("ledger id     {ledger}");
    println!("{}", tolerates(validators));
    println!("changes       {}", validators.number());
    let width = validators.iter().map(|it| it.name().len()).max().unwrap_or(0);
    for it in validators.iter() {
        println!("  {:<width$}  {}  {}", it.name(), it.url(), it.p2p());
    }
    Ok(())
}

/// Asks every node; the exit code says whether enough answer.
async fn status(node: &str, json: bool) -> anyhow::Result<ExitCode> {
    let (ledger, validators) = proven(node).await?;
    let asked = validators.iter().map(|it| {
        let (name, url) = (it.name().to_owned(), it.url().to_owned());
        tokio::spawn(async move {
            let answer = network::status(&url).await.and_then(|text| {
                serde_json::from_str::<Value>(&text).map_err(|error| error.to_string())
            });
            (name, url, answer)
        })
    });
    let mut answers = Vec::new();
    for answer in asked.collect::<Vec<_>>() {
        answers.push(answer.await?);
    }
    let there = answers.iter().filter(|(_, _, answer)| answer.is_ok()).count();
    let enough = there >= validators.quorum();
    if json {
        let nodes: Vec<Value> = answers
            .into_iter()
            .map(|(name, url, answer)| match answer {
                Ok(said) => json!({ "name": name, "url": url, "says": said }),
                Err(error) => json!({ "name": name, "url": url, "error": error }),
            })
            .collect();
        let told = json!({
            "ledger_id": ledger.to_string(), "enough": enough, "nodes": nodes,
        });
        println!("{}", serde_json::to_string_pretty(&told)?);
    } else {
        println!("ledger id     {ledger}");
        println!("{}", tolerates(&validators));
        println!("\nnode          height     entries   signed by enough   version");
        let highest = answers.iter().filter_map(|(_, _, answer)| {
            answer.as_ref().ok().and_then(|said| said["size"].as_u64())
        });
        let highest = highest.max().unwrap_or(0);
        for (name, _, answer) in &answers {
            match answer {
                Ok(said) => {
                    let number = |key: &str| said[key].as_u64().unwrap_or(0);
                    let (size, published) = (number("size"), number("published_size"));
                    let lag = highest.saturating_sub(size);
                    let behind = if lag > 0 { format!("  {lag} behind") } else { String::new() };
                    let version = said["version"].as_str().unwrap_or("?");
                    let height = number("height");
                    println!(
                        "{name:<12}  {height:<9}  {size:<8}  {published:<17}  {version}{behind}"
                    );
                }
                Err(error) => println!("{name:<12}  does not answer: {error}"),
            }
        }
        tell_models(&answers);
        tell_faults(&answers);
        if !enough {
            println!("\nfewer than two thirds answer here: nothing is recorded until they do");
        }
    }
    Ok(if enough { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What a node has answered, by its name and address.
type Answer = (String, String, Result<Value, String>);

/// Tells which nodes have the models of the experiments that go on, as each says of itself.
fn tell_models(answers: &[Answer]) {
    let said = answers.iter().filter_map(|(name, _, said)| Some((name, said.as_ref().ok()?)));
    // By its name: its newest round, who has all of it, and who has not.
    let mut models = BTreeMap::<&str, (u64, Vec<String>, Vec<String>)>::new();
    for (name, said) in said {
        for experiment in said["experiments"].as_array().into_iter().flatten() {
            let round = experiment["round"].as_u64().unwrap_or(0);
            let missing = experiment["missing"].as_array().map_or(0, Vec::len);
            let (newest, has, lacks) =
                models.entry(experiment["name"].as_str().unwrap_or("?")).or_default();
            *newest = round.max(*newest);
            match (experiment["here"].as_bool(), missing) {
                (Some(true), 0) => has.push(name.clone()),
                (Some(true), files) => lacks.push(format!("{name} lacks {files} files beside it")),
                _ => lacks.push(format!("not at {name}")),
            }
        }
    }
    if !models.is_empty() {
        println!("\nexperiment    round     model at");
    }
    for (experiment, (round, has, lacks)) in models {
        let places: Vec<_> = has.into_iter().chain(lacks).collect();
        println!("{experiment:<12}  {round:<8}  {}", places.join(", "));
    }
}

/// Tells what is wrong with whom, and who says so: whom the ledger tells to have been caught, what each node holds
/// against others, and what keeps it from going on itself.
fn tell_faults(answers: &[Answer]) {
    let said = answers.iter().filter_map(|(name, _, said)| Some((name, said.as_ref().ok()?)));
    let (mut caught, mut told) = (BTreeMap::<String, Vec<&str>>::new(), Vec::new());
    for (name, said) in said {
        for (offender, offence) in said["caught"].as_object().into_iter().flatten() {
            let (kind, entry) = (offence["kind"].as_str().unwrap_or("?"), &offence["entry"]);
            let what =
                format!("{offender} was caught signing against the rules ({kind}, entry {entry})");
            caught.entry(what).or_default().push(name);
        }
        for liar in said["contradicted"].as_array().into_iter().flatten() {
            let liar = liar.as_str().unwrap_or("?");
            told.push(format!(
                "{liar} has signed another history than {name} has: fork-<size>-{liar}.txt in the data folder of \
                 {name} proves it"
            ));
        }
        for (other, ahead) in said["clocks_ahead_ms"].as_object().into_iter().flatten() {
            let ahead_s = ahead.as_i64().unwrap_or(0) as f64 / 1000.0;
            let word = if ahead_s < 0.0 { "behind" } else { "ahead of" };
            told.push(format!(
                "the clock of {other} is {:.0} s {word} that of {name}",
                ahead_s.abs()
            ));
        }
        if let Some(trouble) = said["trouble"].as_str() {
            told.push(format!("{name} does not go on: {trouble}"));
        }
    }
    let caught = caught.into_iter().map(|(what, by)| format!("{what}, say {}", by.join(", ")));
    let told: Vec<String> = caught.chain(told).collect();
    if !told.is_empty() {
        println!("\n{}", told.join("\n"));
    }
}

impl DraftArgs {
    /// Prints a draft with this node's approval.
    async fn print(&self, change: Change) -> anyhow::Result<()> {
        let (ledger, validators) = proven(&self.node.node).await?;
        let number = validators.number() + 1;
        let mut draft = v1::ValidatorChange { number, change: Some(change), approvals: Vec::new() };
        network::approve(&self.data, &ledger, &mut draft)?;
        let approved = validators.approvals(&ledger, &draft);
        if approved.is_err() {
            bail!(
                "the key in {} is of none of the nodes that keep this ledger",
                self.data.display()
            );
        }
        print!("{}", network_file::change(&ledger, &draft)?);
        let needed = match draft.change {
            Some(Change::Update(_)) => 1,
            _ => validators.quorum(),
        };
        eprintln!("change {number}: 1 approves, {needed} must");
        Ok(())
    }
}
