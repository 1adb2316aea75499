//! What lies in the sandbox because the host put it there, or has it already.

use std::collections::{HashMap, HashSet};

use crate::blobs::Digest;
use crate::store::{Attachment, AttachmentSource};

/// Where an upload's row says which name it has in the sandbox.
pub(crate) const SANDBOX_NAME: &str = "sandbox_name";

/// Files that a turn did not make: the person's own uploads, and what earlier
/// messages have already. Told by name *and* content: an upload that the agent
/// changed is an artifact.
#[derive(Clone, Debug, Default)]
pub struct Echo {
    uploads: HashMap<String, HashSet<Digest>>,
    earlier: HashMap<String, HashSet<Digest>>,
}

impl Echo {
    /// An echo of nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// The echo of what a conversation's messages have.
    pub fn of<'a>(attachments: impl IntoIterator<Item = &'a Attachment>) -> Self {
        let mut echo = Self::default();
        for attachment in attachments {
            if attachment.source == AttachmentSource::Upload {
                let name = attachment.trust.get(SANDBOX_NAME);
                let name = name.and_then(|name| name.as_str());
                echo.upload(name.unwrap_or(&attachment.name), attachment.digest);
            } else {
                let named = echo.earlier.entry(attachment.name.clone()).or_default();
                named.insert(attachment.digest);
            }
        }
        echo
    }

    /// Adds an upload, by its name in the sandbox.
    pub fn upload(&mut self, sandbox_name: impl Into<String>, digest: Digest) {
        let named = self.uploads.entry(sandbox_name.into()).or_default();
        named.insert(digest);
    }

    /// Whether this is the person's own upload, unchanged.
    pub fn is_upload(&self, name: &str, digest: &Digest) -> bool {
        contains(&self.uploads, name, digest)
    }

    /// Whether an earlier message has the very same file.
    pub fn is_known(&self, name: &str, digest: &Digest) -> bool {
        self.is_upload(name, digest) || contains(&self.earlier, name, digest)
    }
}

fn contains(files: &HashMap<String, HashSet<Digest>>, name: &str, digest: &Digest) -> bool {
    files
        .get(name)
        .is_some_and(|digests| digests.contains(digest))
}
