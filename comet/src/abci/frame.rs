//! Messages of ABCI on a stream: a length, then that many bytes.

use std::io::{self, BufRead, Read as _, Write};

use prost::Message;
use prost::bytes::Bytes;

/// The longest message: a block of [`crate::files::MAX_BLOCK_BYTES`], as much evidence, and what comes
/// with them, twice over.
pub const MAX_FRAME: u64 = 4 << 20;

/// Why a message cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The connection broke.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The connection ended within a message.
    #[error("the connection ended within a message")]
    Cut,
    /// The message's length has more than 64 bits.
    #[error("a message's length is no number of 64 bits")]
    Length,
    /// The message is too long.
    #[error("a message of {0} bytes; at most {MAX_FRAME} are read")]
    TooLong(u64),
    /// It is no message.
    #[error("no message of ABCI 2.0: {0}")]
    Undecodable(#[from] prost::DecodeError),
    /// It is a request that ABCI 2.0 does not have.
    #[error("a request that ABCI 2.0 does not have")]
    Unknown,
}

/// The next message; `None` at the end. Its bytes are shared with the fields that are `Bytes`.
pub(crate) fn read<M: Message + Default>(
    reader: &mut impl BufRead,
) -> Result<Option<M>, FrameError> {
    let Some(length) = read_length(reader)? else { return Ok(None) };
    if length > MAX_FRAME {
        return Err(FrameError::TooLong(length));
    }
    // Grows as the bytes come: a length alone costs nothing.
    let mut bytes = Vec::new();
    let read = reader.take(length).read_to_end(&mut bytes)?;
    if u64::try_from(read) != Ok(length) {
        return Err(FrameError::Cut);
    }
    Ok(Some(M::decode(Bytes::from(bytes))?))
}

/// A varint; `None` if there is nothing any more.
fn read_length(reader: &mut impl BufRead) -> Result<Option<u64>, FrameError> {
    let mut length: u64 = 0;
    for shift in (0..64).step_by(7) {
        let mut byte = [0];
        match reader.read_exact(&mut byte) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return if shift == 0 { Ok(None) } else { Err(FrameError::Cut) };
            }
            Err(error) => return Err(error.into()),
        }
        let bits = u64::from(byte[0] & 0x7f);
        if bits << shift >> shift != bits {
            return Err(FrameError::Length);
        }
        length |= bits << shift;
        if byte[0] < 0x80 {
            return Ok(Some(length));
        }
    }
    Err(FrameError::Length)
}

/// Writes a message.
pub(crate) fn write(writer: &mut impl Write, message: &impl Message) -> io::Result<()> {
    writer.write_all(&message.encode_length_delimited_to_vec())
}
