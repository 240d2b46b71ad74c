//! Dividing a data set among learners.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use ndarray::Array2;
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, Gamma};

use super::{DataError, Dataset, Targets};

/// A learner has at least so many rows that are not for testing.
const LEAST_ROWS: usize = 2;
/// Numbers are put into this many groups where a split goes by label.
const GROUPS: usize = 10;

/// How the rows are divided among learners.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub enum Split {
    /// Evenly and at random.
    #[default]
    Iid,
    /// Each label's rows in shares drawn from a Dirichlet distribution with this concentration:
    /// the smaller, the more each learner has only some labels (Hsu et al. 2019, arXiv:1909.06335).
    Dirichlet(f64),
    /// Sorted by label, then cut: each learner has one or a few labels.
    Sorted,
    /// Sorted by label, cut into so many shards a learner, which are dealt at random (McMahan et al.
    /// 2017, arXiv:1602.05629).
    Shards(usize),
    /// At random, the sizes in proportion 1 : 2 : 3 and so on.
    Unequal,
}

impl FromStr for Split {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (word, argument) = text.split_once(':').unzip();
        match (word.unwrap_or(text), argument) {
            ("iid", None) => Ok(Self::Iid),
            ("sorted", None) => Ok(Self::Sorted),
            ("unequal", None) => Ok(Self::Unequal),
            ("dirichlet", Some(alpha)) => match alpha.parse::<f64>() {
                Ok(alpha) if alpha > 0.0 && alpha.is_finite() => Ok(Self::Dirichlet(alpha)),
                _ => Err(format!("{alpha:?} is not a positive concentration")),
            },
            ("shards", Some(shards)) => match shards.parse() {
                Ok(shards @ 1..=1000) => Ok(Self::Shards(shards)),
                _ => Err(format!("{shards:?} is not a number of shards, 1 to 1000")),
            },
            _ => Err(format!(
                "{text:?} is not one of iid, dirichlet:ALPHA, sorted, shards:K, unequal"
            )),
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Iid => f.write_str("iid"),
            Self::Dirichlet(alpha) => write!(f, "dirichlet:{alpha}"),
            Self::Sorted => f.write_str("sorted"),
            Self::Shards(shards) => write!(f, "shards:{shards}"),
            Self::Unequal => f.write_str("unequal"),
        }
    }
}

/// One learner's part of a data set: row numbers, no copies.
#[derive(Clone, Debug)]
pub struct Share {
    /// The whole.
    pub data: Arc<Dataset>,
    /// Rows to train on.
    pub train: Vec<usize>,
    /// Rows to vote on.
    pub vote: Vec<usize>,
    /// Rows that decide nothing.
    pub test: Vec<usize>,
}

impl Share {
    /// The inputs and targets of some rows, copied.
    pub fn select(&self, rows: &[usize]) -> (Array2<f32>, Targets) {
        self.data.select(rows)
    }

    /// All shares together, as one learner's.
    pub fn merge(shares: &[Self]) -> Option<Self> {
        let (first, rest) = shares.split_first()?;
        let mut merged = first.clone();
        for share in rest {
            merged.train.extend(&share.train);
            merged.vote.extend(&share.vote);
            merged.test.extend(&share.test);
        }
        Some(merged)
    }
}

impl Dataset {
    /// Divides the rows among learners. First those for testing are set aside: the makers' own test
    /// part, or else a fifth of all at random; they are divided evenly whatever the split. Of each
    /// learner's other rows a fifth, at random, is for voting.
    ///
    /// # Errors
    /// If that would leave a learner with too little.
    pub fn split(
        self: &Arc<Self>,
        split: Split,
        learners: usize,
        seed: u64,
    ) -> Result<Vec<Share>, DataError> {
        let rows = self.rows();
        if learners == 0 || rows < 5 * learners {
            return Err(DataError::TooFew { name: self.name.clone(), rows, learners });
        }
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let (test, rest) = if self.test_from < rows {
            let mut rest: Vec<usize> = (0..self.test_from).collect();
            let mut test: Vec<usize> = (self.test_from..rows).collect();
            rest.shuffle(&mut random);
            test.shuffle(&mut random);
            (test, rest)
        } else {
            let mut order: Vec<usize> = (0..rows).collect();
            order.shuffle(&mut random);
            let rest = order.split_off((rows / 5).max(learners));
            (order, rest)
        };
        if rest.len() < LEAST_ROWS * learners || test.len() < learners {
            return Err(DataError::TooFew { name: self.name.clone(), rows, learners });
        }
        let mut parts = self.divide(split, rest, learners, &mut random);
        even_out(&mut parts);
        let shares = parts.into_iter().enumerate().map(|(at, mut train)| {
            // What is sorted must not decide what is voted on.
            if split != Split::Iid {
                train.shuffle(&mut random);
            }
            let vote = train.split_off(train.len() - (train.len() / 5).max(1));
            let test = cut(&test, at, learners).to_vec();
            Share { data: self.clone(), train, vote, test }
        });
        Ok(shares.collect())
    }

