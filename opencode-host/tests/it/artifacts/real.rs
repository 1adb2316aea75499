//! Files in and files out of a real OpenCode server, whose worker dies before they are attached: a case of `real`.

use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use opencode_client::wire::Prompt;
use opencode_host::blobs::Blobs;
use opencode_host::live::Cursor;
use opencode_host::sandbox::SandboxRoot;
use opencode_host::store::{MemoryStore, Store, Tenant, TurnStatus};
use opencode_host::{SubmitOptions, WorkerOptions};
use opencode_impostor::{ModelScript, Round};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::faulty_store::{Fault, FaultyStore};
use crate::hosting::{Builder, killed};
use crate::real::Upstream;

use super::turns::files;

const PATIENCE: Duration = Duration::from_secs(60);
const REPORT: &str = "# Report — naïve 日本語\r\n\r\n\u{feff}no newline at the end";

pub(crate) fn script() -> ModelScript {
    let at = |name: &str| format!("{{{{directory}}}}/{name}");
    let read = |name: &str| Round::call("read", json!({"filePath": at(name)}));
    let patch = "*** Begin Patch\n*** Update File: notes.md\n@@\n-new line\n+patched line\n\
                 *** Add File: plan.md\n+# Plan\n*** Delete File: report.md\n*** End Patch";
    ModelScript::new()
        .on(
            "[[work]]",
            [
                read("data.csv"),
                Round::call("write", json!({"filePath": at("report.md"), "content": REPORT})),
                read("notes.md"),
                Round::call(
                    "edit",
                    json!({"filePath": at("notes.md"), "oldString": "old line", "newString": "new line"}),
                ),
                Round::text("Done."),
            ],
        )
        .on(
            "[[patch]]",
            [
                Round::call("apply_patch", json!({ "patchText": patch })),
                Round::text("Patched."),
            ],
        )
}

pub(crate) async fn files_come_back_byte_for_byte_and_once(upstream: &Upstream) {
    let home = tempfile::tempdir().unwrap();
    let root = SandboxRoot::open(home.path().join("sandboxes")).unwrap();
    let blobs = Blobs::in_folder(home.path().join("blobs")).unwrap();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let builder = |store: Arc<dyn Store>| {
        let options = WorkerOptions {
            lease: Duration::from_secs(1),
            poll_interval: Duration::from_millis(50),
            ..WorkerOptions::default()
        };
        Builder::new(upstream.client(), store)
            .sandboxes(root.clone())
            .options(options)
    };
    let (host, worker) = builder(Arc::clone(&store))
        .blobs(blobs.clone())
        .build()
        .unwrap();
    let conversation = store
        .open_conversation(&Tenant::default(), "live")
        .await
        .unwrap()
        .id;

    // The worker that runs the turn ends between the turn's end and its files.
    let mut uploads = host.uploads(conversation).await.unwrap();
    for (name, content) in [
        ("data.csv", "item,sold\ntea,7\n"),
        ("notes.md", "# Notes\n\nold line\n"),
    ] {
        uploads.add(name, None, content.as_bytes()).await.unwrap();
    }
    let options = SubmitOptions {
        uploads: Some(uploads),
        ..SubmitOptions::default()
    };
    let turn = host.submit(conversation, Prompt::text("[[work]]"), options);
    let turn = turn.await.unwrap().turn.id;
    let fault = Fault::dies_at("settle");
    let faulty = FaultyStore {
        below: Arc::clone(&store),
        fault: Arc::clone(&fault),
    };
    let (_, dying) = builder(Arc::new(faulty)).build().unwrap();
    let doomed = tokio::runtime::Runtime::new().unwrap();
    doomed.spawn(async move { dying.run_turn(turn, CancellationToken::new()).await });
    tokio::time::timeout(PATIENCE, fault.died.notified())
        .await
        .unwrap();
    killed(doomed).await;
    assert_eq!(host.result(turn).await.unwrap().unwrap().artifacts, []);

    let shutdown = CancellationToken::new();
    let worker = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { worker.run(shutdown).await }
    });
    let settled = async |turn| {
        let following = async {
            let mut live = host.live(turn, Cursor::START).await.unwrap();
            while live.try_next().await.unwrap().is_some() {}
            host.result(turn).await.unwrap().unwrap()
        };
        tokio::time::timeout(PATIENCE, following).await.unwrap()
    };
    let result = settled(turn).await;
    assert_eq!(
        result.status,
        TurnStatus::Completed,
        "{:?}",
        result.answer.error
    );
    let came: Vec<_> = files(&blobs, &result).await;
    let came: Vec<_> = came
        .iter()
        .map(|(name, bytes, _)| (&**name, &**bytes))
        .collect();
    let notes = "# Notes\n\nnew line\n";
    assert_eq!(
        came,
        [("report.md", REPORT), ("notes.md", notes)],
        "{:?}",
        result.answer.parts
    );

    let prompt = Prompt {
        model: Some("local/gpt-5-scripted".parse().unwrap()),
        ..Prompt::text("[[patch]]")
    };
    let turn = host.submit(conversation, prompt, SubmitOptions::default());
    let result = settled(turn.await.unwrap().turn.id).await;
    let came: Vec<_> = files(&blobs, &result).await;
    let came: Vec<_> = came
        .iter()
        .map(|(name, bytes, _)| (&**name, &**bytes))
        .collect();
    let notes = "# Notes\n\npatched line\n";
    assert_eq!(
        came,
        [("notes.md", notes), ("plan.md", "# Plan\n")],
        "{:?}",
        result.answer.parts
    );
    shutdown.cancel();
    worker.await.unwrap().unwrap();
}
