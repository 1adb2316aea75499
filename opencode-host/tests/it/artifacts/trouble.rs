//! Files that are not what they seem, too many of them, and a storage that does not keep them.

use std::time::{Duration, Instant};

use futures_util::stream::BoxStream;
use object_store::path::Path as ObjectPath;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as StoreResult,
};
use opencode_host::artifacts::MAX_SANDBOX_FILES;
use opencode_host::blobs::Blobs;
use opencode_host::store::AttachmentSource;

use super::{Bench, exchange, nothing, pairs, write};

#[tokio::test]
async fn a_type_that_lies_is_data_without_trust() {
    let bench = Bench::new().await;
    let html = "<html><script>alert(1)</script>";
    bench.put("cute.png", html);
    bench.put("page.html", "\u{89}PNG");
    bench.attach(&nothing()).await;
    for (name, content, mime_type) in [
        ("cute.png", html, "image/png"),
        ("page.html", "\u{89}PNG", "text/html"),
    ] {
        let row = bench.row(name).await;
        assert_eq!(row.mime_type, mime_type, "the name says it, not the bytes");
        assert!(row.trust.is_empty() && row.source == AttachmentSource::Sandbox);
        assert_eq!(row.size, content.len() as u64);
        let bytes = bench.blobs.read(&row.digest, 100).await.unwrap();
        assert_eq!(bytes, content.as_bytes(), "kept as it is");
    }
}

#[tokio::test]
async fn an_odd_name_is_a_name_or_is_told() {
    let bench = Bench::new().await;
    let longest = format!("{}.txt", "n".repeat(251));
    let odd = [
        "bomb.zip.zip.zip.zip.tar.gz.exe.png",
        "invoice\u{202e}gpj.exe",
        " leading and trailing ",
        "-rf",
        "名前.md",
        "con",
        "a;b&c|d'e\"f`g$(h).txt",
        longest.as_str(),
    ];
    for name in odd {
        bench.put(name, name);
    }
    // What is no plain text is no name: refused, one report, and not in the others' way.
    bench.put("line\nbreak.txt", "x");
    bench.put("bell\u{7}.txt", "x");
    let report = bench.attach(&nothing()).await;
    assert_eq!((report.added, report.failed), (odd.len(), 2));
    let mut names: Vec<_> = bench
        .files()
        .await
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    names.sort();
    let mut expected = odd.map(str::to_owned);
    expected.sort();
    assert_eq!(names, expected);
    assert_eq!(bench.row(odd[0]).await.mime_type, "image/png");
}

#[tokio::test]
async fn of_ten_thousand_files_some_are_attached_and_the_rest_counted() {
    let bench = Bench::new().await;
    for number in 0..10_000 {
        let path = format!("{number:05}.txt");
        std::fs::write(bench.sandbox.path().join(path), number.to_string()).unwrap();
    }
    let began = Instant::now();
    for added in [MAX_SANDBOX_FILES, 0] {
        let report = bench.attach(&nothing()).await;
        assert_eq!(
            (report.added, report.failed),
            (added, 10_000 - MAX_SANDBOX_FILES)
        );
    }
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(bench.reported().len(), 2, "one report for all, each time");
    assert!(bench.reported()[0].starts_with("9980 new files"));
}

/// Keeps so many objects, then has no room or does not answer.
#[derive(Debug)]
struct Limited {
    below: object_store::memory::InMemory,
    room: std::sync::atomic::AtomicUsize,
    tried: std::sync::Arc<std::sync::atomic::AtomicUsize>,
    full: bool,
}

impl std::fmt::Display for Limited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Limited")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Limited {
    async fn put_opts(
        &self,
        location: &ObjectPath,
        payload: PutPayload,
        options: PutOptions,
    ) -> StoreResult<PutResult> {
        use std::sync::atomic::Ordering::SeqCst;
        self.tried.fetch_add(1, SeqCst);
        if self.room.load(SeqCst) == 0 {
            let kind = if self.full {
                std::io::ErrorKind::StorageFull
            } else {
                std::io::ErrorKind::TimedOut
            };
            return Err(object_store::Error::Generic {
                store: "Limited",
                source: Box::new(std::io::Error::from(kind)),
            });
        }
        self.room.fetch_sub(1, SeqCst);
        self.below.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &ObjectPath,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.below.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &ObjectPath, options: GetOptions) -> StoreResult<GetResult> {
        self.below.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, StoreResult<ObjectPath>>,
    ) -> BoxStream<'static, StoreResult<ObjectPath>> {
        self.below.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.below.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&ObjectPath>) -> StoreResult<ListResult> {
        self.below.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &ObjectPath,
        to: &ObjectPath,
        options: CopyOptions,
    ) -> StoreResult<()> {
        self.below.copy_opts(from, to, options).await
    }
}

async fn on_limited(room: usize, full: bool) -> (Bench, usize, Vec<String>) {
    let tried = std::sync::Arc::<std::sync::atomic::AtomicUsize>::default();
    let limited = Limited {
        below: object_store::memory::InMemory::new(),
        room: room.into(),
        tried: tried.clone(),
        full,
    };
    let mut bench = Bench::new().await;
    bench.blobs = Blobs::new(std::sync::Arc::new(limited), "limited");
    for name in ["a", "b", "c", "d", "e", "f"] {
        bench.put(&format!("{name}.txt"), name);
    }
    let report = bench.attach(&nothing()).await;
    assert_eq!((report.added, report.failed), (room, 6 - room));
    // Nothing is half attached: each row has its bytes.
    assert_eq!(bench.files().await.len(), room);
    let reported = bench.reported();
    (
        bench,
        tried.load(std::sync::atomic::Ordering::SeqCst),
        reported,
    )
}

#[tokio::test]
async fn a_storage_that_fills_up_keeps_what_it_took() {
    let (bench, tried, reported) = on_limited(2, true).await;
    assert_eq!(
        bench.files().await,
        pairs(&[("a.txt", "a"), ("b.txt", "b")])
    );
    assert_eq!(reported, ["the file could not be kept"; 4]);
    assert_eq!(tried, 6, "the next one may be smaller, or there already");
}

#[tokio::test]
async fn a_storage_that_is_away_is_not_waited_for_again_and_again() {
    let (_, tried, reported) = on_limited(1, false).await;
    assert_eq!(tried, 3, "one kept, two tried");
    assert_eq!(reported.len(), 5, "each of the others is told");
    assert!(reported[4].contains("did not answer"), "{reported:?}");
}

/// The row stays: it says what was lost.
#[tokio::test]
async fn bytes_that_were_lost_are_told_by_their_digest() {
    let bench = Bench::new().await;
    let at = bench.sandbox.path().join("report.md");
    let exchange = exchange(&[
        write(&at, "told"),
        write(&at.with_file_name("b.md"), "kept"),
    ]);
    bench.attach(&exchange).await;
    let row = bench.row("report.md").await;
    let digest = row.digest.to_string();
    let folder = bench.home.path().join("blobs/sha256").join(&digest[..2]);
    std::fs::remove_file(folder.join(&digest)).unwrap();
    let missing = bench.blobs.get(&row.digest).await.unwrap_err();
    assert!(missing.to_string().contains("is missing"), "{missing}");
    assert!(missing.to_string().contains(&digest), "{missing}");
    let kept = bench.row("b.md").await;
    assert_eq!(bench.blobs.read(&kept.digest, 10).await.unwrap(), "kept");
    assert_eq!(bench.attach(&exchange).await.added, 0);
}
