//! A ledger that a contract on a public chain keeps: what its first entry says, what never is in it, and
//! deadlines that wait until their experiment is touched (R93).

use bytes::Bytes;
use colearn_contracts::{
    Act, Admission, Charter, CreateExperiment, Creators, Decision, ExperimentName, Limits,
    Parameters, Version,
};
use colearn_ledger::{Entry, Hash};
use colearn_proto::v1;
use colearn_records::follower::{BadGenesis, Depth, Fault, Follower, FollowerState};
use colearn_records::log_keys::BadKeyChange;
use colearn_records::on_chain::{BadChain, PublicChain};
use colearn_records::record::{self, Record};
use colearn_records::replay::Departure;
use colearn_records::transaction::LedgerId;
use colearn_records::{log_keys, upgrade};
use proptest::prelude::*;

use crate::scribe::{ORIGIN, Scribe, expiring, founders, key, learner, model, steps};

const ADDRESS: &str = "fetch1qqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0ujv7k8";

fn chain() -> PublicChain {
    let mut keys: Vec<_> = (1..=4).map(learner).collect();
    keys.sort_unstable();
    let charter = Charter { creators: Creators::Listed(keys), max_members: 50 };
    PublicChain::new("fetchhub-4".to_owned(), ADDRESS.to_owned(), charter, 50_000_000).unwrap()
}

pub(crate) fn genesis(limits: &Limits) -> v1::Genesis {
    chain().genesis(Version::V2, limits, 1_000)
}

fn empty() -> Scribe {
    let limits = expiring(2 * 3_600_000);
    Scribe::of(genesis(&limits), Version::V2, limits)
}

/// Creates an experiment of this name, and has the first learner join.
fn begin(scribe: &mut Scribe, name: &str, admission: Admission) {
    scribe.name = name.parse().unwrap();
    let create = CreateExperiment {
        version: Version::V2.number(),
        parameters: Parameters { min_learners: 1, ..Parameters::default() },
        admission,
        model: model(0),
        plan: None,
    };
    assert!(scribe.act(1, 0, Act::Create(create)));
    let join = scribe.join(1);
    assert!(scribe.act(1, 0, join));
}

fn closed(scribe: &Scribe) -> Vec<ExperimentName> {
    let records = scribe.entries.iter().map(|bytes| Record::decode(bytes).unwrap().record);
    let closed = records.filter_map(|record| match record {
        Record::Outcome(outcome) if matches!(outcome.what, Decision::RoundClosed { .. }) => {
            Some(outcome.experiment)
        }
        _ => None,
    });
    closed.collect()
}

#[test]
fn deadlines_come_when_their_experiment_is_touched() {
    let mut scribe = empty();
    begin(&mut scribe, "a", Admission::Open);
    begin(&mut scribe, "b", Admission::Open);
    // Both are overdue; a transaction about one closes that.
    scribe.wait(3_600_000);
    let join = scribe.join(2);
    assert!(scribe.act(2, scribe.head.size, join));
    let [a, b]: [ExperimentName; 2] = ["a", "b"].map(|name| name.parse().unwrap());
    assert_eq!(closed(&scribe), std::slice::from_ref(&b));
    // Much later somebody asks for the other.
    scribe.wait(1_000_000);
    scribe.touch(&a);
    assert_eq!(closed(&scribe), [b, a]);
    for depth in [Depth::Replay, Depth::Full] {
        let follower = scribe.follow_to(depth, &scribe.read()).unwrap();
        assert_eq!(follower.contract(), Some(&scribe.contract));
        assert!(follower.keys().is_on_chain());
    }
}

#[test]
fn an_outcome_that_is_left_out_or_comes_too_early_departs() {
    let mut scribe = empty();
    begin(&mut scribe, "a", Admission::Open);
    let due_ms = scribe.contract.next_deadline_ms().unwrap();
    let (size, before) = (scribe.head.size as usize, scribe.contract.clone());
    // As a contract would that forgets what is due.
    scribe.now_ms = due_ms;
    let join = scribe.join(2);
    let signed = scribe.sign(2, scribe.head.size, join);
    scribe.append(record::transaction_payload(&signed));
    let departs = |scribe: &Scribe| match scribe.follow_all(&scribe.read()).map(drop) {
        Err((place, Fault::Departure(Departure::OtherOutcome { .. }))) => place == size,
        other => panic!("{other:?}"),
    };
    assert!(departs(&scribe));

    let mut early = empty();
    begin(&mut early, "a", Admission::Open);
    assert_eq!(early.contract, before);
    early.now_ms = due_ms - 1;
    let mut ahead = early.contract.clone();
    let at = colearn_contracts::Moment {
        now_ms: due_ms,
        head: colearn_contracts::Digest(early.head.leaf.0),
    };
    for outcome in ahead.touch(at, &early.name) {
        early.append(record::outcome_payload(&outcome));
    }
    assert!(departs(&early));
}

#[test]
fn nothing_changes_keys_or_rules_and_no_block_ends() {
    let change = v1::ValidatorChange { number: 1, ..v1::ValidatorChange::default() };
    let block = v1::Block {
        height: 1,
        hash: Bytes::from_static(&[1; 32]),
        proposer: Bytes::from_static(&[2; 20]),
        misbehavior: Vec::new(),
    };
    let id = empty().id;
    let upgrade = upgrade::sign(&id, &key(100), Version::V2, Limits::default());
    let rotation = log_keys::sign(&id, &key(100), &key(101));
    for (payload, expected) in [
        (record::upgrade_payload(&upgrade), Fault::OnChain("an upgrade of the rules")),
        (record::block_payload(&block), Fault::OnChain("the end of a block")),
        (record::rotation_payload(&rotation), BadKeyChange::OnChain.into()),
        (record::validator_change_payload(&change), BadKeyChange::OnChain.into()),
    ] {
        let mut scribe = empty();
        scribe.append(payload);
        let entries = scribe.read();
        for depth in [Depth::Replay, Depth::Signatures, Depth::Full] {
            let followed = scribe.follow_to(depth, &entries).map(drop);
            assert_eq!(followed, Err((1, expected.clone())), "{depth:?}");
        }
    }
}

