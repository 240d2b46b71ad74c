//! Transactions of every act, as each version of the rules has it, and what is hashed in them.

use bytes::Bytes;
use colearn_contracts::*;
use colearn_ledger::Hash;
use colearn_proto::v1;
use colearn_records::convert;
use colearn_records::transaction::{self, Invalid, LedgerId, Seen, Transaction, Unverified};
use prost::Message as _;
use serde::Serialize;
use serde_json::Value;

use super::messages;
use crate::scribe::{key, learner, named};

#[derive(Serialize)]
pub(super) struct File {
    /// For which all of them are signed.
    ledger: String,
    keys: Vec<Key>,
    transactions: Vec<Signed>,
    refused: Vec<Refused>,
    ballots: Vec<Ballot>,
    sealed_updates: Vec<Commitment>,
    sealed_merge_votes: Vec<Commitment>,
    terms: Vec<Terms>,
    chains: Vec<Chain>,
}

#[derive(Serialize)]
struct Key {
    name: &'static str,
    seed: String,
    public_key: String,
}

#[derive(Serialize)]
struct Signed {
    name: &'static str,
    signer: &'static str,
    /// A `Transaction`.
    message: Value,
    body: String,
    signed_bytes: String,
    signature: String,
    /// A `SignedTransaction`.
    encoding: String,
    digest: String,
    /// What the new key signs, where one replaces another.
    #[serde(skip_serializing_if = "Option::is_none")]
    consent_bytes: Option<String>,
}

#[derive(Serialize)]
struct Refused {
    name: &'static str,
    encoding: String,
    reason: &'static str,
}

#[derive(Serialize)]
struct Ballot {
    name: &'static str,
    version: u32,
    voter: &'static str,
    /// A `Vote`.
    vote: Value,
    salt: String,
    commitment: String,
}

#[derive(Serialize)]
struct Commitment {
    name: &'static str,
    sender: &'static str,
    /// An `Update`, or a `MergeVote`.
    message: Value,
    /// Of which scores, privacy and media type are no part of what is hashed.
    encoding: String,
    salt: String,
    commitment: String,
}

#[derive(Serialize)]
struct Terms {
    name: &'static str,
    version: u32,
    creator: &'static str,
    /// `Parameters`, as they create the experiment.
    parameters: Value,
    terms: String,
}

#[derive(Serialize)]
struct Chain {
    name: &'static str,
    secret: String,
    /// With so many links left after each.
    links: std::collections::BTreeMap<u32, String>,
}

const KEYS: [(&str, u8); 3] = [("ann", 1), ("bob", 2), ("cas", 3)];
const SALT: [u8; 32] = [9; 32];

fn name_of(seed: u8) -> &'static str {
    KEYS.iter().find(|(_, of)| *of == seed).unwrap().0
}

fn ledger() -> LedgerId {
    LedgerId([5; 32])
}

fn seen() -> Seen {
    Seen { size: 300, root: Hash::leaf(b"root") }
}

fn experiment() -> ExperimentName {
    "lungs-2.1".parse().unwrap()
}

fn digest(byte: u8) -> Digest {
    Digest([byte; 32])
}

fn weights(byte: u8) -> Model {
    Model { digest: digest(byte), size: 70_000, media_type: "application/x-safetensors".into() }
}

/// All that version 1 can say, and none of it a default.
fn parameters_v1() -> Parameters {
    Parameters {
        threshold: Threshold::at_least(2, 3),
        selection: Selection::Sortition,
        proposal_deadline_ms: 3_600_000,
        vote_deadline_ms: 7_200_000,
        reveal_deadline_ms: 60_000,
        close: Close::Early,
        ballot: BallotKind::Sealed,
        min_learners: 2,
        max_rounds: Some(100),
        patience: Some(5),
        missed_turns: Some(3),
        idle_rotations: Some(2),
        privacy: Some(PrivacyCap { epsilon_micros: 3_000_000, delta_picos: 10_000_000 }),
        max_weights_bytes: 1 << 36,
        governance_threshold: Some(Threshold::at_least(3, 4)),
        motion_deadline_ms: 86_400_000,
        creator_may_stop: true,
        merging: None,
    }
}

