//! The document of an audit's report (docs/audit-report.md has its schema).

use colearn_audit::reached::Reached;
use colearn_audit::{AuditReport, Finding, MAX_FINDINGS};
use colearn_contracts::ExperimentName;
use colearn_ledger::SignedNote;
use colearn_records::log_keys::LogKeys;
use colearn_records::pins::Pins;
use colearn_records::plan::Plan;
use serde_json::{Value, json};

use super::experiment::{Budget, experiment};
use crate::claims::{By, Claim, audited, said, to_json, withdraw};
use crate::cli::tell::json;

/// The number of the document's schema. It grows when a field changes its meaning or goes.
pub(crate) const SCHEMA: u32 = 1;
/// How many experiments are listed that are not told of in full.
const MAX_LISTED: usize = 1000;

/// An audit, and what it was of.
pub(crate) struct Audited<'a> {
    /// Where the ledger was read.
    pub(crate) place: &'a str,
    /// When that began, in ms since 1970, by the auditor's clock.
    pub(crate) at_ms: u64,
    /// What was insisted on.
    pub(crate) pins: &'a Pins,
    /// How many receipts and older checkpoints were held to the ledger.
    pub(crate) promises: usize,
    /// Whether merges were to be computed again.
    pub(crate) merges: bool,
    /// What was found.
    pub(crate) report: &'a AuditReport,
    /// What the ledger has come to.
    pub(crate) reached: &'a Reached,
    /// The experiments that are told of in full; all if none is named.
    pub(crate) asked: &'a [ExperimentName],
    /// Plans that were handed in, for their agreements.
    pub(crate) plans: &'a [Plan],
}

/// The document.
pub(crate) fn document(audit: &Audited<'_>) -> Value {
    let Audited { report, reached, .. } = audit;
    let is_asked = |name: &ExperimentName| audit.asked.is_empty() || audit.asked.contains(name);
    let mut budget = Budget::default();
    let (mut told, mut others) = (Vec::new(), Vec::new());
    for (name, models) in &reached.experiments {
        if is_asked(name) && budget.has_room() {
            let one = experiment(name, models, reached.state(name), audit.plans, &mut budget);
            budget.take(&one);
            told.push(one);
        } else {
            others.push(name.as_str());
        }
    }
    let other_count = others.len();
    others.truncate(MAX_LISTED);
    json!({
        "schema": SCHEMA,
        "program": concat!("colearn ", env!("CARGO_PKG_VERSION")),
        "audited_ms": audit.at_ms,
        "result": {
            "ok": report.ok,
            "sound": report.is_sound(),
            "exit_code": report.exit_code(),
            "verdict": report.verdict_line(),
            "findings": report.findings.iter().map(finding).collect::<Vec<_>>(),
            "findings_at_most": MAX_FINDINGS,
        },
        "ledger": ledger(audit),
        "claims": claims(audit),
        "merges": report.merges,
        "experiments": told,
        "other_experiments": others,
        "other_experiment_count": other_count,
    })
}

fn finding(finding: &Finding) -> Value {
    json!({
        "kind": finding.kind.name(),
        "code": finding.kind.code(),
        "entry": finding.index,
        "expected": finding.expected,
        "got": finding.got,
    })
}

