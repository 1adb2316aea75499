//! Answers to what the agent asks in the middle of a turn.

use askama::Template as _;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use opencode_host::client::wire::PermissionReply;
use opencode_host::client::{PermissionId, QuestionId};
use opencode_host::store::{NewAnswer, Turn};

use crate::web::address::find_turn;
use crate::web::app::{App, Mine};
use crate::web::form::done::done;
use crate::web::form::fields::Fields;
use crate::web::problem::Problem;
use crate::web::views::decision::{DecisionView, SOMEBODY};
use crate::web::views::message;
use crate::web::views::patch::{Patch, Patches, is_script};
use crate::web::views::pending_request::{self, requests_of};

/// The most questions one request may hold.
const MAX_QUESTIONS: usize = 64;

/// `POST /turns/{turn}/questions/{question}`: the answers, as options (`a0`, `a1`, …) and own words (`t0`, …).
pub(crate) async fn question(
    Mine(app): Mine,
    Path((turn, question)): Path<(String, String)>,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    let turn = find_turn(&app, &turn).await?.0;
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
    let answer = NewAnswer::question(&question, answers);
    give(&app, &turn, answer, &headers).await
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
    Mine(app): Mine,
    Path((turn, question)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let turn = find_turn(&app, &turn).await?.0;
    let answer = NewAnswer::rejection(&QuestionId::from(known(question)?));
    give(&app, &turn, answer, &headers).await
}

/// `POST /turns/{turn}/permissions/{permission}`: `reply` is `once`, `always` or `reject`; with a `message` a
/// rejection lets the agent go on.
pub(crate) async fn permission(
    Mine(app): Mine,
    Path((turn, permission)): Path<(String, String)>,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    let turn = find_turn(&app, &turn).await?.0;
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
    let mut answer = NewAnswer::permission(&permission, reply);
    if let Some(message) = message {
        answer = answer.message(message);
    }
    give(&app, &turn, answer, &headers).await
}

/// Gives an answer. In a page with a script, what was decided stands where the request was, which may be
/// gone by now.
async fn give(
    app: &App,
    turn: &Turn,
    answer: NewAnswer,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let request = answer.request.clone();
    app.host
        .answer(turn.id, answer.by(app.visitor.name().unwrap_or(SOMEBODY)))
        .await?;
    let given = app.host.store().answers(turn.id).await?;
    let given = given.iter().rfind(|given| given.answer.request == request);
    if is_script(headers)
        && let Some(given) = given
    {
        let decided = DecisionView::new(given).render()?;
        let requests = requests_of(&message::element(turn.message));
        let patches = vec![
            Patch::Remove(pending_request::element(&request)),
            Patch::Append(requests, decided),
        ];
        return Ok(Patches(patches).into_response());
    }
    done(app, turn.id, headers).await
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
