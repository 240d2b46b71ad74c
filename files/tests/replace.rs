//! Replacing files: what is there afterwards, and what is there when it fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io;
use std::path::Path;

use colearn_files::{Step, create_folder, create_secret, rename, replace, replace_secret};
use tempfile::TempDir;

fn names(dir: &Path) -> Vec<String> {
    let name = |file: io::Result<std::fs::DirEntry>| file.unwrap().file_name().into_string();
    let mut names: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|file| name(file).unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_file_is_created_then_replaced_and_nothing_else_stays() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("state.json");
    for content in ["first", "the second, longer", "3", ""] {
        replace(&file, content.as_bytes()).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), content);
        assert_eq!(names(dir.path()), ["state.json"]);
    }
}

#[test]
fn who_has_the_old_file_open_goes_on_reading_it() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("state");
    replace(&file, b"old").unwrap();
    let open = std::fs::File::open(&file).unwrap();
    replace(&file, b"new").unwrap();
    // Written over in place, the old content would be gone, or half of it.
    assert_eq!(io::read_to_string(open).unwrap(), "old");
    assert_eq!(std::fs::read(&file).unwrap(), b"new");
}

#[test]
fn readers_see_one_content_or_the_other() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("state");
    let contents = [vec![b'a'; 100_000], vec![b'b'; 50_000]];
    replace(&file, &contents[0]).unwrap();
    std::thread::scope(|scope| {
        let writer =
            scope.spawn(|| (0..60).for_each(|i| replace(&file, &contents[i % 2]).unwrap()));
        while !writer.is_finished() {
            assert!(contents.contains(&std::fs::read(&file).unwrap()));
        }
    });
}

#[test]
fn what_a_crash_left_beside_is_overwritten() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("state");
    replace(&file, b"old").unwrap();
    std::fs::write(dir.path().join("state.new"), b"half of something longer").unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), b"old");
    replace(&file, b"new").unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), b"new");
    assert_eq!(names(dir.path()), ["state"]);
}

#[test]
fn the_old_content_stays_when_the_new_cannot_be_written() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("state");
    replace(&file, b"old").unwrap();
    // A folder is where the new file is to be.
    std::fs::create_dir(dir.path().join("state.new")).unwrap();
    let error = replace(&file, b"new").unwrap_err();
    assert_eq!(error.step, Step::Create);
    assert_eq!(error.path, dir.path().join("state.new"));
    assert_eq!(std::fs::read(&file).unwrap(), b"old");
}

#[test]
fn a_missing_folder_is_named() {
    let dir = TempDir::new().unwrap();
    let error = replace(&dir.path().join("missing/state"), b"new").unwrap_err();
    assert_eq!((error.step, error.source.kind()), (Step::Create, io::ErrorKind::NotFound));
    assert!(error.to_string().contains("missing"), "{error}");
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_folder_is_not_replaced() {
    let dir = TempDir::new().unwrap();
    let folder = dir.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    for refused in [replace(&folder, b"new"), create_secret(&folder, b"new")] {
        let error = refused.unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::IsADirectory);
        let text = format!("cannot create {}: it is a folder", folder.display());
        assert_eq!(error.to_string(), text);
    }
    assert_eq!(names(dir.path()), ["folder"]);
    let error = replace(Path::new("/"), b"new").unwrap_err();
    assert_eq!(error.source.kind(), io::ErrorKind::IsADirectory);
}

#[test]
fn files_that_differ_in_their_extension_do_not_meet() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("a.new"), b"somebody's").unwrap();
    replace(&dir.path().join("a.json"), b"{}").unwrap();
    assert_eq!(names(dir.path()), ["a.json", "a.new"]);
}

#[test]
fn a_secret_is_created_once() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("node.pem");
    create_secret(&file, b"key").unwrap();
    let error = create_secret(&file, b"another").unwrap_err();
    assert_eq!(error.source.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read(&file).unwrap(), b"key");
    assert_eq!(names(dir.path()), ["node.pem"]);
}

