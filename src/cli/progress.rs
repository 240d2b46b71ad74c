//! Progress bars, which are there at a terminal only.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

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

/// Shows how many bytes are done, how fast, and the time left.
pub(crate) fn bytes(doing: &str) -> ProgressBar {
    let template =
        format!("{doing} {{bar:30}} {{bytes}}/{{total_bytes}} {{bytes_per_sec}} {{eta}} left");
    styled(ProgressBar::new(0), &template)
}

/// Shows how much of a ledger's index is rebuilt; it appears only when one is.
pub(crate) fn rebuilding() -> impl Fn(u64, u64) + Send + Sync {
    let template = "rebuilding the index {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    let bar = styled(ProgressBar::hidden(), template);
    move |done, total| {
        if bar.is_hidden() && bar.position() == 0 {
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        bar.set_length(total);
        bar.set_position(done);
    }
}

/// Has a bar show how many are done, and of how many.
pub(crate) fn on(bar: &ProgressBar) -> impl Fn(u64, u64) + Send + Sync {
    move |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    }
}

fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}
