//! Whether code is still as fast as it was, in tests: against a yardstick that is measured beside it.

use std::time::Duration;

/// How often it is measured before it counts as slower: others may have disturbed it.
const TRIES: usize = 8;

/// Asserts that some work is not a third slower than it was, to a yardstick.
///
/// `ratio` is what this thread's time for `yardstick` to that for `work` was, in a build for tests. The best of some
/// tries counts. This is for work of one thread that waits for nothing: disks, and cores that others use, are for
/// benchmarks.
///
/// # Panics
/// If the ratio has fallen by more than a third.
#[track_caller]
pub fn assert_pace(what: &str, ratio: f64, mut yardstick: impl FnMut(), mut work: impl FnMut()) {
    let mut best = 0.0_f64;
    for _ in 0..TRIES {
        let measured = spent(&mut yardstick).as_secs_f64() / spent(&mut work).as_secs_f64();
        best = best.max(measured);
        if best >= ratio * 2.0 / 3.0 {
            println!("{what}: {measured:.2} of the yardstick, {ratio} when this was written");
            return;
        }
    }
    panic!("{what}: {best:.2} of the yardstick at best, {ratio} when this was written");
}

/// What this thread has of a core for some work.
fn spent(work: &mut impl FnMut()) -> Duration {
    let before = on_core();
    work();
    on_core().saturating_sub(before)
}

/// How long this thread has run.
fn on_core() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(count: u64) -> u64 {
        (0..count).fold(0, |sum, turn| std::hint::black_box(sum ^ turn.wrapping_mul(sum | 1)))
    }

    fn run(count: u64) -> impl FnMut() {
        move || {
            std::hint::black_box(turns(count));
        }
    }

    #[test]
    fn what_is_as_fast_as_it_was_passes() {
        assert_pace("the same work", 1.0, run(3_000_000), run(3_000_000));
    }

    #[test]
    #[should_panic(expected = "when this was written")]
    fn what_is_an_eighth_as_fast_fails() {
        assert_pace("eight times the work", 1.0, run(1_000_000), run(8_000_000));
    }
}
