//! The first pass: which values are admissible, and how the updates lie to each other.

use std::ops::ControlFlow;

use rayon::prelude::*;

use crate::Error;
use crate::combine::earlier;
use crate::layout::{Layout, Role};
use crate::plan::Products;
use crate::stream::{Block, Placed, stream};

/// An element: its tensor, and where it is in that.
pub(crate) type Place = (usize, u64);

/// What the first pass finds.
#[derive(Clone, Debug)]
pub(crate) struct Measures {
    /// For each file the first value that is not admissible.
    pub bad: Vec<Option<Place>>,
    /// Of the updates.
    pub products: Products,
}

/// Reads all files: perhaps the previous model, the base, so many updates.
pub(crate) fn measure(
    layout: &Layout,
    files: &[Placed<'_>],
    updates: usize,
) -> Result<Measures, Error> {
    let none = || Measures { bad: vec![None; files.len()], products: Products::zero(updates) };
    let mut total = none();
    stream(layout, files, |blocks, bytes| {
        let found = blocks
            .par_iter()
            .fold(
                || (none(), Vec::new(), Vec::new()),
                |(mut measures, mut base, mut rows), block| {
                    measures.add(layout, block, bytes, updates, &mut base, &mut rows);
                    (measures, base, rows)
                },
            )
            .map(|(measures, _, _)| measures)
            .reduce(none, Measures::merge);
        let before = std::mem::replace(&mut total, none());
        total = before.merge(found);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(total)
}

impl Measures {
    fn merge(mut self, other: Self) -> Self {
        for (bad, other) in self.bad.iter_mut().zip(other.bad) {
            *bad = earlier(*bad, other);
        }
        self.products = self.products.merge(&other.products);
        self
    }

    fn add(
        &mut self,
        layout: &Layout,
        block: &Block,
        bytes: &[Vec<u8>],
        updates: usize,
        base: &mut Vec<i64>,
        rows: &mut Vec<i64>,
    ) {
        let tensor = &layout.tensors[block.tensor];
        if tensor.role == Role::Counted {
            return;
        }
        let width = block.elements;
        base.resize(width, 0);
        rows.resize(updates * width, 0);
        let first_update = bytes.len() - updates;
        for (at, bytes) in bytes.iter().enumerate() {
            let row = match at.checked_sub(first_update) {
                // The base comes last, so it is what stays.
                None => &mut *base,
                Some(update) => &mut rows[update * width..][..width],
            };
            let read = tensor.dtype.read(&bytes[block.at..][..block.bytes], row);
            if let Err(element) = read {
                let place = (block.tensor, block.first + element as u64);
                self.bad[at] = earlier(self.bad[at], Some(place));
                // Void or not, what is read here must be no number that could overflow.
                row.fill(0);
            }
        }
        if tensor.role == Role::Weight {
            for row in rows.chunks_exact_mut(width) {
                row.iter_mut().zip(&*base).for_each(|(value, base)| *value -= base);
            }
            self.products.add(rows, width);
        }
    }
}
