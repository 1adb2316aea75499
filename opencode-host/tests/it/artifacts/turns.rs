//! Whole turns: files in, files out, and what happens when a worker dies in between.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use opencode_client::Client;
use opencode_client::wire::Prompt;
use opencode_host::artifacts::{Artifact, DefaultAttach, Transform};
use opencode_host::blobs::{BlobError, Blobs};
use opencode_host::id::ConversationId;
use opencode_host::product::{HookError, Product};
use opencode_host::sandbox::SandboxRoot;
use opencode_host::store::{AttachmentSource, Conversation, StoreError, Tenant, TurnStatus};
use opencode_host::turn::TurnResult;
use opencode_host::uploads::UploadError;
use opencode_host::{Host, HostOptions, Prepared, SubmitOptions, WorkerOptions};
use opencode_impostor::{ApplyPatch, Impostor, PatchKind, PatchedFile, Script, Step};
use tokio_util::sync::CancellationToken;

use crate::faulty_store::{Fault, FaultyStore};
use crate::hosting::{Builder, Hosting, PATIENCE, killed, quick};

pub(super) struct Filed {
    pub(super) home: tempfile::TempDir,
    pub(super) blobs: Blobs,
    pub(super) hosting: Hosting,
}

impl Filed {
    async fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self::built(Script::always(steps), |builder| builder).await
    }

    pub(super) async fn built(script: Script, adjust: impl FnOnce(Builder) -> Builder) -> Self {
        let home = tempfile::tempdir().unwrap();
        let root = SandboxRoot::open(home.path().join("sandboxes")).unwrap();
        let blobs = Blobs::in_folder(home.path().join("blobs")).unwrap();
        let impostor = Impostor::scripted(script).await.unwrap();
        let options = HostOptions {
            max_upload: 1000,
            ..HostOptions::default()
        };
        let with_files = |builder: Builder| {
            let builder = builder.host_options(options).blobs(blobs.clone());
            adjust(builder.sandboxes(root))
        };
        let hosting = Hosting::with(impostor, quick(), with_files).await;
        Self {
            home,
            blobs,
            hosting,
        }
    }

    async fn files(&self, result: &TurnResult) -> Vec<(String, String, AttachmentSource)> {
        files(&self.blobs, result).await
    }
}

pub(super) async fn files(
    blobs: &Blobs,
    result: &TurnResult,
) -> Vec<(String, String, AttachmentSource)> {
    let mut files = Vec::new();
    for file in &result.artifacts {
        let bytes = blobs.read(&file.digest, 1 << 20).await.unwrap();
        let bytes = String::from_utf8(bytes.to_vec()).unwrap();
        files.push((file.name.clone(), bytes, file.source));
    }
    files
}

fn patched(path: &str, kind: PatchKind, content: &str) -> PatchedFile {
    PatchedFile {
        path: path.to_owned(),
        kind,
        content: content.to_owned(),
    }
}

fn working() -> Vec<Step> {
    vec![
        Step::write_file("report.md", "# Report\n"),
        Step::write_file("notes.md", "old notes\n"),
        Step::write_file("scratch.txt", "to be deleted"),
        Step::ApplyPatch(ApplyPatch {
            files: vec![
                patched("notes.md", PatchKind::Update, "new notes\n"),
                patched("scratch.txt", PatchKind::Delete, ""),
            ],
        }),
        Step::text("Done."),
    ]
}

fn expected() -> Vec<(String, String, AttachmentSource)> {
    [("report.md", "# Report\n"), ("notes.md", "new notes\n")]
        .map(|(name, bytes)| (name.to_owned(), bytes.to_owned(), AttachmentSource::Tool))
        .into()
}

#[tokio::test]
async fn the_agents_files_come_back() {
    let filed = Filed::new(working()).await;
    let result = filed.hosting.turn("write").await;
    assert_eq!(
        result.status,
        TurnStatus::Completed,
        "{:?}",
        result.answer.error
    );
    assert_eq!(filed.files(&result).await, expected());
    // The session works in the conversation's sandbox, without a word of the product's.
    let folder = filed
        .home
        .path()
        .join("sandboxes")
        .join(filed.hosting.conversation.to_string());
    assert_eq!(
        std::fs::read_to_string(folder.join("notes.md")).unwrap(),
        "new notes\n"
    );
    let reported = filed.hosting.recorder.named("reported");
    assert!(reported.is_empty(), "{reported:?}");
}

