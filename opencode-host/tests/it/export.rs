//! All of a conversation, as records.

use futures_util::TryStreamExt as _;
use opencode_client::wire::Prompt;
use opencode_host::SubmitOptions;
use opencode_host::clock::{Clock as _, SystemClock};
use opencode_host::id::AttachmentId;
use opencode_host::store::{AttachmentSource, Metadata, NewAttachment, Tenant};
use opencode_impostor::{Impostor, Script, Step};
use serde_json::{Value, json};

use crate::hosting::Hosting;

async fn exported(test: &Hosting) -> Vec<Value> {
    let export = test.host.export(test.conversation).await.unwrap().unwrap();
    let records: Vec<_> = export.try_collect().await.unwrap();
    let lines = records.iter().map(|record| {
        let line = serde_json::to_string(record).unwrap();
        assert!(!line.contains('\n'));
        serde_json::from_str(&line).unwrap()
    });
    lines.collect()
}

fn kinds(lines: &[Value]) -> Vec<&str> {
    let kinds = lines.iter();
    kinds.map(|line| line["record"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn all_of_a_conversation_comes_in_its_order() {
    let impostor = Impostor::scripted(Script::always([Step::text("Line one.\nLine two.")]));
    let test = Hosting::new(impostor.await.unwrap()).await;
    let noted = Metadata::try_from(json!({ "ticket": 42 })).unwrap();
    test.host
        .set_metadata(test.conversation, &noted)
        .await
        .unwrap();
    assert_eq!(kinds(&exported(&test).await), ["conversation"]);

    let answered = test.turn("What does it say?").await;
    let digest = opencode_host::blobs::Digest::of(b"a,b");
    let file = NewAttachment::new(
        AttachmentId::from_uuid(SystemClock.new_uuid()),
        answered.message,
        "table.csv",
        digest,
        3,
        "text/csv",
        AttachmentSource::Sandbox,
    );
    test.store.attach(&file).await.unwrap();
    let options = SubmitOptions {
        metadata: noted.clone(),
        ..SubmitOptions::default()
    };
    let waiting = Prompt::text("And then?");
    let waiting = test.host.submit(test.conversation, waiting, options).await;
    let waiting = waiting.unwrap().turn;
    let other = Tenant::from("other");
    let other = test.host.open_conversation(&other, "test").await.unwrap();
    let beside = Prompt::text("secret");
    let beside = test.host.submit(other.id, beside, SubmitOptions::default());
    beside.await.unwrap();

    let lines = exported(&test).await;
    assert_eq!(
        kinds(&lines),
        [
            "conversation",
            "turn",
            "message",
            "message",
            "file",
            "turn",
            "message",
            "message"
        ]
    );
    assert_eq!(lines[0]["name"], "test");
    assert_eq!(lines[0]["metadata"], json!({ "ticket": 42 }));
    assert!(lines[0].get("session").is_none(), "{}", lines[0]);
    assert_eq!(lines[1]["turn"]["id"], answered.turn.to_string());
    assert_eq!(lines[3]["message"]["status"], "completed");
    let ended = lines[1]["events"].as_array().unwrap();
    assert!(ended.iter().any(|event| event["name"] == "turn.finished"));
    assert_eq!(lines[2]["message"]["content"], "What does it say?");
    assert_eq!(lines[3]["message"]["content"], "Line one.\nLine two.");
    assert_eq!(lines[4]["file"]["name"], "table.csv");
    assert_eq!(lines[4]["file"]["digest"], digest.to_string());
    assert_eq!(lines[5]["turn"]["id"], waiting.id.to_string());
    assert_eq!(lines[5]["turn"]["metadata"], json!({ "ticket": 42 }));
    assert_eq!(lines[7]["message"]["status"], "pending");
    let text = serde_json::to_string(&lines).unwrap();
    assert!(!text.contains("secret"));

    test.host
        .delete_conversation(test.conversation)
        .await
        .unwrap();
    let gone = test.host.export(test.conversation).await.unwrap();
    assert!(gone.is_none());
}
