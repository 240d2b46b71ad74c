//! Encodings: whatever is written reads back the same, has one form, and garbage is refused quietly.
#![allow(clippy::unwrap_used)]

use colearn_contracts::{
    Act, Action, Admission, BallotKind, Close, Commit, CreateExperiment, Decision, Digest,
    ExperimentName, FinishReason, Invitation, LearnerId, Model, Motion, Outcome, Parameters,
    PauseReason, PrivacyCap, PrivacySpent, Proposal, Reveal, Scores, Selection, SuspendReason,
    Threshold, Verdict, Vote,
};
use colearn_ledger::{Checkpoint, Entry, Hash, Receipt, Resource, SignedNote, Verifier};
use colearn_proto::v1;
use colearn_records::convert;
use colearn_records::record::{self, Record};
use colearn_records::transaction::{LedgerId, Seen, Transaction, Unverified};
use proptest::prelude::*;
use prost::Message as _;

use ed25519_dalek::SigningKey;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

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

fn threshold() -> impl Strategy<Value = Threshold> {
    any::<(u32, u32)>().prop_map(|(numerator, denominator)| Threshold { numerator, denominator })
}

fn parameters() -> impl Strategy<Value = Parameters> {
    let choices = (
        prop_oneof![Just(Selection::RoundRobin), Just(Selection::Sortition)],
        prop_oneof![Just(Close::All), Just(Close::Early)],
        prop_oneof![Just(BallotKind::Open), Just(BallotKind::Sealed)],
    );
    // Zero stands for the default, or for never.
    let deadlines = (any::<u64>(), any::<u64>(), 1..=u64::MAX, 1..=u64::MAX)
        .prop_map(|(a, b, c, d)| [a, b, c, d]);
    let never = || proptest::option::of(1..=u32::MAX);
    let cap = any::<Option<(u64, u64)>>();
    (
        (threshold(), proptest::option::of(threshold()), choices, deadlines),
        (any::<u32>(), any::<Option<u64>>(), any::<Option<u64>>(), never(), never()),
        (cap, any::<u64>(), any::<bool>()),
    )
        .prop_map(|((threshold, governance_threshold, choices, deadlines), counts, rest)| {
            Parameters {
                threshold,
                selection: choices.0,
                proposal_deadline_ms: deadlines[0],
                vote_deadline_ms: deadlines[1],
                reveal_deadline_ms: deadlines[2],
                close: choices.1,
                ballot: choices.2,
                min_learners: counts.0,
                max_rounds: counts.1,
                patience: counts.2,
                missed_turns: counts.3,
                idle_rotations: counts.4,
                privacy: rest.0.map(|(epsilon_micros, delta_picos)| PrivacyCap {
                    epsilon_micros,
                    delta_picos,
                }),
                max_weights_bytes: rest.1,
                governance_threshold,
                motion_deadline_ms: deadlines[3],
                creator_may_stop: rest.2,
            }
        })
}

fn share() -> impl Strategy<Value = Invitation> {
    (any::<[u8; 32]>(), any::<u32>())
        .prop_map(|(key, weight)| Invitation { learner: LearnerId(key), weight })
}

fn admission() -> impl Strategy<Value = Admission> {
    let shares = || prop::collection::vec(share(), 0..20);
    prop_oneof![
        Just(Admission::Open),
        shares().prop_map(Admission::Invited),
        shares().prop_map(Admission::ByVote),
        shares().prop_map(|shares| Admission::invite(shares.iter().map(|share| share.learner))),
    ]
}

fn privacy() -> impl Strategy<Value = PrivacySpent> {
    any::<[u64; 6]>().prop_map(|numbers| PrivacySpent {
        epsilon_micros: numbers[0],
        delta_picos: numbers[1],
        noise_micros: numbers[2],
        clip_micros: numbers[3],
        sampling_nanos: numbers[4],
        steps: numbers[5],
    })
}

fn vote() -> impl Strategy<Value = Vote> {
    (any::<u64>(), digest(), any::<bool>(), scores())
        .prop_map(|(round, weights, approve, scores)| Vote { round, weights, approve, scores })
}

