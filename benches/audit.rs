//! Auditing and opening long ledgers.
//!
//! Run with `cargo bench --bench audit` (100,000 entries), or with another number of entries behind
//! `--`. Six of ten entries are votes. The audit is compared with `verify_strict` of the same
//! signatures on all cores; peak memory is that of `colearn audit` as a process of its own.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use bytes::Bytes;

use colearn_contracts::{
    Act, Action, Admission, Choice, Contract, CreateExperiment, Digest, ExperimentName, Join,
    Limits, Model, Moment, Parameters, Proposal, Scores, VERSION, Vote, terms,
};
use colearn_ledger::note::KeyKind;
use colearn_ledger::{Ledger, Options, Signer};
use colearn_proto::v1;
use colearn_records::keys::learner_id;
use colearn_records::record::{self, Record};
use colearn_records::transaction::{LedgerId, Seen, Transaction, Unverified, signed_bytes};
use colearn_records::upgrade;
use ed25519_dalek::{Signature, SigningKey, VerifyingKey};
use prost::Message as _;
use rayon::prelude::*;

/// As in the `colearn` binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Seven learners make ten entries a round, six of them votes.
const LEARNERS: usize = 7;

fn key(number: usize) -> SigningKey {
    SigningKey::from_bytes(&[number as u8 + 1; 32])
}

fn name() -> ExperimentName {
    "long".parse().unwrap()
}

fn model(number: u64) -> Model {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&number.to_be_bytes());
    Model { digest: Digest(digest), size: 8, media_type: "application/x-safetensors".to_owned() }
}

/// Writes a ledger of about this many entries, as a node would have.
fn write(dir: &Path, entries: u64) {
    std::fs::create_dir_all(dir).unwrap();
    let log_key = key(100);
    colearn_records::keys::save_new(&log_key, &dir.join("node.pem")).unwrap();
    let genesis = v1::Genesis {
        origin: "bench/long".to_owned(),
        log_public_key: Bytes::copy_from_slice(log_key.verifying_key().as_bytes()),
        nonce: Bytes::from_static(&[1; 32]),
        contract_version: VERSION.number(),
        limits: Some(upgrade::limits_message(&Limits::default())),
    };
    let id = LedgerId::of(&genesis);
    let signer = Signer::new(&genesis.origin, KeyKind::Log, log_key).unwrap();
    let options = Options { keys_of: record::keys_of, ..Options::new(signer) };
    let (mut ledger, _) = Ledger::open(&dir.join("ledger"), options).unwrap();
    ledger.append(0, record::genesis_payload(genesis), Vec::new()).unwrap();
    let mut contract = Contract::new(Digest(id.0), VERSION);
    let mut now_ms = 1_700_000_000_000;
    let mut apply = |ledger: &mut Ledger, signed: Vec<Transaction>| {
        for transaction in signed {
            now_ms += 1;
            let (sender, action) = (transaction.sender(), transaction.action());
            let at = Moment { now_ms, head: Digest(ledger.head().leaf.0) };
            let outcomes = contract.apply(at, sender, action).unwrap();
            let keys = record::keys_of_transaction(transaction.message(), action).into();
            ledger.append(now_ms, record::transaction_payload(&transaction), keys).unwrap();
            for outcome in outcomes {
                let payload = record::outcome_payload(&outcome);
                ledger.append(now_ms, payload, record::keys_of_outcome(&outcome)).unwrap();
            }
        }
    };
    let seen = |ledger: &mut Ledger| {
        let checkpoint = ledger.commit().unwrap().checkpoint.clone();
        ledger.update_index().unwrap();
        Seen { size: checkpoint.size, root: checkpoint.root }
    };
    let start = seen(&mut ledger);
    let parameters = Parameters { min_learners: LEARNERS as u32, ..Parameters::default() };
    let admission = Admission::Open;
    let terms = terms(VERSION, learner_id(&key(0)), &parameters, &admission);
    let version = VERSION.number();
    let create = CreateExperiment { version, parameters, admission, model: model(0), plan: None };
    let create = Action::new(name(), Act::Create(create));
    let mut signed = vec![Transaction::sign(&key(0), &id, start, create)];
    signed.extend((0..LEARNERS).map(|number| {
        let join = Action::new(name(), Act::Join(Join::new(0, Some(terms))));
        Transaction::sign(&key(number), &id, start, join)
    }));
    apply(&mut ledger, signed);
    let mut round = 0;
    while ledger.head().size < entries {
        // Some hundred rounds share a commit and a vouched history, as under load.
        let seen = seen(&mut ledger);
        let signed: Vec<Vec<Transaction>> = (round + 1..=round + 400)
            .into_par_iter()
            .map(|round| {
                let proposer = (round as usize - 1) % LEARNERS;
                let proposal = Action::new(
                    name(),
                    Act::Propose(Proposal {
                        round,
                        base: model(round - 1).digest,
                        weights: model(round),
                        scores: Scores { vote: Some(950_000), test: Some(940_000) },
                        privacy: None,
                    }),
                );
                let mut signed = vec![Transaction::sign(&key(proposer), &id, seen, proposal)];
                for number in (0..LEARNERS).filter(|number| *number != proposer) {
                    let vote = Action::new(
                        name(),
                        Act::Vote(Vote {
                            round,
                            weights: model(round).digest,
                            choice: Choice::Approve,
                            reason: None,
                            scores: Scores { vote: Some(950_000), test: Some(940_000) },
                            link: None,
                        }),
                    );
                    signed.push(Transaction::sign(&key(number), &id, seen, vote));
                }
                signed
            })
            .collect();
        round += 400;
        signed.into_iter().for_each(|signed| apply(&mut ledger, signed));
    }
    ledger.commit().unwrap();
}

