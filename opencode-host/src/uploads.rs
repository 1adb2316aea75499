//! A person's files, on their way to the agent.
//!
//! A file that is taken waits beside the sandboxes, and is gone with the [`Uploads`]. The submit makes it a blob, gives it a
//! safe name of its own in the conversation's sandbox, and makes it a file of the person's message: of a prompt that is
//! refused before that nothing stays.
//!
//! ```no_run
//! # use opencode_host::{Host, SubmitOptions, client::wire::Prompt, id::ConversationId};
//! # async fn ask(host: &Host, conversation: ConversationId) -> Result<(), Box<dyn std::error::Error>> {
//! let mut uploads = host.uploads(conversation).await?;
//! uploads.add("Sales 2026.csv", Some("text/csv"), &b"item,sold\n"[..]).await?;
//! let options = SubmitOptions { uploads: Some(uploads), ..SubmitOptions::default() };
//! host.submit(conversation, Prompt::text("What sold best?"), options).await?;
//! # Ok(()) }
//! ```

mod picture;

use std::collections::BTreeSet;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use opencode_client::wire::ShownFile;
use serde_json::Map;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, ReadBuf};
use uuid::Uuid;

use crate::artifacts::mime_type_of;
use crate::blobs::{BlobError, Blobs, Digest};
use crate::clock::Clock;
use crate::front::Front;
use crate::id::{AttachmentId, ConversationId, MessageId};
use crate::sandbox::{Sandbox, SandboxError, SandboxId, SandboxRoot, Staged, blocking};
use crate::store::{Attachment, AttachmentSource, NewAttachment, NewUploads, Store, StoreError};
use crate::uploaded_files_prompt::UploadedFilesPrompt;
use crate::visible::short;

/// How many of the conversation's newest files may be sent again by a submit that is repeated.
const REPEATED: u32 = 2 * MAX_FILES as u32;

/// The most files one prompt may bring.
pub const MAX_FILES: usize = 50;

/// The most files of one prompt that the model is shown.
pub const MAX_SHOWN_FILES: usize = 20;

/// The most bytes of a file that the model is shown: 5 MiB, which is what most models' providers take of a picture.
pub const MAX_SHOWN_BYTES: u64 = 5 << 20;

/// How many characters of a name are kept.
const KEPT_NAME: usize = 200;

/// Why a file was not taken. Those taken before stay.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UploadError {
    /// The host has nowhere to put files.
    #[error("this host takes no files: it was built without blobs, or without sandboxes")]
    NotConfigured,
    /// There are too many.
    #[error("a prompt can bring {MAX_FILES} files: send the others with another prompt")]
    TooMany,
    /// It was not kept.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// It did not get into the agent's folder.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The conversation has too much already ([`StoreError::QuotaExceeded`]), or the store cannot say.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A file that was taken for a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The name the person knows it by.
    pub name: String,
    /// Its MIME type.
    pub mime_type: String,
    /// Its size in bytes.
    pub size: u64,
    /// The digest of its content.
    pub digest: Digest,
}

/// The files of a prompt that is yet to be submitted.
#[derive(Clone, Debug)]
pub struct Uploads {
    root: SandboxRoot,
    blobs: Blobs,
    clock: Arc<dyn Clock>,
    cap: u64,
    quota: u64,
    store: Arc<dyn Store>,
    /// Where they are going, when that is known already.
    conversation: Option<ConversationId>,
    instruction: String,
    shown: bool,
    files: Vec<Upload>,
    /// The bytes of `files`.
    staged: Vec<Arc<Mutex<Staged>>>,
}

impl Uploads {
    pub(crate) fn begin(
        front: &Front,
        conversation: Option<ConversationId>,
    ) -> Result<Self, UploadError> {
        let (Some(blobs), Some(root)) = (&front.blobs, &front.sandboxes) else {
            return Err(UploadError::NotConfigured);
        };
        Ok(Self {
            root: root.clone(),
            blobs: blobs.clone(),
            clock: Arc::clone(&front.clock),
            cap: front.options.max_upload,
            quota: front.options.upload_quota,
            store: Arc::clone(&front.store),
            conversation,
            instruction: String::new(),
            shown: true,
            files: Vec::new(),
            staged: Vec::new(),
        })
    }

    /// A sentence of the product's about what the agent should do with the files.
    pub fn instruction(mut self, sentence: impl Into<String>) -> Self {
        self.instruction = sentence.into();
        self
    }

