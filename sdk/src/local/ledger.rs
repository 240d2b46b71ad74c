//! Everything that a node would keep, in memory and in simulated time: a contract with one
//! experiment, and a ledger.

use std::collections::HashMap;

use colearn_contracts::{
    Act, Action, Admission, Contract, CreateExperiment, Decision, Digest, Experiment,
    ExperimentName, LearnerId, Limits, Moment, Outcome, Parameters, Rejection, VERSION,
};
use colearn_keys::Key;
use colearn_ledger::{Entry, Hash, Head, TreeBuilder, tree};
use colearn_proto::v1;
use ed25519_dalek::SigningKey;
use sha2::{Digest as _, Sha256};

use super::LocalError;
use crate::participant::Statement;
use crate::weights::{SAFETENSORS, Weights};
use colearn_records::history::History;
use colearn_records::keys::learner_id;
use colearn_records::transaction::{LedgerId, Seen, Transaction};
use colearn_records::{record, upgrade};

/// The ledger of a run.
pub(super) struct LocalLedger {
    ledger: LedgerId,
    keys: Vec<SigningKey>,
    numbers: HashMap<LearnerId, usize>,
    contract: Contract,
    history: History,
    head: Head,
    /// What all entries have.
    bytes: u64,
    tree: TreeBuilder,
    now_ms: u64,
}

impl LocalLedger {
    /// A ledger with one experiment, which the first learner has created; and how.
    pub(super) fn new(
        learners: usize,
        parameters: Parameters,
        model: &Weights,
    ) -> Result<(Self, Act), Rejection> {
        // A name of the contract's own choosing is always valid.
        let name: ExperimentName = "local".parse().map_err(|_| Rejection::UnknownExperiment)?;
        let keys: Vec<SigningKey> = (0..learners).map(local_key).collect();
        let log_key = local_key(usize::MAX);
        let genesis = v1::Genesis {
            origin: "colearn/local".to_owned(),
            log_public_key: log_key.verifying_key().to_bytes().to_vec().into(),
            nonce: vec![0; 32].into(),
            contract_version: VERSION.number(),
            validators: Vec::new(),
            time_ms: 0,
            limits: Some(upgrade::limits_message(&Limits::default())),
            chain: None,
        };
        let ledger = LedgerId::of(&genesis);
        let mut local = Self {
            ledger,
            numbers: keys.iter().enumerate().map(|(at, key)| (learner_id(key), at)).collect(),
            keys,
            contract: Contract::new(Digest(ledger.0), VERSION),
            history: History::new(name.clone()),
            head: Head::EMPTY,
            bytes: 0,
            tree: TreeBuilder::new(),
            now_ms: 0,
        };
        local.append(record::genesis_payload(genesis));
        let (admission, model) = (Admission::Open, model.model(SAFETENSORS));
        let version = VERSION.number();
        let create = CreateExperiment { version, parameters, admission, model, plan: None };
        let create = Act::Create(create);
        local.act(0, 0, create.clone())?;
        Ok((local, create))
    }

    fn append(&mut self, payload: Vec<u8>) {
        let Head { size, leaf, .. } = self.head;
        let entry = Entry { index: size, parent: leaf, time_ms: self.now_ms, payload };
        let encoded = entry.encode();
        self.bytes += encoded.len() as u64;
        let leaf = Hash::leaf(&encoded);
        self.head = Head { size: size + 1, leaf, time_ms: self.now_ms };
        self.tree.push(leaf);
    }

    fn moment(&self) -> Moment {
        Moment { now_ms: self.now_ms, head: Digest(self.head.leaf.0) }
    }

    /// Records what the contract decided, and gives it back to be shown to the participants.
    fn append_outcomes(&mut self, outcomes: Vec<Outcome>) -> Vec<Decision> {
        for outcome in &outcomes {
            self.append(record::outcome_payload(outcome));
            self.history.outcome(outcome);
        }
        outcomes.into_iter().map(|outcome| outcome.what).collect()
    }

    /// Records a learner's act at a time, or a millisecond after the last if that is past. Gives what
    /// the contract decided on it.
    pub(super) fn act(
        &mut self,
        at_ms: u64,
        learner: usize,
        act: Act,
    ) -> Result<Vec<Decision>, Rejection> {
        self.now_ms = at_ms.max(self.now_ms + 1);
        let key = &self.keys[learner];
        let sender = learner_id(key);
        let action = Action::new(self.history.experiment.clone(), act);
        let outcomes = self.contract.apply(self.moment(), sender, &action)?;
        // Nobody vouches for a history here that nobody else sees.
        let seen = Seen { size: 0, root: Hash::empty_root() };
        let signed = Transaction::sign(key, &self.ledger, seen, action);
        self.append(record::transaction_payload(&signed));
        self.history.action(sender, signed.action());
        Ok(self.append_outcomes(outcomes))
    }

    /// Records what a learner has to say, as [`Self::act`] does, with the link that it has to carry. Gives
    /// what was signed too.
    pub(super) fn say(
        &mut self,
        at_ms: u64,
        learner: usize,
        statement: &Statement,
    ) -> Result<(Act, Vec<Decision>), LocalError> {
        let (ledger, name) = (self.ledger_id(), &self.history.experiment);
        let act = statement.act_of(&Key::from(&self.keys[learner]), ledger, name)?;
        let decided = self.act(at_ms, learner, act.clone())?;
        Ok((act, decided))
    }

    /// Lets time pass until then. Gives what the contract decided in the meantime.
    pub(super) fn wait_until(&mut self, then_ms: u64) -> Vec<Decision> {
        self.now_ms = self.now_ms.max(then_ms);
        let outcomes = self.contract.advance(self.moment());
        self.append_outcomes(outcomes)
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.now_ms
    }

    pub(super) fn name(&self) -> ExperimentName {
        self.history.experiment.clone()
    }

    pub(super) fn ledger_id(&self) -> Digest {
        self.contract.ledger()
    }

    pub(super) fn experiment(&self) -> Option<&Experiment> {
        self.contract.experiment(&self.history.experiment)
    }

    pub(super) fn history(&self) -> &History {
        &self.history
    }

    pub(super) fn id(&self, learner: usize) -> LearnerId {
        learner_id(&self.keys[learner])
    }

    pub(super) fn number_of(&self, learner: LearnerId) -> Option<usize> {
        self.numbers.get(&learner).copied()
    }

    /// The history, the number of entries and of their bytes, and the root of the tree over them.
    pub(super) fn close(self) -> (History, u64, u64, Hash) {
        let root = tree::root(&self.tree, self.head.size).unwrap_or(Hash::ZERO);
        (self.history, self.head.size, self.bytes, root)
    }
}

/// The key of a local learner, the same in every run.
fn local_key(number: usize) -> SigningKey {
    let hash = Sha256::new()
        .chain_update(b"colearn/v1/local-key\n")
        .chain_update((number as u64).to_be_bytes());
    SigningKey::from_bytes(&hash.finalize().into())
}
