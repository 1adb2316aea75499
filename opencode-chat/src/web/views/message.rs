//! Messages as HTML.

use askama::Template;
use opencode_host::client::reply::PersistedPart;
use opencode_host::id::{MessageId, TurnId};
use opencode_host::live::Cursor;
use opencode_host::outcome::Reason;
use opencode_host::store::{Message, MessageRole, MessageStatus, Usage};

use super::decision::DecisionView;
use super::failed_answer::Failure;
use super::file_card::FileView;
use super::part::PartView;
use super::pending_request::RequestView;
use super::versions::Versions;
use crate::web::base_path::BasePath;

/// Bytes of an answer that are shown on its page. All of it is at an address of its own.
pub(crate) const MAX_SHOWN: usize = 512 << 10;

/// Leaves of an answer what is shown, and a little more by which it is known to be cut.
pub(crate) fn cut(message: &mut Message) {
    let mut left = MAX_SHOWN + 1;
    for part in &mut message.answer.parts {
        if let PersistedPart::Text { content } | PersistedPart::Reasoning { content } = part {
            content.truncate(content.floor_char_boundary(left));
            content.shrink_to_fit();
            left = left.saturating_sub(content.len());
        }
    }
    message.answer.reasoning = String::new();
    if message.role == MessageRole::Assistant {
        message.answer.content = String::new();
    }
}

/// The element of a message.
pub(crate) fn element(message: MessageId) -> String {
    element_of(&message.to_string())
}

/// The element of a message, by its id as it is stored.
pub(crate) fn element_of(id: &str) -> String {
    format!("m-{id}")
}

/// What the person said.
#[derive(Debug, Template)]
#[template(path = "prompt.html")]
pub(crate) struct PromptView {
    base: BasePath,
    id: String,
    turn: TurnId,
    source: String,
    text: String,
    files: Vec<FileView>,
}

impl PromptView {
    pub(crate) fn new(base: &BasePath, message: &Message, files: Vec<FileView>) -> Self {
        Self {
            base: base.clone(),
            id: element(message.id),
            turn: message.turn,
            source: source(base, message),
            text: message.answer.content.trim_end().to_owned(),
            files,
        }
    }
}

/// An answer that has ended.
#[derive(Debug, Template)]
#[template(path = "answer.html")]
pub(crate) struct AnswerView {
    base: BasePath,
    id: String,
    turn: TurnId,
    parts: Vec<PartView>,
    files: Vec<FileView>,
    /// What people answered to the agent.
    decisions: Vec<DecisionView>,
    /// Its files are still being attached: the stream of the turn says when they are there.
    is_settling: bool,
    truncated: bool,
    /// Why it stopped, where the person stopped it.
    stopped: Option<String>,
    failure: Option<Failure>,
    /// Whether the agent can be let go on from where it ended.
    goes_on: bool,
    versions: Versions,
    usage: Option<String>,
    /// Where its text is.
    source: String,
    /// Whether there is a text.
    is_told: bool,
    /// Whether all of it is shown.
    is_whole: bool,
}

impl AnswerView {
    pub(crate) fn of(
        base: &BasePath,
        message: &Message,
        folder: Option<&str>,
        files: Vec<FileView>,
        decisions: Vec<DecisionView>,
        versions: Versions,
    ) -> Self {
        let (parts, is_whole) = PartView::all_of(&message.answer.parts, folder, MAX_SHOWN);
        let stopped =
            (message.status == MessageStatus::Cancelled).then(|| match message.answer.reason {
                Some(Reason::Declined) => "You declined, so there is no answer.".to_owned(),
                // A fixed sentence stands in the place of a text that never came.
                _ if parts.is_empty() && !message.answer.content.is_empty() => {
                    message.answer.content.clone()
                }
                _ => "You stopped this answer.".to_owned(),
            });
        Self {
            base: base.clone(),
            id: element(message.id),
            turn: message.turn,
            parts,
            files,
            decisions,
            is_settling: false,
            truncated: message.answer.truncated,
            stopped,
            failure: (message.status == MessageStatus::Error).then(|| Failure::of(message)),
            goes_on: goes_on(message),
            versions,
            usage: usage(&message.answer.usage),
            source: source(base, message),
            is_told: message.answer.parts.iter().any(is_text),
            is_whole,
        }
    }

    /// The same, to be watched for what is still to come.
    pub(crate) fn settling(self, is_settling: bool) -> Self {
        Self {
            is_settling,
            ..self
        }
    }
}

