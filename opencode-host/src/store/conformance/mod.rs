//! What every [`Store`] promises, as tests.
//!
//! Behind the feature `conformance`, which is off by default: name it where your
//! tests depend on this crate.
//!
//! ```toml
//! [dev-dependencies]
//! opencode-host = { version = "0.1", features = ["conformance"] }
//! ```
//!
//! One line in the tests of a store of your own makes a test of each promise:
//!
//! ```
//! use std::sync::Arc;
//!
//! use opencode_host::clock::{ManualClock, Timestamp};
//! use opencode_host::store::conformance::Fixture;
//! use opencode_host::store::{MemoryStore, Store};
//!
//! #[derive(Debug)]
//! struct Memory {
//!     clock: Arc<ManualClock>,
//!     store: Arc<MemoryStore>,
//! }
//!
//! #[async_trait::async_trait]
//! impl Fixture for Memory {
//!     fn store(&self) -> Arc<dyn Store> {
//!         self.store.clone()
//!     }
//!
//!     fn clock(&self) -> &ManualClock {
//!         &self.clock
//!     }
//!
//!     async fn another(&self) -> Arc<dyn Store> {
//!         self.store.clone() // Memory is one process's.
//!     }
//! }
//!
//! fn memory() -> Memory {
//!     let clock = Arc::new(ManualClock::at(Timestamp(1_800_000_000_000)));
//!     let store = Arc::new(MemoryStore::new(clock.clone()));
//!     Memory { clock, store }
//! }
//!
//! mod conformance {
//!     use super::memory;
//!
//!     opencode_host::store_conformance!(async { memory() });
//! }
//! # fn main() {}
//! ```
//!
//! The promises are `async` functions of a [`Fixture`] and panic when they are
//! broken; the last words are then which one, by its name. [`crate::store_conformance!`] lists them all.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a broken promise is a panic: these are tests, exported"
)]
#![allow(
    clippy::missing_errors_doc,
    reason = "the promises are named and told by their own sentences"
)]

pub mod answers;
pub mod attachments;
pub mod claims;
pub mod content;
pub mod conversations;
pub mod effects;
pub mod endings;
pub mod fencing;
pub mod forks;
pub mod gone;
pub mod ledger;
pub mod nodes;
pub mod people;
pub mod progress;
mod sample;
pub mod schedules;
pub mod search;
pub mod servers;
pub mod sessions;
pub mod shares;
pub mod submits;
pub mod versions;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;

use super::{Checked, Store};
use crate::clock::ManualClock;
use crate::id::TurnId;

/// An empty store, and what the promises need beside it.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// The store. The same one at every call.
    fn store(&self) -> Arc<dyn Store>;

    /// The clock that the store's leases expire by.
    fn clock(&self) -> &ManualClock;

    /// The same rows through another store, as another process has it. A store
    /// that lives in one process only gives itself.
    async fn another(&self) -> Arc<dyn Store>;

    /// Changes the turn's row so that this version cannot read it: a version it
    /// does not know, or a broken column. True once that is done. False, which is the default, for a store in memory:
    /// it can read all its rows, and the promise about a row that cannot be read is not tried.
    async fn make_unreadable(&self, _turn: TurnId) -> bool {
        false
    }

    /// Removes what the fixture made outside this process. Called once, after
    /// the promise, also when that was broken.
    async fn close(&self) {}
}

/// The fixture with its stores as a host uses them.
struct Hosted<'a>(&'a dyn Fixture);

#[async_trait]
impl Fixture for Hosted<'_> {
    fn store(&self) -> Arc<dyn Store> {
        Arc::new(Checked::new(self.0.store()))
    }

    fn clock(&self) -> &ManualClock {
        self.0.clock()
    }

    async fn another(&self) -> Arc<dyn Store> {
        Arc::new(Checked::new(self.0.another().await))
    }

    async fn make_unreadable(&self, turn: TurnId) -> bool {
        self.0.make_unreadable(turn).await
    }
}

/// How long a promise may take. A store that never answers has broken it.
const PATIENCE: Duration = Duration::from_secs(300);

/// Runs the promise of this name on a fixture and closes it.
///
/// # Panics
/// When the promise is broken: with its name, and what was seen.
pub async fn run<F: Fixture>(name: &str, fixture: F, promise: impl AsyncFnOnce(&dyn Fixture)) {
    let hosted = Hosted(&fixture);
    let kept = AssertUnwindSafe(promise(&hosted)).catch_unwind();
    let kept = tokio::time::timeout(PATIENCE, kept).await;
    fixture.close().await;
    match kept {
        Ok(Ok(())) => {}
        Ok(Err(broken)) => {
            let seen = broken.downcast_ref::<String>().map(String::as_str);
            let seen = seen.or_else(|| broken.downcast_ref::<&str>().copied());
            let seen = seen.unwrap_or("it panicked");
            panic!("the store breaks the promise {name}: {seen}");
        }
        Err(late) => panic!("the store breaks the promise {name}: {late} after {PATIENCE:?}"),
    }
}

