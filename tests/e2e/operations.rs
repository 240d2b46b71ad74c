//! What a running node tells whoever watches it: metrics, health, logs; and that nobody there is in its way.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use colearn_contracts::{Act, Action, Choice, Join, Proposal, Scores, Vote};
use colearn_ledger::note::KeyKind;
use colearn_sdk::learner::{SAFETENSORS, Weights};
use serde_json::Value;

use crate::support::network::Network;
use crate::support::{
    Counter, NodeProcess, Process, Speaker, closed_port, fail, http, id, join, key, name, run,
    succeed, wait_for,
};

/// The answer to what is written, as it is.
fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    // It may answer, and hang up, before all was written.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(address: SocketAddr, path: &str, host: &str) -> String {
    ask(address, &format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"))
}

fn ops(node: &NodeProcess) -> String {
    node.started["ops"].as_str().unwrap().to_owned()
}

fn address(url: &str) -> SocketAddr {
    url.strip_prefix("http://").unwrap().parse().unwrap()
}

fn scrape(ops: &str) -> String {
    let (status, body) = http(&format!("{ops}/metrics"));
    assert_eq!(status, 200);
    String::from_utf8(body).unwrap()
}

/// Scrapes when all that is in the ledger is counted.
fn scrape_all(ops: &str) -> String {
    wait_for("the counting of all entries", || {
        let told = scrape(ops);
        let samples = samples(&told);
        (samples.get("colearn_followed_entries") == samples.get("colearn_ledger_entries"))
            .then_some(told)
    })
}

/// Each sample by its name and labels, as they are written; no two may be of one name.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let body = text.strip_suffix("# EOF\n").expect("it ends where it should");
    for line in body.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        let before = samples.insert(name.to_owned(), value.parse().unwrap());
        assert_eq!(before, None, "twice: {line}");
    }
    samples
}

/// Its families with their kinds.
fn families(text: &str) -> BTreeMap<String, String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let family = |line: &str| {
        let (name, kind) = line.split_once(' ').unwrap();
        let behind = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        (format!("{name}{behind}"), kind.to_owned())
    };
    types.map(family).collect()
}

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The metrics that the documentation lists, with their kinds.
fn documented() -> BTreeMap<String, String> {
    let page = std::fs::read_to_string(file("docs/operations.md")).unwrap();
    let rows = page.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let (name, kind) = (cells.next()?.trim_end_matches('`'), cells.next()?);
        ["gauge", "counter", "histogram", "info"]
            .contains(&kind)
            .then(|| (name.to_owned(), kind.to_owned()))
    });
    rows.collect()
}

/// What in a text looks like the name of a metric.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let names = words.filter(|word| word.starts_with("colearn_") || word.starts_with("process_"));
    names.map(str::to_owned).collect()
}

/// A node with an experiment in which everybody has done something, and some were refused.
struct Watched {
    node: NodeProcess,
    speaker: Speaker,
}

async fn watched(data: &Path, more: &[&str]) -> Watched {
    let arguments = ["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"];
    let mut command = NodeProcess::command(data, &[&arguments[..], more].concat());
    command.env_remove("COLEARN_LOG");
    let log = std::fs::File::create(data.with_extension("log")).unwrap();
    command.stderr(log);
    let node = NodeProcess::start_command(command);
    let mut speaker = Speaker::connect(&node.url).await;
    let weights: Vec<Weights> = (0..3).map(Counter::weights).collect();
    speaker.create("x", &weights[0], 3).await;
    for seed in [1, 2] {
        let Act::Join(mut joins) = join("x", 3, 0).what else { unreachable!() };
        joins.name = (seed == 1).then(|| "Spital \"Süd\" {a=1}".parse().unwrap());
        speaker.act(&key(seed), Action::new(name("x"), Act::Join(joins))).await.unwrap();
    }
    for weights in &weights[1..] {
        speaker.client.upload(weights).await.unwrap();
    }
    let propose = |round, base: &Weights, weights: &Weights| {
        let (base, weights) = (base.digest(), weights.model(SAFETENSORS));
        let (scores, privacy) = (Scores { vote: Some(1), test: None }, None);
        let proposal = Proposal { round, base, weights, scores, privacy };
        Action::new(name("x"), Act::Propose(proposal))
    };
    let vote = |round, weights: &Weights, choice| {
        let (weights, scores) = (weights.digest(), Scores { vote: Some(-5), test: Some(7) });
        let (reason, link) = (None, None);
        Action::new(name("x"), Act::Vote(Vote { round, weights, choice, reason, scores, link }))
    };
    let approve = |round, weights| vote(round, weights, Choice::Approve);
    speaker.act(&key(1), propose(1, &weights[0], &weights[1])).await.unwrap();
    // The proposer has no vote, a stranger none either, and what is not there cannot be proposed.
    speaker.act(&key(1), approve(1, &weights[1])).await.unwrap_err();
    speaker.act(&key(9), approve(1, &weights[1])).await.unwrap_err();
    speaker.act(&key(2), approve(1, &weights[1])).await.unwrap();
    let missing = Counter::weights(77);
    speaker.act(&key(2), propose(2, &weights[1], &missing)).await.unwrap_err();
    speaker.act(&key(2), propose(2, &weights[1], &weights[2])).await.unwrap();
    speaker.act(&key(1), vote(2, &weights[2], Choice::Reject)).await.unwrap();
    Watched { node, speaker }
}

