//! Lists in parts, and the export of all.

use axum::http::{Method, StatusCode};
use opencode_host::store::Tenant;
use opencode_impostor::{Script, Step};
use serde_json::{Value, json};

use crate::site::Site;

/// The parts of a list, by its `next`.
async fn parts(site: &Site, path: &str, field: &str) -> Vec<Vec<Value>> {
    let (mut parts, mut cursor) = (Vec::new(), String::new());
    loop {
        let mut page = site.get(&format!("{path}{cursor}")).await.ok();
        let Value::Array(part) = page[field].take() else {
            panic!("{page}")
        };
        parts.push(part);
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return parts,
        }
    }
}

#[tokio::test]
async fn conversations_come_in_parts_from_either_end() {
    let site = Site::without_worker(Script::new()).await;
    let acme = Tenant::from("acme");
    for name in ["a", "b", "c", "d", "e"] {
        site.host.open_conversation(&acme, name).await.unwrap();
        // Of two that were used in the same millisecond the id decides.
    }
    let names = |parts: Vec<Vec<Value>>| -> Vec<Vec<String>> {
        let name = |row: Value| row["name"].as_str().unwrap().to_owned();
        let parts = parts.into_iter();
        parts
            .map(|part| part.into_iter().map(name).collect())
            .collect()
    };
    let newest = names(parts(&site, "/conversations?limit=2", "conversations").await);
    assert_eq!(newest.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
    let oldest = "/conversations?limit=5&order=oldest_first";
    let oldest = names(parts(&site, oldest, "conversations").await);
    assert_eq!(oldest.len(), 1);
    let mut backwards = newest.concat();
    backwards.reverse();
    assert_eq!(backwards, oldest[0]);
    assert_eq!(oldest[0].len(), 5);
}

#[tokio::test]
async fn conversations_are_filtered() {
    let site = Site::without_worker(Script::new()).await;
    site.turn("What grows?").await;
    let acme = Tenant::from("acme");
    site.host.open_conversation(&acme, "idle").await.unwrap();
    for (filter, expected) in [
        ("search=GROW", vec!["garden"]),
        ("search=idl", vec!["idle"]),
        ("search=%22what%22*%20grows%20", vec!["garden"]),
        ("search=row", vec![]),
        ("busy=true", vec!["garden"]),
        ("busy=false", vec!["idle"]),
        ("used_since=0&order=oldest_first", vec!["garden", "idle"]),
        ("used_since=99999999999999", vec![]),
        ("used_before=0", vec![]),
    ] {
        let page = site.get(&format!("/conversations?{filter}")).await.ok();
        let rows = page["conversations"].as_array().unwrap();
        let names: Vec<_> = rows
            .iter()
            .map(|row| row["name"].as_str().unwrap())
            .collect();
        assert_eq!(names.len(), expected.len(), "{filter}");
        assert!(
            expected.iter().all(|name| names.contains(name)),
            "{filter}: {names:?}"
        );
    }
    let page = site.get("/conversations?busy=true").await.ok();
    assert_eq!(page["conversations"][0]["excerpt"], "What grows?");
    for bad in [
        "limit=0",
        "limit=201",
        "limit=x",
        "busy=maybe",
        "order=best",
        "used_since=today",
        "colour=red",
        "limit=1&limit=2",
    ] {
        let page = site.get(&format!("/conversations?{bad}")).await;
        page.is_problem(StatusCode::BAD_REQUEST, "bad_query");
    }
    let bad = site.get("/conversations?cursor=x").await;
    bad.is_problem(StatusCode::BAD_REQUEST, "bad_cursor");
    for (search, told) in [
        ("%22*%22", "no word"),
        (&*"x".repeat(10_000), "at most 500"),
    ] {
        let bad = site.get(&format!("/conversations?search={search}")).await;
        assert!(String::from_utf8_lossy(&bad.body).contains(told));
        bad.is_problem(StatusCode::BAD_REQUEST, "bad_search");
    }
}

#[tokio::test]
async fn messages_come_in_parts_from_either_end() {
    let site = Site::without_worker(Script::new()).await;
    for prompt in ["One", "Two", "Three"] {
        site.turn(prompt).await;
    }
    let path = format!("/conversations/{}/messages", site.conversation().await);
    let oldest = parts(
        &site,
        &format!("{path}?order=oldest_first&limit=4"),
        "messages",
    )
    .await;
    assert_eq!(oldest.iter().map(Vec::len).collect::<Vec<_>>(), [4, 2]);
    let mut newest = parts(&site, &format!("{path}?limit=6"), "messages").await;
    assert_eq!(newest.len(), 1);
    newest[0].reverse();
    assert_eq!(newest[0], oldest.concat());
    let said: Vec<_> = newest[0]
        .iter()
        .map(|message| &message["content"])
        .collect();
    assert_eq!(said, ["One", "", "Two", "", "Three", ""]);

    let other = site
        .host
        .open_conversation(&Tenant::from("acme"), "other")
        .await
        .unwrap();
    let id = newest[0][0]["id"].as_str().unwrap();
    let foreign = format!("/conversations/{}/messages?cursor={id}", other.id);
    site.get(&foreign)
        .await
        .is_problem(StatusCode::NOT_FOUND, "not_found");
    let none = site.get(&format!("{path}?cursor=x")).await;
    none.is_problem(StatusCode::BAD_REQUEST, "bad_query");
}

#[tokio::test]
async fn a_part_of_large_messages_has_fewer() {
    // Each answer has about 6 MB, a part is full with 4.
    let site = Site::new([Step::deltas(30, 100_000)]).await;
    for prompt in ["One", "Two", "Three"] {
        let turn = site.turn(prompt).await;
        site.host.settled(turn).await.unwrap();
    }
    let path = format!(
        "/conversations/{}/messages?limit=100",
        site.conversation().await
    );
    let parts = parts(&site, &path, "messages").await;
    assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2, 2, 1]);
}

