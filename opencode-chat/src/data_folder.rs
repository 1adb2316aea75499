//! What this application keeps on disk is for its user alone.
//!
//! New files are: the process starts with a umask of 077, which OpenCode and the agent's shell inherit. What was there
//! before is tightened at each start: the data folder and all below it, a SQLite database and a folder of blobs that
//! the arguments put elsewhere. Group and others lose their rights, the owner's stay.
//!
//! No link is followed, and nothing is touched that belongs to another user, lies on another file system or has a
//! second name (a hard link may be somebody's program). Within a sandbox nothing is touched either: its folder is
//! closed, and what is in it is the agent's. `--sandbox-root` is left as it is.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fchmod, fstat, openat, statat};
use rustix::io::Errno;
use rustix::process::{geteuid, umask};

use crate::cli::StoreArgs;

/// Folders of ours in a data folder.
const FOLDERS: [&str; 4] = ["blobs", "opencode", SANDBOXES, "tools"];
const SANDBOXES: &str = "sandboxes";
/// The database in a data folder.
const DATABASE: &str = "host.db";
/// What SQLite puts beside a database, behind its name.
const BESIDE: [&str; 4] = ["", "-wal", "-shm", "-journal"];
/// How many levels of folders are gone down.
const DEEPEST: usize = 64;
/// How many problems are told.
const TOLD: usize = 3;

static PERSONS_UMASK: OnceLock<Mode> = OnceLock::new();

/// From now on every new file is for this user alone. To be called before there are threads.
pub(crate) fn make_private_files() {
    let _ = PERSONS_UMASK.set(umask(Mode::RWXG | Mode::RWXO));
}

/// The mode of a file that is the person's to share, such as one that an answer is saved in.
pub(crate) fn shared_file_mode() -> u32 {
    let hidden = PERSONS_UMASK.get().map_or(0, |mask| mask.bits());
    0o666 & !hidden
}

/// Takes what is kept from everybody but this user. Answers what could not be taken, for people to read.
pub(crate) fn tighten(store: &StoreArgs) -> Vec<String> {
    let mut tightening = Tightening::default();
    tightening.data_folder(&store.data);
    if let Some(path) = store.database_url().strip_prefix("sqlite://") {
        tightening.database(Path::new(path.strip_suffix("?mode=rwc").unwrap_or(path)));
    }
    let blobs = store.blobs.as_deref();
    if let Some(folder) = blobs.and_then(|url| url.strip_prefix("file://")) {
        tightening.tree(Path::new(folder), Link::Follow);
    }
    let more = tightening.problems.len().saturating_sub(TOLD);
    tightening.problems.truncate(TOLD);
    if more > 0 {
        tightening.problems.push(format!("and {more} more files"));
    }
    tightening.problems
}

/// What becomes of a link in the place of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// The person named it: it stands for the folder.
    Follow,
    /// It leads elsewhere.
    Leave,
}

#[derive(Debug, Default)]
struct Tightening {
    problems: Vec<String>,
}

impl Tightening {
    fn data_folder(&mut self, data: &Path) {
        let Some(why) = used_for_more(data) else {
            return self.tree(data, Link::Follow);
        };
        for name in FOLDERS {
            self.tree(&data.join(name), Link::Leave);
        }
        self.database(&data.join(DATABASE));
        self.problems.push(format!(
            "{} is left open to other users, because {why}: choose a folder of its own with --data",
            data.display()
        ));
    }

    /// A SQLite database and what lies beside it.
    fn database(&mut self, path: &Path) {
        for behind in BESIDE {
            let mut name = path.as_os_str().to_owned();
            name.push(behind);
            let path = PathBuf::from(name);
            let tightened = look(CWD, path.as_os_str()).and_then(|found| match found {
                Some(file) if is_plain(&file) => tighten_entry(CWD, path.as_os_str(), &file),
                _ => Ok(None),
            });
            self.note(&path, tightened.map(drop));
        }
    }