/// What is left out where it can be.
fn parameters_v2() -> Parameters {
    Parameters {
        threshold: Threshold::MORE_THAN_HALF,
        missed_turns: None,
        idle_rotations: None,
        governance_threshold: Some(Threshold::MORE_THAN_HALF),
        ..Parameters::default()
    }
}

/// Merged rounds, and none of their numbers a default.
fn parameters_merged() -> Parameters {
    Parameters {
        selection: Selection::Sortition,
        merging: Some(Merging {
            proposers: 40,
            clip_permille: 1_500,
            momentum_permille: 700,
            checkers: 6,
            gather_deadline_ms: Some(90_000),
        }),
        ..Parameters::default()
    }
}

fn ascending(mut invitations: Vec<Invitation>) -> Vec<Invitation> {
    invitations.sort_by_key(|it| it.learner);
    invitations
}

fn admission_v1() -> Admission {
    Admission::ByVote(ascending(vec![
        Invitation::new(learner(1), 2),
        Invitation::new(learner(2), 10_000),
        Invitation::new(learner(3), 1),
    ]))
}

fn admission_v2() -> Admission {
    Admission::Invited(ascending(vec![
        named(1, "Hôpital du Nord"),
        Invitation::new(learner(2), 1),
        Invitation { judge: true, ..named(3, "The regulator") },
    ]))
}

fn create(version: Version, parameters: Parameters, admission: Admission) -> CreateExperiment {
    let plan = (version == Version::V1).then(|| digest(4));
    CreateExperiment { version: version.number(), parameters, admission, model: weights(1), plan }
}

fn segment(steps: u64) -> PrivacySegment {
    PrivacySegment {
        noise_micros: 1_100_000,
        clip_micros: 1_000_000,
        sampling_nanos: 10_000_000,
        steps,
    }
}

fn proposal(training: PrivateTraining) -> Proposal {
    Proposal {
        round: 7,
        base: digest(1),
        weights: weights(2),
        scores: Scores { vote: Some(950_000), test: Some(-1) },
        privacy: Some(PrivacySpent { epsilon_micros: 1_250_000, delta_picos: 1_000_000, training }),
    }
}

fn vote(choice: Choice, reason: Option<Reason>, link: Option<Digest>) -> Vote {
    let scores = Scores { vote: Some(i64::MIN), test: None };
    Vote { round: 7, weights: digest(2), choice, reason, scores, link }
}

fn sealed(version: Version, vote: &Vote) -> Digest {
    let (ledger, experiment) = (Digest(ledger().0), experiment());
    let sealed =
        Sealed { version, ledger, experiment: &experiment, voter: learner(2), vote, salt: &SALT };
    sealed.commitment()
}

fn update(privacy: Option<PrivacySpent>) -> Update {
    let scores = Scores { vote: Some(950_000), test: Some(-1) };
    Update { round: 7, base: digest(1), weights: weights(2), scores, privacy }
}

fn merge_vote(merges: Merges, bear: [bool; 3], reason: Option<Reason>) -> MergeVote {
    let [bear_open, bear_guarded, prefer_guarded] = bear;
    MergeVote {
        round: 7,
        merges,
        bear_open,
        bear_guarded,
        prefer_guarded,
        reason,
        scores_open: Scores { vote: Some(910_000), test: None },
        scores_guarded: Scores { vote: None, test: Some(-7) },
        link: None,
    }
}

fn sealed_update(update: &Update) -> Digest {
    let (ledger, experiment) = (Digest(ledger().0), experiment());
    let sealed =
        SealedUpdate { ledger, experiment: &experiment, sender: learner(2), update, salt: &SALT };
    sealed.commitment()
}

fn sealed_merge_vote(vote: &MergeVote) -> Digest {
    let (ledger, experiment) = (Digest(ledger().0), experiment());
    let sealed =
        SealedMergeVote { ledger, experiment: &experiment, voter: learner(2), vote, salt: &SALT };
    sealed.commitment()
}