    fn divide(
        &self,
        split: Split,
        mut rows: Vec<usize>,
        learners: usize,
        random: &mut ChaCha8Rng,
    ) -> Vec<Vec<usize>> {
        match split {
            Split::Iid => evenly(&rows, learners),
            Split::Sorted => {
                self.sort(&mut rows);
                evenly(&rows, learners)
            }
            Split::Shards(shards) => {
                self.sort(&mut rows);
                let count = shards * learners;
                let mut order: Vec<usize> = (0..count).collect();
                order.shuffle(random);
                let hand = |hand: &[usize]| {
                    hand.iter().flat_map(|shard| cut(&rows, *shard, count)).copied().collect()
                };
                order.chunks(shards).map(hand).collect()
            }
            Split::Unequal => {
                let total = learners * (learners + 1) / 2;
                let before = |learner: usize| rows.len() * (learner * (learner + 1) / 2) / total;
                (0..learners).map(|at| rows[before(at)..before(at + 1)].to_vec()).collect()
            }
            Split::Dirichlet(alpha) => {
                let mut parts = vec![Vec::new(); learners];
                for group in self.groups(rows) {
                    let weights = dirichlet(alpha, learners, random);
                    let (mut sum, mut from) = (0.0, 0);
                    for (part, weight) in parts.iter_mut().zip(weights) {
                        sum += weight;
                        let to = ((sum * group.len() as f64).round() as usize).min(group.len());
                        part.extend(&group[from..to.max(from)]);
                        from = to.max(from);
                    }
                    if let Some(last) = parts.last_mut() {
                        last.extend(&group[from..]);
                    }
                }
                parts
            }
        }
    }

    /// By target; a stable sort, so that equal ones stay in random order.
    fn sort(&self, rows: &mut [usize]) {
        match &self.targets {
            Targets::Classes(classes) => rows.sort_by_key(|row| classes[*row]),
            Targets::Numbers(numbers) => {
                rows.sort_by(|a, b| numbers[*a].total_cmp(&numbers[*b]));
            }
        }
    }

    /// The rows of each label; numbers by their tenths.
    fn groups(&self, mut rows: Vec<usize>) -> Vec<Vec<usize>> {
        match &self.targets {
            Targets::Classes(classes) => {
                let mut groups = vec![Vec::new(); self.schema.target.width()];
                rows.into_iter().for_each(|row| groups[classes[row] as usize].push(row));
                groups
            }
            Targets::Numbers(_) => {
                self.sort(&mut rows);
                evenly(&rows, GROUPS)
            }
        }
    }

    /// How many rows of each label are among these, or the numbers' mean, for people.
    pub fn composition(&self, rows: &[usize]) -> Composition {
        match &self.targets {
            Targets::Classes(classes) => {
                let mut counts = vec![0; self.schema.target.width()];
                rows.iter().for_each(|row| counts[classes[*row] as usize] += 1);
                Composition::Classes(counts)
            }
            Targets::Numbers(numbers) => {
                let sum: f64 = rows.iter().map(|row| f64::from(numbers[*row])).sum();
                Composition::Mean(sum / rows.len().max(1) as f64)
            }
        }
    }
}

/// What is among some rows.
#[derive(Clone, PartialEq, Debug)]
pub enum Composition {
    /// How many of each class.
    Classes(Vec<usize>),
    /// The mean of the (scaled) numbers.
    Mean(f64),
}

