//! What a member tells of its columns, and none of its rows, so that all can agree on a schema that fits everybody's.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use rand::{Rng, SeedableRng as _, rngs::SysRng};
use rand_chacha::ChaCha12Rng;
use serde::{Deserialize, Serialize};

use super::DataError;
use super::moments::Moments;
use super::noise::DiscreteLaplace;
use super::options::CsvOptions;
use super::schema::{MAX_CATEGORIES, MAX_WIDTH};
use super::table::{Table, Wanted};

/// The form of these files.
const VERSION: u32 = 1;
/// More different values than this make no category of a column.
const MAX_DERIVED_CATEGORIES: usize = 100;
/// Larger files are refused; one has a number for each word of each column.
const MAX_BYTES: u64 = 16 << 20;
/// Of a count no member has more, so that none of so many can be too large together.
const MAX_COUNT: u64 = 1 << 40;

/// What a member's columns are like.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// The form of this file: 1.
    pub version: u32,
    /// Words that fewer rows have are not told, but of the target.
    pub rare: u64,
    /// What hides a row in the counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise: Option<CountNoise>,
    /// The columns that can be learned from.
    pub columns: Vec<ColumnSummary>,
    /// The column to predict.
    pub target: ColumnSummary,
}

/// Noise in all counts of a summary: for whoever knows what the columns are (their names, and whether they have numbers,
/// dates or words), it is (epsilon, delta)-differentially private for what is one row more or less, but for the means and
/// deviations of numbers.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CountNoise {
    /// Of all counts together.
    pub epsilon: f64,
    /// How probable it is at most that a word is told which only one row has.
    pub delta: f64,
}

/// What a column is like.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ColumnSummary {
    /// Numbers.
    Number {
        /// The column's name.
        name: String,
        /// In how many rows there is none.
        missing: u64,
        /// What they are like.
        moments: Moments,
        /// Their median, where a file's own schema needs it: nothing could be made of several.
        #[serde(skip)]
        median: Option<f64>,
    },
    /// Dates, in days since 1970-01-01.
    Date {
        /// The column's name.
        name: String,
        /// In how many rows there is none.
        missing: u64,
        /// What they are like.
        moments: Moments,
        /// As of numbers.
        #[serde(skip)]
        median: Option<f64>,
    },
    /// Words, of which one is empty and means that there is none.
    Category {
        /// The column's name.
        name: String,
        /// In how many rows each is.
        words: BTreeMap<String, u64>,
        /// In how many rows one is that is not told.
        #[serde(default)]
        untold: u64,
    },
    /// Words that are to be hashed, and are not told.
    Hashed {
        /// The column's name.
        name: String,
        /// Into how many inputs.
        buckets: usize,
    },
    /// So many different words that none is told, or none that enough rows have: to be hashed, or not learned from.
    Words {
        /// The column's name.
        name: String,
    },
}

impl ColumnSummary {
    /// The column's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Number { name, .. }
            | Self::Date { name, .. }
            | Self::Category { name, .. }
            | Self::Hashed { name, .. }
            | Self::Words { name, .. } => name,
        }
    }

    /// What it is, for people.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Number { .. } => "numbers",
            Self::Date { .. } => "dates",
            Self::Category { .. } => "words",
            Self::Hashed { .. } => "words to be hashed",
            Self::Words { .. } => "too many different words",
        }
    }

    /// In how many rows it is, or is missing; 0 where that is not told.
    pub fn rows(&self) -> u64 {
        match self {
            Self::Number { missing, moments, .. } | Self::Date { missing, moments, .. } => {
                missing.saturating_add(moments.count)
            }
            Self::Category { words, untold, .. } => {
                words.values().fold(*untold, |all, count| all.saturating_add(*count))
            }
            Self::Hashed { .. } | Self::Words { .. } => 0,
        }
    }

    fn check(&self) -> Result<(), String> {
        let name = self.name();
        if name.is_empty() {
            return Err("a column has no name".to_owned());
        }
        let wrong = |what: &str| Err(format!("column {name:?} {what}"));
        let mut texts = vec![name];
        if let Self::Category { words, .. } = self {
            texts.extend(words.keys().map(String::as_str));
        }
        // They are shown on terminals.
        if texts.iter().any(|text| text.chars().any(char::is_control)) {
            return wrong("has a name or a word with characters that cannot be seen");
        }
        match self {
            Self::Number { moments, .. } | Self::Date { moments, .. } => {
                let Moments { mean, deviation, .. } = moments;
                if !((*mean as f32).is_finite()
                    && (*deviation as f32).is_finite()
                    && *deviation >= 0.0)
                {
                    return wrong("needs a finite mean and deviation");
                }
            }
            Self::Category { words, .. } if words.len() > MAX_CATEGORIES => {
                return wrong(&format!("has more than {MAX_CATEGORIES} words"));
            }
            Self::Hashed { buckets, .. } if !(2..=MAX_CATEGORIES).contains(buckets) => {
                return wrong(&format!("needs 2 to {MAX_CATEGORIES} buckets"));
            }
            Self::Category { .. } | Self::Hashed { .. } | Self::Words { .. } => {}
        }
        if self.rows() > MAX_COUNT { wrong("has more rows than anybody") } else { Ok(()) }
    }
}

