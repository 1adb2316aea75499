//! Servers: each conversation is placed on one, its workers alone claim what is placed there, and what a server that is gone
//! had to do is done elsewhere.
//!
//! A store that keeps no servers ([`Servers::keeps_servers`](crate::store::Servers::keeps_servers)) promises to say so.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::Fixture;
use super::sample::{claim_by, prompt, session};
use crate::clock::Clock as _;
use crate::id::TurnId;
use crate::store::{
    Claim, ClaimedTurn, Conversation, ConversationFilter, Note, Page, Server, ServerName,
    ServerReport, ServerState, StoreError, Swapped, Turn, WorkerId,
};

/// A server that is silent for so long is gone.
pub(super) const BOUND: Duration = Duration::from_secs(60);

pub(super) fn name(name: &str) -> ServerName {
    name.parse().unwrap()
}

pub(super) fn report(server: &str) -> ServerReport {
    let report = ServerReport::new(name(server), format!("http://{server}.example"));
    report.heard_by(worker("w\0"))
}

pub(super) fn worker(id: &str) -> WorkerId {
    WorkerId(id.to_owned())
}

pub(super) fn bounded(server: &str, capacity: u32) -> ServerReport {
    ServerReport {
        capacity: NonZeroU32::new(capacity),
        ..report(server)
    }
}

/// A claim for a server's worker.
pub(super) fn claim_on(server: &str) -> Claim {
    claim_by(server).on(&name(server), None)
}

impl dyn Fixture + '_ {
    /// Whether the store keeps servers; one that does not has to refuse them.
    pub(super) async fn keeps_servers(&self) -> bool {
        let store = self.store();
        if !store.keeps_servers() {
            let refused = store.report_server(&report("a")).await;
            assert!(
                matches!(refused, Err(StoreError::Configuration(_))),
                "{refused:?}"
            );
            let placing = store.place(self.open("refused").await.id, &name("a")).await;
            assert!(
                matches!(placing, Err(StoreError::Configuration(_))),
                "{placing:?}"
            );
            assert_eq!(store.servers().await.unwrap(), []);
        }
        store.keeps_servers()
    }

    pub(super) async fn hears(&self, servers: &[&str]) {
        for server in servers {
            self.store().report_server(&report(server)).await.unwrap();
        }
    }

    pub(super) async fn place(&self, conversation: &Conversation, server: &str) -> bool {
        let placing = self.store();
        placing.place(conversation.id, &name(server)).await.unwrap()
    }

    pub(super) async fn claim_on(&self, server: &str) -> Option<ClaimedTurn> {
        self.store().claim(&claim_on(server)).await.unwrap()
    }

    pub(super) async fn placed_on(&self, conversation: &Conversation) -> Option<ServerName> {
        let store = self.another().await;
        let row = store.conversation(conversation.id).await.unwrap();
        row.unwrap().server
    }

    pub(super) async fn server(&self, server: &str) -> Server {
        let loads = self.another().await.servers().await.unwrap();
        let load = loads
            .into_iter()
            .find(|load| load.server.name == name(server));
        load.unwrap().server
    }

    /// The turns that wait for a server.
    pub(super) async fn waiting(&self) -> Vec<TurnId> {
        let unplaced = self.store().unplaced(None, 100).await.unwrap();
        for waiting in &unplaced {
            assert_eq!(waiting.conversation.id, waiting.turn.conversation);
        }
        unplaced
            .into_iter()
            .map(|waiting| waiting.turn.id)
            .collect()
    }

    /// A conversation placed on a server, with this session, and its turn that its worker has claimed.
    pub(super) async fn at_work(&self, conversation: &str, server: &str) -> ClaimedTurn {
        let conversation = self.open(conversation).await;
        self.submit(&conversation, "Hello").await;
        assert!(self.place(&conversation, server).await);
        let minted = session(&format!("ses_{}", conversation.name));
        let store = self.store();
        let swapped = store.swap_session(conversation.id, None, &minted);
        assert_eq!(swapped.await.unwrap(), Swapped::Yes);
        self.claim_on(server).await.unwrap()
    }
}

