//! NumPy archives (`.npz`), as `numpy.savez` writes them.

use std::fs::File;
use std::path::Path;

use ndarray::{Array2, ArrayD, Axis, concatenate};
use zip::ZipArchive;

use super::moments::Moments;
use super::schema::{Column, Schema, Target};
use super::{DataError, Dataset, MAX_ROWS, MAX_VALUES, Targets, in_order, npy};

/// More different targets than this, or one that is not whole, and a number is predicted.
const MAX_CLASSES: usize = 50;

/// Loads arrays named `x` and `y`, or `x_train`, `y_train`, `x_test` and `y_test` (the first in any
/// numeric type and two or more dimensions, rows first).
pub(super) fn load(path: &Path) -> Result<Dataset, DataError> {
    let name = path.display().to_string();
    let fail = |message: String| DataError::Format { name: name.clone(), message };
    let file =
        File::open(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
    let mut archive = ZipArchive::new(file).map_err(|error| fail(error.to_string()))?;
    let names: Vec<String> = archive.file_names().map(str::to_owned).collect();
    let find = |wanted: &[&str]| names.iter().find(|name| wanted.contains(&bare(name)));
    let features = find(&["x_train", "x", "X", "features", "data", "images"]);
    let targets = find(&["y_train", "y", "target", "targets", "labels", "label"]);
    let (Some(features), Some(targets)) = (features, targets) else {
        let names: Vec<&str> = names.iter().map(|name| bare(name)).collect();
        return Err(fail(format!("no arrays x and y in it; it has: {}", names.join(", "))));
    };
    let mut x = rows(array(&mut archive, features).map_err(&fail)?, features).map_err(&fail)?;
    let mut y = array(&mut archive, targets).map_err(&fail)?;
    let train = x.nrows();
    if let (Some(features), Some(targets)) = (find(&["x_test"]), find(&["y_test"])) {
        let more = rows(array(&mut archive, features).map_err(&fail)?, features).map_err(&fail)?;
        let shape = |error: ndarray::ShapeError| fail(format!("the test part: {error}"));
        x = concatenate(Axis(0), &[x.view(), more.view()]).map_err(shape)?;
        let more = array(&mut archive, targets).map_err(&fail)?;
        y = concatenate(Axis(0), &[y.view(), more.view()]).map_err(shape)?;
    }
    if y.len() != x.nrows() || x.is_empty() || x.nrows() > MAX_ROWS || x.len() > MAX_VALUES {
        let (y, x) = (y.len(), x.nrows());
        return Err(fail(format!("{y} targets for {x} rows; there must be as many, and some")));
    }
    if let Some(at) = x.iter().position(|value| !value.is_finite()) {
        return Err(fail(format!(
            "row {} has a value that is not a finite number",
            at / x.ncols()
        )));
    }
    if let Some(row) = y.iter().position(|value| !value.is_finite()) {
        return Err(fail(format!("the target of row {row} is not a finite number")));
    }
    let (mean, scale) = block_scale(&x);
    let features = x.mapv(|value| ((value - mean) / scale) as f32).into_shared();
    let width = features.ncols();
    let (target, targets) = targets_of(&y).ok_or(DataError::Degenerate { name: name.clone() })?;
    let schema = Schema {
        features: vec![Column::Block { name: "x".to_owned(), width, mean, scale }],
        target,
    };
    Ok(Dataset { name, schema, features, targets, test_from: train, notes: Vec::new() })
}

/// Bytes keep their zero and are divided by 255; other numbers get mean 0 and deviation 1 together.
fn block_scale(x: &Array2<f64>) -> (f64, f64) {
    if x.iter().all(|value| (0.0..=255.0).contains(value) && value.fract() == 0.0) {
        let most = x.iter().copied().fold(1.0, f64::max);
        return (0.0, if most > 100.0 { 255.0 } else { most });
    }
    Moments::of(x.iter().copied()).mean_and_scale()
}

fn targets_of(y: &ArrayD<f64>) -> Option<(Target, Targets)> {
    let name = "y".to_owned();
    let whole = y.iter().all(|value| value.fract() == 0.0 && value.abs() < 1e9);
    let texts = || y.iter().map(|value| format!("{value}"));
    let classes = if whole { in_order(texts().collect()) } else { Vec::new() };
    if (2..=MAX_CLASSES).contains(&classes.len()) {
        let number = |text: String| classes.iter().position(|name| *name == text);
        let numbers = texts().map(|text| number(text).map(|at| at as u32));
        let numbers = numbers.collect::<Option<Vec<u32>>>()?;
        return Some((Target::Class { name, classes }, Targets::Classes(numbers)));
    }
    if whole && classes.len() < 2 {
        return None;
    }
    let (mean, scale) = Moments::of(y.iter().copied()).mean_and_scale();
    let numbers = y.iter().map(|value| ((value - mean) / scale) as f32).collect();
    Some((Target::Number { name, mean, scale }, Targets::Numbers(numbers)))
}

/// Rows of any number of dimensions, flattened to two.
fn rows(array: ArrayD<f64>, name: &str) -> Result<Array2<f64>, String> {
    let rows = array.shape().first().copied().unwrap_or(0);
    if array.ndim() < 2 || rows == 0 {
        return Err(format!(
            "{} must have rows and columns, not shape {:?}",
            bare(name),
            array.shape()
        ));
    }
    let width = array.len() / rows;
    // Fortran order would not reshape otherwise.
    let array = array.as_standard_layout().into_owned();
    array.into_shape_with_order((rows, width)).map_err(|error| error.to_string())
}

/// An array of any numeric type.
fn array(archive: &mut ZipArchive<File>, name: &str) -> Result<ArrayD<f64>, String> {
    let entry = archive.by_name(name).map_err(|error| error.to_string());
    let array = entry.and_then(npy::read);
    array.map_err(|error| format!("array {} cannot be read: {error}", bare(name)))
}

/// An array's name, without the ending of its file.
fn bare(name: &str) -> &str {
    name.strip_suffix(".npy").unwrap_or(name)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ndarray::{Array1, Array3, array};
    use ndarray_npy::NpzWriter;

    use super::*;

    #[test]
    fn arrays_are_found_flattened_and_scaled() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npz");
        let mut file = NpzWriter::new_compressed(File::create(&path).unwrap());
        let images = Array3::from_shape_fn((4, 2, 2), |(i, j, k)| (60 * i + 2 * j + k) as u8);
        file.add_array("x_train", &images).unwrap();
        file.add_array("y_train", &array![7_i64, 3, 7, 3]).unwrap();
        file.add_array("x_test", &images).unwrap();
        file.add_array("y_test", &array![7_i64, 3, 7, 3]).unwrap();
        file.finish().unwrap();
        let data = load(&path).unwrap();
        assert_eq!((data.features.shape(), data.test_from), ([8, 4].as_slice(), 4));
        assert_eq!(data.features[[3, 3]], 183.0 / 255.0);
        assert_eq!(data.targets, Targets::Classes(vec![1, 0, 1, 0, 1, 0, 1, 0]));
        assert_eq!(data.schema.target.classes(), ["3", "7"]);
    }

    #[test]
    fn numbers_are_predicted_where_targets_are_not_whole_and_faults_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npz");
        let save = |x: &Array2<f32>, y: &Array1<f32>| {
            let mut file = NpzWriter::new(File::create(&path).unwrap());
            file.add_array("x", x).unwrap();
            file.add_array("y", y).unwrap();
            file.finish().unwrap();
        };
        save(&array![[1.5, 2.0], [3.0, 4.5]], &array![0.5, 1.5]);
        let data = load(&path).unwrap();
        assert_eq!(data.targets, Targets::Numbers(vec![-1.0, 1.0]));
        save(&array![[1.5, 2.0], [3.0, f32::NAN]], &array![0.5, 1.5]);
        assert!(load(&path).unwrap_err().to_string().contains("row 1"));
        save(&array![[1.5, 2.0]], &array![0.5, 1.5]);
        assert!(load(&path).unwrap_err().to_string().contains("2 targets for 1 rows"));
        std::fs::write(&path, b"PK garbage").unwrap();
        assert!(matches!(load(&path), Err(DataError::Format { .. })));
    }
}
