//! The newest changes of a turn, for watchers that come back.

use std::collections::VecDeque;
use std::sync::Arc;

use opencode_client::reply::{Change, PartKind, PersistedPart};

/// How many changes are kept for watchers that come back.
pub(super) const MOST_CHANGES: usize = 1024;
/// How many bytes of text these may hold.
const MOST_BYTES: usize = 256 << 10;

/// The newest changes, bounded by number and size.
#[derive(Debug, Default)]
pub(super) struct KeptChanges {
    entries: VecDeque<Kept>,
    bytes: usize,
    /// The part that the newest delta belongs to: the next one's, most likely.
    growing: Option<Arc<str>>,
}

/// One change. Deltas are most of all changes, and a delta is a tenth of what a [`Change`] takes.
#[derive(Debug)]
enum Kept {
    Delta {
        part: Arc<str>,
        kind: PartKind,
        delta: Box<str>,
    },
    Other(Arc<Change<'static>>),
}

impl KeptChanges {
    /// Keeps one more. Behind a snapshot, or a change too large to keep, nothing earlier is.
    pub(super) fn push(&mut self, change: &Change<'_>) {
        let bytes = size(change);
        if matches!(change, Change::Snapshot { .. }) || bytes > MOST_BYTES {
            self.clear();
            return;
        }
        let kept = match change {
            Change::PartDelta {
                part_id,
                kind,
                delta,
            } => Kept::Delta {
                part: self.part(part_id),
                kind: *kind,
                delta: delta.as_ref().into(),
            },
            other => Kept::Other(Arc::new(other.clone().into_owned())),
        };
        self.entries.push_back(kept);
        self.bytes += bytes;
        while self.entries.len() > MOST_CHANGES || self.bytes > MOST_BYTES {
            let Some(oldest) = self.entries.pop_front() else {
                break;
            };
            self.bytes -= oldest.size();
        }
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// All but the oldest `skipped`.
    pub(super) fn after(&self, skipped: usize) -> impl Iterator<Item = Arc<Change<'static>>> {
        let from = skipped.min(self.entries.len());
        self.entries.range(from..).map(Kept::change)
    }

    fn part(&mut self, id: &str) -> Arc<str> {
        match &self.growing {
            Some(part) if **part == *id => Arc::clone(part),
            _ => Arc::clone(self.growing.insert(id.into())),
        }
    }
}

impl Kept {
    fn change(&self) -> Arc<Change<'static>> {
        match self {
            Self::Delta { part, kind, delta } => Arc::new(Change::PartDelta {
                part_id: part.to_string().into(),
                kind: *kind,
                delta: delta.to_string().into(),
            }),
            Self::Other(change) => Arc::clone(change),
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Delta { delta, .. } => DELTA + delta.len(),
            Self::Other(change) => size(change),
        }
    }
}

/// What a delta takes beside its text.
const DELTA: usize = 64;

/// About how much memory a change takes.
fn size(change: &Change<'_>) -> usize {
    const FIXED: usize = 512;
    match change {
        Change::PartDelta { delta, .. } => DELTA + delta.len(),
        Change::PartAdded { part, .. }
        | Change::PartReplaced { part, .. }
        | Change::PartFinal { part, .. }
        | Change::Tool { part, .. } => FIXED + part_size(part),
        Change::Subtask { change, .. } => FIXED + size(change),
        Change::Step { .. } | Change::PartRemoved { .. } => FIXED,
        // Requests, plans, words of errors: rare, and as large as their JSON.
        other => FIXED + serde_json::to_string(other).map_or(0, |json| json.len()),
    }
}

fn part_size(part: &PersistedPart) -> usize {
    match part {
        PersistedPart::Text { content } | PersistedPart::Reasoning { content } => content.len(),
        PersistedPart::Tool(tool) => {
            let json = tool
                .input
                .as_ref()
                .map_or(0, |input| input.to_string().len())
                + tool.metadata.as_ref().map_or(0, |metadata| {
                    metadata
                        .iter()
                        .map(|(key, value)| key.len() + value.to_string().len())
                        .sum()
                });
            let attachments = tool.attachments.iter();
            json + tool.output.as_ref().map_or(0, String::len)
                + attachments.map(|file| file.url.len()).sum::<usize>()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(part: &str, kind: PartKind, delta: &str) -> Change<'static> {
        Change::PartDelta {
            part_id: part.to_owned().into(),
            kind,
            delta: delta.to_owned().into(),
        }
    }

    #[test]
    fn changes_come_back_as_they_were() {
        let changes = [
            delta("a", PartKind::Text, "one"),
            delta("a", PartKind::Text, ""),
            delta("b", PartKind::Reasoning, "two \u{1F600}"),
            Change::PartRemoved {
                part_id: "b".into(),
            },
            delta("a", PartKind::Text, "three"),
        ];
        let mut kept = KeptChanges::default();
        changes.iter().for_each(|change| kept.push(change));
        for skipped in 0..=changes.len() {
            let after: Vec<_> = kept
                .after(skipped)
                .map(|change| (*change).clone())
                .collect();
            assert_eq!(after, changes[skipped..]);
        }
    }

    #[test]
    fn memory_is_bounded_by_bytes_too() {
        let mut kept = KeptChanges::default();
        for _ in 0..100 {
            kept.push(&delta("p", PartKind::Text, &"x".repeat(10 << 10)));
        }
        assert!(kept.bytes <= MOST_BYTES && kept.len() < 30);
        let sizes: usize = kept.entries.iter().map(Kept::size).sum();
        assert_eq!(kept.bytes, sizes);
    }
}
