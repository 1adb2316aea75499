//! Two real servers on one store.

use opencode_host::placement::Placement;
use opencode_host::store::ServerName;
use opencode_host::{ServerOptions, WorkerOptions};
use opencode_impostor::Round;

use super::*;

/// Longer than a server that is busy is silent, on machines that are busy too.
const GONE_AFTER: Duration = Duration::from_secs(12);

/// Places each conversation on the server of its name.
struct Named {
    directory: String,
}

#[async_trait]
impl Product for Named {
    async fn placement(&self, turn: &TurnContext) -> Result<Placement, HookError> {
        // What has lost its place may go anywhere.
        Ok(match &turn.conversation.session {
            Some(_) => Placement::Any,
            None => Placement::Server(turn.conversation.name.parse()?),
        })
    }

    async fn directory(&self, _: &TurnContext) -> Result<Option<String>, HookError> {
        Ok(Some(self.directory.clone()))
    }
}

/// A worker of a server that works until it is dropped.
struct Node {
    upstream: Upstream,
    recorder: Recorder,
    host: Host,
    _ends: tokio_util::sync::DropGuard,
}

impl Node {
    async fn of(server: &str, store: &Arc<dyn Store>, directory: &str) -> Self {
        let gate = ModelScript::new().on(
            "[[hold]]",
            [Round::text("Half an answer").and_call(
                "bash",
                json!({"command": "sleep 600", "description": "Wait"}),
            )],
        );
        let script = gate.then(ModelScript::standard());
        let upstream = Upstream::start(script, json!({}), &[]).await;
        let recorder = Recorder::default();
        let directory = directory.to_owned();
        let options = WorkerOptions {
            server_gone_after: GONE_AFTER,
            ..WorkerOptions::default()
        };
        let named = ServerOptions::new(server).unwrap();
        let (host, worker) = Builder::new(upstream.client(), Arc::clone(store))
            .product(Named { directory })
            .recorder(&recorder)
            .options(options)
            .worker(|worker| worker.server(named))
            .product_folders()
            .build()
            .unwrap();
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        tokio::spawn(async move { worker.run(stop).await });
        Self {
            upstream,
            recorder,
            host,
            _ends: shutdown.drop_guard(),
        }
    }

    /// What its model was told with this prompt.
    fn told(&self, prompt: &str) -> Option<String> {
        let requests = self.upstream.model.requests();
        let with_tools = requests.iter().filter(|asked| asked["tools"].is_array());
        let mut told = with_tools.map(|asked| asked["messages"].to_string());
        told.find(|messages| messages.contains(prompt))
    }
}

async fn result(host: &Host, turn: TurnId) -> TurnResult {
    let waiting = async {
        loop {
            match host.result(turn).await.unwrap() {
                Some(result) => return result,
                None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    tokio::time::timeout(3 * PATIENCE, waiting)
        .await
        .expect("the turn did not end")
}

#[tokio::test]
async fn two_servers_answer_their_own_conversations_and_one_takes_over() {
    let home = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let directory = home.path().to_str().unwrap();
    let a = Node::of("a", &store, directory).await;
    let b = Node::of("b", &store, directory).await;
    let turn = async |conversation, text: &str| {
        let options = SubmitOptions::default();
        let submitted = a
            .host
            .submit(conversation, Prompt::text(text), options)
            .await;
        submitted.unwrap().turn.id
    };
    let mut conversations = Vec::new();
    for name in ["a", "b"] {
        let id = store
            .open_conversation(&Tenant::default(), name)
            .await
            .unwrap()
            .id;
        let first = turn(id, &format!("remember the word marmot-{name} [[text]]")).await;
        assert_ended(
            &result(&a.host, first).await,
            TurnStatus::Completed,
            None,
            UNICODE_TEXT,
        );
        conversations.push(id);
    }
    for (id, its, other, word) in [
        (conversations[0], &a, &b, "marmot-a"),
        (conversations[1], &b, &a, "marmot-b"),
    ] {
        let prompt = format!("which word was it, {word}? [[text]]");
        let second = turn(id, &prompt).await;
        assert_ended(
            &result(&a.host, second).await,
            TurnStatus::Completed,
            None,
            UNICODE_TEXT,
        );
        let told = its.told(&prompt).unwrap();
        assert!(
            told.contains(&format!("remember the word {word}")),
            "{told}"
        );
        assert_eq!(other.told(&prompt), None);
    }
    for node in [&a, &b] {
        assert_eq!(node.recorder.count("session.carried_over"), 0);
    }

    // The machine of one dies while it answers.
    let held = turn(conversations[1], "[[hold]]").await;
    let shown = async {
        let mut live = b.host.live(held, Cursor::START).await.unwrap();
        let mut text = String::new();
        while !text.contains("Half an answer") {
            let event = live.try_next().await.unwrap().unwrap();
            text = format!("{text}{event:?}");
        }
    };
    tokio::time::timeout(PATIENCE, shown).await.unwrap();
    let waits = turn(conversations[1], "and now? [[text]]").await;
    drop(b);
    let interrupted = result(&a.host, held).await;
    assert_ended(
        &interrupted,
        TurnStatus::Error,
        Some("interrupted"),
        "Half an answer",
    );
    assert_ended(
        &result(&a.host, waits).await,
        TurnStatus::Completed,
        None,
        UNICODE_TEXT,
    );
    let told = a.told("and now? [[text]]").unwrap();
    assert!(told.contains("remember the word marmot-b"), "{told}");
    let row = store.conversation(conversations[1]).await.unwrap().unwrap();
    assert_eq!(row.server.as_ref().map(ServerName::as_str), Some("a"));
    assert_eq!(a.recorder.count("conversation.moved"), 1);
}
