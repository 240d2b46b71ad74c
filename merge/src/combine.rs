//! The second pass: the values of both merges.

use std::io::Write;
use std::ops::ControlFlow;

use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use crate::layout::{Layout, Role};
use crate::measure::Place;
use crate::middle::Middle;
use crate::plan::Plan;
use crate::stream::{Block, Placed, stream};
use crate::{Absent, Error, Merged};

/// One of the merges, as it is written.
pub(crate) struct Output<'a> {
    sink: &'a mut (dyn Write + Send),
    digest: Sha256,
    size: u64,
    absent: Option<Absent>,
    bytes: Vec<u8>,
}

impl<'a> Output<'a> {
    /// Starts with what stands before the data in every file of this layout.
    pub(crate) fn start(
        sink: &'a mut (dyn Write + Send),
        layout: &Layout,
        absent: Option<Absent>,
    ) -> Result<Self, Error> {
        let (digest, bytes) = (Sha256::new(), Vec::new());
        let mut output = Self { sink, digest, size: 0, absent, bytes };
        if output.absent.is_none() {
            output.append(&layout.header)?;
        }
        Ok(output)
    }

    pub(crate) fn finish(self) -> Result<Result<Merged, Absent>, Error> {
        if let Some(absent) = self.absent {
            return Ok(Err(absent));
        }
        self.sink.flush().map_err(Error::Write)?;
        Ok(Ok(Merged { digest: self.digest.finalize().into(), size: self.size }))
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.digest.update(bytes);
        self.size += bytes.len() as u64;
        self.sink.write_all(bytes).map_err(Error::Write)
    }

    /// Makes room for a chunk, and cuts it where the blocks are: nothing for a merge that is not there.
    fn cut(&mut self, blocks: &[Block]) -> Vec<Option<&mut [u8]>> {
        if self.absent.is_some() {
            return blocks.iter().map(|_| None).collect();
        }
        self.bytes.resize(blocks.iter().map(|block| block.bytes).sum(), 0);
        let mut left = self.bytes.as_mut_slice();
        blocks.iter().map(|block| left.split_off_mut(..block.bytes)).collect()
    }

    /// Takes over what was written into the cuts.
    fn commit(&mut self, layout: &Layout, bad: Option<Place>) -> Result<(), Error> {
        match bad {
            _ if self.absent.is_some() => Ok(()),
            Some((tensor, element)) => {
                let tensor = layout.tensors[tensor].name.clone();
                self.absent = Some(Absent::TooLarge { tensor, element });
                Ok(())
            }
            None => {
                let bytes = std::mem::take(&mut self.bytes);
                self.append(&bytes)?;
                self.bytes = bytes;
                Ok(())
            }
        }
    }
}

/// Merges the files: perhaps the previous model, the base, and the updates that count.
pub(crate) fn combine(
    layout: &Layout,
    files: &[Placed<'_>],
    plan: &Plan,
    momentum_permille: u32,
    open: &mut Output<'_>,
    guarded: &mut Output<'_>,
) -> Result<(), Error> {
    let middle = Middle::of(plan.outsiders.len());
    let combiner = Combiner { layout, files, plan, momentum_permille, middle: &middle };
    stream(layout, files, |blocks, bytes| {
        let cuts: Vec<_> =
            open.cut(blocks).into_iter().zip(guarded.cut(blocks)).zip(blocks).collect();
        let (open_bad, guarded_bad) = cuts
            .into_par_iter()
            .map_init(Scratch::default, |scratch, ((open, guarded), block)| {
                let (open, guarded) = combiner.block(block, bytes, scratch, open, guarded)?;
                let place = |element: usize| (block.tensor, block.first + element as u64);
                Ok((open.map(place), guarded.map(place)))
            })
            .try_reduce(Default::default, |one, other| {
                Ok((earlier(one.0, other.0), earlier(one.1, other.1)))
            })?;
        let (open_done, guarded_done) =
            rayon::join(|| open.commit(layout, open_bad), || guarded.commit(layout, guarded_bad));
        open_done.and(guarded_done)?;
        Ok(match open.absent.is_some() && guarded.absent.is_some() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        })
    })
}

/// The earlier of two places.
pub(crate) fn earlier(one: Option<Place>, other: Option<Place>) -> Option<Place> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Rows of a block's length, kept from block to block.
#[derive(Default)]
struct Scratch {
    /// The base's values, later with the momentum.
    base: Vec<i64>,
    previous: Vec<i64>,
    /// One row for each update.
    updates: Vec<i64>,
    /// One row for each neighbourhood.
    mixed: Vec<i64>,
    /// Sums, then results.
    sum: Vec<i64>,
}

