//! How a running turn is told to stop, and why.

use std::sync::Arc;

use tokio::sync::watch;

use super::places::Place;

/// What a running turn is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Orders {
    /// A cancel was asked for.
    pub(crate) cancel: bool,
    /// The lease is lost: stop without a write.
    pub(crate) lost: bool,
    /// The process ends: write down what there is and give the turn back.
    pub(crate) release: bool,
}

/// The line to a running turn. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    generation: u64,
    orders: Arc<watch::Sender<Orders>>,
    /// Its place among the worker's turns, where those are counted.
    place: Option<Arc<Place>>,
}

impl Control {
    pub(crate) fn new(generation: u64, orders: Orders, place: Option<Place>) -> Self {
        Self {
            generation,
            orders: Arc::new(watch::Sender::new(orders)),
            place: place.map(Arc::new),
        }
    }

    /// The claim this is the line to.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn order(&self, change: impl Fn(&mut Orders)) {
        self.orders.send_if_modified(|orders| {
            let before = *orders;
            change(orders);
            *orders != before
        });
    }

    pub(crate) fn orders(&self) -> Orders {
        *self.orders.borrow()
    }

    /// Says whether the turn waits for a person, and so needs no place among the worker's turns.
    pub(crate) fn waits(&self, waits: bool) {
        if let Some(place) = &self.place {
            place.waits(waits);
        }
    }

    /// Waits until there are other orders than these.
    pub(crate) async fn other_than(&self, known: Orders) {
        self.when(|orders| *orders != known).await;
    }

    /// Waits until the turn is not to be worked on here any more.
    pub(crate) async fn leaves(&self) {
        self.when(|orders| orders.lost || orders.release).await;
    }

    async fn when(&self, given: impl FnMut(&Orders) -> bool) {
        // The sender lives in `self`: there is no error.
        let _ = self.orders.subscribe().wait_for(given).await;
    }
}
