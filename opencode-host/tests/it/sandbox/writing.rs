//! What goes into a sandbox: whole, new, and nowhere else.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::symlink;
use std::sync::Barrier;
use std::thread;
use std::time::SystemTime;

use opencode_host::sandbox::{Refusal, SandboxError, SandboxPath};

use super::{Home, SECRET, path, refusal};

#[test]
fn paths_that_are_and_are_not() {
    let deepest = vec!["a"; 16].join("/");
    let long = "é".repeat(127);
    for good in [
        "a",
        "a.txt",
        "a/b/c.txt",
        "日本 語.md",
        "-",
        "...",
        ".hidden",
        "a\\b",
        &deepest,
        &long,
    ] {
        assert_eq!(good.parse::<SandboxPath>().unwrap().as_str(), good);
    }
    let too_deep = vec!["a"; 17].join("/");
    let too_long = "é".repeat(128);
    for bad in [
        "",
        "/",
        "/etc/passwd",
        "a/",
        "a//b",
        ".",
        "..",
        "a/..",
        "../a",
        "a/../b",
        "./a",
        "a\0b",
        "a\nb",
        "\u{7f}",
        &too_deep,
        &too_long,
    ] {
        let error = bad.parse::<SandboxPath>().unwrap_err().to_string();
        assert!(!error.chars().any(char::is_control), "{error:?}");
    }
    assert_eq!(path("a/b/c.txt").name(), "c.txt");
    assert_eq!(path("c.txt").name(), "c.txt");
}

#[test]
fn a_tool_calls_path_as_a_path_inside() {
    let home = Home::new();
    let root = home.sandbox.path().to_str().unwrap();
    for (named, inside) in [
        (format!("{root}/a.txt"), "a.txt"),
        (format!("{root}//deep/./a.txt"), "deep/a.txt"),
        ("deep/a.txt".to_owned(), "deep/a.txt"),
        ("./a.txt".to_owned(), "a.txt"),
    ] {
        assert_eq!(home.sandbox.inside(&named).unwrap().as_str(), inside);
    }
    for outside in [
        root.to_owned(),
        format!("{root}2/a.txt"),
        format!("{root}/../c2/a.txt"),
        "/etc/passwd".to_owned(),
        "../a.txt".to_owned(),
        String::new(),
        "a\0.txt".to_owned(),
    ] {
        assert!(home.sandbox.inside(&outside).is_err(), "{outside}");
    }
}

#[test]
fn seeding_puts_files_in_and_keeps_what_is_there() {
    let home = Home::new();
    let files = [("README.md", "# Hi"), ("charts/templates/bar.html", "<b>")];
    let written = home.sandbox.seed(files).unwrap();
    assert_eq!(
        written,
        [path("README.md"), path("charts/templates/bar.html")]
    );
    assert_eq!(
        fs::read(home.agent("charts/templates/bar.html")).unwrap(),
        b"<b>"
    );

    fs::write(home.agent("README.md"), "the agent's").unwrap();
    fs::remove_file(home.agent("charts/templates/bar.html")).unwrap();
    let written = home.sandbox.seed(files).unwrap();
    assert_eq!(written, [path("charts/templates/bar.html")]);
    assert_eq!(fs::read(home.agent("README.md")).unwrap(), b"the agent's");

    let error = home.sandbox.seed([("../up", "x")]).unwrap_err();
    assert!(matches!(error, SandboxError::InvalidPath(_)), "{error}");
    assert_eq!(home.staged(), 0);
}

#[test]
fn a_taken_name_is_not_overwritten_whatever_has_it() {
    let home = Home::new();
    fs::write(home.agent("file"), "mine").unwrap();
    fs::create_dir(home.agent("folder")).unwrap();
    symlink(home.outside().join("secret.txt"), home.agent("link")).unwrap();
    symlink(home.outside().join("new.txt"), home.agent("dangling")).unwrap();
    super::mkfifo(&home.agent("fifo"));
    for name in ["file", "folder", "link", "dangling", "fifo"] {
        let error = home
            .sandbox
            .write_new(&path(name), &mut &b"x"[..])
            .unwrap_err();
        assert!(
            matches!(error, SandboxError::Exists { .. }),
            "{name}: {error}"
        );
    }
    assert_eq!(fs::read(home.agent("file")).unwrap(), b"mine");
    assert_eq!(
        fs::read_to_string(home.outside().join("secret.txt")).unwrap(),
        SECRET
    );
    assert!(!home.outside().join("new.txt").exists());
    assert_eq!(home.staged(), 0);
}