/// What the ledger itself says, by `colearn ledger show`.
fn entries(node: &NodeProcess) -> Vec<Value> {
    let shown = succeed(&["ledger", "show", &node.url, "--json"]);
    shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_what_the_ledger_says_and_what_the_documentation_lists() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    // One that is not there: what it would have cosigned is told.
    let witness = colearn_ledger::Signer::new("w", KeyKind::Witness, key(1)).unwrap();
    let witness = format!("w={}@http://{}", witness.verifier(), closed_port());
    let Watched { node, .. } = watched(&data, &["--witness", &witness]).await;
    let text = scrape_all(&ops(&node));
    let told = samples(&text);
    let is = |name: &str| *told.get(name).unwrap_or_else(|| panic!("no {name} in:\n{text}"));

    let entries = entries(&node);
    let of = |kind: &str| entries.iter().filter(|it| it["record"][kind].is_object()).count() as f64;
    assert_eq!(is("colearn_ledger_entries"), entries.len() as f64);
    assert_eq!(is("colearn_checkpoint_entries"), entries.len() as f64);
    assert_eq!(is("colearn_entries_total{kind=\"transaction\"}"), of("transaction"));
    assert_eq!(is("colearn_entries_total{kind=\"outcome\"}"), of("outcome"));
    assert_eq!(is("colearn_entries_total{kind=\"other\"}"), 1.0, "the genesis");
    for (act, count) in [("create", 1.0), ("join", 2.0), ("propose", 2.0), ("vote", 2.0)] {
        assert_eq!(is(&format!("colearn_transactions_total{{act=\"{act}\"}}")), count);
    }
    assert_eq!(is("colearn_receipt_seconds_count"), 7.0);
    assert_eq!(is("colearn_batch_transactions_sum"), 9.0, "two were refused by the contract");
    assert!(is("colearn_sync_seconds_count") >= 1.0);
    for verdict in ["accepted", "rejected"] {
        assert_eq!(is(&format!("colearn_rounds_total{{verdict=\"{verdict}\"}}")), 1.0);
        let of = format!("experiment=\"x\",verdict=\"{verdict}\"");
        assert_eq!(is(&format!("colearn_experiment_rounds_total{{{of}}}")), 1.0);
    }
    assert_eq!(is("colearn_experiments{phase=\"proposing\"}"), 1.0);
    assert_eq!(is("colearn_experiment_phase{experiment=\"x\",phase=\"proposing\"}"), 1.0);
    assert_eq!(is("colearn_experiment_phase{experiment=\"x\",phase=\"waiting\"}"), 0.0);
    assert_eq!(is("colearn_experiment_round{experiment=\"x\"}"), 3.0);
    assert_eq!(is("colearn_experiment_members{experiment=\"x\"}"), 2.0);
    assert!(is("colearn_experiment_deadline_seconds{experiment=\"x\"}") > 0.0);
    for seed in [1, 2] {
        let of = format!("experiment=\"x\",member=\"{}\"", &id(&key(seed)).to_string()[..16]);
        // Each was last heard in the last transaction of its own.
        let own = entries.iter().rfind(|entry| {
            entry["record"]["transaction"]["sender"] == id(&key(seed)).to_string().as_str()
        });
        let last_ms = own.unwrap()["time_ms"].as_f64().unwrap();
        let seen = is(&format!("colearn_member_last_seen_timestamp_seconds{{{of}}}"));
        assert!((seen - last_ms / 1e3).abs() < 1e-6, "{seen} {last_ms}");
        assert_eq!(is(&format!("colearn_member_missed_turns{{{of}}}")), 0.0);
    }
    let refused: Vec<_> = told.iter().filter(|(it, _)| it.contains("refusals_total")).collect();
    let by_contract = refused.iter().filter(|(it, _)| it.contains("by=\"contract\",class=\"R"));
    assert_eq!(by_contract.map(|(_, count)| **count).sum::<f64>(), 2.0, "{refused:?}");
    assert_eq!(is("colearn_refusals_total{by=\"node\",class=\"no_weights\"}"), 1.0);
    assert_eq!(is("colearn_uploads_total"), 3.0);
    assert_eq!(is("colearn_uploaded_bytes_total"), 24.0);
    assert_eq!(is("colearn_artifacts_stored_bytes"), 24.0);
    assert_eq!(is("colearn_ready"), 1.0);
    assert_eq!((is("colearn_witnesses"), is("colearn_witnessed_entries")), (1.0, 0.0));
    assert_eq!(is("colearn_metrics_left_out{what=\"members\"}"), 0.0);

    // What is downloaded is counted, whichever way.
    let digest = Counter::weights(0).digest();
    http(&format!("{}/artifact/{digest}", node.url));
    let speaker = Speaker::connect(&node.url).await;
    speaker.client.download(&Counter::weights(1).model(SAFETENSORS)).await.unwrap();
    wait_for("the counting of downloads", || {
        let told = samples(&scrape(&ops(&node)));
        (told["colearn_downloaded_bytes_total"] == 16.0).then_some(())
    });

    // The documentation lists all that there is, and nothing else.
    let (mut listed, found) = (documented(), families(&text));
    let of_several: Vec<_> =
        listed.keys().filter(|it| it.starts_with("colearn_network_")).cloned().collect();
    assert_eq!(of_several.len(), 5);
    of_several.iter().for_each(|name| drop(listed.remove(name)));
    // As long as no witness has cosigned there is no time of that.
    listed.remove("colearn_witnessed_timestamp_seconds").unwrap();
    if cfg!(not(target_os = "linux")) {
        listed.retain(|name, _| !name.starts_with("process_"));
    }
    assert_eq!(listed, found);

    // After a restart the ledger's counters are the same, and what was counted besides begins anew.
    node.stop();
    let more = ["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"];
    let again = NodeProcess::start_with(&data, &more);
    let text = scrape_all(&ops(&again));
    let now = samples(&text);
    for (name, value) in &told {
        let is_ledgers = ["colearn_entries_", "colearn_transactions_", "colearn_rounds_"]
            .iter()
            .any(|prefix| name.starts_with(prefix));
        if is_ledgers || name.starts_with("colearn_experiment_rounds_") {
            assert_eq!(now.get(name), Some(value), "{name}");
        }
    }
    assert!(!text.contains("colearn_refusals_total"), "{text}");
}

