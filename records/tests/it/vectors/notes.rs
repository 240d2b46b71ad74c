//! Checkpoints, cosignatures, keys and receipts, as text.

use colearn_ledger::note::KeyKind;
use colearn_ledger::{Checkpoint, Hash, NoteError, Receipt, Signer, TreeBuilder, Verifier, tree};
use serde::Serialize;

use crate::scribe::{ORIGIN, key};

#[derive(Serialize)]
pub(super) struct File {
    keys: Vec<Key>,
    checkpoints: Vec<Signed>,
    receipts: Vec<Received>,
    refused: Refused,
}

#[derive(Serialize)]
struct Key {
    name: &'static str,
    seed: String,
    signs_as: &'static str,
    kind: &'static str,
    key_id: String,
    verifier_key: String,
}

#[derive(Serialize)]
struct Signed {
    name: &'static str,
    size: u64,
    root: String,
    text: String,
    signatures: Vec<Signature>,
    note: String,
}

#[derive(Serialize)]
struct Signature {
    key: &'static str,
    signed: String,
    /// Of a witness only.
    #[serde(skip_serializing_if = "Option::is_none")]
    time_s: Option<u64>,
    line: String,
}

#[derive(Serialize)]
struct Received {
    name: &'static str,
    index: u64,
    leaf: String,
    path: Vec<String>,
    key: &'static str,
    receipt: String,
}

#[derive(Serialize)]
struct Refused {
    verifier_keys: Vec<RefusedKey>,
    notes: Vec<RefusedNote>,
    receipts: Vec<RefusedReceipt>,
}

#[derive(Serialize)]
struct RefusedKey {
    name: &'static str,
    verifier_key: String,
    reason: &'static str,
}

#[derive(Serialize)]
struct RefusedNote {
    name: &'static str,
    verifier_key: String,
    note: String,
    reason: &'static str,
}

#[derive(Serialize)]
struct RefusedReceipt {
    name: &'static str,
    verifier_key: String,
    leaf: String,
    receipt: String,
    reason: &'static str,
}

/// How it is called here, its seed, what it signs as, and what it signs.
const KEYS: [(&str, u8, &str, KeyKind); 4] = [
    ("log", 100, ORIGIN, KeyKind::Log),
    ("other_log", 101, ORIGIN, KeyKind::Log),
    ("witness_a", 110, "witness.example/a", KeyKind::Witness),
    ("witness_b", 111, "witness.example/b", KeyKind::Witness),
];
/// When the witnesses sign.
const TIME_S: u64 = 1_700_000_000;
const LEAVES: u64 = 300;

fn signer(name: &str) -> Signer {
    let (_, seed, signs_as, kind) = KEYS.into_iter().find(|(known, ..)| *known == name).unwrap();
    Signer::new(signs_as, kind, key(seed)).unwrap()
}

pub(super) fn reason(error: &NoteError) -> &'static str {
    match error {
        NoteError::Malformed(_) => "Malformed",
        NoteError::Key(_) => "Key",
        NoteError::Unsigned(_) => "Unsigned",
        NoteError::BadSignature(_) => "BadSignature",
        NoteError::TooFew { .. } => "TooFew",
        NoteError::WrongOrigin { .. } => "WrongOrigin",
    }
}

fn leaf(index: u64) -> Hash {
    Hash::leaf(format!("leaf {index}").as_bytes())
}

fn checkpoint(tree: &TreeBuilder, size: u64) -> Checkpoint {
    Checkpoint { origin: ORIGIN.to_owned(), size, root: tree::root(tree, size).unwrap() }
}

fn signed(name: &'static str, checkpoint: &Checkpoint, by: &[&'static str]) -> Signed {
    let text = checkpoint.text();
    let signatures: Vec<Signature> = by
        .iter()
        .map(|key| {
            let signer = signer(key);
            let time_s = (signer.verifier().kind() == KeyKind::Witness).then_some(TIME_S);
            let signed = match time_s {
                Some(time_s) => format!("cosignature/v1\ntime {time_s}\n{text}"),
                None => text.clone(),
            };
            Signature { key, signed, time_s, line: signer.sign(&text, TIME_S) }
        })
        .collect();
    let lines: String = signatures.iter().map(|signature| signature.line.as_str()).collect();
    let note = format!("{text}\n{lines}");
    for key in by {
        let note = colearn_ledger::SignedNote::parse(&note).unwrap();
        signer(key).verifier().verify(&note).unwrap();
    }
    Signed {
        name,
        size: checkpoint.size,
        root: checkpoint.root.to_string(),
        text,
        signatures,
        note,
    }
}

