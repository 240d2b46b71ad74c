//! A long ledger, as a node would have written it, and what its signatures alone cost.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use colearn_contracts::{
    Act, Action, Admission, Choice, Contract, CreateExperiment, Digest, ExperimentName, Join,
    Limits, Model, Moment, Parameters, Proposal, Scores, VERSION, Vote, terms,
};
use colearn_ledger::note::KeyKind;
use colearn_ledger::{Head, Ledger, Options, Signer};
use colearn_proto::v1;
use colearn_records::keys::learner_id;
use colearn_records::record::{self, Record};
use colearn_records::transaction::{LedgerId, Seen, Transaction, Unverified, signed_bytes};
use colearn_records::upgrade;
use ed25519_dalek::{Signature, SigningKey, VerifyingKey};
use prost::Message as _;
use rayon::prelude::*;

/// Seven learners make ten entries a round, six of them votes.
const LEARNERS: usize = 7;

pub(crate) fn key(number: usize) -> SigningKey {
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

/// Where a long history is recorded.
pub(crate) trait Log {
    /// Records something.
    fn append(&mut self, now_ms: u64, payload: Vec<u8>, keys: Vec<Vec<u8>>);
    /// What the next entry follows.
    fn head(&self) -> Head;
    /// The end of what is recorded, for who signs next.
    fn seen(&mut self) -> Seen;
}

impl Log for Ledger {
    fn append(&mut self, now_ms: u64, payload: Vec<u8>, keys: Vec<Vec<u8>>) {
        Ledger::append(self, now_ms, payload, keys).unwrap();
    }

    fn head(&self) -> Head {
        Ledger::head(self)
    }

    fn seen(&mut self) -> Seen {
        let checkpoint = self.commit().unwrap().checkpoint.clone();
        self.update_index().unwrap();
        Seen { size: checkpoint.size, root: checkpoint.root }
    }
}

/// Writes a ledger of about this many entries, as a node would have.
pub(crate) fn write(dir: &Path, entries: u64) {
    std::fs::create_dir_all(dir).unwrap();
    let log_key = key(100);
    colearn_records::keys::save_new(&log_key, &dir.join("node.pem")).unwrap();
    let genesis = v1::Genesis {
        origin: "bench/long".to_owned(),
        log_public_key: Bytes::copy_from_slice(log_key.verifying_key().as_bytes()),
        nonce: Bytes::from_static(&[1; 32]),
        contract_version: VERSION.number(),
        validators: Vec::new(),
        time_ms: 0,
        limits: Some(upgrade::limits_message(&Limits::default())),
        chain: None,
    };
    let id = LedgerId::of(&genesis);
    let signer = Signer::new(&genesis.origin, KeyKind::Log, log_key).unwrap();
    let options = Options { keys_of: record::keys_of, ..Options::new(signer) };
    let (mut ledger, _) = Ledger::open(&dir.join("ledger"), options).unwrap();
    Log::append(&mut ledger, 0, record::genesis_payload(genesis), Vec::new());
    play(&mut ledger, &id, Contract::new(Digest(id.0), VERSION), entries);
    ledger.commit().unwrap();
}

/// Plays rounds behind the first entry, until there are about so many.
pub(crate) fn play(log: &mut impl Log, id: &LedgerId, mut contract: Contract, entries: u64) {
    let mut now_ms = 1_700_000_000_000;
    let mut apply = |log: &mut dyn Log, signed: Vec<Transaction>| {
        for transaction in signed {
            now_ms += 1;
            let (sender, action) = (transaction.sender(), transaction.action());
            let at = Moment { now_ms, head: Digest(log.head().leaf.0) };
            let outcomes = contract.apply(at, sender, action).unwrap();
            let keys = record::keys_of_transaction(transaction.message(), action).into();
            log.append(now_ms, record::transaction_payload(&transaction), keys);
            for outcome in outcomes {
                let payload = record::outcome_payload(&outcome);
                log.append(now_ms, payload, record::keys_of_outcome(&outcome));
            }
        }
    };
    let start = log.seen();
    let parameters = Parameters { min_learners: LEARNERS as u32, ..Parameters::default() };
    let admission = Admission::Open;
    let terms = terms(VERSION, learner_id(&key(0)), &parameters, &admission);
    let version = VERSION.number();
    let create = CreateExperiment { version, parameters, admission, model: model(0), plan: None };
    let create = Action::new(name(), Act::Create(create));
    let mut signed = vec![Transaction::sign(&key(0), id, start, create)];
    signed.extend((0..LEARNERS).map(|number| {
        let join = Action::new(name(), Act::Join(Join::new(0, Some(terms))));
        Transaction::sign(&key(number), id, start, join)
    }));
    apply(log, signed);
    let mut round = 0;
    while log.head().size < entries {
        // Some hundred rounds share a commit and a vouched history, as under load.
        let seen = log.seen();
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
                let mut signed = vec![Transaction::sign(&key(proposer), id, seen, proposal)];
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
                    signed.push(Transaction::sign(&key(number), id, seen, vote));
                }
                signed
            })
            .collect();
        round += 400;
        signed.into_iter().for_each(|signed| apply(log, signed));
    }
}

/// Verifies the ledger's signatures on all cores, and nothing else: keys, signatures and messages are
/// ready. Gives how many there are, how long it took, and the mean bytes of a vote's entry and of its
/// signed transaction.
pub(crate) fn signatures_alone(ledger: &Path) -> (usize, Duration, [f64; 2]) {
    let mut journal = colearn_ledger::JournalReader::open(ledger).unwrap();
    let mut transactions: Vec<Unverified> = Vec::new();
    let (mut id, mut bytes, mut of_signed, mut votes) = (LedgerId([0; 32]), 0, 0, 0);
    while let Some(entry) = journal.next_entry().unwrap() {
        match Record::decode(&entry.bytes).unwrap().record {
            Record::Genesis(genesis) => id = LedgerId::of(&genesis),
            Record::Transaction(transaction) => {
                if let Act::Vote(_) = transaction.action.what {
                    bytes += entry.bytes.len() + 8;
                    of_signed += transaction.message().encoded_len();
                    votes += 1;
                }
                transactions.push(*transaction);
            }
            Record::Outcome(_)
            | Record::KeyRotation(_)
            | Record::Upgrade(_)
            | Record::Block(_)
            | Record::ValidatorChange(_) => {}
        }
    }
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
    let of_a_vote = [bytes, of_signed].map(|bytes| bytes as f64 / votes as f64);
    (ready.len(), started.elapsed(), of_a_vote)
}
