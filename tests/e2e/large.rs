//! Models that are larger than what the processes that pass them on may have in memory.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;

use colearn_sdk::client::{ClientError, Destination};
use colearn_sdk::learner::{SAFETENSORS, Weights};

use crate::support::{NodeProcess, Speaker, http};
#[cfg(target_os = "linux")]
use crate::support::{Process, colearn, succeed};

/// What the command of a learner does: it changes the base at one place, and is content with everything.
#[cfg(target_os = "linux")]
const WORK: &str = r#"
case $COLEARN_TASK in propose)
    cp base.safetensors new
    printf "\\$(printf %03o "$COLEARN_ROUND")" | dd of=new bs=1 seek="$AT" conv=notrunc status=none
    mv new update.safetensors ;;
esac
echo '{"score": 1}' > result.new && mv result.new result.json"#;

/// A model of so many MiB, all zeros.
fn write_model(path: &Path, mib: usize) {
    let values = mib << 18;
    let header = format!(
        r#"{{"w":{{"dtype":"F32","shape":[{values}],"data_offsets":[0,{}]}}}}"#,
        values * 4
    );
    let header = format!("{header:<128}");
    let mut file = File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    // The rest is a hole, which is read as zeros.
    file.set_len(8 + 128 + (values as u64) * 4).unwrap();
}

/// A command in a process that may have so many MiB of memory of its own. Files that it looks at do not count.
#[cfg(target_os = "linux")]
fn confined(command: &std::process::Command, mib: u64) -> std::process::Command {
    let mut confined = std::process::Command::new("sh");
    let limit = format!(r#"ulimit -d {}; exec "$0" "$@""#, mib << 10);
    confined.args(["-c", &limit]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => confined.env(name, value),
            None => confined.env_remove(name),
        };
    }
    confined
}

