//! Data, simulation and privacy, from the command line.

use std::path::Path;

use serde_json::Value;

use crate::support::{NodeProcess, Process, fail, run, succeed};

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&succeed(&[arguments, &["--json"]].concat())).unwrap()
}

/// Runs a scenario, twice if need be, and gives its report.
fn simulate(dir: &Path, text: &str, more: &[&str]) -> Value {
    let path = dir.join("scenario.toml");
    std::fs::write(&path, text).unwrap();
    json(&[&["simulate", path.to_str().unwrap()][..], more].concat())
}

const HOSTILE: &str = r#"
learners = 12
rounds = 24
split = "dirichlet:0.5"
[plan]
ballot = "sealed"
missed_turns = 2
min_learners = 3
[training]
epochs = 2
[timing]
training = "1m"
voting = "10s"
[[faults]]
learners = [2, 5]
attack = "sign-flip"
vote = "colludes"
[[faults]]
learners = [3]
attack = "random"
[[faults]]
learners = [7]
away = [4, 9]
[[faults]]
learners = [9]
slow = "1h"
[[faults]]
learners = [10]
vote = "never"
[[faults]]
learners = [11]
vote = "copies"
"#;

#[test]
fn the_same_scenario_and_seed_give_the_same_root_on_any_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let root = |more: &[&str]| simulate(dir.path(), HOSTILE, more)["report"]["root"].clone();
    let one = root(&["--threads", "1"]);
    assert_eq!(one.as_str().unwrap().len(), 64);
    assert_eq!(one, root(&["--threads", "4"]));
    assert_ne!(one, root(&["--seed", "2"]));
    // Private training follows the seed here too.
    let private = HOSTILE.replace("epochs = 2", "epochs = 2\nnoise = 1.0\nepsilon = 40.0");
    let root = || simulate(dir.path(), &private, &[])["report"]["root"].clone();
    assert_eq!(root(), root());
}

#[test]
fn faults_are_seen_in_the_rounds_and_the_rounds_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let run = simulate(dir.path(), HOSTILE, &[]);
    let rounds = run["history"]["rounds"].as_array().unwrap();
    assert_eq!(rounds.len(), 24);
    let verdicts = |word: &str| rounds.iter().filter(|round| round["verdict"] == word).count();
    // The slow one's turns run out.
    assert!(verdicts("expired") > 0 && verdicts("accepted") > 0, "{rounds:?}");
    let id = |number: usize| run["history"]["learners"][number - 1].as_str().unwrap();
    let voted_in = |number: usize| -> Vec<u64> {
        let voted = rounds.iter().filter(|round| round["votes"].get(id(number)).is_some());
        voted.map(|round| round["round"].as_u64().unwrap()).collect()
    };
    assert_eq!(voted_in(10), [] as [u64; 0]);
    let seventh = voted_in(7);
    assert!(seventh.iter().all(|round| !(4..=9).contains(round)), "it was away: {seventh:?}");
    assert!(seventh.iter().any(|round| *round > 10), "it returned: {seventh:?}");
    // A minute to train and ten seconds to vote in each round, at least.
    assert!(run["report"]["simulated_ms"].as_u64().unwrap() > 20 * 70_000);
}

