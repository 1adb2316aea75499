//! Numbers for those who watch over the program: Prometheus takes them, its rules hold, and they tell no secret.
//!
//! `OPENCODE_HOST_PROMETHEUS` names the folder of `prometheus` and `promtool`; `cargo xtask test` installs and names it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use opencode_impostor::{Impostor, Script, Step};
use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::support::{Chat, PATIENCE, Running};

fn program(name: &str) -> PathBuf {
    let folder = std::env::var_os("OPENCODE_HOST_PROMETHEUS").map(PathBuf::from);
    let program = folder.map(|folder| folder.join(name));
    program
        .filter(|program| program.is_file())
        .expect("OPENCODE_HOST_PROMETHEUS names no folder of prometheus: run `cargo xtask test`")
}

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging")
}

/// Asks for a page, and gives what was answered, with its head.
async fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// A program that serves metrics, and their address.
async fn serving(chat: &Chat, more: &[&str]) -> (Running, String) {
    let args = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--metrics-listen",
        "127.0.0.1:0",
    ];
    let mut running = chat.start(&[&args, more].concat());
    let line = running.logs("metrics at http://").await;
    let (_, address) = line.split_once("http://").unwrap();
    let address = address.strip_suffix("/metrics").unwrap().to_owned();
    running.logs("working on turns").await;
    (running, address)
}