/// What can be said in merged rounds.
fn merged_acts() -> Vec<(&'static str, u8, Act)> {
    let both = Merges { open: Some(digest(3)), guarded: Some(digest(4)) };
    let open = Merges { guarded: None, ..both };
    let prefers = merge_vote(both, [true; 3], None);
    let stated = PrivacySpent {
        epsilon_micros: 1_250_000,
        delta_picos: 1_000_000,
        training: PrivateTraining::All(vec![segment(1_000)]),
    };
    let commit =
        |weights, commitment, link| Act::Commit(Commit { round: 7, weights, commitment, link });
    let against = merge_vote(both, [false; 3], Some(Reason::Worse));
    let commit_update = Act::CommitUpdate(CommitUpdate {
        round: 7,
        base: digest(1),
        commitment: sealed_update(&update(None)),
    });
    vec![
        ("create_merged", 1, Act::Create(create(Version::V2, parameters_merged(), admission_v2()))),
        (
            "move_merging",
            1,
            Act::Move { number: 3, motion: Motion::SetParameters(Box::new(parameters_merged())) },
        ),
        ("update", 1, Act::Update(update(Some(stated)))),
        ("commit_update", 2, commit_update),
        ("reveal_update", 2, Act::RevealUpdate(RevealUpdate { update: update(None), salt: SALT })),
        ("have", 2, Act::Have { round: 7, held: 0b1011 }),
        ("have_nothing", 3, Act::Have { round: 7, held: 0 }),
        ("merge_vote_both", 2, Act::MergeVote(prefers.clone())),
        (
            "merge_vote_open",
            2,
            Act::MergeVote(MergeVote {
                link: Some(link([8; 32], LINKS)),
                ..merge_vote(open, [true, false, false], None)
            }),
        ),
        ("merge_vote_against", 2, Act::MergeVote(against)),
        (
            "merge_vote_abstain",
            3,
            Act::MergeVote(MergeVote {
                scores_open: Scores::default(),
                scores_guarded: Scores::default(),
                ..merge_vote(Merges::default(), [false; 3], Some(Reason::Unavailable))
            }),
        ),
        ("commit_merge_vote", 2, commit(digest(1), sealed_merge_vote(&prefers), None)),
        (
            "reveal_merge_vote",
            2,
            Act::RevealMergeVote(RevealMergeVote { vote: prefers, salt: SALT }),
        ),
    ]
}

fn acts() -> Vec<(&'static str, u8, Act)> {
    let approve = vote(Choice::Approve, None, None);
    let reject = vote(Choice::Reject, Some(Reason::Worse), None);
    let terms = terms(Version::V2, learner(1), &parameters_v2(), &admission_v2());
    let committed =
        |commitment, link| Act::Commit(Commit { round: 7, weights: digest(2), commitment, link });
    let moved = |motion| Act::Move { number: 3, motion };
    let measure = |name: &str, value_micros| Measure { name: name.parse().unwrap(), value_micros };
    let measures = vec![measure("accuracy", 913_000), measure("loss.test", -5)];
    let segments = vec![segment(1_000), PrivacySegment { noise_micros: 900_000, ..segment(200) }];
    vec![
        ("create_v1", 1, Act::Create(create(Version::V1, parameters_v1(), admission_v1()))),
        ("create_v2", 1, Act::Create(create(Version::V2, parameters_v2(), admission_v2()))),
        (
            "create_open",
            1,
            Act::Create(create(Version::V2, Parameters::default(), Admission::Open)),
        ),
        ("join_v1", 2, Act::Join(Join::new(0, None))),
        (
            "join_v2",
            2,
            Act::Join(Join {
                term: 1,
                terms: Some(terms),
                name: Some("Bob's clinic".parse().unwrap()),
            }),
        ),
        ("leave", 2, Act::Leave { term: 0, renounce: false }),
        ("leave_for_good", 2, Act::Leave { term: 1, renounce: true }),
        ("propose_v1", 1, Act::Propose(proposal(PrivateTraining::Last(segment(1_000))))),
        ("propose_v2", 1, Act::Propose(proposal(PrivateTraining::All(segments)))),
        ("propose_plainly", 1, {
            let scores = Scores { vote: None, test: None };
            let first = proposal(PrivateTraining::Last(segment(1)));
            Act::Propose(Proposal { scores, privacy: None, ..first })
        }),
        ("pass_v1", 1, Act::Pass { round: 7, exhausted: false, reason: None }),
        ("pass_v2", 1, Act::Pass { round: 7, exhausted: true, reason: Some(Reason::CapReached) }),
        ("vote_for", 2, Act::Vote(approve.clone())),
        ("vote_against_v1", 2, Act::Vote(vote(Choice::Reject, None, None))),
        ("vote_against_v2", 2, Act::Vote(reject.clone())),
        ("vote_abstain", 3, Act::Vote(vote(Choice::Abstain, Some(Reason::Unavailable), None))),
        ("vote_with_link", 2, Act::Vote(vote(Choice::Approve, None, Some(link([8; 32], LINKS))))),
        ("commit_v1", 2, committed(sealed(Version::V1, &approve), None)),
        ("commit_v2", 2, committed(sealed(Version::V2, &reject), Some(link([8; 32], 1023)))),
        ("reveal_v1", 2, Act::Reveal(Reveal { vote: approve, salt: SALT })),
        ("reveal_v2", 2, Act::Reveal(Reveal { vote: reject, salt: SALT })),
        ("resume", 2, Act::Resume { round: 0 }),
        ("move_parameters", 1, moved(Motion::SetParameters(Box::new(parameters_v1())))),
        ("move_admit_v1", 1, moved(Motion::Admit(Invitation::new(learner(3), 5)))),
        (
            "move_admit_v2",
            1,
            moved(Motion::Admit(Invitation { judge: true, ..named(3, "The regulator") })),
        ),
        ("move_suspend", 1, moved(Motion::Suspend(learner(2)))),
        ("move_expel", 1, moved(Motion::Expel(learner(2)))),
        ("move_stop", 1, moved(Motion::Stop)),
        ("move_adopt", 1, moved(Motion::Adopt(Version::V2))),
        ("ballot_for", 2, Act::MotionVote { number: 3, approve: true }),
        ("ballot_against", 2, Act::MotionVote { number: 3, approve: false }),
        ("stop", 1, Act::Stop),
        ("evaluate", 3, Act::Evaluate(Evaluation { number: 2, model: digest(1), measures })),
    ]
}

