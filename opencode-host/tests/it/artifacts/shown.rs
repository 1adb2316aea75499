//! Pictures and PDFs that a person uploads, as the model is shown them.

use std::path::Path;

use opencode_client::wire::{ModelRef, Prompt};
use opencode_host::SubmitOptions;
use opencode_host::blobs::Blobs;
use opencode_host::sandbox::SandboxRoot;
use opencode_host::store::{Tenant, TurnStatus};
use opencode_host::uploads::MAX_SHOWN_FILES;
use opencode_impostor::{Action, Calls, Impostor, ModelScript, Round, Script, Step};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::hosting::{Builder, Hosting, quick};
use crate::real::Upstream;

/// A red picture of one pixel.
pub(super) const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0\x90wS\xde\0\0\0\x0cIDATx\x9cc\xf8\xcf\xc0\0\0\x03\x01\x01\0\xc9\xfe\x92\xef\0\0\0\0IEND\xaeB`\x82";

const PDF: &[u8] = b"%PDF-1.4\n%%EOF\n";

fn seeing() -> Prompt {
    Prompt {
        model: Some("local/seeing".parse::<ModelRef>().unwrap()),
        ..Prompt::text("What is on it?")
    }
}

/// A host whose agents work in sandboxes below `home`.
async fn hosting(home: &Path) -> Hosting {
    let root = SandboxRoot::open(home.join("sandboxes")).unwrap();
    let impostor = Impostor::builder()
        .script(Script::always([Step::text("Red.")]))
        .models(["local/scripted", "local/seeing"]);
    let with_files = |builder: Builder| {
        let builder = builder.blobs(Blobs::open("memory://").unwrap());
        builder.sandboxes(root)
    };
    Hosting::with(impostor.start().await.unwrap(), quick(), with_files).await
}

/// Runs a turn with these files, and returns the file parts of what was posted.
async fn posted(
    hosting: &Hosting,
    prompt: Prompt,
    files: &[(&str, &[u8])],
    show: bool,
) -> Vec<Value> {
    let turn = submitted(hosting, prompt, files, show).await;
    let result = hosting.finished(turn, hosting.work(turn)).await;
    assert_eq!(result.status, TurnStatus::Completed, "{result:?}");
    last_posted(hosting)
}

async fn submitted(
    hosting: &Hosting,
    prompt: Prompt,
    files: &[(&str, &[u8])],
    show: bool,
) -> opencode_host::id::TurnId {
    let mut uploads = hosting
        .host
        .uploads(hosting.conversation)
        .await
        .unwrap()
        .show(show);
    for (name, content) in files {
        uploads.add(name, None, *content).await.unwrap();
    }
    let options = SubmitOptions {
        uploads: Some(uploads),
        ..SubmitOptions::default()
    };
    let submitted = hosting
        .host
        .submit(hosting.conversation, prompt, options)
        .await;
    submitted.unwrap().turn.id
}

fn last_posted(hosting: &Hosting) -> Vec<Value> {
    let ledger = hosting.impostor.ledger();
    let mut posts = ledger.requests().iter().rev();
    let post = posts
        .find(|request| request.path.ends_with("/prompt_async"))
        .unwrap();
    let parts = post.body["parts"].as_array().unwrap().iter();
    parts
        .filter(|part| part["type"] == "file")
        .cloned()
        .collect()
}

/// What they are called.
fn names(parts: &[Value]) -> Vec<&str> {
    parts
        .iter()
        .map(|part| part["filename"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn pictures_and_pdfs_are_shown_beside_their_copies_and_nothing_else_is() {
    let home = tempfile::tempdir().unwrap();
    let hosting = hosting(home.path()).await;
    let half = &PNG[..PNG.len() - 30];
    let parts = posted(
        &hosting,
        seeing(),
        &[
            ("My picture.png", PNG),
            ("a.pdf", PDF),
            // By their contents, not by their names.
            ("named.csv", PNG),
            ("no picture.png", b"no picture"),
            ("half.png", half),
            ("empty.png", b""),
            ("words.txt", b"words"),
        ],
        true,
    )
    .await;
    assert_eq!(names(&parts), ["My picture.png", "a.pdf", "named.csv"]);
    let mime: Vec<_> = parts.iter().map(|part| &part["mime"]).collect();
    assert_eq!(mime, ["image/png", "application/pdf", "image/png"]);
    // In the conversation's folder, where its tools find it too.
    let url = parts[0]["url"].as_str().unwrap();
    let path = url.strip_prefix("file://").unwrap();
    assert!(
        path.ends_with(&format!("/{}/My-picture.png", hosting.conversation)),
        "{path}"
    );
    assert_eq!(std::fs::read(path).unwrap(), PNG);
    hosting.impostor.assert_clean();
}

#[tokio::test]
async fn a_model_is_shown_what_it_takes() {
    let home = tempfile::tempdir().unwrap();
    let hosting = hosting(home.path()).await;
    let files: &[(&str, &[u8])] = &[("a.png", PNG), ("a.pdf", PDF)];
    let blind = Prompt {
        model: Some("local/scripted".parse().unwrap()),
        ..seeing()
    };
    assert_eq!(posted(&hosting, blind, files, true).await, [Value::Null; 0]);
    // The server's own default, whichever that is: pictures are what most take.
    let unknown = Prompt::text("What is on it?");
    assert_eq!(
        names(&posted(&hosting, unknown, files, true).await),
        ["a.png"]
    );
    // Whoever submits can keep them to the folder.
    assert_eq!(
        posted(&hosting, seeing(), files, false).await,
        [Value::Null; 0]
    );
    let many = [("a.png", PNG); MAX_SHOWN_FILES + 2];
    assert_eq!(
        posted(&hosting, seeing(), &many, true).await.len(),
        MAX_SHOWN_FILES
    );
}

#[tokio::test]
async fn what_the_model_takes_is_asked_again_and_unknown_then() {
    let home = tempfile::tempdir().unwrap();
    let hosting = hosting(home.path()).await;
    let files: &[(&str, &[u8])] = &[("a.png", PNG), ("a.pdf", PDF)];
    for (calls, shown) in [
        // As a server does whose first answers in a folder never come.
        (Calls::First(2), &["a.png", "a.pdf"][..]),
        (Calls::All, &["a.png"]),
    ] {
        let faults = hosting.impostor.faults();
        faults.request("GET /config/providers", calls, Action::Swallow);
        assert_eq!(names(&posted(&hosting, seeing(), files, true).await), shown);
    }
}

#[tokio::test]
async fn a_picture_that_is_gone_before_the_prompt_is_not_shown() {
    let home = tempfile::tempdir().unwrap();
    let hosting = hosting(home.path()).await;
    let turn = submitted(&hosting, seeing(), &[("a.png", PNG), ("b.png", PNG)], true).await;
    let folder = home
        .path()
        .join("sandboxes")
        .join(hosting.conversation.to_string());
    std::fs::remove_file(folder.join("a.png")).unwrap();
    let result = hosting.finished(turn, hosting.work(turn)).await;
    assert_eq!(result.status, TurnStatus::Completed, "{result:?}");
    assert_eq!(names(&last_posted(&hosting)), ["b.png"]);
}

pub(crate) fn script() -> ModelScript {
    ModelScript::new().on("What is on it?", [Round::text("Red.")])
}

/// A real server: a model that takes them gets the bytes, another hears nothing of what it cannot see.
pub(crate) async fn a_model_is_shown_pictures_where_it_takes_them(upstream: &Upstream) {
    let home = tempfile::tempdir().unwrap();
    let root = SandboxRoot::open(home.path().join("sandboxes")).unwrap();
    let store = std::sync::Arc::new(opencode_host::store::MemoryStore::default());
    let (host, worker) = Builder::new(upstream.client(), store)
        .sandboxes(root)
        .blobs(Blobs::open("memory://").unwrap())
        .build()
        .unwrap();
    for (model, shown) in [("local/seeing", true), ("local/scripted", false)] {
        let conversation = host
            .open_conversation(&Tenant::default(), model)
            .await
            .unwrap()
            .id;
        let mut uploads = host.uploads(conversation).await.unwrap();
        for (name, content) in [("a.png", PNG), ("a.pdf", PDF), ("no picture.png", b"no")] {
            uploads.add(name, None, content).await.unwrap();
        }
        let prompt = Prompt {
            model: Some(model.parse().unwrap()),
            ..Prompt::text(format!("What is on it? {conversation}"))
        };
        let options = SubmitOptions {
            uploads: Some(uploads),
            ..SubmitOptions::default()
        };
        let turn = host
            .submit(conversation, prompt, options)
            .await
            .unwrap()
            .turn
            .id;
        worker
            .run_turn(turn, CancellationToken::new())
            .await
            .unwrap();
        let result = host.result(turn).await.unwrap().unwrap();
        assert_eq!(result.status, TurnStatus::Completed, "{result:?}");
        let requests = upstream.model.requests();
        let of_this = |request: &&Value| {
            request["tools"].is_array() && request.to_string().contains(&conversation.to_string())
        };
        let asked = requests.iter().find(of_this).unwrap();
        let mut messages = asked["messages"].as_array().unwrap().iter();
        let user = messages.rfind(|message| message["role"] == "user").unwrap();
        let said = user["content"].to_string();
        assert_eq!(
            said.contains("data:image/png;base64,iVBORw0KGgo"),
            shown,
            "{said}"
        );
        assert_eq!(
            said.contains("data:application/pdf;base64,"),
            shown,
            "{said}"
        );
        assert!(!said.contains("ERROR"), "{said}");
        assert!(said.contains("no-picture.png"), "{said}");
    }
}
