//! A reply as AG-UI events (protocol 1.0, npm `@ag-ui/core` 1).
//!
//! What changed is found by [`UiMessages`]; here it is put into the words of the other protocol. Each part of the reply is
//! a message of its own there. A replaced reply is a `MESSAGES_SNAPSHOT` of the messages from before it, which drops what
//! came since, and the whole reply behind it.

use std::collections::BTreeSet;

use opencode_client::reply::View;
use opencode_host::outcome::Answer;
use opencode_host::store::TurnStatus;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::chunk::Chunk;
use super::ui_messages::{File, UiMessages};

/// Encodes the reply to one turn as AG-UI events, for one front end that reads it from the beginning.
///
/// What AG-UI has no event for is a `CUSTOM` one: `request` (`{id, state, request}`, what the agent asks a person),
/// `notice`, and `file` (`{url, mediaType}`). A picture of a tool's is such a `file` too, and comes again behind a
/// `MESSAGES_SNAPSHOT`.
#[derive(Debug)]
pub struct AgUi {
    messages: UiMessages,
    thread: String,
    run: String,
    /// Ids of messages begin with it.
    message: String,
    history: Box<RawValue>,
    metadata: Option<Value>,
    /// The text or thinking that is not ended.
    open: Option<Open>,
    /// Tool calls whose arguments are not told.
    calls: BTreeSet<String>,
    /// Whether there was thinking among what a snapshot has to drop.
    has_thought: bool,
    lines: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Open {
    Text(String),
    Reasoning(String),
}

impl AgUi {
    /// Begins the events of a run. `message` is the one that the turn fills, `history` the messages that the front end
    /// had before, as a JSON array.
    pub fn new(
        thread: impl Into<String>,
        run: impl Into<String>,
        message: impl Into<String>,
        history: Box<RawValue>,
    ) -> Self {
        let message = message.into();
        Self {
            messages: UiMessages::new(message.clone()),
            thread: thread.into(),
            run: run.into(),
            message,
            history,
            metadata: None,
            open: None,
            calls: BTreeSet::new(),
            has_thought: false,
            lines: String::new(),
        }
    }

    /// Has the first event carry this JSON object.
    #[must_use]
    pub fn metadata(self, metadata: Value) -> Self {
        Self {
            metadata: Some(metadata),
            ..self
        }
    }

    /// Returns what takes the front end from the last view to this one, as events of a `text/event-stream`. Nothing
    /// behind the end.
    pub fn view(&mut self, view: &View) -> String {
        let chunks = self.messages.view(view);
        self.told(chunks)
    }

    /// Returns what is missing of the answer, and the end: `RUN_FINISHED` or `RUN_ERROR`. Nothing the second time.
    pub fn finished(
        &mut self,
        status: TurnStatus,
        answer: &Answer,
        files: impl IntoIterator<Item = File>,
    ) -> String {
        let chunks = self.messages.finished(status, answer, files);
        self.told(chunks)
    }

    /// Returns the end of a turn whose conversation was deleted. Nothing the second time.
    pub fn deleted(&mut self) -> String {
        let chunks = self.messages.deleted();
        self.told(chunks)
    }

    fn told(&mut self, chunks: Vec<Chunk>) -> String {
        for chunk in chunks {
            self.tell(chunk);
        }
        std::mem::take(&mut self.lines)
    }

    fn event(&mut self, event: &Value) {
        // Trees of texts and numbers: JSON without an end of a line.
        self.line(&event.to_string());
    }

    fn line(&mut self, json: &str) {
        self.lines.push_str("data: ");
        self.lines.push_str(json);
        self.lines.push_str("\n\n");
    }

    /// A message of a block's, which has this id in the other protocol.
    fn id(&self, block: &str) -> String {
        format!("{}-{block}", self.message)
    }

