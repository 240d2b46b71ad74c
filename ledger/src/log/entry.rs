//! Entries and the chain between them.

use prost::Message as _;

use crate::log::hash::Hash;

/// The largest entry, in bytes: what a bundle's 16-bit length can say.
pub const MAX_ENTRY_BYTES: usize = 65_535;

/// The fields before an entry's payload, in protobuf.
#[derive(Clone, PartialEq, prost::Message)]
struct Envelope {
    #[prost(uint64, tag = "1")]
    index: u64,
    #[prost(bytes = "vec", tag = "2")]
    parent: Vec<u8>,
    #[prost(uint64, tag = "3")]
    time_ms: u64,
}

/// One record of the ledger: its place in the chain and an opaque payload.
///
/// The payload is itself protobuf with field numbers from 4 on, so that the bytes of an entry are
/// one protobuf message: the envelope followed by the payload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its place, counted from 0.
    pub index: u64,
    /// The leaf hash of the entry before; [`Hash::ZERO`] for the first.
    pub parent: Hash,
    /// Ledger time in ms since 1970; never less than the entry's before.
    pub time_ms: u64,
    /// What the entry records.
    pub payload: Vec<u8>,
}

impl Entry {
    /// The bytes that are stored, hashed and served.
    pub fn encode(&self) -> Vec<u8> {
        let envelope =
            Envelope { index: self.index, parent: self.parent.0.to_vec(), time_ms: self.time_ms };
        let mut bytes = Vec::with_capacity(64 + self.payload.len());
        // Encoding into a Vec cannot run out of room.
        let _ = envelope.encode(&mut bytes);
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    /// Reads the envelope; the payload is what follows it.
    ///
    /// # Errors
    /// If the bytes do not begin with a canonical envelope.
    pub fn decode(bytes: &[u8]) -> Result<Self, Broken> {
        let envelope = Envelope::decode(bytes).map_err(|_| Broken::Malformed)?;
        let parent = Hash::try_from(&envelope.parent[..]).map_err(|_| Broken::Malformed)?;
        let payload = bytes.strip_prefix(&envelope.encode_to_vec()[..]).ok_or(Broken::Malformed)?;
        Ok(Self {
            index: envelope.index,
            parent,
            time_ms: envelope.time_ms,
            payload: payload.to_vec(),
        })
    }
}

/// The end of the chain: what the next entry has to follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// The number of entries.
    pub size: u64,
    /// The leaf hash of the last entry; [`Hash::ZERO`] when there is none.
    pub leaf: Hash,
    /// The time of the last entry.
    pub time_ms: u64,
}

impl Head {
    /// The head of the empty chain.
    pub const EMPTY: Self = Self { size: 0, leaf: Hash::ZERO, time_ms: 0 };

    /// Checks that the entry with these bytes follows, and gives it with the head after it. What
    /// append relies on, recovery and audit check.
    ///
    /// # Errors
    /// What breaks the chain.
    pub fn follow(&self, bytes: &[u8]) -> Result<(Entry, Self), Broken> {
        let entry = Entry::decode(bytes)?;
        if entry.index != self.size {
            return Err(Broken::Index { found: entry.index });
        }
        if entry.parent != self.leaf {
            return Err(Broken::Parent { found: entry.parent, expected: self.leaf });
        }
        if entry.time_ms < self.time_ms {
            return Err(Broken::Time);
        }
        let head = Self { size: self.size + 1, leaf: Hash::leaf(bytes), time_ms: entry.time_ms };
        Ok((entry, head))
    }
}

/// An entry exceeds [`MAX_ENTRY_BYTES`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("an entry of {size} bytes is over the limit of 65,535")]
pub struct TooLarge {
    /// Its encoded size.
    pub size: usize,
}

/// How an entry fails to follow the one before.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Broken {
    /// Not a canonical envelope.
    #[error("it is not a canonical entry")]
    Malformed,
    /// Another index.
    #[error("it says it is entry {found}")]
    Index {
        /// What it says.
        found: u64,
    },
    /// Another parent.
    #[error("its parent {found} is not the entry before, {expected}")]
    Parent {
        /// What it says.
        found: Hash,
        /// The entry before.
        expected: Hash,
    },
    /// Earlier than the entry before.
    #[error("it is earlier than the entry before")]
    Time,
}
