//! How a claim of a turn ends, and how the turn is left to whoever claims it next.

use super::ears::Ears;
use super::follow::write;
use super::tools::Tools;

/// How a claim ended.
#[derive(Debug)]
pub(crate) enum Driven {
    /// The turn has its terminal state and is settled.
    Finished,
    /// Somebody else has the turn, or will have it when the lease runs out.
    Lost,
    /// The turn was given back.
    Released,
}

/// The turn is not to be worked on here any more: it is another worker's, or is given back with what there is of it.
pub(super) async fn leave(tools: &Tools, ears: &mut Ears) -> Driven {
    if tools.control.orders().lost {
        return Driven::Lost;
    }
    let _ = write(tools, ears).await;
    match tools.front.store.release(&tools.lease).await {
        Ok(()) => Driven::Released,
        Err(error) => {
            tools.report(&error);
            Driven::Lost
        }
    }
}
