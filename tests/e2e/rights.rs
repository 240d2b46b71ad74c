//! Who may do what: signed requests, keys in files, weights for members, and those who try all the same.

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::HeaderMap;
use colearn_contracts::{
    Act, Action, Admission, CreateExperiment, LearnerId, Model, Parameters, Proposal, Scores,
    VERSION,
};
use colearn_net::{Address, Asked, Credential, Http, NetError, Signing, Trust, content_of};
use colearn_proto::v1;
use colearn_proto::v1::artifact_service_client::ArtifactServiceClient;
use colearn_records::keys;
use colearn_sdk::client::{self, Client, ClientError, Followed, Memory, Nodes, Options};
use colearn_sdk::learner::SAFETENSORS;
use ed25519_dalek::SigningKey;
use tonic::Code;

use crate::support::network::{LEARNERS, Network, all_ended, take_part};
use crate::support::{Counter, NodeProcess, Speaker, fail, id, key, name, succeed, wait_for};

/// Whose keys are in the files.
const CREATOR: u8 = 200;
const AUDITOR: u8 = 201;
const STRANGER: u8 = 202;

/// A folder with files of keys, and the flags that name them.
struct Lists {
    dir: tempfile::TempDir,
    flags: Vec<String>,
}

impl Lists {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (auditors, creators) = (dir.path().join("auditors"), dir.path().join("creators"));
        list(&auditors, &[AUDITOR]);
        list(&creators, &[CREATOR]);
        let flags = [
            format!("--read=members,keys:{}", auditors.display()),
            "--write=members".to_owned(),
            format!("--create=keys:{}", creators.display()),
        ];
        Self { flags: flags.to_vec(), dir }
    }

    fn flags(&self) -> Vec<&str> {
        self.flags.iter().map(String::as_str).collect()
    }

    fn start(&self, listen: &str, more: &[&str]) -> NodeProcess {
        let flags = [&["--listen", listen], more, &self.flags()].concat();
        NodeProcess::start_with(&self.dir.path().join("data"), &flags)
    }

    /// A file with a private key.
    fn key_file(&self, seed: u8) -> String {
        let path = self.dir.path().join(format!("{seed}.pem"));
        if !path.exists() {
            keys::save_new(&key(seed), &path).unwrap();
        }
        path.to_str().unwrap().to_owned()
    }

    fn auditors(&self) -> PathBuf {
        self.dir.path().join("auditors")
    }
}

fn list(path: &Path, seeds: &[u8]) {
    let lines = seeds.iter().map(|seed| format!("{} key {seed}\n", id(&key(*seed))));
    std::fs::write(path, lines.collect::<String>()).unwrap();
}

fn signed_by(url: &str, key: &SigningKey) -> Nodes {
    Nodes::from(url).signed_by(Credential::new(key))
}

fn invite(model: Model, seeds: &[u8], rounds: u64) -> Act {
    let learners: Vec<LearnerId> = seeds.iter().map(|seed| id(&key(*seed))).collect();
    let parameters = Parameters {
        max_rounds: Some(rounds),
        min_learners: seeds.len() as u32,
        missed_turns: None,
        ..Parameters::default()
    };
    Act::Create(CreateExperiment {
        version: VERSION.number(),
        parameters,
        admission: Admission::invite(learners),
        model,
        plan: None,
    })
}

/// Creates an experiment for these learners only.
async fn create_for(nodes: &str, experiment: &str, from: u64, seeds: &[u8], rounds: u64) {
    let creator = key(CREATOR);
    let mut speaker = Speaker::connect_as(nodes, &creator).await;
    let weights = Counter::weights(from);
    speaker.client.upload(&weights).await.unwrap();
    let create = invite(weights.model(SAFETENSORS), seeds, rounds);
    speaker.act(&creator, Action::new(name(experiment), create)).await.unwrap();
}

