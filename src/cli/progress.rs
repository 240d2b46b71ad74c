//! Progress bars, which are there at a terminal only.

use indicatif::{ProgressBar, ProgressStyle};

/// Shows how many of `length` steps are done, and the time left.
pub(crate) fn steps(length: u64, hidden: bool, step: &str) -> ProgressBar {
    let bar = if hidden { ProgressBar::hidden() } else { ProgressBar::new(length) };
    styled(bar, &format!("{{bar:30}} {step} {{pos}}/{{len}} {{eta}} left"))
}

/// Shows how many entries are done, how fast, and the time left.
pub(crate) fn entries(doing: &str) -> ProgressBar {
    let template = format!("{doing} {{bar:30}} {{pos}}/{{len}} entries {{per_sec}} {{eta}} left");
    styled(ProgressBar::new(0), &template)
}

fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}
