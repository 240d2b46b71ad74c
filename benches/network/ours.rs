//! Four nodes that keep a ledger, as their organisations would start them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use colearn::supervise::NodeProcess;
use colearn_testkit::free_addresses;

use super::usage::{Usage, usage};
use super::{NODES, wait_for};

/// How long a node may take to end.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Ours {
    dir: tempfile::TempDir,
    comet: PathBuf,
    pub(crate) urls: Vec<String>,
    nodes: Vec<NodeProcess>,
}

impl Ours {
    pub(crate) fn start(comet: &Path) -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let addresses = free_addresses(2 * NODES);
        let (api, p2p) = addresses.split_at(NODES);
        let urls: Vec<_> = api.iter().map(|it| format!("http://{it}")).collect();
        let mut ours = Self { dir, comet: comet.to_owned(), urls, nodes: Vec::new() };
        let mut genesis = colearn(&["network", "genesis", "--time", "2026-01-01T00:00:00Z"]);
        for (at, p2p) in p2p.iter().enumerate() {
            let (name, p2p) = (format!("org-{at}"), p2p.to_string());
            let mut identity = colearn(&["network", "identity", "--name", &name, "--p2p", &p2p]);
            identity.args(["--url", &ours.urls[at], "--data"]).arg(ours.data(at));
            let file = ours.dir.path().join(format!("{name}.json"));
            std::fs::write(&file, told(identity)).unwrap();
            genesis.arg(file);
        }
        std::fs::write(ours.network(), told(genesis)).unwrap();
        ours.nodes = (0..NODES).map(|at| ours.start_node(at)).collect();
        wait_for("all nodes show a checkpoint", || {
            (0..NODES).all(|at| ours.size(at) > 0).then_some(())
        });
        ours
    }

    fn network(&self) -> PathBuf {
        self.dir.path().join("network.json")
    }

    fn data(&self, at: usize) -> PathBuf {
        self.dir.path().join(format!("node-{at}"))
    }

    fn start_node(&self, at: usize) -> NodeProcess {
        let listen = self.urls[at].strip_prefix("http://").unwrap();
        let mut node = colearn(&["node", "--until-eof", "--json", "--listen", listen]);
        node.arg("--data").arg(self.data(at)).arg("--network").arg(self.network());
        node.arg("--cometbft").arg(&self.comet);
        NodeProcess::start(node).unwrap()
    }

    /// kill -9; CometBFT beside it ends by itself.
    pub(crate) fn kill(&mut self, at: usize) {
        self.nodes[at].process.kill().unwrap();
    }

    /// Stops a node, and sets its ledger and blocks aside.
    pub(crate) fn start_over(&mut self, at: usize) {
        let node = &mut self.nodes[at].process;
        node.terminate().unwrap();
        node.wait(PATIENCE).unwrap().expect("it ends");
        let mut resync = colearn(&["network", "resync", "--data"]);
        resync.arg(self.data(at));
        told(resync);
    }

    pub(crate) fn restart(&mut self, at: usize) {
        self.nodes[at] = self.start_node(at);
    }

    /// The origin, size and root that a node shows; nothing while it shows none.
    pub(crate) fn shown(&self, at: usize) -> String {
        let answer = ureq::get(format!("{}/checkpoint", self.urls[at])).call();
        let note = answer.and_then(|mut answer| answer.body_mut().read_to_string());
        note.unwrap_or_default().lines().take(3).collect::<Vec<_>>().join("\n")
    }

    /// How many entries a node shows.
    pub(crate) fn size(&self, at: usize) -> u64 {
        self.shown(at).lines().nth(1).and_then(|size| size.parse().ok()).unwrap_or(0)
    }

    /// Of each node and of the CometBFT beside it.
    pub(crate) fn usage(&self) -> Vec<[Usage; 2]> {
        let nodes = self.nodes.iter().map(|node| node.process.id());
        nodes.map(|node| [node, child_of(node)].map(usage)).collect()
    }
}

fn colearn(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_colearn"));
    command.args(arguments).env_remove("COLEARN_LOG");
    command
}

/// What a command prints.
fn told(mut command: Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The one process that a process has started.
fn child_of(process: u32) -> u32 {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let lists = threads.map(|it| std::fs::read_to_string(it.unwrap().path().join("children")));
    let lists: String = lists.map(Result::unwrap_or_default).collect();
    lists.split_whitespace().next().unwrap().parse().unwrap()
}
