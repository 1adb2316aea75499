//! Where a form leads once it is done.

use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Redirect, Response};
use opencode_host::id::{ConversationId, TurnId};

use crate::web::app::App;
use crate::web::problem::Problem;
use crate::web::views::patch::{Patches, is_script};

/// The conversation's newest end.
pub(crate) fn back_to(app: &App, conversation: ConversationId) -> Response {
    let page = format!("{}/conversations/{conversation}#end", app.base);
    Redirect::to(&page).into_response()
}

/// A form is done, and the stream shows what came of it: nothing to change in
/// the page that sent it; the page itself for a browser without a script.
pub(crate) async fn done(
    app: &App,
    turn: TurnId,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    if is_script(headers) {
        return Ok(Patches(Vec::new()).into_response());
    }
    let turn = app
        .host
        .store()
        .turn(turn)
        .await?
        .ok_or_else(Problem::no_such_page)?;
    Ok(back_to(app, turn.conversation))
}
