//! The list of conversations: all of them reachable, named, set aside, and told apart.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use opencode_host::id::ConversationId;
use opencode_host::store::{Metadata, Tenant};
use opencode_impostor::{Impostor, Retry, Script, Step};
use serde_json::json;

use super::site::Site;

async fn act(site: &Site, conversation: ConversationId, act: &str) {
    let path = format!("/conversations/{conversation}");
    let page = site.post(&format!("{path}/options"), &[("act", act)]).await;
    let led = (page.status, page.header("location"));
    assert_eq!(led, (StatusCode::SEE_OTHER, &*path), "{}", page.text);
}

/// The ids of the conversations that a page lists.
fn listed(text: &str) -> Vec<String> {
    let items = text.split("<li id=\"c-").skip(1);
    items.map(|item| item[..36].to_owned()).collect()
}

#[tokio::test]
async fn a_conversation_is_renamed_pinned_and_archived_without_a_script() {
    let site = Site::new([Step::text("Hi")]).await;
    let (first, _) = site.begin("the first words").await;
    site.ended(first).await;
    let page = site.page(first).await;
    let options = format!("/conversations/{first}/options");
    page.shows(&["<h2>Today</h2>", "the first words", &options]);
    site.get(&options)
        .await
        .shows(&["value=\"the first words\"", "Pin", "Archive", "Delete"]);

    let title = " About <b>gardens</b>\n& more ";
    let form = [("act", "rename"), ("title", title)];
    site.post(&options, &form).await;
    let page = site.page(first).await;
    page.shows(&[
        "<title>About &#60;b&#62;gardens",
        "<span class=\"name\">About &#60;b&#62;gardens&#60;/b&#62; &#38; more</span>",
        "<h1 id=\"title\">About &#60;b&#62;gardens&#60;/b&#62; &#38; more</h1>",
    ]);
    page.lacks("<span class=\"name\">the first words");
    let too_long = "x".repeat(201);
    let refused = site
        .post(&options, &[("act", "rename"), ("title", &too_long)])
        .await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    refused.shows(&["201 characters, and 200 are the most"]);
    site.post(&options, &[("act", "rename"), ("title", " ")])
        .await;
    site.page(first).await.shows(&["the first words"]);

    act(&site, first, "pin").await;
    let page = site.get("/").await;
    page.shows(&["<h2>Pinned</h2>", "the first words"]);
    page.lacks("Today");
    assert_eq!(listed(&page.text), [first.to_string()]);

    act(&site, first, "archive").await;
    let page = site.get("/").await;
    assert_eq!(listed(&page.text), [""; 0]);
    let page = site.get("/?shelf=archived").await;
    assert_eq!(listed(&page.text), [first.to_string()]);
    // It is open: it is in sight.
    site.page(first)
        .await
        .shows(&["<h2>Open here</h2>", "the first words"]);
    act(&site, first, "unarchive").await;
    site.get("/")
        .await
        .shows(&["<h2>Today</h2>", "the first words"]);

    let nothing = site.post(&options, &[("act", "dance")]).await;
    assert_eq!(nothing.status, StatusCode::UNPROCESSABLE_ENTITY);
    site.stop().await;
}

#[tokio::test]
async fn a_deletion_is_undone_and_is_final_after_an_hour() {
    let site = Site::new([Step::text("Some words"), Step::gate("hold")]).await;
    let (conversation, turn) = site.begin("delete me").await;
    site.watch(turn, None).await.until("Some words").await;
    act(&site, conversation, "delete").await;
    // What runs there is stopped at once.
    site.impostor
        .wait_for(|ledger| ledger.busy().is_empty())
        .await
        .unwrap();
    site.get("/").await.lacks("delete me");
    let page = site.page(conversation).await;
    page.shows(&[
        "This conversation is deleted",
        "delete me",
        "60 more minutes",
    ]);
    page.lacks("Some words");
    let path = format!("/conversations/{conversation}");
    let more = [("prompt", "more"), ("key", "k")];
    let refused = site.post(&format!("{path}/turns"), &more).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    refused.shows(&["was deleted", "more</textarea>"]);
    opencode_chat::web::purge(&site.host).await.unwrap();
    let deleted = site.get("/?shelf=deleted").await;
    assert_eq!(listed(&deleted.text), [conversation.to_string()]);

    act(&site, conversation, "restore").await;
    site.page(conversation).await.shows(&["Some words"]);
    opencode_chat::web::purge(&site.host).await.unwrap();
    site.page(conversation).await.shows(&["Some words"]);

    // Deleted longer ago than an hour; and what a program notes under a name of its own is no deletion.
    let at = site.host.store().now().await.unwrap().0 - 3_600_000;
    let note = async |conversation, noted| {
        let noted = Metadata::try_from(noted).unwrap();
        site.host.set_metadata(conversation, &noted).await.unwrap();
    };
    let people = Tenant::default();
    let other = site.host.open_conversation(&people, "other").await;
    let other = other.unwrap().id;
    note(other, json!({ "deleted_at": at })).await;
    note(conversation, json!({ "chat.deleted_at": at })).await;
    opencode_chat::web::purge(&site.host).await.unwrap();
    assert_eq!(site.get(&path).await.status, StatusCode::NOT_FOUND);
    let store = site.host.store();
    assert!(store.conversation(other).await.unwrap().is_some());
    site.stop().await;
}

