//! CSV files with a header line, plain or gzip.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::Path;

use csv::StringRecord;
use ndarray::Array2;
use sha2::{Digest as _, Sha256};

use super::dates::{self, DateOrder};
use super::dialect::{Dialect, DialectOptions};
use super::moments::Moments;
use super::schema::{Column, Missing, Schema, Target};
use super::summary::Summary;
use super::{DataError, Dataset, MAX_ROWS, MAX_VALUES, Targets, open};

/// More different values than this make no category of a column.
pub(super) const MAX_DERIVED_CATEGORIES: usize = 100;

/// How a CSV file is to be read.
#[derive(Clone, Debug, Default)]
pub struct CsvOptions {
    /// The column to predict; not needed with a schema.
    pub label: Option<String>,
    /// Columns to leave out, such as identifiers.
    pub ignore: Vec<String>,
    /// What all learners agreed on; without it a schema is derived from the file.
    pub schema: Option<Schema>,
    /// Whether to predict a number rather than a class; decided by the column if `None`.
    pub regression: Option<bool>,
    /// How the file is written.
    pub dialect: DialectOptions,
    /// What a derived schema has columns be; the others are what they look like.
    pub kinds: Vec<(String, Kind)>,
    /// What a derived schema has stand for numbers that are missing: of one column, or of all in which some are.
    pub missing: Vec<(Option<String>, Fill)>,
    /// Words that fewer rows have than this are one category of a derived schema, and are not told in a summary.
    pub rare: u64,
}

/// What a column is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A number.
    Number,
    /// One of some words, whatever they look like.
    Category,
    /// A date.
    Date,
    /// One of many words, in so many buckets.
    Hashed(usize),
}

/// What stands for numbers that are missing.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Fill {
    /// The mean of those that are there.
    Mean,
    /// Their median: of an even number the mean of the middle two.
    Median,
    /// This.
    Value(f64),
    /// Their mean, and another input that says so.
    Indicator,
}

/// Loads a file.
pub(super) fn load(path: &Path, options: &CsvOptions) -> Result<Dataset, DataError> {
    read(&path.display().to_string(), &mut open(path)?, options)
}

/// A file in memory: what all errors about it need to say.
pub(super) struct Table<'a> {
    pub(super) name: &'a str,
    pub(super) columns: Vec<String>,
    pub(super) records: Vec<StringRecord>,
    pub(super) dialect: Dialect,
}

/// Reads a table and makes numbers of it.
pub(super) fn read(
    name: &str,
    reader: &mut dyn Read,
    options: &CsvOptions,
) -> Result<Dataset, DataError> {
    let table = Table::read(name, reader, &options.dialect)?;
    let schema = match &options.schema {
        Some(schema) => schema.clone(),
        None => table.derive(options)?,
    };
    table.encode(schema)
}

/// Tells what a table's columns are like, and what was found of how it is written.
pub(super) fn summarise(
    name: &str,
    reader: &mut dyn Read,
    options: &CsvOptions,
) -> Result<(Summary, Vec<String>), DataError> {
    let table = Table::read(name, reader, &options.dialect)?;
    Ok((table.summary(options)?, table.dialect.notes.clone()))
}