    fn tell(&mut self, chunk: Chunk) {
        match chunk {
            Chunk::Start { .. } => {
                let mut event = json!({
                    "type": "RUN_STARTED",
                    "threadId": self.thread,
                    "runId": self.run,
                    "protocolVersion": "1.0",
                });
                if let Some(metadata) = self.metadata.take() {
                    event["metadata"] = metadata;
                }
                self.event(&event);
            }
            // Approvals are no part of what it is told: a request is an event of its own.
            Chunk::StartStep | Chunk::FinishStep | Chunk::ToolApprovalRequest { .. } => {}
            Chunk::ResetStep => self.reset(),
            Chunk::TextStart { id } => {
                let id = self.id(&id);
                self.event(
                    &json!({"type": "TEXT_MESSAGE_START", "messageId": id, "role": "assistant"}),
                );
                self.open = Some(Open::Text(id));
            }
            Chunk::TextDelta { id, delta } => {
                let id = self.id(&id);
                self.event(
                    &json!({"type": "TEXT_MESSAGE_CONTENT", "messageId": id, "delta": delta}),
                );
            }
            Chunk::ReasoningStart { id } => {
                let id = self.id(&id);
                self.event(&json!({"type": "REASONING_START", "messageId": id}));
                self.event(
                    &json!({"type": "REASONING_MESSAGE_START", "messageId": id, "role": "reasoning"}),
                );
                self.open = Some(Open::Reasoning(id));
                self.has_thought = true;
            }
            Chunk::ReasoningDelta { id, delta } => {
                let id = self.id(&id);
                self.event(
                    &json!({"type": "REASONING_MESSAGE_CONTENT", "messageId": id, "delta": delta}),
                );
            }
            Chunk::TextEnd { .. } | Chunk::ReasoningEnd { .. } => self.close(),
            Chunk::ToolInputStart {
                tool_call_id,
                tool_name,
                ..
            } => {
                let call = self.id(&tool_call_id);
                self.event(
                    &json!({"type": "TOOL_CALL_START", "toolCallId": call, "toolCallName": tool_name}),
                );
                self.calls.insert(call);
            }
            Chunk::ToolInputAvailable {
                tool_call_id,
                input,
                ..
            } => self.write(&tool_call_id, Some(&input)),
            Chunk::ToolOutputAvailable {
                tool_call_id,
                output,
                ..
            } => self.result(&tool_call_id, &output),
            Chunk::ToolOutputError {
                tool_call_id,
                error_text,
                ..
            } => self.result(&tool_call_id, &error_text),
            Chunk::File { url, media_type } => {
                self.custom("file", &json!({"url": url, "mediaType": media_type}));
            }
            Chunk::DataRequest { id, mut data } => {
                data["id"] = id.into();
                self.custom("request", &data);
            }
            Chunk::DataNotice { data, .. } => self.custom("notice", &data),
            Chunk::Abort => self.finish("cancelled"),
            Chunk::Finish { .. } => self.finish("success"),
            Chunk::Error { error_text } => {
                self.event(&json!({"type": "RUN_ERROR", "message": error_text}));
            }
        }
    }

    /// Drops what came of the reply. The protocol wants what is open ended first.
    fn reset(&mut self) {
        self.close_all();
        let mut messages: Vec<&RawValue> =
            serde_json::from_str(self.history.get()).unwrap_or_default();
        // Thinking is kept by a snapshot that has none.
        let none = json!({"id": self.id("replaced"), "role": "reasoning", "content": ""});
        let none = serde_json::value::to_raw_value(&none);
        if let (true, Ok(none)) = (self.has_thought, &none) {
            messages.push(none);
        }
        let messages = serde_json::to_string(&messages).unwrap_or_else(|_| "[]".to_owned());
        let event = format!("{{\"type\":\"MESSAGES_SNAPSHOT\",\"messages\":{messages}}}");
        // As it was sent it may have had line ends between its values.
        self.line(&event.replace(['\r', '\n'], " "));
    }

    fn close(&mut self) {
        match self.open.take() {
            Some(Open::Text(id)) => {
                self.event(&json!({"type": "TEXT_MESSAGE_END", "messageId": id}));
            }
            Some(Open::Reasoning(id)) => {
                self.event(&json!({"type": "REASONING_MESSAGE_END", "messageId": id}));
                self.event(&json!({"type": "REASONING_END", "messageId": id}));
            }
            None => {}
        }
    }

    /// Ends all that is open.
    fn close_all(&mut self) {
        self.close();
        for call in std::mem::take(&mut self.calls) {
            self.event(&json!({"type": "TOOL_CALL_END", "toolCallId": call}));
        }
    }

    /// Tells the arguments of a call, once: they cannot be replaced.
    fn write(&mut self, block: &str, input: Option<&Value>) {
        let call = self.id(block);
        if !self.calls.remove(&call) {
            return;
        }
        if let Some(input) = input {
            let input = input.to_string();
            self.event(&json!({"type": "TOOL_CALL_ARGS", "toolCallId": call, "delta": input}));
        }
        self.event(&json!({"type": "TOOL_CALL_END", "toolCallId": call}));
    }

    fn result(&mut self, block: &str, content: &str) {
        self.write(block, None);
        let call = self.id(block);
        self.event(&json!({
            "type": "TOOL_CALL_RESULT",
            "messageId": format!("{call}-result"),
            "toolCallId": call,
            "content": content,
            "role": "tool",
        }));
    }

    fn custom(&mut self, name: &str, value: &Value) {
        self.event(&json!({"type": "CUSTOM", "name": name, "value": value}));
    }

    fn finish(&mut self, outcome: &str) {
        self.close_all();
        self.event(&json!({
            "type": "RUN_FINISHED",
            "threadId": self.thread,
            "runId": self.run,
            "outcome": {"type": outcome},
        }));
    }
}

#[cfg(test)]
mod tests {
    use opencode_client::reply::{PersistedPart, SnapshotPart, ToolPart, ToolStatus};

    use super::*;

    fn encoder() -> AgUi {
        let history = "[{\"id\":\"u1\",\n\"role\":\"user\",\"content\":\"Go\"}]".to_owned();
        let history = RawValue::from_string(history).unwrap();
        AgUi::new("garden", "r1", "m", history).metadata(json!({"turn": "t"}))
    }

