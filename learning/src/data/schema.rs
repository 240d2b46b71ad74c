//! What the columns of a data set mean: agreed on by all learners, and recorded with the model.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The most categories that a column may have.
pub const MAX_CATEGORIES: usize = 1000;
/// The most inputs that a schema may have.
pub const MAX_WIDTH: usize = 1 << 20;

/// Why a schema cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The file cannot be read.
    #[error("cannot read the schema {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Not a schema.
    #[error("the schema {}: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

/// How rows become numbers: the columns that are used and how they are scaled, and what is
/// predicted.
///
/// As JSON this is what a model's header holds. The numbers in it are chosen once, when the
/// experiment is set up; nobody needs anybody else's data for them.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schema {
    /// The columns that are learned from, in the order of the model's inputs.
    pub features: Vec<Column>,
    /// What is predicted.
    pub target: Target,
}

/// A column that is learned from.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Column {
    /// One input: (value − mean) / scale.
    Number {
        /// The column's name.
        name: String,
        /// Is subtracted.
        mean: f64,
        /// Divides what is left; positive.
        scale: f64,
        /// What stands for a value that is not there; where this is not said, each must be.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        missing: Option<Missing>,
    },
    /// Many words: one input for each bucket, 1 for that of the row's word. A word's bucket is the first 8 bytes of
    /// SHA-256(column, a zero byte, word) as a big-endian number, modulo the buckets; so words that nobody
    /// knew have one, too, and some share theirs.
    Hashed {
        /// The column's name.
        name: String,
        /// How many.
        buckets: usize,
    },
    /// One input for each category: 1 for the row's own, 0 for the others.
    Category {
        /// The column's name.
        name: String,
        /// The categories.
        categories: Vec<String>,
        /// Whether one more input stands for every other word; where it does not, there must be no other.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        other: bool,
    },
    /// One input, of dates: (days since 1970-01-01 − mean) / scale, a time of the day as a part of a day.
    Date {
        /// The column's name.
        name: String,
        /// Is subtracted, in days.
        mean: f64,
        /// Divides what is left, in days; positive.
        scale: f64,
        /// What stands for a date that is not there, in days; where this is not said, each must be.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        missing: Option<Missing>,
    },
    /// Many inputs of one nature, such as an image's pixels, all shifted and scaled alike.
    Block {
        /// What they are.
        name: String,
        /// How many.
        width: usize,
        /// Is subtracted.
        mean: f64,
        /// Divides what is left; positive.
        scale: f64,
    },
}

/// What stands for a number that is not there.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Missing {
    /// This number.
    Value(f64),
    /// This number, and one more input tells, which is 1 then and 0 else.
    Indicator(f64),
}

impl Missing {
    /// The number.
    pub fn value(self) -> f64 {
        match self {
            Self::Value(value) | Self::Indicator(value) => value,
        }
    }
}

/// What is predicted.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Target {
    /// One of some classes.
    Class {
        /// The column's name.
        name: String,
        /// The classes, in the order of the model's outputs.
        classes: Vec<String>,
    },
    /// A number: the model's only output is (value − mean) / scale.
    Number {
        /// The column's name.
        name: String,
        /// Is subtracted.
        mean: f64,
        /// Divides what is left; positive.
        scale: f64,
    },
}

impl Column {
    /// The column's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Number { name, .. }
            | Self::Hashed { name, .. }
            | Self::Category { name, .. }
            | Self::Date { name, .. }
            | Self::Block { name, .. } => name,
        }
    }

    /// How many inputs it makes.
    pub fn width(&self) -> usize {
        match self {
            Self::Number { missing, .. } | Self::Date { missing, .. } => match missing {
                Some(Missing::Indicator(_)) => 2,
                Some(Missing::Value(_)) | None => 1,
            },
            Self::Hashed { buckets, .. } => *buckets,
            Self::Category { categories, other, .. } => categories.len() + usize::from(*other),
            Self::Block { width, .. } => *width,
        }
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number { name, mean, scale, missing }
            | Self::Date { name, mean, scale, missing } => {
                let what = if matches!(self, Self::Date { .. }) { "days since 1970" } else { "x" };
                write!(f, "{name}: ({what} - {mean}) / {scale}")?;
                match missing {
                    None => Ok(()),
                    Some(Missing::Value(value)) => write!(f, ", {value} where it is empty"),
                    Some(Missing::Indicator(value)) => {
                        write!(f, ", {value} where it is empty, which one more input tells")
                    }
                }
            }
            Self::Hashed { name, buckets } => write!(f, "{name}: hashed into {buckets}"),
            Self::Category { name, categories, other } => {
                let few: Vec<&str> = categories.iter().take(8).map(String::as_str).collect();
                let more = if categories.len() > few.len() { ", ..." } else { "" };
                write!(f, "{name}: one of {} ({}{more})", categories.len(), few.join(", "))?;
                if *other { f.write_str(", or another") } else { Ok(()) }
            }
            Self::Block { name, width, mean, scale } => {
                write!(f, "{name}: {width} numbers, each (x - {mean}) / {scale}")
            }
        }
    }
}

