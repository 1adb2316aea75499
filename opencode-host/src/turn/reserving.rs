//! What a turn may use: reserved before it is prompted, and again where it has used that up.

use super::ears::Ears;
use super::facts::{Facts, Funds, Learned};
use super::follow::write;
use super::tools::{Outcome, Tools};
use crate::store::{Reserved, StoreError};

/// Notes what the turn has used, and asks for more.
pub(super) async fn reserve(tools: &Tools, facts: &Facts, ears: &mut Ears) -> Outcome {
    // Whoever takes the turn over tells by what was saved how much of this was in another session.
    write(tools, ears).await?;
    let spent = ears.spent();
    let store = &tools.front.store;
    match store.reserve(&tools.lease, &facts.budget, &spent).await {
        Ok(reserved) => {
            let spent = *reserved.spent();
            ears.spent_before(spent);
            Ok(Learned::Reserved {
                funds: match reserved {
                    Reserved::Granted { grant, .. } => Funds::Granted(grant),
                    Reserved::Over { over, .. } => Funds::Over(over.to_string()),
                },
                time: spent.time,
            })
        }
        Err(StoreError::Configuration(why)) => Ok(Learned::Reserved {
            funds: Funds::Failed(why),
            time: spent.time,
        }),
        Err(error) => Err(error.into()),
    }
}
