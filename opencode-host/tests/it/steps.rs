//! Every step of a turn goes wrong once: each call of the store fails before it
//! acts, or after, or is the last that its process makes; each request to the
//! server is lost, or its answer is, or it is answered with an error page. After
//! each the same holds: one terminal state, one `turn.finished`, the prompt ran
//! once, the content is whole or the error is honest, and nothing is left over.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use opencode_client::wire::Prompt;
use opencode_client::{Client, HubOptions, QuestionId};
use opencode_host::budget::{Allowance, Budget, Dollars, Period, Spent};
use opencode_host::clock::{ManualClock, Timestamp};
use opencode_host::id::{ConversationId, TurnId};
use opencode_host::store::{Account, MemoryStore, MessageStatus, Phase, Store, Tenant, TurnStatus};
use opencode_host::turn::TurnResult;
use opencode_host::{Host, SubmitOptions, Worker, WorkerOptions};
use opencode_impostor::{Action, Calls, Impostor, Outcome, Script, Step};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::faulty_store::{ALL_WRONGS, Fault, FaultyStore, Wrong};
use crate::hosting::{Builder, PATIENCE, killed, quick};
use crate::tools::{Desk, Ran, lookup};

/// So many stages are played at once.
const AT_ONCE: usize = 8;

/// What is asked, and what is done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Play {
    Text,
    Tools,
    Question,
    Cancel,
    /// The agent calls a tool of the application's.
    OwnTool,
    /// The server has lost the session of the turn before.
    Fresh,
    /// The server does not give the session's history any more once the answer has streamed.
    Unreadable,
    /// The same on 1.2.20, which keeps no metadata and fails where a message is absent.
    FreshOnOld,
}

const PLAYS: [Play; 7] = [
    Play::Text,
    Play::Tools,
    Play::Question,
    Play::Cancel,
    Play::OwnTool,
    Play::Fresh,
    Play::Unreadable,
];

impl Play {
    fn version(self) -> &'static str {
        match self {
            Self::FreshOnOld => "1.2.20",
            _ => "1.18.33",
        }
    }

    fn is_fresh(self) -> bool {
        matches!(self, Self::Fresh | Self::FreshOnOld)
    }

    fn script(self) -> Script {
        let read = |path: &str| Step::tool("read", json!({"filePath": path}), "alpha");
        Script::always(match self {
            Self::Text | Self::Fresh | Self::FreshOnOld => {
                vec![Step::text("Some words that are streamed in pieces.")]
            }
            Self::Unreadable => vec![
                Step::text("Some words that are streamed in pieces."),
                Step::BreakHistory,
            ],
            Self::Tools => vec![
                Step::text("First."),
                read("/a"),
                read("/b"),
                Step::text("Then."),
            ],
            Self::OwnTool => vec![
                Step::text("First."),
                Step::mcp("app_lookup", json!({"order": 7})),
                Step::text("Then."),
            ],
            Self::Question => vec![
                Step::text("First."),
                Step::question("Go on?", ["Yes", "No"]),
                Step::text("Then."),
            ],
            Self::Cancel => vec![
                Step::text("Some words"),
                Step::gate("never"),
                Step::text("no"),
            ],
        })
    }

    /// The whole text.
    fn text(self) -> &'static str {
        match self {
            Self::Text | Self::Fresh | Self::FreshOnOld | Self::Unreadable => {
                "Some words that are streamed in pieces."
            }
            Self::Tools | Self::Question | Self::OwnTool => "First.\n\nThen.",
            Self::Cancel => "Some words",
        }
    }
}

/// A server, the rows, and one turn.
struct Stage {
    play: Play,
    impostor: Impostor,
    clock: Arc<ManualClock>,
    store: Arc<dyn Store>,
    conversation: ConversationId,
    turn: TurnId,
    /// The calls of the application's tool.
    ran: Ran,
}

impl Stage {
    async fn set(play: Play) -> Self {
        let impostor = Impostor::builder()
            .script(play.script())
            .usage(0.4, 50, 20)
            .version(play.version());
        let impostor = impostor.start().await.unwrap();
        let clock = Arc::new(ManualClock::at(Timestamp(1_800_000_000_000)));
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
        let conversation = store
            .open_conversation(&Tenant::default(), "steps")
            .await
            .unwrap()
            .id;
        let mut stage = Self {
            play,
            impostor,
            clock,
            store,
            conversation,
            turn: TurnId::from_uuid(uuid::Uuid::nil()),
            ran: Ran::default(),
        };
        let (host, worker) = stage.host(Arc::clone(&stage.store));
        if play.is_fresh() {
            stage.earlier(&host, &worker).await;
        }
        let submitted = host
            .submit(conversation, Prompt::text("go"), SubmitOptions::default())
            .await;
        stage.turn = submitted.unwrap().turn.id;
        stage
    }

