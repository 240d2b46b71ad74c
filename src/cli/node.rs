//! `colearn node`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use colearn_ledger::IndexUse;
use colearn_node::{
    Config, DEFAULT_ARTIFACT_QUOTA_BYTES, DEFAULT_MAX_ARTIFACT_BYTES, DEFAULT_RESERVE_BYTES,
    Progress, WitnessAddress,
};

use super::progress;
use super::signals::Signals;

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
}

impl Node {
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
            (None, Some(run)) => run.run().await,
            (None, None) => anyhow::bail!("--data DIR is needed; see colearn node --help"),
        }
    }
}

#[derive(Args)]
#[command(after_help = "Examples:
  colearn node --data colearn-data
  colearn node --data /var/lib/colearn --listen 0.0.0.0:7400
  curl http://127.0.0.1:7400/checkpoint

The node answers gRPC and HTTP on one port and stops cleanly on Ctrl-C or SIGTERM. There is no
encryption: put a TLS proxy in front of it where others can reach it.")]
struct NodeArgs {
    /// Where everything is kept; created on first start
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The address to listen on; port 0 picks a free one
    #[arg(long, default_value = "127.0.0.1:7400", value_name = "ADDR")]
    listen: SocketAddr,
    /// The ledger's name, on first start [default: one made from its key]
    #[arg(long, value_name = "NAME")]
    origin: Option<String>,
    /// The largest model that can be uploaded, in bytes
    #[arg(long, default_value_t = DEFAULT_MAX_ARTIFACT_BYTES, value_name = "BYTES")]
    max_artifact_bytes: u64,
    /// What all models together may take, in bytes
    #[arg(long, default_value_t = DEFAULT_ARTIFACT_QUOTA_BYTES, value_name = "BYTES")]
    artifact_quota_bytes: u64,
    /// Refuse transactions while the disk has fewer bytes free; reading goes on
    #[arg(long, default_value_t = DEFAULT_RESERVE_BYTES, value_name = "BYTES")]
    reserve_bytes: u64,
    /// Ask this witness to cosign every checkpoint; may be repeated
    #[arg(long, value_name = "NAME=VKEY@URL")]
    witness: Vec<WitnessAddress>,
    /// How many cosignatures make a checkpoint witnessed [default: all witnesses']
    #[arg(long, value_name = "K")]
    witness_quorum: Option<usize>,
    /// Print what was started as one line of JSON
    #[arg(long)]
    json: bool,
}

impl NodeArgs {
    async fn run(self) -> anyhow::Result<ExitCode> {
        // Before anyone is told that the node runs, so that no signal is missed.
        let mut signals = Signals::catch()?;
        let node = colearn_node::Node::start(Config {
            data: self.data.clone(),
            listen: self.listen,
            origin: self.origin,
            max_artifact_bytes: self.max_artifact_bytes,
            artifact_quota_bytes: self.artifact_quota_bytes,
            reserve_bytes: self.reserve_bytes,
            witness_quorum: self.witness_quorum.unwrap_or(self.witness.len()),
            witnesses: self.witness,
            progress: Some(Progress::new(progress::rebuilding())),
        })
        .await?;
        tell_started(&node, &std::path::absolute(&self.data)?, self.json);
        tokio::select! {
            _ = signals.asked() => {}
            () = node.stopped() => {}
        }
        node.shutdown().await?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Says where the node is, and what it found on its disk.
fn tell_started(node: &colearn_node::Node, data: &Path, json: bool) {
    let opened = node.opened();
    let index = match &opened.index {
        IndexUse::UpTo(_) => None,
        IndexUse::Rebuilt(reason) => Some(reason.clone()),
    };
    if json {
        let line = serde_json::json!({
            "address": format!("http://{}", node.address()),
            "ledger_id": node.ledger_id().to_string(),
            "verifier_key": node.verifier().to_string(),
            "data": data,
            "entries": opened.size,
            "replayed_from": node.replayed_from(),
            "torn_bytes": opened.torn_bytes,
            "index_rebuilt": index,
        });
        println!("{line}");
    } else {
        println!("address       http://{}", node.address());
        println!("ledger id     {}", node.ledger_id());
        println!("verifier key  {}", node.verifier());
        println!("data          {}", data.display());
        println!("entries       {}", opened.size);
        if node.replayed_from() > 1 {
            println!("snapshot      used for the first {} entries", node.replayed_from());
        }
        if opened.torn_bytes > 0 {
            println!("recovered     cut off {} bytes of an unfinished write", opened.torn_bytes);
        }
        if let (Some(reason), true) = (&index, opened.size > 0) {
            println!("recovered     rebuilt the index: {reason}");
        }
    }
}
