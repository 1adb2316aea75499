//! What a file is, by what it begins with. Names and declared types are what somebody says.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use opencode_host::blobs::{BlobError, Blobs, Digest};
use opencode_host::store::Attachment;
use tokio::time::{Instant, timeout_at};

/// How many bytes are looked at.
const HEAD: u64 = 512;
/// How many verdicts are kept. They are true for good: bytes of one digest never change.
const KEPT: usize = 10_000;
/// How many files are looked at at once.
const AT_ONCE: usize = 16;
/// How long a page waits for its looks, all together. Without one a file is shown as a download.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a file looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Looks {
    /// A picture that browsers show, of this type. SVG is none: it is a document.
    Picture(&'static str),
    Pdf,
    /// UTF-8 text.
    Text,
    Other,
}

impl Looks {
    /// Of a file that begins so.
    pub(crate) fn of(head: &[u8]) -> Self {
        let is = |magic: &[u8]| head.starts_with(magic);
        let at = |place: usize, magic: &[u8]| {
            head.get(place..)
                .is_some_and(|rest| rest.starts_with(magic))
        };
        if is(b"\x89PNG\r\n\x1a\n") {
            Self::Picture("image/png")
        } else if is(b"\xff\xd8\xff") {
            Self::Picture("image/jpeg")
        } else if is(b"GIF87a") || is(b"GIF89a") {
            Self::Picture("image/gif")
        } else if is(b"RIFF") && at(8, b"WEBP") {
            Self::Picture("image/webp")
        } else if at(4, b"ftypavif") || at(4, b"ftypavis") {
            Self::Picture("image/avif")
        } else if is(b"%PDF-") {
            Self::Pdf
        } else if is_text(head) {
            Self::Text
        } else {
            Self::Other
        }
    }
}

/// Whether it is UTF-8 without control characters. The last character may be cut.
fn is_text(head: &[u8]) -> bool {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            let (whole, _) = head.split_at(error.valid_up_to());
            std::str::from_utf8(whole).unwrap_or("\0")
        }
        Err(_) => return false,
    };
    let strange =
        |c: char| c.is_ascii_control() && !matches!(c, '\t' | '\n' | '\r' | '\x0c' | '\x1b');
    !text.contains(strange)
}

/// The looks of files, remembered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen(Arc<Mutex<HashMap<Digest, Looks>>>);

impl Seen {
    /// What these files look like, in their order; `None` of one that cannot be looked at now.
    pub(crate) async fn all(
        &self,
        blobs: Option<&Blobs>,
        files: &[Attachment],
    ) -> Vec<Option<Looks>> {
        let until = Instant::now() + PATIENCE;
        let mut all = Vec::with_capacity(files.len());
        for some in files.chunks(AT_ONCE) {
            let looks = some.iter().map(|file| async {
                let look = self.one(blobs?, &file.digest, file.size);
                timeout_at(until, look).await.ok()?.ok()
            });
            all.extend(join_all(looks).await);
        }
        all
    }

    /// What one file looks like.
    pub(crate) async fn one(
        &self,
        blobs: &Blobs,
        digest: &Digest,
        size: u64,
    ) -> Result<Looks, BlobError> {
        if size == 0 {
            return Ok(Looks::Text);
        }
        let known = self.lock().get(digest).copied();
        if let Some(looks) = known {
            return Ok(looks);
        }
        let mut head = Vec::new();
        let mut stream = blobs.get_range(digest, 0..HEAD).await?;
        while let Some(chunk) = stream.next().await {
            head.extend_from_slice(&chunk?);
        }
        let looks = Looks::of(&head);
        let mut seen = self.lock();
        if seen.len() >= KEPT {
            seen.clear();
        }
        seen.insert(*digest, looks);
        Ok(looks)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Looks>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_say_what_a_file_is() {
        let cut = "Ende: ü".as_bytes();
        for (head, looks) in [
            (
                &b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"[..],
                Looks::Picture("image/png"),
            ),
            (b"\x89PNG\r\n\x1a", Looks::Other),
            (b"\xff\xd8\xff\xe0\0\x10JFIF", Looks::Picture("image/jpeg")),
            (b"GIF89a\x01\0", Looks::Picture("image/gif")),
            (b"GIF90a\x01\0", Looks::Other),
            (b"RIFF\x10\0\0\0WEBPVP8 ", Looks::Picture("image/webp")),
            (b"RIFF\x10\0\0\0WAVEfmt ", Looks::Other),
            (b"\0\0\0\x20ftypavif\0\0\0\0", Looks::Picture("image/avif")),
            (b"\0\0\0\x20ftypmp42", Looks::Other),
            (b"%PDF-1.7\n", Looks::Pdf),
            (b" %PDF-1.7\n", Looks::Text),
            (b"<!doctype html><script>alert(1)</script>", Looks::Text),
            (b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>", Looks::Text),
            (b"a\x1b[1mb\r\n\tc", Looks::Text),
            (&cut[..cut.len() - 1], Looks::Text),
            (b"\xfc\xfc", Looks::Other),
            (b"a\0b", Looks::Other),
            (b"", Looks::Text),
        ] {
            assert_eq!(
                Looks::of(head),
                looks,
                "{:?}",
                String::from_utf8_lossy(head)
            );
        }
    }
}
