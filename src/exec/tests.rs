//! What commands do, and what becomes of it.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;

/// A model of so many numbers.
fn model(values: &[f32]) -> Weights {
    let header = format!(
        r#"{{"w":{{"dtype":"F32","shape":[{}],"data_offsets":[0,{}]}}}}"#,
        values.len(),
        4 * values.len()
    );
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let length = header.len() as u64;
    Weights::new([&length.to_le_bytes()[..], header.as_bytes(), &data].concat())
}

fn setup(dir: &TempDir, command: &str) -> Setup {
    Setup {
        command: command.to_owned(),
        dir: dir.path().join("exec"),
        experiment: Some("x".to_owned()),
        learner: None,
        metric: Some("accuracy".to_owned()),
        margin: 0.0,
        hide_scores: false,
        privacy: None,
        keep: 1,
        grace: Duration::from_secs(60),
    }
}

fn learner(setup: Setup) -> ExecLearner {
    ExecLearner::new(setup, model(&[1.0, 2.0])).unwrap()
}

/// A learner whose command this is, at work in a round.
fn at_work(dir: &TempDir, command: &str, work: Work) -> (ExecLearner, Task) {
    let mut learner = learner(setup(dir, command));
    let task = Task::new(3, work, learner.current().digest(), Some(7_000));
    assert!(learner.begin(&task));
    (learner, task)
}

/// How often the commands that count have begun.
fn begun(dir: &TempDir) -> usize {
    let counted = fs::read_to_string(dir.path().join("exec/state/begun"));
    counted.map_or(0, |counted| counted.lines().count())
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what} did not happen");
        thread::sleep(Duration::from_millis(5));
    }
}

/// For how often it has begun.
const COUNT: &str = "echo $COLEARN_TASK >> \"$COLEARN_STATE/begun\"; ";
const COPY: &str = "cp base.safetensors update.safetensors; ";

#[test]
fn a_command_trains_and_what_it_has_scored_is_not_asked_again() {
    let dir = tempfile::tempdir().unwrap();
    let command = format!("{COUNT}{COPY} echo '{{\"score\": 0.5, \"test\": 0.25}}' > result.json");
    let (mut learner, _) = at_work(&dir, &command, Work::Update);
    let proposed = learner.propose().unwrap();
    let base = learner.current();
    assert_eq!(proposed, Proposed::Weights(base.clone()));
    let scored = learner.test(&base).unwrap();
    assert_eq!((scored.vote, scored.test), (0.5, Some(0.25)));
    assert_eq!(begun(&dir), 1);
    let tasks = dir.path().join("exec/tasks");
    let folder = fs::read_dir(tasks).unwrap().next().unwrap().unwrap().path();
    let asked: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.join("round.json")).unwrap()).unwrap();
    assert_eq!((&asked["task"], &asked["role"]), (&"propose".into(), &"participant".into()));
    assert_eq!((&asked["round"], &asked["deadline_ms"]), (&3.into(), &7000.into()));
    assert_eq!(asked["base"], base.digest().to_string());
    assert_eq!(asked["metric"], "accuracy");
}

