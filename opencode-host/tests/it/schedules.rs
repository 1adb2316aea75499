//! Prompts that are submitted again and again.

use std::sync::Arc;
use std::time::Duration;

use opencode_client::wire::Prompt;
use opencode_host::clock::{Clock as _, ManualClock, Timestamp};
use opencode_host::id::ScheduleId;
use opencode_host::store::{
    MemoryStore, Schedule, ScheduleOutcome, ScheduleRun, Store, StoreError, Tenant, TurnStatus,
};
use opencode_host::{MAX_SCHEDULES, NewSchedule, ScheduleError, SubmitError, SubmitOptions};
use opencode_impostor::{Impostor, Script, Step};
use tokio_util::sync::CancellationToken;

use crate::hosting::{Hosting, PATIENCE, quick};

const MINUTE: Duration = Duration::from_secs(60);

/// 2027-01-15 08:00:00 UTC.
const EIGHT: Timestamp = Timestamp(1_800_000_000_000);

/// A host whose store has a clock that stands still.
struct Stage {
    test: Hosting,
    clock: Arc<ManualClock>,
}

impl Stage {
    async fn new(script: Script) -> Self {
        let clock = Arc::new(ManualClock::at(EIGHT));
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
        let test = Hosting::new(Impostor::scripted(script).await.unwrap()).await;
        let conversation = store.open_conversation(&Tenant::default(), "test").await;
        let test = Hosting {
            conversation: conversation.unwrap().id,
            store: Arc::clone(&store),
            ..test
        };
        let test = test.rebuilt(store, quick(), |builder| builder);
        Self { test, clock }
    }

    /// Two workers at work on the store.
    fn work(&self) -> [tokio::task::JoinHandle<()>; 2] {
        [(), ()].map(|()| {
            let worker = self.test.worker.clone();
            tokio::spawn(async move { worker.run(CancellationToken::new()).await.unwrap() })
        })
    }

    /// A schedule of each minute.
    async fn each_minute(&self) -> Schedule {
        let new = NewSchedule::new("* * * * *", "UTC", Prompt::text("Anything new?"));
        let added = self.test.host.add_schedule(self.test.conversation, new);
        added.await.unwrap()
    }

