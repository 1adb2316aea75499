//! Files that come out of a turn.

mod attach;
mod crowd;
mod exchange_files;
pub(crate) mod real;
mod restored;
pub(crate) mod shown;
mod transform;
mod trouble;
mod turns;

use std::path::Path;
use std::sync::Arc;

use opencode_client::Exchange;
use opencode_client::wire::{Message as WireMessage, Prompt};
use opencode_host::artifacts::{AttachReport, DefaultAttach, Echo, MessageArtifacts, Transform};
use opencode_host::blobs::Blobs;
use opencode_host::clock::{Clock as _, SystemClock, Timestamp};
use opencode_host::id::MessageId;
use opencode_host::sandbox::{Sandbox, SandboxRoot};
use opencode_host::store::{
    Attachment, AttachmentSource, MemoryStore, NewAttachment, NewTurn, Store, StoreError, Tenant,
};
use opencode_host::telemetry::Telemetry;
use serde_json::{Value, json};

use crate::hosting::Recorder;

/// A message to attach to, and where its files come from.
struct Bench {
    home: tempfile::TempDir,
    sandbox: Sandbox,
    store: Arc<dyn Store>,
    blobs: Blobs,
    recorder: Recorder,
    message: MessageId,
    clock: SystemClock,
    default_attach: DefaultAttach,
    transforms: Vec<Arc<dyn Transform>>,
    echo: Echo,
}

impl Bench {
    async fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let root = SandboxRoot::open(home.path().join("sandboxes")).unwrap();
        let sandbox = root.provision(&"c1".parse().unwrap()).unwrap();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        Self {
            message: message(&*store).await,
            blobs: Blobs::in_folder(home.path().join("blobs")).unwrap(),
            home,
            sandbox,
            store,
            recorder: Recorder::default(),
            clock: SystemClock,
            default_attach: DefaultAttach::All,
            transforms: Vec::new(),
            echo: Echo::none(),
        }
    }

    fn telemetry(&self) -> Telemetry {
        Telemetry::new(
            Arc::new(self.recorder.clone()),
            Arc::new(self.recorder.clone()),
        )
    }

    async fn try_attach(&self, exchange: &Exchange) -> Result<AttachReport, StoreError> {
        let attaching = MessageArtifacts {
            message: self.message,
            store: &*self.store,
            blobs: &self.blobs,
            clock: &self.clock,
            telemetry: &self.telemetry(),
            default_attach: self.default_attach,
            transforms: &self.transforms,
            transform_limit: std::time::Duration::from_millis(500),
        };
        attaching
            .attach_from(exchange, Some(&self.sandbox), Timestamp(0), &self.echo)
            .await
    }

    async fn attach(&self, exchange: &Exchange) -> AttachReport {
        self.try_attach(exchange).await.unwrap()
    }

    /// What the message has: names and bytes, in the order they were attached.
    async fn files(&self) -> Vec<(String, String)> {
        let mut files = Vec::new();
        for file in self.store.attachments(self.message).await.unwrap() {
            let bytes = self.blobs.read(&file.digest, 1 << 30).await.unwrap();
            assert_eq!(bytes.len() as u64, file.size);
            files.push((file.name, String::from_utf8_lossy(&bytes).into_owned()));
        }
        files
    }

    async fn row(&self, name: &str) -> Attachment {
        let files = self.store.attachments(self.message).await.unwrap();
        files.into_iter().find(|file| file.name == name).unwrap()
    }

    fn put(&self, path: &str, content: &str) {
        put(&self.sandbox, path, content);
    }

    /// An attachment that is there before.
    async fn present(&self, name: &str, content: &str, source: AttachmentSource) {
        let blob = self
            .blobs
            .put_bytes(content.to_owned().into())
            .await
            .unwrap();
        let file = NewAttachment::new(
            opencode_host::id::AttachmentId::from_uuid(self.clock.new_uuid()),
            self.message,
            name,
            blob.digest,
            blob.size,
            "text/html",
            source,
        );
        assert!(self.store.attach(&file).await.unwrap().created);
    }

    fn reported(&self) -> Vec<String> {
        let reported = self.recorder.named("reported");
        reported
            .iter()
            .map(|fields| fields["error"].as_str().unwrap().to_owned())
            .collect()
    }
}

async fn message(store: &dyn Store) -> MessageId {
    let conversation = store
        .open_conversation(&Tenant::default(), "test")
        .await
        .unwrap();
    let turn = NewTurn::new(conversation.id, Prompt::text("Hello"), &SystemClock);
    store.submit(&turn).await.unwrap().turn.message
}

/// As an agent writes.
fn put(sandbox: &Sandbox, path: &str, content: &str) {
    let path = sandbox.path().join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

/// An exchange of these completed tool calls.
fn exchange(calls: &[(&str, Value)]) -> Exchange {
    let parts: Vec<_> = calls
        .iter()
        .enumerate()
        .map(|(number, (tool, state))| {
            let mut state = state.clone();
            if state.get("status").is_none() {
                state["status"] = json!("completed");
            }
            json!({"id": format!("prt_{number}"), "messageID": "msg_2", "type": "tool", "tool": tool, "state": state})
        })
        .collect();
    of_prompt(
        "msg_1",
        json!([{"info": {"id": "msg_2", "sessionID": "ses_1", "role": "assistant", "parentID": "msg_1"}, "parts": parts}]),
    )
}

fn of_prompt(prompt: &str, messages: Value) -> Exchange {
    let messages: Vec<WireMessage> = serde_json::from_value(messages).unwrap();
    Exchange::of(&prompt.into(), messages)
}

fn write(path: &Path, content: &str) -> (&'static str, Value) {
    (
        "write",
        json!({"input": {"filePath": path, "content": content}}),
    )
}

fn edit(path: &Path) -> (&'static str, Value) {
    (
        "edit",
        json!({"input": {"filePath": path, "oldString": "a", "newString": "b"}}),
    )
}

fn patch(files: &Value) -> (&'static str, Value) {
    (
        "apply_patch",
        json!({"input": {"patchText": "…"}, "metadata": {"files": files}}),
    )
}

fn nothing() -> Exchange {
    exchange(&[])
}

fn pairs(files: &[(&str, &str)]) -> Vec<(String, String)> {
    files
        .iter()
        .map(|(name, content)| ((*name).to_owned(), (*content).to_owned()))
        .collect()
}
