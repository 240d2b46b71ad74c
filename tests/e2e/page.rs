//! `colearn ui`: what it serves, whom it answers, what it says when the node goes away or lies, and how it looks in a
//! real browser.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;

use colearn_contracts::{Act, Action, Join};
use colearn_sdk::client::Memory;
use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::{
    Counter, NodeProcess, Process, Speaker, copy, fail, http, id, key, name, succeed, wait_for,
};

/// What somebody might call itself, so that who looks at it does something.
pub(crate) const HOSTILE: &str = "<img src=x onerror=alert(1)>";

/// A page that is served.
struct Ui {
    process: Process,
    address: String,
}

impl Ui {
    fn start(arguments: &[&str]) -> Self {
        let more = ["ui", "--listen", "127.0.0.1:0", "--json"];
        let mut process = Process::start(&[&more[..], arguments].concat());
        let line: Value = serde_json::from_str(&process.line().expect("it starts")).unwrap();
        Self { process, address: line["address"].as_str().unwrap().to_owned() }
    }

    fn at(url: &str) -> Self {
        Self::start(&["--node", url])
    }

    fn get(&self, path: &str) -> Value {
        let (status, body) = http(&format!("{}{path}", self.address));
        assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    }

    fn state(&self, experiment: &str) -> Value {
        self.get(&format!("api/state?experiment={experiment}&rounds=500"))
    }

    /// Waits until the state is so.
    fn wait(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        wait_for(what, || Some(self.get("api/state")).filter(|state| is(state)))
    }

    /// `host:port`, and what comes behind it.
    fn parts(&self) -> (&str, &str) {
        let rest = self.address.strip_prefix("http://").unwrap();
        rest.split_at(rest.find('/').unwrap())
    }

    /// Sends a request as it stands, and gives the head of the answer.
    fn raw(&self, request: &str) -> (String, BufReader<TcpStream>) {
        let mut stream = TcpStream::connect(self.parts().0).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap() > 0 {}
        (head.to_lowercase(), reader)
    }
}

/// Has three learners finish four rounds of the digits, one of them with a hostile name.
pub(crate) fn digits(node: &NodeProcess, dir: &Path) -> Vec<String> {
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let keys = ["a.pem", "b.pem", "c.pem"].map(path);
    let ids = keys.clone().map(|key| succeed(&["key", "new", &key]).trim().to_owned());
    let create =
        ["experiment", "create", "digits", "--node", &node.url, "--key", &keys[0], "--open"];
    succeed(&[&create[..], &["--min-learners", "3", "--max-rounds", "4"]].concat());
    let learner = |(at, key): (usize, &String)| {
        let (share, called) = (format!("{}/3", at + 1), ["Ann", "Bob", HOSTILE][at]);
        let arguments = ["learner", "--node", &node.url, "--experiment", "digits", "--key", key];
        Process::start(&[&arguments[..], &["--share", &share, "--name", called]].concat())
    };
    let mut learners: Vec<Process> = keys.iter().enumerate().map(learner).collect();
    for learner in &mut learners {
        while learner.line().is_some() {}
        assert_eq!(learner.wait(), Some(0));
    }
    ids.to_vec()
}

fn json_of(arguments: &[&str]) -> Value {
    serde_json::from_str(&succeed(arguments)).unwrap()
}

