//! Servers that are gone, or have lost what they knew: what they had to do is done elsewhere, and what is left on them is
//! their own workers' to delete.
//!
//! A store that keeps no servers ([`Servers::keeps_servers`](crate::store::Servers::keeps_servers)) promises nothing of this.

use std::time::Duration;

use super::Fixture;
use super::sample::{LEASE, finish, prompt, session};
use super::servers::{BOUND, name, report};
use crate::clock::Clock as _;
use crate::store::{
    EffectKind, Lane, Note, Owed, Phase, ServerName, ServerState, SessionRecord, StoreError, Take,
    Tenant, TurnStatus,
};

impl dyn Fixture + '_ {
    /// Has a server be gone, as a worker of another says.
    async fn lose(&self, server: &str, heard: &str) {
        self.clock().advance(BOUND);
        let losing = self.store();
        let lost = losing.lose_silent_servers(&name(heard), BOUND).await;
        assert_eq!(lost.unwrap(), [name(server)]);
    }

    /// Moves everything, and tells the names of the conversations.
    async fn moved(&self) -> Vec<(String, ServerName)> {
        let store = self.store();
        let mut moved = Vec::new();
        for (id, from) in store.move_from_gone(100).await.unwrap() {
            let row = store.conversation(id).await.unwrap().unwrap();
            moved.push((row.name, from));
        }
        moved.sort();
        moved
    }

    async fn due_in(&self, lane: &Lane) -> Option<EffectKind> {
        let taken = self.store().take_effect(Take::Due(lane), LEASE).await;
        taken.unwrap().map(|effect| effect.kind)
    }
}

/// A server that is silent for too long is gone, as a worker of another says, until one of its own says that it is back.
pub async fn a_silent_server_is_gone(on: &dyn Fixture) {
    if !on.keeps_servers().await {
        return;
    }
    let store = on.store();
    on.hears(&["a", "b"]).await;
    let garden = on.open("garden").await;
    on.submit(&garden, "Hello").await;
    assert!(on.place(&garden, "a").await);
    on.clock().advance(Duration::from_millis(59_999));
    let lose = async || {
        let losing = on.store();
        losing.lose_silent_servers(&name("b"), BOUND).await.unwrap()
    };
    assert_eq!(lose().await, []);
    on.clock().advance(Duration::from_millis(1));
    assert_eq!(lose().await, [name("a")]);
    assert_eq!(lose().await, []);
    let at = on.clock().now();
    assert_eq!(on.server("a").await.gone_at, Some(at));
    assert_eq!(on.server("a").await.state(), ServerState::Gone);
    let other = on.open("other").await;
    on.submit(&other, "Hello").await;
    assert!(!on.place(&other, "a").await);
    assert!(on.claim_on("a").await.is_none());
    on.clock().advance(BOUND);
    let said = store.report_server(&report("a")).await.unwrap();
    assert_eq!(said.state(), ServerState::Gone, "it has to say so");
    store.server_returned(&name("a")).await.unwrap();
    assert_eq!(on.server("a").await.state(), ServerState::Ready);
    assert_eq!(on.server("a").await.heard_at, Some(on.clock().now()));
    assert_eq!(on.claim_on("a").await.unwrap().turn.conversation, garden.id);
    assert!(on.place(&other, "a").await);
}

/// What a server that is gone had to do is done elsewhere, and the session that it has is left to its own workers.
pub async fn what_a_gone_server_had_to_do_is_moved(on: &dyn Fixture) {
    if !on.keeps_servers().await {
        return;
    }
    let store = on.store();
    on.hears(&["a", "b"]).await;
    let prompted = on.at_work("prompted", "a").await;
    let noted = prompt("1", false);
    let noting = store.note(&prompted.lease, Note::Prompt(&noted));
    noting.await.unwrap();
    let behind = on.submit(&prompted.conversation, "more").await;
    let begun = on.at_work("begun", "a").await;
    let ended = on.at_work("ended", "a").await;
    let end = finish(TurnStatus::Completed, "Hi");
    store.finish(&ended.lease, &end).await.unwrap();
    let idle = on.at_work("idle", "a").await;
    on.complete(&idle.lease).await;
    let there = on.at_work("there", "b").await;
    on.complete(&there.lease).await;
    assert_eq!(on.moved().await, [], "it is not gone");
    on.lose("a", "b").await;
    let from = |conversation: &str| (conversation.to_owned(), name("a"));
    assert_eq!(
        on.moved().await,
        [from("begun"), from("ended"), from("prompted")]
    );
    assert_eq!(on.moved().await, []);

    for (claimed, server) in [(&prompted, None), (&begun, None), (&idle, Some(name("a")))] {
        assert_eq!(on.placed_on(&claimed.conversation).await, server);
    }
    assert_eq!(on.placed_on(&there.conversation).await, Some(name("b")));
    for late in [&prompted, &begun] {
        let lost = store.finish(&late.lease, &end).await;
        assert!(
            matches!(lost, Err(StoreError::LeaseLost { .. })),
            "{lost:?}"
        );
        assert_eq!(on.turn(late.turn.id).await.phase(), Phase::Queued);
    }
    let lost = store.settle(&ended.lease).await;
    assert!(
        matches!(lost, Err(StoreError::LeaseLost { .. })),
        "{lost:?}"
    );

    // What was not prompted is to be placed; the rest needs no server any more.
    assert_eq!(on.waiting().await, [begun.turn.id]);
    let mut claimed = [
        on.claim_on("b").await.unwrap(),
        on.claim_on("b").await.unwrap(),
    ];
    assert!(on.claim_on("b").await.is_none());
    claimed.sort_by_key(|claimed| claimed.turn.id);
    assert_eq!(
        (claimed[0].turn.id, claimed[1].turn.id),
        (prompted.turn.id, ended.turn.id)
    );
    let replaced = claimed[0].conversation.session.clone().unwrap();
    assert_eq!(
        (&replaced.server, &replaced.owed),
        (&Some(name("a")), &Some(Owed::Replacement))
    );
    assert!(replaced.is_elsewhere(&name("b")));
    let interrupted = finish(TurnStatus::Error, "Hal");
    store.finish(&claimed[0].lease, &interrupted).await.unwrap();
    assert!(store.settle(&claimed[0].lease).await.unwrap());
    assert!(store.settle(&claimed[1].lease).await.unwrap());
    // By age: the one behind was submitted before the other conversation was opened.
    assert_eq!(on.waiting().await, [behind.id, begun.turn.id]);
    assert!(on.place(&begun.conversation, "b").await);
    let again = on.claim_on("b").await.unwrap();
    assert_eq!((again.turn.id, again.turn.attempts), (begun.turn.id, 1));

    let lane = Lane::of_deletions_on(&name("a"));
    let mut left = Vec::new();
    while let Some(EffectKind::LeftSession {
        conversation,
        session,
        server,
    }) = on.due_in(&lane).await
    {
        assert_eq!((server, session.owed), (name("a"), None));
        left.push((conversation, session.id));
    }
    left.sort_unstable_by_key(|(of, _)| *of);
    let expected = [&prompted, &begun, &ended].map(|of| {
        let id = session(&format!("ses_{}", of.conversation.name)).id;
        (of.conversation.id, id)
    });
    assert_eq!(left, expected);

    // What is submitted to one that was idle is moved then.
    on.submit(&idle.conversation, "more").await;
    assert_eq!(on.moved().await, [from("idle")]);
}

