//! Ctrl-C, SIGTERM and SIGHUP do not end this process at once: they are noted, passed on to the running
//! child, and everything that was started is stopped on the way out.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use anyhow::{Context, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// The last signal that arrived; 0 before the first.
static LAST: LazyLock<Arc<AtomicUsize>> = LazyLock::new(Arc::default);

/// From now on signals are noted instead of ending the process.
pub(crate) fn watch() -> Result<()> {
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        let value = usize::try_from(signal).context("a signal number is positive")?;
        signal_hook::flag::register_usize(signal, Arc::clone(&LAST), value)
            .with_context(|| format!("cannot watch for signal {signal}"))?;
    }
    Ok(())
}

/// The signal that asked this process to stop, if one did.
pub(crate) fn received() -> Option<i32> {
    match LAST.load(Ordering::Relaxed) {
        0 => None,
        signal => i32::try_from(signal).ok(),
    }
}

/// An error once a signal has arrived: for the gaps between two steps.
pub(crate) fn check() -> Result<()> {
    match received() {
        Some(signal) => bail!("stopped by signal {signal}"),
        None => Ok(()),
    }
}
