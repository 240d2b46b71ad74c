//! The document as it is drawn: much of it was written by others, and nothing of that may steer the terminal.

use serde_json::Value;

use crate::cli::output::harmless;

/// A document whose texts are harmless and of one line each.
pub(super) struct Told(Value);

impl Told {
    pub(super) fn of(mut document: Value) -> Self {
        clean(&mut document);
        Self(document)
    }

    /// All of it.
    pub(super) fn all(&self) -> &Value {
        &self.0
    }

    /// The experiment that is shown in full, if it is there.
    pub(super) fn shown(&self) -> Option<&Value> {
        Some(&self.0["shown"]).filter(|shown| shown.is_object())
    }

    /// The experiments by name, in the order in which they are listed.
    pub(super) fn names(&self) -> Vec<&str> {
        list(&self.0["experiments"]).iter().map(|it| text(&it["name"])).collect()
    }

    /// Whether what is shown goes on, and clocks with it.
    pub(super) fn is_live(&self) -> bool {
        self.0["source"]["kind"] != "folder" && self.0["alarm"].is_null()
    }
}

fn clean(value: &mut Value) {
    match value {
        Value::String(text) => *text = harmless(text).replace(['\n', '\t'], " "),
        Value::Array(values) => values.iter_mut().for_each(clean),
        Value::Object(values) => values.values_mut().for_each(clean),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A text; empty if it is none.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A list; empty if it is none.
pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A number as it is, or a dash.
pub(super) fn count(value: &Value) -> String {
    value.as_u64().map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// What somebody is called in the experiment that is shown.
pub(super) fn called(shown: &Value, learner: &Value) -> String {
    let person = list(&shown["people"]).iter().find(|person| person["learner"] == *learner);
    let named = person.map_or(&shown["experiment"]["names"][text(learner)], |it| &it["name"]);
    match (named.as_str(), person.and_then(|it| it["number"].as_u64())) {
        (Some(name), _) => name.to_owned(),
        (None, Some(number)) => format!("learner {number}"),
        (None, None) => text(learner).chars().take(8).collect(),
    }
}

/// How long something is, for people.
pub(super) fn span(ms: u64) -> String {
    let s = ms.saturating_add(500) / 1000;
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        3600..86_400 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3600),
    }
}

/// What is left until then, or how long ago it was.
pub(super) fn left(at_ms: u64, now_ms: u64) -> String {
    match at_ms > now_ms {
        true => span(at_ms - now_ms),
        false => format!("over for {}", span(now_ms - at_ms)),
    }
}
