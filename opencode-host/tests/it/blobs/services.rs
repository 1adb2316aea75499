//! What a service across the network adds to blobs: it is slow, full, away, or lets nobody in.

use std::time::{Duration, Instant};

use bytes::Bytes;
use opencode_host::blobs::{BlobError, Blobs, Digest, OpenError};
use opencode_host::store::MemoryStore;

use super::s3::{Double, Fault, blobs_at};
use super::{PART, Source};

const HOUR: Duration = Duration::from_secs(3600);

fn key(digest: &Digest) -> String {
    let name = digest.to_string();
    format!("files/sha256/{}/{name}", &name[..2])
}

#[tokio::test]
async fn a_large_blob_goes_in_parts_and_leaves_one_object() {
    let double = Double::start().await;
    let blobs = double.blobs();
    let size = 2 * PART + 7;
    let blob = blobs.put(Source::of(size), size).await.unwrap();
    assert_eq!(double.keys(), [key(&blob.digest)]);
    assert_eq!(double.unfinished(), 0);
    let parts = double
        .requests()
        .iter()
        .filter(|request| request.starts_with("PUT files/staging"))
        .count();
    // A busy machine may be asked again.
    assert!(parts >= 3, "{parts}");
}

#[tokio::test]
async fn a_completion_whose_answer_was_lost_is_one() {
    let double = Double::start().await;
    let blobs = double.blobs();
    double.fault(Fault::LostCompletion);
    let size = PART + 7;
    let blob = blobs.put(Source::of(size), size).await.unwrap();
    assert_eq!(double.keys(), [key(&blob.digest)]);
    assert_eq!(double.unfinished(), 0);
}

#[tokio::test]
async fn orphans_are_swept_page_by_page() {
    let double = Double::start().await;
    let (blobs, store) = (double.blobs(), MemoryStore::default());
    let mut old = Vec::new();
    for number in 0..8 {
        let blob = blobs
            .put(format!("old {number}").as_bytes(), 10)
            .await
            .unwrap();
        double.age(&key(&blob.digest), 2 * HOUR);
        old.push(blob);
    }
    let young = blobs.put(&b"young"[..], 10).await.unwrap();
    double.plant("files/staging/0199", b"never finished");
    double.age("files/staging/0199", 2 * HOUR);
    double.plant("another/of/the/bucket", b"not ours");
    double.age("another/of/the/bucket", 2 * HOUR);
    let swept = blobs.sweep(&store, HOUR).await.unwrap();
    assert_eq!((swept.kept, swept.removed, swept.unfinished), (1, 8, 1));
    let mut left = vec!["another/of/the/bucket".to_owned(), key(&young.digest)];
    left.sort();
    assert_eq!(double.keys(), left);
}

#[tokio::test]
async fn damage_and_loss_are_told() {
    let double = Double::start().await;
    let blobs = double.blobs();
    let blob = blobs.put(&b"whole"[..], 10).await.unwrap();
    double.tamper(&key(&blob.digest), |_| Some(Bytes::from_static(b"whole?")));
    let read = blobs.read(&blob.digest, 10).await;
    assert!(matches!(read, Err(BlobError::Corrupt { .. })), "{read:?}");
    double.tamper(&key(&blob.digest), |_| None);
    let read = blobs.read(&blob.digest, 10).await;
    assert!(matches!(read, Err(BlobError::Missing { .. })), "{read:?}");
    assert_eq!(blobs.size(&blob.digest).await.unwrap(), None);
}

#[tokio::test]
async fn a_service_that_is_busy_is_asked_again() {
    let double = Double::start().await;
    let blobs = double.blobs();
    double.fault(Fault::SlowDown(2));
    let blob = blobs.put(&b"patience"[..], 10).await.unwrap();
    assert_eq!(double.requests().len(), 3);
    double.fault(Fault::SlowDown(1));
    assert_eq!(blobs.read(&blob.digest, 10).await.unwrap(), "patience");
}

#[tokio::test]
async fn what_a_service_refuses_is_told_by_what_to_do() {
    let double = Double::start().await;
    let blobs = double.blobs();
    let there = blobs.put(&b"there"[..], 10).await.unwrap();
    for size in [5, PART + 1] {
        double.fault(Fault::OverQuota);
        let refused = blobs.put(Source::of(size), size).await;
        assert!(matches!(refused, Err(BlobError::Full(_))), "{refused:?}");
        double.fault(Fault::Denied);
        let refused = blobs.put(Source::of(size), size).await;
        assert!(matches!(refused, Err(BlobError::Denied(_))), "{refused:?}");
    }
    double.fault(Fault::Full);
    let refused = blobs.put(&b"more"[..], 10).await;
    assert!(matches!(refused, Err(BlobError::Full(_))), "{refused:?}");
    let checked = blobs.check().await;
    assert!(matches!(checked, Err(BlobError::Full(_))), "{checked:?}");
    // What is there can still be read.
    assert_eq!(blobs.read(&there.digest, 10).await.unwrap(), "there");
    assert_eq!((double.keys().len(), double.unfinished()), (1, 0));
}

#[tokio::test]
async fn a_service_that_is_away_is_given_up_soon() {
    let double = Double::start().await;
    let blobs = double.blobs();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let began = Instant::now();
    double.fault(Fault::Silent);
    let (away, asked) = (blobs_at(port), Digest::of(b"x"));
    let (refused, silent) = tokio::join!(away.put(&b"x"[..], 10), blobs.size(&asked));
    assert!(
        matches!(refused, Err(BlobError::Unreachable(_))),
        "{refused:?}"
    );
    assert!(
        matches!(silent, Err(BlobError::Unreachable(_))),
        "{silent:?}"
    );
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn settings_that_are_none_are_told() {
    let refused = Blobs::in_bucket("s3://bucket", [("aws_nonsense", "1")]);
    assert!(
        matches!(refused, Err(OpenError::Settings(..))),
        "{refused:?}"
    );
    let refused = Blobs::in_bucket("s3://", []);
    assert!(matches!(refused, Err(OpenError::Unknown(_))), "{refused:?}");
}
