//! Turns that run on one node and are watched on another, over a bus of which a test says what becomes of its messages.
//!
//! Nothing is saved of a running reply here: what a watcher is told came over the bus.

mod bus;
#[cfg(feature = "nats")]
mod nats;

use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use opencode_client::reply::{Change, PersistedPart, View};
use opencode_host::id::TurnId;
use opencode_host::live::{Cursor, LiveEvent, MessagePlace};
use opencode_host::store::TurnStatus;
use opencode_host::turn::TurnResult;
use opencode_host::{Host, HostOptions, LiveStream, WorkerOptions};
use opencode_impostor::{Impostor, Script, Step};
use tokio::time::timeout;

use self::bus::{TestBus, Way};
use crate::hosting::{Hosting, PATIENCE, Recorder, quick};

/// Longer than any test.
const NEVER: Duration = Duration::from_secs(3600);

/// A node that works, another that watches, and what is between them.
struct Nodes {
    on: Hosting,
    bus: TestBus,
    there: Host,
    recorder: Recorder,
}

impl Nodes {
    /// Both with a bus, and without anything saved of running replies.
    async fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        let options = WorkerOptions {
            snapshot_interval: NEVER,
            ..quick()
        };
        Self::with(Script::always(steps), options).await
    }

    async fn with(script: Script, options: WorkerOptions) -> Self {
        let bus = TestBus::default();
        let impostor = Impostor::scripted(script).await.unwrap();
        let own = bus.clone();
        let on = Hosting::with(impostor, options, |builder| builder.live_bus(own)).await;
        let recorder = Recorder::default();
        let there = node(&on, &bus, &recorder);
        Self {
            on,
            bus,
            there,
            recorder,
        }
    }

    /// One more node that watches.
    fn another(&self) -> Host {
        node(&self.on, &self.bus, &self.recorder)
    }

    async fn ended(&self, turn: TurnId, working: tokio::task::JoinHandle<()>) -> TurnResult {
        self.on.finished(turn, working).await
    }
}

fn node(on: &Hosting, bus: &TestBus, recorder: &Recorder) -> Host {
    let options = HostOptions {
        poll_interval: Duration::from_millis(50),
        ..HostOptions::default()
    };
    Host::builder(Arc::clone(&on.store))
        .options(options)
        .tracer(recorder.clone())
        .error_reporter(recorder.clone())
        .live_bus(bus.clone())
        .build()
}

/// What a watcher has been told, and what it shows.
#[derive(Debug, Default)]
struct Seen {
    cursor: Cursor,
    changes: Vec<(Cursor, Change<'static>)>,
    snapshots: usize,
    view: View,
    end: Option<Box<TurnResult>>,
}

impl Seen {
    /// Takes an event, which must be the next one.
    fn take(&mut self, event: LiveEvent) {
        match event {
            LiveEvent::Change { change, .. }
                if matches!(
                    *change,
                    Change::ServerReachable | Change::ServerUnreachable { .. }
                ) => {}
            LiveEvent::Change { cursor, change } => {
                let is_next = cursor.sequence == self.cursor.sequence + 1
                    && (cursor.generation == self.cursor.generation
                        || self.cursor == Cursor::START);
                assert!(is_next, "{cursor} behind {}: {change:?}", self.cursor);
                self.cursor = cursor;
                self.view.apply(&change);
                self.changes.push((cursor, (*change).clone()));
            }
            LiveEvent::Snapshot { cursor, view } => {
                assert!(cursor > self.cursor, "{cursor} behind {}", self.cursor);
                (self.cursor, self.view) = (cursor, view);
                self.snapshots += 1;
            }
            LiveEvent::Finished(result) => self.end = Some(result),
            other => panic!("{other:?}"),
        }
    }

    fn text(&self) -> String {
        let parts = self.view.parts().map(|part| match &part.part {
            PersistedPart::Text { content } => content.as_str(),
            _ => "",
        });
        parts.collect()
    }

    /// Takes events until the text shown is this.
    async fn until(&mut self, live: &mut LiveStream, text: &str) {
        let watching = async {
            while self.text() != text {
                let event = live.try_next().await.unwrap();
                self.take(event.expect("the turn has ended"));
            }
        };
        let shown = timeout(PATIENCE, watching).await;
        shown.unwrap_or_else(|_| panic!("{text:?} was not shown, but {self:?}"));
    }

