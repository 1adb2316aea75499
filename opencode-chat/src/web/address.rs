//! What the parts of an address stand for.

use opencode_host::store::{Conversation, Tenant, Turn};

use super::app::App;
use super::problem::Problem;

/// An id of a path. What is no id is nowhere.
pub(crate) fn id<T: std::str::FromStr>(text: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| Problem::no_such_page())
}

/// The conversation of an address. Those of tenants are an application's own, which shares the database.
pub(crate) async fn find(app: &App, conversation: &str) -> Result<Conversation, Problem> {
    let found = app.host.store().conversation(id(conversation)?).await?;
    let found = found.filter(|found| found.tenant == Tenant::default());
    found.ok_or_else(Problem::no_such_page)
}

/// The turn of an address, and its conversation.
pub(crate) async fn find_turn(app: &App, turn: &str) -> Result<(Turn, Conversation), Problem> {
    let found = app.host.store().turn(id(turn)?).await?;
    let turn = found.ok_or_else(Problem::no_such_page)?;
    let conversation = find(app, &turn.conversation.to_string()).await?;
    Ok((turn, conversation))
}
