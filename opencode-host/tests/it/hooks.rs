//! What follows a turn follows it for certain: hooks are called until they have succeeded, whatever fails or dies.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use opencode_client::Exchange;
use opencode_client::wire::Prompt;
use opencode_host::clock::{Clock as _, ManualClock, Timestamp};
use opencode_host::id::{EffectId, TurnId};
use opencode_host::product::{Delivery, HookError, Product};
use opencode_host::store::{Effect, EffectKind, MemoryStore, Message, Store, Tenant, TurnStatus};
use opencode_host::turn::TurnResult;
use opencode_host::{SubmitOptions, WorkerOptions};
use opencode_impostor::{Impostor, Script, Step};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::faulty_store::{Fault, FaultyStore};
use crate::hosting::{Hosting, PATIENCE, killed, quick};

/// A call of a hook.
#[derive(Clone, Debug, PartialEq)]
struct Call {
    hook: &'static str,
    turn: TurnId,
    delivery: Delivery,
}

#[derive(Debug, Default)]
struct Heard {
    calls: Mutex<Vec<Call>>,
    exchanges: Mutex<Vec<Exchange>>,
    /// How many calls of a hook fail.
    failing: Mutex<HashMap<&'static str, u32>>,
    /// Which turns' hooks never return.
    hanging: Mutex<Vec<&'static str>>,
    called: Notify,
}

/// A product whose hooks tell that they were called.
#[derive(Clone, Debug, Default)]
struct Hooks(Arc<Heard>);

impl Hooks {
    fn failing(hook: &'static str, times: u32) -> Self {
        let hooks = Self::default();
        hooks.0.failing.lock().unwrap().insert(hook, times);
        hooks
    }

    fn hanging(hook: &'static str) -> Self {
        let hooks = Self::default();
        hooks.0.hanging.lock().unwrap().push(hook);
        hooks
    }

    async fn call(&self, call: Call) -> Result<(), HookError> {
        let hook = call.hook;
        self.0.calls.lock().unwrap().push(call);
        self.0.called.notify_waiters();
        if self.0.hanging.lock().unwrap().contains(&hook) {
            std::future::pending::<()>().await;
        }
        let mut failing = self.0.failing.lock().unwrap();
        match failing.get_mut(hook) {
            Some(left @ 1..) => {
                *left -= 1;
                Err("no disk".into())
            }
            _ => Ok(()),
        }
    }

    fn calls(&self) -> Vec<Call> {
        self.0.calls.lock().unwrap().clone()
    }

    /// The attempts that a hook was called with.
    fn attempts(&self, hook: &str) -> Vec<u32> {
        let calls = self.calls().into_iter();
        let of_it = calls.filter(|call| call.hook == hook);
        of_it.map(|call| call.delivery.attempt).collect()
    }

    /// Waits until there were so many calls.
    async fn heard(&self, count: usize) {
        let hearing = async {
            loop {
                let called = self.0.called.notified();
                tokio::pin!(called);
                called.as_mut().enable();
                if self.calls().len() >= count {
                    return;
                }
                called.await;
            }
        };
        let heard = tokio::time::timeout(PATIENCE, hearing).await;
        heard.unwrap_or_else(|_| panic!("{count} calls are missing: {:?}", self.calls()));
    }
}

#[async_trait]
impl Product for Hooks {
    async fn on_finalized(
        &self,
        message: &Message,
        exchange: &Exchange,
        delivery: &Delivery,
    ) -> Result<(), HookError> {
        self.0.exchanges.lock().unwrap().push(exchange.clone());
        self.call(Call {
            hook: "on_finalized",
            turn: message.turn,
            delivery: *delivery,
        })
        .await
    }

    async fn on_turn_finished(
        &self,
        result: &TurnResult,
        delivery: &Delivery,
    ) -> Result<(), HookError> {
        self.call(Call {
            hook: "on_turn_finished",
            turn: result.turn,
            delivery: *delivery,
        })
        .await
    }
}

/// A host whose store has a clock that stands still.
struct Stage {
    test: Hosting,
    clock: Arc<ManualClock>,
    hooks: Hooks,
}

