//! `colearn ledger`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};
use clap::{Subcommand, ValueEnum};
use colearn::model::{Beside, beside};
use colearn::place::Place;
use colearn_audit::models::Extent;
use colearn_audit::{self as audit, Trouble};
use colearn_ledger::note::from_bytes;
use colearn_ledger::{
    Checkpoint, Exporter, Forgotten, Hash, Receipt, TreeBuilder, Verifiers, tree,
};
use colearn_records::on_chain::PublicChain;
use colearn_records::pins::Pins;
use colearn_records::receipts::{self, KeptReceipt, KeptReceipts};
use colearn_records::record::Record;
use serde_json::{Value, json};

use super::args::{Cosigners, NODE, PlaceArgs};
use super::model::{warn_of, with_progress};
use super::progress;
use super::tell::{json, text};

#[derive(Subcommand)]
pub(crate) enum Ledger {
    /// Print entries, one a line. Nothing is verified; use `colearn audit` for that.
    #[command(after_help = "Examples:
  colearn ledger show colearn-data
  colearn ledger show http://127.0.0.1:7400 --start 100 --count 20 --json")]
    Show {
        /// A node's URL, a node's data folder (it may be running), or an exported folder
        #[arg(env = NODE)]
        place: Place,
        /// The first entry
        #[arg(long, default_value_t = 0, value_name = "INDEX")]
        start: u64,
        /// How many entries [default: all]
        #[arg(long, value_name = "N")]
        count: Option<u64>,
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Write the ledger as static files that any web server can serve: C2SP tlog-tiles.
    #[command(after_help = "Examples:
  colearn ledger export public --from colearn-data
  colearn ledger export public --from http://127.0.0.1:7400
  colearn ledger export public --from colearn-data --artifacts accepted

What is there already is left alone; a second export writes only what is new. With --artifacts the ledger
is audited, and the weights that it names are written to the folder artifact, each under its digest: the
path at which a node serves them. model get, round and audit --merges find them there.")]
    Export {
        /// The folder to write to
        dir: PathBuf,
        #[command(flatten)]
        place: PlaceArgs,
        /// Also the weights of: the model of now (current), all that were accepted (accepted), or also what else was
        /// proposed and sent (all)
        #[arg(long, value_enum, value_name = "current|accepted|all")]
        artifacts: Option<ExtentArg>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a receipt for an entry: the proof that the signed ledger holds it (C2SP tlog-proof).
    #[command(after_help = "Example:
  colearn ledger proof 42 --from colearn-data --out 42.tlog-proof

Beside the receipt, with the ending .entry, the entry itself is written.")]
    Proof {
        /// The entry
        index: u64,
        #[command(flatten)]
        place: PlaceArgs,
        /// The receipt's file [default: INDEX.tlog-proof]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Check a receipt offline, against nothing but the ledger's key.
    #[command(after_help = "Examples:
  colearn ledger verify-receipt 42.tlog-proof --verifier-key 'colearn/0011223344556677+...' \\
      --witness 'w1+...'
  colearn ledger verify-receipt a.pem.data/receipts/000000000000.receipts --index 42 --verifier-key ...")]
    VerifyReceipt {
        /// The receipt (tlog-proof), or a learner's file of many (.receipts)
        file: PathBuf,
        /// Of many only the one for this entry
        #[arg(long, value_name = "INDEX")]
        index: Option<u64>,
        /// The ledger's verifier key; where several nodes keep it, theirs, separated by commas
        #[arg(long, alias = "key", value_name = "KEY")]
        verifier_key: Verifiers,
        #[command(flatten)]
        cosigners: Cosigners,
        /// The entry the receipt is for [default: the receipt's file with the ending .entry]
        #[arg(long, value_name = "FILE")]
        entry: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum ExtentArg {
    /// The model that each experiment has now.
    Current,
    /// All that experiments have had.
    Accepted,
    /// Those, and all proposals and updates.
    All,
}

impl Ledger {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Show { place, start, count, json } => show(place.one()?, start, count, json),
            Self::Export { dir, place: PlaceArgs { from }, artifacts, json } => {
                let exported = export(&dir, from.one()?)?;
                if !json {
                    println!("{exported}");
                }
                let beside = match artifacts {
                    Some(extent) => Some(export_weights(&dir, &from, extent, json)?),
                    None => None,
                };
                if json {
                    println!("{}", exported.to_json(beside.as_ref()));
                }
                let whole = beside.is_none_or(|it| it.lacking.is_empty());
                Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
            }
            Self::Proof { index, place, out, json } => {
                let out = out.unwrap_or_else(|| format!("{index}.tlog-proof").into());
                proof(index, place.from.one()?, &out, json)
            }
            Self::VerifyReceipt { file, index, verifier_key, cosigners, entry, json } => {
                let pins = cosigners.pins()?;
                for kept in kept_receipts(&file, index, entry)? {
                    verify_receipt(&kept, &verifier_key, &pins, json)?;
                }
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

/// What stops reading a place, with what to do about it.
pub(crate) fn trouble_at(place: &str) -> impl Fn(Trouble) -> anyhow::Error {
    move |trouble| match trouble {
        Trouble::Unreadable(error) => error.into(),
        Trouble::Damaged { index, what } => {
            anyhow!("entry {index} is damaged: {what}; run: colearn audit {place}")
        }
    }
}

fn show(place: &str, start: u64, count: Option<u64>, json: bool) -> anyhow::Result<ExitCode> {
    let end = count.map_or(u64::MAX, |count| start.saturating_add(count));
    for entry in audit::entries(&mut *audit::open(place)?, end) {
        let (index, bytes) = entry.map_err(trouble_at(place))?;
        if index < start {
            continue;
        }
        let decoded = Record::decode(&bytes)
            .map_err(|error| anyhow!("entry {index}: {error}; run: colearn audit {place}"))?;
        if json {
            println!("{}", json::entry(&decoded, &bytes));
        } else {
            println!("{}", text::entry(&decoded));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The signed checkpoint of a place, verified with the ledger's key.
fn signed_checkpoint(place: &str) -> anyhow::Result<(Checkpoint, String)> {
    audit::signed_checkpoint(&mut *audit::open(place)?)
        .with_context(|| format!("{place} cannot be trusted; run: colearn audit {place}"))
}

/// A ledger that was exported.
struct Exported {
    dir: PathBuf,
    entries: u64,
    /// How many files were not there yet.
    written: u64,
    /// The public chain that keeps the ledger, if one does.
    chain: Option<PublicChain>,
}

impl fmt::Display for Exported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dir, entries, written, chain } = self;
        let dir = dir.display();
        if let Some(chain) = chain {
            let (contract, id) = (chain.contract(), chain.id());
            writeln!(
                f,
                "kept by the contract {contract} on the chain {id}, whose proof an export has not:"
            )?;
            writeln!(f, "who has the copy asks the chain: colearn audit {dir} --chain chain.toml")?;
        }
        write!(f, "exported {entries} entries to {dir}, {written} files written")
    }
}

impl Exported {
    fn to_json(&self, weights: Option<&Beside>) -> Value {
        let weights = weights.map(|Beside { there, lacking, .. }| {
            let lacking = lacking.iter().map(
                |(digest, why)| json!({ "digest": digest.to_string(), "reason": why.to_string() }),
            );
            json!({ "there": there, "lacking": lacking.collect::<Vec<_>>() })
        });
        let mut told = json!({
            "dir": self.dir.display().to_string(),
            "entries": self.entries,
            "files_written": self.written,
            "weights": weights,
        });
        if let Some(chain) = &self.chain {
            told["chain"] = json!({ "id": chain.id(), "contract": chain.contract() });
        }
        told
    }
}

fn export(dir: &Path, place: &str) -> anyhow::Result<Exported> {
    let (checkpoint, note) = signed_checkpoint(place)?;
    let bar = progress::entries("exporting");
    bar.set_length(checkpoint.size);
    let (mut exporter, mut chain) = (Exporter::new(dir), None);
    for entry in audit::entries(&mut *audit::open(place)?, checkpoint.size) {
        let (index, bytes) = entry.map_err(trouble_at(place))?;
        bar.set_position(index + 1);
        if index == 0
            && let Record::Genesis(genesis) = Record::decode(&bytes)?.record
        {
            chain = PublicChain::of_genesis(&genesis)?;
        }
        exporter.push(&bytes)?;
    }
    bar.finish_and_clear();
    let written = exporter.finish(&note)?;
    Ok(Exported { dir: dir.to_owned(), entries: checkpoint.size, written, chain })
}

/// Brings the weights that an exported ledger names beside it.
fn export_weights(
    dir: &Path,
    from: &Place,
    extent: ExtentArg,
    json: bool,
) -> anyhow::Result<Beside> {
    let extent = match extent {
        ExtentArg::Current => Extent::Current,
        ExtentArg::Accepted => Extent::Accepted,
        ExtentArg::All => Extent::All,
    };
    let done = with_progress(|progress| beside(dir, from, extent, progress))?;
    warn_of(&done.report);
    if !json {
        for (digest, why) in &done.lacking {
            eprintln!("{digest} could not be had: {why}");
        }
        let all = done.there + done.lacking.len() as u64;
        println!("the weights of {} of {all} models are there", done.there);
    }
    Ok(done)
}

fn proof(index: u64, place: &str, out: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let (checkpoint, note) = signed_checkpoint(place)?;
    if index >= checkpoint.size {
        bail!("entry {index} does not exist; the ledger has {}", checkpoint.size);
    }
    let mut tree = TreeBuilder::new();
    let mut wanted = Vec::new();
    let mut source = audit::open(place)?;
    for entry in audit::entries(&mut *source, checkpoint.size) {
        let (at, bytes) = entry.map_err(trouble_at(place))?;
        tree.push(Hash::leaf(&bytes));
        if at == index {
            wanted = bytes;
        }
    }
    let path = loop {
        match tree::inclusion(&tree, index, checkpoint.size) {
            Ok(path) => break path,
            Err(Forgotten(tile)) => {
                let leaves = source.leaves(tile).map_err(|trouble| match trouble {
                    Trouble::Unreadable(error) => error.into(),
                    Trouble::Damaged { index, what } => anyhow!("entry {index}: {what}"),
                })?;
                if !tree.recall(tile, leaves) {
                    bail!("{place} gave other entries the second time");
                }
            }
        }
    };
    let receipt = Receipt { index, path, checkpoint: note };
    let write = |path: &Path, bytes: &[u8]| {
        std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
    };
    write(out, receipt.to_text().as_bytes())?;
    let entry = out.with_extension("entry");
    write(&entry, &wanted)?;
    if json {
        let (receipt, entry) = (out.display().to_string(), entry.display().to_string());
        println!("{}", json!({ "index": index, "receipt": receipt, "entry": entry }));
    } else {
        println!("wrote {} and its entry", out.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// The receipt in a file, with its entry; or those of a learner's file of many.
fn kept_receipts(
    file: &Path,
    index: Option<u64>,
    entry: Option<PathBuf>,
) -> anyhow::Result<Vec<KeptReceipt>> {
    let read = |path: &Path| {
        std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let cannot = || format!("{} cannot be used", file.display());
    let kept = match file.extension().is_some_and(|ending| ending == receipts::ENDING) {
        true => {
            let bytes = read(file)?;
            let all: Result<Vec<_>, _> = KeptReceipts::new(&bytes).collect();
            all.with_context(cannot)?
        }
        false => {
            let receipt = from_bytes(read(file)?).and_then(|text| Receipt::parse(&text));
            let receipt = receipt.with_context(cannot)?;
            let entry = read(&entry.unwrap_or_else(|| file.with_extension("entry")));
            let entry = entry.context("a receipt is checked with its entry: --entry FILE")?;
            vec![KeptReceipt { receipt, entry }]
        }
    };
    let is_asked = |kept: &KeptReceipt| index.is_none_or(|index| kept.receipt.index == index);
    let kept: Vec<_> = kept.into_iter().filter(is_asked).collect();
    match (kept.is_empty(), index) {
        (false, _) => Ok(kept),
        (true, Some(index)) => bail!("{} has no receipt for entry {index}", file.display()),
        (true, None) => bail!("{} has no receipt", file.display()),
    }
}

fn verify_receipt(
    kept: &KeptReceipt,
    verifiers: &Verifiers,
    pins: &Pins,
    json: bool,
) -> anyhow::Result<()> {
    let KeptReceipt { receipt, entry } = kept;
    let checkpoint = receipt.verify(Hash::leaf(entry), verifiers)?;
    pins.check_witnesses(&receipt.checkpoint)?;
    let decoded = Record::decode(entry)?;
    if decoded.index != receipt.index {
        bail!("the entry says it is {}, the receipt {}", decoded.index, receipt.index);
    }
    if json {
        let receipt = json!({
            "index": receipt.index,
            "size": checkpoint.size,
            "root": checkpoint.root.to_string(),
            "entry": json::entry(&decoded, entry),
        });
        println!("{receipt}");
    } else {
        println!("{}", text::entry(&decoded));
        println!(
            "RECEIPT OK index={} size={} root={}",
            receipt.index, checkpoint.size, checkpoint.root
        );
    }
    Ok(())
}
