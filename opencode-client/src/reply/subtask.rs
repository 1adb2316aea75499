//! Work that a `task` tool has done in a child session.

use super::answer::Answer;
use super::change::Change;
use super::messages::Scope;
use super::observers::{Observer, ObserverError};
use super::requests::Requests;
use super::room::MAX_CHILD_BYTES;
use crate::event::{Event, EventBody};
use crate::id::SessionId;
use crate::wire::Tokens;

/// The most child sessions of one turn whose progress is followed.
const MAX_CHILDREN: usize = 64;

/// The child sessions of a turn, each with what it has said so far.
#[derive(Debug, Default)]
pub(super) struct Subtasks {
    children: Vec<Child>,
}

/// One child session.
#[derive(Debug)]
pub(super) struct Child {
    session: SessionId,
    /// The `task` part it works for, once known.
    part: Option<String>,
    answer: Answer,
}

/// Gathers what a child's answer tells.
#[derive(Debug)]
struct Collector(std::sync::mpsc::Sender<Change<'static>>);

impl Observer for Collector {
    fn changed(&mut self, change: &Change<'_>) -> Result<(), ObserverError> {
        Ok(self.0.send(change.clone().into_owned())?)
    }
}

impl Subtasks {
    pub(super) fn sessions(&self) -> impl Iterator<Item = &SessionId> {
        self.children.iter().map(|child| &child.session)
    }

    /// Cost and tokens of what the children's events told.
    pub(super) fn usage(&self) -> (f64, Tokens) {
        let mut sum = (0.0, Tokens::default());
        for child in &self.children {
            let (cost, tokens) = child.answer.messages.usage();
            sum.0 += cost;
            sum.1 += tokens;
        }
        sum
    }

    pub(super) fn knows(&self, session: &SessionId) -> bool {
        self.sessions().any(|known| known == session)
    }

    /// The child of this session.
    pub(super) fn of(&mut self, session: &str) -> Option<&mut Child> {
        let mut children = self.children.iter_mut();
        children.find(|child| child.session.as_str() == session)
    }

    /// Follows a session from now on, unless too many are. `part` is the `task` part that it works for, once known.
    pub(super) fn follow(&mut self, session: &str, part: Option<String>) {
        if let Some(child) = self.of(session) {
            child.part = part.or(child.part.take());
        } else if self.children.len() < MAX_CHILDREN {
            let session = SessionId::from(session);
            self.children.push(Child {
                answer: Answer::new(session.clone(), Scope::Session, MAX_CHILD_BYTES),
                session,
                part,
            });
        }
    }
}

impl Child {
    /// The `task` part that it works for, once known.
    pub(super) fn part(&self) -> Option<&str> {
        self.part.as_deref()
    }

    /// Folds an event of the child's in. What it changed, where somebody `listens`.
    pub(super) fn apply(
        &mut self,
        event: &Event<'_>,
        listens: bool,
    ) -> impl Iterator<Item = Change<'static>> + use<> {
        let (sender, changes) = std::sync::mpsc::channel();
        if listens {
            self.answer.observers.add(Collector(sender));
        }
        match &event.body {
            EventBody::QuestionAsked(_) | EventBody::PermissionAsked(_) => {}
            body => {
                self.answer.apply(event, &Requests::default());
                if let Some(change) = Change::of_answered(body) {
                    self.answer.observers.tell(|| change);
                }
            }
        }
        self.answer.observers.clear();
        changes.into_iter()
    }
}