impl Summary {
    /// What the columns of a file (CSV or Parquet) are like, whole: it is for nobody else before [`Self::told`] or [`Self::noised`].
    ///
    /// # Errors
    /// As [`super::Dataset::load`], and if what is to be predicted has too many classes for all to be told.
    pub fn of(path: &Path, options: &CsvOptions) -> Result<(Self, Vec<String>), DataError> {
        let name = path.display().to_string();
        let table = Table::open(path, &options.dialect, Wanted::But(options))?;
        let summary = table.summary(options)?;
        if let ColumnSummary::Category { name: column, words, .. } = &summary.target
            && words.len() > MAX_DERIVED_CATEGORIES
        {
            let message = format!(
                "column {column:?} has {} classes, all of which would be told; is it the one to predict, or a number \
                 (--regression)?",
                words.len()
            );
            return Err(DataError::Format { name, message });
        }
        Ok((summary, table.dialect.notes))
    }

    pub(super) fn new(columns: Vec<ColumnSummary>, target: ColumnSummary) -> Self {
        Self { version: VERSION, rare: 0, noise: None, columns, target }
    }

    /// The same without words that fewer rows have than this, but of the target, and without what fewer numbers are
    /// like.
    #[must_use]
    pub fn told(mut self, rare: u64) -> Self {
        self.rare = rare;
        for column in &mut self.columns {
            column.withhold(rare);
        }
        self
    }