/// Two merged rounds of four learners: what they move follows from the rules, and takes the time that the lines
/// say.
#[test]
fn what_a_run_moves_is_told_and_takes_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = "learners = 4\nrounds = 2\n[model]\nhidden = []\n[plan]\nmerging = {}\n";
    let report =
        |more: &str| simulate(dir.path(), &format!("{scenario}{more}"), &[])["report"].clone();
    let free = report("");
    let costs = |of: &str| free["costs"][of].as_u64().unwrap();
    let model = costs("model_bytes");
    assert!(model > 64 * 10 * 4, "{model}");
    // The first model, and an update of each in each round.
    assert_eq!(costs("sent_bytes"), (1 + 2 * 4) * model);
    assert_eq!(costs("most_sent_bytes"), 3 * model);
    // The others fetch the first model; all fetch three updates in each round, and so have what comes of them.
    assert_eq!(costs("fetched_bytes"), (3 + 2 * 4 * 3) * model);
    assert_eq!(costs("most_fetched_bytes"), 7 * model);
    assert!(costs("ledger_bytes") > 100 * free["entries"].as_u64().unwrap(), "{free}");
    // An update a second up; twelve and more down, of which the node can send four a second.
    let mbit = model as f64 * 8.0 / 1e6;
    let slow = report(&format!("[network]\nup_mbit = {mbit}\nnode_up_mbit = {}\n", 4.0 * mbit));
    let took = |report: &Value| report["simulated_ms"].as_u64().unwrap();
    let added = took(&slow) - took(&free);
    // Besides, each entry takes a millisecond at least, which the lines have room for.
    assert!(added.abs_diff(2 * (1000 + 4000)) < 100, "{added} ms");
    assert_eq!(slow["costs"]["sent_bytes"], free["costs"]["sent_bytes"]);
    // A server has nothing to be judged: one up and one down for each.
    let served = scenario.replace("[model]", "rule = \"average\"\n[model]");
    let lines = format!("[network]\nup_mbit = {mbit}\nnode_up_mbit = {}\n", 4.0 * mbit);
    let served = simulate(dir.path(), &format!("{served}{lines}"), &[])["report"].clone();
    assert_eq!(served["costs"]["fetched_bytes"], 2 * 4 * model);
    assert!(took(&served).abs_diff(2 * (1000 + 1000)) <= 4, "{served}");
}

#[test]
fn learners_go_and_return_and_differ_in_pace() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = "learners = 6\nrounds = 12\n[plan]\nmerging = {}\n[timing]\ntraining = \"1m\"\n";
    let run = |more: &str| simulate(dir.path(), &format!("{scenario}{more}"), &[]);
    let went = run("spread = 0.5\n[churn]\nleaves = 0.2\naway = 2\n");
    let rounds = went["history"]["rounds"].as_array().unwrap();
    assert_eq!(rounds.len(), 12);
    let trained = |round: &Value| round["merged"]["updates"].as_object().unwrap().len();
    assert!(rounds.iter().any(|round| trained(round) < 6), "nobody was away");
    assert!(rounds.iter().any(|round| trained(round) > 3), "everybody was away");
    let report = |run: &Value| run["report"].clone();
    assert_eq!(report(&went), report(&run("spread = 0.5\n[churn]\nleaves = 0.2\naway = 2\n")));
    // Who returns fetches the model that there is by then.
    let fetched = went["report"]["costs"]["fetched_bytes"].as_u64().unwrap();
    let of_others: usize = rounds.iter().map(|round| trained(round) * (trained(round) - 1)).sum();
    let models = fetched / went["report"]["costs"]["model_bytes"].as_u64().unwrap();
    assert!(models > of_others as u64 + 5, "{models} models, {of_others} updates of others");
}

#[test]
fn attackers_are_voted_down_and_a_backdoor_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let with = |attack: &str, rule: &str| {
        let text = format!(
            "learners = 10\nrounds = 20\n{rule}\n[[faults]]\nlearners = [3, 8]\nattack = {attack:?}\nvote = \"colludes\"\n"
        );
        simulate(dir.path(), &text, &[])["report"].clone()
    };
    for attack in ["sign-flip", "scaled", "random", "nan", "label-flip"] {
        let report = with(attack, "");
        let score = report["final_score"].as_f64().unwrap();
        assert!(score > 0.85, "{attack}: {report}");
        assert!(report["accepted_from_faulty"].as_u64().unwrap() <= 1, "{attack}: {report}");
    }
    let average = with("random", "rule = \"average\"")["final_score"].as_f64().unwrap();
    let median = with("random", "rule = \"median\"")["final_score"].as_f64().unwrap();
    assert!(average < median - 0.2 && median > 0.85, "{average} {median}");
    let backdoor = with("backdoor", "");
    assert!(backdoor["final_score"].as_f64().unwrap() > 0.85, "{backdoor}");
    assert!(backdoor["backdoor"].as_f64().unwrap() > 0.5, "{backdoor}");
}

