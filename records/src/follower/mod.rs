//! Following a ledger: its entries in, in order; verified state out.
//!
//! Whoever relies on a ledger follows it: who audits it, who explains it, a node that opens its own.
//! What can be said of an entry by itself, most of the work, is [`EntryReader::read`]'s, on as many
//! threads as there are; what needs the entries before it is [`Follower::follow`]'s. Nothing here does
//! I/O or reads a clock.

mod blocks;
mod fault;
mod read;
mod stored;
mod times;

use std::borrow::Cow;

use colearn_contracts::{Contract, Digest, Limits, MAX_TIME_MS, Moment, Version};
use colearn_ledger::{
    Checkpoint, Forgotten, Hash, Head, TILE_WIDTH, TreeBuilder, TreeHashes, tree,
};

pub use self::blocks::{BadBlock, Blocks};
pub use self::fault::{BadGenesis, Fault, Unconfirmed};
pub use self::read::{EntryReader, ReadEntry};
pub use self::times::Times;
use crate::log_keys::{BadKeyChange, Keepers, LogKeys};
use crate::on_chain::PublicChain;
use crate::record::{self, DecodedEntry, Record};
use crate::replay::Replay;
use crate::upgrade;
use colearn_proto::v1;

/// How much of each entry is checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Depth {
    /// That it follows the one before, the tree, and who may sign its checkpoints.
    Chain,
    /// That it follows the one before, and the contract; neither signatures, nor the histories that
    /// signers vouch for, nor the tree. For ledgers that were checked before, such as a node's own.
    Replay,
    /// All but the contract.
    Signatures,
    /// Everything.
    Full,
}

impl Depth {
    fn reads_records(self) -> bool {
        match self {
            Self::Chain => false,
            Self::Replay | Self::Signatures | Self::Full => true,
        }
    }

    fn verifies(self) -> bool {
        match self {
            Self::Chain | Self::Replay => false,
            Self::Signatures | Self::Full => true,
        }
    }

    fn grows_tree(self) -> bool {
        match self {
            Self::Replay => false,
            Self::Chain | Self::Signatures | Self::Full => true,
        }
    }

    fn replays(self) -> bool {
        match self {
            Self::Chain | Self::Signatures => false,
            Self::Replay | Self::Full => true,
        }
    }
}

/// What a follower goes on from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FollowerState {
    /// The keys that sign the ledger's checkpoints, as the entries until then give them.
    pub keys: LogKeys,
    /// The last entry.
    pub head: Head,
    /// The tree, but for [`Depth::Replay`].
    pub tree: Option<TreeHashes>,
    /// The contract, with what is due; for [`Depth::Replay`] and [`Depth::Full`].
    pub replay: Option<Replay>,
    /// When the last entries were recorded that a transaction may be signed before; for
    /// [`Depth::Signatures`] and [`Depth::Full`].
    pub times: Option<Times>,
    /// Where in its blocks the ledger stands; where several nodes keep it, but for [`Depth::Chain`].
    pub blocks: Option<Blocks>,
}

/// Follows one ledger.
#[derive(Debug)]
pub struct Follower {
    depth: Depth,
    /// The entries before this one are believed to be signed, and to vouch for this history.
    trusted: u64,
    /// The leaf hash of the first entry, as long as that was not followed.
    first: Option<Hash>,
    keys: LogKeys,
    head: Head,
    tree: Option<TreeBuilder>,
    /// `None` also after a departure.
    replay: Option<Replay>,
    /// `None` where it is not checked whether transactions have expired.
    times: Option<Times>,
    /// `None` where one node keeps the ledger, and where no records are read.
    blocks: Option<Blocks>,
    /// The last root asked for: many signers vouch for the same history.
    known_root: Option<(u64, Hash)>,
}

