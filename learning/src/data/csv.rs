//! CSV files with a header line.

use std::io::Read;

use csv::StringRecord;

use super::cells::{Cells, Places, Room};
use super::dialect::{Dialect, DialectOptions};
use super::table::{Table, twice};
use super::{DataError, MAX_ROWS};

/// Reads a table; `from` is its text, unpacked.
pub(super) fn read(
    name: &str,
    from: impl Read,
    options: &DialectOptions,
) -> Result<Table, DataError> {
    let fail = |line, message: String| DataError::Csv { name: name.to_owned(), line, message };
    let csv_error = |error: csv::Error| {
        let line = error.position().map_or(1, csv::Position::line);
        match error.kind() {
            csv::ErrorKind::Utf8 { .. } => {
                fail(line, format!("{error}; say what it is: --encoding windows-1252"))
            }
            csv::ErrorKind::UnequalLengths { .. } => fail(
                line,
                format!("{error}; if something else stands between columns, say so: --delimiter"),
            ),
            _ => fail(line, error.to_string()),
        }
    };
    let format = |message| DataError::Format { name: name.to_owned(), message };
    let opened = Dialect::of(from, options);
    let (text, mut dialect) =
        opened.map_err(|error| fail(1, error.to_string()))?.map_err(format)?;
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .delimiter(dialect.delimiter)
        .from_reader(text);
    let headers = reader.headers().map_err(csv_error)?.iter();
    let columns: Vec<String> = headers.map(str::to_owned).collect();
    twice(&columns).map_err(|message| fail(1, message))?;
    if columns.len() > 1 && columns.iter().any(String::is_empty) {
        dialect.notes.push(NAMELESS.to_owned());
    }
    let mut cells: Vec<Cells> = columns.iter().map(|_| Cells::default()).collect();
    let (mut lines, mut room) = (Vec::new(), Room::of_a_table());
    let mut record = StringRecord::new();
    while reader.read_record(&mut record).map_err(csv_error)? {
        let line = record.position().map_or(0, csv::Position::line);
        if lines.len() == MAX_ROWS {
            return Err(fail(line, format!("more than {MAX_ROWS} rows")));
        }
        lines.push(line);
        for (cells, text) in cells.iter_mut().zip(&record) {
            let added = cells.add(&mut room, |all| all.push_str(text));
            added.map_err(|message| fail(line, message))?;
        }
    }
    Ok(Table {
        name: name.to_owned(),
        columns,
        cells: cells.into_iter().map(Ok).collect(),
        rows: lines.len(),
        places: Places::Lines(lines),
        dialect,
    })
}

/// What is told where a column has no name.
pub(super) const NAMELESS: &str = "a column without a name is left out";

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write as _;

    use sha2::{Digest as _, Sha256};

    use super::super::schema::{Column, Schema};
    use super::super::{CsvOptions, Dataset, DateOrder, Embedded, Fill, Kind, Targets};
    use super::*;

    fn load_text(text: &[u8], options: &CsvOptions) -> Result<Dataset, DataError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text).unwrap();
        Dataset::load(file.path(), options)
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
