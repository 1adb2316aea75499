//! A reply as an AI SDK UI message stream.
//!
//! The encoder compares the reply as it is with what it has sent, by the places of the parts. What only grew is
//! appended. The protocol cannot replace a part, so anything else is a `reset-step`, which drops what the step held,
//! and the whole reply behind it. So the front end holds the last view whatever came between: a take-over, a
//! snapshot, a watcher that was too slow for single changes.
//!
//! An approval of a tool call is answered with the next request of a chat, which its front end sends once the stream has
//! ended: so the stream ends where a turn goes on with approvals only, and the next one begins with a `reset-step`.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use opencode_client::reply::{
    Notice, PartKind, PendingRequest, PersistedPart, ToolPart, ToolStatus, View,
};
use opencode_client::wire::ToolAttachment;
use opencode_host::outcome::{Answer, Reason};
use opencode_host::store::TurnStatus;
use serde_json::{Value, json};

use super::chunk::{Chunk, FinishReason};

/// Encodes the reply to one turn, for one front end that reads it from the beginning.
///
/// A front end that comes back gets an encoder of its own, which says the whole again: `DefaultChatTransport` empties
/// the message at the first `start` of a resumed stream (`resumeStreamIsReplay`, its default).
///
/// Pictures that a tool gave beside its output are `file` chunks with `data:` URLs. What a sub-agent does within a `task`
/// call is not told, nor what a tool prints before it ends.
///
/// What the agent asks is a `data-request` chunk. With [`ending_at_approvals`](Self::ending_at_approvals) a permission is
/// also a `tool-approval-request`, as the AI SDK has it.
#[derive(Debug)]
pub struct UiMessages {
    message: String,
    metadata: Option<Value>,
    started: bool,
    over: bool,
    /// How often the reply was replaced. Block ids of before are not used again.
    round: u64,
    sent: Vec<Block>,
    /// The requests that were sent; true while they wait.
    requests: BTreeMap<String, bool>,
    notice: Option<Notice>,
    /// `None` where calls are not approved of by this stream.
    approvals: Option<Approvals>,
}

/// Approvals of tool calls.
#[derive(Debug, Default)]
struct Approvals {
    /// Requests that have an answer, also while the turn's worker has not sent it.
    answered: BTreeSet<String>,
    /// Whether the front end has the beginning of the message, which it is still to drop.
    goes_on: bool,
    /// What was asked for, by the places of the calls.
    asked: BTreeMap<usize, String>,
}

/// A file of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Where the front end gets it.
    pub url: String,
    /// Its media type.
    pub media_type: String,
}

/// A part as it was sent.
#[derive(Clone, Debug, PartialEq)]
enum Block {
    Words {
        kind: PartKind,
        content: String,
        open: bool,
    },
    Tool(Call),
}

#[derive(Clone, Debug, PartialEq)]
struct Call {
    /// The model's id of the call, as the part has it.
    known_as: Option<String>,
    tool: String,
    status: ToolStatus,
    input: Value,
    title: Option<String>,
    /// What came out, or why it failed.
    end: String,
    /// Pictures that came out beside it.
    pictures: Vec<File>,
}

