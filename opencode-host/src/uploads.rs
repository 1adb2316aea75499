//! A person's files, on their way to the agent.
//!
//! Each is kept as a blob and copied into the conversation's sandbox, under a
//! safe name of its own. With the submit they become files of the person's message.
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

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Map;
use tokio::io::AsyncRead;
use uuid::Uuid;

use crate::artifacts::{SANDBOX_NAME, mime_type_of};
use crate::blobs::{Blob, BlobError, Blobs};
use crate::clock::Clock;
use crate::host::Host;
use crate::id::{AttachmentId, ConversationId, MessageId};
use crate::sandbox::{Sandbox, SandboxError, SandboxId};
use crate::store::{Attachment, AttachmentSource, NewAttachment, NewUploads, Store, StoreError};
use crate::uploaded_files_prompt::{UploadedFile, UploadedFilesPrompt};
use crate::visible::short;

/// The most bytes of one upload unless the options say otherwise: 50 MiB.
pub const DEFAULT_MAX_UPLOAD: u64 = 50 * 1024 * 1024;

/// The most bytes of all uploads of one conversation unless the options say otherwise: 1 GiB.
pub const DEFAULT_UPLOAD_QUOTA: u64 = 1024 * 1024 * 1024;

/// How many of the conversation's newest files may be sent again by a submit that is repeated.
const REPEATED: u32 = 2 * MAX_FILES as u32;

/// The most files one prompt may bring.
pub const MAX_FILES: usize = 50;

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

/// The files of a prompt that is yet to be submitted.
#[derive(Clone, Debug)]
pub struct Uploads {
    sandbox: Sandbox,
    blobs: Blobs,
    clock: Arc<dyn Clock>,
    cap: u64,
    quota: u64,
    store: Arc<dyn Store>,
    conversation: ConversationId,
    prompt: UploadedFilesPrompt,
    files: Vec<NewAttachment>,
}

impl Uploads {
    /// A sentence of the product's about what the agent should do with the files.
    pub fn instruction(mut self, sentence: impl Into<String>) -> Self {
        self.prompt = self.prompt.instruction(sentence);
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
    ) -> Result<&UploadedFile, UploadError> {
        if self.files.len() >= MAX_FILES {
            return Err(UploadError::TooMany);
        }
        let name = self.free_name(original_name);
        let mime_type = match mime_type {
            Some(mime_type) => short(mime_type, KEPT_NAME),
            None => mime_type_of(&name),
        };
        let blob = self.blobs.put(content, self.cap).await?;
        self.check_quota(&blob).await?;
        let kept = self.blobs.get(&blob.digest).await?.into_reader();
        let file = self.prompt.upload(&self.sandbox, &name, &mime_type, kept);
        let file = file.await?;
        let mut trust = Map::new();
        trust.insert(SANDBOX_NAME.to_owned(), file.sandbox_name.clone().into());
        self.files.push(NewAttachment {
            id: AttachmentId::from_uuid(self.clock.new_uuid()),
            // Whose it is becomes known with the submit.
            message: MessageId::from_uuid(Uuid::nil()),
            name,
            digest: blob.digest,
            size: blob.size,
            mime_type,
            source: AttachmentSource::Upload,
            trust,
        });
        Ok(file)
    }

    /// The files, in the order they were added.
    pub fn files(&self) -> &[UploadedFile] {
        self.prompt.files()
    }

    /// What the agent is sent, and what the person's message becomes.
    pub(crate) fn of(self, said: &str) -> (String, NewUploads) {
        let prompt = self.prompt.said(said).to_string();
        let uploads = NewUploads {
            said: said.to_owned(),
            files: self.files,
            quota: Some(self.quota),
        };
        (prompt, uploads)
    }

    /// Refuses what the submit would refuse. A file that the conversation has already may belong to a submit
    /// that is repeated, which adds nothing: the submit knows.
    async fn check_quota(&self, blob: &Blob) -> Result<(), UploadError> {
        let used = self.store.uploaded_bytes(self.conversation).await?;
        let sizes = self.files.iter().map(|file| file.size);
        let adding = sizes.fold(blob.size, u64::saturating_add);
        if used.saturating_add(adding) <= self.quota {
            return Ok(());
        }
        let newest = self.store.newest_attachments(self.conversation, REPEATED);
        let is_this = |file: &Attachment| {
            file.source == AttachmentSource::Upload && file.digest == blob.digest
        };
        if newest.await?.iter().any(is_this) {
            return Ok(());
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

impl Host {
    /// Begins to take files for a prompt of this conversation, into its sandbox.
    ///
    /// # Errors
    /// [`UploadError::NotConfigured`] without blobs or sandboxes, [`UploadError::Sandbox`].
    pub async fn uploads(&self, conversation: ConversationId) -> Result<Uploads, UploadError> {
        let shared = self.shared();
        let (Some(blobs), Some(root)) = (&shared.blobs, shared.sandboxes.clone()) else {
            return Err(UploadError::NotConfigured);
        };
        let id: SandboxId = conversation
            .to_string()
            .parse()
            .map_err(|_| UploadError::NotConfigured)?;
        let sandbox = crate::sandbox::blocking(move || root.provision(&id)).await?;
        Ok(Uploads {
            sandbox,
            blobs: blobs.clone(),
            clock: Arc::clone(&shared.clock),
            cap: shared.options.max_upload,
            quota: shared.options.upload_quota,
            store: Arc::clone(&shared.store),
            conversation,
            prompt: UploadedFilesPrompt::new(""),
            files: Vec::new(),
        })
    }
}
