//! Streams of running turns.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use opencode_host::store::MessageStatus;
use opencode_impostor::{Impostor, Script, Step, Streamed, Subtask};
use serde_json::json;
use tokio::time::timeout;

use super::site::{Seen, Site};

fn operations(events: &[Seen]) -> Vec<(String, String)> {
    let patches = events.iter().flat_map(|event| &event.patches);
    patches
        .map(|patch| (patch[0].clone(), patch[1].clone()))
        .collect()
}

#[tokio::test]
async fn an_answer_streams_in_and_ends_as_the_page_has_it() {
    let site = Site::new([
        Step::text("First paragraph.\n\nSecond"),
        Step::gate("hold"),
        Step::text("Third."),
    ])
    .await;
    let (conversation, turn) = site.begin("go").await;
    let mut watch = site.watch(turn, None).await;
    watch.until("Second").await;
    site.impostor.gate("hold").open();
    let events = watch.until_done().await;
    let last = events.last().unwrap();
    let [patch] = &last.patches[..] else {
        panic!("{last:?}")
    };
    let answer = site.answer(conversation).await;
    assert_eq!(
        (patch[0].as_str(), patch[1].as_str()),
        ("replace", format!("m-{}", answer.id).as_str())
    );
    let page = site.page(conversation).await;
    assert!(
        page.text.contains(&patch[2]),
        "the stream's last word is what a reload shows"
    );
    page.shows(&["First paragraph.", "Second", "Third."]);
}

#[tokio::test]
async fn a_page_opened_in_the_middle_has_the_half_and_goes_on_from_it() {
    let site = Site::new([
        Step::text("The first half, "),
        Step::gate("hold"),
        Step::text("and the second."),
    ])
    .await;
    let (conversation, turn) = site.begin("go").await;
    site.watch(turn, None).await.until("The first half,").await;
    let page = site.page(conversation).await;
    page.shows(&[
        "aria-busy=\"true\"",
        "<p>The first half,</p>",
        &format!("action=\"/turns/{turn}/cancel\""),
    ]);
    let after = page.between("data-after=\"", "\"");
    let events = format!("/turns/{turn}/events");
    assert_eq!(page.between("data-events=\"", "\""), events);
    // Where the page ends, its stream begins: nothing is sent again.
    let mut watch = site.watch(turn, Some(&after)).await;
    site.impostor.gate("hold").open();
    let seen = watch.until_done().await;
    let streamed: String = seen[..seen.len() - 1].iter().map(Seen::html).collect();
    assert!(!streamed.contains("The first half"), "{streamed}");
    site.page(conversation)
        .await
        .shows(&["The first half,", "and the second."]);
}

#[tokio::test]
async fn a_browser_that_comes_back_gets_what_it_missed() {
    let read = |file: &str| Step::tool("read", json!({ "filePath": file }), "x");
    let site = Site::new([
        Step::text("Before."),
        read("/one"),
        Step::gate("first"),
        read("/two"),
        Step::text("Middle."),
        Step::gate("second"),
        Step::text("End."),
    ])
    .await;
    let (_, turn) = site.begin("go").await;
    let mut watch = site.watch(turn, None).await;
    site.impostor.gate("first").reached().await.unwrap();
    let events = watch.until("/one").await;
    let events = if events.last().unwrap().html().contains("tool done") {
        events
    } else {
        watch.until("tool done").await
    };
    let last = events.last().unwrap().id.clone().unwrap();
    drop(watch);

    site.impostor.gate("first").open();
    site.impostor.gate("second").reached().await.unwrap();
    // All of it has arrived here too.
    site.watch(turn, None).await.until("Middle.").await;
    let missed = site.watch(turn, Some(&last)).await.until("Middle.").await;
    let html: String = missed.iter().map(Seen::html).collect();
    assert!(
        html.contains("/two") && !html.contains("Before.") && !html.contains("/one"),
        "{html}"
    );
    // What it shows as a notice is not known.
    let operations = operations(&missed).into_iter();
    let mut parts = operations.filter(|(_, target)| !target.ends_with("-notice"));
    assert!(
        parts.all(|(operation, _)| operation == "append"),
        "{missed:?}"
    );

    // At the very place, nothing was missed.
    let here = missed.last().unwrap().id.clone().unwrap();
    let mut watch = site.watch(turn, Some(&here)).await;
    site.impostor.gate("second").open();
    let rest = watch.until_done().await;
    let html: String = rest[..rest.len() - 1].iter().map(Seen::html).collect();
    assert!(!html.contains("Middle."), "{html}");
}