/// Makes `report.html` of `report.json`.
#[derive(Debug)]
struct Page;

#[async_trait]
impl Transform for Page {
    fn source_name(&self) -> &'static str {
        "report.json"
    }

    fn destination_name(&self) -> &'static str {
        "report.html"
    }

    async fn render(&self, source: &Artifact) -> Result<Artifact, HookError> {
        Ok(Artifact::new("report.html", source.bytes.clone()))
    }
}

#[derive(Debug)]
struct Paged(DefaultAttach);

impl Product for Paged {
    fn default_attach(&self, _: &Conversation) -> DefaultAttach {
        self.0
    }

    fn transforms(&self, _: &Conversation) -> Vec<Arc<dyn Transform>> {
        vec![Arc::new(Page)]
    }
}

/// The next turn begins before the file system's clock has moved on.
#[tokio::test]
async fn the_next_turn_does_not_get_the_files_of_the_one_before() {
    let script = || {
        Script::new()
            .on(
                "first",
                [
                    Step::write_file("report.json", "one"),
                    Step::text("Written."),
                ],
            )
            .on(
                "again",
                [
                    Step::write_file("report.json", "two"),
                    Step::text("Written."),
                ],
            )
            .otherwise([Step::text("Nothing to do.")])
    };
    for default_attach in [DefaultAttach::All, DefaultAttach::None] {
        let product = Paged(default_attach);
        let filed = Filed::built(script(), |builder| builder.product(product)).await;
        let folder = filed.home.path().join("sandboxes");
        let folder = folder.join(filed.hosting.conversation.to_string());
        let names = |result: &TurnResult| {
            let names = result.artifacts.iter().map(|file| file.name.clone());
            names.collect::<Vec<_>>()
        };
        let expected: &[&str] = match default_attach {
            DefaultAttach::All => &["report.html", "report.json"],
            DefaultAttach::None => &["report.html"],
        };
        for prompt in ["first", "again"] {
            let result = filed.hosting.turn(prompt).await;
            assert_eq!(names(&result), expected, "{prompt}");
            // Whenever the next turn starts, this is as good as changed after it did.
            let file = std::fs::File::options();
            let file = file
                .clone()
                .write(true)
                .open(folder.join("report.json"))
                .unwrap();
            let later = std::time::SystemTime::now() + Duration::from_secs(3600);
            file.set_modified(later).unwrap();
            let result = filed.hosting.turn("and now?").await;
            assert_eq!(names(&result), [] as [&str; 0], "{prompt}");
        }
    }
}

#[tokio::test]
async fn a_persons_files_reach_the_agent_and_stay_theirs() {
    let filed = Filed::new([
        Step::Echo,
        Step::write_file("Sales-2026.csv", "item,sold\n"),
        Step::text("Read."),
    ])
    .await;
    let (host, conversation) = (&filed.hosting.host, filed.hosting.conversation);
    let mut uploads = host.uploads(conversation).await.unwrap();
    let csv = &b"item,sold\n"[..];
    uploads
        .add("C:\\Sales 2026.csv", Some("text/csv"), csv)
        .await
        .unwrap();
    uploads
        .add("Sales 2026.csv", None, &b"other"[..])
        .await
        .unwrap();
    let large = vec![0; 1001];
    let refused = uploads.add("large.bin", None, &large[..]).await;
    assert!(
        matches!(
            refused,
            Err(UploadError::Blob(BlobError::TooLarge { cap: 1000 }))
        ),
        "{refused:?}"
    );
    let options = SubmitOptions {
        uploads: Some(uploads.instruction("Read them.")),
        ..SubmitOptions::default()
    };
    let turn = host.submit(conversation, Prompt::text("What sold best?"), options);
    let turn = turn.await.unwrap().turn;
    let result = filed
        .hosting
        .finished(turn.id, filed.hosting.work(turn.id))
        .await;
    for told in [
        "What sold best?\n\n2 files were uploaded. Read them.",
        "\"Sales 2026.csv\", in the working folder as `Sales-2026.csv` (text/csv, 10 bytes)",
        "\"Sales 2026 (2).csv\", in the working folder as `Sales-2026-2.csv` (text/csv, 5 bytes)",
    ] {
        assert!(
            result.answer.content.contains(told),
            "{}",
            result.answer.content
        );
    }
    let store = &filed.hosting.store;
    let said = store
        .message(turn.user_message)
        .await
        .unwrap()
        .unwrap()
        .answer
        .content;
    assert_eq!(said, "What sold best?");
    let theirs = store.attachments(turn.user_message).await.unwrap();
    let names: Vec<_> = theirs
        .iter()
        .map(|file| (file.name.as_str(), file.source))
        .collect();
    assert_eq!(
        names,
        [
            ("Sales 2026.csv", AttachmentSource::Upload),
            ("Sales 2026 (2).csv", AttachmentSource::Upload)
        ]
    );
    let bytes = filed.blobs.read(&theirs[0].digest, 100).await.unwrap();
    assert_eq!(bytes, csv);
    // Neither what was uploaded nor what the agent wrote back unchanged is the agent's.
    assert_eq!(filed.files(&result).await, []);
}

