//! What a node that lies could tell, and why nobody follows it.

use bytes::Bytes;
use colearn_contracts::*;
use colearn_ledger::{Broken, Entry, Hash, Head};
use colearn_proto::v1;
use colearn_records::follower::{BadGenesis, Depth, Fault, Follower, Unconfirmed};
use colearn_records::log_keys::{self, BadKeyChange, BadRotation};
use colearn_records::replay::Departure;
use colearn_records::transaction::{LedgerId, Seen, Transaction};
use colearn_records::{record, upgrade};
use prost::Message as _;
use serde::Serialize;

use super::{entries, histories, notes, transactions};
use crate::scribe::{Scribe, genesis, key, learner};

#[derive(Serialize)]
pub(super) struct File {
    /// What is followed, in order.
    entries: Vec<String>,
    /// What is refused.
    refused: Refused,
}

#[derive(Serialize)]
struct Refused {
    /// In place of the first entry.
    first_entries: Vec<First>,
    /// After so many entries.
    entries: Vec<Next>,
    /// By who has followed so many entries.
    checkpoints: Vec<Stated>,
}

#[derive(Serialize)]
struct First {
    name: &'static str,
    entry: String,
    reason: String,
}

#[derive(Serialize)]
struct Next {
    name: &'static str,
    after: u64,
    entry: String,
    reason: String,
}

#[derive(Serialize)]
struct Stated {
    name: &'static str,
    after: u64,
    note: String,
    reason: String,
}

fn broken(broken: &Broken) -> &'static str {
    match broken {
        Broken::Malformed => "Malformed",
        Broken::Index { .. } => "Index",
        Broken::Parent { .. } => "Parent",
        Broken::Time => "Time",
    }
}

fn departure(departure: &Departure) -> String {
    match departure {
        Departure::Refused(rejection) => format!("Refused.R{}", rejection.rule()),
        Departure::OtherOutcome { .. } => "OtherOutcome".to_owned(),
        Departure::UnknownVersion(_) => "UnknownVersion".to_owned(),
        Departure::Limits(_) => "Limits".to_owned(),
        Departure::NotAnUpgrade(_) => "NotAnUpgrade".to_owned(),
    }
}

/// The path to a fault's variant, without what it holds.
fn fault(fault: &Fault) -> String {
    match fault {
        Fault::Broken(it) => format!("Broken.{}", broken(it)),
        Fault::OtherGenesis => "OtherGenesis".to_owned(),
        Fault::Keys(BadKeyChange::Rotation(BadRotation::OtherKey(_))) => {
            "Rotation.OtherKey".to_owned()
        }
        Fault::Keys(BadKeyChange::Rotation(BadRotation::BadKey)) => "Rotation.BadKey".to_owned(),
        Fault::Keys(BadKeyChange::Rotation(BadRotation::Unsigned)) => {
            "Rotation.Unsigned".to_owned()
        }
        Fault::Keys(BadKeyChange::Validators(_)) => "Validators".to_owned(),
        Fault::Keys(BadKeyChange::InNetwork) => "InNetwork".to_owned(),
        Fault::Block(_) => "Block".to_owned(),
        Fault::Upgrade(_) => "Upgrade".to_owned(),
        Fault::Record(it) => format!("Record.{}", entries::reason(it)),
        Fault::Signature(it) => format!("Signature.{}", transactions::reason(it)),
        Fault::SecondGenesis => "SecondGenesis".to_owned(),
        Fault::Seen { .. } => "Seen".to_owned(),
        Fault::Expired { .. } => "Expired".to_owned(),
        Fault::Time(_) => "Time".to_owned(),
        Fault::Departure(it) => format!("Departure.{}", departure(it)),
        Fault::Departed => "Departed".to_owned(),
        Fault::Keys(BadKeyChange::OnChain) | Fault::OnChain(_) => "OnChain".to_owned(),
        Fault::Forgotten(_) => "Forgotten".to_owned(),
    }
}

fn bad_genesis(bad: &BadGenesis) -> String {
    match bad {
        BadGenesis::Record(it) => format!("Record.{}", entries::reason(it)),
        BadGenesis::OtherRecord => "OtherRecord".to_owned(),
        BadGenesis::Version(_) => "Version".to_owned(),
        BadGenesis::Key => "Key".to_owned(),
        BadGenesis::Chain(_) => "Chain".to_owned(),
        BadGenesis::Limits => "Limits".to_owned(),
    }
}

