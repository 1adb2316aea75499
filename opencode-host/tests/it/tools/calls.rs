//! A call arrives, once, with what it is to know.

use opencode_client::wire::Prompt;
use opencode_host::SubmitOptions;
use opencode_host::store::Tenant;
use opencode_impostor::Delivery;

use super::*;

#[tokio::test]
async fn a_call_runs_in_the_process_as_the_tenant_whose_conversation_it_is() {
    let log = Ran::default();
    let test = desk(
        [
            Step::mcp("app_lookup", json!({"order": 7})),
            Step::text("Shipped."),
        ],
        [lookup(&log)],
    )
    .await;
    let acme = Tenant::from("acme");
    let conversation = test.host.open_conversation(&acme, "orders").await.unwrap();
    let submitted = test.host.submit(
        conversation.id,
        Prompt::text("go"),
        SubmitOptions::default(),
    );
    let turn = submitted.await.unwrap().turn.id;
    let result = test.finished(turn, test.work(turn)).await;
    assert_ended(&result, TurnStatus::Completed, None, "Shipped.");
    let known = [("acme".to_owned(), "orders".to_owned(), 7)];
    assert_eq!(log.lock().unwrap()[..], known);
    let calls = calls(&test, &result);
    assert_eq!(calls[0].0, "app_lookup");
    assert_eq!(calls[0].1["output"], "order 7: shipped");
    let told = test.recorder.named("tool.called");
    assert_eq!((told.len(), &told[0]["outcome"]), (1, &json!("answered")));
    test.impostor.assert_clean();
}

#[tokio::test]
async fn a_call_that_is_delivered_again_is_not_run_again() {
    for delivery in [Delivery::AnswerLost, Delivery::Twice] {
        let log = Ran::default();
        let call = |order: u32| {
            Step::mcp_delivered("app_lookup", json!({"order": order}), delivery.clone())
        };
        let test = desk([call(7), call(7), call(8)], [lookup(&log)]).await;
        let result = test.turn("go").await;
        // The second is a call of its own.
        assert_eq!(ran(&log), [7, 7, 8], "{delivery:?}");
        for (_, state) in calls(&test, &result) {
            let output = state["output"].as_str().unwrap();
            assert!(output.ends_with("shipped"), "{delivery:?}: {state}");
        }
    }
}

#[tokio::test]
async fn each_turn_of_a_conversation_may_call_again() {
    let log = Ran::default();
    let test = desk(
        [Step::mcp("app_lookup", json!({"order": 7}))],
        [lookup(&log)],
    )
    .await;
    for turns in 1..=3 {
        test.turn("go").await;
        assert_eq!(ran(&log).len(), turns);
    }
    assert_eq!(
        test.impostor.ledger().count("POST /mcp"),
        3,
        "under a token of its own each"
    );
}

#[tokio::test]
async fn what_a_tool_returns_is_read_as_json_unless_it_is_a_text() {
    #[derive(serde::Serialize)]
    struct Order {
        shipped: bool,
    }
    let order = Tool::new("order", "An order.", async |_: Lookup, _: ToolCall| {
        Ok(Order { shipped: true })
    });
    let test = desk([Step::mcp("app_order", json!({"order": 7}))], [order]).await;
    let result = test.turn("go").await;
    assert_eq!(calls(&test, &result)[0].1["output"], r#"{"shipped":true}"#);
}

#[tokio::test]
async fn sub_agents_call_as_the_conversation_that_they_work_for() {
    let log = Ran::default();
    let call = Step::mcp("app_lookup", json!({"order": 7}));
    let test = desk([Step::subtask("look", [call])], [lookup(&log)]).await;
    test.turn("go").await;
    assert_eq!(log.lock().unwrap()[0].1, "test");
}