#[cfg(target_os = "linux")]
#[test]
fn a_model_is_trained_merged_and_kept_by_processes_that_have_less_memory_than_it_has_bytes() {
    const MODEL_MIB: usize = 320;
    const MEMORY_MIB: u64 = 256;
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let first = path("first.safetensors");
    write_model(Path::new(&first), MODEL_MIB);

    let node = NodeProcess::command(&dir.path().join("node"), &["--listen", "127.0.0.1:0"]);
    let node = NodeProcess::start_command(confined(&node, MEMORY_MIB));
    let start = |arguments: &[&str]| {
        let mut command = confined(&colearn(arguments), MEMORY_MIB);
        command.env("AT", "1000");
        Process::of(::colearn::supervise::Process::start(command).unwrap())
    };
    let end = |mut process: Process| {
        let told: Vec<String> = std::iter::from_fn(|| process.line()).collect();
        assert_eq!(process.wait(), Some(0), "{told:?}");
        told
    };
    for (name, rules) in [("single", &[][..]), ("merged", &["--merging"])] {
        let keys = ["a", "b"].map(|key| path(&format!("{name}-{key}.pem")));
        for key in &keys {
            succeed(&["key", "new", key]);
        }
        let create = ["experiment", "create", name, "--node", &node.url, "--key", &keys[0]];
        let more = ["--open", "--min-learners", "2", "--max-rounds", "2", "--weights", &first];
        end(start(&[&create[..], &more, rules].concat()));
        let learners = keys.each_ref().map(|key| {
            let learner = ["learner", "--json", "--node", &node.url, "--experiment", name];
            start(&[&learner[..], &["--key", key, "--exec", WORK]].concat())
        });
        for learner in learners {
            let told = end(learner);
            let accepted = told.iter().filter(|line| line.contains(r#""verdict":"accepted""#));
            assert_eq!(accepted.count(), 2, "{told:?}");
        }
    }
    let audit = colearn(&["audit", &node.url, "--merges", &node.url]);
    let audited = confined(&audit, MEMORY_MIB).output().unwrap();
    assert!(audited.status.success(), "{audited:?}");
    node.stop();

    // The limit is one: a program that holds the model has no room.
    let holding = confined(&holds(&first), MEMORY_MIB).output().unwrap();
    assert!(!holding.status.success(), "{holding:?}");
    assert!(holds(&first).output().unwrap().status.success());
}

/// What has a file's bytes in memory: a shell's variable, in which zeros are another digit.
#[cfg(target_os = "linux")]
fn holds(path: &str) -> std::process::Command {
    let mut command = std::process::Command::new("sh");
    command.args(["-c", r#"held=$(tr '\0' 0 < "$0"); [ "${#held}" -gt 1000 ]"#, path]);
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_come_of_a_large_model_does_not_come_again() {
    const MIB: u64 = 20;
    let dir = tempfile::tempdir().unwrap();
    let (large, original) = (dir.path().join("large"), dir.path().join("original"));
    std::fs::create_dir(&large).unwrap();
    write_model(&original, MIB as usize);
    let weights = Weights::open(&original).unwrap();
    let model = weights.model(SAFETENSORS);
    let arrives = large.join(model.digest.to_string());

    let more = ["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"];
    let node = NodeProcess::start_with(&dir.path().join("node"), &more);
    let mut sent_before = 0;
    let mut sent = || {
        let ops = node.started["ops"].as_str().unwrap();
        let text = String::from_utf8(http(&format!("{ops}/metrics")).1).unwrap();
        let all =
            text.lines().find_map(|line| line.strip_prefix("colearn_downloaded_bytes_total "));
        let all: u64 = all.unwrap().parse().unwrap();
        all - std::mem::replace(&mut sent_before, all)
    };
    let speaker = Speaker::connect(&node.url).await;
    let folder = Destination::Folder(large.clone());
    let download = || speaker.client.download_to(&model, folder.clone());
    let missing = download().await.unwrap_err();
    assert!(matches!(missing, ClientError::Refused { .. }), "{missing}");
    let part = std::fs::read_dir(&large).unwrap().next().unwrap().unwrap().path();
    speaker.client.upload(&weights).await.unwrap();

    assert_eq!(download().await.unwrap(), weights);
    assert_eq!(sent(), model.size);
    // All of it is there.
    let held = download().await.unwrap();
    assert_eq!((held.bytes(), sent()), (weights.bytes(), 0));

    // A part of it is, from before a kill -9; and something that is none of it.
    let half = model.size / 2;
    std::fs::remove_file(&arrives).unwrap();
    let change = |length: u64, at: Option<u64>| {
        let _ = std::fs::remove_file(&arrives);
        std::fs::copy(&original, &part).unwrap();
        let mut file = File::options().write(true).open(&part).unwrap();
        file.set_len(length).unwrap();
        if let Some(at) = at {
            file.seek(SeekFrom::Start(at)).unwrap();
            file.write_all(&[7]).unwrap();
        }
    };
    change(half, None);
    assert_eq!(download().await.unwrap(), weights);
    assert_eq!(sent(), model.size - half);
    for (length, at) in [(half, half - 1), (model.size, 9), (model.size + 1, model.size)] {
        change(length, Some(at));
        assert_eq!(download().await.unwrap(), weights);
        assert_eq!(std::fs::read(&arrives).unwrap(), weights.bytes()[..]);
        assert!(!part.exists());
    }
    // Whole, and not what it is called. Whoever looks at it goes on seeing it.
    let before = Weights::open(&arrives).unwrap();
    let other = large.join("other");
    std::fs::copy(&original, &other).unwrap();
    File::options().write(true).open(&other).unwrap().write_all(&[7]).unwrap();
    std::fs::rename(&other, &arrives).unwrap();
    let looked_at = Weights::open(&arrives).unwrap();
    assert_eq!(download().await.unwrap(), weights);
    assert_eq!((before.bytes()[0], looked_at.bytes()[0]), (weights.bytes()[0], 7));

    // A node that sends other bytes is told, and leaves nothing that anybody would go on from.
    let stored = dir.path().join("node/artifacts").join(model.digest.to_string());
    let mut stored = File::options().write(true).open(stored).unwrap();
    stored.write_all(&[7]).unwrap();
    std::fs::remove_file(&arrives).unwrap();
    for _ in 0..2 {
        let wrong = download().await.unwrap_err();
        assert!(matches!(wrong, ClientError::WrongArtifact(_)), "{wrong}");
    }
    stored.seek(SeekFrom::Start(0)).unwrap();
    stored.write_all(&weights.bytes()[..1]).unwrap();
    assert_eq!(download().await.unwrap(), weights);
    // Without a name nothing is left.
    std::fs::remove_file(&arrives).unwrap();
    let nameless = Destination::Nameless(large.clone());
    let held = speaker.client.download_to(&model, nameless).await.unwrap();
    assert!(held.is_in_file() && held == weights);
    assert_eq!(std::fs::read_dir(&large).unwrap().count(), 0);
    node.stop();
}