/// A prompt with one file, about to be submitted.
async fn prepared(host: &Host, conversation: ConversationId, content: &'static str) -> Prepared {
    let mut uploads = host.uploads(conversation).await.unwrap();
    let added = uploads.add("sales.csv", None, content.as_bytes()).await;
    added.unwrap();
    let options = SubmitOptions {
        uploads: Some(uploads),
        ..SubmitOptions::default()
    };
    let preparing = host.prepare(conversation, Prompt::text("What sold best?"), options);
    preparing.await.unwrap()
}

#[tokio::test]
async fn files_of_a_prompt_that_is_not_committed_are_taken_back_before_others_are_placed() {
    let filed = Filed::new([Step::text("Read.")]).await;
    let (host, conversation) = (&filed.hosting.host, filed.hosting.conversation);
    let sandbox = filed.home.path().join("sandboxes");
    let sandbox = sandbox.join(conversation.to_string());
    let placed = || {
        let files = std::fs::read_dir(&sandbox).unwrap();
        let read = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
        read.collect::<Vec<_>>()
    };
    let first = prepared(host, conversation, "first").await;
    assert_eq!(placed(), ["first"]);
    let second = prepared(host, conversation, "second");
    tokio::pin!(second);
    let waits = tokio::time::timeout(Duration::from_millis(300), &mut second).await;
    assert!(waits.is_err(), "two prompts place their files at once");
    drop(first);
    let second = second.await;
    assert_eq!(placed(), ["second"]);
    // Of another conversation nobody waits.
    let other = filed
        .hosting
        .store
        .open_conversation(&Tenant::default(), "other")
        .await;
    drop(prepared(host, other.unwrap().id, "other").await);
    let submitted = filed.hosting.store.submit(&second).await.unwrap();
    second.committed(&submitted);
    assert_eq!(placed(), ["second"]);
}

#[tokio::test]
async fn a_host_without_a_place_for_files_says_so() {
    let hosting = Hosting::new(Impostor::start().await.unwrap()).await;
    let refused = hosting.host.uploads(hosting.conversation).await;
    assert!(
        matches!(refused, Err(UploadError::NotConfigured)),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_worker_that_died_after_the_end_is_made_up_for() {
    // The first worker attaches nothing (it dies before), or all of it (it dies after).
    for first_attaches in [false, true] {
        let home = tempfile::tempdir().unwrap();
        let root = SandboxRoot::open(home.path().join("sandboxes")).unwrap();
        let blobs = Blobs::in_folder(home.path().join("blobs")).unwrap();
        let impostor = Impostor::scripted(Script::always(working())).await.unwrap();
        let url = impostor.url();
        let options = WorkerOptions {
            lease: Duration::from_millis(300),
            ..quick()
        };
        let fault = Fault::dies_at("settle");
        let first = Hosting::with(impostor, options.clone(), |builder| builder).await;
        let store = Arc::clone(&first.store);
        let dying = FaultyStore {
            below: Arc::clone(&store),
            fault: Arc::clone(&fault),
        };
        let first = first.rebuilt(Arc::new(dying), options.clone(), |builder| {
            let builder = builder.sandboxes(root.clone());
            if first_attaches {
                builder.blobs(blobs.clone())
            } else {
                builder
            }
        });
        let turn = first.submit("write").await;
        // A runtime of its own, so that all of the worker ends at once.
        let doomed = tokio::runtime::Runtime::new().unwrap();
        let worker = first.worker.clone();
        doomed.spawn(async move { worker.run_turn(turn, CancellationToken::new()).await });
        tokio::time::timeout(PATIENCE, fault.died.notified())
            .await
            .unwrap();
        killed(doomed).await;

        let (second, worker) = Builder::new(Client::builder(&url).build().unwrap(), store)
            .blobs(blobs.clone())
            .sandboxes(root)
            .options(options)
            .build()
            .unwrap();
        let ended = second.result(turn).await.unwrap().unwrap();
        assert_eq!(ended.artifacts.len(), if first_attaches { 2 } else { 0 });
        let shutdown = CancellationToken::new();
        let working = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { worker.run(shutdown).await }
        });
        let settled = async {
            let mut live = second
                .live(turn, opencode_host::live::Cursor::START)
                .await
                .unwrap();
            while live.try_next().await.unwrap().is_some() {}
        };
        tokio::time::timeout(PATIENCE, settled).await.unwrap();
        shutdown.cancel();
        working.await.unwrap().unwrap();
        let result = second.result(turn).await.unwrap().unwrap();
        assert_eq!(files(&blobs, &result).await, expected());
        assert_eq!(first.store.turn_events(turn).await.unwrap().len(), 1);
        first.assert_prompted_once(&result);
    }
}

