//! Bytes by digest, in a folder, in memory and on S3.

#[cfg(feature = "s3")]
mod moto;
#[cfg(feature = "s3")]
mod s3;
#[cfg(feature = "s3")]
mod services;

use std::io;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use futures_util::StreamExt as _;
use opencode_host::blobs::{BlobError, Blobs, Digest, OpenError};
use opencode_host::store::{MemoryStore, Store};
use tokio::io::{AsyncRead, ReadBuf};

/// Gives `size` bytes that differ from place to place, then fails if told to.
struct Source {
    at: u64,
    size: u64,
    fails: bool,
}

/// A blob of more is put in parts.
const PART: u64 = 8 * 1024 * 1024;

/// What a source repeats: a prime number of bytes, so that no two parts are alike.
static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    (0..65_537_u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
});

impl Source {
    fn of(size: u64) -> Self {
        Self {
            at: 0,
            size,
            fails: false,
        }
    }

    /// Whether these are the bytes from `at` on.
    fn is(bytes: &[u8], at: u64) -> bool {
        let mut place = at as usize % PATTERN.len();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(PATTERN.len() - place));
            if now != &PATTERN[place..place + now.len()] {
                return false;
            }
            (rest, place) = (later, 0);
        }
        true
    }
}

impl AsyncRead for Source {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.at == self.size && self.fails {
            return Poll::Ready(Err(io::Error::other("the line was cut")));
        }
        let place = self.at as usize % PATTERN.len();
        let left = (self.size - self.at).min(buffer.remaining() as u64) as usize;
        let now = left.min(PATTERN.len() - place);
        buffer.put_slice(&PATTERN[place..place + now]);
        self.at += now as u64;
        Poll::Ready(Ok(()))
    }
}

/// In a folder, in memory, on our double of S3, and on a server of S3 that others wrote.
struct Everywhere {
    home: tempfile::TempDir,
    folder: Blobs,
    memory: Blobs,
    #[cfg(feature = "s3")]
    s3: s3::Double,
    #[cfg(feature = "s3")]
    moto: moto::Moto,
}

impl Everywhere {
    async fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        Self {
            folder: Blobs::open(&format!("file://{}/blobs", home.path().display())).unwrap(),
            memory: Blobs::open("memory://").unwrap(),
            #[cfg(feature = "s3")]
            s3: s3::Double::start().await,
            #[cfg(feature = "s3")]
            moto: moto::Moto::start().await,
            home,
        }
    }

    fn stores(&self) -> Vec<Blobs> {
        vec![
            self.folder.clone(),
            self.memory.clone(),
            #[cfg(feature = "s3")]
            self.s3.blobs(),
            #[cfg(feature = "s3")]
            self.moto.blobs(),
        ]
    }
}

