//! What benchmarks measure, beside what it should be.

use std::path::{Path, PathBuf};

/// The figures of one benchmark. Each is told as soon as it is there, and all of them in a table at the end; that of all
/// benchmarks that were run is in `target/figures.md`.
#[derive(Debug)]
pub struct Figures {
    bench: String,
    all: PathBuf,
    rows: Vec<[String; 4]>,
}

/// What begins that file.
const HEADING: &str = "| bench | figure | measured | goal | verdict |\n|---|---|---|---|---|\n";

impl Figures {
    /// Of a benchmark, whose `CARGO_TARGET_TMPDIR` is given: it is known only where that is compiled.
    pub fn of(bench: &str, tmp: &str) -> Self {
        let target = Path::new(tmp).parent().unwrap_or(Path::new(tmp));
        Self { bench: bench.to_owned(), all: target.join("figures.md"), rows: Vec::new() }
    }

    /// A figure that should not be less; how much it is and of what stands in `measured`.
    pub fn at_least(&mut self, figure: &str, measured: &str, value: f64, goal: f64) {
        self.goal(figure, measured, &format!(">= {goal}"), value >= goal);
    }

    /// A figure that should not be more.
    pub fn at_most(&mut self, figure: &str, measured: &str, value: f64, goal: f64) {
        self.goal(figure, measured, &format!("<= {goal}"), value <= goal);
    }

    /// A figure whose goal is said in words, and whether it is met.
    pub fn goal(&mut self, figure: &str, measured: &str, goal: &str, met: bool) {
        let verdict = if met { "met" } else { "MISSED" };
        self.add([figure, measured, goal, verdict]);
    }

    /// A figure without a goal.
    pub fn told(&mut self, figure: &str, measured: &str) {
        self.add([figure, measured, "", ""]);
    }

    fn add(&mut self, row: [&str; 4]) {
        println!("{}", row.join("   ").trim_end());
        self.rows.push(row.map(ToOwned::to_owned));
    }

    /// Prints the table, and writes it where those of the others are.
    ///
    /// # Panics
    /// If that file cannot be written.
    pub fn end(self) {
        let width = |column: usize| {
            self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
        };
        let [a, b, c] = [0, 1, 2].map(width);
        println!();
        for [figure, measured, goal, verdict] in &self.rows {
            let line = format!("{figure:a$}   {measured:b$}   {goal:c$}   {verdict}");
            println!("{}", line.trim_end());
        }
        let before = std::fs::read_to_string(&self.all).unwrap_or_default();
        let written = std::fs::write(&self.all, self.beside(&before));
        assert!(written.is_ok(), "{}: {written:?}", self.all.display());
        println!("\nall that was measured here: {}", self.all.display());
    }

    /// That file, with these in the place of what this benchmark said before.
    fn beside(&self, before: &str) -> String {
        let own = format!("| {} |", self.bench);
        let others = before.lines().skip(2).filter(|line| !line.starts_with(&own));
        let mut lines: Vec<String> = others.map(ToOwned::to_owned).collect();
        lines.extend(self.rows.iter().map(|row| format!("{own} {} |", row.join(" | "))));
        // Of one benchmark in its own order.
        lines.sort_by_key(|line| line.split('|').nth(1).map(ToOwned::to_owned));
        lines.iter().fold(HEADING.to_owned(), |text, line| text + line + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_benchmark_replaces_what_it_said_before_and_nothing_else() {
        let figures = |bench: &str, ratio: f64| {
            let mut figures = Figures::of(bench, "target/tmp");
            figures.at_least("votes", &format!("{ratio}"), ratio, 0.5);
            figures.at_most("memory", "7 MB", 7.0, 40.0);
            figures.told("signatures", "50,000/s");
            figures
        };
        let text = figures("node", 0.6).beside("");
        let text = figures("audit", 0.4).beside(&text);
        let text = figures("node", 0.4).beside(&text);
        let expected = HEADING.to_owned()
            + "| audit | votes | 0.4 | >= 0.5 | MISSED |\n\
               | audit | memory | 7 MB | <= 40 | met |\n\
               | audit | signatures | 50,000/s |  |  |\n\
               | node | votes | 0.4 | >= 0.5 | MISSED |\n\
               | node | memory | 7 MB | <= 40 | met |\n\
               | node | signatures | 50,000/s |  |  |\n";
        assert_eq!(text, expected);
    }
}
