//! The nodes of a demo of several organisations, one of which dies half-way.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use colearn::supervise::NodeProcess;
use colearn_contracts::{Limits, VERSION};
use colearn_ledger::SignedNote;
use colearn_node::network;
use colearn_proto::v1;
use colearn_records::network_file::{self, NetworkFile};
use colearn_records::validators;

use super::super::Program;

/// How long the nodes may take to come to the same entries at the end.
const CATCH_UP: Duration = Duration::from_secs(60);

/// Several nodes, each a process with a folder of its own.
pub(super) struct Consortium {
    program: Program,
    dir: PathBuf,
    urls: Vec<String>,
    nodes: Vec<Option<NodeProcess>>,
}

impl Consortium {
    /// Makes a network of so many organisations in a folder, or goes on with the one that is there, and
    /// starts a node for each.
    pub(super) fn start(program: &Program, dir: &Path, count: usize) -> anyhow::Result<Self> {
        let genesis = network(dir, count)?;
        let mut consortium = Self {
            program: program.clone(),
            dir: dir.to_owned(),
            urls: genesis.validators.iter().map(|it| it.url.clone()).collect(),
            nodes: Vec::new(),
        };
        for at in 0..consortium.urls.len() {
            let node = consortium.start_node(at)?;
            consortium.nodes.push(Some(node));
        }
        Ok(consortium)
    }

    fn start_node(&self, at: usize) -> anyhow::Result<NodeProcess> {
        let (file, before) = self.program.parts().context("cannot find this program")?;
        let listen = self.urls[at].trim_start_matches("http://");
        let mut command = Command::new(file);
        command.args(before).args(["node", "--json", "--until-eof", "--listen", listen]);
        command.arg("--data").arg(self.folder(at));
        command.arg("--network").arg(network_path(&self.dir));
        // The demo tells what happens itself.
        command.args(["--ops-listen", "off", "--log-level", "warn"]);
        Ok(NodeProcess::start(command)?)
    }

    /// The data of a node.
    pub(super) fn folder(&self, at: usize) -> PathBuf {
        node_dir(&self.dir, at)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.urls.len()
    }

    /// Where the nodes are, another one first for each learner: each stays with the first that answers.
    pub(super) fn urls_for(&self, learner: usize) -> String {
        let mut urls = self.urls.clone();
        urls.rotate_left(learner % self.urls.len().max(1));
        urls.join(",")
    }

    /// The node that is to die: the last, so that who watches the first sees it happen.
    fn victim(&self) -> usize {
        self.urls.len() - 1
    }

    /// Ends a node at once, as a power cut would. Gives its name.
    pub(super) fn kill_one(&mut self) -> anyhow::Result<String> {
        let at = self.victim();
        if let Some(mut node) = self.nodes[at].take() {
            node.process.kill()?;
        }
        Ok(name(at))
    }

    /// Starts the one that was killed.
    pub(super) fn start_again(&mut self) -> anyhow::Result<()> {
        let at = self.victim();
        if self.nodes[at].is_none() {
            self.nodes[at] = Some(self.start_node(at)?);
        }
        Ok(())
    }

    /// Waits until all nodes show the same entries, signed by enough of them.
    pub(super) async fn come_together(&self) -> anyhow::Result<()> {
        let until = Instant::now() + CATCH_UP;
        loop {
            let mut shown = Vec::new();
            for url in &self.urls {
                let note = network::checkpoint(url).await;
                // Not the lines: which of the nodes have signed first is different everywhere.
                let note = note.and_then(|note| {
                    let note = SignedNote::parse(&note).map_err(|error| error.to_string())?;
                    Ok(note.text().to_owned())
                });
                shown.push(note);
            }
            if shown.iter().all(|it| it.is_ok() && *it == shown[0]) {
                return Ok(());
            }
            if Instant::now() > until {
                bail!("the nodes do not come to the same entries: {shown:?}");
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Stops all nodes.
    pub(super) fn stop(self) -> anyhow::Result<()> {
        for node in self.nodes.into_iter().flatten() {
            node.stop()?;
        }
        Ok(())
    }
}

fn name(at: usize) -> String {
    format!("org-{}", at + 1)
}

fn node_dir(dir: &Path, at: usize) -> PathBuf {
    dir.join(format!("node-{}", at + 1))
}

fn network_path(dir: &Path) -> PathBuf {
    dir.join("network.json")
}

/// How the network in a folder begins: as was agreed before, or with organisations that are made here.
fn network(dir: &Path, count: usize) -> anyhow::Result<v1::Genesis> {
    let path = network_path(dir);
    if path.exists() {
        let NetworkFile::Begun(genesis) = super::super::network::read_network(&path)? else {
            bail!("{} is of no demo", path.display());
        };
        if genesis.validators.len() != count {
            let there = genesis.validators.len();
            bail!(
                "the demo in this folder has {there} nodes; say --nodes {there}, or another --keep"
            );
        }
        return Ok(genesis);
    }
    // Whoever makes keys for others knows them: this is a demo.
    let ports = free_ports(2 * count)?;
    let identities = (0..count).map(|at| {
        let [http, p2p] = [ports[2 * at], ports[2 * at + 1]];
        let identity = network::identity(
            &node_dir(dir, at),
            &name(at),
            &format!("{p2p}"),
            &format!("http://{http}"),
        );
        identity.with_context(|| name(at))
    });
    let identities = identities.collect::<anyhow::Result<Vec<_>>>()?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let time_ms = u64::try_from(now.as_millis())?;
    let genesis = validators::genesis(None, identities, time_ms, VERSION, &Limits::default())?;
    colearn_files::replace(&path, network_file::network(&genesis)?.as_bytes())?;
    Ok(genesis)
}

/// Addresses that nobody listens on. Somebody may before they are used: CometBFT cannot be given a listener.
fn free_ports(count: usize) -> anyhow::Result<Vec<SocketAddr>> {
    let listeners: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<Result<_, _>>()?;
    Ok(listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?)
}
