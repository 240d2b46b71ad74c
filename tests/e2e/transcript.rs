//! What learners of the first version asked its node, played to this version's.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes};
use colearn_ledger::note::KeyKind;
use colearn_ledger::{Entry, JournalReader, Ledger, Options, Signer};
use colearn_node::{Config, Node};
use colearn_proto::{RULE_METADATA, v1};
use colearn_records::keys;
use colearn_records::record::{self, Record};
use prost::Message as _;
use prost::encoding::{WireType, decode_key, decode_varint};
use serde::Deserialize;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

use crate::support::{channel, succeed};

/// Longer than anything here takes on the slowest machine.
const DEADLINE: Duration = Duration::from_secs(120);

/// A line of the transcript; `tests/frozen/transcript/README.md` says what they mean.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Time { time_ms: u64 },
    Call(Call),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    call: String,
    asked: Vec<String>,
    #[serde(default)]
    answered: Vec<String>,
    entries: Option<Vec<u64>>,
    status: Option<i32>,
    rule: Option<u16>,
}

/// What a call was answered with, and the status and the rule it was refused with.
#[derive(PartialEq, Debug)]
struct Answer {
    messages: Vec<Bytes>,
    refusal: Option<(i32, Option<u16>)>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_first_versions_learners_asked_is_answered_and_decided_as_then() {
    let frozen = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/frozen/transcript");
    let recorded = entries(&frozen);
    let dir = tempfile::tempdir().unwrap();
    let data = begin(&frozen, &recorded[0], dir.path());
    let node = Node::start(Config::new(&data)).await.unwrap();
    let channel = channel(&format!("http://{}", node.address())).await;
    let mut watched = Vec::new();
    for (at, line) in transcript(&frozen).into_iter().enumerate() {
        match line {
            Line::Time { time_ms } => node.set_time(time_ms).await.unwrap(),
            Line::Call(Call { call, asked, entries: Some(entries), .. }) => {
                let stream = open(&channel, &call, &asked).await.unwrap();
                watched.push((at, stream, entries));
            }
            Line::Call(call) => {
                let answer = ask(&channel, &call).await;
                check(&call, &answer).unwrap_or_else(|why| panic!("line {}: {why}", at + 1));
            }
        }
    }
    for (at, stream, entries) in watched {
        let delivered = tokio::time::timeout(DEADLINE, delivered(stream, entries.len())).await;
        let delivered =
            delivered.unwrap_or_else(|_| panic!("line {}: entries are missing", at + 1));
        let expected: Vec<_> = entries.iter().map(|index| &recorded[*index as usize]).collect();
        assert!(delivered.iter().eq(expected), "line {}: other entries", at + 1);
    }
    node.shutdown().await.unwrap();
    let kept = entries(&data);
    for (index, (kept, recorded)) in kept.iter().zip(&recorded).enumerate() {
        assert!(kept == recorded, "entry {index} is not what it was");
    }
    assert_eq!(kept.len(), recorded.len());
    let audit = succeed(&["audit", data.to_str().unwrap()]);
    assert!(audit.lines().last().unwrap().starts_with("AUDIT OK "), "{audit}");
}

/// The lines of the transcript.
fn transcript(frozen: &Path) -> Vec<Line> {
    let packed = std::fs::File::open(frozen.join("transcript.jsonl.gz")).unwrap();
    let lines = std::io::read_to_string(flate2::read::GzDecoder::new(packed)).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The entries in a data folder's journal.
fn entries(data: &Path) -> Vec<Vec<u8>> {
    let mut journal = JournalReader::open(&data.join("ledger")).unwrap();
    std::iter::from_fn(|| journal.next_entry().unwrap().map(|entry| entry.bytes.to_vec())).collect()
}

/// A data folder with the recorded node's key and first entry, and nothing else.
fn begin(frozen: &Path, genesis: &[u8], dir: &Path) -> PathBuf {
    let data = dir.join("data");
    std::fs::create_dir(&data).unwrap();
    let key = data.join("node.pem");
    std::fs::copy(frozen.join("node.pem"), &key).unwrap();
    // git does not keep this mode.
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let Record::Genesis(first) = Record::decode(genesis).unwrap().record else {
        panic!("the first entry is no genesis");
    };
    let signer = Signer::new(&first.origin, KeyKind::Log, keys::load(&key).unwrap()).unwrap();
    let options = Options { keys_of: record::keys_of, ..Options::new(signer) };
    let (mut ledger, _) = Ledger::open(&data.join("ledger"), options).unwrap();
    let Entry { time_ms, payload, .. } = Entry::decode(genesis).unwrap();
    ledger.append(time_ms, payload, Vec::new()).unwrap();
    ledger.commit().unwrap();
    data
}

/// Sends a recorded request, whatever it says and whichever kind of call it is.
async fn open(channel: &Channel, path: &str, asked: &[String]) -> Result<Streaming<Bytes>, Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let messages: Vec<_> = asked.iter().map(|hex| unhex(hex)).collect();
    let path: PathAndQuery = path.parse().unwrap();
    let request = Request::new(tokio_stream::iter(messages));
    Ok(grpc.streaming(request, path, Verbatim).await?.into_inner())
}

async fn ask(channel: &Channel, call: &Call) -> Answer {
    let mut messages = Vec::new();
    let mut collect = async || {
        let mut stream = open(channel, &call.call, &call.asked).await?;
        while let Some(message) = stream.message().await? {
            messages.push(message);
        }
        Ok::<_, Status>(())
    };
    let refusal = collect().await.err().map(|status| {
        let rule = status.metadata().get(RULE_METADATA);
        (status.code().into(), rule.map(|rule| rule.to_str().unwrap().parse().unwrap()))
    });
    Answer { messages, refusal }
}

/// Whether an answer is what the first version's node gave.
fn check(call: &Call, answer: &Answer) -> Result<(), String> {
    let messages: Vec<_> = call.answered.iter().map(|hex| unhex(hex)).collect();
    let refusal = call.status.map(|status| (status, call.rule));
    let method = call.call.rsplit('/').next().unwrap_or_default();
    let same = match method {
        // Descriptions: there may be more to say than there was.
        "GetExperiment" | "ListExperiments" => both(&messages, &answer.messages, still_says),
        "GetLedger" => both(&messages, &answer.messages, |old, new| {
            still_says(&without_version(old), &without_version(new))
        }),
        // What learners keep and verify: checkpoints, proofs, receipts, entries, weights.
        _ => messages == answer.messages,
    };
    if same && refusal == answer.refusal {
        return Ok(());
    }
    let recorded = Answer { messages, refusal };
    Err(format!("{method} was answered {recorded:?}, and is {answer:?}"))
}

fn both(old: &[Bytes], new: &[Bytes], says: impl Fn(&[u8], &[u8]) -> bool) -> bool {
    old.len() == new.len() && old.iter().zip(new).all(|(old, new)| says(old, new))
}

/// The node's version is for people, and another one in each.
fn without_version(ledger: &[u8]) -> Vec<u8> {
    let known = v1::GetLedgerResponse::decode(ledger).unwrap();
    v1::GetLedgerResponse { version: String::new(), ..known }.encode_to_vec()
}

/// Whether a message says all that an older one said: fields may have been added, on every level.
fn still_says(old: &[u8], new: &[u8]) -> bool {
    let (Some(said), Some(mut says)) = (fields(old), fields(new)) else { return old == new };
    says.retain(|(number, _)| said.iter().any(|(known, _)| known == number));
    let same = |(old, new): (&(u32, Field<'_>), &(u32, Field<'_>))| {
        old.0 == new.0
            && match (old.1, new.1) {
                (Field::Number(old), Field::Number(new)) => old == new,
                (Field::Bytes(old), Field::Bytes(new)) => old == new || still_says(old, new),
                (Field::Number(_), Field::Bytes(_)) | (Field::Bytes(_), Field::Number(_)) => false,
            }
    };
    said.len() == says.len() && said.iter().zip(&says).all(same)
}

#[derive(Clone, Copy)]
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, if these bytes are one. No other kinds are in use.
fn fields(mut message: &[u8]) -> Option<Vec<(u32, Field<'_>)>> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let (number, wire_type) = decode_key(&mut message).ok()?;
        let value = decode_varint(&mut message).ok()?;
        let field = match wire_type {
            WireType::Varint => Field::Number(value),
            WireType::LengthDelimited => {
                let (bytes, rest) = message.split_at_checked(usize::try_from(value).ok()?)?;
                message = rest;
                Field::Bytes(bytes)
            }
            _ => return None,
        };
        fields.push((number, field));
    }
    Some(fields)
}

/// The next so many entries that a watcher gets.
async fn delivered(mut stream: Streaming<Bytes>, count: usize) -> Vec<Vec<u8>> {
    let mut entries = Vec::new();
    while entries.len() < count {
        let message = stream.message().await.unwrap().expect("the stream goes on");
        entries.extend(v1::WatchExperimentResponse::decode(message).unwrap().entry.map(Vec::from));
    }
    entries
}

fn unhex(text: &str) -> Bytes {
    hex::decode(text).unwrap().into()
}

/// Sends and receives messages as they are.
struct Verbatim;

impl Codec for Verbatim {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Verbatim {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(message);
        Ok(())
    }
}

impl Decoder for Verbatim {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