/// Of a server is kept what a worker says that hears from it.
pub async fn a_server_is_kept(on: &dyn Fixture) {
    if !on.keeps_servers().await {
        return;
    }
    let (store, began) = (on.store(), on.clock().now());
    let mut named = ServerReport {
        heard_by: None,
        ..bounded("b", 9)
    };
    let server = store.report_server(&named).await.unwrap();
    assert_eq!(server, Server::new(&named, began));
    assert_eq!((server.heard_at, server.created_at), (None, began));
    on.hears(&["a"]).await;
    on.clock().advance(BOUND);
    let mut heard = report("b");
    heard.address = "http://\u{1F33B}\0\\".into();
    heard.labels = vec!["gpu".parse().unwrap(), "eu".parse().unwrap()];
    let server = store.report_server(&heard).await.unwrap();
    let now = on.clock().now();
    assert_eq!((server.heard_at, server.created_at), (Some(now), began));
    assert_eq!(
        (&server.address, &server.labels),
        (&heard.address, &heard.labels)
    );
    assert_eq!(
        (server.capacity, &server.heard_by),
        (None, &Some(worker("w\0")))
    );
    named.address = "http://elsewhere".into();
    assert_eq!(store.report_server(&named).await.unwrap(), server);
    let b = name("b");
    let noting = store.note_server_problem(&b, Some("out of order\0"));
    noting.await.unwrap();
    let problem = on.server("b").await.problem.unwrap();
    assert_eq!((&*problem.message, problem.at), ("out of order\0", now));
    store.note_server_problem(&name("b"), None).await.unwrap();
    store
        .note_server_problem(&name("c"), Some("none"))
        .await
        .unwrap();
    assert_eq!(on.server("b").await, server);
    for (leaves, heard_by) in [("v", Some(worker("w\0"))), ("w\0", None)] {
        let leaves = worker(leaves);
        store.leave_server(&name("b"), &leaves).await.unwrap();
        assert_eq!(on.server("b").await.heard_by, heard_by);
    }
    let loads = store.servers().await.unwrap();
    let names = loads.iter().map(|load| load.server.name.as_str());
    assert_eq!(names.collect::<Vec<_>>(), ["a", "b"]);
}

/// A conversation is placed on one server, once, and stays.
pub async fn a_conversation_is_placed_once(on: &dyn Fixture) {
    if !on.keeps_servers().await {
        return;
    }
    on.hears(&["a", "b"]).await;
    let garden = on.open("garden").await;
    assert_eq!((&garden.server, &garden.waits_for), (&None, &None));
    let turn = on.submit(&garden, "Hello").await;
    assert_eq!(on.waiting().await, [turn.id]);
    let store = on.store();
    store.note_waits_for(garden.id, "rain\0").await.unwrap();
    let unplaced = store.unplaced(None, 9).await.unwrap();
    assert_eq!(
        unplaced[0].conversation.waits_for.as_deref(),
        Some("rain\0")
    );
    assert!(!on.place(&garden, "c").await, "there is no such server");
    assert!(on.place(&garden, "a").await);
    assert!(!on.place(&garden, "b").await);
    assert!(!on.place(&garden, "a").await, "it is placed already");
    assert_eq!(on.placed_on(&garden).await, Some(name("a")));
    store.note_waits_for(garden.id, "sun").await.unwrap();
    let row = store.conversation(garden.id).await.unwrap().unwrap();
    assert_eq!(row.waits_for, None);
    assert_eq!(on.waiting().await, []);
    let every = ConversationFilter::default();
    let listed = store.conversations(&every, &Page::newest(9)).await.unwrap();
    assert_eq!(listed[0].conversation.server, Some(name("a")));
    let gone = on.open("gone").await;
    store.delete_conversation(gone.id, None).await.unwrap();
    assert!(!on.place(&gone, "a").await);
}

