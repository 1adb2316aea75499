//! Files that come within a message of JSON, in base64. Nothing is fetched from elsewhere.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use opencode_host::id::ConversationId;
use opencode_host::uploads::Uploads;

use crate::authorize::Scope;
use crate::file::is_plain_type;
use crate::problem::Problem;

/// A file of a message.
#[derive(Debug)]
pub(super) struct InlineFile {
    name: String,
    kind: Option<String>,
    bytes: Vec<u8>,
}

impl InlineFile {
    /// A file of this content in base64.
    pub(super) fn new(
        name: Option<String>,
        kind: Option<String>,
        content: &str,
    ) -> Result<Self, Problem> {
        Ok(Self {
            name: name.unwrap_or_default(),
            kind: kind.filter(|kind| is_plain_type(kind)),
            bytes: BASE64_STANDARD.decode(content).map_err(|_| bad())?,
        })
    }

    /// The file of a `data:` URL (RFC 2397).
    pub(super) fn of_url(
        name: Option<String>,
        kind: Option<String>,
        url: &str,
    ) -> Result<Self, Problem> {
        let rest = url.strip_prefix("data:");
        let (head, content) = rest.and_then(|rest| rest.split_once(',')).ok_or_else(bad)?;
        let said = head.strip_suffix(";base64").ok_or_else(bad)?;
        let said = said.split(';').next().map(str::to_owned);
        let kind = kind.filter(|kind| !kind.is_empty());
        Self::new(name, kind.or(said), content)
    }
}

/// That a file comes in another way.
pub(super) fn bad() -> Problem {
    let detail = "A file comes within the message, in base64.";
    Problem::unprocessable("bad_file", detail)
}

/// Takes the files for a prompt of this conversation; `None` without one.
pub(super) async fn uploads(
    scope: &Scope,
    conversation: ConversationId,
    files: Vec<InlineFile>,
) -> Result<Option<Uploads>, Problem> {
    if files.is_empty() {
        return Ok(None);
    }
    let mut uploads = scope.host.uploads(conversation).await?;
    for file in files {
        let kind = file.kind.as_deref();
        uploads.add(&file.name, kind, &file.bytes[..]).await?;
    }
    Ok(Some(uploads))
}