fn unconfirmed(unconfirmed: &Unconfirmed) -> String {
    match unconfirmed {
        Unconfirmed::Note(it) => format!("Note.{}", notes::reason(it)),
        Unconfirmed::Ahead { .. } => "Ahead".to_owned(),
        Unconfirmed::OtherRoot { .. } => "OtherRoot".to_owned(),
        Unconfirmed::Forgotten(_) => "Forgotten".to_owned(),
    }
}

fn first_entries() -> Vec<First> {
    let entry = |genesis| {
        let payload = record::genesis_payload(genesis);
        Entry { index: 0, parent: Hash::ZERO, time_ms: 1, payload }.encode()
    };
    let right = || genesis(Version::V2, Some(Limits::default()));
    let key = |bytes: &'static [u8]| {
        entry(v1::Genesis { log_public_key: Bytes::from_static(bytes), ..right() })
    };
    let waiting =
        Outcome::new("x".parse().unwrap(), Decision::Waiting { members: 0, min_learners: 1 });
    let payload = record::outcome_payload(&waiting);
    let unending = Limits { expiry_ms: 1, ..Limits::default() };
    let cases = [
        (
            "first_is_an_outcome",
            Entry { index: 0, parent: Hash::ZERO, time_ms: 1, payload }.encode(),
        ),
        ("first_is_cut_off", entry(right())[..99].to_vec()),
        ("genesis_of_version_99", entry(v1::Genesis { contract_version: 99, ..right() })),
        ("genesis_of_no_version", entry(v1::Genesis { contract_version: 0, ..right() })),
        ("genesis_with_short_key", key(&[1; 31])),
        ("genesis_with_key_off_the_curve", key(&[2; 32])),
        ("genesis_without_name", entry(v1::Genesis { origin: String::new(), ..right() })),
        ("genesis_with_plus_in_name", entry(v1::Genesis { origin: "a+b".to_owned(), ..right() })),
        ("genesis_v1_with_limits", entry(genesis(Version::V1, Some(Limits::default())))),
        ("genesis_v2_without_limits", entry(genesis(Version::V2, None))),
        ("genesis_with_low_limits", entry(genesis(Version::V2, Some(unending)))),
    ];
    cases
        .into_iter()
        .map(|(name, bytes)| {
            let bad = Follower::new(Depth::Full, &bytes).unwrap_err();
            First { name, entry: hex::encode(&bytes), reason: bad_genesis(&bad) }
        })
        .collect()
}

/// Makes entries that could come next in a story's ledger.
struct Liar<'a> {
    scribe: &'a Scribe,
    cases: Vec<Next>,
}

impl Liar<'_> {
    /// The head after so many entries.
    fn head(&self, after: u64) -> Head {
        let place = after as usize;
        let time_ms = match place {
            0 => 0,
            _ => Entry::decode(&self.scribe.entries[place - 1]).unwrap().time_ms,
        };
        let leaf = place.checked_sub(1).map_or(Hash::ZERO, |last| self.scribe.leaves[last]);
        Head { size: after, leaf, time_ms }
    }

    /// An entry in the right place with this payload, a while later.
    fn entry(&self, after: u64, later_ms: u64, payload: Vec<u8>) -> Vec<u8> {
        let head = self.head(after);
        Entry { index: after, parent: head.leaf, time_ms: head.time_ms + later_ms, payload }
            .encode()
    }

    fn case(&mut self, name: &'static str, after: u64, bytes: Vec<u8>) {
        let mut follower = self.scribe.follower(Depth::Full);
        let reader = follower.reader();
        for entry in &self.scribe.entries[..after as usize] {
            follower.follow(&reader.read(entry.clone())).unwrap();
        }
        let refused = follower.follow(&reader.read(bytes.clone())).unwrap_err();
        self.cases.push(Next { name, after, entry: hex::encode(&bytes), reason: fault(&refused) });
    }

    /// A transaction signed for this ledger over the history that its entry follows.
    fn signed(&self, after: u64, who: u8, what: Act) -> Transaction {
        self.scribe.sign(who, after, what)
    }
}

