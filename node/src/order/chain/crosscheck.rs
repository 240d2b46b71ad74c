//! Whether another server of the chain has the same header: two that differ and both follow from what is trusted were
//! signed by validators who lie, and then nothing more is believed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use colearn_light::{Light, RawBlock, TrustLine, Way};
use colearn_relay::Rpc;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::clock;
use crate::error::ChainError;

/// How long the other server may take until it has the block.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long is waited before it is asked for it again, and between two headers that are compared.
const PAUSE: Duration = Duration::from_secs(1);
/// The most blocks that are asked for on the way to its header.
const MAX_STEPS: usize = 128;

/// A block as it is kept: the answers of a server.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub(super) struct KeptBlock {
    pub(super) hash: String,
    commit: String,
    validators: Vec<String>,
    next_validators: Vec<String>,
}

impl KeptBlock {
    pub(super) fn of(hash: [u8; 32], raw: &RawBlock) -> Self {
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        Self {
            hash: hex::encode(hash),
            commit: text(&raw.commit),
            validators: raw.validators.iter().map(text).collect(),
            next_validators: raw.next_validators.iter().map(text).collect(),
        }
    }

    pub(super) fn raw(&self) -> RawBlock {
        let bytes = |pages: &[String]| pages.iter().map(|it| it.clone().into_bytes()).collect();
        RawBlock {
            commit: self.commit.clone().into_bytes(),
            validators: bytes(&self.validators),
            next_validators: bytes(&self.next_validators),
        }
    }
}

/// Two headers of one height that both follow from the one that is trusted, with what proves that: evidence, and the
/// mark that nothing more is to be believed, for as long as the file is there.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub(super) struct TwoHeaders {
    /// The hash of the header that is trusted.
    trusted: String,
    height: u64,
    /// The one that this node has believed, and the other.
    believed: KeptBlock,
    other: KeptBlock,
    /// The server that has shown the other.
    shown_by: String,
}

/// What has come of comparing.
enum Compared {
    /// The other server has the same header.
    Same(Box<Light>),
    /// It has another one of this height, which is kept with what was believed.
    Two(u64),
}

/// Compares headers with other servers' in the background: who is silent or behind holds nothing up.
pub(super) struct CrossCheck {
    rpc: Rpc,
    trusted: String,
    file: PathBuf,
    found: Option<(u64, PathBuf)>,
    /// The last header that another server has, too, or the first of all: those since then that were not compared may be
    /// made up, and nothing that is honest would follow from them.
    agreed: Light,
    /// For how long a header is trusted.
    period: Duration,
    asking: Option<JoinHandle<Option<Compared>>>,
    turn: usize,
    last: Option<Instant>,
}

impl Drop for CrossCheck {
    fn drop(&mut self) {
        if let Some(asking) = &self.asking {
            asking.abort();
        }
    }
}

