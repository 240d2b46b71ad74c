//! A ledger that several nodes keep together: what a follower insists on besides.

use bytes::Bytes;
use colearn_contracts::{Act, Limits, VERSION};
use colearn_ledger::note::KeyKind;
use colearn_ledger::{Checkpoint, Entry, Hash, NoteError, Signer};
use colearn_proto::v1;
use colearn_proto::v1::validator_change::Change;
use colearn_records::caught::{Caught, Offence};
use colearn_records::follower::{
    BadBlock, BadGenesis, Depth, Fault, Follower, FollowerState, Unconfirmed,
};
use colearn_records::log_keys::{self, BadKeyChange, KeyChange, LogKeys};
use colearn_records::validators::{self, BadChange, Validator};
use colearn_records::{record, upgrade};

use crate::scribe::{ORIGIN, Scribe, key};

/// A node whose checkpoints this key signs.
pub(crate) fn node(seed: u8) -> v1::Validator {
    let p2p = format!("{seed:040x}@org-{seed}.example:26656");
    let url = format!("https://org-{seed}.example:7400");
    let it = Validator::sign(&format!("org-{seed}"), &p2p, &url, &key(seed), &key(200 + seed));
    it.unwrap().message().clone()
}

/// The first entry of a ledger that as many nodes keep.
pub(crate) fn genesis(nodes: u8) -> v1::Genesis {
    let nodes = (1..=nodes).map(node).collect();
    let origin = Some(ORIGIN.to_owned());
    validators::genesis(origin, nodes, 1_000, VERSION, &Limits::default()).unwrap()
}

/// Writes a ledger of four nodes: the first entry, and nothing else.
fn network() -> Scribe {
    Scribe::of(genesis(4), VERSION, Limits::default())
}

fn block(height: u64) -> v1::Block {
    v1::Block {
        height,
        hash: Bytes::from_static(&[1; 32]),
        proposer: Bytes::from_static(&[2; 20]),
        misbehavior: Vec::new(),
    }
}

impl Scribe {
    fn end_block(&mut self, height: u64) {
        self.append(record::block_payload(&block(height)));
    }

    fn change(&mut self, number: u64, change: Change, approve_with: &[u8]) {
        let change = signed(self, number, change, approve_with);
        self.append(record::validator_change_payload(&change));
    }

    /// Records an action at the present time.
    fn now(&mut self, learner: u8, seen: u64, what: Act) -> bool {
        let signed = self.sign(learner, seen, what);
        self.transact(&signed)
    }

    fn note(&self, size: usize, keys: &[u8]) -> String {
        let root = self.seen(size as u64).root;
        let text = Checkpoint { origin: ORIGIN.to_owned(), size: size as u64, root }.text();
        let line =
            |seed: &u8| Signer::new(ORIGIN, KeyKind::Log, key(*seed)).unwrap().sign(&text, 0);
        let lines: String = keys.iter().map(line).collect();
        format!("{text}\n{lines}")
    }

    fn fault(&self) -> Option<(usize, Fault)> {
        self.follow_to(Depth::Full, &self.read()).err()
    }
}

fn signed(
    scribe: &Scribe,
    number: u64,
    change: Change,
    approve_with: &[u8],
) -> v1::ValidatorChange {
    let mut change = v1::ValidatorChange { number, change: Some(change), approvals: Vec::new() };
    for seed in approve_with {
        validators::approve(&scribe.id, &key(*seed), &mut change);
    }
    change
}

/// Something of everything, all right.
fn story() -> Scribe {
    let mut scribe = network();
    let create = |scribe: &mut Scribe, who, seen| {
        let create = colearn_contracts::CreateExperiment {
            version: VERSION.number(),
            parameters: colearn_contracts::Parameters::default(),
            admission: colearn_contracts::Admission::Open,
            model: crate::scribe::model(0),
            plan: None,
        };
        assert!(scribe.now(who, seen, Act::Create(create)));
    };
    scribe.now_ms = 2_000;
    create(&mut scribe, 1, 1);
    scribe.end_block(7);
    scribe.now_ms = 3_000;
    for who in 2..=4 {
        let join = scribe.join(who);
        assert!(scribe.now(who, 1, join));
    }
    scribe.change(1, Change::Admit(node(5)), &[1, 2, 3]);
    scribe.end_block(8);
    scribe.now_ms = 4_000;
    scribe.change(2, Change::Remove("org-1".to_owned()), &[2, 3, 4, 5]);
    scribe.end_block(12);
    scribe
}