    /// A turn before this one, whose session the server has lost since.
    async fn earlier(&self, host: &Host, worker: &Worker) {
        let submitted = host
            .submit(
                self.conversation,
                Prompt::text("earlier"),
                SubmitOptions::default(),
            )
            .await;
        let turn = submitted.unwrap().turn.id;
        worker
            .run_turn(turn, CancellationToken::new())
            .await
            .unwrap();
        let result = host.result(turn).await.unwrap().unwrap();
        self.impostor.forget(result.session.unwrap().as_str());
    }

    fn host(&self, store: Arc<dyn Store>) -> (Host, Worker) {
        let client = Client::builder(self.impostor.url())
            .timeout(Duration::from_secs(5))
            .build()
            .unwrap();
        let hub = HubOptions {
            connect_timeout: Duration::from_secs(2),
            ..HubOptions::default()
        };
        let mut options: WorkerOptions = quick();
        // Long enough for an error page of each kind to be asked again.
        options.limits.unreachable = Duration::from_secs(10);
        options.limits.pace.confirm = Duration::from_millis(50);
        options.limits.pace.unseen = Duration::from_millis(100);
        options.limits.pace.lost = Duration::from_millis(100);
        options.limits.pace.silence = Duration::from_millis(300);
        let builder = Builder::new(client, store)
            .options(options)
            .worker(|worker| worker.hub_options(hub))
            .shared_folder();
        let builder = if self.play == Play::OwnTool {
            builder.product(Desk::with([lookup(&self.ran)]))
        } else if self.play == Play::Tools {
            // The first step uses up what is reserved at first.
            let month = Allowance::UNLIMITED.cost(Dollars::cents(1000));
            builder.budgets(Budget::default().tenant(month, Period::Month))
        } else {
            builder
        };
        builder.build().unwrap()
    }

    /// What the person does meanwhile: answers, or stops it. For ever.
    async fn person(&self) {
        match self.play {
            Play::Text
            | Play::Tools
            | Play::OwnTool
            | Play::Fresh
            | Play::FreshOnOld
            | Play::Unreadable => {}
            Play::Question => {
                let client = Client::builder(self.impostor.url()).build().unwrap();
                let asked = |ledger: &opencode_impostor::Ledger| {
                    ledger.questions().first().map(|id| (*id).to_owned())
                };
                let question = self.impostor.wait_until(asked).await.unwrap();
                let answers = [vec!["Yes".to_owned()]];
                client
                    .answer_question(&QuestionId::from(question), &answers)
                    .await
                    .unwrap();
            }
            Play::Cancel => {
                self.impostor.gate("never").reached().await.unwrap();
                self.store.request_cancel(self.turn, None).await.unwrap();
            }
        }
        std::future::pending::<()>().await;
    }

