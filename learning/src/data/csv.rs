//! CSV files with a header line, plain or gzip.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::Path;

use csv::StringRecord;
use ndarray::Array2;

use super::schema::{Column, Schema, Target, mean_and_scale};
use super::{DataError, Dataset, MAX_ROWS, MAX_VALUES, Targets, in_order, open};

/// More different values than this make no category of a column.
const MAX_DERIVED_CATEGORIES: usize = 100;
/// More different numbers than this, or one that is not whole, and the target is a number.
const MAX_DERIVED_CLASSES: usize = 20;

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
}

/// Loads a file.
pub(super) fn load(path: &Path, options: &CsvOptions) -> Result<Dataset, DataError> {
    read(&path.display().to_string(), &mut open(path)?, options)
}

/// A file in memory: what all errors about it need to say.
struct Table<'a> {
    name: &'a str,
    columns: Vec<String>,
    records: Vec<StringRecord>,
}

/// Reads a table and makes numbers of it.
pub(super) fn read(
    name: &str,
    reader: &mut dyn Read,
    options: &CsvOptions,
) -> Result<Dataset, DataError> {
    let table = Table::read(name, reader)?;
    let schema = match &options.schema {
        Some(schema) => schema.clone(),
        None => table.derive(options)?,
    };
    table.encode(schema)
}

impl<'a> Table<'a> {
    fn read(name: &'a str, reader: &mut dyn Read) -> Result<Self, DataError> {
        let fail = |line, message: String| DataError::Csv { name: name.to_owned(), line, message };
        let csv_error = |error: csv::Error| {
            let line = error.position().map_or(1, csv::Position::line);
            fail(line, error.to_string())
        };
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(reader);
        let columns = reader.headers().map_err(csv_error)?.iter().map(str::to_owned).collect();
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
        Ok(Self { name, columns, records })
    }