#[test]
fn entries_of_blocks_are_followed_and_gone_on_from() {
    let scribe = story();
    let entries = scribe.read();
    for depth in [Depth::Full, Depth::Signatures, Depth::Replay] {
        let whole = scribe.follow_to(depth, &entries).unwrap();
        assert_eq!(whole.keys().validators().unwrap().count(), 4, "five less one");
        let blocks = whole.blocks().unwrap();
        assert_eq!((blocks.height(), blocks.is_between()), (12, true));
        for at in 1..entries.len() {
            let half = scribe.follow_to(depth, &entries[..at]).unwrap();
            let state = match half.to_bytes(Vec::new()) {
                Some(bytes) => FollowerState::from_bytes(&bytes).unwrap(),
                // Outcomes are due.
                None => continue,
            };
            assert_eq!(Some(&state), half.state().as_ref());
            // Where in a block it stands is not to be lost.
            let lost = FollowerState { blocks: None, ..state.clone() };
            assert!(Follower::resume(depth, lost).is_none());
            let mut resumed = Follower::resume(depth, state).unwrap();
            for entry in &entries[at..] {
                resumed.follow(entry).unwrap();
            }
            assert_eq!(resumed.state(), whole.state());
        }
    }
}

#[test]
fn checkpoints_are_signed_by_more_than_two_thirds_of_their_time() {
    let scribe = story();
    let follower = scribe.follow_to(Depth::Full, &scribe.read()).unwrap();
    let confirm = |size, keys: &[u8]| follower.confirm(&scribe.note(size, keys)).map(|it| it.size);
    let too_few =
        |signed, needed, of| Err(Unconfirmed::Note(NoteError::TooFew { signed, needed, of }));
    let changed = follower.keys().changes();
    let [first, second] = changed[..] else { panic!("{changed:?}") };
    for (size, enough, few) in [
        (first as usize, &[1, 2, 3][..], (&[1, 2, 5][..], too_few(2, 3, 4))),
        (second as usize, &[1, 2, 3, 5], (&[1, 2, 3], too_few(3, 4, 5))),
        (scribe.entries.len(), &[2, 4, 5], (&[1, 2, 3], too_few(2, 3, 4))),
    ] {
        assert_eq!(confirm(size, enough), Ok(size as u64));
        assert_eq!(confirm(size, few.0), few.1);
    }
}

#[test]
fn what_does_not_fit_into_its_block_is_not_followed() {
    let check = |spoil: &dyn Fn(&mut Scribe), fault: Fault| {
        let mut scribe = story();
        let good = scribe.entries.len();
        scribe.now_ms = 5_000;
        spoil(&mut scribe);
        let (index, found) = scribe.fault().expect("a fault");
        assert!(index >= good);
        assert_eq!(found, fault);
    };
    check(&|it| it.end_block(12), BadBlock::Height { last: 12, found: 12 }.into());
    check(
        &|it| {
            let join = it.join(5);
            assert!(it.now(5, 0, join));
            it.now_ms += 1;
            it.end_block(13);
        },
        BadBlock::Time { block: 5_000, found: 5_001 }.into(),
    );
    let size = story().entries.len() as u64;
    check(
        &|it| {
            for who in [5, 6] {
                let (join, seen) = (it.join(who), it.entries.len() as u64);
                assert!(it.now(who, seen, join));
            }
        },
        BadBlock::Seen { begin: size, seen: size + 1 }.into(),
    );
    check(
        &|it| {
            it.change(3, Change::Admit(node(6)), &[2, 3, 4]);
            it.change(4, Change::Admit(node(7)), &[2, 3, 4, 5]);
        },
        BadBlock::SecondChange.into(),
    );
    check(
        &|it| it.change(3, Change::Admit(node(6)), &[2, 3]),
        Fault::Keys(BadChange::Unapproved { approved: 2, needed: 3, of: 4 }.into()),
    );
    // What only one node that keeps a ledger alone may do.
    check(
        &|it| {
            let rotation = log_keys::sign(&it.id, &key(2), &key(9));
            it.append(record::rotation_payload(&rotation));
        },
        Fault::Keys(BadKeyChange::InNetwork),
    );
    check(
        &|it| {
            let upgrade = upgrade::sign(&it.id, &key(2), VERSION, Limits::default());
            it.append(record::upgrade_payload(&upgrade));
        },
        Fault::Upgrade(upgrade::BadUpgrade),
    );
    let mut alone = Scribe::new();
    alone.end_block(1);
    assert_eq!(alone.fault().unwrap().1, BadBlock::NoBlocks.into());
}

