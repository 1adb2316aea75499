//! Endpoints are told what happened, for certain and each by itself, whatever they answer and whatever dies.

mod receiver;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use opencode_client::wire::Prompt;
use opencode_client::{PermissionId, wire::PermissionReply};
use opencode_host::clock::{Clock as _, ManualClock, Timestamp};
use opencode_host::product::{HookError, Product, TurnContext, Verdict};
use opencode_host::store::{Effect, EffectKind, MemoryStore, Metadata, Store, Tenant, TurnStatus};
use opencode_host::webhooks::{Endpoints, Webhook, WebhookEvent, Webhooks};
use opencode_host::{SubmitOptions, WorkerOptions};
use opencode_impostor::{Impostor, Script, Step};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::receiver::{Answer, Receiver, secret};
use crate::faulty_store::{Fault, FaultyStore};
use crate::hosting::{Builder, Hosting, PATIENCE, killed, quick};

/// The endpoints of a test, which may be others later, or not to be had.
#[derive(Clone, Debug, Default)]
struct Told(Arc<Mutex<Vec<Webhook>>>);

impl Told {
    fn new(webhooks: impl IntoIterator<Item = Webhook>) -> Self {
        let told = Self::default();
        told.0.lock().unwrap().extend(webhooks);
        told
    }

    fn webhooks(&self) -> Webhooks {
        let webhooks = Webhooks::builder(self.clone()).allow_private("127.0.0.1");
        webhooks.timeout(PATIENCE * 2).build().unwrap()
    }
}

#[async_trait]
impl Endpoints for Told {
    async fn of(&self, tenant: &Tenant) -> Result<Vec<Webhook>, HookError> {
        let webhooks = self.0.lock().unwrap().clone();
        webhooks.of(tenant).await
    }
}

fn webhook(name: &str, receiver: &Receiver) -> Webhook {
    Webhook::new(name, &receiver.url, secret()).unwrap()
}

/// A product that lets no turn begin.
struct Refusing;

#[async_trait]
impl Product for Refusing {
    async fn before_turn(&self, _: &TurnContext) -> Result<Verdict, HookError> {
        Ok(Verdict::Refuse("Not today.".to_owned()))
    }
}

/// A host whose store has a clock that stands still.
struct Stage {
    test: Hosting,
    clock: Arc<ManualClock>,
    told: Told,
}

impl Stage {
    async fn new(told: Told) -> Self {
        Self::with(told, [Step::text("Fine.")], quick(), |builder| builder).await
    }

