//! Small public data sets that come with the program.

use std::io::Read as _;

use flate2::read::MultiGzDecoder;

use super::options::CsvOptions;
use super::schema::{Column, Schema, Target};
use super::{DataError, Dataset};

/// A data set that comes with the program, as bundled with scikit-learn (BSD-3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Embedded {
    /// 1,797 images of handwritten digits, 8x8 pixels of 0 to 16, ten classes: E. Alpaydin and C.
    /// Kaynak, Optical Recognition of Handwritten Digits (test part), UCI, CC BY 4.0.
    Digits,
    /// 150 flowers, 4 measures, three species: R. A. Fisher, Iris, UCI, CC BY 4.0.
    Iris,
    /// 569 tumours, 30 measures, malignant (0) or benign (1): W. Wolberg et al., Breast Cancer
    /// Wisconsin (Diagnostic), UCI, CC BY 4.0.
    BreastCancer,
    /// 178 wines, 13 measures, three growers: S. Aeberhard and M. Forina, Wine, UCI, CC BY 4.0.
    Wine,
    /// 442 patients, 10 measures, and how their diabetes progressed in a year, a number: B. Efron et
    /// al., Least Angle Regression, Annals of Statistics 2004.
    Diabetes,
}

impl Embedded {
    fn name(self) -> &'static str {
        match self {
            Self::Digits => "the embedded digits",
            Self::Iris => "the embedded iris data",
            Self::BreastCancer => "the embedded breast cancer data",
            Self::Wine => "the embedded wine data",
            Self::Diabetes => "the embedded diabetes data",
        }
    }

    fn file(self) -> &'static [u8] {
        match self {
            Self::Digits => include_bytes!("../../datasets/digits.csv.gz"),
            Self::Iris => include_bytes!("../../datasets/iris.csv.gz"),
            Self::BreastCancer => include_bytes!("../../datasets/breast_cancer.csv.gz"),
            Self::Wine => include_bytes!("../../datasets/wine.csv.gz"),
            Self::Diabetes => include_bytes!("../../datasets/diabetes.csv.gz"),
        }
    }
}

impl Embedded {
    /// It as a CSV file, of which the first line names the columns.
    ///
    /// # Errors
    /// If it cannot be unpacked.
    pub fn csv(self) -> Result<String, DataError> {
        let mut text = String::new();
        open(self)
            .read_to_string(&mut text)
            .map_err(|source| DataError::Io { path: self.name().into(), source })?;
        Ok(text)
    }
}

/// Loads it. The measures are scaled by their mean and deviation over the whole set, which is
/// public; the digits' pixels by their largest value.
pub(super) fn load(which: Embedded) -> Result<Dataset, DataError> {
    let options = CsvOptions { label: Some("target".to_owned()), ..CsvOptions::default() };
    let read = |options: &CsvOptions| Dataset::read_csv(which.name(), open(which), options);
    if which != Embedded::Digits {
        return read(&options);
    }
    let schema = Schema {
        features: (0..64)
            .map(|at| Column::Number {
                name: format!("f{at}"),
                mean: 0.0,
                scale: 16.0,
                missing: None,
            })
            .collect(),
        target: Target::Class {
            name: "target".to_owned(),
            classes: (0..10).map(|digit| digit.to_string()).collect(),
        },
    };
    let mut digits = read(&CsvOptions { schema: Some(schema), ..options })?;
    // All 64 columns are alike: one line in the model's header instead of 64.
    digits.schema.features =
        vec![Column::Block { name: "pixels".to_owned(), width: 64, mean: 0.0, scale: 16.0 }];
    Ok(digits)
}

fn open(which: Embedded) -> MultiGzDecoder<&'static [u8]> {
    MultiGzDecoder::new(which.file())
}
