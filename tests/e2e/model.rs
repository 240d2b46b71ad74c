//! The model out: got from a node, a folder and an export, from whoever lies or dies in between; looked into, used,
//! and found again in the ledger.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use colearn_contracts::{
    Act, Action, Admission, CreateExperiment, Join, Parameters, PrivacySegment, PrivacySpent,
    PrivateTraining, Proposal, Scores, Selection, VERSION,
};
use colearn_sdk::client::{self, Options};
use colearn_sdk::learner::{SAFETENSORS, Weights};
use serde_json::Value;

use crate::support::{
    Counter, NodeProcess, Process, Speaker, fail, key, name, run, succeed, wait_for,
};

/// What whoever stands between does with weights.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Weighs {
    /// Passes them on.
    Honest,
    /// Sends others that are as many.
    Lies,
    /// Sends the first so many bytes of the weights and never another, until whoever asks is gone.
    Stalls(usize),
    /// Breaks off after so many.
    Breaks(usize),
    /// Has none.
    Lacks,
}

/// Somebody between a node, or an exported folder, and whoever reads from it over HTTP.
struct Between {
    url: String,
    weighs: Arc<Mutex<Weighs>>,
    /// What was asked for of weights.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Between {
    /// Between a node, by its URL, or an exported folder.
    fn start(node: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let weighs = Arc::new(Mutex::new(Weighs::Honest));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (node, how, heard) = (node.to_owned(), weighs.clone(), asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (node, how, heard) = (node.clone(), how.clone(), heard.clone());
                // Whoever is killed leaves half a conversation.
                std::thread::spawn(move || serve(&stream.unwrap(), &node, &how, &heard));
            }
        });
        Self { url, weighs, asked }
    }

    fn weighs(&self, how: Weighs) {
        *self.weighs.lock().unwrap() = how;
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

/// Answers one request and closes.
fn serve(
    stream: &TcpStream,
    node: &str,
    how: &Mutex<Weighs>,
    heard: &Mutex<Vec<String>>,
) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    let path = lines.next()?.ok()?.split(' ').nth(1)?.to_owned();
    let mut range = String::new();
    for line in lines.by_ref() {
        let line = line.ok()?;
        if let Some(asked) = line.to_ascii_lowercase().strip_prefix("range: ") {
            range = asked.to_owned();
        }
        if line.is_empty() {
            break;
        }
    }
    let (mut status, mut body, ranged) = if node.contains("://") {
        passed_on(&format!("{node}{path}"), &range)?
    } else {
        // An exported folder, from a server that knows of no ranges.
        let read = std::fs::read(format!("{node}{path}"));
        read.map_or((404, Vec::new(), String::new()), |body| (200, body, String::new()))
    };
    let mut sent = body.len();
    let mut how_now = Weighs::Honest;
    if path.starts_with("/artifact/") {
        heard.lock().unwrap().push(range);
        how_now = *how.lock().unwrap();
        match how_now {
            Weighs::Honest => {}
            Weighs::Lies => body.iter_mut().for_each(|byte| *byte ^= 1),
            // However often it is asked.
            Weighs::Stalls(bytes) => {
                sent = (sent + bytes).saturating_sub(Counter::weights(4).bytes().len())
            }
            Weighs::Breaks(bytes) => sent = bytes.min(sent),
            Weighs::Lacks => status = 404,
        }
    }
    let length = body.len();
    let mut stream = stream;
    let head = format!(
        "HTTP/1.1 {status} x\r\ncontent-length: {length}\r\n{ranged}connection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(&body[..sent]).ok()?;
    if let Weighs::Stalls(_) = how_now {
        // Until the other end closes.
        lines.next();
    }
    Some(())
}

/// What a node answers: the status, the body, and the header that says which part it is.
fn passed_on(url: &str, range: &str) -> Option<(u16, Vec<u8>, String)> {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut request = agent.get(url);
    if !range.is_empty() {
        request = request.header("range", range);
    }
    let mut answer = request.call().ok()?;
    let ranged = answer.headers().get("content-range").and_then(|it| it.to_str().ok());
    let ranged = ranged.map_or_else(String::new, |it| format!("content-range: {it}\r\n"));
    Some((answer.status().as_u16(), answer.body_mut().read_to_vec().ok()?, ranged))
}

/// Two learners that count to four, in an experiment `y`.
async fn counted(node: &NodeProcess) {
    let mut speaker = Speaker::connect(&node.url).await;
    speaker.create("y", &Counter::weights(0), 4).await;
    let learners = [11, 12].map(|seed| {
        let options = Options::new(&node.url, name("y"), key(seed));
        tokio::spawn(client::run(Counter { value: 0 }, options))
    });
    for learner in learners {
        learner.await.unwrap().unwrap();
    }
}

fn read(path: &str) -> Weights {
    Weights::new(std::fs::read(path).unwrap())
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&succeed(&[arguments, &["--json"]].concat())).unwrap()
}

