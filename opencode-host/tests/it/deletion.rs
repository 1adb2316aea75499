//! A deleted conversation is gone outside the database too, for certain.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use opencode_client::wire::Prompt;
use opencode_host::clock::{Clock as _, ManualClock, Timestamp};
use opencode_host::sandbox::SandboxRoot;
use opencode_host::store::{Claim, Effect, MemoryStore, Store, Tenant};
use opencode_host::{Host, Retention, SubmitOptions, WorkerOptions};
use opencode_impostor::{Calls, Impostor, Script, Step};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::hosting::{Hosting, PATIENCE, quick};

/// A host with sandboxes, whose conversation has had one turn.
struct Used {
    test: Hosting,
    root: SandboxRoot,
    _home: TempDir,
}

impl Used {
    async fn on(store: Arc<dyn Store>) -> Self {
        let home = tempfile::tempdir().unwrap();
        let root = SandboxRoot::open(home.path().join("sandboxes")).unwrap();
        let impostor = Impostor::scripted(Script::always([Step::text("Fine.")]));
        let test = Hosting::new(impostor.await.unwrap()).await;
        let tenant = Tenant::default();
        let conversation = store.open_conversation(&tenant, "test").await.unwrap().id;
        let sandboxes = root.clone();
        let test = test.rebuilt(Arc::clone(&store), quick(), |builder| {
            builder.sandboxes(sandboxes)
        });
        let test = Hosting {
            store,
            conversation,
            ..test
        };
        test.turn("go").await;
        let used = Self {
            test,
            root,
            _home: home,
        };
        assert!(used.folder().exists() && used.sessions() == 1);
        used
    }

    fn folder(&self) -> PathBuf {
        let name = self.test.conversation.to_string();
        self.root.path().join(name)
    }

    fn sessions(&self) -> usize {
        self.test.impostor.ledger().sessions_alive().len()
    }

    async fn effects(&self) -> Vec<Effect> {
        self.test.host.store().effects(9).await.unwrap()
    }

