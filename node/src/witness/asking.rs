//! Asking witnesses to cosign the node's checkpoints.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use colearn_ledger::{NoteError, Reader, SignedCheckpoint, SignedNote, Verifier};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::witness::request;
use crate::clock;
use crate::https::Servers;
use crate::reads::Reads;

const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a witness that does not cosign is left alone.
const PAUSE: Duration = Duration::from_secs(2);
/// A cosignature line, or a size.
const MAX_ANSWER_BYTES: usize = 4096;

/// A witness that the node asks.
#[derive(Clone, Debug)]
pub struct WitnessAddress {
    /// What it is called in messages.
    pub name: String,
    /// Its key (C2SP tlog-cosignature).
    pub verifier: Verifier,
    /// The prefix of its URL, before `/add-checkpoint`.
    pub url: String,
}

/// Why a text is not the address of a witness.
#[derive(Debug, thiserror::Error)]
pub enum BadWitness {
    /// It is not of the form.
    #[error("a witness is written NAME=VKEY@URL")]
    Form,
    /// The key cannot be read.
    #[error(transparent)]
    Key(#[from] NoteError),
}

impl std::str::FromStr for WitnessAddress {
    type Err = BadWitness;

    fn from_str(text: &str) -> Result<Self, BadWitness> {
        let (name, rest) = text.split_once('=').ok_or(BadWitness::Form)?;
        let (vkey, url) = rest.rsplit_once('@').ok_or(BadWitness::Form)?;
        let verifier = Verifier::parse(vkey)?;
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(BadWitness::Form);
        }
        let url = url.trim_end_matches('/').to_owned();
        Ok(Self { name: name.to_owned(), verifier, url })
    }
}

/// The cosignatures of the latest checkpoint.
#[derive(Clone, Default)]
pub(crate) struct Cosignatures(Arc<Mutex<Gathered>>);

#[derive(Default)]
struct Gathered {
    asked: usize,
    quorum: usize,
    /// By witness: the last checkpoint that it has cosigned.
    cosigned: BTreeMap<String, Cosigned>,
    /// How many entries enough have cosigned, and when they had, in ms since 1970.
    witnessed: Option<(u64, u64)>,
}

/// How well checkpoints are witnessed.
pub(crate) struct Standing {
    /// How many witnesses are asked.
    pub(crate) asked: usize,
    /// How many of them make a checkpoint witnessed.
    pub(crate) quorum: usize,
    /// How many entries the last one covers that is; 0 as long as none is.
    pub(crate) size: u64,
    /// When it was, in ms since 1970.
    pub(crate) at_ms: Option<u64>,
}

struct Cosigned {
    size: u64,
    /// As the node has signed it.
    note: String,
    /// The cosignature.
    line: String,
}

impl Cosignatures {
    pub(crate) fn new(asked: usize, quorum: usize) -> Self {
        Self(Arc::new(Mutex::new(Gathered { asked, quorum, ..Gathered::default() })))
    }

    fn add(&self, witness: &str, signed: &SignedCheckpoint, line: String) {
        let mut gathered = self.0.lock().unwrap_or_else(|e| e.into_inner());
        let (size, note) = (signed.checkpoint.size, signed.note.clone());
        gathered.cosigned.insert(witness.to_owned(), Cosigned { size, note, line });
        let mut sizes: Vec<u64> = gathered.cosigned.values().map(|it| it.size).collect();
        sizes.sort_unstable();
        // So many entries as the last of those has cosigned that are needed.
        let enough = sizes.len().checked_sub(gathered.quorum).and_then(|at| sizes.get(at));
        if let Some(size) = enough
            && gathered.witnessed.is_none_or(|(before, _)| before < *size)
        {
            gathered.witnessed = Some((*size, clock::now_ms()));
        }
    }

    /// How well checkpoints are witnessed; `None` if nobody is asked.
    pub(crate) fn standing(&self) -> Option<Standing> {
        let gathered = self.0.lock().unwrap_or_else(|e| e.into_inner());
        let Gathered { asked, quorum, witnessed, .. } = *gathered;
        (asked > 0).then(|| Standing {
            asked,
            quorum,
            size: witnessed.map_or(0, |(size, _)| size),
            at_ms: witnessed.map(|(_, at_ms)| at_ms),
        })
    }

