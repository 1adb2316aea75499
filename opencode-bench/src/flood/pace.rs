//! How fast answers come.

use clap::Args;

/// What each answer is.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Pace {
    /// Deltas a second of each turn
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) rate: u64,
    /// How long an answer takes, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: u64,
    /// Bytes of each delta, of which the first 16 tell when it was made
    #[arg(long, value_name = "BYTES", default_value_t = 20, value_parser = clap::value_parser!(u64).range(16..=1_000_000))]
    pub(crate) delta_bytes: u64,
}

impl Pace {
    pub(crate) fn deltas(&self) -> u64 {
        self.rate * self.seconds
    }
}