fn refusal(error: &ClientError) -> String {
    assert!(matches!(error, ClientError::Refused { .. }), "{error:?}");
    error.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_may_what_it_was_given() {
    let lists = Lists::new();
    let node = lists.start("127.0.0.1:0", &["--tls-self-signed"]);
    let url = &node.url;
    assert_eq!(node.started["write"], "members");
    // Nobody is nobody,
    let told = fail(&["experiment", "list", "--node", url]);
    assert!(told.contains("--auth-key"), "{told}");
    assert!(fail(&["audit", url]).contains("--auth-key"));
    // a stranger is told that it is one,
    let as_key = |seed, command: &[&str]| {
        let file = lists.key_file(seed);
        [command, &["--auth-key", &file]].concat().iter().map(|it| (*it).to_owned()).collect()
    };
    let failed = |seed, command: &[&str]| {
        let all: Vec<String> = as_key(seed, command);
        fail(&all.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let done = |seed, command: &[&str]| {
        let all: Vec<String> = as_key(seed, command);
        succeed(&all.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let told = failed(STRANGER, &["experiment", "list", "--node", url]);
    let short = hex::encode(&id(&key(STRANGER)).0[..4]);
    assert!(told.contains("may not read") && told.contains(&short), "{told}");
    // and an auditor's key is enough for an audit.
    done(AUDITOR, &["experiment", "list", "--node", url]);
    assert!(done(AUDITOR, &["audit", url]).contains("AUDIT OK"));

    // A creator that is a member of nothing has to bring what an experiment begins with, as anybody.
    let mut creator = Speaker::connect_as(url, &key(CREATOR)).await;
    let act = invite(Counter::weights(77).model(SAFETENSORS), &[1], 1);
    let error = creator.act(&key(CREATOR), Action::new(name("empty"), act)).await.unwrap_err();
    assert!(refusal(&error).contains("upload them first"), "{error}");
    create_for(url, "ours", 100, &[1, 2, 3], 4).await;
    create_for(url, "theirs", 200, &[4, 5], 4).await;
    // Who takes part signs with its key, and needs nothing else.
    let learners = [1, 2, 3].map(|seed| {
        let options = Options::new(url.as_str(), name("ours"), key(seed));
        tokio::spawn(async move { client::run(Counter { value: 0 }, options).await.unwrap() })
    });
    for learner in learners {
        assert_eq!(learner.await.unwrap().1.rounds, 4);
    }
    let error = Followed::connect(signed_by(url, &key(STRANGER)), Memory::default()).await;
    assert!(refusal(&error.err().unwrap()).contains("may not read"));
    // A member may not create,
    let mut member = Speaker::connect_as(url, &key(4)).await;
    let act = invite(Counter::weights(200).model(SAFETENSORS), &[4], 1);
    let error = member.act(&key(4), Action::new(name("mine"), act)).await.unwrap_err();
    assert!(refusal(&error).contains("may not create"), "{error}");
    // nor read the weights of others, by whatever way, nor find out that they are there;
    let described = member.client.experiment(&name("ours"), None).await.unwrap();
    let model = described.experiment.model;
    let error = member.client.download(&model).await.unwrap_err();
    assert!(refusal(&error).contains("may not have these weights"), "{error}");
    let address: Address = url.parse().unwrap();
    let http = |seed| {
        let trust = Trust::default().signed_by(Credential::new(key(seed)));
        Http::new(&address, &trust, Duration::from_secs(10)).unwrap()
    };
    let path = format!("/artifact/{}", model.digest);
    assert_eq!(http(4).get(&path, 1 << 20).await.unwrap().status, 403);
    // its own it may, and so may auditors and members.
    let own = member.client.experiment(&name("theirs"), None).await.unwrap().experiment.model;
    member.client.download(&own).await.unwrap();
    for seed in [AUDITOR, 1] {
        assert_eq!(http(seed).get(&path, 1 << 20).await.unwrap().status, 200);
        let client = Client::connect(signed_by(url, &key(seed))).await.unwrap();
        client.download(&model).await.unwrap();
    }
    // Naming them in an experiment of one's own does not make them one's own, unless one has them: then all can be
    // brought, and the contract is asked.
    let stolen = Proposal {
        round: 1,
        base: own.digest,
        weights: model.clone(),
        scores: Scores::default(),
        privacy: None,
    };
    let mut propose = async || {
        let act = Act::Propose(stolen.clone());
        member.act(&key(4), Action::new(name("theirs"), act)).await.unwrap_err()
    };
    let error = propose().await;
    assert!(refusal(&error).contains("may not have these weights"), "{error}");
    let client = Client::connect(signed_by(url, &key(4))).await.unwrap();
    client.upload(&Counter::weights(104)).await.unwrap();
    let error = propose().await;
    assert!(error.rule().is_some(), "{error}");
    let error = client.download(&model).await.unwrap_err();
    assert!(refusal(&error).contains("may not have these weights"), "{error}");
    // A member goes on under another key.
    succeed(&["key", "rotate", &lists.key_file(5), "--node", url]);
    // Who may write and asks for nothing else is let in as well; a stranger may not write.
    let client = Client::connect(signed_by(url, &key(STRANGER))).await.unwrap();
    assert!(refusal(&client.upload(&Counter::weights(9)).await.unwrap_err()).contains("may not"));
    // A right that is taken away is gone.
    list(&lists.auditors(), &[]);
    let pid = rustix::process::Pid::from_raw(node.process.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    let auditor = Client::connect(signed_by(url, &key(AUDITOR))).await.unwrap();
    for _ in 0.. {
        match auditor.experiments().await {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => {
                assert!(refusal(&error).contains("may not read"), "{error}");
                break;
            }
        }
    }
    node.stop();
}

fn get(url: &str, shown: Option<&str>) -> (u16, HeaderMap, String) {
    let config = ureq::Agent::config_builder().http_status_as_error(false).build();
    let mut request = ureq::Agent::from(config).get(url);
    if let Some(shown) = shown {
        request = request.header("authorization", shown);
    }
    let mut answer = request.call().unwrap();
    let told = String::from_utf8_lossy(&answer.body_mut().read_to_vec().unwrap()).into_owned();
    (answer.status().as_u16(), answer.headers().clone(), told)
}

/// What a program asks that keeps what it has signed.
struct Recorder {
    url: String,
    signing: Signing,
}

impl Recorder {
    fn new(url: &str, seed: u8) -> Self {
        let trust = Trust::default().signed_by(Credential::new(key(seed)));
        Self { url: url.to_owned(), signing: Signing::new(&url.parse().unwrap(), &trust) }
    }

    /// Asks with this shown, and learns what is to be signed.
    fn ask(&self, path: &str, shown: Option<&str>) -> (u16, String) {
        let (status, headers, told) = get(&format!("{}{path}", self.url), shown);
        self.signing.hear(&headers).unwrap();
        (status, told)
    }

    fn sign(&self, path: &str, channel: Option<[u8; 32]>) -> String {
        let asked = Asked { method: "GET", path, content: content_of(b"") };
        let value = self.signing.authorization(asked, channel, false).unwrap().unwrap();
        value.to_str().unwrap().to_owned()
    }
}

#[test]
fn what_was_signed_is_good_for_one_thing_once() {
    let lists = Lists::new();
    let mut node = lists.start("127.0.0.1:0", &[]);
    let (hashes, entries) = ("/tile/0/000.p/1", "/tile/entries/000.p/1");
    let recorder = Recorder::new(&node.url, AUDITOR);
    assert_eq!(recorder.ask(hashes, None).0, 401);
    let signed = recorder.sign(hashes, None);
    // For another path it is not good,
    let (status, why) = recorder.ask(entries, Some(&signed));
    assert!(status == 401 && why.contains("not what its key has signed"), "{why}");
    // nor with another key's name, nor half of it;
    let (ours, theirs) = (id(&key(AUDITOR)).to_string(), id(&key(CREATOR)).to_string());
    for wrong in [signed.replace(&ours, &theirs), signed[..80].to_owned(), "Basic eDp5".to_owned()]
    {
        assert_eq!(recorder.ask(hashes, Some(&wrong)).0, 401, "{wrong}");
    }
    // for its own it is, once.
    assert_eq!(recorder.ask(hashes, Some(&signed)).0, 200);
    let (status, why) = recorder.ask(hashes, Some(&signed));
    assert!(status == 401 && why.contains("has come before"), "{why}");
    assert_eq!(recorder.ask(entries, Some(&recorder.sign(entries, None))).0, 200);
    // Nobody is asked for what proves itself.
    for open in ["/checkpoint", "/healthz"] {
        assert_eq!(recorder.ask(open, None).0, 200);
    }
    // What was overheard before a restart is worth nothing after it.
    let overheard = recorder.sign(hashes, None);
    let (address, data) = (node.address(), lists.dir.path().join("data"));
    node.process.kill();
    let flags = [&["--listen", &address], &lists.flags()[..]].concat();
    node = NodeProcess::start_with(&data, &flags);
    let (status, why) = recorder.ask(hashes, Some(&overheard));
    assert!(status == 401 && why.contains("another time"), "{why}");
    assert_eq!(recorder.ask(hashes, Some(&recorder.sign(hashes, None))).0, 200);
    // Another node may not have it signed for this one: it is of another ledger.
    let other = Lists::new();
    let there = other.start("127.0.0.1:0", &[]);
    let (_, challenged, _) = get(&format!("{}{hashes}", there.url), None);
    recorder.signing.insist_on(ledger_of(&node));
    assert!(matches!(recorder.signing.hear(&challenged), Err(NetError::OtherLedger { .. })));
    there.stop();
    node.stop();
}

fn ledger_of(node: &NodeProcess) -> [u8; 32] {
    let mut ledger = [0; 32];
    hex::decode_to_slice(node.started["ledger_id"].as_str().unwrap(), &mut ledger).unwrap();
    ledger
}

#[tokio::test]
async fn what_is_uploaded_is_what_was_signed() {
    let lists = Lists::new();
    let node = lists.start("127.0.0.1:0", &[]);
    let trust = Trust::default().signed_by(Credential::new(key(CREATOR)));
    let signing = Signing::new(&node.url.parse().unwrap(), &trust);
    let mut artifacts = ArtifactServiceClient::new(crate::support::channel(&node.url).await);
    let (signed, other) = (Counter::weights(1), Counter::weights(2));
    let upload = |weights: &colearn_sdk::learner::Weights| {
        use v1::upload_artifact_request::Part;
        let digest = weights.digest().0.to_vec().into();
        let size = weights.bytes().len() as u64;
        let header = Part::Header(v1::UploadHeader { digest, size, offset: 0 });
        let parts = [header, Part::Chunk(weights.bytes().clone())];
        let parts = parts.map(|part| v1::UploadArtifactRequest { part: Some(part) });
        tonic::Request::new(tokio_stream::iter(parts))
    };
    let refused = artifacts.upload_artifact(upload(&signed)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(signing.hear(&refused.metadata().clone().into_headers()).unwrap());
    let path = "/colearn.v1.ArtifactService/UploadArtifact";
    let shown = || {
        let asked = Asked { method: "POST", path, content: signed.digest().0 };
        let value = signing.authorization(asked, None, true).unwrap().unwrap();
        value.to_str().unwrap().parse().unwrap()
    };
    let mut request = upload(&other);
    request.metadata_mut().insert("authorization", shown());
    let refused = artifacts.upload_artifact(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    let mut request = upload(&signed);
    request.metadata_mut().insert("authorization", shown());
    artifacts.upload_artifact(request).await.unwrap();
    node.stop();
}

#[test]
fn what_is_signed_for_one_connection_is_not_good_on_another() {
    let lists = Lists::new();
    let node = lists.start("127.0.0.1:0", &["--tls-self-signed"]);
    let address: Address = node.url.parse().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let trust = Trust::default().signed_by(Credential::new(key(AUDITOR)));
    let path = "/tile/0/000.p/1";
    // Several at once, who are told that it has to be signed while they ask: all over the one connection that what they
    // sign is bound to, and none over a second that was made in the meantime;
    for _ in 0..25 {
        let http = Http::new(&address, &trust, Duration::from_secs(10)).unwrap();
        runtime.block_on(async {
            let asked = (0..20).map(|_| {
                let http = http.clone();
                tokio::spawn(async move { http.get(path, 1 << 20).await.unwrap().status })
            });
            for status in asked.collect::<Vec<_>>() {
                assert_eq!(status.await.unwrap(), 200);
            }
        });
    }
    // and one that somebody else passes on.
    let plain = Http::new(&address, &Trust::default(), Duration::from_secs(10)).unwrap();
    let challenged = runtime.block_on(plain.get(path, 1 << 20)).unwrap();
    assert_eq!(challenged.status, 401);
    let recorder = Recorder::new("https://127.0.0.1", AUDITOR);
    assert!(recorder.signing.hear(&challenged.headers).unwrap() && recorder.signing.is_bound());
    for channel in [None, Some([7; 32])] {
        let shown = recorder.sign(path, channel);
        let answer = runtime.block_on(plain.get_with(path, &shown, 1 << 20)).unwrap();
        let told = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(answer.status == 401 && told.contains("another connection"), "{told}");
    }
    node.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nodes_of_a_network_let_each_other_in_and_nobody_else() {
    const ROUNDS: u64 = 4;
    let started = tokio::task::spawn_blocking(|| {
        let lists = Lists::new();
        let mut network = Network::start(4)?;
        network.agree();
        for at in 0..4 {
            network.stop(at);
        }
        for at in 0..4 {
            network.nodes[at] = Some(network.start_node_with(at, &lists.flags()));
        }
        Some((network, lists))
    });
    let Some((mut network, lists)) = started.await.unwrap() else { return };
    wait_for("the nodes show their ledger", || network.shown(0));
    // The first model is at one node, and each learner begins at another: what is here, these fetch.
    create_for(&network.url(0), "x", 0, &LEARNERS, ROUNDS).await;
    network.agree();
    let told = fail(&["network", "status", "--node", &network.url(1)]);
    assert!(told.contains("--auth-key"), "{told}");
    let auditor = lists.key_file(AUDITOR);
    succeed(&["network", "status", "--node", &network.url(1), "--auth-key", &auditor]);
    let learners: Vec<_> = LEARNERS.iter().map(|seed| take_part(&network, *seed)).collect();
    all_ended(&mut network, learners, ROUNDS).await;
}

/// Whoever asks is told of what it may download, and of nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_are_listed_for_those_who_may_have_them() {
    let lists = Lists::new();
    let node = lists.start("127.0.0.1:0", &[]);
    create_for(&node.url, "ones", 11, &[1], 2).await;
    create_for(&node.url, "twos", 22, &[2, 3], 2).await;
    // What the ledger does not name.
    let creator = Speaker::connect_as(&node.url, &key(CREATOR)).await;
    creator.client.upload(&Counter::weights(33)).await.unwrap();
    let listed = |seed: u8| {
        let key = lists.key_file(seed);
        let asked = ["artifacts", "list", "--json", "--node", &node.url, "--auth-key", &key];
        let told: serde_json::Value = serde_json::from_str(&succeed(&asked)).unwrap();
        let artifacts = told["artifacts"].as_array().unwrap().iter();
        let digest = |it: &serde_json::Value| it["digest"].as_str().unwrap().to_owned();
        artifacts.map(digest).collect::<std::collections::BTreeSet<_>>()
    };
    let [ones, twos, unnamed] =
        [11, 22, 33].map(|value| Counter::weights(value).digest().to_string());
    assert_eq!(listed(1), [ones.clone()].into());
    assert_eq!(listed(3), [twos.clone()].into());
    // Who has created them is one of theirs; and auditors read all there is.
    assert_eq!(listed(CREATOR), [ones.clone(), twos.clone()].into());
    assert_eq!(listed(AUDITOR), [ones, twos, unnamed].into());
    let stranger = lists.key_file(STRANGER);
    let asked = ["artifacts", "list", "--node", &node.url];
    let error = fail(&[&asked[..], &["--auth-key", &stranger]].concat());
    assert!(error.contains("may not read"), "{error}");
    let error = fail(&asked);
    assert!(error.contains("--auth-key"), "{error}");
}
