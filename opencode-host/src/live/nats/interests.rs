//! Who watches what, as nodes have said it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::frames::Said;
use crate::id::TurnId;
use crate::live::bus::{Interest, NodeId};

/// The most that is kept; more is not heard until there is room.
const MOST: usize = 200_000;

/// What is said holds no longer than this.
const LONGEST: Duration = Duration::from_secs(600);

/// Who watches what.
#[derive(Debug, Default)]
pub(super) struct Interests {
    turns: HashMap<TurnId, BTreeMap<NodeId, Watching>>,
    count: usize,
}

#[derive(Clone, Copy, Debug)]
struct Watching {
    asked: u64,
    inbox: Uuid,
    until: Instant,
}

impl Interests {
    /// Takes down what a node says.
    pub(super) fn hear(&mut self, said: &Said, now: Instant) {
        let until = now + said.length.min(LONGEST);
        for Interest { turn, asked } in &said.interests {
            if self.count >= MOST {
                self.sweep(now);
                if self.count >= MOST {
                    return;
                }
            }
            let nodes = self.turns.entry(*turn).or_default();
            let watching = Watching {
                asked: *asked,
                inbox: said.inbox,
                until,
            };
            self.count += usize::from(nodes.insert(said.node, watching).is_none());
        }
    }

    /// Who watches these turns, beside `node` itself.
    pub(super) fn watched(
        &self,
        node: NodeId,
        turns: &[TurnId],
        now: Instant,
    ) -> Vec<(NodeId, Interest)> {
        let mut found = Vec::new();
        for turn in turns {
            for (by, of) in self.turns.get(turn).into_iter().flatten() {
                if *by != node && now < of.until {
                    let (turn, asked) = (*turn, of.asked);
                    found.push((*by, Interest { turn, asked }));
                }
            }
        }
        found
    }

    /// Where messages of a turn go.
    pub(super) fn inboxes(&self, turn: TurnId, now: Instant) -> BTreeSet<Uuid> {
        let nodes = self.turns.get(&turn).into_iter().flatten();
        let nodes = nodes.filter(|(_, of)| now < of.until);
        nodes.map(|(_, of)| of.inbox).collect()
    }

    /// What was said from here and holds yet, to be said again.
    pub(super) fn of_inbox(&self, inbox: Uuid, now: Instant) -> Vec<Said> {
        let mut said: BTreeMap<(NodeId, Instant), Vec<Interest>> = BTreeMap::new();
        for (turn, nodes) in &self.turns {
            for (node, of) in nodes {
                if of.inbox == inbox && now < of.until {
                    let (turn, asked) = (*turn, of.asked);
                    let all = said.entry((*node, of.until)).or_default();
                    all.push(Interest { turn, asked });
                }
            }
        }
        let said = said.into_iter().map(|((node, until), interests)| Said {
            node,
            inbox,
            length: until - now,
            interests,
        });
        said.collect()
    }

    /// Forgets what does not hold any more.
    pub(super) fn sweep(&mut self, now: Instant) {
        for nodes in self.turns.values_mut() {
            nodes.retain(|_, of| now < of.until);
        }
        self.turns.retain(|_, nodes| !nodes.is_empty());
        self.count = self.turns.values().map(BTreeMap::len).sum();
    }
}