#[tokio::test]
async fn a_place_that_is_unknown_gets_the_whole() {
    let site = Site::new([Step::text("Words."), Step::gate("hold")]).await;
    let (_, turn) = site.begin("go").await;
    site.watch(turn, None).await.until("Words.").await;
    for last in ["99-1", "1-99999", "nonsense", "0-0"] {
        let seen = site
            .watch(turn, Some(last))
            .await
            .until("Words.")
            .await
            .pop()
            .unwrap();
        let [patch] = &seen.patches[..] else {
            panic!("{seen:?}")
        };
        assert_eq!(patch[0], "replace");
        assert!(
            patch[2].contains("Words.") && patch[2].contains("aria-busy"),
            "{last}: {patch:?}"
        );
    }
}

#[tokio::test]
async fn many_deltas_are_few_events() {
    const DELTAS: usize = 20_000;
    let site = Site::new([Step::deltas(DELTAS, 10), Step::gate("hold")]).await;
    let (_, turn) = site.begin("go").await;
    let mut watch = site.watch(turn, None).await;
    site.impostor.gate("hold").reached().await.unwrap();
    site.impostor.gate("hold").open();
    let events = watch.until_done().await;
    assert!(events.len() < DELTAS / 20, "{} events", events.len());
    site.impostor.assert_clean();
}

#[tokio::test]
async fn a_browser_that_does_not_read_gets_all_it_lacks_at_once() {
    let site = Site::new([
        Step::text("Begin."),
        Step::gate("hold"),
        Step::Text(Streamed::new("word ".repeat(4000)).chunk_chars(5)),
        Step::text("Tail."),
        Step::gate("end"),
    ])
    .await;
    let (_, turn) = site.begin("go").await;
    let mut slow = site.watch(turn, None).await;
    slow.until("Begin.").await;
    site.impostor.gate("hold").open();
    // Somebody else reads along to the end of it.
    site.watch(turn, None).await.until("Tail.").await;
    let seen = slow.until("Tail.").await;
    assert_eq!(seen.len(), 1, "{}", seen.len());
    let html = seen[0].html();
    assert!(
        html.contains("word word") && !html.contains("Begin."),
        "{html}"
    );
}

#[tokio::test]
async fn a_subtask_shows_its_steps_while_it_runs() {
    let site = Site::new([
        Step::Subtask(Subtask {
            description: "look around".to_owned(),
            prompt: "look".to_owned(),
            steps: vec![
                Step::tool("read", json!({"filePath": "/inner.md"}), "x"),
                Step::text("Found it."),
                Step::gate("hold"),
            ],
            ..Subtask::default()
        }),
        Step::text("Subtask done."),
    ])
    .await;
    let (conversation, turn) = site.begin("go").await;
    let mut watch = site.watch(turn, None).await;
    let html = watch.until("Found it.").await.last().unwrap().html();
    assert!(
        html.contains("Researching") && html.contains("<li>Read /inner.md</li>"),
        "{html}"
    );
    site.impostor.gate("hold").open();
    let seen = watch.until("Ran subtask").await;
    let html = seen.last().unwrap().html();
    let (_, fold) = html.split_once("Ran subtask").unwrap();
    for kept in ["<li>Read /inner.md</li>", "<p>Found it.</p>"] {
        assert!(fold.contains(kept), "{kept} in {fold}");
    }
    watch.until_done().await;
    let page = site.page(conversation).await;
    page.shows(&[
        "Ran subtask",
        "look around",
        "<p>Found it.</p>",
        "Subtask done.",
    ]);
    page.lacks("task_result");
}

#[tokio::test]
async fn a_busy_provider_is_told_of() {
    let retry = opencode_impostor::Retry {
        attempts: 2,
        message: "overloaded".to_owned(),
        ..Default::default()
    };
    let site = Site::new([
        Step::Retry(retry),
        Step::gate("hold"),
        Step::text("At last."),
    ])
    .await;
    let (_, turn) = site.begin("go").await;
    let mut watch = site.watch(turn, None).await;
    let html = watch
        .until("is asked again (attempt 1)")
        .await
        .last()
        .unwrap()
        .html();
    assert!(html.contains("overloaded"), "{html}");
    site.impostor.gate("hold").open();
    watch.until("At last.").await;
}

