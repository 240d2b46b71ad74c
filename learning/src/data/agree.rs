//! A schema out of what everybody's columns are like.

use std::collections::BTreeMap;

use super::moments::Moments;
use super::options::{CsvOptions, Fill, Kind};
use super::schema::{Column, Missing, Schema, Target};
use super::summary::{ColumnSummary, Summary};
use super::{DataError, in_order};

/// A mean that is further from everybody else's than so many of their deviations is told.
const FAR: f64 = 3.0;
/// A deviation so many times as large as everybody else's is told.
const WIDE: f64 = 10.0;

/// A schema that fits everybody's columns, and what the people who made it should look at.
///
/// `summaries` are who tells them and what; of `options` only what columns to leave out or to hash, and what stands for
/// numbers that are missing.
///
/// # Errors
/// If two tell of different columns, or of different kinds of them, and says who; or if something has to be decided.
pub fn agree(
    summaries: &[(String, Summary)],
    options: &CsvOptions,
) -> Result<(Schema, Vec<String>), DataError> {
    let schema = merge(summaries, options)?;
    let members = by_name(summaries);
    let is_noised = is_noised(summaries);
    let mut notes = Vec::new();
    for column in &schema.features {
        let told = everybodys(&members, column.name())?;
        if let Column::Number { name, missing: None, .. }
        | Column::Date { name, missing: None, .. } = column
        {
            // Of a count with noise nobody can say that it is none.
            for ((who, column), _) in
                told.iter().zip(summaries).filter(|(_, it)| it.1.noise.is_none())
            {
                if let ColumnSummary::Number { missing, .. } | ColumnSummary::Date { missing, .. } =
                    column
                    && *missing > 0
                {
                    let message = format!(
                        "column {name:?} is missing in {missing} rows; say what stands for it: --missing {name}=mean, \
                         a number or indicator"
                    );
                    return Err(DataError::Format { name: (*who).to_owned(), message });
                }
            }
        }
        if let Column::Number { name, .. } = column {
            notes.extend((0..told.len()).filter_map(|at| far(name, at, &told)));
        }
    }
    if is_noised && !options.missing.iter().any(|(column, _)| column.is_none()) {
        notes.push(
            "noise hides whether values are missing; --missing mean makes a schema that fits in any case".to_owned(),
        );
    }
    Ok((schema, notes))
}

/// Who has other numbers in a column than everybody else: in another unit, perhaps.
fn far(name: &str, at: usize, told: &Told<'_>) -> Option<String> {
    let (mut own, mut others) = (Moments::default(), Moments::default());
    for (teller, (_, column)) in told.iter().enumerate() {
        if let ColumnSummary::Number { moments, .. } = column {
            let all = if teller == at { &mut own } else { &mut others };
            *all = all.with(*moments);
        }
    }
    let (who, _) = told.get(at)?;
    // By the others' alone: whoever lies about its mean may say that its numbers are all over the place.
    let scale = others.mean_and_scale().1;
    let apart = (own.mean - others.mean).abs() > FAR * scale;
    let ratio = own.mean_and_scale().1 / scale;
    let wide = ratio > WIDE && own.count > 1 && others.count > 1;
    (own.count > 0 && others.count > 0 && (apart || wide)).then(|| {
        let (own, others) = (own.rounded(), others.rounded());
        format!(
            "{who}: the mean of column {name:?} is {} (deviation {}), and everybody else's {} ({}); is it in another \
             unit?",
            own.mean, own.deviation, others.mean, others.deviation
        )
    })
}

/// As [`agree`], for whoever has the rows and finds what is missing there.
pub(super) fn merge(
    summaries: &[(String, Summary)],
    options: &CsvOptions,
) -> Result<Schema, DataError> {
    let Some((first, summary)) = summaries.first() else {
        return Err(DataError::Format {
            name: "the schema".to_owned(),
            message: "there is no summary to make it of".to_owned(),
        });
    };
    // First: who predicts something else has other columns, too.
    for (who, other) in summaries {
        let (theirs, own) = (other.target.name(), summary.target.name());
        if theirs != own {
            let message = format!(
                "it is for predicting {theirs:?}, and {first} for {own:?}; all must name one (--label, with colearn data \
                 summary)"
            );
            return Err(DataError::Format { name: who.clone(), message });
        }
    }
    let is_noised = is_noised(summaries);
    let members = by_name(summaries);
    let is_ignored = |name: &str| options.ignore.iter().any(|it| it == name);
    let mut features = Vec::new();
    for name in summary.columns.iter().map(ColumnSummary::name).filter(|name| !is_ignored(name)) {
        let told = everybodys(&members, name)?;
        features.push(Merging { name, told, is_noised, options }.column()?);
    }
    // What the first does not have.
    let known = |name: &str| members.first().is_some_and(|(_, first)| first.contains_key(name));
    for (who, summary) in summaries {
        let names = summary.columns.iter().map(ColumnSummary::name);
        if let Some(name) = names.filter(|name| !is_ignored(name)).find(|name| !known(name)) {
            return Err(lacks(first, name, who));
        }
    }
    let told = summaries.iter().map(|(who, it)| (who.as_str(), &it.target)).collect();
    let name = summary.target.name();
    let target = Merging { name, told, is_noised, options }.target()?;
    if features.is_empty() || matches!(&target, Target::Class { classes, .. } if classes.len() < 2)
    {
        return Err(DataError::Degenerate { name: first.clone() });
    }
    let schema = Schema { features, target };
    schema.check().map_err(|message| DataError::Schema { name: first.clone(), message })?;
    Ok(schema)
}