impl Follower {
    /// Prepares to follow the ledger with this first entry. That itself is followed like any other.
    ///
    /// # Errors
    /// If it is not the genesis of a ledger that this program understands.
    pub fn new(depth: Depth, first: &[u8]) -> Result<Self, BadGenesis> {
        let genesis = match Record::decode(first)?.record {
            Record::Genesis(genesis) => genesis,
            Record::Transaction(_)
            | Record::Outcome(_)
            | Record::KeyRotation(_)
            | Record::Upgrade(_)
            | Record::Block(_)
            | Record::ValidatorChange(_) => {
                return Err(BadGenesis::OtherRecord);
            }
        };
        let version = Version::try_from(genesis.contract_version).map_err(BadGenesis::Version)?;
        let limits = limits(version, &genesis)?;
        let chain = PublicChain::of_genesis(&genesis)?;
        let keys = LogKeys::of_genesis(&genesis).ok_or(BadGenesis::Key)?;
        let replay = || match &chain {
            Some(chain) => Replay::resume(Contract::on_chain(
                Digest(keys.ledger().0),
                version,
                limits.unwrap_or_default(),
                chain.charter().clone(),
            )),
            None => Replay::new(keys.ledger(), version, limits.unwrap_or_default()),
        };
        Ok(Self {
            depth,
            first: Some(Hash::leaf(first)),
            head: Head::EMPTY,
            tree: depth.grows_tree().then(TreeBuilder::new),
            replay: depth.replays().then(replay),
            times: depth.verifies().then(|| match limits {
                Some(limits) => Times::since(limits.expiry_ms, 0),
                None => Times::unlimited(),
            }),
            keys,
            trusted: 0,
            blocks: None,
            known_root: None,
        })
    }

    /// Believes the signatures of the first `size` entries, and that their signers vouch for this
    /// history: for who has been given a checkpoint of that size by somebody who has verified them, and
    /// holds the tree to it. Chain, tree and contract are checked all the same.
    pub fn trust(&mut self, size: u64) {
        self.trusted = size;
    }

    /// Goes on from what [`Follower::state`] gave; `None` if that does not have what this depth
    /// needs, or its parts are not of one moment.
    pub fn resume(depth: Depth, state: FollowerState) -> Option<Self> {
        let FollowerState { keys, head, tree, replay, times, blocks } = state;
        // Not taken for granted where it is missing: then nothing would ever be too old.
        let times = match depth.verifies() {
            true => Some(times?),
            false => None,
        };
        let tree = match depth.grows_tree() {
            true => Some(TreeBuilder::from_hashes(&tree?)).filter(|tree| tree.size() == head.size),
            false => None,
        };
        let replay = match depth.replays() {
            true => Some(replay?).filter(|it| it.contract().ledger() == Digest(keys.ledger().0)),
            false => None,
        };
        let whole = head.size > 0
            && tree.is_some() == depth.grows_tree()
            && replay.is_some() == depth.replays();
        let blocks = match depth.reads_records() && keys.validators().is_some() {
            true => Some(blocks?),
            false => None,
        };
        let known_root = None;
        let trusted = 0;
        whole.then_some(Self {
            depth,
            trusted,
            first: None,
            keys,
            head,
            tree,
            replay,
            times,
            blocks,
            known_root,
        })
    }

    /// What to go on from later; `None` before the first entry and after a departure.
    pub fn state(&self) -> Option<FollowerState> {
        if self.first.is_some() || self.has_departed() {
            return None;
        }
        Some(FollowerState {
            keys: self.keys.clone(),
            head: self.head,
            tree: self.tree.as_ref().map(TreeBuilder::hashes),
            replay: self.replay.clone(),
            times: self.times.clone(),
            blocks: self.blocks.clone(),
        })
    }

    /// Reads the entries to be followed.
    pub fn reader(&self) -> EntryReader {
        EntryReader { ledger: self.keys.ledger(), depth: self.depth, trusted: self.trusted }
    }

    /// Looks up the root that an entry's signer vouches for, before the entry is followed.
    ///
    /// # Errors
    /// The tile of leaves that has to be handed back with [`Follower::recall`] first.
    pub fn prepare(&mut self, entry: &ReadEntry) -> Result<(), Forgotten> {
        if self.verifies()
            && let Some(transaction) = self.own(entry).transaction()
        {
            self.known_root(transaction.seen.size)?;
        }
        Ok(())
    }