impl CrossCheck {
    /// Begins with what was found before in this folder, and with the header that is believed first because of the one
    /// that is trusted.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub(super) fn begin(
        rpc: Rpc,
        pin: &TrustLine,
        first: &Light,
        folder: &Path,
    ) -> Result<Self, ChainError> {
        let file = folder.join("chain-two-headers.json");
        let found = match std::fs::read(&file) {
            // Whatever is in it: that it is there is what counts.
            Ok(text) => {
                let kept: Option<TwoHeaders> = serde_json::from_slice(&text).ok();
                Some((kept.map_or(0, |kept| kept.height), file.clone()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(source) => return Err(ChainError::Kept { path: file, source }),
        };
        let (trusted, period) = (hex::encode(pin.hash), pin.period);
        let (agreed, asking, last) = (first.clone(), None, None);
        Ok(Self { rpc, trusted, file, found, agreed, period, asking, turn: 0, last })
    }

    /// Whether nothing contradicts what is believed, as far as is known by now.
    ///
    /// # Errors
    /// If something does, or did before.
    pub(super) async fn check(&mut self) -> Result<(), ChainError> {
        if let Some(asking) = self.asking.take_if(|asking| asking.is_finished())
            // If it panicked nothing was found.
            && let Ok(Some(compared)) = asking.await
        {
            match compared {
                Compared::Same(light) => self.agreed = *light,
                Compared::Two(height) => self.found = Some((height, self.file.clone())),
            }
        }
        match &self.found {
            Some((height, file)) => {
                Err(ChainError::TwoHeaders { height: *height, file: file.clone() })
            }
            None => Ok(()),
        }
    }

    /// Has a header that is believed now, and followed from an earlier one, compared with another server's, unless that
    /// is being done: with what follows, there, from the last on which both agreed.
    pub(super) fn compare(&mut self, earlier: &Light, believed: &Light, raw: &RawBlock) {
        let oldest_ms = clock::now_ms().saturating_sub(self.period.as_millis() as u64);
        // From one that is too old nothing follows.
        if self.agreed.time_ms() <= oldest_ms {
            self.agreed = earlier.clone();
        }
        let is_soon = self.last.is_some_and(|last| last.elapsed() < PAUSE);
        if self.asking.is_some() || is_soon {
            return;
        }
        let Some(other) = self.rpc.another(self.turn) else { return };
        self.turn = self.turn.wrapping_add(1);
        self.last = Some(Instant::now());
        let (agreed, believed) = (self.agreed.clone(), believed.clone());
        let (raw, trusted, file) = (raw.clone(), self.trusted.clone(), self.file.clone());
        self.asking = Some(tokio::spawn(async move {
            let (height, hash) = (believed.height(), believed.hash());
            let looked = tokio::time::timeout(PATIENCE, shown(&other, agreed, height, hash));
            let (hash_of_other, other_raw) = looked.await.ok().flatten()?;
            if hash_of_other == hash {
                return Some(Compared::Same(Box::new(believed)));
            }
            let two = TwoHeaders {
                trusted,
                height,
                believed: KeptBlock::of(hash, &raw),
                other: KeptBlock::of(hash_of_other, &other_raw),
                shown_by: other.server().to_owned(),
            };
            // At once: whoever is killed before it is looked for them finds them after that.
            keep(&two, &file);
            Some(Compared::Two(height))
        }));
    }
}

fn keep(two: &TwoHeaders, file: &Path) {
    tracing::error!(
        height = two.height,
        believed = two.believed.hash,
        other = two.other.hash,
        server = two.shown_by,
        "TWO HEADERS of one block, both signed: nothing more of the chain is believed"
    );
    let text = serde_json::to_vec_pretty(two).map_err(|error| error.to_string());
    let kept = text.and_then(|text| {
        colearn_files::replace(file, &text).map(drop).map_err(|error| error.to_string())
    });
    if let Err(error) = kept {
        let file = file.display();
        tracing::error!(%file, error, "they are not kept, and forgotten when this node stops");
    }
}

/// The header of this height that a server has, if it is the same, or another that follows as well.
async fn shown(
    other: &Rpc,
    mut light: Light,
    height: u64,
    hash: [u8; 32],
) -> Option<([u8; 32], RawBlock)> {
    let last = loop {
        match other.block(height).await {
            Ok(raw) => break raw,
            // It may be behind.
            Err(error) => tracing::debug!(%error, "no header to compare with"),
        }
        tokio::time::sleep(PAUSE).await;
    };
    if last.read().ok()?.hash() == hash {
        return Some((hash, last));
    }
    let mut way = Way::to(height);
    for _ in 0..MAX_STEPS {
        let Some(next) = way.next(&light) else { break };
        let raw = if next == height { last.clone() } else { other.block(next).await.ok()? };
        let took = light.advance(raw.read().ok()?, clock::now_ms());
        if let Err(error) = way.took(&light, took) {
            // Who shows what does not follow lies alone.
            tracing::warn!(server = other.server(), height, %error, "a server of the chain has another header, which is not believed");
            return None;
        }
    }
    (light.height() == height && light.hash() != hash).then(|| (light.hash(), last))
}
