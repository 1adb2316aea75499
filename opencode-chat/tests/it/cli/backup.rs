//! Everything in one file, and a data folder made of it elsewhere.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use opencode_impostor::{Impostor, Script, Step, Streamed};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::nodes::on_postgres;
use crate::support::{Chat, PATIENCE, Ran};

const REPORT: &str = "# Report\n";

async fn answering() -> Impostor {
    let held = Streamed::new("One two three four.")
        .gate("middle")
        .gate_after(1);
    let script = Script::new()
        .on(
            "report",
            [Step::Echo, Step::write_file("report.md", REPORT)],
        )
        .on("hold on", [held.into()])
        .otherwise([Step::Echo]);
    Impostor::scripted(script).await.unwrap()
}

/// A folder with a backup of a chat with one turn that wrote a file.
async fn backed_up() -> (Impostor, Chat, TempDir, PathBuf) {
    let impostor = answering().await;
    let chat = Chat::with(&impostor);
    let turn = chat.turn("a report", &["--conversation", "a"]).await;
    turn.ended(0, "completed");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("chat.tar");
    let ran = backup(&chat, &file).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    (impostor, chat, folder, file)
}

async fn backup(chat: &Chat, file: &Path) -> Ran {
    chat.run(&["backup", file.to_str().unwrap()]).await
}

async fn restore(chat: &Chat, file: &Path) -> Ran {
    chat.run(&["restore", file.to_str().unwrap()]).await
}

/// The folder of a conversation that has a file of this name.
fn sandbox_with(chat: &Chat, name: &str) -> Option<PathBuf> {
    let folders = fs::read_dir(chat.data().join("sandboxes")).unwrap();
    let mut folders = folders.map(|folder| folder.unwrap().path());
    folders.find(|folder| folder.join(name).symlink_metadata().is_ok())
}

/// All files below a folder, by their paths in it.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(one) = folders.pop() {
        for entry in fs::read_dir(one).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().to_owned());
            }
        }
    }
    found
}

fn alive(impostor: &Impostor) -> BTreeSet<String> {
    let ledger = impostor.ledger();
    let alive = ledger.sessions_alive().into_iter();
    alive.map(str::to_owned).collect()
}

/// Messages without what a new session changes.
fn told(messages: &[Value]) -> Vec<(Value, Value, Value, Value)> {
    let part = |line: &Value| {
        let of = |name: &str| line[name].clone();
        (
            of("conversation"),
            of("content"),
            of("status"),
            of("artifacts"),
        )
    };
    messages.iter().map(part).collect()
}

/// Turns run, one is in the middle of its answer, one waits behind it, and others begin while the backup is made.
async fn taken_under_load(file: &Path) -> (Chat, Impostor, Vec<Value>) {
    let impostor = answering().await;
    let chat = Chat::with(&impostor);
    let upload = file.with_file_name("sold.csv");
    fs::write(&upload, "item,sold\n").unwrap();
    for name in ["a", "b", "c"] {
        let more = ["--conversation", name, "--file", upload.to_str().unwrap()];
        let turn = chat.turn(&format!("a report for {name}"), &more).await;
        turn.ended(0, "completed");
    }
    let sandbox = sandbox_with(&chat, "report.md").unwrap();
    fs::create_dir(sandbox.join("src")).unwrap();
    let long = format!("src/{}.sh", "x".repeat(180));
    fs::write(sandbox.join(&long), "#!/bin/sh\n").unwrap();
    fs::set_permissions(sandbox.join(&long), fs::Permissions::from_mode(0o700)).unwrap();
    symlink("/etc/passwd", sandbox.join("link")).unwrap();
    let before = chat.show().await;

    let worker = chat.start(&["worker", "--lease", "2"]);
    let submitted = async |prompt: &str, name: &str| {
        let ran = chat.run(&["submit", prompt, "--conversation", name]).await;
        assert_eq!(ran.code, 0, "{ran:?}");
    };
    submitted("hold on", "held").await;
    impostor.gate("middle").reached().await.unwrap();
    // What has come is saved once a second.
    let saved = async {
        let args = ["show", "--json", "--conversation", "held"];
        while !chat.run(&args).await.stdout.contains("One two ") {}
    };
    tokio::time::timeout(PATIENCE, saved).await.unwrap();
    submitted("what then?", "held").await;
    let meanwhile = async {
        for number in 0..6 {
            submitted("meanwhile", &format!("late-{number}")).await;
        }
    };
    let (ran, ()) = tokio::join!(backup(&chat, file), meanwhile);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(!ran.stderr.contains("warning"), "{ran:?}");
    worker.signal(Signal::KILL);
    worker.end().await;
    (chat, impostor, before)
}

