//! A scenario with other values here and there: all that a sweep runs.

use std::str::FromStr;

use toml::{Table, Value};

/// The most scenarios of a sweep, seeds not counted.
pub const MAX_SETTINGS: usize = 10_000;

/// A key of a scenario, and the values that it takes one after the other.
#[derive(Clone, PartialEq, Debug)]
pub struct Varied {
    /// Its name, with those of the tables that it is in before it: `training.epochs`, `faults.1.share`.
    pub key: String,
    /// The values; `None` for a scenario that does not say it.
    pub values: Vec<Option<Value>>,
}

/// What a scenario says otherwise.
pub type Setting = Vec<(String, Option<Value>)>;

impl FromStr for Varied {
    type Err = String;

    /// `KEY=VALUE,VALUE`, each as in TOML, words without quotes, and `-` for none.
    fn from_str(text: &str) -> Result<Self, String> {
        let (key, values) = text.split_once('=').ok_or("write it as KEY=VALUE,VALUE")?;
        if key.split('.').any(str::is_empty) {
            return Err("write it as KEY=VALUE,VALUE; in a table KEY is TABLE.KEY".to_owned());
        }
        let values = split(values).map(value).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { key: key.to_owned(), values })
    }
}

/// At the commas that are in no brackets and no quotes.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let (mut depth, mut quoted, mut escaped) = (0_i32, false, false);
    text.split(move |char| {
        match char {
            _ if escaped => {}
            '"' => quoted = !quoted,
            '[' | '{' if !quoted => depth += 1,
            ']' | '}' if !quoted => depth -= 1,
            _ => {}
        }
        escaped = quoted && !escaped && char == '\\';
        char == ',' && depth == 0 && !quoted
    })
}

fn value(text: &str) -> Result<Option<Value>, String> {
    match text.trim() {
        "-" => Ok(None),
        "" => Err("there is a value without anything in it".to_owned()),
        text => {
            let parsed = toml::from_str::<Table>(&format!("it = {text}"));
            let parsed = parsed.ok().filter(|table| table.len() == 1);
            let parsed = parsed.and_then(|mut table| table.remove("it"));
            Ok(Some(parsed.unwrap_or_else(|| Value::String(text.to_owned()))))
        }
    }
}

/// A value as it is written after `--vary`.
pub fn shown(value: Option<&Value>) -> String {
    match value {
        None => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}

/// Each value of each key with each of the others; one that says nothing otherwise where there are none.
///
/// # Errors
/// If they are too many, or a key is named twice.
pub fn settings(varied: &[Varied]) -> Result<Vec<Setting>, String> {
    let mut all = vec![Setting::new()];
    for (at, Varied { key, values }) in varied.iter().enumerate() {
        if varied[..at].iter().any(|other| other.key == *key) {
            return Err(format!("{key} is varied twice"));
        }
        if all.len().saturating_mul(values.len()) > MAX_SETTINGS {
            return Err(format!("these are more than {MAX_SETTINGS} scenarios"));
        }
        let with = |setting: &Setting, value: &Option<Value>| {
            let mut setting = setting.clone();
            setting.push((key.clone(), value.clone()));
            setting
        };
        all = all.iter().flat_map(|it| values.iter().map(move |value| with(it, value))).collect();
    }
    Ok(all)
}

/// Says in a scenario what a setting does.
///
/// # Errors
/// If a key leads through something that is no table.
pub(super) fn apply(scenario: &mut Table, setting: &Setting) -> Result<(), String> {
    for (key, value) in setting {
        let no_table = || format!("{key}: there is no such table in the scenario");
        let (tables, last) = key.rsplit_once('.').unwrap_or(("", key));
        let mut table = &mut *scenario;
        let mut parts = tables.split('.').filter(|part| !part.is_empty()).peekable();
        while let Some(part) = parts.next() {
            let inner = table.entry(part).or_insert_with(|| Table::new().into());
            table = match inner {
                Value::Table(inner) => inner,
                Value::Array(items) => {
                    // Counted from 1, as learners are.
                    let at = parts.next().and_then(|number| number.parse::<usize>().ok());
                    let item = at.and_then(|at| items.get_mut(at.checked_sub(1)?));
                    item.and_then(Value::as_table_mut).ok_or_else(no_table)?
                }
                _ => return Err(no_table()),
            };
        }
        match value {
            Some(value) => drop(table.insert(last.to_owned(), value.clone())),
            None => drop(table.remove(last)),
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_toml_and_words_need_no_quotes() {
        let values = |text: &str| {
            let varied: Varied = text.parse().unwrap();
            varied.values.iter().map(|it| shown(it.as_ref())).collect::<Vec<_>>()
        };
        assert_eq!(values("split=iid,dirichlet:0.5,\"a,b\""), ["iid", "dirichlet:0.5", "a,b"]);
        assert_eq!(values(r#"data="a\",b",c"#), [r#"a",b"#, "c"]);
        assert_eq!(values("model.hidden=[32],[16, 8],[]"), ["[32]", "[16, 8]", "[]"]);
        assert_eq!(values("rule=-,median"), ["-", "median"]);
        let number: Varied = "training.rate=0.1,1".parse().unwrap();
        assert_eq!(number.values, [Some(Value::Float(0.1)), Some(Value::Integer(1))]);
        // What would be more than a value is a word.
        assert_eq!(values("a=1\nb = 2"), ["1\nb = 2"]);
        for wrong in ["split", "=1", "a..b=1", "a=1,,2", "a="] {
            assert!(wrong.parse::<Varied>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_value_meets_every_other() {
        let varied = |texts: &[&str]| -> Vec<Varied> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let all = settings(&varied(&["a=1,2,3", "b=x,y"])).unwrap();
        assert_eq!(all.len(), 6);
        let last: Vec<String> = all[5].iter().map(|(_, value)| shown(value.as_ref())).collect();
        assert_eq!(last, ["3", "y"]);
        assert_eq!(settings(&[]).unwrap(), [vec![]]);
        assert!(settings(&varied(&["a=1", "a=2"])).unwrap_err().contains("twice"));
        let many = format!("a={}", vec!["1"; 101].join(","));
        let many = [many.as_str(), &many.replacen('a', "b", 1)];
        assert!(settings(&varied(&many)).unwrap_err().contains("more than 10000"));
    }

    #[test]
    fn a_setting_reaches_into_tables_and_lists() {
        let text = "learners = 5\nrule = \"median\"\n[[faults]]\nshare = 0.1\n";
        let apply = |texts: &[&str]| {
            let mut scenario: Table = toml::from_str(text).unwrap();
            let varied: Vec<Varied> = texts.iter().map(|text| text.parse().unwrap()).collect();
            apply(&mut scenario, &settings(&varied).unwrap()[0]).map(|()| scenario)
        };
        let changed = apply(&["learners=7", "rule=-", "training.epochs=2", "faults.1.share=0.3"]);
        let changed = changed.unwrap();
        assert_eq!(changed["learners"].as_integer(), Some(7));
        assert!(!changed.contains_key("rule"));
        assert_eq!(changed["training"]["epochs"].as_integer(), Some(2));
        assert_eq!(changed["faults"][0]["share"].as_float(), Some(0.3));
        for wrong in ["faults.2.share=1", "faults.0.share=1", "faults.x=1", "learners.x=1"] {
            assert!(apply(&[wrong]).is_err(), "{wrong}");
        }
    }
}