fn refused_keys() -> Vec<RefusedKey> {
    let right = signer("log").verifier().to_string();
    let cases = [
        ("key_of_two_parts", right.rsplit_once('+').unwrap().0.to_owned()),
        ("key_without_a_name", right[ORIGIN.len()..].to_owned()),
        ("key_under_another_name", right.replacen("log", "lag", 1)),
        ("key_of_another_kind", {
            let witness = signer("witness_a").verifier().to_string();
            let (head, _) = witness.rsplit_once('+').unwrap();
            format!("{head}+{}", right.rsplit_once('+').unwrap().1)
        }),
        ("key_cut_off", right[..right.len() - 4].to_owned()),
    ];
    cases
        .into_iter()
        .map(|(name, verifier_key)| {
            let error = Verifier::parse(&verifier_key).unwrap_err();
            RefusedKey { name, verifier_key, reason: reason(&error) }
        })
        .collect()
}

fn refused_notes(right: &Checkpoint) -> Vec<RefusedNote> {
    let (log, other, witness) = (signer("log"), signer("other_log"), signer("witness_a"));
    let (text, note) = (right.text(), right.sign(&log));
    let line = log.sign(&text, 0);
    let with = |text: &str, line: &str| format!("{text}\n{line}");
    let resigned = |text: String| with(&text, &log.sign(&text, 0));
    let elsewhere = Checkpoint { origin: "example.org/other".to_owned(), ..right.clone() };
    let cases = [
        ("note_without_newline", &log, note.trim_end().to_owned()),
        ("note_without_signatures", &log, text.clone()),
        ("note_without_dash", &log, with(&text, &line.replace('\u{2014}', "-"))),
        ("note_with_bad_base64", &log, with(&text, &line.replace("=\n", "!\n"))),
        ("note_with_a_plus_in_a_name", &log, {
            with(
                &text,
                &format!("{line}{}", other.sign(&text, 0).replacen("example", "exa+ple", 1)),
            )
        }),
        ("note_with_tab", &log, note.replacen("org", "org\t", 1)),
        ("checkpoint_of_four_lines", &log, resigned(format!("{text}extension\n"))),
        ("checkpoint_of_size_0300", &log, resigned(text.replacen("\n300\n", "\n0300\n", 1))),
        ("checkpoint_of_signed_size", &log, resigned(text.replacen("\n300\n", "\n+300\n", 1))),
        ("checkpoint_of_huge_size", &log, {
            resigned(text.replacen("\n300\n", "\n9223372036854775808\n", 1))
        }),
        ("checkpoint_of_short_root", &log, resigned(format!("{ORIGIN}\n300\nAAAA\n"))),
        ("checkpoint_of_another_log", &log, elsewhere.sign(&log)),
        ("note_by_another_key", &log, right.sign(&other)),
        ("note_changed_after_signing", &log, note.replacen("\n300\n", "\n301\n", 1)),
        ("note_with_a_false_line_too", &log, {
            let false_line = log.sign("another text\n", 0);
            with(&text, &format!("{line}{false_line}"))
        }),
        ("cosignature_changed", &witness, {
            let cosigned = witness.sign(&text, TIME_S);
            with(&text.replacen("\n300\n", "\n301\n", 1), &cosigned)
        }),
        ("cosignature_missing", &witness, note.clone()),
    ];
    cases
        .into_iter()
        .map(|(name, signer, note)| {
            let verifier = signer.verifier();
            let error = match verifier.kind() {
                KeyKind::Log => Checkpoint::open(&note, verifier).unwrap_err(),
                KeyKind::Witness => {
                    let note = colearn_ledger::SignedNote::parse(&note).unwrap();
                    verifier.verify(&note).unwrap_err()
                }
            };
            RefusedNote { name, verifier_key: verifier.to_string(), note, reason: reason(&error) }
        })
        .collect()
}