fn signed(name: &'static str, signer: u8, transaction: &Transaction) -> Signed {
    let message = transaction.message();
    let body = &message.body;
    let read = Unverified::decode(message.clone()).unwrap();
    assert_eq!(&read.action, transaction.action());
    read.check(&ledger()).unwrap();
    let consent_bytes = match &transaction.action().what {
        Act::ReplaceKey { to } => Some(hex::encode(
            [
                b"colearn/v1/replace-key\n",
                &ledger().0[..],
                &transaction.sender().0,
                &to.0,
                transaction.action().experiment.as_str().as_bytes(),
            ]
            .concat(),
        )),
        _ => None,
    };
    Signed {
        name,
        signer: name_of(signer),
        message: messages::json("Transaction", body),
        body: hex::encode(body),
        signed_bytes: hex::encode(transaction::signed_bytes(&ledger(), body)),
        signature: hex::encode(&message.signature),
        encoding: hex::encode(message.encode_to_vec()),
        digest: hex::encode(transaction::digest(message)),
        consent_bytes,
    }
}

/// What is wrong with a transaction, in a word.
pub(super) fn reason(invalid: &Invalid) -> &'static str {
    match invalid {
        Invalid::TooLarge(_) => "TooLarge",
        Invalid::Malformed(_) => "Malformed",
        Invalid::NotCanonical => "NotCanonical",
        Invalid::BadSignature => "BadSignature",
        Invalid::NoConsent => "NoConsent",
    }
}

/// A transaction whose body is another, signed for a ledger all the same.
pub(super) fn with_body(signer: u8, ledger: &LedgerId, body: Vec<u8>) -> v1::SignedTransaction {
    use ed25519_dalek::Signer as _;
    let key = key(signer);
    let signature = key.sign(&transaction::signed_bytes(ledger, &body));
    v1::SignedTransaction {
        public_key: Bytes::copy_from_slice(key.verifying_key().as_bytes()),
        signature: Bytes::copy_from_slice(&signature.to_bytes()),
        body: body.into(),
    }
}