/// A conversation's deletion is done by the workers of the server that its session is on; by any, without a session.
pub async fn a_deletion_is_its_servers(on: &dyn Fixture) {
    if !on.keeps_servers().await {
        return;
    }
    on.hears(&["a", "b"]).await;
    let used = on.at_work("used", "a").await;
    on.complete(&used.lease).await;
    let unused = on.open("unused").await;
    on.submit(&unused, "Hello").await;
    assert!(on.place(&unused, "b").await);
    for conversation in [used.conversation.id, unused.id] {
        let deleted = on.store().delete_conversation(conversation, None).await;
        assert!(deleted.unwrap().is_some());
    }
    assert_eq!(on.due_in(&Lane::of_deletions_on(&name("b"))).await, None);
    let of = |kind: Option<EffectKind>| match kind {
        Some(EffectKind::Deletion {
            conversation,
            server,
            session,
            ..
        }) => (
            conversation,
            server,
            session.map(|session: SessionRecord| session.id),
        ),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        of(on.due_in(&Lane::DELETIONS).await),
        (unused.id, None, None)
    );
    assert_eq!(on.due_in(&Lane::DELETIONS).await, None);
    let deletion = of(on.due_in(&Lane::of_deletions_on(&name("a"))).await);
    assert_eq!(
        deletion,
        (
            used.conversation.id,
            Some(name("a")),
            Some("ses_used".into())
        )
    );
}

/// The sessions of a server are told, the newest first. Where it has lost them all, its conversations are placed anew, and
/// what was to be deleted there is.
pub async fn lost_sessions_are_forgotten(on: &dyn Fixture) {
    if !on.keeps_servers().await {
        return;
    }
    let store = on.store();
    on.hears(&["a", "b"]).await;
    let mut ended = Vec::new();
    for conversation in ["one", "two", "three", "gone"] {
        on.clock().advance(Duration::from_secs(1));
        let claimed = on.at_work(conversation, "a").await;
        on.complete(&claimed.lease).await;
        ended.push(claimed.conversation);
    }
    let elsewhere = on.at_work("elsewhere", "b").await;
    store.delete_conversation(ended[3].id, None).await.unwrap();
    let sessions = async |limit| {
        let sessions = on.store().sessions_on(&name("a"), limit).await.unwrap();
        let ids = sessions.into_iter().map(|session| session.id);
        ids.collect::<Vec<_>>()
    };
    assert_eq!(sessions(2).await, ["ses_three".into(), "ses_two".into()]);
    assert_eq!(sessions(9).await.len(), 3);
    let a = name("a");
    let problem = store.note_server_problem(&a, Some("another"));
    problem.await.unwrap();
    let unknown = store.forget_sessions(&name("c"), 9).await;
    assert!(
        matches!(unknown, Err(StoreError::NotFound { what: "server", .. })),
        "{unknown:?}"
    );
    assert_eq!(store.forget_sessions(&name("a"), 2).await.unwrap(), 2);
    assert_eq!(sessions(9).await, ["ses_one".into()]);
    assert_eq!(store.forget_sessions(&name("a"), 2).await.unwrap(), 1);
    assert_eq!(store.forget_sessions(&name("a"), 2).await.unwrap(), 0);
    assert_eq!(on.server("a").await.problem, None);
    assert_eq!(on.placed_on(&ended[0]).await, None);
    assert_eq!(on.placed_on(&elsewhere.conversation).await, Some(name("b")));
    assert_eq!(on.due_in(&Lane::of_deletions_on(&name("a"))).await, None);
    let Some(EffectKind::Deletion { session, .. }) = on.due_in(&Lane::DELETIONS).await else {
        panic!("the folder is to go")
    };
    assert_eq!(session, None);
    let row = store.conversation_named(&Tenant::default(), "one").await;
    let left = row.unwrap().unwrap().session.unwrap();
    assert_eq!(
        (left.server, left.owed),
        (Some(name("a")), Some(Owed::Replacement))
    );
}
