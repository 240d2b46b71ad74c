//! The nodes of a demo, each a process with a folder of its own, one of which dies half-way.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use colearn::supervise::NodeProcess;
use colearn_ledger::SignedNote;
use colearn_node::network;

use super::super::Program;

/// How long the nodes may take to come to the same entries.
const CATCH_UP: Duration = Duration::from_secs(60);

/// Several nodes.
pub(super) struct Fleet {
    program: Program,
    dir: PathBuf,
    urls: Vec<String>,
    /// What each is started with besides.
    flags: Box<dyn Fn(usize) -> Vec<String> + Send>,
    nodes: Vec<Option<NodeProcess>>,
}

impl Fleet {
    /// Starts a node at each of these addresses.
    pub(super) fn start(
        program: &Program,
        dir: &Path,
        urls: Vec<String>,
        flags: impl Fn(usize) -> Vec<String> + Send + 'static,
    ) -> anyhow::Result<Self> {
        let (program, dir, flags) = (program.clone(), dir.to_owned(), Box::new(flags));
        let mut fleet = Self { program, dir, urls, flags, nodes: Vec::new() };
        for at in 0..fleet.urls.len() {
            let node = fleet.start_node(at)?;
            fleet.nodes.push(Some(node));
        }
        Ok(fleet)
    }

    fn start_node(&self, at: usize) -> anyhow::Result<NodeProcess> {
        let (file, before) = self.program.parts().context("cannot find this program")?;
        let listen = self.urls[at].trim_start_matches("http://");
        let mut command = Command::new(file);
        command.args(before).args(["node", "--json", "--until-eof", "--listen", listen]);
        command.arg("--data").arg(self.folder(at)).args((self.flags)(at));
        // The demo tells what happens itself.
        command.args(["--ops-listen", "off", "--log-level", "warn"]);
        Ok(NodeProcess::start(command)?)
    }

    /// The data of a node.
    pub(super) fn folder(&self, at: usize) -> PathBuf {
        folder(&self.dir, at)
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

    /// Waits until all nodes show the same entries, as far as whoever must vouch for them has.
    pub(super) async fn come_together(&self) -> anyhow::Result<()> {
        let until = Instant::now() + CATCH_UP;
        loop {
            let mut shown = Vec::new();
            for url in &self.urls {
                let note = network::checkpoint(url).await;
                // Not the lines: who has signed is different everywhere.
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

/// What a node's organisation is called.
pub(super) fn name(at: usize) -> String {
    format!("org-{}", at + 1)
}

/// The data of a node of the demo in this folder.
pub(super) fn folder(dir: &Path, at: usize) -> PathBuf {
    dir.join(format!("node-{}", at + 1))
}
