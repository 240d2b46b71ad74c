//! A witness (C2SP tlog-witness): cosigns a ledger's checkpoints, but never two that do not fit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use colearn_ledger::{Checkpoint, Hash, NoteError, SignedNote, Signer, Verifier, Verifiers, tree};
use sha2::{Digest as _, Sha256};

use crate::clock::now_ms;

/// A request is a checkpoint and at most 63 hashes.
const MAX_REQUEST_BYTES: usize = 65_536;
const MAX_PROOF: usize = 63;

/// Why a witness cannot start.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// Its folder or address cannot be used.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was attempted.
        doing: String,
        /// The cause.
        source: std::io::Error,
    },
    /// A checkpoint it has kept cannot be read.
    #[error("{}: {source}; restore it from a copy: a witness that forgets may be made to lie", path.display())]
    Kept {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: NoteError,
    },
}

/// Keeps the latest checkpoint of each known log and cosigns what continues it.
#[derive(Clone)]
pub struct Witness(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    signer: Signer,
    logs: Vec<Verifiers>,
    /// Checking and keeping is one step, for one request at a time.
    latest: Mutex<BTreeMap<String, Checkpoint>>,
}

/// An answer as the specification has it.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// 200 with the cosignature line.
    Cosigned(String),
    /// 400.
    Malformed(&'static str),
    /// 403.
    Unsigned,
    /// 404.
    UnknownLog,
    /// 409 with the size of the latest checkpoint.
    Conflict(u64),
    /// 422.
    BadProof,
    /// 500.
    NotKept,
}

impl Witness {
    /// A witness that keeps its state in a folder and knows these logs. Of a log that several nodes keep it
    /// cosigns what more than two thirds of them have signed: one of them alone could show it another history.
    /// The same log may be given twice, with the keys before and after they change.
    ///
    /// # Errors
    /// If the folder cannot be used or what it holds cannot be read.
    pub fn open(dir: &Path, signer: Signer, logs: Vec<Verifiers>) -> Result<Self, WitnessError> {
        let io = |source| WitnessError::Io { doing: format!("open {}", dir.display()), source };
        std::fs::create_dir_all(dir).map_err(io)?;
        let mut latest = BTreeMap::new();
        for log in &logs {
            let path = kept_path(dir, log.name());
            match std::fs::read_to_string(&path) {
                Ok(note) => {
                    let kept = open_any(&note, logs.iter().filter(|key| key.name() == log.name()))
                        .map_err(|source| WitnessError::Kept { path, source })?;
                    latest.insert(log.name().to_owned(), kept);
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(io(source)),
            }
        }
        let latest = Mutex::new(latest);
        Ok(Self(Arc::new(Inner { dir: dir.to_owned(), signer, logs, latest })))
    }

    /// Its verifier key.
    pub fn verifier(&self) -> &Verifier {
        self.0.signer.verifier()
    }

    /// The routes it serves: `POST /add-checkpoint`.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/add-checkpoint", post(add_checkpoint))
            .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
            .with_state(self.clone())
    }

    fn add(&self, request: &str) -> Answer {
        let Some((old_size, proof, note)) = parse(request) else {
            return Answer::Malformed("not an add-checkpoint request\n");
        };
        let stated = SignedNote::parse(note).and_then(|note| Checkpoint::parse(note.text()));
        let Ok(stated) = stated else { return Answer::Malformed("not a checkpoint\n") };
        let mut keys = self.0.logs.iter().filter(|log| log.name() == stated.origin).peekable();
        if keys.peek().is_none() {
            return Answer::UnknownLog;
        }
        let Ok(new) = open_any(note, keys) else { return Answer::Unsigned };
        if old_size > new.size {
            return Answer::Malformed("the old size is larger than the checkpoint's\n");
        }
        let mut latest = self.0.latest.lock().unwrap_or_else(|e| e.into_inner());
        let empty = Checkpoint { origin: new.origin.clone(), size: 0, root: Hash::empty_root() };
        let old = latest.get(&new.origin).unwrap_or(&empty);
        if old_size != old.size || (new.size == old.size && new.root != old.root) {
            return Answer::Conflict(old.size);
        }
        if !tree::verify_consistency(old.size, old.root, new.size, new.root, &proof) {
            return Answer::BadProof;
        }
        // Kept before it is answered: a witness that forgets could cosign a fork.
        if self.keep(&new.origin, note).is_err() {
            return Answer::NotKept;
        }
        let line = self.0.signer.sign(&new.text(), now_ms() / 1000);
        latest.insert(new.origin.clone(), new);
        Answer::Cosigned(line)
    }