/// The value of a sample, once it is `wanted`.
async fn comes(address: &str, sample: &str, wanted: f64) -> String {
    let look = async {
        loop {
            let text = get(address, "/metrics").await;
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
            if line.and_then(|value| value.parse().ok()) == Some(wanted) {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, look).await;
    found.unwrap_or_else(|_| panic!("{sample} did not become {wanted}"))
}

const COMPLETED: &str = "opencode_turns_total{reason=\"none\",status=\"completed\"}";

#[tokio::test]
async fn promtool_takes_what_a_turn_leaves_and_no_secret_is_in_it() {
    let impostor = Impostor::builder()
        .script(Script::always([Step::text("the-answer-itself")]))
        .password("hunter2")
        .start()
        .await
        .unwrap();
    let chat = Chat::with(&impostor)
        .variable("OPENCODE_SERVER_PASSWORD", "hunter2")
        .variable("RUST_LOG", "trace");
    let (running, address) = serving(&chat, &[]).await;
    let ran = chat
        .run(&["submit", "the-prompt-itself", "--conversation", "the-name"])
        .await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let text = comes(&address, COMPLETED, 1.0).await;
    for part in [
        "content-type: text/plain; version=0.0.4",
        "opencode_store_up 1",
        "opencode_claims_total{claim=\"first\"} 1",
        "opencode_turn_first_token_seconds_count 1",
        "opencode_turn_duration_seconds_count{status=\"completed\"} 1",
        "opencode_server_state{server=\"default\",state=\"ready\"} 1",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    for secret in ["hunter2", "the-prompt", "the-answer", "the-name"] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    let mut checking = Command::new(program("promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = checking.stdin.take().unwrap();
    stdin.write_all(body.as_bytes()).await.unwrap();
    drop(stdin);
    let checked = checking.wait_with_output().await.unwrap();
    assert!(checked.status.success(), "{checked:?}\n{body}");
    assert_eq!(String::from_utf8_lossy(&checked.stderr), "", "{body}");
    // What the rules and the dashboard ask for is there.
    let told: BTreeSet<&str> = body
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    for asked in ["prometheus/alerts.yml", "grafana/opencode.json"] {
        let asked = std::fs::read_to_string(packaging().join(asked)).unwrap();
        let names = asked
            .split(|c: char| !c.is_ascii_lowercase() && c != '_')
            .filter(|word| word.starts_with("opencode_"));
        let mut found = 0;
        for name in names {
            let base = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end))
                .filter(|base| told.contains(base));
            assert!(told.contains(base.unwrap_or(name)), "there is no {name}");
            found += 1;
        }
        assert!(found > 8, "{found}");
    }
    running.signal(Signal::TERM);
    let ran = running.end().await;
    assert_eq!(ran.code, 0, "{ran:?}");
    // Neither does the log, at any level.
    assert!(ran.stderr.contains("TRACE"), "{ran:?}");
    assert!(!ran.stderr.contains("hunter2"), "{ran:?}");
    for line in ran.stderr.lines() {
        let is_loud = [" INFO ", " WARN ", "ERROR "]
            .iter()
            .any(|level| line.contains(level));
        for text in ["the-prompt", "the-answer"] {
            assert!(!is_loud || !line.contains(text), "{line}");
        }
    }
}

#[tokio::test]
async fn prometheus_scrapes_it_with_the_rules() {
    let impostor = Impostor::start().await.unwrap();
    let chat = Chat::with(&impostor);
    let (running, address) = serving(&chat, &[]).await;
    let rules = packaging().join("prometheus/alerts.yml");
    let configuration = chat.data().join("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{}]\n\
         scrape_configs:\n  - {{job_name: opencode, static_configs: [{{targets: ['{address}']}}]}}\n",
        rules.canonicalize().unwrap().display()
    );
    std::fs::write(&configuration, text).unwrap();
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let at = format!("127.0.0.1:{port}");
    let mut prometheus = Command::new(program("prometheus"))
        .arg(format!("--config.file={}", configuration.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            chat.data().join("tsdb").display()
        ))
        .arg(format!("--web.listen-address={at}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let ran = chat.run(&["submit", "[[text]]"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let ask = async {
        let query = "/api/v1/query?query=opencode_turns_total%7Bstatus%3D%22completed%22%7D";
        loop {
            if TcpStream::connect(&at).await.is_ok() {
                let answer = get(&at, query).await;
                if answer.contains("\"1\"") {
                    return answer;
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let answer = tokio::time::timeout(PATIENCE, ask)
        .await
        .expect("it was not scraped");
    assert!(answer.contains("\"job\":\"opencode\""), "{answer}");
    let loaded = get(&at, "/api/v1/rules").await;
    assert!(loaded.contains("OpencodeStoreDown"), "{loaded}");
    prometheus.kill().await.unwrap();
    running.signal(Signal::TERM);
    assert_eq!(running.end().await.code, 0);
}

#[tokio::test]
async fn the_alert_rules_fire_where_they_should() {
    for args in [
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts_test.yml"],
    ] {
        let ran = Command::new(program("promtool"))
            .current_dir(packaging().join("prometheus"))
            .args(args)
            .output()
            .await
            .unwrap();
        assert!(ran.status.success(), "{ran:?}");
    }
}

#[tokio::test]
async fn metrics_are_at_their_own_address_alone() {
    let impostor = Impostor::start().await.unwrap();
    let chat = Chat::with(&impostor);
    let mut running = chat.start(&["serve", "--listen", "127.0.0.1:0"]);
    let pages = running.address().await;
    assert!(get(&pages, "/metrics").await.starts_with("HTTP/1.1 404"));
    running.signal(Signal::TERM);
    let ran = running.end().await;
    assert!(!ran.stderr.contains("metrics at"), "{ran:?}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let ran = chat.run(&["worker", "--metrics-listen", &taken]).await;
    ran.refused("Choose another with --metrics-listen");
}

/// The rows of turns whose servers said nothing are worth a look.
#[tokio::test]
async fn a_database_that_is_gone_shows() {
    let impostor = Impostor::start().await.unwrap();
    let chat = Chat::with(&impostor);
    let (_running, address) = serving(&chat, &[]).await;
    comes(&address, "opencode_store_up", 1.0).await;
    for name in ["host.db", "host.db-wal", "host.db-shm"] {
        let _ = std::fs::remove_file(chat.data().join(name));
    }
    let text = comes(&address, "opencode_store_up", 0.0).await;
    assert!(!text.contains("opencode_server_state{"), "{text}");
}

#[tokio::test]
async fn the_dashboard_is_json_with_a_panel_for_each_question() {
    let text = std::fs::read_to_string(packaging().join("grafana/opencode.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len());
    for panel in panels {
        let targets = panel["targets"].as_array().unwrap();
        assert!(
            targets.iter().all(|target| target["expr"].is_string()),
            "{panel}"
        );
    }
}