    /// The last checkpoint that each witness has cosigned, with its cosignature.
    pub(crate) fn each(&self) -> Vec<String> {
        let gathered = self.0.lock().unwrap_or_else(|e| e.into_inner());
        gathered.cosigned.values().map(|it| it.note.clone() + &it.line).collect()
    }

    /// A checkpoint with its cosignatures, and how well it is witnessed if anybody is asked.
    pub(crate) fn attach(&self, signed: &SignedCheckpoint) -> (String, Option<String>) {
        let gathered = self.0.lock().unwrap_or_else(|e| e.into_inner());
        let size = signed.checkpoint.size;
        let lines: Vec<&str> = gathered
            .cosigned
            .values()
            .filter(|it| it.size == size)
            .map(|it| it.line.as_str())
            .collect();
        let word = if lines.len() >= gathered.quorum { "witnessed" } else { "unwitnessed" };
        let state = (gathered.asked > 0)
            .then(|| format!("{word}; cosignatures={} quorum={}", lines.len(), gathered.quorum));
        (signed.note.clone() + &lines.concat(), state)
    }
}

/// Asks one witness to cosign each new checkpoint, until the node stops. Checkpoints that come
/// while it is being asked are passed over for the newest.
pub(crate) async fn ask(
    witness: WitnessAddress,
    reads: Reads,
    mut size: watch::Receiver<u64>,
    cosignatures: Cosignatures,
    stopping: CancellationToken,
) {
    let servers = Servers::default();
    let mut known_size = 0;
    let mut cosigned = None;
    loop {
        size.borrow_and_update();
        let latest = reads.checkpoint();
        let mut pause = None;
        if let Some(latest) = latest
            && cosigned != Some(latest.checkpoint.size)
        {
            let answer = ask_once(&servers, &witness, reads.in_memory(), &latest, known_size);
            match answer.await {
                Ok(Answer::Cosigned(line)) => {
                    known_size = latest.checkpoint.size;
                    cosigned = Some(known_size);
                    cosignatures.add(&witness.name, &latest, line);
                    continue;
                }
                // It knows another checkpoint than the node thought; ask again from there.
                Ok(Answer::Knows(size)) if size != known_size => {
                    known_size = size;
                    continue;
                }
                Ok(Answer::Knows(_)) => pause = Some(PAUSE),
                Err(reason) => {
                    tracing::warn!(witness = witness.name, reason, "no cosignature");
                    pause = Some(PAUSE);
                }
            }
        }
        let changed = async {
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => {
                    if size.changed().await.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
            }
        };
        tokio::select! {
            () = stopping.cancelled() => return,
            () = changed => {}
        }
    }
}

/// What a witness answers.
enum Answer {
    /// It has cosigned; the line.
    Cosigned(String),
    /// The latest checkpoint it knows has this size.
    Knows(u64),
}

async fn ask_once(
    servers: &Servers,
    witness: &WitnessAddress,
    reader: &Reader,
    latest: &SignedCheckpoint,
    old_size: u64,
) -> Result<Answer, String> {
    let size = latest.checkpoint.size;
    if old_size > size {
        return Err(format!("it has cosigned {old_size} entries, more than the {size} there are"));
    }
    let prover = reader.clone();
    let proof = tokio::task::spawn_blocking(move || prover.consistency(old_size, size)).await;
    let proof = proof.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    let server = servers.at(&witness.url, TIMEOUT).map_err(|error| error.to_string())?;
    let body = request(old_size, &proof, &latest.note).into();
    let answer = server.post("/add-checkpoint", body, MAX_ANSWER_BYTES).await;
    let answer = answer.map_err(|error| error.to_string())?;
    match answer.status {
        409 => {
            let size = String::from_utf8_lossy(&answer.body);
            let size = size.trim().parse().map_err(|_| "its size cannot be read".to_owned())?;
            Ok(Answer::Knows(size))
        }
        _ => {
            let line = answer.text()?;
            let note = latest.note.clone() + &line;
            let cosigned = SignedNote::parse(&note).and_then(|n| witness.verifier.verify(&n));
            cosigned.map_err(|error| format!("its answer is no cosignature: {error}"))?;
            Ok(Answer::Cosigned(line))
        }
    }
}
