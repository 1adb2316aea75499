//! Removing bytes that no row names.
//!
//! A blob without a row may be about to get one: bytes come first. So only old
//! ones are looked at; a blob that is put again is young again. And a blob that
//! is put and named between the look and the removal is not lost either:
//!
//! 1. the sweep moves the blob aside, then asks whether a row names it: if so, it
//!    moves it back;
//! 2. who attaches looks, after the row is written, whether the bytes are still
//!    there, and puts them again if not ([`MessageArtifacts`]).
//!
//! Whichever of the two comes later sees the other.
//!
//! [`MessageArtifacts`]: crate::artifacts::MessageArtifacts

use std::collections::HashSet;
use std::io;
use std::path::Path as FsPath;
use std::time::{Duration, SystemTime};

use futures_util::TryStreamExt as _;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore as _, ObjectStoreExt as _};

use super::{Blobs, error, path};
use crate::blobs::{BlobError, Digest, SweepError, Swept};
use crate::store::{Store, StoreError};

/// How many digests the store is asked about at once.
const PAGE: usize = 500;

/// Where a blob lies while the sweep decides.
const ASIDE: &str = "aside";

/// An upload of this age is not under way any more.
const ABANDONED: Duration = Duration::from_secs(3600);

impl Blobs {
    /// Removes blobs that are older than `age` and that no row of `store` names,
    /// and uploads of that age (an hour at least) that were never finished. Several
    /// may run at once.
    ///
    /// Every store that names blobs here must be this one. `age` should be well
    /// above the time between a file's upload and its message: a day.
    ///
    /// # Errors
    /// See [`SweepError`].
    pub async fn sweep(&self, store: &dyn Store, age: Duration) -> Result<Swept, SweepError> {
        let mut swept = Swept::default();
        let now = SystemTime::now();
        // Left by a sweep that was killed.
        self.decide(store, &mut swept, self.aside().await?).await?;
        let mut page = Vec::new();
        let mut listing = self.store.list(Some(&Path::from("sha256")));
        while let Some(meta) = listing.try_next().await.map_err(error::of_store)? {
            match digest_of(&meta) {
                Some(digest) if is_older(&meta, now, age) => page.push((digest, meta.size)),
                _ => swept.kept += 1,
            }
            if page.len() == PAGE {
                self.sweep_page(store, &mut swept, std::mem::take(&mut page))
                    .await?;
            }
        }
        self.sweep_page(store, &mut swept, page).await?;
        self.sweep_unfinished(&mut swept, now, age.max(ABANDONED))
            .await?;
        Ok(swept)
    }

    async fn sweep_page(
        &self,
        store: &dyn Store,
        swept: &mut Swept,
        page: Vec<(Digest, u64)>,
    ) -> Result<(), SweepError> {
        let named = named(store, &page).await?;
        let mut moved = Vec::new();
        for (digest, size) in page {
            if named.contains(&digest) {
                swept.kept += 1;
                continue;
            }
            match self.store.rename(&path(&digest), &aside(&digest)).await {
                Ok(()) => moved.push((digest, size)),
                // Another sweep has it.
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error::of_store(error).into()),
            }
        }
        self.decide(store, swept, moved).await
    }

    /// What lies aside goes back when a row names it by now, and away when none does.
    async fn decide(
        &self,
        store: &dyn Store,
        swept: &mut Swept,
        aside_now: Vec<(Digest, u64)>,
    ) -> Result<(), SweepError> {
        for page in aside_now.chunks(PAGE) {
            let named = named(store, page).await?;
            for (digest, size) in page {
                let outcome = if named.contains(digest) {
                    swept.kept += 1;
                    self.store.rename(&aside(digest), &path(digest)).await
                } else {
                    swept.removed += 1;
                    swept.bytes += size;
                    self.store.delete(&aside(digest)).await
                };
                match outcome {
                    Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                    Err(error) => return Err(error::of_store(error).into()),
                }
            }
        }
        Ok(())
    }

    async fn aside(&self) -> Result<Vec<(Digest, u64)>, BlobError> {
        let listing = self.store.list(Some(&Path::from(ASIDE)));
        let found: Vec<_> = listing.try_collect().await.map_err(error::of_store)?;
        let blobs = found
            .iter()
            .filter_map(|meta| Some((digest_of(meta)?, meta.size)));
        Ok(blobs.collect())
    }

    async fn sweep_unfinished(
        &self,
        swept: &mut Swept,
        now: SystemTime,
        age: Duration,
    ) -> Result<(), BlobError> {
        let listing = self.store.list(Some(&Path::from("staging")));
        let found: Vec<_> = listing.try_collect().await.map_err(error::of_store)?;
        for meta in found.iter().filter(|meta| is_older(meta, now, age)) {
            match self.store.delete(&meta.location).await {
                Ok(()) => swept.unfinished += 1,
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error::of_store(error)),
            }
        }
        // The object store does not list what it left itself when the process was killed.
        if let Some(folder) = self.folder.clone() {
            let removed = tokio::task::spawn_blocking(move || {
                let cutoff = now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
                ["staging", "sha256"]
                    .map(|name| remove_partial(&folder.join(name), cutoff))
                    .into_iter()
                    .sum::<io::Result<u64>>()
            });
            match removed.await {
                Ok(Ok(removed)) => swept.unfinished += removed,
                Ok(Err(error)) => {
                    tracing::debug!(%error, "unfinished blobs stay for the next sweep")
                }
                Err(error) => tracing::debug!(%error, "unfinished blobs stay for the next sweep"),
            }
        }
        Ok(())
    }
}

/// Which of these a row names.
async fn named(store: &dyn Store, page: &[(Digest, u64)]) -> Result<HashSet<Digest>, StoreError> {
    let digests: Vec<_> = page.iter().map(|(digest, _)| *digest).collect();
    Ok(store.digests_in_use(&digests).await?.into_iter().collect())
}

fn aside(digest: &Digest) -> Path {
    Path::from_iter([ASIDE, &digest.to_string()])
}

/// What is not named by a digest is none of ours.
fn digest_of(meta: &ObjectMeta) -> Option<Digest> {
    meta.location.filename()?.parse().ok()
}

fn is_older(meta: &ObjectMeta, now: SystemTime, age: Duration) -> bool {
    let modified: SystemTime = meta.last_modified.into();
    now.duration_since(modified).is_ok_and(|old| old > age)
}

/// Removes the files whose name the object store gives to what it has not finished: `NAME#1`.
fn remove_partial(folder: &FsPath, cutoff: SystemTime) -> io::Result<u64> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut removed = 0;
    for entry in entries {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            removed += remove_partial(&entry.path(), cutoff)?;
        } else if entry.file_name().as_encoded_bytes().contains(&b'#')
            && metadata.modified()? < cutoff
        {
            std::fs::remove_file(entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}
