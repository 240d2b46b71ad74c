//! Looking on: a ledger is followed, or a folder audited, for somebody to whom it is shown.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::ensure;
use clap::Args;
use colearn::place;
use colearn_records::keys;
use colearn_records::pins::Pins;
use colearn_sdk::client::{Client, Credential, Followed, Memory, Nodes, Watching};

use super::args::{PinArgs, Signer, trust};
use super::{following, progress};
use crate::ui;
use crate::ui::{Place, Shared, Told, View};

/// In whose name somebody looks, and what is insisted on.
#[derive(Args)]
pub(super) struct LookingArgs {
    /// Follow in the name of this private key, from where it stands: a file, agent:COMMENT or exec:COMMAND
    #[arg(long, value_name = "KEY")]
    key: Option<keys::Place>,
    /// Where the key remembers what must survive a restart [default: as for a learner]
    #[arg(long, value_name = "DIR", requires = "key")]
    memory: Option<PathBuf>,
    #[command(flatten)]
    pins: PinArgs,
}

impl LookingArgs {
    /// The ledger at its end, and what goes on following it, if that can be.
    pub(super) async fn open(&self, place: &str) -> anyhow::Result<(View, Option<Watching>)> {
        let pins = self.pins.trust(&Pins::default())?.pins;
        let asked = place::Place::new(place);
        if asked.folder().is_some() {
            ensure!(
                self.key.is_none(),
                "{place} is a folder, and nobody is asked there: --key is for nodes (http://HOST:PORT)"
            );
            let (place, bar) = (place.to_owned(), progress::entries("auditing"));
            let told = bar.clone();
            let view = tokio::task::spawn_blocking(move || ui::read(&place, pins, &told)).await??;
            bar.finish_and_clear();
            return Ok((view, None));
        }
        let mut watching = self.watching(&asked).await?;
        let node = Place::Node(watching.followed().client().url().to_owned());
        let told = Told::of(node, pins, self.key.is_some());
        let bar = progress::entries("reading the ledger");
        let view = ui::fill(&mut watching, told, &bar).await?;
        bar.finish_and_clear();
        Ok((view, Some(watching)))
    }

    /// A node's ledger, followed to its end.
    pub(super) async fn watching(&self, place: &place::Place) -> anyhow::Result<Watching> {
        let mut nodes = Nodes::from(place.urls().to_vec());
        let mut memory = Memory::default();
        if let Some(kept) = &self.key {
            let signer = Signer::of(kept.clone(), self.memory.clone(), self.pins.clone());
            let (key, dir) = signer.load()?;
            memory = Memory::open(&dir, keys::learner_id(&key))?;
            nodes = nodes.signed_by(Credential::new(&key));
        }
        let client = Client::connect(nodes).await?;
        let trust = match &self.key {
            Some(_) => self.pins.trust(&Pins::default())?,
            None => trust(self.pins.pins(&Pins::default())?)?,
        };
        let mut followed = Followed::open(client, memory, trust).await?;
        following::to_the_end(&mut followed).await?;
        Ok(Watching::new(followed))
    }
}

/// Keeps the view up to date; of a folder there is nothing to keep.
pub(super) async fn follow(watching: Option<Watching>, shared: Arc<Shared>) {
    if let Some(watching) = watching {
        ui::follow(watching, shared).await;
    }
    // What is there is shown until somebody ends it.
    std::future::pending().await
}