fn refused() -> Vec<Refused> {
    let vote = Act::Vote(vote(Choice::Approve, None, None));
    let right = Transaction::sign(&key(2), &ledger(), seen(), Action::new(experiment(), vote));
    let body = right.message().body.to_vec();
    let decoded = v1::Transaction::decode(&body[..]).unwrap();
    let change = |change: &dyn Fn(&mut v1::Vote)| {
        let mut changed = decoded.clone();
        let Some(v1::transaction::Action::Vote(vote)) = &mut changed.action else { panic!() };
        change(vote);
        with_body(2, &ledger(), changed.encode_to_vec())
    };
    let seen_bytes = body[1] as usize + 2;
    let swapped = [&body[seen_bytes..], &body[..seen_bytes]].concat();
    let elsewhere = LedgerId([6; 32]);
    let unsigned = v1::SignedTransaction { signature: Bytes::new(), ..right.message().clone() };
    let other_signer = v1::SignedTransaction {
        public_key: Bytes::copy_from_slice(&learner(3).0),
        ..right.message().clone()
    };
    let replace = |consent: &dyn Fn(Bytes) -> Bytes| {
        let right = Transaction::replace_key(&key(1), &key(3), &ledger(), seen(), experiment());
        let mut changed = v1::Transaction::decode(right.message().body.clone()).unwrap();
        let Some(v1::transaction::Action::ReplaceKey(replace)) = &mut changed.action else {
            panic!()
        };
        replace.new_signature = consent(replace.new_signature.clone());
        with_body(1, &ledger(), changed.encode_to_vec())
    };
    let cases = [
        ("signed_for_another_ledger", with_body(2, &elsewhere, body.clone())),
        ("signed_by_another", other_signer),
        ("not_signed", unsigned),
        ("cut_off", with_body(2, &ledger(), body[..body.len() - 1].to_vec())),
        ("unknown_field", with_body(2, &ledger(), [&body[..], &[0x98, 0x06, 0x01]].concat())),
        ("default_written_out", with_body(2, &ledger(), with_default(&decoded))),
        ("fields_not_ascending", with_body(2, &ledger(), swapped)),
        ("longer_number", with_body(2, &ledger(), with_long_number(&body))),
        ("nothing_seen", with_body(2, &ledger(), body[seen_bytes..].to_vec())),
        ("no_action", with_body(2, &ledger(), body[..seen_bytes].to_vec())),
        ("short_digest", change(&|vote| vote.weights = Bytes::from_static(&[2; 31]))),
        ("no_scores", change(&|vote| vote.scores = None)),
        ("for_and_neither", change(&|vote| vote.abstain = true)),
        ("unknown_reason", change(&|vote| vote.reason = 99)),
        ("bad_experiment_name", change(&|vote| vote.experiment = "Lungs".to_owned())),
        ("new_key_silent", replace(&|_| Bytes::new())),
        (
            "new_key_signed_another",
            replace(&|consent| Bytes::from(consent.iter().rev().copied().collect::<Vec<_>>())),
        ),
    ];
    cases
        .into_iter()
        .map(|(name, message)| {
            let encoding = hex::encode(message.encode_to_vec());
            let invalid =
                Unverified::decode(message).and_then(|it| it.check(&ledger())).unwrap_err();
            Refused { name, encoding, reason: reason(&invalid) }
        })
        .collect()
}

/// The same with `abstain` written out although it is false.
fn with_default(transaction: &v1::Transaction) -> Vec<u8> {
    let Some(v1::transaction::Action::Vote(vote)) = &transaction.action else { panic!() };
    let vote = [&vote.encode_to_vec()[..], &[6 << 3, 0]].concat();
    let seen = v1::Transaction { seen: transaction.seen.clone(), action: None }.encode_to_vec();
    let mut bytes = [&seen[..], &[7 << 3 | 2]].concat();
    prost::encoding::encode_varint(vote.len() as u64, &mut bytes);
    [bytes, vote].concat()
}

/// The same with the length of its first field in one byte more than it takes.
fn with_long_number(body: &[u8]) -> Vec<u8> {
    [&body[..1], &[body[1] | 0x80, 0], &body[2..]].concat()
}

fn ballot(name: &'static str, version: Version, vote: &Vote) -> Ballot {
    let action = convert::action_message(&Action::new(experiment(), Act::Vote(vote.clone())));
    let v1::transaction::Action::Vote(message) = action else { panic!() };
    Ballot {
        name,
        version: version.number(),
        voter: name_of(2),
        vote: messages::json("Vote", &message.encode_to_vec()),
        salt: hex::encode(SALT),
        commitment: sealed(version, vote).to_string(),
    }
}