/// Part `at` of `parts` even ones.
fn cut(rows: &[usize], at: usize, parts: usize) -> &[usize] {
    &rows[at * rows.len() / parts..(at + 1) * rows.len() / parts]
}

fn evenly(rows: &[usize], parts: usize) -> Vec<Vec<usize>> {
    (0..parts).map(|at| cut(rows, at, parts).to_vec()).collect()
}

/// Shares that add up to 1.
fn dirichlet(alpha: f64, count: usize, random: &mut ChaCha8Rng) -> Vec<f64> {
    let draws: Vec<f64> = match Gamma::new(alpha, 1.0) {
        Ok(gamma) => (0..count).map(|_| gamma.sample(random)).collect(),
        // The concentration is positive and finite.
        Err(_) => vec![1.0; count],
    };
    let sum: f64 = draws.iter().sum();
    if sum > 0.0 {
        draws.into_iter().map(|draw| draw / sum).collect()
    } else {
        // So small a concentration that all draws are zero: one takes everything.
        let mut all = vec![0.0; count];
        all[rand::Rng::next_u64(random) as usize % count] = 1.0;
        all
    }
}

/// Gives those with too little some of what the largest has.
fn even_out(parts: &mut [Vec<usize>]) {
    while let Some(poor) = parts.iter().position(|part| part.len() < LEAST_ROWS) {
        let rich = (0..parts.len()).max_by_key(|at| parts[*at].len());
        match rich.and_then(|rich| parts[rich].pop()) {
            Some(row) => parts[poor].push(row),
            None => break,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::Embedded;
    use super::*;

    const ALL: [&str; 6] =
        ["iid", "dirichlet:0.1", "sorted", "shards:2", "unequal", "dirichlet:1e-9"];

    #[test]
    fn every_split_uses_every_row_once_and_follows_its_seed() {
        for which in [Embedded::Digits, Embedded::Diabetes] {
            let data = Arc::new(Dataset::embedded(which).unwrap());
            for split in ALL.map(|text| text.parse::<Split>().unwrap()) {
                let shares = data.split(split, 5, 1).unwrap();
                let all: Vec<usize> = shares
                    .iter()
                    .flat_map(|share| share.train.iter().chain(&share.vote).chain(&share.test))
                    .copied()
                    .collect();
                assert_eq!(all.len(), data.rows(), "{split}");
                assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), data.rows(), "{split}");
                assert!(
                    shares.iter().all(|share| !share.train.is_empty() && !share.vote.is_empty())
                );
                assert_eq!(data.split(split, 5, 1).unwrap()[3].train, shares[3].train, "{split}");
                assert_ne!(data.split(split, 5, 2).unwrap()[3].train, shares[3].train, "{split}");
                assert!(matches!(data.split(split, 900, 1), Err(DataError::TooFew { .. })));
                assert_eq!(split.to_string().parse(), Ok(split));
            }
        }
        for wrong in ["even", "dirichlet", "dirichlet:0", "shards:0", "iid:3", "dirichlet:nan"] {
            assert!(wrong.parse::<Split>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn splits_differ_as_they_should() {
        let data = Arc::new(Dataset::embedded(Embedded::Digits).unwrap());
        let labels = |split: Split| -> Vec<usize> {
            let shares = data.split(split, 5, 1).unwrap();
            let count = |share: &Share| match data.composition(&share.train) {
                Composition::Classes(counts) => counts.iter().filter(|count| **count > 0).count(),
                Composition::Mean(_) => 0,
            };
            shares.iter().map(count).collect()
        };
        assert_eq!(labels(Split::Iid), [10; 5]);
        assert!(labels(Split::Sorted).iter().all(|count| (2..=4).contains(count)));
        assert!(labels(Split::Shards(2)).iter().all(|count| (1..=5).contains(count)));
        assert!(labels(Split::Dirichlet(0.1)).iter().sum::<usize>() < 40);
        assert!(labels(Split::Dirichlet(100.0)).iter().sum::<usize>() == 50);
        let sizes: Vec<usize> =
            data.split(Split::Unequal, 5, 1).unwrap().iter().map(|s| s.train.len()).collect();
        assert!(sizes.windows(2).all(|pair| pair[0] < pair[1]), "{sizes:?}");
    }
}
