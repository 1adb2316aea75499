//! Answering what the agent asks in the middle of a turn.

use std::collections::HashSet;
use std::io::{BufRead as _, IsTerminal as _, Write as _};

use opencode_client::reply::{Change, PendingRequest};
use opencode_client::wire::{PermissionReply, PermissionRequest, Question, QuestionRequest};
use opencode_host::id::TurnId;
use opencode_host::{AnswerError, Host};

use crate::cli::AnswerArgs;

/// What an agent is told whose request nobody is there to answer.
const NOBODY: &str = "Nobody is here to answer. Go on without it.";

/// Answers by the arguments, by asking the person, or by declining.
#[derive(Debug)]
pub(crate) struct Answerer {
    permission: Option<PermissionReply>,
    answer: Option<String>,
    ask: bool,
    answered: HashSet<String>,
}

impl Answerer {
    pub(crate) fn new(args: &AnswerArgs, json: bool) -> Self {
        Self {
            permission: args.permission.map(Into::into),
            answer: args.answer.clone(),
            ask: !json && std::io::stdin().is_terminal() && std::io::stderr().is_terminal(),
            answered: HashSet::new(),
        }
    }

    /// Answers if the change is a request.
    pub(crate) async fn heard(&mut self, host: &Host, turn: TurnId, change: &Change<'_>) {
        let request = match change {
            Change::Question { request } => PendingRequest::Question(request.clone()),
            Change::Permission { request } => PendingRequest::Permission(request.clone()),
            _ => return,
        };
        self.asked(host, turn, &request).await;
    }

    /// Answers a request, once.
    pub(crate) async fn asked(&mut self, host: &Host, turn: TurnId, request: &PendingRequest) {
        if !self.answered.insert(request.id().to_owned()) {
            return;
        }
        let answered = match request {
            PendingRequest::Question(question) => self.question(host, turn, question).await,
            PendingRequest::Permission(permission) => self.permission(host, turn, permission).await,
        };
        match answered {
            Ok(()) | Err(AnswerError::NotWaiting) => {}
            Err(error) => {
                // Heard again after the next gap.
                self.answered.remove(request.id());
                eprintln!("· the answer did not arrive: {error}");
            }
        }
    }

    async fn question(
        &self,
        host: &Host,
        turn: TurnId,
        request: &QuestionRequest,
    ) -> Result<(), AnswerError> {
        let answers = match &self.answer {
            Some(label) => Some(
                request
                    .questions
                    .iter()
                    .map(|_| vec![label.clone()])
                    .collect(),
            ),
            None if self.ask => ask_questions(request.questions.clone()).await,
            None => None,
        };
        match answers {
            Some(answers) => host.answer_question(turn, &request.id, &answers).await,
            None => host.reject_question(turn, &request.id).await,
        }
    }

    async fn permission(
        &self,
        host: &Host,
        turn: TurnId,
        request: &PermissionRequest,
    ) -> Result<(), AnswerError> {
        let (reply, message) = match self.permission {
            Some(reply) => (reply, None),
            None if self.ask => (ask_permission(request.clone()).await, None),
            None => (PermissionReply::Reject, Some(NOBODY)),
        };
        host.reply_permission(turn, &request.id, reply, message)
            .await
    }
}

/// Asks the person on the terminal; `None` declines.
async fn ask_questions(questions: Vec<Question>) -> Option<Vec<Vec<String>>> {
    let asked = tokio::task::spawn_blocking(move || questions.iter().map(ask_question).collect());
    asked.await.ok().flatten()
}

fn ask_question(question: &Question) -> Option<Vec<String>> {
    eprintln!("\n? {}", question.question);
    for (number, option) in question.options.iter().enumerate() {
        eprintln!("  {}) {}  {}", number + 1, option.label, option.description);
    }
    let line = read_line("  number, or words of your own; nothing declines: ")?;
    let chosen = line.split(',').map(|piece| {
        let piece = piece.trim();
        let number = piece
            .parse::<usize>()
            .ok()
            .and_then(|number| number.checked_sub(1));
        number
            .and_then(|number| question.options.get(number))
            .map_or_else(|| piece.to_owned(), |option| option.label.clone())
    });
    Some(if question.multiple {
        chosen.collect()
    } else {
        chosen.take(1).collect()
    })
}

async fn ask_permission(request: PermissionRequest) -> PermissionReply {
    let asked = tokio::task::spawn_blocking(move || {
        eprintln!(
            "\n? The agent asks for {}: {}",
            request.permission,
            request.patterns.join(", ")
        );
        match read_line("  [o]nce, [a]lways, or nothing for no: ")
            .as_deref()
            .map(str::trim)
        {
            Some("o" | "once" | "y" | "yes") => PermissionReply::Once,
            Some("a" | "always") => PermissionReply::Always,
            _ => PermissionReply::Reject,
        }
    });
    asked.await.unwrap_or(PermissionReply::Reject)
}

/// A line with something on it.
fn read_line(question: &str) -> Option<String> {
    eprint!("{question}");
    let _ = std::io::stderr().flush();
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).ok()?;
    let line = line.trim().to_owned();
    (!line.is_empty()).then_some(line)
}
