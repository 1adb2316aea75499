//! What the parts of an address stand for.

use opencode_host::store::Conversation;

use super::app::App;
use super::problem::Problem;

/// An id of a path. What is no id is nowhere.
pub(crate) fn id<T: std::str::FromStr>(text: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| Problem::no_such_page())
}

/// The conversation of an address.
pub(crate) async fn find(app: &App, conversation: &str) -> Result<Conversation, Problem> {
    app.host
        .store()
        .conversation(id(conversation)?)
        .await?
        .ok_or_else(Problem::no_such_page)
}