    fn at(&self, column: &str) -> Result<usize, DataError> {
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
    fn values(&self, at: usize) -> impl Iterator<Item = (u64, &str)> {
        self.records.iter().map(move |record| {
            (record.position().map_or(0, csv::Position::line), record.get(at).unwrap_or_default())
        })
    }

    fn fail(&self, line: u64, message: String) -> DataError {
        DataError::Csv { name: self.name.to_owned(), line, message }
    }

    fn number(&self, column: &str, (line, text): (u64, &str)) -> Result<f64, DataError> {
        match text.parse::<f64>() {
            // What does not fit an f32 would be infinite later.
            Ok(number) if (number as f32).is_finite() => Ok(number),
            _ if text.is_empty() => Err(self.fail(
                line,
                format!("column {column:?} is empty; fill it in or leave the row out"),
            )),
            _ => {
                Err(self.fail(line, format!("column {column:?}: {text:?} is not a finite number")))
            }
        }
    }

    fn numbers(&self, column: &str, at: usize) -> Result<Vec<f64>, DataError> {
        self.values(at).map(|value| self.number(column, value)).collect()
    }

    /// A schema that fits this file.
    fn derive(&self, options: &CsvOptions) -> Result<Schema, DataError> {
        let Some(label) = &options.label else {
            let message =
                format!("say which column to predict; it has: {}", self.columns.join(", "));
            return Err(DataError::Format { name: self.name.to_owned(), message });
        };
        let label_at = self.at(label)?;
        for ignored in &options.ignore {
            self.at(ignored)?;
        }
        let mut features = Vec::new();
        for (at, column) in self.columns.iter().enumerate() {
            if at != label_at && !options.ignore.contains(column) {
                features.push(self.derive_column(column, at)?);
            }
        }
        let target = self.derive_target(label, label_at, options.regression)?;
        let degenerate = match &target {
            Target::Class { classes, .. } => classes.len() < 2,
            Target::Number { .. } => self.records.len() < 2,
        };
        if features.is_empty() || degenerate {
            return Err(DataError::Degenerate { name: self.name.to_owned() });
        }
        let schema = Schema { features, target };
        schema
            .check()
            .map_err(|message| DataError::Schema { name: self.name.to_owned(), message })?;
        Ok(schema)
    }

    fn derive_column(&self, column: &str, at: usize) -> Result<Column, DataError> {
        let name = column.to_owned();
        let numeric = |value: &(u64, &str)| value.1.parse::<f32>().is_ok();
        let numbers = self.values(at).filter(numeric).count();
        if 2 * numbers >= self.records.len() {
            // A column of numbers with something else in it is a fault, not a category.
            let values = self.numbers(column, at)?;
            let (mean, scale) = mean_and_scale(values.into_iter());
            return Ok(Column::Number { name, mean, scale });
        }
        let mut categories: Vec<String> =
            self.values(at).map(|(_, text)| text.to_owned()).collect();
        categories.sort_unstable();
        categories.dedup();
        if categories.len() > MAX_DERIVED_CATEGORIES {
            let message = format!(
                "column {column:?} has {} different words; leave it out with --ignore {column}",
                categories.len()
            );
            return Err(DataError::Format { name: self.name.to_owned(), message });
        }
        Ok(Column::Category { name, categories })
    }

    fn derive_target(
        &self,
        label: &str,
        at: usize,
        regression: Option<bool>,
    ) -> Result<Target, DataError> {
        let name = label.to_owned();
        let classes = in_order(self.values(at).map(|(_, text)| text.to_owned()).collect());
        let whole = |class: &String| class.parse::<f64>().is_ok_and(|x| x.fract() == 0.0);
        let number = |class: &String| class.parse::<f64>().is_ok_and(f64::is_finite);
        let regression = regression.unwrap_or_else(|| {
            classes.iter().all(number)
                && (classes.len() > MAX_DERIVED_CLASSES || !classes.iter().all(whole))
        });
        if regression {
            let (mean, scale) = mean_and_scale(self.numbers(label, at)?.into_iter());
            return Ok(Target::Number { name, mean, scale });
        }
        if let Some((line, _)) = self.values(at).find(|(_, text)| text.is_empty()) {
            return Err(self.fail(line, format!("column {label:?} is empty")));
        }
        Ok(Target::Class { name, classes })
    }

    /// The rows as the schema says.
    fn encode(&self, schema: Schema) -> Result<Dataset, DataError> {
        let features = self.features(&schema)?.into_shared();
        let at = self.at(schema.target.name())?;
        let targets = self.targets(&schema.target, self.values(at))?;
        let (name, rows) = (self.name.to_owned(), self.records.len());
        Ok(Dataset { name, schema, features, targets, test_from: rows })
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
                Column::Number { mean, scale, .. } => {
                    let at = self.at(name)?;
                    for (row, value) in self.values(at).enumerate() {
                        let number = self.number(name, value)?;
                        features[[row, input]] = ((number - mean) / scale) as f32;
                    }
                }
                Column::Category { categories, .. } => {
                    let at = self.at(name)?;
                    let position = positions(categories);
                    for (row, (line, text)) in self.values(at).enumerate() {
                        let category = position
                            .get(text)
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
        let passed_over = passed_over.filter(|it| *it != target && !needed.contains(&it.as_str()));
        let known = self.columns.iter().position(|column| column == target).map(|at| {
            // What is not filled in is what somebody wants to know.
            let filled = self.values(at).enumerate().filter(|(_, (_, text))| !text.is_empty());
            let (rows, values): (Vec<usize>, Vec<(u64, &str)>) = filled.unzip();
            self.targets(&schema.target, values.into_iter()).map(|targets| (rows, targets))
        });
        Ok(Unlabelled {
            features: self.features(schema)?,
            known: known.transpose()?,
            passed_over: passed_over.cloned().collect(),
            lines: self.values(0).map(|(line, _)| line).collect(),
        })
    }

    /// The schema with a column for each input of its block. A block's inputs have no names: they are all of the
    /// file's columns but the target, in their order, and must be as many.
    fn with_columns(&self, schema: &Schema) -> Result<Schema, DataError> {
        let [Column::Block { name, width, mean, scale }] = &schema.features[..] else {
            return Ok(schema.clone());
        };
        let columns = self.columns.iter().filter(|it| *it != schema.target.name());
        let features: Vec<Column> = columns
            .map(|name| Column::Number { name: name.clone(), mean: *mean, scale: *scale })
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
}

/// Reads rows whose targets need not be there.
pub(crate) fn unlabelled(
    name: &str,
    reader: &mut dyn Read,
    schema: &Schema,
) -> Result<Unlabelled, DataError> {
    Table::read(name, reader)?.unlabelled(schema)
}

fn positions(words: &[String]) -> HashMap<&str, usize> {
    words.iter().enumerate().map(|(at, word)| (word.as_str(), at)).collect()
}

fn unknown(column: &str, text: &str, known: &[String]) -> String {
    let known: Vec<&str> = known.iter().take(10).map(String::as_str).collect();
    format!(
        "column {column:?}: {text:?} is not one of the agreed values ({}{}); all learners must agree on a schema that has it",
        known.join(", "),
        if known.len() == 10 { ", ..." } else { "" }
    )
}

/// What is in a file's columns, for people: each column's kind and some of its values.
///
/// # Errors
/// If the file cannot be read as CSV.
pub fn outline(path: &Path) -> Result<Vec<(String, String)>, DataError> {
    let name = path.display().to_string();
    let table = Table::read(&name, &mut open(path)?)?;
    let describe = |at: usize| {
        let numbers: Vec<f64> =
            table.values(at).filter_map(|(_, text)| text.parse().ok()).collect();
        if numbers.len() == table.records.len() {
            let low = numbers.iter().copied().fold(f64::INFINITY, f64::min);
            let high = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let (mean, scale) = mean_and_scale(numbers.into_iter());
            return format!("number, {low} to {high}, mean {mean}, deviation {scale}");
        }
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        table.values(at).for_each(|(_, text)| *counts.entry(text).or_default() += 1);
        let few: Vec<String> =
            counts.iter().take(5).map(|(word, count)| format!("{word:?} {count}x")).collect();
        let more = if counts.len() > few.len() { ", ..." } else { "" };
        format!("{} different values: {}{more}", counts.len(), few.join(", "))
    };
    Ok(table
        .columns
        .iter()
        .enumerate()
        .map(|(at, column)| (column.clone(), describe(at)))
        .collect())
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