#[test]
fn scenarios_that_cannot_be_are_refused_with_the_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.toml");
    for (text, message) in [
        ("learners = 5\nruonds = 3", "line 2: unknown field `ruonds`"),
        ("learners = 0", "learners must be 1 to"),
        ("split = \"half\"", "\"half\" is not one of iid"),
        ("[network]\nup_mbit = 0", "lines of the network must be faster than nothing"),
        ("[churn]\nleaves = 2.0", "churn.leaves must be 0 to 1"),
        ("[timing]\nspread = -1.0", "timing.spread must be 0 to 3"),
        ("task = \"cats\"", "\"cats\" is not one of"),
        ("[[faults]]\nlearners = [11]", "names learner 11, but they are 1 to 10"),
        ("[[faults]]\nattack = \"flip\"", "line 2: \"flip\" is not one of label_flip"),
        ("[plan]\nballot = \"secret\"", "\"secret\" is not one of open, sealed"),
        ("[training]\noptimizer = \"lbfgs\"", "\"lbfgs\" is not one of sgd, adam"),
        ("data = \"none.csv\"", "none.csv"),
        ("task = \"diabetes\"\n[training]\nscore = \"accuracy\"", "cannot be judged by accuracy"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = fail(&["simulate", path.to_str().unwrap()]);
        assert!(error.contains(message), "{text}: {error}");
    }
    assert!(
        fail(&["simulate", "/nowhere.toml"]).contains("cannot read the scenario /nowhere.toml")
    );
}

#[test]
fn the_attack_table_is_made_by_a_command_and_is_the_same_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let size =
        "--learners 5 --splits iid,sorted --attackers 20,39 --rounds 2 --single-rounds 3 --seeds 1";
    let page = |name: &str| {
        let out = dir.path().join(name);
        let size: Vec<&str> = size.split(' ').collect();
        succeed(&[&["attacks", "--out", out.to_str().unwrap()][..], &size].concat());
        std::fs::read_to_string(out).unwrap()
    };
    let once = page("once.md");
    assert_eq!(once, page("again.md"));
    for part in [
        "# What attackers reach",
        "### 5 learners, iid: 1, 2 attack",
        "### 5 learners, sorted: 1, 2 attack",
        "| | single | merged | average | momentum | median | Krum | multi-Krum | clipping |",
        "| sign flip | ",
        "| bytes withheld | - | ",
        "| learners, split, attackers | merged | cautious | hardened | both |",
        "| 5, iid, 2 | ",
        "More than two points below the best of single, median and Krum: ",
    ] {
        assert!(once.contains(part), "{part}: {once}");
    }
}

#[test]
fn every_task_learns_and_numbers_can_be_predicted() {
    for (task, metric, least) in [
        ("iris", "accuracy", 0.85),
        ("breast-cancer", "accuracy", 0.9),
        ("wine", "accuracy", 0.9),
        ("diabetes", "negative loss", -0.9),
    ] {
        let report = json(&["demo", "--backend", "local", "--task", task]);
        assert_eq!(report["metric"], metric);
        let score = report["final_mean_test_score"].as_f64().unwrap();
        assert!(score > least, "{task}: {score}");
    }
    let private = json(&["demo", "--task", "breast-cancer", "--noise", "1", "--batch", "64"]);
    assert_eq!(private["audit"]["ok"], true);
    let text = succeed(&[
        "demo",
        "--backend",
        "local",
        "--split",
        "sorted",
        "--show-split",
        "--rounds",
        "2",
    ]);
    assert!(
        text.contains("split sorted") && text.contains("learner  train   vote   test"),
        "{text}"
    );
    let error = fail(&["demo", "--task", "mnist"]);
    assert!(error.contains("--data DIR; they are at https://"), "{error}");
    let error = fail(&["demo", "--task", "diabetes", "--model", "softmax"]);
    assert!(error.contains("use --model linear or mlp"), "{error}");
}