impl UiMessages {
    /// Begins the stream of the message that a turn fills.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            metadata: None,
            started: false,
            over: false,
            round: 0,
            sent: Vec::new(),
            requests: BTreeMap::new(),
            notice: None,
            approvals: None,
        }
    }

    /// Has permissions told as approvals of their tool calls, and the stream end where the turn waits for such and nothing
    /// else: all other calls that it has begun are over. The front end then sends the answers, and gets the rest by a
    /// stream of its own, which [goes on](Self::going_on).
    #[must_use]
    pub fn ending_at_approvals(self) -> Self {
        Self {
            approvals: Some(Approvals::default()),
            ..self
        }
    }

    /// The same, for a front end that has the beginning of the message and has given its answers to these requests.
    #[must_use]
    pub fn going_on(self, answered: impl IntoIterator<Item = String>) -> Self {
        let approvals = Approvals {
            answered: answered.into_iter().collect(),
            goes_on: true,
            ..Approvals::default()
        };
        Self {
            approvals: Some(approvals),
            ..self
        }
    }

    /// Has the front end keep `metadata` with the message.
    #[must_use]
    pub fn metadata(self, metadata: Value) -> Self {
        Self {
            metadata: Some(metadata),
            ..self
        }
    }

    /// Returns what takes the front end from the last view to this one. Nothing behind the end.
    pub fn view(&mut self, view: &View) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        if self.over {
            return chunks;
        }
        self.start(&mut chunks);
        let parts: Vec<_> = view.parts().map(|part| &part.part).collect();
        if !parts.is_empty() {
            self.drop_beginning(&mut chunks);
        }
        self.parts(&parts, false, &mut chunks);
        self.requests(view, &mut chunks);
        let waits = self.approvals(view, &mut chunks);
        if self.notice.as_ref() != view.notice() {
            self.notice = view.notice().cloned();
            let notice = self.notice.as_ref().map(serde_json::to_value);
            let data = notice.and_then(Result::ok);
            chunks.push(Chunk::DataNotice {
                data: data.unwrap_or_else(|| json!({"type": "none"})),
                transient: true,
            });
        }
        if waits {
            self.over = true;
            self.close(&mut chunks);
            chunks.push(Chunk::FinishStep);
            chunks.push(Chunk::Finish {
                finish_reason: FinishReason::ToolCalls,
            });
        }
        chunks
    }

    /// Whether the last chunk was sent.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Returns what is missing of the answer, and the end: `finish`, `abort` or `error`. Nothing the second time.
    pub fn finished(
        &mut self,
        status: TurnStatus,
        answer: &Answer,
        files: impl IntoIterator<Item = File>,
    ) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        if mem::replace(&mut self.over, true) {
            return chunks;
        }
        self.start(&mut chunks);
        self.drop_beginning(&mut chunks);
        let parts: Vec<_> = answer.parts.iter().collect();
        self.parts(&parts, true, &mut chunks);
        self.close_requests(&mut chunks);
        chunks.extend(
            files
                .into_iter()
                .map(|File { url, media_type }| Chunk::File { url, media_type }),
        );
        chunks.push(Chunk::FinishStep);
        chunks.push(match status {
            TurnStatus::Completed => Chunk::Finish {
                finish_reason: if answer.truncated || answer.reason == Some(Reason::Length) {
                    FinishReason::Length
                } else {
                    FinishReason::Stop
                },
            },
            TurnStatus::Cancelled => Chunk::Abort,
            _ => Chunk::Error {
                error_text: answer
                    .error
                    .as_ref()
                    .map_or_else(|| answer.content.clone(), |error| error.message.clone()),
            },
        });
        chunks
    }

    /// Returns the end of a turn whose conversation was deleted: `error`. Nothing the second time.
    pub fn deleted(&mut self) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        if mem::replace(&mut self.over, true) {
            return chunks;
        }
        self.start(&mut chunks);
        self.close_requests(&mut chunks);
        chunks.push(Chunk::FinishStep);
        chunks.push(Chunk::Error {
            error_text: "The conversation was deleted.".to_owned(),
        });
        chunks
    }

    fn start(&mut self, chunks: &mut Vec<Chunk>) {
        if !mem::replace(&mut self.started, true) {
            chunks.push(Chunk::Start {
                message_id: self.message.clone(),
                message_metadata: self.metadata.clone(),
            });
            if !self.approvals.as_ref().is_some_and(|known| known.goes_on) {
                chunks.push(Chunk::StartStep);
            }
        }
    }

    /// Has a front end that holds the beginning of the message drop it, once there is something to show in its place.
    fn drop_beginning(&mut self, chunks: &mut Vec<Chunk>) {
        if let Some(approvals) = &mut self.approvals
            && mem::take(&mut approvals.goes_on)
        {
            chunks.push(Chunk::ResetStep);
        }
    }

    fn parts(&mut self, parts: &[&PersistedPart], last: bool, chunks: &mut Vec<Chunk>) {
        // A block without words shows nothing, and an answer may not keep it.
        let blank = |part: &PersistedPart, is_blank: fn(&str) -> bool| match part {
            PersistedPart::Text { content } | PersistedPart::Reasoning { content } => {
                is_blank(content)
            }
            PersistedPart::Tool(_) => false,
        };
        let mut shown = parts.to_vec();
        shown.retain(|part| !blank(part, str::is_empty));
        // Whether white space at the very end stays is not known before the end.
        shown.pop_if(|part| !last && blank(part, |words| words.trim_end().is_empty()));
        let open = |at| !last && at + 1 == shown.len();
        let wanted: Vec<_> = (shown.iter().enumerate())
            .map(|(at, part)| Block::of(part, open(at)))
            .collect();
        let mut new = Vec::new();
        let grew = self.sent.len() <= wanted.len()
            && (wanted.iter().enumerate())
                .all(|(at, now)| now.since(self.sent.get(at), &self.id(at), &mut new));
        if grew {
            chunks.append(&mut new);
        } else {
            self.round += 1;
            self.requests.clear();
            if let Some(approvals) = &mut self.approvals {
                approvals.asked.clear();
            }
            chunks.push(Chunk::ResetStep);
            for (at, now) in wanted.iter().enumerate() {
                now.since(None, &self.id(at), chunks);
            }
        }
        self.sent = wanted;
    }

    /// The id of the block in this place. Tool calls have such ids too: two parts may name the same call.
    fn id(&self, at: usize) -> String {
        format!("{}-{at}", self.round)
    }

    fn requests(&mut self, view: &View, chunks: &mut Vec<Chunk>) {
        for (id, waits) in &mut self.requests {
            if *waits && view.requests().all(|request| request.id() != id) {
                *waits = false;
                chunks.push(closed(id));
            }
        }
        for request in view.requests() {
            if self.requests.get(request.id()) != Some(&true) {
                self.requests.insert(request.id().to_owned(), true);
                chunks.push(Chunk::DataRequest {
                    id: request.id().to_owned(),
                    data: json!({"state": "pending", "request": request}),
                });
            }
        }
    }

    /// Asks for the approvals that calls wait for; true where the turn waits for nothing else.
    fn approvals(&mut self, view: &View, chunks: &mut Vec<Chunk>) -> bool {
        let Some(mut approvals) = self.approvals.take() else {
            return false;
        };
        let mut waiting = BTreeMap::new();
        for request in view.requests() {
            let (PendingRequest::Permission(_), Some(tool)) = (request, request.tool()) else {
                continue;
            };
            let is_it = |block: &Block| match block {
                Block::Tool(call) => {
                    call.status == ToolStatus::Running
                        && call.known_as.as_ref() == Some(&tool.call_id)
                }
                Block::Words { .. } => false,
            };
            let is_open = !approvals.answered.contains(request.id());
            if let Some(at) = self.sent.iter().rposition(is_it).filter(|_| is_open) {
                // A call has one approval at a time: the second is asked for behind the answer to the first.
                waiting.entry(at).or_insert_with(|| request.id().to_owned());
            }
        }
        let mut told_anew = BTreeSet::new();
        for chunk in chunks.iter() {
            if let Chunk::ToolInputAvailable { tool_call_id, .. } = chunk {
                told_anew.insert(tool_call_id.clone());
            }
        }
        for (at, block) in self.sent.iter().enumerate() {
            let Block::Tool(call) = block else { continue };
            let (id, was) = (self.id(at), approvals.asked.get(&at));
            match waiting.get(&at) {
                Some(now) if was != Some(now) || told_anew.contains(&id) => {
                    chunks.push(Chunk::ToolApprovalRequest {
                        approval_id: now.clone(),
                        tool_call_id: id,
                    });
                }
                // Somebody else has answered, and it runs.
                None if was.is_some() && !call.status.is_terminal() && !told_anew.contains(&id) => {
                    chunks.push(call.input(id));
                }
                _ => {}
            }
        }
        let is_done = |(at, block): (usize, &Block)| match block {
            Block::Tool(call) => call.status.is_terminal() || waiting.contains_key(&at),
            Block::Words { .. } => true,
        };
        let waits = !waiting.is_empty() && self.sent.iter().enumerate().all(is_done);
        approvals.asked = waiting;
        self.approvals = Some(approvals);
        waits
    }

    /// Ends the text that is open.
    fn close(&mut self, chunks: &mut Vec<Chunk>) {
        let Some(at) = self.sent.len().checked_sub(1) else {
            return;
        };
        let id = self.id(at);
        if let Some(Block::Words { kind, open, .. }) = self.sent.last_mut()
            && mem::take(open)
        {
            chunks.push(kind_end(*kind, id));
        }
    }

    fn close_requests(&mut self, chunks: &mut Vec<Chunk>) {
        let waiting = mem::take(&mut self.requests).into_iter();
        chunks.extend(
            waiting
                .filter(|(_, waits)| *waits)
                .map(|(id, _)| closed(&id)),
        );
    }
}

