//! Many receipts in one file, each with its entry: what a learner keeps of what the ledger has promised.
//!
//! A file has the receipts for a thousand entries of the ledger, one behind the other as they came:
//!
//! ```text
//! colearn-receipt INDEX PROOF-BYTES ENTRY-BYTES CHECK
//! the receipt, a C2SP tlog-proof, and right behind it the entry
//! ```
//!
//! with a line's end behind each, and CHECK the first 16 hexadecimal digits of the SHA-256 of both. It only grows,
//! so that a crash cuts off no more than the last one.

use colearn_ledger::Receipt;
use colearn_ledger::note::MAX_NOTE_BYTES;
use sha2::{Digest as _, Sha256};

/// What the name of such a file ends in.
pub const ENDING: &str = "receipts";
/// For how many entries of the ledger one file has the receipts.
pub const PER_FILE: u64 = 1000;

const NAME: &str = "colearn-receipt";
/// Longer is no first line of a receipt.
const MAX_LINE_BYTES: usize = 128;
/// Longer is no entry.
const MAX_ENTRY_BYTES: usize = 1 << 24;

/// A receipt and the entry that it is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeptReceipt {
    /// The proof of its place.
    pub receipt: Receipt,
    /// The entry, as recorded.
    pub entry: Vec<u8>,
}

/// What is not a kept receipt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotKept {
    /// The writing of the last one was cut short.
    #[error("its last receipt is cut short")]
    Cut,
    /// There is something else.
    #[error("at byte {0} is no receipt")]
    Malformed(usize),
}

/// The name of the file that has the receipt for an entry.
pub fn file_name(index: u64) -> String {
    format!("{:012}.{ENDING}", index / PER_FILE * PER_FILE)
}

impl KeptReceipt {
    /// As it stands in a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let proof = self.receipt.to_text();
        let (index, check) = (self.receipt.index, check(proof.as_bytes(), &self.entry));
        let head = format!("{NAME} {index} {} {} {check}\n", proof.len(), self.entry.len());
        [head.as_bytes(), proof.as_bytes(), &self.entry, b"\n"].concat()
    }
}

/// The receipts in a file's bytes, up to the first that is none.
#[derive(Clone, Debug)]
pub struct KeptReceipts<'a> {
    bytes: &'a [u8],
    at: usize,
    ended: bool,
}

impl<'a> KeptReceipts<'a> {
    /// Reads a file.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, ended: false }
    }

    /// Where the last one ended that was read whole.
    pub fn whole_bytes(&self) -> usize {
        self.at
    }

    fn read(&self) -> Result<(KeptReceipt, usize), NotKept> {
        let malformed = NotKept::Malformed(self.at);
        let rest = &self.bytes[self.at..];
        // A file may have grown before anything was written to it.
        if rest.iter().all(|byte| *byte == 0) {
            return Err(NotKept::Cut);
        }
        let searched = &rest[..rest.len().min(MAX_LINE_BYTES)];
        let Some(end) = searched.iter().position(|byte| *byte == b'\n') else {
            return Err(if rest.len() < MAX_LINE_BYTES { NotKept::Cut } else { malformed });
        };
        let line = std::str::from_utf8(&rest[..end]).map_err(|_| malformed)?;
        let fields: Vec<&str> = line.split(' ').collect();
        let [NAME, index, proof, entry, stated] = fields[..] else { return Err(malformed) };
        let number = |text: &str| text.parse::<usize>().map_err(|_| malformed);
        let (proof, entry) = (number(proof)?, number(entry)?);
        if proof > MAX_NOTE_BYTES || entry > MAX_ENTRY_BYTES {
            return Err(malformed);
        }
        let body = &rest[end + 1..];
        let Some((proof, behind)) = body.split_at_checked(proof) else { return Err(NotKept::Cut) };
        let Some((entry, behind)) = behind.split_at_checked(entry) else {
            return Err(NotKept::Cut);
        };
        // All of it may have its length and not yet its bytes, where a file grows before it is written.
        let is_last = behind.len() <= 1;
        let wrong = if is_last { NotKept::Cut } else { malformed };
        if behind.is_empty() {
            return Err(NotKept::Cut);
        }
        if behind[0] != b'\n' || check(proof, entry) != stated {
            return Err(wrong);
        }
        let receipt = std::str::from_utf8(proof).ok().and_then(|text| Receipt::parse(text).ok());
        let receipt = receipt.filter(|receipt| receipt.index.to_string() == index);
        let receipt = receipt.ok_or(malformed)?;
        let end = self.bytes.len() - behind.len() + 1;
        Ok((KeptReceipt { receipt, entry: entry.to_vec() }, end))
    }
}

impl Iterator for KeptReceipts<'_> {
    type Item = Result<KeptReceipt, NotKept>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended || self.at == self.bytes.len() {
            return None;
        }
        match self.read() {
            Ok((kept, end)) => {
                self.at = end;
                Some(Ok(kept))
            }
            Err(error) => {
                self.ended = true;
                Some(Err(error))
            }
        }
    }
}

fn check(proof: &[u8], entry: &[u8]) -> String {
    let digest = Sha256::new().chain_update(proof).chain_update(entry).finalize();
    hex::encode(&digest[..8])
}