    async fn with(
        told: Told,
        steps: impl IntoIterator<Item = Step>,
        options: WorkerOptions,
        adjust: impl FnOnce(Builder) -> Builder,
    ) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp(1_800_000_000_000)));
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
        let steps: Vec<_> = steps.into_iter().collect();
        let impostor = Impostor::scripted(Script::always(steps));
        let test = Hosting::new(impostor.await.unwrap()).await;
        let acme = Tenant::from("acme");
        let conversation = store.open_conversation(&acme, "test").await;
        let test = Hosting {
            conversation: conversation.unwrap().id,
            store: Arc::clone(&store),
            ..test
        };
        let webhooks = told.webhooks();
        let test = test.rebuilt(store, options, |builder| {
            adjust(builder).worker(|worker| worker.webhooks(webhooks))
        });
        Self { test, clock, told }
    }

    async fn effects(&self) -> Vec<Effect> {
        self.test.store.effects(99).await.unwrap()
    }

    /// The effects that are not done, once this holds of them.
    async fn when(&self, holds: impl Fn(&[Effect]) -> bool) -> Vec<Effect> {
        let looking = async {
            loop {
                let effects = self.effects().await;
                if holds(&effects) {
                    return effects;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let Ok(found) = tokio::time::timeout(PATIENCE, looking).await else {
            panic!("{:#?}", self.effects().await)
        };
        found
    }

    /// Waits until a try of the one effect left has failed, and is due again after this pause.
    async fn failed(&self, attempt: u32, pause: Duration) -> Effect {
        let due_at = Some(self.clock.now().after(pause));
        let failed = |effects: &[Effect]| matches!(effects, [effect] if effect.attempts == attempt && effect.due_at == due_at);
        self.when(failed).await.remove(0)
    }

    async fn all_done(&self) {
        self.when(<[Effect]>::is_empty).await;
    }

    fn at_work(&self) -> AtWork {
        let (worker, shutdown) = (self.test.worker.clone(), CancellationToken::new());
        let stop = shutdown.clone();
        let working = tokio::spawn(async move { worker.run(stop).await.unwrap() });
        AtWork { shutdown, working }
    }
}

/// A worker at work, until it is told to stop.
struct AtWork {
    shutdown: CancellationToken,
    working: tokio::task::JoinHandle<()>,
}

impl AtWork {
    async fn stop(self) {
        self.shutdown.cancel();
        let stopped = tokio::time::timeout(PATIENCE, self.working).await;
        stopped.unwrap().unwrap();
    }
}

#[tokio::test]
async fn each_endpoint_is_told_what_it_wants_without_what_was_said() {
    let (all, ends, strangers) = (
        Receiver::new().await,
        Receiver::new().await,
        Receiver::new().await,
    );
    let told = Told::new([
        webhook("all", &all),
        webhook("ends", &ends).events([WebhookEvent::TurnFinished]),
        webhook("strangers", &strangers).of("globex"),
    ]);
    let stage = Stage::new(told).await;
    let (host, store) = (&stage.test.host, &stage.test.store);
    let noted = Metadata::try_from(json!({"ticket": 42})).unwrap();
    store
        .set_metadata(stage.test.conversation, &noted)
        .await
        .unwrap();
    let at_work = stage.at_work();
    let options = SubmitOptions {
        metadata: Metadata::try_from(json!({"page": "home"})).unwrap(),
        ..SubmitOptions::default()
    };
    let submitted = host.submit(stage.test.conversation, Prompt::text("go"), options);
    let turn = submitted.await.unwrap().turn;
    let [event] = &all.heard(1).await[..] else {
        panic!()
    };
    assert_eq!(event.body["type"], "turn.finished");
    assert_eq!(event.body["timestamp"], "2027-01-15T08:00:00.000Z");
    let conversation =
        json!({"id": stage.test.conversation, "name": "test", "metadata": {"ticket": 42}});
    let mut expected = json!({"tenant": "acme", "conversation": conversation, "turn": {
        "id": turn.id, "message": turn.message, "metadata": {"page": "home"}, "status": "completed",
    }});
    for measured in ["duration_ms", "usage"] {
        let value = event.body["data"]["turn"][measured].clone();
        assert!(!value.is_null(), "{measured}: {}", event.body);
        expected["turn"][measured] = value;
    }
    assert_eq!(event.body["data"], expected);
    assert_eq!(event.timestamp, "1800000000");
    event.verify(1_800_000_000);
    stage.all_done().await;
    assert!(
        host.delete_conversation(stage.test.conversation)
            .await
            .unwrap()
    );
    let events = all.heard(2).await;
    assert_eq!(events[1].body["type"], "conversation.deleted");
    assert_eq!(
        events[1].body["data"],
        json!({"tenant": "acme", "conversation": conversation})
    );
    events[1].verify(1_800_000_000);
    stage.all_done().await;
    at_work.stop().await;
    let ids: Vec<_> = [&all, &ends].iter().flat_map(|on| on.ids()).collect();
    assert_eq!(ids.len(), 3, "each of its own: {ids:?}");
    assert_ne!(ids[0], ids[2], "endpoints do not share an id");
    assert_eq!(strangers.ids(), [] as [String; 0]);
    assert_eq!(ends.ids().len(), 1);
}

#[tokio::test]
async fn a_receiver_that_fails_five_times_has_it_the_sixth_time() {
    let receiver = Receiver::answering([500, 503, 404, 302, 401].map(Answer::Status)).await;
    let stage = Stage::new(Told::new([webhook("billing", &receiver)])).await;
    stage.test.turn("go").await;
    let at_work = stage.at_work();
    for (attempt, status) in (1..).zip(["500", "503", "404", "302", "401"]) {
        let pause = Duration::from_secs(1 << (attempt - 1));
        let effect = stage.failed(attempt, pause).await;
        let error = effect.error.unwrap();
        assert!(error.contains(status), "{error}");
        assert!(!error.contains("127.0.0.1"), "{error}");
        stage.clock.advance(pause);
    }
    stage.all_done().await;
    at_work.stop().await;
    let ids = receiver.ids();
    assert_eq!(ids, vec![ids[0].clone(); 6], "one id in all tries");
    let received = receiver.received();
    let bodies: Vec<_> = received.iter().map(|event| &event.body).collect();
    assert_eq!(bodies, vec![bodies[0]; 6]);
    // Each try is signed for its own moment.
    received[5].verify(1_800_000_031);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Receiver::new().await;
    let answer = Answer::Redirect(elsewhere.url.clone());
    let receiver = Receiver::answering([answer]).await;
    let stage = Stage::new(Told::new([webhook("billing", &receiver)])).await;
    stage.test.turn("go").await;
    let at_work = stage.at_work();
    let effect = stage.failed(1, Duration::from_secs(1)).await;
    let error = effect.error.unwrap();
    assert!(
        error.contains("307") && error.contains("not followed"),
        "{error}"
    );
    stage.clock.advance(Duration::from_secs(1));
    stage.all_done().await;
    at_work.stop().await;
    assert_eq!((receiver.ids().len(), elsewhere.ids().len()), (2, 0));
}

#[tokio::test]
async fn a_receiver_says_when_it_is_to_be_tried_again_within_bounds() {
    let answers =
        ["30", "0", "999999999", "tomorrow", "-5"].map(|after| Answer::Later(after.to_owned()));
    let receiver = Receiver::answering(answers).await;
    let stage = Stage::new(Told::new([webhook("billing", &receiver)])).await;
    stage.test.turn("go").await;
    let at_work = stage.at_work();
    for (attempt, pause) in (1..).zip([30, 2, 4 * 3600, 8, 16]) {
        let pause = Duration::from_secs(pause);
        stage.failed(attempt, pause).await;
        stage.clock.advance(pause);
    }
    stage.all_done().await;
    at_work.stop().await;
}

#[tokio::test]
async fn a_receiver_that_wants_no_more_is_given_up_at_once_and_told_again_when_told() {
    let receiver = Receiver::answering([Answer::Status(410)]).await;
    let stage = Stage::new(Told::new([webhook("billing", &receiver)])).await;
    stage.test.turn("go").await;
    let at_work = stage.at_work();
    let given_up = |effects: &[Effect]| matches!(effects, [effect] if effect.is_given_up());
    let effect = stage.when(given_up).await.remove(0);
    assert_eq!(effect.attempts, 1);
    assert_eq!(effect.kind.to_string(), "webhook turn.finished to billing");
    let host = &stage.test.host;
    let listed = host.store().given_up_effects(9).await.unwrap();
    assert_eq!(listed, std::slice::from_ref(&effect));
    assert!(host.retry_effect(effect.id).await.unwrap());
    stage.all_done().await;
    at_work.stop().await;
    assert_eq!(receiver.ids(), vec![effect.id.to_string(); 2]);
}

/// More of them than a worker sends to one address at once.
#[tokio::test]
async fn a_receiver_that_hangs_delays_neither_other_endpoints_nor_turns() {
    let hanging = Receiver::answering(vec![Answer::Nothing; 20]).await;
    let other = Receiver::new().await;
    let told = Told::new([webhook("hanging", &hanging), webhook("other", &other)]);
    let stage = Stage::new(told).await;
    let (host, store) = (&stage.test.host, &stage.test.store);
    let at_work = stage.at_work();
    for number in 0..20 {
        let (tenant, name) = (Tenant::default(), number.to_string());
        let made = store.open_conversation(&tenant, &name).await.unwrap();
        let submitted = host.submit(made.id, Prompt::text("go"), SubmitOptions::default());
        let turn = submitted.await.unwrap().turn.id;
        let settled = tokio::time::timeout(PATIENCE, host.settled(turn)).await;
        assert_eq!(settled.unwrap().unwrap().status, TurnStatus::Completed);
    }
    other.heard(20).await;
    let heard = hanging.heard(4).await.len();
    assert_eq!(heard, 4, "no more than so many at once");
    let left = stage.when(|effects| effects.len() == 20).await;
    let to_hanging = |effect: &Effect| matches!(&effect.kind, EffectKind::Webhook { endpoint, .. } if endpoint == "hanging");
    assert!(left.iter().all(to_hanging), "{left:?}");
    at_work.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_told_nothing() {
    let receiver = Receiver::answering([Answer::Status(500)]).await;
    let stage = Stage::new(Told::new([webhook("billing", &receiver)])).await;
    stage.test.turn("go").await;
    let at_work = stage.at_work();
    stage.failed(1, Duration::from_secs(1)).await;
    stage.told.0.lock().unwrap().clear();
    stage.clock.advance(Duration::from_secs(1));
    stage.all_done().await;
    at_work.stop().await;
    assert_eq!(receiver.ids().len(), 1);
}

/// Endpoints that cannot be looked up hold up no deletion; they are told when they can be.
#[tokio::test]
async fn endpoints_that_are_not_to_be_had_are_told_later() {
    #[derive(Clone)]
    struct Away(Told, Arc<Mutex<u32>>);
    #[async_trait]
    impl Endpoints for Away {
        async fn of(&self, tenant: &Tenant) -> Result<Vec<Webhook>, HookError> {
            {
                let mut left = self.1.lock().unwrap();
                if *left > 0 {
                    *left -= 1;
                    return Err("the database is away".into());
                }
            }
            self.0.of(tenant).await
        }
    }
    let receiver = Receiver::new().await;
    let away = Away(
        Told::new([webhook("billing", &receiver)]),
        Arc::new(Mutex::new(1)),
    );
    let webhooks = Webhooks::builder(away)
        .allow_private("127.0.0.1")
        .build()
        .unwrap();
    let stage = Stage::with(Told::default(), [Step::text("Fine.")], quick(), |builder| {
        builder
    })
    .await;
    let store = Arc::clone(&stage.test.store);
    let test = stage.test.rebuilt(store, quick(), |builder| {
        builder.worker(|worker| worker.webhooks(webhooks))
    });
    let stage = Stage { test, ..stage };
    stage.test.turn("go").await;
    let at_work = stage.at_work();
    let effect = stage.failed(1, Duration::from_secs(1)).await;
    assert_eq!(effect.error.as_deref(), Some("the database is away"));
    let EffectKind::TurnEnd { called, told, .. } = &effect.kind else {
        panic!("{effect:?}")
    };
    assert!(
        called.on_finalized && called.on_turn_finished && !told,
        "{effect:?}"
    );
    stage.clock.advance(Duration::from_secs(1));
    stage.all_done().await;
    at_work.stop().await;
    assert_eq!(receiver.ids().len(), 1);
}

#[tokio::test]
async fn turns_that_never_began_are_told_too() {
    let receiver = Receiver::new().await;
    let told = Told::new([webhook("billing", &receiver)]);
    let stage = Stage::with(told, [], quick(), |builder| builder.product(Refusing)).await;
    let cancelled = stage.test.submit("go").await;
    let reason = Some("by ada");
    stage.test.host.cancel(cancelled, reason).await.unwrap();
    let refused = stage.test.submit("go").await;
    let at_work = stage.at_work();
    let mut received = receiver.heard(2).await;
    stage.all_done().await;
    at_work.stop().await;
    received.sort_by_key(|event| event.body["data"]["turn"]["status"].to_string());
    let turns: Vec<_> = received
        .iter()
        .map(|event| {
            let turn = &event.body["data"]["turn"];
            [
                &turn["id"],
                &turn["status"],
                &turn["reason"],
                &turn["cancel_reason"],
            ]
            .map(Clone::clone)
        })
        .collect();
    let expected = [
        [
            json!(cancelled),
            json!("cancelled"),
            json!("cancelled"),
            json!("by ada"),
        ],
        [
            json!(refused),
            turns[1][1].clone(),
            json!("refused"),
            json!(null),
        ],
    ];
    assert_eq!(turns, expected);
}

#[tokio::test]
async fn what_an_agent_asks_is_told_once_while_it_waits() {
    let receiver = Receiver::new().await;
    let told = Told::new([webhook("pager", &receiver)]);
    let steps = [
        Step::ask_bash("cat /etc/secret", "hi\n"),
        Step::text("Done."),
    ];
    let stage = Stage::with(told, steps, quick(), |builder| builder).await;
    let at_work = stage.at_work();
    let turn = stage.test.submit("go").await;
    let asked = receiver.heard(1).await.remove(0);
    assert_eq!(asked.body["type"], "request.asked");
    let request = asked.body["data"]["request"].clone();
    assert_eq!(
        (&request["kind"], &request["permission"]),
        (&json!("permission"), &json!("bash"))
    );
    assert_eq!(asked.body["data"]["turn"]["id"], json!(turn));
    assert!(!asked.body.to_string().contains("/etc"), "{}", asked.body);
    stage.all_done().await;
    // Another worker takes the turn over while the person thinks: the request is told again under no other id.
    at_work.stop().await;
    let at_work = stage.at_work();
    let again = receiver.heard(2).await.remove(1);
    assert_eq!(
        (&again.id, &again.body["data"]),
        (&asked.id, &asked.body["data"])
    );
    let request = PermissionId::from(request["id"].as_str().unwrap());
    let host = &stage.test.host;
    host.reply_permission(turn, &request, PermissionReply::Once, None)
        .await
        .unwrap();
    let received = receiver.heard(3).await;
    stage.all_done().await;
    at_work.stop().await;
    let types: Vec<_> = received
        .iter()
        .map(|event| event.body["type"].as_str().unwrap())
        .collect();
    assert_eq!(types, ["request.asked", "request.asked", "turn.finished"]);
}

/// Where a process dies.
#[derive(Clone, Copy, Debug)]
enum Dies {
    BetweenEndAndSettle,
    BehindSettle,
    BeforeItIsNoted,
    BehindThat,
    BehindTheDelivery,
}

#[tokio::test]
async fn a_process_that_dies_between_end_and_delivery_loses_none() {
    for dies in [
        Dies::BetweenEndAndSettle,
        Dies::BehindSettle,
        Dies::BeforeItIsNoted,
        Dies::BehindThat,
        Dies::BehindTheDelivery,
    ] {
        let receiver = Receiver::new().await;
        let told = Told::new([webhook("billing", &receiver)]);
        let stage = Stage::new(told.clone()).await;
        let turn = stage.test.submit("go").await;
        let fault = match dies {
            Dies::BetweenEndAndSettle => Fault::dies_at("settle"),
            Dies::BehindSettle => Fault::dies_behind("settle"),
            Dies::BeforeItIsNoted => Fault::dies_at("follow_effect"),
            Dies::BehindThat => Fault::dies_behind("follow_effect"),
            Dies::BehindTheDelivery => Fault::dies_at("settle_effect"),
        };
        let dying = FaultyStore {
            below: Arc::clone(&stage.test.store),
            fault: Arc::clone(&fault),
        };
        let client = stage.test.worker.client().clone();
        let (_, worker) = Builder::new(client, Arc::new(dying))
            .options(quick())
            .shared_folder()
            .worker(|worker| worker.webhooks(told.webhooks()))
            .build()
            .unwrap();
        // A runtime of its own, so that all of the worker ends at once.
        let doomed = tokio::runtime::Runtime::new().unwrap();
        doomed.spawn(async move { worker.run(CancellationToken::new()).await });
        let died = tokio::time::timeout(PATIENCE, fault.died.notified()).await;
        assert!(died.is_ok(), "{dies:?}");
        killed(doomed).await;
        assert!(!stage.effects().await.is_empty(), "{dies:?}");
        // Its leases, on the turn and on what is owed, run out.
        stage.clock.advance(Duration::from_secs(600));
        let at_work = stage.at_work();
        stage.all_done().await;
        at_work.stop().await;
        let received = receiver.received();
        assert!(!received.is_empty(), "{dies:?}");
        for event in &received {
            assert_eq!(event.id, received[0].id, "{dies:?}");
            assert_eq!(event.body["data"]["turn"]["id"], json!(turn), "{dies:?}");
        }
    }
}
