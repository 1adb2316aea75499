//! Attaching to a message.

use std::path::Path;

use opencode_host::artifacts::{DefaultAttach, Echo, MAX_SANDBOX_FILES};
use opencode_host::blobs::Digest;
use opencode_host::store::AttachmentSource;

use super::{Bench, edit, exchange, nothing, pairs, write};

#[tokio::test]
async fn files_of_tools_and_sandbox_are_attached_once() {
    let bench = Bench::new().await;
    let at = |path: &str| bench.sandbox.path().join(path);
    bench.put("report.md", "written");
    bench.put("notes.md", "edited");
    bench.put("charts/sales.csv", "a,b");
    let exchange = exchange(&[write(&at("report.md"), "written"), edit(&at("notes.md"))]);
    let expected = pairs(&[
        ("report.md", "written"),
        ("notes.md", "edited"),
        ("sales.csv", "a,b"),
    ]);
    for added in [3, 0, 0] {
        let report = bench.attach(&exchange).await;
        assert_eq!(
            (report.added, report.failed),
            (added, 0),
            "{:?}",
            bench.reported()
        );
        assert_eq!(report.attachments.len(), 3);
        assert_eq!(bench.files().await, expected);
    }
    let sources: Vec<_> = bench.attach(&exchange).await.attachments;
    let sources: Vec<_> = sources.iter().map(|file| file.source).collect();
    let (tool, sandbox) = (AttachmentSource::Tool, AttachmentSource::Sandbox);
    assert_eq!(sources, [tool, tool, sandbox]);
    assert!(bench.row("notes.md").await.trust.is_empty());
}

#[tokio::test]
async fn a_product_may_attach_nothing() {
    let mut bench = Bench::new().await;
    bench.default_attach = DefaultAttach::None;
    bench.put("notes.md", "x");
    let report = bench
        .attach(&exchange(&[write(Path::new("/x.md"), "x")]))
        .await;
    assert_eq!((report.added, report.attachments.len()), (0, 0));
}

#[tokio::test]
async fn a_bad_file_does_not_stop_the_others() {
    let bench = Bench::new().await;
    let secret = bench.home.path().join("secret.txt");
    std::fs::write(&secret, "secret").unwrap();
    std::os::unix::fs::symlink(&secret, bench.sandbox.path().join("a-link.txt")).unwrap();
    std::fs::hard_link(&secret, bench.sandbox.path().join("b-hard.txt")).unwrap();
    bench.put("c-big.bin", &"x".repeat(10 * 1024 * 1024 + 1));
    bench.put("d-good.txt", "good");
    let at = |path: &str| bench.sandbox.path().join(path);
    let exchange = exchange(&[
        edit(&at("a-link.txt")),
        edit(&at("gone.txt")),
        edit(&secret),
        edit(&at("d-good.txt")),
    ]);
    let report = bench.attach(&exchange).await;
    assert_eq!(bench.files().await, pairs(&[("d-good.txt", "good")]));
    assert_eq!(report.added, 1);
    let dropped = bench.recorder.named("apply_patch.artifacts_dropped");
    assert_eq!(dropped.len(), 1);
    assert_eq!(dropped[0]["count"], 3);
    assert_eq!(
        dropped[0]["paths"],
        serde_json::json!(["a-link.txt", "gone.txt", "secret.txt"])
    );
    assert!(
        dropped[0]["reason"]
            .as_str()
            .unwrap()
            .contains("symbolic link")
    );
    // The link once more as an entry of the folder, the hard link, the large file.
    assert_eq!(report.failed, 6, "{:#?}", bench.reported());
}

