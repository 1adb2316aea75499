//! Finding what a sandbox holds that is new.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cap_std::fs::{Dir, Metadata};

use super::{file, file::SandboxFile, folder};
use crate::sandbox::{Listing, MAX_DEPTH, Refusal, RefusedEntry, SandboxError, SandboxPath};

/// The most entries one listing looks at.
pub const MAX_ENTRIES: usize = 20_000;

/// The most refused entries one listing names.
pub const MAX_REFUSED: usize = 100;

/// The file system's clock and the database's may differ by this much.
const CLOCK_SLACK: Duration = Duration::from_secs(2);

/// Breadth first, so that one deep folder cannot hide what lies at the top; one folder open at a time, so
/// that a wide tree does not use up the process's handles.
pub(super) fn list(root: &Arc<Dir>, after: SystemTime) -> Result<Listing, SandboxError> {
    let cutoff = after.checked_sub(CLOCK_SLACK);
    let mut walk = Walk {
        root,
        cutoff: cutoff.unwrap_or(SystemTime::UNIX_EPOCH),
        left: MAX_ENTRIES,
        folders: VecDeque::new(),
        listing: Listing {
            files: Vec::new(),
            refused: Vec::new(),
            complete: true,
        },
    };
    walk.folder(root, None).map_err(|source| SandboxError::Io {
        action: "list",
        path: ".".to_owned(),
        source,
    })?;
    while let Some(path) = walk.folders.pop_front() {
        // A folder that is gone or was swapped for a link by now holds nothing.
        let opened = folder::parent(root, &path).and_then(|parent| {
            folder::open(&parent, path.name())
                .map_err(|error| folder::explain(&parent, path.name(), &path, error))
        });
        match opened {
            Ok(dir) => {
                if walk.folder(&dir, Some(&path)).is_err() {
                    walk.listing.complete = false;
                }
            }
            Err(SandboxError::Refused { path, reason }) => walk.refuse(path, reason),
            Err(SandboxError::Gone { .. }) => {}
            Err(_) => walk.listing.complete = false,
        }
    }
    let mut listing = walk.listing;
    listing.files.sort_by(|a, b| a.path().cmp(b.path()));
    Ok(listing)
}

struct Walk<'a> {
    root: &'a Arc<Dir>,
    cutoff: SystemTime,
    /// How many entries may still be looked at.
    left: usize,
    folders: VecDeque<SandboxPath>,
    listing: Listing,
}

impl Walk<'_> {
    fn folder(&mut self, dir: &Dir, path: Option<&SandboxPath>) -> io::Result<()> {
        for entry in dir.entries()? {
            if self.left == 0 {
                self.listing.complete = false;
                break;
            }
            self.left -= 1;
            let entry = entry?;
            // The entry itself: no link is followed.
            match entry.metadata() {
                Ok(metadata) => self.entry(&entry.file_name(), &metadata, path),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(_) => self.listing.complete = false,
            }
        }
        Ok(())
    }

    fn entry(&mut self, name: &OsStr, metadata: &Metadata, folder: Option<&SandboxPath>) {
        if metadata.is_dir() {
            if name.as_encoded_bytes().starts_with(b".") {
                return;
            }
            if folder.map_or(0, SandboxPath::depth) + 1 >= MAX_DEPTH {
                self.listing.complete = false;
                return;
            }
        } else if file::modified(metadata) <= self.cutoff {
            return;
        }
        let path = name.to_str().and_then(|name| match folder {
            None => name.parse().ok(),
            Some(folder) => folder.join(name).ok(),
        });
        let Some(path) = path else {
            let folder = folder.map_or(String::new(), |folder| format!("{folder}/"));
            self.refuse(format!("{folder}{}", name.to_string_lossy()), Refusal::Name);
            return;
        };
        match folder::plain_file(metadata) {
            // A hard link is listed: reading it says what is wrong with it.
            Ok(()) | Err(Refusal::HardLink) => {
                self.listing
                    .files
                    .push(SandboxFile::seen(self.root, path, metadata));
            }
            Err(Refusal::Folder) => self.folders.push_back(path),
            Err(reason) => self.refuse(path.to_string(), reason),
        }
    }

    fn refuse(&mut self, path: String, reason: Refusal) {
        if self.listing.refused.len() < MAX_REFUSED {
            self.listing.refused.push(RefusedEntry { path, reason });
        }
    }
}