fn next_entries(scribe: &Scribe) -> Vec<Next> {
    let mut liar = Liar { scribe, cases: Vec::new() };
    let end = scribe.head.size;
    let good = liar.signed(
        end,
        1,
        Act::Move { number: scribe.experiment().last_motion() + 1, motion: Motion::Stop },
    );
    let payload = record::transaction_payload(&good);
    let head = liar.head(end);
    let right = Entry {
        index: end,
        parent: head.leaf,
        time_ms: head.time_ms + 1,
        payload: payload.clone(),
    };

    // Chain.
    liar.case("index_skipped", end, Entry { index: end + 1, ..right.clone() }.encode());
    liar.case("entry_repeated", end, scribe.entries[end as usize - 1].clone());
    liar.case("other_parent", end, Entry { parent: scribe.leaves[3], ..right.clone() }.encode());
    liar.case(
        "earlier_than_before",
        end,
        Entry { time_ms: head.time_ms - 1, ..right.clone() }.encode(),
    );
    liar.case(
        "after_the_year_9999",
        end,
        Entry { time_ms: MAX_TIME_MS + 1, ..right.clone() }.encode(),
    );
    liar.case("entry_is_no_message", end, right.encode()[..20].to_vec());
    liar.case(
        "payload_is_no_message",
        end,
        liar.entry(end, 1, payload[..payload.len() - 1].to_vec()),
    );
    liar.case("payload_missing", end, liar.entry(end, 1, Vec::new()));
    liar.case(
        "payload_hides_a_field",
        end,
        liar.entry(end, 1, [&payload[..], &[0x98, 0x06, 1]].concat()),
    );
    let other = v1::Genesis { nonce: Bytes::from_static(&[8; 32]), ..genesis(Version::V1, None) };
    let other_payload = record::genesis_payload(other.clone());
    liar.case("other_genesis", 0, liar.entry(0, 1_000, other_payload.clone()));
    liar.case("second_genesis", end, liar.entry(end, 1, other_payload));

    // Signatures.
    let resign = |change: &dyn Fn(&mut v1::SignedTransaction)| {
        let mut signed = good.message().clone();
        change(&mut signed);
        let payload = Some(v1::entry::Payload::Transaction(signed));
        v1::Entry { payload, ..v1::Entry::default() }.encode_to_vec()
    };
    let body = good.message().body.to_vec();
    let flipped = resign(&|it| {
        let mut signature = it.signature.to_vec();
        signature[40] ^= 1;
        it.signature = signature.into();
    });
    liar.case("signature_changed", end, liar.entry(end, 1, flipped));
    let stolen = resign(&|it| it.public_key = Bytes::copy_from_slice(&learner(2).0));
    liar.case("signed_by_somebody_else", end, liar.entry(end, 1, stolen));
    let elsewhere = LedgerId::of(&other);
    let replayed = resign(&|it| *it = transactions::with_body(1, &elsewhere, body.clone()));
    liar.case("signed_for_another_history", end, liar.entry(end, 1, replayed));
    let hidden = [&body[..], &[0x98, 0x06, 1]].concat();
    let hidden = resign(&|it| *it = transactions::with_body(1, &scribe.id, hidden.clone()));
    liar.case("body_hides_a_field", end, liar.entry(end, 1, hidden));
    let long = vec![0; 65_001];
    let long = resign(&|it| *it = transactions::with_body(1, &scribe.id, long.clone()));
    liar.case("body_too_long", end, liar.entry(end, 1, long));
    let replace = Transaction::replace_key(
        &key(2),
        &key(7),
        &elsewhere,
        scribe.seen(end),
        scribe.name.clone(),
    );
    let replace = transactions::with_body(2, &scribe.id, replace.message().body.to_vec());
    let replace = resign(&|it| *it = replace.clone());
    liar.case("new_key_never_agreed", end, liar.entry(end, 1, replace));

    // Vouched histories, and time.
    let move_stop = good.action().clone();
    let vouching = |seen| {
        record::transaction_payload(&Transaction::sign(
            &key(1),
            &scribe.id,
            seen,
            move_stop.clone(),
        ))
    };
    let forked = Seen { size: end - 2, root: scribe.seen(end - 1).root };
    liar.case("signer_saw_another_history", end, liar.entry(end, 1, vouching(forked)));
    let ahead = Seen { size: end + 1, root: scribe.seen(end).root };
    liar.case("signer_saw_the_future", end, liar.entry(end, 1, vouching(ahead)));
    let old = vouching(scribe.seen(3));
    liar.case("signed_too_long_ago", end, liar.entry(end, 30 * 24 * 3_600_000, old));

    // The ledger's own keys.
    let (first, now, new) = (key(100), key(101), key(102));
    let rotation = |rotation: &v1::KeyRotation| record::rotation_payload(rotation);
    let by_old = rotation(&log_keys::sign(&scribe.id, &first, &new));
    liar.case("key_changed_by_an_old_one", end, liar.entry(end, 1, by_old));
    let to_itself = rotation(&log_keys::sign(&scribe.id, &now, &now));
    liar.case("key_changed_to_itself", end, liar.entry(end, 1, to_itself));
    let agreed = log_keys::sign(&scribe.id, &now, &new);
    let alone = v1::KeyRotation { new_signature: agreed.old_signature.clone(), ..agreed.clone() };
    liar.case("key_changed_by_one_alone", end, liar.entry(end, 1, rotation(&alone)));
    let other_ledger = rotation(&log_keys::sign(&elsewhere, &now, &new));
    liar.case("key_changed_elsewhere", end, liar.entry(end, 1, other_ledger));
    let unsigned = upgrade::sign(&scribe.id, &first, Version::V2, Limits::default());
    liar.case("upgrade_by_an_old_key", end, liar.entry(end, 1, record::upgrade_payload(&unsigned)));
    let without = upgrade::sign(&scribe.id, &now, Version::V2, Limits::default());
    let without = v1::Upgrade { limits: None, ..without };
    liar.case("upgrade_without_limits", end, liar.entry(end, 1, record::upgrade_payload(&without)));

    // What only the contract can tell.
    let again = upgrade::sign(&scribe.id, &now, Version::V2, Limits::default());
    liar.case(
        "upgrade_to_no_later_version",
        end,
        liar.entry(end, 1, record::upgrade_payload(&again)),
    );
    let join = liar.signed(end, 1, scribe.join(1));
    liar.case(
        "transaction_against_a_rule",
        end,
        liar.entry(end, 1, record::transaction_payload(&join)),
    );
    let invented =
        Outcome::new(scribe.name.clone(), Decision::Waiting { members: 0, min_learners: 3 });
    liar.case("outcome_invented", end, liar.entry(end, 1, record::outcome_payload(&invented)));
    // How the first round closed, told otherwise: changed, late, or left out.
    let closed = first_closed(scribe);
    let told = Entry::decode(&scribe.entries[closed as usize]).unwrap();
    let changed = with_other_verdict(&told.payload);
    liar.case("outcome_changed", closed, Entry { payload: changed, ..told.clone() }.encode());
    let late = Entry { time_ms: told.time_ms + 1, ..told };
    liar.case("outcome_later_than_decided", closed, late.encode());
    let silent = liar.signed(closed, 1, Act::Move { number: 1, motion: Motion::Stop });
    liar.case(
        "outcome_left_out",
        closed,
        liar.entry(closed, 1, record::transaction_payload(&silent)),
    );
    liar.cases
}

