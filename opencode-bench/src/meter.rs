//! What a run costs.

use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use serde::Serialize;

/// One line of output.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) peer: String,
    pub(crate) subs: &'static str,
    #[serde(rename = "S")]
    pub(crate) sessions: usize,
    #[serde(rename = "D")]
    pub(crate) deltas: u64,
    pub(crate) wall_s: f64,
    pub(crate) user_s: f64,
    pub(crate) sys_s: f64,
    pub(crate) maxrss_kb: u64,
    pub(crate) own_events: u64,
    pub(crate) verified: usize,
    pub(crate) bad: usize,
}

/// The clock and the CPU meter, from one moment on.
pub(crate) struct Meter {
    wall: Instant,
    user_us: i64,
    sys_us: i64,
}

/// What a meter showed.
#[expect(clippy::struct_field_names, reason = "the unit belongs to the name")]
pub(crate) struct Cost {
    pub(crate) wall_s: f64,
    pub(crate) user_s: f64,
    pub(crate) sys_s: f64,
}

impl Meter {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let usage = getrusage(UsageWho::RUSAGE_SELF)?;
        Ok(Self {
            wall: Instant::now(),
            user_us: usage.user_time().num_microseconds(),
            sys_us: usage.system_time().num_microseconds(),
        })
    }

    pub(crate) fn read(&self) -> anyhow::Result<Cost> {
        let usage = getrusage(UsageWho::RUSAGE_SELF)?;
        let seconds = |now: i64, then: i64| (now - then) as f64 / 1e6;
        Ok(Cost {
            wall_s: self.wall.elapsed().as_secs_f64(),
            user_s: seconds(usage.user_time().num_microseconds(), self.user_us),
            sys_s: seconds(usage.system_time().num_microseconds(), self.sys_us),
        })
    }
}

/// The most memory the process has had, in KiB: `VmHWM`.
pub(crate) fn peak_memory_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