fn kind_end(kind: PartKind, id: String) -> Chunk {
    match kind {
        PartKind::Text => Chunk::TextEnd { id },
        PartKind::Reasoning => Chunk::ReasoningEnd { id },
    }
}

fn closed(id: &str) -> Chunk {
    Chunk::DataRequest {
        id: id.to_owned(),
        data: json!({"state": "closed"}),
    }
}

impl Block {
    /// The part as it is sent. White space at the end of one that still grows is held back: OpenCode trims a text
    /// once it is done.
    fn of(part: &PersistedPart, open: bool) -> Self {
        let words = |kind, content: &str| {
            let content = if open { content.trim_end() } else { content };
            Self::Words {
                kind,
                content: content.to_owned(),
                open,
            }
        };
        match part {
            PersistedPart::Text { content } => words(PartKind::Text, content),
            PersistedPart::Reasoning { content } => words(PartKind::Reasoning, content),
            PersistedPart::Tool(tool) => Self::Tool(Call::of(tool)),
        }
    }

    /// Says what makes this of what was sent; false when appending cannot.
    fn since(&self, before: Option<&Self>, id: &str, chunks: &mut Vec<Chunk>) -> bool {
        match (before, self) {
            (
                before,
                Self::Words {
                    kind,
                    content,
                    open,
                },
            ) => {
                let (sent, was_open) = match before {
                    None => ("", true),
                    Some(Self::Words {
                        kind: was,
                        content,
                        open,
                    }) if was == kind => (content.as_str(), *open),
                    Some(_) => return false,
                };
                let Some(delta) = content.strip_prefix(sent) else {
                    return false;
                };
                if !was_open {
                    return delta.is_empty() && !open;
                }
                let id = || id.to_owned();
                let text = *kind == PartKind::Text;
                if before.is_none() {
                    chunks.push(if text {
                        Chunk::TextStart { id: id() }
                    } else {
                        Chunk::ReasoningStart { id: id() }
                    });
                }
                if !delta.is_empty() {
                    let (id, delta) = (id(), delta.to_owned());
                    chunks.push(if text {
                        Chunk::TextDelta { id, delta }
                    } else {
                        Chunk::ReasoningDelta { id, delta }
                    });
                }
                if !open {
                    chunks.push(kind_end(*kind, id()));
                }
                true
            }
            (None, Self::Tool(call)) => {
                call.since(None, id, chunks);
                true
            }
            (Some(Self::Tool(before)), Self::Tool(call)) => {
                let same = before.known_as == call.known_as
                    && before.tool == call.tool
                    && call.pictures.starts_with(&before.pictures);
                let onward = before.status == call.status
                    || (before.status < call.status && !before.status.is_terminal());
                if same && onward && before != call {
                    call.since(Some(before), id, chunks);
                }
                same && onward
            }
            (Some(_), Self::Tool(_)) => false,
        }
    }
}

