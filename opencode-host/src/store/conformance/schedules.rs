//! Schedules are kept, and due when their time has come.

use std::time::Duration;

use opencode_client::wire::Prompt;

use super::Fixture;
use crate::clock::{Clock as _, Timestamp};
use crate::id::ScheduleId;
use crate::store::{Conversation, Schedule, ScheduleOutcome, ScheduleRun, StoreError};

const MINUTE: Duration = Duration::from_secs(60);

impl dyn Fixture + '_ {
    /// A schedule that is due so much later.
    async fn schedule_in(&self, on: &Conversation, later: Duration) -> Schedule {
        // Of one moment, none is the older one.
        self.clock().advance(Duration::from_millis(1));
        let now = self.clock().now();
        let id = ScheduleId::from_uuid(self.clock().new_uuid());
        let due = now.after(later);
        let mut schedule = Schedule::new(id, on.id, Prompt::text("Anything new?"), Some(due), now);
        "* * * * *".clone_into(&mut schedule.cron);
        "Europe/Berlin".clone_into(&mut schedule.time_zone);
        let added = self.store().add_schedule(&schedule).await;
        added.unwrap();
        schedule
    }

    async fn due(&self) -> Vec<ScheduleId> {
        let due = self.store().due_schedules(10).await.unwrap();
        due.into_iter().map(|schedule| schedule.id).collect()
    }
}

/// All that a schedule says comes back, and it is not in the lists of other conversations.
pub async fn a_schedule_is_kept(on: &dyn Fixture) {
    let store = on.store();
    if !store.keeps_schedules() {
        return;
    }
    let (one, other) = (on.open("one").await, on.open("other").await);
    let first = on.schedule_in(&one, MINUTE).await;
    let second = on.schedule_in(&one, MINUTE).await;
    let third = on.schedule_in(&other, MINUTE).await;
    let mut told = first.clone();
    told.paused = true;
    told.next_at = None;
    told.priority = -3;
    told.prompt.agent = Some("plan\0 \\".to_owned());
    told.metadata = serde_json::from_str(r#"{"ticket": 7}"#).unwrap();
    let refused = ScheduleOutcome::Refused {
        why: "too expensive".to_owned(),
    };
    let at = on.clock().now();
    told.last = Some(ScheduleRun::new(Timestamp(5), at, refused, 3));
    assert!(store.swap_schedule(&first, &told).await.unwrap());
    let found = on.another().await.schedule(first.id).await.unwrap();
    assert_eq!(found, Some(told.clone()));
    assert_eq!(store.schedules(one.id).await.unwrap(), [told, second]);
    let of_other = store.schedules(other.id).await.unwrap();
    assert_eq!(of_other, std::slice::from_ref(&third));
    assert!(store.delete_schedule(third.id).await.unwrap());
    assert!(!store.delete_schedule(third.id).await.unwrap());
    assert_eq!(store.schedule(third.id).await.unwrap(), None);
}

/// What is due comes by when it was due, and what is not due or paused does not.
pub async fn schedules_come_due_in_order(on: &dyn Fixture) {
    let store = on.store();
    if !store.keeps_schedules() {
        return;
    }
    assert_eq!(store.next_schedule_due().await.unwrap(), None);
    let conversation = on.open("one").await;
    let late = on.schedule_in(&conversation, 3 * MINUTE).await;
    let soon = on.schedule_in(&conversation, MINUTE).await;
    let paused = on.schedule_in(&conversation, MINUTE).await;
    let mut without = paused.clone();
    without.next_at = None;
    assert!(store.swap_schedule(&paused, &without).await.unwrap());
    assert!(on.due().await.is_empty());
    assert_eq!(store.next_schedule_due().await.unwrap(), soon.next_at);
    on.clock().advance(MINUTE);
    assert_eq!(on.due().await, [soon.id]);
    on.clock().advance(2 * MINUTE);
    assert_eq!(on.due().await, [soon.id, late.id]);
    assert_eq!(store.due_schedules(1).await.unwrap().len(), 1);
    assert_eq!(store.next_schedule_due().await.unwrap(), soon.next_at);
}

/// Of two that have seen the same time, one writes what became of it.
pub async fn one_moves_a_schedule_on(on: &dyn Fixture) {
    let store = on.store();
    if !store.keeps_schedules() {
        return;
    }
    let conversation = on.open("one").await;
    let seen = on.schedule_in(&conversation, MINUTE).await;
    let mut moved = seen.clone();
    moved.next_at = seen.next_at.map(|at| at.after(MINUTE));
    assert!(store.swap_schedule(&seen, &moved).await.unwrap());
    let another = on.another().await;
    let mut late = seen.clone();
    late.next_at = None;
    assert!(!another.swap_schedule(&seen, &late).await.unwrap());
    assert_eq!(store.schedule(seen.id).await.unwrap(), Some(moved.clone()));
    // One that is paused is due at no time, and that is as good as any.
    assert!(another.swap_schedule(&moved, &late).await.unwrap());
    assert!(!store.swap_schedule(&moved, &seen).await.unwrap());
    assert!(store.swap_schedule(&late, &seen).await.unwrap());
    store.delete_schedule(seen.id).await.unwrap();
    assert!(!store.swap_schedule(&seen, &moved).await.unwrap());
    assert_eq!(store.schedule(seen.id).await.unwrap(), None);
}

/// A schedule is deleted with its conversation, and none is added to one that is gone.
pub async fn deletion_takes_schedules(on: &dyn Fixture) {
    let store = on.store();
    if !store.keeps_schedules() {
        return;
    }
    let (one, other) = (on.open("one").await, on.open("other").await);
    let gone = on.schedule_in(&one, MINUTE).await;
    let stays = on.schedule_in(&other, MINUTE).await;
    store.delete_conversation(one.id, None).await.unwrap();
    assert_eq!(store.schedule(gone.id).await.unwrap(), None);
    on.clock().advance(MINUTE);
    assert_eq!(on.due().await, [stays.id]);
    let added = store.add_schedule(&gone).await;
    assert!(
        matches!(
            &added,
            Err(StoreError::NotFound {
                what: "conversation",
                ..
            })
        ),
        "{added:?}"
    );
}
