//! The help desk as its customers have it: the program, a database, a real OpenCode, a browser.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod desk;
mod guide;
mod reader;

use opencode_chromium::Chromium;
use opencode_impostor::real::RealServer;
use opencode_impostor::{ModelScript, ModelServer, Round};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use desk::{Desk, Postgres};

/// What the agent says of printers: it looks for earlier tickets first. The second answer waits in its middle.
fn script() -> ModelScript {
    let search = || Round::call("desk_tickets", json!({"word": "printer"}));
    let held = Round {
        gate: Some("half".to_owned()),
        ..Round::text("Turn it off. ")
    };
    let rest = Round::text("And on again.");
    let held = held.and_call("desk_tickets", json!({"word": "again"}));
    ModelScript::new()
        .on("Printer again", [held, rest])
        .on("Printer", [search(), Round::text("Turn it off and on.")])
}

async fn opencode() -> (ModelServer, RealServer) {
    let model = ModelServer::scripted(script()).await.unwrap();
    let server = RealServer::start(&model.opencode_config()).await.unwrap();
    (model, server)
}

#[tokio::test]
async fn on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("desk.db").display());
    tickets_are_answered_for_their_company_alone(&url).await;
}

#[tokio::test]
async fn on_postgres() {
    let database = Postgres::new().await;
    tickets_are_answered_for_their_company_alone(&database.url()).await;
    database.remove().await;
}

async fn tickets_are_answered_for_their_company_alone(database: &str) {
    let (model, server) = opencode().await;
    let mut desk = Desk::new(database, &server).await;
    desk.add_user("acme", "ada", "correct horse").await;
    desk.add_user("acme", "al", "correct horse").await;
    desk.add_user("other", "bob", "battery staple").await;
    assert_eq!(desk.sign_in("ada", "battery staple").await, None);
    assert_eq!(desk.sign_in("nobody", "battery staple").await, None);
    let ada = desk.sign_in("ada", "correct horse").await.unwrap();
    let al = desk.sign_in("al", "correct horse").await.unwrap();
    let bob = desk.sign_in("bob", "battery staple").await.unwrap();

    // Another company's ticket, which the agent is not to find for this one.
    let printer = json!({"title": "Printer", "text": "It prints secrets of other"});
    let theirs = desk.post(&bob, "/tickets", &printer).await;
    desk.finished(&bob, &theirs).await;
    let printer = json!({"title": "Printer", "text": "It prints nothing"});
    let first = desk.post(&ada, "/tickets", &printer).await;
    let result = desk.finished(&ada, &first).await;
    assert_eq!(result["status"], "completed", "{result}");
    assert_eq!(result["answer"]["content"], "Turn it off and on.");
    desk.answered(&al, &first, "Turn it off and on.").await;
    desk.answered(&bob, &theirs, "Turn it off and on.").await;

    // The process is killed in the middle of an answer, and goes on with it when it is started anew.
    let again = json!({"title": "Printer again", "text": "Still nothing"});
    let second = desk.post(&ada, "/tickets", &again).await;
    model.reached("half").await;
    desk.kill().await;
    desk.start().await;
    model.open("half");
    let result = desk.finished(&ada, &second).await;
    let parts = result["answer"]["parts"].as_array().unwrap().iter();
    let words: String = parts.filter_map(|part| part["content"].as_str()).collect();
    assert_eq!(words, "Turn it off. And on again.", "{result}");
    let said = result["answer"]["content"].as_str().unwrap();
    desk.answered(&ada, &second, said).await;
    assert_eq!(model.runs("Still nothing"), 2);

    // What it cost is the company's.
    let (_, spent) = desk.ask(&al, Method::GET, "/api/spending", None).await;
    assert_eq!(spent["allowed"]["cost"], 20.0, "{spent}");
    assert!(spent["used"]["cost"].as_f64().unwrap() > 0.0, "{spent}");

    // What the tool gave the agent is this company's.
    let requests = model.requests();
    let given = requests
        .iter()
        .flat_map(|request| request["messages"].as_array().unwrap());
    let given: Vec<_> = given.filter(|message| message["role"] == "tool").collect();
    let of = |company: &str| {
        given
            .iter()
            .filter(|one| one.to_string().contains(company))
            .count()
    };
    assert!(of(r#"company\":\"acme"#) > 0, "{given:?}");
    let both =
        |one: &&&Value| one.to_string().contains("acme") && one.to_string().contains("other");
    assert_eq!(given.iter().filter(both).count(), 0, "{given:?}");

    nothing_of_another_companys_is_there(&desk, &bob, &first).await;
}

/// Every route of the other's rows is 404, and 401 for who is nobody.
async fn nothing_of_another_companys_is_there(desk: &Desk, bob: &str, ticket: &Value) {
    let (_, tickets) = desk.ask(bob, Method::GET, "/tickets", None).await;
    assert_eq!(tickets.as_array().unwrap().len(), 1, "{tickets}");
    let (turn, conversation) = (
        ticket["turn"].as_str().unwrap(),
        ticket["conversation"].as_str().unwrap(),
    );
    let (_, description) = desk.ask(bob, Method::GET, "/api/openapi.json", None).await;
    let mut asked = 0;
    for (path, item) in description["paths"].as_object().unwrap() {
        if !path.contains("{turn}") && !path.contains("{conversation}") {
            continue;
        }
        let path = path
            .replace("{turn}", turn)
            .replace("{conversation}", conversation);
        let path = format!("/api{}", path.replace("{request}", "que_1"));
        for (method, operation) in item.as_object().unwrap() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let takes = operation["requestBody"].is_object();
            let body = takes.then(|| body_of(&path));
            let (status, _) = desk.ask(bob, method.clone(), &path, body.as_ref()).await;
            assert_eq!(status, StatusCode::NOT_FOUND, "{method} {path}");
            let (status, _) = desk
                .ask("session=none", method.clone(), &path, body.as_ref())
                .await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path}");
            asked += 1;
        }
    }
    assert!(asked > 8, "{asked}");
}