impl Target {
    /// The column's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Class { name, .. } | Self::Number { name, .. } => name,
        }
    }

    /// How many outputs a model needs: one for each class, or one.
    pub fn width(&self) -> usize {
        match self {
            Self::Class { classes, .. } => classes.len(),
            Self::Number { .. } => 1,
        }
    }

    /// The classes; empty if a number is predicted.
    pub fn classes(&self) -> &[String] {
        match self {
            Self::Class { classes, .. } => classes,
            Self::Number { .. } => &[],
        }
    }
}

impl Schema {
    /// How many inputs a model has.
    pub fn width(&self) -> usize {
        self.features.iter().map(Column::width).fold(0, usize::saturating_add)
    }

    /// Reads a schema file (JSON).
    ///
    /// # Errors
    /// If it cannot be read or says what cannot be.
    pub fn read(path: &Path) -> Result<Self, SchemaError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| SchemaError::Io { path: path.to_owned(), source })?;
        let malformed = |message: String| SchemaError::Malformed { path: path.to_owned(), message };
        let schema: Self =
            serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
        schema.check().map_err(malformed)?;
        Ok(schema)
    }

    /// Checks what the types do not.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), String> {
        let scaled = |name: &str, mean: f64, scale: f64| {
            if mean.is_finite() && scale.is_finite() && scale > 0.0 {
                Ok(())
            } else {
                Err(format!("column {name:?} needs a finite mean and a positive scale"))
            }
        };
        let distinct = |name: &str, words: &[String], least: usize| {
            let mut sorted = words.to_vec();
            sorted.sort_unstable();
            sorted.dedup();
            if sorted.len() < words.len() {
                return Err(format!("column {name:?} names a category twice"));
            }
            if words.len() < least || words.len() > MAX_CATEGORIES {
                return Err(format!(
                    "column {name:?} needs {least} to {MAX_CATEGORIES} categories"
                ));
            }
            Ok(())
        };
        for column in &self.features {
            match column {
                Column::Number { name, mean, scale, missing }
                | Column::Date { name, mean, scale, missing } => {
                    scaled(name, *mean, *scale)?;
                    if missing.is_some_and(|missing| !(missing.value() as f32).is_finite()) {
                        return Err(format!(
                            "column {name:?} needs a finite number for what is missing"
                        ));
                    }
                }
                Column::Hashed { name, buckets } => {
                    if !(2..=MAX_CATEGORIES).contains(buckets) {
                        return Err(format!("column {name:?} needs 2 to {MAX_CATEGORIES} buckets"));
                    }
                }
                Column::Category { name, categories, .. } => distinct(name, categories, 1)?,
                Column::Block { name, mean, scale, .. } => scaled(name, *mean, *scale)?,
            }
            if column.name() == self.target.name() {
                return Err(format!("column {:?} is also the target", column.name()));
            }
        }
        let mut names: Vec<&str> = self.features.iter().map(Column::name).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("column {:?} is there twice", twice[0]));
        }
        match &self.target {
            Target::Class { name, classes } => distinct(name, classes, 2)?,
            Target::Number { name, mean, scale } => scaled(name, *mean, *scale)?,
        }
        if (1..=MAX_WIDTH).contains(&self.width()) {
            Ok(())
        } else {
            Err(format!("a schema needs 1 to {MAX_WIDTH} inputs, this one has {}", self.width()))
        }
    }
}