    /// A folder and all below it.
    fn tree(&mut self, path: &Path, link: Link) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let flags = match link {
            Link::Follow => flags,
            Link::Leave => flags | OFlags::NOFOLLOW,
        };
        let (dir, stat) = match openat(CWD, path, flags, Mode::empty())
            .and_then(|dir| fstat(&dir).map(|stat| (dir, stat)))
        {
            Ok(opened) => opened,
            Err(Errno::NOTDIR | Errno::LOOP) if link == Link::Leave => return,
            Err(error) => return self.note(path, Err(error.into())),
        };
        if stat.st_uid != geteuid().as_raw() {
            return self.problems.push(format!(
                "{} belongs to another user, and is left as it is",
                path.display()
            ));
        }
        self.note(path, close(&dir, &stat));
        self.below(path, &dir, stat.st_dev, DEEPEST);
    }

    fn below(&mut self, path: &Path, dir: &OwnedFd, device: u64, levels: usize) {
        let names = match names(dir) {
            Ok(names) => names,
            Err(error) => return self.note(path, Err(error)),
        };
        let has_sandboxes = path.file_name() == Some(OsStr::new(SANDBOXES));
        for name in names {
            let path = path.join(&name);
            let tightened = look(dir, &name).and_then(|found| match found {
                Some(entry) if entry.st_dev == device && is_ours(&entry) => {
                    tighten_entry(dir, &name, &entry)
                }
                _ => Ok(None),
            });
            match tightened {
                Ok(Some(folder)) if !has_sandboxes && levels > 0 => {
                    self.below(&path, &folder, device, levels - 1);
                }
                Ok(_) => {}
                Err(error) => self.note(&path, Err(error)),
            }
        }
    }

    fn note(&mut self, path: &Path, outcome: io::Result<()>) {
        match outcome {
            // Another process has removed it meanwhile.
            Err(error) if error.kind() != io::ErrorKind::NotFound => self.problems.push(format!(
                "{} may be readable by other users: {error}",
                path.display()
            )),
            _ => {}
        }
    }
}

/// Why a data folder is not this application's alone, if it is not.
fn used_for_more(data: &Path) -> Option<&'static str> {
    let real = data.canonicalize().ok()?;
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    let home = home.and_then(|home| PathBuf::from(home).canonicalize().ok());
    if real.parent().is_none() || home.is_some_and(|home| home.starts_with(&real)) {
        return Some("it holds a home folder");
    }
    if real.join(".git").symlink_metadata().is_ok() {
        return Some("it is a Git worktree");
    }
    let sticky = look(CWD, real.as_os_str())
        .ok()
        .flatten()
        .is_some_and(|stat| Mode::from_raw_mode(stat.st_mode).contains(Mode::SVTX));
    sticky.then_some("it is a folder for everybody's files")
}

