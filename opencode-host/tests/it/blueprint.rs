//! The blueprint of an application, driven as a browser drives it.

#[allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "the example is a program of its own"
)]
#[path = "../../examples/axum_integration/main.rs"]
mod axum_integration;

use axum::body::Body;
use axum::http::{Request, Response, header};
use axum::response::IntoResponse as _;
use futures_util::StreamExt as _;
use opencode_host::Host;
use opencode_host::client::Client;
use opencode_host::client::reply::PendingRequest;
use opencode_host::store::StoreResult;
use opencode_impostor::{Impostor, Script, Step};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::hosting::PATIENCE;

struct Site {
    app: axum::Router,
}

/// The application at work.
struct Running {
    site: Site,
    host: Host,
    shutdown: CancellationToken,
    working: tokio::task::JoinHandle<StoreResult<()>>,
    _home: tempfile::TempDir,
}

impl Running {
    fn on(impostor: &Impostor) -> Self {
        let home = tempfile::tempdir().unwrap();
        let client = Client::builder(impostor.url()).build().unwrap();
        let (host, worker) = axum_integration::host(client, home.path()).unwrap();
        let shutdown = CancellationToken::new();
        let working = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { worker.run(shutdown).await }
        });
        let app = axum_integration::app(host.clone());
        Self {
            site: Site { app },
            host,
            shutdown,
            working,
            _home: home,
        }
    }

    async fn end(self) {
        self.shutdown.cancel();
        self.working.await.unwrap().unwrap();
    }
}

impl Site {
    async fn send(&self, method: &str, path: &str, cookie: &str, body: &str) -> Response<Body> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::COOKIE, cookie)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(body.to_owned()))
            .unwrap();
        self.app
            .clone()
            .oneshot(request)
            .await
            .unwrap()
            .into_response()
    }

    async fn json(&self, path: &str, cookie: &str, body: &Value) -> Response<Body> {
        let request = Request::post(path)
            .header(header::COOKIE, cookie)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string()))
            .unwrap();
        let answer = self.app.clone().oneshot(request).await.unwrap();
        answer.into_response()
    }

    async fn text(&self, method: &str, path: &str, cookie: &str, body: &str) -> String {
        let response = self.send(method, path, cookie, body).await;
        assert!(
            response.status().is_success(),
            "{path}: {}",
            response.status()
        );
        text(response).await
    }

    async fn sign_in(&self, name: &str) -> String {
        let response = self
            .send("POST", "/sign-in", "", &format!("name={name}"))
            .await;
        let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap();
        cookie.split(';').next().unwrap().to_owned()
    }
}

async fn text(response: Response<Body>) -> String {
    let reading = axum::body::to_bytes(response.into_body(), 1 << 20);
    let bytes = tokio::time::timeout(PATIENCE, reading).await.unwrap();
    String::from_utf8(bytes.unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn sign_in_send_stream_download() {
    let impostor = Impostor::scripted(Script::always([
        Step::write_file("chart.json", r#"{"bars": [10, 20.5]}"#),
        Step::write_file("chart.html", "<script>forged</script>"),
        Step::write_file("notes.html", "<script>an agent's</script>"),
        Step::text("Here is your chart."),
    ]))
    .await
    .unwrap();
    let running = Running::on(&impostor);
    let site = &running.site;
    assert!(site.text("GET", "/", "", "").await.contains("<form"));
    assert_eq!(site.send("POST", "/ask", "", "text=hi").await.status(), 401);
    let (ann, bob) = (site.sign_in("Ann").await, site.sign_in("Bob").await);

    let asked: Value =
        serde_json::from_str(&site.text("POST", "/ask", &ann, "text=A+chart").await).unwrap();
    assert_eq!(asked["user"], "Ann");
    let events = format!("/turns/{}/events", asked["turn"].as_str().unwrap());
    assert_eq!(site.send("GET", &events, &bob, "").await.status(), 404);
    let streamed = site.text("GET", &events, &ann, "").await;
    assert!(streamed.contains("Here is"), "{streamed}");
    let (_, last) = streamed.split_once("event: finished\ndata: ").unwrap();
    let last: Value = serde_json::from_str(last.lines().next().unwrap()).unwrap();
    assert_eq!(last["text"], "Here is your chart.");

    let mut files = Vec::new();
    for file in last["files"].as_array().unwrap() {
        let path = format!("/files/{}", file["id"].as_str().unwrap());
        assert_eq!(site.send("GET", &path, &bob, "").await.status(), 404);
        let response = site.send("GET", &path, &ann, "").await;
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        let how = response.headers()[header::CONTENT_DISPOSITION]
            .to_str()
            .unwrap()
            .to_owned();
        files.push((
            file["name"].as_str().unwrap().to_owned(),
            how,
            text(response).await,
        ));
    }
    let empty = site.send("POST", "/ask", &ann, "text=").await;
    assert_eq!(empty.status(), 422);
    let expected = [
        (
            "chart.html",
            "inline",
            "<meter max=100 value=10></meter><meter max=100 value=20.5></meter>",
        ),
        (
            "chart.json",
            "attachment; filename*=UTF-8''chart.json",
            r#"{"bars": [10, 20.5]}"#,
        ),
        (
            "notes.html",
            "attachment; filename*=UTF-8''notes.html",
            "<script>an agent's</script>",
        ),
    ];
    assert_eq!(
        files,
        expected.map(|(name, how, text)| (name.to_owned(), how.to_owned(), text.to_owned()))
    );
    running.end().await;
}

/// Answers what a turn waits for, as the page's buttons do, until it waits for nothing more.
async fn answer(site: &Site, host: &Host, turn: &str, cookie: &str, other: &str) {
    let views = host.views(turn.parse().unwrap(), opencode_host::live::Cursor::START);
    let mut views = views.await.unwrap();
    let path = format!("/turns/{turn}/answer");
    let mut answered = std::collections::HashSet::new();
    while let Some(shown) = views.next().await {
        let (_, view) = shown.unwrap();
        for request in view.requests() {
            if !answered.insert(request.id().to_owned()) {
                continue;
            }
            let reply = match request {
                PendingRequest::Permission(_) => json!({"request": request.id(), "allow": true}),
                PendingRequest::Question(_) => json!({"request": request.id(), "words": ["Tea"]}),
            };
            let post = async |who: &str| site.json(&path, who, &reply).await.status();
            assert_eq!(post(other).await, 404, "another's turn");
            assert_eq!(post(cookie).await, 204);
            assert_eq!(post(cookie).await, 409, "the first answer counts");
        }
    }
    assert_eq!(answered.len(), 2);
}

#[tokio::test]
async fn questions_and_permissions_are_answered() {
    let steps = [
        Step::ask_bash("ls", "notes.md"),
        Step::question("What to drink?", ["Tea", "Coffee"]),
        Step::text("Tea it is."),
    ];
    let impostor = Impostor::scripted(Script::always(steps)).await.unwrap();
    let running = Running::on(&impostor);
    let site = &running.site;
    let (ann, bob) = (site.sign_in("Ann").await, site.sign_in("Bob").await);
    let asked = site.text("POST", "/ask", &ann, "text=A+drink").await;
    let asked: Value = serde_json::from_str(&asked).unwrap();
    let turn = asked["turn"].as_str().unwrap();
    let events = format!("/turns/{turn}/events");
    let (streamed, ()) = tokio::join!(
        site.text("GET", &events, &ann, ""),
        answer(site, &running.host, turn, &ann, &bob)
    );
    assert!(streamed.contains("What to drink?"), "{streamed}");
    assert!(streamed.contains("Tea it is."), "{streamed}");
    running.end().await;
}
