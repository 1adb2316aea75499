//! Turns that one process queues and others run, follow and cancel.

use opencode_impostor::{Impostor, Script, Step, Streamed, UNICODE_TEXT};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::Chat;

async fn submit(chat: &Chat, prompt: &str, more: &[&str]) -> Value {
    let ran = chat
        .run(&[&["submit", "--json", prompt], more].concat())
        .await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.lines().len(), 1);
    ran.lines().remove(0)
}

fn turn_of(submitted: &Value) -> &str {
    submitted["turn_id"].as_str().unwrap()
}

#[tokio::test]
async fn the_same_key_is_the_same_turn() {
    let chat = Chat::new();
    let keyed = ["--client-key", "key-1", "--conversation", "work"];
    let first = submit(&chat, "hello", &keyed).await;
    assert_eq!(first.as_object().unwrap().len(), 4);
    assert_eq!(
        (&first["conversation"], &first["created"]),
        (&json!("work"), &json!(true))
    );
    let second = submit(&chat, "hello", &keyed).await;
    assert_eq!(second["created"], false);
    for field in ["turn_id", "message_id", "conversation"] {
        assert_eq!(second[field], first[field], "{field}");
    }
    // The key is the conversation's.
    let elsewhere = submit(&chat, "hello", &["--client-key", "key-1"]).await;
    assert_eq!(elsewhere["created"], true);
    assert_ne!(elsewhere["turn_id"], first["turn_id"]);
    assert_eq!(chat.show().await.len(), 4);
}

#[tokio::test]
async fn a_turn_with_a_key_is_not_asked_twice() {
    let impostor = Impostor::start().await.unwrap();
    let chat = Chat::with(&impostor);
    let first = chat
        .turn("[[text]]", &["--client-key", "k"])
        .await
        .ended(0, "completed");
    let second = chat
        .turn("[[text]]", &["--client-key", "k"])
        .await
        .ended(0, "completed");
    assert_eq!(second, first);
    assert_eq!(impostor.ledger().prompt_posts().len(), 1);
}

#[tokio::test]
async fn a_worker_runs_what_was_submitted() {
    let impostor = Impostor::start().await.unwrap();
    let chat = Chat::with(&impostor);
    let queued = submit(&chat, "[[write]]", &[]).await;
    let pending = chat.show().await;
    assert_eq!(
        (&pending[0]["role"], &pending[1]["status"]),
        (&json!("user"), &json!("pending"))
    );
    assert_eq!(impostor.ledger().requests().len(), 0);

    let worker = chat.start(&["worker"]);
    // Both by the same server, in order.
    let later = submit(&chat, "[[text]]", &[]).await;
    let watched = chat.run(&["watch", "--json", turn_of(&later)]).await;
    let result = watched.ended(0, "completed");
    assert_eq!(result["content"], UNICODE_TEXT);
    assert_eq!(result["message_id"], later["message_id"]);
    let earlier = chat
        .run(&["watch", "--json", turn_of(&queued)])
        .await
        .ended(0, "completed");
    assert_eq!(earlier["tool_calls"][0]["tool"], "write");

    worker.signal(Signal::TERM);
    let worker = worker.end().await;
    assert_eq!((worker.code, worker.stdout.as_str()), (0, ""), "{worker:?}");
    impostor.assert_clean();
}

#[tokio::test]
async fn a_queued_turn_with_an_unknown_name_says_which_there_are() {
    let impostor = Impostor::builder()
        .version("1.2.27")
        .agents(["build", "plan"])
        .models(["local/one", "local/two"])
        .start()
        .await
        .unwrap();
    let chat = Chat::with(&impostor);
    let worker = chat.start(&["worker"]);
    for (named, told) in [
        (["--agent", "bild"], "agent \"bild\". It knows build, plan."),
        (
            ["--model", "local/oneness"],
            "model \"local/oneness\". It knows local/one, local/two.",
        ),
    ] {
        let queued = submit(&chat, "hello", &named).await;
        let watched = chat.run(&["watch", "--json", turn_of(&queued)]).await;
        let result = watched.ended(1, "error");
        assert_eq!(result["reason"], "unknown_name", "{result}");
        let message = result["error"]["message"].as_str().unwrap();
        assert!(message.contains(told), "{message}");
        let watched = chat.run(&["watch", turn_of(&queued)]).await;
        assert!(watched.stderr.contains(told), "{watched:?}");
        let shown = chat.run(&["show"]).await;
        let last = shown.stdout.lines().last().unwrap();
        assert!(last.contains(told), "{shown:?}");
        assert!(last.contains("(unknown_name: "), "{shown:?}");
    }
    worker.signal(Signal::TERM);
    assert_eq!(worker.end().await.code, 0);
}

#[tokio::test]
async fn a_worker_waits_for_a_server_that_is_being_restarted() {
    let impostor = Impostor::start().await.unwrap();
    let chat = Chat::with(&impostor);
    impostor.kill().await;
    let queued = submit(&chat, "[[text]]", &[]).await;
    let mut worker = chat.start(&["worker"]);
    worker.logs("trying again for 20 s").await;
    impostor.restart().await.unwrap();
    let watched = chat.run(&["watch", "--json", turn_of(&queued)]).await;
    watched.ended(0, "completed");
    worker.signal(Signal::TERM);
    assert_eq!(worker.end().await.code, 0);
}

#[tokio::test]
async fn a_worker_waits_for_a_database_too() {
    let chat = Chat::new();
    let away = "postgres://me@127.0.0.1:9/x";
    let mut worker = chat.start(&["worker", "--database", away]);
    let told = worker.logs("trying again for 20 s").await;
    assert!(told.contains("127.0.0.1:9"), "{told}");
    worker.signal(Signal::KILL);
    worker.end().await;
}

