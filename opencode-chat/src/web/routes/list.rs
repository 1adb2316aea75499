//! `GET /conversations/list`: the list of conversations as it is now, for the page that shows it.

use askama::Template as _;
use axum::extract::{Query, State};
use axum::response::Html;
use serde::Deserialize;

use crate::web::app::App;
use crate::web::problem::Problem;
use crate::web::reader::Reader;
use crate::web::shelf::Shelf;
use crate::web::views::conversation_list::{ConversationList, Wanted};

/// What the page shows.
#[derive(Debug, Deserialize)]
pub(crate) struct Asked {
    shelf: Option<String>,
    /// The conversation that is open.
    current: Option<String>,
    /// How many conversations it lists.
    shown: Option<u32>,
}

/// `GET /conversations/list`
pub(crate) async fn list(
    State(app): State<App>,
    reader: Reader,
    Query(asked): Query<Asked>,
) -> Result<Html<String>, Problem> {
    // What is no shelf, no conversation, no number is as good as none.
    let wanted = Wanted {
        shelf: asked.shelf.as_deref().map(Shelf::of).unwrap_or_default(),
        after: None,
        current: asked.current.and_then(|current| current.parse().ok()),
        shown: asked.shown.unwrap_or(0),
    };
    let list = ConversationList::of(&app, reader, wanted).await?;
    Ok(Html(list.render()?))
}
