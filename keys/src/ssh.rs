//! SSH's encoding of numbers and strings (RFC 4251, 5), as key files and agents have it.

/// What every Ed25519 key and signature begins with.
pub(crate) const ED25519: &[u8] = b"ssh-ed25519";

/// There are fewer bytes than what they begin with says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Short;

/// Reads numbers and strings. What is left is in it.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn number(&mut self) -> Result<u32, Short> {
        let (number, rest) = self.0.split_first_chunk().ok_or(Short)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*number))
    }

    pub(crate) fn string(&mut self) -> Result<&'a [u8], Short> {
        let length = self.number()? as usize;
        let (string, rest) = self.0.split_at_checked(length).ok_or(Short)?;
        self.0 = rest;
        Ok(string)
    }
}
