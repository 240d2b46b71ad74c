//! The middle of several values, for many columns at once.

/// Which rows are compared and exchanged, so that the middle ones hold the columns' middle values.
///
/// Batcher's merge exchange (Knuth, The Art of Computer Programming 3, 5.2.2, algorithm M) without what the middle does not
/// depend on. Always the same comparisons, whatever the values: loops over whole rows, without branches.
#[derive(Debug)]
pub(crate) struct Middle {
    rows: usize,
    exchanges: Vec<(usize, usize)>,
}

impl Middle {
    /// Of so many rows, at least one.
    pub(crate) fn of(rows: usize) -> Self {
        let mut exchanges = Vec::new();
        let top = rows.next_power_of_two() / 2;
        let mut p = top;
        while p > 0 {
            let (mut q, mut r, mut d) = (top, 0, p);
            loop {
                let lower = (0..rows.saturating_sub(d)).filter(|row| row & p == r);
                exchanges.extend(lower.map(|row| (row, row + d)));
                if q == p {
                    break;
                }
                (d, q, r) = (q - p, q / 2, p);
            }
            p /= 2;
        }
        let mut needed = vec![false; rows];
        needed[(rows - 1) / 2] = true;
        needed[rows / 2] = true;
        let mut kept: Vec<(usize, usize)> = exchanges
            .into_iter()
            .rev()
            .filter(|&(low, high)| {
                let either = needed[low] || needed[high];
                needed[low] |= either;
                needed[high] |= either;
                either
            })
            .collect();
        kept.reverse();
        Self { rows, exchanges: kept }
    }

    /// Brings the two middle values of each column into their rows, and returns these; one row twice if the number of rows is
    /// odd. `values` are the rows, each `width` long.
    pub(crate) fn select<'a>(&self, values: &'a mut [i64], width: usize) -> (&'a [i64], &'a [i64]) {
        for &(low, high) in &self.exchanges {
            let (before, after) = values.split_at_mut(high * width);
            let low = &mut before[low * width..][..width];
            for (low, high) in low.iter_mut().zip(&mut after[..width]) {
                (*low, *high) = ((*low).min(*high), (*low).max(*high));
            }
        }
        let row = |at: usize| &values[at * width..][..width];
        (row((self.rows - 1) / 2), row(self.rows / 2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A network that sorts all columns of zeros and ones sorts everything (Knuth 5.3.4, theorem Z); the same holds for what
    /// it selects.
    #[test]
    fn it_selects_the_middle_of_all_columns_of_zeros_and_ones() {
        for rows in 1..=16 {
            let middle = Middle::of(rows);
            let width = 1 << rows;
            let mut values: Vec<i64> = (0..rows)
                .flat_map(|row| (0..width).map(move |column| (column >> row & 1) as i64))
                .collect();
            let (low, high) = middle.select(&mut values, width);
            for column in 0..width {
                let zeros = rows - column.count_ones() as usize;
                assert_eq!(low[column], i64::from((rows - 1) / 2 >= zeros), "{rows} {column:b}");
                assert_eq!(high[column], i64::from(rows / 2 >= zeros), "{rows} {column:b}");
            }
        }
    }

    #[test]
    fn it_selects_the_middle_of_up_to_sixty_four() {
        let mut state = 1_u64;
        for rows in 1..=64 {
            let mut column: Vec<i64> = (0..rows)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 40).cast_signed() % 50 - 25
                })
                .collect();
            let mut values = column.clone();
            let (low, high) = Middle::of(rows).select(&mut values, 1);
            column.sort_unstable();
            assert_eq!((low[0], high[0]), (column[(rows - 1) / 2], column[rows / 2]), "{rows}");
        }
    }
}