    /// Whether the model is shown pictures and PDFs (default), or finds them in the folder alone. Shown are PNG, JPEG, GIF
    /// and WebP pictures that can be decoded, and PDFs, each of at most [`MAX_SHOWN_BYTES`], at most [`MAX_SHOWN_FILES`] of
    /// them, if the model takes them: what is not known of a model is taken for yes for a picture, for no for a PDF.
    pub fn show(mut self, shown: bool) -> Self {
        self.shown = shown;
        self
    }

    /// Takes one file: never more than a part of it is in memory. Without a MIME
    /// type, the one its name says.
    ///
    /// # Errors
    /// See [`UploadError`]. The files taken before stay.
    pub async fn add(
        &mut self,
        original_name: &str,
        mime_type: Option<&str>,
        content: impl AsyncRead + Unpin,
    ) -> Result<&Upload, UploadError> {
        if self.files.len() >= MAX_FILES {
            return Err(UploadError::TooMany);
        }
        let name = self.free_name(original_name);
        let mime_type = match mime_type {
            Some(mime_type) => short(mime_type, KEPT_NAME),
            None => mime_type_of(&name),
        };
        let mut content = Measured::new(content, self.cap);
        let staged = self.root.stage(&mut content).await;
        if content.is_over {
            return Err(BlobError::TooLarge { cap: self.cap }.into());
        }
        let staged = staged.map_err(|error| match error {
            SandboxError::Source(error) => UploadError::Blob(BlobError::Source(error)),
            error => error.into(),
        })?;
        let upload = Upload {
            name,
            mime_type,
            size: staged.size(),
            digest: Digest::from_bytes(content.hasher.finalize().into()),
        };
        self.check_quota(&upload).await?;
        self.files.push(upload);
        self.staged.push(Arc::new(Mutex::new(staged)));
        Ok(&self.files[self.files.len() - 1])
    }

    /// The files, in the order they were added.
    pub fn files(&self) -> &[Upload] {
        &self.files
    }

    /// Keeps the bytes and gives the files their names in the conversation's sandbox.
    pub(crate) async fn keep(
        self,
        conversation: ConversationId,
        said: &str,
    ) -> Result<Kept, UploadError> {
        for (upload, staged) in self.files.iter().zip(&self.staged) {
            let staged = Arc::clone(staged);
            let content = blocking(move || {
                let staged = lock(&staged);
                // One that has a name was kept by an earlier submit.
                let waits = staged.placed().is_none();
                waits.then(|| staged.read()).transpose()
            });
            if let Some(content) = content.await? {
                let content = tokio::fs::File::from_std(content);
                let blob = self.blobs.put(content, upload.size).await?;
                if blob.digest != upload.digest {
                    let digest = upload.digest;
                    return Err(BlobError::Corrupt { digest }.into());
                }
            }
        }
        let id: SandboxId = conversation
            .to_string()
            .parse()
            .map_err(|_| UploadError::NotConfigured)?;
        let mut prompt = UploadedFilesPrompt::new(said).instruction(self.instruction);
        let (root, files, staged) = (self.root, self.files.clone(), self.staged);
        let show = self.shown;
        let (prompt, shown, placed) = blocking(move || {
            let sandbox = root.provision(&id)?;
            let mut placed = Placed {
                sandbox,
                files: Vec::new(),
            };
            let mut shown = Vec::new();
            for (upload, staged) in files.into_iter().zip(staged) {
                let mut file = lock(&staged);
                let is_shown =
                    show && shown.len() < MAX_SHOWN_FILES && upload.size <= MAX_SHOWN_BYTES;
                let mime_type = is_shown.then(|| shown_as(&file)).flatten();
                let is_new = file.placed().is_none();
                let named = prompt.place(&mut file, &placed.sandbox, upload.name, upload.mime_type);
                if let (Some(mime_type), Ok(()), Some(placed)) =
                    (mime_type, &named, prompt.files().last())
                {
                    let (path, name) = (&placed.sandbox_name, &placed.original_name);
                    shown.push(ShownFile::new(path, mime_type, name));
                }
                let is_new = is_new && file.placed().is_some();
                drop(file);
                if is_new {
                    placed.files.push(staged);
                }
                if let Err(error) = named {
                    placed.take_back();
                    return Err(error);
                }
            }
            Ok((prompt, shown, placed))
        })
        .await?;
        let files = self.files.into_iter().zip(prompt.files());
        let files = files.map(|(upload, file)| NewAttachment {
            id: AttachmentId::from_uuid(self.clock.new_uuid()),
            // Whose it is becomes known with the submit.
            message: MessageId::from_uuid(Uuid::nil()),
            name: upload.name,
            digest: upload.digest,
            size: upload.size,
            mime_type: upload.mime_type,
            source: AttachmentSource::Upload,
            trust: Map::new(),
            place: Some(file.sandbox_name.clone()),
        });
        Ok(Kept {
            uploads: NewUploads {
                said: said.to_owned(),
                files: files.collect(),
                quota: Some(self.quota),
            },
            text: prompt.to_string(),
            shown,
            placed,
        })
    }

