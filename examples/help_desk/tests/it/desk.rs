//! The program at work, and a database of a test's own.

use std::process::Stdio;
use std::time::Duration;

use opencode_impostor::real::RealServer;
use reqwest::{Client, Method, StatusCode, header, redirect};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use uuid::Uuid;

/// No step of a test takes longer.
const PATIENCE: Duration = Duration::from_secs(90);

/// A running help desk.
pub(crate) struct Desk {
    data: TempDir,
    settings: Vec<(&'static str, String)>,
    child: Option<Child>,
    url: String,
    client: Client,
}

impl Desk {
    pub(crate) async fn new(database: &str, opencode: &RealServer) -> Self {
        // Another test may have installed it.
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        let data = tempfile::tempdir().unwrap();
        let mut desk = Self {
            settings: vec![
                ("DATABASE_URL", database.to_owned()),
                ("DATA", data.path().display().to_string()),
                ("LISTEN", "127.0.0.1:0".to_owned()),
                ("OPENCODE_URL", opencode.url()),
                ("OPENCODE_SERVER_PASSWORD", opencode.password().to_owned()),
            ],
            data,
            child: None,
            url: String::new(),
            client: Client::builder()
                .redirect(redirect::Policy::none())
                .timeout(PATIENCE)
                .build()
                .unwrap(),
        };
        desk.start().await;
        desk
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_help_desk"));
        command
            .current_dir(self.data.path())
            .envs(self.settings.clone())
            .kill_on_drop(true);
        command
    }

    pub(crate) async fn start(&mut self) {
        let mut child = self.command().stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = timeout(PATIENCE, lines.next_line())
            .await
            .expect("it does not start");
        let line = line.unwrap().expect("it has ended");
        line.strip_prefix("open ")
            .unwrap()
            .clone_into(&mut self.url);
        self.child = Some(child);
    }

    /// As the kernel or an operator kills it.
    pub(crate) async fn kill(&mut self) {
        self.child.take().unwrap().kill().await.unwrap();
    }

    pub(crate) async fn add_user(&self, company: &str, name: &str, password: &str) {
        let mut command = self.command();
        let mut adding = command
            .args(["add-user", company, name])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = adding.stdin.take().unwrap();
        stdin.write_all(password.as_bytes()).await.unwrap();
        drop(stdin);
        assert!(
            timeout(PATIENCE, adding.wait())
                .await
                .unwrap()
                .unwrap()
                .success()
        );
    }

    /// The cookie, where the password is right.
    pub(crate) async fn sign_in(&self, name: &str, password: &str) -> Option<String> {
        let request = self.client.post(format!("{}/login", self.url));
        let answer = request
            .form(&[("name", name), ("password", password)])
            .send()
            .await
            .unwrap();
        if answer.status() == StatusCode::UNAUTHORIZED {
            return None;
        }
        assert_eq!(answer.status(), StatusCode::SEE_OTHER);
        let cookie = answer.headers()[header::SET_COOKIE].to_str().unwrap();
        assert!(
            cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"),
            "{cookie}"
        );
        Some(cookie.split(';').next().unwrap().to_owned())
    }

    pub(crate) async fn ask(
        &self,
        cookie: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> (StatusCode, Value) {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        request = request.header(header::COOKIE, cookie);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        (
            status,
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        )
    }

    pub(crate) async fn post(&self, cookie: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.ask(cookie, Method::POST, path, Some(body)).await;
        assert!(status.is_success(), "{status} {answer}");
        answer
    }

    /// What came of a ticket's first turn, by the events that a page follows.
    pub(crate) async fn finished(&self, cookie: &str, ticket: &Value) -> Value {
        let path = format!("/api/turns/{}/events", ticket["turn"].as_str().unwrap());
        let (status, events) = self.ask(cookie, Method::GET, &path, None).await;
        assert_eq!(status, StatusCode::OK, "{events}");
        let events = events.as_str().unwrap();
        assert!(
            events.contains("event: change") || events.contains("event: snapshot"),
            "{events}"
        );
        let (_, end) = events
            .split_once("event: finished")
            .unwrap_or_else(|| panic!("{events}"));
        let mut lines = end.lines();
        let data = lines.find_map(|line| line.strip_prefix("data: ")).unwrap();
        serde_json::from_str(data).unwrap()
    }

    /// Waits until the ticket has its answer: a hook writes it, behind the end of the turn.
    pub(crate) async fn answered(&self, cookie: &str, ticket: &Value, answer: &str) {
        let noted = async {
            loop {
                let (_, tickets) = self.ask(cookie, Method::GET, "/tickets", None).await;
                let mut tickets = tickets.as_array().unwrap().iter();
                let found = tickets.find(|one| one["id"] == ticket["id"]).unwrap();
                if found["answer"] == answer {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, noted)
            .await
            .expect("the ticket has no answer");
    }
}

/// A Postgres database of one test's own.
pub(crate) struct Postgres {
    server: String,
    name: String,
}

impl Postgres {
    pub(crate) async fn new() -> Self {
        let server = std::env::var("OPENCODE_HOST_TEST_POSTGRES");
        let database = Self {
            server: server
                .expect("OPENCODE_HOST_TEST_POSTGRES names no server: run `cargo xtask test`"),
            name: format!("desk_{}", Uuid::new_v4().simple()),
        };
        database
            .on_server(format!("CREATE DATABASE {}", database.name))
            .await;
        database
    }

    pub(crate) fn url(&self) -> String {
        let mut url: reqwest::Url = self.server.parse().unwrap();
        url.set_path(&self.name);
        url.to_string()
    }

    pub(crate) async fn remove(&self) {
        self.on_server(format!("DROP DATABASE {} WITH (FORCE)", self.name))
            .await;
    }

    async fn on_server(&self, sql: String) {
        let mut connection = PgConnection::connect(&self.server).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut connection)
            .await
            .unwrap();
    }
}