    /// What became of the schedule at a time, once it is written.
    async fn seen_to(&self, id: ScheduleId, due: Timestamp) -> ScheduleRun {
        let seeing = async {
            loop {
                let schedule = self.test.store.schedule(id).await.unwrap().unwrap();
                match schedule.last {
                    Some(last) if last.due_at == due => break last,
                    _ => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        let seen = tokio::time::timeout(PATIENCE, seeing).await;
        seen.expect("nobody saw to the schedule")
    }

    async fn submitted_at(&self, id: ScheduleId, due: Timestamp) -> opencode_host::id::TurnId {
        match self.seen_to(id, due).await.outcome {
            ScheduleOutcome::Submitted { turn } => turn,
            other => panic!("{other:?}"),
        }
    }

    /// How many prompts the server got.
    fn prompts(&self) -> usize {
        self.test.impostor.ledger().prompt_posts().len()
    }

    async fn turns(&self) -> usize {
        let messages = self.test.store.messages(None, None, 100).await.unwrap();
        messages.len() / 2
    }
}

fn fine() -> Script {
    Script::always([Step::text("Fine.")])
}

#[tokio::test]
async fn each_time_is_one_turn_however_many_workers_there_are() {
    let stage = Stage::new(fine()).await;
    let schedule = stage.each_minute().await;
    assert_eq!(schedule.next_at, Some(EIGHT.after(MINUTE)));
    let _working = stage.work();
    for minute in 1..=3 {
        stage.clock.advance(MINUTE);
        let due = EIGHT.after(minute * MINUTE);
        let turn = stage.submitted_at(schedule.id, due).await;
        let result = tokio::time::timeout(PATIENCE, stage.test.host.settled(turn)).await;
        let result = result.unwrap().unwrap();
        assert_eq!(result.status, TurnStatus::Completed);
        assert_eq!(result.answer.content, "Fine.");
        let schedule = stage
            .test
            .store
            .schedule(schedule.id)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(schedule.next_at, Some(due.after(MINUTE)));
    }
    assert_eq!((stage.prompts(), stage.turns().await), (3, 3));
    assert_eq!(stage.test.recorder.count("schedule.missed"), 0);
}

#[tokio::test]
async fn times_that_nobody_saw_to_are_one_turn_and_told() {
    let stage = Stage::new(fine()).await;
    let schedule = stage.each_minute().await;
    stage.clock.advance(5 * MINUTE);
    let _working = stage.work();
    let run = stage.seen_to(schedule.id, EIGHT.after(MINUTE)).await;
    assert!(matches!(run.outcome, ScheduleOutcome::Submitted { .. }));
    assert_eq!(run.missed, 4);
    let moved = stage
        .test
        .store
        .schedule(schedule.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(moved.next_at, Some(EIGHT.after(6 * MINUTE)));
    let told = stage.test.recorder.named("schedule.missed");
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["missed"], 4);
    assert_eq!(stage.turns().await, 1);
}

#[tokio::test]
async fn a_time_passes_while_the_turn_before_has_not_ended() {
    let stage = Stage::new(Script::always([Step::gate("hold"), Step::text("Fine.")])).await;
    let schedule = stage.each_minute().await;
    let _working = stage.work();
    stage.clock.advance(MINUTE);
    let first = stage.submitted_at(schedule.id, EIGHT.after(MINUTE)).await;
    stage.clock.advance(MINUTE);
    let run = stage.seen_to(schedule.id, EIGHT.after(2 * MINUTE)).await;
    assert_eq!(run.outcome, ScheduleOutcome::Skipped { unfinished: first });
    assert_eq!(run.missed, 1);
    // It is remembered over a time that was passed over.
    stage.clock.advance(MINUTE);
    let run = stage.seen_to(schedule.id, EIGHT.after(3 * MINUTE)).await;
    assert_eq!(run.outcome, ScheduleOutcome::Skipped { unfinished: first });
    stage.test.impostor.gate("hold").open();
    tokio::time::timeout(PATIENCE, stage.test.host.settled(first))
        .await
        .unwrap()
        .unwrap();
    stage.clock.advance(MINUTE);
    stage
        .submitted_at(schedule.id, EIGHT.after(4 * MINUTE))
        .await;
    assert_eq!(stage.turns().await, 2);
}

#[tokio::test]
async fn a_worker_that_died_behind_its_submit_has_not_doubled_it() {
    let stage = Stage::new(fine()).await;
    let schedule = stage.each_minute().await;
    stage.clock.advance(MINUTE);
    let due = EIGHT.after(MINUTE);
    // All that it did.
    let options = SubmitOptions {
        client_key: Some(schedule.client_key(due)),
        ..SubmitOptions::default()
    };
    let submitting =
        stage
            .test
            .host
            .submit(stage.test.conversation, schedule.prompt.clone(), options);
    let before = submitting.await.unwrap().turn.id;
    let _working = stage.work();
    assert_eq!(stage.submitted_at(schedule.id, due).await, before);
    assert_eq!(stage.turns().await, 1);
}

#[tokio::test]
async fn what_is_paused_submits_nothing_until_it_is_resumed() {
    let stage = Stage::new(fine()).await;
    let host = &stage.test.host;
    let paused = stage.each_minute().await;
    let other = stage.each_minute().await;
    let told = host.pause_schedule(paused.id).await.unwrap();
    assert!(told.paused && told.next_at.is_none());
    let _working = stage.work();
    stage.clock.advance(10 * MINUTE);
    stage.seen_to(other.id, EIGHT.after(MINUTE)).await;
    let row = stage.test.store.schedule(paused.id).await.unwrap().unwrap();
    assert_eq!(row.last, None);
    // The times that have passed are not missed: nobody wanted them.
    let resumed = host.resume_schedule(paused.id).await.unwrap();
    assert_eq!(resumed.next_at, Some(EIGHT.after(11 * MINUTE)));
    assert!(host.delete_schedule(other.id).await.unwrap());
    stage.clock.advance(MINUTE);
    stage
        .submitted_at(paused.id, EIGHT.after(11 * MINUTE))
        .await;
    assert!(matches!(
        host.pause_schedule(other.id).await,
        Err(ScheduleError::Store(StoreError::NotFound {
            what: "schedule",
            ..
        }))
    ));
}

#[tokio::test]
async fn what_is_refused_is_told_and_holds_up_nothing() {
    let stage = Stage::new(fine()).await;
    let now = stage.clock.now();
    let due = now.after(MINUTE);
    let odd = async |cron: &str, zone: &str, text: &str| {
        let id = ScheduleId::from_uuid(stage.clock.new_uuid());
        let prompt = Prompt::text(text);
        let mut odd = Schedule::new(id, stage.test.conversation, prompt, Some(due), now);
        cron.clone_into(&mut odd.cron);
        zone.clone_into(&mut odd.time_zone);
        stage.test.store.add_schedule(&odd).await.unwrap();
        id
    };
    let empty = odd("* * * * *", "UTC", "").await;
    let nowhere = odd("* * * * *", "Mars/Olympus", "Hello").await;
    let good = stage.each_minute().await;
    let _working = stage.work();
    stage.clock.advance(MINUTE);
    stage.submitted_at(good.id, due).await;
    let why = async |id| match stage.seen_to(id, due).await.outcome {
        ScheduleOutcome::Refused { why } => why,
        other => panic!("{other:?}"),
    };
    assert!(why(empty).await.contains("empty"));
    assert!(why(nowhere).await.contains("Mars/Olympus"));
    let next = async |id| {
        stage
            .test
            .store
            .schedule(id)
            .await
            .unwrap()
            .unwrap()
            .next_at
    };
    assert_eq!(next(empty).await, Some(due.after(MINUTE)));
    // Nobody knows when that would be.
    assert_eq!(next(nowhere).await, None);
    assert_eq!(stage.test.recorder.count("schedule.refused"), 2);
}

#[tokio::test]
async fn what_would_never_submit_is_refused_at_once() {
    let stage = Stage::new(fine()).await;
    let (host, conversation) = (&stage.test.host, stage.test.conversation);
    let refused = async |cron: &str, zone: &str, text: &str| {
        let new = NewSchedule::new(cron, zone, Prompt::text(text));
        host.add_schedule(conversation, new).await.unwrap_err()
    };
    let never = refused("0 0 30 2 *", "UTC", "Hello").await;
    assert!(matches!(never, ScheduleError::Never { .. }), "{never:?}");
    let zone = refused("* * * * *", "Europe/Atlantis", "Hello").await;
    assert!(matches!(zone, ScheduleError::Recurrence(_)), "{zone:?}");
    let cron = refused("every day", "UTC", "Hello").await;
    assert!(matches!(cron, ScheduleError::Recurrence(_)), "{cron:?}");
    let empty = refused("* * * * *", "UTC", " ").await;
    assert!(
        matches!(empty, ScheduleError::Submit(SubmitError::Empty)),
        "{empty:?}"
    );
    let mut without_time = NewSchedule::new("* * * * *", "UTC", Prompt::text("Hello"));
    without_time.deadlines.turn = Some(Duration::ZERO);
    let refused = host.add_schedule(conversation, without_time).await;
    assert!(
        matches!(
            refused,
            Err(ScheduleError::Submit(SubmitError::NoTime { .. }))
        ),
        "{refused:?}"
    );
    for _ in 0..MAX_SCHEDULES {
        stage.each_minute().await;
    }
    let new = NewSchedule::new("* * * * *", "UTC", Prompt::text("Hello"));
    let refused = host.add_schedule(conversation, new).await;
    assert!(
        matches!(refused, Err(ScheduleError::TooMany)),
        "{refused:?}"
    );
}

#[tokio::test]
async fn another_tenants_schedule_is_not_there() {
    let stage = Stage::new(fine()).await;
    let schedule = stage.each_minute().await;
    let other = stage.test.host.of(&Tenant::from("other"));
    let is_missing = |outcome: Result<(), StoreError>| {
        assert!(
            matches!(&outcome, Err(StoreError::NotFound { .. })),
            "{outcome:?}"
        );
    };
    is_missing(other.schedule(schedule.id).await.map(drop));
    is_missing(other.schedules(stage.test.conversation).await.map(drop));
    is_missing(other.delete_schedule(schedule.id).await);
    for outcome in [
        other.pause_schedule(schedule.id).await,
        other.resume_schedule(schedule.id).await,
        other
            .add_schedule(
                stage.test.conversation,
                NewSchedule::new("* * * * *", "UTC", Prompt::text("Hello")),
            )
            .await,
    ] {
        match outcome {
            Err(ScheduleError::Store(error)) => is_missing(Err(error)),
            other => panic!("{other:?}"),
        }
    }
    let known = stage.test.store.schedule(schedule.id).await.unwrap();
    assert_eq!(known, Some(schedule));
}