#[test]
fn one_node_becomes_several() {
    let mut scribe = Scribe::new();
    scribe.wait(1);
    let join = scribe.join(2);
    assert!(scribe.act(2, 0, join));
    let founding = || Change::Found(v1::Founding { validators: (1..=4).map(node).collect() });
    let solo = scribe.entries.len();
    let mut stolen = signed(&scribe, 1, founding(), &[1]);
    scribe.append(record::validator_change_payload(&stolen));
    let fault = scribe.fault().unwrap();
    assert_eq!(fault, (solo, Fault::Keys(BadChange::Approval.into())));

    let mut scribe = Scribe::new();
    scribe.wait(1);
    scribe.change(1, founding(), &[100]);
    scribe.wait(1);
    let join = scribe.join(2);
    assert!(scribe.act(2, 0, join));
    scribe.end_block(1);
    let follower = scribe.follow_to(Depth::Full, &scribe.read()).unwrap();
    assert!(follower.blocks().unwrap().is_between());
    let size = scribe.entries.len();
    assert!(follower.confirm(&scribe.note(size, &[1, 2, 4])).is_ok());
    assert!(follower.confirm(&scribe.note(size, &[100])).is_err());
    assert!(follower.confirm(&scribe.note(2, &[100])).is_ok(), "of its time");
    stolen.approvals.clear();
    assert!(follower.keys().validators().is_some());
}

#[test]
fn a_first_entry_that_its_nodes_did_not_make_is_none() {
    let mut other = genesis(4);
    other.validators[2] = node(9);
    let scribe = Scribe::of(other, VERSION, Limits::default());
    assert!(matches!(Follower::new(Depth::Full, &scribe.entries[0]), Err(BadGenesis::Key)));
    // Nor at another time.
    let payload = record::genesis_payload(genesis(4));
    let late = Entry { index: 0, parent: Hash::ZERO, time_ms: 1_001, payload }.encode();
    let mut follower = Follower::new(Depth::Full, &late).unwrap();
    let late = follower.reader().read(late);
    let fault = follower.follow(&late).unwrap_err();
    assert_eq!(fault, BadBlock::Time { block: 1_000, found: 1_001 }.into());
}

#[test]
fn who_was_caught_is_named_whatever_became_of_it_since() {
    let mut keys = LogKeys::of_genesis(&genesis(4)).unwrap();
    let of = |seed: u8| Validator::read(node(seed)).unwrap().consensus_address().to_vec();
    let fault = |address: Vec<u8>| v1::Misbehavior {
        kind: v1::MisbehaviorKind::DuplicateVote.into(),
        validator: address.into(),
        height: 7,
        time_ms: 1,
    };
    let with = |faults: Vec<v1::Misbehavior>| v1::Block { misbehavior: faults, ..block(9) };
    let mut caught = Caught::default();
    caught.follow(3, &block(3), &keys);
    assert!(caught.is_empty());
    assert_eq!(record::keys_of(&record::block_payload(&block(3))), Vec::<Vec<u8>>::new());

    let removed = Change::Remove("org-3".to_owned());
    let change = signed(&network(), 1, removed, &[1, 2, 4]);
    keys.follow(5, &KeyChange::Validators(change)).unwrap();
    let both = with(vec![fault(of(3)), fault(vec![9; 20])]);
    assert_eq!(record::keys_of(&record::block_payload(&both)), [record::CAUGHT]);
    caught.follow(6, &both, &keys);
    caught.follow(8, &with(vec![fault(of(3))]), &keys);
    let offence = |entries| Offence { kind: "duplicate_vote", entry: 6, entries };
    let stranger = "09".repeat(20);
    let told: Vec<_> = caught.iter().collect();
    assert_eq!(told, [(&stranger[..], &offence(1)), ("org-3", &offence(2))]);
}