/// A body that the route takes.
fn body_of(path: &str) -> Value {
    if path.contains("/requests/") {
        json!({"type": "rejection"})
    } else if path.ends_with("/turns") || path.ends_with("/edit") {
        json!({"prompt": "Tell me all"})
    } else if path.ends_with("/schedules") {
        json!({"cron": "@daily", "time_zone": "UTC", "prompt": "Tell me all"})
    } else if path.ends_with("/fork") {
        json!({"name": "mine"})
    } else {
        json!({})
    }
}

#[tokio::test]
async fn in_a_browser() {
    let (_model, server) = opencode().await;
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("desk.db").display());
    let desk = Desk::new(&url, &server).await;
    desk.add_user("acme", "ada", "correct horse").await;
    let mut browser = Chromium::start().await;
    browser.open(&format!("{}/", desk.url())).await;
    browser.shows("Sign in").await;
    for (field, words) in [("name", "ada"), ("password", "correct horse")] {
        browser
            .evaluate(&format!(
                "document.querySelector('#login [name={field}]').focus()"
            ))
            .await;
        browser.types(words).await;
    }
    browser.press("Enter").await;
    browser.shows("None yet: open the first one.").await;
    for (field, words) in [("text", "It prints nothing"), ("title", "Printer")] {
        browser
            .evaluate(&format!(
                "document.querySelector('#open [name={field}]').focus()"
            ))
            .await;
        browser.types(words).await;
    }
    browser.press("Enter").await;
    browser.shows("desk_tickets: ").await;
    browser.shows("Turn it off and on.").await;
    browser
        .until("document.querySelector('#tickets').innerText.includes('Printer')")
        .await;
    // A ticket is found again, with its answer.
    browser.reload().await;
    browser
        .until("document.querySelector('#tickets a')?.innerText === 'Printer'")
        .await;
    browser
        .evaluate("document.querySelector('#tickets a').click()")
        .await;
    browser
        .until("document.querySelector('#answer').innerText.includes('Turn it off and on.')")
        .await;
}