/// Makes a `#[tokio::test]` of every promise of [`store::conformance`](crate::store::conformance).
///
/// Takes an expression that makes a future of a
/// [`Fixture`](crate::store::conformance::Fixture) over an empty store; it is
/// evaluated once for each test. What it names must be in scope where the macro
/// is called: the tests are in modules below. The calling crate needs tokio
/// with `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! store_conformance {
    ($fixture:expr) => {
        $crate::store_conformance! { @promises $fixture;
            conversations: names_are_unique, names_are_kept_as_they_are, names_have_a_bound,
                summaries_come_newest_first, a_summary_tells_the_first_prompt,
                deletion_takes_messages_and_turns, deletion_spares_other_conversations;
            people: names_are_unique_within_a_tenant, tenants_are_kept_as_they_are, a_tenant_has_a_bound,
                metadata_is_kept_and_replaced, metadata_of_a_turn_is_kept, lists_come_in_pages_either_way,
                lists_are_filtered, active_turns_are_those_that_are_queued_or_run, many_turns_are_looked_at_together;
            progress: turns_are_saved_together, an_equal_checkpoint_is_no_progress, what_has_come_is_added_to_the_whole;
            sessions: one_holder_at_a_time, the_wait_is_bounded, dropping_the_lock_releases_it,
                a_set_session_is_kept, another_process_never_overwrites, many_mint_once,
                a_deleted_conversation_has_no_session;
            submits: a_submit_is_two_messages_and_a_turn, a_client_key_is_one_turn,
                a_client_key_is_one_turn_for_50_at_once, a_turn_id_is_one_turn,
                a_busy_conversation_can_reject, a_busy_conversation_can_be_interrupted,
                a_submit_needs_its_conversation;
            claims: the_oldest_comes_first, one_at_a_time_in_order, the_turn_ahead_is_told, a_leased_turn_is_skipped,
                an_expired_turn_is_taken_over, an_expired_finished_turn_is_taken_over,
                those_left_behind_come_first, only_means_only, a_renewed_lease_lasts,
                leases_are_told_in_order, a_lease_from_the_future_ends_in_time,
                a_released_turn_is_free_at_once, a_released_finished_turn_is_free_at_once,
                attempts_count_claims_since_progress, a_waiting_turn_uses_up_no_attempts,
                an_unreadable_turn_is_told_and_passed_over;
            fencing: a_late_worker_changes_nothing, a_worker_that_gave_back_changes_nothing,
                an_ended_turn_takes_no_more, a_deleted_turn_takes_no_more;
            endings: an_end_is_whole, an_end_is_final, a_cancel_wins_over_a_completion, the_first_reason_of_a_cancel_is_kept,
                an_error_stays_an_error_after_a_cancel, one_of_many_finishers_wins,
                settling_happens_once, a_queued_turn_is_cancelled_at_once,
                a_cancel_in_the_queue_is_settled_in_order,
                a_running_turn_is_cancelled_by_its_worker,
                a_prompted_turn_is_cancelled_by_a_worker, an_ended_turn_is_not_cancelled,
                cancel_and_finish_agree;
            content: messages_are_found_one_by_one, a_prompt_record_is_kept, the_first_replacement_stays, an_unreachable_server_is_noted, a_checkpoint_is_kept,
                any_text_is_kept, a_turns_deadlines_are_kept, deep_nesting_is_kept, five_megabytes_are_kept, numbers_are_kept,
                messages_are_read_backwards, places_of_other_conversations_are_refused, messages_come_in_pages;
            effects: a_deletion_is_noted_with_its_session, an_effect_is_its_takers_for_a_time, an_effect_is_tried_again,
                what_is_given_up_is_tried_again_when_told, what_is_done_of_an_effect_is_kept,
                what_follows_is_noted_once_and_by_its_taker, lanes_are_listed_while_something_is_to_be_tried,
                a_request_is_noted_once, lanes_are_apart,
                an_end_is_noted_and_due_once_it_is_settled, every_way_to_end_is_noted, a_deletion_makes_due_what_ends_owe,
                an_unreadable_turn_owes_with_its_cancel,
                effects_come_by_when_they_are_due, a_clock_put_back_holds_up_no_effect, each_effect_is_taken_once,
                what_is_used_is_not_deleted_as_unused;
            ledger: what_a_turn_used_is_counted, what_a_turn_reserves_is_free_at_its_end, the_last_of_a_budget_is_reserved_once,
                a_turn_that_uses_up_what_it_reserved_asks_for_more, a_dead_workers_reservation_is_its_successors,
                a_submit_is_refused_where_nothing_is_left, a_deleted_conversation_has_used_what_it_used,
                what_is_pruned_was_deleted_long_ago;
            attachments: a_file_is_kept, a_name_is_one_file, one_of_many_attaches_wins,
                a_file_needs_its_message, a_submit_brings_its_files, uploads_have_a_quota,
                a_quota_is_kept_by_many_at_once, the_newest_files_come_first,
                digests_in_use_are_told, a_file_is_detached_once, deletion_takes_files;
            answers: the_first_answer_wins, one_of_many_answers_wins, only_what_was_prompted_waits, an_answer_is_open_until_its_worker_knows,
                a_failed_answer_makes_room, only_the_turns_worker_says_what_became_of_an_answer,
                any_answer_is_kept, an_answer_has_a_bound, deletion_takes_answers;
            versions: turns_go_on_from_the_last_one_shown, a_turn_takes_the_place_of_another, what_is_hidden_is_kept,
                a_chosen_version_is_shown_with_the_newest_behind_it, a_conversation_can_begin_anew,
                an_unfinished_turn_keeps_its_place, only_turns_of_the_conversation_make_room;
            forks: a_fork_begins_as_the_other_conversation_did, what_is_copied_is_over, a_fork_has_the_line_of_its_turn,
                a_fork_outlives_the_other_conversation, a_name_is_one_fork, only_a_settled_turn_is_forked;
            search: words_are_found_where_they_are_shown, words_are_no_query, words_of_other_scripts_are_found,
                what_is_found_is_the_tenants, what_is_found_comes_in_pages, a_long_text_is_found_by_its_beginning;
            servers: a_server_is_kept, a_conversation_is_placed_once, only_its_server_claims_a_turn,
                conversations_wait_in_order, one_of_many_places_a_conversation,
                a_draining_server_takes_no_conversations, a_capacity_is_kept;
            shares: what_waits_and_runs_is_counted, a_share_is_kept, tenants_take_turns, weights_are_kept, what_was_not_used_is_gone, turns_at_once_are_bounded, a_dead_workers_turn_makes_room, turns_of_a_period_are_bounded, the_highest_priority_comes_first, a_turn_waits_for_its_moment, a_moment_holds_up_no_cancel, each_server_has_its_order;
            gone: a_silent_server_is_gone, what_a_gone_server_had_to_do_is_moved, a_deletion_is_its_servers, lost_sessions_are_forgotten;
            schedules: a_schedule_is_kept, schedules_come_due_in_order, one_moves_a_schedule_on, deletion_takes_schedules;
            nodes: each_turn_is_claimed_once, a_conversation_has_one_turn_at_a_time;
        }
    };
    (@promises $fixture:expr; $($module:ident: $($promise:ident),+;)+) => {
        $(mod $module {
            #[allow(unused_imports, reason = "the fixture may be named by its path")]
            use super::*;
            $(#[::tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                let fixture = $fixture.await;
                let name = concat!(stringify!($module), "::", stringify!($promise));
                $crate::store::conformance::run(name, fixture, $crate::store::conformance::$module::$promise).await;
            })+
        })+
    };
}

