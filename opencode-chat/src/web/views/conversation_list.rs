//! The list of conversations beside every page: in groups by day, what is pinned above, a part at a time.

use askama::Template;
use opencode_host::clock::Timestamp;
use opencode_host::id::ConversationId;
use opencode_host::store::{
    ConversationCursor, ConversationFilter, ConversationSummary, MessageStatus, Page, StoreError,
};

use crate::web::address::people;
use crate::web::app::App;
use crate::web::base_path::BasePath;
use crate::web::problem::Problem;
use crate::web::reader::Reader;
use crate::web::shelf::{self, Shelf};
use crate::web::standing::{Standing, of_busy};

/// How many conversations are listed at once.
const LISTED: u32 = 100;
/// How many are listed where a page that has more of them is brought up to date.
const MOST: u32 = 1000;

/// What of the list is shown.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) shelf: Shelf,
    /// What is behind this place, pinned conversations left out.
    pub(crate) after: Option<ConversationCursor>,
    /// The conversation that is open.
    pub(crate) current: Option<ConversationId>,
    /// How many at least.
    pub(crate) shown: u32,
}

/// A part of the list.
#[derive(Debug, Template)]
#[template(path = "list.html")]
pub(crate) struct ConversationList {
    base: BasePath,
    shelf: Shelf,
    current: Option<ConversationId>,
    groups: Vec<Group>,
    /// Where the list goes on.
    older: Option<ConversationCursor>,
    /// Whether it begins behind the newest.
    is_older: bool,
}

/// Conversations under one heading.
#[derive(Debug)]
struct Group {
    heading: String,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    id: ConversationId,
    title: String,
    age: String,
    standing: Standing,
}

impl ConversationList {
    /// What is wanted of the list, as somebody reads it.
    pub(crate) async fn of(app: &App, reader: Reader, wanted: Wanted) -> Result<Self, Problem> {
        let (people, tenant) = (people(app), &app.visitor.tenant);
        let now = app.host.store().now().await?;
        let limit = wanted.shown.clamp(LISTED, MOST);
        let mut page = Page::newest(limit + 1);
        page.after = wanted.after;
        let mut found = people
            .conversations(wanted.shelf.filter(ConversationFilter::of(tenant)), &page)
            .await?;
        let has_more = found.len() > limit as usize;
        found.truncate(limit as usize);
        let last = found.last().filter(|_| has_more);
        let older = last.map(ConversationSummary::cursor);
        let mut pinned = Vec::new();
        if wanted.shelf == Shelf::Open && wanted.after.is_none() {
            let page = Page::newest(MOST);
            pinned = people.conversations(Shelf::pinned(tenant), &page).await?;
        }
        let is_listed = |id| {
            let mut all = found.iter().chain(&pinned);
            all.any(|summary| summary.conversation.id == id)
        };
        let mut open = Vec::new();
        if let Some(current) = wanted.current
            && !is_listed(current)
        {
            open.extend(summary_of(app, current).await?);
        }
        let mut list = Self {
            base: app.base.clone(),
            shelf: wanted.shelf,
            current: wanted.current,
            groups: Vec::new(),
            older,
            is_older: wanted.after.is_some(),
        };
        let mut looked_at = 0;
        let headed = [("Open here", open), ("Pinned", pinned)];
        let headed = headed.into_iter().flat_map(|(heading, summaries)| {
            let heading = move |summary| (heading.to_owned(), summary);
            summaries.into_iter().map(heading)
        });
        let by_day = found
            .into_iter()
            .map(|summary| (reader.when(now, summary.used_at), summary));
        for (heading, summary) in headed.chain(by_day) {
            let standing = of_busy(app, &summary, &mut looked_at).await?;
            let entry = Entry {
                id: summary.conversation.id,
                title: shelf::title(&summary.conversation).to_owned(),
                age: age(now, summary.used_at),
                standing,
            };
            match list.groups.last_mut() {
                Some(group) if group.heading == heading => group.entries.push(entry),
                _ => list.groups.push(Group {
                    heading,
                    entries: vec![entry],
                }),
            }
        }
        Ok(list)
    }

    /// What is asked for to get the next part.
    fn next(&self) -> Option<String> {
        let older = self.older?;
        let shelf = match self.shelf {
            Shelf::Open => String::new(),
            shelf => format!("shelf={}&", shelf.word()),
        };
        Some(format!("{}/?{shelf}older={older}", self.base))
    }
}

/// A conversation that is not on the part of the list that is shown.
async fn summary_of(app: &App, id: ConversationId) -> Result<Option<ConversationSummary>, Problem> {
    let people = people(app);
    let conversation = match people.conversation(id).await {
        Ok(conversation) => conversation,
        Err(StoreError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let newest = people.messages_before(id, None, 1).await?;
    let newest = newest.first();
    let used_at = newest.map_or(conversation.created_at, |newest| newest.created_at);
    let mut summary = ConversationSummary::new(conversation, used_at);
    summary.busy = !people.active_turns(id, 1).await?.is_empty();
    summary.failed = newest.is_some_and(|newest| newest.status == MessageStatus::Error);
    Ok(Some(summary))
}

/// How long ago something was, in as few letters as possible.
fn age(now: Timestamp, then: Timestamp) -> String {
    match now.since(then).as_secs() / 60 {
        0 => "now".to_owned(),
        minutes @ 1..60 => format!("{minutes} min"),
        minutes @ 60..1440 => format!("{} h", minutes / 60),
        minutes => format!("{} d", minutes / 1440),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        let now = Timestamp(1_000_000_000_000);
        let ages = [0, 59, 60, 3599, 3600, 86_399, 86_400, 864_000]
            .map(|seconds| age(now, Timestamp(now.0 - seconds * 1000)));
        assert_eq!(
            ages,
            [
                "now", "now", "1 min", "59 min", "1 h", "23 h", "1 d", "10 d"
            ]
        );
    }
}