fn refused_receipts(tree: &TreeBuilder) -> Vec<RefusedReceipt> {
    let (log, other) = (signer("log"), signer("other_log"));
    let right = Receipt {
        index: 257,
        path: tree::inclusion(tree, 257, LEAVES).unwrap(),
        checkpoint: checkpoint(tree, LEAVES).sign(&log),
    };
    let text = right.to_text();
    let shorter = Receipt { path: right.path[1..].to_vec(), ..right.clone() };
    let unsigned = Receipt { checkpoint: checkpoint(tree, LEAVES).sign(&other), ..right.clone() };
    let moved = Receipt { index: 256, ..right.clone() };
    let cases = [
        ("receipt_of_another_entry", leaf(258), text.clone()),
        ("receipt_of_another_index", leaf(257), moved.to_text()),
        ("receipt_with_short_path", leaf(257), shorter.to_text()),
        ("receipt_by_another_key", leaf(257), unsigned.to_text()),
        ("receipt_of_another_form", leaf(257), text.replacen("@v1", "@v2", 1)),
        ("receipt_of_signed_index", leaf(257), text.replacen("index ", "index +", 1)),
        ("receipt_with_bad_extra", leaf(257), text.replacen("\nindex", "\nextra !\nindex", 1)),
        ("receipt_without_index", leaf(257), text.replacen("index 257\n", "", 1)),
        ("receipt_without_checkpoint", leaf(257), text.split_once("\n\n").unwrap().0.to_owned()),
    ];
    cases
        .into_iter()
        .map(|(name, leaf, receipt)| {
            let read = Receipt::parse(&receipt);
            let error =
                read.and_then(|it| it.verify(leaf, &log.verifier().clone().into())).unwrap_err();
            let verifier_key = log.verifier().to_string();
            RefusedReceipt {
                name,
                verifier_key,
                leaf: leaf.to_string(),
                receipt,
                reason: reason(&error),
            }
        })
        .collect()
}

pub(super) fn file() -> File {
    let mut tree = TreeBuilder::new();
    (0..LEAVES).for_each(|index| tree.push(leaf(index)));
    let received = |name, index, size| {
        let path = tree::inclusion(&tree, index, size).unwrap();
        let checkpoint = checkpoint(&tree, size).sign(&signer("log"));
        let receipt = Receipt { index, path, checkpoint };
        receipt.verify(leaf(index), &signer("log").verifier().clone().into()).unwrap();
        Received {
            name,
            index,
            leaf: leaf(index).to_string(),
            path: receipt.path.iter().map(Hash::to_string).collect(),
            key: "log",
            receipt: receipt.to_text(),
        }
    };
    let last = checkpoint(&tree, LEAVES);
    let with_extra =
        received("", 257, LEAVES).receipt.replacen("\nindex", "\nextra bm90ZQ==\nindex", 1);
    let read = Receipt::parse(&with_extra).unwrap();
    read.verify(leaf(257), &signer("log").verifier().clone().into()).unwrap();
    File {
        keys: KEYS
            .into_iter()
            .map(|(name, seed, signs_as, kind)| {
                let verifier_key = signer(name).verifier().to_string();
                Key {
                    name,
                    seed: hex::encode([seed; 32]),
                    signs_as,
                    kind: match kind {
                        KeyKind::Log => "log",
                        KeyKind::Witness => "witness",
                    },
                    key_id: verifier_key.split('+').nth(1).unwrap().to_owned(),
                    verifier_key,
                }
            })
            .collect(),
        checkpoints: vec![
            signed("checkpoint_of_nothing", &checkpoint(&tree, 0), &["log"]),
            signed("checkpoint_of_300", &last, &["log"]),
            signed("checkpoint_with_witnesses", &last, &["log", "witness_a", "witness_b"]),
            signed("checkpoint_by_two_keys", &last, &["other_log", "log"]),
        ],
        receipts: vec![
            received("receipt_of_the_only_one", 0, 1),
            received("receipt_of_257", 257, LEAVES),
            received("receipt_of_the_last", LEAVES - 1, LEAVES),
            Received {
                name: "receipt_with_extra",
                receipt: with_extra,
                ..received("receipt_with_extra", 257, LEAVES)
            },
        ],
        refused: Refused {
            verifier_keys: refused_keys(),
            notes: refused_notes(&last),
            receipts: refused_receipts(&tree),
        },
    }
}