/// A turn is claimed by workers of the server that its conversation is placed on, and of no other; by nobody before it is
/// placed.
pub async fn only_its_server_claims_a_turn(on: &dyn Fixture) {
    if !on.keeps_servers().await {
        return;
    }
    on.hears(&["a", "b"]).await;
    let garden = on.open("garden").await;
    let first = on.submit(&garden, "one").await;
    let only = |turn: &Turn, server| Claim {
        only: Some(turn.id),
        ..claim_on(server)
    };
    let store = on.another().await;
    assert!(on.claim_on("a").await.is_none());
    assert!(store.claim(&only(&first, "a")).await.unwrap().is_none());
    assert!(on.place(&garden, "a").await);
    // Those that come later are placed with it.
    let second = on.submit(&garden, "two").await;
    assert!(on.claim_on("b").await.is_none());
    assert!(store.claim(&only(&first, "b")).await.unwrap().is_none());
    let claimed = on.claim_on("a").await.unwrap();
    assert_eq!(claimed.turn.id, first.id);
    assert_eq!(claimed.conversation.server, Some(name("a")));
    assert!(!claimed.was_prompted_elsewhere(&name("a")));
    on.expire_leases();
    assert!(on.claim_on("b").await.is_none());
    let again = store.claim(&only(&first, "a")).await.unwrap().unwrap();
    assert_eq!((again.turn.id, again.turn.generation), (first.id, 2));
    on.store().release(&again.lease).await.unwrap();
    assert!(on.claim_on("b").await.is_none());
    let again = on.claim_on("a").await.unwrap();
    on.complete(&again.lease).await;
    assert!(on.claim_on("b").await.is_none());
    assert_eq!(on.claim_on("a").await.unwrap().turn.id, second.id);
    // A claim that names no server is for any turn, as of a store with one.
    let other = on.open("other").await;
    let third = on.submit(&other, "three").await;
    assert_eq!(on.claim().await.unwrap().turn.id, third.id);
}

/// Conversations to be placed come by the age of their turn, each once, in pages; not those that have nothing to be begun.
pub async fn conversations_wait_in_order(on: &dyn Fixture) {
    if !on.keeps_servers().await {
        return;
    }
    on.hears(&["a"]).await;
    let mut turns = Vec::new();
    for number in 0..5 {
        let conversation = on.open(&number.to_string()).await;
        turns.push(on.submit(&conversation, "one").await);
        on.submit(&conversation, "two").await;
    }
    on.open("idle").await;
    let store = on.store();
    // One that was prompted needs no server; one that a worker has begun with does, whoever it was.
    let prompted = on.claim_only(turns[1].id).await.unwrap();
    let record = prompt("1", false);
    let noting = store.note(&prompted.lease, Note::Prompt(&record));
    noting.await.unwrap();
    on.claim_only(turns[2].id).await.unwrap();
    store.request_cancel(turns[3].id, None).await.unwrap();
    let ids = [0, 2, 4].map(|number: usize| turns[number].id);
    assert_eq!(on.waiting().await, ids);
    let first = store.unplaced(None, 2).await.unwrap();
    assert_eq!(
        first.iter().map(|at| at.turn.id).collect::<Vec<_>>(),
        ids[..2]
    );
    let rest = store.unplaced(Some(ids[1]), 2).await.unwrap();
    assert_eq!(
        rest.iter().map(|at| at.turn.id).collect::<Vec<_>>(),
        ids[2..]
    );
    // What was cancelled is settled by anybody, and what is queued behind it waits then.
    let cancelled = on.claim_on("a").await.unwrap();
    assert_eq!(cancelled.turn.id, turns[3].id);
    assert!(store.settle(&cancelled.lease).await.unwrap());
    assert_eq!(on.waiting().await.len(), 4);
}