    fn keep(&self, origin: &str, note: &str) -> std::io::Result<()> {
        Ok(colearn_files::replace(&kept_path(&self.0.dir, origin), note.as_bytes())?)
    }
}

/// Opens a checkpoint with the first of a log's sets of keys that signed it: two while its keys change.
fn open_any<'a>(
    note: &str,
    keys: impl Iterator<Item = &'a Verifiers>,
) -> Result<Checkpoint, NoteError> {
    let mut opened = Err(NoteError::Malformed("of an unknown log"));
    for keys in keys {
        opened = keys.open(note);
        if opened.is_ok() {
            break;
        }
    }
    opened
}

/// The file of a log's latest checkpoint: named by the hash of its origin.
fn kept_path(dir: &Path, origin: &str) -> PathBuf {
    dir.join(format!("{}.checkpoint", hex::encode(Sha256::digest(origin))))
}

/// The old size, the consistency proof and the checkpoint of a request.
fn parse(request: &str) -> Option<(u64, Vec<Hash>, &str)> {
    let (head, note) = request.split_once("\n\n")?;
    let mut lines = head.split('\n');
    let size = lines.next()?.strip_prefix("old ")?;
    let old_size: u64 = size.parse().ok().filter(|old: &u64| old.to_string() == size)?;
    let mut proof = Vec::new();
    for line in lines {
        proof.push(Hash::try_from(&BASE64.decode(line).ok()?[..]).ok()?);
    }
    (proof.len() <= MAX_PROOF).then_some((old_size, proof, note))
}

/// The body of a request.
pub(crate) fn request(old_size: u64, proof: &[Hash], note: &str) -> String {
    let mut text = format!("old {old_size}\n");
    for hash in proof {
        text += &BASE64.encode(hash.0);
        text.push('\n');
    }
    text + "\n" + note
}

