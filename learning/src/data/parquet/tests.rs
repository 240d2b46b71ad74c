use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{BoolType, ByteArrayType, DoubleType, Int32Type, Int64Type};
use parquet::file::properties::{WriterProperties, WriterVersion};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha12Rng;

use super::super::{Column, CsvOptions, Dataset, Fill, Schema, Summary, Targets, outline};
use super::*;
use crate::Predictor;
use crate::model::{Activation, ModelSpec};

/// A table of the tests, written by another program (`testdata/tables.py`).
fn members(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name)
}

fn label(name: &str) -> CsvOptions {
    CsvOptions { label: Some(name.to_owned()), ..CsvOptions::default() }
}

/// What is said of the members' table: what has a place for what is missing, and no columns that are of no use.
fn said() -> CsvOptions {
    CsvOptions {
        ignore: vec!["id".to_owned()],
        missing: vec![(None, Fill::Indicator)],
        ..label("default")
    }
}

/// Values of a column, row by row.
enum Values {
    Whole(Vec<Option<i64>>),
    Double(Vec<Option<f64>>),
    Words(Vec<Option<String>>),
    Truth(Vec<Option<bool>>),
    Small(Vec<Option<i32>>),
}

fn words(words: &[&str]) -> Values {
    Values::Words(words.iter().map(|word| Some((*word).to_owned())).collect())
}

/// A file with columns of the types that `schema` says, in row groups of so many rows.
fn written(schema: &str, columns: &[Values], rows: usize, how: WriterProperties) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut bytes = Vec::new();
    let mut file = SerializedFileWriter::new(&mut bytes, schema, Arc::new(how)).unwrap();
    let all = match &columns[0] {
        Values::Whole(values) => values.len(),
        Values::Double(values) => values.len(),
        Values::Words(values) => values.len(),
        Values::Truth(values) => values.len(),
        Values::Small(values) => values.len(),
    };
    for start in (0..all).step_by(rows) {
        let end = all.min(start + rows);
        let mut group = file.next_row_group().unwrap();
        for column in columns {
            let mut writer = group.next_column().unwrap().unwrap();
            macro_rules! write {
                ($type:ty, $values:expr, $value:expr) => {{
                    let part = &$values[start..end];
                    let levels: Vec<i16> =
                        part.iter().map(|value| i16::from(value.is_some())).collect();
                    let there: Vec<_> = part.iter().flatten().map($value).collect();
                    writer.typed::<$type>().write_batch(&there, Some(&levels), None).unwrap();
                }};
            }
            match column {
                Values::Whole(values) => write!(Int64Type, values, |value| *value),
                Values::Double(values) => write!(DoubleType, values, |value| *value),
                Values::Words(values) => {
                    write!(ByteArrayType, values, |value| value.as_bytes().to_vec().into());
                }
                Values::Truth(values) => write!(BoolType, values, |value| *value),
                Values::Small(values) => write!(Int32Type, values, |value| *value),
            }
            writer.close().unwrap();
        }
        group.close().unwrap();
    }
    file.close().unwrap();
    bytes
}

fn plain() -> WriterProperties {
    WriterProperties::builder().build()
}

fn load(bytes: &[u8], options: &CsvOptions) -> Result<Dataset, DataError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("table");
    std::fs::write(&path, bytes).unwrap();
    Dataset::load(&path, options)
}

