//! Two tenants on a real OpenCode whose conversations are all in one folder, on each store: what the server says of one
//! reaches nothing of the other's.

use std::sync::Arc;

use axum::http::{Method, StatusCode};
use opencode_client::Client;
use opencode_host::store::{MemoryStore, Store};
use opencode_impostor::real::RealServer;
use opencode_impostor::{ModelScript, ModelServer, Round};
use serde_json::{Value, json};

use crate::site::Mounted;
use crate::tenants::{Theirs, everything_is_there, nothing_is_found};

/// Each asks a question, and then says a word that is its own.
fn script() -> ModelScript {
    let rounds = |word: &str| {
        let option = json!({"label": "Yes", "description": "Go on."});
        let question =
            json!({"question": format!("May {word} go on?"), "header": "On", "options": [option]});
        let asking = Round::call("question", json!({"questions": [question]}));
        [
            asking.saying(format!("About {word}. ")),
            Round::text(format!("It is {word}.")),
        ]
    };
    ModelScript::new()
        .on("[[theirs]]", rounds(THEIRS))
        .on("[[own]]", rounds(OWN))
}

/// Words of acme's turn, and of the other tenant's.
const THEIRS: &str = "marigold";
const OWN: &str = "nettle";

#[tokio::test]
async fn nothing_of_anothers_is_reached_on_any_store() {
    let model = ModelServer::scripted(script()).await.unwrap();
    let server = RealServer::start(&model.opencode_config()).await.unwrap();
    let client = || {
        let client = Client::builder(server.url()).password(server.password());
        client.build().unwrap()
    };
    let folder = tempfile::tempdir().unwrap();
    let sqlite = crate::site::database_in(folder.path());
    let postgres = Postgres::new().await;
    let stores: [Arc<dyn Store>; 3] = [
        Arc::new(MemoryStore::default()),
        opencode_sql::connect(&sqlite).await.unwrap(),
        opencode_sql::connect(&postgres.url()).await.unwrap(),
    ];
    for store in stores {
        let site = Mounted::without_sandboxes(store);
        site.work(client());
        one_reaches_nothing_of_the_other(&site).await;
    }
    postgres.drop().await;
}

async fn one_reaches_nothing_of_the_other(site: &Mounted) {
    let theirs = Theirs::in_site(site, "[[theirs]]").await;
    nothing_is_found(site, &theirs).await;

    // Meanwhile the other has a turn of its own, in the same folder and in a conversation of the same name.
    let other = |method: Method, path: &str| site.ask("other mallory notes", method, path);
    let opened = other(Method::POST, "/conversations").json(&json!({"name": "garden"}));
    let conversation = opened.page().await.ok()["id"].clone();
    let turns = format!("/conversations/{}/turns", conversation.as_str().unwrap());
    let own = other(Method::POST, &turns).json(&json!({"prompt": "[[own]]"}));
    let own = own.page().await.ok()["id"].as_str().unwrap().to_owned();
    let changes = format!("/turns/{own}/events");
    let mut events = other(Method::GET, &changes).events().await;
    let mut seen = String::new();
    let request = loop {
        let data = events.next().await.expect("nothing was asked").data;
        seen.push_str(&data.to_string());
        let asked = [&data["request"]["id"], &data["requests"][0]["id"]];
        if let Some(id) = asked.into_iter().find_map(Value::as_str) {
            break id.to_owned();
        }
    };
    assert_ne!(request, theirs.request);

    // What acme is asked cannot be answered by way of it.
    let answer = json!({"type": "answers", "answers": [["Yes"]]});
    let by_way = format!("/turns/{own}/requests/{}", theirs.request);
    let refused = other(Method::POST, &by_way).json(&answer).page().await;
    refused.is_problem(StatusCode::CONFLICT, "not_waiting");
    let path = format!("/turns/{own}/requests/{request}");
    other(Method::POST, &path).json(&answer).page().await.ok();
    let as_messages = other(Method::GET, &format!("{changes}?encoding=ui-messages"));
    let as_messages = as_messages.page().await.body;
    seen.push_str(&String::from_utf8(as_messages).unwrap());
    let rest = events.all().await;
    assert_eq!(rest.last().unwrap().name, "finished");
    rest.iter()
        .for_each(|event| seen.push_str(&event.data.to_string()));
    for path in [&format!("/turns/{own}/result"), "/conversations"] {
        seen.push_str(&other(Method::GET, path).page().await.ok().to_string());
    }
    assert!(seen.contains(&format!("It is {OWN}.")), "{seen}");
    for word in [THEIRS, &theirs.turn, &theirs.request] {
        assert!(!seen.contains(word), "{word}: {seen}");
    }
    everything_is_there(site, &theirs).await;
}

/// A database of its own on the server of the tests.
struct Postgres {
    server: String,
    name: String,
}

impl Postgres {
    async fn new() -> Self {
        const SERVER: &str = "OPENCODE_HOST_TEST_POSTGRES";
        let server = std::env::var(SERVER);
        let server =
            server.unwrap_or_else(|_| panic!("{SERVER} names no Postgres: use `cargo xtask test`"));
        let name = format!("tenants_{}", std::process::id());
        let new = Self { server, name };
        new.run(format!("CREATE DATABASE {}", new.name)).await;
        new
    }

    async fn run(&self, statement: String) {
        let server = <sqlx::PgConnection as sqlx::Connection>::connect(&self.server);
        let statement = sqlx::raw_sql(sqlx::AssertSqlSafe(statement));
        statement.execute(&mut server.await.unwrap()).await.unwrap();
    }

    fn url(&self) -> String {
        let (server, _) = self.server.rsplit_once('/').unwrap();
        format!("{server}/{}", self.name)
    }

    async fn drop(self) {
        self.run(format!("DROP DATABASE {} WITH (FORCE)", self.name))
            .await;
    }
}