#[test]
fn a_sweep_runs_a_scenario_with_other_values_and_seeds() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let text = "task = \"iris\"\nlearners = 4\nrounds = 3\n[[faults]]\nshare = 0.25\nattack = \"sign_flip\"\n";
    std::fs::write(path("scenario.toml"), text).unwrap();
    let scenario = path("scenario.toml");
    let sweep =
        ["simulate", &scenario, "--vary", "faults.1.share=0.25,0.5", "--vary", "rule=-,median"];
    let plot = path("sweep.svg");
    let both = [&sweep[..], &["--seeds", "2", "--plot", &plot]].concat();
    let told = json(&both);
    let settings = told["settings"].as_array().unwrap();
    assert_eq!((settings.len(), &told["metric"]), (4, &"accuracy".into()), "{told}");
    let seeds = |setting: &Value| -> Vec<u64> {
        let runs = setting["runs"].as_array().unwrap();
        runs.iter().map(|run| run["seed"].as_u64().unwrap()).collect()
    };
    assert!(settings.iter().all(|setting| seeds(setting) == [1, 2]), "{told}");
    assert_eq!(
        settings[3]["setting"],
        serde_json::json!({"faults.1.share": 0.5, "rule": "median"})
    );
    let drawn = std::fs::read_to_string(&plot).unwrap();
    assert!(drawn.contains("rule=median"), "each has its name beside its colour");
    // A run of a sweep is the same as the scenario's own.
    let alone = json(&["simulate", &scenario, "--seed", "2"]);
    assert_eq!(alone["report"], settings[0]["runs"][1]["report"]);
    let table = succeed(&both);
    assert!(table.starts_with("faults.1.share  rule    accuracy  +-"), "{table}");
    assert!(table.contains("8 runs in"), "{table}");
    for (vary, expected) in [
        ("learner=1,2", "with learner=1: unknown field `learner`"),
        ("learners=3,x", "with learners=x"),
        ("faults.2.share=1", "no such table"),
        ("split=iid,odd", "odd"),
    ] {
        let error = fail(&["simulate", &scenario, "--vary", vary]);
        assert!(error.contains(expected), "{error}");
    }
}

/// What docs/own-data.md says of summaries: a schema that fits three files, of which nobody has shown a row.
#[test]
fn a_schema_is_agreed_on_by_what_each_tells_of_its_own_columns() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let jobs = [["cook", "smith"], ["cook", "clerk"], ["clerk", "pilot"]];
    for (at, who) in ["a", "b", "c"].iter().enumerate() {
        let mut text = String::from("id,age,job,since,default\n");
        for row in 0..120 {
            let job = if row < 2 { "pope" } else { jobs[at][row % 2] };
            // Each writes dates in its own way.
            let since = match at {
                0 => format!("2024-03-{:02}", 1 + row % 31),
                1 => format!("{}.3.2024", 1 + row % 31),
                _ => format!("3/{}/2024", 1 + row % 31),
            };
            let default = ["no", "yes"][usize::from(row % 3 == 0)];
            let age = 20 + 20 * at + row % 10;
            text += &format!("{who}{row},{age},{job},{since},{default}\n");
        }
        std::fs::write(path(&format!("{who}.csv")), text).unwrap();
        let file = path(&format!("{who}.csv"));
        let told = succeed(&["data", "summary", &file, "--label", "default", "--ignore", "id"]);
        assert!(!told.contains("pope"), "a word of two rows: {told}");
        std::fs::write(path(&format!("{who}.json")), told).unwrap();
    }
    let all = ["a.json", "b.json", "c.json"].map(path);
    let from = [&["data", "schema", "--from"][..], &all.each_ref().map(String::as_str)].concat();
    let schema = succeed(&from);
    std::fs::write(path("schema.json"), &schema).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    assert_eq!(schema["features"][0]["mean"], 44.5);
    assert_eq!(
        schema["features"][1]["categories"],
        serde_json::json!(["clerk", "cook", "pilot", "smith"])
    );
    assert_eq!(schema["features"][1]["other"], true);
    for who in ["a", "b", "c"] {
        let file = path(&format!("{who}.csv"));
        let shown = succeed(&["data", "show", &file, "--schema", &path("schema.json"), "--json"]);
        let shown: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!((&shown["rows"], &shown["inputs"]), (&120.into(), &7.into()), "{who}");
    }

    // With noise the numbers of rows are others, and so few rows are still told of.
    let file = path("a.csv");
    let summary = ["data", "summary", &file, "--label", "default", "--ignore", "id"];
    let noised: Value =
        serde_json::from_str(&succeed(&[&summary[..], &["--epsilon", "4"]].concat())).unwrap();
    assert_eq!(noised["noise"]["epsilon"], 4.0);
    let error = fail(&[&summary[..], &["--epsilon", "0.01"]].concat());
    assert!(error.contains("larger epsilon"), "{error}");
    let usage = |arguments: &[&str]| {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let error = usage(&[&summary[..], &["--epsilon", "0"]].concat());
    assert!(error.contains("0.001 to 1000"), "{error}");

    // What somebody sends may be anything.
    for (text, expected) in [
        ("garbage", "is no summary"),
        (
            "{\"version\":1,\"rare\":0,\"columns\":[],\"target\":{\"kind\":\"hashed\",\"name\":\"y\",\"buckets\":2}}",
            "0 columns",
        ),
    ] {
        std::fs::write(path("c.json"), text).unwrap();
        let error = fail(&from);
        assert!(error.contains("c.json") && error.contains(expected), "{error}");
    }
    std::fs::write(
        path("c.csv"),
        "id,age,job,since,default\n1,2,x,2024-01-01,no\n2,3,y,2024-01-01,yes\n",
    )
    .unwrap();
    let file = path("c.csv");
    let other = succeed(&["data", "summary", &file, "--label", "age", "--regression"]);
    std::fs::write(path("c.json"), other).unwrap();
    let error = fail(&from);
    assert!(error.contains("c.json: it is for predicting \"age\", and "), "{error}");
    assert!(error.contains("a.json for \"default\""), "{error}");
    assert!(fail(&[&from[..], &["--label", "y"]].concat()).contains("leave out the flags"));
    assert!(usage(&["data", "schema"]).contains("FILE"));
}

