//! An answer that has not ended, as a page shows it.

use opencode_host::store::{Conversation, Phase, Turn};

use super::decision::DecisionView;
use super::live_answer::LiveAnswer;
use super::message::{THINKING, WAITING};
use crate::web::app::App;
use crate::web::problem::Problem;

/// The folder its agent works in, as far as it is known.
pub(crate) fn folder_of(conversation: &Conversation) -> Option<&str> {
    conversation.session.as_ref()?.directory.as_deref()
}

/// An answer that has not ended, as far as it is.
pub(crate) async fn pending(
    app: &App,
    turn: &Turn,
    folder: Option<&str>,
) -> Result<String, Problem> {
    let mut answer = LiveAnswer::new(
        app.base.clone(),
        turn.id,
        turn.message,
        folder.map(str::to_owned),
    )
    .with_decisions(DecisionView::all_of(app, turn.id).await?);
    let (cursor, view) = app.host.view(turn.id).await?;
    let store = app.host.store();
    let waits = turn.phase() == Phase::Queued && store.turn_ahead(turn.id).await?.is_some();
    if waits && let Some(first) = store.active_turns(turn.conversation, 1).await?.first() {
        answer = answer.behind(first.message);
    }
    Ok(answer.whole(cursor, &view, if waits { WAITING } else { THINKING })?)
}
