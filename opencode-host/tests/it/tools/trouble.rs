//! What goes wrong in a call is what the model reads, and no more.

use opencode_host::store::TurnStatus;
use opencode_impostor::Delivery;
use tokio_util::sync::CancellationToken;

use super::*;

/// A turn with one call of this tool; what the model reads of it.
async fn read(tool: Tool, input: Value) -> (String, Hosting) {
    let call = format!("app_{}", tool.name());
    let test = desk([Step::mcp(call, input), Step::text("So it is.")], [tool]).await;
    let result = test.turn("go").await;
    assert_ended(&result, TurnStatus::Completed, None, "So it is.");
    (error_read(&test, &result), test)
}

/// A tool that does this with an order.
fn doing<T: serde::Serialize + 'static>(
    work: impl AsyncFn(i64) -> Result<T, HookError> + Send + Sync + 'static,
) -> Tool {
    let work = async move |args: Lookup, _: ToolCall| work(args.order).await;
    Tool::new("work", "Works.", work)
}

#[tokio::test]
async fn errors_panics_and_silence_are_read_as_the_tools_error() {
    let order = || json!({"order": 7});
    let fails = doing(async |order| Err::<(), _>(format!("no order {order}").into()));
    let (said, _) = read(fails, order()).await;
    assert_eq!(said, "no order 7");

    let panics = doing(async |order| -> Result<(), _> { panic!("the secret is {order}") });
    let (said, test) = read(panics, order()).await;
    assert_eq!(said, "the tool panicked");
    let reports = test.recorder.named("reported");
    let reported = reports.iter().filter(|report| report["action"] == "tool");
    assert_eq!(reported.count(), 1, "{reports:?}");

    let never = doing(async |_| std::future::pending::<Result<(), _>>().await);
    let (said, _) = read(never.limit(Duration::from_millis(50)), order()).await;
    assert_eq!(said, "the tool did not return within 0.05 s");

    let long = doing(async |_| Err::<(), HookError>("x".repeat(1 << 20).into()));
    let (said, _) = read(long, order()).await;
    assert_eq!(said.chars().count(), (4 << 10) + 1);
}

#[tokio::test]
async fn a_tool_that_blocks_its_thread_for_ever_is_left_behind() {
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let held = Mutex::new(held);
    let blocks = doing(async move |_| {
        let _ = held.lock().unwrap().recv();
        Ok(())
    });
    let (said, _) = read(blocks.limit(Duration::from_millis(50)), json!({"order": 7})).await;
    assert_eq!(said, "the tool did not return within 0.05 s");
    drop(hold);
}

#[tokio::test]
async fn fifty_megabytes_are_not_passed_on() {
    let large = doing(async |_| Ok(vec!["x".repeat(1 << 20); 50]));
    let (said, _) = read(large, json!({"order": 7})).await;
    assert_eq!(
        said,
        "the tool's answer is larger than the 1048576 bytes it may have: ask for less"
    );
    let large = doing(async |_| Ok("x".repeat(2 << 20)));
    let (said, _) = read(large, json!({"order": 7})).await;
    assert!(said.contains("larger than"), "{said}");
}

#[tokio::test]
async fn arguments_that_do_not_fit_are_told_and_run_nothing() {
    for (input, told) in [
        (json!({}), "\"order\" is a required property"),
        (
            json!({"order": "7"}),
            "\"7\" is not of type \"integer\" at /order",
        ),
        (
            json!({"order": 0}),
            "0 is less than the minimum of 1 at /order",
        ),
    ] {
        let log = Ran::default();
        let (said, _) = read(lookup(&log), input).await;
        assert_eq!(said, format!("the arguments do not fit: {told}"));
        assert!(ran(&log).is_empty());
    }
}

/// Says that it is a number, and reads a text.
#[derive(Deserialize)]
struct Liar {
    order: String,
}

impl JsonSchema for Liar {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Liar".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Lookup::json_schema(generator)
    }
}

