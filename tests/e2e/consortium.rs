//! The rules that a consortium lives by, over real nodes: sealed ballots, absence, votes of the
//! members, plans, changed keys.

use std::time::Duration;

use colearn_contracts::{
    Act, Action, Admission, BallotKind, CreateExperiment, Join, Parameters, PrivacyCap,
    PrivacySegment, VERSION, Verdict,
};
use colearn_dp::Composition;
use colearn_ledger::Signer;
use colearn_ledger::note::KeyKind;
use colearn_records::keys;
use colearn_sdk::client::{self, Event, Options};
use colearn_sdk::learner::{Learner, Privacy, Proposed, Result, SAFETENSORS, Score, Weights};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::support::{Counter, NodeProcess, Speaker, fail, id, key, name, run, succeed};

async fn create(speaker: &mut Speaker, parameters: Parameters) {
    let weights = Counter::weights(0);
    speaker.client.upload(&weights).await.unwrap();
    let create = CreateExperiment {
        version: VERSION.number(),
        parameters,
        admission: Admission::Open,
        model: weights.model(SAFETENSORS),
        plan: None,
    };
    speaker.act(&key(200), Action::new(name("x"), Act::Create(create))).await.unwrap();
}

/// Runs a counter, or whatever else, as the learner with this key; its events.
fn start<L: Learner + Send + 'static>(
    learner: L,
    seed: u8,
    node: &NodeProcess,
    data: &std::path::Path,
) -> (mpsc::UnboundedReceiver<Event>, tokio::task::JoinHandle<()>) {
    let (sender, events) = mpsc::unbounded_channel();
    let options = Options {
        data: Some(data.join(format!("learner-{seed}"))),
        // Nobody may listen any more.
        watch: Box::new(move |event| drop(sender.send(event.clone()))),
        ..Options::new(&node.url, name("x"), key(seed))
    };
    let task = tokio::spawn(async move {
        client::run(learner, options).await.unwrap();
    });
    (events, task)
}

