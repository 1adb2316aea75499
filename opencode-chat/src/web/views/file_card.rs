//! Files of messages, as cards.

use std::collections::{HashMap, HashSet};

use askama::Template;
use opencode_axum::file::segment;
use opencode_host::id::{AttachmentId, MessageId};
use opencode_host::product::vouches_for;
use opencode_host::store::{Attachment, AttachmentSource, Conversation};

use crate::web::app::App;
use crate::web::base_path::BasePath;
use crate::web::in_words::bytes;
use crate::web::looks::Looks;
use crate::web::problem::Problem;

/// A file of a message.
#[derive(Debug, Template)]
#[template(path = "file.html")]
pub(crate) struct FileView {
    id: AttachmentId,
    url: String,
    name: String,
    /// Its type and size, in words.
    facts: String,
    mime_type: String,
    icon: &'static str,
    shown: Shown,
    /// What is wrong with it.
    note: Option<String>,
}

/// What of a file is in the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Nothing,
    Picture,
    Pdf,
    Text,
    /// A page that the host made and vouches for.
    Frame,
}

/// The element of a file.
pub(crate) fn element(file: AttachmentId) -> String {
    format!("f-{file}")
}

/// The element that a file's text goes into.
pub(crate) fn text_element(file: AttachmentId) -> String {
    format!("f-{file}-text")
}

/// Where a file is.
pub(crate) fn url(base: &BasePath, file: &Attachment) -> String {
    let (conversation, id) = (file.conversation, file.id);
    format!(
        "{base}/conversations/{conversation}/files/{id}/{}",
        segment(&file.name)
    )
}

/// The files of a message, as they are now.
pub(crate) async fn of_message(
    app: &App,
    conversation: &Conversation,
    message: MessageId,
) -> Result<Vec<FileView>, Problem> {
    let files = app.host.store().attachments(message).await?;
    Ok(views(app, conversation, &files).await)
}

/// The files of these messages of a conversation.
pub(crate) async fn by_message(
    app: &App,
    conversation: &Conversation,
    messages: &HashSet<MessageId>,
) -> Result<HashMap<MessageId, Vec<FileView>>, Problem> {
    let store = app.host.store();
    let mut files = store.newest_attachments(conversation.id, u32::MAX).await?;
    files.retain(|file| messages.contains(&file.message));
    files.reverse();
    let views = views(app, conversation, &files).await;
    let mut all: HashMap<_, Vec<_>> = HashMap::new();
    for (file, view) in files.iter().zip(views) {
        all.entry(file.message).or_default().push(view);
    }
    Ok(all)
}

async fn views(app: &App, conversation: &Conversation, files: &[Attachment]) -> Vec<FileView> {
    let looks = app.seen.all(app.host.blobs(), files).await;
    let view = |(file, looks)| {
        let trusted = is_page(file) && vouches_for(&*app.product, conversation, file);
        FileView::new(&app.base, file, looks, trusted)
    };
    files.iter().zip(looks).map(view).collect()
}

/// Whether a file is a page that the host made itself.
pub(crate) async fn is_trusted_page(app: &App, file: &Attachment) -> Result<bool, Problem> {
    if !is_page(file) {
        return Ok(false);
    }
    let conversation = app.host.store().conversation(file.conversation).await?;
    Ok(conversation.is_some_and(|conversation| vouches_for(&*app.product, &conversation, file)))
}

fn is_page(file: &Attachment) -> bool {
    file.source == AttachmentSource::Transform && file.mime_type == "text/html"
}

impl FileView {
    fn new(base: &BasePath, file: &Attachment, looks: Option<Looks>, trusted: bool) -> Self {
        let declared = file.mime_type.as_str();
        let label = label(file);
        let (shown, is_said) = match looks {
            _ if trusted => (Shown::Frame, true),
            None => (Shown::Nothing, true),
            Some(Looks::Picture(kind)) if kind == declared => (Shown::Picture, true),
            Some(Looks::Pdf) if declared == "application/pdf" => (Shown::Pdf, true),
            Some(Looks::Text) => (Shown::Text, file.size == 0 || !has_magic(declared)),
            Some(Looks::Picture(_) | Looks::Pdf | Looks::Other) => {
                (Shown::Nothing, !has_magic(declared))
            }
        };
        Self {
            id: file.id,
            url: url(base, file),
            facts: format!("{label} · {}", bytes(file.size)),
            note: (!is_said).then(|| format!("This is not a {label}, whatever its name says.")),
            name: file.name.clone(),
            mime_type: file.mime_type.clone(),
            icon: match shown {
                Shown::Picture => "photo",
                Shown::Frame => "chart",
                Shown::Pdf | Shown::Text => "document",
                Shown::Nothing => "paper_clip",
            },
            // There is nothing to see in it.
            shown: if file.size == 0 {
                Shown::Nothing
            } else {
                shown
            },
        }
    }
}

/// Types whose files begin in a way that is known here.
fn has_magic(declared: &str) -> bool {
    let pictures = [
        "image/png",
        "image/jpeg",
        "image/gif",
        "image/webp",
        "image/avif",
    ];
    declared == "application/pdf" || pictures.contains(&declared)
}

/// A type in a word: what its name ends in, as people know it.
fn label(file: &Attachment) -> String {
    let short = |word: &&str| {
        (1..=5).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let extension = file.name.rsplit_once('.').map(|(_, extension)| extension);
    let subtype = file.mime_type.rsplit_once('/').map(|(_, subtype)| subtype);
    match extension.filter(short).or(subtype.filter(short)) {
        Some(word) => word.to_ascii_uppercase(),
        None => "File".to_owned(),
    }
}