    /// Refuses what the submit would refuse. A file that the conversation has already may belong to a submit
    /// that is repeated, which adds nothing: the submit knows.
    async fn check_quota(&self, upload: &Upload) -> Result<(), UploadError> {
        let used = match self.conversation {
            Some(conversation) => self.store.uploaded_bytes(conversation).await?,
            None => 0,
        };
        let sizes = self.files.iter().map(|file| file.size);
        let adding = sizes.fold(upload.size, u64::saturating_add);
        if used.saturating_add(adding) <= self.quota {
            return Ok(());
        }
        if let Some(conversation) = self.conversation {
            let newest = self.store.newest_attachments(conversation, REPEATED);
            let is_this = |file: &Attachment| {
                file.source == AttachmentSource::Upload && file.digest == upload.digest
            };
            if newest.await?.iter().any(is_this) {
                return Ok(());
            }
        }
        Err(UploadError::Store(StoreError::QuotaExceeded {
            used,
            adding,
            allowed: self.quota,
        }))
    }

    /// The name the person knows; numbered when there are several of it.
    fn free_name(&self, original: &str) -> String {
        let taken: BTreeSet<_> = self.files.iter().map(|file| file.name.as_str()).collect();
        let last = original.rsplit(['/', '\\']).next().unwrap_or_default();
        let name = match short(last, KEPT_NAME) {
            empty if empty.is_empty() => "file".to_owned(),
            name => name,
        };
        let (stem, extension) = match name.rsplit_once('.') {
            Some((stem, extension)) if !stem.is_empty() => (stem, format!(".{extension}")),
            _ => (name.as_str(), String::new()),
        };
        let numbered = (2..).map(|number| format!("{stem} ({number}){extension}"));
        std::iter::once(name.clone())
            .chain(numbered)
            .find(|name| !taken.contains(name.as_str()))
            .unwrap_or(name)
    }
}

/// What a submit needs of files that are kept.
#[derive(Debug)]
pub(crate) struct Kept {
    /// What the agent is sent.
    pub(crate) text: String,
    /// What the model is shown of them.
    pub(crate) shown: Vec<ShownFile>,
    pub(crate) uploads: NewUploads,
    pub(crate) placed: Placed,
}

/// Files that have their names in a sandbox since this submit.
#[derive(Debug)]
pub(crate) struct Placed {
    sandbox: Sandbox,
    files: Vec<Arc<Mutex<Staged>>>,
}

impl Placed {
    /// Takes the names back: there is no turn that knows them.
    pub(crate) fn take_back(&self) {
        for file in &self.files {
            if let Err(error) = lock(file).take_back(self.sandbox.dir()) {
                tracing::warn!(%error, "a file of a refused prompt stays with the agent");
            }
        }
    }
}

/// The MIME type under which the model is shown a file, by its content.
fn shown_as(staged: &Staged) -> Option<&'static str> {
    // One that cannot be read is not kept either, which says why.
    picture::shown_as(staged.read().ok()?)
}

fn lock(staged: &Mutex<Staged>) -> std::sync::MutexGuard<'_, Staged> {
    staged.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A reader whose bytes are counted and digested on the way.
struct Measured<R> {
    reader: R,
    hasher: Sha256,
    left: u64,
    is_over: bool,
}

impl<R> Measured<R> {
    fn new(reader: R, cap: u64) -> Self {
        Self {
            reader,
            hasher: Sha256::new(),
            left: cap,
            is_over: false,
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Measured<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.reader).poll_read(cx, buffer);
        let new = &buffer.filled()[before..];
        let Some(left) = self.left.checked_sub(new.len() as u64) else {
            self.is_over = true;
            return Poll::Ready(Err(io::ErrorKind::FileTooLarge.into()));
        };
        self.left = left;
        self.hasher.update(new);
        read
    }
}
