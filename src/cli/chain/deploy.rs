//! `colearn chain deploy`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use colearn_contracts::{LearnerId, Limits};
use colearn_records::keys::parse_learner_id;
use colearn_records::on_chain::PublicChain;
use colearn_records::record::Record;
use colearn_records::transaction::LedgerId;
use colearn_relay::Rpc;
use serde_json::json;

use super::{ChainFile, tell_trust};
use crate::cli::args::duration_ms;

/// What a block may use where the chain has no bound.
const USUAL_BLOCK_GAS: u64 = 100_000_000;
/// How long the block after the contract's may take.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(200);

#[derive(Args)]
#[command(after_help = "Examples:
  colearn chain deploy --chain chain.toml --wasm colearn-chain.wasm >> chain.toml
  colearn chain deploy --chain chain.toml --code-id 7 --creators creators.txt --max-members 50

What is printed are lines of chain.toml: the contract's address, and a header to trust, which is to be compared with what others
see. Nobody administers the contract. Interrupted after the code was stored, go on with --code-id.")]
pub(crate) struct Deploy {
    #[command(flatten)]
    chain: ChainFile,
    /// The contract's code, as .ci/chain-wasm builds it
    #[arg(long, value_name = "FILE", required_unless_present = "code_id")]
    wasm: Option<PathBuf>,
    /// The number of code that is on the chain already
    #[arg(long, value_name = "N", conflicts_with = "wasm")]
    code_id: Option<u64>,
    /// A file with the public keys that may create experiments, one a line [default: everybody may]
    #[arg(long, value_name = "FILE")]
    creators: Option<PathBuf>,
    /// The most members of an experiment
    #[arg(long, default_value_t = 100, value_name = "N")]
    max_members: u32,
    /// The most unfinished experiments of one creator [default: 32]
    #[arg(long, value_name = "N")]
    experiments_per_creator: Option<u32>,
    /// Refuse transactions signed before what was recorded this long ago [default: 7days]
    #[arg(long, value_parser = duration_ms, value_name = "TIME")]
    expiry: Option<u64>,
    /// What the chain calls the contract
    #[arg(long, default_value = "colearn", value_name = "TEXT")]
    label: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Deploy {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let opened = self.chain.open()?;
        if let Some(contract) = &opened.settings.contract {
            bail!(
                "{} names the contract {contract} already; take it out to begin another ledger",
                self.chain.path.display()
            );
        }
        let creators = self.creators.as_deref().map(read_creators).transpose()?;
        let mut deliverer = opened.deliverer()?;
        let rpc = &opened.rpc;
        let mut checksum = None;
        let code = match (self.code_id, &self.wasm) {
            (Some(code), _) => code,
            (None, Some(path)) => {
                let wasm = std::fs::read(path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                checksum = Some(colearn_relay::code_checksum(&wasm)?);
                let code = deliverer.store(&wasm).await?;
                // At once: whoever is interrupted from here on has paid for it.
                match self.json {
                    true => eprintln!("stored as code {code}"),
                    false => println!("# code {code}"),
                }
                code
            }
            (None, None) => bail!("give --wasm FILE or --code-id N"),
        };
        let usual = Limits::default();
        let creators: Option<Vec<String>> =
            creators.map(|keys| keys.iter().map(|key| STANDARD.encode(key.0)).collect());
        let message = json!({
            "creators": creators,
            "max_members": self.max_members,
            "block_gas": rpc.block_gas().await?.unwrap_or(USUAL_BLOCK_GAS),
            "experiments_per_creator": self.experiments_per_creator.unwrap_or(usual.per_creator),
            "expiry_ms": self.expiry.unwrap_or(usual.expiry_ms),
        });
        let contract = deliverer.instantiate(code, &message, &self.label).await?;
        // At once, too: what follows may fail, and the ledger is there.
        match self.json {
            true => eprintln!("the contract is {contract}"),
            false => println!("contract = \"{contract}\""),
        }
        let ledger = ledger(rpc, &opened.settings.chain_id, &contract).await?;
        // What a header proves is the state before its block.
        wait(rpc, 2).await?;
        let trust = rpc.pin(&contract).await?;
        let found = hex::encode(trust.code);
        // Which code it is was a server's word until here.
        if let Some(expected) = checksum.filter(|it| *it != trust.code) {
            bail!(
                "the contract has the code {found}, and what was to be its code is {}: {} has lied about what it stored; trust \
                 nothing of this contract, and deploy with another server",
                hex::encode(expected),
                rpc.server()
            );
        }
        if self.json {
            let told = json!({
                "code_id": code, "contract": contract, "ledger_id": ledger.to_string(),
                "checksum": found, "trust": trust.to_string(),
            });
            println!("{told}");
        } else {
            println!("# ledger id {ledger}");
            if checksum.is_none() {
                println!(
                    "# code {found}: compare it with that of your own build, which .ci/chain-wasm prints"
                );
            }
            tell_trust(&trust, rpc.server());
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The id of the ledger whose first entry a contract shows.
async fn ledger(rpc: &Rpc, chain: &str, contract: &str) -> anyhow::Result<LedgerId> {
    let entries = rpc.entries(contract, 0).await?;
    let first = entries.first().context("the contract shows no first entry")?;
    let Record::Genesis(genesis) = Record::decode(first)?.record else {
        bail!("the contract's first entry says not what its ledger is");
    };
    let keeper = PublicChain::of_genesis(&genesis)?.context("its ledger is of no public chain")?;
    if (keeper.id(), keeper.contract()) != (chain, contract) {
        bail!("its ledger is that of {} on {}", keeper.contract(), keeper.id());
    }
    Ok(LedgerId::of(&genesis))
}

/// Until there are so many blocks more.
pub(crate) async fn wait(rpc: &Rpc, more: u64) -> anyhow::Result<()> {
    let begun = Instant::now();
    let from = rpc.status().await?.height;
    loop {
        let height = rpc.status().await?.height;
        if height >= from.saturating_add(more) {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            bail!("no block comes after {height}; when one does: colearn chain trust");
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Public keys, ascending, without those that are there twice; lines that begin with # are for people.
fn read_creators(path: &Path) -> anyhow::Result<Vec<LearnerId>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines = text.lines().map(str::trim).filter(|it| !it.is_empty() && !it.starts_with('#'));
    let keys = lines.map(|line| {
        parse_learner_id(line).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
    });
    let mut keys = keys.collect::<anyhow::Result<Vec<LearnerId>>>()?;
    keys.sort();
    keys.dedup();
    if keys.is_empty() {
        bail!("{} names nobody who may create experiments", path.display());
    }
    Ok(keys)
}
