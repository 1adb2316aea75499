//! Turns of a build without tools offer none.

#![expect(
    clippy::unused_async,
    reason = "as the calls that a build with tools waits for"
)]

use super::facts::{Facts, Learned};
use super::hosted::Policy;
use super::tools::{Outcome, Tools, Trouble};
use crate::store::SessionRecord;

pub(super) fn has_tools(_: &Policy) -> bool {
    false
}

pub(super) fn stop_calls(_: &Tools) {}

pub(super) async fn offer(_: &Tools, _: &SessionRecord) -> Result<(), Trouble> {
    Ok(())
}

pub(super) async fn offer_again(_: &Tools, _: &Facts) -> Outcome {
    Ok(Learned::Offered)
}
