//! How many turns a worker works on at once, those that wait for a person not counted.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

/// The places of a worker's run. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    limit: usize,
    taken: watch::Sender<usize>,
}

impl Places {
    /// So many places, and one at least.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            taken: watch::Sender::new(0),
        }
    }

    /// Takes a place, if there is one.
    pub(crate) fn take(&self) -> Option<Place> {
        let taken = self.taken.send_if_modified(|taken| {
            let room = *taken < self.limit;
            *taken += usize::from(room);
            room
        });
        taken.then(|| Place {
            of: self.clone(),
            counted: AtomicBool::new(true),
        })
    }

    /// Waits until there is a place.
    pub(crate) async fn room(&self) {
        let mut taken = self.taken.subscribe();
        // The sender lives in `self`: there is no error.
        let _ = taken.wait_for(|taken| *taken < self.limit).await;
    }
}

/// A turn's place. It is given up when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    of: Places,
    counted: AtomicBool,
}

impl Place {
    /// Gives the place up while the turn waits for a person, and takes it again, whether there is one or not: a turn
    /// that goes on waits for no other.
    pub(crate) fn waits(&self, waits: bool) {
        let counted = !waits;
        if self.counted.swap(counted, Ordering::Relaxed) != counted {
            self.of.taken.send_modify(|taken| {
                *taken = if counted {
                    taken.saturating_add(1)
                } else {
                    taken.saturating_sub(1)
                };
            });
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waits(true);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn who_waits_makes_room_and_who_goes_on_needs_none() {
        let places = Places::new(1);
        let first = places.take().unwrap();
        assert!(places.take().is_none());
        assert!(places.room().now_or_never().is_none());
        first.waits(true);
        first.waits(true);
        places.room().now_or_never().unwrap();
        let second = places.take().unwrap();
        assert!(places.take().is_none());
        // Over the limit, until one of the two is done.
        first.waits(false);
        drop(second);
        assert!(places.take().is_none(), "the first one is counted again");
        drop(first);
        let third = places.take().unwrap();
        third.waits(true);
        drop(third);
        assert!(places.take().is_some(), "given up once");
        assert!(Places::new(0).take().is_some());
    }
}
