//! Answers to what the agent asks in the middle of a turn.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use opencode_host::client::wire::PermissionReply;
use opencode_host::client::{PermissionId, QuestionId};

use crate::web::address::find_turn;
use crate::web::app::App;
use crate::web::form::done::done;
use crate::web::form::fields::Fields;
use crate::web::problem::Problem;

/// The most questions one request may hold.
const MAX_QUESTIONS: usize = 64;

/// `POST /turns/{turn}/questions/{question}`: the answers, as options (`a0`, `a1`, …) and own words (`t0`, …).
pub(crate) async fn question(
    State(app): State<App>,
    Path((turn, question)): Path<(String, String)>,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    let turn = find_turn(&app, &turn).await?.0.id;
    let question = QuestionId::from(known(question)?);
    let count = fields
        .first("count")
        .and_then(|count| count.parse().ok())
        .unwrap_or(1);
    let answers: Vec<Vec<String>> = (0..count.min(MAX_QUESTIONS))
        .map(|number| answer(&fields, number))
        .collect();
    if answers.iter().any(Vec::is_empty) {
        let text = "Choose an option or write an answer of your own, for every question.";
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "An answer is missing",
            text,
        ));
    }
    app.host.answer_question(turn, &question, &answers).await?;
    done(&app, turn, &headers).await
}

fn answer(fields: &Fields, number: usize) -> Vec<String> {
    let (chosen, own) = (format!("a{number}"), format!("t{number}"));
    // A label with several lines comes back with the line ends of a form.
    let chosen = fields.all(&chosen).map(|label| label.replace("\r\n", "\n"));
    chosen
        .chain(fields.first(&own).map(|words| words.trim().to_owned()))
        .collect()
}

/// `POST /turns/{turn}/questions/{question}/reject`
pub(crate) async fn reject(
    State(app): State<App>,
    Path((turn, question)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let turn = find_turn(&app, &turn).await?.0.id;
    app.host
        .reject_question(turn, &QuestionId::from(known(question)?))
        .await?;
    done(&app, turn, &headers).await
}

/// `POST /turns/{turn}/permissions/{permission}`: `reply` is `once`, `always` or `reject`; with a `message` a
/// rejection lets the agent go on.
pub(crate) async fn permission(
    State(app): State<App>,
    Path((turn, permission)): Path<(String, String)>,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    let turn = find_turn(&app, &turn).await?.0.id;
    let permission = PermissionId::from(known(permission)?);
    let reply = match fields.first("reply") {
        Some("once") => PermissionReply::Once,
        Some("always") => PermissionReply::Always,
        Some("reject") => PermissionReply::Reject,
        _ => {
            let text = "Allow it once, always, or reject it.";
            return Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "An answer is missing",
                text,
            ));
        }
    };
    let message = fields
        .first("message")
        .filter(|_| reply == PermissionReply::Reject);
    app.host
        .reply_permission(turn, &permission, reply, message)
        .await?;
    done(&app, turn, &headers).await
}

/// An upstream id goes into the path of a request there: letters, digits and `_` only.
fn known(upstream: String) -> Result<String, Problem> {
    let plain = upstream
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if plain {
        Ok(upstream)
    } else {
        Err(Problem::no_such_page())
    }
}
