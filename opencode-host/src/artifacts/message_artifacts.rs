//! Attaching a turn's files to its message.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opencode_client::Exchange;
use serde_json::{Value, json};

use super::echo::{SOURCE, made_of};
use super::naming::{Naming, distinct};
use super::{
    Artifact, Counterfeit, DefaultAttach, Dropped, Echo, ExchangeFiles, FileError, MAX_ARTIFACT,
    Transform,
};
use crate::blobs::{BlobError, Blobs, Digest};
use crate::clock::{Clock, Timestamp};
use crate::id::{AttachmentId, MessageId};
use crate::plug_in::{self, PlugInError};
use crate::reporter::Severity;
use crate::sandbox::{Sandbox, SandboxError, SandboxFile, SandboxPath};
use crate::store::{
    Attached, Attachment, AttachmentSource, MAX_ATTACHMENT_NAME, NewAttachment, Store, StoreError,
};
use crate::telemetry::Telemetry;

/// The most files of the sandbox that one message gets.
pub const MAX_SANDBOX_FILES: usize = 20;

/// After so many files in a row that a storage did not answer for, the others are not tried: each may take half
/// a minute.
const MAX_UNANSWERED: u32 = 2;

/// How many paths an event names.
const NAMED_PATHS: usize = 5;

/// Attaches files to one message.
#[derive(Clone, Copy, Debug)]
pub struct MessageArtifacts<'a> {
    /// The message.
    pub message: MessageId,
    /// Where its rows are.
    pub store: &'a dyn Store,
    /// Where bytes go.
    pub blobs: &'a Blobs,
    /// Where ids come from.
    pub clock: &'a dyn Clock,
    /// Where swallowed errors go.
    pub telemetry: &'a Telemetry,
    /// What of the agent's files is attached.
    pub default_attach: DefaultAttach,
    /// What the host makes of them.
    pub transforms: &'a [Arc<dyn Transform>],
    /// How long one of them may take.
    pub transform_limit: Duration,
}

/// What an attach did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AttachReport {
    /// All files of the message, in the order they were attached.
    pub attachments: Vec<Attachment>,
    /// How many of them this call attached.
    pub added: usize,
    /// How many files could not be attached; each was reported.
    pub failed: usize,
    /// How many counterfeits were kept out or removed; each was reported.
    pub counterfeits: usize,
}

/// What went wrong with one file.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the file could not be read")]
    File(#[from] FileError),
    #[error("the file could not be kept")]
    Blob(#[from] BlobError),
    #[error("the file's row could not be written")]
    Store(#[source] StoreError),
    #[error("the file was not kept: the blob storage did not answer for the files before it")]
    Away,
    #[error("the file was not made: {0}")]
    Render(PlugInError),
}

impl From<SandboxError> for Trouble {
    fn from(error: SandboxError) -> Self {
        Self::File(error.into())
    }
}

/// More files than a message gets.
#[derive(Debug, thiserror::Error)]
#[error(
    "{count} new files in the sandbox were not attached: a message gets {MAX_SANDBOX_FILES} of them"
)]
struct TooMany {
    count: usize,
}

/// What a listing passed over.
#[derive(Debug, thiserror::Error)]
#[error("{count} entries of the sandbox were refused, the first because {reason}")]
struct Refused {
    count: usize,
    reason: crate::sandbox::Refusal,
}

