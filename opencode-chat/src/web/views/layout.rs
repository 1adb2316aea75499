//! What stands around the content of pages: the list of conversations, the
//! banner, the box to write in.

use askama::Template;
use opencode_host::DEFAULT_MAX_PROMPT;
use opencode_host::id::ConversationId;
use opencode_host::uploads::MAX_FILES;
use uuid::Uuid;

use super::conversation_list::{ConversationList, Wanted};
use crate::web::app::App;
use crate::web::problem::Problem;
use crate::web::reader::Reader;
use crate::web::shelf::Shelf;
use crate::web::visitor::Visitor;

/// The list of conversations, and the banner.
#[derive(Debug)]
pub(crate) struct Shell {
    pub(crate) stand_in: bool,
    pub(crate) open_to_network: bool,
    pub(crate) unasked: bool,
    pub(crate) is_home: bool,
    /// Who reads, if there are accounts.
    pub(crate) account: Option<Account>,
    /// The agent may ask the reader to run commands.
    pub(crate) runs: bool,
    pub(crate) list: ConversationList,
}

/// Who reads a page.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) name: String,
}

impl Account {
    fn of(visitor: &Visitor) -> Option<Self> {
        let user = visitor.user.as_ref()?;
        Some(Self {
            name: user.name.clone(),
        })
    }
}

impl Shell {
    /// With the conversations that were used last.
    pub(crate) async fn new(
        app: &App,
        reader: Reader,
        current: Option<ConversationId>,
    ) -> Result<Self, Problem> {
        let wanted = Wanted {
            current,
            ..Wanted::default()
        };
        Self::with(app, reader, wanted).await
    }

    /// With a part of the list of conversations.
    pub(crate) async fn with(app: &App, reader: Reader, wanted: Wanted) -> Result<Self, Problem> {
        Ok(Self {
            stand_in: app.stand_in,
            open_to_network: app.open_to_network && app.visitor.user.is_none(),
            account: Account::of(&app.visitor),
            runs: app.visitor.may_run(),
            unasked: app.unasked,
            is_home: wanted.current.is_none() && wanted.shelf == Shelf::Open,
            list: ConversationList::of(app, reader, wanted).await?,
        })
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
