//! Flags that take one of a few words.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Arg, Command, Error};
use colearn_records::words::Words;

/// Reads one of a few words, of which hyphens are as good a part as underscores.
#[derive(Clone)]
pub(super) struct OneOf<T> {
    /// The words, for the help.
    pub(super) values: fn() -> Vec<PossibleValue>,
    /// What a word stands for.
    pub(super) find: fn(&str) -> Option<T>,
}

impl<T: Clone + Send + Sync + 'static> TypedValueParser for OneOf<T> {
    type Value = T;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<T, Error> {
        let found = value.to_str().and_then(self.find);
        found.ok_or_else(|| {
            // What clap says of a word that is none of these.
            let words = PossibleValuesParser::new((self.values)());
            let refused = words.parse_ref(command, argument, value).err();
            refused.unwrap_or_else(|| Error::new(clap::error::ErrorKind::InvalidValue))
        })
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new((self.values)().into_iter()))
    }
}

/// Reads a word of one table.
pub(crate) fn word<T: Words + Send + Sync>() -> impl TypedValueParser<Value = T> {
    OneOf { values: values::<T>, find: |text| T::parse(text).ok() }
}

/// The words of a table, with what they mean.
pub(super) fn values<T: Words>() -> Vec<PossibleValue> {
    let value = |(word, _, meaning): &(&'static str, T, &'static str)| {
        PossibleValue::new(*word).help(capital(meaning))
    };
    T::WORDS.iter().map(value).collect()
}

/// The text with a capital letter at its beginning.
fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().to_string() + letters.as_str())
}