impl MessageArtifacts<'_> {
    /// Attaches what transforms make, then the files of the tools, then what is
    /// new in the sandbox since `cutoff` (by the file system's clock, with two
    /// seconds of slack), but no name that the message has already, and nothing
    /// of the echo. A file is attached under its name without folders; of several
    /// of one name all but one get their folders in front: `b/report.md` becomes
    /// `b-report.md`. A file that cannot be attached is reported, and the others
    /// still are.
    ///
    /// May be called again, and by several at once: the outcome is the same.
    ///
    /// # Errors
    /// A transient [`StoreError`]: worth another call.
    pub async fn attach_from(
        &self,
        exchange: &Exchange,
        sandbox: Option<&Sandbox>,
        cutoff: Timestamp,
        echo: &Echo,
    ) -> Result<AttachReport, StoreError> {
        let present = self.store.attachments(self.message).await?;
        let mut work = Work {
            to: *self,
            echo,
            owned: self.owned_names(),
            names: present.iter().map(|file| file.name.clone()).collect(),
            present,
            counterfeits: HashSet::new(),
            unanswered: 0,
            report: AttachReport::default(),
        };
        let tools = ExchangeFiles::of(exchange, sandbox);
        let listed = work.list(sandbox, cutoff).await;
        for transform in self.transforms {
            work.transform(transform, &tools, sandbox, &listed).await?;
        }
        if self.default_attach == DefaultAttach::All {
            let naming = Naming::of(&tools, &listed);
            work.tools(&tools, &naming, sandbox).await?;
            work.sandbox(&listed, &naming).await?;
        }
        work.report.counterfeits = work.counterfeits.len();
        work.report.attachments = self.store.attachments(self.message).await?;
        Ok(work.report)
    }

    fn owned_names(&self) -> BTreeSet<String> {
        let owned = self.transforms.iter().flat_map(|transform| {
            let mut names = transform.owned_names();
            names.push(transform.destination_name().to_owned());
            names
        });
        owned.map(|name| name.to_lowercase()).collect()
    }
}

/// One call of [`MessageArtifacts::attach_from`].
struct Work<'a> {
    to: MessageArtifacts<'a>,
    echo: &'a Echo,
    /// In lower case.
    owned: BTreeSet<String>,
    present: Vec<Attachment>,
    names: HashSet<String>,
    /// Names, so that a file that is told twice counts once.
    counterfeits: HashSet<String>,
    /// How many files in a row the blob storage did not answer for.
    unanswered: u32,
    report: AttachReport,
}

