//! The escape corpus: what is read, what is refused, and that neither ever waits.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use opencode_host::sandbox::{DEFAULT_READ_CAP, Refusal, SandboxError, SandboxFile};

use super::{Home, mkfifo, never_blocks, path, refusal};

/// A file of the agent's, looked at.
fn looked_at(home: &Home, name: &str, content: &str) -> SandboxFile {
    fs::write(home.agent(name), content).unwrap();
    home.sandbox.file(path(name)).unwrap()
}

#[test]
fn a_plain_file_is_read_whole() {
    let home = Home::new();
    let file = looked_at(&home, "a.txt", "inside");
    assert_eq!(file.read(DEFAULT_READ_CAP).unwrap(), b"inside");
    assert_eq!(file.read(6).unwrap(), b"inside");
    assert_eq!(looked_at(&home, "empty", "").read(0).unwrap(), b"");
    let big = "x".repeat(3 * 1024 * 1024);
    assert_eq!(
        looked_at(&home, "big", &big)
            .read(DEFAULT_READ_CAP)
            .unwrap(),
        big.as_bytes()
    );
}

#[test]
fn over_the_cap() {
    let home = Home::new();
    let error = looked_at(&home, "a.txt", "inside").read(5).unwrap_err();
    assert!(
        matches!(error, SandboxError::TooLarge { cap: 5, .. }),
        "{error}"
    );

    // A terabyte of nothing is not waited for.
    let sparse = File::create(home.agent("sparse")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    let file = home.sandbox.file(path("sparse")).unwrap();
    let error = file.read(DEFAULT_READ_CAP).unwrap_err();
    assert!(matches!(error, SandboxError::TooLarge { .. }), "{error}");
}

#[test]
fn what_is_no_plain_file_is_refused_at_the_look() {
    let home = Home::new();
    let secret = home.outside().join("secret.txt");
    symlink(&secret, home.agent("link")).unwrap();
    symlink("good", home.agent("link inside")).unwrap();
    symlink("nowhere", home.agent("dangling")).unwrap();
    symlink("loop", home.agent("loop")).unwrap();
    symlink(home.outside(), home.agent("folder link")).unwrap();
    symlink("/proc/self", home.agent("proc")).unwrap();
    fs::hard_link(&secret, home.agent("hard link")).unwrap();
    fs::create_dir_all(home.agent("folder/deep")).unwrap();
    symlink("../..", home.agent("folder/deep/up")).unwrap();
    mkfifo(&home.agent("fifo"));
    let _socket = UnixListener::bind(home.agent("socket")).unwrap();
    fs::write(home.agent("good"), "inside").unwrap();

    for (name, reason) in [
        ("link", Refusal::Symlink),
        ("link inside", Refusal::Symlink),
        ("dangling", Refusal::Symlink),
        ("loop", Refusal::Symlink),
        ("folder link", Refusal::Symlink),
        ("folder link/secret.txt", Refusal::Symlink),
        ("folder/deep/up/good", Refusal::Symlink),
        ("proc/environ", Refusal::Symlink),
        ("hard link", Refusal::HardLink),
        ("folder", Refusal::Folder),
        ("good/file", Refusal::NotAFolder),
        ("fifo", Refusal::Fifo),
        ("socket", Refusal::Socket),
    ] {
        let sandbox = home.sandbox.clone();
        let looked = never_blocks(move || sandbox.file(path(name)));
        assert_eq!(refusal(looked), Some(reason), "{name}");
    }
    for missing in ["missing", "missing/file", "folder/missing"] {
        let error = home.sandbox.file(path(missing)).unwrap_err();
        assert!(
            matches!(error, SandboxError::Gone { .. }),
            "{missing}: {error}"
        );
    }
    assert_eq!(
        home.sandbox.file(path("good")).unwrap().read(10).unwrap(),
        b"inside"
    );
}

/// Makes `/dev/zero` at `path`; only root may, and not in every container.
fn make_device(path: &Path) -> bool {
    Command::new("mknod")
        .arg(path)
        .args(["c", "1", "5"])
        .output()
        .is_ok_and(|output| output.status.success())
}

#[test]
fn a_device_is_refused() {
    let home = Home::new();
    if !make_device(&home.agent("zero")) {
        return;
    }
    assert_eq!(
        refusal(home.sandbox.file(path("zero"))),
        Some(Refusal::Device)
    );
    let listing = home.sandbox.files(SystemTime::UNIX_EPOCH);
    assert_eq!(listing.unwrap().refused[0].reason, Refusal::Device);
}

#[test]
fn a_hard_link_is_listed_and_refused_when_read() {
    let home = Home::new();
    fs::hard_link(home.outside().join("secret.txt"), home.agent("hard")).unwrap();
    let listing = home.sandbox.files(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(refusal(listing.files[0].read(100)), Some(Refusal::HardLink));
}

#[test]
fn what_changed_since_the_look_is_refused() {
    let home = Home::new();
    let secret = home.outside().join("secret.txt");
    let replaced_by = |name: &str, replace: &dyn Fn(&Path)| {
        let file = looked_at(&home, name, "inside");
        let at = home.agent(name);
        fs::remove_file(&at).unwrap();
        replace(&at);
        refusal(never_blocks(move || file.read(100)))
    };
    assert_eq!(
        replaced_by("1", &|at| symlink(&secret, at).unwrap()),
        Some(Refusal::Symlink)
    );
    assert_eq!(
        replaced_by("2", &|at| fs::hard_link(&secret, at).unwrap()),
        Some(Refusal::HardLink)
    );
    assert_eq!(replaced_by("3", &mkfifo), Some(Refusal::Fifo));
    assert_eq!(
        replaced_by("4", &|at| fs::create_dir(at).unwrap()),
        Some(Refusal::Folder)
    );
    assert_eq!(
        replaced_by("5", &|at| fs::write(at, "another").unwrap()),
        Some(Refusal::Changed)
    );
    let bind = |at: &Path| drop(UnixListener::bind(at).unwrap());
    assert_eq!(replaced_by("6", &bind), Some(Refusal::Socket));

    // Linked after the look: the file is no longer the sandbox's alone.
    let file = looked_at(&home, "7", "inside");
    fs::hard_link(home.agent("7"), home.outside().join("7")).unwrap();
    assert_eq!(refusal(file.read(100)), Some(Refusal::HardLink));

    // Written to after the look: longer, or the same length with a later time.
    let file = looked_at(&home, "8", "inside");
    OpenOptions::new()
        .append(true)
        .open(home.agent("8"))
        .unwrap()
        .write_all(b"!")
        .unwrap();
    assert_eq!(refusal(file.read(100)), Some(Refusal::Changed));
    let file = looked_at(&home, "9", "inside");
    let later = file.modified() + Duration::from_secs(1);
    File::open(home.agent("9"))
        .unwrap()
        .set_modified(later)
        .unwrap();
    assert_eq!(refusal(file.read(100)), Some(Refusal::Changed));

    let file = looked_at(&home, "10", "inside");
    fs::remove_file(home.agent("10")).unwrap();
    assert!(matches!(file.read(100), Err(SandboxError::Gone { .. })));
}

#[test]
fn a_folder_that_became_a_link_is_not_followed() {
    let home = Home::new();
    fs::create_dir(home.agent("folder")).unwrap();
    let file = looked_at(&home, "folder/secret.txt", "inside");
    fs::rename(home.agent("folder"), home.agent("kept")).unwrap();
    symlink(home.outside(), home.agent("folder")).unwrap();
    assert_eq!(refusal(file.read(100)), Some(Refusal::Symlink));
    // The same file by the same name is the same file.
    fs::remove_file(home.agent("folder")).unwrap();
    fs::rename(home.agent("kept"), home.agent("folder")).unwrap();
    assert_eq!(file.read(100).unwrap(), b"inside");
}

#[test]
fn a_growing_file_is_never_read_beyond_the_cap() {
    const CAP: u64 = 64 * 1024;
    let home = Home::new();
    let grown = AtomicBool::new(false);
    let mut refused = 0;
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut log = File::create(home.agent("log")).unwrap();
            // Past the cap, and on, until the reader has seen it there.
            while !grown.load(Ordering::Relaxed) {
                log.write_all(&[b'x'; 64]).unwrap();
            }
        });
        loop {
            let file = match home.sandbox.file(path("log")) {
                Ok(file) => file,
                Err(SandboxError::Gone { .. }) => continue,
                Err(error) => panic!("{error}"),
            };
            match file.read(CAP) {
                Ok(bytes) => assert!(bytes.len() as u64 == file.size() && file.size() <= CAP),
                Err(SandboxError::Refused {
                    reason: Refusal::Changed,
                    ..
                }) => refused += 1,
                Err(SandboxError::TooLarge { .. }) => break,
                Err(error) => panic!("{error}"),
            }
        }
        grown.store(true, Ordering::Relaxed);
    });
    // However the two were scheduled, the end is the same.
    let error = home
        .sandbox
        .file(path("log"))
        .unwrap()
        .read(CAP)
        .unwrap_err();
    assert!(
        matches!(error, SandboxError::TooLarge { .. }),
        "{error} after {refused} refusals"
    );
}
