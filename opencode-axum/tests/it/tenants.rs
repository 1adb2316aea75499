//! Two tenants and every route there is, as the description of the router lists them.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Method, StatusCode};
use opencode_client::wire::Prompt;
use opencode_host::NewSchedule;
use opencode_host::blobs::Digest;
use opencode_host::clock::{Clock as _, SystemClock};
use opencode_host::id::AttachmentId;
use opencode_host::store::{AttachmentSource, NewAttachment};
use opencode_impostor::Step;
use serde_json::{Value, json};

use crate::site::{Mounted, Page, Site};

/// Routes that name nothing of a tenant's.
const NAMELESS: [&str; 6] = [
    "list_conversations",
    "open_conversation",
    "run_ag_ui",
    "send_ui_message",
    "show_description",
    "show_spending",
];

/// A route, as it is described.
#[derive(Debug)]
struct Route {
    id: String,
    method: Method,
    path: String,
    takes_body: bool,
}

/// Every route there is.
fn routes() -> Vec<Route> {
    let description: Value = serde_json::from_str(&opencode_axum::openapi()).unwrap();
    let mut routes = Vec::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Ok(method) = method.to_uppercase().parse::<Method>() else {
                panic!("{path}: {method}");
            };
            routes.push(Route {
                id: operation["operationId"].as_str().unwrap().to_owned(),
                method,
                path: path.clone(),
                takes_body: operation.get("requestBody").is_some(),
            });
        }
    }
    // What ends something comes last, so that the others find what they ask for.
    routes.sort_by_key(|route| match route.id.as_str() {
        "answer_request" => 0,
        "cancel_turn" | "stop_ui_chat" => 2,
        "delete_conversation" => 4,
        _ if route.method == Method::DELETE => 3,
        _ => 1,
    });
    routes
}

/// What acme has.
pub(crate) struct Theirs {
    conversation: String,
    message: String,
    pub(crate) turn: String,
    pub(crate) request: String,
    file: String,
    schedule: String,
}

impl Theirs {
    /// Of a turn that asks something.
    pub(crate) async fn in_site(site: &Mounted, prompt: &str) -> Self {
        let turn = site.turn(prompt).await;
        let request = site.request(turn).await;
        let row = site.host.store().turn(turn).await.unwrap().unwrap();
        let blobs = site.host.blobs().unwrap();
        let kept = blobs.put(&b"a,b"[..], 3).await.unwrap();
        assert_eq!(kept.digest, Digest::of(b"a,b"));
        let file = NewAttachment::new(
            AttachmentId::from_uuid(SystemClock.new_uuid()),
            row.message,
            "table.csv",
            kept.digest,
            3,
            "text/csv",
            AttachmentSource::Sandbox,
        );
        let file = site.store.attach(&file).await.unwrap().attachment;
        let new = NewSchedule::new("0 0 1 1 *", "UTC", Prompt::text("Go on"));
        let schedule = site.host.add_schedule(row.conversation, new).await;
        Self {
            conversation: row.conversation.to_string(),
            message: row.message.to_string(),
            turn: turn.to_string(),
            request,
            file: file.id.to_string(),
            schedule: schedule.unwrap().id.to_string(),
        }
    }

    /// The route's address, of what is theirs.
    fn address(&self, path: &str) -> String {
        let mut address = path.to_owned();
        for (name, id) in [
            ("conversation", &self.conversation),
            ("message", &self.message),
            ("turn", &self.turn),
            ("request", &self.request),
            ("file", &self.file),
            ("schedule", &self.schedule),
            // A chat is named by the name of its conversation, which is each tenant's own.
            ("chat", &"garden".to_owned()),
        ] {
            address = address.replace(&format!("{{{name}}}"), id);
        }
        assert!(
            !address.contains('{'),
            "{path} names what this test does not have: add it"
        );
        address
    }
}

/// A body that the route takes from who may use it.
fn body(route: &Route) -> Value {
    match route.id.as_str() {
        "open_conversation" => json!({"name": "garden"}),
        "note_at_conversation" => json!({"ticket": 42}),
        "submit_turn" => json!({"prompt": "Go on"}),
        "send_ui_message" => {
            let parts = json!([{"type": "text", "text": "Go on"}]);
            let message = json!({"id": "m1", "role": "user", "parts": parts});
            json!({"id": "garden", "messages": [message], "trigger": "submit-message"})
        }
        "run_ag_ui" => {
            let message = json!({"id": "m1", "role": "user", "content": "Go on"});
            json!({"threadId": "garden", "runId": "r1", "messages": [message]})
        }
        "add_schedule" => {
            json!({"cron": "0 0 1 1 *", "time_zone": "UTC", "prompt": "Go on"})
        }
        "edit_turn" => json!({"prompt": "Go back"}),
        "fork_conversation" => json!({"name": "another garden"}),
        "cancel_turn" => json!({"reason": "enough"}),
        "answer_request" => json!({"type": "answers", "answers": [["Yes"]]}),
        other => panic!("{other} takes a body that this test does not have: add one"),
    }
}