#[test]
fn it_tells_what_the_commands_tell_and_as_it_happens() {
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(&dir.path().join("data"));
    let ui = Ui::at(&node.url);
    let empty = ui.get("api/state");
    assert_eq!(empty["experiments"], json!([]));
    assert_eq!(empty["ledger"]["entries"], 1);

    // Somebody waits for what happens, who was told how it stands first.
    let (host, base) = ui.parts();
    let (head, events) = ui.raw(&format!("GET {base}api/events HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    assert!(head.starts_with("http/1.1 200") && head.contains("text/event-stream"), "{head}");
    let mut events = events.lines().map(Result::unwrap);
    let mut next = || -> u64 {
        let data = events.by_ref().find_map(|line| line.strip_prefix("data: ").map(str::to_owned));
        let data: Value = serde_json::from_str(&data.expect("the stream goes on")).unwrap();
        data["revision"].as_u64().unwrap()
    };
    let before = next();
    let ids = digits(&node, dir.path());
    assert!(next() > before, "it is told of what has happened");
    let is_over = |state: &Value| state["experiments"][0]["finished"] == true;
    let state = ui.wait("the last round", is_over);
    assert_eq!(state["ledger"]["entries"], 1 + 1 + 3 + 4 * 6 + 1);

    // What is shown of the experiment is what the command shows.
    let state = ui.state("digits");
    let mut shown = json_of(&["experiment", "show", "digits", "--node", &node.url, "--json"]);
    let history = shown["history"].take();
    assert_eq!(state["shown"]["history"], history);
    assert_eq!(state["shown"]["experiment"], shown);
    assert_eq!(history["rounds"].as_array().unwrap().len(), 4);
    let privacy = json_of(&["experiment", "privacy", "digits", "--node", &node.url, "--json"]);
    assert_eq!(state["shown"]["privacy"], privacy);
    // Fewer rounds are the last ones.
    let last = ui.get("api/state?experiment=digits&rounds=1");
    assert_eq!(last["shown"]["history"]["rounds"], json!([history["rounds"][3]]));
    assert_eq!(last["shown"]["first_round"], 4);
    let points = state["shown"]["curve"]["rows"].as_array().unwrap();
    let means: Vec<&Value> = points.iter().map(|point| &point[1]).collect();
    let expected = history["rounds"].as_array().unwrap().iter().map(|it| &it["mean_vote_score"]);
    assert_eq!(means, expected.collect::<Vec<_>>());
    // Each has its sign in each round.
    let grid = &state["shown"]["grid"];
    assert_eq!(grid["rounds"], json!([1, 2, 3, 4]));
    assert_eq!(grid["rows"].as_array().unwrap().len(), 3);
    for row in grid["rows"].as_array().unwrap() {
        let learner = row["learner"].as_str().unwrap();
        for (at, round) in history["rounds"].as_array().unwrap().iter().enumerate() {
            let is_proposer = round["proposer"] == learner;
            let expected = match round["votes"][learner]["choice"].as_str() {
                None if is_proposer && round["verdict"] == "accepted" => "won",
                None if is_proposer => "lost",
                // A round may be decided before everybody has voted.
                None => "absent",
                Some(choice) => choice,
            };
            assert_eq!(row["deeds"][at], expected, "{round}");
            assert!(grid["signs"][expected]["meaning"].is_string(), "{grid}");
        }
    }
    let people = state["shown"]["people"].as_array().unwrap();
    assert!(people.iter().any(|it| it["name"] == HOSTILE && it["learner"] == ids[2].as_str()));

    // A round is explained as by the command.
    let mut explained = ui.get("api/round/digits/2");
    let round = ["round", "2", "--from", &node.url, "--explain"];
    assert_eq!(explained["text"], succeed(&round).as_str());
    explained.as_object_mut().unwrap().remove("text");
    assert_eq!(explained, json_of(&[&round[..], &["--json"]].concat()));
    assert_eq!(http(&format!("{}api/round/digits/5", ui.address)).0, 404);
    assert_eq!(http(&format!("{}api/round/none/1", ui.address)).0, 404);

    // Things are found by what one has at hand.
    let kinds = |asked: &str| -> Vec<String> {
        let found = ui.get(&format!("api/search?q={asked}"));
        let found = found["found"].as_array().unwrap();
        found.iter().map(|it| it["kind"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(kinds(&ids[1][..12]), ["member"]);
    assert_eq!(kinds("ann"), ["member"]);
    assert_eq!(kinds("digi"), ["experiment"]);
    assert_eq!(kinds("7")[0], "entry");
    let weights = history["rounds"][0]["weights"].as_str().unwrap();
    assert!(kinds(&weights[..10]).iter().all(|kind| kind == "model") && !kinds(weights).is_empty());
    let entry = ui.get("api/entry/7");
    let command = ["ledger", "show", &node.url, "--start", "7", "--count", "1", "--json"];
    let command = json_of(&command);
    assert_eq!(entry["record"], command["record"]);
    assert_eq!(kinds(command["leaf_hash"].as_str().unwrap()), ["entry"]);
    assert!(kinds("nothing-of-that").is_empty() && kinds("").is_empty());
    assert_eq!(http(&format!("{}api/entry/99999", ui.address)).0, 404);
    assert_eq!(http(&format!("{}api/state?experiment=No%20Name", ui.address)).0, 400);

    // The page says what was verified, and by whom.
    let by = |state: &Value, what: &str| {
        let claims = state["claims"].as_array().unwrap().clone();
        let claim = claims.into_iter().find(|it| it["what"].as_str().unwrap().contains(what));
        claim.unwrap()["by"].as_str().unwrap().to_owned()
    };
    assert_eq!(by(&state, "Who did what"), "here");
    assert_eq!(by(&state, "Times"), "node");
    assert_eq!(by(&state, "right ledger"), "node", "nothing was insisted on");
    let ledger = state["ledger"]["id"].as_str().unwrap();
    let pinned = Ui::start(&["--node", &node.url, "--ledger", ledger]);
    assert_eq!(by(&pinned.get("api/state"), "right ledger"), "here");

    // A folder is audited and shown as it was.
    let data = dir.path().join("data");
    let folder = Ui::start(&[data.to_str().unwrap()]);
    let of_folder = folder.state("digits");
    assert_eq!(of_folder["source"]["kind"], "folder");
    assert_eq!(of_folder["connection"]["state"], "read");
    assert_eq!(of_folder["shown"]["history"], history);
    assert_eq!(of_folder["ledger"]["root"], state["ledger"]["root"]);
    assert_eq!(by(&of_folder, "Who did what"), "here");
}

#[test]
fn it_answers_its_own_user_and_no_other_site() {
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(&dir.path().join("data"));
    let ui = Ui::at(&node.url);
    let (host, base) = ui.parts();
    let status = |request: &str| {
        let (head, _) = ui.raw(request);
        head.split_whitespace().nth(1).unwrap_or_default().to_owned()
    };
    let get =
        |host: &str, path: &str| status(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    let state = format!("{base}api/state");
    assert_eq!(get(host, &state), "200");
    assert_eq!(get(&host.replace("127.0.0.1", "localhost"), &state), "200");
    // Another site whose name was made to lead here,
    assert_eq!(get(&host.replace("127.0.0.1", "evil.example"), &state), "421");
    assert_eq!(get("127.0.0.1", &state), "421");
    // another user of the machine, who does not know the secret,
    for path in ["/", "/api/state", "/page.js", &state.replace(&base[1..9], "00000000")] {
        assert_eq!(get(host, path), "404", "{path}");
    }
    // and who would change something.
    for method in ["POST", "PUT", "DELETE"] {
        let request =
            format!("{method} {state} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(status(&request), "405", "{method}");
    }
    let (head, _) = ui.raw(&format!("GET {base} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    for header in [
        "content-security-policy: default-src 'none'; script-src 'self';",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "cross-origin-resource-policy: same-origin",
        "cache-control: no-store",
    ] {
        assert!(head.contains(header), "{header}: {head}");
    }
    // What is embedded says nothing that the policy would have to forbid.
    let (_, html) = http(&ui.address);
    let html = String::from_utf8(html).unwrap();
    assert!(
        !html.contains("http:") && !html.contains("https:") && !html.contains("style="),
        "{html}"
    );

    let elsewhere = fail(&["ui", "--node", &node.url, "--listen", "0.0.0.0:0"]);
    assert!(
        elsewhere.contains("for this machine only") && elsewhere.contains("ssh -L"),
        "{elsewhere}"
    );
    let taken = fail(&["ui", "--node", &node.url, "--listen", host]);
    assert!(
        taken.contains("cannot listen on") && taken.contains("--listen 127.0.0.1:0"),
        "{taken}"
    );
    let nowhere = fail(&["ui", "--node", "http://127.0.0.1:1", "--listen", "127.0.0.1:0"]);
    assert!(nowhere.contains("no node answers"), "{nowhere}");
    let keyed = fail(&["ui", "some-folder", "--key", "a.pem", "--listen", "127.0.0.1:0"]);
    assert!(keyed.contains("--key is for nodes"), "{keyed}");
    let mut ui = ui;
    ui.process.terminate();
    assert_eq!(ui.process.wait(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_waits_for_a_node_that_is_away_and_says_when_it_lies() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let node = NodeProcess::start(&path("data"));
    let mut speaker = Speaker::connect(&node.url).await;
    speaker.create("x", &Counter::weights(0), 3).await;
    let address = node.address();
    let join = |seed: u8| {
        let url = format!("http://{address}");
        async move {
            let mut speaker = Speaker::connect(&url).await;
            let join = Action::new(name("x"), Act::Join(Join::new(0, None)));
            speaker.act(&key(seed), join).await.unwrap();
        }
    };
    let pem = path("ui.pem");
    let pem = pem.to_str().unwrap();
    succeed(&["key", "new", pem]);
    let start = || Ui::start(&["--node", &format!("http://{address}"), "--key", pem]);
    let ui = start();
    assert_eq!(ui.get("api/state")["connection"]["state"], "live");
    drop(speaker);
    node.stop();
    let away = ui.wait("it notices", |state| state["connection"]["state"] == "away");
    assert!(
        away["connection"]["since_ms"].as_u64().unwrap() > 0 && away["alarm"].is_null(),
        "{away}"
    );
    assert_eq!(away["ledger"]["entries"], 2, "what it had stays");
    copy(&path("data"), &path("old"));
    copy(&path("data"), &path("other"));

    // It comes back, and goes on by itself.
    let node = NodeProcess::start_at(&path("data"), &address);
    join(1).await;
    ui.wait("the entry after it came back", |state| {
        state["connection"]["state"] == "live" && state["ledger"]["entries"] == 3
    });
    node.stop();

    // Put back to an older copy, it is caught, and nothing is claimed as long as it shows less.
    let node = NodeProcess::start_at(&path("old"), &address);
    let caught = ui.wait("the older copy", |state| state["alarm"]["kind"] == "rolled_back");
    assert!(caught["alarm"]["what"].as_str().unwrap().starts_with("ROLLED BACK: "), "{caught}");
    let claimed = |state: &Value, by: &str| {
        state["claims"].as_array().unwrap().iter().any(|claim| claim["by"] == by)
    };
    assert!(!claimed(&caught, "here") && claimed(&caught, "withdrawn"), "{caught}");
    node.stop();
    let node = NodeProcess::start_at(&path("data"), &address);
    let forgiven = ui.wait("what it had", |state| state["alarm"].is_null());
    assert!(claimed(&forgiven, "here") && !claimed(&forgiven, "withdrawn"), "{forgiven}");
    node.stop();

    // Another history under the same key.
    let _node = NodeProcess::start_at(&path("other"), &address);
    join(2).await;
    join(3).await;
    let forked = ui.wait("the fork", |state| state["alarm"]["kind"] == "fork");
    assert!(forked["alarm"]["what"].as_str().unwrap().contains("evidence"), "{forked}");
    assert!(!claimed(&forked, "here"), "{forked}");
    assert_eq!(forked["ledger"]["entries"], 3, "nothing of it is shown");
    let ended = ui.wait("it is given up", |state| state["connection"]["state"] == "ended");
    assert_eq!(ended["alarm"]["kind"], "fork");
    // The key remembers it, so that a page that is started later is not taken in.
    drop(ui);
    let error = fail(&[
        "ui",
        "--node",
        &format!("http://{address}"),
        "--key",
        pem,
        "--listen",
        "127.0.0.1:0",
    ]);
    assert!(error.contains("FORK: "), "{error}");
    let bound = Memory::open(
        &path("ui.pem.data"),
        id(&colearn_records::keys::load(Path::new(pem)).unwrap()),
    );
    assert!(bound.is_ok());

    // A folder that was changed is shown in red, too.
    let journal = path("old").join("ledger/journal/00000000.journal");
    let mut bytes = std::fs::read(&journal).unwrap();
    let last = bytes.len() - 20;
    bytes[last] ^= 1;
    std::fs::write(&journal, bytes).unwrap();
    let ui = Ui::start(&[path("old").to_str().unwrap()]);
    let state = ui.get("api/state");
    assert_eq!(state["alarm"]["kind"], "audit_failed", "{state}");
    assert!(!claimed(&state, "here"), "{state}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_goes_on_from_where_a_key_stands_with_all_that_was_before() {
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(&dir.path().join("data"));
    let mut speaker = Speaker::connect(&node.url).await;
    speaker.create("x", &Counter::weights(0), 3).await;
    let mut joined = async |seeds: std::ops::Range<u16>| {
        for seed in seeds {
            let mut bytes = [9; 32];
            bytes[..2].copy_from_slice(&seed.to_le_bytes());
            let key = ed25519_dalek::SigningKey::from_bytes(&bytes);
            let join = Action::new(name("x"), Act::Join(Join::new(0, None)));
            speaker.act(&key, join).await.unwrap();
        }
    };
    // Beyond one tile.
    joined(0..300).await;
    let pem = dir.path().join("ui.pem");
    let pem = pem.to_str().unwrap();
    succeed(&["key", "new", pem]);
    let key = ["--node", &node.url, "--key", pem];
    let first = Ui::start(&key).get("api/state");
    let size = first["ledger"]["entries"].as_u64().unwrap();
    assert!(size > 300, "{size}");
    // What was followed is remembered, and shown again. Then it grows.
    let again = Ui::start(&key);
    let state = again.state("x");
    assert_eq!(state["ledger"]["root"], first["ledger"]["root"]);
    assert_eq!(state["shown"]["people"].as_array().unwrap().len(), 300);
    joined(300..302).await;
    let grown = |state: &Value| state["ledger"]["entries"].as_u64() >= Some(size + 2);
    let state = again.wait("two more", grown);
    let audited = succeed(&["audit", &node.url]);
    let root = state["ledger"]["root"].as_str().unwrap();
    assert!(audited.contains(&format!("root={root}")), "{audited}");
}

#[test]
fn it_is_seen_heard_and_used_in_a_browser() {
    let Some(mut browser) = Browser::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(&dir.path().join("data"));
    let ui = Ui::at(&node.url);
    browser.look(1024, 800, false);
    browser.open(&ui.address);
    browser.wait_until("document.body?.dataset.revision !== undefined");
    assert_eq!(browser.value("document.querySelector('h1').textContent"), "Experiments");

    // It changes by itself as rounds close.
    browser.value("location.hash = '#/x/digits'");
    digits(&node, dir.path());
    browser.wait_until("document.querySelectorAll('#rounds tbody tr').length === 4");
    browser.wait_until("document.querySelector('main').textContent.includes('finished')");
    let history = ui.state("digits")["shown"]["history"].take();
    let score = history["rounds"][3]["mean_vote_score"].as_f64().unwrap();
    let first_row = browser.value("document.querySelector('#rounds tbody tr').textContent");
    assert!(first_row.as_str().unwrap().contains(&format!("{score:.3}")), "{first_row}");

    // What others wrote is text.
    let told = browser.value("document.querySelector('main').textContent");
    assert!(told.as_str().unwrap().contains(HOSTILE), "{told}");
    assert_eq!(browser.value("document.querySelectorAll('main img').length"), 0);

    // Who has no mouse reads the scores of each round.
    browser.value("document.getElementById('cursor').focus()");
    let readout = "document.getElementById('readout').textContent";
    assert!(browser.value(readout).as_str().unwrap().starts_with("Round 4: "));
    browser.press("ArrowLeft", 37);
    browser.wait_until(&format!("{readout}.startsWith('Round 3: ')"));
    let spoken = browser.value("document.getElementById('cursor').getAttribute('aria-valuetext')");
    assert!(spoken.as_str().unwrap().starts_with("Round 3: "), "{spoken}");
    assert_eq!(browser.value("document.activeElement.id"), "cursor", "the focus stays");

    // A page that nobody sees holds none of the six connections that a browser has to a server, and is up to date
    // when it is seen again.
    let see = |browser: &mut Browser, hidden: bool| {
        browser.value(&format!(
            "Object.defineProperty(document, 'hidden', {{ value: {hidden}, configurable: true }}); \
             document.dispatchEvent(new Event('visibilitychange'))"
        ));
    };
    browser.wait_until("events !== null && events.readyState === EventSource.OPEN");
    see(&mut browser, true);
    assert_eq!(browser.value("events === null"), true);
    let before = ui.get("api/state")["ledger"]["entries"].as_u64().unwrap();
    let key = dir.path().join("a.pem");
    let create = ["experiment", "create", "unseen", "--node", &node.url, "--open", "--key"];
    succeed(&[&create[..], &[key.to_str().unwrap()]].concat());
    ui.wait("the other experiment", |state| state["ledger"]["entries"] == before + 1);
    assert_eq!(browser.value("state.ledger.entries"), before);
    see(&mut browser, false);
    browser.wait_until(&format!("state.ledger.entries === {}", before + 1));
    browser.wait_until("events !== null && events.readyState === EventSource.OPEN");

    let pages = [
        ("#/", "Experiments"),
        ("#/x/digits", "digits"),
        ("#/x/digits/round/2", "Round 2 of digits"),
        ("#/ledger", "Ledger"),
        ("#/verified", "What is verified, and how"),
        ("#/search?q=ann", "Search"),
        ("#/entry/7", "Entry 7"),
    ];
    let pictures = std::env::var_os("COLEARN_SCREENSHOTS");
    for (hash, title) in pages {
        browser.value(&format!("location.hash = '{hash}'"));
        browser.wait_until(&format!(
            "document.body.dataset.shown === '{hash}' && !document.querySelector('main').textContent.includes('Loading') \
             && !document.querySelector('main').textContent.includes('Searching')"
        ));
        assert_eq!(
            browser
                .value("[...document.querySelectorAll('h1')].map((it) => it.textContent).join()"),
            title
        );
        for landmark in ["header", "nav", "main", "footer", "[role=search]", "[role=status]"] {
            let count = browser.value(&format!("document.querySelectorAll('{landmark}').length"));
            assert_eq!(count, 1, "{hash}: {landmark}");
        }
        let nameless = browser.nameless();
        assert!(nameless.is_empty(), "{hash}: {nameless:?}");
        for (width, height) in [(390, 844), (1024, 800), (1920, 1080)] {
            for dark in [false, true] {
                browser.look(width, height, dark);
                let wide = browser.value("document.documentElement.scrollWidth");
                assert!(wide.as_u64().unwrap() <= u64::from(width), "{hash} at {width}: {wide}");
                if let Some(folder) = &pictures {
                    let page = title.split(' ').next().unwrap();
                    let scheme = if dark { "dark" } else { "light" };
                    let file = Path::new(folder).join(format!("{page}-{width}-{scheme}.png"));
                    browser.picture(&file);
                }
            }
        }
    }
    // What a keyboard reaches first.
    let complaints = browser.complaints();
    assert!(complaints.is_empty(), "{complaints:?}");
    let elsewhere = browser
        .asked()
        .into_iter()
        .filter(|url| !url.starts_with(&ui.address) && *url != "about:blank");
    assert_eq!(elsewhere.collect::<Vec<_>>(), Vec::<&str>::new());

    // The node goes away, and the page says so; and of this program, too.
    node.stop();
    browser.wait_until(
        "document.getElementById('standing').textContent.includes('The node is not reached')",
    );
    drop(ui);
    browser
        .wait_until("document.getElementById('standing').textContent.includes('has not answered')");
    assert!(
        browser.value("document.querySelector('h1').textContent") == "Entry 7",
        "what was there stays"
    );
}

#[test]
fn a_node_shows_the_same_at_its_own_port_to_everybody_who_may_read() {
    let dir = tempfile::tempdir().unwrap();
    let ops = |node: &NodeProcess| node.started["ops"].as_str().unwrap().to_owned();
    let more = ["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"];
    let node = NodeProcess::start_with(&dir.path().join("data"), &more);
    let page = node.started["page"].as_str().unwrap().to_owned();
    assert_eq!(page, format!("{}/page/", ops(&node)));
    digits(&node, dir.path());
    let get = |path: &str| -> Value {
        let (status, body) = http(&format!("{page}{path}"));
        assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    };
    let of_node = wait_for("the reading of the ledger", || {
        let state = get("api/state?experiment=digits&rounds=500");
        (state["connection"]["state"] == "live").then_some(state)
    });

    // It is the same document, which says that the node says it.
    let ui = Ui::at(&node.url);
    let of_ui = ui.state("digits");
    for part in ["shown", "experiments", "experiment_count", "ledger"] {
        assert_eq!(of_node[part], of_ui[part], "{part}");
    }
    assert_eq!(of_node["source"]["kind"], "says");
    let claims = of_node["claims"].as_array().unwrap();
    assert!(!claims.is_empty() && claims.iter().all(|claim| claim["by"] == "node"), "{of_node}");
    let answers = ["api/round/digits/2", "api/entry/7", "api/search?q=ann"];
    answers.iter().for_each(|path| assert_eq!(get(path), ui.get(path), "{path}"));
    let (status, index) = http(&format!("{}/", ops(&node)));
    assert!(status == 200 && String::from_utf8(index).unwrap().contains("\n/page/  "));
    let (status, html) = http(page.strip_suffix('/').unwrap());
    assert!(status == 200 && html.starts_with(b"<!doctype html>"), "it leads to the page");

    // What holds at that port holds for the page; and it is told of what happens.
    let host = page.strip_prefix("http://").unwrap().split('/').next().unwrap().to_owned();
    let raw = |request: String| {
        let mut stream = TcpStream::connect(&host).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap() > 0 {}
        (head.to_lowercase(), reader)
    };
    let asked = |method: &str, host: &str, path: &str| {
        raw(format!("{method} /page/{path} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
    };
    assert!(asked("GET", "evil.example", "api/state").0.starts_with("http/1.1 421"));
    assert!(asked("POST", &host, "api/state").0.starts_with("http/1.1 405"));
    let (head, events) = asked("GET", &host, "api/events");
    assert!(head.contains("text/event-stream") && head.contains("default-src 'none'"), "{head}");
    let mut events = events.lines().map(Result::unwrap);
    let mut next = || events.by_ref().find(|line| line.starts_with("data: "));
    let first = next().unwrap();
    let key = dir.path().join("a.pem");
    let create = ["experiment", "create", "more", "--node", &node.url, "--open", "--key"];
    succeed(&[&create[..], &[key.to_str().unwrap()]].concat());
    assert_ne!(next().unwrap(), first);
    // Not more listen than leave room for who collects metrics.
    let mut open = Vec::new();
    let refused = loop {
        let (head, stream) = asked("GET", &host, "api/events");
        match head.starts_with("http/1.1 200") {
            true => open.push(stream),
            false => break head,
        }
    };
    assert!(refused.starts_with("http/1.1 503") && open.len() == 5, "{refused} {}", open.len());
    assert_eq!(http(&format!("{}/metrics", ops(&node))).0, 200);
    // Whoever listens does not keep the node from stopping.
    node.stop();
    assert_eq!(next(), None);

    // Where not everybody may read, nobody is told, on this machine neither.
    let more = [&more[..], &["--read", "members"]].concat();
    let node = NodeProcess::start_with(&dir.path().join("data"), &more);
    assert_eq!(node.started["page"], Value::Null);
    for path in ["/page", "/page/"] {
        let (status, told) = http(&format!("{}{path}", ops(&node)));
        assert_eq!(status, 403);
        assert!(String::from_utf8(told).unwrap().contains("colearn top with --key"));
    }
    for path in ["/page/api/state", "/page/api/events", "/page/api/entry/1"] {
        assert_eq!(http(&format!("{}{path}", ops(&node))).0, 404, "{path}");
    }
}
