//! What a host plugs in may panic or hang: it costs what it was called for, and neither the claim nor the turns behind.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use opencode_client::reply::{Change, Observer};
use opencode_client::wire::{ModelRef, PermissionRule};
use opencode_host::artifacts::{DefaultAttach, Transform};
use opencode_host::product::Verdict;
use opencode_host::sandbox::OwnConfiguration;
use opencode_host::store::Conversation;
use serde_json::{Map, Value};

use super::*;
use crate::faulty_store::{Fault, FaultyStore};

/// Its methods, and whether a turn can do without an answer.
const METHODS: [(&str, bool); 12] = [
    ("agent", false),
    ("model", false),
    ("system_context", false),
    ("permission_rules", false),
    ("session_title", false),
    ("before_turn", false),
    ("own_configuration", false),
    ("default_attach", false),
    ("transforms", false),
    ("directory", false),
    ("on_finalized", true),
    ("on_turn_finished", true),
];

/// Those that are not async, and have no error to return.
const AT_ONCE: [&str; 3] = ["own_configuration", "default_attach", "transforms"];

#[derive(Clone, Copy, Debug)]
enum How {
    Panics,
    /// Its thread is blocked.
    Blocks,
    /// It awaits what never comes, where it can.
    Waits,
    /// It returns an error.
    Fails,
}

/// A product with a mistake in one method.
#[derive(Debug)]
struct Broken {
    method: &'static str,
    how: How,
    /// Who blocks goes on when the test ends.
    hold: Mutex<Receiver<()>>,
}

impl Broken {
    fn new(method: &'static str, how: How) -> (Self, Sender<()>) {
        let (end, hold) = channel();
        let hold = Mutex::new(hold);
        (Self { method, how, hold }, end)
    }

    fn at(&self, method: &str) {
        if method == self.method {
            match self.how {
                How::Panics => panic!("a mistake in {method}"),
                How::Blocks | How::Waits | How::Fails => {
                    let _ = self.hold.lock().unwrap().recv();
                }
            }
        }
    }

    async fn awaited(&self, method: &str) -> Result<(), HookError> {
        match self.how {
            How::Waits if method == self.method => std::future::pending().await,
            How::Fails if method == self.method => Err("no database".into()),
            _ => {
                self.at(method);
                Ok(())
            }
        }
    }
}

#[async_trait]
impl Product for Broken {
    async fn agent(&self, _: &TurnContext) -> Result<Option<String>, HookError> {
        self.awaited("agent").await?;
        Ok(None)
    }

    async fn model(&self, _: &TurnContext) -> Result<Option<ModelRef>, HookError> {
        self.awaited("model").await?;
        Ok(None)
    }

    async fn system_context(&self, _: &TurnContext) -> Result<Option<String>, HookError> {
        self.awaited("system_context").await?;
        Ok(None)
    }

    async fn permission_rules(&self, _: &TurnContext) -> Result<Vec<PermissionRule>, HookError> {
        self.awaited("permission_rules").await?;
        Ok(Vec::new())
    }

    async fn before_turn(&self, _: &TurnContext) -> Result<Verdict, HookError> {
        self.awaited("before_turn").await?;
        Ok(Verdict::Go)
    }

    async fn session_title(&self, _: &TurnContext) -> Result<Option<String>, HookError> {
        self.awaited("session_title").await?;
        Ok(None)
    }

    fn own_configuration(&self, _: &Conversation) -> OwnConfiguration {
        self.at("own_configuration");
        OwnConfiguration::Keep
    }

    fn default_attach(&self, _: &Conversation) -> DefaultAttach {
        self.at("default_attach");
        DefaultAttach::All
    }

    fn transforms(&self, _: &Conversation) -> Vec<Arc<dyn Transform>> {
        self.at("transforms");
        Vec::new()
    }

    async fn directory(&self, _: &TurnContext) -> Result<Option<String>, HookError> {
        self.awaited("directory").await?;
        Ok(None)
    }

    async fn on_finalized(&self, _: &Message, _: &Exchange, _: &Delivery) -> Result<(), HookError> {
        self.awaited("on_finalized").await?;
        Ok(())
    }

    async fn on_turn_finished(&self, _: &TurnResult, _: &Delivery) -> Result<(), HookError> {
        self.awaited("on_turn_finished").await?;
        Ok(())
    }
}

async fn broken(method: &'static str, how: How) -> (Hosting, Sender<()>) {
    let impostor = Impostor::scripted(Script::always([Step::text("Fine.")]));
    let (product, end) = Broken::new(method, how);
    let mut options = quick();
    options.plug_in_limit = Duration::from_millis(match how {
        // On a busy machine a thread may take its time to start.
        How::Panics | How::Fails => 10_000,
        How::Blocks | How::Waits => 300,
    });
    let hosting = Hosting::with(impostor.await.unwrap(), options, |builder| {
        builder.product(product)
    });
    (hosting.await, end)
}

async fn costs_its_turn_alone(how: How, told: &str) {
    for (method, passed_over) in METHODS {
        if matches!(how, How::Fails) && AT_ONCE.contains(&method) {
            continue;
        }
        let (test, _end) = broken(method, how).await;
        // The second turn comes through although the first one failed.
        for _ in 0..2 {
            let result = test.turn("go").await;
            let status = match method {
                _ if passed_over => TurnStatus::Completed,
                "directory" => TurnStatus::Error,
                _ => TurnStatus::Failed,
            };
            assert_eq!(result.status, status, "{method}: {:?}", result.answer.error);
            let row = test.store.turn(result.turn).await.unwrap().unwrap();
            assert_eq!(row.generation, 1, "{method}: claimed once");
            if let Some(error) = result.answer.error {
                assert!(error.message.contains(told), "{method}: {error:?}");
                assert!(!error.message.contains("a mistake"), "{method}: {error:?}");
            }
        }
        let reported = test.recorder.named("reported");
        let of_it = |fields: &&Map<String, Value>| fields["error"].to_string().contains(told);
        assert!(
            reported.iter().any(|fields| of_it(&fields)),
            "{method}: {reported:?}"
        );
    }
}

