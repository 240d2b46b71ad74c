//! Encodings: whatever is written reads back the same, has one form, and garbage is refused quietly.

use colearn::convert;
use colearn::record::{self, Record};
use colearn::transaction::{LedgerId, Seen, Transaction, Unverified};
use colearn_contracts::{
    Action, Admission, CreateExperiment, Digest, ExperimentName, FinishReason, LearnerId, Model,
    Outcome, Parameters, Proposal, Scores, Threshold, Verdict, Vote,
};
use colearn_ledger::{Checkpoint, Entry, Hash, Receipt, Resource, SignedNote, Verifier};
use colearn_proto::v1;
use proptest::prelude::*;
use prost::Message as _;

use crate::support::key;

fn name() -> impl Strategy<Value = ExperimentName> {
    "[a-z0-9][a-z0-9._-]{0,63}".prop_map(|text| text.parse().unwrap())
}

fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest)
}

fn model() -> impl Strategy<Value = Model> {
    (digest(), any::<u64>(), "[!-~]{1,100}").prop_map(|(digest, size, media_type)| Model {
        digest,
        size,
        media_type,
    })
}

fn scores() -> impl Strategy<Value = Scores> {
    (any::<Option<i64>>(), any::<Option<i64>>()).prop_map(|(vote, test)| Scores { vote, test })
}

fn parameters() -> impl Strategy<Value = Parameters> {
    let admission = prop_oneof![
        Just(Admission::Open),
        prop::collection::vec(any::<[u8; 32]>(), 0..20)
            .prop_map(|keys| Admission::Invited(keys.into_iter().map(LearnerId).collect())),
    ];
    let numbers = (any::<u32>(), any::<u32>(), any::<u64>(), any::<u64>(), any::<u32>());
    (numbers, admission, any::<Option<u64>>(), any::<u64>()).prop_map(
        |((numerator, denominator, proposal, vote, min), admission, max_rounds, max_weights)| {
            Parameters {
                threshold: Threshold { numerator, denominator },
                proposal_deadline_ms: proposal,
                vote_deadline_ms: vote,
                admission,
                min_learners: min,
                max_rounds,
                max_weights_bytes: max_weights,
            }
        },
    )
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        (name(), parameters(), model()).prop_map(|(name, parameters, model)| {
            Action::Create(CreateExperiment { name, parameters, model })
        }),
        (name(), any::<u32>()).prop_map(|(experiment, term)| Action::Join { experiment, term }),
        (name(), any::<u32>()).prop_map(|(experiment, term)| Action::Leave { experiment, term }),
        (name(), any::<u64>(), digest(), model(), scores()).prop_map(
            |(experiment, round, base, weights, scores)| {
                Action::Propose(Proposal { experiment, round, base, weights, scores })
            }
        ),
        (name(), any::<u64>()).prop_map(|(experiment, round)| Action::Pass { experiment, round }),
        (name(), any::<u64>(), digest(), any::<bool>(), scores()).prop_map(
            |(experiment, round, weights, approve, scores)| {
                Action::Vote(Vote { experiment, round, weights, approve, scores })
            }
        ),
        name().prop_map(|experiment| Action::Stop { experiment }),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let verdict = prop_oneof![
        Just(Verdict::Accepted),
        Just(Verdict::Rejected),
        Just(Verdict::Expired),
        Just(Verdict::Passed)
    ];
    let reason = prop_oneof![Just(FinishReason::MaxRounds), Just(FinishReason::Stopped)];
    prop_oneof![
        (name(), any::<u64>(), any::<[u8; 32]>(), digest(), any::<u64>()).prop_map(
            |(experiment, round, proposer, base, deadline_ms)| Outcome::RoundOpened {
                experiment,
                round,
                proposer: LearnerId(proposer),
                base,
                deadline_ms,
            }
        ),
        (name(), any::<u64>(), digest(), any::<u32>(), any::<u64>()).prop_map(
            |(experiment, round, weights, electorate, deadline_ms)| Outcome::VotingOpened {
                experiment,
                round,
                weights,
                electorate,
                deadline_ms,
            }
        ),
        (name(), any::<u64>(), verdict, any::<[u32; 3]>(), digest()).prop_map(
            |(experiment, round, verdict, counts, model)| Outcome::RoundClosed {
                experiment,
                round,
                verdict,
                approvals: counts[0],
                rejections: counts[1],
                electorate: counts[2],
                model,
            }
        ),
        (name(), any::<u32>(), any::<u32>()).prop_map(|(experiment, members, min_learners)| {
            Outcome::Waiting { experiment, members, min_learners }
        }),
        (name(), reason, any::<u64>(), digest()).prop_map(|(experiment, reason, rounds, model)| {
            Outcome::Finished { experiment, reason, rounds, model }
        }),
    ]
}

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

    #[test]
    fn an_outcome_reads_back(outcome in outcome(), index in any::<u64>()) {
        let message = convert::outcome_message(&outcome);
        prop_assert_eq!(&convert::outcome(message).unwrap(), &outcome);
        let payload = record::outcome_payload(&outcome);
        prop_assert_eq!(record::keys_of(&payload), record::keys_of_outcome(&outcome));
        let placed = Record::decode(&entry(payload, index, 1)).unwrap();
        prop_assert!(matches!(placed.record, Record::Outcome(read) if read == outcome));
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
