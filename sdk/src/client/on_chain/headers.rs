//! The headers of a chain that are believed, from the one that somebody trusts to the newest.

use std::time::{SystemTime, UNIX_EPOCH};

use colearn_light::{Light, NotBelieved, RawBlock, Trust, TrustLine, Way};

use super::ChainError;
use crate::client::error::Evidence;
use crate::client::{Client, ClientError, Memory};

/// How many are kept: a node proves sizes that it has shown lately with the headers of then.
const MAX_KEPT: usize = 16;
/// How many headers are asked for on the way to another one. Each halves the way, or two thirds of the validators
/// have changed since the one before.
const MAX_STEPS: usize = 1000;
/// How much newer than the one that is kept in the folder a header is that is kept there in its place.
const KEPT_EVERY_MS: u64 = 60_000;

/// Headers that follow from one that is trusted.
pub(super) struct Headers {
    /// What it all follows from.
    pinned: Trust,
    /// Ascending, at least one.
    believed: Vec<Believed>,
    /// The time of the newest that the memory's folder has, in ms since 1970.
    kept_ms: u64,
}

/// A header, and the block that it was read from.
struct Believed {
    light: Light,
    raw: RawBlock,
}

impl Headers {
    /// Begins with the newest header that is remembered to follow from the trusted one, or else with that itself.
    pub(super) async fn begin(
        client: &Client,
        memory: &Memory,
        pinned: &Trust,
    ) -> Result<Self, ClientError> {
        if let Some(height) = memory.two_headers()? {
            return Err(ChainError::TwoHeaders { height }.into());
        }
        let Some((before, newest)) = memory.header(pinned)? else {
            return Self::begin_with(client, pinned, &pinned.line).await;
        };
        let (line, height) = (&pinned.line, newest.line.height);
        if newest.line.chain != line.chain {
            let (trusted, found) = (line.chain.clone(), newest.line.chain);
            return Err(ChainError::OtherChain { trusted, found }.into());
        }
        // The period is what is said now.
        let newest = TrustLine { period: line.period, ..newest.line };
        if (before.line.height, before.line.hash) == (line.height, line.hash) {
            return Self::begin_with(client, pinned, &newest).await;
        }
        let contradicted = || ClientError::from(ChainError::Contradicted { height });
        let mut headers = Self::begin_with(client, pinned, line).await?;
        let reached = match height {
            height if height < line.height => return Ok(headers),
            height if height == line.height => headers.newest().hash(),
            height => {
                headers.believe(client, memory, &block_of(client, height).await?).await?.hash()
            }
        };
        if reached == newest.hash { Ok(headers) } else { Err(contradicted()) }
    }

    async fn begin_with(
        client: &Client,
        pinned: &Trust,
        line: &TrustLine,
    ) -> Result<Self, ClientError> {
        let raw = block_of(client, line.height).await?;
        let block = raw.read().map_err(ChainError::from)?;
        let light = Light::begin(line, block).map_err(ChainError::from)?;
        Ok(Self { pinned: pinned.clone(), believed: vec![Believed { light, raw }], kept_ms: 0 })
    }

    /// What is trusted.
    pub(super) fn pinned(&self) -> &Trust {
        &self.pinned
    }

    /// The newest header.
    pub(super) fn newest(&self) -> &Light {
        // It begins with one, and the newest is never dropped.
        &self.believed[self.believed.len() - 1].light
    }

    /// Goes on to this block, if it follows from what is believed.
    pub(super) async fn believe(
        &mut self,
        client: &Client,
        memory: &Memory,
        raw: &RawBlock,
    ) -> Result<Light, ClientError> {
        let block = raw.read().map_err(ChainError::from)?;
        let (height, hash) = (block.height(), block.hash());
        let place = self.believed.partition_point(|it| it.light.height() < height);
        let known = self.believed.get(place).filter(|it| it.light.height() == height);
        if let Some(known) = known.filter(|it| it.light.hash() == hash) {
            return Ok(known.light.clone());
        }
        let from = place.checked_sub(1).and_then(|before| self.believed.get(before));
        let from = from.ok_or(ChainError::OldHeader { height })?;
        let light = advance(client, &from.light, raw, height).await?;
        if let Some(known) = known {
            // Both follow from the one before: that is what nobody who is honest can show.
            // The mark first: whoever is killed meanwhile believes nothing when it is started again. And whatever
            // cannot be written, it is told.
            if let Err(error) = memory.keep_two_headers(height) {
                tracing::error!(height, %error, "TWO HEADERS, which is forgotten when this ends: it cannot be kept");
            }
            let keep = |raw: &RawBlock| memory.keep_evidence("header", &text(raw));
            let (_, second) = (keep(&known.raw), keep(raw));
            let two = ChainError::TwoHeaders { height };
            return Err(ClientError::OnChain(two, Evidence(second)));
        }
        self.believed.insert(place, Believed { light: light.clone(), raw: raw.clone() });
        if self.believed.len() > MAX_KEPT {
            self.believed.remove(0);
        }
        self.keep(memory)?;
        Ok(light)
    }

    /// Keeps the newest in the memory's folder, if it is newer than what is there.
    fn keep(&mut self, memory: &Memory) -> Result<(), ClientError> {
        let newest = self.newest();
        let (height, hash, time_ms) = (newest.height(), newest.hash(), newest.time_ms());
        if time_ms < self.kept_ms.saturating_add(KEPT_EVERY_MS) {
            return Ok(());
        }
        let line = TrustLine { height, hash, ..self.pinned.line.clone() };
        memory.keep_header(&self.pinned, &Trust { line, ..self.pinned.clone() })?;
        self.kept_ms = time_ms;
        Ok(())
    }
}

/// From a header to a block of this height, by those between that it takes.
async fn advance(
    client: &Client,
    from: &Light,
    to: &RawBlock,
    height: u64,
) -> Result<Light, ClientError> {
    let (mut light, mut way) = (from.clone(), Way::to(height));
    for _ in 0..MAX_STEPS {
        let Some(next) = way.next(&light) else { return Ok(light) };
        let fetched = match next == height {
            true => None,
            false => Some(block_of(client, next).await?),
        };
        let block = fetched.as_ref().unwrap_or(to).read().map_err(ChainError::from)?;
        let took = light.advance(block, now_ms());
        // No lie, as far as can be told: it may be the clock of this machine.
        if matches!(&took, Err(NotBelieved::Wrong(why)) if why.contains("HeaderFromTheFuture")) {
            return Err(ChainError::Future { height: next }.into());
        }
        way.took(&light, took).map_err(ChainError::from)?;
    }
    Err(ChainError::TooFar { height }.into())
}

/// The block of this height. Another one is a lie of this node, whatever signatures it has.
async fn block_of(client: &Client, height: u64) -> Result<RawBlock, ClientError> {
    let raw = client.chain_block(height).await?;
    let found = raw.read().map_err(ChainError::from)?.height();
    if found == height {
        return Ok(raw);
    }
    let wrong = format!("it is block {found}, and {height} was asked for");
    Err(ChainError::from(NotBelieved::Wrong(wrong)).into())
}

/// A block as evidence: what servers have answered, as it came.
pub(super) fn text(raw: &RawBlock) -> Vec<u8> {
    let pages = [&raw.validators[..], &raw.next_validators[..]].concat();
    let parts: Vec<Vec<u8>> = [raw.commit.clone()].into_iter().chain(pages).collect();
    parts.join(&b"\n---\n"[..])
}

/// The time of this machine's clock, in ms since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as u64
}