    /// Works, until what is not done yet looks like this.
    async fn works_until(&self, is_there: impl Fn(&[Effect]) -> bool) {
        self.works_for(async {
            while !is_there(&self.effects().await) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    /// Works for as long as something is looked for.
    async fn works_for(&self, looking: impl Future<Output = ()>) {
        let (worker, shutdown) = (self.test.worker.clone(), CancellationToken::new());
        let stop = shutdown.clone();
        let working = tokio::spawn(async move { worker.run(stop).await });
        tokio::time::timeout(PATIENCE, looking).await.unwrap();
        shutdown.cancel();
        working.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_server_that_is_away_is_told_once_it_is_back() {
    let used = Used::on(Arc::new(MemoryStore::default())).await;
    let faults = used.test.impostor.faults();
    let away = faults.lose_request("DELETE /session/:id", Calls::All);
    let deleted = used.test.host.delete_conversation(used.test.conversation);
    assert!(deleted.await.unwrap());
    let known = used.test.store.conversation(used.test.conversation).await;
    assert_eq!(known.unwrap(), None, "its rows are gone at once");
    let [effect] = &used.effects().await[..] else {
        panic!("{:?}", used.effects().await)
    };
    assert_eq!(effect.attempts, 1);
    assert!(effect.error.is_some(), "{effect:?}");
    assert!(used.folder().exists(), "its agent may be at work there");
    used.works_until(|effects| effects[0].attempts >= 2).await;
    assert!(used.effects().await[0].error.is_some());
    assert_eq!(used.sessions(), 1);
    faults.remove(away);
    used.works_until(<[_]>::is_empty).await;
    assert_eq!((used.sessions(), used.folder().exists()), (0, false));
    let reports = used.test.recorder.named("reported");
    let told = |report: &&serde_json::Map<_, _>| report["action"] == "effect.deletion";
    assert!(reports.iter().any(|report| told(&report)), "{reports:?}");
}

#[tokio::test]
async fn a_session_that_the_server_has_lost_keeps_nothing() {
    let used = Used::on(Arc::new(MemoryStore::default())).await;
    used.test.impostor.kill().await;
    used.test.impostor.restart().await.unwrap();
    let gone = opencode_impostor::Action::error(404, "NotFoundError", "Session not found");
    let faults = used.test.impostor.faults();
    faults.request("DELETE /session/:id", Calls::All, gone);
    let deleted = used.test.host.delete_conversation(used.test.conversation);
    assert!(deleted.await.unwrap());
    assert_eq!(used.effects().await, []);
    assert!(!used.folder().exists());
}

#[tokio::test]
async fn another_process_does_what_one_without_a_worker_owes() {
    let used = Used::on(Arc::new(MemoryStore::default())).await;
    let front = Host::builder(Arc::clone(&used.test.store)).build();
    let deleted = front.delete_conversation(used.test.conversation).await;
    assert!(deleted.unwrap());
    assert_eq!(used.effects().await.len(), 1);
    assert_eq!((used.sessions(), used.folder().exists()), (1, true));
    used.works_until(<[_]>::is_empty).await;
    assert_eq!((used.sessions(), used.folder().exists()), (0, false));
}

/// A worker that has not heard of the deletion yet makes the folder anew; it is gone once that worker cannot be at it.
#[tokio::test]
async fn what_a_late_worker_makes_anew_goes_too() {
    let clock = Arc::new(ManualClock::at(Timestamp(1_800_000_000_000)));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
    let used = Used::on(Arc::clone(&store)).await;
    used.test.submit("more").await;
    let lease = Duration::from_secs(15);
    let claimed = store.claim(&Claim::new("late", lease)).await.unwrap();
    assert!(claimed.is_some());
    let deleted = used.test.host.delete_conversation(used.test.conversation);
    assert!(deleted.await.unwrap());
    assert_eq!((used.sessions(), used.folder().exists()), (0, false));
    let [effect] = &used.effects().await[..] else {
        panic!("{:?}", used.effects().await)
    };
    assert_eq!(
        (&effect.error, effect.due_at),
        (&None, Some(clock.now().after(lease)))
    );
    std::fs::create_dir(used.folder()).unwrap();
    clock.advance(lease);
    used.works_until(<[_]>::is_empty).await;
    assert!(!used.folder().exists());
}

#[tokio::test]
async fn what_nobody_has_used_for_long_enough_is_deleted() {
    let began = Timestamp(1_800_000_000_000);
    let clock = Arc::new(ManualClock::at(began));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
    let hour = Duration::from_secs(3600);
    let used = Used::on(Arc::clone(&store)).await;
    let (nobody, trial) = (Tenant::default(), Tenant::from("trial"));
    let open = async |tenant, name| store.open_conversation(tenant, name).await.unwrap().id;
    let busy = open(&nobody, "busy").await;
    used.test
        .host
        .submit(busy, Prompt::text("wait"), SubmitOptions::default())
        .await
        .unwrap();
    // Its worker is at it.
    store
        .claim(&Claim::new("elsewhere", 100 * hour))
        .await
        .unwrap()
        .unwrap();
    let of_trial = open(&trial, "old").await;
    clock.advance(hour);
    let (kept, young_trial) = (open(&nobody, "young").await, open(&trial, "young").await);
    clock.advance(hour);
    let options = WorkerOptions {
        retention: vec![
            Retention::after(hour + hour / 2),
            Retention::after(hour / 2).of("trial"),
        ],
        ..quick()
    };
    let root = used.root.clone();
    let test = used.test.rebuilt(Arc::clone(&store), options, |builder| {
        builder.sandboxes(root)
    });
    let used = Used { test, ..used };
    let first = used.test.conversation;
    let expired = [first, of_trial, young_trial];
    used.works_for(async {
        for id in expired {
            while store.conversation(id).await.unwrap().is_some() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    })
    .await;
    used.works_until(<[_]>::is_empty).await;
    for id in [busy, kept] {
        assert!(store.conversation(id).await.unwrap().is_some());
    }
    assert_eq!((used.sessions(), used.folder().exists()), (0, false));
}