    fn view(parts: impl IntoIterator<Item = PersistedPart>) -> View {
        let parts = parts.into_iter().enumerate();
        let parts = parts.map(|(at, part)| SnapshotPart {
            part_id: format!("prt_{at}").as_str().into(),
            part,
        });
        View::new(parts.collect::<Vec<_>>(), [])
    }

    fn text(content: &str) -> PersistedPart {
        PersistedPart::Text {
            content: content.to_owned(),
        }
    }

    fn thought(content: &str) -> PersistedPart {
        PersistedPart::Reasoning {
            content: content.to_owned(),
        }
    }

    fn tool(status: ToolStatus) -> PersistedPart {
        PersistedPart::Tool(ToolPart {
            tool: "read".to_owned(),
            status,
            input: Some(json!({"path": "a"})),
            output: (status == ToolStatus::Completed).then(|| "alpha".to_owned()),
            ..ToolPart::default()
        })
    }

    #[track_caller]
    fn events(lines: &str) -> Vec<Value> {
        let blocks = lines.split_terminator("\n\n");
        let data = blocks.map(|block| block.strip_prefix("data: ").expect(block));
        data.map(|data| serde_json::from_str(data).expect(data))
            .collect()
    }

    fn kinds(lines: &str) -> Vec<String> {
        let kind = |event: &Value| event["type"].as_str().unwrap().to_owned();
        events(lines).iter().map(kind).collect()
    }

    #[test]
    fn a_reply_is_told_part_by_part_and_grows() {
        let mut encoder = encoder();
        let begun = events(&encoder.view(&View::default()));
        assert_eq!(begun.len(), 1);
        assert_eq!(begun[0]["type"], "RUN_STARTED");
        assert_eq!(begun[0]["metadata"], json!({"turn": "t"}));
        let lines = encoder.view(&view([thought("Hm."), tool(ToolStatus::Running)]));
        assert_eq!(
            kinds(&lines),
            [
                "REASONING_START",
                "REASONING_MESSAGE_START",
                "REASONING_MESSAGE_CONTENT",
                "REASONING_MESSAGE_END",
                "REASONING_END",
                "TOOL_CALL_START",
                "TOOL_CALL_ARGS",
                "TOOL_CALL_END",
            ]
        );
        let lines = encoder.view(&view([
            thought("Hm."),
            tool(ToolStatus::Completed),
            text("It says"),
        ]));
        let told = events(&lines);
        assert_eq!(told[0]["type"], "TOOL_CALL_RESULT");
        assert_eq!(told[0]["content"], "alpha");
        assert_eq!(told[2]["delta"], "It says");
        let mut answer = Answer::text("It says alpha.");
        answer.parts = vec![
            thought("Hm."),
            tool(ToolStatus::Completed),
            text("It says alpha."),
        ];
        let told = events(&encoder.finished(TurnStatus::Completed, &answer, []));
        assert_eq!(told[0]["delta"], " alpha.");
        assert_eq!(told[1]["type"], "TEXT_MESSAGE_END");
        assert_eq!(told[2]["outcome"], json!({"type": "success"}));
        assert_eq!(encoder.finished(TurnStatus::Completed, &answer, []), "");
    }

    #[test]
    fn a_replaced_reply_is_the_history_and_the_whole_behind_it() {
        let mut encoder = encoder();
        encoder.view(&view([
            thought("Hm."),
            tool(ToolStatus::Pending),
            text("Half"),
        ]));
        let told = events(&encoder.view(&view([text("Other")])));
        assert_eq!(told[0]["type"], "TEXT_MESSAGE_END");
        assert_eq!(told[1]["type"], "TOOL_CALL_END");
        assert_eq!(told[2]["type"], "MESSAGES_SNAPSHOT");
        let messages = told[2]["messages"].as_array().unwrap();
        assert_eq!(
            messages[0],
            json!({"id": "u1", "role": "user", "content": "Go"})
        );
        // Without it a front end keeps the thinking that is dropped.
        assert_eq!(
            (&messages[1]["role"], messages.len()),
            (&json!("reasoning"), 2)
        );
        assert_eq!(told[4]["delta"], "Other");
        assert_ne!(told[4]["messageId"], told[0]["messageId"]);
    }

    #[test]
    fn what_is_open_is_ended_before_the_run() {
        let mut encoder = encoder();
        encoder.view(&view([tool(ToolStatus::Pending)]));
        let mut answer = Answer::text("");
        answer.parts = vec![tool(ToolStatus::Pending)];
        let told = kinds(&encoder.finished(TurnStatus::Cancelled, &answer, []));
        assert_eq!(told, ["TOOL_CALL_END", "RUN_FINISHED"]);
        let told = kinds(&self::encoder().deleted());
        assert_eq!(told, ["RUN_STARTED", "RUN_ERROR"]);
    }
}