#[tokio::test]
async fn another_process_follows_a_turn() {
    let answer = Streamed::new("One two three four.")
        .gate("middle")
        .gate_after(1);
    let impostor = Impostor::scripted(Script::always([Step::text("Before."), answer.into()]))
        .await
        .unwrap();
    let chat = Chat::with(&impostor);
    let queued = submit(&chat, "hello", &[]).await;
    let worker = chat.start(&["worker"]);
    impostor.gate("middle").reached().await.unwrap();
    let mut watch = chat.start(&["watch", "--json", turn_of(&queued)]);
    let snapshot = watch.hears("snapshot").await;
    assert_eq!(
        snapshot["parts"][0]["part"]["content"], "Before.",
        "{snapshot}"
    );
    impostor.gate("middle").open();
    let result = watch.end().await.ended(0, "completed");
    assert_eq!(result["content"], "Before.\n\nOne two three four.");
    // For people too.
    let ran = chat.run(&["watch", turn_of(&queued)]).await;
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (0, "Before.\n\nOne two three four.\n"),
        "{ran:?}"
    );
    drop(worker);
}

#[tokio::test]
async fn another_process_cancels_a_turn() {
    let answer = Streamed::new("One two three four.")
        .gate("never")
        .gate_after(1);
    let impostor = Impostor::scripted(Script::always([answer.into()]))
        .await
        .unwrap();
    let chat = Chat::with(&impostor);
    let mut running = chat.start(&["turn", "--json", "hello"]);
    running.hears("part_delta").await;
    let turn = chat.show().await[1]["turn_id"].as_str().unwrap().to_owned();
    let ran = chat.run(&["cancel", &turn]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let result = running.end().await.ended(3, "cancelled");
    assert_eq!(result["content"], "One two ");
    assert_eq!(impostor.ledger().count("POST /session/:id/abort"), 1);
    // It stays as it ended.
    let ran = chat.run(&["cancel", &turn]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("cancelled"), "{ran:?}");
}

#[tokio::test]
async fn a_queued_turn_is_cancelled_before_it_begins() {
    let chat = Chat::new();
    let queued = submit(&chat, "hello", &[]).await;
    let ran = chat.run(&["cancel", turn_of(&queued)]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let ran = chat.run(&["watch", "--json", turn_of(&queued)]).await;
    let result = ran.ended(3, "cancelled");
    assert_eq!(result["session_id"], Value::Null);
    assert_eq!(result["message_id"], queued["message_id"]);
}

#[tokio::test]
async fn a_busy_conversation_can_refuse() {
    let chat = Chat::new();
    submit(&chat, "first", &[]).await;
    let ran = chat.run(&["submit", "second", "--on-busy", "reject"]).await;
    assert_ne!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("busy"), "{ran:?}");
    assert_eq!(chat.show().await.len(), 2);
}

#[tokio::test]
async fn a_turn_left_by_a_killed_process_is_taken_over() {
    let answer = Streamed::new("One two three four.")
        .gate("middle")
        .gate_after(1);
    let impostor = Impostor::scripted(Script::always([answer.into()]))
        .await
        .unwrap();
    let chat = Chat::with(&impostor);
    let mut killed = chat.start(&["turn", "--json", "hello", "--lease", "2"]);
    killed.hears("part_delta").await;
    killed.signal(Signal::KILL);
    assert_eq!(killed.end().await.code, -1);
    let turn = chat.show().await[1]["turn_id"].as_str().unwrap().to_owned();
    let worker = chat.start(&["worker"]);
    impostor.gate("middle").open();
    let result = chat
        .run(&["watch", "--json", &turn])
        .await
        .ended(0, "completed");
    assert_eq!(result["content"], "One two three four.");
    assert_eq!(impostor.ledger().prompt_posts().len(), 1);
    impostor.assert_clean();
    drop(worker);
}

#[tokio::test]
async fn what_is_stored_is_shown_with_every_field() {
    let impostor = Impostor::start().await.unwrap();
    let chat = Chat::with(&impostor);
    let ran = chat.run(&["show"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{ran:?}");
    chat.turn("[[write]]", &["--conversation", "a"])
        .await
        .ended(0, "completed");
    chat.turn("[[err401]]", &["--conversation", "b"])
        .await
        .ended(1, "error");
    let stored = chat.show().await;
    assert_eq!(stored.len(), 4);
    for line in &stored {
        for field in [
            "conversation",
            "role",
            "message_id",
            "turn_id",
            "status",
            "reason",
            "content",
            "parts",
            "cost",
            "input_tokens",
            "output_tokens",
            "artifacts",
            "error",
        ] {
            assert!(
                line.as_object().unwrap().contains_key(field),
                "no {field} in {line}"
            );
        }
    }
    let [asked, answered, _, failed] = &stored[..] else {
        unreachable!()
    };
    assert_eq!(
        (&asked["role"], &asked["content"]),
        (&json!("user"), &json!("[[write]]"))
    );
    assert_eq!(
        (&answered["role"], &answered["status"]),
        (&json!("assistant"), &json!("completed"))
    );
    assert_eq!(answered["conversation"], "a");
    assert_eq!(answered["parts"].as_array().unwrap().len(), 3);
    assert!(answered["cost"].as_f64().unwrap() > 0.0);
    assert_eq!(
        (&failed["status"], &failed["reason"]),
        (&json!("error"), &json!("upstream"))
    );
    assert_eq!(failed["error"]["status_code"], 401);

    let ran = chat.run(&["show", "--json", "--conversation", "b"]).await;
    assert_eq!(ran.lines(), stored[2..]);
    let ran = chat.run(&["show"]).await;
    assert_eq!(ran.stdout.lines().count(), 4, "{ran:?}");
}
