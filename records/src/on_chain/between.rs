//! When a contract on a public chain has recorded an entry, by the chain's own headers.

/// The times of two headers of the chain between which entries were recorded, in ms since 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Between {
    /// That of the last header that is known not to count them; 0 if there is none.
    pub after_ms: u64,
    /// That of the first that is known to count them; the largest number if there is none.
    pub before_ms: u64,
}

/// An entry's time is not that of a block between the headers between which it was recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "entry {index} is of {time_ms} ms, and by the chain's headers it was recorded between {} and {} ms: the contract does not \
     keep the chain's time; stop trusting it",
    between.after_ms, between.before_ms
)]
pub struct OutOfTime {
    /// The entry.
    pub index: u64,
    /// Its time, in ms since 1970.
    pub time_ms: u64,
    /// Between which times it was recorded.
    pub between: Between,
}

impl Between {
    /// Whether an entry that was recorded between them has the time of its block: what a header counts is of blocks
    /// before it, and what it does not count is of its own block or of later ones.
    ///
    /// # Errors
    /// If it has another.
    pub fn check(self, index: u64, time_ms: u64) -> Result<(), OutOfTime> {
        match (self.after_ms..=self.before_ms).contains(&time_ms) {
            true => Ok(()),
            false => Err(OutOfTime { index, time_ms, between: self }),
        }
    }

    /// The same of entries that follow one another, from this one on: none is of a time before the last one's either.
    ///
    /// # Errors
    /// Which one is not.
    pub fn check_all(
        mut self,
        first: u64,
        times_ms: impl IntoIterator<Item = u64>,
    ) -> Result<(), OutOfTime> {
        for (index, time_ms) in (first..).zip(times_ms) {
            self.check(index, time_ms)?;
            self.after_ms = time_ms;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_of_a_time_between_its_headers_and_not_before_the_last() {
        let between = Between { after_ms: 10, before_ms: 20 };
        for (times, found) in [
            (&[10, 10, 20][..], Ok(())),
            (&[], Ok(())),
            (&[9], Err((5, 9, 10))),
            (&[10, 21], Err((6, 21, 10))),
            (&[15, 16, 14], Err((7, 14, 16))),
        ] {
            let checked = between.check_all(5, times.iter().copied());
            let told = checked.map_err(|it| (it.index, it.time_ms, it.between.after_ms));
            assert_eq!(told, found, "{times:?}");
        }
        let any = Between { after_ms: 0, before_ms: u64::MAX };
        assert_eq!(any.check(0, u64::MAX), Ok(()));
    }
}