#[test]
fn boards_and_alerts_name_metrics_that_there_are() {
    let listed = documented();
    let mut known: BTreeSet<String> = listed.keys().cloned().collect();
    for (name, _) in listed.iter().filter(|(_, kind)| *kind == "histogram") {
        known.extend(["_bucket", "_sum", "_count"].map(|behind| format!("{name}{behind}")));
    }
    let board = std::fs::read_to_string(file("deploy/grafana/colearn.json")).unwrap();
    let board: Value = serde_json::from_str(&board).unwrap();
    let mut asked = String::new();
    for panel in board["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            asked += target["expr"].as_str().unwrap();
            asked += "\n";
        }
    }
    for variable in board["templating"]["list"].as_array().unwrap() {
        asked += variable["definition"].as_str().unwrap_or_default();
    }
    let of_board = named(&asked);
    assert!(of_board.len() > 20, "{of_board:?}");
    assert_eq!(of_board.difference(&known).collect::<Vec<_>>(), Vec::<&String>::new());
    let alerts = std::fs::read_to_string(file("deploy/prometheus/alerts.yml")).unwrap();
    let of_alerts = named(&alerts);
    assert!(of_alerts.len() > 10, "{of_alerts:?}");
    assert_eq!(of_alerts.difference(&known).collect::<Vec<_>>(), Vec::<&String>::new());
    // And of each alert it is said what to do.
    let page = std::fs::read_to_string(file("docs/operations.md")).unwrap();
    let names = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    let names: Vec<&str> = names.collect();
    assert!(names.len() > 10);
    names.iter().for_each(|it| assert!(page.contains(&format!("| `{it}` |")), "{it}"));
}