#[test]
fn no_signature_says_what_its_root_is() {
    let scribe = empty();
    let follower = scribe.follow_all(&scribe.read()).unwrap();
    assert!(follower.confirm(&scribe.checkpoint(100)).is_err());
    assert_eq!(follower.keys().current().name(), format!("colearn/fetchhub-4/{ADDRESS}"));
}

#[test]
fn a_first_entry_is_what_a_contract_writes() {
    let right = genesis(&Limits::default());
    assert_eq!(PublicChain::of_genesis(&right), Ok(Some(chain())));
    let of_chain = |change: fn(&mut v1::PublicChain)| {
        let mut genesis = right.clone();
        change(genesis.chain.as_mut().unwrap());
        // As it would be named then.
        let chain = genesis.chain.as_ref().unwrap();
        genesis.origin = format!("colearn/{}/{}", chain.id, chain.contract);
        genesis
    };
    let with = |change: fn(&mut v1::Genesis)| {
        let mut genesis = right.clone();
        change(&mut genesis);
        genesis
    };
    for (genesis, bad) in [
        (of_chain(|it| it.id = String::new()), BadChain::Id),
        (of_chain(|it| it.id = "a".repeat(49)), BadChain::Id),
        (of_chain(|it| it.id = "a/b".to_owned()), BadChain::Id),
        (of_chain(|it| it.contract = ADDRESS.to_uppercase()), BadChain::Contract),
        (of_chain(|it| it.contract = "fetch1".to_owned()), BadChain::Contract),
        (of_chain(|it| it.contract = "1qqqqqqqq".to_owned()), BadChain::Contract),
        (of_chain(|it| it.contract = format!("fetch1{}", "q".repeat(85))), BadChain::Contract),
        (of_chain(|it| it.creators.clear()), BadChain::Charter),
        (of_chain(|it| it.creators.reverse()), BadChain::Charter),
        (of_chain(|it| it.creators[0] = Bytes::from_static(&[1; 31])), BadChain::Charter),
        (of_chain(|it| it.open = true), BadChain::Charter),
        (of_chain(|it| it.max_members = 0), BadChain::Charter),
        (with(|it| it.origin = ORIGIN.to_owned()), BadChain::Mixed),
        (with(|it| it.log_public_key = Bytes::from_static(&[1; 32])), BadChain::Mixed),
        (with(|it| it.nonce = Bytes::from_static(&[1; 32])), BadChain::Mixed),
        (with(|it| it.time_ms = 0), BadChain::Mixed),
        (with(|it| it.validators = vec![v1::Validator::default()]), BadChain::Mixed),
    ] {
        let payload = record::genesis_payload(genesis);
        let bytes = Entry { index: 0, parent: Hash::ZERO, time_ms: 1_000, payload }.encode();
        assert_eq!(Follower::new(Depth::Full, &bytes).err(), Some(BadGenesis::Chain(bad)));
    }
    // Version 1 has no limits, and a chain's ledger has.
    let first = v1::Genesis { contract_version: 1, limits: None, ..right.clone() };
    assert_eq!(PublicChain::of_genesis(&first), Err(BadChain::Version));

    // The time of the block is that of the entry.
    let mut scribe = empty();
    let payload = record::genesis_payload(right);
    scribe.entries = vec![Entry { index: 0, parent: Hash::ZERO, time_ms: 1_001, payload }.encode()];
    assert!(matches!(scribe.follow_all(&scribe.read()).map(drop), Err((0, Fault::Block(_)))));
}

#[test]
fn another_address_is_another_ledger() {
    let ours = genesis(&Limits::default());
    let charter = chain().charter().clone();
    let other = ADDRESS.replacen("qqqq", "qqqp", 1);
    let other = PublicChain::new("fetchhub-4".to_owned(), other, charter, 50_000_000).unwrap();
    let other = other.genesis(Version::V2, &Limits::default(), 1_000);
    assert_ne!(LedgerId::of(&ours), LedgerId::of(&other));
}

proptest! {
    /// What is written so is followed, stored at any place and gone on from.
    #[test]
    fn whatever_is_done_is_followed(open in any::<bool>(), steps in steps(), cut in 1_usize..60) {
        let mut scribe = empty();
        let admission = if open { Admission::Open } else { founders(Version::V2) };
        begin(&mut scribe, "x", admission);
        for (who, what, seen) in steps {
            // Upgrades have no place here.
            scribe.step(who, what % 100, seen);
        }
        let entries = scribe.read();
        let follower = scribe.follow_all(&entries).unwrap();
        prop_assert_eq!(follower.contract(), Some(&scribe.contract));
        let cut = cut.min(entries.len());
        let begun = scribe.follow_to(Depth::Full, &entries[..cut]).unwrap();
        // Not while something is due.
        if let Some(bytes) = begun.to_bytes(Vec::new()) {
            let state = FollowerState::from_bytes(&bytes).unwrap();
            let mut resumed = Follower::resume(Depth::Full, state).unwrap();
            for entry in &entries[cut..] {
                scribe.follow(&mut resumed, entry).unwrap();
            }
            prop_assert_eq!(resumed.state(), follower.state());
        }
    }
}
