//! Entries of every kind, one after the other.

use bytes::Bytes;
use colearn_contracts::*;
use colearn_ledger::{Entry, Hash};
use colearn_proto::v1;
use colearn_records::log_keys::LogKeys;
use colearn_records::record::{self, NotARecord, Record};
use colearn_records::transaction::{LedgerId, Seen, Transaction};
use colearn_records::{log_keys, upgrade, validators};
use prost::Message as _;
use serde::Serialize;
use serde_json::Value;

use super::{messages, transactions};
use crate::network;
use crate::on_chain;
use crate::scribe::{genesis, key, learner};

#[derive(Serialize)]
pub(super) struct File {
    ledgers: Vec<Ledger>,
    entries: Vec<Recorded>,
    refused: Vec<Refused>,
}

#[derive(Serialize)]
struct Ledger {
    name: &'static str,
    /// A `Genesis`.
    genesis: Value,
    encoding: String,
    id: String,
    verifier_key: String,
}

#[derive(Serialize)]
struct Recorded {
    name: &'static str,
    /// An `Entry`.
    message: Value,
    encoding: String,
    leaf: String,
    /// What the signatures in it cover, where the ledger's own keys sign.
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_bytes: Option<String>,
}

#[derive(Serialize)]
struct Refused {
    name: &'static str,
    encoding: String,
    reason: String,
}

fn ledger(name: &'static str, genesis: &v1::Genesis) -> Ledger {
    let bytes = genesis.encode_to_vec();
    let keys = LogKeys::of_genesis(genesis).unwrap();
    Ledger {
        name,
        genesis: messages::json("Genesis", &bytes),
        encoding: hex::encode(bytes),
        id: LedgerId::of(genesis).to_string(),
        // No key signs for a ledger that a contract on a public chain keeps.
        verifier_key: match keys.is_on_chain() {
            true => String::new(),
            false => keys.current().to_string(),
        },
    }
}

/// Every decision, with all its words.
fn decisions() -> Vec<(&'static str, Decision)> {
    let digest = |byte| Digest([byte; 32]);
    let closed = |verdict, approvals, abstentions, electorate| Decision::RoundClosed {
        round: 7,
        verdict,
        approvals,
        rejections: 2,
        abstentions,
        unavailable: abstentions,
        electorate,
        model: digest(2),
    };
    let finished = |reason| Decision::Finished { reason, rounds: 7, model: digest(2) };
    let suspended = |reason| Decision::Suspended { learner: learner(2), reason };
    vec![
        (
            "round_opened",
            Decision::RoundOpened {
                round: 7,
                proposer: learner(1),
                base: digest(1),
                deadline_ms: 1_700_000_000_000,
            },
        ),
        (
            "voting_opened",
            Decision::VotingOpened {
                round: 7,
                weights: digest(2),
                electorate: 10_003,
                deadline_ms: 1_700_000_000_001,
            },
        ),
        (
            "reveal_opened",
            Decision::RevealOpened { round: 7, committed: 3, deadline_ms: 1_700_000_000_002 },
        ),
        ("round_accepted", closed(Verdict::Accepted, 300, 0, 302)),
        ("round_rejected", closed(Verdict::Rejected, 0, 1, 3)),
        ("round_expired", closed(Verdict::Expired, 0, 5, 7)),
        ("round_passed", closed(Verdict::Passed, 0, 0, 0)),
        ("waiting", Decision::Waiting { members: 0, min_learners: 2 }),
        ("paused_idle", Decision::Paused { reason: PauseReason::NobodyProposes }),
        ("paused_budgets", Decision::Paused { reason: PauseReason::BudgetsSpent }),
        ("paused_judges", Decision::Paused { reason: PauseReason::OnlyJudges }),
        ("suspended_missed", suspended(SuspendReason::MissedTurns)),
        ("suspended_decided", suspended(SuspendReason::Decided)),
        ("suspended_expelled", suspended(SuspendReason::Expelled)),
        (
            "motion_opened",
            Decision::MotionOpened { number: 1, electorate: 5, deadline_ms: 1_700_000_000_003 },
        ),
        (
            "motion_adopted",
            Decision::MotionDecided {
                number: 1,
                adopted: true,
                approvals: 3,
                rejections: 0,
                electorate: 5,
            },
        ),
        (
            "motion_rejected",
            Decision::MotionDecided {
                number: 2,
                adopted: false,
                approvals: 2,
                rejections: 3,
                electorate: 5,
            },
        ),
        ("motion_took_effect", Decision::MotionTookEffect { number: 1 }),
        ("finished_rounds", finished(FinishReason::MaxRounds)),
        ("finished_stopped", finished(FinishReason::Stopped)),
        ("finished_patience", finished(FinishReason::Patience)),
        ("finished_abandoned", finished(FinishReason::Abandoned)),
    ]
}

/// What an entry is not, in a word or two.
pub(super) fn reason(error: &NotARecord) -> String {
    match error {
        NotARecord::Malformed => "Malformed".to_owned(),
        NotARecord::NotCanonical => "NotCanonical".to_owned(),
        NotARecord::Field(_) => "Field".to_owned(),
        NotARecord::Transaction(invalid) => {
            format!("Transaction.{}", transactions::reason(invalid))
        }
    }
}