/// What was restored is what there was, and each conversation answers its next prompt, knowing what was said.
async fn goes_on(there: &Chat, elsewhere: &Impostor, from: &Chat, before: &[Value]) {
    let restored = there.show().await;
    assert_eq!(told(&restored[..before.len()]), told(before));
    let here: BTreeSet<_> = files(&from.data().join("blobs"));
    for name in files(&there.data().join("blobs")) {
        let same = fs::read(from.data().join("blobs").join(&name)).unwrap();
        assert_eq!(
            fs::read(there.data().join("blobs").join(&name)).unwrap(),
            same
        );
        assert!(here.contains(&name));
    }
    assert_eq!(
        files(&there.data().join("blobs")).len(),
        2,
        "a report, and what was uploaded"
    );
    let sandbox = sandbox_with(there, "link").unwrap();
    assert_eq!(
        fs::read_to_string(sandbox.join("report.md")).unwrap(),
        REPORT
    );
    assert_eq!(
        fs::read_link(sandbox.join("link")).unwrap(),
        Path::new("/etc/passwd")
    );
    let script = sandbox.join(format!("src/{}.sh", "x".repeat(180)));
    assert_eq!(fs::read_to_string(&script).unwrap(), "#!/bin/sh\n");
    assert_eq!(
        fs::metadata(&script).unwrap().permissions().mode() & 0o777,
        0o700
    );
    assert!(!there.data().join("sandboxes/.restoring").exists());

    let names: BTreeSet<_> = restored
        .iter()
        .map(|line| line["conversation"].as_str().unwrap().to_owned())
        .collect();
    assert!(names.len() >= 4, "{names:?}");
    // Runs what was queued: `turn` runs its own alone.
    let worker = there.start(&["worker"]);
    for name in &names {
        let next = there.turn("and next?", &["--conversation", name]).await;
        let result = next.ended(0, "completed");
        let content = result["content"].as_str().unwrap();
        assert!(content.contains("and next?"), "{content}");
        let session = result["session_id"].as_str().unwrap().to_owned();
        let ledger = elsewhere.ledger();
        let carried = format!("{:?}", ledger.notes(&session));
        if ["a", "b", "c"].contains(&name.as_str()) {
            let said = format!("a report for {name}");
            assert!(carried.contains(&said), "{name}: {carried}");
        } else if name == "held" {
            assert!(carried.contains("hold on"), "{carried}");
        }
    }
    let held = there
        .run(&["show", "--json", "--conversation", "held"])
        .await
        .lines();
    // It may have run on where it was: it is not asked again.
    assert_eq!(held[1]["reason"], "interrupted", "{held:?}");
    assert_eq!(held[1]["content"], "One two ", "{held:?}");
    assert_eq!(held[3]["status"], "completed", "{held:?}");
    elsewhere.assert_clean();
    drop(worker);
}

#[tokio::test]
async fn a_backup_under_load_restored_elsewhere_answers_every_next_prompt() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("chat.tar");
    let (from, impostor, before) = taken_under_load(&file).await;
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let sessions: BTreeSet<_> = alive(&impostor);

    let elsewhere = answering().await;
    let there = Chat::with(&elsewhere);
    let ran = restore(&there, &file).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.stdout.contains("conversations go on in new sessions"),
        "{ran:?}"
    );
    goes_on(&there, &elsewhere, &from, &before).await;

    // On the server of the original, nothing of it is deleted or gone on with.
    let beside = Chat::with(&impostor);
    assert_eq!(restore(&beside, &file).await.code, 0);
    let next = beside.turn("and next?", &["--conversation", "a"]).await;
    next.ended(0, "completed");
    assert!(alive(&impostor).is_superset(&sessions));
    assert_eq!(alive(&impostor).len(), sessions.len() + 1);

    on_postgres(async |url| {
        let elsewhere = answering().await;
        let there = Chat::with(&elsewhere).variable("OPENCODE_CHAT_DATABASE", url);
        let ran = restore(&there, &file).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        goes_on(&there, &elsewhere, &from, &before).await;
        // And back into a file.
        let again = folder.path().join("again.tar");
        assert_eq!(backup(&there, &again).await.code, 0);
        let back = Chat::new();
        assert_eq!(restore(&back, &again).await.code, 0);
        assert_eq!(told(&back.show().await), told(&there.show().await));
    })
    .await;
}