    /// Works until the turn is settled, or the process dies: its tasks end
    /// with its runtime.
    async fn work(&self, fault: &Arc<Fault>) {
        let faulty = FaultyStore {
            below: Arc::clone(&self.store),
            fault: Arc::clone(fault),
        };
        let (_, worker) = self.host(Arc::new(faulty));
        let process = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        process.spawn(async move { worker.run(CancellationToken::new()).await });
        let settled = async {
            while !self.is_settled().await {
                // Whoever lost the turn to a fault gets it back in time.
                self.clock.advance(Duration::from_millis(500));
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            () = settled => {}
            () = fault.died.notified() => {}
        }
        killed(process).await;
    }

    async fn is_settled(&self) -> bool {
        let turn = self.store.turn(self.turn).await.unwrap().unwrap();
        matches!(turn.phase(), Phase::Finished { settled: true, .. })
    }

    /// One process after the other works on the turn, until it is settled.
    async fn play(&self, fault: Arc<Fault>) -> TurnResult {
        let seen = async {
            let mut fault = fault;
            loop {
                self.work(&fault).await;
                if self.is_settled().await {
                    break;
                }
                // The dead one's lease runs out; the next process has no fault.
                self.clock.advance(Duration::from_secs(60));
                fault = Fault::at(usize::MAX, Wrong::Before);
            }
        };
        let playing = async {
            tokio::select! {
                () = seen => {}
                () = self.person() => {}
            }
        };
        tokio::time::timeout(PATIENCE, playing)
            .await
            .unwrap_or_else(|_| {
                panic!(
                    "{:?} does not end: {:?}",
                    self.play,
                    self.impostor.ledger().requests()
                )
            });
        let (host, _) = self.host(Arc::clone(&self.store));
        host.result(self.turn).await.unwrap().unwrap()
    }

    /// What holds however the turn went.
    async fn holds(&self, result: &TurnResult, what: &str) {
        let events = self.store.turn_events(self.turn).await.unwrap();
        let finished = events.iter().filter(|event| event.name == "turn.finished");
        assert_eq!(finished.count(), 1, "{what}");
        let message = self.store.message(result.message).await.unwrap().unwrap();
        assert_eq!(message.status, MessageStatus::from(result.status), "{what}");

        let account = Account::Conversation(self.conversation);
        let spending = self.store.spending(&account, Timestamp(0)).await.unwrap();
        assert_eq!(spending.reserved, Spent::default(), "{what}");
        if self.play == Play::Tools {
            let cost = Dollars::new(result.answer.usage.cost).unwrap();
            assert_eq!(spending.used.cost, cost, "{what}");
        }

        let ledger = self.impostor.ledger();
        let ids: std::collections::BTreeSet<_> = ledger
            .prompt_posts()
            .iter()
            .filter(|post| post.text == "go")
            .map(|post| post.message_id.clone())
            .collect();
        assert!(ids.len() <= 1, "{what}: prompted as {ids:?}");
        assert!(
            ids.iter().all(|id| ledger.model_runs(id) <= 1),
            "{what}: ran more than once"
        );
        // A worker that dies at a call costs the call, and no more.
        let ran = self.ran.lock().unwrap().len();
        assert!(ran <= 1, "{what}: the tool ran {ran} times");
        let row = self.store.conversation(self.conversation).await.unwrap();
        let session = row.unwrap().session.map(|session| session.id.to_string());
        let told = self.play.is_fresh();
        let messages = self
            .impostor
            .messages(session.as_deref().unwrap_or_default());
        let of_user = messages
            .iter()
            .filter(|message| message["info"]["role"] == "user");
        assert_eq!(
            of_user.count(),
            1 + usize::from(told),
            "{what}: {messages:?}"
        );
        let alive = ledger.sessions_alive();
        assert!(
            alive.iter().all(|alive| Some(*alive) == session.as_deref()),
            "{what}: left over: {alive:?}, the row has {session:?}"
        );
        if self.play == Play::Unreadable && result.status == TurnStatus::Error {
            // Whoever heard the end of the answer has died before it was written down.
            let reason = result.answer.reason.map(|reason| reason.as_str());
            assert_eq!(
                reason,
                Some("upstream"),
                "{what}: {:?}",
                result.answer.error
            );
            let kept = result.answer.parts.is_empty()
                || self.play.text().starts_with(&result.answer.content);
            assert!(kept, "{what}: {}", result.answer.content);
            self.impostor.assert_clean();
            return;
        }
        let wanted = if self.play == Play::Cancel {
            TurnStatus::Cancelled
        } else {
            TurnStatus::Completed
        };
        assert_eq!(
            (result.status, result.answer.content.as_str()),
            (wanted, self.play.text()),
            "{what}: {:?}",
            result.answer.error
        );
        self.impostor
            .wait_for(|ledger| ledger.busy().is_empty())
            .await
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        self.impostor.assert_clean();
    }
}

/// The calls of a turn in which nothing goes wrong.
async fn undisturbed(play: Play) -> (usize, Vec<String>) {
    let stage = Stage::set(play).await;
    let fault = Fault::at(usize::MAX, Wrong::Before);
    let result = stage.play(Arc::clone(&fault)).await;
    stage.holds(&result, "undisturbed").await;
    let ran = stage.ran.lock().unwrap().len();
    assert_eq!(ran, usize::from(play == Play::OwnTool));
    let names = fault.names();
    let bounded = play == Play::Tools;
    assert_eq!(names.contains(&"reserve"), bounded, "{names:?}");
    // Noted with what is saved of an answer meanwhile, and that is a matter of time.
    assert!(bounded || !names.contains(&"spent"), "{names:?}");
    for step in [
        "claim",
        "lock_session",
        "set_session",
        "prompt",
        "finish",
        "settle",
    ] {
        assert!(names.contains(&step), "{play:?}: no {step} in {names:?}");
    }
    let ledger = stage.impostor.ledger();
    let requests = ledger.requests().iter();
    let requests = requests
        .filter(|request| matches!(request.outcome, Outcome::Answered(_)))
        .map(|request| endpoint(&request.method, &request.path));
    (names.len(), requests.collect())
}

/// The path with its ids replaced.
fn endpoint(method: &str, path: &str) -> String {
    let segments = path.split('/').map(|segment| {
        if ["ses_", "msg_", "que_", "per_"]
            .iter()
            .any(|kind| segment.starts_with(kind))
        {
            "*"
        } else {
            segment
        }
    });
    format!("{method} {}", segments.collect::<Vec<_>>().join("/"))
}

async fn every_call_of_the_store(play: Play) {
    let (calls, _) = undisturbed(play).await;
    for wrong in ALL_WRONGS {
        // Checkpoints come by the clock: some more than there were.
        let spoiled = (0..calls + 2).map(|number| async move {
            let stage = Stage::set(play).await;
            let fault = Fault::at(number, wrong);
            let result = stage.play(Arc::clone(&fault)).await;
            let names = fault.names();
            let what = format!("{play:?}, {wrong:?} at {number}: {:?}", names.get(number));
            stage.holds(&result, &what).await;
        });
        stream::iter(spoiled)
            .buffer_unordered(AT_ONCE)
            .collect::<()>()
            .await;
    }
}

async fn every_request(play: Play) {
    let (_, requests) = undisturbed(play).await;
    let mut counted = std::collections::BTreeMap::<String, u64>::new();
    for request in requests {
        // Answers of the person are not the driver's.
        if !request.contains("/reply") {
            *counted.entry(request).or_default() += 1;
        }
    }
    assert!(counted.len() >= 5, "{counted:?}");
    let actions = [Action::LoseRequest, Action::LoseResponse, Action::html(502)];
    let mut spoiled = Vec::new();
    for (endpoint, calls) in &counted {
        for call in 1..=*calls {
            for action in &actions {
                spoiled.push(async move {
                    let stage = Stage::set(play).await;
                    let what = format!("{play:?}: {endpoint}, call {call}, {action:?}");
                    stage
                        .impostor
                        .faults()
                        .request(endpoint, Calls::Nth(call), action.clone());
                    let result = stage.play(Fault::at(usize::MAX, Wrong::Before)).await;
                    stage.holds(&result, &what).await;
                });
            }
        }
    }
    stream::iter(spoiled)
        .buffer_unordered(AT_ONCE)
        .collect::<()>()
        .await;
}

#[tokio::test]
async fn every_call_of_the_store_goes_wrong_once() {
    for play in PLAYS {
        every_call_of_the_store(play).await;
    }
}

#[tokio::test]
async fn every_request_goes_wrong_once() {
    for play in PLAYS {
        every_request(play).await;
    }
}

#[tokio::test]
async fn every_call_of_the_store_goes_wrong_once_on_an_old_server() {
    every_call_of_the_store(Play::FreshOnOld).await;
}

#[tokio::test]
async fn every_request_goes_wrong_once_on_an_old_server() {
    every_request(Play::FreshOnOld).await;
}

/// Whichever call fails: who waits for a turn waits until its files and hooks are done.
#[tokio::test]
async fn a_turn_that_is_worked_on_alone_is_settled_in_the_end() {
    let (calls, _) = undisturbed(Play::Text).await;
    for number in 0..calls + 2 {
        let stage = Stage::set(Play::Text).await;
        let fault = Fault::at(number, Wrong::Before);
        let faulty = FaultyStore {
            below: Arc::clone(&stage.store),
            fault: Arc::clone(&fault),
        };
        let (_, worker) = stage.host(Arc::new(faulty));
        let working = worker.run_turn(stage.turn, CancellationToken::new());
        let time_passes = async {
            loop {
                stage.clock.advance(Duration::from_millis(500));
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let worked = async {
            tokio::select! {
                worked = working => worked,
                () = time_passes => unreachable!(),
            }
        };
        let worked = tokio::time::timeout(PATIENCE, worked).await;
        let what = format!("{number}: {:?}", fault.names().get(number));
        worked.expect(&what).expect(&what);
        assert!(stage.is_settled().await, "{what}");
    }
}