    /// Follows the next entry.
    ///
    /// # Errors
    /// The first thing that is wrong. The entry is not followed then, and another one may be in its
    /// place; but not after a departure from the contract, whose state is lost with it.
    pub fn follow(&mut self, entry: &ReadEntry) -> Result<(), Fault> {
        if self.has_departed() {
            return Err(Fault::Departed);
        }
        self.prepare(entry)?;
        self.follow_past(entry, Err)
    }

    /// Follows the next entry, and goes on past each fault for which `found` says so: for those who
    /// list all that is wrong. Without [`Follower::prepare`], a forgotten root counts as another.
    ///
    /// # Errors
    /// If the entry does not follow the one before, which nothing can go past, or what `found` gives.
    pub fn follow_past(
        &mut self,
        entry: &ReadEntry,
        mut found: impl FnMut(Fault) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let (envelope, head) = self.head.follow(&entry.bytes)?;
        if self.first.is_some_and(|first| first != head.leaf) {
            return Err(Fault::OtherGenesis);
        }
        if head.time_ms > MAX_TIME_MS {
            found(Fault::Time(head.time_ms))?;
        }
        let keepers = self.key_change(&envelope.payload).or_else(|error| {
            found(error.into())?;
            Ok::<_, Fault>(None)
        })?;
        let own = self.own(entry);
        if self.depth.reads_records() {
            self.follow_record(&own, &mut found)?;
        }
        // All is checked, and only now anything changes, but for the contract, which checks for itself.
        if let Some(keepers) = keepers {
            self.keys.change(self.head.size, keepers);
        }
        if let Some(tree) = &mut self.tree {
            tree.push(head.leaf);
        }
        self.pass_time(&own, &head);
        self.pass_block(&own, &head);
        (self.head, self.first) = (head, None);
        Ok(())
    }

    /// Remembers when an entry was recorded.
    fn pass_time(&mut self, entry: &ReadEntry, head: &Head) {
        if !self.depth.verifies() {
            return;
        }
        let limits = match entry.record() {
            Some(Record::Upgrade(upgrade)) => upgrade.limits.as_ref(),
            Some(Record::ValidatorChange(change)) => {
                upgrade::rules(change).and_then(|rules| rules.limits.as_ref())
            }
            _ => None,
        };
        if let Some(limits) = limits
            && let Ok(limits) = upgrade::limits(Some(limits))
        {
            self.times = Some(Times::since(limits.expiry_ms, head.time_ms));
        }
        if let Some(times) = &mut self.times {
            times.push(head.size - 1, head.time_ms);
        }
    }

    /// Remembers where in its blocks the ledger stands.
    fn pass_block(&mut self, entry: &ReadEntry, head: &Head) {
        let Some(decoded) = entry.decoded() else { return };
        match &mut self.blocks {
            Some(blocks) => blocks.push(decoded, head),
            // From here on several nodes keep it.
            None if self.keys.validators().is_some() => self.blocks = Blocks::behind(decoded),
            None => {}
        }
    }