impl Call {
    fn of(part: &ToolPart) -> Self {
        let end = match part.status {
            ToolStatus::Completed => part.output.clone(),
            ToolStatus::Error => part.error.clone(),
            ToolStatus::Pending | ToolStatus::Running => None,
        };
        let written = part.status > ToolStatus::Pending;
        Self {
            known_as: part.call_id.clone(),
            tool: part.tool.clone(),
            status: part.status,
            input: part.input.clone().filter(|_| written).unwrap_or(json!({})),
            title: part.title.clone().filter(|_| written),
            end: end.unwrap_or_default(),
            pictures: match part.status {
                ToolStatus::Completed => part.attachments.iter().filter_map(picture).collect(),
                _ => Vec::new(),
            },
        }
    }

    /// Says that it is written, and runs.
    fn input(&self, tool_call_id: String) -> Chunk {
        Chunk::ToolInputAvailable {
            tool_call_id,
            tool_name: self.tool.clone(),
            input: self.input.clone(),
            title: self.title.clone(),
            dynamic: true,
            provider_executed: true,
        }
    }

    /// Says the call as it is, from where it was.
    fn since(&self, before: Option<&Self>, id: &str, chunks: &mut Vec<Chunk>) {
        let (dynamic, provider_executed) = (true, true);
        let tool_call_id = || id.to_owned();
        if before.is_none() {
            chunks.push(Chunk::ToolInputStart {
                tool_call_id: tool_call_id(),
                tool_name: self.tool.clone(),
                dynamic,
                provider_executed,
            });
        }
        let is_told = before.is_some_and(|before| {
            before.status > ToolStatus::Pending
                && (&before.input, &before.title) == (&self.input, &self.title)
        });
        if self.status > ToolStatus::Pending && !is_told {
            chunks.push(self.input(tool_call_id()));
        }
        match self.status {
            ToolStatus::Completed => chunks.push(Chunk::ToolOutputAvailable {
                tool_call_id: tool_call_id(),
                output: self.end.clone(),
                dynamic,
                provider_executed,
            }),
            ToolStatus::Error => chunks.push(Chunk::ToolOutputError {
                tool_call_id: tool_call_id(),
                error_text: self.end.clone(),
                dynamic,
                provider_executed,
            }),
            ToolStatus::Pending | ToolStatus::Running => {}
        }
        let told = before.map_or(0, |before| before.pictures.len());
        for File { url, media_type } in self.pictures.iter().skip(told).cloned() {
            chunks.push(Chunk::File { url, media_type });
        }
    }
}

/// A picture as a page shows it.
fn picture(attachment: &ToolAttachment) -> Option<File> {
    let (kind, data) = attachment.picture()?;
    Some(File {
        url: format!("data:{kind};base64,{data}"),
        media_type: kind.to_owned(),
    })
}

#[cfg(test)]
mod tests;