async fn wait_for(
    events: &mut mpsc::UnboundedReceiver<Event>,
    mut wanted: impl FnMut(&Event) -> bool,
) -> Event {
    let search = async {
        loop {
            let event = events.recv().await.expect("the learner goes on");
            if wanted(&event) {
                return event;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(120), search).await.expect("the event comes")
}

fn audit(node: &NodeProcess) {
    let report = succeed(&["audit", &node.url]);
    assert!(report.contains("AUDIT OK "), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sealed_ballot_is_revealed_after_a_restart_between() {
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(&dir.path().join("data"));
    let mut speaker = Speaker::connect(&node.url).await;
    let parameters = Parameters {
        ballot: BallotKind::Sealed,
        min_learners: 3,
        max_rounds: Some(2),
        ..Parameters::default()
    };
    create(&mut speaker, parameters).await;
    for seed in 1..=3 {
        speaker
            .act(&key(seed), Action::new(name("x"), Act::Join(Join::new(0, None))))
            .await
            .unwrap();
    }
    let (mut first, first_task) = start(Counter { value: 0 }, 1, &node, dir.path());
    let (mut second, task) = start(Counter { value: 0 }, 2, &node, dir.path());
    wait_for(&mut second, |event| matches!(event, Event::Committed { round: 1 })).await;
    task.abort();
    // The third commits, so it is time to reveal, while the second is away.
    let (mut third, third_task) = start(Counter { value: 0 }, 3, &node, dir.path());
    wait_for(&mut third, |event| matches!(event, Event::Voted { round: 1, .. })).await;
    let (mut second, second_task) = start(Counter { value: 0 }, 2, &node, dir.path());
    wait_for(&mut second, |event| matches!(event, Event::Voted { round: 1, .. })).await;
    let closed = wait_for(&mut first, |event| matches!(event, Event::RoundClosed { .. })).await;
    let Event::RoundClosed { verdict, approvals, electorate, .. } = closed else { panic!() };
    assert_eq!((verdict, approvals, electorate), (Verdict::Accepted, 2, 2));
    for task in [first_task, second_task, third_task] {
        task.await.unwrap();
    }
    // Until all had committed nobody could read a vote.
    let shown = succeed(&["round", "1", "--from", &node.url]);
    let first_reveal = shown.lines().position(|line| line.contains("reveals that it")).unwrap();
    let last_commit = shown.lines().filter(|line| line.contains("commits to a ballot")).count();
    assert_eq!(last_commit, 2, "{shown}");
    assert!(!shown.lines().take(first_reveal).any(|line| line.contains("approves")), "{shown}");
    audit(&node);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_absent_are_suspended_the_experiment_pauses_and_goes_on_when_they_return() {
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(&dir.path().join("data"));
    let mut speaker = Speaker::connect(&node.url).await;
    let parameters = Parameters {
        proposal_deadline_ms: 30,
        missed_turns: None,
        idle_rotations: Some(1),
        max_rounds: Some(6),
        ..Parameters::default()
    };
    create(&mut speaker, parameters).await;
    for seed in 1..=2 {
        speaker
            .act(&key(seed), Action::new(name("x"), Act::Join(Join::new(0, None))))
            .await
            .unwrap();
    }
    // Nobody proposes for a whole rotation.
    crate::support::wait_for("the pause", || {
        succeed(&["experiment", "list", "--node", &node.url])
            .contains("paused: nobody proposes")
            .then_some(())
    });
    let round = succeed(&["ledger", "show", &node.url]);
    assert!(round.contains("x pauses: nobody has proposed for too long"), "{round}");
    let pass = Action::new(name("x"), Act::Pass { round: 2, exhausted: false, reason: None });
    let refused = speaker.act(&key(1), pass).await.unwrap_err().to_string();
    assert!(refused.contains("R40: "), "{refused}");

    // One who returns lets it go on by itself; slow turns may pause it again.
    let (mut first, first_task) = start(Counter { value: 0 }, 1, &node, dir.path());
    wait_for(&mut first, |event| {
        matches!(event, Event::Resumed | Event::RoundClosed { .. } | Event::MyTurn { .. })
    })
    .await;
    let (_second, second_task) = start(Counter { value: 0 }, 2, &node, dir.path());
    let resume = ["experiment", "resume", "x", "--node", &node.url, "--key"];
    let key_file = dir.path().join("one.pem");
    keys::save_new(&key(1), &key_file).unwrap();
    crate::support::wait_for("the end", || {
        // Refused unless it is paused at this moment.
        run(&[&resume[..], &[key_file.to_str().unwrap()]].concat());
        let list = succeed(&["experiment", "list", "--node", &node.url]);
        list.contains("finished").then_some(())
    });
    first_task.await.unwrap();
    second_task.await.unwrap();
    audit(&node);
}

#[test]
fn members_decide_together_by_a_plan_that_all_have_agreed_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let node = NodeProcess::start(&dir.path().join("data"));
    let new_key = |name: &str| succeed(&["key", "new", &path(name)]).trim().to_owned();
    let (ann, bob) = (new_key("ann.pem"), new_key("bob.pem"));
    new_key("eve.pem");
    let plan = format!(
        "threshold = \"1/2\"\nselection = \"sortition\"\nmax_rounds = 4\nadmission = \"by_vote\"\n\
         [members]\n{ann} = 3\n{bob} = 1\n"
    );
    std::fs::write(path("x.toml"), &plan).unwrap();
    std::fs::write(path("bad.toml"), "threshold = \"1/2\"\ntreshold = 1\n").unwrap();
    let at = ["--node", &node.url];
    let create = |plan: &str| {
        let create =
            ["experiment", "create", "x", "--key", &path("ann.pem"), "--plan", &path(plan)];
        run(&[&create[..], &at].concat())
    };
    let stderr = String::from_utf8(create("bad.toml").stderr).unwrap();
    assert!(stderr.contains("bad.toml: line 2: unknown field `treshold`"), "{stderr}");
    let stdout = String::from_utf8(create("x.toml").stdout).unwrap();
    assert!(stdout.starts_with("created x, entry 1") && stdout.contains("\nplan "), "{stdout}");

    // What is in force is the plan again, and a learner insists on it.
    let effective = succeed(&[&["experiment", "plan", "x"], &at[..]].concat());
    std::fs::write(path("effective.toml"), &effective).unwrap();
    std::fs::write(path("other.toml"), plan.replace("1/2", "2/3")).unwrap();
    let learner = |who: &str, more: &[&str]| {
        let arguments = ["learner", "--experiment", "x", "--key", who];
        run(&[&arguments[..], &at, more].concat())
    };
    let refused = learner(&path("ann.pem"), &["--plan", &path("other.toml")]);
    let (out, err) = (String::from_utf8(refused.stdout).unwrap(), refused.stderr);
    assert!(out.ends_with("\n- threshold = \"2/3\"\n+ threshold = \"1/2\"\n"), "{out}");
    assert!(String::from_utf8(err).unwrap().contains("nothing was joined"));

    // Nor does anybody join elsewhere than the plan says; a flag says it better.
    let ledger = node.started["ledger_id"].as_str().unwrap();
    assert!(effective.contains(&format!("ledger = \"{ledger}\"")), "{effective}");
    let elsewhere = "11".repeat(32);
    std::fs::write(path("elsewhere.toml"), effective.replace(ledger, &elsewhere)).unwrap();
    for more in [["--plan", &path("elsewhere.toml")], ["--ledger", &elsewhere]] {
        let refused = String::from_utf8(learner(&path("ann.pem"), &more).stderr).unwrap();
        assert!(refused.contains(ledger) && refused.contains(&elsewhere), "{refused}");
    }
    let stranger = Signer::new("other", KeyKind::Log, key(9)).unwrap().verifier().to_string();
    let refused = learner(&path("ann.pem"), &["--verifier-key", &stranger]).stderr;
    let refused = String::from_utf8(refused).unwrap();
    assert!(refused.contains(&format!("never was by {stranger}")), "{refused}");

    // Neither the creator nor anybody else decides alone, and the uninvited have to wait.
    let stop = fail(&[&["experiment", "stop", "x", "--key", &path("bob.pem")], &at[..]].concat());
    assert!(stop.contains("R29: nobody may stop this experiment alone"), "{stop}");
    let refused = learner(&path("eve.pem"), &[]);
    assert!(String::from_utf8(refused.stderr).unwrap().contains("R6: "));
    let mut learners: Vec<_> = ["ann.pem", "bob.pem"]
        .iter()
        .enumerate()
        .map(|(i, file)| {
            let share = format!("{}/3", i + 1);
            let arguments =
                ["learner", "--experiment", "x", "--key", &path(file)].map(str::to_owned);
            let more = ["--share", &share, "--plan", &path("effective.toml")].map(str::to_owned);
            let all: Vec<String> = arguments.into_iter().chain(more).collect();
            let all: Vec<&str> = all.iter().map(String::as_str).chain(at).collect();
            crate::support::Process::start(&all)
        })
        .collect();
    for learner in &mut learners {
        while learner.line().is_some() {}
        assert_eq!(learner.wait(), Some(0));
    }

    // Anyone draws the proposers again, from the node or its folder.
    for place in [&node.url, &path("data")] {
        for round in ["1", "2", "3", "4"] {
            let told = succeed(&["round", round, "--from", place, "--explain"]);
            assert!(
                told.contains("selection   sortition") && told.contains("(as recorded)"),
                "{told}"
            );
        }
        let json = succeed(&["round", "2", "--from", place, "--explain", "--json"]);
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["candidates"].as_array().unwrap().len(), 1, "all but who proposed last");
    }
    let none = fail(&["round", "9", "--from", &node.url]);
    assert!(none.contains("the ledger has no round 9 of x"), "{none}");
    audit(&node);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn motions_and_new_keys_by_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let node = NodeProcess::start(&dir.path().join("data"));
    let mut speaker = Speaker::connect(&node.url).await;
    create(&mut speaker, Parameters { min_learners: 3, ..Parameters::default() }).await;
    for seed in 1..=3 {
        keys::save_new(&key(seed), &dir.path().join(format!("{seed}.pem"))).unwrap();
        speaker
            .act(&key(seed), Action::new(name("x"), Act::Join(Join::new(0, None))))
            .await
            .unwrap();
    }
    let at = ["--node", node.url.as_str()];
    let say = |words: &[&str], who: &str| {
        succeed(&[&["experiment"], words, &["--key", &path(who)], &at].concat())
    };
    // A learner's key changes; its place, and the turn it has, stay.
    let rotate = ["key", "rotate", &path("1.pem"), "--json"];
    let rotated: Value = serde_json::from_str(&succeed(&[&rotate[..], &at].concat())).unwrap();
    assert_eq!(rotated["experiments"], serde_json::json!(["x"]));
    assert!(dir.path().join("1.pem.old").exists() && !dir.path().join("1.pem.next").exists());
    let new = keys::load(&dir.path().join("1.pem")).unwrap();
    assert_eq!(rotated["to"], keys::learner_id(&new).to_string());
    let pass = Action::new(name("x"), Act::Pass { round: 1, exhausted: false, reason: None });
    let refused = speaker.act(&key(1), pass.clone()).await.unwrap_err().to_string();
    assert!(refused.contains("R9: "), "{refused}");
    // Nobody's key can be replaced by one that has not agreed.
    let theft = Action::new(name("x"), Act::ReplaceKey { to: id(&key(9)) });
    let refused = speaker.act(&key(2), theft).await.unwrap_err().to_string();
    assert!(refused.contains("the new key has not agreed"), "{refused}");

    // A change of the rules: moved, seen, voted, in effect with the next round.
    let moved = succeed(
        &[
            &["experiment", "move", "x", "--key", &path("1.pem")],
            &at[..],
            &["set", "--max-rounds", "9"],
        ]
        .concat(),
    );
    assert!(moved.contains("motion 1\n"), "{moved}");
    let shown = succeed(&[&["experiment", "show", "x"], &at[..]].concat());
    assert!(
        shown.contains(": set max_rounds = 9; 1 for, 0 against, of 3 (needs "),
        "what changes, and nothing else: {shown}"
    );
    say(&["ballot", "x", "1", "approve"], "2.pem");
    speaker.act(&new, pass).await.unwrap();
    let plan = succeed(&[&["experiment", "plan", "x"], &at[..]].concat());
    assert!(plan.contains("max_rounds = 9\n"), "{plan}");
    // What came of it is still told.
    let shown = succeed(&[&["experiment", "show", "x"], &at[..]].concat());
    assert!(shown.contains("; adopted: 2 for, 0 against, of 3\n"), "{shown}");
    // Expelled by the others, with the reason in the ledger.
    let third = id(&key(3)).to_string();
    succeed(
        &[&["experiment", "move", "x", "--key", &path("1.pem")], &at[..], &["expel", &third]]
            .concat(),
    );
    say(&["ballot", "x", "2", "approve"], "2.pem");
    let pass = Action::new(name("x"), Act::Pass { round: 2, exhausted: false, reason: None });
    speaker.act(&key(2), pass).await.unwrap();
    let back = Action::new(name("x"), Act::Join(Join::new(1, None)));
    let refused = speaker.act(&key(3), back).await.unwrap_err().to_string();
    assert!(refused.contains("R50: "), "{refused}");
    let ledger = succeed(&["ledger", "show", &node.url]);
    for line in ["is expelled by the members", "goes on as", "motion 2 is in effect", "moves in x"]
    {
        assert!(ledger.contains(line), "{line}: {ledger}");
    }
    say(&["leave", "x"], "2.pem");
    audit(&node);
}

/// Counts, and says that this is what each proposal takes.
struct Spender {
    counter: Counter,
    takes: PrivacySegment,
}

impl Learner for Spender {
    fn propose(&mut self) -> Result<Proposed> {
        Ok(Proposed::Private(Counter::weights(self.counter.value + 1), self.takes))
    }

    fn privacy(&self) -> Option<Privacy> {
        let segment = self.takes;
        Some(Privacy { segment, delta_picos: 10_000_000, max_epsilon_micros: None })
    }

    fn test(&mut self, weights: &Weights) -> Result<Score> {
        self.counter.test(weights)
    }

    fn accept(&mut self, weights: &Weights) -> Result<()> {
        self.counter.accept(weights)
    }

    fn current(&self) -> Weights {
        self.counter.current()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spent_budget_ends_the_turns_but_not_the_votes() {
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(&dir.path().join("data"));
    let mut speaker = Speaker::connect(&node.url).await;
    let takes = PrivacySegment {
        noise_micros: 1_000_000,
        clip_micros: 1_000_000,
        sampling_nanos: 10_000_000,
        steps: 100,
    };
    // What two proposals reveal, and not a bit more.
    let mut both = Composition::default();
    both.add(takes.noise_micros, takes.sampling_nanos, 2 * takes.steps);
    let epsilon_micros = both.epsilon_micros(10_000_000).unwrap();
    let cap = PrivacyCap { epsilon_micros, delta_picos: 10_000_000 };
    create(&mut speaker, Parameters { privacy: Some(cap), ..Parameters::default() }).await;
    let spender = || Spender { counter: Counter { value: 0 }, takes };
    let (mut first, first_task) = start(spender(), 1, &node, dir.path());
    let (_second, second_task) = start(spender(), 2, &node, dir.path());
    // Two proposals each, then both say that nothing is left.
    wait_for(&mut first, |event| matches!(event, Event::Paused { .. })).await;
    first_task.abort();
    second_task.abort();
    let table = succeed(&["experiment", "privacy", "x", "--node", &node.url]);
    let epsilon = epsilon_micros as f64 / 1e6;
    assert!(table.starts_with(&format!("cap: epsilon {epsilon} at delta 1e-5\n")), "{table}");
    assert_eq!(table.matches(&format!(" {epsilon:.3} ")).count(), 2, "{table}");
    assert_eq!(table.matches("spent").count(), 2, "{table}");
    let json = succeed(&["experiment", "privacy", "x", "--node", &node.url, "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["learners"][0]["spent"]["epsilon_micros"], epsilon_micros);
    assert_eq!(json["learners"][1]["spent"]["steps"], 200);
    let list = succeed(&["experiment", "list", "--node", &node.url]);
    assert!(list.contains("paused: every privacy budget is spent"), "{list}");
    audit(&node);
}
