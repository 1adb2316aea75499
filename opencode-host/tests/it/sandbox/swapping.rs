//! Entries swapped as fast as another thread can, while they are listed, read and written.
//!
//! `OPENCODE_HOST_SWAP_SECONDS` says for how long; 2 by default.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use opencode_host::sandbox::{Sandbox, SandboxError};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{Home, SECRET, mkfifo, never_blocks_within, path};

/// So many swaps at least, however slow the machine.
const ENOUGH: u64 = 100;

/// Puts `other` where `entry` is, and back, each in one step: neither name is ever free.
fn swap(sandbox: &Path, entry: &str, other: &str) {
    let [entry, other] = [entry, other].map(|name| sandbox.join(name));
    for _ in 0..2 {
        renameat_with(CWD, &entry, CWD, &other, RenameFlags::EXCHANGE).unwrap();
    }
}

#[derive(Default)]
struct Seen {
    read: u64,
    refused: u64,
}

/// Reads one file however it can; nothing from outside may come.
fn read(sandbox: &Sandbox, name: &str, seen: &mut Seen) {
    match sandbox.file(path(name)).and_then(|file| file.read(1000)) {
        Ok(bytes) => {
            assert_eq!(bytes, b"inside", "{name}");
            seen.read += 1;
        }
        Err(SandboxError::Refused { .. } | SandboxError::Gone { .. }) => seen.refused += 1,
        Err(error) => panic!("{name}: {error:?}"),
    }
}

fn read_all(sandbox: &Sandbox, seen: &mut Seen) {
    let listing = sandbox.files(SystemTime::UNIX_EPOCH).unwrap();
    assert!(listing.files.iter().any(|file| file.name() == "good.txt"));
    for file in listing.files {
        match file.read(1000) {
            Ok(bytes) => {
                assert_eq!(bytes, b"inside", "{}", file.path());
                seen.read += 1;
            }
            Err(SandboxError::Refused { .. } | SandboxError::Gone { .. }) => seen.refused += 1,
            Err(error) => panic!("{}: {error:?}", file.path()),
        }
    }
}

#[test]
fn nothing_from_outside_comes_in_and_nothing_gets_out() {
    let seconds = std::env::var("OPENCODE_HOST_SWAP_SECONDS")
        .map_or(2, |seconds| seconds.parse().expect("a number of seconds"));
    let home = Home::new();
    let outside = home.outside();
    fs::write(outside.join("file.txt"), SECRET).unwrap();
    fs::write(home.agent("good.txt"), "inside").unwrap();
    fs::write(home.agent("file.txt"), "inside").unwrap();
    fs::create_dir(home.agent("folder")).unwrap();
    fs::write(home.agent("folder/file.txt"), "inside").unwrap();
    // What is swapped in, under names that a listing passes over or refuses.
    symlink(&outside, home.agent(".to folder")).unwrap();
    symlink(outside.join("file.txt"), home.agent(".to file")).unwrap();
    fs::hard_link(outside.join("file.txt"), home.agent(".hard")).unwrap();
    mkfifo(&home.agent(".fifo"));

    let stop = Arc::new(AtomicBool::new(false));
    let swaps = Arc::new(AtomicU64::new(0));
    let swapper = thread::spawn({
        let (stop, swaps) = (Arc::clone(&stop), Arc::clone(&swaps));
        let sandbox = home.sandbox.path().to_owned();
        move || {
            while !stop.load(Ordering::Relaxed) {
                for (entry, other) in [
                    ("folder", ".to folder"),
                    ("file.txt", ".to file"),
                    ("file.txt", ".hard"),
                    ("file.txt", ".fifo"),
                    ("folder", ".fifo"),
                ] {
                    swap(&sandbox, entry, other);
                    swaps.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    });

    let sandbox = home.sandbox.clone();
    let until = Instant::now() + Duration::from_secs(seconds);
    let counted = Arc::clone(&swaps);
    let reader = move || {
        let mut seen = Seen::default();
        let mut written = 0_u32;
        while Instant::now() < until || counted.load(Ordering::Relaxed) < ENOUGH {
            read_all(&sandbox, &mut seen);
            for _ in 0..50 {
                for name in ["folder/file.txt", "file.txt"] {
                    read(&sandbox, name, &mut seen);
                }
            }
            let good = sandbox.file(path("good.txt")).unwrap().read(1000).unwrap();
            assert_eq!(good, b"inside");
            if written < 1000 {
                let name = path(&format!("folder/.new/{written}"));
                match sandbox.write_new(&name, &mut &b"inside"[..]) {
                    Ok(_) | Err(SandboxError::Refused { .. } | SandboxError::Gone { .. }) => {
                        written += 1;
                    }
                    Err(error) => panic!("{error:?}"),
                }
            }
        }
        seen
    };
    let seen = never_blocks_within(Duration::from_secs(seconds + 60), reader);
    stop.store(true, Ordering::Relaxed);
    swapper.join().unwrap();

    assert!(seen.read > 0, "{} refusals", seen.refused);
    let mut left: Vec<_> = fs::read_dir(&outside)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["file.txt", "secret.txt"]);
    assert_eq!(
        fs::read_to_string(outside.join("file.txt")).unwrap(),
        SECRET
    );
    assert_eq!(home.staged(), 0);
    println!(
        "{} swaps, {} reads, {} refusals",
        swaps.load(Ordering::Relaxed),
        seen.read,
        seen.refused
    );
}