#[tokio::test]
async fn nothing_is_overwritten() {
    let (_impostor, chat, _folder, file) = backed_up().await;
    let made = fs::read(&file).unwrap();
    backup(&chat, &file)
        .await
        .refused("is there already, and is not overwritten");
    let over = restore(&chat, &file).await;
    over.refused("has tables of this store already, and nothing there is overwritten");
    assert_eq!(chat.show().await.len(), 2);
    assert_eq!(fs::read(&file).unwrap(), made);

    // A folder of an agent that is there already.
    let id = sandbox_with(&chat, "report.md").unwrap();
    let there = Chat::new();
    let folder = there.data().join("sandboxes").join(id.file_name().unwrap());
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("mine"), "").unwrap();
    restore(&there, &file)
        .await
        .refused("Name another place with --sandbox-root");
    assert_eq!(files(&folder), BTreeSet::from([PathBuf::from("mine")]));
    // Nothing is there, so that it can be done again.
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(restore(&there, &file).await.code, 0);
    assert_eq!(told(&there.show().await), told(&chat.show().await));
}

#[tokio::test]
async fn a_backup_that_was_cut_off_or_changed_is_refused() {
    let (_impostor, chat, folder, file) = backed_up().await;
    let whole = chat
        .run(&["restore", "--check", file.to_str().unwrap()])
        .await;
    assert_eq!(whole.code, 0, "{whole:?}");
    assert!(
        whole
            .stdout
            .contains("1 conversations, 2 messages, 1 files"),
        "{whole:?}"
    );

    let sound = fs::read(&file).unwrap();
    let bad = folder.path().join("bad.tar");
    let there = Chat::new();
    let length = sound.len();
    for end in [
        1536,
        5000,
        length / 2,
        length - 2048,
        length - 1024,
        length - 1,
    ] {
        fs::write(&bad, &sound[..end]).unwrap();
        restore(&there, &bad)
            .await
            .refused("is not whole: it was cut off");
    }
    for at in [600, length / 3, length / 2, length - 3000] {
        let mut changed = sound.clone();
        changed[at] ^= 1;
        fs::write(&bad, &changed).unwrap();
        let ran = restore(&there, &bad).await;
        assert_eq!(ran.code, 2, "{at}: {ran:?}");
    }
    let at = sound
        .windows(8)
        .position(|some| some == b"# Report")
        .unwrap();
    let mut changed = sound.clone();
    changed[at] = b'$';
    fs::write(&bad, &changed).unwrap();
    restore(&there, &bad)
        .await
        .refused("is not as it was made: it was changed or damaged");
    for (text, why) in [
        ("", "it is empty"),
        ("PK\u{3}\u{4}", "is no backup of opencode-chat"),
    ] {
        fs::write(&bad, text).unwrap();
        restore(&there, &bad).await.refused(why);
    }
    restore(&there, folder.path()).await.refused("is a folder");
    restore(&there, Path::new("/nowhere.tar"))
        .await
        .refused("/nowhere.tar");
    assert!(!there.database().exists());
}

/// The same backup with another header, sealed as it should be.
fn with_header(sound: &Path, change: impl Fn(&mut Value)) -> Vec<u8> {
    let mut entries = Vec::new();
    for entry in tar::Archive::new(fs::File::open(sound).unwrap())
        .entries()
        .unwrap()
    {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        entries.push((entry.header().clone(), bytes));
    }
    let mut header: Value = serde_json::from_slice(&entries[0].1).unwrap();
    change(&mut header);
    entries[0].1 = header.to_string().into_bytes();
    let (seal, rest) = entries.split_last_mut().unwrap();
    let mut builder = tar::Builder::new(Vec::new());
    let append = |builder: &mut tar::Builder<Vec<u8>>, header: &tar::Header, bytes: &[u8]| {
        let mut header = header.clone();
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        builder.append(&header, bytes).unwrap();
    };
    for (header, bytes) in rest {
        append(&mut builder, header, bytes);
    }
    let digits = opencode_host::blobs::Digest::of(builder.get_ref()).to_string();
    append(&mut builder, &seal.0, digits.as_bytes());
    builder.into_inner().unwrap()
}

