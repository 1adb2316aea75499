//! Several nodes on one database.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use tokio::task::JoinSet;

use super::Fixture;
use super::sample::{claim_by, finish};
use crate::id::TurnId;
use crate::store::{Phase, TurnStatus};

/// Of two nodes with five workers each, one gets each of 100 turns.
pub async fn each_turn_is_claimed_once(on: &dyn Fixture) {
    for number in 0..100 {
        let conversation = on.open(&number.to_string()).await;
        on.submit(&conversation, "Hello").await;
    }
    let stores = [on.store(), on.another().await];
    let workers = join_all((0..10).map(|number| {
        let store = stores[number % 2].clone();
        tokio::spawn(async move {
            let mut claimed = Vec::new();
            while let Some(turn) = store.claim(&claim_by(&number.to_string())).await.unwrap() {
                assert_eq!(turn.turn.generation, 1);
                claimed.push(turn.turn.id);
            }
            claimed
        })
    }));
    let claimed = workers.await.into_iter().flat_map(|worker| worker.unwrap());
    let mut claimed: Vec<TurnId> = claimed.collect();
    assert_eq!(claimed.len(), 100);
    claimed.sort_unstable();
    claimed.dedup();
    assert_eq!(claimed.len(), 100, "a turn was claimed twice");
}

/// While two nodes work them off, no conversation has two turns at once, its
/// turns go in order, and each ends once.
pub async fn a_conversation_has_one_turn_at_a_time(on: &dyn Fixture) {
    const TURNS: usize = 8;
    let mut places = HashMap::new();
    // Two counts for each conversation: turns begun, turns ended.
    let mut counts = HashMap::new();
    for name in 0..4 {
        let conversation = on.open(&name.to_string()).await;
        counts.insert(conversation.id, (AtomicUsize::new(0), AtomicUsize::new(0)));
        for place in 0..TURNS {
            places.insert(on.submit(&conversation, "Hello").await.id, place);
        }
    }
    let (places, counts) = (Arc::new(places), Arc::new(counts));
    let stores = [on.store(), on.another().await];
    let mut workers = JoinSet::new();
    for number in 0..6 {
        let store = stores[number % 2].clone();
        let (places, counts) = (places.clone(), counts.clone());
        workers.spawn(async move {
            let all_ended = || {
                counts
                    .values()
                    .all(|(_, ended)| ended.load(Ordering::SeqCst) == TURNS)
            };
            while !all_ended() {
                let claim = claim_by(&number.to_string());
                let Some(claimed) = store.claim(&claim).await.unwrap() else {
                    tokio::task::yield_now().await;
                    continue;
                };
                let (begun, ended) = &counts[&claimed.turn.conversation];
                let place = places[&claimed.turn.id];
                assert_eq!(begun.fetch_add(1, Ordering::SeqCst), place, "out of order");
                let end = finish(TurnStatus::Completed, "Hi");
                store.finish(&claimed.lease, &end).await.unwrap();
                assert_eq!(
                    ended.fetch_add(1, Ordering::SeqCst),
                    place,
                    "two turns at once"
                );
                assert!(store.settle(&claimed.lease).await.unwrap());
            }
        });
    }
    // One that fails stops the others, which would wait for its turn.
    while let Some(worker) = workers.join_next().await {
        worker.unwrap();
    }
    for turn in places.keys() {
        let state = on.turn(*turn).await.phase();
        assert_eq!(
            state,
            Phase::Finished {
                status: TurnStatus::Completed,
                settled: true
            }
        );
        assert_eq!(on.ends(*turn).await, 1);
    }
}