impl<'a> Table<'a> {
    fn read(
        name: &'a str,
        reader: &mut dyn Read,
        options: &DialectOptions,
    ) -> Result<Self, DataError> {
        let fail = |line, message: String| DataError::Csv { name: name.to_owned(), line, message };
        let csv_error = |error: csv::Error| {
            let line = error.position().map_or(1, csv::Position::line);
            match error.kind() {
                csv::ErrorKind::Utf8 { .. } => {
                    fail(line, format!("{error}; say what it is: --encoding windows-1252"))
                }
                csv::ErrorKind::UnequalLengths { .. } => fail(
                    line,
                    format!(
                        "{error}; if something else stands between columns, say so: --delimiter"
                    ),
                ),
                _ => fail(line, error.to_string()),
            }
        };
        let format = |message| DataError::Format { name: name.to_owned(), message };
        let opened = Dialect::of(reader, options);
        let (text, mut dialect) =
            opened.map_err(|error| fail(1, error.to_string()))?.map_err(format)?;
        let mut reader = csv::ReaderBuilder::new()
            .trim(csv::Trim::All)
            .delimiter(dialect.delimiter)
            .from_reader(text);
        let headers = reader.headers().map_err(csv_error)?.iter();
        let columns: Vec<String> = headers.map(str::to_owned).collect();
        let mut names: Vec<&str> = columns.iter().map(String::as_str).collect();
        names.sort_unstable();
        names.retain(|name| !name.is_empty());
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            let message = format!("two columns are called {:?}; rename one", twice[0]);
            return Err(fail(1, message));
        }
        if columns.len() > 1 && columns.iter().any(String::is_empty) {
            dialect.notes.push("a column without a name is left out".to_owned());
        }
        let mut records = Vec::new();
        for record in reader.records() {
            let record = record.map_err(csv_error)?;
            if records.len() == MAX_ROWS {
                return Err(fail(
                    record.position().map_or(0, csv::Position::line),
                    format!("more than {MAX_ROWS} rows"),
                ));
            }
            records.push(record);
        }
        Ok(Self { name, columns, records, dialect })
    }

    pub(super) fn at(&self, column: &str) -> Result<usize, DataError> {
        self.columns.iter().position(|known| known == column).ok_or_else(|| {
            let mut known: Vec<&str> = self.columns.iter().take(20).map(String::as_str).collect();
            if self.columns.len() > known.len() {
                known.push("...");
            }
            DataError::NoSuchColumn {
                name: self.name.to_owned(),
                column: column.to_owned(),
                columns: known.join(", "),
            }
        })
    }

    /// The values of a column, each with its line.
    pub(super) fn values(&self, at: usize) -> impl Iterator<Item = (u64, &str)> {
        self.records.iter().map(move |record| {
            (record.position().map_or(0, csv::Position::line), record.get(at).unwrap_or_default())
        })
    }

    pub(super) fn fail(&self, line: u64, message: String) -> DataError {
        DataError::Csv { name: self.name.to_owned(), line, message }
    }

    /// What is missing is a word of its own, the empty one.
    pub(super) fn word<'b>(&self, text: &'b str) -> &'b str {
        if self.dialect.is_missing(text) { "" } else { text }
    }

    pub(super) fn number(&self, column: &str, (line, text): (u64, &str)) -> Result<f64, DataError> {
        // First: what stands for nothing may be a number, such as -999.
        let number = self.dialect.number(text).filter(|_| !self.dialect.is_missing(text));
        match number {
            Some(number) => Ok(number),
            None if self.dialect.is_missing(text) => Err(self.empty(column, line)),
            None => {
                let message = format!("column {column:?}: {text:?} is not a finite number");
                let hint = match text {
                    "NA" | "N/A" | "NaN" | "nan" | "NULL" | "null" | "None" | "?" | "-" | "." => {
                        format!("; if it stands for nothing: --na {text}")
                    }
                    _ if text.contains(',') => "; see --decimal and --delimiter".to_owned(),
                    _ => format!("; if these are words: --category {column}"),
                };
                Err(self.fail(line, message + &hint))
            }
        }
    }

    fn empty(&self, column: &str, line: u64) -> DataError {
        let message = format!(
            "column {column:?} is empty; fill it in, leave the row out, or have the schema say what stands for it \
             (colearn data schema --missing)"
        );
        self.fail(line, message)
    }

    /// Days since 1970-01-01.
    pub(super) fn date(
        &self,
        column: &str,
        (line, text): (u64, &str),
        order: DateOrder,
    ) -> Result<f64, DataError> {
        if self.dialect.is_missing(text) {
            return Err(self.empty(column, line));
        }
        dates::days(text, order).ok_or_else(|| {
            let message = format!(
                "column {column:?}: {text:?} is not a date such as 1999-12-31, 31.12.1999 or 31/12/1999 (--dates); if \
                 these are words: --category {column}"
            );
            self.fail(line, message)
        })
    }

    /// In which order the dates of a column are written.
    pub(super) fn date_order(&self, column: &str, at: usize) -> Result<DateOrder, DataError> {
        let found = || dates::Look::of(self.values(at).map(|(_, text)| text)).order();
        self.dialect.dates.or_else(found).ok_or_else(|| {
            let message = format!(
                "in the dates of column {column:?} the day may stand first, or the month; say which: --dates day-first \
                 or --dates month-first"
            );
            DataError::Format { name: self.name.to_owned(), message }
        })
    }

    /// The rows as the schema says.
    fn encode(&self, schema: Schema) -> Result<Dataset, DataError> {
        let features = self.features(&schema)?.into_shared();
        let at = self.at(schema.target.name())?;
        let targets = self.targets(&schema.target, self.values(at))?;
        let (name, rows) = (self.name.to_owned(), self.records.len());
        let notes = self.dialect.notes.clone();
        Ok(Dataset { name, schema, features, targets, test_from: rows, notes })
    }

    /// The rows' inputs.
    fn features(&self, schema: &Schema) -> Result<Array2<f32>, DataError> {
        let (rows, width) = (self.records.len(), schema.width());
        let mismatch = |message: String| DataError::Schema { name: self.name.to_owned(), message };
        if rows.saturating_mul(width) > MAX_VALUES {
            return Err(mismatch(format!("{rows} rows of {width} inputs are too many")));
        }
        let mut features = Array2::<f32>::zeros((rows, width));
        let mut input = 0;
        for column in &schema.features {
            let name = column.name();
            match column {
                Column::Number { mean, scale, missing, .. }
                | Column::Date { mean, scale, missing, .. } => {
                    let at = self.at(name)?;
                    let order = match column {
                        Column::Date { .. } => Some(self.date_order(name, at)?),
                        _ => None,
                    };
                    for (row, value) in self.values(at).enumerate() {
                        let number = match missing {
                            Some(missing) if self.dialect.is_missing(value.1) => {
                                if let Missing::Indicator(_) = missing {
                                    features[[row, input + 1]] = 1.0;
                                }
                                missing.value()
                            }
                            Some(_) | None => match order {
                                Some(order) => self.date(name, value, order)?,
                                None => self.number(name, value)?,
                            },
                        };
                        features[[row, input]] = ((number - mean) / scale) as f32;
                    }
                }
                Column::Hashed { buckets, .. } => {
                    let at = self.at(name)?;
                    for (row, (_, text)) in self.values(at).enumerate() {
                        features[[row, input + bucket(name, self.word(text), *buckets)]] = 1.0;
                    }
                }
                Column::Category { categories, other, .. } => {
                    let at = self.at(name)?;
                    let position = positions(categories);
                    let rest = other.then_some(categories.len());
                    for (row, (line, text)) in self.values(at).enumerate() {
                        let found = position.get(self.word(text)).copied().or(rest);
                        let category = found
                            .ok_or_else(|| self.fail(line, unknown(name, text, categories)))?;
                        features[[row, input + category]] = 1.0;
                    }
                }
                Column::Block { .. } => {
                    return Err(mismatch(format!("{name:?} is a block of inputs, not a column")));
                }
            }
            input += column.width();
        }
        Ok(features)
    }

    /// What is to be predicted of some rows.
    fn targets<'b>(
        &self,
        target: &Target,
        values: impl Iterator<Item = (u64, &'b str)>,
    ) -> Result<Targets, DataError> {
        Ok(match target {
            Target::Class { name, classes } => {
                let position = positions(classes);
                let class = |(line, text): (u64, &str)| {
                    let found = position.get(text).map(|at| *at as u32);
                    found.ok_or_else(|| self.fail(line, unknown(name, text, classes)))
                };
                Targets::Classes(values.map(class).collect::<Result<_, _>>()?)
            }
            Target::Number { name, mean, scale } => {
                let number = |value| Ok(((self.number(name, value)? - mean) / scale) as f32);
                Targets::Numbers(values.map(number).collect::<Result<_, DataError>>()?)
            }
        })
    }

    /// The rows for a model that is to say what their targets are.
    fn unlabelled(&self, schema: &Schema) -> Result<Unlabelled, DataError> {
        let schema = &self.with_columns(schema)?;
        let needed: Vec<&str> = schema.features.iter().map(Column::name).collect();
        let target = schema.target.name();
        let missing: Vec<&str> =
            needed.iter().copied().filter(|it| !self.columns.iter().any(|has| has == it)).collect();
        if !missing.is_empty() {
            let (missing, has) = (missing.join(", "), self.columns.join(", "));
            let message =
                format!("it has no column {missing}, which the model needs; it has: {has}");
            return Err(DataError::Schema { name: self.name.to_owned(), message });
        }
        let passed_over = self.columns.iter();
        let passed_over = passed_over
            .filter(|it| *it != target && !it.is_empty() && !needed.contains(&it.as_str()));
        let known = self.columns.iter().position(|column| column == target).map(|at| {
            // What is not filled in is what somebody wants to know.
            let filled =
                self.values(at).enumerate().filter(|(_, (_, text))| !self.dialect.is_missing(text));
            let (rows, values): (Vec<usize>, Vec<(u64, &str)>) = filled.unzip();
            self.targets(&schema.target, values.into_iter()).map(|targets| (rows, targets))
        });
        Ok(Unlabelled {
            features: self.features(schema)?,
            known: known.transpose()?,
            passed_over: passed_over.cloned().collect(),
            lines: self.values(0).map(|(line, _)| line).collect(),
            notes: self.dialect.notes.clone(),
        })
    }

    /// The schema with a column for each input of its block. A block's inputs have no names: they are all of the
    /// file's columns but the target, in their order, and must be as many.
    fn with_columns(&self, schema: &Schema) -> Result<Schema, DataError> {
        let [Column::Block { name, width, mean, scale }] = &schema.features[..] else {
            return Ok(schema.clone());
        };
        let target = schema.target.name();
        // One without a name, such as a row's number, is left out here, too: it would shift all the others.
        let columns = self.columns.iter().filter(|it| *it != target && !it.is_empty());
        let features: Vec<Column> = columns
            .map(|name| Column::Number {
                name: name.clone(),
                mean: *mean,
                scale: *scale,
                missing: None,
            })
            .collect();
        if features.len() != *width {
            let found = features.len();
            let message = format!(
                "the model needs the {width} columns of {name} in their order, and it has {found}"
            );
            return Err(DataError::Schema { name: self.name.to_owned(), message });
        }
        Ok(Schema { features, target: schema.target.clone() })
    }
}

