//! Supervision, of a stub.

use std::process::Command;
use std::time::{Duration, Instant};

use colearn_comet::process::{Ailment, Sockets, Stopped};

use crate::stub::Stub;

#[test]
fn whatever_it_ends_with_it_is_started_again_and_later_each_time() {
    let stub = Stub::new(
        r#"n=$(cat n 2>/dev/null || echo 0); echo $((n + 1)) >n
        [ -e "$rpc" ] && say "the socket is still there"
        : >"$rpc"
        say "$n $*"
        case $n in 0) exit 0 ;; 1) exit 1 ;; 2) kill -9 $$ ;; esac
        exec sleep 1000"#,
    );
    let started = Instant::now();
    let process = stub.start();
    let home = stub.home.display().to_string();
    for n in 0..4 {
        assert_eq!(stub.said(), format!("{n} start --home {home}"));
    }
    assert!(started.elapsed() >= Duration::from_millis(200 + 400 + 800));
    // It says that it runs before this process knows it.
    while process.restarts() < 3 || process.pid().is_none() {
        std::thread::yield_now();
    }
    assert_eq!(process.restarts(), 3);
    assert_eq!(process.stop(), Stopped::Ended);
}

#[test]
fn one_that_ends_at_once_again_and_again_is_ailing() {
    let stub = Stub::new(r#"echo "ERROR: no such key"; echo "Usage: cometbft"; say ended; exit 1"#);
    let process = stub.start();
    let health = process.health();
    for _ in 0..4 {
        stub.said();
    }
    assert_eq!(health.ailment(), None, "it may be that its database is locked still");
    let ailment = loop {
        if let Some(ailment) = health.ailment() {
            break ailment;
        }
        std::thread::yield_now();
    };
    let why = "ERROR: no such key (exit status: 1)".to_owned();
    assert_eq!(ailment, Ailment::Ends { times: 5, why });
    process.stop();
}

#[test]
fn one_that_cannot_be_started_again_is_ailing() {
    let stub = Stub::new("say ended; exit 1");
    let process = stub.start();
    let health = process.health();
    stub.said();
    std::fs::remove_file(stub.home.with_file_name("cometbft")).unwrap();
    let ailment = loop {
        if let Some(ailment) = health.ailment() {
            break ailment;
        }
        std::thread::yield_now();
    };
    let Ailment::Ends { times: 5, why } = &ailment else { panic!("{ailment}") };
    assert!(why.starts_with("cannot start ") && why.contains("No such file"), "{why}");
    process.stop();
}

#[test]
fn one_that_runs_and_takes_no_part_is_ailing_until_it_is_another() {
    let stub = Stub::new(
        r#"say $$; [ -e n ] && exec sleep 1000
        : >n; echo 'E[2026-11-27] CONSENSUS FAILURE!!! module=consensus err="it is wrong" stack="x"'
        exec sleep 1000"#,
    );
    let process = stub.start();
    let health = process.health();
    let pid = stub.said();
    let ailment = loop {
        if let Some(ailment) = health.ailment() {
            break ailment;
        }
        std::thread::yield_now();
    };
    assert_eq!(ailment, Ailment::Halted("it is wrong".to_owned()));
    assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    stub.said();
    while health.ailment().is_some() {
        std::thread::yield_now();
    }
    process.stop();
}

#[test]
fn its_environment_is_not_this_process_s() {
    assert!(
        std::env::var_os("CARGO_MANIFEST_DIR").is_some(),
        "something that must not get through"
    );
    let stub = Stub::new(
        "for name in $(env | sed 's/=.*//'); do say $name; done; say end; exec sleep 1000",
    );
    let _process = stub.start();
    loop {
        match stub.said().as_str() {
            "PATH" | "HOME" | "TMPDIR" => {}
            // The shell's own.
            "PWD" | "OLDPWD" | "SHLVL" | "_" => {}
            "end" => break,
            other => panic!("{other}"),
        }
    }
}

#[test]
fn what_it_says_is_in_its_log() {
    let stub = Stub::new("echo out; echo err >&2; say there; exec sleep 1000");
    std::fs::write(stub.home.join("log"), "before\n").unwrap();
    let process = stub.start();
    stub.said();
    process.stop();
    assert_eq!(std::fs::read_to_string(stub.home.join("log")).unwrap(), "before\nout\nerr\n");
}

#[test]
fn it_may_say_more_than_a_pipe_holds() {
    let stub = Stub::new("head -c 3000000 /dev/zero; say done; exec sleep 1000");
    let process = stub.start();
    assert_eq!(stub.said(), "done");
    process.stop();
    assert_eq!(std::fs::metadata(stub.home.join("log")).unwrap().len(), 3_000_000);
}

#[test]
fn one_that_ends_in_order_is_waited_for() {
    let stub = Stub::new(
        r#"trap 'say ending; echo last words; exit 0' TERM; say ready
        while :; do sleep 0.01; done"#,
    );
    let process = stub.start();
    assert_eq!(stub.said(), "ready");
    assert_eq!(process.stop(), Stopped::Ended);
    assert_eq!(stub.said(), "ending");
    assert_eq!(std::fs::read_to_string(stub.home.join("log")).unwrap(), "last words\n");
}

#[test]
fn one_that_is_deaf_is_killed_after_ten_seconds() {
    // Its output ends before it does, and it has a child that outlives it.
    let stub = Stub::new("trap '' TERM; say $$; exec >/dev/null 2>&1; sleep 100");
    let process = stub.start();
    let pid = stub.said();
    let asked = Instant::now();
    assert_eq!(process.stop(), Stopped::Killed);
    assert!(asked.elapsed() >= Duration::from_secs(10));
    assert!(!is_running(&pid));
}

#[test]
fn one_that_is_dropped_is_killed_at_once() {
    let stub = Stub::new("trap '' TERM; say $$; exec sleep 1000");
    let process = stub.start();
    let pid = stub.said();
    let asked = Instant::now();
    drop(process);
    assert!(asked.elapsed() < Duration::from_secs(5));
    assert!(!is_running(&pid));
}

#[test]
fn stopping_does_not_wait_for_the_next_start() {
    let stub = Stub::new("say started; exit 1");
    let process = stub.start();
    for _ in 0..3 {
        stub.said();
    }
    let asked = Instant::now();
    // Within the fourth pause, or just before it.
    assert_eq!(process.stop(), Stopped::Ended);
    assert!(asked.elapsed() < Duration::from_millis(1600));
}

#[test]
fn the_sockets_folder_is_fresh_one_s_own_and_gone_in_the_end() {
    use std::os::unix::fs::PermissionsExt as _;
    let (sockets, others) = (Sockets::create().unwrap(), Sockets::create().unwrap());
    assert_ne!(sockets.abci(), others.abci());
    let folder = sockets.abci().parent().unwrap().to_owned();
    assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let listener = sockets.listen().unwrap();
    assert!(sockets.listen().unwrap_err().to_string().contains("abci.sock"));
    drop((sockets, listener));
    assert!(!folder.exists());
}

fn is_running(pid: &str) -> bool {
    std::process::Command::new("kill").args(["-0", pid]).output().unwrap().status.success()
}
