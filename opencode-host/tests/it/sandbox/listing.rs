//! Which files a sandbox says it has.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::time::{Duration, SystemTime};

use opencode_host::sandbox::{Listing, MAX_ENTRIES, MAX_REFUSED, Refusal};

use super::{Home, mkfifo};

fn names(listing: &Listing) -> Vec<&str> {
    listing
        .files
        .iter()
        .map(|file| file.path().as_str())
        .collect()
}

#[test]
fn files_newer_than_the_cutoff_with_two_seconds_of_slack() {
    let home = Home::new();
    let cutoff = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
    let milliseconds = |ms: i64| {
        let distance = Duration::from_millis(ms.unsigned_abs());
        if ms < 0 {
            cutoff - distance
        } else {
            cutoff + distance
        }
    };
    for (name, ms) in [
        ("older", -2001),
        ("edge", -2000),
        ("slack", -1999),
        ("at", 0),
        ("newer", 5000),
    ] {
        let file = File::create(home.agent(name)).unwrap();
        file.set_modified(milliseconds(ms)).unwrap();
    }
    let listing = home.sandbox.files(cutoff).unwrap();
    assert_eq!(names(&listing), ["at", "newer", "slack"]);
    assert_eq!(listing.files[0].modified(), cutoff);
    assert!(listing.complete);
    let all = home.sandbox.files(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(all.files.len(), 5);
}

#[test]
fn folders_are_entered_but_not_those_with_a_dot() {
    let home = Home::new();
    for folder in ["a/b", ".git/objects", "a/.cache"] {
        fs::create_dir_all(home.agent(folder)).unwrap();
    }
    for file in [
        "top",
        ".hidden",
        "a/one",
        "a/b/two",
        ".git/config",
        ".git/objects/o",
        "a/.cache/c",
    ] {
        fs::write(home.agent(file), file).unwrap();
    }
    let listing = home.sandbox.files(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(names(&listing), [".hidden", "a/b/two", "a/one", "top"]);
    assert_eq!(listing.files[1].name(), "two");
    assert_eq!(listing.files[1].size(), 7);
    assert_eq!(listing.files[1].read(100).unwrap(), b"a/b/two");
    assert!(listing.refused.is_empty() && listing.complete);
}

#[test]
fn what_is_no_file_is_named_as_refused() {
    let home = Home::new();
    symlink(home.outside(), home.agent("linked folder")).unwrap();
    symlink(home.outside().join("secret.txt"), home.agent("linked file")).unwrap();
    symlink("linked file", home.agent("link to a link")).unwrap();
    mkfifo(&home.agent("fifo"));
    let _socket = UnixListener::bind(home.agent("socket")).unwrap();
    fs::write(home.agent("two\nlines"), "").unwrap();
    let not_utf8 = home.sandbox.path().join(OsStr::from_bytes(b"caf\xe9"));
    fs::write(&not_utf8, "").unwrap();
    fs::create_dir(home.sandbox.path().join(OsStr::from_bytes(b"\xff"))).unwrap();
    fs::write(home.agent("good"), "good").unwrap();

    let listing = home.sandbox.files(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(names(&listing), ["good"]);
    let mut refused: Vec<_> = listing
        .refused
        .iter()
        .map(|entry| (entry.path.as_str(), entry.reason))
        .collect();
    refused.sort_by_key(|(path, _)| *path);
    assert_eq!(
        refused,
        [
            ("caf\u{fffd}", Refusal::Name),
            ("fifo", Refusal::Fifo),
            ("link to a link", Refusal::Symlink),
            ("linked file", Refusal::Symlink),
            ("linked folder", Refusal::Symlink),
            ("socket", Refusal::Socket),
            ("two\nlines", Refusal::Name),
            ("\u{fffd}", Refusal::Name),
        ]
    );
}

#[test]
fn depth_is_bounded() {
    let home = Home::new();
    let folders = |count: usize| vec!["d"; count].join("/");
    fs::create_dir_all(home.agent(&folders(30))).unwrap();
    fs::write(home.agent(&format!("{}/last", folders(15))), "").unwrap();
    fs::write(home.agent(&format!("{}/too deep", folders(16))), "").unwrap();
    let listing = home.sandbox.files(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(names(&listing), [format!("{}/last", folders(15))]);
    assert!(!listing.complete);
}

#[test]
fn a_flood_is_bounded_and_hides_nothing_at_the_top() {
    let home = Home::new();
    fs::create_dir(home.agent("flood")).unwrap();
    for n in 0..=MAX_ENTRIES {
        symlink("x", home.agent(&format!("flood/{n}"))).unwrap();
    }
    fs::write(home.agent("report.md"), "").unwrap();
    let listing = home.sandbox.files(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(names(&listing), ["report.md"]);
    assert_eq!(listing.refused.len(), MAX_REFUSED);
    assert!(!listing.complete);
}
