//! `colearn experiment create`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use colearn_contracts::{ExperimentName, Parameters};
use colearn_learning::Shards;
use colearn_learning::data::Schema;
use colearn_records::log_keys::LogKeys;
use colearn_records::plan::{Agreement, agreements_line, check_agreements};
use colearn_sdk::encrypted::Encryption;
use colearn_sdk::learner::{SAFETENSORS, Weights};
use serde_json::json;

use super::agreements::parse_agreement;
use super::rules::{Admitted, Rules};
use crate::cli::args::{Data, ModelKeysArg, ModelShape, NodeAddress, SINGLE_ROUNDS, Signer};
use crate::cli::model_files::joined;

#[derive(Args)]
#[command(after_help = "Examples:
  colearn experiment create digits --key a.pem --open --max-rounds 15
  colearn experiment create digits --key a.pem --open --merging
  colearn experiment create xray --key a.pem --weights initial.safetensors --plan xray.toml \\
      --merging --checkers 5 --selection sortition
  colearn experiment create xray --key a.pem --weights initial.safetensors \\
      --invite 3b6a27bc...=2 --invite d75a9801... --threshold 2/3 --vote-deadline 1h
  colearn experiment create xray --key a.pem --weights initial.safetensors \\
      --founder \"3b6a27bc...:City Hospital\" --founder \"d75a9801...:judge:The regulator\"
  colearn experiment create xray --key a.pem --weights initial.safetensors --plan xray.toml
  colearn experiment create xray --key a.pem --weights initial.safetensors --plan xray.toml --agreed agreed.toml
  colearn experiment create xray --key a.pem --weights initial.safetensors --plan xray.toml \\
      --agreement 'Data sharing=contract.pdf' --agreement 'Ethics board, 2026-11=approval.pdf'
  colearn experiment create credit --key a.pem --open --schema credit.json --model mlp --hidden 64,32
  colearn experiment create xray --key a.pem --weights initial.safetensors --plan xray.toml --model-keys xray.keys

