//! The files of earlier messages, in a folder that is new to the conversation.

use std::path::PathBuf;

use opencode_client::wire::Prompt;
use opencode_host::SubmitOptions;
use opencode_host::id::TurnId;
use opencode_host::store::TurnStatus;
use opencode_impostor::{Script, Step};

use super::turns::Filed;
use crate::hosting::Hosting;

/// Writes a plan, writes another one, and else says back what it was asked.
async fn planner() -> Filed {
    let script = Script::new()
        .once(
            "first plan",
            [
                Step::write_file("src/plan.md", "# First"),
                Step::text("Done."),
            ],
        )
        .once(
            "second plan",
            [
                Step::write_file("src/plan.md", "# Second"),
                Step::text("Done."),
            ],
        )
        .otherwise([Step::Echo]);
    Filed::built(script, |builder| builder).await
}

/// The same host with the fork of a turn as its conversation.
async fn forked(filed: Filed, turn: TurnId, name: &str) -> Filed {
    let fork = filed.hosting.host.fork(turn, name).await.unwrap();
    Filed {
        hosting: Hosting {
            conversation: fork.conversation.id,
            ..filed.hosting
        },
        ..filed
    }
}

fn folder(filed: &Filed) -> PathBuf {
    let sandboxes = filed.home.path().join("sandboxes");
    sandboxes.join(filed.hosting.conversation.to_string())
}

fn read(filed: &Filed, place: &str) -> Option<String> {
    std::fs::read_to_string(folder(filed).join(place)).ok()
}

async fn submit(filed: &Filed, text: &str, name: &str, content: &str) -> TurnId {
    let hosting = &filed.hosting;
    let uploads = hosting.host.uploads(hosting.conversation).await;
    let mut uploads = uploads.unwrap();
    uploads.add(name, None, content.as_bytes()).await.unwrap();
    let options = SubmitOptions {
        uploads: Some(uploads),
        ..SubmitOptions::default()
    };
    let submitting = hosting
        .host
        .submit(hosting.conversation, Prompt::text(text), options);
    submitting.await.unwrap().turn.id
}

async fn run(filed: &Filed, turn: TurnId) {
    let hosting = &filed.hosting;
    let result = hosting.finished(turn, hosting.work(turn)).await;
    assert_eq!(result.status, TurnStatus::Completed, "{result:?}");
}

#[tokio::test]
async fn a_fork_has_the_files_as_they_were() {
    let filed = planner().await;
    let first = submit(&filed, "first plan", "notes.txt", "mine").await;
    run(&filed, first).await;
    filed.hosting.turn("second plan").await;
    assert_eq!(read(&filed, "src/plan.md").as_deref(), Some("# Second"));
    let filed = forked(filed, first, "fork").await;
    assert!(!folder(&filed).exists());

    let result = filed.hosting.turn("go on").await;
    assert_eq!(result.answer.content, "go on");
    assert_eq!(read(&filed, "src/plan.md").as_deref(), Some("# First"));
    assert_eq!(read(&filed, "notes.txt").as_deref(), Some("mine"));
    assert_eq!(result.artifacts, [], "they are not new");
    let restored = filed.hosting.recorder.named("sandbox.restored");
    assert_eq!(restored.len(), 1);
    assert_eq!(restored[0]["files"], 2);
    let session = result.session.unwrap();
    let told = filed.hosting.impostor.messages(session.as_str());
    let transcript = told[0]["parts"][0]["text"].as_str().unwrap();
    for told in ["> first plan", "src/plan.md", "notes.txt"] {
        assert!(transcript.contains(told), "{told}: {transcript}");
    }
    assert!(!transcript.contains("second plan"), "{transcript}");

    // What the agent or the person deletes stays away, also when this session is replaced.
    std::fs::remove_file(folder(&filed).join("notes.txt")).unwrap();
    filed.hosting.impostor.forget(session.as_str());
    filed.hosting.turn("and on").await;
    assert_eq!(
        filed.hosting.recorder.count("session.carried_over"),
        2,
        "the fork's sessions"
    );
    assert_eq!(read(&filed, "notes.txt"), None);
}

#[tokio::test]
async fn what_is_there_is_not_overwritten_and_what_cannot_be_had_holds_up_nothing() {
    let filed = planner().await;
    let first = submit(&filed, "first plan", "notes.txt", "old").await;
    run(&filed, first).await;
    let filed = forked(filed, first, "fork").await;
    let files = filed
        .hosting
        .host
        .store()
        .newest_attachments(filed.hosting.conversation, 9);
    let files = files.await.unwrap();
    let plan = files.iter().find(|file| file.name == "plan.md").unwrap();
    let digest = plan.digest.to_string();
    let mut gone = 0;
    let mut folders = vec![filed.home.path().join("blobs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().replace('/', "").ends_with(&digest) {
                std::fs::remove_file(path).unwrap();
                gone += 1;
            }
        }
    }
    assert_eq!(gone, 1);

    let turn = submit(&filed, "go on", "notes.txt", "new").await;
    run(&filed, turn).await;
    assert_eq!(read(&filed, "notes.txt").as_deref(), Some("new"));
    assert_eq!(read(&filed, "src/plan.md"), None);
    let reported = filed.hosting.recorder.named("reported");
    let told = |report: &&serde_json::Map<_, _>| {
        report["action"] == "restore" && report["file"] == "src/plan.md"
    };
    assert_eq!(reported.iter().filter(told).count(), 1, "{reported:?}");
    assert_eq!(filed.hosting.recorder.count("sandbox.restored"), 0);
}
