//! The events of a turn, from its beginning and from anywhere in it.

use axum::http::{Method, StatusCode};
use opencode_axum::{Api, stream::Place};
use opencode_host::live::Cursor;
use opencode_impostor::{Script, Step};
use serde_json::json;

use crate::site::{Event, Events, Site, text_of};

async fn follow(site: &Site, turn: impl std::fmt::Display) -> Events {
    let path = format!("/turns/{turn}/events");
    site.ask("acme", Method::GET, &path).events().await
}

#[tokio::test]
async fn who_comes_back_gets_exactly_what_is_missing() {
    let site = Site::new([
        Step::text("One. "),
        Step::gate("two"),
        Step::text("Two."),
        Step::gate("end"),
    ])
    .await;
    let turn = site.turn("Count").await;
    let mut events = follow(&site, turn).await;
    let mut seen = Vec::<Event>::new();
    while text_of(&seen) != "One. " {
        seen.push(events.next().await.unwrap());
    }
    drop(events);
    let last = seen.last().unwrap().id.clone();
    site.impostor.gate("two").open();

    let path = format!("/turns/{turn}/events");
    let asking = site.ask("acme", Method::GET, &path);
    let by_header = asking.header("last-event-id", &last).events().await;
    let by_query = format!("{path}?after={last}");
    let by_query = site.ask("acme", Method::GET, &by_query).events().await;
    let whole = follow(&site, turn).await;
    let mut streams = [by_header, by_query, whole];
    let mut come = [vec![], vec![], seen.clone()];
    for (stream, come) in streams.iter_mut().zip(&mut come) {
        if !come.is_empty() {
            for expected in &seen {
                assert_eq!(stream.next().await.as_ref(), Some(expected));
            }
        }
        while !text_of(come).ends_with("Two.") {
            come.push(stream.next().await.unwrap());
        }
    }
    site.impostor.gate("end").open();
    for (stream, come) in streams.into_iter().zip(&mut come) {
        come.extend(stream.all().await);
        // Whoever comes back is told that the server is there, which is no change of the reply.
        come.retain(|event| event.data["type"] != "server_reachable");
    }
    let [by_header, by_query, whole] = come;
    assert_eq!([seen, by_header.clone()].concat(), whole);
    assert_eq!(by_query, by_header);
    assert_eq!(text_of(&whole), "One. Two.");

    // Behind the end there is nothing, and a browser that comes back stops.
    let end = &whole.last().unwrap().id;
    assert_eq!(end, &format!("{turn}.end"));
    let asking = site.ask("acme", Method::GET, &path);
    let page = asking.header("last-event-id", end).page().await;
    assert_eq!(page.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_stream_passes_proxies_as_it_comes() {
    let site = Site::new([Step::text("Hi.")]).await;
    let turn = site.turn("Hello").await;
    let events = follow(&site, turn).await;
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-cache, no-transform"),
        ("x-accel-buffering", "no"),
    ] {
        assert_eq!(events.headers[name], value);
    }
    let all = events.all().await;
    let last = all.last().unwrap();
    assert_eq!(last.name, "finished");
    assert_eq!(last.data["answer"]["content"], "Hi.");
}

#[tokio::test]
async fn a_silent_stream_shows_that_it_is_alive() {
    use futures_util::StreamExt as _;

    let site = Site::without_worker(Script::new()).await;
    let turn = site.turn("Hello").await;
    // Not before: budgets are asked on a thread, for which a paused clock does not wait.
    tokio::time::pause();
    let path = format!("/turns/{turn}/events");
    let response = site.ask("acme", Method::GET, &path).begun().await;
    let mut body = response.into_body().into_data_stream();
    assert_eq!(body.next().await.unwrap().unwrap(), "retry: 1000\n\n");
    let begun = tokio::time::Instant::now();
    for _ in 0..3 {
        assert_eq!(body.next().await.unwrap().unwrap(), ":\n\n");
    }
    assert_eq!(begun.elapsed().as_secs(), 45);
}

#[tokio::test]
async fn an_id_that_is_none_of_the_turns_is_refused() {
    let site = Site::without_worker(Script::new()).await;
    let (one, two) = (site.turn("One").await, site.turn("Two").await);
    let path = format!("/turns/{one}/events");
    let cursor = Some(Cursor {
        generation: 1,
        sequence: 5,
    });
    let others = Place { turn: two, cursor };
    for (id, code) in [
        (others.to_string(), "cursor_of_another_turn"),
        ("1-5".to_owned(), "bad_cursor"),
        ("x".to_owned(), "bad_cursor"),
        (format!("{one}.x"), "bad_cursor"),
    ] {
        let asking = site.ask("acme", Method::GET, &path);
        let page = asking.header("last-event-id", &id).page().await;
        page.is_problem(StatusCode::CONFLICT, code);
        let page = site.get(&format!("{path}?after={id}")).await;
        page.is_problem(StatusCode::CONFLICT, code);
    }
    let unknown = site.get(&format!("{path}?since=1")).await;
    unknown.is_problem(StatusCode::BAD_REQUEST, "bad_query");
}

#[tokio::test]
async fn a_deletion_ends_the_stream_and_the_turn() {
    let site = Site::new([Step::text("Half"), Step::gate("never")]).await;
    let turn = site.turn("Go").await;
    let mut events = follow(&site, turn).await;
    events.next().await.unwrap();
    let path = format!("/conversations/{}", site.conversation().await);
    let deleted = site.ask("acme", Method::DELETE, &path).page().await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    assert_eq!(events.all().await.last().unwrap().name, "deleted");
    let gone = site.get(&format!("/turns/{turn}/events")).await;
    gone.is_problem(StatusCode::NOT_FOUND, "not_found");
    let again = site.ask("acme", Method::DELETE, &path).page().await;
    again.is_problem(StatusCode::NOT_FOUND, "not_found");
}

#[tokio::test]
async fn streams_are_counted_and_end_with_the_application() {
    let site = Site::adjusted(Script::new(), |api: Api| api.max_streams(1)).await;
    let turn = site.turn("Hello").await;
    let path = format!("/turns/{turn}/events");
    let one = follow(&site, turn).await;
    let crowded = site.get(&path).await;
    crowded.is_problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable");
    assert_eq!(crowded.header("retry-after"), "1");
    drop(one);
    let events = follow(&site, turn).await;
    site.shutdown.cancel();
    assert_eq!(events.all().await, []);
}

#[tokio::test]
async fn who_comes_late_gets_the_reply_as_a_whole() {
    let site = Site::new([Step::chunks(vec!["x"; 1500]), Step::gate("end")]).await;
    let turn = site.turn("Go").await;
    // More changes than are kept.
    let mut events = follow(&site, turn).await;
    let mut seen = Vec::new();
    while text_of(&seen).len() < 1500 && !seen.iter().any(|event: &Event| event.name == "snapshot")
    {
        seen.push(events.next().await.unwrap());
    }
    let mut late = follow(&site, turn).await;
    let mut snapshot = late.next().await.unwrap();
    while snapshot.data["parts"][0]["part"]["content"] != json!("x".repeat(1500)) {
        drop(late);
        late = follow(&site, turn).await;
        snapshot = late.next().await.unwrap();
    }
    assert_eq!(snapshot.name, "snapshot");
    assert_eq!(snapshot.data["requests"], json!([]));
    site.impostor.gate("end").open();
    assert_eq!(late.all().await.last().unwrap().name, "finished");
}