fn bits(data: &Dataset) -> Vec<u32> {
    data.features.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn one_schema_serves_a_table_however_it_was_written() {
    let csv = Dataset::load(&members("members.csv"), &said()).unwrap();
    let summary = Summary::of(&members("members.csv"), &said()).unwrap().0;
    let agreed = CsvOptions { schema: Some(csv.schema.clone()), ..CsvOptions::default() };
    for name in
        ["members.parquet", "members-v2.parquet", "members-old.parquet", "members-lz4.parquet"]
    {
        let path = members(name);
        let mut options = said();
        options.ignore.push("tags".to_owned());
        if name != "members.parquet" {
            options.ignore.truncate(1);
        }
        let own = Dataset::load(&path, &options).unwrap();
        let text = |schema: &Schema| serde_json::to_string(schema).unwrap();
        assert_eq!(text(&own.schema), text(&csv.schema), "{name}");
        assert_eq!(Summary::of(&path, &options).unwrap().0, summary, "{name}");
        for data in [own, Dataset::load(&path, &agreed).unwrap()] {
            assert_eq!(data.features.dim(), csv.features.dim(), "{name}");
            assert_eq!(bits(&data), bits(&csv), "{name}");
            assert_eq!(data.targets, csv.targets, "{name}");
        }
    }
    // And the other way round.
    let parquet = Dataset::load(&members("members-v2.parquet"), &said()).unwrap();
    let agreed = CsvOptions { schema: Some(parquet.schema), ..CsvOptions::default() };
    assert_eq!(bits(&Dataset::load(&members("members.csv"), &agreed).unwrap()), bits(&csv));
}

#[test]
fn a_model_predicts_the_same_of_either() {
    let schema = Dataset::load(&members("members.csv"), &said()).unwrap().schema;
    let spec = ModelSpec::new(vec![4], Activation::Relu, schema);
    let model = Predictor::new(&spec.write(&spec.untrained(1)).unwrap()).unwrap();
    let told = |name: &str| {
        let told = model.predict_file(&members(name), &DialectOptions::default()).unwrap();
        let mut csv = Vec::new();
        told.write(&mut csv).unwrap();
        (csv, told.scores(), told.passed_over)
    };
    let (csv, scores, passed_over) = told("members.csv");
    assert_eq!(passed_over, ["id"]);
    assert_eq!(told("members.parquet"), (csv, scores, vec!["id".to_owned(), "tags".to_owned()]));
}

#[test]
fn what_cannot_be_decompressed_is_told() {
    let error = Dataset::load(&members("members-brotli.parquet"), &said()).unwrap_err().to_string();
    assert!(error.to_lowercase().contains("brotli"), "{error}");
}

#[test]
fn numbers_are_exact_in_all_encodings() {
    let mut rng = ChaCha12Rng::seed_from_u64(1);
    let rows = 500;
    let mut doubles = Vec::new();
    while doubles.len() < rows {
        let value = f64::from_bits(rng.random());
        if (value as f32).is_finite() {
            doubles.push(Some(value));
        }
    }
    let wholes: Vec<Option<i64>> =
        (0..rows).map(|row| (row % 7 != 3).then(|| rng.random::<i64>() >> (row % 64))).collect();
    let schema = "message m { optional int64 a; optional double b; }";
    let columns = [Values::Whole(wholes.clone()), Values::Double(doubles.clone())];
    let how = [
        plain(),
        WriterProperties::builder().set_compression(Compression::SNAPPY).build(),
        WriterProperties::builder()
            .set_writer_version(WriterVersion::PARQUET_2_0)
            .set_dictionary_enabled(false)
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .build(),
    ];
    for how in how {
        let bytes = written(schema, &columns, 200, how);
        let Columns { cells, rows: found, .. } = columns_of(&bytes, Wanted::All).unwrap();
        assert_eq!(found, rows);
        let texts = |at: usize| cells[at].as_ref().unwrap().iter().collect::<Vec<_>>();
        for (text, value) in texts(0).into_iter().zip(&wholes) {
            assert_eq!(text.parse::<i64>().ok(), *value, "{text}");
        }
        for (text, value) in texts(1).into_iter().zip(&doubles) {
            assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.unwrap().to_bits(), "{text}");
        }
    }
}

fn columns_of(bytes: &[u8], wanted: Wanted<'_>) -> Result<Columns, String> {
    columns(Bytes::copy_from_slice(bytes), wanted)
}

