//! The report as one page: the document, laid out by one template. Whatever others wrote is escaped, and the page may
//! load and run nothing.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

use crate::cli::harmless;
use crate::cli::tell::text::utc;

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
/// How many rounds a part of the page has that is opened by itself.
const ROUNDS_A_PART: usize = 250;

/// The page.
///
/// # Errors
/// None for what [`document`](super::document) makes.
pub(crate) fn page(document: &Json) -> Result<String, minijinja::Error> {
    let mut templates = Environment::new();
    // What is not in the document is a mistake in the template, and no empty cell in an audit's report.
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    templates.set_auto_escape_callback(|_| AutoEscape::Html);
    templates.add_filter("time", time);
    templates.add_filter("score", score);
    templates.add_filter("ranges", ranges);
    templates.add_template("page", TEMPLATE)?;
    let style_digest = BASE64_STANDARD.encode(Sha256::digest(STYLE));
    templates.get_template("page")?.render(context! {
        report => Value::from(Serde(quieted(document))),
        style => STYLE,
        style_digest,
        rounds_a_part => ROUNDS_A_PART,
    })
}

/// The document without characters that are not seen, or turn the direction of what is read.
fn quieted(value: &Json) -> Json {
    match value {
        Json::String(text) => Json::String(harmless(text).into_owned()),
        Json::Array(all) => all.iter().map(quieted).collect(),
        Json::Object(all) => all.iter().map(|(key, it)| (key.clone(), quieted(it))).collect(),
        Json::Null | Json::Bool(_) | Json::Number(_) => value.clone(),
    }
}

/// A time in ms since 1970, in UTC.
fn time(ms: Option<u64>) -> String {
    ms.map_or_else(|| "-".to_owned(), utc)
}

/// A number with three digits behind the point.
fn score(value: Option<f64>) -> String {
    crate::cli::tell::text::score(value)
}

/// Rounds by the ends of those that follow each other.
fn ranges(ranges: Vec<Vec<u64>>) -> String {
    let told = ranges.iter().map(|range| match range[..] {
        [first, last] if first != last => format!("{first}\u{2013}{last}"),
        _ => range.iter().take(1).map(u64::to_string).collect(),
    });
    told.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use colearn_audit::AuditReport;
    use colearn_audit::reached::Reached;
    use colearn_records::pins::Pins;

    use super::*;
    use crate::report::{Audited, document};

    fn report(place: &str) -> Json {
        let (report, reached) = (AuditReport::default(), Reached::default());
        document(&Audited {
            place,
            at_ms: 0,
            pins: &Pins::default(),
            promises: 0,
            merges: false,
            report: &report,
            reached: &reached,
            asked: &[],
            plans: &[],
        })
    }

    #[test]
    fn what_others_wrote_is_text_and_nothing_is_loaded() {
        let evil = "</style><script>alert(1)</script>\"'&\u{202e}\u{1b}";
        let told = page(&report(evil)).unwrap();
        assert!(!told.contains("<script") && !told.contains('\u{202e}'), "{told}");
        assert!(told.contains("&lt;script&gt;"), "{told}");
        // Even so nothing would be run or loaded.
        let digest = BASE64_STANDARD.encode(Sha256::digest(STYLE));
        let policy = format!("default-src 'none'; style-src 'sha256-{digest}'");
        assert!(told.contains(&policy), "{told}");
        // The digest is of just what stands between the tags.
        assert!(told.contains(&format!("<style>{STYLE}</style>")), "{told}");
        assert_eq!(told.matches("<style").count(), 1);
        assert!(!told.contains(" style=") && !told.contains(" src=") && !told.contains("url("));
    }

    #[test]
    fn rounds_and_times_are_told_briefly() {
        assert_eq!(ranges(vec![vec![1, 3], vec![5, 5]]), "1\u{2013}3, 5");
        assert_eq!(time(Some(0)), "1970-01-01 00:00:00Z");
        assert_eq!(time(Some(u64::MAX)), "9999-12-31 23:59:59Z");
        assert_eq!(time(None), "-");
    }
}