/// Rows whose targets are to be said by a model.
pub(crate) struct Unlabelled {
    /// Rows of inputs.
    pub(crate) features: Array2<f32>,
    /// The rows whose targets the file has, and these.
    pub(crate) known: Option<(Vec<usize>, Targets)>,
    /// The columns that mean nothing to the schema.
    pub(crate) passed_over: Vec<String>,
    /// In which line each row is.
    pub(crate) lines: Vec<u64>,
    /// What was found of how the file is written.
    pub(crate) notes: Vec<String>,
}

/// Reads rows whose targets need not be there.
pub(crate) fn unlabelled(
    name: &str,
    reader: &mut dyn Read,
    schema: &Schema,
    options: &DialectOptions,
) -> Result<Unlabelled, DataError> {
    Table::read(name, reader, options)?.unlabelled(schema)
}

/// The bucket of a word (see [`Column::Hashed`]).
fn bucket(column: &str, word: &str, buckets: usize) -> usize {
    let digest = Sha256::new().chain_update(column).chain_update([0]).chain_update(word).finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    (u64::from_be_bytes(first) % buckets as u64) as usize
}

fn positions(words: &[String]) -> HashMap<&str, usize> {
    words.iter().enumerate().map(|(at, word)| (word.as_str(), at)).collect()
}