    /// Reads one that somebody sent.
    ///
    /// # Errors
    /// If the file cannot be read, is too large, or says what cannot be.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let io = |source| DataError::Io { path: path.to_owned(), source };
        let mut text = Vec::new();
        File::open(path).map_err(io)?.take(MAX_BYTES + 1).read_to_end(&mut text).map_err(io)?;
        let wrong =
            |message: String| DataError::Format { name: path.display().to_string(), message };
        if text.len() as u64 > MAX_BYTES {
            return Err(wrong(format!("it is larger than {} MiB", MAX_BYTES >> 20)));
        }
        let summary: Self = serde_json::from_slice(&text)
            .map_err(|error| wrong(format!("it is no summary (colearn data summary): {error}")))?;
        summary.check().map_err(wrong)?;
        Ok(summary)
    }

    fn check(&self) -> Result<(), String> {
        if self.version != VERSION {
            return Err(format!("its version is {}, and {VERSION} is known", self.version));
        }
        if self.columns.is_empty() || self.columns.len() > MAX_WIDTH {
            return Err(format!(
                "it has {} columns, and 1 to {MAX_WIDTH} can be",
                self.columns.len()
            ));
        }
        if !matches!(self.target, ColumnSummary::Number { .. } | ColumnSummary::Category { .. }) {
            return Err(format!("{} cannot be predicted", self.target.kind()));
        }
        let all = || self.columns.iter().chain([&self.target]);
        all().try_for_each(ColumnSummary::check)?;
        // With noise, what is beyond a hundred times its scale is no accident.
        let slack =
            self.noise.map_or(0.0, |noise| 100.0 * (self.columns.len() + 2) as f64 / noise.epsilon);
        let rows = self.target.rows();
        for column in all().filter(|it| it.rows() > 0) {
            if column.rows().abs_diff(rows) as f64 > slack {
                let (name, other) = (column.name(), self.target.name());
                return Err(format!(
                    "column {name:?} has {} rows, and {other:?} {rows}",
                    column.rows()
                ));
            }
        }
        let mut names: Vec<&str> = self.columns.iter().map(ColumnSummary::name).collect();
        names.push(self.target.name());
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("column {:?} is there twice", twice[0]));
        }
        match self.noise {
            Some(CountNoise { epsilon, delta })
                if !(epsilon > 0.0 && delta > 0.0 && delta < 1.0) =>
            {
                Err("its noise is none".to_owned())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The same with noise in its counts, and without words that it would be too risky to tell, or that fewer rows have
    /// than `rare`.
    ///
    /// Epsilon is that of all counts together, in thousandths; each column, and how many rows there are, has an even part
    /// of it. Whatever is decided by counts is decided by those with noise.
    ///
    /// # Errors
    /// If the operating system gives no randomness, or nothing of the target would be left.
    pub fn noised(
        self,
        name: &str,
        epsilon_thousandths: u32,
        delta: f64,
        rare: u64,
    ) -> Result<Self, DataError> {
        let wrong = |message: &str| DataError::Format {
            name: name.to_owned(),
            message: message.to_owned(),
        };
        let mut random = ChaCha12Rng::try_from_rng(&mut SysRng)
            .map_err(|_| wrong("the operating system gives no randomness for the noise"))?;
        self.noised_by(epsilon_thousandths, delta, rare, &mut random).ok_or_else(|| {
            wrong("with so much noise fewer than two classes can be told; allow a larger epsilon")
        })
    }

    fn noised_by(
        mut self,
        thousandths: u32,
        delta: f64,
        rare: u64,
        random: &mut impl Rng,
    ) -> Option<Self> {
        // A row is in one count of each column, and one of all rows.
        let parts = self.columns.len() + 2;
        let under = u32::try_from(parts.saturating_mul(1000)).unwrap_or(u32::MAX);
        let noise = DiscreteLaplace::new(thousandths, under);
        // That noise lifts a word of one row above this is at most delta / parts probable: beyond its scale it falls by
        // a factor of e for each 1 / epsilon.
        let least = 2.0 + (parts as f64 / (2.0 * delta)).ln() / noise.epsilon();
        let least = (least.ceil() as u64).max(rare);
        let mut noised = |count: u64| {
            let sum = i64::try_from(count).unwrap_or(i64::MAX).saturating_add(noise.sample(random));
            u64::try_from(sum).unwrap_or(0)
        };
        let rows = noised(self.target.rows());
        for column in self.columns.iter_mut().chain([&mut self.target]) {
            column.add(&mut noised);
            column.withhold(least);
            if let ColumnSummary::Category { words, untold, .. } = column {
                // The noise of words that are not told would say how many there are.
                let told = words.values().fold(0_u64, |all, count| all.saturating_add(*count));
                *untold = rows.saturating_sub(told);
            }
        }
        let epsilon = f64::from(thousandths) / 1000.0;
        self.noise = Some(CountNoise { epsilon, delta });
        self.rare = least;
        let told = match &self.target {
            ColumnSummary::Category { words, .. } => words.len() >= 2,
            column => matches!(column, ColumnSummary::Number { .. }),
        };
        told.then_some(self)
    }
}

impl ColumnSummary {
    fn add(&mut self, noised: &mut impl FnMut(u64) -> u64) {
        match self {
            Self::Number { missing, moments, .. } | Self::Date { missing, moments, .. } => {
                *missing = noised(*missing);
                moments.count = noised(moments.count);
            }
            Self::Category { words, .. } => {
                words.values_mut().for_each(|count| *count = noised(*count));
            }
            Self::Words { .. } | Self::Hashed { .. } => {}
        }
    }

    /// Tells no word that fewer rows have than this, and nothing of fewer numbers.
    fn withhold(&mut self, rare: u64) {
        match self {
            Self::Number { missing, moments, .. } | Self::Date { missing, moments, .. } => {
                if moments.count < rare {
                    *missing = missing.saturating_add(moments.count);
                    *moments = Moments::default();
                }
            }
            Self::Category { name, words, untold } => {
                words.retain(|_, count| {
                    let told = *count >= rare;
                    *untold = untold.saturating_add(if told { 0 } else { *count });
                    told
                });
                if words.is_empty() || words.len() > MAX_DERIVED_CATEGORIES {
                    *self = Self::Words { name: std::mem::take(name) };
                }
            }
            Self::Words { .. } | Self::Hashed { .. } => {}
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn summary() -> Summary {
        let words =
            |words: &[(&str, u64)]| words.iter().map(|(it, n)| ((*it).to_owned(), *n)).collect();
        let moments = Moments { count: 990, mean: 44.5, deviation: 14.25 };
        let age = ColumnSummary::Number { name: "age".into(), missing: 10, moments, median: None };
        let job = words(&[("cook", 600), ("smith", 390), ("pope", 1)]);
        let job = ColumnSummary::Category { name: "job".into(), words: job, untold: 9 };
        let target = words(&[("no", 700), ("yes", 300)]);
        let target = ColumnSummary::Category { name: "y".into(), words: target, untold: 0 };
        Summary::new(vec![age, job], target)
    }

    #[test]
    fn noise_hides_a_row_and_leaves_what_matters() {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let (mut popes, mut sum) = (0, 0.0);
        for _ in 0..200 {
            let noised = summary().noised_by(1000, 1e-6, 0, &mut random).unwrap();
            let ColumnSummary::Category { words, .. } = &noised.columns[1] else {
                panic!("{noised:?}")
            };
            popes += usize::from(words.contains_key("pope"));
            sum += words["cook"] as f64;
            assert_eq!(noised.noise, Some(CountNoise { epsilon: 1.0, delta: 1e-6 }));
        }
        assert_eq!(popes, 0, "a word of one row must not be told");
        // Each has a deviation of about the root of two times four.
        assert!((sum / 200.0 - 600.0).abs() < 2.0, "{sum}");
        assert!(summary().noised_by(1, 1e-6, 0, &mut random).is_none());
        let text = serde_json::to_string(&summary()).unwrap();
        assert_eq!(serde_json::from_str::<Summary>(&text).unwrap(), summary());
    }

    #[test]
    fn one_row_more_changes_no_decision_for_sure() {
        // 19 rows have a word, and 20: whichever is told is a matter of the noise, and `untold` is of the same size.
        let told = |rows: u64, seed: u64| {
            let mut summary = summary();
            let ColumnSummary::Category { words, .. } = &mut summary.columns[1] else { panic!() };
            words.insert("pope".into(), rows);
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let noised = summary.noised_by(4000, 1e-6, 20, &mut random).unwrap();
            let ColumnSummary::Category { words, .. } = &noised.columns[1] else { panic!() };
            words.contains_key("pope")
        };
        let often = |rows: u64| (0..400).filter(|seed| told(rows, *seed)).count() as f64;
        let (below, at) = (often(19), often(20));
        // An epsilon of 1 for each of four parts: no more than e times as probable.
        assert!(at < 400.0 && 4.0 * below > at, "{below} {at}");
        // As many different words as are listed, and one more: neither is told, so there is no step between.
        let words = |count: usize| {
            let mut summary = summary();
            let many = (0..count).map(|it| (format!("w{it}"), 1)).collect();
            summary.columns[1] =
                ColumnSummary::Category { name: "job".into(), words: many, untold: 0 };
            let mut random = ChaCha8Rng::seed_from_u64(3);
            summary.noised_by(1000, 1e-6, 0, &mut random).unwrap().columns[1].clone()
        };
        assert_eq!(words(MAX_DERIVED_CATEGORIES), words(MAX_DERIVED_CATEGORIES + 1));
        // Where nothing is told of a word, its noise is told neither: so much is not told of the rows, and no more.
        let mut summary = summary();
        let ColumnSummary::Category { words, .. } = &mut summary.columns[1] else { panic!() };
        words.extend((0..80).map(|it| (format!("w{it}"), 0)));
        let mut random = ChaCha8Rng::seed_from_u64(5);
        let noised = summary.noised_by(1000, 1e-6, 0, &mut random).unwrap();
        let ColumnSummary::Category { untold, .. } = &noised.columns[1] else { panic!() };
        assert!(*untold < 60, "{untold}: the sum of 80 noises would be some 160");
    }

    #[test]
    fn few_numbers_are_not_told() {
        let moments = Moments { count: 2, mean: 7.0, deviation: 1.0 };
        let mut few = summary();
        few.columns[0] =
            ColumnSummary::Number { name: "age".into(), missing: 998, moments, median: None };
        let told = few.told(5);
        let ColumnSummary::Number { missing, moments, .. } = &told.columns[0] else { panic!() };
        assert_eq!((*missing, *moments), (1000, Moments::default()));
    }

    #[test]
    fn what_somebody_sends_is_checked() {
        let wrong = |change: &dyn Fn(&mut Summary)| {
            let mut changed = summary();
            change(&mut changed);
            changed.check().unwrap_err()
        };
        assert!(summary().check().is_ok());
        assert!(wrong(&|it| it.version = 2).contains("version"));
        assert!(wrong(&|it| it.columns.clear()).contains("0 columns"));
        assert!(wrong(&|it| it.columns.push(it.target.clone())).contains("twice"));
        assert!(
            wrong(&|it| it.target = ColumnSummary::Words { name: "z".into() })
                .contains("cannot be predicted")
        );
        for moments in [
            Moments { count: 1, mean: f64::NAN, deviation: 1.0 },
            Moments { count: 1, mean: 1e300, deviation: 1.0 },
            Moments { count: 1, mean: 1.0, deviation: -1.0 },
        ] {
            let column =
                ColumnSummary::Number { name: "n".into(), missing: 0, moments, median: None };
            assert!(wrong(&|it| it.columns[0] = column.clone()).contains("finite"), "{moments:?}");
        }
        let many = (0..=MAX_CATEGORIES).map(|it| (it.to_string(), 1)).collect();
        let many = ColumnSummary::Category { name: "m".into(), words: many, untold: 0 };
        assert!(wrong(&|it| it.columns[0] = many.clone()).contains("more than 1000"));
        let all =
            ColumnSummary::Category { name: "a".into(), words: BTreeMap::new(), untold: u64::MAX };
        assert!(wrong(&|it| it.columns[0] = all.clone()).contains("more rows"));
    }
}
