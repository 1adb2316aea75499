//! What people answered to an agent, who, and when: beside the answer for as long as there is one.

use askama::Template;
use chrono::{DateTime, SecondsFormat};
use opencode_host::client::wire::PermissionReply;
use opencode_host::clock::Timestamp;
use opencode_host::id::TurnId;
use opencode_host::store::{AnswerState, Given, RequestAnswer};

use crate::web::app::App;
use crate::web::problem::Problem;

/// Who answers on a page, as long as there are no accounts.
pub(crate) const SOMEBODY: &str = "someone in a browser";

/// One answer.
#[derive(Clone, Debug, Template)]
#[template(
    source = "<p class=\"mark decided\" id=\"decided-{{ request }}\"><svg class=\"icon\" aria-hidden=\"true\"><use href=\"#i-check\"/></svg>\
              <span>{{ words }}{% if let Some(by) = by %} by {{ by }}{% endif %}, <time datetime=\"{{ moment }}\">{{ told }}</time>\
              {% if let Some(trouble) = trouble %}. It did not arrive: {{ trouble }}{% endif %}</span></p>",
    ext = "html"
)]
pub(crate) struct DecisionView {
    request: String,
    words: String,
    by: Option<String>,
    moment: String,
    told: String,
    trouble: Option<String>,
}

impl DecisionView {
    pub(crate) fn new(row: &RequestAnswer) -> Self {
        let RequestAnswer {
            answer, at, state, ..
        } = row;
        Self {
            request: answer.request.clone(),
            words: words(&answer.given),
            by: answer.by.clone(),
            moment: moment(*at),
            told: told(*at),
            trouble: match state {
                AnswerState::Failed { why, .. } => Some(why.clone()),
                _ => None,
            },
        }
    }

    /// What people answered to the agent of a turn, oldest first.
    pub(crate) async fn all_of(app: &App, turn: TurnId) -> Result<Vec<Self>, Problem> {
        let answers = app.host.store().answers(turn).await?;
        Ok(answers.iter().map(Self::new).collect())
    }
}

fn words(given: &Given) -> String {
    match given {
        Given::Permission { reply, message } => match (reply, message) {
            (PermissionReply::Once, _) => "Allowed once".to_owned(),
            (PermissionReply::Always, _) => "Allowed always in this conversation".to_owned(),
            (_, None) => "Rejected".to_owned(),
            (_, Some(message)) => format!("Rejected, with “{message}”"),
        },
        Given::Rejection => "Declined".to_owned(),
        Given::Answers(answers) => {
            let answers: Vec<_> = answers.iter().map(|answer| answer.join(", ")).collect();
            format!("Answered “{}”", answers.join("”, “"))
        }
        _ => "Answered".to_owned(),
    }
}

/// A moment for programs; empty for one that no calendar has.
fn moment(at: Timestamp) -> String {
    let at = DateTime::from_timestamp_millis(at.0);
    at.map_or_else(String::new, |at| {
        at.to_rfc3339_opts(SecondsFormat::Secs, true)
    })
}

/// A moment for people, where no script says it in their own way.
pub(crate) fn told(at: Timestamp) -> String {
    let at = DateTime::from_timestamp_millis(at.0);
    at.map_or_else(
        || "some day".to_owned(),
        |at| at.format("%Y-%m-%d %H:%M UTC").to_string(),
    )
}