#[tokio::test]
async fn a_conversations_uploads_have_a_quota() {
    let home = tempfile::tempdir().unwrap();
    let root = SandboxRoot::open(home.path().join("sandboxes")).unwrap();
    let impostor = Impostor::scripted(Script::always([Step::text("Read.")]));
    let options = HostOptions {
        upload_quota: 10,
        ..HostOptions::default()
    };
    let hosting = Hosting::with(impostor.await.unwrap(), quick(), |builder| {
        builder
            .host_options(options)
            .blobs(Blobs::open("memory://").unwrap())
            .sandboxes(root)
    });
    let hosting = hosting.await;
    let (host, conversation) = (&hosting.host, hosting.conversation);
    let submit = async |uploads| {
        let options = SubmitOptions {
            client_key: Some("first".to_owned()),
            uploads: Some(uploads),
            ..SubmitOptions::default()
        };
        host.submit(conversation, Prompt::text("Look"), options)
            .await
            .unwrap()
    };
    let mut uploads = host.uploads(conversation).await.unwrap();
    uploads.add("a.txt", None, &b"123456"[..]).await.unwrap();
    // Early: what has not been submitted counts too.
    let refused = uploads.add("b.txt", None, &b"12345"[..]).await.unwrap_err();
    assert!(
        matches!(
            refused,
            UploadError::Store(StoreError::QuotaExceeded {
                used: 0,
                adding: 11,
                allowed: 10
            })
        ),
        "{refused:?}"
    );
    assert!(refused.to_string().contains("10 bytes"), "{refused}");
    assert_eq!(uploads.files().len(), 1, "the one before stays");
    assert!(submit(uploads).await.created);
    // The answer was lost: the same again, and it is the same turn.
    let mut again = host.uploads(conversation).await.unwrap();
    again.add("a.txt", None, &b"123456"[..]).await.unwrap();
    assert!(!submit(again).await.created);
    let mut more = host.uploads(conversation).await.unwrap();
    assert!(more.add("c.txt", None, &b"12345"[..]).await.is_err());
    more.add("c.txt", None, &b"1234"[..]).await.unwrap();
    assert_eq!(hosting.store.uploaded_bytes(conversation).await.unwrap(), 6);
    let home = home.path().join("sandboxes").join(conversation.to_string());
    assert!(
        !home.join("b.txt").exists(),
        "what is refused does not reach the agent"
    );
}

#[tokio::test]
async fn a_worker_removes_what_crashed_uploads_left() {
    let filed = Filed::new([Step::text("Hello")]).await;
    let staging = filed.home.path().join("sandboxes/.staging");
    let [old, young] = ["1-1", "1-2"].map(|name| staging.join(name));
    for path in [&old, &young] {
        std::fs::write(path, "half of it").unwrap();
    }
    let file = std::fs::File::options().write(true).open(&old).unwrap();
    let days = Duration::from_secs(2 * 24 * 3600);
    file.set_modified(std::time::SystemTime::now() - days)
        .unwrap();
    let shutdown = CancellationToken::new();
    let working = tokio::spawn({
        let (worker, shutdown) = (filed.hosting.worker.clone(), shutdown.clone());
        async move { worker.run(shutdown).await }
    });
    let swept = async {
        while old.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, swept).await.unwrap();
    shutdown.cancel();
    working.await.unwrap().unwrap();
    assert!(young.exists());
}
