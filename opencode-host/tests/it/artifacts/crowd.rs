//! Many attach at once, and a sweep runs beside them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opencode_host::blobs::Blobs;

use super::{Bench, exchange, message, write};

/// Two workers attach the turn of a message at the same time, message after
/// message, while a sweep that takes every blob for old runs without pause.
async fn attach_at_once(mut bench: Bench, rounds: usize) {
    bench.put("a.txt", "from the sandbox");
    let stop = Arc::new(AtomicBool::new(false));
    let sweeping = tokio::spawn({
        let (blobs, store) = (bench.blobs.clone(), Arc::clone(&bench.store));
        let stop = Arc::clone(&stop);
        async move {
            let mut removed = 0;
            while !stop.load(Ordering::Relaxed) {
                let swept = blobs.sweep(&*store, Duration::ZERO).await.unwrap();
                removed += swept.removed;
                tokio::task::yield_now().await;
            }
            removed
        }
    });
    let mut messages = Vec::new();
    for round in 0..rounds {
        bench.message = message(&*bench.store).await;
        messages.push(bench.message);
        let at = bench.sandbox.path().join("report.md");
        let told = exchange(&[write(&at, &format!("report {round}"))]);
        let (one, two) = tokio::join!(bench.attach(&told), bench.attach(&told));
        assert_eq!(
            one.added + two.added,
            2,
            "round {round}: {:?}",
            bench.reported()
        );
        assert_eq!(one.failed + two.failed, 0, "{:?}", bench.reported());
    }
    stop.store(true, Ordering::Relaxed);
    sweeping.await.unwrap();
    bench
        .blobs
        .sweep(&*bench.store, Duration::ZERO)
        .await
        .unwrap();
    let mut digests = std::collections::BTreeSet::new();
    for (round, message) in messages.into_iter().enumerate() {
        bench.message = message;
        let expected = [
            ("a.txt".to_owned(), "from the sandbox".to_owned()),
            ("report.md".to_owned(), format!("report {round}")),
        ];
        let mut files = bench.files().await;
        files.sort();
        assert_eq!(files, expected, "round {round}");
        for file in bench.store.attachments(message).await.unwrap() {
            digests.insert(file.digest);
        }
    }
    let kept = bench
        .blobs
        .sweep(&*bench.store, Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(
        (kept.kept, kept.removed),
        (digests.len() as u64, 0),
        "no orphan is left"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_workers_attach_the_same_turns_in_a_folder() {
    attach_at_once(Bench::new().await, 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_workers_attach_the_same_turns_in_memory() {
    let mut bench = Bench::new().await;
    bench.blobs = Blobs::open("memory://").unwrap();
    attach_at_once(bench, 1000).await;
}