#[tokio::test]
async fn an_event_names_five_paths_of_many() {
    let bench = Bench::new().await;
    let at = |number: usize| bench.sandbox.path().join(format!("{number}.md"));
    let calls: Vec<_> = (0..9).map(|number| edit(&at(number))).collect();
    bench.attach(&exchange(&calls)).await;
    let dropped = bench.recorder.named("apply_patch.artifacts_dropped");
    assert_eq!(dropped[0]["count"], 9);
    assert_eq!(dropped[0]["paths"].as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn a_message_gets_so_many_files_of_the_sandbox() {
    let bench = Bench::new().await;
    for number in 0..MAX_SANDBOX_FILES + 5 {
        bench.put(&format!("{number:03}.txt"), &number.to_string());
    }
    // What tools name does not count.
    let told = bench.sandbox.path().join("024.txt");
    let exchange = exchange(&[write(&told, "24")]);
    for added in [MAX_SANDBOX_FILES + 1, 0] {
        let report = bench.attach(&exchange).await;
        assert_eq!((report.added, report.failed), (added, 4));
        assert_eq!(report.attachments.len(), MAX_SANDBOX_FILES + 1);
    }
    assert!(
        bench.reported()[0].starts_with("4 new files"),
        "{:?}",
        bench.reported()
    );
}

#[tokio::test]
async fn the_persons_own_files_do_not_come_back() {
    let mut bench = Bench::new().await;
    bench.put("data.csv", "a,b");
    bench.put("notes.md", "changed by the agent");
    bench.put("copy.csv", "a,b");
    let mut echo = Echo::none();
    echo.upload("data.csv", Digest::of(b"a,b"));
    echo.upload("notes.md", Digest::of(b"as it was uploaded"));
    bench.echo = echo;
    let at = |path: &str| bench.sandbox.path().join(path);
    bench.attach(&exchange(&[edit(&at("data.csv"))])).await;
    let expected = pairs(&[("copy.csv", "a,b"), ("notes.md", "changed by the agent")]);
    assert_eq!(bench.files().await, expected);
}

#[tokio::test]
async fn what_an_earlier_message_has_is_not_new() {
    let mut bench = Bench::new().await;
    bench
        .present("report.md", "same", AttachmentSource::Tool)
        .await;
    bench
        .present("other.md", "before", AttachmentSource::Sandbox)
        .await;
    let earlier = bench.store.attachments(bench.message).await.unwrap();
    bench.message = super::message(&*bench.store).await;
    bench.echo = Echo::of(&earlier);
    bench.put("report.md", "same");
    bench.put("other.md", "after");
    bench.attach(&nothing()).await;
    assert_eq!(bench.files().await, pairs(&[("other.md", "after")]));
    // Written again by a tool: the person sees that it was.
    let at = bench.sandbox.path().join("report.md");
    bench.attach(&exchange(&[write(&at, "same")])).await;
    assert_eq!(bench.files().await.len(), 2);
}

#[tokio::test]
async fn a_store_that_does_not_work_leaves_nothing_half_attached() {
    let bench = Bench::new().await;
    bench.put("a.txt", "a");
    bench.put("b.txt", "b");
    let in_the_way = bench.home.path().join("blobs/sha256");
    std::fs::write(&in_the_way, "a file where a folder should be").unwrap();
    let report = bench.attach(&nothing()).await;
    assert_eq!((report.added, report.failed), (0, 2));
    assert_eq!(report.attachments, []);
    assert_eq!(bench.reported(), ["the file could not be kept"; 2]);
    std::fs::remove_file(&in_the_way).unwrap();
    assert_eq!(bench.attach(&nothing()).await.added, 2);
    assert_eq!(
        bench.files().await,
        pairs(&[("a.txt", "a"), ("b.txt", "b")])
    );
}

#[tokio::test]
async fn files_of_one_name_are_told_apart_by_their_folders() {
    let bench = Bench::new().await;
    for (path, content) in [
        ("a/report.md", "of a"),
        ("b/report.md", "of b"),
        ("b/c/report.md", "of c"),
        ("b-report.md", "posing as b's"),
        ("b-c/report.md", "posing as c's"),
    ] {
        bench.put(path, content);
    }
    // Under retries: the same names for the same files.
    for added in [5, 0, 0] {
        let report = bench.attach(&nothing()).await;
        assert_eq!((report.added, report.failed), (added, 0));
        let mut files = bench.files().await;
        files.sort();
        let expected = [
            ("2-b-c-report.md", "of c"),
            ("2-b-report.md", "of b"),
            ("b-c-report.md", "posing as c's"),
            ("b-report.md", "posing as b's"),
            ("report.md", "of a"),
        ];
        assert_eq!(files, pairs(&expected));
    }
}

#[tokio::test]
async fn of_files_of_one_name_the_one_a_tool_changed_last_keeps_it() {
    let bench = Bench::new().await;
    let at = |path: &str| bench.sandbox.path().join(path);
    for (path, content) in [
        ("report.md", "top"),
        ("a/report.md", "a"),
        ("b/report.md", "b"),
    ] {
        bench.put(path, content);
    }
    let calls = [
        write(&at("b/report.md"), "b before"),
        write(&at("a/report.md"), "a"),
        write(&at("b/report.md"), "b"),
        write(Path::new("/elsewhere/x/report.md"), "outside"),
        write(&at("b/report.md"), "b at last"),
    ];
    for added in [4, 0] {
        assert_eq!(bench.attach(&exchange(&calls)).await.added, added);
    }
    let mut files = bench.files().await;
    files.sort();
    let expected = [
        ("2-report.md", "top"),
        ("a-report.md", "a"),
        ("report.md", "b at last"),
        ("x-report.md", "outside"),
    ];
    assert_eq!(files, pairs(&expected));
}

/// As many as can be attach at once, some of them half-way there already.
#[tokio::test]
async fn names_are_told_apart_the_same_way_by_all() {
    let bench = Bench::new().await;
    for folder in ["a", "b", "c", "d"] {
        bench.put(&format!("{folder}/data.csv"), folder);
    }
    bench
        .present("b-data.csv", "b", AttachmentSource::Sandbox)
        .await;
    let attaching = (0..8).map(|_| async { bench.attach(&nothing()).await });
    let reports = futures_util::future::join_all(attaching).await;
    assert_eq!(reports.iter().map(|report| report.added).sum::<usize>(), 3);
    let mut files = bench.files().await;
    files.sort();
    let expected = [
        ("b-data.csv", "b"),
        ("c-data.csv", "c"),
        ("d-data.csv", "d"),
        ("data.csv", "a"),
    ];
    assert_eq!(files, pairs(&expected));
}

/// In company in the turn before, `b/report.md` was `b-report.md`.
#[tokio::test]
async fn a_file_that_loses_its_company_is_not_attached_again() {
    let mut bench = Bench::new().await;
    bench.put("report.md", "of the top");
    bench.put("b/report.md", "of b");
    bench.attach(&nothing()).await;
    let earlier = bench.store.attachments(bench.message).await.unwrap();
    assert_eq!(earlier.len(), 2);
    bench.message = super::message(&*bench.store).await;
    bench.echo = Echo::of(&earlier);
    // Older than the cutoff, the other is not listed any more.
    std::fs::remove_file(bench.sandbox.path().join("report.md")).unwrap();
    bench.attach(&nothing()).await;
    assert_eq!(bench.files().await, pairs(&[]));
}

/// Alone in the turn before, `b/report.md` was `report.md`.
#[tokio::test]
async fn a_file_that_gets_company_is_not_attached_again() {
    let mut bench = Bench::new().await;
    bench.put("b/report.md", "of b");
    bench.attach(&nothing()).await;
    let earlier = bench.store.attachments(bench.message).await.unwrap();
    bench.message = super::message(&*bench.store).await;
    bench.echo = Echo::of(&earlier);
    bench.put("a/report.md", "of a");
    bench.attach(&nothing()).await;
    assert_eq!(bench.files().await, pairs(&[("report.md", "of a")]));
}