fn motion() -> impl Strategy<Value = Motion> {
    let learner = || any::<[u8; 32]>().prop_map(LearnerId);
    prop_oneof![
        parameters().prop_map(|parameters| Motion::SetParameters(Box::new(parameters))),
        share().prop_map(Motion::Admit),
        learner().prop_map(Motion::Suspend),
        learner().prop_map(Motion::Expel),
        Just(Motion::Stop),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    let plan = || proptest::option::of(digest());
    prop_oneof![
        (name(), parameters(), admission(), model(), plan()).prop_map(
            |(name, parameters, admission, model, plan)| {
                Action::new(
                    name,
                    Act::Create(CreateExperiment { parameters, admission, model, plan }),
                )
            }
        ),
        (name(), any::<u32>())
            .prop_map(|(experiment, term)| Action::new(experiment, Act::Join { term })),
        (name(), any::<u32>())
            .prop_map(|(experiment, term)| Action::new(experiment, Act::Leave { term })),
        (name(), any::<u64>(), digest(), model(), scores(), proptest::option::of(privacy()))
            .prop_map(|(experiment, round, base, weights, scores, privacy)| {
                Action::new(
                    experiment,
                    Act::Propose(Proposal { round, base, weights, scores, privacy }),
                )
            }),
        (name(), any::<u64>(), any::<bool>()).prop_map(|(experiment, round, exhausted)| {
            Action::new(experiment, Act::Pass { round, exhausted })
        }),
        (name(), vote()).prop_map(|(experiment, vote)| Action::new(experiment, Act::Vote(vote))),
        (name(), any::<u64>(), digest(), digest()).prop_map(
            |(experiment, round, weights, commitment)| {
                Action::new(experiment, Act::Commit(Commit { round, weights, commitment }))
            }
        ),
        (name(), vote(), any::<[u8; 32]>()).prop_map(|(experiment, vote, salt)| {
            Action::new(experiment, Act::Reveal(Reveal { vote, salt }))
        }),
        (name(), any::<u64>())
            .prop_map(|(experiment, round)| Action::new(experiment, Act::Resume { round })),
        (name(), any::<u64>(), motion()).prop_map(|(experiment, number, motion)| {
            Action::new(experiment, Act::Move { number, motion })
        }),
        (name(), any::<u64>(), any::<bool>()).prop_map(|(experiment, number, approve)| {
            Action::new(experiment, Act::MotionVote { number, approve })
        }),
        name().prop_map(|experiment| Action::new(experiment, Act::Stop)),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let verdict = prop_oneof![
        Just(Verdict::Accepted),
        Just(Verdict::Rejected),
        Just(Verdict::Expired),
        Just(Verdict::Passed)
    ];
    let suspended = prop_oneof![
        Just(SuspendReason::MissedTurns),
        Just(SuspendReason::Decided),
        Just(SuspendReason::Expelled)
    ];
    let reason = prop_oneof![
        Just(FinishReason::MaxRounds),
        Just(FinishReason::Stopped),
        Just(FinishReason::Patience)
    ];
    prop_oneof![
        (name(), any::<u64>(), any::<[u8; 32]>(), digest(), any::<u64>()).prop_map(
            |(experiment, round, proposer, base, deadline_ms)| Outcome::new(
                experiment,
                Decision::RoundOpened { round, proposer: LearnerId(proposer), base, deadline_ms }
            )
        ),
        (name(), any::<u64>(), digest(), any::<u32>(), any::<u64>()).prop_map(
            |(experiment, round, weights, electorate, deadline_ms)| Outcome::new(
                experiment,
                Decision::VotingOpened { round, weights, electorate, deadline_ms }
            )
        ),
        (name(), any::<u64>(), verdict, any::<[u32; 3]>(), digest()).prop_map(
            |(experiment, round, verdict, counts, model)| Outcome::new(
                experiment,
                Decision::RoundClosed {
                    round,
                    verdict,
                    approvals: counts[0],
                    rejections: counts[1],
                    electorate: counts[2],
                    model,
                }
            )
        ),
        (name(), any::<u32>(), any::<u32>()).prop_map(|(experiment, members, min_learners)| {
            Outcome::new(experiment, Decision::Waiting { members, min_learners })
        }),
        (name(), any::<u64>(), any::<u32>(), any::<u64>()).prop_map(
            |(experiment, round, committed, deadline_ms)| Outcome::new(
                experiment,
                Decision::RevealOpened { round, committed, deadline_ms }
            )
        ),
        (name(), prop_oneof![Just(PauseReason::NobodyProposes), Just(PauseReason::BudgetsSpent)])
            .prop_map(|(experiment, reason)| Outcome::new(experiment, Decision::Paused { reason })),
        (name(), any::<[u8; 32]>(), suspended).prop_map(|(experiment, learner, reason)| {
            Outcome::new(experiment, Decision::Suspended { learner: LearnerId(learner), reason })
        }),
        (name(), any::<u64>(), any::<u32>(), any::<u64>()).prop_map(
            |(experiment, number, electorate, deadline_ms)| Outcome::new(
                experiment,
                Decision::MotionOpened { number, electorate, deadline_ms }
            )
        ),
        (name(), any::<u64>(), any::<bool>(), any::<[u32; 3]>()).prop_map(
            |(experiment, number, adopted, counts)| Outcome::new(
                experiment,
                Decision::MotionDecided {
                    number,
                    adopted,
                    approvals: counts[0],
                    rejections: counts[1],
                    electorate: counts[2],
                }
            )
        ),
        (name(), any::<u64>()).prop_map(|(experiment, number)| Outcome::new(
            experiment,
            Decision::MotionTookEffect { number }
        )),
        (name(), reason, any::<u64>(), digest()).prop_map(|(experiment, reason, rounds, model)| {
            Outcome::new(experiment, Decision::Finished { reason, rounds, model })
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
