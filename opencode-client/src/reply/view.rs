//! A reply as it is at one moment.
//!
//! A [`View`] is what any number of [`Change`]s come to. The host keeps one for watchers that come late, a page
//! renders one, a terminal prints one, and what a sub-agent has done is one inside its `task` part. Whoever has a view
//! of an earlier moment asks it what is new: every change has a number, its revision, and every part knows the
//! revision that it came with and the one that changed it last.
//!
//! A view does not fold events and knows no message ids: that is the [`Reply`](crate::Reply)'s work.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Change, Checkpoint, PartKind, PendingRequest, PersistedPart, SnapshotPart};
use crate::id::PartId;
use crate::wire::RetryAction;

/// How many removals a view remembers. Who comes back from before that gets the whole.
const MAX_GONE: usize = 64;

/// A reply as it is at one moment. Cheap to clone: clones share their parts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    parts: Vec<Arc<ViewPart>>,
    requests: Vec<Asked>,
    notice: Option<Notice>,
    revision: u64,
    /// The revision at which all parts were replaced at once.
    replaced: u64,
    /// What was removed, oldest first.
    gone: VecDeque<(u64, Gone)>,
    /// The newest removal that is not remembered.
    forgotten: u64,
}

/// One part of a [`View`]. As JSON it is `{part_id, part}`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ViewPart {
    /// The id by which changes name the part.
    pub part_id: PartId,
    /// The part so far.
    pub part: PersistedPart,
    /// What the sub-agent of a `task` part has done so far.
    #[serde(skip)]
    pub subtask: Option<View>,
    /// The revision that the part came with.
    #[serde(skip)]
    pub added: u64,
    /// The revision that changed the part last.
    #[serde(skip)]
    pub changed: u64,
}

#[derive(Clone, Debug, PartialEq)]
struct Asked {
    request: PendingRequest,
    added: u64,
}

/// What was removed from a [`View`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gone {
    /// A part.
    Part(PartId),
    /// A request that was answered.
    Request(Box<str>),
}

/// Why nothing comes for the moment. It is gone as soon as the answer goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Notice {
    /// The provider was busy and is tried again.
    Retry {
        /// Number of the next try.
        attempt: u32,
        /// What the provider said.
        message: String,
        /// Time of the next try, epoch milliseconds by the server's clock.
        next_ms: u64,
        /// What the person can do about it.
        action: Option<RetryAction>,
    },
    /// The server cannot be reached, and is tried again.
    ServerUnreachable {
        /// What a person is told.
        message: String,
    },
}

impl View {
    /// Returns the view of a reply that holds these parts and waits for these requests.
    pub fn new(
        parts: impl IntoIterator<Item = SnapshotPart>,
        requests: impl IntoIterator<Item = PendingRequest>,
    ) -> Self {
        let mut view = Self::default();
        view.replace(parts, requests);
        view
    }

    /// Returns the view that another process has after `revision` changes, at least one, of what it tells of it. What
    /// sub-agents have done is not in it, nor what was removed before.
    pub fn at_revision(
        revision: u64,
        parts: impl IntoIterator<Item = SnapshotPart>,
        requests: impl IntoIterator<Item = PendingRequest>,
        notice: Option<Notice>,
    ) -> Self {
        let mut view = Self {
            revision: revision.saturating_sub(1),
            ..Self::default()
        };
        view.replace(parts, requests);
        view.set_notice(notice);
        view
    }

    /// The parts, in order.
    pub fn parts(&self) -> impl ExactSizeIterator<Item = &ViewPart> + DoubleEndedIterator {
        self.parts.iter().map(|part| &**part)
    }

    /// The requests that wait for a person, oldest first.
    pub fn requests(&self) -> impl ExactSizeIterator<Item = &PendingRequest> {
        self.requests.iter().map(|asked| &asked.request)
    }

    /// Why nothing comes for the moment, if something is known to be in the way.
    pub fn notice(&self) -> Option<&Notice> {
        self.notice.as_ref()
    }

