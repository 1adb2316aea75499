//! Prompts that are submitted again and again, by who may say when turns begin.

use axum::http::{Method, StatusCode};
use opencode_impostor::{Script, Step};
use serde_json::{Value, json};

use crate::site::{Mounted, Site};

fn each_minute() -> Value {
    json!({"cron": "* * * * *", "time_zone": "Europe/Berlin", "prompt": "Anything new?"})
}

async fn path(site: &Mounted) -> String {
    format!("/conversations/{}/schedules", site.conversation().await)
}

#[tokio::test]
async fn a_schedule_is_added_paused_resumed_and_deleted() {
    let site = Site::without_worker(Script::always([Step::text("No.")])).await;
    let path = path(&site).await;
    let ask = async |method: Method, path: &str| {
        let page = site.ask("acme ada all", method, path).page().await;
        page.ok()
    };
    let asking = site.ask("acme ada all", Method::POST, &path);
    let added = asking.json(&each_minute()).page().await;
    assert_eq!(added.status, StatusCode::CREATED);
    let added = added.json();
    assert_eq!(added["prompt"], "Anything new?");
    assert_eq!(added["time_zone"], "Europe/Berlin");
    assert_eq!(
        (&added["paused"], &added["last"]),
        (&json!(false), &Value::Null)
    );
    let next = added["next_at"].as_i64().unwrap();
    assert_eq!(next % 60_000, 0);
    let list = ask(Method::GET, &path).await;
    assert_eq!(list["schedules"], json!([added]));
    let one = format!("/schedules/{}", added["id"].as_str().unwrap());
    let paused = ask(Method::POST, &format!("{one}/pause")).await;
    assert_eq!(
        (&paused["paused"], &paused["next_at"]),
        (&json!(true), &Value::Null)
    );
    let resumed = ask(Method::POST, &format!("{one}/resume")).await;
    assert!(resumed["next_at"].as_i64().unwrap() >= next);
    let deleted = site.ask("acme ada all", Method::DELETE, &one).page().await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    let gone = site.ask("acme ada all", Method::GET, &one).page().await;
    gone.is_problem(StatusCode::NOT_FOUND, "not_found");
}

#[tokio::test]
async fn what_cannot_be_scheduled_is_a_problem_that_says_why() {
    let site = Site::without_worker(Script::new()).await;
    let path = path(&site).await;
    let refused = async |field: &str, value: &str, code: &str| {
        let mut body = each_minute();
        body[field] = value.into();
        let asking = site.ask("acme ada all", Method::POST, &path);
        let problem = asking.json(&body).page().await;
        let problem = problem.is_problem(StatusCode::UNPROCESSABLE_ENTITY, code);
        problem["detail"].as_str().unwrap().to_owned()
    };
    let zone = refused("time_zone", "Mars/Olympus", "refused_schedule").await;
    assert!(
        zone.contains("Mars/Olympus") && zone.contains("IANA"),
        "{zone}"
    );
    let cron = refused("cron", "whenever", "refused_schedule").await;
    assert!(cron.contains("five fields"), "{cron}");
    let never = refused("cron", "0 0 30 2 *", "refused_schedule").await;
    assert!(never.contains("never comes"), "{never}");
    refused("prompt", " ", "empty_prompt").await;
}

#[tokio::test]
async fn who_may_not_say_when_schedules_nothing() {
    let site = Site::without_worker(Script::new()).await;
    let path = path(&site).await;
    let asking = site.ask("acme ada notes", Method::POST, &path);
    let refused = asking.json(&each_minute()).page().await;
    refused.is_problem(StatusCode::FORBIDDEN, "forbidden");
    let list = site.ask("acme ada notes", Method::GET, &path).page().await;
    assert_eq!(list.ok()["schedules"], json!([]));
}