/// The place of the first outcome that closes a round.
fn first_closed(scribe: &Scribe) -> u64 {
    let place = scribe.entries.iter().position(|bytes| {
        let decoded = record::Record::decode(bytes).unwrap();
        let record::Record::Outcome(outcome) = decoded.record else { return false };
        matches!(outcome.what, Decision::RoundClosed { .. })
    });
    place.unwrap() as u64
}

/// The same round with the other verdict.
fn with_other_verdict(payload: &[u8]) -> Vec<u8> {
    let mut entry = v1::Entry::decode(payload).unwrap();
    let Some(v1::entry::Payload::Outcome(outcome)) = &mut entry.payload else { panic!() };
    let Some(v1::outcome::Decision::RoundClosed(closed)) = &mut outcome.decision else { panic!() };
    closed.verdict = v1::Verdict::Rejected.into();
    entry.encode_to_vec()
}

fn checkpoints(scribe: &Scribe) -> Vec<Stated> {
    let end = scribe.head.size;
    let root = |size| scribe.seen(size).root;
    let signed = histories::checkpoint_of;
    let good = signed(end, root(end), 101);
    let cases = [
        ("checkpoint_by_the_old_key", end, signed(end, root(end), 100)),
        ("checkpoint_by_the_new_key_too_early", end, signed(2, root(2), 101)),
        ("checkpoint_by_nobody_known", end, signed(end, root(end), 103)),
        ("checkpoint_of_another_root", end, signed(end, root(end - 1), 101)),
        ("checkpoint_of_another_past", end, signed(2, root(3), 100)),
        ("checkpoint_of_what_is_withheld", end - 1, good.clone()),
        ("checkpoint_with_changed_size", end, good.replacen(&format!("\n{end}\n"), "\n7\n", 1)),
        ("checkpoint_cut_off", end, good[..good.len() - 1].to_owned()),
    ];
    cases
        .into_iter()
        .map(|(name, after, note)| {
            let entries = scribe.read();
            let follower = scribe.follow_all(&entries[..after as usize]).unwrap();
            let refused = follower.confirm(&note).unwrap_err();
            Stated { name, after, note, reason: unconfirmed(&refused) }
        })
        .collect()
}

pub(super) fn file() -> File {
    let story = histories::open();
    let scribe = &story.scribe;
    File {
        entries: scribe.entries.iter().map(hex::encode).collect(),
        refused: Refused {
            first_entries: first_entries(),
            entries: next_entries(scribe),
            checkpoints: checkpoints(scribe),
        },
    }
}