/// The tutorial docs/own-data.md, as it stands there: no code, three organisations.
#[test]
fn own_data_is_learned_from_by_a_schema_without_any_code() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    for (at, who) in ["a", "b", "c"].iter().enumerate() {
        let mut text = String::from("id,age,job,income,default\n");
        for row in 0..150 {
            let (age, income) = (20 + (row * 7 + at * 13) % 50, 10 + (row * 11 + at * 5) % 90);
            // Not everybody has every job.
            let job = ["clerk", "smith", "cook"][if at == 2 { row % 2 } else { row % 3 }];
            let default =
                usize::from(age < 35) + usize::from(job == "cook") + usize::from(income < 40) >= 2;
            text += &format!(
                "{who}{row},{age},{job},{income},{}\n",
                if default { "yes" } else { "no" }
            );
        }
        std::fs::write(path(&format!("{who}.csv")), text).unwrap();
    }
    let shown = succeed(&["data", "show", &path("a.csv")]);
    assert!(shown.contains("job") && shown.contains("choose the column to predict"), "{shown}");
    let arguments = ["data", "schema", &path("a.csv"), "--label", "default", "--ignore", "id"];
    std::fs::write(path("schema.json"), succeed(&arguments)).unwrap();
    let shown = succeed(&["data", "show", &path("c.csv"), "--schema", &path("schema.json")]);
    assert!(shown.contains("150 rows, 5 inputs from 3 columns"), "{shown}");

    let node = NodeProcess::start(&dir.path().join("node"));
    let at = ["--node", &node.url];
    let keys = ["a.pem", "b.pem", "c.pem"].map(path);
    keys.iter().for_each(|key| drop(succeed(&["key", "new", key])));
    let create = ["experiment", "create", "credit", "--key", &keys[0], "--open", "--schema"];
    let rules = ["--min-learners", "3", "--max-rounds", "6", "--hidden", "16,8"];
    succeed(&[&create[..], &[&path("schema.json")], &rules, &at].concat());
    let mut learners: Vec<Process> = ["a", "b", "c"]
        .iter()
        .map(|who| {
            let (key, data) = (path(&format!("{who}.pem")), path(&format!("{who}.csv")));
            let arguments = ["learner", "--experiment", "credit", "--key", &key, "--data", &data];
            let more = ["--noise", "0.8", "--epsilon", "60", "--hide-scores"];
            Process::start(&[&arguments[..], &more, &at].concat())
        })
        .collect();
    for learner in &mut learners {
        let lines: Vec<String> = std::iter::from_fn(|| learner.line()).collect();
        assert_eq!(learner.wait(), Some(0), "{lines:?}");
        assert!(lines.iter().any(|line| line.contains("vote score -")), "{lines:?}");
    }
    let privacy = json(&[&["experiment", "privacy", "credit"][..], &at].concat());
    let spent: Vec<&Value> =
        privacy["learners"].as_array().unwrap().iter().map(|learner| &learner["spent"]).collect();
    assert!(spent.iter().all(|spent| spent["steps"].as_u64().unwrap() > 0), "{spent:?}");
    let history = json(&[&["experiment", "show", "credit"][..], &at].concat());
    for round in history["history"]["rounds"].as_array().unwrap() {
        assert!(round["mean_vote_score"].is_null(), "scores were to be hidden: {round}");
    }
    // Another's data may be of another kind.
    std::fs::write(path("d.csv"), "age,income,default\n20,30,no\n").unwrap();
    let arguments =
        ["learner", "--experiment", "credit", "--key", &keys[0], "--data", &path("d.csv")];
    let output = run(&[&arguments[..], &at].concat());
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("has no column \"job\""), "{error}");
    node.stop();
}