#[tokio::test]
async fn a_product_that_panics_in_any_method_costs_its_turn_alone() {
    costs_its_turn_alone(How::Panics, "panicked").await;
}

#[tokio::test]
async fn a_product_that_blocks_in_any_method_costs_its_turn_alone() {
    costs_its_turn_alone(How::Blocks, "did not return within").await;
}

#[tokio::test]
async fn a_product_that_waits_for_ever_in_any_method_costs_its_turn_alone() {
    costs_its_turn_alone(How::Waits, "did not return within").await;
}

#[tokio::test]
async fn a_product_that_returns_an_error_costs_its_turn_alone() {
    costs_its_turn_alone(How::Fails, "no database").await;
}

/// An observer, broken or not, that counts the words it hears.
#[derive(Debug)]
struct Listener {
    how: Option<How>,
    heard: Sender<String>,
    hold: Mutex<Receiver<()>>,
}

impl Observer for Listener {
    fn changed(
        &mut self,
        change: &Change<'_>,
    ) -> Result<(), opencode_client::reply::ObserverError> {
        match self.how {
            Some(How::Panics) => panic!("a mistake in an observer"),
            Some(_) => {
                let _ = self.hold.lock().unwrap().recv();
            }
            None => {}
        }
        if let Change::PartDelta { delta, .. } = change {
            let _ = self.heard.send(delta.clone().into_owned());
        }
        Ok(())
    }
}

#[tokio::test]
async fn observers_hear_all_in_order_and_a_broken_one_holds_nothing_up() {
    for how in [None, Some(How::Panics), Some(How::Blocks)] {
        let impostor = Impostor::scripted(Script::always([Step::text("One two three four.")]));
        let (heard, hears) = channel();
        let (end, hold) = channel();
        let parts = Mutex::new(Some((heard, Mutex::new(hold))));
        let test = Hosting::with(impostor.await.unwrap(), quick(), |builder| {
            builder.worker(|worker| {
                worker.observer(move |_| {
                    let (heard, hold) = parts.lock().unwrap().take().unwrap();
                    Box::new(Listener { how, heard, hold })
                })
            })
        });
        let test = test.await;
        let result = test.turn("go").await;
        assert_ended(&result, TurnStatus::Completed, None, "One two three four.");
        drop(end);
        // Its thread ends with the changes.
        let told = tokio::task::spawn_blocking(move || hears.iter().collect::<String>());
        let told = told.await.unwrap();
        let panics = matches!(how, Some(How::Panics));
        assert_eq!(
            told,
            if panics { "" } else { "One two three four." },
            "{how:?}"
        );
        let reports = || {
            let reported = test.recorder.named("reported");
            let of_it = |fields: &&Map<String, Value>| fields["action"] == "observer";
            reported.iter().filter(of_it).count()
        };
        // Its thread tells that it panicked behind its end.
        let telling = async {
            while reports() < usize::from(panics) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, telling).await.unwrap();
        assert_eq!(reports(), usize::from(panics), "{how:?}");
    }
}

/// A tracer and reporter with a mistake.
#[derive(Clone, Debug)]
struct Mistaken;

impl opencode_host::tracer::Tracer for Mistaken {
    fn event(&self, name: &'static str, _: &Map<String, Value>) {
        panic!("a mistake at {name}")
    }
}

impl opencode_host::reporter::ErrorReporter for Mistaken {
    fn report(
        &self,
        error: &(dyn std::error::Error + 'static),
        _: bool,
        _: opencode_host::reporter::Severity,
        _: &Map<String, Value>,
    ) {
        panic!("a mistake at {error}")
    }
}

#[tokio::test]
async fn a_tracer_and_a_reporter_that_panic_cost_nothing() {
    let test = Hosting::new(
        Impostor::scripted(Script::always([Step::text("Fine.")]))
            .await
            .unwrap(),
    )
    .await;
    let (product, _end) = Broken::new("on_finalized", How::Panics);
    let store = Arc::clone(&test.store);
    let test = test.rebuilt(store, quick(), |builder| {
        builder.telemetry(Mistaken).product(product)
    });
    let turn = test.submit("go").await;
    tokio::time::timeout(PATIENCE, test.work(turn))
        .await
        .unwrap()
        .unwrap();
    let result = test.host.result(turn).await.unwrap().unwrap();
    assert_ended(&result, TurnStatus::Completed, None, "Fine.");
}

#[tokio::test]
async fn a_turn_whose_driver_panics_each_time_fails_after_the_attempts_allowed() {
    let impostor = Impostor::scripted(Script::always([Step::text("no")]));
    let mut options = quick();
    options.limits.attempts = 3;
    options.lease = Duration::from_millis(200);
    let test = Hosting::with(impostor.await.unwrap(), options.clone(), |builder| builder).await;
    let store = FaultyStore {
        below: Arc::clone(&test.store),
        fault: Fault::panics_at("lock_session"),
    };
    let test = test.rebuilt(Arc::new(store), options, |builder| builder);
    let result = test.turn("go").await;
    assert_eq!(result.status, TurnStatus::Failed);
    let turn = test.store.turn(result.turn).await.unwrap().unwrap();
    assert!(turn.generation >= 3, "{}", turn.generation);
}
