//! An upgrade changes the rules of what is created after it, and nobody else's.
#![allow(clippy::unwrap_used)]

use colearn_contracts::{
    Act, Action, Admission, CreateExperiment, Digest, ExperimentName, Model, Parameters, Version,
};
use colearn_ledger::{Entry, Hash, Head};
use colearn_proto::v1;
use colearn_records::follower::{Depth, Fault, Follower};
use colearn_records::record;
use colearn_records::replay::Departure;
use colearn_records::transaction::{LedgerId, Seen, Transaction};
use colearn_records::upgrade;
use ed25519_dalek::SigningKey;

/// A ledger as it is written.
struct Ledger {
    id: LedgerId,
    key: SigningKey,
    head: Head,
    entries: Vec<Vec<u8>>,
}

impl Ledger {
    fn new() -> Self {
        let key = SigningKey::from_bytes(&[1; 32]);
        let genesis = v1::Genesis {
            origin: "log".to_owned(),
            log_public_key: key.verifying_key().to_bytes().to_vec().into(),
            nonce: vec![0; 32].into(),
            contract_version: Version::V1.number(),
        };
        let id = LedgerId::of(&genesis);
        let mut ledger = Self { id, key, head: Head::EMPTY, entries: Vec::new() };
        ledger.append(record::genesis_payload(genesis));
        ledger
    }

    fn append(&mut self, payload: Vec<u8>) {
        let Head { size, leaf, .. } = self.head;
        let entry = Entry { index: size, parent: leaf, time_ms: size, payload }.encode();
        self.head = Head { size: size + 1, leaf: Hash::leaf(&entry), time_ms: size };
        self.entries.push(entry);
    }

    fn create(&mut self, experiment: &str) {
        let create = CreateExperiment {
            parameters: Parameters::default(),
            admission: Admission::Open,
            model: Model { digest: Digest([0; 32]), size: 1, media_type: "m".to_owned() },
            plan: None,
        };
        let action = Action::new(experiment.parse().unwrap(), Act::Create(create));
        let seen = Seen { size: 0, root: Hash::empty_root() };
        let key = SigningKey::from_bytes(&[2; 32]);
        let signed = Transaction::sign(&key, &self.id, seen, action);
        self.append(record::transaction_payload(&signed));
    }

    fn upgrade(&mut self, version: Version) {
        let upgrade = upgrade::sign(&self.id, &self.key, version);
        self.append(record::upgrade_payload(&upgrade));
    }

    fn follow(&self, depth: Depth) -> Result<Follower, Fault> {
        let mut follower = Follower::new(depth, &self.entries[0]).unwrap();
        let reader = follower.reader();
        for entry in &self.entries {
            follower.follow(&reader.read(entry.clone()))?;
        }
        Ok(follower)
    }
}

#[test]
fn experiments_keep_the_version_that_they_were_created_under() {
    let mut ledger = Ledger::new();
    ledger.create("before");
    ledger.upgrade(Version::Test);
    ledger.create("after");
    for depth in [Depth::Full, Depth::Replay] {
        let follower = ledger.follow(depth).unwrap();
        let contract = follower.replay().unwrap().contract();
        let version = |name: &str| {
            let name: ExperimentName = name.parse().unwrap();
            contract.experiment(&name).unwrap().version()
        };
        assert_eq!((version("before"), version("after")), (Version::V1, Version::Test));
        assert_eq!(contract.version(), Version::Test);
    }
}

#[test]
fn an_upgrade_is_signed_by_the_ledger_and_to_a_later_version_that_is_known() {
    let refused = |upgrade: v1::Upgrade, depth| {
        let mut ledger = Ledger::new();
        ledger.append(record::upgrade_payload(&upgrade));
        ledger.follow(depth).map(drop).unwrap_err()
    };
    let Ledger { id, key, .. } = Ledger::new();
    let stranger = SigningKey::from_bytes(&[3; 32]);
    let fault = refused(upgrade::sign(&id, &stranger, Version::Test), Depth::Full);
    assert!(matches!(fault, Fault::Upgrade(_)), "{fault}");
    let other = upgrade::sign(&LedgerId([9; 32]), &key, Version::Test);
    assert!(matches!(refused(other, Depth::Full), Fault::Upgrade(_)));
    let same = refused(upgrade::sign(&id, &key, Version::V1), Depth::Full);
    assert!(matches!(same, Fault::Departure(Departure::NotAnUpgrade(_))), "{same}");
    // A node that opens its own ledger looks at no signature, but knows which rules it can follow.
    let unknown = v1::Upgrade { contract_version: 77, ..upgrade::sign(&id, &key, Version::Test) };
    let fault = refused(unknown, Depth::Replay);
    assert!(matches!(fault, Fault::Departure(Departure::UnknownVersion(_))), "{fault}");
    assert!(fault.to_string().contains("version 77"), "{fault}");
}
