//! Conversations of tenants: an application's own, in the same database. The chat has none of them.

use axum::http::StatusCode;
use opencode_host::SubmitOptions;
use opencode_host::blobs::Digest;
use opencode_host::client::wire::Prompt;
use opencode_host::clock::{Clock as _, SystemClock};
use opencode_host::id::AttachmentId;
use opencode_host::store::{AttachmentSource, Files as _, NewAttachment, Tenant};
use opencode_impostor::{Impostor, Script, Step};

use super::site::Site;

#[tokio::test]
async fn no_page_shows_what_is_a_tenants() {
    let site = Site::without_worker(
        Impostor::scripted(Script::always([Step::text("Hi")]))
            .await
            .unwrap(),
    );
    let acme = Tenant::from("acme");
    let theirs = site
        .host
        .open_conversation(&acme, "garden of acme")
        .await
        .unwrap()
        .id;
    let submitted = site
        .host
        .submit(theirs, Prompt::text("secret"), SubmitOptions::default());
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
    let file = site.store.attach(&file).await.unwrap().attachment.id;
    let (id, message) = (turn.id, turn.message);
    for path in [
        format!("/conversations/{theirs}"),
        format!("/conversations/{theirs}/messages/{message}"),
        format!("/conversations/{theirs}/delete"),
        format!("/conversations/{theirs}/files/{file}/table.csv"),
        format!("/turns/{id}/events"),
        format!("/turns/{id}/edit"),
    ] {
        let page = site.get(&path).await;
        assert_eq!(page.status, StatusCode::NOT_FOUND, "{path}");
        page.lacks("secret");
    }
    let answered = [
        ("count", "1"),
        ("a0", "yes"),
        ("reply", "once"),
        ("prompt", "hello"),
    ];
    for path in [
        format!("/conversations/{theirs}/turns"),
        format!("/conversations/{theirs}/delete"),
        format!("/turns/{id}/cancel"),
        format!("/turns/{id}/continue"),
        format!("/turns/{id}/again"),
        format!("/turns/{id}/edit"),
        format!("/turns/{id}/choose"),
        format!("/turns/{id}/fork"),
        format!("/turns/{id}/questions/que_1"),
        format!("/turns/{id}/questions/que_1/reject"),
        format!("/turns/{id}/permissions/per_1"),
    ] {
        let page = site.post(&path, &answered).await;
        assert_eq!(page.status, StatusCode::NOT_FOUND, "{path}");
    }
    let active = site.host.store().active_turns(theirs, 9).await.unwrap();
    assert_eq!(active, [turn], "it was not cancelled, and none was added");
    site.get("/").await.lacks("garden of acme");
}