    /// The entry as this follower's reader sees it: what another has verified, or not, proves nothing.
    fn own<'a>(&self, entry: &'a ReadEntry) -> Cow<'a, ReadEntry> {
        if entry.reader == self.reader() {
            Cow::Borrowed(entry)
        } else {
            Cow::Owned(self.reader().read(entry.bytes.clone()))
        }
    }

    /// Who keeps the ledger from here on, if the entry changes it.
    fn key_change(&self, payload: &[u8]) -> Result<Option<Keepers>, BadKeyChange> {
        record::key_change(payload).map(|change| self.keys.check(&change)).transpose()
    }

    /// Checks a record, and takes it to the contract.
    fn follow_record(
        &mut self,
        entry: &ReadEntry,
        found: &mut impl FnMut(Fault) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let decoded = match &entry.decoded {
            Some(Ok(decoded)) => decoded,
            Some(Err(error)) => {
                found(error.clone().into())?;
                // What cannot be read cannot be replayed.
                self.replay = None;
                return Ok(());
            }
            None => return Ok(()),
        };
        if let Some(Err(error)) = &entry.signature {
            found(error.clone().into())?;
        }
        if let Some(what) = self.never_on_chain(&decoded.record) {
            // It changes nothing there: the contract that keeps the ledger does not know it.
            return found(Fault::OnChain(what));
        }
        self.check_block(decoded).or_else(|bad| found(bad.into()))?;
        match &decoded.record {
            Record::Genesis(_) if self.first.is_none() => return found(Fault::SecondGenesis),
            Record::Transaction(transaction) if self.verifies() => {
                let vouched = transaction.seen;
                let root = self.known_root(vouched.size).ok().flatten();
                if root != Some(vouched.root) {
                    found(Fault::Seen { vouched, root })?;
                }
                let is_fresh =
                    |times: &Times| times.is_fresh(vouched.size, self.head.size, decoded.time_ms);
                if !self.times.as_ref().is_none_or(is_fresh) {
                    found(Fault::Expired { vouched })?;
                }
            }
            Record::Upgrade(upgrade) if self.depth.verifies() => {
                if let Err(error) = upgrade::check(upgrade, &self.keys) {
                    found(error.into())?;
                }
            }
            Record::Genesis(_)
            | Record::Transaction(_)
            | Record::Outcome(_)
            | Record::KeyRotation(_)
            | Record::Upgrade(_)
            | Record::Block(_)
            | Record::ValidatorChange(_) => {}
        }
        let at = Moment { now_ms: decoded.time_ms, head: Digest(self.head.leaf.0) };
        if let Some(replay) = &mut self.replay
            && let Err(departure) = replay.record(at, &decoded.record)
        {
            // The states differ from here on, and every later comparison would too.
            self.replay = None;
            found(departure.into())?;
        }
        Ok(())
    }

    /// What a record is, if a contract on a public chain keeps the ledger and never writes that. What changes
    /// keys is refused for that already.
    fn never_on_chain(&self, record: &Record) -> Option<&'static str> {
        if !self.keys.is_on_chain() {
            return None;
        }
        match record {
            Record::Upgrade(_) => Some("an upgrade of the rules"),
            Record::Block(_) => Some("the end of a block"),
            Record::Genesis(_)
            | Record::Transaction(_)
            | Record::Outcome(_)
            | Record::KeyRotation(_)
            | Record::ValidatorChange(_) => None,
        }
    }

    /// How an entry does not fit into the blocks.
    fn check_block(&self, entry: &DecodedEntry) -> Result<(), BadBlock> {
        match (&self.blocks, &entry.record) {
            (Some(blocks), _) => blocks.check(entry),
            (None, Record::Block(_)) => Err(BadBlock::NoBlocks),
            // Every node makes the same first entry, or they would not keep one ledger; and a contract's has
            // the time of its block.
            (None, Record::Genesis(genesis))
                if (!genesis.validators.is_empty() || genesis.chain.is_some())
                    && genesis.time_ms != entry.time_ms =>
            {
                Err(BadBlock::Time { block: genesis.time_ms, found: entry.time_ms })
            }
            (None, _) => Ok(()),
        }
    }

    /// The root over the first `size` entries; `None` if there are not as many, or no tree is grown.
    ///
    /// # Errors
    /// The tile of leaves that has to be handed back with [`Follower::recall`] first.
    pub fn root(&self, size: u64) -> Result<Option<Hash>, Forgotten> {
        match &self.tree {
            Some(tree) if size <= tree.size() => tree::root(tree, size).map(Some),
            _ => Ok(None),
        }
    }

    fn known_root(&mut self, size: u64) -> Result<Option<Hash>, Forgotten> {
        if let Some((known, root)) = self.known_root
            && known == size
        {
            return Ok(Some(root));
        }
        let root = self.root(size)?;
        self.known_root = root.map(|root| (size, root)).or(self.known_root);
        Ok(root)
    }

    /// Hands back the leaf hashes of a tile that was forgotten; `false` if they are not what they
    /// were.
    pub fn recall(&mut self, tile: u64, leaves: impl IntoIterator<Item = Hash>) -> bool {
        self.tree.as_mut().is_some_and(|tree| tree.recall(tile, leaves))
    }

    /// Whether these are the leaf hashes of a tile that was followed: all 256, or those of the last one that
    /// there are. For who gets old entries again from somebody who may lie.
    pub fn has_leaves(&mut self, tile: u64, leaves: &[Hash]) -> bool {
        let Some(tree) = &self.tree else { return false };
        match tile == tree.size() / TILE_WIDTH {
            true => !leaves.is_empty() && tree.unfinished() == leaves,
            false => leaves.len() as u64 == TILE_WIDTH && self.recall(tile, leaves.iter().copied()),
        }
    }

    /// Whether a signed checkpoint is the ledger's word for what was followed: signed by the key of
    /// its time, over the root of this tree. What it says, if it is.
    ///
    /// # Errors
    /// Why it is not.
    pub fn confirm(&self, note: &str) -> Result<Checkpoint, Unconfirmed> {
        let checkpoint = self.keys.open(note)?;
        let (size, stated) = (checkpoint.size, checkpoint.root);
        let followed = self.tree.as_ref().map_or(0, TreeBuilder::size);
        match self.root(size)? {
            Some(root) if root == stated => Ok(checkpoint),
            Some(root) => Err(Unconfirmed::OtherRoot { size, stated, root }),
            None => Err(Unconfirmed::Ahead { stated: size, followed }),
        }
    }

    /// Whether a checkpoint's tree begins with what was followed and then these entries, by a proof of
    /// consistency from there: so that nothing is followed which nobody has signed. Whether the
    /// checkpoint is signed is not looked at.
    pub fn is_begun_by(
        &self,
        checkpoint: &Checkpoint,
        next: impl IntoIterator<Item = Hash>,
        proof: &[Hash],
    ) -> bool {
        let Some(tree) = &self.tree else { return false };
        let mut frontier = tree.frontier();
        for leaf in next {
            frontier.push(leaf);
        }
        frontier.begins(checkpoint.size, checkpoint.root, proof)
    }

    /// The keys that sign the ledger's checkpoints, as the entries so far give them.
    pub fn keys(&self) -> &LogKeys {
        &self.keys
    }

    /// Where in its blocks the ledger stands; `None` where one node keeps it, or no records are read.
    pub fn blocks(&self) -> Option<&Blocks> {
        self.blocks.as_ref()
    }

    /// What the next entry has to follow.
    pub fn head(&self) -> Head {
        self.head
    }

    /// The contract's state after the entries so far; `None` if it is not replayed, or lost.
    pub fn contract(&self) -> Option<&Contract> {
        self.replay.as_ref().map(Replay::contract)
    }

    /// The contract with what is due; `None` if it is not replayed, or lost.
    pub fn replay(&self) -> Option<&Replay> {
        self.replay.as_ref()
    }

    /// The contract with what is due.
    ///
    /// # Errors
    /// [`Fault::Departed`] if it is not replayed, or lost.
    pub fn into_replay(self) -> Result<Replay, Fault> {
        self.replay.ok_or(Fault::Departed)
    }

    /// Whether the next entry's signer is asked, and what it vouches for.
    fn verifies(&self) -> bool {
        self.depth.verifies() && self.head.size >= self.trusted
    }

    fn has_departed(&self) -> bool {
        self.depth.replays() && self.replay.is_none()
    }
}

/// The limits that a genesis gives its ledger: none in version 1, which had none.
fn limits(version: Version, genesis: &v1::Genesis) -> Result<Option<Limits>, BadGenesis> {
    match (version, &genesis.limits) {
        (Version::V1, None) => Ok(None),
        (Version::V1, Some(_)) => Err(BadGenesis::Limits),
        (_, limits) => upgrade::limits(limits.as_ref()).map(Some).map_err(|_| BadGenesis::Limits),
    }
}
