//! What `doctor` finds.

use std::time::Duration;

use opencode_host::store::{Take, Tried};
use opencode_impostor::{Action, Calls, Dialect, Impostor};
use serde_json::Value;

use crate::support::{Chat, Ran};

/// The status and the detail of a check.
#[track_caller]
fn found(ran: &Ran, check: &str) -> (String, String) {
    let lines = ran.lines();
    let line = lines.iter().find(|line| line["check"] == check);
    let line = line.unwrap_or_else(|| panic!("{check} was not looked at: {ran:?}"));
    let word = |field: &str| line[field].as_str().unwrap().to_owned();
    assert_eq!(
        line["advice"].is_null(),
        word("status") == "ok",
        "what is to be done: {line}"
    );
    (word("status"), word("detail"))
}

fn json(body: &str) -> Action {
    Action::Answer {
        status: 200,
        content_type: "application/json".into(),
        body: body.into(),
    }
}

#[tokio::test]
async fn all_is_well() {
    let impostor = Impostor::builder()
        .password("secret-word")
        .start()
        .await
        .unwrap();
    let models = r#"{"providers":[{"id":"local","models":{"one":{}}}],"default":{"local":"one"}}"#;
    impostor
        .faults()
        .request("GET /config/providers", Calls::All, json(models));
    impostor
        .faults()
        .request("GET /agent", Calls::All, json(r#"[{"name":"build"}]"#));
    let chat = Chat::with(&impostor).variable("OPENCODE_SERVER_PASSWORD", "secret-word");
    let ran = chat.run(&["doctor", "--json"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    for check in [
        "data folder",
        "database",
        "blobs",
        "sandbox root",
        "opencode",
        "password",
        "event stream",
        "models",
        "agents",
        "rules",
        "sub-agents",
        "network",
    ] {
        assert_eq!(found(&ran, check).0, "ok", "{ran:?}");
    }
    // It was not started, and so not sealed, here.
    assert_eq!(found(&ran, "agent's shell").0, "warning", "{ran:?}");
    assert!(found(&ran, "database").1.contains("SQLite"), "{ran:?}");
    assert!(found(&ran, "opencode").1.contains("version 1."), "{ran:?}");
    assert!(found(&ran, "models").1.contains("local/one"), "{ran:?}");
    assert!(!format!("{ran:?}").contains("secret-word"), "{ran:?}");
    let ran = chat.run(&["doctor"]).await;
    assert_eq!(
        (ran.code, ran.stdout.matches('✓').count()),
        (0, 12),
        "{ran:?}"
    );
    impostor.assert_clean();
}

#[tokio::test]
async fn warnings_say_what_to_do_and_are_no_failure() {
    let impostor = Impostor::start().await.unwrap();
    impostor.faults().no_global_event();
    impostor.faults().request(
        "GET /config/providers",
        Calls::All,
        json(r#"{"providers":[],"default":{}}"#),
    );
    impostor
        .faults()
        .request("GET /agent", Calls::All, Action::html(500));
    let ran = Chat::with(&impostor).run(&["doctor", "--json"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    for check in ["password", "event stream", "models", "agents"] {
        assert_eq!(found(&ran, check).0, "warning", "{ran:?}");
    }
    assert!(ran.stdout.contains("opencode auth login"), "{ran:?}");
}

#[tokio::test]
async fn a_server_that_does_not_keep_the_rules_is_broken() {
    let ignores = Dialect {
        keeps_rules: false,
        ..Dialect::default()
    };
    let old = Dialect {
        version: "1.1.15".into(),
        ..Dialect::default()
    };
    for (dialect, told) in [
        (ignores, "ignores permission rules"),
        (old, "1.1.15 is too old"),
    ] {
        let impostor = Impostor::builder().dialect(dialect).start().await.unwrap();
        let ran = Chat::with(&impostor).run(&["doctor", "--json"]).await;
        assert_eq!(ran.code, 2, "{ran:?}");
        let rules = found(&ran, "rules");
        assert_eq!(rules.0, "broken", "{ran:?}");
        assert!(rules.1.contains(told), "{ran:?}");
        assert!(impostor.ledger().sessions_alive().is_empty());
    }
}

#[tokio::test]
async fn sub_agents_of_a_given_server_are_off_or_warned_of() {
    let impostor = Impostor::start().await.unwrap();
    let chat = Chat::with(&impostor);
    let ran = chat.run(&["doctor", "--json"]).await;
    let off = found(&ran, "sub-agents");
    assert!(off.0 == "ok" && off.1.starts_with("off"), "{ran:?}");
    let ran = chat
        .run(&["doctor", "--json", "--allow-unasked-subagents"])
        .await;
    assert_eq!(found(&ran, "sub-agents").0, "warning", "{ran:?}");
}

#[tokio::test]
async fn without_opencode_the_stand_in_is_told_of() {
    let chat = Chat::new();
    let ran = chat.run(&["doctor", "--json"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(found(&ran, "program").0, "warning");
    assert!(ran.stdout.contains("npm install -g opencode-ai"), "{ran:?}");
    let ran = chat.turn("hello", &[]).await;
    ran.ended(0, "completed");
    assert!(ran.stderr.contains("npm install -g opencode-ai"), "{ran:?}");
}

#[tokio::test]
async fn a_servers_user_is_named_by_flag_or_variable() {
    let impostor = Impostor::builder().username("me").password("right");
    let impostor = impostor.start().await.unwrap();
    let chat = || Chat::with(&impostor).variable("OPENCODE_SERVER_PASSWORD", "right");
    // The default is the server's own.
    let refused = chat().turn("[[text]]", &[]).await;
    refused.refused("--opencode-username");
    let by_variable = chat().variable("OPENCODE_SERVER_USERNAME", "me");
    by_variable
        .turn("[[text]]", &[])
        .await
        .ended(0, "completed");
    let by_flag = ["--opencode-username", "me"];
    chat()
        .turn("[[text]]", &by_flag)
        .await
        .ended(0, "completed");
    let ran = chat()
        .run(&["doctor", "--json", by_flag[0], by_flag[1]])
        .await;
    assert_eq!(broken(&ran), [] as [&str; 0], "{ran:?}");
    let refused = chat().run(&["doctor", "--json"]).await;
    assert_eq!(broken(&refused), ["opencode"], "{refused:?}");
    let bad = chat().turn("x", &["--opencode-username", "a:b"]).await;
    bad.refused("must not hold a colon");
    // An empty one is none.
    let other = Impostor::builder().password("right").start().await.unwrap();
    let chat = Chat::with(&other)
        .variable("OPENCODE_SERVER_PASSWORD", "right")
        .variable("OPENCODE_SERVER_USERNAME", "");
    chat.turn("[[text]]", &[]).await.ended(0, "completed");
    let mut worker = chat.start(&["worker", "--opencode-username", "them"]);
    worker.logs("refused the password").await;
    assert_eq!(worker.end().await.code, 2);
}

#[tokio::test]
async fn what_is_broken_is_a_failure() {
    let impostor = Impostor::builder().password("right").start().await.unwrap();
    let chat = Chat::with(&impostor).variable("OPENCODE_SERVER_PASSWORD", "hunter2");
    let ran = chat.run(&["doctor", "--json"]).await;
    assert_eq!(ran.code, 2, "{ran:?}");
    assert_eq!(broken(&ran), ["opencode"]);
    assert!(!format!("{ran:?}").contains("hunter2"), "{ran:?}");

    let chat = Chat::at("http://127.0.0.1:9");
    let ran = chat.run(&["doctor", "--json"]).await;
    assert_eq!(
        (ran.code, broken(&ran)),
        (2, vec!["opencode".to_owned()]),
        "{ran:?}"
    );

    let file = chat.data().join("file");
    std::fs::write(&file, "not a database, and no folder").unwrap();
    let file = file.to_str().unwrap();
    let ran = chat
        .run(&[
            "doctor",
            "--json",
            "--data",
            file,
            "--database",
            file,
            "--sandbox-root",
            file,
        ])
        .await;
    assert_eq!(ran.code, 2, "{ran:?}");
    assert_eq!(
        broken(&ran),
        [
            "data folder",
            "database",
            "blobs",
            "sandbox root",
            "opencode"
        ]
    );
}

fn broken(ran: &Ran) -> Vec<String> {
    let lines: Vec<Value> = ran.lines();
    let broken = lines.iter().filter(|line| line["status"] == "broken");
    broken
        .map(|line| line["check"].as_str().unwrap().to_owned())
        .collect()
}

/// A conversation that was deleted while no worker ran: its session is still there.
#[tokio::test]
async fn what_is_not_done_yet_is_told() {
    let impostor = Impostor::start().await.unwrap();
    let chat = Chat::with(&impostor);
    let ran = chat.run(&["doctor", "--json"]).await;
    assert!(!ran.stdout.contains("not done yet"), "{ran:?}");
    let store = opencode_sql::connect(chat.database().to_str().unwrap())
        .await
        .unwrap();
    let host = opencode_host::Host::builder(store).build();
    let tenant = opencode_host::store::Tenant::default();
    let conversation = host.open_conversation(&tenant, "garden").await.unwrap().id;
    assert!(host.delete_conversation(conversation).await.unwrap());
    let ran = chat.run(&["doctor", "--json"]).await;
    let (status, detail) = found(&ran, "not done yet");
    assert_eq!((status.as_str(), ran.code), ("warning", 0));
    assert!(detail.contains(&conversation.to_string()), "{detail}");
    assert!(detail.contains("not tried yet"), "{detail}");
}

/// A hook that was tried too often: doctor lists it, and `retry` makes it due.
#[tokio::test]
async fn what_is_given_up_is_told_and_tried_again_by_its_id() {
    let impostor = Impostor::start().await.unwrap();
    let chat = Chat::with(&impostor);
    assert_eq!(chat.run(&["turn", "Hello"]).await.code, 0);
    let store = opencode_sql::connect(chat.database().to_str().unwrap())
        .await
        .unwrap();
    assert_eq!(
        store.effects(9).await.unwrap(),
        [],
        "the turn's hooks are done"
    );
    let ran = chat.run(&["doctor", "--json"]).await;
    assert!(!ran.stdout.contains("given up"), "{ran:?}");
    let tenant = opencode_host::store::Tenant::default();
    let conversation = store.open_conversation(&tenant, "garden").await.unwrap().id;
    store.delete_conversation(conversation, None).await.unwrap();
    let taken = store.take_effect(Take::This(conversation.into()), Duration::from_secs(60));
    let taken = taken.await.unwrap().unwrap();
    let given_up = Tried::GivenUp {
        error: "no \u{1b}[2Jdisk".to_owned(),
    };
    store.settle_effect(&taken, &given_up).await.unwrap();
    let ran = chat.run(&["doctor", "--json"]).await;
    let (status, detail) = found(&ran, "given up");
    assert_eq!((status.as_str(), ran.code), ("warning", 0));
    assert!(detail.contains(&taken.id.to_string()), "{detail}");
    assert!(detail.contains("tries: 1; no "), "{detail}");
    assert!(!ran.stdout.contains('\u{1b}'), "{ran:?}");
    assert!(!ran.stdout.contains("not done yet"), "{ran:?}");
    let id = taken.id.to_string();
    let ran = chat.run(&["retry", &id]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(store.given_up_effects(9).await.unwrap(), []);
    let ran = chat.run(&["retry", &id]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("not given up"), "{ran:?}");
}