/// The peak memory of a process, in MiB, after it has ended well.
fn peak_of(arguments: &[&str]) -> f64 {
    let script = format!("{} > /dev/null; grep VmHWM /proc/self/status > /dev/null", "\"$@\"");
    let mut child = Command::new("sh")
        .args(["-c", &script, "sh", env!("CARGO_BIN_EXE_colearn")])
        .args(arguments)
        .spawn()
        .unwrap();
    let mut peak = 0.0_f64;
    loop {
        // The shell's child; sampled, since its end takes the figure with it.
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        for pid in std::fs::read_to_string(children).unwrap_or_default().split_whitespace() {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find(|line| line.starts_with("VmHWM"));
            let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
            peak = peak.max(kib.unwrap_or(0.0) / 1024.0);
        }
        if child.try_wait().unwrap().is_some() {
            return peak;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// How long a node takes until it serves; it is killed then.
fn open(data: &Path) -> (f64, serde_json::Value) {
    let started = Instant::now();
    let mut node = Command::new(env!("CARGO_BIN_EXE_colearn"))
        .args(["node", "--json", "--listen", "127.0.0.1:0", "--data"])
        .arg(data)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(node.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let elapsed = started.elapsed().as_secs_f64();
    let pid = rustix::process::Pid::from_child(&node);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    node.wait().unwrap();
    (elapsed, serde_json::from_str(&line).unwrap())
}

fn main() {
    let entries = std::env::args().find_map(|text| text.parse().ok()).unwrap_or(100_000);
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let data = dir.path().join("data");
    let started = Instant::now();
    write(&data, entries);
    println!("wrote {entries} entries in {:.1} s", started.elapsed().as_secs_f64());
    let ledger = data.join("ledger");

    // The same signatures, verified and nothing else.
    let mut journal = colearn_ledger::JournalReader::open(&ledger).unwrap();
    let mut transactions: Vec<Unverified> = Vec::new();
    let (mut id, mut bytes, mut of_signed) = (LedgerId([0; 32]), 0, 0);
    while let Some(entry) = journal.next_entry().unwrap() {
        match Record::decode(&entry.bytes).unwrap().record {
            Record::Genesis(genesis) => id = LedgerId::of(&genesis),
            Record::Transaction(transaction) => {
                if let Act::Vote(_) = transaction.action.what {
                    bytes += entry.bytes.len() + 8;
                    of_signed += transaction.message().encoded_len();
                }
                transactions.push(*transaction);
            }
            Record::Outcome(_) | Record::KeyRotation(_) | Record::Upgrade(_) => {}
        }
    }
    let votes = transactions.iter().filter(|t| matches!(t.action.what, Act::Vote(_))).count();
    println!(
        "a vote takes {:.0} bytes in the journal, the signed transaction {:.0}",
        bytes as f64 / votes as f64,
        of_signed as f64 / votes as f64
    );
    let count = transactions.len();
    // Nothing but verify_strict: keys, signatures and messages are ready.
    let ready: Vec<_> = transactions
        .drain(..)
        .map(|transaction| {
            let message = transaction.message();
            let key = VerifyingKey::try_from(&message.public_key[..]).unwrap();
            let signature = Signature::from_slice(&message.signature).unwrap();
            (key, signature, signed_bytes(&id, &message.body))
        })
        .collect();
    let started = Instant::now();
    ready.par_iter().for_each(|(key, signature, message)| {
        key.verify_strict(message, signature).unwrap();
    });
    let limit = started.elapsed();
    drop(ready);
    let mut source = colearn_audit::open(data.to_str().unwrap()).unwrap();
    let started = Instant::now();
    let report =
        colearn_audit::audit(&mut *source, colearn_audit::AuditOptions::default()).unwrap();
    let audit = started.elapsed();
    assert!(report.ok, "{report:?}");
    println!(
        "audit {:.2} s, {count} signatures alone {:.2} s: ratio {:.2}",
        audit.as_secs_f64(),
        limit.as_secs_f64(),
        limit.as_secs_f64() / audit.as_secs_f64()
    );
    println!("peak memory of the audit: {:.0} MiB", peak_of(&["audit", data.to_str().unwrap()]));

    let (first, _) = open(&data);
    println!("open without a snapshot: {first:.2} s");
    let mut times: Vec<f64> = (0..5).map(|_| open(&data).0).collect();
    times.sort_by(f64::total_cmp);
    println!("open with a snapshot: median {:.2} s", times[2]);
    std::fs::remove_dir_all(ledger.join("index")).unwrap();
    let (rebuild, started) = open(&data);
    let size = started["entries"].as_f64().unwrap();
    println!("open and rebuild the index: {rebuild:.2} s, {:.0} entries/s", size / rebuild);
}
