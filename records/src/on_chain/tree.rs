//! The end of a ledger, as a contract on a public chain keeps it.

use colearn_ledger::{Entry, Frontier, Hash, Head, MAX_ENTRY_BYTES, TooLarge};

/// The key under which the contract keeps it: what a chain proves of a ledger.
pub const TREE_KEY: &[u8] = b"t";

/// The root over the entries that there were when a call of the contract had ended: it keeps that of each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Root {
    /// The root.
    pub root: Hash,
    /// The time of the last of them, in ms since 1970.
    pub time_ms: u64,
}

impl Root {
    /// The key under which the contract keeps the one over so many entries.
    pub fn key(size: u64) -> Vec<u8> {
        [b"r/", &size.to_be_bytes()[..]].concat()
    }

    /// The root, and the time in 8 bytes, big-endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.root.0[..], &self.time_ms.to_be_bytes()].concat()
    }

    /// Reads what [`Root::to_bytes`] gave; `None` if it is not that.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (root, time_ms) = bytes.split_first_chunk()?;
        let time_ms = u64::from_be_bytes(time_ms.try_into().ok()?);
        Some(Self { root: Hash(*root), time_ms })
    }
}

/// The end of the ledger: what the next entry follows, and what the next root is made of. Its bytes are what a
/// chain proves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tree {
    head: Head,
    frontier: Frontier,
}

impl Tree {
    /// That of a ledger without entries.
    pub fn empty() -> Self {
        Self { head: Head::EMPTY, frontier: Frontier::default() }
    }

    /// That of a ledger with this last entry and these complete subtrees; `None` if they are of another size.
    pub fn of(head: Head, frontier: Frontier) -> Option<Self> {
        (frontier.size() == head.size).then_some(Self { head, frontier })
    }

    /// The last entry.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The root of the tree over all entries.
    pub fn root(&self) -> Hash {
        self.frontier.root()
    }

    /// The size and the time in 8 bytes each, big-endian, the leaf hash of the last entry, and the roots of the
    /// complete subtrees, the largest first.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(48 + 32 * self.frontier.peaks().len());
        bytes.extend(self.head.size.to_be_bytes());
        bytes.extend(self.head.time_ms.to_be_bytes());
        bytes.extend(self.head.leaf.0);
        self.frontier.peaks().iter().for_each(|peak| bytes.extend(peak.0));
        bytes
    }

    /// What the contract keeps beside it, under [`Root::key`] of its size.
    pub fn kept_root(&self) -> Root {
        Root { root: self.root(), time_ms: self.head.time_ms }
    }

    /// Reads what [`Tree::to_bytes`] gave; `None` if it is not that.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (size, bytes) = bytes.split_first_chunk()?;
        let (time_ms, bytes) = bytes.split_first_chunk()?;
        let (leaf, bytes) = bytes.split_first_chunk()?;
        let (peaks, []) = bytes.as_chunks::<32>() else { return None };
        let size = u64::from_be_bytes(*size);
        let peaks = peaks.iter().map(|peak| Hash(*peak)).collect();
        Some(Self {
            head: Head { size, leaf: Hash(*leaf), time_ms: u64::from_be_bytes(*time_ms) },
            frontier: Frontier::from_peaks(size, peaks)?,
        })
    }

    /// The bytes of an entry with this payload that follows.
    ///
    /// # Errors
    /// If it is too large.
    pub fn push(&mut self, time_ms: u64, payload: Vec<u8>) -> Result<Vec<u8>, TooLarge> {
        let Head { size, leaf, .. } = self.head;
        let bytes = Entry { index: size, parent: leaf, time_ms, payload }.encode();
        if bytes.len() > MAX_ENTRY_BYTES {
            return Err(TooLarge { size: bytes.len() });
        }
        let leaf = Hash::leaf(&bytes);
        self.frontier.push(leaf);
        self.head = Head { size: size + 1, leaf, time_ms };
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_reads_back() {
        let root = Root { root: Hash([7; 32]), time_ms: 258 };
        let bytes = root.to_bytes();
        assert_eq!((bytes.len(), Root::from_bytes(&bytes)), (40, Some(root)));
        assert_eq!(Root::from_bytes(&bytes[..39]), None);
        assert_eq!(Root::from_bytes(&[bytes, vec![0]].concat()), None);
        assert_eq!(Root::key(258), *b"r/\0\0\0\0\0\0\x01\x02");
    }

    #[test]
    fn a_tree_reads_back() {
        let mut tree = Tree::empty();
        for index in 0..300_u64 {
            assert_eq!(Tree::from_bytes(&tree.to_bytes()).as_ref(), Some(&tree));
            assert!(tree.push(index, vec![7; 9]).is_ok());
        }
        let bytes = tree.to_bytes();
        assert_eq!(Tree::from_bytes(&bytes[..bytes.len() - 1]), None);
        assert_eq!(Tree::from_bytes(&bytes[..bytes.len() - 32]), None);
        assert_eq!(Tree::from_bytes(&[]), None);
        assert!(tree.push(300, vec![0; MAX_ENTRY_BYTES]).is_err());
    }
}
