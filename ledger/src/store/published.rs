//! The last checkpoint that enough of the keys have signed, beside the ledger, where several keep it: the
//! anchor has only the signature of who keeps this folder.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

const FILE: &str = "published";
const MAX_BYTES: u64 = 64 << 10;

/// Keeps a signed checkpoint, verbatim, in the place of the one before.
///
/// # Errors
/// If the file cannot be written.
pub fn publish(dir: &Path, note: &str) -> io::Result<()> {
    // Replaced, so that whoever audits the folder meanwhile sees the one or the other; but not synced: what
    // is lost is asked for again.
    let new = dir.join("published.new");
    fs::write(&new, note)?;
    fs::rename(new, dir.join(FILE))
}

/// The signed checkpoint that was kept last, verbatim and not verified; `None` if there is none.
///
/// # Errors
/// If the file cannot be read, or is too large or no text.
pub fn published(dir: &Path) -> io::Result<Option<String>> {
    let file = match fs::File::open(dir.join(FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut note = String::new();
    file.take(MAX_BYTES).read_to_string(&mut note)?;
    Ok(Some(note))
}
