//! The network of a demo of several organisations.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use colearn_contracts::{Limits, VERSION};
use colearn_node::network;
use colearn_proto::v1;
use colearn_records::network_file::{self, NetworkFile};
use colearn_records::validators;

use super::super::Program;
use super::fleet::{Fleet, folder, name};
use super::ports;

/// Makes a network of so many organisations in a folder, or goes on with the one that is there, and starts a node for
/// each.
pub(super) fn start(program: &Program, dir: &Path, count: usize) -> anyhow::Result<Fleet> {
    let genesis = network(dir, count)?;
    let urls = genesis.validators.iter().map(|it| it.url.clone()).collect();
    let file = network_path(dir).display().to_string();
    Fleet::start(program, dir, urls, move |_| vec!["--network".to_owned(), file.clone()])
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
    let ports = ports::free(2 * count)?;
    let identities = (0..count).map(|at| {
        let [http, p2p] = [ports[2 * at], ports[2 * at + 1]];
        let identity = network::identity(
            &folder(dir, at),
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