    /// Takes all events there are.
    async fn all(&mut self, live: &mut LiveStream) {
        let watching = async {
            while let Some(event) = live.try_next().await.unwrap() {
                self.take(event);
            }
        };
        timeout(PATIENCE, watching)
            .await
            .expect("the turn did not end");
    }

    /// What was shown at the end is what is kept.
    #[track_caller]
    fn assert_whole(&self, text: &str) {
        let result = self.end.as_ref().expect("the end was not told");
        // Each text is a part, and they are kept as paragraphs.
        assert_eq!(result.answer.content.replace("\n\n", ""), text);
        assert_eq!(self.text(), text, "{self:?}");
    }
}

async fn live(host: &Host, turn: TurnId, cursor: Cursor) -> LiveStream {
    host.live(turn, cursor).await.unwrap()
}

#[cfg(feature = "conformance")]
#[tokio::test]
async fn the_bus_of_these_tests_keeps_every_promise() {
    let bus = TestBus::default();
    opencode_host::live::conformance::run(&bus, &bus.clone()).await;
}

#[tokio::test]
async fn another_node_is_told_the_same_changes_once_and_in_order() {
    let nodes = Nodes::new([
        Step::reasoning("Hm, let me see."),
        Step::text("One. "),
        Step::gate("two"),
        Step::text("Two. "),
        Step::tool("bash", serde_json::json!({"command": "ls"}), "a b"),
        Step::text("Three."),
    ])
    .await;
    let turn = nodes.on.submit("go").await;
    // Both are there before it begins.
    let mut streams = [
        live(&nodes.on.host, turn, Cursor::START).await,
        live(&nodes.there, turn, Cursor::START).await,
    ];
    nodes.bus.until_watched(turn, true).await;
    let working = nodes.on.work(turn);
    let mut seen = [Seen::default(), Seen::default()];
    seen[1].until(&mut streams[1], "One. ").await;
    nodes.on.impostor.gate("two").open();
    for (seen, stream) in seen.iter_mut().zip(&mut streams) {
        seen.all(stream).await;
        seen.assert_whole("One. Two. Three.");
        assert_eq!(seen.snapshots, 0);
    }
    assert_eq!(seen[0].changes, seen[1].changes);
    assert!(seen[0].changes.len() > 10);
    nodes.ended(turn, working).await;
    assert_eq!(nodes.recorder.count("live.gap"), 0);
}

#[tokio::test]
async fn who_comes_in_the_middle_or_moves_goes_on_from_where_it_was() {
    let nodes = Nodes::new([
        Step::text("One. "),
        Step::gate("two"),
        Step::text("Two. "),
        Step::gate("three"),
        Step::text("Three."),
        Step::gate("end"),
    ])
    .await;
    let turn = nodes.on.submit("go").await;
    let working = nodes.on.work(turn);
    let (mut whole, mut moving) = (Seen::default(), Seen::default());
    let mut local = live(&nodes.on.host, turn, Cursor::START).await;
    whole.until(&mut local, "One. ").await;
    // It comes in the middle, to a node where nobody watched.
    let mut there = live(&nodes.there, turn, Cursor::START).await;
    moving.until(&mut there, "One. ").await;
    drop(there);
    // It moves to a third one.
    nodes.on.impostor.gate("two").open();
    whole.until(&mut local, "One. Two. ").await;
    let third = nodes.another();
    let mut stream = live(&third, turn, moving.cursor).await;
    moving.until(&mut stream, "One. Two. ").await;
    drop(stream);
    // To the one that works, and back to the second one.
    nodes.on.impostor.gate("three").open();
    let mut stream = live(&nodes.on.host, turn, moving.cursor).await;
    moving.until(&mut stream, "One. Two. Three.").await;
    drop(stream);
    nodes.on.impostor.gate("end").open();
    let mut stream = live(&nodes.there, turn, moving.cursor).await;
    moving.all(&mut stream).await;
    whole.all(&mut local).await;
    moving.assert_whole("One. Two. Three.");
    assert_eq!(moving.snapshots, 0, "exactly what it missed");
    assert_eq!(moving.changes, whole.changes);
    nodes.ended(turn, working).await;
}

#[tokio::test]
async fn nothing_is_sent_of_what_nobody_watches_elsewhere() {
    let nodes = Nodes::new([Step::text("One."), Step::gate("end")]).await;
    let turn = nodes.on.submit("go").await;
    let working = nodes.on.work(turn);
    nodes.on.shown(turn, "One.").await;
    // It was looked who watches, and a watcher of another turn is none of this one.
    let other = nodes.on.submit("other").await;
    let _stream = live(&nodes.there, other, Cursor::START).await;
    nodes.bus.until_watched(other, true).await;
    let looked = nodes.bus.calls("watched");
    let looking = async {
        while nodes.bus.calls("watched") == looked {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, looking).await.unwrap();
    nodes.on.impostor.gate("end").open();
    nodes.ended(turn, working).await;
    assert_eq!(nodes.bus.messages(), []);
}

#[tokio::test]
async fn what_the_bus_loses_costs_time_alone() {
    for way in [Way::Lose, Way::Fail] {
        let nodes = Nodes::new([
            Step::text("One. "),
            Step::gate("two"),
            Step::text("Two. "),
            Step::gate("three"),
            Step::text("Three. "),
            Step::gate("four"),
            Step::text("Four."),
        ])
        .await;
        let turn = nodes.on.submit("go").await;
        let working = nodes.on.work(turn);
        let mut seen = Seen::default();
        let mut there = live(&nodes.there, turn, Cursor::START).await;
        seen.until(&mut there, "One. ").await;
        let calls = nodes.bus.calls("publish");
        nodes.bus.set(way);
        nodes.on.impostor.gate("two").open();
        nodes.on.shown(turn, "Two. ").await;
        let tried = async {
            while nodes.bus.calls("publish") == calls {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, tried).await.unwrap();
        nodes.bus.set(Way::Bring);
        nodes.on.impostor.gate("three").open();
        seen.until(&mut there, "One. Two. Three. ").await;
        // A database that was started anew has forgotten who watches, too.
        nodes.bus.forget();
        nodes.on.impostor.gate("four").open();
        seen.all(&mut there).await;
        let result = seen.end.as_ref().unwrap();
        assert_eq!(
            result.answer.content.replace("\n\n", ""),
            "One. Two. Three. Four."
        );
        nodes.ended(turn, working).await;
        let gaps = nodes.recorder.count("live.gap");
        assert_eq!(gaps > 0, way == Way::Lose, "{way:?}: {gaps}");
        // All came again, as changes.
        assert_eq!(seen.snapshots, 0, "{way:?}");
    }
}

#[tokio::test]
async fn a_turn_that_is_taken_over_goes_on_on_all_nodes() {
    let nodes = Nodes::new([
        Step::text("One. "),
        Step::gate("two"),
        Step::text("Two."),
        Step::gate("end"),
    ])
    .await;
    let turn = nodes.on.submit("go").await;
    let shutdown = tokio_util::sync::CancellationToken::new();
    let first = tokio::spawn({
        let (worker, shutdown) = (nodes.on.worker.clone(), shutdown.clone());
        async move { worker.run_turn(turn, shutdown).await }
    });
    let mut seen = Seen::default();
    let third = nodes.another();
    let mut there = live(&third, turn, Cursor::START).await;
    seen.until(&mut there, "One. ").await;
    assert_eq!(seen.cursor.generation, 1);
    // The node that watches goes on with it.
    shutdown.cancel();
    first.await.unwrap().unwrap();
    let worker = opencode_host::Worker::builder(nodes.on.worker.client().clone())
        .shared_folder()
        .options(WorkerOptions {
            snapshot_interval: NEVER,
            ..quick()
        })
        .build(&nodes.there)
        .unwrap();
    let second = tokio::spawn(async move {
        let shutdown = tokio_util::sync::CancellationToken::new();
        worker.run_turn(turn, shutdown).await
    });
    nodes.on.impostor.gate("two").open();
    seen.until(&mut there, "One. Two.").await;
    assert_eq!(seen.cursor.generation, 2);
    // Who was with the first worker goes to the second one's node, or stays.
    for host in [&nodes.there, &nodes.on.host] {
        let mut moved = Seen {
            cursor: Cursor {
                generation: 1,
                sequence: 2,
            },
            ..Seen::default()
        };
        let mut stream = live(host, turn, moved.cursor).await;
        moved.until(&mut stream, "One. Two.").await;
        assert_eq!((moved.snapshots, moved.cursor.generation), (1, 2));
    }
    nodes.on.impostor.gate("end").open();
    seen.all(&mut there).await;
    seen.assert_whole("One. Two.");
    second.await.unwrap().unwrap();
}

#[tokio::test]
async fn odd_messages_cost_nothing_but_a_word() {
    let nodes = Nodes::with(
        Script::always([
            Step::text("One. "),
            Step::gate("two"),
            Step::text("Two."),
            Step::gate("end"),
        ]),
        WorkerOptions {
            snapshot_interval: NEVER,
            ..quick()
        },
    )
    .await;
    let turn = nodes.on.submit("go").await;
    let working = nodes.on.work(turn);
    let mut seen = Seen::default();
    let mut there = live(&nodes.there, turn, Cursor::START).await;
    seen.until(&mut there, "One. ").await;
    let place = MessagePlace {
        generation: 1,
        number: 1,
    };
    let large = format!(
        "1 {{\"changes\":{{\"first\":1,\"changes\":\"{}\"}}}}",
        "x".repeat(10 << 20)
    );
    let odd = [
        ("version", "2 {\"changes\": []}".to_owned()),
        ("malformed", "1 {\"changes\": 5}".to_owned()),
        ("malformed", "what?".to_owned()),
        ("malformed", String::new()),
        ("malformed", format!("1 {}", "[".repeat(100_000))),
        ("size", large),
    ];
    for (_, text) in &odd {
        nodes.bus.forge(turn, place, text.clone());
    }
    nodes.on.impostor.gate("two").open();
    seen.until(&mut there, "One. Two.").await;
    nodes.on.impostor.gate("end").open();
    seen.all(&mut there).await;
    seen.assert_whole("One. Two.");
    assert_eq!(seen.snapshots, 0);
    nodes.ended(turn, working).await;
    let refused = nodes.recorder.named("live.refused");
    let reasons: Vec<_> = refused
        .iter()
        .map(|event| event["reason"].as_str().unwrap())
        .collect();
    assert_eq!(reasons, ["version", "malformed", "size"]);
    assert_eq!(refused[2]["size"], odd[5].1.len());
    assert_eq!(refused[0].get("size"), None);
}

/// Nodes of a version without a bus, or one that is cut off: what is saved is shown.
#[tokio::test]
async fn without_a_word_of_the_bus_what_is_saved_is_shown() {
    let nodes = Nodes::with(
        Script::always([
            Step::text("One. "),
            Step::gate("two"),
            Step::text("Two. "),
            Step::gate("three"),
            Step::text("Three."),
            Step::gate("end"),
        ]),
        quick(),
    )
    .await;
    nodes.bus.set(Way::Lose);
    let turn = nodes.on.submit("go").await;
    let working = nodes.on.work(turn);
    let mut there = live(&nodes.there, turn, Cursor::START).await;
    let mut text = String::new();
    let mut cursor = Cursor::START;
    for (wanted, gate) in [("One. ", "two"), ("One. Two. ", "three")] {
        while text != wanted {
            let event = timeout(PATIENCE, there.try_next()).await.unwrap();
            match event.unwrap() {
                Some(LiveEvent::Snapshot { view, cursor: at }) => {
                    let seen = Seen {
                        view,
                        ..Seen::default()
                    };
                    (text, cursor) = (seen.text(), at);
                }
                other => panic!("{other:?}"),
            }
        }
        nodes.on.impostor.gate(gate).open();
    }
    // It is no place among the changes, and whoever comes from there gets the whole.
    nodes.on.shown(turn, "Three.").await;
    let mut seen = Seen::default();
    let mut local = live(&nodes.on.host, turn, cursor).await;
    seen.until(&mut local, "One. Two. Three.").await;
    assert_eq!((seen.snapshots, seen.changes.len()), (1, 0));
    nodes.bus.set(Way::Bring);
    let mut seen = Seen::default();
    let shown = async {
        while seen.text() != "One. Two. Three." || seen.cursor.generation == 0 {
            seen = Seen {
                cursor: Cursor::START,
                ..seen
            };
            let event = there.try_next().await.unwrap();
            seen.take(event.unwrap());
        }
    };
    timeout(PATIENCE, shown)
        .await
        .expect("the bus is not heard again");
    nodes.on.impostor.gate("end").open();
    let result = nodes.ended(turn, working).await;
    assert_eq!(result.status, TurnStatus::Completed);
}
