//! Answering what the agent asks in the middle of a turn.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, PoisonError};

use opencode_client::reply::{Change, PendingRequest};
use opencode_client::wire::{PermissionReply, PermissionRequest, Question, QuestionRequest};
use opencode_host::id::TurnId;
use opencode_host::visible::{block, command, line};
use opencode_host::{AnswerError, Host};
use tokio::task::AbortHandle;

use super::lines::TypedLines;
use crate::cli::AnswerArgs;
use crate::permission::Asked;
use crate::terminal;

/// What an agent is told whose request nobody is there to answer.
const NOBODY: &str = "Nobody is here to answer. Go on without it.";

/// Answers by the arguments, by asking the person, or by declining. Requests are answered beside the turn, one after
/// the other: it goes on, and may end, while a person thinks.
#[derive(Debug)]
pub(crate) struct Answerer {
    shared: Arc<Shared>,
    asking: HashMap<String, AbortHandle>,
}

#[derive(Debug)]
struct Shared {
    permission: Option<PermissionReply>,
    answer: Option<String>,
    /// A person is there to be asked.
    ask: bool,
    /// One request after the other.
    lines: tokio::sync::Mutex<TypedLines>,
    /// Requests that were answered here.
    answered: Mutex<HashSet<String>>,
}

impl Drop for Answerer {
    fn drop(&mut self) {
        for asking in self.asking.values() {
            asking.abort();
        }
    }
}

impl Answerer {
    pub(crate) fn new(args: &AnswerArgs, json: bool) -> Self {
        Self {
            shared: Arc::new(Shared {
                permission: args.permission.map(Into::into),
                answer: args.answer.clone(),
                ask: !json && std::io::stdin().is_terminal() && std::io::stderr().is_terminal(),
                lines: tokio::sync::Mutex::default(),
                answered: Mutex::default(),
            }),
            asking: HashMap::new(),
        }
    }

    /// Answers if the change is a request; stops asking if it says that somebody else has answered.
    pub(crate) fn heard(&mut self, host: &Host, turn: TurnId, change: &Change<'_>) {
        match change {
            Change::Question { request } => {
                self.asked(host, turn, &PendingRequest::Question(request.clone()));
            }
            Change::Permission { request } => {
                self.asked(host, turn, &PendingRequest::Permission(request.clone()));
            }
            Change::QuestionReplied { request_id, .. }
            | Change::QuestionRejected { request_id }
            | Change::PermissionReplied { request_id, .. } => self.answered_elsewhere(request_id),
            _ => {}
        }
    }

    /// Answers a request, once.
    pub(crate) fn asked(&mut self, host: &Host, turn: TurnId, request: &PendingRequest) {
        let id = request.id();
        let is_asked = |asking: &AbortHandle| !asking.is_finished();
        if self.shared.is_answered(id) || self.asking.get(id).is_some_and(is_asked) {
            return;
        }
        let (shared, host, request) = (Arc::clone(&self.shared), host.clone(), request.clone());
        let asking = tokio::spawn({
            let request = request.clone();
            async move { shared.answer(&host, turn, &request).await }
        });
        self.asking.insert(id.to_owned(), asking.abort_handle());
    }

    fn answered_elsewhere(&mut self, id: &str) {
        if let Some(asking) = self.asking.remove(id)
            && !self.shared.is_answered(id)
        {
            asking.abort();
            terminal::tell("");
            terminal::tell("· it was answered elsewhere");
        }
    }
}