/// All files below a folder.
fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[tokio::test]
async fn what_is_put_comes_out() {
    let everywhere = Everywhere::new().await;
    for blobs in everywhere.stores() {
        blobs.check().await.unwrap();
        for size in [0, 1, 70_001, PART, 2 * PART + 7] {
            let blob = blobs.put(Source::of(size), size).await.unwrap();
            let again = blobs.put(Source::of(size), u64::MAX).await.unwrap();
            assert_eq!((blob, blob.size), (again, size));
            assert_eq!(blobs.size(&blob.digest).await.unwrap(), Some(size));
            let read = blobs.read(&blob.digest, size).await.unwrap();
            assert_eq!(Digest::of(&read), blob.digest);
            assert!(Source::is(&read, 0));
            for (range, expected) in [
                (0..1, 0..1),
                (5..9, 5..9),
                (size / 2..u64::MAX, size / 2..size),
            ] {
                match blobs.get_range(&blob.digest, range.clone()).await {
                    Ok(mut part) => {
                        let expected = expected.start..expected.end.min(size);
                        assert_eq!((&part.range, part.size), (&expected, size));
                        let mut at = expected.start;
                        while let Some(chunk) = part.next().await {
                            let chunk = chunk.unwrap();
                            assert!(Source::is(&chunk, at));
                            at += chunk.len() as u64;
                        }
                        assert_eq!(at, expected.end);
                    }
                    Err(BlobError::Range { size: told }) => {
                        assert!(told == size && range.start >= size, "{range:?} of {size}");
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
}

#[tokio::test]
async fn what_is_refused_leaves_nothing() {
    let everywhere = Everywhere::new().await;
    let home = &everywhere.home;
    let sizes = [10, 9 * 1024 * 1024];
    for blobs in &everywhere.stores() {
        for size in sizes {
            let refused = blobs.put(Source::of(size), size - 1).await;
            assert!(matches!(refused, Err(BlobError::TooLarge { cap }) if cap == size - 1));
            let cut = Source {
                fails: true,
                ..Source::of(size)
            };
            let refused = blobs.put(cut, u64::MAX).await;
            assert!(matches!(refused, Err(BlobError::Source(_))), "{refused:?}");
        }
        let missing = Digest::of(b"never put");
        assert_eq!(blobs.size(&missing).await.unwrap(), None);
        for refused in [
            blobs.get(&missing).await.err(),
            blobs.get_range(&missing, 0..1).await.err(),
            blobs.read(&missing, 1).await.err(),
        ] {
            assert!(
                matches!(refused, Some(BlobError::Missing { digest }) if digest == missing),
                "{refused:?}"
            );
        }
        let blob = blobs.put(&b"four"[..], 4).await.unwrap();
        let refused = blobs.read(&blob.digest, 3).await;
        assert!(
            matches!(refused, Err(BlobError::TooLarge { cap: 3 })),
            "{refused:?}"
        );
    }
    assert_eq!(files(home.path()).len(), 1, "{:?}", files(home.path()));
    #[cfg(feature = "s3")]
    assert_eq!(
        (everywhere.s3.keys().len(), everywhere.s3.unfinished()),
        (1, 0)
    );
}

#[tokio::test]
async fn damage_is_told() {
    let Everywhere {
        home,
        folder: blobs,
        ..
    } = Everywhere::new().await;
    let blob = blobs.put(Source::of(200_000), u64::MAX).await.unwrap();
    let path = files(home.path()).remove(0);
    let whole = std::fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    flipped[150_000] ^= 1;
    for damaged in [&flipped[..], &whole[..100_000], &[]] {
        std::fs::write(&path, damaged).unwrap();
        let read = blobs.read(&blob.digest, u64::MAX).await;
        assert!(matches!(read, Err(BlobError::Corrupt { .. })), "{read:?}");
        let last = blobs
            .get(&blob.digest)
            .await
            .unwrap()
            .collect::<Vec<_>>()
            .await;
        let failures = last.iter().filter(|chunk| chunk.is_err()).count();
        assert!(failures == 1 && last.last().unwrap().is_err());
        let mut reader = blobs.get(&blob.digest).await.unwrap().into_reader();
        let copied = tokio::io::copy(&mut reader, &mut tokio::io::sink()).await;
        assert!(copied.unwrap_err().to_string().contains("damaged"));
    }
    // Putting it again mends it.
    blobs.put(Source::of(200_000), u64::MAX).await.unwrap();
    assert_eq!(blobs.read(&blob.digest, u64::MAX).await.unwrap(), whole);
}

#[tokio::test]
async fn orphans_are_swept_when_they_are_old() {
    let Everywhere {
        home,
        folder: blobs,
        ..
    } = Everywhere::new().await;
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let hour = Duration::from_secs(3600);
    let [young, old] = ["young", "old"].map(|text| text.as_bytes());
    let young = blobs.put(young, 10).await.unwrap();
    let old = blobs.put(old, 10).await.unwrap();
    // What a killed process leaves.
    std::fs::create_dir_all(home.path().join("blobs/staging")).unwrap();
    let left = [
        "blobs/staging/0198#1",
        "blobs/staging/0199",
        "blobs/sha256/x#2",
    ];
    for path in left {
        std::fs::write(home.path().join(path), "part").unwrap();
    }
    for path in files(home.path()) {
        if !path.ends_with(young.digest.to_string()) {
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(SystemTime::now() - 2 * hour).unwrap();
        }
    }
    let swept = blobs.sweep(&*store, 3 * hour).await.unwrap();
    assert_eq!((swept.kept, swept.removed, swept.unfinished), (2, 0, 0));
    let swept = blobs.sweep(&*store, hour).await.unwrap();
    assert_eq!(
        (swept.kept, swept.removed, swept.bytes, swept.unfinished),
        (1, 1, 3, 3)
    );
    assert_eq!(blobs.size(&old.digest).await.unwrap(), None);
    assert_eq!(files(home.path()).len(), 1);
    // A sweep that was killed in the middle is finished by the next one.
    let aside = home.path().join("blobs/aside");
    std::fs::create_dir_all(&aside).unwrap();
    std::fs::rename(
        files(home.path()).remove(0),
        aside.join(young.digest.to_string()),
    )
    .unwrap();
    assert_eq!(blobs.sweep(&*store, hour).await.unwrap().removed, 1);
    assert_eq!(files(home.path()), Vec::<std::path::PathBuf>::new());
}

#[test]
fn what_is_no_storage_is_told_as_such() {
    for url in ["", "file://", "ftp://x", "data", "https://x/y"] {
        let refused = Blobs::open(url);
        assert!(
            matches!(refused, Err(OpenError::Unknown(_))),
            "{url}: {refused:?}"
        );
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    let refused = Blobs::in_folder(file.path());
    assert!(matches!(refused, Err(OpenError::Folder(..))), "{refused:?}");
}

#[test]
fn digests_are_read_strictly() {
    let digest = Digest::of(b"");
    let text = digest.to_string();
    assert_eq!(
        text,
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
    assert_eq!(text.parse(), Ok(digest));
    for wrong in [
        &text[1..],
        &text.to_uppercase(),
        &format!("{text}0"),
        &"é".repeat(32),
        "",
    ] {
        assert!(wrong.parse::<Digest>().is_err(), "{wrong}");
    }
}