/// An answer that is still to come, or coming.
#[derive(Debug, Template)]
#[template(path = "pending.html")]
pub(crate) struct PendingView<'a> {
    pub(crate) base: &'a BasePath,
    pub(crate) id: &'a str,
    pub(crate) turn: TurnId,
    /// Where the stream of changes goes on.
    pub(crate) cursor: Cursor,
    pub(crate) label: LabelView,
    pub(crate) notice: NoticeView<'a>,
    pub(crate) parts: Vec<PartView>,
    /// What people have answered to the agent.
    pub(crate) decisions: &'a [DecisionView],
    pub(crate) requests: Vec<RequestView<'a>>,
    /// The element of what the agent may ask in the turn that is ahead.
    pub(crate) ahead: Option<&'a str>,
}

/// The turn runs, and nothing has come yet.
pub(crate) const THINKING: &str = "Thinking…";
/// The turn has to wait for an earlier one.
pub(crate) const WAITING: &str = "Waiting for the answer above";
/// It is its turn, and no worker has taken it up for some seconds.
pub(crate) const UNCLAIMED: &str =
    "Nobody works on this yet: all workers are busy, or none runs. It begins by itself.";
/// A worker has it, and OpenCode has not.
pub(crate) const CONNECTING: &str =
    "OpenCode has not taken the prompt yet. It is asked again until it does.";
/// OpenCode has it, and nothing came.
pub(crate) const SILENT: &str =
    "OpenCode has the prompt, and the model has not begun to answer. It is waited for.";

/// What is waited for.
#[derive(Debug, Template)]
#[template(
    source = "<span class=\"label\" id=\"{{ id }}\">{{ label }}</span>",
    ext = "html"
)]
pub(crate) struct LabelView {
    pub(crate) id: String,
    pub(crate) label: &'static str,
}

/// A word on how it goes; empty most of the time.
#[derive(Debug, Template)]
#[template(
    source = "<p class=\"notice\" id=\"{{ id }}\">{% if let Some(text) = text %}{{ text }}\
              {% if let Some(seconds) = seconds %}<span class=\"again\" aria-hidden=\"true\" data-seconds=\"{{ seconds }}\"> · Next try in {{ seconds }} s</span>{% endif %}\
              {% endif %}</p>",
    ext = "html"
)]
pub(crate) struct NoticeView<'a> {
    pub(crate) id: String,
    pub(crate) text: Option<&'a str>,
    /// In how many seconds something is tried again.
    pub(crate) seconds: Option<i64>,
}

/// Where all of a message is, as text.
fn source(base: &BasePath, message: &Message) -> String {
    let (conversation, id) = (message.conversation, message.id);
    format!("{base}/conversations/{conversation}/messages/{id}")
}

fn is_text(part: &PersistedPart) -> bool {
    matches!(part, PersistedPart::Text { content } if !content.trim().is_empty())
}

/// Whether an answer has a beginning and no end.
fn goes_on(message: &Message) -> bool {
    let is_cut = message.answer.truncated || message.status != MessageStatus::Completed;
    is_cut && !message.answer.parts.is_empty()
}

/// Cost and tokens, in words.
fn usage(usage: &Usage) -> Option<String> {
    let Usage {
        cost,
        input_tokens,
        output_tokens,
        cache_read_tokens,
        ..
    } = *usage;
    if input_tokens == 0 && output_tokens == 0 && cost <= 0.0 {
        return None;
    }
    let mut words = Vec::new();
    if cost > 0.0 {
        words.push(if cost < 0.01 {
            format!("${cost:.5}")
        } else {
            format!("${cost:.2}")
        });
    }
    let cached = if cache_read_tokens > 0 {
        format!(" (+{} cached)", count(cache_read_tokens))
    } else {
        String::new()
    };
    words.push(format!("{}{cached} tokens in", count(input_tokens)));
    words.push(format!("{} out", count(output_tokens)));
    Some(words.join(" · "))
}

/// `1234` as `1,234`.
fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_told_in_words() {
        let none = Usage::default();
        assert_eq!(usage(&none), None);
        let some = Usage {
            cost: 0.00018,
            input_tokens: 1_234_567,
            output_tokens: 20,
            ..none
        };
        assert_eq!(
            usage(&some).unwrap(),
            "$0.00018 · 1,234,567 tokens in · 20 out"
        );
        let free = Usage {
            input_tokens: 999,
            output_tokens: 1000,
            cache_read_tokens: 12,
            ..none
        };
        assert_eq!(
            usage(&free).unwrap(),
            "999 (+12 cached) tokens in · 1,000 out"
        );
    }
}