struct Combiner<'a> {
    layout: &'a Layout,
    files: &'a [Placed<'a>],
    plan: &'a Plan,
    momentum_permille: u32,
    middle: &'a Middle,
}

impl Combiner<'_> {
    /// Writes both merges of a block; says of each which element is the first that is too large.
    fn block(
        &self,
        block: &Block,
        bytes: &[Vec<u8>],
        scratch: &mut Scratch,
        open: Option<&mut [u8]>,
        guarded: Option<&mut [u8]>,
    ) -> Result<(Option<usize>, Option<usize>), Error> {
        let Scratch { base, previous, updates, mixed, sum } = scratch;
        let tensor = &self.layout.tensors[block.tensor];
        let width = block.elements;
        let count = self.plan.outsiders.len();
        sum.resize(width, 0);
        updates.resize(count * width, 0);
        let read = |file: usize, row: &mut [i64]| {
            let values = &bytes[file][block.at..][..block.bytes];
            let input = self.files[file].input;
            tensor.dtype.read(values, row).map_err(|_| Error::Changed { input })
        };
        let write = |values: &[i64], into: Option<&mut [u8]>| {
            into.and_then(|into| tensor.dtype.write(values, into).err())
        };
        let first_update = bytes.len() - count;
        for (at, row) in updates.chunks_exact_mut(width).enumerate() {
            read(first_update + at, row)?;
        }

        match tensor.role {
            Role::Counted => {
                let (low, _) = self.middle.select(updates, width);
                return Ok((write(low, open), write(low, guarded)));
            }
            Role::Statistic => {
                let (low, high) = self.middle.select(updates, width);
                for (sum, (low, high)) in sum.iter_mut().zip(low.iter().zip(high)) {
                    *sum = half(*low, *high);
                }
                return Ok((write(sum, open), write(sum, guarded)));
            }
            Role::Weight => {}
        }

        base.resize(width, 0);
        read(first_update - 1, base)?;
        for row in updates.chunks_exact_mut(width) {
            row.iter_mut().zip(&*base).for_each(|(value, base)| *value -= base);
        }
        if first_update > 1 && self.momentum_permille > 0 {
            previous.resize(width, 0);
            read(0, previous)?;
            for (base, previous) in base.iter_mut().zip(&*previous) {
                *base += permille(*base - previous, self.momentum_permille);
            }
        }

        let mut bad = (None, None);
        if open.is_some() {
            sum.fill(0);
            for (row, scale) in updates.chunks_exact(width).zip(&self.plan.scales) {
                match *scale {
                    None => sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value),
                    Some(scale) => sum
                        .iter_mut()
                        .zip(row)
                        .for_each(|(sum, value)| *sum += scaled(*value, scale)),
                }
            }
            for (sum, base) in sum.iter_mut().zip(&*base) {
                *sum = base + rdiv(*sum, count as i64);
            }
            bad.0 = write(sum, open);
        }
        if guarded.is_some() {
            sum.fill(0);
            for row in updates.chunks_exact(width) {
                sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
            mixed.resize(count * width, 0);
            for (row, outsiders) in mixed.chunks_exact_mut(width).zip(&self.plan.outsiders) {
                row.copy_from_slice(sum);
                for outsider in outsiders {
                    let other = &updates[outsider * width..][..width];
                    row.iter_mut().zip(other).for_each(|(value, other)| *value -= other);
                }
            }
            // Dividing keeps the order, so the middle of the quotients is the quotient of the middle.
            let (low, high) = self.middle.select(mixed, width);
            let nearest = self.plan.nearest;
            for ((sum, base), (low, high)) in sum.iter_mut().zip(&*base).zip(low.iter().zip(high)) {
                *sum = base + half(rdiv(*low, nearest), rdiv(*high, nearest));
            }
            bad.1 = write(sum, guarded);
        }
        Ok(bad)
    }
}

// None of these overflows: a value is at most 2^52, a difference of two 2^53, and the sum of `MAX_UPDATES` of them 2^61.

/// The nearest whole number to `a / n`, halves up.
fn rdiv(a: i64, n: i64) -> i64 {
    (2 * a + n).div_euclid(2 * n)
}

/// The nearest whole number to the middle of two, halves up.
fn half(a: i64, b: i64) -> i64 {
    (a + b + 1) >> 1
}

/// So many thousandths, to the nearest whole number, halves up.
fn permille(a: i64, permille: u32) -> i64 {
    (a * i64::from(permille) + 500).div_euclid(1000)
}

/// So many 2^30ths, rounded down.
fn scaled(a: i64, scale: i64) -> i64 {
    ((i128::from(a) * i128::from(scale)) >> 30) as i64
}
