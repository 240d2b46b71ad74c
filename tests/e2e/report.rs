//! What an auditor hands in: the report of an audit, as a page and as the document that it is made from.

use std::path::Path;

use colearn_contracts::{
    Act, Action, Admission, Choice, Close, CreateExperiment, Evaluation, Join, Measure, Motion,
    Parameters, Proposal, Scores, VERSION, Vote,
};
use colearn_sdk::learner::{SAFETENSORS, Weights};
use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::{Counter, NodeProcess, Speaker, copy, fail, id, key, name, run, succeed};

const HOSTILE: &str = "<img src=x onerror=alert(1)>";

/// The rules that `y` begins with.
fn rules(rounds: u64) -> Parameters {
    Parameters {
        max_rounds: Some(rounds),
        close: Close::Early,
        missed_turns: None,
        min_learners: 3,
        max_weights_bytes: 1 << 20,
        ..Parameters::default()
    }
}

/// What the tests' members do, one after the other.
struct Members {
    speaker: Speaker,
    model: Weights,
}

impl Members {
    /// Three members of an experiment `y`, the second with a hostile name.
    async fn join(node: &NodeProcess, rounds: u64) -> Self {
        let speaker = Speaker::connect(&node.url).await;
        let model = Counter::weights(0);
        speaker.client.upload(&model).await.unwrap();
        let create = CreateExperiment {
            version: VERSION.number(),
            parameters: rules(rounds),
            admission: Admission::Open,
            model: model.model(SAFETENSORS),
            plan: None,
        };
        let mut members = Self { speaker, model };
        members.act(1, Act::Create(create)).await;
        for (seed, called) in [(1, "City Hospital"), (2, HOSTILE), (3, "Third")] {
            let join = Join { name: Some(called.parse().unwrap()), ..Join::new(0, None) };
            members.act(seed, Act::Join(join)).await;
        }
        members
    }

    async fn act(&mut self, seed: u8, act: Act) -> u64 {
        self.speaker.act(&key(seed), Action::new(name("y"), act)).await.unwrap()
    }

    async fn propose(&mut self, seed: u8, round: u64) -> Weights {
        let weights = Counter::weights(round);
        self.speaker.client.upload(&weights).await.unwrap();
        let base = self.model.digest();
        let proposed = weights.model(SAFETENSORS);
        let scores = Scores::default();
        let proposal = Proposal { round, base, weights: proposed, scores, privacy: None };
        self.act(seed, Act::Propose(proposal)).await;
        weights
    }

    async fn vote(&mut self, seed: u8, round: u64, weights: &Weights, choice: Choice) -> u64 {
        let (weights, scores) = (weights.digest(), Scores::default());
        let vote = Vote { round, weights, choice, reason: None, scores, link: None };
        self.act(seed, Act::Vote(vote)).await
    }

    /// A round in which the next in turn proposes, and one of the others approves.
    async fn accepted(&mut self, round: u64) {
        let proposer = ((round - 1) % 3 + 1) as u8;
        let weights = self.propose(proposer, round).await;
        self.vote(proposer % 3 + 1, round, &weights, Choice::Approve).await;
        self.model = weights;
    }
}

