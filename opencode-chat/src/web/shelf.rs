//! What the chat notes at a conversation: the title that a person gave it, and where it stands in the list.
//!
//! It is in the conversation's metadata, under names that no program takes by accident. A conversation that a person
//! deletes is set aside first, so that this can be undone; [`purge`] deletes it for good.

use std::time::Duration;

use opencode_host::Host as Turns;
use opencode_host::clock::Timestamp;
use opencode_host::store::{
    Conversation, ConversationFilter, Metadata, MetadataError, Page, StoreResult, Tenant,
};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::conversation_name;

const TITLE: &str = "chat.title";
const PINNED: &str = "chat.pinned";
const ARCHIVED: &str = "chat.archived";
const DELETED: &str = "chat.deleted_at";

/// Characters of a title.
pub(crate) const MAX_TITLE: usize = 200;
/// How long a deletion can be undone.
pub(crate) const KEPT: Duration = Duration::from_secs(3600);
/// How often it is looked for what is to be deleted for good.
const PURGE_EVERY: Duration = Duration::from_secs(60);
/// How many are looked at at once.
const PAGE: u32 = 100;

/// A part of the list of conversations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Shelf {
    /// What is neither archived nor deleted.
    #[default]
    Open,
    Archived,
    Deleted,
}

impl Shelf {
    /// The shelf of this word in an address.
    pub(crate) fn of(word: &str) -> Self {
        match word {
            "archived" => Self::Archived,
            "deleted" => Self::Deleted,
            _ => Self::Open,
        }
    }

    /// The word for it in an address.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Archived => "archived",
            Self::Deleted => "deleted",
        }
    }

    /// What is on it of these, by when it was used: pinned conversations of the open shelf stand above.
    pub(crate) fn filter(self, of_people: ConversationFilter) -> ConversationFilter {
        match self {
            Self::Open => of_people
                .not_noted(PINNED)
                .not_noted(ARCHIVED)
                .not_noted(DELETED),
            Self::Archived => of_people.noted(ARCHIVED).not_noted(DELETED),
            Self::Deleted => of_people.noted(DELETED),
        }
    }

    /// All that is not deleted.
    pub(crate) fn listed(tenant: &Tenant) -> ConversationFilter {
        ConversationFilter::of(tenant).not_noted(DELETED)
    }

    /// What stands above the others.
    pub(crate) fn pinned(tenant: &Tenant) -> ConversationFilter {
        ConversationFilter::of(tenant)
            .noted(PINNED)
            .not_noted(ARCHIVED)
            .not_noted(DELETED)
    }
}

/// How a conversation is called.
pub(crate) fn title(conversation: &Conversation) -> &str {
    let title = conversation.metadata.get(TITLE).and_then(Value::as_str);
    title.unwrap_or_else(|| conversation_name::shown(&conversation.name))
}

pub(crate) fn is_pinned(conversation: &Conversation) -> bool {
    conversation.metadata.get(PINNED).is_some()
}

pub(crate) fn is_archived(conversation: &Conversation) -> bool {
    conversation.metadata.get(ARCHIVED).is_some()
}

/// When it was deleted, if it was.
pub(crate) fn deleted_at(conversation: &Conversation) -> Option<Timestamp> {
    let at = conversation.metadata.get(DELETED)?.as_i64();
    Some(Timestamp(at.unwrap_or(i64::MAX)))
}

/// A title in one line; `None` for none.
pub(crate) fn clean(title: &str) -> Option<String> {
    let words = title.split(|c: char| c.is_whitespace() || c.is_control());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// A change of what is noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    /// Another title; `None` for the first words again.
    Title(Option<String>),
    Pin(bool),
    Archive(bool),
    /// Deletes it at a time, or undoes that.
    Delete(Option<Timestamp>),
    /// As a new conversation that begins as this one: with its title and nothing else.
    Forked,
}

