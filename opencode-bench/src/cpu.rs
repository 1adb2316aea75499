//! Which processor a measurement runs on.

use anyhow::Context as _;
use rustix::thread::{CpuSet, sched_setaffinity};

/// Has this process, with the threads that it makes from now on, run on one processor alone.
pub(crate) fn pin(number: usize) -> anyhow::Result<()> {
    anyhow::ensure!(
        number < CpuSet::MAX_CPU,
        "there is no processor {number}: they are counted from 0"
    );
    let mut set = CpuSet::new();
    set.set(number);
    sched_setaffinity(None, &set).with_context(|| format!("cannot run on processor {number}"))
}

/// How many processors there are.
pub(crate) fn count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
