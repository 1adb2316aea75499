//! Files of messages, as cards.

use std::collections::{HashMap, HashSet};

use askama::Template;
use opencode_host::artifacts::vouches_for;
use opencode_host::id::{AttachmentId, MessageId};
use opencode_host::store::{Attachment, AttachmentSource, Conversation};

use super::disposition::segment;
use super::looks::Looks;
use crate::web::App;
use crate::web::base_path::BasePath;
use crate::web::problem::Problem;

/// A file of a message.
#[derive(Debug, Template)]
#[template(path = "file.html")]
pub(in crate::web) struct FileView {
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
pub(super) fn element(file: AttachmentId) -> String {
    format!("f-{file}")
}

/// The element that a file's text goes into.
pub(super) fn text_element(file: AttachmentId) -> String {
    format!("f-{file}-text")
}

/// Where a file is.
pub(super) fn url(base: &BasePath, file: &Attachment) -> String {
    let (conversation, id) = (file.conversation, file.id);
    format!(
        "{base}/conversations/{conversation}/files/{id}/{}",
        segment(&file.name)
    )
}

/// The files of a message, as they are now.
pub(in crate::web) async fn of_message(
    app: &App,
    conversation: &Conversation,
    message: MessageId,
) -> Result<Vec<FileView>, Problem> {
    let files = app.host.store().attachments(message).await?;
    Ok(views(app, conversation, &files).await)
}

/// The files of these messages of a conversation.
pub(in crate::web) async fn by_message(
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
pub(super) async fn is_trusted_page(app: &App, file: &Attachment) -> Result<bool, Problem> {
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

/// A size in words.
pub(in crate::web) fn bytes(size: u64) -> String {
    const UNITS: [&str; 4] = ["KB", "MB", "GB", "TB"];
    if size < 1024 {
        return format!("{size} {}", if size == 1 { "byte" } else { "bytes" });
    }
    let (mut value, mut unit) = (size as f64 / 1024.0, 0);
    // What would round up to the next unit is said in it.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if value < 9.95 {
        let tenths = format!("{value:.1}");
        format!("{} {}", tenths.trim_end_matches(".0"), UNITS[unit])
    } else {
        format!("{value:.0} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_are_told_in_words() {
        for (size, said) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (1023, "1023 bytes"),
            (1024, "1 KB"),
            (1536, "1.5 KB"),
            (10 * 1024, "10 KB"),
            (1_048_000, "1 MB"),
            (50 << 20, "50 MB"),
            (2 << 30, "2 GB"),
            (u64::MAX, "16777216 TB"),
        ] {
            assert_eq!(bytes(size), said, "{size}");
        }
    }
}