/// A program that was built without a reader of Parquet files says how to get one.
#[cfg(not(feature = "parquet"))]
#[test]
fn a_parquet_file_takes_a_program_that_can_read_it() {
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("learning/testdata/members.parquet");
    let refused = fail(&["data", "show", table.to_str().unwrap()]);
    assert!(
        refused.contains("members.parquet") && refused.contains("--features parquet"),
        "{refused}"
    );
}

/// A Parquet file does wherever a CSV file does, and the same rows make the same schema and the same model.
#[cfg(feature = "parquet")]
#[test]
fn a_parquet_file_is_read_as_a_csv_file_with_the_same_rows() {
    let tables = Path::new(env!("CARGO_MANIFEST_DIR")).join("learning/testdata");
    let table = |name: &str| tables.join(name).to_str().unwrap().to_owned();
    let (csv, parquet) = (table("members.csv"), table("members-v2.parquet"));
    let rules = ["--label", "default", "--ignore", "id", "--missing", "indicator"];
    let of = |command: &str, file: &str| succeed(&[&["data", command, file], &rules[..]].concat());
    assert_eq!(of("schema", &parquet), of("schema", &csv));
    assert_eq!(of("summary", &parquet), of("summary", &csv));
    let dir = tempfile::tempdir().unwrap();
    let schema = dir.path().join("schema.json").to_str().unwrap().to_owned();
    std::fs::write(&schema, of("schema", &csv)).unwrap();
    // Of a file with more columns only those that are needed are read.
    let lists = table("members.parquet");
    let shown = succeed(&["data", "show", &lists, "--schema", &schema]);
    assert!(shown.contains("60 rows, 17 inputs from 9 columns"), "{shown}");
    let shown = succeed(&["data", "show", &lists]);
    assert!(shown.contains("it has lists") && shown.contains("60 different values"), "{shown}");
    let refused = fail(&[&["data", "schema", &lists][..], &rules].concat());
    assert!(refused.contains("\"tags\"") && refused.contains("--ignore tags"), "{refused}");
    let refused = fail(&["data", "show", &parquet, "--schema", &schema, "--decimal", ","]);
    assert!(refused.contains("--decimal"), "{refused}");
    // It is known by what it begins with, and not by its name.
    let other = dir.path().join("table.csv").to_str().unwrap().to_owned();
    std::fs::copy(&parquet, &other).unwrap();
    let learned = |data: &str| {
        let mut arguments = vec!["demo", "--backend", "local", "--learners", "3", "--seed", "4"];
        arguments.extend(["--rounds", "3", "--json", "--data", data]);
        arguments.extend(["--schema", &schema]);
        let told: Value = serde_json::from_str(&succeed(&arguments)).unwrap();
        let rounds = told["history"]["rounds"].as_array().unwrap();
        rounds.iter().map(|round| round["weights"].clone()).collect::<Vec<_>>()
    };
    let models = learned(&other);
    assert!(models.len() == 3 && models.iter().all(Value::is_string), "{models:?}");
    assert_eq!(models, learned(&csv));
}