fn is_there(path: &str) -> bool {
    Path::new(path).exists()
}

/// What a get has left unfinished beside its file.
fn parts(dir: &Path) -> Vec<Vec<u8>> {
    let files = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    let parts = files.filter(|path| path.extension().is_some_and(|ending| ending == "part"));
    parts.map(|path| std::fs::read(path).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_is_got_by_its_round_from_wherever_the_ledger_is() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path();
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let (place, out, public) = (path("data"), path("model"), path("public"));
    let node = NodeProcess::start(&dir.join("data"));
    counted(&node).await;

    let get = |from: &str, more: &[&str]| {
        // What is there already would not be got.
        let _ = std::fs::remove_file(&out);
        succeed(&[&["model", "get", "y", "--from", from, "--out", &out], more].concat())
    };
    for from in [&node.url, &place] {
        let told = get(from, &[]);
        assert!(told.contains("y round 4, accepted with 1 of 1 votes"), "{told}");
        assert!(told.contains(", the model of now") && told.contains(" signatures"), "{told}");
        assert_eq!(read(&out), Counter::weights(4));
    }
    for (which, value) in [(["--round", "2"], 2), (["--round", "0"], 0)] {
        get(&node.url, &which);
        assert_eq!(read(&out), Counter::weights(value));
    }
    let best = json(&["model", "get", "y", "--best", "--from", &node.url, "--out", &out]);
    assert_eq!((&best["round"], &best["current"]), (&4.into(), &true.into()), "{best}");
    assert_eq!(best["digest"], Counter::weights(4).digest().to_string());
    assert_eq!((&best["size"], &best["median_vote_score"]), (&8.into(), &4.0.into()));
    assert_eq!((&best["ledger"]["ok"], &best["file"]), (&true.into(), &out.clone().into()));

    let refused = |more: &[&str]| {
        let get = ["model", "get", "--from", &node.url, "--out", &path("none")];
        fail(&[&get[..], more].concat())
    };
    assert!(refused(&["y", "--round", "5"]).contains("y has no round 5; its last is 4"));
    assert!(refused(&["z"]).contains("the ledger has no experiment z; it has: y"));
    let pinned = refused(&["y", "--ledger", &"0".repeat(64)]);
    assert!(pinned.contains("is not as it should be"), "{pinned}");
    assert!(!is_there(&path("none")) && parts(dir).is_empty());

    // An export has no weights unless it is asked for them.
    succeed(&["ledger", "export", &public, "--from", &node.url]);
    let none = fail(&["model", "get", "y", "--from", &public, "--out", &path("none")]);
    assert!(none.contains("ledger export --artifacts"), "{none}");
    let export = |extent: &str, from: &str| {
        succeed(&["ledger", "export", &public, "--from", from, "--artifacts", extent])
    };
    assert!(export("current", &node.url).contains("the weights of 1 of 1 models are there"));
    get(&public, &[]);
    let lacks = fail(&["model", "get", "y", "--round", "1", "--from", &public, "--out", &out]);
    assert!(lacks.contains("has not got the weights"), "{lacks}");
    assert!(export("accepted", &place).contains("the weights of 5 of 5 models are there"));
    get(&public, &["--round", "1"]);
    assert_eq!(read(&out), Counter::weights(1));
    // Any web server that has the export will do.
    let web = Between::start(&public);
    get(&web.url, &["--round", "3"]);
    assert_eq!(read(&out), Counter::weights(3));

    // What a node has let go of is told as that.
    let digest = Counter::weights(2).digest().to_string();
    std::fs::remove_file(dir.join("data/artifacts").join(&digest)).unwrap();
    for from in [&node.url, &place] {
        let get = ["model", "get", "y", "--round", "2", "--from", from, "--out", &path("none")];
        let told = fail(&get);
        assert!(told.contains(&digest) && told.contains("--keep-artifacts"), "{told}");
    }
    // Another one has it.
    web.weighs(Weighs::Lacks);
    let several = format!("{},{}", web.url, node.url);
    get(&several, &["--round", "3"]);
    let other = dir.join("other");
    let output =
        run(&["ledger", "export", other.to_str().unwrap(), "--from", &place, "--artifacts", "all"]);
    let told = String::from_utf8(output.stderr).unwrap();
    // All others are there; that something is lacking is told by the exit code.
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains(&digest) && told.contains("--keep-artifacts"), "{told}");
    let had = String::from_utf8(output.stdout).unwrap();
    assert!(had.contains("the weights of 4 of 5 models are there"), "{had}");
    // So it is where one has rotten.
    let rotten = dir.join("data/artifacts").join(Counter::weights(0).digest().to_string());
    std::fs::write(rotten, b"whatever").unwrap();
    std::fs::remove_dir_all(&other).unwrap();
    let output =
        run(&["ledger", "export", other.to_str().unwrap(), "--from", &place, "--artifacts", "all"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("has other bytes than the ledger says"), "{told}");
    let had = String::from_utf8(output.stdout).unwrap();
    assert!(had.contains("the weights of 3 of 5 models are there"), "{had}");
    assert!(parts(dir).is_empty());
    node.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_false_statement_of_privacy_bars_nobody_from_the_models() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path();
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let node = NodeProcess::start(&dir.join("data"));
    let mut speaker = Speaker::connect(&node.url).await;
    let [initial, next] = [0, 1].map(Counter::weights);
    for weights in [&initial, &next] {
        speaker.client.upload(weights).await.unwrap();
    }
    let parameters =
        Parameters { min_learners: 1, selection: Selection::RoundRobin, ..Parameters::default() };
    let (version, model) = (VERSION.number(), initial.model(SAFETENSORS));
    let admission = Admission::Open;
    let create = CreateExperiment { version, parameters, admission, model, plan: None };
    let steps = PrivacySegment {
        noise_micros: 1_000_000,
        clip_micros: 1_000_000,
        sampling_nanos: 100_000_000,
        steps: 1000,
    };
    let spent = PrivacySpent {
        // Much less than so many steps reveal.
        epsilon_micros: 1000,
        delta_picos: 10_000_000,
        training: PrivateTraining::All(vec![steps]),
    };
    let proposal = Proposal {
        round: 1,
        base: initial.digest(),
        weights: next.model(SAFETENSORS),
        scores: Scores::default(),
        privacy: Some(spent),
    };
    for act in [Act::Create(create), Act::Join(Join::new(0, None)), Act::Propose(proposal)] {
        speaker.act(&key(1), Action::new(name("y"), act)).await.unwrap();
    }
    let found = run(&["audit", &node.url]);
    assert_eq!(found.status.code(), Some(24), "{found:?}");
    let out = path("model");
    let warned = |arguments: &[&str]| {
        let done = run(arguments);
        let told = String::from_utf8(done.stderr).unwrap();
        assert!(done.status.success() && told.contains("warning: "), "{arguments:?}: {told}");
        String::from_utf8(done.stdout).unwrap()
    };
    warned(&["model", "get", "y", "--from", &node.url, "--out", &out]);
    assert_eq!(read(&out), next);
    let told = warned(&["model", "verify", &out, &node.url]);
    assert!(told.contains("MODEL OK "), "{told}");
    let export = ["ledger", "export", &path("public"), "--from", &node.url];
    warned(&[&export[..], &["--artifacts", "all"]].concat());
    node.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_sends_other_bytes_gets_no_file_made() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path();
    let out = dir.join("model").to_str().unwrap().to_owned();
    let node = NodeProcess::start(&dir.join("data"));
    counted(&node).await;
    let between = Between::start(&node.url);
    between.weighs(Weighs::Lies);
    std::fs::write(&out, "what was there").unwrap();
    let get = ["model", "get", "y", "--from", &between.url, "--out", &out];
    let told = fail(&get);
    assert!(told.contains("has other bytes than the ledger says"), "{told}");
    assert_eq!((read(&out), parts(dir)), (Weights::new("what was there"), Vec::new()));
    // Nor does a folder in which somebody has put others.
    let kept = dir.join("data/artifacts").join(Counter::weights(4).digest().to_string());
    let place = dir.join("data").to_str().unwrap().to_owned();
    std::fs::write(&kept, Counter::weights(5).bytes()).unwrap();
    let told = fail(&["model", "get", "y", "--from", &place, "--out", &out]);
    assert!(told.contains("has other bytes"), "{told}");
    std::fs::write(&kept, Counter::weights(4).bytes()).unwrap();
    // Where another node is named it comes from that one.
    let several = format!("{},{}", between.url, node.url);
    succeed(&["model", "get", "y", "--from", &several, "--out", &out]);
    assert_eq!(read(&out), Counter::weights(4));
    node.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_gives_its_models_to_those_who_may_read() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path();
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let (data, out) = (dir.join("data"), path("model"));
    let node = NodeProcess::start(&data);
    counted(&node).await;
    node.stop();
    for file in ["auditor.pem", "stranger.pem"] {
        succeed(&["key", "new", &path(file)]);
    }
    std::fs::write(path("readers"), succeed(&["key", "show", &path("auditor.pem")])).unwrap();
    let readers = format!("keys:{}", path("readers"));
    let rights = ["--listen", "127.0.0.1:0", "--read", &readers];
    let node = NodeProcess::start_with(&data, &rights);
    let get = ["model", "get", "y", "--from", &node.url, "--out", &out];
    let told = fail(&get);
    assert!(told.contains("who they are"), "{told}");
    let told = fail(&[&get[..], &["--auth-key", &path("stranger.pem")]].concat());
    assert!(told.contains("may not read here") && !is_there(&out), "{told}");
    succeed(&[&get[..], &["--auth-key", &path("auditor.pem")]].concat());
    assert_eq!(read(&out), Counter::weights(4));
    node.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_get_that_was_killed_leaves_no_half_model_and_goes_on() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path();
    let out = dir.join("model").to_str().unwrap().to_owned();
    let node = NodeProcess::start(&dir.join("data"));
    counted(&node).await;
    let between = Between::start(&node.url);
    let get = ["model", "get", "y", "--from", &between.url, "--out", &out];
    between.weighs(Weighs::Stalls(3));
    let mut process = Process::start(&get);
    wait_for("a part", || {
        (parts(dir) == [Counter::weights(4).bytes()[..3].to_vec()]).then_some(())
    });
    process.kill();
    process.wait();
    assert!(!is_there(&out));
    // Two at once would write the same.
    let part = dir.join(format!("model.{:.16}.part", Counter::weights(4).digest().to_string()));
    let held = std::fs::File::open(part).unwrap();
    held.lock().unwrap();
    assert!(fail(&get).contains("another process is getting the same"));
    drop(held);
    between.asked();
    // And where the connection breaks it is gone on from, without being asked again.
    between.weighs(Weighs::Breaks(2));
    succeed(&get);
    assert_eq!(read(&out), Counter::weights(4));
    assert_eq!(between.asked(), ["bytes=3-7", "bytes=5-7", "bytes=7-7"]);
    assert!(parts(dir).is_empty());
    // What is there is not got again.
    succeed(&get);
    assert!(between.asked().is_empty());

    // A part that is wrong costs a second try and nothing else.
    std::fs::remove_file(&out).unwrap();
    let digest = Counter::weights(4).digest().to_string();
    std::fs::write(dir.join(format!("model.{digest:.16}.part")), b"abc").unwrap();
    between.weighs(Weighs::Honest);
    succeed(&get);
    assert_eq!(read(&out), Counter::weights(4));
    assert_eq!(between.asked(), ["bytes=3-7", "bytes=0-7"]);
    node.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_found_again_in_the_ledger_or_is_not() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path();
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let node = NodeProcess::start(&dir.join("data"));
    counted(&node).await;
    let (file, place) = (path("model"), path("data"));
    let verify = |weights: &Weights, place: &str, more: &[&str]| {
        std::fs::write(&file, weights.bytes()).unwrap();
        let output = run(&[&["model", "verify", &file, place], more].concat());
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    for from in [&node.url, &place] {
        let (code, told) = verify(&Counter::weights(3), from, &[]);
        assert_eq!(code, Some(0), "{told}");
        assert!(told.contains("y round 3, accepted with 1 of 1 votes (entry "), "{told}");
        assert!(told.contains("proposed    by ") && told.contains("  for "), "{told}");
        assert!(told.trim_end().ends_with(" experiment=y round=3 current=false"), "{told}");
    }
    let (code, told) = verify(&Counter::weights(4), &place, &["y", "--json"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((code, &told["accepted"]), (Some(0), &true.into()));
    let of = &told["uses"][0];
    assert_eq!(
        (&of["role"], &of["round"], &of["current"]),
        (&"model".into(), &4.into(), &true.into())
    );
    // The entries are those that receipts are had for.
    let entry = of["votes"][0]["entry"].as_u64().unwrap().to_string();
    let receipt = path("receipt");
    succeed(&["ledger", "proof", &entry, "--from", &place, "--out", &receipt]);
    let key = told["ledger"]["verifier_key"].as_str().unwrap();
    let shown = succeed(&["ledger", "verify-receipt", &receipt, "--verifier-key", key]);
    assert!(shown.contains(" approves in y round 4"), "{shown}");
    let (code, told) = verify(&Counter::weights(0), &place, &[]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("what y began with"), "{told}");

    let (code, told) = verify(&Counter::weights(99), &place, &[]);
    assert_eq!(code, Some(3), "{told}");
    assert!(told.trim_end().ends_with(" reason=unknown"), "{told}");
    let unread = fail(&["model", "verify", &path("none"), &place]);
    assert!(unread.contains("cannot read"), "{unread}");
    assert!(fail(&["model", "verify", &file, &place, "z"]).contains("no experiment z"));
    // A ledger that is not as it should be says nothing of a model.
    node.stop();
    let journal = dir.join("data/ledger/journal/00000000.journal");
    let mut bytes = std::fs::read(&journal).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&journal, bytes).unwrap();
    let (code, told) = verify(&Counter::weights(1), &place, &[]);
    assert!(code.is_some_and(|code| code >= 10), "{code:?} {told}");
    assert!(told.lines().last().unwrap().starts_with("AUDIT FAIL "), "{told}");
    let refused = fail(&["model", "get", "y", "--from", &place, "--out", &path("out")]);
    assert!(refused.contains("is not as it should be") && !is_there(&path("out")), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_built_in_model_is_shown_and_predicts() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path();
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let data = crate::support::write_csv(dir);
    let data = data.to_str().unwrap();
    let node = NodeProcess::start(&dir.join("data"));
    std::fs::write(path("schema.json"), succeed(&["data", "schema", data, "--label", "class"]))
        .unwrap();
    let keys = ["a.pem", "b.pem"].map(path);
    for key in &keys {
        succeed(&["key", "new", key]);
    }
    succeed(&[
        "experiment",
        "create",
        "points",
        "--key",
        &keys[0],
        "--open",
        "--schema",
        &path("schema.json"),
        "--model",
        "softmax",
        "--min-learners",
        "2",
        "--max-rounds",
        "2",
        "--node",
        &node.url,
    ]);
    let learners = keys.iter().zip(["1/2", "2/2"]).map(|(key, share)| {
        Process::start(&[
            "learner",
            "--experiment",
            "points",
            "--key",
            key,
            "--data",
            data,
            "--share",
            share,
            "--epochs",
            "30",
            "--node",
            &node.url,
        ])
    });
    for mut learner in learners.collect::<Vec<_>>() {
        assert_eq!(learner.wait(), Some(0));
    }
    let model = path("points.safetensors");
    succeed(&["model", "get", "points", "--node", &node.url, "--out", &model]);
    in_several_files(dir, &model, &node.url, &keys[0]);
    node.stop();

    let shown = succeed(&["model", "show", &model]);
    assert!(shown.contains("softmax regression, 2-2"), "{shown}");
    assert!(shown.contains("class, one of 2 classes: high, low"), "{shown}");
    assert!(shown.contains("parameters  6 in 2 tensors"), "{shown}");
    let told = json(&["model", "show", &model]);
    assert_eq!(told["model"]["schema"]["target"]["name"], "class");
    assert_eq!((&told["parameters"], &told["model"]["layers"]), (&6.into(), &vec![2, 2].into()));

    let out = path("out.csv");
    let predict = |table: &str, more: &[&str]| {
        std::fs::write(path("new.csv"), table).unwrap();
        run(&[&["predict", "--model", &model, "--data", &path("new.csv")], more].concat())
    };
    let done = predict("id,y,x\n1,0.9,0.9\n2,0.05,0.05\n", &["--out", &out]);
    let stderr = String::from_utf8(done.stderr).unwrap();
    assert!(done.status.success() && stderr.contains("passed over: id"), "{stderr}");
    let lines = std::fs::read_to_string(&out).unwrap();
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!((lines[0], lines.len()), ("prediction,p_high,p_low", 3));
    assert!(lines[1].starts_with("high,0.") && lines[2].starts_with("low,0."), "{lines:?}");
    let done = predict(&std::fs::read_to_string(data).unwrap(), &[]);
    let stderr = String::from_utf8(done.stderr).unwrap();
    assert!(stderr.contains("on the 200 rows whose target is there: accuracy "), "{stderr}");
    assert_eq!(done.stdout.iter().filter(|byte| **byte == b'\n').count(), 201);
    let refused = predict("x\n1\n", &[]);
    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert!(stderr.contains("no column y, which the model needs"), "{stderr}");
    assert_eq!(refused.status.code(), Some(1));
    // From standard input, plain or packed.
    let table = "y,x\n0.9,0.9\n0.05,0.05\n";
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(table.as_bytes()).unwrap();
    for (file, bytes) in [("plain", table.as_bytes().to_vec()), ("gz", packed.finish().unwrap())] {
        std::fs::write(path(file), bytes).unwrap();
        let mut command = crate::support::colearn(&["predict", "--model", &model, "--data", "-"]);
        command.stdin(std::fs::File::open(path(file)).unwrap());
        let done = command.output().unwrap();
        let told = String::from_utf8(done.stdout).unwrap();
        assert!(
            done.status.success() && told.starts_with("prediction,p_high,p_low\nhigh,"),
            "{told}"
        );
        assert_eq!(told.lines().count(), 3);
    }
    let mut command = crate::support::colearn(&["predict", "--model", &model, "--data", "-"]);
    command.stdin(std::fs::File::open(path("new.csv")).unwrap());
    let told = String::from_utf8(command.output().unwrap().stderr).unwrap();
    assert!(told.contains("standard input"), "{told}");
    // What is no built-in model.
    std::fs::write(path("other"), "x").unwrap();
    let refused = fail(&["predict", "--model", &path("other"), "--data", data]);
    assert!(refused.contains("not in the safetensors format"), "{refused}");
    assert!(succeed(&["model", "show", &path("other")]).contains("none that is known here"));
}

/// A model is split, joined, and what an experiment begins with, and always the same.
fn in_several_files(dir: &Path, model: &str, node: &str, key: &str) {
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let parts = path("parts");
    let split = ["model", "split", model, "--out", &parts, "--file-bytes", "10"];
    assert!(succeed(&split).starts_with("2 files in "));
    assert!(fail(&split).contains("cannot write"));
    let index = path("parts/model.safetensors.index.json");
    let joined = path("joined.safetensors");
    let join = ["model", "join", &index, "--out", &joined];
    let told = json(&join);
    let digest = read(model).digest().to_string();
    assert_eq!(
        (&told["digest"], &told["files"], &told["tensors"]),
        (&digest.clone().into(), &2.into(), &2.into())
    );
    assert_eq!(read(&joined), read(model));
    // What is there is not written over.
    assert!(fail(&join).contains("joined.safetensors"));
    let create = ["experiment", "create", "again", "--node", node, "--key", key, "--open"];
    let created = json(&[&create[..], &["--weights", &index]].concat());
    assert_eq!(created["model"], digest);
    std::fs::remove_file(path("parts/model-00002-of-00002.safetensors")).unwrap();
    assert!(fail(&join).contains("model-00002-of-00002.safetensors"));
}
