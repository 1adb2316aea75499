//! Several OpenCode servers on one database.

use std::collections::BTreeSet;

use opencode_impostor::{Impostor, Script, Step};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Chat, Ran};

async fn saying(text: &str) -> Impostor {
    Impostor::scripted(Script::always([Step::text(text)]))
        .await
        .unwrap()
}

/// A server of the list.
#[track_caller]
fn listed(ran: &Ran, server: &str) -> Value {
    assert_eq!(ran.code, 0, "{ran:?}");
    let lines = ran.lines();
    let line = lines.into_iter().find(|line| line["server"] == server);
    line.unwrap_or_else(|| panic!("{server} is not listed: {ran:?}"))
}

#[tokio::test]
async fn servers_are_named_listed_and_drained() {
    let (a, b) = (saying("from a").await, saying("from b").await);
    let chat = Chat::new();
    let turn = async |impostor: &Impostor, server: &str, conversation: &str| {
        let (url, text) = (impostor.url(), format!("to {server}"));
        let args = [
            "turn",
            &text,
            "--conversation",
            conversation,
            "--opencode-url",
            &url,
            "--server-name",
            server,
            "--server-capacity",
            "4",
        ];
        let ran = chat.run(&args).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.stdout
    };
    assert!(turn(&a, "a", "one").await.contains("from a"));
    assert!(turn(&b, "b", "two").await.contains("from b"));
    let doctor = chat
        .run(&["doctor", "--json", "--opencode-url", &a.url()])
        .await;
    assert_eq!(
        doctor.stdout.matches("\"check\":\"servers\"").count(),
        2,
        "{doctor:?}"
    );

    let drained = chat.run(&["servers", "--drain", "a", "--json"]).await;
    let line = listed(&drained, "a");
    assert_eq!(
        (&line["state"], &line["address"]),
        (&json!("draining"), &json!(a.url()))
    );
    assert_eq!(
        (&line["running"], &line["queued"], &line["capacity"]),
        (&json!(0), &json!(0), &json!(4))
    );
    assert_eq!(listed(&drained, "b")["state"], "ready");
    // A conversation that is there goes on.
    assert!(turn(&a, "a", "one").await.contains("from a"));
    let doctor = chat.run(&["doctor", "--opencode-url", &a.url()]).await;
    assert!(
        doctor.stdout.contains("opencode-chat servers --undrain a"),
        "{doctor:?}"
    );
    let said = chat.run(&["servers", "--undrain", "a"]).await;
    assert!(
        said.stdout
            .starts_with(&format!("a at {}: ready, heard ", a.url())),
        "{said:?}"
    );
    let said = chat.run(&["servers", "--forget", "a"]).await;
    assert!(said.stderr.contains("fresh sessions: 1"), "{said:?}");
    assert!(turn(&a, "a", "one").await.contains("from a"));
    let ledger = a.ledger();
    let posts = ledger.prompt_posts().iter();
    let sessions: BTreeSet<_> = posts.map(|post| post.session.as_str()).collect();
    assert_eq!(sessions.len(), 2);
    assert_eq!(b.ledger().prompt_posts().len(), 1);
}

/// Of equal servers the first by name is taken: `gpu` is the second.
#[tokio::test]
async fn conversations_begin_on_servers_with_a_label() {
    let (alone, gpu) = (saying("from alone").await, saying("from gpu").await);
    let chat = Chat::new();
    let begin = ["--begin-on-label", "gpu", "--opencode-url"];
    let (url, other) = (gpu.url(), alone.url());
    let labelled = [&url, "--server-name", "gpu", "--server-label", "gpu,eu"];
    let plain = [&other, "--server-name", "alone"];
    let mut working = Vec::new();
    for server in [&plain[..], &labelled] {
        let mut worker = chat.start(&[&["worker"][..], &begin, server].concat());
        worker.logs("working on turns").await;
        working.push(worker);
    }
    let turn = [&["turn", "Hello"][..], &begin, &plain].concat();
    let ran = chat.run(&turn).await;
    assert!(ran.stdout.contains("from gpu"), "{ran:?}");
    let ran = chat.run(&["servers", "--json"]).await;
    assert_eq!(listed(&ran, "gpu")["labels"], json!(["eu", "gpu"]));
    assert_eq!(listed(&ran, "alone")["labels"], json!([]));
    let ran = chat.run(&["servers"]).await;
    assert!(ran.stdout.contains(", labels: eu gpu"), "{ran:?}");
    for worker in working {
        worker.signal(Signal::TERM);
        assert_eq!(worker.end().await.code, 0);
    }
}

#[tokio::test]
async fn one_server_is_nothing_to_talk_of() {
    let impostor = saying("Hello").await;
    let chat = Chat::with(&impostor);
    assert_eq!(chat.run(&["turn", "Hello"]).await.code, 0);
    let doctor = chat.run(&["doctor", "--json"]).await;
    assert!(!doctor.stdout.contains("\"servers\""), "{doctor:?}");
    assert_eq!(
        listed(&chat.run(&["servers", "--json"]).await, "default")["state"],
        "ready"
    );
}

#[tokio::test]
async fn what_is_no_server_is_refused() {
    let impostor = saying("Hello").await;
    let chat = Chat::with(&impostor);
    for (args, why) in [
        (
            &["turn", "Hello", "--server-name", "eu 1"][..],
            "the server name \"eu 1\" is not one",
        ),
        (
            &["turn", "Hello", "--server-name", ""],
            "the server name \"\" is not one",
        ),
        (
            &["worker", "--server-label", "a b"],
            "--server-label <LABEL>",
        ),
        (&["worker", "--server-capacity", "0"], "--server-capacity"),
        (&["worker", "--server-capacity=-1"], "--server-capacity"),
        (
            &["worker", "--server-gone-after", "0"],
            "--server-gone-after",
        ),
        (
            &["servers", "--drain", "a", "--undrain", "a"],
            "cannot be used with",
        ),
        (
            &["servers", "--drain", "nowhere"],
            "there is no server nowhere",
        ),
        (
            &["servers", "--forget", "nowhere"],
            "there is no server nowhere",
        ),
    ] {
        chat.run(args).await.refused(why);
    }
    assert_eq!(impostor.ledger().prompt_posts().len(), 0);
}