#[test]
fn a_file_is_moved_over_another() {
    let dir = TempDir::new().unwrap();
    let (from, to) = (dir.path().join("partial"), dir.path().join("whole"));
    std::fs::write(&from, b"new").unwrap();
    std::fs::write(&to, b"old").unwrap();
    rename(&from, &to).unwrap();
    assert_eq!(std::fs::read(&to).unwrap(), b"new");
    assert_eq!(rename(&from, &to).unwrap_err().step, Step::Rename);
    assert_eq!(std::fs::read(&to).unwrap(), b"new");
}

#[test]
fn folders_are_created_with_those_above() {
    let dir = TempDir::new().unwrap();
    let folder = dir.path().join("a/b/c");
    create_folder(&folder).unwrap();
    create_folder(&folder).unwrap();
    assert!(folder.is_dir());
    std::fs::write(dir.path().join("file"), b"").unwrap();
    let error = create_folder(&dir.path().join("file")).unwrap_err();
    assert_eq!((error.step, error.source.kind()), (Step::Create, io::ErrorKind::AlreadyExists));
}

#[cfg(unix)]
mod unix {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn secrets_are_for_their_owner_whatever_was_there_before() {
        let dir = TempDir::new().unwrap();
        let (file, new) = (dir.path().join("key"), dir.path().join("key.new"));
        for path in [&file, &new] {
            std::fs::write(path, b"old").unwrap();
            std::fs::set_permissions(path, Permissions::from_mode(0o666)).unwrap();
        }
        // Whoever has opened the file that a crash left must not see the secret arrive in it.
        let left_open = std::fs::File::open(&new).unwrap();
        replace_secret(&file, b"secret").unwrap();
        assert_eq!(mode(&file), 0o600);
        assert_eq!(std::fs::read(&file).unwrap(), b"secret");
        assert_eq!(io::read_to_string(left_open).unwrap(), "old");

        let created = dir.path().join("created");
        create_secret(&created, b"secret").unwrap();
        assert_eq!(mode(&created), 0o600);
    }

    #[test]
    fn a_link_beside_is_not_followed() {
        let dir = TempDir::new().unwrap();
        let (file, victim) = (dir.path().join("key"), dir.path().join("victim"));
        std::fs::write(&victim, b"untouched").unwrap();
        symlink(&victim, dir.path().join("key.new")).unwrap();
        replace_secret(&file, b"secret").unwrap();
        assert_eq!(std::fs::read(&victim).unwrap(), b"untouched");
        assert!(!std::fs::symlink_metadata(&file).unwrap().is_symlink());
    }

    /// What reaches the system, and in which order: the content is synced before the file has its
    /// name, and the folder after it. Only a tracer sees a sync.
    #[test]
    fn the_file_is_synced_before_the_rename_and_the_folder_after() {
        let dir = TempDir::new().unwrap();
        let trace = dir.path().join("trace");
        let traced = std::process::Command::new("strace")
            .args(["-f", "-y", "-e", "trace=fsync,fdatasync,rename,renameat,renameat2", "-o"])
            .arg(&trace)
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "unix::the_traced_child"])
            .env("COLEARN_FILES_CHILD", dir.path())
            .output();
        if !traced.is_ok_and(|output| output.status.success()) {
            let what = "skipped: the order of syncs, for lack of strace\n";
            // Past the test harness, which would swallow it.
            io::Write::write_all(&mut io::stderr(), what.as_bytes()).unwrap();
            return;
        }
        let trace = std::fs::read_to_string(trace).unwrap();
        let calls: Vec<&str> = trace
            .lines()
            .filter(|line| line.contains(dir.path().to_str().unwrap()))
            .map(|line| if line.contains("rename") { "rename" } else { "sync" })
            .collect();
        assert_eq!(calls, ["sync", "rename", "sync"], "{trace}");
    }

    /// Replaces one file, for a tracer to watch.
    #[test]
    fn the_traced_child() {
        let Some(dir) = std::env::var_os("COLEARN_FILES_CHILD") else { return };
        replace(&Path::new(&dir).join("state"), b"content").unwrap();
    }
}
