//! Receipts: one entry's place in the ledger, provable offline (C2SP tlog-proof).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::log::hash::Hash;
use crate::log::note::{Checkpoint, MAX_NOTE_BYTES, NoteError};
use crate::log::tree;
use crate::log::verifiers::Verifiers;

const HEADER: &str = "c2sp.org/tlog-proof@v1\n";
/// A tree below 2^63 leaves has no longer path.
const MAX_PATH: usize = 63;

/// The proof that a signed checkpoint's tree holds an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// The entry's index.
    pub index: u64,
    /// The inclusion proof, from the leaf's sibling up.
    pub path: Vec<Hash>,
    /// The signed checkpoint, verbatim.
    pub checkpoint: String,
}

impl Receipt {
    /// The file's text.
    pub fn to_text(&self) -> String {
        let mut text = format!("{HEADER}index {}\n", self.index);
        for hash in &self.path {
            text.push_str(&BASE64.encode(hash.0));
            text.push('\n');
        }
        text + "\n" + &self.checkpoint
    }

    /// Reads a receipt file. Nothing is verified yet, and a line that begins with `extra` left out.
    ///
    /// # Errors
    /// If it is not of the tlog-proof form.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        if text.len() > MAX_NOTE_BYTES {
            return Err(NoteError::Malformed("a receipt of over 65,536 bytes"));
        }
        let body = text.strip_prefix(HEADER).ok_or(NoteError::Malformed("not a receipt"))?;
        let (head, checkpoint) =
            body.split_once("\n\n").ok_or(NoteError::Malformed("a receipt without checkpoint"))?;
        let mut lines = head.split('\n').peekable();
        // What an application adds for itself. Nothing signs it, so nothing here uses it.
        if let Some(extra) = lines.next_if(|line| line.starts_with("extra ")) {
            let decoded = BASE64.decode(&extra["extra ".len()..]);
            decoded.map_err(|_| NoteError::Malformed("bad base64 after \"extra\""))?;
        }
        let index = lines.next().and_then(|line| line.strip_prefix("index "));
        // One spelling only.
        let number = index.and_then(|index| Some((index, index.parse::<u64>().ok()?)));
        let (_, index) = number
            .filter(|(index, number)| number.to_string() == *index)
            .ok_or(NoteError::Malformed("no index"))?;
        let mut path = Vec::new();
        for line in lines {
            let hash = BASE64.decode(line).ok().and_then(|hash| Hash::try_from(&hash[..]).ok());
            path.push(hash.ok_or(NoteError::Malformed("a bad hash"))?);
            if path.len() > MAX_PATH {
                return Err(NoteError::Malformed("too long a proof"));
            }
        }
        Ok(Self { index, path, checkpoint: checkpoint.to_owned() })
    }

    /// Verifies the checkpoint's signatures and that its tree holds this leaf at the index.
    ///
    /// # Errors
    /// If either does not hold.
    pub fn verify(&self, leaf: Hash, keys: &Verifiers) -> Result<Checkpoint, NoteError> {
        let checkpoint = keys.open(&self.checkpoint)?;
        self.is_under(leaf, &checkpoint)?;
        Ok(checkpoint)
    }

    /// Verifies that the tree of this checkpoint, which is believed for other reasons than signatures, holds this leaf
    /// at the index.
    ///
    /// # Errors
    /// If it does not.
    pub fn is_under(&self, leaf: Hash, checkpoint: &Checkpoint) -> Result<(), NoteError> {
        let (size, root) = (checkpoint.size, checkpoint.root);
        if !tree::verify_inclusion(leaf, self.index, size, &self.path, root) {
            return Err(NoteError::Malformed("the proof does not lead to the checkpoint's root"));
        }
        Ok(())
    }
}
