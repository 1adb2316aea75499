//! Where the tools are is told before each prompt, and again where the server has forgotten it; only who was told may call.

use opencode_client::wire::Prompt;
use opencode_host::SubmitOptions;
use opencode_host::store::Tenant;
use opencode_impostor::Ledger;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::hosting::killed;

/// Where the tools were said to be, each time, and the header that a caller is to send.
fn told(ledger: &Ledger) -> Vec<(String, String)> {
    let added = ledger.requests_of("POST /mcp");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    added
        .iter()
        .map(|request| {
            let config = &request.body["config"];
            (
                text(&config["url"]),
                text(&config["headers"]["Authorization"]),
            )
        })
        .collect()
}

/// Calls `lookup` by hand; the answer, as it comes.
async fn call(url: &str, authorization: Option<&str>) -> String {
    let (address, path) = url
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .unwrap();
    let body = json!({
        "jsonrpc": "2.0", "id": 99, "method": "tools/call",
        "params": {"name": "lookup", "arguments": {"order": 99}},
    })
    .to_string();
    let authorization = authorization.map(|value| format!("Authorization: {value}\r\n"));
    let request = format!(
        "POST /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\n{}Content-Length: {}\r\n\r\n{body}",
        authorization.unwrap_or_default(),
        body.len()
    );
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn only_the_token_of_the_turn_that_runs_opens_its_tools() {
    let log = Ran::default();
    let test = desk([Step::gate("hold")], [lookup(&log)]).await;
    let other = test
        .host
        .open_conversation(&Tenant::from("other"), "theirs")
        .await
        .unwrap();
    let submitted = test
        .host
        .submit(other.id, Prompt::text("go"), SubmitOptions::default());
    let theirs = submitted.await.unwrap().turn.id;
    let own = test.submit("go").await;
    let (working, beside) = (test.work(own), test.work(theirs));
    test.impostor
        .wait_for(|ledger| ledger.waiting_at("hold") == 2)
        .await
        .unwrap();
    let told = told(&test.impostor.ledger());
    let [(url, token), (elsewhere, their_token)] = &told[..] else {
        panic!("{told:?}");
    };
    assert_ne!(url, elsewhere);
    assert_ne!(token, their_token);
    let unknown = format!(
        "{}/{}",
        url.rsplit_once('/').unwrap().0,
        uuid::Uuid::new_v4()
    );
    for (url, authorization) in [
        (url, None),
        (url, Some("Bearer ")),
        (url, Some(their_token.as_str())),
        (url, Some(&token[..token.len() - 1])),
        (url, Some(token.trim_start_matches("Bearer "))),
        (&unknown, Some(token.as_str())),
    ] {
        let answer = call(url, authorization).await;
        assert!(
            answer.starts_with("HTTP/1.1 401"),
            "{authorization:?}: {answer}"
        );
    }
    assert!(ran(&log).is_empty());
    for (url, token) in &told {
        let answer = call(url, Some(token)).await;
        assert!(answer.contains("order 99: shipped"), "{answer}");
    }
    let mut names: Vec<_> = log
        .lock()
        .unwrap()
        .iter()
        .map(|(_, name, _)| name.clone())
        .collect();
    names.sort();
    assert_eq!(names, ["test", "theirs"]);
    test.impostor.gate("hold").open();
    test.finished(own, working).await;
    test.finished(theirs, beside).await;
    // And with its turn it ends.
    let answer = call(url, Some(token)).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert_eq!(ran(&log), [99, 99]);
}

#[tokio::test]
async fn the_token_is_neither_traced_nor_reported() {
    let test = desk(
        [Step::mcp("app_lookup", json!({"order": 7}))],
        [lookup(&Ran::default())],
    )
    .await;
    test.turn("go").await;
    let (_, token) = told(&test.impostor.ledger()).remove(0);
    let secret = token.trim_start_matches("Bearer ");
    assert_eq!(secret.len(), 64);
    let all = format!("{:?} {:?}", test.recorder, test.worker);
    assert!(!all.contains(&secret[..16]));
}

#[tokio::test]
async fn another_conversations_agent_has_no_such_tool() {
    struct Some1(ToolSet);

    #[async_trait]
    impl Product for Some1 {
        async fn directory(&self, turn: &TurnContext) -> Result<Option<String>, HookError> {
            Ok(Some(format!("/workspace/{}", turn.conversation.name)))
        }

        async fn tools(&self, turn: &TurnContext) -> Result<ToolSet, HookError> {
            let has = turn.conversation.name == "test";
            Ok(if has { self.0.clone() } else { ToolSet::new() })
        }
    }

    let log = Ran::default();
    let script = Script::always([Step::mcp("app_lookup", json!({"order": 7}))]);
    let impostor = Impostor::scripted(script).await.unwrap();
    let product = Some1(ToolSet::new().tool(lookup(&log)));
    let test = Hosting::with_product(impostor, product).await;
    test.turn("go").await;
    assert_eq!(ran(&log), [7]);
    let other = test
        .host
        .open_conversation(&Tenant::from("other"), "theirs")
        .await
        .unwrap();
    let submitted = test
        .host
        .submit(other.id, Prompt::text("go"), SubmitOptions::default());
    let turn = submitted.await.unwrap().turn.id;
    let result = test.finished(turn, test.work(turn)).await;
    assert_eq!(calls(&test, &result)[0].0, "invalid");
    assert_eq!(ran(&log), [7]);
}

#[tokio::test]
async fn a_server_that_was_started_anew_is_told_again_before_the_prompt_is_posted_again() {
    let log = Ran::default();
    let test = desk(
        [Step::mcp("app_lookup", json!({"order": 7}))],
        [lookup(&log)],
    )
    .await;
    // What it takes and does not write down dies with it.
    test.impostor.faults().hold_prompts("taken");
    let turn = test.submit("go").await;
    let working = test.work(turn);
    test.impostor
        .wait_for(|ledger| ledger.prompt_posts().len() == 1)
        .await
        .unwrap();
    test.impostor.restart().await.unwrap();
    test.impostor.gate("taken").open();
    let result = test.finished(turn, working).await;
    assert_eq!(result.status, TurnStatus::Completed, "{:?}", result.answer);
    assert_eq!(ran(&log), [7]);
    let told = told(&test.impostor.ledger());
    assert_eq!(told.len(), 2);
    assert_eq!(told[0], told[1], "it is the same claim");
}

#[tokio::test]
async fn a_server_that_forgot_them_under_a_running_turn_is_told_again() {
    let log = Ran::default();
    let steps = [
        Step::text("Half"),
        Step::gate("hold"),
        Step::mcp("app_lookup", json!({"order": 7})),
    ];
    let test = desk(steps, [lookup(&log)]).await;
    let turn = test.submit("go").await;
    let working = test.work(turn);
    test.impostor.gate("hold").reached().await.unwrap();
    test.impostor.forget_tools();
    test.impostor.drop_streams();
    test.impostor
        .wait_for(|ledger| {
            let told = ledger.requests_of("POST /mcp");
            told.len() == 2
                && told
                    .iter()
                    .all(|told| told.outcome != opencode_impostor::Outcome::Pending)
        })
        .await
        .unwrap();
    test.impostor.gate("hold").open();
    test.finished(turn, working).await;
    assert_eq!(ran(&log), [7]);
}

#[tokio::test]
async fn whoever_takes_a_running_turn_over_is_called_from_then_on() {
    let (first, second) = (Ran::default(), Ran::default());
    let steps = [
        Step::mcp("app_lookup", json!({"order": 1})),
        Step::gate("hold"),
        Step::mcp("app_lookup", json!({"order": 2})),
        Step::text("Both."),
    ];
    let options = || opencode_host::WorkerOptions {
        lease: Duration::from_millis(500),
        ..quick()
    };
    let impostor = Impostor::scripted(Script::always(steps)).await.unwrap();
    let product = Desk::with([lookup(&first)]);
    let test = Hosting::with(impostor, options(), |builder| builder.product(product)).await;
    let turn = test.submit("go").await;
    // A process of its own, which dies without a word.
    let doomed = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let worker = test.worker.clone();
    doomed.spawn(async move { worker.run_turn(turn, CancellationToken::new()).await });
    test.impostor.gate("hold").reached().await.unwrap();
    killed(doomed).await;
    let (store, product) = (Arc::clone(&test.store), Desk::with([lookup(&second)]));
    let test = test.rebuilt(store, options(), |builder| builder.product(product));
    let working = test.work(turn);
    test.impostor
        .wait_for(|ledger| {
            let told = ledger.requests_of("POST /mcp");
            told.len() == 2
                && told
                    .iter()
                    .all(|told| told.outcome != opencode_impostor::Outcome::Pending)
        })
        .await
        .unwrap();
    test.impostor.gate("hold").open();
    let result = test.finished(turn, working).await;
    assert_ended(&result, TurnStatus::Completed, None, "Both.");
    assert_eq!((ran(&first), ran(&second)), (vec![1], vec![2]));
    let told = told(&test.impostor.ledger());
    assert_ne!(told[0].1, told[1].1, "under a token of its own");
}