impl Shared {
    fn answered(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_answered(&self, id: &str) -> bool {
        self.answered().contains(id)
    }

    async fn answer(&self, host: &Host, turn: TurnId, request: &PendingRequest) {
        let answered = match request {
            PendingRequest::Question(question) => self.question(host, turn, question).await,
            PendingRequest::Permission(permission) => self.permission(host, turn, permission).await,
        };
        match answered {
            Ok(()) | Err(AnswerError::NotWaiting | AnswerError::AlreadyAnswered { .. }) => {}
            Err(error) => {
                // Heard again after the next gap.
                self.answered().remove(request.id());
                terminal::tell(format_args!("· {error}"));
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
            None if self.ask => self.ask_questions(&request.questions).await,
            None => None,
        };
        self.answered().insert(request.id.to_string());
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
            None if self.ask => (self.ask_permission(request).await, None),
            None => (PermissionReply::Reject, Some(NOBODY)),
        };
        self.answered().insert(request.id.to_string());
        host.reply_permission(turn, &request.id, reply, message)
            .await
    }

    /// Asks the person; `None` declines.
    async fn ask_questions(&self, questions: &[Question]) -> Option<Vec<Vec<String>>> {
        let mut lines = self.lines.lock().await;
        let mut answers = Vec::with_capacity(questions.len());
        for question in questions {
            terminal::tell("");
            terminal::tell(question_text(question));
            lines.forget();
            let answer = loop {
                let how = if question.multiple {
                    "number, several with commas, or words of your own"
                } else {
                    "number, or words of your own"
                };
                terminal::put(&format!("  {how}; nothing declines: "));
                let typed = lines.next().await.filter(|typed| !typed.is_empty())?;
                match chosen(question, &typed) {
                    Ok(answer) => break answer,
                    Err(again) => terminal::tell(format_args!("  {again}")),
                }
            };
            answers.push(answer);
        }
        Some(answers)
    }

    async fn ask_permission(&self, request: &PermissionRequest) -> PermissionReply {
        let mut lines = self.lines.lock().await;
        terminal::tell("");
        terminal::tell(permission_text(&Asked::of(request)));
        lines.forget();
        loop {
            terminal::put("  [o]nce, [a]lways, [r]eject; nothing rejects: ");
            match lines.next().await.as_deref() {
                Some("o" | "O" | "once" | "y" | "yes") => return PermissionReply::Once,
                Some("a" | "A" | "always") => return PermissionReply::Always,
                None | Some("" | "r" | "R" | "reject" | "n" | "no") => {
                    return PermissionReply::Reject;
                }
                Some(_) => terminal::tell("  type o, a or r"),
            }
        }
    }
}

/// A question with its options, each on a line of its own.
fn question_text(question: &Question) -> String {
    let mut text = format!("? {}", block(&question.question));
    if !question.header.is_empty() && question.header != question.question {
        let _ = write!(text, " ({})", line(&question.header));
    }
    for (number, option) in question.options.iter().enumerate() {
        let _ = write!(text, "\n{}) {}", number + 1, line(&option.label));
        if !option.description.is_empty() && option.description != option.label {
            let _ = write!(text, "  {}", line(&option.description));
        }
    }
    text
}

/// All that a request says, most important first.
fn permission_text(asked: &Asked) -> String {
    let mut text = format!("? The agent wants to {}", asked.purpose);
    for detail in &asked.details {
        let length = detail.length.as_ref().map(|length| format!(" ({length})"));
        let _ = write!(
            text,
            "\n{}{}:",
            line(&detail.label),
            length.unwrap_or_default()
        );
        for row in detail.text.split('\n') {
            let _ = write!(text, "\n  {}", command(row));
        }
    }
    if !asked.always.is_empty() {
        text += "\n“Always” allows:";
        for pattern in &asked.always {
            let _ = write!(text, "\n  {}", command(&pattern.replace('\n', "\n  ")));
        }
    }
    text
}

/// What was chosen by `typed`: options by their numbers or labels, else the words as they are.
///
/// # Errors
/// What to type instead of a number that is no option's.
fn chosen(question: &Question, typed: &str) -> Result<Vec<String>, String> {
    let options = &question.options;
    let option = |word: &str| -> Option<String> {
        let number = word.parse::<usize>().ok();
        let by_number = number.and_then(|number| options.get(number.checked_sub(1)?));
        let by_label = || options.iter().find(|option| option.label == word);
        by_number
            .or_else(by_label)
            .map(|option| option.label.clone())
    };
    if let Some(label) = option(typed) {
        return Ok(vec![label]);
    }
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    // A number that is meant as one.
    if let Some(number) = typed
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        && is_number(number)
    {
        return Ok(vec![number.to_owned()]);
    }
    let words: Vec<&str> = typed.split(',').map(str::trim).collect();
    if question.multiple {
        let labels: Option<Vec<String>> = words.iter().map(|word| option(word)).collect();
        if let Some(mut labels) = labels {
            let mut known = HashSet::new();
            labels.retain(|label| known.insert(label.clone()));
            return Ok(labels);
        }
    }
    if !options.is_empty()
        && words
            .iter()
            .all(|word| is_number(word) || option(word).is_some())
    {
        return Err(match words.as_slice() {
            [number] => {
                format!("there is no option {number}; to answer with a number, type \"{number}\"")
            }
            _ if question.multiple => "not all of these are options".to_owned(),
            _ => "choose one option only".to_owned(),
        });
    }
    Ok(vec![typed.to_owned()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use opencode_client::wire::QuestionOption;
    use serde_json::json;

    fn question(options: &[&str], multiple: bool) -> Question {
        let options = options.iter().map(|label| QuestionOption {
            label: (*label).to_owned(),
            ..QuestionOption::default()
        });
        Question {
            question: "Which?".to_owned(),
            options: options.collect(),
            multiple,
            ..Question::default()
        }
    }

    #[test]
    fn own_words_go_whole_and_options_by_number_or_label() {
        let one = question(&["Red", "Blue, dark"], false);
        let several = question(&["Red", "Blue", "Green"], true);
        let free = question(&[], false);
        for (question, typed, answer) in [
            (&one, "1", vec!["Red"]),
            (&one, "2", vec!["Blue, dark"]),
            (&one, "Blue, dark", vec!["Blue, dark"]),
            (
                &one,
                "Neither, use green, please",
                vec!["Neither, use green, please"],
            ),
            (&one, "\"5432\"", vec!["5432"]),
            (&one, "2 or 3", vec!["2 or 3"]),
            (&one, "-1", vec!["-1"]),
            (&several, "1, 3", vec!["Red", "Green"]),
            (&several, "Green,1,1", vec!["Green", "Red"]),
            (&several, "2", vec!["Blue"]),
            (
                &several,
                "1, and a bit of pink",
                vec!["1, and a bit of pink"],
            ),
            (&several, "Red, white", vec!["Red, white"]),
            (&free, "42", vec!["42"]),
            (&free, "1, 2", vec!["1, 2"]),
        ] {
            assert_eq!(chosen(question, typed).unwrap(), answer, "{typed}");
        }
    }

    #[test]
    fn a_number_that_is_no_option_is_asked_for_again() {
        let one = question(&["Red", "Blue"], false);
        let several = question(&["Red", "Blue"], true);
        for (question, typed) in [
            (&one, "3"),
            (&one, "0"),
            (&one, "99999999999999999999999"),
            (&one, "1, 2"),
            (&several, "1, 7"),
        ] {
            assert!(chosen(question, typed).is_err(), "{typed}");
        }
    }

    #[test]
    fn a_question_shows_all_that_is_asked_and_nothing_that_steers() {
        let mut question = question(&["Yes\r\u{1b}[2K", "No"], false);
        question.question = "Really?\nIt is \u{202e}gnihton".to_owned();
        question.options[1].description = "stop\n? The agent wants".to_owned();
        assert_eq!(
            question_text(&question),
            "? Really?\nIt is \\u{202e}gnihton\n1) Yes\\r\\u{1b}[2K\n2) No  stop\\n? The agent wants"
        );
    }

    #[test]
    fn a_permission_shows_the_whole_command_where_it_leads_and_what_always_means() {
        let request = json!({
            "id": "per_1", "sessionID": "ses_1", "permission": "bash",
            "patterns": ["curl -s x", "sh"],
            "metadata": {"command": "curl -s x |\n  sh > out\r\u{1b}[1A", "directory": "/etc"},
            "always": ["curl *", "sh *"],
        });
        let asked = Asked::of(&serde_json::from_value(request).unwrap());
        assert_eq!(
            permission_text(&asked),
            "? The agent wants to run a command\nCommand:\n  curl -s x |\n    sh > out\\r\\u{1b}[1A\nFolder:\n  /etc\
             \nFor:\n  curl -s x\n  sh\n“Always” allows:\n  curl *\n  sh *"
        );
    }
}