    /// How many changes were applied.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// What was removed after `revision`. `None` when somebody who had the view of that revision must take it whole:
    /// all parts were replaced since, or too many were removed.
    pub fn gone_since(&self, revision: u64) -> Option<impl Iterator<Item = &Gone>> {
        if self.replaced > revision || self.forgotten > revision || revision > self.revision {
            return None;
        }
        let gone = self.gone.iter().filter(move |(at, _)| *at > revision);
        Some(gone.map(|(_, gone)| gone))
    }

    /// The requests that came after `revision` and still wait.
    pub fn requests_since(&self, revision: u64) -> impl Iterator<Item = &PendingRequest> {
        let new = self
            .requests
            .iter()
            .filter(move |asked| asked.added > revision);
        new.map(|asked| &asked.request)
    }

    /// Takes the reply as a whole, in place of all that was here. The next revision.
    pub fn replace(
        &mut self,
        parts: impl IntoIterator<Item = SnapshotPart>,
        requests: impl IntoIterator<Item = PendingRequest>,
    ) {
        self.revision += 1;
        self.replace_parts(parts);
        let added = self.revision;
        self.requests = requests
            .into_iter()
            .map(|request| Asked { request, added })
            .collect();
        self.set_notice(None);
    }

    /// Says what is in the way, or that nothing is. This is no revision.
    pub fn set_notice(&mut self, notice: Option<Notice>) {
        self.notice = notice;
    }

    /// Applies the next change.
    pub fn apply(&mut self, change: &Change<'_>) {
        self.revision += 1;
        match change {
            Change::PartAdded { part_id, part } => {
                self.set_notice(None);
                self.put(part_id, part.clone());
            }
            Change::PartDelta {
                part_id,
                kind,
                delta,
            } => {
                self.set_notice(None);
                self.grow(part_id, *kind, delta);
            }
            Change::Tool { part_id, part } => {
                self.set_notice(None);
                self.change(part_id, part);
            }
            Change::PartReplaced { part_id, part } | Change::PartFinal { part_id, part } => {
                self.change(part_id, part);
            }
            Change::PartRemoved { part_id } => {
                self.parts.retain(|known| known.part_id.as_str() != part_id);
                self.is_gone(Gone::Part(part_id.as_ref().into()));
            }
            Change::Subtask {
                part_id, change, ..
            } => self.apply_to_subtask(part_id.as_deref(), change),
            Change::Snapshot { parts } => self.replace_parts(parts.iter().cloned()),
            Change::Question { request } => self.ask(PendingRequest::Question(request.clone())),
            Change::Permission { request } => self.ask(PendingRequest::Permission(request.clone())),
            Change::QuestionReplied { request_id, .. }
            | Change::QuestionRejected { request_id }
            | Change::PermissionReplied { request_id, .. } => {
                self.requests
                    .retain(|asked| asked.request.id() != request_id);
                self.is_gone(Gone::Request(request_id.as_ref().into()));
            }
            Change::Retry {
                attempt,
                message,
                next_ms,
                action,
            } => self.set_notice(Some(Notice::Retry {
                attempt: *attempt,
                message: message.as_ref().to_owned(),
                next_ms: *next_ms,
                action: action.clone(),
            })),
            Change::ServerUnreachable { message } => {
                self.set_notice(Some(Notice::ServerUnreachable {
                    message: message.as_ref().to_owned(),
                }));
            }
            Change::ServerReachable => self.set_notice(None),
            Change::Step { .. }
            | Change::SessionError { .. }
            | Change::Message { .. }
            | Change::Todos { .. } => {}
        }
    }

    fn replace_parts(&mut self, parts: impl IntoIterator<Item = SnapshotPart>) {
        let revision = self.revision;
        let mut before = std::mem::take(&mut self.parts);
        let part = |SnapshotPart { part_id, part }| {
            // What its sub-agent did is told on the stream alone.
            let before = before.iter_mut().find(|known| known.part_id == part_id);
            let subtask = before.and_then(|known| Arc::make_mut(known).subtask.take());
            Arc::new(ViewPart {
                part_id,
                part,
                subtask,
                added: revision,
                changed: revision,
            })
        };
        self.parts = parts.into_iter().map(part).collect();
        self.replaced = revision;
        self.gone.clear();
    }

