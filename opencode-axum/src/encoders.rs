//! The encodings that others read, with the files where the router has them.

use opencode_client::reply::View;
use opencode_host::store::Turn;
use opencode_host::turn::TurnResult;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::replies::Encoder;
use crate::request::Mount;
use crate::stream::{AgUi, Chunk, DONE, File, UiMessages};

/// A reply as a UI message stream.
pub(crate) struct UiEncoder {
    messages: UiMessages,
    mount: Mount,
}

impl UiEncoder {
    pub(crate) fn new(turn: &Turn, mount: Mount) -> Self {
        let told = named(turn);
        Self {
            messages: UiMessages::new(turn.message.to_string()).metadata(told),
            mount,
        }
    }

    /// Has it end where the turn waits for approvals.
    pub(crate) fn of_chat(self) -> Self {
        Self {
            messages: self.messages.ending_at_approvals(),
            ..self
        }
    }

    /// Has it go on behind the answers to these requests.
    pub(crate) fn going_on(self, answered: Vec<String>) -> Self {
        Self {
            messages: self.messages.going_on(answered),
            ..self
        }
    }
}

impl Encoder for UiEncoder {
    fn view(&mut self, view: &View) -> String {
        let lines = lines(&self.messages.view(view));
        if self.rests() { lines + DONE } else { lines }
    }

    fn rests(&self) -> bool {
        self.messages.is_over()
    }

    fn finished(&mut self, result: &TurnResult) -> String {
        let files = files(&self.mount, result);
        let chunks = self.messages.finished(result.status, &result.answer, files);
        lines(&chunks) + DONE
    }

    fn deleted(&mut self) -> String {
        lines(&self.messages.deleted()) + DONE
    }
}

/// By these a front end answers requests and cancels.
fn named(turn: &Turn) -> Value {
    json!({"turn": turn.id, "conversation": turn.conversation})
}

/// The files of a turn, where the router has them.
fn files(mount: &Mount, result: &TurnResult) -> Vec<File> {
    let files = result.artifacts.iter().map(|file| File {
        url: format!("{}/files/{}", mount.0, file.id),
        media_type: file.mime_type.clone(),
    });
    files.collect()
}

/// A reply as AG-UI events.
pub(crate) struct AgUiEncoder {
    run: AgUi,
    mount: Mount,
}

impl AgUiEncoder {
    pub(crate) fn new(
        turn: &Turn,
        thread: String,
        run: String,
        history: Box<RawValue>,
        mount: Mount,
    ) -> Self {
        let run = AgUi::new(thread, run, turn.message.to_string(), history);
        Self {
            run: run.metadata(named(turn)),
            mount,
        }
    }
}

impl Encoder for AgUiEncoder {
    fn view(&mut self, view: &View) -> String {
        self.run.view(view)
    }

    fn finished(&mut self, result: &TurnResult) -> String {
        let files = files(&self.mount, result);
        self.run.finished(result.status, &result.answer, files)
    }

    fn deleted(&mut self) -> String {
        self.run.deleted()
    }
}

fn lines(chunks: &[Chunk]) -> String {
    chunks.iter().map(Chunk::to_line).collect()
}
