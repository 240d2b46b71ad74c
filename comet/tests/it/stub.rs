//! A program that says that it is CometBFT, and does what the test needs.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use colearn_comet::process::{Process, Sockets};
use colearn_comet::program::Program;
use colearn_testkit::script;

/// A stub with a home, and what it says to the test.
pub(crate) struct Stub {
    pub(crate) home: PathBuf,
    pub(crate) sockets: Sockets,
    program: Program,
    lines: Receiver<String>,
    _dir: tempfile::TempDir,
}

impl Stub {
    /// `start` is what it does, in shell, when it is started; `say` tells the test something there, and
    /// `$rpc` is its socket.
    pub(crate) fn new(start: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        std::fs::create_dir(&home).unwrap();
        let said = dir.path().join("said");
        assert!(Command::new("mkfifo").arg(&said).status().unwrap().success());
        let sockets = Sockets::create().unwrap();
        let path = dir.path().join("cometbft");
        let text = format!(
            "#!/bin/sh\n[ $1 = version ] && {{ echo 0.38.25; exit; }}\n\
             rpc={}\nsay() {{ echo \"$*\" >{}; }}\n{start}\n",
            sockets.rpc().display(),
            said.display(),
        );
        script(&path, &text);
        let (sender, lines) = channel();
        // For writing, too: so it does not end when the stub does.
        let said = std::fs::File::options().read(true).write(true).open(said).unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(said).lines() {
                if sender.send(line.unwrap()).is_err() {
                    break;
                }
            }
        });
        let program = Program::find(Some(&path)).unwrap();
        Self { home, sockets, program, lines, _dir: dir }
    }

    pub(crate) fn start(&self) -> Process {
        Process::start(&self.program, &self.home, &self.sockets).unwrap()
    }

    /// The next thing that it says.
    pub(crate) fn said(&self) -> String {
        self.lines.recv_timeout(Duration::from_secs(60)).unwrap()
    }
}