#[test]
fn what_is_no_answer_is_told_with_its_file_and_nothing_is_proposed() {
    let long = "head -c 20000000 /dev/zero > update.safetensors; echo '{}' > result.json";
    for (command, why) in [
        ("exit 3", "ended with exit status: 3 and without"),
        ("true", "without"),
        ("echo '{}' > result.json", "update.safetensors: it is not there"),
        ("echo x > update.safetensors; echo '{}' > result.json", "it is no safetensors file"),
        (long, "it has more than"),
        ("mkdir result.json", "result.json: it is no file"),
        ("mkfifo result.json", "result.json: it is no file"),
        ("head -c 100000 /dev/zero > result.json", "more than 65536 bytes"),
        ("cp base.safetensors update.safetensors; echo '{' > result.json", "result.json: EOF"),
        (
            "cp base.safetensors update.safetensors; echo '{\"update\": \"00\"}' > result.json",
            "not what result.json names",
        ),
        (
            "cp base.safetensors update.safetensors; echo '{\"base\": \"00\"}' > result.json",
            "its base is not",
        ),
        (
            "cp base.safetensors update.safetensors; echo '{\"privacy\": {\"noise_multiplier\": 1, \
             \"clip\": 1, \"sampling_rate\": 0.1, \"steps\": 1}}' > result.json",
            "start the learner with --noise",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (mut learner, _) = at_work(&dir, command, Work::Propose);
        let told = learner.propose().unwrap_err().to_string();
        assert!(told.contains(why), "{command}: {told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

#[test]
fn weights_that_are_no_numbers_or_of_another_model_do_not_leave() {
    let dir = tempfile::tempdir().unwrap();
    let foreign = |name: &str, weights: &Weights| {
        let path = dir.path().join(name);
        fs::write(&path, weights.bytes()).unwrap();
        format!("cp {} update.safetensors; echo '{{}}' > result.json", path.display())
    };
    let infinite = foreign("infinite", &model(&[1.0, f32::INFINITY]));
    let (mut learner, _) = at_work(&dir, &infinite, Work::Propose);
    assert_eq!(learner.propose().unwrap(), Proposed::Pass(Some(Reason::NotFinite)));
    let other = tempfile::tempdir().unwrap();
    let (mut learner, _) = at_work(&other, &foreign("more", &model(&[1.0; 3])), Work::Propose);
    let told = learner.propose().unwrap_err().to_string();
    assert!(told.contains("\"w\" has another shape"), "{told}");
    // Those of others are not even shown to the command.
    let test = learner.test(&model(&[f32::NAN, 1.0])).unwrap();
    assert_eq!(test.judgement, Judgement::Reject(Some(Reason::NotFinite)));
    assert!(learner.test(&model(&[1.0])).is_err());
}

#[test]
fn votes_follow_from_what_the_command_says_or_from_its_scores() {
    let votes = |answer: &str, base: &str| {
        let dir = tempfile::tempdir().unwrap();
        let command = format!(
            "{COUNT}case $COLEARN_TASK in vote) echo '{answer}';; test) echo '{base}';; esac > result.json"
        );
        let (mut learner, _) = at_work(&dir, &command, Work::Vote);
        (learner.test(&model(&[2.0, 2.0])).unwrap(), begun(&dir))
    };
    let base = r#"{"score": 0.5}"#;
    let judged = |answer| {
        let (score, begun) = votes(answer, base);
        (score.judgement, begun)
    };
    assert_eq!(judged(r#"{"score": 0.5}"#), (Judgement::Approve, 2));
    assert_eq!(judged(r#"{"score": 0.4}"#), (Judgement::Reject(Some(Reason::Worse)), 2));
    assert_eq!(judged(r#"{"score": 0.4, "base_score": 0.3}"#), (Judgement::Approve, 1));
    assert_eq!(judged(r#"{"score": 0.4, "approve": true}"#), (Judgement::Approve, 1));
    assert_eq!(
        judged(r#"{"approve": false, "reason": "policy"}"#),
        (Judgement::Reject(Some(Reason::Policy)), 1)
    );
    assert_eq!(
        judged(r#"{"abstain": "too_little_data"}"#),
        (Judgement::Abstain(Some(Reason::TooLittleData)), 1)
    );
    // What went wrong is not the model's fault.
    for wrong in ["{}", "", "{\"score\": \"high\"}"] {
        assert_eq!(judged(wrong), (Judgement::Abstain(Some(Reason::Failed)), 1), "{wrong}");
    }
    let dir = tempfile::tempdir().unwrap();
    let hiding = Setup {
        hide_scores: true,
        ..setup(&dir, "echo '{\"score\": 0.4, \"base_score\": 0.3}' > result.json")
    };
    let mut hiding = learner(hiding);
    hiding.begin(&Task::new(1, Work::Vote, hiding.current().digest(), None));
    let score = hiding.test(&model(&[2.0, 2.0])).unwrap();
    assert!(score.vote.is_nan() && score.judgement == Judgement::Approve);
}

#[test]
fn merges_are_measured_as_finely_as_the_command_tells() {
    let dir = tempfile::tempdir().unwrap();
    // What it measures are the last bytes: 64 64 for 3, 32 64 for 2.5.
    let command = "n=$(tail -c 2 model.safetensors | od -An -tu1 | tr -d ' '); \
                   echo '{\"score\": 0.5, \"base_score\": 0.5, \"measure\": -0.'$n'}' > result.json";
    let (mut learner, _) = at_work(&dir, command, Work::Merge);
    let [open, guarded] = [[1.0, 3.0], [1.0, 2.5]].map(|values| model(&values));
    let [open_score, guarded_score] =
        [&open, &guarded].map(|weights| learner.test(weights).unwrap());
    let open = Scored { weights: &open, score: open_score };
    let guarded = Scored { weights: &guarded, score: guarded_score };
    let fine = [open, guarded].map(|it| learner.measure(it).unwrap());
    assert_eq!(fine, [-0.6464, -0.3264]);
    assert!(learner.prefer(guarded, open).unwrap() && !learner.prefer(open, guarded).unwrap());
}

#[test]
fn a_whole_answer_is_taken_after_a_restart_and_half_a_one_is_asked_for_again() {
    let dir = tempfile::tempdir().unwrap();
    let command = format!("{COUNT}{COPY} echo '{{}}' > result.json");
    let (mut first, _) = at_work(&dir, &command, Work::Propose);
    first.propose().unwrap();
    let (mut second, _) = at_work(&dir, &command, Work::Propose);
    second.propose().unwrap();
    assert_eq!(begun(&dir), 1);
    // Cut off.
    let tasks = dir.path().join("exec/tasks");
    let folder = fs::read_dir(tasks).unwrap().next().unwrap().unwrap().path();
    fs::write(folder.join("result.json"), "{").unwrap();
    at_work(&dir, &command, Work::Propose).0.propose().unwrap();
    assert_eq!(begun(&dir), 2);
}

/// A command that waits for a file before it answers.
fn waiting() -> String {
    format!(
        "{COUNT}while ! [ -e \"$COLEARN_STATE/go\" ]; do sleep 0.02; done; {COPY} echo '{{}}' > result.json"
    )
}

#[test]
fn a_command_that_runs_still_is_waited_for_and_not_begun_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (mut first, _) = at_work(&dir, &waiting(), Work::Propose);
    let (mut second, _) = at_work(&dir, "exit 9", Work::Propose);
    thread::scope(|scope| {
        let first = scope.spawn(move || first.propose().unwrap());
        wait_until("the command begins", || begun(&dir) == 1);
        let second = scope.spawn(move || second.propose().unwrap());
        fs::write(dir.path().join("exec/state/go"), "").unwrap();
        assert_eq!(first.join().unwrap(), second.join().unwrap());
    });
    assert_eq!(begun(&dir), 1);
}

#[test]
fn a_command_whose_round_moves_on_is_asked_to_end_and_then_killed() {
    for (trap, grace, is_asked) in [
        ("trap 'echo >> \"$COLEARN_STATE/asked\"; exit 1' TERM; ", 60_000, true),
        ("trap '' TERM; ", 50, false),
    ] {
        for orphan in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let command = format!("{trap}{}", waiting());
            let grace = Duration::from_millis(grace);
            let work = |learner: &mut ExecLearner| {
                let task = Task::new(3, Work::Propose, learner.current().digest(), None);
                learner.begin(&task);
                task
            };
            let mut first = learner(Setup { grace, ..setup(&dir, &command) });
            let mut second = learner(Setup { grace, ..setup(&dir, "exit 9") });
            let (task, orphaned) = (work(&mut first), work(&mut second));
            thread::scope(|scope| {
                let first = scope.spawn(move || first.propose());
                wait_until("the command begins", || begun(&dir) == 1);
                // Whoever looks at the same folder after a restart ends what it has not begun.
                let ended = match orphan {
                    true => {
                        orphaned.end();
                        let proposed = second.propose();
                        assert!(first.join().unwrap().is_err(), "it has no answer");
                        proposed
                    }
                    false => {
                        task.end();
                        first.join().unwrap()
                    }
                };
                assert_eq!(ended.unwrap(), Proposed::Pass(None));
            });
            let tasks = dir.path().join("exec/tasks");
            let folder = fs::read_dir(tasks).unwrap().next().unwrap().unwrap().path();
            assert!(folder.join("over").exists());
            wait_until("it ends", || {
                let lock = dir.path().join("exec/running").join(folder.file_name().unwrap());
                colearn_files::Lock::try_take(&lock).unwrap().is_some()
            });
            assert_eq!(dir.path().join("exec/state/asked").exists(), is_asked);
        }
    }
}

#[test]
fn what_is_pending_is_waited_for_by_whoever_asks_until_it_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let command = format!("{COUNT} touch pending");
    let (mut learner, _) = at_work(&dir, &command, Work::Propose);
    let tasks = dir.path().join("exec/tasks");
    thread::scope(|scope| {
        let proposed = scope.spawn(move || learner.propose().unwrap());
        wait_until("the command begins", || begun(&dir) == 1);
        let folder = fs::read_dir(&tasks).unwrap().next().unwrap().unwrap().path();
        fs::copy(folder.join("base.safetensors"), folder.join("update.safetensors")).unwrap();
        // Not whole yet.
        fs::write(folder.join("result.json"), "{").unwrap();
        fs::write(folder.join("result.new"), "{}").unwrap();
        fs::rename(folder.join("result.new"), folder.join("result.json")).unwrap();
        assert!(proposed.join().unwrap().weights().is_some());
    });
    let (mut learner, task) = at_work(&dir, &command, Work::Propose);
    let folder = fs::read_dir(&tasks).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(folder.join("result.json")).unwrap();
    task.end();
    assert_eq!(learner.propose().unwrap(), Proposed::Pass(None));
    assert_eq!(begun(&dir), 1);
}

#[test]
fn what_a_private_training_took_is_stated_and_no_more_than_was_planned() {
    let dir = tempfile::tempdir().unwrap();
    let private = Private {
        noise_multiplier: 1.0,
        clip: 1.0,
        sampling_rate: 0.25,
        steps: 10,
        delta: 1e-5,
        epsilon: None,
    };
    let propose = |round: u64, steps: &str| {
        let command = format!("{COPY} echo '{{{steps}}}' > result.json");
        let mut learner = learner(Setup { privacy: Some(private), ..setup(&dir, &command) });
        learner.begin(&Task::new(round, Work::Propose, learner.current().digest(), None));
        assert_eq!(learner.privacy().unwrap().segment.steps, 10);
        learner.propose()
    };
    let took = |steps: u64, noise: &str| {
        format!(
            "\"privacy\": {{\"noise_multiplier\": {noise}, \"clip\": 1.0, \"sampling_rate\": 0.25, \"steps\": {steps}}}"
        )
    };
    let Proposed::Private(_, segment) = propose(1, &took(7, "1.5")).unwrap() else { panic!() };
    assert_eq!((segment.steps, segment.noise_micros), (7, 1_500_000));
    let told = propose(2, &took(11, "1.0")).unwrap_err().to_string();
    assert!(told.contains("steps are more than"), "{told}");
    let told = propose(3, &took(10, "0.9")).unwrap_err().to_string();
    assert!(told.contains("noise_multiplier is less than"), "{told}");
    let told = propose(4, "").unwrap_err().to_string();
    assert!(told.contains("started with --noise"), "{told}");
    for wrong in [
        Private { delta: 0.0, ..private },
        Private { epsilon: Some(-1.0), ..private },
        Private { steps: 0, ..private },
        Private { noise_multiplier: f64::NAN, ..private },
    ] {
        assert!(wrong.privacy().is_err(), "{wrong:?}");
    }
}

#[test]
fn a_first_model_is_made_by_the_command() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made");
    fs::write(&path, model(&[0.5]).bytes()).unwrap();
    let copies = format!("cp {} update.safetensors; echo '{{}}' > result.json", path.display());
    let to = dir.path().join("first.safetensors");
    assert_eq!(start(setup(&dir, &copies), &to).unwrap(), model(&[0.5]));
    assert_eq!(fs::read(&to).unwrap(), model(&[0.5]).bytes()[..]);
    assert!(!dir.path().join("exec").exists(), "nothing is left");
    fs::write(&path, "else").unwrap();
    let told = start(setup(&dir, &copies), &to).unwrap_err().to_string();
    assert!(told.contains("no safetensors file") && told.contains("exec/tasks/"), "{told}");
    // Once it is corrected, it is run.
    fs::write(&path, model(&[0.25]).bytes()).unwrap();
    assert_eq!(start(setup(&dir, &copies), &to).unwrap(), model(&[0.25]));
}

#[test]
fn a_first_model_that_cannot_be_written_is_there_the_next_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made");
    fs::write(&path, model(&[0.5]).bytes()).unwrap();
    let copies =
        format!("{COUNT}cp {} update.safetensors; echo '{{}}' > result.json", path.display());
    let told = start(setup(&dir, &copies), &dir.path().join("none/first")).unwrap_err();
    assert!(told.to_string().contains("none/first"), "{told}");
    assert_eq!(begun(&dir), 1);
    let to = dir.path().join("first.safetensors");
    assert_eq!(start(setup(&dir, "exit 9"), &to).unwrap(), model(&[0.5]));
}

/// The folder of a task that has begun.
fn folder_of(dir: &TempDir, task: &str) -> PathBuf {
    let listed = fs::read_dir(dir.path().join("exec/tasks")).unwrap();
    let mut folders = listed.map(|entry| entry.unwrap().path());
    folders.find(|path| path.to_str().unwrap().contains(&format!("-{task}-"))).unwrap()
}

#[test]
fn after_a_restart_a_test_that_runs_is_waited_for_though_it_is_asked_for_later() {
    let dir = tempfile::tempdir().unwrap();
    let command = format!(
        "{COUNT}if [ $COLEARN_TASK = test ]; then while ! [ -e \"$COLEARN_STATE/go\" ]; do sleep 0.02; done; \
         else {COPY} fi; echo '{{\"abstain\": null}}' > result.json"
    );
    let (mut first, _) = at_work(&dir, &command, Work::Update);
    let (mut second, _) = at_work(&dir, "exit 9", Work::Update);
    let base = first.current();
    first.propose().unwrap();
    thread::scope(|scope| {
        let tested = base.clone();
        let first = scope.spawn(move || first.test(&tested).unwrap());
        wait_until("the test begins", || begun(&dir) == 2);
        assert_eq!(second.propose().unwrap(), Proposed::Weights(base.clone()));
        assert!(!folder_of(&dir, "test").join("over").exists());
        fs::write(dir.path().join("exec/state/go"), "").unwrap();
        let tested = second.test(&base).unwrap();
        assert_eq!(tested.judgement, Judgement::Approve);
        assert_eq!(first.join().unwrap().judgement, Judgement::Approve);
    });
    assert_eq!(begun(&dir), 2);
}

#[test]
fn what_was_over_is_begun_again_by_whoever_needs_it_after_all() {
    let dir = tempfile::tempdir().unwrap();
    let (mut learner, task) = at_work(&dir, &format!("{COUNT}touch pending"), Work::Propose);
    thread::scope(|scope| {
        let proposed = scope.spawn(move || learner.propose().unwrap());
        wait_until("the command begins", || begun(&dir) == 1);
        task.end();
        assert_eq!(proposed.join().unwrap(), Proposed::Pass(None));
    });
    let folder = folder_of(&dir, "propose");
    fs::write(folder.join("pending"), "").unwrap();
    assert!(folder.join("over").exists());
    let command =
        format!("{COUNT}[ -e over ] || [ -e pending ] || {COPY} echo '{{}}' > result.json");
    let (mut learner, _) = at_work(&dir, &command, Work::Propose);
    assert!(learner.propose().unwrap().weights().is_some());
    assert_eq!(begun(&dir), 2);
}

#[test]
fn a_command_that_is_begun_again_finds_what_is_asked_by_now() {
    let dir = tempfile::tempdir().unwrap();
    let (mut first, _) = at_work(&dir, "echo spoilt > base.safetensors; exit 1", Work::Propose);
    first.propose().unwrap_err();
    let command = format!("{COPY} cp round.json \"$COLEARN_STATE\"; echo '{{}}' > result.json");
    let mut second = learner(Setup { metric: Some("auc".to_owned()), ..setup(&dir, &command) });
    second.begin(&Task::new(3, Work::Propose, second.current().digest(), Some(8_000)));
    assert_eq!(second.propose().unwrap(), Proposed::Weights(second.current()));
    let asked = fs::read(dir.path().join("exec/state/round.json")).unwrap();
    let asked: serde_json::Value = serde_json::from_slice(&asked).unwrap();
    assert_eq!((&asked["deadline_ms"], &asked["metric"]), (&8_000.into(), &"auc".into()));
}

#[test]
fn half_an_answer_that_is_pending_becomes_whole() {
    let dir = tempfile::tempdir().unwrap();
    let command = format!("{COUNT}{COPY} echo '{{' > result.json; touch pending");
    let (mut learner, _) = at_work(&dir, &command, Work::Propose);
    thread::scope(|scope| {
        let proposed = scope.spawn(move || learner.propose().unwrap());
        wait_until("the command begins", || begun(&dir) == 1);
        let folder = folder_of(&dir, "propose");
        wait_until("the command ends", || folder.join("pending").exists());
        let lock = dir.path().join("exec/running").join(folder.file_name().unwrap());
        wait_until("its lock is free", || colearn_files::Lock::try_take(&lock).unwrap().is_some());
        fs::write(folder.join("result.new"), "{}").unwrap();
        fs::rename(folder.join("result.new"), folder.join("result.json")).unwrap();
        assert!(proposed.join().unwrap().weights().is_some());
    });
    assert_eq!(begun(&dir), 1);
}

#[test]
fn what_cannot_be_tidied_keeps_nobody_from_work() {
    let dir = tempfile::tempdir().unwrap();
    let command = format!("{COPY} echo '{{}}' > result.json");
    let (mut learner, _) = at_work(&dir, &command, Work::Propose);
    // In place of folders: nothing can be written into them, nor are they removed as such, whoever tries it.
    for name in ["00000001-propose-old", "00000009-propose-later"] {
        fs::write(dir.path().join("exec/tasks").join(name), "").unwrap();
    }
    assert!(learner.propose().unwrap().weights().is_some());
}

#[test]
fn what_the_learner_relies_on_is_not_in_the_folder_of_a_command_that_reads_its_input() {
    let dir = tempfile::tempdir().unwrap();
    let command = format!("cat > read && ls > listed && {COPY} echo '{{}}' > result.json");
    let (mut learner, _) = at_work(&dir, &command, Work::Propose);
    assert!(learner.propose().unwrap().weights().is_some());
    let folder = folder_of(&dir, "propose");
    assert_eq!(fs::read(folder.join("read")).unwrap(), b"");
    let listed = fs::read_to_string(folder.join("listed")).unwrap();
    let listed: Vec<&str> = listed.lines().collect();
    assert_eq!(listed, ["base.safetensors", "listed", "output.log", "read", "round.json"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_command_that_nobody_could_end_later_does_not_stay() {
    let dir = tempfile::tempdir().unwrap();
    at_work(&dir, "exit 1", Work::Propose).0.propose().unwrap_err();
    let name = folder_of(&dir, "propose").file_name().unwrap().to_str().unwrap().to_owned();
    let running = dir.path().join("exec/running");
    // In the way of the file that says whose group it is.
    fs::create_dir(running.join(format!("{name}.group.new"))).unwrap();
    let told = at_work(&dir, "exec sleep 600", Work::Propose).0.propose().unwrap_err().to_string();
    assert!(told.contains(".group: "), "{told}");
    assert!(colearn_files::Lock::try_take(&running.join(&name)).unwrap().is_some());
}

#[test]
fn links_and_pipes_lead_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = dir.path().join("elsewhere");
    fs::write(&elsewhere, "kept").unwrap();
    let link = format!("ln -sf {} output.log; exit 1", elsewhere.display());
    at_work(&dir, &link, Work::Propose).0.propose().unwrap_err();
    let told = at_work(&dir, "echo more", Work::Propose).0.propose().unwrap_err().to_string();
    assert!(told.contains("output.log: it is no file"), "{told}");
    assert_eq!(fs::read(&elsewhere).unwrap(), b"kept");
    let dir = tempfile::tempdir().unwrap();
    let piped = "mkfifo update.safetensors; echo '{}' > result.json";
    let told = at_work(&dir, piped, Work::Propose).0.propose().unwrap_err().to_string();
    assert!(told.contains("update.safetensors: it is no file"), "{told}");
}