    /// A part for changing, known to have changed. The newest are changed most.
    fn part_mut(&mut self, id: &str) -> Option<&mut ViewPart> {
        let known = self.parts.iter_mut().rev();
        let part = known.into_iter().find(|part| part.part_id.as_str() == id)?;
        let part = Arc::make_mut(part);
        part.changed = self.revision;
        Some(part)
    }

    /// Puts a part in its place, or at the end.
    fn put(&mut self, id: &str, part: PersistedPart) {
        match self.part_mut(id) {
            Some(known) => known.part = part,
            None => self.parts.push(Arc::new(ViewPart {
                part_id: id.into(),
                part,
                subtask: None,
                added: self.revision,
                changed: self.revision,
            })),
        }
    }

    fn change(&mut self, id: &str, part: &PersistedPart) {
        if let Some(known) = self.part_mut(id) {
            known.part.clone_from(part);
        }
    }

    fn grow(&mut self, id: &str, kind: PartKind, delta: &str) {
        match self.part_mut(id).map(|known| &mut known.part) {
            Some(PersistedPart::Text { content } | PersistedPart::Reasoning { content }) => {
                content.push_str(delta);
            }
            Some(PersistedPart::Tool(_)) => {}
            None => {
                let content = delta.to_owned();
                let part = match kind {
                    PartKind::Text => PersistedPart::Text { content },
                    PartKind::Reasoning => PersistedPart::Reasoning { content },
                };
                self.put(id, part);
            }
        }
    }

    /// The part that a sub-agent works for; the newest tool call where the server has not said which.
    fn apply_to_subtask(&mut self, part_id: Option<&str>, change: &Change<'_>) {
        let task = self.parts.iter_mut().rev().find(|part| {
            let is_tool = matches!(part.part, PersistedPart::Tool(_));
            is_tool && part_id.is_none_or(|id| part.part_id.as_str() == id)
        });
        if let Some(task) = task {
            let task = Arc::make_mut(task);
            task.changed = self.revision;
            task.subtask.get_or_insert_default().apply(change);
        }
    }

    fn ask(&mut self, request: PendingRequest) {
        if self.requests().all(|known| known.id() != request.id()) {
            let added = self.revision;
            self.requests.push(Asked { request, added });
        }
    }

    fn is_gone(&mut self, gone: Gone) {
        self.gone.push_back((self.revision, gone));
        if self.gone.len() > MAX_GONE
            && let Some((revision, _)) = self.gone.pop_front()
        {
            self.forgotten = revision;
        }
    }
}