#[test]
fn folders_on_the_way_are_not_links() {
    let home = Home::new();
    symlink(home.outside(), home.agent("link")).unwrap();
    symlink("nowhere", home.agent("dangling")).unwrap();
    fs::write(home.agent("file"), "").unwrap();
    for (target, reason) in [
        ("link/new.txt", Refusal::Symlink),
        ("link/deep/new.txt", Refusal::Symlink),
        ("dangling/new.txt", Refusal::Symlink),
        ("file/new.txt", Refusal::NotAFolder),
    ] {
        let result = home.sandbox.write_new(&path(target), &mut &b"x"[..]);
        assert_eq!(refusal(result), Some(reason), "{target}");
    }
    assert_eq!(fs::read_dir(home.outside()).unwrap().count(), 1);
    assert_eq!(home.staged(), 0);
}

/// Yields `size` bytes and fails the test if the file shows before it is whole.
struct Watching<'a> {
    home: &'a Home,
    left: usize,
}

impl Read for Watching<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        assert!(!self.home.agent("big.bin").exists());
        assert_eq!(self.home.staged(), 1);
        let filled = self.left.min(buffer.len());
        buffer[..filled].fill(b'x');
        self.left -= filled;
        Ok(filled)
    }
}

#[test]
fn a_file_shows_when_it_is_whole() {
    let home = Home::new();
    let size = 3 * 1024 * 1024 + 1;
    let mut reader = Watching {
        home: &home,
        left: size,
    };
    let written = home
        .sandbox
        .write_new(&path("big.bin"), &mut reader)
        .unwrap();
    assert_eq!(written, size as u64);
    let bytes = fs::read(home.agent("big.bin")).unwrap();
    assert!(bytes.len() == size && bytes.iter().all(|byte| *byte == b'x'));
    assert_eq!(home.staged(), 0);
}

#[test]
fn a_reader_that_fails_leaves_nothing() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
    let home = Home::new();
    let mut reader = b"half".chain(Failing);
    let error = home.sandbox.write_new(&path("a"), &mut reader).unwrap_err();
    assert!(matches!(error, SandboxError::Source(_)), "{error}");
    assert!(!home.agent("a").exists());
    assert_eq!(home.staged(), 0);
}

#[test]
fn of_many_writers_of_one_name_one_wins() {
    let home = Home::new();
    let writers = 16;
    let barrier = Barrier::new(writers);
    let outcomes: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..writers)
            .map(|n| {
                let (home, barrier) = (&home, &barrier);
                scope.spawn(move || {
                    let bytes = vec![n as u8; 100_000];
                    barrier.wait();
                    home.sandbox
                        .write_new(&path("deep/one"), &mut bytes.as_slice())
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    assert!(
        lost.iter()
            .all(|loser| matches!(loser, Err(SandboxError::Exists { .. })))
    );
    let bytes = fs::read(home.agent("deep/one")).unwrap();
    assert!(bytes.len() == 100_000 && bytes.iter().all(|byte| *byte == bytes[0]));
    assert_eq!(home.staged(), 0);
}

#[tokio::test]
async fn the_async_forms() {
    let home = Home::new();
    let bytes: Vec<u8> = (0..600_000_u32).map(|n| n as u8).collect();
    // Two readers in a row arrive in odd pieces.
    let reader = tokio::io::AsyncReadExt::chain(&bytes[..7], &bytes[7..]);
    let size = home
        .sandbox
        .write_new_async(path("a.bin"), reader)
        .await
        .unwrap();
    assert_eq!(size, 600_000);

    let listing = home
        .sandbox
        .files_async(SystemTime::UNIX_EPOCH)
        .await
        .unwrap();
    assert_eq!(listing.files[0].read_async(600_000).await.unwrap(), bytes);

    let error = home
        .sandbox
        .write_new_async(path("a.bin"), &b""[..])
        .await
        .unwrap_err();
    assert!(matches!(error, SandboxError::Exists { .. }), "{error}");
    assert_eq!(home.staged(), 0);
}
