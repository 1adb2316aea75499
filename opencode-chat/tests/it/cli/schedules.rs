//! Prompts that are asked again and again.

use serde_json::{Value, json};

use crate::support::{Chat, Ran};

#[track_caller]
fn only(ran: &Ran) -> Value {
    assert_eq!(ran.code, 0, "{ran:?}");
    let mut lines = ran.lines();
    assert_eq!(lines.len(), 1, "{ran:?}");
    lines.remove(0)
}

#[tokio::test]
async fn a_schedule_is_made_listed_paused_and_deleted() {
    let chat = Chat::new();
    let none = chat.run(&["schedules"]).await;
    assert_eq!((none.code, none.stdout.as_str()), (0, ""));
    assert!(none.stderr.contains("schedule --help"), "{none:?}");

    let zone = ["--time-zone", "Europe/Berlin", "--conversation", "news"];
    let args = ["schedule", "What is new?", "--cron", "30 8 * * MON-FRI"];
    let made = only(&chat.run(&[&args[..], &zone, &["--json"]].concat()).await);
    assert_eq!(made["conversation"], "news");
    let id = made["schedule"].as_str().unwrap();
    assert_eq!(only(&chat.run(&["schedules", "--json"]).await), made);
    let said = chat.run(&["schedules"]).await.stdout;
    let start = format!("{id} in \"news\": 30 8 * * MON-FRI (Europe/Berlin), next 20");
    assert!(said.starts_with(&start), "{said}");
    assert!(said.ends_with("; What is new?\n"), "{said}");
    let other = ["schedules", "--json", "--conversation", "other"];
    assert_eq!(chat.run(&other).await.stdout, "");

    let paused = only(&chat.run(&["schedules", "--json", "--pause", id]).await);
    assert_eq!(
        (&paused["paused"], &paused["next_at"]),
        (&json!(true), &Value::Null)
    );
    let resumed = only(&chat.run(&["schedules", "--json", "--resume", id]).await);
    assert_eq!(resumed["next_at"], made["next_at"]);
    let deleted = chat.run(&["schedules", "--json", "--delete", id]).await;
    assert_eq!((deleted.code, deleted.stdout.as_str()), (0, ""));
    let again = chat.run(&["schedules", "--delete", id]).await;
    assert_eq!(again.code, 2);
    assert!(again.stderr.contains(id), "{again:?}");
}

#[tokio::test]
async fn what_never_comes_is_refused_and_makes_nothing() {
    let chat = Chat::new();
    for (cron, zone, told) in [
        ("every day", "UTC", "five fields"),
        ("* * * * *", "Mars/Olympus", "IANA"),
        ("0 0 30 2 *", "UTC", "never comes"),
    ] {
        let args = ["schedule", "Hello", "--cron", cron, "--time-zone", zone];
        let refused = chat.run(&args).await;
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(refused.stderr.contains(told), "{refused:?}");
    }
    assert_eq!(chat.run(&["show"]).await.stdout, "");
    let none = chat.run(&["schedules", "--json"]).await;
    assert_eq!((none.code, none.stdout.as_str()), (0, ""));
}
