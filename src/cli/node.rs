//! `colearn node`.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use colearn::backup::{BackedUp, backup};
use colearn_contracts::Limits;
use colearn_ledger::IndexUse;
use colearn_node::{
    Access, ArtifactsAt, Config, DEFAULT_ARTIFACT_QUOTA_BYTES, DEFAULT_CALLS_PER_SECOND,
    DEFAULT_CONNECTIONS_PER_ADDRESS, DEFAULT_MAX_ARTIFACT_BYTES, DEFAULT_MAX_CONNECTIONS,
    DEFAULT_MAX_WATCHERS, DEFAULT_RESERVE_BYTES, DEFAULT_WATCHERS_PER_ADDRESS, Grant, Keep,
    KeepArtifacts, NetworkConfig, OpsListen, Progress, Security, Upgrade, WitnessAddress,
};
use colearn_records::network_file::NetworkFile;
use colearn_records::pins::Pins;
use colearn_relay::Settings;
use colearn_sdk::client::Client;

use super::args::{LimitArgs, NodeAddress, TLS, TlsArgs, duration_ms};
use super::progress;
use super::signals::{Hangups, Signals, input_ended};
use super::tell::text;
use crate::ui;

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Node {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Option<NodeArgs>,
}

#[derive(Subcommand)]
enum Command {
    /// Change the key that signs the ledger's checkpoints; the node must be stopped.
    #[command(after_help = "Example:
  colearn node rotate-key --data /var/lib/colearn

The change is an entry signed by both keys. From then on checkpoints are signed by the new key and, while
DIR/node-old.pem is there, by the old one too: give witnesses and pinned readers the new verifier key, then
delete that file and start the node again. Learners and audit follow the change by themselves.")]
    RotateKey {
        /// The node's data folder
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// Delete the old key at once, for example because it has leaked
        #[arg(long)]
        drop_old: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Copy what a node needs to go on elsewhere from its folder, and audit the copy; the node may be running.
    #[command(after_help = "Examples:
  colearn node backup --data /var/lib/colearn --to /backup/colearn
  colearn node backup --data /var/lib/colearn --to /backup/colearn --json

A second backup to the same place copies only what is new. To go on with it: colearn node --data with the copy.
Entries that were recorded after it are lost then, and whoever has a receipt for one of them will say so: see
docs/operations.md. The copy has the node's private key. Exit codes: 0, or 1 if it cannot be made or gone by.")]
    Backup {
        /// The node's data folder
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// The folder of the backup: an empty one, or an earlier backup
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Have experiments that are created from now on follow the latest rules; the node must be stopped.
    #[command(after_help = "Example:
  colearn node upgrade --data /var/lib/colearn

The upgrade is an entry signed by the ledger's key. Experiments that are running keep the rules that their
members joined under, until these adopt the new ones: colearn experiment move NAME adopt 2. Look first whose
program is too old to follow what is created then: colearn node status.")]
    Upgrade {
        /// The node's data folder
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        #[command(flatten)]
        limits: LimitArgs,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Print JSON; does not ask
        #[arg(long)]
        json: bool,
    },
    /// Show a running node's version of the rules, and which its members' programs know.
    #[command(after_help = "Examples:
  colearn node status
  colearn node status --node http://10.0.0.5:7400 --json")]
    Status {
        #[command(flatten)]
        node: NodeAddress,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

impl Node {
    /// Whether it asks a node for something.
    pub(crate) fn may_ask(&self) -> bool {
        matches!(self.command, Some(Command::Status { .. }))
    }

    /// Whether it is a node that is to run.
    pub(crate) fn is_to_run(&self) -> bool {
        self.command.is_none()
    }

    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        match (self.command, self.run) {
            (Some(Command::RotateKey { data, drop_old, json }), _) => {
                let progress = Some(Progress::new(progress::rebuilding()));
                let rotate = move || colearn_node::rotate_key(&data, drop_old, progress);
                let done = tokio::task::spawn_blocking(rotate).await??;
                let (from, to) = (done.from.to_string(), done.to.to_string());
                if json {
                    let done = serde_json::json!({ "index": done.index, "from": from, "to": to });
                    println!("{done}");
                } else {
                    println!("entry         {}", done.index);
                    println!("old key       {from}");
                    println!("new key       {to}");
                }
                Ok(ExitCode::SUCCESS)
            }
            (Some(Command::Backup { data, to, json }), _) => {
                tokio::task::spawn_blocking(move || back_up(&data, &to, json)).await?
            }
            (Some(Command::Upgrade { data, limits, yes, json }), _) => {
                upgrade(&data, limits.limits(), yes, json).await
            }
            (Some(Command::Status { node, json }), _) => status(&node.node, json).await,
            (None, Some(run)) => run.run().await,
            (None, None) => anyhow::bail!("--data DIR is needed; see colearn node --help"),
        }
    }
}

fn back_up(data: &Path, to: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let bar = progress::entries("auditing the copy");
    let done = backup(data, to, &progress::on(&bar));
    bar.finish_and_clear();
    let BackedUp { report, ledger_bytes, models, new_models, damaged } = done?;
    super::model::warn_of(&report);
    if json {
        let told = serde_json::json!({
            "to": to.display().to_string(),
            "ledger": report.ledger_id,
            "entries": report.size,
            "root": report.root,
            "new_ledger_bytes": ledger_bytes,
            "models": models,
            "new_models": new_models,
            "damaged": damaged.iter().map(ToString::to_string).collect::<Vec<_>>(),
        });
        println!("{told}");
    } else {
        println!("backup        {}", to.display());
        println!("entries       {}, {ledger_bytes} bytes of them new", report.size);
        println!("models        {models}, {new_models} of them new");
        println!("root          {}", report.root);
    }
    for digest in &damaged {
        eprintln!("the model {digest} is damaged in {} and was not copied", data.display());
    }
    Ok(if damaged.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[derive(Args)]
#[command(after_help = "Examples:
  colearn node --data colearn-data
  colearn node --data /var/lib/colearn --listen 0.0.0.0:7400 --tls-cert node.pem --tls-key node-key.pem
  colearn node --data /var/lib/colearn --listen 0.0.0.0:7400 --tls-self-signed
  colearn node --data /var/lib/colearn --ops-listen 10.0.0.5:9100 --log-format json
  colearn node --data /var/lib/colearn --chain chain.toml
  curl http://127.0.0.1:7400/checkpoint
  curl http://127.0.0.1:7401/metrics

The node answers gRPC and HTTP on one port, and whoever watches it on another; it stops cleanly on Ctrl-C or SIGTERM. Where others can reach it,
it wants TLS. Files of certificates are read anew when they change, and on SIGHUP.")]
struct NodeArgs {
    /// Where everything is kept; created on first start
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The address to listen on; port 0 picks a free one
    #[arg(long, default_value = "127.0.0.1:7400", value_name = "ADDR")]
    listen: SocketAddr,
    /// Where metrics and health are served to whoever asks, without TLS; off for nowhere [default: on this machine, at
    /// the port after the node's own, or a free one]
    #[arg(long, value_name = "ADDR|off")]
    ops_listen: Option<OpsListen>,
    // As in TlsArgs and not flattened: clap could not tell then whether a node is to run.
    /// The node's certificate, and those that vouch for it, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key", group = "certificate", help_heading = TLS)]
    tls_cert: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", requires = "tls_cert", help_heading = TLS)]
    tls_key: Option<PathBuf>,
    /// Take only clients with a certificate that one of these vouches for
    #[arg(long, value_name = "FILE", requires = "certificate", conflicts_with = "insecure", help_heading = TLS)]
    client_ca: Option<PathBuf>,
    /// Make a certificate, once, that clients know by its fingerprint: it is in the address that is printed
    #[arg(long, group = "certificate", conflicts_with_all = ["tls_cert", "tls_key"], help_heading = TLS)]
    tls_self_signed: bool,
    /// Encrypt nothing although other machines can reach the node: a proxy does, or the network is trusted
    #[arg(long, conflicts_with_all = ["tls_cert", "tls_self_signed"], help_heading = TLS)]
    insecure: bool,
    /// Who may read the ledger, and the weights of experiments that it is no member of: public, or members and
    /// keys:FILE with commas between. A file has a public key a line, and is read anew when it changes [default:
    /// public on this machine, elsewhere members]
    #[arg(long, value_name = "WHO", help_heading = RIGHTS)]
    read: Option<Grant>,
    /// Who may submit, and upload weights [default: public on this machine, elsewhere members]
    #[arg(long, value_name = "WHO", help_heading = RIGHTS)]
    write: Option<Grant>,
    /// Who may create experiments [default: public on this machine, elsewhere keys:DIR/creators.txt]
    #[arg(long, value_name = "WHO", help_heading = RIGHTS)]
    create: Option<Grant>,
    /// How many connections there may be; lowered where the process may not have as many files
    #[arg(long, default_value_t = DEFAULT_MAX_CONNECTIONS, value_parser = some, value_name = "N")]
    max_connections: usize,
    /// How many of them one address may have; raise it behind a proxy
    #[arg(long, default_value_t = DEFAULT_CONNECTIONS_PER_ADDRESS, value_parser = some, value_name = "N")]
    max_connections_per_address: usize,
    /// How many may follow the ledger or watch experiments at a time: each learner does
    #[arg(long, default_value_t = DEFAULT_MAX_WATCHERS, value_parser = some, value_name = "N")]
    max_watchers: usize,
    /// How many of them one address may have; raise it behind a proxy
    #[arg(long, default_value_t = DEFAULT_WATCHERS_PER_ADDRESS, value_parser = some, value_name = "N")]
    max_watchers_per_address: usize,
    /// How many times a second one address may ask for something, on average; raise it behind a proxy. All may
    /// together 16 times as often. Votes and other submissions are not counted
    #[arg(long, default_value_t = DEFAULT_CALLS_PER_SECOND, value_parser = clap::value_parser!(u32).range(1..=1_000_000), value_name = "N")]
    max_calls_per_second: u32,
    /// How many bytes of answers go out a second. Where more are wanted, each key or address has the same [default: as
    /// many as the network takes]
    #[arg(long, value_parser = clap::value_parser!(u64).range(65_536..), value_name = "BYTES")]
    max_bytes_per_second: Option<u64>,
    /// The ledger's name, on first start [default: one made from its key]
    #[arg(long, value_name = "NAME")]
    origin: Option<String>,
    // The limits once more and not flattened, as TLS above: clap could not tell then whether a node is to run.
    /// The most unfinished experiments of one creator, on first start [default: 32]
    #[arg(long, value_name = "N")]
    experiments_per_creator: Option<u32>,
    /// The most unfinished experiments in all, on first start [default: 10000]
    #[arg(long, value_name = "N")]
    max_experiments: Option<u32>,
    /// Refuse transactions signed before what was recorded this long ago, on first start [default: 7days]
    #[arg(long, value_parser = duration_ms, value_name = "TIME")]
    transaction_expiry: Option<u64>,
    /// Keep models in an object store, or in another folder: s3://BUCKET/PREFIX, gs://..., az://... or
    /// file:/ABSOLUTE/PATH. Who the node is there say the variables of the store's own tools (AWS_ACCESS_KEY_ID and
    /// so on) [default: DIR/artifacts]
    #[arg(long, value_name = "PLACE")]
    artifacts: Option<ArtifactsAt>,
    /// Hand out addresses of the object store, at which whoever may download a model can fetch it for so long, as can
    /// everybody who is told the address; at most 7 days. Learners go there with --weights-from
    #[arg(long, value_parser = presigned_ms, value_name = "TIME", requires = "artifacts")]
    presigned: Option<u64>,
    /// The largest model that can be uploaded, in bytes
    #[arg(long, default_value_t = DEFAULT_MAX_ARTIFACT_BYTES, value_name = "BYTES")]
    max_artifact_bytes: u64,
    /// What all models together may take, in bytes
    #[arg(long, default_value_t = DEFAULT_ARTIFACT_QUOTA_BYTES, value_name = "BYTES")]
    artifact_quota_bytes: u64,
    /// Refuse transactions while the disk has fewer bytes free, and models while it has not twice as many;
    /// reading goes on
    #[arg(long, default_value_t = DEFAULT_RESERVE_BYTES, value_name = "BYTES")]
    reserve_bytes: u64,
    /// Which models and proposals of closed rounds are kept: all; those that became the experiment's model
    /// (accepted); those of so many rounds behind the open one (last:ROUNDS). What an experiment began with, its
    /// model and the one before, and all of the open round are kept always
    #[arg(long, default_value_t, value_name = "all|accepted|last:ROUNDS")]
    keep_artifacts: KeepArtifacts,
    /// Keep the updates of merged rounds, and merges that became no model, for so many rounds behind the open
    /// one: so far back `colearn audit --merges` can look. With --keep-artifacts all or last:ROUNDS they are
    /// kept as long as proposals where this is not said, with accepted until their round closes
    #[arg(long, value_name = "ROUNDS")]
    keep_updates: Option<u64>,
    /// Ask this witness to cosign every checkpoint; may be repeated
    #[arg(long, value_name = "NAME=VKEY@URL")]
    witness: Vec<WitnessAddress>,
    /// How many cosignatures make a checkpoint witnessed [default: all witnesses']
    #[arg(long, value_name = "K")]
    witness_quorum: Option<usize>,
    /// Keep the ledger together with the nodes of this file (`colearn network genesis`); needed at the first
    /// start
    #[arg(long, value_name = "FILE", conflicts_with = "origin")]
    network: Option<PathBuf>,
    /// Mirror the ledger that a contract on a public chain keeps, and deliver to it, as this file says (`colearn chain`)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["network", "origin"])]
    chain: Option<PathBuf>,
    // Not read from the environment here: clap would take it for an argument beside a subcommand.
    /// The CometBFT program, where several nodes keep the ledger [default: COLEARN_COMETBFT, or the one in PATH]
    #[arg(long, value_name = "FILE")]
    cometbft: Option<PathBuf>,
    /// Where to listen for the other nodes [default: the port by which they know this one]
    #[arg(long, value_name = "ADDR")]
    p2p_listen: Option<SocketAddr>,
    /// Call this node too: one that the ledger does not name yet needs to know somebody; may be repeated
    #[arg(long, value_name = "ID@HOST:PORT")]
    peer: Vec<String>,
    /// How long is waited after a block for late votes, where several nodes keep the ledger
    #[arg(long, value_parser = duration_ms, default_value = "200ms", value_name = "TIME")]
    block_interval: u64,
    /// Stop too when standard input ends: at the latest when whoever holds its other end does
    #[arg(long)]
    until_eof: bool,
    /// Print what was started as one line of JSON
    #[arg(long)]
    json: bool,
}

const RIGHTS: &str = "Rights";

/// A number of connections, or of what else there may be many of.
fn some(text: &str) -> Result<usize, String> {
    let number = text.parse::<usize>().ok().filter(|number| (1..=1_000_000).contains(number));
    number.ok_or_else(|| "it is to be a number from 1 to 1000000".to_owned())
}

/// For how long a signed address can be good: no store signs one for longer.
fn presigned_ms(text: &str) -> Result<u64, String> {
    let longest_ms = 7 * 24 * 3_600_000;
    match duration_ms(text)? {
        time_ms @ 1_000.. if time_ms <= longest_ms => Ok(time_ms),
        _ => Err("it is to be from 1s to 7days".to_owned()),
    }
}

impl NodeArgs {
    /// What connections are secured with.
    fn security(&self) -> Security {
        let given = TlsArgs {
            tls_cert: self.tls_cert.clone(),
            tls_key: self.tls_key.clone(),
            client_ca: self.client_ca.clone(),
            tls_self_signed: self.tls_self_signed,
            insecure: self.insecure,
        };
        given.security()
    }

    /// Who may do what.
    fn access(&self) -> Access {
        let default = Access::by_default(self.listen.ip(), &self.data);
        Access {
            read: self.read.clone().unwrap_or(default.read.clone()),
            write: self.write.clone().unwrap_or(default.write.clone()),
            create: self.create.clone().unwrap_or(default.create.clone()),
            ..default
        }
    }

    async fn run(self) -> anyhow::Result<ExitCode> {
        super::keep_to_oneself();
        super::in_small_pages();
        // Before anyone is told that the node runs, so that no signal is missed.
        let (mut signals, mut hangups) = (Signals::catch()?, Hangups::catch()?);
        let limits = LimitArgs {
            experiments_per_creator: self.experiments_per_creator,
            max_experiments: self.max_experiments,
            transaction_expiry: self.transaction_expiry,
        };
        let limits = limits.limits();
        let file = self.network.as_deref().map(network_file).transpose()?;
        let chain = self.chain.as_deref().map(Settings::read).transpose()?;
        let witnesses = self.witness.iter().map(|witness| witness.verifier.clone()).collect();
        let quorum = self.witness_quorum.unwrap_or(self.witness.len());
        let pins = Pins::new(None, None, witnesses, Some(quorum).filter(|quorum| *quorum > 0))?;
        let starting = colearn_node::Node::start(Config {
            data: self.data.clone(),
            listen: self.listen,
            tls: self.security(),
            access: Some(self.access()),
            max_connections: self.max_connections,
            connections_per_address: self.max_connections_per_address,
            max_watchers: self.max_watchers,
            watchers_per_address: self.max_watchers_per_address,
            calls_per_second: self.max_calls_per_second,
            bytes_per_second: self.max_bytes_per_second.and_then(NonZeroU64::new),
            origin: self.origin,
            limits,
            artifacts: self.artifacts.unwrap_or_default(),
            presigned: self.presigned.map(Duration::from_millis),
            max_artifact_bytes: self.max_artifact_bytes,
            artifact_quota_bytes: self.artifact_quota_bytes,
            reserve_bytes: self.reserve_bytes,
            keep: Keep { artifacts: self.keep_artifacts, updates: self.keep_updates },
            witness_quorum: quorum,
            witnesses: self.witness,
            network: NetworkConfig {
                file,
                cometbft: self.cometbft,
                p2p_listen: self.p2p_listen,
                peers: self.peer,
                block_interval: Duration::from_millis(self.block_interval),
            },
            chain,
            ops: self.ops_listen.unwrap_or(OpsListen::NextPort),
            mount: Some(ui::page_of_node()),
            progress: Some(Progress::new(progress::rebuilding())),
        });
        let node = tokio::select! {
            started = starting => started?,
            // What a chain has may take hours to take over. What is here goes on from where it is.
            _ = signals.asked() => return Ok(ExitCode::SUCCESS),
        };
        tell_started(&node, pins, &std::path::absolute(&self.data)?, self.json);
        let mut ended = std::pin::pin!(input_ended());
        loop {
            tokio::select! {
                _ = signals.asked() => break,
                // Where there is nothing to be read anew it means what it does elsewhere: the terminal is gone.
                () = hangups.next() => if !tokio::task::block_in_place(|| node.reload()) { break },
                () = ended.as_mut(), if self.until_eof => break,
                () = node.stopped() => break,
            }
        }
        node.shutdown().await?;
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(unix)]
fn network_file(path: &Path) -> anyhow::Result<NetworkFile> {
    super::network::read_network(path)
}

#[cfg(not(unix))]
fn network_file(_: &Path) -> anyhow::Result<NetworkFile> {
    anyhow::bail!("several nodes keep a ledger together on Unix systems only")
}

/// Upgrades a ledger, having said what that changes and been told to.
async fn upgrade(data: &Path, limits: Limits, yes: bool, json: bool) -> anyhow::Result<ExitCode> {
    let progress = || Some(Progress::new(progress::rebuilding()));
    if !yes && !json {
        let (folder, rebuilding) = (data.to_owned(), progress());
        let plan = move || colearn_node::plan_upgrade(&folder, limits, rebuilding);
        let plan = tokio::task::spawn_blocking(plan).await??;
        tell_upgrade(&plan);
        eprint!("Upgrade? [y/N] ");
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            println!("nothing was changed");
            return Ok(ExitCode::FAILURE);
        }
    }
    let (folder, rebuilding) = (data.to_owned(), progress());
    let upgrade = move || colearn_node::upgrade(&folder, limits, rebuilding);
    let done = tokio::task::spawn_blocking(upgrade).await??;
    if json {
        let done = serde_json::json!({
            "index": done.index,
            "from": done.from.number(),
            "to": done.to.number(),
            "experiments_per_creator": done.limits.per_creator,
            "experiments": done.limits.experiments,
            "expiry_ms": done.limits.expiry_ms,
            "running": done.running,
        });
        println!("{done}");
    } else {
        if yes {
            tell_upgrade(&done);
        }
        println!("entry         {}", done.index.unwrap_or_default());
    }
    Ok(ExitCode::SUCCESS)
}

/// Says what an upgrade changes.
fn tell_upgrade(upgrade: &Upgrade) {
    let Upgrade { from, to, limits, running, .. } = upgrade;
    let expiry = humantime::format_duration(Duration::from_millis(limits.expiry_ms));
    println!(
        "rules         version {from} now, {to} for experiments that are created from then on"
    );
    println!(
        "limits        {} unfinished experiments a creator, {} in all",
        limits.per_creator, limits.experiments
    );
    println!("expiry        transactions signed before what was recorded {expiry} ago are refused");
    match running.is_empty() {
        true => println!("running       no experiment"),
        false => println!("running       {}: these keep version {from}", running.join(", ")),
    }
    println!("programs      that know only version {from} can no longer follow the ledger");
}

/// Shows what a node and its members know.
async fn status(node: &str, json: bool) -> anyhow::Result<ExitCode> {
    let client = Client::connect(node).await?;
    let status = client.status().await?;
    if json {
        let members = status.members.iter().map(|member| {
            serde_json::json!({
                "learner": member.learner.to_string(),
                "name": member.name,
                "version": member.version,
                "last_ms": member.last_ms,
                "experiments": member.experiments,
            })
        });
        let told = serde_json::json!({
            "entries": status.size,
            "version": status.version,
            "latest_version": status.latest_version,
            "limits": status.limits.map(|limits| serde_json::json!({
                "experiments_per_creator": limits.per_creator,
                "experiments": limits.experiments,
                "expiry_ms": limits.expiry_ms,
            })),
            "started_ms": status.started_ms,
            "members": members.collect::<Vec<_>>(),
            "more": status.more,
        });
        println!("{}", serde_json::to_string_pretty(&told)?);
        return Ok(ExitCode::SUCCESS);
    }
    let upgrade = match status.version < status.latest_version {
        true => {
            format!("; this node can upgrade to {}: colearn node upgrade", status.latest_version)
        }
        false => String::new(),
    };
    println!("entries       {}", status.size);
    println!("rules         version {}{upgrade}", status.version);
    if status.members.is_empty() {
        println!("members       none in an unfinished experiment");
        return Ok(ExitCode::SUCCESS);
    }
    println!("\nmember    knows      experiments");
    for member in &status.members {
        let knows = match member.version {
            None => "not heard".to_owned(),
            Some(version) if version < status.latest_version => format!("{version}, too old"),
            Some(version) => version.to_string(),
        };
        let name = member.name.as_ref().map_or_else(String::new, |name| format!("  {name}"));
        let experiments = member.experiments.join(", ");
        println!("{}  {knows:<9}  {experiments}{name}", text::short(member.learner));
    }
    if status.more > 0 {
        println!("and {} more", status.more);
    }
    println!("\n\"not heard\": it has sent nothing since this node was started");
    Ok(ExitCode::SUCCESS)
}

/// Says where the node is, and what it found on its disk.
fn tell_started(node: &colearn_node::Node, witnesses: Pins, data: &Path, json: bool) {
    let opened = node.opened();
    let index = match &opened.index {
        IndexUse::UpTo(_) => None,
        IndexUse::Rebuilt(reason) => Some(reason.clone()),
    };
    let ops = node.ops_address().map(|address| format!("http://{address}"));
    let is_shown = node.access().read.is_public();
    let page = ops.as_ref().filter(|_| is_shown).map(|ops| format!("{ops}/page/"));
    if json {
        let line = serde_json::json!({
            "address": node.url(),
            "ops": ops,
            "page": page,
            "fingerprint": node.fingerprint(),
            "ledger_id": node.ledger_id().to_string(),
            "verifier_key": node.verifiers().to_string(),
            "data": data,
            "read": node.access().read.to_string(),
            "write": node.access().write.to_string(),
            "create": node.access().create.to_string(),
            "entries": opened.size,
            "replayed_from": node.replayed_from(),
            "torn_bytes": opened.torn_bytes,
            "index_rebuilt": index,
            "lost_anchor": opened.lost_anchor,
        });
        println!("{line}");
    } else {
        println!("address       {}", node.url());
        if let Some(fingerprint) = node.fingerprint() {
            println!("certificate   {fingerprint}");
        }
        if let Some(ops) = ops {
            println!("metrics       {ops}/metrics");
        }
        if let Some(page) = page {
            println!("page          {page}");
        }
        println!("ledger id     {}", node.ledger_id());
        println!("verifier key  {}", node.verifiers());
        // To be pasted behind `colearn learner`, `experiment` or `audit`.
        println!("pins          {}", witnesses.of_ledger(node.keys()).flags());
        println!("data          {}", data.display());
        // Where nobody is asked who it is there is nothing to tell.
        let Access { read, write, create, .. } = node.access();
        if ![read, write, create].iter().all(|grant| grant.is_public()) {
            println!("read          {read}");
            println!("write         {write}");
            println!("create        {create}");
        }
        println!("entries       {}", opened.size);
        if node.replayed_from() > 1 {
            println!("snapshot      used for the first {} entries", node.replayed_from());
        }
        if opened.torn_bytes > 0 {
            println!("recovered     cut off {} bytes of an unfinished write", opened.torn_bytes);
        }
        if let Some(lost) = &opened.lost_anchor {
            println!(
                "recovered     {lost}; it was written anew. If power has not failed, it was damaged"
            );
        }
        if let (Some(reason), true) = (&index, opened.size > 0) {
            println!("recovered     rebuilt the index: {reason}");
        }
    }
}
