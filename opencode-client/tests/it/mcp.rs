//! Servers of tools: added, listed, and what is said where that does not work.

use std::time::{Duration, Instant};

use opencode_client::{Client, Error, RemoteTools, ToolsStatus};
use opencode_impostor::{Action, Calls, Impostor};
use serde_json::json;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn remote(url: &str) -> RemoteTools {
    RemoteTools {
        url: url.to_owned(),
        token: TOKEN.to_owned(),
        timeout: Duration::from_secs(30),
    }
}

async fn server() -> (Impostor, Client) {
    let impostor = Impostor::start().await.unwrap();
    let client = Client::builder(impostor.url()).build().unwrap();
    (impostor, client.in_directory("/one"))
}

fn later() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn answering(status: u16, body: impl std::fmt::Display) -> Action {
    Action::Answer {
        status,
        content_type: "application/json".to_owned(),
        body: body.to_string(),
    }
}

#[tokio::test]
async fn tools_are_added_to_the_clients_folder_as_the_server_takes_them() {
    let (impostor, client) = server().await;
    let added = client
        .add_tools("app", &remote("http://127.0.0.1:9/x"), later())
        .await;
    let Ok(ToolsStatus::Failed(why)) = added else {
        panic!("{added:?}");
    };
    assert!(why.contains("Unable to connect"), "{why}");
    let ledger = impostor.ledger();
    let request = ledger.requests_of("POST /mcp")[0];
    assert_eq!(request.query, "directory=%2Fone");
    assert_eq!(
        request.body,
        json!({
            "name": "app",
            "config": {
                "type": "remote", "url": "http://127.0.0.1:9/x", "enabled": true, "oauth": false, "timeout": 30000,
                "headers": {"Authorization": format!("Bearer {TOKEN}")},
            },
        })
    );
    let known = client.tools_statuses().await.unwrap();
    assert_eq!(known["app"], ToolsStatus::Failed(why));
    let elsewhere = client.in_directory("/two").tools_statuses().await.unwrap();
    assert!(elsewhere.is_empty());
}

#[tokio::test]
async fn nothing_is_added_too_late() {
    let (impostor, client) = server().await;
    let late = Instant::now()
        .checked_sub(Duration::from_millis(1))
        .unwrap();
    let added = client
        .add_tools("app", &remote("http://127.0.0.1:9/x"), late)
        .await;
    assert!(
        matches!(added, Err(Error::Timeout { seconds: 0, .. })),
        "{added:?}"
    );
    assert_eq!(impostor.ledger().count("POST /mcp"), 0);
}

#[tokio::test]
async fn a_server_that_repeats_the_token_is_not_quoted() {
    let (impostor, client) = server().await;
    let said = format!("Expected nothing, got {{\"Authorization\": \"Bearer {TOKEN}\"}}");
    let refusal = answering(400, json!({"message": said}));
    impostor.faults().request("POST /mcp", Calls::All, refusal);
    let added = client
        .add_tools("app", &remote("http://127.0.0.1:9/x"), later())
        .await;
    let said = added.unwrap_err().to_string();
    assert!(
        said.contains("Expected nothing") && !said.contains(&TOKEN[..8]),
        "{said}"
    );
}

#[tokio::test]
async fn statuses_that_nobody_knows_are_told_as_they_are() {
    let (impostor, client) = server().await;
    let statuses = json!({
        "a": {"status": "connected"}, "b": {"status": "disabled"}, "c": {"status": "failed", "error": "no"},
        "d": {"status": "needs_auth"}, "e": {"status": 7}, "f": "odd",
    });
    impostor
        .faults()
        .request("GET /mcp", Calls::All, answering(200, statuses));
    let mut known: Vec<_> = client.tools_statuses().await.unwrap().into_iter().collect();
    known.sort_by(|a, b| a.0.cmp(&b.0));
    let status = |name: &str, status| (name.to_owned(), status);
    assert_eq!(
        known,
        [
            status("a", ToolsStatus::Connected),
            status("b", ToolsStatus::Disabled),
            status("c", ToolsStatus::Failed("no".to_owned())),
            status("d", ToolsStatus::Other("needs_auth".to_owned())),
        ]
    );
}

#[tokio::test]
async fn a_server_tells_its_own_tools_and_those_that_it_was_configured_with() {
    let (impostor, client) = server().await;
    let own = client.own_tools().await.unwrap();
    assert!(own.contains(&"apply_patch".to_owned()), "{own:?}");
    assert!(client.configured_tools().await.unwrap().is_empty());
    let config = json!({"mcp": {"crm": {"type": "remote", "url": "https://crm.example"}}});
    impostor
        .faults()
        .request("GET /config", Calls::All, answering(200, config));
    assert_eq!(client.configured_tools().await.unwrap(), ["crm"]);
}
