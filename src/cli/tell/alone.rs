//! What a learner's model alone is worth beside the shared one.

use serde_json::json;

use crate::alone::{Line, number, signed};

/// Prints each line as it comes about, for people or as one JSON object.
pub(crate) fn print_lines(as_json: bool) -> Box<dyn FnMut(&Line) + Send> {
    Box::new(move |line| match as_json {
        true => {
            let mut object = json!(line);
            object["event"] = "alone".into();
            println!("{object}");
        }
        false => println!("round {}: {}", line.round, line.text()),
    })
}

/// All lines, a row each.
pub(crate) fn table(lines: &[Line]) -> String {
    let mut text = String::new();
    let Some(last) = lines.last() else { return text };
    let percent = format!("{:.0} %", last.confidence * 100.0);
    text += &format!(
        "{:>6}  {:>9}  {:>8}  {:>8}  {:>10}  {:>18}  {:>9}\n",
        "round", "trainings", "alone", "together", "difference", percent, "p"
    );
    for line in lines {
        let between = format!("{} to {}", signed(line.low), signed(line.high));
        let p = line.p_value.map_or_else(|| "-".to_owned(), |p| format!("{p:.4}"));
        text += &format!(
            "{:>6}  {:>9}  {:>8}  {:>8}  {:>10}  {between:>18}  {p:>9}\n",
            line.round,
            line.trainings,
            number(line.alone),
            number(line.together),
            signed(line.difference),
        );
    }
    let metric = last.metric.replace('_', " ");
    text += &format!("{metric} on the same {} test rows; p: McNemar's exact test\n", last.rows);
    text
}