async fn add_checkpoint(State(witness): State<Witness>, body: Bytes) -> Response {
    let answered = tokio::task::spawn_blocking(move || {
        let Ok(request) = std::str::from_utf8(&body) else {
            return Answer::Malformed("not UTF-8\n");
        };
        witness.add(request)
    });
    match answered.await.unwrap_or(Answer::NotKept) {
        Answer::Cosigned(line) => line.into_response(),
        Answer::Malformed(what) => (StatusCode::BAD_REQUEST, what).into_response(),
        Answer::Unsigned => {
            (StatusCode::FORBIDDEN, "not signed by the log's keys\n").into_response()
        }
        Answer::UnknownLog => (StatusCode::NOT_FOUND, "an unknown log\n").into_response(),
        Answer::Conflict(size) => {
            let kind = [(CONTENT_TYPE, "text/x.tlog.size")];
            (StatusCode::CONFLICT, kind, format!("{size}\n")).into_response()
        }
        Answer::BadProof => {
            let what = "the checkpoint does not continue the one before\n";
            (StatusCode::UNPROCESSABLE_ENTITY, what).into_response()
        }
        Answer::NotKept => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use colearn_ledger::TreeBuilder;
    use colearn_ledger::note::KeyKind;
    use ed25519_dalek::SigningKey;

    use super::*;

    fn signer(name: &str, kind: KeyKind, seed: u8) -> Signer {
        Signer::new(name, kind, SigningKey::from_bytes(&[seed; 32])).unwrap()
    }

    /// The checkpoint of `size` leaves of a history, and the proof from `old`.
    fn at(history: u8, old: u64, size: u64, log: &Signer) -> (String, Vec<Hash>) {
        let mut builder = TreeBuilder::new();
        (0..size).for_each(|i| builder.push(Hash::leaf(&[history, i as u8])));
        let root = tree::root(&builder, size).unwrap();
        let origin = log.verifier().name().to_owned();
        let proof = tree::consistency(&builder, old, size).unwrap();
        (Checkpoint { origin, size, root }.sign(log), proof)
    }

    #[test]
    fn it_cosigns_what_continues_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let log = signer("example.org/log", KeyKind::Log, 1);
        let open = || {
            let own = signer("example.org/witness", KeyKind::Witness, 2);
            Witness::open(dir.path(), own, vec![log.verifier().clone().into()]).unwrap()
        };
        let witness = open();
        let ask = |witness: &Witness, old, (note, proof): (String, Vec<Hash>)| {
            witness.add(&request(old, &proof, &note))
        };
        let cosigned = |answer: Answer, note: &str| {
            let Answer::Cosigned(line) = answer else { panic!("{answer:?}") };
            let note = SignedNote::parse(&(note.to_owned() + &line)).unwrap();
            witness.verifier().verify(&note).unwrap();
        };
        let first = at(0, 0, 3, &log);
        cosigned(ask(&witness, 0, first.clone()), &first.0);
        let second = at(0, 3, 7, &log);
        cosigned(ask(&witness, 3, second.clone()), &second.0);
        // Again the same, and after a restart.
        let again = at(0, 7, 7, &log);
        cosigned(ask(&open(), 7, again.clone()), &again.0);

        assert_eq!(ask(&witness, 3, second.clone()), Answer::Conflict(7));
        assert_eq!(ask(&witness, 0, at(0, 0, 9, &log)), Answer::Conflict(7));
        // The same size, another history; a continuation of another history.
        assert_eq!(ask(&witness, 7, at(1, 7, 7, &log)), Answer::Conflict(7));
        assert_eq!(ask(&witness, 7, at(1, 7, 9, &log)), Answer::BadProof);
        let (note, mut proof) = at(0, 7, 9, &log);
        proof.pop();
        assert_eq!(ask(&witness, 7, (note, proof)), Answer::BadProof);
        let stranger = signer("example.org/other", KeyKind::Log, 1);
        assert_eq!(ask(&witness, 0, at(0, 0, 3, &stranger)), Answer::UnknownLog);
        let forger = signer("example.org/log", KeyKind::Log, 3);
        assert_eq!(ask(&witness, 7, at(0, 7, 9, &forger)), Answer::Unsigned);
        assert!(matches!(ask(&witness, 10, at(0, 0, 9, &log)), Answer::Malformed(_)));
        for bad in ["", "old 7\n", "old x\n\nnote", "old 07\n\nnote", "old 7\nAAAA\n\nnote"] {
            assert!(matches!(witness.add(bad), Answer::Malformed(_)), "{bad}");
        }
    }
    #[test]
    fn of_a_log_that_several_keep_it_cosigns_what_enough_have_signed() {
        let dir = tempfile::tempdir().unwrap();
        let kept_by: Vec<Signer> =
            (1..=4).map(|seed| signer("example.org/log", KeyKind::Log, seed)).collect();
        let keys = |those: &[Signer]| {
            Verifiers::new(those.iter().map(|it| it.verifier().clone())).unwrap()
        };
        let open = |logs| {
            Witness::open(dir.path(), signer("example.org/witness", KeyKind::Witness, 9), logs)
        };
        let witness = open(vec![keys(&kept_by)]).unwrap();
        let ask = |witness: &Witness, old, size, signers: &[&Signer]| {
            let (note, proof) = at(0, old, size, signers[0]);
            let text = SignedNote::parse(&note).unwrap().text().to_owned();
            let lines: String = signers[1..].iter().map(|it| it.sign(&text, 0)).collect();
            witness.add(&request(old, &proof, &(note + &lines)))
        };
        let [a, b, c, d] = &kept_by[..] else { unreachable!() };
        // One of them, or one as often as it likes, could have another history.
        for too_few in [&[a][..], &[a, b], &[a, a, a]] {
            assert_eq!(ask(&witness, 0, 3, too_few), Answer::Unsigned);
        }
        assert!(matches!(ask(&witness, 0, 3, &[a, b, c]), Answer::Cosigned(_)));
        assert!(matches!(ask(&witness, 3, 5, &[b, d, c]), Answer::Cosigned(_)));

        // One leaves: started with the keys before and after, it knows what it has cosigned and goes on.
        assert!(matches!(open(vec![keys(&kept_by[..3])]), Err(WitnessError::Kept { .. })));
        let witness = open(vec![keys(&kept_by), keys(&kept_by[..3])]).unwrap();
        assert_eq!(ask(&witness, 3, 8, &[b, a]), Answer::Unsigned);
        assert!(matches!(ask(&witness, 5, 8, &[a, b, c]), Answer::Cosigned(_)));
    }
}