/// With the parser of Prometheus' own client for Python.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_program_reads_the_metrics() {
    let python = std::env::var("COLEARN_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let there = Command::new(&python).args(["-c", "import prometheus_client"]).output();
    if !there.is_ok_and(|output| output.status.success()) {
        let why = format!("{python} has no prometheus-client: pip install prometheus-client");
        colearn_testkit::skip("prometheus_client", &why);
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let Watched { node, .. } = watched(&dir.path().join("data"), &[]).await;
    let text = scrape_all(&ops(&node));
    let script = "import sys\n\
        from prometheus_client.openmetrics.parser import text_string_to_metric_families as read\n\
        samples = [sample for family in read(sys.stdin.read()) for sample in family.samples]\n\
        print(len(samples))";
    let mut command = Command::new(&python);
    command
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut reading = command.spawn().unwrap();
    reading.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let read = reading.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&read.stderr);
    assert!(read.status.success(), "{said}\n{text}");
    let count = String::from_utf8(read.stdout).unwrap();
    assert_eq!(count.trim(), samples(&text).len().to_string());
}

#[test]
fn alerts_are_rules_that_say_what_they_should() {
    if Command::new("promtool").arg("--version").output().is_err() {
        colearn_testkit::skip("promtool", "it is in Debian's package prometheus");
        return;
    }
    for arguments in [
        ["check", "config", "prometheus.yml"],
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts_test.yml"],
    ] {
        let mut command = Command::new("promtool");
        let checked =
            command.args(arguments).current_dir(file("deploy/prometheus")).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (said, errors) = (text(&checked.stdout), text(&checked.stderr));
        assert!(checked.status.success(), "{arguments:?}: {said}{errors}");
    }
}

#[test]
fn a_node_whose_disk_is_full_is_well_and_not_ready() {
    let dir = tempfile::tempdir().unwrap();
    let more = ["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"];
    let node = NodeProcess::start_with(dir.path(), &more);
    let ok = (200, b"ok\n".to_vec());
    for path in ["healthz", "readyz"] {
        assert_eq!(http(&format!("{}/{path}", ops(&node))), ok);
    }
    // Where learners are it is told only that it goes on.
    assert_eq!(http(&format!("{}/healthz", node.url)), ok);
    node.stop();
    let reserve = u64::MAX.to_string();
    let full =
        NodeProcess::start_with(dir.path(), &[&more[..], &["--reserve-bytes", &reserve]].concat());
    assert_eq!(http(&format!("{}/healthz", ops(&full))), ok);
    let (status, why) = http(&format!("{}/readyz", ops(&full)));
    let why = String::from_utf8(why).unwrap();
    assert!(status == 503 && why.contains("disk is nearly full"), "{status} {why}");
    let told = samples(&scrape(&ops(&full)));
    assert_eq!(told["colearn_ready"], 0.0);
    assert!(told["colearn_disk_free_bytes"] < told["colearn_disk_reserve_bytes"]);
}

