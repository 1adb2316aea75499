//! What every [`LiveBus`] promises, as a test.
//!
//! Behind the feature `conformance`, as [`store::conformance`](crate::store::conformance). A bus of one process is given
//! twice:
//!
//! ```no_run
//! # async fn example(bus: impl opencode_host::live::LiveBus) {
//! opencode_host::live::conformance::run(&bus, &bus).await;
//! # }
//! ```

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a broken promise is a panic: these are tests, exported"
)]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::bus::{
    Hint, Interest, LiveBus, LiveMessage, MAX_LIVE_MESSAGE, MessagePlace, NodeId, Read,
};
use crate::id::TurnId;

/// How long a bus may take to bring something.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longer than all of it.
const HOUR: Duration = Duration::from_secs(3600);

/// Two nodes on one bus, each with its own handle of it.
struct Nodes<'a> {
    one: &'a dyn LiveBus,
    two: &'a dyn LiveBus,
    here: NodeId,
    there: NodeId,
}

/// Runs every promise on two handles of one bus, as two nodes have them. What other nodes say on it does not matter.
///
/// # Panics
/// When a promise is broken, with what was seen.
pub async fn run(one: &dyn LiveBus, two: &dyn LiveBus) {
    let nodes = Nodes {
        one,
        two,
        here: NodeId::random(),
        there: NodeId::random(),
    };
    nodes.nothing_is_nothing().await;
    nodes.who_watches_is_known_to_the_others().await;
    nodes.who_watches_is_forgotten_in_time().await;
    nodes.messages_come_from_where_a_node_was().await;
    nodes.any_text_comes_as_it_was().await;
    nodes.many_messages_come_in_order().await;
    nodes.a_node_hears_what_others_say().await;
}