impl Stage {
    async fn new(hooks: Hooks, options: WorkerOptions) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp(1_800_000_000_000)));
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
        let impostor = Impostor::scripted(Script::always([Step::text("Fine.")]));
        let test = Hosting::new(impostor.await.unwrap()).await;
        let conversation = store.open_conversation(&Tenant::default(), "test").await;
        let test = Hosting {
            conversation: conversation.unwrap().id,
            store: Arc::clone(&store),
            ..test
        };
        let product = hooks.clone();
        let test = test.rebuilt(store, options, |builder| builder.product(product));
        Self { test, clock, hooks }
    }

    async fn effects(&self) -> Vec<Effect> {
        self.test.store.effects(99).await.unwrap()
    }

    /// The one effect that is not done, once this holds of it.
    async fn effect_when(&self, holds: impl Fn(&Effect) -> bool) -> Effect {
        let looking = async {
            loop {
                if let [effect] = &self.effects().await[..]
                    && holds(effect)
                {
                    return effect.clone();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, looking).await.unwrap()
    }

    /// Waits until a try has failed, and the next one is due after this pause.
    async fn failed(&self, attempt: u32, pause: Duration) -> Effect {
        let due_at = Some(self.clock.now().after(pause));
        let failed = |effect: &Effect| effect.attempts == attempt && effect.due_at == due_at;
        let effect = self.effect_when(failed).await;
        assert_eq!(effect.error.as_deref(), Some("no disk"));
        effect
    }

    async fn all_done(&self) {
        let looking = async {
            while !self.effects().await.is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let done = tokio::time::timeout(PATIENCE, looking).await;
        assert!(done.is_ok(), "{:?}", self.effects().await);
    }

    fn at_work(&self) -> AtWork {
        AtWork::new(&self.test)
    }

    /// A turn that was worked on to its end.
    async fn turn(&self) -> TurnResult {
        self.test.turn("go").await
    }
}

/// A worker at work, until it is told to stop.
struct AtWork {
    shutdown: CancellationToken,
    working: tokio::task::JoinHandle<()>,
}

impl AtWork {
    fn new(test: &Hosting) -> Self {
        let (worker, shutdown) = (test.worker.clone(), CancellationToken::new());
        let stop = shutdown.clone();
        let working = tokio::spawn(async move { worker.run(stop).await.unwrap() });
        Self { shutdown, working }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.working)
            .await
            .unwrap()
            .unwrap();
    }
}

#[tokio::test]
async fn a_hook_that_fails_five_times_is_called_the_sixth_time() {
    let stage = Stage::new(Hooks::failing("on_turn_finished", 5), quick()).await;
    let result = stage.turn().await;
    assert_eq!(result.status, TurnStatus::Completed);
    let at_work = stage.at_work();
    for attempt in 1..=5 {
        let pause = Duration::from_secs(1 << (attempt - 1));
        let effect = stage.failed(attempt, pause).await;
        stage
            .clock
            .advance(pause.saturating_sub(Duration::from_millis(1)));
        let taken = stage.test.store.take_effect(
            opencode_host::store::Take::This(effect.id),
            Duration::from_secs(1),
        );
        assert_eq!(taken.await.unwrap(), None, "it is not due yet");
        stage.clock.advance(Duration::from_millis(1));
    }
    stage.all_done().await;
    at_work.stop().await;
    assert_eq!(stage.hooks.attempts("on_turn_finished"), [1, 2, 3, 4, 5, 6]);
    assert_eq!(
        stage.hooks.attempts("on_finalized"),
        [1],
        "what has succeeded is not called again"
    );
    let ids: Vec<EffectId> = stage
        .hooks
        .calls()
        .iter()
        .map(|call| call.delivery.id)
        .collect();
    assert_eq!(ids, vec![result.turn.into(); 7]);
    let traced = stage.test.recorder.named("callback.error");
    assert_eq!(traced.len(), 5);
    assert_eq!(traced[4]["attempt"], 5);
}

#[tokio::test]
async fn each_hook_is_called_until_it_has_succeeded_itself() {
    let stage = Stage::new(Hooks::failing("on_finalized", 1), quick()).await;
    stage.turn().await;
    let at_work = stage.at_work();
    stage.failed(1, Duration::from_secs(1)).await;
    stage.clock.advance(Duration::from_secs(1));
    stage.all_done().await;
    at_work.stop().await;
    assert_eq!(stage.hooks.attempts("on_finalized"), [1, 2]);
    assert_eq!(stage.hooks.attempts("on_turn_finished"), [1]);
}

#[tokio::test]
async fn a_hook_that_fails_too_often_is_given_up_and_called_again_when_told() {
    let options = WorkerOptions {
        hook_attempts: 3,
        ..quick()
    };
    let stage = Stage::new(Hooks::failing("on_turn_finished", 4), options).await;
    let result = stage.turn().await;
    let at_work = stage.at_work();
    for attempt in 1..=2 {
        let pause = Duration::from_secs(attempt.into());
        stage.failed(attempt, pause).await;
        stage.clock.advance(pause);
    }
    let given_up = stage.effect_when(Effect::is_given_up).await;
    assert_eq!(
        (given_up.attempts, given_up.error.as_deref()),
        (3, Some("no disk"))
    );
    assert_eq!(
        given_up.kind.to_string(),
        format!("hooks of turn {}", result.turn)
    );
    let reader = stage.test.host.store();
    assert_eq!(
        reader.given_up_effects(9).await.unwrap(),
        std::slice::from_ref(&given_up)
    );
    stage.clock.advance(Duration::from_secs(1_000_000));
    let reported = stage.test.recorder.named("reported");
    let action = Some(&"effect.given_up.hooks".into());
    let told = reported
        .iter()
        .filter(|report| report.get("action") == action);
    assert_eq!(told.count(), 1, "{reported:?}");
    // Its round of tries begins anew: the fourth fails, the fifth does not.
    assert!(stage.test.host.retry_effect(given_up.id).await.unwrap());
    assert!(!stage.test.host.retry_effect(given_up.id).await.unwrap());
    let effect = stage.failed(4, Duration::from_secs(1)).await;
    assert!(!effect.is_given_up());
    stage.clock.advance(Duration::from_secs(1));
    stage.all_done().await;
    at_work.stop().await;
    assert_eq!(stage.hooks.attempts("on_turn_finished"), [1, 2, 3, 4, 5]);
}

/// More of them than a worker calls at once.
#[tokio::test]
async fn hooks_that_hang_hold_up_neither_turns_nor_deletions() {
    let stage = Stage::new(Hooks::hanging("on_finalized"), quick()).await;
    let (host, store) = (&stage.test.host, &stage.test.store);
    let at_work = stage.at_work();
    let mut conversations = vec![stage.test.conversation; 2];
    for number in 0..20 {
        let (tenant, name) = (Tenant::default(), number.to_string());
        let made = store.open_conversation(&tenant, &name).await;
        conversations.push(made.unwrap().id);
    }
    for conversation in &conversations {
        let submitted = host.submit(*conversation, Prompt::text("go"), SubmitOptions::default());
        let turn = submitted.await.unwrap().turn.id;
        let settled = tokio::time::timeout(PATIENCE, host.settled(turn)).await;
        assert_eq!(settled.unwrap().unwrap().status, TurnStatus::Completed);
    }
    stage.hooks.heard(16).await;
    let gone = store.open_conversation(&Tenant::default(), "gone").await;
    let gone = gone.unwrap().id;
    // As another process does it, which has no worker.
    let elsewhere = opencode_host::Host::builder(Arc::clone(store)).build();
    assert!(elsewhere.delete_conversation(gone).await.unwrap());
    let is_deletion = |effect: &Effect| matches!(effect.kind, EffectKind::Deletion { .. });
    let deleting = async {
        while stage.effects().await.iter().any(is_deletion) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, deleting).await.unwrap();
    assert_eq!(stage.hooks.calls().len(), 16, "none has returned");
    at_work.stop().await;
}

/// Where a process dies.
#[derive(Clone, Copy, Debug)]
enum Dies {
    BetweenEndAndSettle,
    BehindSettle,
    InTheHook,
    BehindTheHook,
}

#[tokio::test]
async fn a_process_that_dies_between_end_and_hook_loses_none() {
    for dies in [
        Dies::BetweenEndAndSettle,
        Dies::BehindSettle,
        Dies::InTheHook,
        Dies::BehindTheHook,
    ] {
        let hooks = match dies {
            Dies::InTheHook => Hooks::hanging("on_finalized"),
            _ => Hooks::default(),
        };
        let stage = Stage::new(hooks.clone(), quick()).await;
        let turn = stage.test.submit("go").await;
        let fault = match dies {
            Dies::BetweenEndAndSettle => Fault::dies_at("settle"),
            Dies::BehindSettle => Fault::dies_behind("settle"),
            Dies::InTheHook => Fault::never(),
            Dies::BehindTheHook => Fault::dies_at("settle_effect"),
        };
        let dying = FaultyStore {
            below: Arc::clone(&stage.test.store),
            fault: Arc::clone(&fault),
        };
        let product = hooks.clone();
        let client = stage.test.worker.client().clone();
        let (_, worker) = crate::hosting::Builder::new(client, Arc::new(dying))
            .options(quick())
            .shared_folder()
            .product(product)
            .build()
            .unwrap();
        // A runtime of its own, so that all of the worker ends at once.
        let doomed = tokio::runtime::Runtime::new().unwrap();
        doomed.spawn(async move { worker.run(CancellationToken::new()).await });
        match dies {
            Dies::InTheHook => hooks.heard(1).await,
            _ => tokio::time::timeout(PATIENCE, fault.died.notified())
                .await
                .unwrap(),
        }
        killed(doomed).await;
        hooks.0.hanging.lock().unwrap().clear();
        let before = hooks.calls().len();
        assert_eq!(stage.effects().await.len(), 1, "{dies:?}");

        // Its leases, on the turn and on what the end owes, run out.
        stage.clock.advance(Duration::from_secs(600));
        let at_work = stage.at_work();
        stage.all_done().await;
        at_work.stop().await;
        let calls = hooks.calls().split_off(before);
        let names: Vec<_> = calls.iter().map(|call| call.hook).collect();
        assert_eq!(names, ["on_finalized", "on_turn_finished"], "{dies:?}");
        let id = EffectId::from(turn);
        assert!(hooks.calls().iter().all(|call| call.delivery.id == id));
        let result = stage.test.host.result(turn).await.unwrap().unwrap();
        assert_eq!(result.answer.content, "Fine.", "{dies:?}");
        // From the server, as the worker is gone that heard it.
        let exchanges = hooks.0.exchanges.lock().unwrap().clone();
        for exchange in &exchanges {
            assert_eq!(exchange.messages.len(), 1, "{dies:?}");
            assert!(exchange.prompt_seen && exchange.cost() > 0.0, "{dies:?}");
            assert_eq!(exchange, &exchanges[0], "{dies:?}");
        }
    }
}

#[tokio::test]
async fn a_server_that_is_gone_leaves_the_hook_what_the_store_has() {
    let stage = Stage::new(Hooks::failing("on_finalized", 1), quick()).await;
    let result = stage.turn().await;
    let client = stage.test.worker.client().clone();
    let (_, other) = crate::hosting::Builder::new(client, Arc::clone(&stage.test.store))
        .options(quick())
        .shared_folder()
        .product(stage.hooks.clone())
        .build()
        .unwrap();
    stage.test.impostor.kill().await;
    stage.clock.advance(Duration::from_secs(1));
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let working = tokio::spawn(async move { other.run(stop).await });
    stage.all_done().await;
    shutdown.cancel();
    working.await.unwrap().unwrap();
    assert_eq!(stage.hooks.attempts("on_finalized"), [1, 2]);
    let exchanges = stage.hooks.0.exchanges.lock().unwrap().clone();
    let prompt = result.prompt.unwrap();
    for exchange in &exchanges {
        let parents = exchange.messages.iter();
        let mut parents = parents.map(|message| message.info.parent_id.clone());
        assert!(parents.all(|parent| parent.is_none_or(|parent| parent == prompt)));
    }
    assert_eq!(exchanges.len(), 2);
}

#[tokio::test]
async fn hooks_of_a_deleted_conversation_are_not_called() {
    let stage = Stage::new(Hooks::failing("on_finalized", 1), quick()).await;
    stage.turn().await;
    let gone = stage.test.host.delete_conversation(stage.test.conversation);
    assert!(gone.await.unwrap());
    stage.clock.advance(Duration::from_secs(600));
    let at_work = stage.at_work();
    stage.all_done().await;
    at_work.stop().await;
    assert_eq!(stage.hooks.attempts("on_finalized"), [1]);
}

/// Waits until it is told to go on.
#[derive(Clone, Debug, Default)]
struct Slow {
    begun: Arc<Notify>,
    goes_on: Arc<Notify>,
    done: Arc<Mutex<u32>>,
}

#[async_trait]
impl Product for Slow {
    async fn on_turn_finished(&self, _: &TurnResult, _: &Delivery) -> Result<(), HookError> {
        self.begun.notify_one();
        self.goes_on.notified().await;
        *self.done.lock().unwrap() += 1;
        Ok(())
    }
}

#[tokio::test]
async fn a_worker_that_shuts_down_lets_a_hook_come_to_its_end() {
    let impostor = Impostor::scripted(Script::always([Step::text("Fine.")]));
    let slow = Slow::default();
    let test = Hosting::with_product(impostor.await.unwrap(), slow.clone()).await;
    let at_work = AtWork::new(&test);
    test.submit("go").await;
    tokio::time::timeout(PATIENCE, slow.begun.notified())
        .await
        .unwrap();
    at_work.shutdown.cancel();
    slow.goes_on.notify_one();
    at_work.stop().await;
    assert_eq!(*slow.done.lock().unwrap(), 1);
    assert_eq!(test.store.effects(9).await.unwrap(), []);
}
