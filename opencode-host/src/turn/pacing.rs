//! How fast a turn may go on.
//!
//! Each step of a turn that goes to the server teaches something that decides the next one. Where it does not,
//! whatever the reason, the same steps would follow each other as fast as the server answers: 46,844 sessions were
//! made in a minute by a loop nobody had foreseen. So steps are counted here, whatever they are.

use std::time::Duration;

use tokio::time::Instant;

/// How many steps may follow each other at once.
const BURST: u32 = 16;

/// How often a step may follow behind them.
const PAUSE: Duration = Duration::from_millis(250);

/// Spaces the steps of a turn that go to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pacing {
    /// When all steps so far are made up for.
    even: Instant,
}

impl Pacing {
    pub(super) fn new(now: Instant) -> Self {
        Self { even: now }
    }

    /// How long the next step has to wait; zero where it may begin.
    pub(super) fn early(&self, now: Instant) -> Duration {
        let even = self.even.max(now) + PAUSE;
        even.saturating_duration_since(now + PAUSE * BURST)
    }

    /// Counts a step that begins.
    pub(super) fn count(&mut self, now: Instant) {
        self.even = self.even.max(now) + PAUSE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Begins a step, or says how long it has to wait.
    fn step(pacing: &mut Pacing, now: Instant) -> Result<(), Duration> {
        match pacing.early(now) {
            Duration::ZERO => {
                pacing.count(now);
                Ok(())
            }
            early => Err(early),
        }
    }

    #[test]
    fn a_few_steps_are_free_and_many_are_spaced() {
        let mut now = Instant::now();
        let mut pacing = Pacing::new(now);
        for _ in 0..BURST {
            assert_eq!(step(&mut pacing, now), Ok(()));
        }
        let mut steps = 0;
        let until = now + Duration::from_secs(60);
        while now < until {
            match step(&mut pacing, now) {
                Ok(()) => steps += 1,
                Err(wait) => {
                    assert!(wait <= PAUSE, "{wait:?}");
                    now += wait;
                }
            }
        }
        assert!((239..=240).contains(&steps), "{steps}");
        now += Duration::from_secs(3600);
        let free = (0..100).filter(|_| step(&mut pacing, now).is_ok()).count();
        assert_eq!(free, BURST as usize, "rest is not saved up without bound");
    }
}
