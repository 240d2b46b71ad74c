//! A file's bytes as memory.

use std::fmt;
use std::fs::File;
use std::io;

/// The bytes of a file, which the system reads when they are looked at and may let go again: however large it
/// is, it takes no memory of the process's own.
pub struct Mapped(memmap2::Mmap);

impl Mapped {
    /// Maps a file to be read. Nobody may write to it or cut it as long as this lives: bytes would change under
    /// whoever reads them, and where they are gone the process ends. So it is a file that only its owner may
    /// write to, in a folder of this program's own, or one that has no name any more.
    ///
    /// # Errors
    /// If it cannot be mapped.
    pub fn of(file: &File) -> io::Result<Self> {
        // SAFETY: what is needed is that nothing changes the file, which no type can say. It is asked of the
        // caller above, and nothing that this program believes rests on it: digests and signatures are of bytes
        // that were read. What a map saves is a model's size in memory, several times in each round, for
        // models that hardly fit once; there is no safe way to have it.
        #[allow(unsafe_code)]
        let map = unsafe { memmap2::Mmap::map(file) }?;
        Ok(Self(map))
    }
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Mapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapped({} bytes)", self.0.len())
    }
}
