//! `colearn chain submit`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use colearn_contracts::ExperimentName;
use colearn_ledger::Entry;
use colearn_light::Trust;
use colearn_records::keys::{Place, learner_id};
use colearn_records::on_chain::{TREE_KEY, Tree};
use colearn_records::record;
use colearn_relay::{Delivered, Deliverer, NOT_DELIVERED, Rpc, Shown};
use colearn_sdk::client::Memory;
use serde_json::json;

use super::{ChainFile, Opened, wait};
use crate::cli::key_file;

/// A transaction of a learner is far smaller.
const MAX_PAYLOAD_BYTES: u64 = 1 << 20;
/// What the contract says of what is recorded.
const RECORDED: u32 = 0;

#[derive(Args)]
#[command(after_help = "Examples:
  colearn experiment ballot digits 3 approve --key b.pem --trust \"$TRUST\" --out ballot.bin
  colearn chain submit --chain chain.toml ballot.bin
  colearn chain submit --chain chain.toml --key b.pem --experiment digits

For a learner whose node does not deliver: anybody may, from an account of their own. A file has the payload of an
entry, as a node gets it and a ledger keeps it. With --experiment it is what the key has signed last there for a
round, which its learner keeps beside it, and may go on running. Where chain.toml has a line `trust`, `recorded` is
what the chain proves; all servers of `rpc` are asked until it does. The exit code is 1 if one is not recorded.")]
pub(crate) struct Submit {
    #[command(flatten)]
    chain: ChainFile,
    /// A transaction each, delivered in this order
    #[arg(required_unless_present = "experiment", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Deliver what this key has signed last in --experiment
    #[arg(long, requires = "experiment", conflicts_with = "files", value_name = "KEY")]
    key: Option<Place>,
    /// Where the key remembers that [default: as for `colearn learner`]
    #[arg(long, requires = "experiment", conflicts_with = "files", value_name = "DIR")]
    memory: Option<PathBuf>,
    /// The experiment
    #[arg(long, requires = "key", conflicts_with = "files", value_name = "NAME")]
    experiment: Option<ExperimentName>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A transaction, and what it is called here.
struct Named {
    name: String,
    payload: Vec<u8>,
}

impl Submit {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let named = match (&self.key, &self.experiment) {
            (Some(key), Some(experiment)) => signed(key, self.memory.as_deref(), experiment)?,
            _ => self.files.iter().map(|file| read(file)).collect::<anyhow::Result<_>>()?,
        };
        let opened = self.chain.open()?;
        let payloads: Vec<Vec<u8>> = named.iter().map(|it| it.payload.clone()).collect();
        let mut deliverer = opened.deliverer()?;
        let (delivered, proven) = match &opened.settings.trust {
            Some(trust) => deliver_proven(&opened, trust, &mut deliverer, &payloads).await?,
            None => (deliverer.submit(&payloads).await?, None),
        };
        match self.json {
            true => tell_json(&delivered, proven),
            false => tell(&named, &delivered, proven, &opened.settings.denom),
        }
        Ok(match delivered.codes.iter().all(|code| *code == RECORDED) {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        })
    }
}

fn read(file: &Path) -> anyhow::Result<Named> {
    let naming = || format!("cannot read {}", file.display());
    let length = std::fs::metadata(file).with_context(naming)?.len();
    if length > MAX_PAYLOAD_BYTES {
        bail!("{} has {length} bytes, and no transaction has", file.display());
    }
    let payload = std::fs::read(file).with_context(naming)?;
    Ok(Named { name: file.display().to_string(), payload })
}

/// What a key has signed last for a round.
fn signed(
    key: &Place,
    memory: Option<&Path>,
    experiment: &ExperimentName,
) -> anyhow::Result<Vec<Named>> {
    let id = learner_id(&key_file::load(key)?);
    let folder = memory.map_or_else(|| Memory::of(key, id), |dir| Ok(dir.to_owned()))?;
    let signed = Memory::open(&folder, id)?.signed(experiment)?;
    if signed.is_empty() {
        bail!(
            "{} has nothing that this key has signed for a round of {experiment}",
            folder.display()
        );
    }
    let named = signed.iter().map(|transaction| Named {
        name: format!("of {experiment}, by this key"),
        payload: record::transaction_payload(transaction),
    });
    Ok(named.collect())
}