#[test]
fn where_it_listens_is_said_and_what_cannot_be_had_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    // A free port where the node's own is any.
    let mut node = Process::start(&["node", "--data", &path("a"), "--listen", "127.0.0.1:0"]);
    let metrics = loop {
        let line = node.line().expect("it says so");
        if let Some(url) = line.strip_prefix("metrics       ") {
            break url.to_owned();
        }
    };
    assert_eq!(http(&metrics).0, 200);
    node.terminate();
    assert_eq!(node.wait(), Some(0));

    let off = NodeProcess::start_with(
        &dir.path().join("a"),
        &["--ops-listen", "off", "--listen", "127.0.0.1:0"],
    );
    assert_eq!(off.started["ops"], Value::Null);
    off.stop();

    // Asked for and taken it does not start;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let at = address.to_string();
    let data = path("a");
    let start = ["node", "--data", &data, "--listen", "127.0.0.1:0", "--ops-listen"];
    let error = fail(&[&start[..], &[&at]].concat());
    assert!(error.contains("(--ops-listen)") && error.contains(&at), "{error}");
    let output = run(&[&start[..], &["here"]].concat());
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && error.contains("nor off"), "{error}");
    // not asked for it goes on without, and says so.
    let before = SocketAddr::from((address.ip(), address.port() - 1)).to_string();
    let mut command =
        crate::support::colearn(&["node", "--json", "--until-eof", "--data", &data, "--listen"]);
    let output = command.arg(&before).stdin(Stdio::null()).output().unwrap();
    let (out, error) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    // The port before it may be somebody else's.
    if !error.contains("cannot listen on") {
        let started: Value = serde_json::from_str(out.trim()).unwrap();
        assert_eq!(started["ops"], Value::Null);
        assert!(
            error.contains("metrics and health are not served") && error.contains(&at),
            "{error}"
        );
    }
    // Where others reach it that is said.
    let arguments = [&start[..], &["0.0.0.0:0", "--until-eof"]].concat();
    let error = String::from_utf8(run(&arguments).stderr).unwrap();
    assert!(error.contains("has no TLS"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_there_is_in_the_way() {
    let dir = tempfile::tempdir().unwrap();
    let more = ["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"];
    let node = NodeProcess::start_with(dir.path(), &more);
    let (at, host) = (address(&ops(&node)), address(&ops(&node)).to_string());

    // A page in a browser that comes under another name reads nothing.
    for name in ["evil.example", &format!("evil.example:{}", at.port()), "10.0.0.1", ""] {
        let answer = get(at, "/metrics", name);
        assert!(answer.starts_with("HTTP/1.1 421 ") && !answer.contains("colearn_"), "{answer}");
    }
    let without = ask(at, "GET /metrics HTTP/1.1\r\nconnection: close\r\n\r\n");
    assert!(!without.contains("colearn_"), "{without}");
    let answer = get(at, "/", "localhost");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("/metrics "), "{answer}");
    let answer = get(at, "/metrics", &host);
    assert!(answer.contains("application/openmetrics-text; version=1.0.0"), "{answer}");
    assert!(answer.contains("nosniff") && answer.contains("no-store"), "{answer}");

    let post = format!("POST /metrics HTTP/1.1\r\nhost: {host}\r\ncontent-length: 3\r\n\r\nabc");
    assert!(ask(at, &post).starts_with("HTTP/1.1 405 "));
    let body = format!("GET /metrics HTTP/1.1\r\nhost: {host}\r\ncontent-length: 3\r\n\r\nabc");
    assert!(ask(at, &body).starts_with("HTTP/1.1 400 "));
    let head =
        ask(at, &format!("HEAD /metrics HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"));
    assert!(head.starts_with("HTTP/1.1 200 ") && !head.contains("colearn_"), "{head}");
    assert!(get(at, "/checkpoint", &host).starts_with("HTTP/1.1 404 "));
    let huge = format!("GET / HTTP/1.1\r\nhost: {host}\r\nx: {}\r\n\r\n", "a".repeat(4 << 20));
    let answer = ask(at, &huge);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");

    // A crowd that says nothing keeps neither Prometheus out nor learners.
    let crowd: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(at).unwrap()).collect();
    let mut speaker = Speaker::connect(&node.url).await;
    speaker.create("x", &Counter::weights(0), 3).await;
    assert_eq!(http(&format!("{}/healthz", node.url)).0, 200);
    let told = samples(&scrape(&ops(&node)));
    assert!(told["colearn_connections"] < 16.0, "they are not counted with the others");
    drop(crowd);
    node.stop();
}

