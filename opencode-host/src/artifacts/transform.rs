//! What the host itself makes of an agent's file, and vouches for.

use std::fmt;

use async_trait::async_trait;

use super::Artifact;
use crate::plug_in::HookError;
use crate::store::{Attachment, AttachmentSource};

/// What of an agent's files is attached without being asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DefaultAttach {
    /// Every new file, but those a transform owns the names of.
    #[default]
    All,
    /// Nothing but what transforms make.
    None,
}

/// A product's rule that turns one file of the agent into an artifact the host
/// vouches for, such as data into a page that the host renders.
///
/// The agent writes the source and can write a file of the destination's name
/// too. That one never becomes the artifact: owned names are not attached, and
/// what carries the destination's name without being [trusted](Self::trusted) is
/// removed and reported as a [`Counterfeit`].
#[async_trait]
pub trait Transform: Send + Sync + 'static {
    /// The name of the file it reads, without folders.
    fn source_name(&self) -> &str;

    /// The name of the artifact it makes, without folders.
    fn destination_name(&self) -> &str;

    /// Whether it has anything to say about this file. Default: yes.
    fn applies_to(&self, source: &Artifact) -> bool {
        let _ = source;
        true
    }

    /// Makes the artifact. Its name becomes the destination's, whatever it says;
    /// its trust metadata is kept with the row, where `made_of` tells the source's
    /// name and digest. The source is what an agent wrote: anything may be in it.
    ///
    /// # Errors
    /// Reported; this artifact is not attached, the others are.
    async fn render(&self, source: &Artifact) -> Result<Artifact, HookError>;

    /// Whether an attachment is this transform's own. Default: one that the host
    /// attached as a transform's, under the destination's name.
    fn trusted(&self, attachment: &Attachment) -> bool {
        attachment.source == AttachmentSource::Transform
            && attachment.name == self.destination_name()
    }

    /// The names that an agent's files may not be attached under, whatever their
    /// upper and lower case. Default: the destination's.
    fn owned_names(&self) -> Vec<String> {
        vec![self.destination_name().to_owned()]
    }

    /// Whether an attachment of the destination's name that is not trusted is
    /// removed. Default: yes.
    fn purges_counterfeits(&self) -> bool {
        true
    }
}

impl fmt::Debug for dyn Transform + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transform")
    }
}

/// A file that posed as one the host vouches for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not the host's own: it was kept out")]
pub struct Counterfeit {
    /// The name it carries.
    pub name: String,
}
