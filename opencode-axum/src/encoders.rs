//! The encoder of UI message streams, for the router.

use opencode_client::reply::View;
use opencode_host::store::Turn;
use opencode_host::turn::TurnResult;
use serde_json::json;

use crate::replies::Encoder;
use crate::request::Mount;
use crate::stream::{Chunk, DONE, File, UiMessages};

/// A reply as a UI message stream, with the files where the router has them.
pub(crate) struct UiEncoder {
    messages: UiMessages,
    mount: Mount,
}

impl UiEncoder {
    pub(crate) fn new(turn: &Turn, mount: Mount) -> Self {
        // By these a front end answers requests and cancels.
        let told = json!({"turn": turn.id, "conversation": turn.conversation});
        Self {
            messages: UiMessages::new(turn.message.to_string()).metadata(told),
            mount,
        }
    }
}

impl Encoder for UiEncoder {
    fn view(&mut self, view: &View) -> String {
        lines(&self.messages.view(view))
    }

    fn finished(&mut self, result: &TurnResult) -> String {
        let files = result.artifacts.iter().map(|file| File {
            url: format!("{}/files/{}", self.mount.0, file.id),
            media_type: file.mime_type.clone(),
        });
        let files: Vec<_> = files.collect();
        let chunks = self.messages.finished(result.status, &result.answer, files);
        lines(&chunks) + DONE
    }

    fn deleted(&mut self) -> String {
        lines(&self.messages.deleted()) + DONE
    }
}

fn lines(chunks: &[Chunk]) -> String {
    chunks.iter().map(Chunk::to_line).collect()
}