/// A private learner that was killed goes on with the budget that the ledger has, and stops there.
#[test]
fn a_private_learner_goes_on_with_its_budget_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let node = NodeProcess::start(&dir.path().join("node"));
    let key = path("a.pem");
    succeed(&["key", "new", &key]);
    let at = ["--node", &node.url];
    let create = ["experiment", "create", "x", "--key", &key, "--open", "--task", "iris"];
    let rules = ["--min-learners", "1", "--max-rounds", "40", "--privacy-cap", "30", "1e-5"];
    succeed(&[&create[..], &rules, &at].concat());
    let start = || {
        let learner = ["learner", "--json", "--experiment", "x", "--key", &key, "--task", "iris"];
        Process::start(&[&learner[..], &["--noise", "1.0"], &at].concat())
    };
    let mut learner = start();
    let proposed = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap();
        (event["event"] == "proposed").then(|| event["round"].as_u64().unwrap())
    };
    while learner.line().as_deref().and_then(proposed).is_none_or(|round| round < 3) {}
    learner.kill();
    let before = json(&[&["experiment", "privacy", "x"][..], &at].concat());
    let mut learner = start();
    // Until the cap is reached: then it passes for good, and nobody is left to propose.
    while learner.line().is_some_and(|line| !line.contains("\"paused\"")) {}
    learner.kill();
    let after = json(&[&["experiment", "privacy", "x"][..], &at].concat());
    let [before, after] = [&before["learners"][0], &after["learners"][0]];
    let of = |learner: &Value, field: &str| learner["spent"][field].as_u64().unwrap();
    let proposals = |learner: &Value| learner["proposals"].as_u64().unwrap();
    let each = of(before, "steps") / proposals(before);
    assert_eq!(of(before, "steps"), each * proposals(before), "{before}");
    assert_eq!(of(after, "steps"), each * proposals(after), "{after}");
    assert!(of(after, "epsilon_micros") > of(before, "epsilon_micros"), "{before} {after}");
    assert!(of(after, "epsilon_micros") <= 30_000_000 && after["exhausted"] == true, "{after}");
    assert!(proposals(after) < 40, "{after}");
    node.stop();
}

#[test]
fn epsilon_and_noise_are_told_on_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    let plot = dir.path().join("epsilon.svg");
    let steps = ["--batch", "256", "--examples", "60000", "--epochs", "15"];
    let ask = ["dp", "epsilon", "--noise", "1.1", "--plot", plot.to_str().unwrap()];
    let spent = json(&[&ask[..], &steps].concat());
    let (pld, rdp) =
        (spent["epsilon_pld"].as_f64().unwrap(), spent["epsilon_rdp"].as_f64().unwrap());
    assert_eq!(spent["steps"], 3516);
    assert!(1.1 < pld && pld < rdp && rdp < 1.3, "{spent}");
    assert!(std::fs::read_to_string(plot).unwrap().contains("epsilon"));
    let epsilon = pld.to_string();
    let needed = json(&[&["dp", "noise", "--epsilon", &epsilon][..], &steps].concat());
    assert!((needed["noise_multiplier"].as_f64().unwrap() - 1.1).abs() < 2e-3, "{needed}");
    let error = fail(&["dp", "epsilon", "--noise", "1", "--sampling", "2", "--steps", "1"]);
    assert!(error.contains("sampling rate 2 is not above 0 and at most 1"), "{error}");
    assert_eq!(run(&["dp", "epsilon", "--noise", "1", "--steps", "1"]).status.code(), Some(2));
}

/// MNIST from a folder, where there is one.
#[test]
fn mnist_is_learned_from_its_files() {
    let Some(dir) = colearn_testkit::reference("data/mnist") else { return };
    let dir = dir.to_str().unwrap();
    let rules = ["--rounds", "2", "--epochs", "1", "--backend", "local"];
    let report = json(&[&["demo", "--task", "mnist", "--data", dir][..], &rules].concat());
    let score = report["final_mean_test_score"].as_f64().unwrap();
    assert!(score > 0.9, "{score}");
}