#[tokio::test]
async fn a_backup_of_a_newer_version_is_refused() {
    let (_impostor, _chat, folder, file) = backed_up().await;
    let made = folder.path().join("made.tar");
    let there = Chat::new();
    fs::write(
        &made,
        with_header(&file, |header| header["schema"] = json!(999)),
    )
    .unwrap();
    restore(&there, &made).await.refused("999");
    fs::write(
        &made,
        with_header(&file, |header| header["format"] = json!(2)),
    )
    .unwrap();
    let ran = restore(&there, &made).await;
    ran.refused("made by a newer opencode-chat");
    // It is not the seal that is refused.
    fs::write(&made, with_header(&file, |_| {})).unwrap();
    assert_eq!(restore(&there, &made).await.code, 0);
}

#[tokio::test]
async fn a_place_that_takes_no_backup_is_told_of() {
    let (_impostor, chat, folder, _) = backed_up().await;
    backup(&chat, Path::new("/nowhere/chat.tar"))
        .await
        .refused("there is no folder /nowhere");
    backup(&chat, Path::new("/proc/self/chat.tar"))
        .await
        .refused("cannot write into /proc/self");
    let nothing = Chat::new();
    let file = folder.path().join("none.tar");
    backup(&nothing, &file)
        .await
        .refused("there is no database");
    assert!(!nothing.database().exists());

    // A disk that is full: standard output has no room, and a file may not grow.
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut command = chat.command(&["backup", "-"]);
    let running = command.stdout(full).spawn().unwrap();
    let out = running.wait_with_output().await.unwrap();
    let told = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(1), "{told}");
    assert!(told.contains("No space left on device"), "{told}");
    let large = sandbox_with(&chat, "report.md").unwrap().join("large");
    fs::write(large, vec![7; 1024 * 1024]).unwrap();
    let small = folder.path().join("small.tar");
    let mut shell = tokio::process::Command::new("/bin/sh");
    shell
        .args([
            "-c",
            "trap '' XFSZ; ulimit -f 512; exec \"$0\" backup \"$1\"",
        ])
        .arg(env!("CARGO_BIN_EXE_opencode-chat"))
        .arg(&small)
        .env("OPENCODE_CHAT_DATA", chat.data())
        .env("HOME", chat.data());
    let out = shell.output().await.unwrap();
    let told = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(1), "{told}");
    assert!(
        told.contains("the backup cannot be written: File too large"),
        "{told}"
    );
    let left: Vec<_> = files(folder.path()).into_iter().collect();
    assert_eq!(left, [PathBuf::from("chat.tar")]);
}

/// A file whose bytes were lost before keeps no backup from being made, and is told of.
#[tokio::test]
async fn a_file_that_was_lost_before_is_told_of_and_the_rest_is_there() {
    for damage in ["missing", "damaged"] {
        let (_impostor, chat, folder, _) = backed_up().await;
        let blob = files(&chat.data().join("blobs")).pop_first().unwrap();
        let blob = chat.data().join("blobs").join(blob);
        match damage {
            "missing" => fs::remove_file(&blob).unwrap(),
            _ => fs::write(&blob, "# Repair\n").unwrap(),
        }
        let file = folder.path().join("later.tar");
        let ran = backup(&chat, &file).await;
        assert_eq!(ran.code, 1, "{ran:?}");
        let digest = blob.file_name().unwrap().to_str().unwrap();
        assert!(ran.stderr.contains(digest), "{ran:?}");
        let there = Chat::new();
        let ran = restore(&there, &file).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(told(&there.show().await), told(&chat.show().await));
        assert!(files(&there.data().join("blobs")).is_empty());
    }
}

#[tokio::test]
async fn a_backup_is_piped_and_is_a_tar_archive() {
    let (_impostor, chat, folder, _) = backed_up().await;
    let out = chat.command(&["backup", "-"]).output().await.unwrap();
    assert!(out.status.success(), "{out:?}");
    let file = folder.path().join("piped.tar");
    fs::write(&file, &out.stdout).unwrap();
    let mut tar = tokio::process::Command::new("tar");
    let listed = tar.arg("-tf").arg(&file).output().await.unwrap();
    assert!(listed.status.success(), "{listed:?}");
    let listed = String::from_utf8(listed.stdout).unwrap();
    let names: Vec<_> = listed.lines().collect();
    assert_eq!(names[0], "backup.json");
    assert_eq!(names[names.len() - 2..], ["contents.json", "SHA256"]);
    assert!(names.contains(&"rows/messages/000001.jsonl"), "{names:?}");
    let there = Chat::new();
    assert_eq!(restore(&there, &file).await.code, 0);
    assert_eq!(told(&there.show().await), told(&chat.show().await));
}
