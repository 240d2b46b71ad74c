//! `colearn experiment agreements`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use colearn_audit::experiments::of;
use colearn_audit::models::NoModel;
use colearn_audit::reached::reached;
use colearn_audit::{self as audit, AuditOptions};
use colearn_contracts::{Digest, ExperimentName};
use colearn_records::plan::{Agreement, Plan, Stands};
use serde_json::json;

use crate::cli::args::{PinArgs, PlaceArgs};
use crate::cli::model::warn_of;
use crate::cli::progress;
use crate::proving::Proving;

/// The exit code where an experiment does not stand on what was shown, as for a model that none has accepted.
const NOT_SO: u8 = 3;

#[derive(Args)]
#[command(after_help = "Examples:
  colearn experiment agreements xray --plan xray.toml
  colearn experiment agreements xray --plan xray.toml contract.pdf approval.pdf --from public --ledger cdf1c20e...

The ledger has the digest of the plan that an experiment was created from, and no agreement in words. It is audited
first. Exit codes: 0 it was created from a plan with just these agreements, and each file is one of them; 1 cannot
be read; 3 it was not, or a file is none; 10 to 27 the ledger is not as it should be.")]
pub(crate) struct Agreements {
    /// The experiment
    name: ExperimentName,
    /// Documents that must be among the agreements
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The plan, which has the agreements' titles and SHA-256
    #[arg(long, value_name = "FILE")]
    plan: PathBuf,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    pins: PinArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Reads `TITLE=FILE`, and the file for its digest.
pub(super) fn parse_agreement(text: &str) -> Result<Agreement, String> {
    // A file's name may have equals signs; a title that has one is written into a plan.
    let (title, file) = text.split_once('=').ok_or("write it as TITLE=FILE")?;
    let digest = digest(Path::new(file)).map_err(|error| format!("{error:#}"))?;
    Agreement::new(title, digest)
}

fn digest(path: &Path) -> anyhow::Result<Digest> {
    let cannot = || format!("cannot read {}", path.display());
    // Before it is opened, which of a pipe would wait for whoever writes.
    if !std::fs::metadata(path).with_context(cannot)?.is_file() {
        bail!("{}: it is no regular file", cannot());
    }
    let file = File::open(path).with_context(cannot)?;
    Ok(Digest(colearn_merge::digest(&file).with_context(cannot)?))
}

impl Agreements {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let plan = Plan::read(&self.plan)?;
        if let Some(planned) = plan.name.as_ref().filter(|planned| **planned != self.name) {
            bail!("{} is the plan of {planned}, not of {}", self.plan.display(), self.name);
        }
        if plan.agreements.is_empty() {
            bail!("{} has no agreements", self.plan.display());
        }
        let files = self.files.iter().map(|path| Ok((path, digest(path)?)));
        let files: Vec<(&PathBuf, Digest)> = files.collect::<anyhow::Result<_>>()?;
        let pins = self.pins.pins(&plan.pins)?;
        let bar = progress::entries("auditing");
        let told = progress::on(&bar);
        let proving = Proving::of(&self.place.from, &pins)?;
        let prover = proving.as_ref().map(Proving::prover);
        let options =
            AuditOptions { pins, prover, progress: Some(&told), ..AuditOptions::default() };
        let (report, reached) = reached(&mut *audit::open(self.place.from.one()?)?, options)?;
        bar.finish_and_clear();
        if !report.is_sound() {
            match self.json {
                true => println!("{}", serde_json::to_string_pretty(&report)?),
                false => println!("{}", report.verdict_line()),
            }
            return Ok(ExitCode::from(report.exit_code()));
        }
        warn_of(&report);
        let models = of(&reached.experiments, Some(&self.name)).map_err(NoModel::from)?;
        let stands = Stands::of(&self.name, models.creation(), &plan.agreements);
        let title = |digest: Digest| {
            let found = plan.agreements.iter().find(|it| it.digest() == digest);
            found.map(Agreement::title)
        };
        let unknown = files.iter().any(|(_, digest)| title(*digest).is_none());
        let reason = match stands {
            Stands::OnNone => Some("no_plan"),
            Stands::OnOthers => Some("other_plan"),
            Stands::On if unknown => Some("unknown_file"),
            Stands::On => None,
        };
        let recorded = models.creation().plan.map(|plan| plan.to_string());
        let entry = models.initial().entry;
        if self.json {
            let agreements = plan.agreements.iter().map(|it| {
                let same = files.iter().filter(|(_, digest)| *digest == it.digest());
                json!({
                    "title": it.title(),
                    "sha256": it.digest().to_string(),
                    "files": same.map(|(path, _)| path).collect::<Vec<_>>(),
                })
            });
            println!(
                "{:#}",
                json!({
                    "experiment": self.name.as_str(),
                    "ok": reason.is_none(),
                    "reason": reason,
                    "plan": recorded,
                    "entry": entry,
                    "agreements": agreements.collect::<Vec<_>>(),
                    "files": files.iter().map(|(path, digest)| json!({
                        "file": path,
                        "sha256": digest.to_string(),
                        "title": title(*digest),
                    })).collect::<Vec<_>>(),
                    "ledger": { "id": report.ledger_id, "size": report.size, "root": report.root },
                })
            );
        } else {
            for it in &plan.agreements {
                println!("agreement   {}, sha-256 {}", it.title(), it.digest());
            }
            for (path, digest) in &files {
                let what = title(*digest).unwrap_or("none of these");
                println!("file        {}, sha-256 {digest}: {what}", path.display());
            }
            let of = recorded
                .as_deref()
                .map_or_else(|| "no plan".to_owned(), |plan| format!("the plan of digest {plan}"));
            println!(
                "ledger      {}: {} was created from {of} (entry {entry})",
                report.ledger_id, self.name
            );
            let (name, count, files) = (&self.name, plan.agreements.len(), files.len());
            match reason {
                None => {
                    println!("AGREEMENTS OK experiment={name} agreements={count} files={files}")
                }
                Some(reason) => println!("AGREEMENTS FAIL experiment={name} reason={reason}"),
            }
        }
        Ok(reason.map_or(ExitCode::SUCCESS, |_| ExitCode::from(NOT_SO)))
    }
}