impl Work<'_> {
    /// What is new in the sandbox.
    async fn list(&mut self, sandbox: Option<&Sandbox>, cutoff: Timestamp) -> Vec<SandboxFile> {
        let Some(sandbox) = sandbox else {
            return Vec::new();
        };
        match sandbox.files_async(system_time(cutoff)).await {
            Ok(listing) => {
                if let Some(first) = listing.refused.first() {
                    let refused = Refused {
                        count: listing.refused.len(),
                        reason: first.reason,
                    };
                    self.report.failed += refused.count;
                    self.tell(&refused, &first.path);
                }
                listing.files
            }
            Err(error) => {
                self.report.failed += 1;
                self.tell(&error, ".");
                Vec::new()
            }
        }
    }

    async fn transform(
        &mut self,
        transform: &Arc<dyn Transform>,
        tools: &ExchangeFiles<'_>,
        sandbox: Option<&Sandbox>,
        listed: &[SandboxFile],
    ) -> Result<(), StoreError> {
        let name = transform.destination_name();
        let is_own = |file: &&Attachment| file.name.to_lowercase() == name.to_lowercase();
        let same_name: Vec<_> = self.present.iter().filter(is_own).cloned().collect();
        for attachment in same_name {
            if transform.trusted(&attachment) {
                if attachment.name == name {
                    return Ok(());
                }
            } else if transform.purges_counterfeits() {
                self.to.store.detach(attachment.id).await?;
                self.names.remove(&attachment.name);
                self.counterfeit(&attachment.name);
            }
        }
        if self.names.contains(name) {
            return Ok(());
        }
        let source = match self.source(&**transform, tools, sandbox, listed).await {
            Ok(Some(source)) => source,
            Ok(None) => return Ok(()),
            Err(error) => return self.failed(error, transform.source_name()),
        };
        let (renderer, bytes) = (Arc::clone(transform), source.bytes.clone());
        // What an agent wrote may break the best of renderers.
        let rendering = plug_in::call("the transform", self.to.transform_limit, async move || {
            if renderer.applies_to(&source) {
                renderer.render(&source).await.map(Some)
            } else {
                Ok(None)
            }
        });
        match rendering.await {
            Ok(Some(artifact)) => {
                let mut artifact = Artifact {
                    name: name.to_owned(),
                    ..artifact
                };
                let made_of = made_of(transform.source_name(), &Digest::of(&bytes));
                artifact.trust.insert(SOURCE.to_owned(), made_of);
                self.attach(artifact, AttachmentSource::Transform, None)
                    .await
            }
            Ok(None) => Ok(()),
            Err(error) => self.failed(Trouble::Render(error), name),
        }
    }

    /// The file a transform reads: as it lies in the sandbox, else as a tool told it. What lies there from before
    /// this turn is not this one's: the slack of the cutoff lists what an earlier turn made right before.
    async fn source(
        &self,
        transform: &dyn Transform,
        tools: &ExchangeFiles<'_>,
        sandbox: Option<&Sandbox>,
        listed: &[SandboxFile],
    ) -> Result<Option<Artifact>, Trouble> {
        let name = transform.source_name();
        // Near the top first.
        let depth = |file: &&SandboxFile| file.path().as_str().matches('/').count();
        let mut found: Vec<_> = listed.iter().filter(|file| file.name() == name).collect();
        found.sort_by_key(depth);
        let told = || tools.files().iter().chain(tools.shadowed());
        for file in found {
            let bytes = file.read_async(MAX_ARTIFACT).await?;
            let digest = Digest::of(&bytes);
            let old = if told().any(|told| told.place() == file.path().as_str()) {
                self.echo.is_upload(name, &digest)
            } else {
                self.echo.is_known(name, &digest)
            };
            if !old {
                return Ok(Some(Artifact::new(name, bytes)));
            }
        }
        let Some(file) = tools.files().iter().find(|file| file.name() == Some(name)) else {
            return Ok(None);
        };
        let artifact = file.read(sandbox).await?;
        let digest = Digest::of(&artifact.bytes);
        Ok((!self.echo.is_upload(name, &digest)).then_some(artifact))
    }

    async fn tools(
        &mut self,
        tools: &ExchangeFiles<'_>,
        naming: &Naming,
        sandbox: Option<&Sandbox>,
    ) -> Result<(), StoreError> {
        let mut dropped = Vec::new();
        for file in tools.files().iter().chain(tools.shadowed()) {
            let own = file.name().unwrap_or_default();
            let name = naming.name(file.place(), own);
            if file.name().is_some() && !self.wants(own, name) {
                continue;
            }
            match file.read(sandbox).await {
                Ok(artifact) => {
                    let digest = Digest::of(&artifact.bytes);
                    if !self.echo.is_upload(&artifact.name, &digest) {
                        let artifact = Artifact {
                            name: name.to_owned(),
                            ..artifact
                        };
                        let place = file.place().parse::<SandboxPath>().ok();
                        let place = place.map(|place| place.to_string());
                        self.attach(artifact, AttachmentSource::Tool, place).await?;
                    }
                }
                Err(reason) => dropped.push(Dropped {
                    path: file.path().to_owned(),
                    reason,
                }),
            }
        }
        self.dropped(dropped);
        Ok(())
    }

    async fn sandbox(&mut self, listed: &[SandboxFile], naming: &Naming) -> Result<(), StoreError> {
        let of_sandbox = |file: &&Attachment| file.source == AttachmentSource::Sandbox;
        let taken = self.present.iter().filter(of_sandbox).count();
        let mut left = MAX_SANDBOX_FILES.saturating_sub(taken);
        let mut too_many = 0;
        for file in listed {
            let name = naming.name(file.path().as_str(), file.name());
            if !self.wants(file.name(), name) {
                continue;
            }
            if left == 0 {
                too_many += 1;
                continue;
            }
            match file.read_async(MAX_ARTIFACT).await {
                // It was there when it was listed.
                Err(SandboxError::Gone { .. }) => {}
                Err(error) => self.failed(error.into(), file.path().as_str())?,
                Ok(bytes) => {
                    let digest = Digest::of(&bytes);
                    // Alone in another turn, it had its own name; in company, its folders before it.
                    let distinct = distinct(file.path().as_str(), file.name());
                    let names = [Some(file.name()), Some(name), distinct.as_deref()];
                    let mut names = names.into_iter().flatten();
                    if names.any(|name| self.echo.is_known(name, &digest)) {
                        continue;
                    }
                    left -= 1;
                    let artifact = Artifact::new(name, bytes);
                    let place = Some(file.path().to_string());
                    self.attach(artifact, AttachmentSource::Sandbox, place)
                        .await?;
                }
            }
        }
        if too_many > 0 {
            self.report.failed += too_many;
            self.tell(&TooMany { count: too_many }, ".");
        }
        Ok(())
    }

    /// Whether the agent's file `own`, to be attached as `name`, is still to be.
    fn wants(&mut self, own: &str, name: &str) -> bool {
        self.may_have(own) && self.may_have(name) && !self.names.contains(name)
    }

    /// Whether an agent's file may have this name.
    fn may_have(&mut self, name: &str) -> bool {
        if self.owned.contains(&name.to_lowercase()) {
            let is_destination = |transform: &&Arc<dyn Transform>| {
                transform.destination_name().to_lowercase() == name.to_lowercase()
            };
            if self
                .to
                .transforms
                .iter()
                .any(|transform| is_destination(&transform))
            {
                self.counterfeit(name);
            }
            return false;
        }
        true
    }

    /// Bytes first, then the row, then a look whether the bytes are still there: a
    /// sweep may have taken them for an orphan's in between.
    async fn attach(
        &mut self,
        artifact: Artifact,
        source: AttachmentSource,
        place: Option<String>,
    ) -> Result<(), StoreError> {
        let name = artifact.name.clone();
        if self.unanswered >= MAX_UNANSWERED {
            return self.failed(Trouble::Away, &name);
        }
        let kept = self.keep(artifact, source, place).await;
        self.unanswered = match &kept {
            Err(Trouble::Blob(BlobError::Unreachable(_))) => self.unanswered + 1,
            _ => 0,
        };
        match kept {
            Ok(attached) => {
                self.report.added += usize::from(attached.created);
                self.names.insert(name);
                Ok(())
            }
            Err(trouble) => self.failed(trouble, &name),
        }
    }

    async fn keep(
        &self,
        artifact: Artifact,
        source: AttachmentSource,
        place: Option<String>,
    ) -> Result<Attached, Trouble> {
        if artifact.bytes.len() as u64 > MAX_ARTIFACT {
            return Err(FileError::TooLarge { cap: MAX_ARTIFACT }.into());
        }
        if artifact.name.chars().count() > MAX_ATTACHMENT_NAME {
            return Err(FileError::Name.into());
        }
        let blob = self.to.blobs.put_bytes(artifact.bytes.clone()).await?;
        let row = NewAttachment {
            id: AttachmentId::from_uuid(self.to.clock.new_uuid()),
            message: self.to.message,
            name: artifact.name,
            digest: blob.digest,
            size: blob.size,
            mime_type: artifact.mime_type,
            source,
            trust: artifact.trust,
            place,
        };
        let attached = self.to.store.attach(&row).await.map_err(Trouble::Store)?;
        if self.to.blobs.size(&blob.digest).await?.is_none() {
            self.to.blobs.put_bytes(artifact.bytes).await?;
        }
        Ok(attached)
    }

    /// Reports what went wrong with one file, unless all of it is to be tried again.
    fn failed(&mut self, trouble: Trouble, name: &str) -> Result<(), StoreError> {
        match trouble {
            Trouble::Store(error) if error.is_transient() => Err(error),
            trouble => {
                self.report.failed += 1;
                self.tell(&trouble, name);
                Ok(())
            }
        }
    }

    fn counterfeit(&mut self, name: &str) {
        if self.counterfeits.insert(name.to_owned()) {
            let counterfeit = Counterfeit {
                name: name.to_owned(),
            };
            self.tell(&counterfeit, name);
        }
    }

    fn dropped(&mut self, dropped: Vec<Dropped>) {
        let Some(first) = dropped.first() else {
            return;
        };
        let paths: Vec<_> = dropped
            .iter()
            .take(NAMED_PATHS)
            .map(|file| &file.path)
            .collect();
        self.to.telemetry.event(
            "apply_patch.artifacts_dropped",
            [
                ("message", self.to.message.to_string().into()),
                ("count", dropped.len().into()),
                ("paths", json!(paths)),
                ("reason", first.reason.to_string().into()),
            ],
        );
        self.report.failed += dropped.len();
        for file in dropped {
            self.tell(&file.reason, &file.path);
        }
    }

    fn tell(&self, error: &(dyn std::error::Error + 'static), file: &str) {
        let context: [(&str, Value); 3] = [
            ("action", "attach".into()),
            ("message", self.to.message.to_string().into()),
            ("file", file.into()),
        ];
        self.to.telemetry.report(error, Severity::Warning, context);
    }
}

/// The moment by the file system's clock.
fn system_time(at: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(at.0).unwrap_or(0))
}