#[tokio::test]
async fn each_of_five_hundred_conversations_is_reached() {
    let site = Site::new([Step::text("Hi")]).await;
    let (oldest, _) = site.begin("the oldest").await;
    site.ended(oldest).await;
    let mut all = BTreeSet::from([oldest.to_string()]);
    let people = Tenant::default();
    for number in 0..500 {
        let name = format!("number {number}");
        let opened = site.host.open_conversation(&people, &name).await;
        all.insert(opened.unwrap().id.to_string());
    }
    let (mut found, mut path) = (BTreeSet::new(), "/".to_owned());
    for _ in 0..6 {
        let page = site.get(&path).await;
        found.extend(listed(&page.text));
        if !page.text.contains("Older conversations") {
            break;
        }
        path = page.between("<a class=\"more\" href=\"", "\"");
    }
    assert_eq!(found, all);
    // The one that is open is in sight, and a page that has grown stays as long as it was.
    let page = site.page(oldest).await;
    page.shows(&["<h2>Open here</h2>", "aria-current=\"page\"", "the oldest"]);
    assert_eq!(listed(&page.text).len(), 101);
    let list = format!("/conversations/list?current={oldest}&shown=450");
    assert_eq!(listed(&site.get(&list).await.text).len(), 451);
    site.stop().await;
}

#[tokio::test]
async fn the_list_tells_how_each_conversation_stands() {
    let script = Script::new()
        .on("ask", [Step::question("Which?", ["Red"])])
        .on("hold", [Step::text("Some words"), Step::gate("hold")])
        .on("fail", [Step::provider_error(402, "out of credit")])
        .otherwise([Step::text("Hi")]);
    let site = Site::on(Impostor::scripted(script).await.unwrap());
    let mut begun = Vec::new();
    for (prompt, shows) in [("ask", "Which?"), ("hold", "Some words")] {
        let page = site
            .post("/conversations", &[("prompt", prompt), ("key", prompt)])
            .await;
        let conversation = page.conversation();
        let turn = site.answer(conversation).await.turn;
        site.watch(turn, None).await.until(shows).await;
        begun.push(conversation);
    }
    for prompt in ["fail", "fine"] {
        let page = site
            .post("/conversations", &[("prompt", prompt), ("key", prompt)])
            .await;
        site.ended(page.conversation()).await;
        begun.push(page.conversation());
    }
    let page = site.get("/").await;
    for (conversation, class, words) in [
        (begun[0], " class=\"waiting\"", "waiting for you"),
        (begun[1], " class=\"busy\"", "answering"),
        (begun[2], " class=\"failed\"", "failed"),
        (begun[3], "", ""),
    ] {
        page.shows(&[
            &format!("<li id=\"c-{conversation}\"><a{class} href="),
            &format!("aria-label=\"{words}\""),
        ]);
    }
    site.stop().await;
}

#[tokio::test]
async fn a_stream_tells_how_the_conversations_stand() {
    let script = Script::always([Step::question("Which?", ["Red"]), Step::text("Thanks.")]);
    let site = Site::on(Impostor::scripted(script).await.unwrap());
    let (conversation, turn) = site.begin("ask <me>").await;
    site.watch(turn, None).await.until("Which?").await;
    let mut board = site.board().await;
    let asked = json!([[conversation.to_string(), "waiting", "ask <me>"]]);
    while board.next().await["states"] != asked {}
    site.post(&format!("/turns/{turn}/cancel"), &[]).await;
    while board.next().await["states"] != json!([]) {}
    site.stop().await;
}

#[tokio::test]
async fn silence_is_given_its_reason_within_seconds() {
    let script = Script::new()
        .on("hang", [Step::Hang])
        .otherwise([Step::Retry(Retry {
            attempts: 1,
            message: "Overloaded".to_owned(),
            next_ms: 60_000,
            ..Retry::default()
        })]);
    let site = Site::on(Impostor::scripted(script.clone()).await.unwrap());
    let (conversation, turn) = site.begin("hang").await;
    let mut watch = site.watch(turn, None).await;
    watch.until("the model has not begun to answer").await;
    // A prompt behind it has the way to what may be asked there.
    let path = format!("/conversations/{conversation}/turns");
    site.post(&path, &[("prompt", "next")]).await;
    let message = site.messages(conversation).await[1].id;
    let ahead = format!("<a class=\"ahead\" href=\"#m-{message}-requests\">");
    site.page(conversation).await.shows(&[&ahead]);
    site.stop().await;

    let site = Site::on(Impostor::scripted(script).await.unwrap());
    let (_, turn) = site.begin("busy").await;
    let mut watch = site.watch(turn, None).await;
    let seen = watch.until("Overloaded").await;
    let html = seen.last().unwrap().html();
    assert!(html.contains("data-seconds=\""), "{html}");
    site.stop().await;

    let site = Site::without_worker(Impostor::start().await.unwrap());
    let (_, turn) = site.begin("nobody").await;
    let mut watch = site.watch(turn, None).await;
    watch.until("Nobody works on this yet").await;
}
