//! Reading all files side by side, a part at a time.

use std::ops::ControlFlow;

use rayon::prelude::*;

use crate::layout::{Chunk, Layout, Placement};
use crate::source::Source;
use crate::{Error, Input};

/// Bytes of each file that are worked on at once. As many are read meanwhile.
const CHUNK: usize = 1 << 20;

/// Elements that a thread works on at once: those of ten files fit a core's cache.
const BLOCK: usize = 512;

/// A file that has the base's tensors.
pub(crate) struct Placed<'a> {
    pub input: Input,
    pub source: &'a dyn Source,
    pub placement: Placement,
}

/// A part of a tensor that one thread works on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    pub tensor: usize,
    /// The first element, counted within the tensor.
    pub first: u64,
    /// Where it starts in the chunk.
    pub at: usize,
    pub bytes: usize,
    pub elements: usize,
}

/// Calls `work` with the blocks of each chunk, in the order of the data, and the chunk's bytes in each of the files. The next
/// chunk is read meanwhile.
pub(crate) fn stream(
    layout: &Layout,
    files: &[Placed<'_>],
    mut work: impl FnMut(&[Block], &[Vec<u8>]) -> Result<ControlFlow<()>, Error> + Send,
) -> Result<(), Error> {
    let mut chunks = layout.chunks(CHUNK);
    let mut buffers = vec![Vec::new(); files.len()];
    let mut ahead = buffers.clone();
    let mut current = chunks.next();
    if let Some(chunk) = &current {
        read(layout, files, chunk, &mut buffers)?;
    }
    while let Some(chunk) = current {
        let blocks = blocks(layout, &chunk);
        let next = chunks.next();
        let (worked, read) = rayon::join(
            || work(&blocks, &buffers),
            || next.as_ref().map_or(Ok(()), |next| read(layout, files, next, &mut ahead)),
        );
        if worked?.is_break() {
            return Ok(());
        }
        read?;
        std::mem::swap(&mut buffers, &mut ahead);
        current = next;
    }
    Ok(())
}

fn read(
    layout: &Layout,
    files: &[Placed<'_>],
    chunk: &Chunk,
    buffers: &mut [Vec<u8>],
) -> Result<(), Error> {
    files.par_iter().zip(buffers).try_for_each(|(file, buffer)| {
        buffer.resize(chunk.bytes, 0);
        file.placement
            .read(layout, file.source, chunk, buffer)
            .map_err(|source| Error::Read { input: file.input, source })
    })
}

fn blocks(layout: &Layout, chunk: &Chunk) -> Vec<Block> {
    let of_piece = |piece: &crate::layout::Piece| {
        let size = layout.tensors[piece.tensor].dtype.size();
        let (tensor, first, at, bytes) = (piece.tensor, piece.first, piece.at, piece.bytes);
        (0..bytes / size).step_by(BLOCK).map(move |done| {
            let elements = BLOCK.min(bytes / size - done);
            Block {
                tensor,
                first: first + done as u64,
                at: at + done * size,
                bytes: elements * size,
                elements,
            }
        })
    };
    chunk.pieces.iter().flat_map(of_piece).collect()
}