impl Nodes<'_> {
    async fn nothing_is_nothing(&self) {
        self.one.publish(&[]).await.unwrap();
        self.two.watch(self.there, &[], HOUR).await.unwrap();
        assert_eq!(self.two.read(&[]).await.unwrap(), []);
        assert_eq!(self.one.watched(self.here, &[]).await.unwrap(), []);
        assert_eq!(self.one.watched(self.here, &[turn()]).await.unwrap(), []);
        assert_eq!(self.two.read(&[from_start(turn())]).await.unwrap(), []);
    }

    async fn who_watches_is_known_to_the_others(&self) {
        let (a, b, c) = (turn(), turn(), turn());
        let watched = async |turns: &[TurnId]| self.one.watched(self.here, turns).await.unwrap();
        self.watch(&[of(a, 1), of(c, 1)]).await;
        until(async || watched(&[a, b]).await, &[(self.there, of(a, 1))]).await;
        // What is grown is known, and what was said of others holds on.
        self.watch(&[of(a, u32::MAX.into())]).await;
        let grown = (self.there, of(a, u32::MAX.into()));
        until(async || watched(&[a]).await, &[grown]).await;
        until(async || watched(&[c]).await, &[(self.there, of(c, 1))]).await;
        let own = self.two.watched(self.there, &[a, c]).await.unwrap();
        assert_eq!(own, [], "a node is not told of itself");
        // A second node watches the same.
        let third = NodeId::random();
        self.one.watch(third, &[of(c, 5)], HOUR).await.unwrap();
        let mut both = [(self.there, of(c, 1)), (third, of(c, 5))];
        both.sort_by_key(|(node, _)| *node);
        let sorted = async || {
            let mut found = watched(&[c]).await;
            found.sort_by_key(|(node, _)| *node);
            found
        };
        until(sorted, &both).await;
        self.one.sweep(HOUR).await.unwrap();
        until(sorted, &both).await;
    }

    async fn who_watches_is_forgotten_in_time(&self) {
        let a = turn();
        let watched = async || self.one.watched(self.here, &[a]).await.unwrap();
        let (since, short) = (Instant::now(), Duration::from_millis(500));
        self.two
            .watch(self.there, &[of(a, 1)], short)
            .await
            .unwrap();
        until(watched, &[]).await;
        let held = since.elapsed();
        // Where it was heard late, it may not have been seen at all.
        assert!(held >= short || watched().await.is_empty(), "{held:?}");
        self.one.sweep(Duration::ZERO).await.unwrap();
        self.watch(&[of(a, 2)]).await;
        until(watched, &[(self.there, of(a, 2))]).await;
    }

    async fn messages_come_from_where_a_node_was(&self) {
        let (a, b) = (turn(), turn());
        self.is_watched(&[a, b]).await;
        let sent = [
            message(a, at(1, 1), "a one"),
            message(b, at(3, 7), "b \u{1F600} \"x\"\\u0000\n1 2"),
            message(a, at(1, 3), "a three"),
            message(a, at(2, 1), ""),
        ];
        self.one.publish(&sent).await.unwrap();
        // Who does not know whether it was sent sends it again, and it may come twice.
        self.one.publish(&sent[..1]).await.unwrap();
        let read = async |turn, after| {
            let read = Read { turn, after };
            let mut found = self.two.read(&[read]).await.unwrap();
            found.sort_by_key(LiveMessage::place);
            found.dedup();
            found
        };
        let of_a = [&sent[0], &sent[2], &sent[3]].map(Clone::clone);
        until(async || read(a, at(0, 0)).await, &of_a).await;
        // Who reads again from where it was is given the same.
        until(async || read(a, at(0, 0)).await, &of_a).await;
        until(async || read(a, at(1, 1)).await, &of_a[1..]).await;
        until(async || read(a, at(1, 9)).await, &of_a[2..]).await;
        until(async || read(a, at(2, 1)).await, &[]).await;
        until(async || read(b, at(3, 6)).await, &sent[1..2]).await;
        assert_eq!(read(b, at(3, 7)).await, []);
        // It goes on behind a sweep.
        self.two.sweep(Duration::ZERO).await.unwrap();
        let next = [message(a, at(2, 2), "more")];
        self.one.publish(&next).await.unwrap();
        until(async || read(a, at(2, 1)).await, &next).await;
    }

    async fn any_text_comes_as_it_was(&self) {
        let a = turn();
        self.is_watched(&[a]).await;
        let long = "\u{fc} ".repeat(MAX_LIVE_MESSAGE / 3);
        let too_long = "x".repeat(MAX_LIVE_MESSAGE + 1);
        let sent = [
            message(a, at(1, 1), &long),
            message(a, at(1, 2), &too_long),
            message(
                a,
                at(1, 3),
                "\u{0}\u{1}\r\n\u{2028}".trim_start_matches('\0'),
            ),
        ];
        self.one.publish(&sent).await.unwrap();
        let mut texts = BTreeMap::new();
        let mut read = Read {
            turn: a,
            after: at(0, 0),
        };
        let reading = async {
            while read.after < at(1, 3) {
                for message in self.two.read(&[read]).await.unwrap() {
                    read.after = message.place();
                    texts.insert(message.place(), message.text().map(str::to_owned));
                }
                sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(PATIENCE, reading).await.unwrap_or_else(|_| {
            let sizes: Vec<_> = texts
                .values()
                .map(|text| text.as_ref().map(String::len))
                .collect();
            panic!("large messages did not come, but {sizes:?}")
        });
        assert!(
            texts.get(&at(1, 1)) == Some(&Ok(long)),
            "a long one is whole"
        );
        // What is too large is not sent, or it is told that it was.
        let large = texts.get(&at(1, 2));
        assert!(large.is_none_or(|text| *text == Err(too_long.len())));
        assert_eq!(texts[&at(1, 3)].as_deref(), Ok("\u{1}\r\n\u{2028}"));
    }

    async fn many_messages_come_in_order(&self) {
        let turns: Vec<_> = (0..50).map(|_| turn()).collect();
        self.is_watched(&turns).await;
        let mut reads: Vec<_> = turns.iter().copied().map(from_start).collect();
        for round in 1..=20 {
            let text = format!("round {round} ").repeat(40);
            let sent: Vec<_> = turns
                .iter()
                .map(|turn| message(*turn, at(1, round), &text))
                .collect();
            self.one.publish(&sent).await.unwrap();
        }
        let mut behind = turns.len();
        let reading = async {
            while behind > 0 {
                for found in self.two.read(&reads).await.unwrap() {
                    let read = reads.iter_mut().find(|read| read.turn == found.turn);
                    let read = read.unwrap_or_else(|| panic!("{} was not read", found.turn));
                    assert!(
                        found.place().number <= read.after.number + 1,
                        "one is missing"
                    );
                    read.after = read.after.max(found.place());
                }
                behind = reads.iter().filter(|read| read.after < at(1, 20)).count();
                sleep(Duration::from_millis(2)).await;
            }
        };
        let read = timeout(PATIENCE, reading).await;
        assert!(read.is_ok(), "{behind} of {} turns are behind", turns.len());
    }

    async fn a_node_hears_what_others_say(&self) {
        let a = turn();
        let (sender, mut heard) = mpsc::unbounded_channel();
        let note = |hint| sender.send(hint).unwrap_or_default();
        let mut next = async |wanted| {
            let heard = async { while heard.recv().await != Some(wanted) {} };
            let heard = timeout(PATIENCE, heard).await;
            assert!(heard.is_ok(), "{wanted:?} was not heard");
        };
        tokio::select! {
            () = self.one.listen(&note) => panic!("it does not listen any more"),
            () = async {
                // It may listen later than this: it is said until it is heard.
                let saying = async {
                    loop {
                        self.watch(&[of(a, 1)]).await;
                        sleep(Duration::from_millis(20)).await;
                    }
                };
                tokio::select! {
                    never = saying => never,
                    () = next(Hint::Watched) => {}
                }
            } => {}
        }
        self.is_watched(&[a]).await;
        let (sender, mut heard) = mpsc::unbounded_channel();
        let note = |hint| sender.send(hint).unwrap_or_default();
        let mut number = 0;
        let saying = async {
            loop {
                number += 1;
                let sent = message(a, at(1, number), "x");
                self.one.publish(&[sent]).await.unwrap();
                sleep(Duration::from_millis(20)).await;
            }
        };
        let hearing = async { while heard.recv().await != Some(Hint::Published) {} };
        tokio::select! {
            () = self.two.listen(&note) => panic!("it does not listen any more"),
            never = saying => never,
            heard = timeout(PATIENCE, hearing) => assert!(heard.is_ok(), "no message was heard of"),
        }
    }

    /// The node there says that it watches these.
    async fn watch(&self, interests: &[Interest]) {
        let said = self.two.watch(self.there, interests, HOUR).await;
        said.unwrap();
    }

    /// The node there watches these, and the one here knows.
    async fn is_watched(&self, turns: &[TurnId]) {
        let interests: Vec<_> = turns.iter().map(|turn| of(*turn, 1)).collect();
        self.watch(&interests).await;
        let known = async || self.one.watched(self.here, turns).await.unwrap().len();
        let knowing = async {
            while known().await < turns.len() {
                sleep(Duration::from_millis(2)).await;
            }
        };
        let knowing = timeout(PATIENCE, knowing).await;
        assert!(knowing.is_ok(), "not all that is watched is known");
    }
}

/// Waits until this is what is found.
async fn until<T: Debug + PartialEq>(found: impl AsyncFn() -> Vec<T>, wanted: &[T]) {
    let since = Instant::now();
    loop {
        let found = found().await;
        if found == wanted {
            return;
        }
        assert!(
            since.elapsed() < PATIENCE,
            "{found:?} instead of {wanted:?}"
        );
        sleep(Duration::from_millis(2)).await;
    }
}

fn turn() -> TurnId {
    TurnId::from_uuid(Uuid::new_v4())
}

fn of(turn: TurnId, asked: u64) -> Interest {
    Interest { turn, asked }
}

fn at(generation: u64, number: u64) -> MessagePlace {
    MessagePlace { generation, number }
}

fn message(turn: TurnId, place: MessagePlace, text: &str) -> LiveMessage {
    LiveMessage::new(turn, place, text.to_owned())
}

fn from_start(turn: TurnId) -> Read {
    Read {
        turn,
        after: at(0, 0),
    }
}