fn lacks(who: &str, column: &str, other: &str) -> DataError {
    DataError::Format {
        name: who.to_owned(),
        message: format!(
            "it has no column {column:?}, which {other} has; leave it out with --ignore {column}"
        ),
    }
}

/// What each tells of a column.
type Told<'a> = Vec<(&'a str, &'a ColumnSummary)>;

/// Who tells, and its columns by name: tables have tens of thousands.
type ByName<'a> = Vec<(&'a str, BTreeMap<&'a str, &'a ColumnSummary>)>;

fn by_name(summaries: &[(String, Summary)]) -> ByName<'_> {
    let mut members = ByName::new();
    for (who, summary) in summaries {
        members.push((who, summary.columns.iter().map(|it| (it.name(), it)).collect()));
    }
    members
}

fn is_noised(summaries: &[(String, Summary)]) -> bool {
    summaries.iter().any(|(_, summary)| summary.noise.is_some())
}

fn everybodys<'a>(members: &ByName<'a>, name: &str) -> Result<Told<'a>, DataError> {
    let other = members.first().map(|(who, _)| *who).unwrap_or_default();
    let told = members.iter().map(|(who, columns)| {
        columns.get(name).map(|it| (*who, *it)).ok_or_else(|| lacks(who, name, other))
    });
    told.collect()
}

/// A column, as everybody tells of it.
struct Merging<'a> {
    name: &'a str,
    told: Told<'a>,
    /// Whether somebody's counts have noise, so that 0 does not mean that there is none.
    is_noised: bool,
    options: &'a CsvOptions,
}