impl From<&Checkpoint> for View {
    fn from(checkpoint: &Checkpoint) -> Self {
        Self::new(
            checkpoint.keyed_parts(),
            checkpoint.requests.iter().cloned(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::{ToolPart, ToolStatus};

    fn text(content: &str) -> PersistedPart {
        PersistedPart::Text {
            content: content.to_owned(),
        }
    }

    fn added(part_id: &'static str, part: PersistedPart) -> Change<'static> {
        Change::PartAdded {
            part_id: part_id.into(),
            part,
        }
    }

    fn delta(part_id: &'static str, kind: PartKind, delta: &'static str) -> Change<'static> {
        Change::PartDelta {
            part_id: part_id.into(),
            kind,
            delta: delta.into(),
        }
    }

    fn task(status: ToolStatus) -> PersistedPart {
        PersistedPart::Tool(ToolPart {
            tool: "task".to_owned(),
            status,
            ..ToolPart::default()
        })
    }

    fn shown(view: &View) -> Vec<(&str, &PersistedPart)> {
        view.parts()
            .map(|part| (part.part_id.as_str(), &part.part))
            .collect()
    }

    #[test]
    fn a_delta_before_its_part_is_a_part() {
        let mut view = View::default();
        view.apply(&delta("r", PartKind::Reasoning, "Hm"));
        view.apply(&delta("t", PartKind::Text, "Early"));
        view.apply(&added("t", text("Early bird")));
        let reasoning = PersistedPart::Reasoning {
            content: "Hm".to_owned(),
        };
        assert_eq!(
            shown(&view),
            [("r", &reasoning), ("t", &text("Early bird"))]
        );
    }

    #[test]
    fn somebody_who_comes_back_learns_what_is_new() {
        let mut view = View::default();
        view.apply(&added("a", text("one")));
        view.apply(&added("b", text("two")));
        view.apply(&added("c", text("three")));
        let seen = view.revision();
        view.apply(&delta("b", PartKind::Text, " more"));
        view.apply(&Change::PartRemoved {
            part_id: "a".into(),
        });
        view.apply(&added("d", text("four")));
        let new: Vec<_> = view
            .parts()
            .filter(|part| part.changed > seen)
            .map(|part| (part.part_id.as_str(), part.added > seen))
            .collect();
        assert_eq!(new, [("b", false), ("d", true)]);
        let gone: Vec<_> = view.gone_since(seen).unwrap().collect();
        assert_eq!(gone, [&Gone::Part("a".into())]);
        assert_eq!(view.gone_since(view.revision()).unwrap().count(), 0);
        assert!(
            view.gone_since(view.revision() + 1).is_none(),
            "another run's"
        );
    }

    #[test]
    fn a_view_of_another_process_goes_on_from_its_revision() {
        let mut view = View::at_revision(7, [], [], None);
        assert_eq!(view.revision(), 7);
        view.apply(&added("a", text("one")));
        assert_eq!(view.revision(), 8);
        assert!(
            view.gone_since(6).is_none(),
            "what was removed is not known"
        );
        assert_eq!(view.gone_since(7).unwrap().count(), 0);
    }

    #[test]
    fn who_was_away_for_too_long_takes_the_whole() {
        let mut view = View::default();
        view.apply(&added("a", text("one")));
        let seen = view.revision();
        for _ in 0..=MAX_GONE {
            view.apply(&added("x", text("")));
            view.apply(&Change::PartRemoved {
                part_id: "x".into(),
            });
        }
        assert!(view.gone_since(seen).is_none());
        let seen = view.revision();
        view.apply(&Change::Snapshot {
            parts: vec![SnapshotPart {
                part_id: "a".into(),
                part: text("whole"),
            }],
        });
        assert!(view.gone_since(seen).is_none());
        assert_eq!(shown(&view), [("a", &text("whole"))]);
    }

    #[test]
    fn clones_keep_their_moment() {
        let mut view = View::default();
        view.apply(&added("a", text("one")));
        let before = view.clone();
        view.apply(&delta("a", PartKind::Text, " more"));
        assert_eq!(shown(&before), [("a", &text("one"))]);
        assert_eq!(shown(&view), [("a", &text("one more"))]);
    }

    #[test]
    fn a_sub_agents_work_is_a_view_in_its_part() {
        let mut view = View::default();
        view.apply(&added("t", task(ToolStatus::Running)));
        view.apply(&added("w", text("meanwhile")));
        for part_id in [Some("t".into()), None] {
            view.apply(&Change::Subtask {
                part_id,
                session_id: "ses_child".into(),
                change: Box::new(delta("p", PartKind::Text, "step ")),
            });
        }
        let Some(part) = view.parts().next() else {
            panic!("{view:?}")
        };
        let steps = part.subtask.as_ref().map(shown);
        assert_eq!(steps, Some(vec![("p", &text("step step "))]));
        assert_eq!(part.changed, view.revision());
        // The exchange knows nothing of the steps, and does not cost them.
        view.apply(&Change::Snapshot {
            parts: vec![SnapshotPart {
                part_id: "t".into(),
                part: task(ToolStatus::Completed),
            }],
        });
        assert!(view.parts().all(|part| part.subtask.is_some()));
    }

    #[test]
    fn a_notice_is_gone_when_the_answer_goes_on() {
        let mut view = View::default();
        view.apply(&added("a", text("")));
        view.apply(&Change::Retry {
            attempt: 2,
            message: "busy".into(),
            next_ms: 7,
            action: None,
        });
        assert!(matches!(
            view.notice(),
            Some(Notice::Retry { attempt: 2, .. })
        ));
        view.apply(&delta("a", PartKind::Text, "on"));
        assert_eq!(view.notice(), None);
    }
}