/// The lines of a log in JSON that tell of what happens.
fn events(log: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect(line));
    lines.filter(|line| line["target"] == "colearn_node::events").collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_is_logged_a_line_each() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let Watched { node, mut speaker } = watched(&data, &["--log-format", "json"]).await;
    // The same refusal once more is told within a minute, and not at once.
    for _ in 0..50 {
        let action = Action::new(name("nothing"), Act::Join(Join::new(0, None)));
        speaker.act(&key(5), action).await.unwrap_err();
    }
    let log = data.with_extension("log");
    let of = |message: &str| -> Vec<Value> {
        events(&log).into_iter().filter(|line| line["message"] == message).collect()
    };
    let closed =
        wait_for("the rounds' lines", || Some(of("round closed")).filter(|it| it.len() == 2));
    assert_eq!(
        (&closed[0]["verdict"], &closed[1]["verdict"]),
        (&"accepted".into(), &"rejected".into())
    );
    assert_eq!((&closed[0]["round"], &closed[0]["approvals"]), (&1.into(), &1.into()));
    assert_eq!((&closed[0]["experiment"], &closed[0]["electorate"]), (&"x".into(), &1.into()));
    assert_eq!(closed[0]["level"], "INFO");
    let entry = &entries(&node)[closed[0]["entry"].as_u64().unwrap() as usize];
    assert!(entry.to_string().contains("round_closed"), "{entry}");
    let joined = of("member joined");
    assert_eq!(joined.len(), 2);
    assert_eq!(joined[0]["member"], id(&key(1)).to_string()[..16]);
    assert_eq!(
        (&joined[0]["name"], &joined[1]["name"]),
        (&"Spital \"Süd\" {a=1}".into(), &Value::Null)
    );
    assert_eq!(of("experiment created").len(), 1);
    let uploads = of("upload finished");
    assert_eq!(uploads.len(), 3);
    assert_eq!((&uploads[0]["bytes"], &uploads[0]["from"]), (&8.into(), &"127.0.0.1".into()));
    let refused = of("refused");
    let unknown: Vec<_> = refused.iter().filter(|it| it["class"] == "R4").collect();
    assert!((1..5).contains(&unknown.len()), "{refused:?}");
    assert_eq!((&unknown[0]["by"], &unknown[0]["count"]), (&"contract".into(), &1.into()));
    let told = samples(&scrape(&ops(&node)));
    assert_eq!(told["colearn_refusals_total{by=\"contract\",class=\"R4\"}"], 50.0);
    node.stop();

    // What the ledger holds already is not told again; and in text it is a line for people.
    let Watched { node, .. } = {
        let more = ["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"];
        let mut command = NodeProcess::command(&data, &more);
        command.env_remove("COLEARN_LOG").stderr(std::fs::File::create(&log).unwrap());
        let node = NodeProcess::start_command(command);
        let speaker = Speaker::connect(&node.url).await;
        Watched { node, speaker }
    };
    scrape_all(&ops(&node));
    let mut speaker = Speaker::connect(&node.url).await;
    speaker
        .act(&key(2), Action::new(name("x"), Act::Leave { term: 0, renounce: false }))
        .await
        .unwrap();
    let text = wait_for("the line of who leaves", || {
        std::fs::read_to_string(&log).ok().filter(|text| text.contains("member leaves"))
    });
    assert!(!text.contains("round closed") && !text.contains("joined"), "{text}");
    assert!(text.contains("experiment=x"), "{text}");
    node.stop();
    // Who wants less has less.
    let more = ["--listen", "127.0.0.1:0", "--log-level", "error", "--until-eof"];
    let data = data.to_str().unwrap();
    let output = run(&[&["node", "--data", data], &more[..]].concat());
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_nodes_each_tells_whether_it_is_in_step() {
    let Some(mut network) = Network::start(4) else { return };
    network.stop(0);
    let node = network.start_node_with(0, &["--ops-listen", "127.0.0.1:0"]);
    let at = ops(&node);
    network.nodes[0] = Some(node);
    wait_for("its peers", || {
        let told = samples(&scrape_all(&at));
        (told.get("colearn_network_peers") == Some(&3.0)).then_some(())
    });
    let mut speaker = Speaker::connect(&network.url(0)).await;
    speaker.create("x", &Counter::weights(0), 3).await;
    let told = samples(&scrape_all(&at));
    assert_eq!((told["colearn_network_nodes"], told["colearn_network_in_step"]), (4.0, 1.0));
    assert!(told["colearn_network_height"] >= 1.0);
    assert!(told["colearn_batch_transactions_count"] >= 1.0);
    let listed = documented();
    let of_several = listed.keys().filter(|it| it.starts_with("colearn_network_"));
    of_several.for_each(|name| assert!(told.contains_key(name), "{name}"));
    assert_eq!(http(&format!("{at}/readyz")).0, 200);
}
