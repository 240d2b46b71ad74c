//! A backup of a running node: whole, gone on from, and something that a node goes on with.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use colearn_contracts::{Act, Action, Join};
use serde_json::Value;

use crate::places::counted;
use crate::support::{NodeProcess, Speaker, fail, key, name, succeed};

fn back_up(data: &Path, to: &Path) -> Value {
    let (data, to) = (data.to_str().unwrap(), to.to_str().unwrap());
    serde_json::from_str(&succeed(&["node", "backup", "--data", data, "--to", to, "--json"]))
        .unwrap()
}

fn refused(data: &Path, to: &Path) -> String {
    fail(&["node", "backup", "--data", data.to_str().unwrap(), "--to", to.to_str().unwrap()])
}

fn shown(place: &str) -> String {
    succeed(&["experiment", "show", "x", "--from", place])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_running_node_is_whole_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (data, to) = (dir.path().join("data"), dir.path().join("deep/backup"));
    let node = NodeProcess::start(&data);
    counted(&node, dir.path()).await;
    let first = back_up(&data, &to);
    assert!(first["models"].as_u64().unwrap() > 0 && first["models"] == first["new_models"]);
    let again = back_up(&data, &to);
    assert_eq!((&again["new_ledger_bytes"], &again["new_models"]), (&0.into(), &0.into()));
    assert_eq!(again["root"], first["root"]);

    // What a crash leaves of a copy is gone on from, and what is wrong with it is mended.
    let journal = to.join("ledger/journal/00000000.journal");
    let whole = std::fs::read(&journal).unwrap();
    std::fs::write(&journal, &whole[..whole.len() / 2]).unwrap();
    std::fs::remove_file(to.join("ledger/anchor-a")).unwrap();
    std::fs::write(to.join("artifacts").join("0".repeat(64) + ".part"), b"half").unwrap();
    let mended = back_up(&data, &to);
    assert_eq!(mended["new_ledger_bytes"], (whole.len() - whole.len() / 2) as u64);
    assert_eq!(std::fs::read(&journal).unwrap(), whole);
    std::fs::write(&journal, [&whole[..], b"a torn frame"].concat()).unwrap();
    assert_eq!(back_up(&data, &to)["root"], first["root"]);
    assert_eq!(std::fs::read(&journal).unwrap(), whole);

    // What has been damaged where it is copied from does no harm to what is there.
    let path = data.join("ledger/journal/00000000.journal");
    // In the middle of the entries: behind them is room for more.
    let middle = whole.iter().rposition(|byte| *byte != 0).unwrap() / 2;
    let mut damaged = whole.clone();
    damaged[middle] ^= 1;
    for bad in [&damaged[..], &whole[..middle]] {
        std::fs::write(&path, bad).unwrap();
        let told = refused(&data, &to);
        assert!(told.contains("nothing was copied"), "{told}");
        assert_eq!(std::fs::read(&journal).unwrap(), whole);
    }
    std::fs::write(&path, &whole).unwrap();
    let model = std::fs::read_dir(to.join("artifacts")).unwrap().next().unwrap().unwrap().path();
    let kept = data.join("artifacts").join(model.file_name().unwrap());
    let bytes = std::fs::read(&kept).unwrap();
    std::fs::write(&model, &bytes[1..]).unwrap();
    assert_eq!(back_up(&data, &to)["new_models"], 1);
    assert_eq!(std::fs::read(&model).unwrap(), bytes);

    // While entries are recorded, each is whole.
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (data, to) = (&data, &to);
        let backing = scope.spawn(move || {
            (0..5).map(|_| back_up(data, to)["entries"].as_u64().unwrap()).collect::<Vec<_>>()
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let stop = &stop;
        let speaking = scope.spawn(move || {
            runtime.block_on(async {
                let mut speaker = Speaker::connect(&node.url).await;
                for seed in (10..).take_while(|_| !stop.load(Ordering::Relaxed)) {
                    let join = Action::new(name("none"), Act::Join(Join::new(0, None)));
                    // Refused, and then something that is recorded.
                    speaker.act(&key(seed), join).await.unwrap_err();
                    crate::places::create(&mut speaker, &format!("e{seed}"), seed).await;
                }
            });
            node
        });
        let entries = backing.join().unwrap();
        stop.store(true, Ordering::Relaxed);
        let node = speaking.join().unwrap();
        assert!(entries.is_sorted() && entries.last() > entries.first(), "{entries:?}");
        // Stopped, it is the same to the byte.
        let told = shown(&node.url);
        node.stop();
        let last = back_up(data, to);
        assert!(last["entries"].as_u64() >= entries.last().copied());
        assert_eq!(shown(to.to_str().unwrap()), told);
    });

    // A node goes on with it, and then it is a backup no more.
    let restored = NodeProcess::start(&to);
    assert_eq!(shown(&restored.url), shown(data.to_str().unwrap()));
    let told = refused(&data, &to);
    assert!(told.contains("a node, or another backup, is at work in"), "{told}");
    let mut speaker = Speaker::connect(&restored.url).await;
    crate::places::create(&mut speaker, "later", 99).await;
    restored.stop();
    let told = refused(&data, &to);
    assert!(told.contains("say an empty folder"), "{told}");
    assert!(succeed(&["audit", to.to_str().unwrap()]).contains("AUDIT OK"));
}

#[test]
fn what_is_no_node_or_no_backup_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (data, other) = (dir.path().join("data"), dir.path().join("other"));
    for folder in [&data, &other] {
        NodeProcess::start(folder).stop();
    }
    let to = dir.path().join("to");
    let told = refused(dir.path(), &to);
    assert!(told.contains("is no node's data folder"), "{told}");
    std::fs::create_dir(&to).unwrap();
    std::fs::write(to.join("mine"), b"of value").unwrap();
    let told = refused(&data, &to);
    assert!(told.contains("is not empty"), "{told}");
    assert_eq!(std::fs::read_dir(&to).unwrap().count(), 1);
    let to = dir.path().join("fresh");
    back_up(&data, &to);
    let told = refused(&other, &to);
    assert!(told.contains("nothing was copied") && told.contains("does not continue"), "{told}");
    for within in [data.join("within"), data.clone()] {
        let told = refused(&data, &within);
        assert!(told.contains(" lies in ") && !data.join("within").exists(), "{told}");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = to.join("node.pem").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    // Of one that votes a copy is dangerous.
    std::fs::create_dir(data.join("comet")).unwrap();
    let told = refused(&data, &to);
    assert!(told.contains("several nodes keep the ledger") && told.contains("resync"), "{told}");
}
