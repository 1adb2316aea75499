//! The application's own tools, called by a real server.

use std::sync::Mutex as Log;

use opencode_client::reply::{PersistedPart, ToolStatus};
use opencode_host::WorkerOptions;
use opencode_host::tools::{Tool, ToolCall, ToolSet, schemars};
use opencode_impostor::Round;

use super::*;
use crate::hosting::killed;

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[schemars(crate = "opencode_host::tools::schemars")]
struct Lookup {
    /// The number on the order.
    order: u32,
}

/// Who ran what: the process, the tenant, the order.
type Ran = Arc<Log<Vec<(&'static str, String, u32)>>>;

/// The conversations of `with` have tools; each has a folder of its own.
struct Desk {
    home: PathBuf,
    process: &'static str,
    ran: Ran,
}

#[async_trait]
impl Product for Desk {
    async fn directory(&self, turn: &TurnContext) -> Result<Option<String>, HookError> {
        let directory = self.home.join(&turn.conversation.name);
        std::fs::create_dir_all(&directory)?;
        Ok(Some(directory.to_str().unwrap().to_owned()))
    }

    async fn tools(&self, turn: &TurnContext) -> Result<ToolSet, HookError> {
        if turn.conversation.name == "without" {
            return Ok(ToolSet::new());
        }
        let (process, ran) = (self.process, Arc::clone(&self.ran));
        let lookup = async move |args: Lookup, call: ToolCall| {
            ran.lock()
                .unwrap()
                .push((process, call.tenant().to_string(), args.order));
            if args.order == 0 {
                return Err("there is no order 0".into());
            }
            Ok(format!("order {} is shipped", args.order))
        };
        let slow = async |_: Lookup, _: ToolCall| {
            std::future::pending::<()>().await;
            Ok(())
        };
        Ok(ToolSet::new()
            .tool(Tool::new("lookup", "Looks an order up.", lookup))
            .tool(Tool::new("slow", "Takes for ever.", slow).limit(Duration::from_millis(300))))
    }
}

fn script() -> ModelScript {
    let lookup = |order: u32| Round::call("app_lookup", json!({"order": order}));
    let held = |order: u32, gate: &str| Round {
        gate: Some(gate.to_owned()),
        ..lookup(order).saying("Looking.")
    };
    ModelScript::new()
        .on("[[once]]", [lookup(7), Round::text("Shipped.")])
        .on(
            "[[two]]",
            [
                lookup(1).and_call("app_lookup", json!({"order": 2})),
                Round::text("Both."),
            ],
        )
        .on("[[zero]]", [lookup(0), Round::text("None.")])
        .on(
            "[[odd]]",
            [
                Round::call("app_lookup", json!({"order": "x"})),
                Round::text("Odd."),
            ],
        )
        .on(
            "[[slow]]",
            [
                Round::call("app_slow", json!({"order": 1})),
                Round::text("Slow."),
            ],
        )
        .on(
            "[[over]]",
            [lookup(1), held(2, "over"), lookup(3), Round::text("Over.")],
        )
        .then(ModelScript::standard())
}

/// A host of one process, and its worker, on a store that others may have too.
fn process(upstream: &Upstream, store: &Arc<dyn Store>, product: Desk) -> (Host, Worker, Recorder) {
    let recorder = Recorder::default();
    let options = WorkerOptions {
        lease: Duration::from_secs(2),
        ..WorkerOptions::default()
    };
    let builder = Builder::new(upstream.client(), Arc::clone(store))
        .product(product)
        .recorder(&recorder)
        .options(options)
        .product_folders();
    let (host, worker) = builder.build().unwrap();
    (host, worker, recorder)
}

async fn submitted(host: &Host, tenant: &str, name: &str, text: &str) -> TurnId {
    let conversation = host
        .open_conversation(&Tenant::from(tenant), name)
        .await
        .unwrap();
    let submitted = host.submit(
        conversation.id,
        Prompt::text(text),
        SubmitOptions::default(),
    );
    submitted.await.unwrap().turn.id
}

async fn ended(host: &Host, worker: &Worker, turn: TurnId) -> TurnResult {
    let working = worker.run_turn(turn, CancellationToken::new());
    let working = tokio::time::timeout(PATIENCE, working).await;
    working.expect("the turn did not end").unwrap();
    host.result(turn).await.unwrap().unwrap()
}

/// The tools of an answer: name, how it ended, what was read.
fn tools(result: &TurnResult) -> Vec<(String, ToolStatus, String)> {
    let parts = result.answer.parts.iter().filter_map(|part| match part {
        PersistedPart::Tool(tool) => {
            let read = tool.output.clone().or_else(|| tool.error.clone());
            Some((tool.tool.clone(), tool.status, read.unwrap_or_default()))
        }
        _ => None,
    });
    parts.collect()
}

#[tokio::test]
async fn its_tools_are_called_once_by_the_right_tenants_agent_and_by_nobody_elses() {
    let upstream = &Upstream::start(script(), json!({}), &[]).await;
    let home = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let ran = Ran::default();
    let desk = |process| Desk {
        home: home.path().to_owned(),
        process,
        ran: Arc::clone(&ran),
    };
    let (host, worker, _) = process(upstream, &store, desk("first"));
    let taken = || std::mem::take(&mut *ran.lock().unwrap());
    let run = |process, tenant: &str, order| (process, tenant.to_owned(), order);

    // Two tenants, at once, on one server.
    let acme = submitted(&host, "acme", "orders", "[[once]]").await;
    let umbrella = submitted(&host, "umbrella", "theirs", "[[two]]").await;
    let (acme, umbrella) =
        tokio::join!(ended(&host, &worker, acme), ended(&host, &worker, umbrella));
    assert_ended(&acme, TurnStatus::Completed, None, "Shipped.");
    assert_ended(&umbrella, TurnStatus::Completed, None, "Both.");
    let completed = |order| {
        let said = format!("order {order} is shipped");
        ("app_lookup".to_owned(), ToolStatus::Completed, said)
    };
    assert_eq!(tools(&acme), [completed(7)]);
    assert_eq!(tools(&umbrella), [completed(1), completed(2)]);
    let mut all = taken();
    all.sort();
    let (acme, umbrella) = ("acme", "umbrella");
    assert_eq!(
        all,
        [
            run("first", acme, 7),
            run("first", umbrella, 1),
            run("first", umbrella, 2)
        ]
    );

    // A conversation that has none is not offered another's.
    let turn = submitted(&host, acme, "without", "[[once]]").await;
    let result = ended(&host, &worker, turn).await;
    assert_eq!(result.status, TurnStatus::Completed);
    let said = &tools(&result)[0].2;
    let none = "Model tried to call unavailable tool 'app_lookup'";
    assert!(said.contains(none), "{said}");
    assert_eq!(taken(), []);

    // What goes wrong is what the model reads.
    for (prompt, said, runs) in [
        ("[[zero]]", "there is no order 0", 1),
        (
            "[[odd]]",
            "the arguments do not fit: \"x\" is not of type \"integer\" at /order",
            0,
        ),
        ("[[slow]]", "the tool did not return within 0.3 s", 0),
    ] {
        let turn = submitted(&host, acme, "orders", prompt).await;
        let result = ended(&host, &worker, turn).await;
        assert_eq!(result.status, TurnStatus::Completed, "{prompt}");
        let tools = tools(&result);
        assert_eq!((tools[0].1, tools[0].2.as_str()), (ToolStatus::Error, said));
        assert_eq!(taken().len(), runs, "{prompt}");
    }

    // The server is started anew, and told again.
    upstream.restart().await;
    let turn = submitted(&host, acme, "orders", "again [[once]]").await;
    let result = ended(&host, &worker, turn).await;
    assert_eq!(tools(&result), [completed(7)]);
    assert_eq!(taken(), [run("first", acme, 7)]);
}

#[tokio::test]
async fn a_process_that_takes_a_turn_over_is_called_from_then_on() {
    let upstream = &Upstream::start(script(), json!({}), &[]).await;
    let home = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let ran = Ran::default();
    let desk = |process| Desk {
        home: home.path().to_owned(),
        process,
        ran: Arc::clone(&ran),
    };
    let doomed = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (host, worker, _) = process(upstream, &store, desk("first"));
    let turn = submitted(&host, "acme", "orders", "[[over]]").await;
    doomed.spawn(async move { worker.run_turn(turn, CancellationToken::new()).await });
    upstream.model.reached("over").await;
    killed(doomed).await;

    let (host, worker, recorder) = process(upstream, &store, desk("second"));
    let working = tokio::spawn({
        let worker = worker.clone();
        async move { worker.run_turn(turn, CancellationToken::new()).await }
    });
    let offered = async {
        let is_offer = |fields: &serde_json::Map<String, Value>| {
            fields["path"] == "/mcp" && fields["method"] == "POST"
        };
        while !recorder.named("request").iter().any(is_offer) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, offered)
        .await
        .expect("not offered");
    upstream.model.open("over");
    tokio::time::timeout(PATIENCE, working)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let result = host.result(turn).await.unwrap().unwrap();
    assert_eq!(
        result.status,
        TurnStatus::Completed,
        "{:?}",
        result.answer.error
    );
    let done = |order| (ToolStatus::Completed, format!("order {order} is shipped"));
    let read: Vec<_> = tools(&result)
        .into_iter()
        .map(|(_, status, said)| (status, said))
        .collect();
    // The tools of a step that runs are those of its beginning.
    let cut_off = (ToolStatus::Error, "Not connected".to_owned());
    assert_eq!(read, [done(1), cut_off, done(3)]);
    let run = |process, order| (process, "acme".to_owned(), order);
    assert_eq!(ran.lock().unwrap()[..], [run("first", 1), run("second", 3)]);
}
