//! How many files and connections this process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// As many descriptors as are asked for. More would be of no use, and programs that OpenCode starts inherit the number.
const WANTED: u64 = 8192;

/// Raises the soft limit towards the hard one, and tells what it is now. Systems often allow 1024 at first, of which
/// every browser, every turn and every file takes some.
pub(crate) fn raise() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let now = limit.current.unwrap_or(WANTED);
    let wanted = limit.maximum.unwrap_or(WANTED).min(WANTED);
    if now >= wanted {
        return usize::try_from(now).unwrap_or(usize::MAX);
    }
    let raised = Rlimit {
        current: Some(wanted),
        ..limit
    };
    let now = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => wanted,
        Err(error) => {
            tracing::debug!(%error, "the limit of descriptors stays");
            now
        }
    };
    usize::try_from(now).unwrap_or(usize::MAX)
}