fn unknown(column: &str, text: &str, known: &[String]) -> String {
    let known: Vec<&str> = known.iter().take(10).map(String::as_str).collect();
    format!(
        "column {column:?}: {text:?} is not one of the agreed values ({}{}); all learners must agree on a schema that has it \
         (colearn data summary), or has a place for others (--rare)",
        known.join(", "),
        if known.len() == 10 { ", ..." } else { "" }
    )
}

/// What is in a file's columns, for people.
#[derive(Clone, Debug)]
pub struct Outline {
    /// Each column's name, and its kind and some of its values.
    pub columns: Vec<(String, String)>,
    /// What was found of how the file is written.
    pub notes: Vec<String>,
}

/// What is in a file's columns, for people: each column's kind and some of its values.
///
/// # Errors
/// If the file cannot be read as CSV.
pub fn outline(path: &Path, options: &DialectOptions) -> Result<Outline, DataError> {
    let name = path.display().to_string();
    let table = Table::read(&name, &mut open(path)?, options)?;
    let describe = |at: usize| {
        let there = table.values(at).map(|(_, text)| text);
        let there: Vec<&str> = there.filter(|text| !table.dialect.is_missing(text)).collect();
        let count = there.len();
        let numbers: Vec<f64> =
            there.iter().filter_map(|text| table.dialect.number(text)).collect();
        let empty = match table.records.len() - count {
            0 => String::new(),
            empty => format!(", {empty} empty"),
        };
        if count > 0 && numbers.len() == count {
            let low = numbers.iter().copied().fold(f64::INFINITY, f64::min);
            let high = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let (mean, scale) = Moments::of(numbers.into_iter()).mean_and_scale();
            return format!("number, {low} to {high}, mean {mean}, deviation {scale}{empty}");
        }
        if let Some(first) = there.first()
            && dates::Look::of(there.iter().copied()).dates == count
        {
            return format!("{count} dates, such as {first:?}{empty}");
        }
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        table.values(at).for_each(|(_, text)| *counts.entry(text).or_default() += 1);
        let few: Vec<String> =
            counts.iter().take(5).map(|(word, count)| format!("{word:?} {count}x")).collect();
        let more = if counts.len() > few.len() { ", ..." } else { "" };
        format!("{} different values: {}{more}", counts.len(), few.join(", "))
    };
    let columns = table.columns.iter().enumerate();
    let columns = columns.map(|(at, column)| (column.clone(), describe(at))).collect();
    Ok(Outline { columns, notes: table.dialect.notes.clone() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write as _;

    use super::super::Embedded;
    use super::*;

    fn load_text(text: &[u8], options: &CsvOptions) -> Result<Dataset, DataError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text).unwrap();
        load(file.path(), options)
    }

    fn label(name: &str) -> CsvOptions {
        CsvOptions { label: Some(name.to_owned()), ..CsvOptions::default() }
    }

    #[test]
    fn the_embedded_sets_are_whole() {
        for (which, rows, width, outputs) in [
            (Embedded::Digits, 1797, 64, 10),
            (Embedded::Iris, 150, 4, 3),
            (Embedded::BreastCancer, 569, 30, 2),
            (Embedded::Wine, 178, 13, 3),
            (Embedded::Diabetes, 442, 10, 1),
        ] {
            let data = Dataset::embedded(which).unwrap();
            let shape = (data.rows(), data.width(), data.schema.target.width());
            assert_eq!(shape, (rows, width, outputs), "{which:?}");
            assert!(data.features.iter().all(|x| x.abs() < 20.0), "{which:?}");
            data.schema.check().unwrap();
        }
        let digits = Dataset::embedded(Embedded::Digits).unwrap();
        assert!(digits.features.iter().all(|x| (0.0..=1.0).contains(x)));
    }

    #[test]
    fn columns_are_scaled_or_one_hot_and_another_file_follows_the_schema() {
        let text = b"id,age,job,label\na1,20,cook,yes\na2,40,smith,no\na3,30,cook,no\n";
        let options = CsvOptions { ignore: vec!["id".to_owned()], ..label("label") };
        let data = load_text(text, &options).unwrap();
        assert_eq!(data.width(), 3);
        assert_eq!(data.features.row(2).to_vec(), [0.0, 1.0, 0.0]);
        assert!((data.features[[1, 0]] - 1.224_745).abs() < 1e-5);
        assert_eq!(data.targets, Targets::Classes(vec![1, 0, 0]));
        let json = serde_json::to_string(&data.schema).unwrap();
        let schema: Schema = serde_json::from_str(&json).unwrap();
        assert_eq!(schema, data.schema);
        // Other columns, another order, not all categories.
        let agreed = CsvOptions { schema: Some(schema), ..CsvOptions::default() };
        let other = load_text(b"job,label,x,age\nsmith,yes,9,30\n", &agreed).unwrap();
        assert_eq!(other.features.row(0).to_vec(), [0.0, 0.0, 1.0]);
        assert_eq!(other.targets, Targets::Classes(vec![1]));
        let error = load_text(b"job,label,age\nsmith,yes,30\npilot,no,2\n", &agreed).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("line 3: column \"job\": \"pilot\" is not one of"), "{error}");
        let error = load_text(b"label,age\nyes,30\n", &agreed).unwrap_err().to_string();
        assert!(error.contains("no column \"job\""), "{error}");
    }

    #[test]
    fn plain_and_gzip_give_the_same_and_numbers_can_be_predicted() {
        let text = b"a,y,b\n1,1.5,2.5\n3,2.5,-4\n";
        let plain = load_text(text, &label("y")).unwrap();
        assert_eq!(plain.features, ndarray::array![[-1.0, 1.0], [1.0, -1.0]]);
        assert_eq!(plain.targets, Targets::Numbers(vec![-1.0, 1.0]));
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(text).unwrap();
        let gzip = load_text(&gzip.finish().unwrap(), &label("y")).unwrap();
        assert_eq!(gzip.features, plain.features);
        let classes = load_text(b"a,y\n1,0\n2,1\n", &label("y")).unwrap();
        assert_eq!(classes.schema.target.classes(), ["0", "1"]);
        let regression = CsvOptions { regression: Some(true), ..label("y") };
        let numbers = load_text(b"a,y\n1,0\n2,1\n", &regression).unwrap();
        assert_eq!(numbers.targets, Targets::Numbers(vec![-1.0, 1.0]));
    }

    #[test]
    fn what_is_missing_is_what_the_schema_says() {
        let text = b"age,income,job,y\n20,NA,cook,0\n,30,,1\n40,50,smith,0\n";
        let read = |missing: &[(Option<&str>, Fill)]| {
            let missing = missing.iter().map(|(column, fill)| (column.map(str::to_owned), *fill));
            let dialect =
                DialectOptions { missing: vec!["NA".to_owned()], ..DialectOptions::default() };
            load_text(text, &CsvOptions { missing: missing.collect(), dialect, ..label("y") })
        };
        let said = read(&[]).unwrap_err().to_string();
        assert!(
            said.contains("line 3: column \"age\" is empty") && said.contains("--missing"),
            "{said}"
        );
        let data = read(&[(None, Fill::Median), (Some("income"), Fill::Indicator)]).unwrap();
        // Age, income and whether it is missing, and three kinds of job of which one is none.
        assert_eq!(data.width(), 6);
        let scale = 10.0;
        assert_eq!(
            data.features.row(1).to_vec(),
            [0.0, -1.0, 0.0, 1.0, 0.0, 0.0],
            "{:?}",
            data.schema
        );
        assert_eq!(data.features.row(0).to_vec(), [-1.0, 0.0, 1.0, 0.0, 1.0, 0.0]);
        let json = serde_json::to_value(&data.schema).unwrap();
        assert_eq!(json["features"][0]["missing"]["value"], 30.0);
        assert_eq!(json["features"][1]["missing"]["indicator"], 40.0);
        assert_eq!(json["features"][1]["scale"], scale);
        // Another file follows it, also where it has none, and a file without the rule is refused.
        let agreed = |data: &Dataset| CsvOptions {
            schema: Some(data.schema.clone()),
            ..CsvOptions::default()
        };
        let other = load_text(b"income,job,age,y\n,cook,10,1\n", &agreed(&data)).unwrap();
        assert_eq!(other.features.row(0).to_vec(), [-2.0, 0.0, 1.0, 0.0, 1.0, 0.0]);
        let none = load_text(b"a,y\n1,0\n2,1\n", &label("y")).unwrap();
        let json = serde_json::to_string(&none.schema).unwrap();
        assert!(!json.contains("missing"), "an older program reads it: {json}");
        assert!(load_text(b"a,y\n,0\n2,1\n", &agreed(&none)).is_err());
        // A column that is half blank is one of numbers all the same.
        let zero = CsvOptions { missing: vec![(None, Fill::Value(0.0))], ..label("y") };
        let blank = load_text(b"a,y\n,0\n,1\n,1\n8,1\n", &zero).unwrap();
        assert!(matches!(blank.schema.features[0], Column::Number { .. }));
    }

    #[test]
    fn a_number_may_stand_for_nothing() {
        let text = b"a,y\n1,0\n-999,1\n3,1\n";
        let dialect = DialectOptions { missing: vec!["-999".into()], ..DialectOptions::default() };
        let options = CsvOptions { dialect, ..label("y") };
        let error = load_text(text, &options).unwrap_err().to_string();
        assert!(error.contains("line 3: column \"a\" is empty"), "{error}");
        let mean = CsvOptions { missing: vec![(None, Fill::Mean)], ..options.clone() };
        let data = load_text(text, &mean).unwrap();
        assert_eq!(data.features.column(0).to_vec(), [-1.0, 0.0, 1.0]);
        let target = b"a,y\n1,0.5\n2,-999\n";
        assert!(load_text(target, &CsvOptions { regression: Some(true), ..options }).is_err());
    }

    #[test]
    fn numbers_with_another_decimal_mark_are_no_words() {
        let mut text = b"a;y\n".to_vec();
        (0..60).for_each(|_| text.extend_from_slice(b"1;x\n"));
        (0..80).for_each(|_| text.extend_from_slice(b"2,5;z\n"));
        let error = load_text(&text, &label("y")).unwrap_err().to_string();
        assert!(error.contains("--decimal"), "{error}");
    }

    #[test]
    fn columns_are_what_is_said_of_them() {
        let text = b"plz,name,y\n10115,ann,0\n20095,bob,1\n10115,cyd,1\n";
        let kinds = |kinds: &[(&str, Kind)]| CsvOptions {
            kinds: kinds.iter().map(|(column, kind)| ((*column).to_owned(), *kind)).collect(),
            ..label("y")
        };
        let data =
            load_text(text, &kinds(&[("plz", Kind::Category), ("name", Kind::Hashed(8))])).unwrap();
        assert_eq!(data.width(), 2 + 8);
        assert_eq!(data.features.row(0).sum(), 2.0);
        // SHA-256 of "name", a zero byte and the word, its first eight bytes modulo 8.
        for (row, word) in ["ann", "bob", "cyd"].iter().enumerate() {
            let digest = Sha256::digest([b"name\0", word.as_bytes()].concat());
            assert_eq!(data.features[[row, 2 + usize::from(digest[7] % 8)]], 1.0, "{word}");
        }
        // A word that nobody knew has its place.
        let agreed = CsvOptions { schema: Some(data.schema), ..CsvOptions::default() };
        assert!(load_text(b"plz,name,y\n10115,zoe,0\n", &agreed).is_ok());
        let unknown = load_text(text, &kinds(&[("zip", Kind::Category)])).unwrap_err();
        assert!(unknown.to_string().contains("no column \"zip\""), "{unknown}");
        let number = load_text(text, &kinds(&[("name", Kind::Number)])).unwrap_err().to_string();
        assert!(number.contains("\"ann\" is not a finite number"), "{number}");
    }

    #[test]
    fn dates_are_days_in_whatever_order_a_file_has_them() {
        let text = b"seen,y\n2024-01-01,0\n2024-01-03,1\n";
        let data = load_text(text, &label("y")).unwrap();
        let [Column::Date { mean, scale, missing: None, .. }] = &data.schema.features[..] else {
            panic!("{:?}", data.schema)
        };
        // 2024 began 19,723 days after 1970.
        assert_eq!((*mean, *scale), (19_724.0, 1.0));
        assert_eq!(data.features.column(0).to_vec(), [-1.0, 1.0]);
        let agreed = CsvOptions { schema: Some(data.schema), ..CsvOptions::default() };
        let other = load_text(b"seen,y\n03/01/2024,0\n31/01/2024,1\n", &agreed).unwrap();
        assert_eq!(other.features.column(0).to_vec(), [1.0, 29.0]);
        let either = b"seen,y\n03/01/2024,0\n04/01/2024,1\n";
        let error = load_text(either, &agreed).unwrap_err().to_string();
        assert!(error.contains("column \"seen\"") && error.contains("--dates"), "{error}");
        let dates = Some(DateOrder::MonthFirst);
        let dialect = DialectOptions { dates, ..DialectOptions::default() };
        let said = load_text(either, &CsvOptions { dialect, ..agreed.clone() }).unwrap();
        // The first of March is 60 days after the first of January, and 59 after the mean.
        assert_eq!(said.features.column(0).to_vec(), [59.0, 90.0]);
        for (text, line) in [(&b"seen,y\n2024-01-01,0\nsoon,1\n"[..], 3), (b"seen,y\n,0\n", 2)] {
            let error = load_text(text, &agreed).unwrap_err().to_string();
            assert!(error.contains(&format!("line {line}: column \"seen\"")), "{error}");
        }
        let missing = vec![(None, Fill::Indicator)];
        let some = b"seen,y\n2024-01-01,0\n,1\n2024-01-03,1\n";
        let data = load_text(some, &CsvOptions { missing, ..label("y") }).unwrap();
        assert_eq!(data.features.row(1).to_vec(), [0.0, 1.0]);
    }

    #[test]
    fn rare_words_are_one_category_and_so_is_what_nobody_knew() {
        let text = b"job,y\ncook,0\ncook,1\nsmith,0\npope,1\n";
        let data = load_text(text, &CsvOptions { rare: 2, ..label("y") }).unwrap();
        assert_eq!(data.width(), 2);
        assert_eq!(data.features.column(1).to_vec(), [0.0, 0.0, 1.0, 1.0]);
        let json = serde_json::to_value(&data.schema).unwrap();
        assert_eq!(json["features"][0]["other"], true);
        let agreed = CsvOptions { schema: Some(data.schema), ..CsvOptions::default() };
        let other = load_text(b"job,y\npilot,0\n", &agreed).unwrap();
        assert_eq!(other.features.row(0).to_vec(), [0.0, 1.0]);
        let all = load_text(text, &label("y")).unwrap();
        let json = serde_json::to_string(&all.schema).unwrap();
        assert!(!json.contains("other"), "an older program reads it: {json}");
    }

    #[test]
    fn files_are_read_as_people_have_them() {
        let german = b"\xef\xbb\xbfalter;gr\xc3\xb6\xc3\x9fe;y\n20;1,5;ja\n40;1,9;nein\n";
        let data = load_text(german, &label("y")).unwrap();
        assert_eq!(data.schema.features[0].name(), "alter", "the mark before it is no part of it");
        assert!(
            (data.features[[0, 1]] + 1.0).abs() < 1e-5 && data.notes.len() == 2,
            "{:?}",
            data.notes
        );
        let latin = load_text(b"gr\xf6\xdfe,y\n1,0\n2,1\n", &label("y")).unwrap();
        assert_eq!(latin.schema.features[0].name(), "gr\u{f6}\u{df}e");
        let message = |text: &[u8]| load_text(text, &label("y")).unwrap_err().to_string();
        assert!(message(b"a,a,y\n1,2,0\n3,4,1\n").contains("line 1: two columns are called \"a\""));
        let indexed = load_text(b",a,y\n0,5,0\n1,6,1\n", &label("y")).unwrap();
        assert_eq!((indexed.width(), indexed.notes.len()), (1, 1), "{:?}", indexed.notes);
        assert!(message(b"a,y\n1,0\nNA,1\n").contains("--na NA"));
        assert!(message(b"a,y\n1,0\n\"2,5\",1\n").contains("--decimal"));
        let mut late = b"a,w,y\n".to_vec();
        (0..20_000).for_each(|_| late.extend_from_slice(b"1,x,0\n"));
        late.extend_from_slice(b"1,\xe4,1\n");
        assert!(message(&late).contains("--encoding windows-1252"), "{}", message(&late));
    }

    #[test]
    fn errors_name_the_line_and_the_column() {
        let message =
            |text: &[u8], name: &str| load_text(text, &label(name)).unwrap_err().to_string();
        let error = message(b"a,y\n1,0\nx,1\n", "y");
        assert!(error.contains("line 3: column \"a\": \"x\" is not a finite number"), "{error}");
        assert!(message(b"a,y\nNaN,0\n2,1\n", "y").contains("line 2"));
        assert!(message(b"a,y\n1e300,0\n2,1\n", "y").contains("line 2"));
        assert!(message(b"a,y\n1,0\n,1\n", "y").contains("line 3: column \"a\" is empty"));
        assert!(message(b"a,y\n1,0\n2\n", "y").contains("line 3"));
        assert!(message(b"a,y\n1,0\n", "z").contains("has no column \"z\"; it has: a, y"));
        assert!(message(b"a,y\n1,0\n2,0\n", "y").contains("two different labels"));
        assert!(message(b"", "y").contains("has no column"));
        assert!(message(b"\x1f\x8bgarbage", "y").contains("line 1"));
        let mut words = String::from("w,y\n");
        (0..200).for_each(|i| words += &format!("w{i},{}\n", i % 2));
        assert!(message(words.as_bytes(), "y").contains("--ignore w"));
        let no_label = load_text(b"a,y\n1,0\n", &CsvOptions::default()).unwrap_err();
        assert!(no_label.to_string().contains("which column to predict"), "{no_label}");
    }
}
