//! Work that a `task` tool has done in a child session.

use super::part::Content;
use super::room::MAX_CHILD_BYTES;
use super::{Change, Observer, ObserverError, Reply, Scope};
use crate::event::{Event, EventBody};
use crate::id::SessionId;

/// The most child sessions of one turn whose progress is followed.
const MAX_CHILDREN: usize = 64;

/// The child sessions of a turn, each with what it has said so far.
#[derive(Debug, Default)]
pub(super) struct Subtasks {
    children: Vec<Child>,
}

#[derive(Debug)]
struct Child {
    session: SessionId,
    /// The `task` part it works for, once known.
    part: Option<String>,
    reply: Box<Reply>,
}

/// Gathers what a child's reply tells.
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

    pub(super) fn knows(&self, session: &SessionId) -> bool {
        self.sessions().any(|known| known == session)
    }

    /// The child of this session, made when it is new. `None` when there are too many.
    fn child(&mut self, session: &str) -> Option<&mut Child> {
        let at = self
            .children
            .iter()
            .position(|child| child.session.as_str() == session);
        let at = match at {
            Some(at) => at,
            None if self.children.len() >= MAX_CHILDREN => return None,
            None => {
                let session = SessionId::from(session);
                let mut reply = Box::new(Reply::with_scope(session.clone(), Scope::Session));
                reply.limit = MAX_CHILD_BYTES;
                self.children.push(Child {
                    session,
                    part: None,
                    reply,
                });
                self.children.len() - 1
            }
        };
        self.children.get_mut(at)
    }
}

impl Reply {
    /// A `task` part has said which session it works in.
    pub(super) fn adopt_child_of(&mut self, at: usize) {
        let slot = &self.slots[at];
        let Content::Tool(tool) = &slot.content else {
            return;
        };
        let Some(session) = tool.child_session() else {
            return;
        };
        let key = slot.key().to_owned();
        if let Some(child) = self.subtasks.child(session) {
            child.part = Some(key);
        }
    }

    /// An event of another session than the turn's own: nested progress when
    /// the session is a child, else none of ours.
    pub(super) fn apply_of_child(&mut self, event: &Event<'_>) {
        let Some(session) = event.session else { return };
        if let EventBody::Session(child) = &event.body {
            let parent = child.parent_id.as_ref();
            if parent.is_some_and(|parent| *parent == self.session || self.subtasks.knows(parent)) {
                self.subtasks.child(session);
            }
            return;
        }
        if !self
            .subtasks
            .sessions()
            .any(|known| known.as_str() == session)
        {
            return;
        }
        // A child's requests wait for the same person.
        self.request_event(&event.body);
        let Some(child) = self.subtasks.child(session) else {
            return;
        };
        let part_id = child.part.clone();
        let (sender, changes) = std::sync::mpsc::channel();
        if !self.observers.is_empty() {
            child.reply.observe(Collector(sender));
        }
        if !matches!(
            event.body,
            EventBody::QuestionAsked(_) | EventBody::PermissionAsked(_)
        ) {
            child.reply.apply(event);
        }
        child.reply.observers.clear();
        for change in changes.try_iter() {
            self.emit(&Change::Subtask {
                part_id: part_id.clone().map(Into::into),
                session_id: session.to_owned().into(),
                change: Box::new(change),
            });
        }
    }
}