/// The metadata of a conversation with this change.
pub(crate) fn noted(conversation: &Conversation, note: Note) -> Result<Metadata, MetadataError> {
    let known = conversation.metadata.iter();
    let mut noted: Map<_, _> = known
        .map(|(name, value)| (name.to_owned(), value.clone()))
        .collect();
    let mut set = |name: &str, value: Option<Value>| {
        match value {
            Some(value) => noted.insert(name.to_owned(), value),
            None => noted.remove(name),
        };
    };
    let flag = |is: bool| is.then_some(Value::Bool(true));
    match note {
        Note::Title(title) => set(TITLE, title.map(Value::String)),
        Note::Pin(is) => set(PINNED, flag(is)),
        Note::Archive(is) => {
            set(ARCHIVED, flag(is));
            set(PINNED, None);
        }
        Note::Delete(at) => set(DELETED, at.map(|at| at.0.into())),
        Note::Forked => {
            for name in [PINNED, ARCHIVED, DELETED] {
                set(name, None);
            }
        }
    }
    noted.try_into()
}

/// Deletes for good what was deleted longer ago than that can be undone.
///
/// # Errors
/// What the store may fail with.
pub async fn purge(host: &Turns) -> StoreResult<()> {
    let now = host.store().now().await?;
    let mut page = Page::oldest(PAGE);
    loop {
        // Everybody's.
        let deleted = Shelf::Deleted.filter(ConversationFilter::default());
        let found = host.store().conversations(&deleted, &page).await?;
        let Some(last) = found.last() else {
            return Ok(());
        };
        page = page.after(last.cursor());
        for summary in found {
            let at = deleted_at(&summary.conversation);
            if at.is_some_and(|at| now.since(at) >= KEPT) {
                host.delete_conversation(summary.conversation.id).await?;
            }
        }
    }
}

/// Deletes for good what is due, again and again.
pub(crate) async fn keep_purging(host: Turns, shutdown: CancellationToken) {
    let purging = async {
        loop {
            if let Err(error) = purge(&host).await {
                tracing::warn!(%error, "deleted conversations are still there");
            }
            tokio::time::sleep(PURGE_EVERY).await;
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = purging => {}
    }
}

#[cfg(test)]
mod tests {
    use opencode_host::id::ConversationId;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn conversation(metadata: Value) -> Conversation {
        let id = ConversationId::from_uuid(Uuid::nil());
        let mut made = Conversation::new(id, &Tenant::default(), "Words · bcdfgh", Timestamp(0));
        made.metadata = Metadata::try_from(metadata).unwrap();
        made
    }

    #[test]
    fn what_others_have_noted_stays() {
        let mut noted_at = conversation(json!({ "ticket": 42, "deleted": true }));
        assert_eq!(title(&noted_at), "Words");
        assert_eq!(deleted_at(&noted_at), None);
        for note in [
            Note::Title(Some("Mine".to_owned())),
            Note::Pin(true),
            Note::Delete(Some(Timestamp(7))),
        ] {
            noted_at.metadata = noted(&noted_at, note).unwrap();
        }
        assert_eq!(title(&noted_at), "Mine");
        assert_eq!(deleted_at(&noted_at), Some(Timestamp(7)));
        assert!(is_pinned(&noted_at));
        noted_at.metadata = noted(&noted_at, Note::Archive(true)).unwrap();
        assert!(is_archived(&noted_at) && !is_pinned(&noted_at));
        for note in [Note::Forked, Note::Title(None)] {
            noted_at.metadata = noted(&noted_at, note).unwrap();
        }
        assert_eq!(
            Value::from(noted_at.metadata),
            json!({ "ticket": 42, "deleted": true })
        );
    }

    #[test]
    fn a_title_is_one_line() {
        assert_eq!(clean(" a\n\tb\u{7} c "), Some("a b c".to_owned()));
        assert_eq!(clean(" \n"), None);
    }
}
