//! Threads that end with what they were for.
//!
//! The pool that a program has by default lives on, and a process that is forked off believes to have it,
//! without its threads: the first work that it gave them would be waited for for ever.

use rayon::{ThreadPool, ThreadPoolBuilder};

/// One for each core, but at most so many; `None` if no threads are to be had.
pub(super) fn pool(most: usize) -> Option<ThreadPool> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    ThreadPoolBuilder::new().num_threads(cores.min(most)).build().ok()
}
