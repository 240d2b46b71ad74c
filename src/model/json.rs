//! Models that were got or looked up, as JSON for programs.

use colearn_audit::AuditReport;
use colearn_audit::models::{NoModel, Role, median_vote_score};
use colearn_records::history::{Round, unit};
use colearn_records::words::Word as _;
use serde_json::{Value, json};

use super::{Got, Use, Verified};

impl Got {
    /// As JSON for programs.
    ///
    /// # Errors
    /// None, once it was got.
    pub fn to_json(&self) -> Result<Value, NoModel> {
        let held = self.held()?;
        let mut told = json!({
            "experiment": self.models.history().experiment.as_str(),
            "file": self.path,
            "digest": held.model.digest.to_string(),
            "size": held.model.size,
            "media_type": held.model.media_type,
            "current": self.is_current(&held),
            "entry": held.entry,
            "ledger": ledger_json(&self.report),
        });
        round_json(&mut told, held.round);
        Ok(told)
    }
}

impl Verified {
    /// As JSON for programs.
    pub fn to_json(&self) -> Value {
        let uses: Vec<Value> = self.uses.iter().flat_map(use_json).collect();
        let mut ledger = ledger_json(&self.report);
        ledger["checkpoint"] = self.checkpoint.as_deref().into();
        json!({
            "file": self.path,
            "digest": self.digest.to_string(),
            "size": self.size,
            "accepted": self.is_accepted(),
            "ledger": ledger,
            "receipts": self.receipts,
            "uses": uses,
        })
    }
}

fn ledger_json(report: &AuditReport) -> Value {
    json!({
        "ok": report.ok,
        "sound": report.is_sound(),
        "id": report.ledger_id,
        "verifier_key": report.verifier_key,
        "size": report.size,
        "root": report.root,
        "signatures": report.signatures,
        "promises": report.promises,
        "findings": report.findings,
    })
}

/// Adds what there is to say of a round; 0 is before the first. What there is not is null.
fn round_json(told: &mut Value, round: Option<&Round>) {
    told["round"] = round.map_or(0, |round| round.number).into();
    let (vote, test) = round.map(Round::mean_scores).unwrap_or_default();
    let proposer = round.and_then(|round| round.proposer);
    told["proposer"] = proposer.map(|proposer| proposer.to_string()).into();
    told["median_vote_score"] = round.and_then(median_vote_score).into();
    told["mean_vote_score"] = vote.into();
    told["mean_test_score"] = test.into();
    let result = round.and_then(|round| round.result);
    told["verdict"] = result.map(|it| it.verdict.word()).into();
    told["approvals"] = result.map(|it| it.approvals).into();
    told["rejections"] = result.map(|it| it.rejections).into();
    told["abstentions"] = result.map(|it| it.abstentions).into();
    told["electorate"] = result.map(|it| it.electorate).into();
}

fn use_json(it: &Use) -> Vec<Value> {
    let (history, models) = (it.models.history(), &it.models);
    let one = |role: &Role| {
        let number = match role {
            Role::Initial => 0,
            Role::Accepted(number)
            | Role::Proposed(number)
            | Role::Update(number, _)
            | Role::Merge(number, _) => *number,
        };
        let mut told = json!({
            "experiment": history.experiment.as_str(),
            "role": role.word(),
            "current": it.is_current,
        });
        let round = history.rounds.iter().find(|round| round.number == number);
        round_json(&mut told, round);
        for key in
            ["creator", "learner", "merge", "entry", "proposed_in_entry", "votes", "merged_from"]
        {
            told[key] = Value::Null;
        }
        match role {
            Role::Initial => {
                told["creator"] = models.creator().to_string().into();
                told["entry"] = models.initial().entry.into();
            }
            Role::Update(_, learner) => told["learner"] = learner.to_string().into(),
            Role::Merge(_, which) => told["merge"] = which.word().into(),
            Role::Accepted(_) | Role::Proposed(_) => {
                let entries = models.entries_of(number).cloned().unwrap_or_default();
                told["proposed_in_entry"] = entries.proposed.into();
                told["entry"] = entries.closed.into();
                let ballots = round.iter().flat_map(|round| &round.ballots);
                let votes = ballots.map(|(voter, cast)| {
                    json!({
                        "voter": voter.to_string(),
                        "choice": cast.choice.word(),
                        "reason": cast.reason.map(|it| it.word()),
                        "vote_score": cast.scores.vote.map(unit),
                        "test_score": cast.scores.test.map(unit),
                        "entry": entries.votes.get(voter),
                    })
                });
                told["votes"] = votes.collect();
                let merged = round.and_then(|round| round.merged.as_ref());
                let from = merged.map(|merged| {
                    let sent = merged.merging.iter().flatten();
                    sent.map(|sent| sent.learner.to_string()).collect::<Vec<_>>()
                });
                told["merged_from"] = from.into();
            }
        }
        told
    };
    it.roles.iter().map(one).collect()
}