A plan file holds the same in TOML, for all members to agree on:
  threshold = \"2/3\"
  ballot = \"sealed\"
  vote_deadline = \"1h\"
  privacy = { epsilon = 3.0, delta = 1e-5 }
  merging = {}
  [members]
  3b6a27bc... = 2
  d75a9801... = {{ weight = 1, name = \"The regulator\", judge = true }}

The ledger has the digest of the plan, and with it those of the agreements. Who has the plan and the documents shows
that with: colearn experiment agreements NAME --plan FILE")]
pub(crate) struct Create {
    /// Its name: 1 to 64 of a-z 0-9 . _ -
    name: String,
    #[command(flatten)]
    node: NodeAddress,
    #[command(flatten)]
    signer: Signer,
    /// The initial model (safetensors, or the index of one that lies in several files) [default: a built-in one for the data]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["data", "task", "model", "hidden"])]
    weights: Option<PathBuf>,
    /// What kind of file the initial model is; everybody's proposals are of the same kind
    #[arg(long, default_value = SAFETENSORS, value_name = "TYPE", requires = "weights")]
    media_type: String,
    #[command(flatten)]
    model_keys: ModelKeysArg,
    #[command(flatten)]
    source: Data,
    #[command(flatten)]
    shape: ModelShape,
    /// Decides the built-in model's initial weights
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    #[command(flatten)]
    admitted: Admitted,
    /// Write the plan as it was recorded here, with its terms, the ledger and its key: with it those who take part
    /// join nothing else, nowhere else
    #[arg(long, value_name = "FILE")]
    agreed: Option<PathBuf>,
    /// Have it stand on this document, besides those of the plan: a title, and the file, of which the plan has the
    /// SHA-256; may be repeated
    #[arg(long, value_name = "TITLE=FILE", value_parser = parse_agreement)]
    agreement: Vec<Agreement>,
    #[command(flatten)]
    rules: Rules,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Create {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let name: ExperimentName = self.name.parse()?;
        // What is created cannot be taken back.
        if let Some(path) = &self.agreed {
            let is_there = colearn_files::folder_of(path).is_dir() && !path.is_dir();
            anyhow::ensure!(is_there, "{} cannot be written; nothing was created", path.display());
        }
        let mut plan = self.admitted.plan()?;
        if plan.admission.is_none() {
            bail!("say who may join: --open, --invite, --founder, or a plan with [members]");
        }
        let weights = match &self.weights {
            Some(path) if self.media_type == SAFETENSORS && Shards::is_index(path) => joined(path)?,
            Some(path) => {
                Weights::open(path).with_context(|| format!("cannot read {}", path.display()))?
            }
            None => {
                let schema = match &self.source.schema {
                    // An agreed schema needs no data.
                    Some(path) => Schema::read(path)?,
                    None => self.source.load(None)?.schema.clone(),
                };
                let spec = self.shape.spec(&schema)?;
                spec.write(&spec.untrained(self.seed))?
            }
        };
        let weights = match self.model_keys.read()? {
            Some(keys) => {
                // With its keys alone it is as nobody sees it.
                let scratch = tempfile::tempdir_in(colearn_files::scratch())?;
                Encryption::new(keys, Some(scratch.path().to_owned())).encrypt(&weights)?
            }
            None => weights,
        };
        self.rules.apply(&mut plan.parameters)?;
        plan.limits_weights |= self.rules.limits_weights();
        plan.agreements.extend(self.agreement.iter().cloned());
        check_agreements(&plan.agreements).map_err(anyhow::Error::msg)?;
        let agreed = self.admitted.has_plan() || !plan.agreements.is_empty();
        let pins = self.signer.trust(Some(&plan))?.pins;
        // Other models than these cannot be merged.
        let could_merge = plan.parameters.merging.is_none() && self.media_type == SAFETENSORS;
        let (key, mut followed) = self.signer.follow(&self.node.node, Some(&plan)).await?;
        let model = (&weights, self.media_type.as_str());
        let created = followed.create(&key, name.clone(), plan, agreed, model).await?;
        let pins = pins.of_ledger(followed.keys());
        let mut plan = created.plan.clone();
        (plan.terms, plan.pins) = (Some(created.terms), pins.clone());
        if let Some(path) = &self.agreed {
            let text =
                format!("# {name} as it was created: for all who take part.\n{}", plan.to_text());
            if let Err(error) = colearn_files::replace(path, text.as_bytes()) {
                // The ledger does not have all of it.
                eprintln!("{text}");
                return Err(error)
                    .context(format!("{name} is created; its plan, told above, is not written"));
            }
        }
        if self.json {
            println!(
                "{:#}",
                json!({
                    "experiment": name.as_str(),
                    "index": created.submitted.receipt.index,
                    "model": weights.digest().to_string(),
                    "plan": agreed.then(|| created.plan.digest().to_string()),
                    "agreements": created.plan.agreements.iter().map(|it| json!({
                        "title": it.title(),
                        "sha256": it.digest().to_string(),
                    })).collect::<Vec<_>>(),
                    "terms": created.terms.to_string(),
                    "ledger": pins.ledger().map(|it| it.to_string()),
                    "verifier_key": pins.verifier_key().map(ToString::to_string),
                })
            );
            return Ok(ExitCode::SUCCESS);
        }
        println!(
            "created {name}, entry {}, initial model {}",
            created.submitted.receipt.index,
            weights.digest()
        );
        if agreed {
            println!("plan {}", created.plan.digest());
        }
        if let Some(path) = &self.agreed {
            println!("wrote {}, for all who take part", path.display());
        }
        // To be pasted into the plan that is handed around. What those who join compare: it says it all.
        println!("terms = \"{}\"", created.terms);
        if !created.plan.agreements.is_empty() {
            println!("agreement = {}", agreements_line(&created.plan.agreements));
        }
        // And what they insist on.
        for (key, value) in pins.in_plan() {
            println!("{key} = {value}");
        }
        // Beside what is to be pasted.
        if could_merge {
            eprintln!("{SINGLE_ROUNDS}");
        }
        if let Some(short) = short_deadline(&plan.parameters, followed.keys()) {
            eprintln!("{short}");
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The shortest deadline that means what it says where blocks decide when it is over.
const SHORT_MS: u64 = 5_000;

/// What is said of a deadline that blocks are too slow for.
fn short_deadline(parameters: &Parameters, keys: &LogKeys) -> Option<String> {
    if keys.validators().is_none() && !keys.is_on_chain() {
        return None;
    }
    let gathering = parameters.merging.and_then(|merging| merging.gather_deadline_ms);
    let deadlines = [
        ("proposal", Some(parameters.proposal_deadline_ms)),
        ("vote", Some(parameters.vote_deadline_ms)),
        ("reveal", Some(parameters.reveal_deadline_ms)),
        ("gather", gathering),
        ("motion", Some(parameters.motion_deadline_ms)),
    ];
    let short = deadlines.into_iter().filter(|(_, ms)| ms.is_some_and(|ms| ms < SHORT_MS));
    let names: Vec<_> = short.map(|(name, _)| name).collect();
    (!names.is_empty()).then(|| {
        format!(
            "deadlines below {} s ({}): this ledger's time is that of its blocks, which may be seconds off, and so may be \
             when these are over",
            SHORT_MS / 1000,
            names.join(", "),
        )
    })
}
