//! What people and programs get wrong: a clear word, exit code 2, and nothing half-written.

use opencode_impostor::{Action, Calls, Impostor, Script, Step};
use serde_json::Value;
use sqlx::Connection as _;

use crate::support::{Chat, Ran};

async fn answering() -> Impostor {
    Impostor::scripted(Script::always([Step::text("Yes.")]))
        .await
        .unwrap()
}

/// That the turn did not come about, said so to programs too, and left nothing behind.
#[track_caller]
fn did_nothing(impostor: &Impostor, ran: &Ran) {
    let result = ran.result();
    assert_eq!(result["status"], "failed", "{ran:?}");
    assert!(!result["error"]["message"].as_str().unwrap().is_empty());
    assert_eq!(impostor.ledger().prompt_posts().len(), 0);
    assert_eq!(impostor.ledger().sessions_created(), 0);
}

#[tokio::test]
async fn an_unreachable_server() {
    // Nothing listens on the discard port.
    let chat = Chat::at("http://127.0.0.1:9");
    let ran = chat.turn("hello", &[]).await;
    ran.refused("cannot reach OpenCode at http://127.0.0.1:9");
    assert!(ran.stderr.contains("--opencode-url"), "{ran:?}");
    assert_eq!(ran.ended(2, "failed")["reason"], "unreachable");
    assert_eq!(chat.show().await, [] as [Value; 0]);
}

#[tokio::test]
async fn an_url_that_is_none() {
    for url in [
        "nonsense",
        "ftp://127.0.0.1:1",
        "http://me:hunter2@127.0.0.1:1",
    ] {
        let chat = Chat::at(url);
        let ran = chat.turn("hello", &[]).await;
        ran.refused("URL");
        assert!(
            !ran.stderr.contains("hunter2") && !ran.stdout.contains("hunter2"),
            "{ran:?}"
        );
        assert_eq!(chat.show().await, [] as [Value; 0]);
    }
}

#[tokio::test]
async fn a_wrong_password() {
    let impostor = Impostor::builder()
        .password("right-one")
        .start()
        .await
        .unwrap();
    let chat = Chat::with(&impostor);
    for more in [&[][..], &["--opencode-password", "wrong-one"]] {
        let ran = chat.turn("hello", more).await;
        ran.refused("password");
        assert!(ran.stderr.contains("--opencode-password"), "{ran:?}");
        assert!(
            !ran.stderr.contains("wrong-one") && !ran.stdout.contains("wrong-one"),
            "{ran:?}"
        );
        assert_eq!(ran.ended(2, "failed")["reason"], "unauthorized");
        did_nothing(&impostor, &ran);
    }
    assert_eq!(chat.show().await, [] as [Value; 0]);
    let ran = chat
        .turn("[[text]]", &["--opencode-password", "right-one"])
        .await;
    ran.ended(0, "completed");
}

#[tokio::test]
async fn a_database_that_cannot_be_opened() {
    let impostor = answering().await;
    let chat = Chat::with(&impostor);
    let not_a_database = chat.data().join("notes.txt");
    std::fs::write(&not_a_database, "dear diary, ".repeat(1000)).unwrap();
    let below_a_file = not_a_database.join("host.db");
    for (database, named) in [
        (chat.data(), chat.data()),
        (&not_a_database, &not_a_database),
        (&below_a_file, &not_a_database),
    ] {
        let database = database.to_str().unwrap();
        let ran = chat.turn("hello", &["--database", database]).await;
        ran.refused(named.to_str().unwrap());
        did_nothing(&impostor, &ran);
    }
    for database in [
        "mysql://me:hunter2@db/x",
        "postgres://me:hunter2@127.0.0.1:9/x",
    ] {
        let ran = chat.turn("hello", &["--database", database]).await;
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(
            !ran.stderr.contains("hunter2") && !ran.stdout.contains("hunter2"),
            "{ran:?}"
        );
        did_nothing(&impostor, &ran);
    }
}

#[tokio::test]
async fn a_database_of_a_newer_version() {
    let impostor = answering().await;
    let chat = Chat::with(&impostor);
    assert_eq!(chat.show().await, [] as [Value; 0]);
    let url = format!("sqlite://{}", chat.database().display());
    let mut beside = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let newer = "INSERT INTO opencode_migrations (version, name) VALUES (99, 'newer')";
    sqlx::query(newer).execute(&mut beside).await.unwrap();
    beside.close().await.unwrap();
    let ran = chat.turn("hello", &[]).await;
    ran.refused("newer version");
    did_nothing(&impostor, &ran);
    for command in [
        &["show"][..],
        &["submit", "hello"],
        &["worker"],
        &["doctor"],
    ] {
        let ran = chat.run(command).await;
        assert_eq!(ran.code, 2, "{command:?}: {ran:?}");
        assert!(
            format!("{}{}", ran.stdout, ran.stderr).contains("newer version"),
            "{ran:?}"
        );
    }
}

#[tokio::test]
async fn an_empty_prompt() {
    let impostor = answering().await;
    let chat = Chat::with(&impostor);
    for prompt in ["", "  \n\t "] {
        let ran = chat.turn(prompt, &[]).await;
        ran.refused("the prompt is empty");
        did_nothing(&impostor, &ran);
        chat.run(&["submit", prompt])
            .await
            .refused("the prompt is empty");
    }
    let ran = chat.run_with_input(&["turn", "--json", "-"], "\n").await;
    ran.refused("the prompt is empty");
    assert_eq!(chat.show().await, [] as [Value; 0]);
}