fn update_commitment(name: &'static str, update: &Update) -> Commitment {
    let action = convert::action_message(&Action::new(experiment(), Act::Update(update.clone())));
    let v1::transaction::Action::Update(message) = action else { panic!() };
    Commitment {
        name,
        sender: name_of(2),
        message: messages::json("Update", &message.encode_to_vec()),
        encoding: hex::encode(message.encode_to_vec()),
        salt: hex::encode(SALT),
        commitment: sealed_update(update).to_string(),
    }
}

fn merge_vote_commitment(name: &'static str, vote: &MergeVote) -> Commitment {
    let action = convert::action_message(&Action::new(experiment(), Act::MergeVote(vote.clone())));
    let v1::transaction::Action::MergeVote(message) = action else { panic!() };
    Commitment {
        name,
        sender: name_of(2),
        message: messages::json("MergeVote", &message.encode_to_vec()),
        encoding: hex::encode(message.encode_to_vec()),
        salt: hex::encode(SALT),
        commitment: sealed_merge_vote(vote).to_string(),
    }
}

fn agreed(
    name: &'static str,
    version: Version,
    parameters: &Parameters,
    admission: &Admission,
) -> Terms {
    let message = v1::Parameters {
        admission: Some(convert::admission_message(admission)),
        ..convert::parameters_message(parameters)
    };
    Terms {
        name,
        version: version.number(),
        creator: name_of(1),
        parameters: messages::json("Parameters", &message.encode_to_vec()),
        terms: terms(version, learner(1), parameters, admission).to_string(),
    }
}

pub(super) fn file() -> File {
    let mut transactions: Vec<Signed> = acts()
        .into_iter()
        .chain(merged_acts())
        .map(|(name, signer, act)| {
            let action = Action::new(experiment(), act);
            signed(name, signer, &Transaction::sign(&key(signer), &ledger(), seen(), action))
        })
        .collect();
    let replaced = Transaction::replace_key(&key(1), &key(3), &ledger(), seen(), experiment());
    transactions.push(signed("replace_key", 1, &replaced));
    let nothing = Seen { size: 0, root: Hash::empty_root() };
    let first = Action::new("a".parse().unwrap(), Act::Join(Join::new(0, None)));
    transactions.push(signed(
        "nothing_seen_yet",
        3,
        &Transaction::sign(&key(3), &ledger(), nothing, first),
    ));
    let chain = [0, 1, 2, LINKS - 1, LINKS];
    File {
        ledger: ledger().to_string(),
        keys: KEYS
            .iter()
            .map(|(name, seed)| Key {
                name,
                seed: hex::encode(key(*seed).to_bytes()),
                public_key: hex::encode(learner(*seed).0),
            })
            .collect(),
        transactions,
        refused: refused(),
        ballots: vec![
            ballot("ballot_v1", Version::V1, &vote(Choice::Approve, None, None)),
            ballot("ballot_v2", Version::V2, &vote(Choice::Reject, Some(Reason::Worse), None)),
            ballot("ballot_abstain", Version::V2, &{
                let scores = Scores { vote: None, test: Some(1) };
                Vote { scores, ..vote(Choice::Abstain, None, None) }
            }),
        ],
        sealed_updates: vec![update_commitment("sealed_update", &update(None))],
        sealed_merge_votes: {
            let both = Merges { open: Some(digest(3)), guarded: Some(digest(4)) };
            let open = Merges { guarded: None, ..both };
            let abstention = merge_vote(Merges::default(), [false; 3], Some(Reason::Unavailable));
            vec![
                merge_vote_commitment("sealed_both", &merge_vote(both, [false, true, true], None)),
                merge_vote_commitment("sealed_open", &merge_vote(open, [true, false, false], None)),
                merge_vote_commitment("sealed_abstention", &abstention),
            ]
        },
        terms: vec![
            agreed("terms_v1", Version::V1, &parameters_v1(), &admission_v1()),
            agreed("terms_v2", Version::V2, &parameters_v2(), &admission_v2()),
            agreed("terms_merged", Version::V2, &parameters_merged(), &admission_v2()),
            agreed("terms_open", Version::V2, &Parameters::default(), &Admission::Open),
        ],
        chains: vec![Chain {
            name: "chain",
            secret: hex::encode([8; 32]),
            links: chain.map(|left| (left, link([8; 32], left).to_string())).into(),
        }],
    }
}
