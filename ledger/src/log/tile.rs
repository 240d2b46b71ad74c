//! Tiles: 256 sibling hashes with everything between them and their root, and the paths under
//! which C2SP tlog-tiles serves them.

use crate::log::hash::Hash;

/// The number of hashes in a full tile.
pub const TILE_WIDTH: u64 = 256;
/// The levels of the tree that one tile spans.
pub(crate) const TILE_HEIGHT: u8 = 8;

/// Up to 256 hashes in a row and every complete node above them within the tile.
#[derive(Clone, Debug)]
pub(crate) struct Tile {
    /// `nodes[k]` are the hashes `k` levels above the tile's own.
    nodes: [Vec<Hash>; TILE_HEIGHT as usize],
}

impl Tile {
    pub(crate) fn new() -> Self {
        Self { nodes: Default::default() }
    }

    /// A tile of these hashes, at most 256.
    #[cfg(feature = "store")]
    pub(crate) fn of(hashes: impl IntoIterator<Item = Hash>) -> Self {
        let mut tile = Self::new();
        for hash in hashes {
            tile.push(hash);
        }
        tile
    }

    /// Appends a hash; the root, if that fills the tile.
    pub(crate) fn push(&mut self, hash: Hash) -> Option<Hash> {
        debug_assert!(self.width() < TILE_WIDTH);
        let mut hash = hash;
        for level in &mut self.nodes {
            level.push(hash);
            let &[.., left, right] = level.as_slice() else { return None };
            if level.len() % 2 == 1 {
                return None;
            }
            hash = Hash::node(&left, &right);
        }
        Some(hash)
    }

    pub(crate) fn width(&self) -> u64 {
        self.nodes[0].len() as u64
    }

    /// The hash `above` levels over the tile's own, if it is complete.
    pub(crate) fn node(&self, above: u8, offset: u64) -> Option<Hash> {
        self.nodes[usize::from(above)].get(offset as usize).copied()
    }

    /// The tile's own hashes.
    pub(crate) fn hashes(&self) -> &[Hash] {
        &self.nodes[0]
    }

    /// The tile's own hashes, as they are served.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.nodes[0].iter().flat_map(|hash| hash.0).collect()
    }
}

/// What a path of the read API names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resource {
    /// `width` hashes of tile `number` on `level`; level 0 holds the leaves' hashes.
    Hashes {
        /// Counted in tiles: level 1 holds the roots of the tiles of level 0.
        level: u8,
        /// Counted from 0.
        number: u64,
        /// 1 to 256; 256 is a full tile.
        width: u16,
    },
    /// `width` entries from bundle `number`.
    Entries {
        /// Counted from 0.
        number: u64,
        /// 1 to 256; 256 is a full bundle.
        width: u16,
    },
}

impl Resource {
    /// The path below the ledger's prefix, for example `tile/0/x001/x234/067.p/5`.
    pub fn path(self) -> String {
        let (kind, number, width) = match self {
            Self::Hashes { level, number, width } => (level.to_string(), number, width),
            Self::Entries { number, width } => ("entries".to_owned(), number, width),
        };
        let mut groups = format!("{:03}", number % 1000);
        let mut rest = number / 1000;
        while rest > 0 {
            groups = format!("x{:03}/{groups}", rest % 1000);
            rest /= 1000;
        }
        if u64::from(width) == TILE_WIDTH {
            format!("tile/{kind}/{groups}")
        } else {
            format!("tile/{kind}/{groups}.p/{width}")
        }
    }

    /// Reads a path; `None` unless it is exactly one that [`Resource::path`] writes.
    pub fn parse(path: &str) -> Option<Self> {
        let (kind, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let (groups, width) = match rest.split_once(".p/") {
            Some((groups, width)) => (groups, width.parse().ok().filter(|w| (1..256).contains(w))?),
            None => (rest, TILE_WIDTH as u16),
        };
        let mut number = 0_u64;
        for group in groups.split('/') {
            let digits = group.strip_prefix('x').unwrap_or(group);
            let value = digits.parse::<u64>().ok().filter(|_| digits.len() == 3)?;
            number = number.checked_mul(1000)?.checked_add(value)?;
        }
        let resource = match kind {
            "entries" => Self::Entries { number, width },
            level => Self::Hashes {
                level: level.parse().ok().filter(|level| *level < 8)?,
                number,
                width,
            },
        };
        // One spelling only: no leading zero groups, plus signs or missing x.
        (resource.path() == path).then_some(resource)
    }
}
