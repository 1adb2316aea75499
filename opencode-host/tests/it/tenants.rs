//! A host as one tenant has it: what is another's is not there, by any method.

use opencode_client::PermissionId;
use opencode_client::wire::{PermissionReply, Prompt};
use opencode_host::blobs::Digest;
use opencode_host::clock::{Clock as _, SystemClock};
use opencode_host::id::AttachmentId;
use opencode_host::live::Cursor;
use opencode_host::store::{
    AttachmentSource, ConversationFilter, Metadata, NewAnswer, NewAttachment, Page, StoreError,
    Tenant,
};
use opencode_host::uploads::UploadError;
use opencode_host::{AnswerError, SubmitError, SubmitOptions};
use opencode_impostor::{Impostor, Script};
use serde_json::json;

use crate::hosting::Hosting;

/// The words for a row that is not there.
#[track_caller]
fn missing<T>(found: Result<T, StoreError>) -> String {
    match found {
        Err(error @ StoreError::NotFound { .. }) => error.to_string(),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was found"),
    }
}

#[tokio::test]
async fn what_is_anothers_is_not_there() {
    let test = Hosting::new(Impostor::scripted(Script::new()).await.unwrap()).await;
    let (acme, other) = (Tenant::from("acme"), Tenant::from("other"));
    let (acme, other) = (test.host.of(&acme), test.host.of(&other));
    let theirs = acme.open_conversation("garden").await.unwrap();
    let conversation = theirs.id;
    let options = SubmitOptions::default;
    let submitted = acme.submit(conversation, Prompt::text("secret"), options());
    let turn = submitted.await.unwrap().turn;
    let file = NewAttachment::new(
        AttachmentId::from_uuid(SystemClock.new_uuid()),
        turn.message,
        "table.csv",
        Digest::of(b"a,b"),
        3,
        "text/csv",
        AttachmentSource::Sandbox,
    );
    let file = test.store.attach(&file).await.unwrap().attachment;
    let (id, message) = (turn.id, turn.message);

    assert_eq!(acme.conversation(conversation).await.unwrap(), theirs);
    assert_eq!(acme.turn(id).await.unwrap(), turn);
    assert_eq!(acme.message(message).await.unwrap().id, message);
    assert_eq!(acme.attachment(file.id).await.unwrap(), file);
    assert_eq!(
        acme.attachments(message).await.unwrap(),
        std::slice::from_ref(&file)
    );

    assert_eq!(
        acme.conversation_named("garden").await.unwrap(),
        Some(theirs.clone())
    );
    assert_eq!(other.conversation_named("garden").await.unwrap(), None);
    let told = missing(other.conversation(conversation).await);
    assert_eq!(told, format!("there is no conversation {conversation}"));
    assert_eq!(
        missing(other.turn(id).await),
        format!("there is no turn {id}")
    );
    let told = missing(other.message(message).await);
    assert_eq!(told, format!("there is no message {message}"));
    let told = missing(other.attachment(file.id).await);
    assert_eq!(told, format!("there is no file {}", file.id));
    missing(other.attachments(message).await);
    missing(other.messages(conversation, None, 9).await);
    missing(other.messages_before(conversation, None, 9).await);
    missing(other.active_turns(conversation, 9).await);
    missing(other.result(id).await);
    missing(other.settled(id).await);
    missing(other.live(id, Cursor::START).await);
    missing(other.views(id, Cursor::START).await);
    missing(other.export(conversation).await);
    missing(other.cancel(id, Some("mine")).await);
    let noted = Metadata::try_from(json!({ "ticket": 42 })).unwrap();
    missing(other.set_metadata(conversation, &noted).await);
    missing(other.delete_conversation(conversation).await);
    let prompt = Prompt::text("Go on");
    match other.submit(conversation, prompt, options()).await {
        Err(SubmitError::Store(error)) => missing::<()>(Err(error)),
        submitted => panic!("{submitted:?}"),
    };
    match other.uploads(conversation).await {
        Err(UploadError::Store(error)) => missing::<()>(Err(error)),
        uploads => panic!("{uploads:?}"),
    };
    let answer = NewAnswer::permission(&PermissionId::from("per_1"), PermissionReply::Once);
    match other.answer(id, answer).await {
        Err(AnswerError::Store(error)) => missing::<()>(Err(error)),
        answered => panic!("{answered:?}"),
    };
    assert_eq!(acme.conversation(conversation).await.unwrap(), theirs);
    assert_eq!(acme.active_turns(conversation, 9).await.unwrap(), [turn]);

    let page = Page::newest(9);
    let everybody = ConversationFilter::default();
    let listed = other.conversations(ConversationFilter::of(acme.tenant()), &page);
    assert_eq!(listed.await.unwrap(), []);
    let listed = acme.conversations(everybody, &page).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].conversation, theirs);

    acme.delete_conversation(conversation).await.unwrap();
    missing(acme.conversation(conversation).await);
    missing(acme.turn(id).await);
    missing(acme.delete_conversation(conversation).await);
}