/// A motion that changes a rule, and three rounds: one is accepted, one is not, and one is passed.
async fn three_rounds(node: &NodeProcess) -> Members {
    let mut members = Members::join(node, 3).await;
    members.accepted(1).await;
    let parameters = Parameters { patience: Some(9), ..rules(3) };
    let motion = Motion::SetParameters(Box::new(parameters));
    members.act(2, Act::Move { number: 1, motion }).await;
    members.act(1, Act::MotionVote { number: 1, approve: true }).await;
    let measures = vec![Measure { name: "auc".parse().unwrap(), value_micros: 912_000 }];
    let model = members.model.digest();
    members.act(1, Act::Evaluate(Evaluation { number: 1, model, measures })).await;
    let bad = members.propose(2, 2).await;
    members.vote(1, 2, &bad, Choice::Reject).await;
    members.vote(3, 2, &bad, Choice::Reject).await;
    members.act(3, Act::Pass { round: 3, exhausted: false, reason: None }).await;
    members
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn read_json(path: &Path) -> Value {
    serde_json::from_str(&read(path)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_tells_of_members_rules_rounds_and_absences() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let text = |name: &str| path(name).to_str().unwrap().to_owned();
    let node = NodeProcess::start(&path("data"));
    three_rounds(&node).await;
    let (page, document) = (text("audit.html"), text("audit.json"));
    let audit = ["audit", &node.url, "--report", &page, "--report", &document];
    assert!(succeed(&audit).contains("AUDIT OK "));

    let report = read_json(&path("audit.json"));
    assert_eq!((&report["schema"], &report["result"]["ok"]), (&1.into(), &true.into()));
    let ledger = &report["ledger"];
    assert_eq!(ledger["place"], node.url);
    assert_eq!(ledger["id"], node.started["ledger_id"]);
    assert_eq!(ledger["entries"], ledger["followed_entries"]);
    assert_eq!(ledger["signed_by"].as_array().unwrap().len(), 1);
    assert!(ledger["checkpoint"].as_str().unwrap().contains("\n\u{2014} "), "{ledger}");
    // What was not looked at is said.
    let by = |what: &str| {
        let claims = report["claims"].as_array().unwrap();
        claims.iter().find(|it| it["what"] == what).unwrap()["by"].as_str().unwrap()
    };
    assert_eq!(by("Who did what"), "here");
    assert_eq!(by("What the models were trained on"), "nobody");
    assert_eq!(by("That nothing was taken back"), "nobody");
    assert_eq!(by("That others are shown the same history"), "nobody");
    assert_eq!(by("Names"), "members");

    let told = &report["experiments"][0];
    assert_eq!(told["name"], "y");
    assert_eq!(told["round_counts"], json!({ "accepted": 1, "passed": 1, "rejected": 1 }));
    let members = told["members"].as_array().unwrap();
    let names: Vec<&str> = members.iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["City Hospital", HOSTILE, "Third"]);
    assert_eq!(members[0]["key"], id(&key(1)).to_string());
    assert!(members[0]["stays"][0]["joined_ms"].as_u64().unwrap() > 0);
    // The third did not vote in the first round, and passed in the third.
    assert_eq!(members[2]["missed_votes"], json!([[1, 1]]));
    assert_eq!(members[2]["missed_turns"], json!([[3, 3]]));
    assert_eq!(members[0]["missed_votes"], json!([]));
    let motion = &told["motions"][0];
    assert_eq!((&motion["adopted"], &motion["mover"]["name"]), (&true.into(), &HOSTILE.into()));
    assert_eq!(motion["votes_for"][0]["name"], "City Hospital");
    assert_eq!(motion["text"], "set patience = 9");
    assert!(!told["initial_rules"].as_str().unwrap().contains("patience"));
    assert!(told["rules"].as_str().unwrap().contains("patience = 9\n"));
    assert_eq!(told["evaluations"][0]["measures"], json!({ "auc": 0.912 }));
    let rounds = told["rounds"].as_array().unwrap();
    assert_eq!(rounds[0]["proposed"], Counter::weights(1).digest().to_string());
    assert_eq!((&rounds[0]["proposer"], &rounds[0]["missed_votes"]), (&1.into(), &json!([3])));
    let vote = &rounds[1]["votes"][0];
    assert_eq!(vote["choice"], "reject");
    let shown = ["ledger", "show", &node.url, "--count", "1", "--start"];
    let entry = succeed(&[&shown[..], &[&vote["entry"].to_string()]].concat());
    assert!(entry.contains("rejects in y round 2"), "{entry}");
    assert_eq!(told["model"]["digest"], Counter::weights(1).digest().to_string());

    // The page is made from it, and what others wrote is text.
    let told = read(&path("audit.html"));
    assert!(told.contains("<strong>PASSED.</strong>"), "{told}");
    assert!(told.contains("&lt;img src=x") && !told.contains("<img"), "{told}");
    for round in rounds {
        for digest in [&round["proposed"], &report["ledger"]["root"]] {
            assert!(digest.as_str().is_none_or(|digest| told.contains(digest)), "{digest}");
        }
    }

    // Nothing that is there is replaced unless that is asked for.
    let refused = fail(&audit);
    assert!(refused.contains("is there already") && refused.contains("--force"), "{refused}");
    std::fs::write(path("audit.html"), "old").unwrap();
    succeed(&[&audit[..], &["--force"]].concat());
    assert!(read(&path("audit.html")).contains("PASSED"));
    let other = fail(&["audit", &node.url, "--report", &text("none/audit.html")]);
    assert!(other.contains("is no folder"), "{other}");
    let none = ["audit", &node.url, "--report", &text("z.html"), "--experiment", "z"];
    let output = run(&none);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no experiment z"), "{output:?}");
    assert!(!path("z.html").exists());
    let tree = ["audit", &node.url, "--report", &text("z.html"), "--level", "tree"];
    assert!(fail(&tree).contains("--level contract"));
    node.stop();
}

#[test]
fn ledgers_of_earlier_versions_with_merges_and_privacy_have_reports() {
    let dir = tempfile::tempdir().unwrap();
    let frozen = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/frozen");
    let (mut merged, mut private) = (0, 0);
    for version in ["v1", "v2", "transcript"] {
        let place = frozen.join(version);
        let [page, document] =
            ["html", "json"].map(|form| dir.path().join(version).with_extension(form));
        let report = |path: &Path| path.to_str().unwrap().to_owned();
        let audit = ["audit", place.to_str().unwrap(), "--report", &report(&page)];
        succeed(&[&audit[..], &["--report", &report(&document)]].concat());
        assert!(read(&page).contains("PASSED"));
        let experiments = read_json(&document)["experiments"].take();
        for told in experiments.as_array().unwrap() {
            merged += told["rounds"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|it| !it["merged"].is_null())
                .count();
            private += told["privacy"]["learners"].as_array().unwrap().len();
            assert_ne!(told["rules"], Value::Null, "{told}");
        }
    }
    assert!(merged > 0 && private > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_that_fails_has_a_report_that_says_so_first() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let text = |name: &str| path(name).to_str().unwrap().to_owned();
    let node = NodeProcess::start(&path("data"));
    three_rounds(&node).await;
    let url = node.url.clone();
    let audited = |place: &str, more: &[&str]| {
        let (page, document) = (text("audit.html"), text("audit.json"));
        let audit = ["audit", place, "--force", "--report", &page, "--report", &document];
        let code = run(&[&audit[..], more].concat()).status.code().unwrap();
        let report = read_json(&path("audit.json"));
        assert_eq!(report["result"]["exit_code"], code, "{report}");
        assert_eq!(report["result"]["ok"], false);
        let here = |it: &Value| it["by"] == "here";
        assert!(!report["claims"].as_array().unwrap().iter().any(here), "nothing is claimed");
        let page = read(&path("audit.html"));
        let failed = page.find("<strong>FAILED (exit code ").unwrap();
        assert!(failed < page.find("<main>").unwrap(), "{page}");
        (code, report)
    };
    // Another ledger than the one that is insisted on: all of it is there.
    let (code, report) = audited(&url, &["--ledger", &"0".repeat(64)]);
    assert_eq!((code, &report["result"]["findings"][0]["kind"]), (10, &"genesis".into()));
    assert_eq!(report["experiments"][0]["round_count"], 3);
    // Witnesses that have not seen it.
    let witness = colearn_ledger::Signer::new("w1", colearn_ledger::note::KeyKind::Witness, key(7));
    let witness = witness.unwrap().verifier().to_string();
    let (code, report) = audited(&url, &["--witness", &witness]);
    assert_eq!((code, &report["ledger"]["witnesses"][0]["cosigned"]), (11, &false.into()));
    node.stop();

    // Damage half way: what was before it is told, and not more.
    copy(&path("data"), &path("copy"));
    let journal = path("copy/ledger/journal/00000000.journal");
    let mut bytes = std::fs::read(&journal).unwrap();
    let at = bytes.len() * 2 / 3;
    bytes[at] ^= 1;
    std::fs::write(&journal, bytes).unwrap();
    let (code, report) = audited(&text("copy"), &[]);
    assert_eq!(code, 13, "{report}");
    let entry = &report["result"]["findings"][0]["entry"];
    assert_eq!(entry, &report["ledger"]["followed_entries"]);
    let told = &report["experiments"][0];
    assert!(told["round_count"].as_u64().unwrap() >= 1 && told["rules"].is_null(), "{told}");
    // Not even a beginning.
    std::fs::write(&journal, b"").unwrap();
    let (_, report) = audited(&text("copy"), &[]);
    assert_eq!(report["experiments"], json!([]));
    // Nothing that could be audited: no report.
    let gone = text("gone.html");
    fail(&["audit", &text("nowhere"), "--report", &gone]);
    assert!(!Path::new(&gone).exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_opens_a_long_report_and_asks_nobody_for_anything() {
    let Some(mut browser) = Browser::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let node = NodeProcess::start(&path("data"));
    // More than are open at once; many more, to measure: COLEARN_REPORT_ROUNDS=10000.
    let rounds =
        std::env::var("COLEARN_REPORT_ROUNDS").map_or(300, |rounds| rounds.parse().unwrap());
    let mut members = Members::join(&node, rounds).await;
    for round in 1..=rounds {
        members.accepted(round).await;
    }
    let page = path("audit.html");
    succeed(&["audit", &node.url, "--report", page.to_str().unwrap()]);
    let url = format!("file://{}", page.display());
    browser.look(1024, 800, false);
    let began = std::time::Instant::now();
    browser.open(&url);
    browser.wait_until(
        "document.readyState === 'complete' && document.querySelector('main') !== null",
    );
    let (took, bytes) = (began.elapsed(), std::fs::metadata(&page).unwrap().len());
    println!("{rounds} rounds, a page of {bytes} bytes, opened in {took:?}");
    let rows = "document.querySelectorAll('details table tbody tr').length";
    assert_eq!(browser.value(rows), rounds);
    // Long ones are folded up.
    assert_eq!(browser.value("document.querySelectorAll('details[open] table').length"), 0);
    assert_eq!(browser.value("document.querySelectorAll('img, script, [style]').length"), 0);
    let text = browser.value("document.querySelector('main').textContent");
    assert!(text.as_str().unwrap().contains(HOSTILE));
    assert!(browser.nameless().is_empty());
    for (width, height) in [(390, 844), (1024, 800), (1920, 1080)] {
        for dark in [false, true] {
            browser.look(width, height, dark);
            let wide = browser.value("document.documentElement.scrollWidth");
            assert!(wide.as_u64().unwrap() <= u64::from(width), "at {width}: {wide}");
            let back = browser.value("getComputedStyle(document.body).backgroundColor");
            assert_eq!(back == "rgb(16, 21, 27)", dark, "its style is applied: {back}");
        }
    }
    if let Some(folder) = std::env::var_os("COLEARN_SCREENSHOTS") {
        browser.look(1024, 800, false);
        browser.picture(&Path::new(&folder).join("report.png"));
    }
    let complaints = browser.complaints();
    assert!(complaints.is_empty(), "{complaints:?}");
    assert!(browser.asked().iter().all(|asked| *asked == url || asked.starts_with("about:")));
    node.stop();
}

#[test]
fn an_experiment_stands_on_the_agreements_of_its_plan() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let text = |name: &str| path(name).to_str().unwrap().to_owned();
    let node = NodeProcess::start(&path("data"));
    let (contract, other) = (text("contract.txt"), text("other.txt"));
    std::fs::write(&contract, "We share gradients.").unwrap();
    std::fs::write(&other, "We share everything.").unwrap();
    std::fs::write(path("weights"), Counter::weights(0).bytes()).unwrap();
    std::fs::write(path("plan.toml"), "max_rounds = 9\nadmission = \"open\"\n").unwrap();
    let (weights, plan, key) = (text("weights"), text("plan.toml"), text("a.pem"));
    succeed(&["key", "new", &key]);
    let create = |name: &str, more: &[&str]| {
        let create = ["experiment", "create", name, "--key", &key, "--weights", &weights];
        succeed(&[&create[..], &["--node", &node.url, "--plan", &plan], more].concat())
    };
    let created = create("x", &["--agreement", &format!("Data \"sharing\"={contract}")]);
    create("bare", &[]);
    // What is printed is pasted into the plan that is handed around.
    let line = created.lines().find(|line| line.starts_with("agreement = ")).unwrap();
    let agreed = text("agreed.toml");
    std::fs::write(&agreed, format!("{line}\n{}", read(&path("plan.toml")))).unwrap();
    let show = |name: &str, plan: &str, files: &[&str]| {
        let show = ["experiment", "agreements", name, "--plan", plan, "--from", &node.url];
        let output = run(&[&show[..], files].concat());
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, told) = show("x", &agreed, &[&contract]);
    assert_eq!(code, 0, "{told}");
    assert!(
        told.contains("contract.txt, sha-256 ") && told.contains(": Data \"sharing\"\n"),
        "{told}"
    );
    assert!(told.ends_with("AGREEMENTS OK experiment=x agreements=1 files=1\n"), "{told}");
    // Another document, another title, an experiment without any.
    let failed = |(code, told): (i32, String), reason: &str| {
        assert!(code == 3 && told.ends_with(&format!("reason={reason}\n")), "{told}");
    };
    failed(show("x", &agreed, &[&contract, &other]), "unknown_file");
    let renamed = text("renamed.toml");
    std::fs::write(&renamed, read(&path("agreed.toml")).replace("sharing", "selling")).unwrap();
    failed(show("x", &renamed, &[]), "other_plan");
    failed(show("bare", &agreed, &[&contract]), "other_plan");
    assert!(fail(&["experiment", "agreements", "x", "--plan", &plan]).contains("no agreements"));
    let json = ["experiment", "agreements", "x", "--plan", &agreed, "--from", &node.url, "--json"];
    let told: Value = serde_json::from_str(&succeed(&json)).unwrap();
    assert_eq!(
        (&told["ok"], &told["agreements"][0]["title"]),
        (&true.into(), &"Data \"sharing\"".into())
    );

    // Who joins by a plan insists on its agreements, whatever else fits.
    let doctor = |plan: &str| {
        let doctor = ["doctor", "--experiment", "x", "--key", &key, "--plan", plan];
        let output = run(&[&doctor[..], &["--node", &node.url]].concat());
        String::from_utf8(output.stdout).unwrap()
    };
    let learner =
        ["learner", "--experiment", "x", "--key", &key, "--node", &node.url, "--plan", &renamed];
    let output = run(&learner);
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        told.contains("- agreement = ") && told.contains("created from another plan"),
        "{told}"
    );
    assert!(String::from_utf8_lossy(&output.stderr).contains("nothing was joined"), "{output:?}");
    assert_ne!(doctor(&agreed), doctor(&renamed));

    // The report shows them to whoever hands in the plan.
    let report = |more: &[&str]| {
        let audit = ["audit", &node.url, "--force", "--report", &text("audit.json")];
        succeed(&[&audit[..], &["--report", &text("audit.html")], more].concat());
        read_json(&path("audit.json"))["experiments"].take()
    };
    let told = report(&["--plan", &agreed]);
    assert_eq!(
        (&told[0]["name"], &told[0]["agreements"]["state"]),
        (&"bare".into(), &"none".into())
    );
    assert_eq!(told[1]["agreements"]["list"][0]["title"], "Data \"sharing\"");
    assert!(read(&path("audit.html")).contains("Data &quot;sharing&quot;"));
    assert_eq!(report(&[])[1]["agreements"]["state"], "not_shown");
    assert_eq!(report(&["--plan", &renamed])[1]["agreements"]["state"], "other");
    node.stop();
}
