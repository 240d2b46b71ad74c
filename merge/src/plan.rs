//! What follows from the updates' lengths and distances, before any value is merged.

use crate::{Coherence, Part};

/// Sums of squares and products must stay below this: 2^125. Then no sum of several overflows.
pub(crate) const SUM_LIMIT: u128 = 1 << 125;

/// 2^32 as a float: what lengths are told in.
const ONE: f64 = 4_294_967_296.0;

/// The products of all updates with each other: element (i, j), j <= i, at i (i + 1) / 2 + j.
#[derive(Clone, Debug)]
pub(crate) struct Products(Vec<i128>);

impl Products {
    pub(crate) fn zero(updates: usize) -> Self {
        Self(vec![0; updates * (updates + 1) / 2])
    }

    /// Adds the products of these rows with each other.
    pub(crate) fn add(&mut self, rows: &[i64], width: usize) {
        if width == 0 {
            return;
        }
        let mut sums = self.0.iter_mut();
        for (at, row) in rows.chunks_exact(width).enumerate() {
            for (other, sum) in rows.chunks_exact(width).take(at + 1).zip(&mut sums) {
                *sum = saturating(*sum, dot(row, other));
            }
        }
    }

    pub(crate) fn merge(mut self, other: &Self) -> Self {
        for (sum, other) in self.0.iter_mut().zip(&other.0) {
            *sum = saturating(*sum, *other);
        }
        self
    }

    /// Those of some of the updates.
    pub(crate) fn of(&self, updates: &[usize]) -> Self {
        let products = updates
            .iter()
            .enumerate()
            .flat_map(|(at, one)| updates[..=at].iter().map(move |other| self.get(*one, *other)));
        Self(products.collect())
    }

    pub(crate) fn get(&self, one: usize, other: usize) -> i128 {
        let (low, high) = (one.min(other), one.max(other));
        self.0[high * (high + 1) / 2 + low]
    }
}

/// Exact where it matters: a square that has saturated stays too large, so its update is void; and a product of two updates
/// that are not void saturates nowhere, as no part of it is larger than their lengths.
fn saturating(sum: i128, more: i128) -> i128 {
    sum.saturating_add(more)
}

fn dot(one: &[i64], other: &[i64]) -> i128 {
    one.iter().zip(other).map(|(one, other)| i128::from(*one) * i128::from(*other)).sum()
}

/// How the updates that count are merged.
#[derive(Debug)]
pub(crate) struct Plan {
    /// By how many 2^30ths an update is scaled; `None` if it is not clipped.
    pub scales: Vec<Option<i64>>,
    /// For each update, which are *not* among its nearest.
    pub outsiders: Vec<Vec<usize>>,
    /// How many are among the nearest, itself included.
    pub nearest: i64,
    pub coherence: Coherence,
    pub limit: f64,
    pub parts: Vec<Part>,
}

impl Plan {
    /// Of at least one update.
    pub(crate) fn of(products: &Products, updates: usize, clip_permille: u32) -> Self {
        let squares: Vec<u128> =
            (0..updates).map(|at| products.get(at, at).unsigned_abs()).collect();
        let lengths: Vec<u128> = squares.iter().map(|square| square.isqrt()).collect();
        let limit = lower_median(lengths.iter().copied()) * u128::from(clip_permille) / 1000;
        let scales: Vec<Option<i64>> = lengths
            .iter()
            // Below 2^30, as the limit is below the length.
            .map(|length| (*length > limit).then(|| ((limit << 30) / length) as i64))
            .collect();

        let nearest = updates - (updates - 1) / 2;
        let mut outsiders = Vec::with_capacity(updates);
        let mut typical = Vec::with_capacity(updates);
        let mut neighbour_of = vec![Vec::new(); updates];
        for at in 0..updates {
            // Below 2^127: at most four times the larger square.
            let distance = |other: usize| {
                (squares[at] + squares[other])
                    .wrapping_sub((2 * products.get(at, other)).cast_unsigned())
            };
            let mut order: Vec<(u128, usize)> =
                (0..updates).map(|other| (distance(other), other)).collect();
            order.sort_unstable();
            let far = order.split_off(nearest);
            outsiders.push(far.into_iter().map(|(_, other)| other).collect());
            order.retain(|(_, other)| *other != at);
            order.iter().for_each(|(_, other)| neighbour_of[*other].push(at));
            typical.push(lower_median(order.iter().map(|(distance, _)| *distance)));
        }
        let distance = lower_median(typical);
        let length = lower_median(squares.iter().copied());
        let coherence = Coherence {
            distance: (distance as f64).sqrt() / ONE,
            length: (length as f64).sqrt() / ONE,
            coheres: nearest < 2 || 2 * distance <= 3 * length,
        };
        let cosines = cosines(products, &scales);
        let parts = neighbour_of
            .into_iter()
            .enumerate()
            .map(|(at, neighbour_of)| Part {
                length: (squares[at] as f64).sqrt() / ONE,
                clipped: scales[at].is_some(),
                neighbour_of,
                cosine: cosines[at],
            })
            .collect();
        let limit = limit as f64 / ONE;
        Self { scales, outsiders, nearest: nearest as i64, coherence, limit, parts }
    }
}

/// The element before or at the middle in ascending order; zero of none.
fn lower_median(values: impl IntoIterator<Item = u128>) -> u128 {
    let mut values: Vec<u128> = values.into_iter().collect();
    values.sort_unstable();
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0)
}

/// The cosine of each update to the open step, from the products alone. For people: nothing is decided by it.
fn cosines(products: &Products, scales: &[Option<i64>]) -> Vec<Option<f64>> {
    let scale = |at: usize| scales[at].map_or(1.0, |scale| scale as f64 / f64::from(1 << 30));
    let updates = scales.len();
    let along: Vec<f64> = (0..updates)
        .map(|at| (0..updates).map(|other| scale(other) * products.get(at, other) as f64).sum())
        .collect();
    let step: f64 = (0..updates).map(|at| scale(at) * along[at]).sum();
    (0..updates)
        .map(|at| {
            let lengths = (step * products.get(at, at) as f64).sqrt();
            // Also if it is no number.
            (lengths > 0.0).then(|| (along[at] / lengths).clamp(-1.0, 1.0))
        })
        .collect()
}
