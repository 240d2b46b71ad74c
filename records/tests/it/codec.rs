//! Encodings: whatever is written reads back the same, has one form, and garbage is refused quietly.

use colearn_contracts::{Act, Limits};
use colearn_ledger::{Checkpoint, Entry, Hash, Receipt, Resource, SignedNote, Verifier};
use colearn_proto::v1;
use colearn_records::keys::learner_id;
use colearn_records::record::{self, Record};
use colearn_records::transaction::{LedgerId, Seen, Transaction, Unverified};
use colearn_records::{convert, upgrade};
use proptest::prelude::*;
use prost::Message as _;

use crate::scribe::key;
use crate::strategies::{action, name, outcome};

/// The bytes of an entry with this payload.
fn entry(payload: Vec<u8>, index: u64, time_ms: u64) -> Vec<u8> {
    Entry { index, parent: Hash([7; 32]), time_ms, payload }.encode()
}

proptest! {
    #[test]
    fn a_transaction_reads_back_and_has_one_encoding(
        action in action(), size in any::<u64>(), root in any::<[u8; 32]>(),
        index in any::<u64>(), time_ms in any::<u64>(), at in any::<prop::sample::Index>(),
        bit in 0..8,
    ) {
        let (ledger, seen) = (LedgerId([3; 32]), Seen { size, root: Hash(root) });
        let transaction = Transaction::sign(&key(1), &ledger, seen, action.clone());
        let read = Unverified::decode(transaction.message().clone()).unwrap();
        prop_assert_eq!(&read.action, &action);
        prop_assert_eq!(read.seen, seen);
        prop_assert!(read.clone().verify(&ledger).is_ok());
        prop_assert!(read.verify(&LedgerId([4; 32])).is_err());

        let payload = record::transaction_payload(&transaction);
        let keys = record::keys_of_transaction(transaction.message(), &action);
        prop_assert_eq!(record::keys_of(&payload), keys.to_vec());
        let bytes = entry(payload, index, time_ms);
        let placed = Record::decode(&bytes).unwrap();
        prop_assert_eq!((placed.index, placed.time_ms), (index, time_ms));

        // A changed body is refused, or its signature is: nothing but the original verifies.
        let mut message = transaction.message().clone();
        let mut body = message.body.to_vec();
        let at = at.index(body.len());
        body[at] ^= 1_u8 << bit;
        message.body = body.into();
        let changed = Unverified::decode(message).and_then(|changed| changed.verify(&ledger));
        prop_assert!(changed.is_err());
    }

    /// What reads transactions alone takes and refuses what reads any payload does.
    #[test]
    fn a_payload_is_the_same_transaction_to_who_reads_nothing_else(
        action in action(), outcome in outcome(), at in any::<prop::sample::Index>(), bit in 0..8,
        bytes in prop::collection::vec(any::<u8>(), 0..9),
    ) {
        let seen = Seen { size: 1, root: Hash([1; 32]) };
        let good = record::transaction_payload(&Transaction::sign(&key(1), &LedgerId([3; 32]), seen, action));
        let mut changed = good.clone();
        changed[at.index(good.len().min(80))] ^= 1_u8 << bit;
        let long = [good.clone(), vec![0; record::MAX_PAYLOAD_BYTES]].concat();
        let more = [&good[..], &bytes].concat();
        let twice = [&good[..], &good].concat();
        let before = [&bytes[..], &good].concat();
        let outcome = record::outcome_payload(&outcome);
        for payload in [&good, &changed, &long, &more, &twice, &before, &outcome, &bytes, &vec![0x2a, 0]] {
            let any = match record::read_payload(payload) {
                Some(v1::entry::Payload::Transaction(signed)) => Some(signed),
                _ => None,
            };
            prop_assert_eq!(record::read_transaction(payload), any);
        }
        prop_assert!(record::read_transaction(&good).is_some());
    }

    #[test]
    fn a_change_of_keys_reads_back_and_both_have_signed_it(name in name(), other in name()) {
        let (ledger, seen) = (LedgerId([3; 32]), Seen { size: 0, root: Hash::empty_root() });
        let (old, new) = (key(1), key(2));
        let signed = Transaction::replace_key(&old, &new, &ledger, seen, name.clone());
        let read = Unverified::decode(signed.message().clone()).unwrap();
        prop_assert_eq!(&read.action, signed.action());
        prop_assert_eq!(&read.action.what, &Act::ReplaceKey { to: learner_id(&new) });
        prop_assert!(read.verify(&ledger).is_ok());

        // What the new key has agreed to in one experiment is nothing in another.
        let alone = Transaction::sign(&old, &ledger, seen, signed.action().clone());
        prop_assert!(Unverified::decode(alone.message().clone()).unwrap().verify(&ledger).is_err());
        if name != other {
            let elsewhere = Transaction::replace_key(&old, &new, &ledger, seen, other);
            prop_assert_ne!(elsewhere.message(), signed.message());
        }
    }

    #[test]
    fn an_outcome_reads_back(outcome in outcome(), index in any::<u64>()) {
        let message = convert::outcome_message(&outcome);
        prop_assert_eq!(&convert::outcome(message.clone()).unwrap(), &outcome);
        let payload = record::outcome_payload(&outcome);
        prop_assert_eq!(record::keys_of(&payload), record::keys_of_outcome(&outcome));
        let placed = Record::decode(&entry(payload, index, 1)).unwrap();
        prop_assert!(matches!(placed.record, Record::Outcome(read) if read == outcome));
    }

    #[test]
    fn limits_read_back_within_their_bounds(
        per_creator in 0..=u32::MAX, experiments in 0..=u32::MAX, expiry_ms in any::<u64>(),
    ) {
        let limits = Limits { per_creator, experiments, expiry_ms };
        let read = upgrade::limits(Some(&upgrade::limits_message(&limits)));
        prop_assert_eq!(read.ok(), limits.check().is_ok().then_some(limits));
    }

    #[test]
    fn garbage_is_refused_and_nothing_panics(
        bytes in prop::collection::vec(any::<u8>(), 0..300), text in "\\PC{0,200}",
    ) {
        let _ = Record::decode(&bytes);
        let _ = Entry::decode(&bytes);
        let _ = record::keys_of(&bytes);
        if let Ok(message) = v1::SignedTransaction::decode(&bytes[..]) {
            let _ = Unverified::decode(message);
        }
        let lossy = String::from_utf8_lossy(&bytes);
        for text in [&text[..], &lossy] {
            let _ = SignedNote::parse(text);
            let _ = Checkpoint::parse(text);
            let _ = Receipt::parse(text);
            let _ = Receipt::parse(&format!("c2sp.org/tlog-proof@v1\n{text}"));
            let _ = Verifier::parse(text);
            let _ = Resource::parse(text);
            let _ = Resource::parse(&format!("tile/{text}"));
        }
    }

    /// Entries that differ from a good one in any bit are refused or are another entry.
    #[test]
    fn an_entry_has_one_encoding(
        outcome in outcome(), at in any::<prop::sample::Index>(), bit in 0..8,
    ) {
        let bytes = entry(record::outcome_payload(&outcome), 5, 9);
        let mut changed = bytes.clone();
        let at = at.index(bytes.len());
        changed[at] ^= 1_u8 << bit;
        if let (Ok(read), Ok(original)) = (v1::Entry::decode(&changed[..]), v1::Entry::decode(&bytes[..]))
            && Record::decode(&changed).is_ok()
        {
            prop_assert_ne!(read, original);
        }
    }
}
