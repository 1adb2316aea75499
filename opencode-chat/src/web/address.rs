//! What the parts of an address stand for.

use opencode_host::TenantHost;
use opencode_host::store::{Conversation, Turn};

use super::app::App;
use super::problem::Problem;

/// An id of a path. What is no id is nowhere.
pub(crate) fn id<T: std::str::FromStr>(text: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| Problem::no_such_page())
}

/// The turns of whoever asks. Those of others are other users', or an application's own, which shares the database.
pub(crate) fn people(app: &App) -> TenantHost {
    app.host.of(&app.visitor.tenant)
}

/// The conversation of an address.
pub(crate) async fn find(app: &App, conversation: &str) -> Result<Conversation, Problem> {
    Ok(people(app).conversation(id(conversation)?).await?)
}

/// The turn of an address, and its conversation.
pub(crate) async fn find_turn(app: &App, turn: &str) -> Result<(Turn, Conversation), Problem> {
    let people = people(app);
    let turn = people.turn(id(turn)?).await?;
    let conversation = people.conversation(turn.conversation).await?;
    Ok((turn, conversation))
}