#[cfg(test)]
mod tests {
    /// Every promise is in the macro's list, so that none is left unproven.
    #[test]
    fn the_list_is_whole() {
        let list = include_str!("mod.rs");
        let files = [
            ("answers", include_str!("answers.rs")),
            ("attachments", include_str!("attachments.rs")),
            ("claims", include_str!("claims.rs")),
            ("content", include_str!("content.rs")),
            ("conversations", include_str!("conversations.rs")),
            ("effects", include_str!("effects.rs")),
            ("endings", include_str!("endings.rs")),
            ("fencing", include_str!("fencing.rs")),
            ("forks", include_str!("forks.rs")),
            ("gone", include_str!("gone.rs")),
            ("ledger", include_str!("ledger.rs")),
            ("nodes", include_str!("nodes.rs")),
            ("people", include_str!("people.rs")),
            ("schedules", include_str!("schedules.rs")),
            ("search", include_str!("search.rs")),
            ("servers", include_str!("servers.rs")),
            ("sessions", include_str!("sessions.rs")),
            ("shares", include_str!("shares.rs")),
            ("submits", include_str!("submits.rs")),
            ("versions", include_str!("versions.rs")),
        ];
        for (module, source) in files {
            let (_, listed) = list.split_once(&format!("            {module}: ")).unwrap();
            let listed = listed.split_once(';').unwrap().0;
            let listed: Vec<_> = listed.split(',').map(str::trim).collect();
            let defined: Vec<_> = source
                .lines()
                .filter_map(|line| line.strip_prefix("pub async fn ")?.split_once('('))
                .map(|(name, _)| name)
                .collect();
            assert_eq!(listed, defined, "{module}");
        }
    }
}