#[tokio::test]
async fn where_the_schema_lies_the_model_reads_that_and_nothing_runs() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let noting = Arc::clone(&log);
    let lies = Tool::new("lies", "Lies.", async move |args: Liar, _: ToolCall| {
        noting.lock().unwrap().push(args.order);
        Ok("read")
    });
    let (said, _) = read(lies, json!({"order": 7})).await;
    assert_eq!(
        said,
        "the arguments do not fit: invalid type: integer `7`, expected a string"
    );
    assert_eq!(log.lock().unwrap().len(), 0);
}

/// A call that runs until it is dropped, and what can be seen of it.
#[derive(Clone, Default)]
struct Running {
    begun: Arc<Notify>,
    dropped: CancellationToken,
    cancelled: Arc<Mutex<Option<CancellationToken>>>,
}

impl Running {
    fn tool(&self) -> Tool {
        let this = self.clone();
        Tool::new("wait", "Waits.", async move |_: Lookup, call: ToolCall| {
            let _dropped = this.dropped.clone().drop_guard();
            *this.cancelled.lock().unwrap() = Some(call.cancelled.clone());
            this.begun.notify_one();
            std::future::pending::<Result<(), _>>().await
        })
    }

    async fn begun(&self) {
        let begun = tokio::time::timeout(PATIENCE, self.begun.notified());
        begun.await.expect("the tool was not called");
    }

    async fn is_dropped(&self) {
        let dropped = tokio::time::timeout(PATIENCE, self.dropped.cancelled());
        dropped.await.expect("the call runs on");
        assert!(
            self.cancelled
                .lock()
                .unwrap()
                .as_ref()
                .unwrap()
                .is_cancelled()
        );
    }
}

#[tokio::test]
async fn a_cancelled_turn_cancels_what_it_called() {
    let running = Running::default();
    let test = desk(
        [Step::mcp("app_wait", json!({"order": 7}))],
        [running.tool()],
    )
    .await;
    let turn = test.submit("go").await;
    let working = test.work(turn);
    running.begun().await;
    test.host.cancel(turn, None).await.unwrap();
    running.is_dropped().await;
    let result = test.finished(turn, working).await;
    assert_eq!(result.status, TurnStatus::Cancelled);
    assert_eq!(test.recorder.named("tool.called")[0]["outcome"], "cut off");
}

#[tokio::test]
async fn a_turn_that_is_given_back_cuts_off_what_it_called_and_the_model_reads_that() {
    let running = Running::default();
    let steps = [
        Step::mcp("app_wait", json!({"order": 7})),
        Step::gate("read"),
        Step::text("Then."),
    ];
    let test = desk(steps, [running.tool()]).await;
    let turn = test.submit("go").await;
    let shutdown = CancellationToken::new();
    let (worker, over) = (test.worker.clone(), shutdown.clone());
    let working = tokio::spawn(async move { worker.run_turn(turn, over).await.unwrap() });
    running.begun().await;
    shutdown.cancel();
    running.is_dropped().await;
    working.await.unwrap();
    test.impostor.gate("read").reached().await.unwrap();
    test.impostor.gate("read").open();
    let result = test.finished(turn, test.work(turn)).await;
    assert_ended(&result, TurnStatus::Completed, None, "Then.");
    let said = error_read(&test, &result);
    assert!(said.starts_with("this call was cut off"), "{said}");
}

#[tokio::test]
async fn a_call_that_the_server_gives_up_is_cut_off() {
    let running = Running::default();
    let call = Step::mcp_delivered(
        "app_wait",
        json!({"order": 7}),
        Delivery::GivenUp("late".to_owned()),
    );
    let test = desk([call, Step::text("Then.")], [running.tool()]).await;
    let turn = test.submit("go").await;
    let working = test.work(turn);
    running.begun().await;
    test.impostor.gate("late").open();
    running.is_dropped().await;
    let result = test.finished(turn, working).await;
    assert_ended(&result, TurnStatus::Completed, None, "Then.");
}