#[tokio::test]
async fn a_page_opened_late_shows_steps_and_notices_too() {
    let retry = opencode_impostor::Retry {
        message: "overloaded".to_owned(),
        next_ms: 60_000,
        ..Default::default()
    };
    let read = Step::tool("read", json!({"filePath": "/inner.md"}), "x");
    let task = Step::Subtask(Subtask {
        prompt: "look".to_owned(),
        steps: vec![read, Step::gate("hold")],
        ..Subtask::default()
    });
    for (step, wanted) in [
        (task, "<li>Read /inner.md</li>"),
        (Step::Retry(retry), "is asked again"),
    ] {
        let site = Site::new([step]).await;
        let (conversation, turn) = site.begin("go").await;
        site.watch(turn, None).await.until(wanted).await;
        site.page(conversation).await.shows(&[wanted]);
    }
}

#[tokio::test]
async fn a_turn_that_waited_says_when_it_does_not_any_more() {
    let script = Script::new()
        .once("go", [Step::text("One."), Step::gate("one")])
        .otherwise([Step::gate("two")]);
    let site = Site::on(Impostor::scripted(script).await.unwrap());
    let (conversation, first) = site.begin("go").await;
    site.post(
        &format!("/conversations/{conversation}/turns"),
        &[("prompt", "next")],
    )
    .await;
    let second = site.answer(conversation).await.turn;
    site.page(conversation)
        .await
        .shows(&["Waiting for the answer above"]);
    site.impostor.gate("one").open();
    site.watch(first, None).await.until_done().await;
    let seen = site.watch(second, Some("0-0")).await.next().await.unwrap();
    assert!(seen.html().contains("Thinking…"), "{seen:?}");
    site.page(conversation)
        .await
        .lacks("Waiting for the answer above");
}

#[tokio::test]
async fn a_turn_that_nobody_works_on_waits_quietly() {
    let site = Site::without_worker(Impostor::scripted(Script::new()).await.unwrap());
    let (conversation, turn) = site.begin("go").await;
    let mut watch = site.watch(turn, None).await;
    watch.until("Thinking…").await;
    assert!(
        timeout(Duration::from_millis(300), watch.next())
            .await
            .is_err()
    );
    site.page(conversation)
        .await
        .shows(&["aria-busy=\"true\"", "Thinking…"]);
    site.host.cancel(turn, None).await.unwrap();
    watch.until_done().await;
    assert_eq!(
        site.answer(conversation).await.status,
        MessageStatus::Cancelled
    );
}

#[tokio::test]
async fn streams_end_when_the_application_stops() {
    let site = Site::new([Step::text("Words."), Step::gate("hold")]).await;
    let (conversation, turn) = site.begin("go").await;
    let mut watch = site.watch(turn, None).await;
    watch.until("Words.").await;
    site.shutdown.cancel();
    assert_eq!(watch.next().await, None);
    // What had come is still there for the next process.
    site.page(conversation).await.shows(&["Words."]);
    site.stop().await;
}

#[tokio::test]
async fn a_deleted_conversation_leaves_the_page() {
    let site = Site::new([Step::text("Words."), Step::gate("hold")]).await;
    let (conversation, turn) = site.begin("go").await;
    let mut watch = site.watch(turn, None).await;
    watch.until("Words.").await;
    let element = format!("m-{}", site.answer(conversation).await.id);
    let page = site
        .post(&format!("/conversations/{conversation}/delete"), &[])
        .await;
    assert_eq!(page.status, StatusCode::SEE_OTHER);
    let events = watch.until_done().await;
    assert_eq!(
        events.last().unwrap().patches,
        [["remove", element.as_str()]]
    );
}

#[tokio::test]
async fn a_stream_is_held_back_by_no_proxy() {
    let site = Site::new([Step::text("Half"), Step::gate("hold")]).await;
    let (_, turn) = site.begin("go").await;
    let request = Request::get(format!("/turns/{turn}/events"));
    let response = site.respond(request.body(Body::empty()).unwrap()).await;
    let headers = response.headers();
    assert_eq!(headers["x-accel-buffering"], "no");
    assert_eq!(headers["cache-control"], "no-cache, no-transform");
}

#[tokio::test]
async fn streams_leave_room_for_pages() {
    let site = Site::new([Step::text("Half"), Step::gate("hold")]).await;
    let (conversation, turn) = site.begin("go").await;
    let request = || {
        let request = Request::get(format!("/turns/{turn}/events"));
        site.respond(request.body(Body::empty()).unwrap())
    };
    site.watch(turn, None).await.until("Half").await;
    let mut streams = Vec::new();
    loop {
        let response = request().await;
        if response.status() == StatusCode::SERVICE_UNAVAILABLE {
            break;
        }
        streams.push(response);
        assert!(
            streams.len() <= 8,
            "as many as the test's site has places for"
        );
    }
    site.page(conversation).await.shows(&["Half"]);
    // A place is free again once its stream is.
    streams.pop();
    assert_eq!(request().await.status(), StatusCode::OK);
}
