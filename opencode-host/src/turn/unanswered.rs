//! Answering a request in the place of a person who does not.

use opencode_client::Reply;
use opencode_client::reply::PendingRequest;
use opencode_client::wire::PermissionReply;

use super::ears::Ears;
use super::facts::{Facts, Learned};
use super::limits::{Unanswered, Waiting};
use super::tools::{Outcome, Tools};
use crate::store::{AnswerOutcome, NewAnswer};

/// Answers a request whose time is up. The answer is a row, as a person's is: of the two, the first one counts.
pub(super) async fn decline(tools: &Tools, facts: &Facts, ears: &Ears, request: &str) -> Outcome {
    let asked = ears.reply.as_ref().map(Reply::requests);
    let asked = asked.and_then(|asked| asked.iter().find(|asked| asked.id() == request));
    let (Some(waiting), Some(asked)) = (facts.limits.waiting, asked) else {
        return Ok(Learned::Nothing);
    };
    let answer = in_the_place_of_a_person(waiting, asked);
    let outcome = tools.front.store.answer(tools.turn.id, &answer).await?;
    tools.front.telemetry.event(
        "request.unanswered",
        [
            ("turn", tools.turn.id.to_string().into()),
            ("request", request.into()),
            ("waited_ms", (waiting.at_most.as_millis() as u64).into()),
            ("taken", matches!(outcome, AnswerOutcome::Taken(_)).into()),
        ],
    );
    for worker in tools.front.workers() {
        worker.send_answers(tools.turn.id);
    }
    Ok(Learned::Declined(request.to_owned()))
}

fn in_the_place_of_a_person(waiting: Waiting, asked: &PendingRequest) -> NewAnswer {
    let words = || {
        format!(
            "Nobody answered within {:?}. Go on without.",
            waiting.at_most
        )
    };
    let answer = match (asked, waiting.then) {
        (PendingRequest::Question(asked), Unanswered::Reject) => NewAnswer::rejection(&asked.id),
        (PendingRequest::Question(asked), Unanswered::Deny) => {
            let answers = vec![vec![words()]; asked.questions.len()];
            NewAnswer::question(&asked.id, answers)
        }
        (PendingRequest::Permission(asked), then) => {
            let answer = NewAnswer::permission(&asked.id, PermissionReply::Reject);
            match then {
                Unanswered::Reject => answer,
                Unanswered::Deny => answer.message(words()),
            }
        }
    };
    answer.by(Waiting::BY)
}