async fn send(site: &Mounted, token: &str, route: &Route, address: &str) -> Page {
    let asking = site.ask(token, route.method.clone(), address);
    let asking = if route.takes_body {
        asking.json(&body(route))
    } else {
        asking
    };
    let (parts, body) = asking.begun().await.into_parts();
    let kind = parts.headers.get("content-type");
    // The body of a stream does not end, and its status is all that is of interest here.
    let is_stream = kind.is_some_and(|kind| kind == "text/event-stream");
    let body = if is_stream { Body::empty() } else { body };
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    Page {
        status: parts.status,
        headers: parts.headers,
        body: body.into(),
    }
}

#[tokio::test]
async fn nothing_of_anothers_is_found_on_any_route() {
    let site = Site::new([Step::question("Go on?", ["Yes"]), Step::text("Done.")]).await;
    let theirs = Theirs::in_site(&site, "secret").await;
    nothing_is_found(&site, &theirs).await;
    everything_is_there(&site, &theirs).await;
}

/// Another tenant finds nothing of what acme has, on any route.
pub(crate) async fn nothing_is_found(site: &Mounted, theirs: &Theirs) {
    let (mut named, mut nameless) = (0, BTreeSet::new());
    for route in routes() {
        if !route.path.contains('{') {
            nameless.insert(route.id);
            continue;
        }
        let address = theirs.address(&route.path);
        let page = send(site, "other mallory notes", &route, &address).await;
        if route.path.contains("{chat}") {
            assert_eq!(page.status, StatusCode::NO_CONTENT, "{}", route.path);
            continue;
        }
        let problem = page.is_problem(StatusCode::NOT_FOUND, "not_found");
        // In the words for what was never there.
        let nowhere = "01890a5d-ac96-774b-bcce-b302099a8057";
        let mut never = route.path.clone();
        for name in ["conversation", "message", "turn", "file", "schedule"] {
            never = never.replace(&format!("{{{name}}}"), nowhere);
        }
        let never = never.replace("{request}", &theirs.request);
        let page = send(site, "other mallory notes", &route, &never).await;
        let mut expected = page.is_problem(StatusCode::NOT_FOUND, "not_found");
        let id = [
            &theirs.conversation,
            &theirs.message,
            &theirs.turn,
            &theirs.file,
            &theirs.schedule,
        ];
        let id = id.into_iter().find(|id| address.contains(*id)).unwrap();
        let detail = expected["detail"].as_str().unwrap().replace(nowhere, id);
        expected["detail"] = detail.into();
        assert_eq!(problem, expected, "{}", route.path);
        named += 1;
    }
    assert_eq!(nameless, BTreeSet::from(NAMELESS.map(str::to_owned)));
    assert!(named > 10, "{named} routes");
}

/// Each is there for who has it, the request still waits, and the deletion, which is last, finds it all.
pub(crate) async fn everything_is_there(site: &Mounted, theirs: &Theirs) {
    for route in routes() {
        let address = theirs.address(&route.path);
        let page = send(site, "acme ada all", &route, &address).await;
        // While it runs.
        let is_early = page.status == StatusCode::CONFLICT
            && match route.id.as_str() {
                "show_result" => page.json()["code"] == "not_ended",
                "retry_turn" | "regenerate_turn" | "edit_turn" | "choose_version"
                | "fork_conversation" => page.json()["code"] == "busy",
                _ => false,
            };
        assert!(
            page.status.is_success() || is_early,
            "{} {address}: {} {}",
            route.method,
            page.status,
            String::from_utf8_lossy(&page.body)
        );
    }
}

#[tokio::test]
async fn a_tenant_lists_and_opens_its_own() {
    let site = Site::new([Step::text("Hi.")]).await;
    let theirs = site.conversation().await.to_string();
    let open = site.ask("other", Method::POST, "/conversations");
    let opened = open.json(&json!({"name": "garden"})).page().await.ok();
    assert_ne!(opened["id"], theirs);
    let listed = site
        .ask("other", Method::GET, "/conversations")
        .page()
        .await
        .ok();
    let ids: Vec<_> = listed["conversations"].as_array().unwrap().iter().collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(ids[0]["id"], opened["id"]);
}

#[tokio::test]
async fn every_route_asks_who_is_there_before_it_says_anything() {
    let site = Site::new([Step::question("Go on?", ["Yes"])]).await;
    let theirs = Theirs::in_site(&site, "secret").await;
    let mut all: Vec<_> = routes()
        .into_iter()
        .map(|route| (route.method, theirs.address(&route.path)))
        .collect();
    all.push((Method::GET, "/nowhere".to_owned()));
    all.push((Method::GET, String::new()));
    all.push((Method::PATCH, "/conversations".to_owned()));
    for (method, address) in all {
        let request = axum::http::Request::builder()
            .method(method.clone())
            .uri(format!("/api{address}"))
            .body(Body::empty())
            .unwrap();
        let response = tower::ServiceExt::oneshot(site.router.clone(), request);
        let response = response.await.unwrap();
        assert_eq!(
            response.status(),
            StatusCode::UNAUTHORIZED,
            "{method} {address}"
        );
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
    }
}