#[test]
fn the_rules_are_those_of_csv_files() {
    let schema = "message m { optional int32 age (INTEGER(8, false)); optional binary job (UTF8); \
                  optional boolean y; }";
    let columns = [
        Values::Small(vec![Some(20), None, Some(40)]),
        words(&["cook ", "NA", ""]),
        Values::Truth(vec![Some(true), Some(false), Some(true)]),
    ];
    let bytes = written(schema, &columns, 2, plain());
    let mut options = label("y");
    options.dialect.missing = vec!["NA".to_owned()];
    let error = load(&bytes, &options).unwrap_err().to_string();
    assert!(error.contains(", row 2: column \"age\" is empty"), "{error}");
    options.missing = vec![(None, Fill::Mean)];
    let data = load(&bytes, &options).unwrap();
    assert_eq!(data.features, ndarray::array![[-1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 1.0, 0.0]]);
    assert_eq!(data.schema.target.classes(), ["false", "true"]);
    assert_eq!(data.targets, Targets::Classes(vec![1, 0, 1]));
    let [_, Column::Category { categories, .. }] = &data.schema.features[..] else {
        panic!("{:?}", data.schema)
    };
    assert_eq!(categories[..], ["", "cook"]);
    // What a file says of itself is not to be said once more.
    options.dialect.delimiter = Some(b';');
    assert!(load(&bytes, &options).unwrap_err().to_string().contains("--delimiter"));

    let schema = "message m { optional double a; optional int64 y; }";
    let numbers = |numbers: &[f64]| Values::Double(numbers.iter().copied().map(Some).collect());
    let columns = [numbers(&[1.0, f64::NAN]), Values::Whole(vec![Some(0), Some(1)])];
    let error = load(&written(schema, &columns, 9, plain()), &label("y")).unwrap_err().to_string();
    assert!(error.contains("row 2") && error.contains("--na NaN"), "{error}");
    let none = [numbers(&[]), Values::Whole(Vec::new())];
    let error = load(&written(schema, &none, 9, plain()), &label("y")).unwrap_err().to_string();
    assert!(error.contains("two different labels"), "{error}");
}

#[test]
fn columns_that_no_line_could_hold_are_named_and_left_out() {
    let path = members("members.parquet");
    let error = Dataset::load(&path, &said()).unwrap_err().to_string();
    assert!(
        error.contains("\"tags\"") && error.contains("lists") && error.contains("--ignore tags"),
        "{error}"
    );
    let shown = outline(&path, &DialectOptions::default()).unwrap();
    assert!(shown.columns.contains(&("tags".to_owned(), "it has lists".to_owned())), "{shown:?}");
    let bytes = written(
        "message m { optional binary raw; optional int64 __index_level_0__; optional int64 y; }",
        &[
            words(&["a", "b"]),
            Values::Whole(vec![Some(7), Some(8)]),
            Values::Whole(vec![Some(0), Some(1)]),
        ],
        9,
        plain(),
    );
    let error = load(&bytes, &label("y")).unwrap_err().to_string();
    assert!(error.contains("\"raw\" cannot be learned from (it has bytes"), "{error}");
    let twice = "message m { optional int64 a; optional int64 a; }";
    let column = || Values::Whole(vec![Some(1), Some(2)]);
    let error = load(&written(twice, &[column(), column()], 9, plain()), &label("a")).unwrap_err();
    assert!(error.to_string().contains("two columns are called \"a\""), "{error}");
    // What pandas has numbered rows with is no column.
    let bytes = written(
        "message m { optional int64 a; optional int64 __index_level_0__; optional int64 y; }",
        &[column(), Values::Whole(vec![Some(7), Some(8)]), Values::Whole(vec![Some(0), Some(1)])],
        9,
        plain(),
    );
    let data = load(&bytes, &label("y")).unwrap();
    assert_eq!((data.width(), data.notes.len()), (1, 1), "{:?}", data.notes);
}

#[test]
fn other_files_and_streams_are_told_what_they_are() {
    let error = load(b"ARROW1\0\0and so on", &label("y")).unwrap_err().to_string();
    assert!(error.contains("Feather"), "{error}");
    let bytes = std::fs::read(members("members.parquet")).unwrap();
    let error = Dataset::read_csv("the table", &bytes[..], &said()).unwrap_err().to_string();
    assert!(error.contains("name the file"), "{error}");
}

/// A file that is damaged anywhere is refused, or read as something else; nothing else comes of it.
#[test]
fn a_damaged_file_is_an_error_at_worst() {
    for name in
        ["members.parquet", "members-v2.parquet", "members-old.parquet", "members-lz4.parquet"]
    {
        let whole = std::fs::read(members(name)).unwrap();
        for length in (4..whole.len()).step_by(97) {
            assert!(load(&whole[..length], &said()).is_err(), "{name} cut at {length}");
        }
        let mut bytes = whole.clone();
        for at in (4..bytes.len()).step_by(5) {
            for flip in [0x01, 0x80] {
                bytes[at] ^= flip;
                if let Ok(read) = guarded(Bytes::copy_from_slice(&bytes), Wanted::All) {
                    let whole = |cells: &Cells| cells.iter().count() == read.rows;
                    assert!(read.cells.iter().flatten().all(whole), "{name}, byte {at}");
                }
                bytes[at] ^= flip;
            }
        }
    }
}
