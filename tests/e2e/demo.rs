//! `colearn demo`, the command a newcomer runs first.

use serde_json::Value;

use crate::support::{Process, fail, run, succeed, wait_for, write_csv};

fn demo(arguments: &[&str]) -> Value {
    let text = succeed(&[&["demo", "--json"], arguments].concat());
    serde_json::from_str(&text).unwrap()
}

#[test]
fn five_learners_train_one_model_and_the_audit_passes() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("d");
    let plot = dir.path().join("rounds.png");
    let (data, plot) = (data.to_str().unwrap(), plot.to_str().unwrap());
    let report = demo(&["--keep", data, "--plot", plot, "--baselines"]);
    assert_eq!(report["audit"]["ok"], true);
    assert_eq!(report["audit"]["rounds"], 15);
    // 1 genesis; create, 5 joins; 15 times: opened, proposed, voting, 4 votes, closed; finished.
    assert_eq!(report["audit"]["size"], 1 + 6 + 15 * 8 + 1);
    let rounds = report["history"]["rounds"].as_array().unwrap();
    assert_eq!(rounds.len(), 15);
    assert!(rounds.iter().all(|round| round["votes"].as_object().unwrap().len() == 4));
    let accuracy = report["final_mean_test_score"].as_f64().unwrap();
    let alone = report["baselines"]["alone"].as_array().unwrap();
    let alone: f64 = alone.iter().map(|x| x.as_f64().unwrap()).sum::<f64>() / alone.len() as f64;
    assert!(accuracy > 0.92, "the shared model learns: {accuracy}");
    assert!(accuracy > alone, "better together ({accuracy}) than alone ({alone})");
    let png = std::fs::read(plot).unwrap();
    assert_eq!(png[..8], *b"\x89PNG\r\n\x1a\n");

    let error = fail(&["demo", "--keep", data]);
    assert!(error.contains("has finished; choose another --keep folder"), "{error}");
    let audited = succeed(&["audit", &format!("{data}/node")]);
    assert!(audited.lines().last().unwrap().starts_with("AUDIT OK origin=colearn/"), "{audited}");
}

/// The same learners with the same seed come to the same models on both backends.
#[test]
fn the_local_backend_and_the_ledger_agree_in_every_round() {
    let told = |backend| {
        let report = demo(&["--backend", backend, "--rounds", "6", "--seed", "7"]);
        let rounds = report["history"]["rounds"].as_array().unwrap().clone();
        let picked = rounds.into_iter().map(|round| {
            ["weights", "verdict", "approvals", "mean_vote_score", "mean_test_score"]
                .map(|field| round[field].clone())
        });
        picked.collect::<Vec<_>>()
    };
    let (local, ledger) = (told("local"), told("ledger"));
    assert_eq!(local.len(), 6);
    assert_eq!(local, ledger);
    assert_eq!(local, told("local"));
}

/// Each round merges what all have trained, and both backends come to the same merges.
#[test]
fn merged_rounds_learn_where_everybody_holds_other_classes() {
    let told = |backend| {
        let sorted = ["--backend", backend, "--rounds", "8", "--split", "sorted", "--merging"];
        let report = demo(&sorted);
        let accuracy = report["final_mean_test_score"].as_f64().unwrap();
        let rounds = report["history"]["rounds"].as_array().unwrap().clone();
        let picked = rounds.into_iter().map(|round| {
            let merged = &round["merged"];
            assert_eq!(merged["updates"].as_object().unwrap().len(), 5, "{merged}");
            assert_eq!(merged["named_another"].as_array().unwrap().len(), 0, "{merged}");
            let merged = ["agreed", "accepted", "bear_open", "bear_guarded", "prefer_guarded"]
                .map(|field| merged[field].clone());
            (merged, round["verdict"].clone(), round["mean_vote_score"].clone())
        });
        (picked.collect::<Vec<_>>(), accuracy)
    };
    let (ledger, accuracy) = told("ledger");
    assert_eq!((ledger.len(), &(ledger.clone(), accuracy)), (8, &told("local")));
    // One proposer a round comes to less than 0.1.
    assert!(accuracy > 0.7, "{accuracy}");
    assert!(ledger.iter().all(|(_, verdict, _)| *verdict == "accepted"), "{ledger:?}");
}

#[test]
fn one_learner_two_learners_and_own_data() {
    let dir = tempfile::tempdir().unwrap();
    let csv = write_csv(dir.path());
    let own = ["--data", csv.to_str().unwrap(), "--label", "class"];
    for learners in ["1", "2"] {
        let report = demo(
            &[&["--learners", learners, "--rounds", "4", "--model", "softmax"][..], &own].concat(),
        );
        assert_eq!(report["audit"]["ok"], true);
        assert_eq!(report["audit"]["rounds"], 4);
    }
    let text = succeed(&[&["demo", "--backend", "local", "--rounds", "3"][..], &own].concat());
    assert!(text.contains("200 rows, 2 inputs, 2 classes"), "{text}");
    assert_eq!(
        text.lines()
            .filter(|line| line.contains(" learner ") && !line.contains("--merging"))
            .count(),
        3,
        "{text}"
    );
}

#[test]
fn bad_arguments_are_told_before_anything_runs() {
    let error = fail(&["demo", "--plot", "rounds.gif"]);
    assert!(error.contains(".svg, .png or .html"), "{error}");
    let error = fail(&["demo", "--learners", "1000"]);
    assert!(error.contains("too few for 1000 learners"), "{error}");
    let error = fail(&["demo", "--data", "/nowhere.csv", "--label", "y"]);
    assert!(error.contains("cannot read /nowhere.csv"), "{error}");
    assert_eq!(run(&["demo", "--threshold", "3/2"]).status.code(), Some(2));
}

/// However it ends, its node does not go on without it.
#[test]
fn a_demo_that_is_killed_leaves_no_node_behind() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("demo");
    let arguments = ["demo", "--keep", place.to_str().unwrap(), "--rounds", "100000"];
    let mut demo = Process::start(&[&arguments[..], &["--task", "iris"]].concat());
    let node = loop {
        let line = demo.line().expect("it says where its node is");
        if line.starts_with("node at ") {
            break line;
        }
    };
    demo.kill();
    // Whoever opens the folder while a node has it is told so.
    let data = place.join("node");
    wait_for(&format!("the end of {node}"), || {
        run(&["node", "rotate-key", "--data", data.to_str().unwrap()])
            .status
            .success()
            .then_some(())
    });
}