#[tokio::test]
async fn an_export_is_all_there_is_a_line_a_record() {
    let site = Site::new([Step::text("It grows.")]).await;
    let turn = site.turn("What grows?").await;
    site.host.settled(turn).await.unwrap();
    let conversation = site.conversation().await;
    let page = site
        .get(&format!("/conversations/{conversation}/export"))
        .await;
    assert_eq!(page.status, StatusCode::OK);
    assert_eq!(page.header("content-type"), "application/jsonl");
    let named = format!("attachment; filename=\"conversation-{conversation}.jsonl\"");
    assert_eq!(page.header("content-disposition"), named);
    let text = String::from_utf8(page.body).unwrap();
    assert!(text.ends_with('\n'));
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let kinds: Vec<_> = lines
        .iter()
        .map(|line| line["record"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["conversation", "turn", "message", "message"]);
    assert_eq!(lines[3]["message"]["content"], "It grows.");
}

#[tokio::test]
async fn a_name_is_one_conversation() {
    let site = Site::without_worker(Script::new()).await;
    let open = async |name: &str| site.post("/conversations", &json!({"name": name})).await;
    let first = open("garden").await.ok();
    assert_eq!(open("garden").await.ok(), first);
    assert_eq!(first["name"], "garden");
    let shown = site
        .get(&format!("/conversations/{}", first["id"].as_str().unwrap()))
        .await;
    assert_eq!(shown.ok(), first);
    let long = open(&"x".repeat(513)).await;
    long.is_problem(StatusCode::UNPROCESSABLE_ENTITY, "too_long");
    let odd = open("a\u{0}b").await;
    odd.is_problem(StatusCode::UNPROCESSABLE_ENTITY, "bad_body");
    let path = "/conversations";
    let more = json!({"name": "x", "tenant": "other"});
    let more = site
        .ask("acme", Method::POST, path)
        .json(&more)
        .page()
        .await;
    more.is_problem(StatusCode::UNPROCESSABLE_ENTITY, "bad_body");
}