fn ledger(audit: &Audited<'_>) -> Value {
    let Audited { report, reached, pins, .. } = audit;
    let keys = reached.keys.as_ref();
    let note = reached.checkpoint.as_deref();
    let parsed = note.and_then(|note| SignedNote::parse(note).ok());
    let signers = |keys: &LogKeys| -> Vec<Value> {
        let at = keys.at(report.size);
        let signed = parsed.as_ref().and_then(|note| at.signed(note).ok()).unwrap_or_default();
        let signer = |key: &colearn_ledger::Verifier| {
            json!({
                "name": key.name(),
                "key": key.to_string(),
            })
        };
        signed.into_iter().map(signer).collect()
    };
    let witnesses = pins.witnesses().iter().map(|witness| {
        let cosigned = parsed.as_ref().is_some_and(|note| witness.verify(note).is_ok());
        json!({ "name": witness.name(), "key": witness.to_string(), "cosigned": cosigned })
    });
    let nodes = keys.and_then(|keys| keys.validators()).into_iter().flat_map(|it| it.iter());
    json!({
        "place": audit.place,
        "id": report.ledger_id,
        "origin": report.origin,
        "verifier_key": report.verifier_key,
        "insisted": {
            "ledger": pins.ledger().map(|ledger| ledger.to_string()),
            "verifier_key": pins.verifier_key().map(ToString::to_string),
        },
        "entries": report.size,
        "root": report.root,
        "checkpoint": note,
        "signed_by": keys.map(signers).unwrap_or_default(),
        "witnesses": witnesses.collect::<Vec<_>>(),
        "witness_quorum": (!pins.witnesses().is_empty()).then(|| pins.quorum()),
        "nodes": nodes.map(|node| json::validator(node.message())).collect::<Vec<_>>(),
        "network": report.network,
        "followed_entries": reached.told,
        "last_ms": (reached.told > 0).then_some(reached.last_ms),
        "experiments": report.experiments,
        "rounds": report.rounds,
        "transactions": report.transactions,
        "signatures": report.signatures,
        "statements": report.statements,
        "promises": audit.promises,
        "promises_honoured": report.promises,
    })
}

/// What the audit shows, and what it does not.
fn claims(audit: &Audited<'_>) -> Value {
    let mut claims = audited(audit.report, audit.pins);
    claims.extend(said(
        "The times of entries are those of the nodes' clocks, which cannot run back; the time of the audit is that of \
         the auditor's computer.",
    ));
    claims.push(promised(audit));
    claims.push(merged(audit));
    claims.extend(open().map(|(what, how)| (what, By::Nobody, how.to_owned())));
    if !audit.report.is_sound() {
        withdraw(&mut claims, "Not claimed, since the audit failed.");
    }
    to_json(claims)
}

/// Whether the ledger keeps what it has signed before.
fn promised(audit: &Audited<'_>) -> Claim {
    let what = "That nothing was taken back";
    match audit.promises {
        0 => (
            what,
            By::Nobody,
            "No receipt and no older checkpoint was handed in (--receipts, --since), so whether the ledger still holds \
             what it has acknowledged was not looked at."
                .to_owned(),
        ),
        count => (
            what,
            By::Here,
            format!(
                "{} of {count} receipts and older checkpoints that were handed in are honoured. Of those that were not \
                 handed in nothing is known.",
                audit.report.promises
            ),
        ),
    }
}

/// Whether what was merged follows from the updates.
fn merged(audit: &Audited<'_>) -> Claim {
    let what = "That what was merged follows from the updates";
    if !audit.merges {
        let how = "Merged rounds, if there are any, were not computed again (--merges). That more than half of those \
                   who compute them named the same is shown.";
        return (what, By::Members, how.to_owned());
    }
    let all = audit.report.merges.len();
    let missing = audit.report.merges.iter().filter(|it| !it.missing.is_empty()).count();
    let how = format!(
        "{} of {all} merged rounds were computed again from the weights; of {missing} the weights are not all there.",
        all - missing
    );
    // Of what was not computed, only what those who did have named is shown.
    (what, if missing == 0 { By::Here } else { By::Members }, how)
}

/// What no audit of a ledger shows.
fn open() -> impl Iterator<Item = (&'static str, &'static str)> {
    [
        (
            "What the models were trained on",
            "No entry holds data, and no data was seen. Whether a member used the data that it says, or may use it, is \
             not in the ledger.",
        ),
        (
            "What never came into the ledger",
            "A node that leaves out what somebody sent leaves no trace. Who sent it has no receipt, or one that an audit \
             can be shown.",
        ),
        (
            "Why somebody was absent",
            "Who did not vote or train in time may have been unwilling, unreachable, or not let in by the node.",
        ),
        (
            "Who stands behind a key",
            "Signatures show which key has acted. Whose it is, and whether two keys have one holder, has to be known \
             otherwise.",
        ),
    ]
    .into_iter()
}