/// Delivers until the chain proves that all is recorded which a server says is, and gives by which block; what one says is
/// recorded, and is not, the next is to deliver.
async fn deliver_proven(
    opened: &Opened,
    trust: &Trust,
    deliverer: &mut Deliverer,
    payloads: &[Vec<u8>],
) -> anyhow::Result<(Delivered, Option<u64>)> {
    let rpc = &opened.rpc;
    let before = end(rpc, trust).await?.1;
    let mut all = Delivered { codes: vec![NOT_DELIVERED; payloads.len()], ..Delivered::default() };
    let mut left: Vec<usize> = (0..payloads.len()).collect();
    let mut proven = None;
    for _ in 0..rpc.servers() {
        let some: Vec<Vec<u8>> = left.iter().map(|at| payloads[*at].clone()).collect();
        let Delivered { height, codes, not_delivered, gas_used, fee } =
            deliverer.submit(&some).await?;
        all.height = height.max(all.height);
        all.gas_used = all.gas_used.saturating_add(gas_used);
        all.fee = all.fee.saturating_add(fee);
        for (place, code) in left.iter().zip(codes) {
            all.codes[*place] = code;
        }
        all.not_delivered.extend(not_delivered.into_iter().map(|(at, why)| (left[at], why)));
        let (height, recorded) = recorded(rpc, trust, &before, payloads).await?;
        proven = Some(height);
        // Whatever a server has said of it.
        for at in &recorded {
            all.codes[*at] = RECORDED;
            all.not_delivered.remove(at);
        }
        left.retain(|at| all.codes[*at] == RECORDED && !recorded.contains(at));
        if left.is_empty() {
            break;
        }
        deliverer.ask_another();
    }
    for at in left {
        all.codes[at] = NOT_DELIVERED;
        let why = "said to be recorded, and the chain does not prove it";
        all.not_delivered.insert(at, why.to_owned());
    }
    Ok((all, proven))
}

/// The ledger's end, and the height of the header that proves it.
async fn end(rpc: &Rpc, trust: &Trust) -> anyhow::Result<(u64, Tree)> {
    let Shown { light, established } = rpc.prove(trust, &trust.contract, TREE_KEY).await?;
    let tree =
        Tree::from_bytes(&established.value).context("what the contract keeps is no ledger")?;
    Ok((light.height(), tree))
}

/// Which of these are recorded behind an end of the ledger, and by which header that is proven: one of a block behind all
/// that there are.
async fn recorded(
    rpc: &Rpc,
    trust: &Trust,
    before: &Tree,
    payloads: &[Vec<u8>],
) -> anyhow::Result<(u64, BTreeSet<usize>)> {
    let mut tries = 0;
    loop {
        let looked = async {
            // What a header proves is the state before its block.
            wait(rpc, 2).await?;
            let (height, proven) = end(rpc, trust).await?;
            anyhow::Ok((height, between(rpc, &trust.contract, before, &proven, payloads).await?))
        };
        tries += 1;
        match looked.await {
            Err(error) if tries < rpc.servers() => {
                eprintln!("{} is not believed, and the next is asked: {error:#}", rpc.server());
                rpc.go_on();
            }
            looked => return looked,
        }
    }
}

/// Which of these payloads the entries have that lead from one end of the ledger to another.
async fn between(
    rpc: &Rpc,
    contract: &str,
    before: &Tree,
    proven: &Tree,
    payloads: &[Vec<u8>],
) -> anyhow::Result<BTreeSet<usize>> {
    let (mut tree, mut found) = (before.clone(), BTreeSet::new());
    while tree.head().size < proven.head().size {
        let index = tree.head().size;
        let unproven = || format!("entry {index} is not the one that the chain proves");
        let sent = rpc.entries(contract, index).await?;
        if sent.is_empty() {
            bail!(unproven());
        }
        for bytes in sent {
            if tree.head().size == proven.head().size {
                break;
            }
            let entry = Entry::decode(&bytes).with_context(unproven)?;
            found.extend(payloads.iter().position(|it| *it == entry.payload));
            if tree.push(entry.time_ms, entry.payload).ok().as_ref() != Some(&bytes) {
                bail!(unproven());
            }
        }
    }
    match tree == *proven {
        true => Ok(found),
        false => bail!("the entries are not those that the chain proves"),
    }
}

fn tell_json(delivered: &Delivered, proven: Option<u64>) {
    // Where there is none, it is null.
    let code = |code: &u32| (*code != NOT_DELIVERED).then_some(*code);
    let codes: Vec<Option<u32>> = delivered.codes.iter().map(code).collect();
    let mut told = json!({
        "codes": codes, "fee": delivered.fee.to_string(), "gas_used": delivered.gas_used,
        "height": delivered.height, "proven_by": proven,
    });
    if !delivered.not_delivered.is_empty() {
        told["not_delivered"] = json!(delivered.not_delivered);
    }
    println!("{told}");
}

fn tell(named: &[Named], delivered: &Delivered, proven: Option<u64>, denom: &str) {
    for (at, (Named { name, .. }, code)) in named.iter().zip(&delivered.codes).enumerate() {
        let meaning = match delivered.not_delivered.get(&at) {
            Some(why) => format!("not delivered: {why}"),
            None => meaning(*code),
        };
        println!("{name}  {meaning}");
    }
    println!("block {}, {} gas, {}{denom}", delivered.height, delivered.gas_used, delivered.fee);
    match proven {
        Some(height) => println!("what is recorded is proven by block {height}"),
        None => println!("so a server says: with a line `trust` in chain.toml it is proven"),
    }
}

/// What the contract's code for a transaction means (chain/README.md).
fn meaning(code: u32) -> String {
    match code {
        RECORDED => "recorded".to_owned(),
        200 => "no transaction, or its signature is wrong".to_owned(),
        201 => "its signer has seen another history, or it has expired".to_owned(),
        rule => format!("refused by rule {rule} (contracts/README.md)"),
    }
}