impl Merging<'_> {
    fn column(&self) -> Result<Column, DataError> {
        let name = self.name.to_owned();
        if let Some(buckets) = self.hashed()? {
            return Ok(Column::Hashed { name, buckets });
        }
        // A column without any value in somebody's file looks like numbers there.
        let empty = |column: &&ColumnSummary| matches!(column, ColumnSummary::Number { moments, .. } if moments.count == 0);
        let kinds = self.told.iter().map(|(_, column)| *column);
        match kinds.clone().find(|it| !empty(it)).or(kinds.clone().next()) {
            Some(ColumnSummary::Date { .. }) => {
                let (mean, scale, missing) = self.numbers(true)?;
                Ok(Column::Date { name, mean, scale, missing })
            }
            Some(ColumnSummary::Category { .. }) => {
                let (words, untold) = self.words()?;
                let categories = words.into_keys().collect();
                Ok(Column::Category { name, categories, other: untold > 0 || self.is_noised })
            }
            Some(ColumnSummary::Words { .. }) => Err(self.too_many()),
            Some(ColumnSummary::Number { .. } | ColumnSummary::Hashed { .. }) | None => {
                let (mean, scale, missing) = self.numbers(false)?;
                Ok(Column::Number { name, mean, scale, missing })
            }
        }
    }

    fn target(&self) -> Result<Target, DataError> {
        let name = self.name.to_owned();
        if self.told.iter().all(|(_, column)| matches!(column, ColumnSummary::Category { .. })) {
            let classes = in_order(self.words()?.0.into_keys().collect());
            return Ok(Target::Class { name, classes });
        }
        let (mean, scale, _) = self.numbers(false)?;
        Ok(Target::Number { name, mean, scale })
    }

    /// Into how many inputs its words are hashed: as is said now, or the most that anybody said if all did.
    fn hashed(&self) -> Result<Option<usize>, DataError> {
        let said = self.options.kinds.iter().find_map(|(column, kind)| match kind {
            Kind::Hashed(buckets) if column == self.name => Some(*buckets),
            _ => None,
        });
        if said.is_some() {
            return Ok(said);
        }
        let told = self.told.iter().filter_map(|(_, column)| match column {
            ColumnSummary::Hashed { buckets, .. } => Some(*buckets),
            _ => None,
        });
        let most = told.max();
        // One alone does not decide it for all.
        let other = self.told.iter().find(|(_, it)| !matches!(it, ColumnSummary::Hashed { .. }));
        match (most, other) {
            (Some(_), Some((who, _))) => Err(self.differs(who, "words to be hashed")),
            (most, _) => Ok(most),
        }
    }

    /// The mean and scale of everybody's numbers, and what stands for those that are missing.
    fn numbers(&self, dates: bool) -> Result<(f64, f64, Option<Missing>), DataError> {
        let (mut all, mut lacks, mut only) = (Moments::default(), self.is_noised, None);
        for (who, column) in &self.told {
            let (missing, moments, median) = match column {
                ColumnSummary::Number { missing, moments, median, .. }
                    if !dates || moments.count == 0 =>
                {
                    (missing, moments, median)
                }
                ColumnSummary::Date { missing, moments, median, .. } if dates => {
                    (missing, moments, median)
                }
                _ => return Err(self.differs(who, if dates { "dates" } else { "numbers" })),
            };
            all = all.with(*moments);
            lacks |= *missing > 0;
            only = *median;
        }
        let (mean, scale) = all.mean_and_scale();
        let said = |it: &&(Option<String>, Fill)| it.0.as_deref() == Some(self.name);
        let of_all = |it: &&(Option<String>, Fill)| it.0.is_none() && lacks;
        let rules = &self.options.missing;
        let rule = rules.iter().find(said).or_else(|| rules.iter().find(of_all));
        let missing = match rule.map(|(_, fill)| *fill) {
            None => None,
            Some(Fill::Mean) => Some(Missing::Value(mean)),
            Some(Fill::Indicator) => Some(Missing::Indicator(mean)),
            Some(Fill::Value(value)) => Some(Missing::Value(value)),
            Some(Fill::Median) => match (only, &self.told[..]) {
                (Some(median), [_]) => Some(Missing::Value(median)),
                _ => {
                    return Err(DataError::Format {
                        name: "the schema".to_owned(),
                        message: format!(
                            "column {:?}: the median of all cannot be told from summaries; take the mean, a number or \
                             indicator",
                            self.name
                        ),
                    });
                }
            },
        };
        Ok((mean, scale, missing))
    }

    /// Everybody's words, and how many rows have others.
    fn words(&self) -> Result<(BTreeMap<String, u64>, u64), DataError> {
        let (mut all, mut others) = (BTreeMap::<String, u64>::new(), 0_u64);
        for (who, column) in &self.told {
            match column {
                ColumnSummary::Category { words, untold, .. } => {
                    others = others.saturating_add(*untold);
                    for (word, count) in words {
                        let sum = all.entry(word.clone()).or_default();
                        *sum = sum.saturating_add(*count);
                    }
                }
                // Nobody there has one.
                ColumnSummary::Number { missing, moments, .. } if moments.count == 0 => {
                    let sum = all.entry(String::new()).or_default();
                    *sum = sum.saturating_add(*missing);
                }
                ColumnSummary::Words { .. } => return Err(self.too_many()),
                ColumnSummary::Number { .. }
                | ColumnSummary::Date { .. }
                | ColumnSummary::Hashed { .. } => return Err(self.differs(who, "words")),
            }
        }
        Ok((all, others))
    }

    fn too_many(&self) -> DataError {
        let column = self.name;
        let found = self.told.iter().find(|(_, it)| matches!(it, ColumnSummary::Words { .. }));
        let who = found.map_or("the schema", |(who, _)| *who);
        let message = format!(
            "column {column:?} has too many different words, or none that enough rows have; leave it out with --ignore \
             {column}, or hash them into a few with --hash {column}"
        );
        DataError::Format { name: who.to_owned(), message }
    }

    fn differs(&self, who: &str, from: &str) -> DataError {
        let own = self.told.iter().find(|(teller, _)| *teller == who);
        let other = self.told.iter().find(|(teller, it)| *teller != who && it.kind() == from);
        let kind = own.map_or("something else", |(_, column)| column.kind());
        let other = other.map_or("others", |(teller, _)| *teller);
        let column = self.name;
        let message = format!(
            "column {column:?} has {kind}, where {other} has {from}; all must tell of one kind: --number {column} or \
             --category {column} or --hash {column}, of the column to predict also --regression, with colearn data \
             summary"
        );
        DataError::Format { name: who.to_owned(), message }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::table::Table;
    use super::super::{Dataset, Kind};
    use super::*;

    fn label(label: &str) -> CsvOptions {
        CsvOptions { label: Some(label.to_owned()), ..CsvOptions::default() }
    }

    fn told(name: &str, text: &str, options: &CsvOptions) -> (String, Summary) {
        let summary = Table::read(name, &mut text.as_bytes(), &options.dialect)
            .unwrap()
            .summary(options)
            .unwrap()
            .told(options.rare);
        // As it travels.
        let json = serde_json::to_vec(&summary).unwrap();
        (name.to_owned(), serde_json::from_slice(&json).unwrap())
    }

    #[test]
    fn the_schema_of_all_is_that_of_the_rows_together() {
        let header = "age,job,seen,y\n";
        let rows: Vec<String> = (0..60)
            .map(|at| {
                let job = ["cook", "smith", "clerk"][if at < 20 { 0 } else { at % 3 }];
                format!("{},{job},2024-01-{:02},{}\n", 20 + at * 7 % 50, 1 + at % 28, at % 2)
            })
            .collect();
        let text = |rows: &[String]| header.to_owned() + &rows.concat();
        let (schema, notes) = agree(
            &[
                told("a", &text(&rows[..20]), &label("y")),
                told("b", &text(&rows[20..50]), &label("y")),
                told("c", &text(&rows[50..]), &label("y")),
            ],
            &CsvOptions::default(),
        )
        .unwrap();
        assert!(notes.is_empty(), "{notes:?}");
        let whole = text(&rows);
        let whole = Dataset::read_csv("all", whole.as_bytes(), &label("y")).unwrap().schema;
        assert_eq!(schema.target, whole.target);
        for (merged, whole) in schema.features.iter().zip(&whole.features) {
            match (merged, whole) {
                (Column::Category { .. }, _) => assert_eq!(merged, whole),
                (
                    Column::Number { mean, scale, .. } | Column::Date { mean, scale, .. },
                    Column::Number { mean: other, scale: others, .. }
                    | Column::Date { mean: other, scale: others, .. },
                ) => {
                    // Each tells six digits.
                    assert!((mean / other - 1.0).abs() < 2e-5, "{mean} {other}");
                    assert!((scale / others - 1.0).abs() < 1e-3, "{scale} {others}");
                }
                _ => panic!("{merged} {whole}"),
            }
        }
    }

    #[test]
    fn what_does_not_go_together_is_said_of_whom() {
        let base = || told("a.json", "n,w,y\n1,x,no\n2,z,yes\n", &label("y"));
        let options = CsvOptions::default();
        let error = |other: (String, Summary), options: &CsvOptions| {
            agree(&[base(), other], options).unwrap_err().to_string()
        };
        let b = |text: &str| told("b.json", text, &label("y"));
        let words = error(b("n,w,y\ni,x,no\nii,z,yes\n"), &options);
        assert!(
            words.contains("b.json: column \"n\" has words, where a.json has numbers"),
            "{words}"
        );
        let lacks = error(b("n,y\n1,no\n2,yes\n"), &options);
        assert!(lacks.contains("b.json: it has no column \"w\", which a.json has"), "{lacks}");
        let more = error(b("n,w,m,y\n1,x,1,no\n2,z,2,yes\n"), &options);
        assert!(more.contains("a.json: it has no column \"m\", which b.json has"), "{more}");
        let ignoring = CsvOptions { ignore: vec!["m".into()], ..CsvOptions::default() };
        let b_more = b("n,w,m,y\n1,x,1,no\n2,z,2,yes\n");
        assert!(agree(&[base(), b_more], &ignoring).is_ok());
        let empty = b("n,w,y\n1,x,no\n,z,yes\n");
        let missing = error(empty.clone(), &options);
        assert!(missing.contains("b.json: column \"n\" is missing in 1 rows"), "{missing}");
        let median = CsvOptions { missing: vec![(None, Fill::Median)], ..CsvOptions::default() };
        assert!(error(empty.clone(), &median).contains("median"));
        let mean = CsvOptions { missing: vec![(None, Fill::Mean)], ..CsvOptions::default() };
        let (schema, _) = agree(&[base(), empty], &mean).unwrap();
        let Column::Number { missing, .. } = &schema.features[0] else { panic!("{schema:?}") };
        assert_eq!(*missing, Some(Missing::Value(1.33333)));
        // Who has no value at all stops nobody.
        let (schema, _) = agree(&[base(), b("n,w,y\n3,,no\n4,,yes\n")], &options).unwrap();
        let Column::Category { categories, .. } = &schema.features[1] else { panic!("{schema:?}") };
        assert_eq!(categories, &["", "x", "z"]);
        let target = error(b("n,w,y\n1,x,1.5\n2,z,2.5\n"), &options);
        assert!(target.contains("column \"y\""), "{target}");
        assert!(agree(&[], &options).is_err());
    }

    #[test]
    fn another_unit_is_told_and_many_words_are_hashed() {
        let rows = |unit: f64, prefix: &str| {
            let rows = (0..150).map(|at| {
                let height = unit * f64::from(160 + at % 30);
                format!("{height},{prefix}{at},{}\n", at % 2)
            });
            "height,name,y\n".to_owned() + &rows.collect::<String>()
        };
        let all = [
            told("a", &rows(1.0, "a"), &label("y")),
            told("b", &rows(1.0, "b"), &label("y")),
            told("c", &rows(0.01, "c"), &label("y")),
        ];
        let error = agree(&all, &CsvOptions::default()).unwrap_err().to_string();
        assert!(error.contains("a: column \"name\" has too many different words"), "{error}");
        let kinds = vec![("name".to_owned(), Kind::Hashed(16))];
        let (schema, notes) = agree(&all, &CsvOptions { kinds, ..CsvOptions::default() }).unwrap();
        assert_eq!(schema.width(), 17);
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert!(notes[0].starts_with("c: the mean of column \"height\" is 1.745"), "{notes:?}");
    }

    #[test]
    fn one_decides_nothing_for_all_and_who_exaggerates_is_told() {
        let text = |at: usize| {
            let rows = (0..20).map(|row| format!("{},{}\n", 40 + row % 7 + at, row % 2));
            "age,y\n".to_owned() + &rows.collect::<String>()
        };
        let honest = [told("a", &text(0), &label("y")), told("b", &text(1), &label("y"))];
        let (name, mut hashes) = told("c", &text(0), &label("y"));
        hashes.columns[0] = ColumnSummary::Hashed { name: "age".into(), buckets: 1000 };
        let all = [&honest[..], &[(name.clone(), hashes)]].concat();
        let error = agree(&all, &CsvOptions::default()).unwrap_err().to_string();
        assert!(
            error.contains("a: column \"age\" has numbers, where c has words to be hashed"),
            "{error}"
        );
        let (_, mut lies) = told("c", &text(0), &label("y"));
        let moments = Moments { count: 20, mean: 1e30, deviation: 1e31 };
        lies.columns[0] =
            ColumnSummary::Number { name: "age".into(), missing: 0, moments, median: None };
        let all = [&honest[..], &[(name, lies)]].concat();
        let (_, notes) = agree(&all, &CsvOptions::default()).unwrap();
        assert!(notes.iter().any(|note| note.starts_with("c: ")), "{notes:?}");
    }

    #[test]
    fn what_noise_hides_is_provided_for() {
        let mut rows = "age,job,y\n".to_owned();
        (0..400).for_each(|row| rows += &format!("{},cook,{}\n", 40 + row % 7, row % 2));
        let (name, summary) = told("a", &rows, &label("y"));
        let noised = summary.noised("a", 4000, 1e-6, 0).unwrap();
        let all = [(name, noised)];
        let (schema, notes) = agree(&all, &CsvOptions::default()).unwrap();
        assert!(notes.iter().any(|note| note.contains("--missing mean")), "{notes:?}");
        let Column::Category { other, .. } = &schema.features[1] else { panic!("{schema:?}") };
        assert!(*other);
        let missing = vec![(None, Fill::Mean)];
        let (schema, notes) =
            agree(&all, &CsvOptions { missing, ..CsvOptions::default() }).unwrap();
        assert!(notes.is_empty(), "{notes:?}");
        assert!(matches!(&schema.features[0], Column::Number { missing: Some(_), .. }));
    }

    #[test]
    fn a_word_that_somebody_tells_is_known_though_others_do_not_tell_it() {
        let options = CsvOptions { rare: 2, ..label("y") };
        let (schema, _) = agree(
            &[
                told("a", "job,y\ncook,0\ncook,1\npope,0\n", &options),
                told("b", "job,y\npope,0\npope,1\ncook,1\n", &options),
            ],
            &CsvOptions::default(),
        )
        .unwrap();
        let Column::Category { categories, other, .. } = &schema.features[0] else { panic!() };
        assert_eq!((categories.len(), *other), (2, true));
    }
}