fn look(dir: impl AsFd, name: &OsStr) -> io::Result<Option<Stat>> {
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn is_ours(entry: &Stat) -> bool {
    entry.st_uid == geteuid().as_raw()
        && (FileType::from_raw_mode(entry.st_mode) == FileType::Directory || is_plain(entry))
}

/// Whether it is a file of ours that has no other name.
fn is_plain(entry: &Stat) -> bool {
    entry.st_uid == geteuid().as_raw()
        && FileType::from_raw_mode(entry.st_mode) == FileType::RegularFile
        && entry.st_nlink == 1
}

/// Closes what was found under a name, and returns it if it is a folder.
fn tighten_entry(dir: impl AsFd, name: &OsStr, found: &Stat) -> io::Result<Option<OwnedFd>> {
    let is_folder = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
    if !is_folder && !is_open(found) {
        return Ok(None);
    }
    // Not through a link, and no FIFO is waited for, should something else have the name by now.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let entry = openat(dir, name, flags, Mode::empty())?;
    let opened = fstat(&entry)?;
    if (opened.st_dev, opened.st_ino) != (found.st_dev, found.st_ino) {
        return Err(io::Error::other("it was replaced in this moment"));
    }
    close(&entry, &opened)?;
    Ok(is_folder.then_some(entry))
}

fn is_open(entry: &Stat) -> bool {
    Mode::from_raw_mode(entry.st_mode).intersects(Mode::RWXG | Mode::RWXO)
}

fn close(entry: &OwnedFd, stat: &Stat) -> io::Result<()> {
    if is_open(stat) {
        let mode = Mode::from_raw_mode(stat.st_mode);
        fchmod(entry, mode - (Mode::RWXG | Mode::RWXO))?;
    }
    Ok(())
}

fn names(dir: &OwnedFd) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn store(data: &Path) -> StoreArgs {
        StoreArgs {
            data: data.to_owned(),
            database_url_file: None,
            database: None,
            blobs: None,
        }
    }

    fn put(path: &Path, mode: u32) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "secret").unwrap();
        set(path, mode);
    }

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn what_was_open_is_closed_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let files = [
            "host.db",
            "host.db-wal",
            "blobs/ab/cdef",
            "chat.log",
            "opencode/data/opencode/auth.json",
        ];
        for file in files {
            put(&data.join(file), 0o644);
        }
        put(&data.join("tools/bin/opencode"), 0o755);
        put(&data.join("sandboxes/one/seen.txt"), 0o644);
        for open in ["", "blobs", "blobs/ab", "sandboxes", "sandboxes/one"] {
            set(&data.join(open), 0o775);
        }
        assert_eq!(tighten(&store(&data)), [] as [String; 0]);
        for file in files {
            assert_eq!(mode(&data.join(file)), 0o600, "{file}");
        }
        assert_eq!(mode(&data.join("tools/bin/opencode")), 0o700);
        for closed in ["", "blobs", "blobs/ab", "sandboxes", "sandboxes/one"] {
            assert_eq!(mode(&data.join(closed)), 0o700, "{closed}");
        }
        // The agent's own, behind a closed folder.
        assert_eq!(mode(&data.join("sandboxes/one/seen.txt")), 0o644);
        // There may be none yet.
        assert_eq!(
            tighten(&store(&folder.path().join("none"))),
            [] as [String; 0]
        );
    }

    #[test]
    fn what_lies_elsewhere_by_the_arguments_is_closed_too() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in [
            "my.db",
            "my.db-wal",
            "my.db-shm",
            "my.db-journal",
            "my.db.bak",
        ] {
            put(&at(name), 0o644);
        }
        put(&at("bytes/ab/cd"), 0o644);
        let mut named = store(&at("data"));
        named.database = Some(at("my.db").display().to_string());
        named.blobs = Some(format!("file://{}", at("bytes").display()));
        assert_eq!(tighten(&named), [] as [String; 0]);
        for name in [
            "my.db",
            "my.db-wal",
            "my.db-shm",
            "my.db-journal",
            "bytes/ab/cd",
        ] {
            assert_eq!(mode(&at(name)), 0o600, "{name}");
        }
        assert_eq!(mode(&at("bytes")), 0o700);
        assert_eq!(mode(&at("my.db.bak")), 0o644);
        for other in ["postgres://localhost/x", "sqlite::memory:", "sqlite://"] {
            named.database = Some(other.to_owned());
            assert_eq!(tighten(&named), [] as [String; 0], "{other}");
        }
    }

    #[test]
    fn links_lead_nowhere_and_second_names_are_left() {
        let folder = tempfile::tempdir().unwrap();
        let (data, theirs) = (folder.path().join("data"), folder.path().join("theirs"));
        put(&theirs.join("file"), 0o644);
        put(&theirs.join("linked"), 0o644);
        set(&theirs, 0o755);
        put(&data.join("host.db"), 0o644);
        symlink(theirs.join("file"), data.join("host.db-wal")).unwrap();
        symlink(&theirs, data.join("blobs")).unwrap();
        symlink(folder.path().join("nowhere"), data.join("opencode")).unwrap();
        fs::hard_link(theirs.join("linked"), data.join("hard")).unwrap();
        let fifo = data.join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status();
        assert!(made.unwrap().success());
        set(&fifo, 0o644);
        assert_eq!(tighten(&store(&data)), [] as [String; 0]);
        assert_eq!(mode(&data.join("host.db")), 0o600);
        for left in ["file", "linked"] {
            assert_eq!(mode(&theirs.join(left)), 0o644, "{left}");
        }
        assert_eq!(mode(&theirs), 0o755);
        assert_eq!(mode(&fifo), 0o644);
        // A link to the data folder itself is what the person named.
        set(&data.join("host.db"), 0o644);
        symlink(&data, folder.path().join("here")).unwrap();
        assert_eq!(
            tighten(&store(&folder.path().join("here"))),
            [] as [String; 0]
        );
        assert_eq!(mode(&data.join("host.db")), 0o600);
    }

    #[test]
    fn a_folder_used_for_more_keeps_what_is_not_ours() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        fs::create_dir(data.join(".git")).unwrap();
        set(data, 0o755);
        put(&data.join("README.md"), 0o644);
        put(&data.join("host.db"), 0o644);
        put(&data.join("blobs/ab"), 0o644);
        let problems = tighten(&store(data));
        assert!(problems[0].contains("it is a Git worktree"), "{problems:?}");
        assert!(problems[0].contains("--data"), "{problems:?}");
        assert_eq!(problems.len(), 1);
        assert_eq!((mode(data), mode(&data.join("README.md"))), (0o755, 0o644));
        assert_eq!(mode(&data.join("host.db")), 0o600);
        assert_eq!(mode(&data.join("blobs/ab")), 0o600);
        fs::remove_dir(data.join(".git")).unwrap();
        set(data, 0o1777);
        assert!(tighten(&store(data))[0].contains("everybody's files"));
        assert_eq!(mode(data), 0o1777);
        assert!(used_for_more(Path::new("/")).is_some());
    }
}
