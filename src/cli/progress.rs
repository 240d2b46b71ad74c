//! How far long work is: a bar at a terminal, and elsewhere a line now and then.

use std::fmt::{self, Debug, Formatter};
use std::io::{self, IsTerminal as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

/// Work that takes no longer is not told of in lines.
const FIRST_LINE_AFTER: Duration = Duration::from_secs(2);
const LINE_EVERY: Duration = Duration::from_secs(10);
/// A line is no longer.
const WIDTH: u16 = 200;

/// Whether stderr is for programs, so that there are no lines.
static QUIET: AtomicBool = AtomicBool::new(false);

/// Has nothing be told in lines from now on: what reads stderr is a program.
pub(crate) fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Shows how many of `length` steps are done, and the time left.
pub(crate) fn steps(length: u64, hidden: bool, step: &str) -> ProgressBar {
    match hidden {
        true => ProgressBar::hidden(),
        false => shown(length, step, "{pos}/{len}", "{eta} left"),
    }
}

/// Shows how many entries are done, how fast, and the time left.
pub(crate) fn entries(doing: &str) -> ProgressBar {
    shown(0, doing, "{pos}/{len} entries", "{per_sec} {eta} left")
}

/// Shows how many bytes are done, how fast, and the time left.
pub(crate) fn bytes(doing: &str) -> ProgressBar {
    shown(0, doing, "{bytes}/{total_bytes}", "{bytes_per_sec} {eta} left")
}

/// Shows how much of a ledger's index is rebuilt; it appears only when one is.
pub(crate) fn rebuilding() -> impl Fn(u64, u64) + Send + Sync {
    let bar = ProgressBar::hidden();
    move |done, total| {
        if bar.is_hidden() && bar.position() == 0 {
            style(&bar, "rebuilding the index", "{bytes}/{total_bytes}", "{bytes_per_sec} {eta}");
            bar.set_draw_target(target());
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

fn shown(length: u64, doing: &str, count: &str, pace: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(length), target());
    style(&bar, doing, count, pace);
    bar
}

fn style(bar: &ProgressBar, doing: &str, count: &str, pace: &str) {
    let template = match io::stderr().is_terminal() {
        true => format!("{doing} {{bar:30}} {count} {pace}"),
        false => format!("{doing} {count}, {pace}"),
    };
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
}

fn target() -> ProgressDrawTarget {
    if io::stderr().is_terminal() {
        return ProgressDrawTarget::stderr();
    }
    if QUIET.load(Ordering::Relaxed) {
        return ProgressDrawTarget::hidden();
    }
    let told = |line: &str| eprintln!("{line}");
    ProgressDrawTarget::term_like(Box::new(Lines::new(Instant::now, told)))
}

/// What a bar is drawn on where there is no terminal: a line now and then, each below the last.
struct Lines<N, T> {
    now: N,
    tell: T,
    state: Mutex<State>,
}

struct State {
    /// What is being drawn.
    line: String,
    /// When the next line is due.
    next: Instant,
}

impl<N: Fn() -> Instant, T: Fn(&str)> Lines<N, T> {
    fn new(now: N, tell: T) -> Self {
        let next = now() + FIRST_LINE_AFTER;
        Self { now, tell, state: Mutex::new(State { line: String::new(), next }) }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<N, T> Debug for Lines<N, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("Lines")
    }
}

impl<N, T> TermLike for Lines<N, T>
where
    N: Fn() -> Instant + Send + Sync,
    T: Fn(&str) + Send + Sync,
{
    fn width(&self) -> u16 {
        WIDTH
    }

    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(text)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.state().line.push_str(text);
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.state().line.clear();
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let mut state = self.state();
        let line = std::mem::take(&mut state.line);
        let (line, now) = (line.trim(), (self.now)());
        // What a bar that ends leaves is empty.
        if !line.is_empty() && now >= state.next {
            state.next = now + LINE_EVERY;
            (self.tell)(line);
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Bars that are drawn at these seconds, and the lines that come of it.
    fn told(seconds: &[u64]) -> Vec<String> {
        let (begin, at) = (Instant::now(), Arc::new(Mutex::new(0)));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (clock, log) = (at.clone(), lines.clone());
        let now = move || begin + Duration::from_secs(*clock.lock().unwrap());
        let tell = move |line: &str| log.lock().unwrap().push(line.to_owned());
        let target = ProgressDrawTarget::term_like(Box::new(Lines::new(now, tell)));
        let bar = ProgressBar::with_draw_target(Some(100), target);
        bar.set_style(ProgressStyle::with_template("auditing {pos}/{len} entries").unwrap());
        for second in seconds {
            *at.lock().unwrap() = *second;
            bar.set_position(*second);
            bar.force_draw();
        }
        bar.finish_and_clear();
        lines.lock().unwrap().clone()
    }

    #[test]
    fn long_work_is_told_of_in_lines_and_short_work_is_not() {
        assert_eq!(told(&[0, 1]), [""; 0]);
        let lines = told(&[0, 1, 2, 3, 11, 12, 13, 21, 40]);
        let all = [2, 12, 40].map(|at| format!("auditing {at}/100 entries"));
        assert_eq!(lines, all);
    }
}
