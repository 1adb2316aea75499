//! What stands around the content of pages: the list of conversations, the
//! banner, the box to write in.

use askama::Template;
use opencode_host::DEFAULT_MAX_PROMPT;
use opencode_host::clock::Timestamp;
use opencode_host::id::ConversationId;
use opencode_host::store::{ConversationCursor, ConversationFilter, Page, Tenant};
use opencode_host::uploads::MAX_FILES;
use uuid::Uuid;

use crate::web::app::App;
use crate::web::conversation_name;
use crate::web::problem::Problem;

/// How many conversations are listed at once.
const LISTED: u32 = 200;

/// The list of conversations, and the banner.
#[derive(Debug)]
pub(crate) struct Shell {
    pub(crate) stand_in: bool,
    pub(crate) open_to_network: bool,
    pub(crate) unasked: bool,
    pub(crate) current: Option<ConversationId>,
    pub(crate) conversations: Vec<Listed>,
    /// Where the list goes on.
    pub(crate) older: Option<ConversationCursor>,
    /// Whether the list begins behind the newest.
    pub(crate) is_older: bool,
}

/// A conversation in the list.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) id: ConversationId,
    pub(crate) name: String,
    pub(crate) age: String,
    pub(crate) busy: bool,
}

impl Shell {
    /// With the conversations that were used last.
    pub(crate) async fn new(app: &App, current: Option<ConversationId>) -> Result<Self, Problem> {
        Self::behind(app, current, None).await
    }

    /// With the conversations behind a place in the list.
    pub(crate) async fn behind(
        app: &App,
        current: Option<ConversationId>,
        after: Option<ConversationCursor>,
    ) -> Result<Self, Problem> {
        let store = app.host.store();
        let now = store.now().await?;
        let mut page = Page::newest(LISTED + 1);
        page.after = after;
        let all = ConversationFilter::of(&Tenant::default());
        let mut found = store.conversations(&all, &page).await?;
        let has_more = found.len() > LISTED as usize;
        found.truncate(LISTED as usize);
        let older = found.last().filter(|_| has_more).map(|last| {
            let (used_at, id) = (last.used_at, last.conversation.id);
            ConversationCursor { used_at, id }
        });
        let listed = found.into_iter().map(|summary| Listed {
            id: summary.conversation.id,
            name: conversation_name::shown(&summary.conversation.name).to_owned(),
            age: age(now, summary.used_at),
            busy: summary.busy,
        });
        Ok(Self {
            stand_in: app.stand_in,
            open_to_network: app.open_to_network,
            unasked: app.unasked,
            current,
            conversations: listed.collect(),
            older,
            is_older: after.is_some(),
        })
    }
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

/// The box to write a prompt in.
#[derive(Debug, Template)]
#[template(path = "composer.html")]
pub(crate) struct Composer {
    action: String,
    key: FormKey,
    placeholder: &'static str,
    draft: String,
    error: String,
    /// The most bytes of a file.
    max_upload: u64,
}

impl Composer {
    /// A box whose prompts go to `action`, with files of so many bytes.
    pub(crate) fn new(action: String, max_upload: u64) -> Self {
        Self {
            action,
            max_upload,
            key: FormKey::new(),
            placeholder: "Ask anything",
            draft: String::new(),
            error: String::new(),
        }
    }

    pub(crate) fn placeholder(self, placeholder: &'static str) -> Self {
        Self {
            placeholder,
            ..self
        }
    }

    pub(crate) fn with_draft(self, draft: String) -> Self {
        Self { draft, ..self }
    }
}

/// What makes a form that is sent twice be one prompt.
#[derive(Debug, Template)]
#[template(
    source = "<input type=\"hidden\" id=\"key\" name=\"key\" value=\"{{ key }}\">",
    ext = "html"
)]
pub(crate) struct FormKey {
    key: Uuid,
}

impl FormKey {
    /// The element.
    pub(crate) const ELEMENT: &str = "key";

    pub(crate) fn new() -> Self {
        Self {
            key: Uuid::new_v4(),
        }
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