#[tokio::test]
async fn a_prompt_of_five_megabytes() {
    let impostor = answering().await;
    let chat = Chat::with(&impostor);
    let prompt = "words ".repeat((5 << 20) / 6);
    for command in [&["turn", "--json", "-"][..], &["submit", "-"]] {
        let ran = chat.run_with_input(command, &prompt).await;
        ran.refused("shorten it");
        assert!(ran.stderr.len() < 1000, "the prompt is repeated");
    }
    assert_eq!(impostor.ledger().requests().len(), 0);
    assert_eq!(chat.show().await, [] as [Value; 0]);
}

#[tokio::test]
async fn a_long_prompt_on_standard_input_is_taken_whole() {
    let impostor = answering().await;
    let chat = Chat::with(&impostor);
    let prompt = "日本語 ".repeat(50_000);
    let ran = chat.run_with_input(&["turn", "--json", "-"], &prompt).await;
    ran.ended(0, "completed");
    assert_eq!(impostor.ledger().prompt_posts()[0].text, prompt);
}

#[tokio::test]
async fn wrong_arguments() {
    let impostor = answering().await;
    let chat = Chat::with(&impostor);
    for (args, why) in [
        (&["turn"][..], "PROMPT"),
        (&["turn", "hello", "--model", "no-slash"], "provider/model"),
        (&["turn", "hello", "--permission", "maybe"], "once"),
        (&["turn", "hello", "--timeout", "0"], "above 0"),
        (&["turn", "hello", "--no-such-flag"], "--no-such-flag"),
        (&["turn", "hello", "--conversation", " "], "--conversation"),
        (&["watch", "not-an-id"], "not-an-id"),
        (
            &["watch", "01a203b0-e3c1-777e-9884-4c38291e9c72"],
            "there is no turn",
        ),
        (
            &["cancel", "01a203b0-e3c1-777e-9884-4c38291e9c72"],
            "there is no turn",
        ),
        (&["retry"], "ID"),
        (&["retry", "not-an-id"], "not-an-id"),
        (&["show", "--conversation", "nobody"], "nobody"),
        (&["no-such-command"], "no-such-command"),
    ] {
        chat.run(args).await.refused(why);
    }
    assert_eq!(impostor.ledger().prompt_posts().len(), 0);
    assert_eq!(chat.show().await, [] as [Value; 0]);
}

#[tokio::test]
async fn a_sandbox_root_that_is_no_place_for_agents() {
    let impostor = answering().await;
    let chat = Chat::with(&impostor);
    let worktree = chat.data().join("project");
    std::fs::create_dir_all(worktree.join(".git")).unwrap();
    let file = chat.data().join("file");
    std::fs::write(&file, "").unwrap();
    for root in [worktree.join("sandboxes"), file] {
        let ran = chat
            .turn("hello", &["--sandbox-root", root.to_str().unwrap()])
            .await;
        ran.refused("--sandbox-root");
        did_nothing(&impostor, &ran);
    }
}

#[tokio::test]
async fn an_agent_or_model_that_the_server_does_not_list() {
    let impostor = answering().await;
    let json = |body: &str| Action::Answer {
        status: 200,
        content_type: "application/json".into(),
        body: body.into(),
    };
    let faults = impostor.faults();
    faults.request(
        "GET /agent",
        Calls::All,
        json(r#"[{"name":"build"},{"name":"plan"}]"#),
    );
    let models =
        r#"{"providers":[{"id":"local","models":{"one":{},"two":{}}}],"default":{"local":"one"}}"#;
    faults.request("GET /config/providers", Calls::All, json(models));
    let chat = Chat::with(&impostor);

    let ran = chat.turn("hello", &["--agent", "bild"]).await;
    ran.refused("build, plan");
    did_nothing(&impostor, &ran);
    let ran = chat.turn("hello", &["--model", "local/three"]).await;
    ran.refused("local/one, local/two");
    did_nothing(&impostor, &ran);
    assert_eq!(chat.show().await, [] as [Value; 0]);

    let ran = chat
        .turn("hello", &["--agent", "plan", "--model", "local/two"])
        .await;
    ran.ended(0, "completed");
}

#[tokio::test]
async fn an_agent_or_model_that_only_the_prompt_shows_to_be_wrong() {
    let impostor = Impostor::builder()
        .script(Script::always([Step::text("Yes.")]))
        .agents(["build", "plan"])
        .models(["local/one"])
        .start()
        .await
        .unwrap();
    // A server that does not tell its names before.
    for names in ["GET /agent", "GET /config/providers"] {
        let action = Action::Answer {
            status: 404,
            content_type: "text/plain".into(),
            body: String::new(),
        };
        impostor.faults().request(names, Calls::All, action);
    }
    let chat = Chat::with(&impostor);
    for (more, named) in [
        (["--agent", "bild"], "bild"),
        (["--model", "local/three"], "three"),
    ] {
        let ran = chat.turn("hello", &more).await;
        let result = ran.ended(1, "error");
        assert_eq!(result["reason"], "unknown_name", "{result}");
        assert!(
            result["error"]["message"].as_str().unwrap().contains(named),
            "{result}"
        );
    }
    impostor.assert_clean();
}