/// Where many place it, one does, and all turns of it are claimed there, those too that are submitted at the time.
pub async fn one_of_many_places_a_conversation(on: &dyn Fixture) {
    if !on.keeps_servers().await {
        return;
    }
    on.hears(&["a", "b"]).await;
    for number in 0..8 {
        let conversation = on.open(&number.to_string()).await;
        on.submit(&conversation, "Hello").await;
        let stores = [on.store(), on.another().await];
        let news: Vec<_> = (0..4).map(|_| on.new_turn(&conversation, "more")).collect();
        let submitting = join_all(news.iter().map(|new| stores[1].submit(new)));
        let placing = join_all((0..8).map(|place| {
            let store = Arc::clone(&stores[place % 2]);
            let id = conversation.id;
            tokio::spawn(async move {
                let server = name(if place % 4 < 2 { "a" } else { "b" });
                store.place(id, &server).await.unwrap().then_some(server)
            })
        }));
        let (placed, submitted) = tokio::join!(placing, submitting);
        assert!(submitted.into_iter().all(|submitted| submitted.is_ok()));
        let placed: Vec<_> = placed.into_iter().filter_map(Result::unwrap).collect();
        assert_eq!(placed.len(), 1, "{placed:?}");
        assert_eq!(on.placed_on(&conversation).await, Some(placed[0].clone()));
        for _ in 0..5 {
            let claimed = on.claim_on(placed[0].as_str()).await.unwrap();
            assert_eq!(claimed.turn.conversation, conversation.id);
            on.complete(&claimed.lease).await;
        }
    }
}

/// A server that drains takes no conversations, and goes on with those that it has.
pub async fn a_draining_server_takes_no_conversations(on: &dyn Fixture) {
    if !on.keeps_servers().await {
        return;
    }
    on.hears(&["a"]).await;
    let store = on.store();
    let (old, new) = (on.open("old").await, on.open("new").await);
    on.submit(&old, "Hello").await;
    assert!(on.place(&old, "a").await);
    assert!(store.set_draining(&name("a"), true).await.unwrap());
    assert!(!store.set_draining(&name("c"), true).await.unwrap());
    on.hears(&["a"]).await;
    assert_eq!(on.server("a").await.state(), ServerState::Draining);
    on.submit(&new, "Hello").await;
    assert!(!on.place(&new, "a").await);
    let claimed = on.claim_on("a").await.unwrap();
    assert_eq!(claimed.turn.conversation, old.id);
    assert!(store.set_draining(&name("a"), false).await.unwrap());
    assert_eq!(on.server("a").await.state(), ServerState::Ready);
    assert!(on.place(&new, "a").await);
}

/// A server has as many turns as it has room for: no more conversations are placed there, and no more of its turns claimed.
pub async fn a_capacity_is_kept(on: &dyn Fixture) {
    if !on.keeps_servers().await {
        return;
    }
    let store = on.store();
    store.report_server(&bounded("a", 2)).await.unwrap();
    let mut conversations = Vec::new();
    for number in 0..4 {
        let conversation = on.open(&number.to_string()).await;
        on.submit(&conversation, "Hello").await;
        conversations.push(conversation);
    }
    for (number, conversation) in conversations.iter().enumerate() {
        assert_eq!(on.place(conversation, "a").await, number < 2);
    }
    // Another says that there is more room.
    store.report_server(&bounded("a", 4)).await.unwrap();
    assert!(on.place(&conversations[2], "a").await);
    assert!(on.place(&conversations[3], "a").await);
    let load = store.servers().await.unwrap().remove(0);
    assert_eq!((load.running, load.queued), (0, 4));
    let claims = (0..8).map(|number: u32| {
        let store = on.store();
        let claim = claim_by(&number.to_string()).on(&name("a"), NonZeroU32::new(2));
        tokio::spawn(async move { store.claim(&claim).await.unwrap() })
    });
    let claimed = join_all(claims)
        .await
        .into_iter()
        .filter_map(Result::unwrap);
    let claimed: Vec<_> = claimed.collect();
    assert_eq!(claimed.len(), 2);
    let load = store.servers().await.unwrap().remove(0);
    assert_eq!((load.running, load.queued), (2, 2));
    // What runs may be taken over.
    on.expire_leases();
    let claim = claim_by("next").on(&name("a"), NonZeroU32::new(2));
    let again = store.claim(&claim).await.unwrap().unwrap();
    assert_eq!(again.turn.generation, 2);
    on.complete(&again.lease).await;
    assert!(store.claim(&claim).await.unwrap().is_some());
}