pub(super) fn file() -> File {
    let first = genesis(Version::V1, None);
    let together = network::genesis(4);
    let second = genesis(
        Version::V2,
        Some(Limits { per_creator: 3, experiments: 500, expiry_ms: 86_400_000 }),
    );
    let id = LedgerId::of(&first);
    let (old, new) = (key(100), key(101));
    let experiment: ExperimentName = "lungs-2.1".parse().unwrap();

    let mut payloads = vec![("genesis", record::genesis_payload(first.clone()), None)];
    let seen = Seen { size: 1, root: Hash::leaf(b"root") };
    let join = Action::new(experiment.clone(), Act::Join(Join::new(0, None)));
    let join = Transaction::sign(&key(1), &id, seen, join);
    payloads.push(("transaction", record::transaction_payload(&join), None));
    for (name, decision) in decisions() {
        let outcome = Outcome::new(experiment.clone(), decision);
        payloads.push((name, record::outcome_payload(&outcome), None));
    }
    let rotation = log_keys::sign(&id, &old, &new);
    let rotation_bytes = [
        b"colearn/v1/key-rotation\n",
        &id.0[..],
        old.verifying_key().as_bytes(),
        new.verifying_key().as_bytes(),
    ]
    .concat();
    payloads.push(("key_rotation", record::rotation_payload(&rotation), Some(rotation_bytes)));
    let limits = Limits { per_creator: 3, experiments: 500, expiry_ms: 86_400_000 };
    let upgraded = upgrade::sign(&id, &new, Version::V2, limits);
    let upgrade_bytes = [
        b"colearn/v1/upgrade\n",
        &id.0[..],
        &2_u32.to_be_bytes(),
        &3_u32.to_be_bytes(),
        &500_u32.to_be_bytes(),
        &86_400_000_u64.to_be_bytes(),
    ]
    .concat();
    payloads.push(("upgrade", record::upgrade_payload(&upgraded), Some(upgrade_bytes)));
    let nodes = [1, 2, 3, 4].map(network::node);
    let found = v1::validator_change::Change::Found(v1::Founding { validators: nodes.to_vec() });
    let mut founded = v1::ValidatorChange { number: 1, change: Some(found), approvals: Vec::new() };
    let founded_bytes = [b"colearn/v1/validators\n", &id.0[..], &founded.encode_to_vec()].concat();
    validators::approve(&id, &new, &mut founded);
    payloads.push((
        "validator_change",
        record::validator_change_payload(&founded),
        Some(founded_bytes),
    ));
    let block = v1::Block {
        height: 300,
        hash: Bytes::from_static(&[5; 32]),
        proposer: Bytes::from_static(&[6; 20]),
        misbehavior: vec![v1::Misbehavior {
            kind: v1::MisbehaviorKind::DuplicateVote.into(),
            validator: Bytes::from_static(&[7; 20]),
            height: 298,
            time_ms: 1_700_000_000_000,
        }],
    };
    payloads.push(("block", record::block_payload(&block), None));

    let mut parent = Hash::ZERO;
    let entries: Vec<Recorded> = (0..)
        .zip(payloads)
        .map(|(index, (name, payload, signed_bytes))| {
            // The first at no time, which is left out like all that is nothing.
            let time_ms = index * 1_000_000_000_000 / 20;
            let bytes = Entry { index, parent, time_ms, payload }.encode();
            Record::decode(&bytes).unwrap();
            parent = Hash::leaf(&bytes);
            Recorded {
                name,
                message: messages::json("Entry", &bytes),
                encoding: hex::encode(&bytes),
                leaf: parent.to_string(),
                signed_bytes: signed_bytes.map(hex::encode),
            }
        })
        .collect();
    File {
        ledgers: vec![
            ledger("ledger_v1", &first),
            ledger("ledger_v2", &second),
            ledger("ledger_of_four", &together),
            ledger("ledger_on_a_chain", &on_chain::genesis(&Limits::default())),
        ],
        entries,
        refused: refused(),
    }
}

fn refused() -> Vec<Refused> {
    let entry = |payload| Entry { index: 5, parent: Hash::leaf(b""), time_ms: 9, payload }.encode();
    let outcome = |decision| v1::Outcome { experiment: "x".to_owned(), decision: Some(decision) };
    let recorded = |outcome: v1::Outcome| {
        let payload = Some(v1::entry::Payload::Outcome(outcome));
        entry(v1::Entry { payload, ..v1::Entry::default() }.encode_to_vec())
    };
    let waiting = v1::outcome::Decision::Waiting(v1::Waiting { members: 1, min_learners: 2 });
    let right = recorded(outcome(waiting.clone()));
    Record::decode(&right).unwrap();
    let envelope = entry(Vec::new());
    let payload = &right[envelope.len()..];
    let rotated = v1::Entry {
        payload: Some(v1::entry::Payload::KeyRotation(v1::KeyRotation::default())),
        ..v1::Entry::default()
    };
    let finished = |reason, model: &'static [u8]| {
        let (rounds, model) = (1, Bytes::from_static(model));
        let finished = v1::Finished { reason, rounds, model };
        recorded(outcome(v1::outcome::Decision::Finished(finished)))
    };
    let cases = [
        ("entry_cut_off", right[..right.len() - 1].to_vec()),
        ("entry_without_payload", envelope.clone()),
        ("entry_with_unknown_field", [&right[..], &[0x98, 0x06, 0x01]].concat()),
        ("entry_not_ascending", [payload, &envelope[..]].concat()),
        ("entry_of_two_payloads", [&right[..], &rotated.encode_to_vec()].concat()),
        (
            "entry_with_time_twice",
            [&envelope[..], &envelope[envelope.len() - 2..], payload].concat(),
        ),
        ("outcome_without_decision", recorded(v1::Outcome { decision: None, ..outcome(waiting) })),
        ("outcome_with_short_digest", finished(1, &[2; 31])),
        ("outcome_for_no_reason", finished(0, &[2; 32])),
        ("block_with_short_hash", entry(record::block_payload(&v1::Block::default()))),
    ];
    cases
        .into_iter()
        .map(|(name, bytes)| {
            let error = Record::decode(&bytes).unwrap_err();
            Refused { name, encoding: hex::encode(&bytes), reason: reason(&error) }
        })
        .collect()
}
