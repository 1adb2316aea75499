//! What turns may use up, as the settings say it.

use opencode_impostor::{Impostor, Script, Step};

use crate::support::Chat;

/// Each step of the model costs 40 cents and 70 tokens.
async fn costly(steps: impl IntoIterator<Item = Step>) -> Impostor {
    let script = Script::always(steps);
    let builder = Impostor::builder().script(script);
    builder.usage(0.4, 50, 20).start().await.unwrap()
}

#[tokio::test]
async fn a_turn_that_uses_up_its_budget_is_stopped_and_its_half_is_kept() {
    let steps = || {
        [
            Step::text("Half."),
            Step::tool("bash", serde_json::json!({"command": "id"}), "root"),
            Step::reasoning("What now?"),
            Step::gate("more"),
        ]
    };
    for bound in [
        ["--budget-turn-cost", "0.4"],
        ["--budget-turn-tokens", "60"],
        ["--budget-conversation-cost", "0.10"],
        ["--budget-conversation-tokens", "70"],
        ["--budget-period-cost", "0.4"],
        ["--budget-period-tokens", "1"],
    ] {
        let impostor = costly(steps()).await;
        let chat = Chat::with(&impostor);
        let result = chat.turn("go", &bound).await.ended(1, "error");
        assert_eq!(result["reason"], "budget", "{bound:?}: {result}");
        assert_eq!(result["content"], "Half.", "{bound:?}: {result}");
    }
    for bound in [
        "--budget-turn-seconds",
        "--budget-conversation-seconds",
        "--budget-period-seconds",
    ] {
        let impostor = costly([Step::text("Half."), Step::gate("more")]).await;
        let chat = Chat::with(&impostor);
        let result = chat.turn("go", &[bound, "0.3"]).await.ended(1, "error");
        assert_eq!(result["reason"], "budget", "{bound}: {result}");
        assert_eq!(result["content"], "Half.", "{bound}: {result}");
    }
}

#[tokio::test]
async fn with_nothing_left_a_prompt_is_refused_and_said_what_was_used() {
    let impostor = costly([Step::text("All.")]).await;
    let chat = Chat::with(&impostor);
    let path = chat.data().join("c.toml");
    let text =
        "budget-conversation-cost = 0.3\nbudget_period = \"day\"\nbudget-period-cost = 0.7\n";
    std::fs::write(&path, text).unwrap();
    let chat = chat.variable("OPENCODE_CHAT_CONFIG", &path);
    // It was complete when its budget was used up.
    chat.turn("go", &[]).await.ended(0, "completed");
    for command in ["turn", "submit"] {
        let ran = chat.run(&[command, "go"]).await;
        assert_eq!(ran.code, 1, "{ran:?}");
        let told = "the budget of this conversation is used up: 0.40 of 0.30 US dollars are used";
        assert!(ran.stderr.contains(told), "{ran:?}");
    }
    chat.turn("go", &["--conversation", "another"])
        .await
        .ended(0, "completed");
    let ran = chat.run(&["submit", "go", "--conversation", "third"]).await;
    let told = "the budget of this day is used up: 0.80 of 0.70 US dollars are used";
    assert!(ran.stderr.contains(told), "{ran:?}");
    assert_eq!(impostor.ledger().prompt_posts().len(), 2);
    let config = chat.run(&["config"]).await;
    let place = path.display();
    for line in [
        format!("budget-conversation-cost = \"0.3\"  # {place}:1"),
        format!("budget-period = \"day\"  # {place}:2"),
        format!("budget-period-cost = \"0.7\"  # {place}:3"),
        "# budget-turn-tokens is not set".to_owned(),
    ] {
        assert!(config.stdout.contains(&line), "{line}: {config:?}");
    }
}

#[tokio::test]
async fn a_budget_of_nothing_is_refused_by_name() {
    let chat = Chat::new();
    for (key, value, told) in [
        ("budget-turn-cost", "0", "US dollars above 0"),
        ("budget-period-cost", "-1", "US dollars above 0"),
        ("budget-conversation-cost", "NaN", "US dollars above 0"),
        ("budget-turn-tokens", "0", "tokens above 0"),
        ("budget-period-tokens", "1.5", "tokens above 0"),
        ("budget-turn-seconds", "0", "seconds above 0"),
        ("budget-conversation-seconds", "inf", "seconds above 0"),
        ("budget-period", "week", "day, month"),
    ] {
        let ran = chat.run(&["worker", &format!("--{key}={value}")]).await;
        ran.refused(&format!("--{key} <"));
        ran.refused(told);
        let path = chat.data().join("c.toml");
        std::fs::write(&path, format!("{key} = {value:?}\n")).unwrap();
        let ran = chat
            .run(&["submit", "go", "--config", path.to_str().unwrap()])
            .await;
        ran.refused(&format!("{}:1: ", path.display()));
        ran.refused(key);
    }
    assert!(!chat.database().exists());
}
