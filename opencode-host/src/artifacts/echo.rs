//! What lies in the sandbox because the host put it there, or has it already.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use crate::blobs::Digest;
use crate::store::{Attachment, AttachmentSource};

/// Where the row of an upload says which name it has in the sandbox, if an older version of this crate made it.
const SANDBOX_NAME: &str = "sandbox_name";

/// Where a transform's row says what it was made of. Its source need not be attached itself.
pub(super) const SOURCE: &str = "made_of";

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
                let name = place_of(attachment).unwrap_or(&attachment.name);
                echo.upload(name, attachment.digest);
            } else {
                echo.earlier(&attachment.name, attachment.digest);
                if let Some((name, digest)) = source_of(attachment) {
                    echo.earlier(name, digest);
                }
            }
        }
        echo
    }

    /// Adds an upload, by its name in the sandbox.
    pub fn upload(&mut self, sandbox_name: impl Into<String>, digest: Digest) {
        let named = self.uploads.entry(sandbox_name.into()).or_default();
        named.insert(digest);
    }

    fn earlier(&mut self, name: &str, digest: Digest) {
        let named = self.earlier.entry(name.to_owned()).or_default();
        named.insert(digest);
    }

    /// Whether this is the person's own upload, unchanged.
    pub fn is_upload(&self, name: &str, digest: &Digest) -> bool {
        contains(&self.uploads, name, digest)
    }

    /// Whether an earlier message has the very same file, or something that a transform made of it.
    pub fn is_known(&self, name: &str, digest: &Digest) -> bool {
        self.is_upload(name, digest) || contains(&self.earlier, name, digest)
    }
}

/// Where a file lies in its conversation's sandbox. `None` where it does not, or where nobody knows.
pub(crate) fn place_of(file: &Attachment) -> Option<&str> {
    let place = file.place.as_deref();
    match file.source {
        AttachmentSource::Transform => None,
        AttachmentSource::Upload => {
            place.or_else(|| file.trust.get(SANDBOX_NAME).and_then(Value::as_str))
        }
        // An older version of this crate kept no more than the name.
        AttachmentSource::Tool | AttachmentSource::Sandbox => place.or(Some(&file.name)),
    }
}

/// What a transform's row says of its source.
pub(super) fn made_of(name: &str, digest: &Digest) -> Value {
    json!({ "name": name, "digest": digest.to_string() })
}

fn source_of(attachment: &Attachment) -> Option<(&str, Digest)> {
    let source = attachment.trust.get(SOURCE)?;
    let digest = source["digest"].as_str()?.parse().ok()?;
    Some((source["name"].as_str()?, digest))
}

fn contains(files: &HashMap<String, HashSet<Digest>>, name: &str, digest: &Digest) -> bool {
    files
        .get(name)
        .is_some_and(|digests| digests.contains(digest))
}
