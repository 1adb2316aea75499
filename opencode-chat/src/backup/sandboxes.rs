//! The agents' folders, into a backup and out of it.
//!
//! An agent may be at work in its folder, and what is in it is the agent's: nothing is followed that is a link, and a file
//! is copied aside before its size is told. What it removes in this moment is not in the backup; what cannot be read (a
//! socket, a file of another user) is left out, and counted.

use std::io::{self, Read, Seek as _, Write};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use cap_fs_ext::{DirExt as _, FollowSymlinks, OpenOptionsFollowExt as _, OpenOptionsSyncExt as _};
use cap_std::ambient_authority;
use cap_std::fs::{
    Dir, DirBuilder, DirBuilderExt as _, Metadata, MetadataExt as _, OpenOptions,
    OpenOptionsExt as _,
};
use tar::{Builder, Entry, EntryType};

use super::{Contents, SANDBOXES};

/// How many levels of folders are gone down.
const DEEPEST: usize = 128;
/// Files up to this size are copied aside in memory.
const IN_MEMORY: usize = 1024 * 1024;
/// Where folders grow before they have their names. No conversation's folder begins with a dot.
const GROWING: &str = ".restoring";

/// Copies the folders of these conversations. Answers how many entries were left out.
pub(super) fn save(
    to: &mut Builder<impl Write>,
    root: &Path,
    conversations: &[String],
    contents: &mut Contents,
) -> io::Result<u64> {
    let root = Dir::open_ambient_dir(root, ambient_authority())?;
    let mut saving = Saving {
        to,
        contents,
        left_out: 0,
    };
    for id in conversations {
        let folder = match root.open_dir_nofollow(id) {
            Ok(folder) => folder,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(_) => {
                saving.left_out += 1;
                continue;
            }
        };
        saving.contents.sandboxes += 1;
        let path = Path::new(SANDBOXES).join(id);
        saving.folder(&path, folder.dir_metadata().ok().as_ref())?;
        saving.below(&path, &folder, DEEPEST)?;
    }
    Ok(saving.left_out)
}

struct Saving<'a, W: Write> {
    to: &'a mut Builder<W>,
    contents: &'a mut Contents,
    left_out: u64,
}

impl<W: Write> Saving<'_, W> {
    fn below(&mut self, path: &Path, dir: &Dir, levels: usize) -> io::Result<()> {
        let Ok(entries) = dir.entries() else {
            self.left_out += 1;
            return Ok(());
        };
        let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        names.sort();
        for name in names {
            let (path, name) = (path.join(&name), Path::new(&name));
            // It may be gone, or another one, at any moment.
            let Ok(found) = dir.symlink_metadata(name) else {
                continue;
            };
            if found.is_symlink() {
                match dir.read_link_contents(name) {
                    Ok(target) => self.link(&path, &target)?,
                    Err(_) => self.left_out += 1,
                }
            } else if found.is_dir() && levels > 0 {
                match dir.open_dir_nofollow(name) {
                    Ok(folder) => {
                        self.folder(&path, Some(&found))?;
                        self.below(&path, &folder, levels - 1)?;
                    }
                    Err(_) => self.left_out += 1,
                }
            } else if found.is_file() {
                match aside(dir, name) {
                    Ok((found, copy)) => self.file(&path, &found, copy)?,
                    Err(Aside::Source(error)) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(Aside::Source(_)) => self.left_out += 1,
                    Err(Aside::Copy(error)) => return Err(error),
                }
            } else {
                self.left_out += 1;
            }
        }
        Ok(())
    }

    fn folder(&mut self, path: &Path, found: Option<&Metadata>) -> io::Result<()> {
        let mut header = head(EntryType::Directory, found);
        header.set_mode(0o700);
        self.to.append_data(&mut header, path, io::empty())
    }

    fn link(&mut self, path: &Path, target: &Path) -> io::Result<()> {
        let mut header = head(EntryType::Symlink, None);
        self.to.append_link(&mut header, path, target)
    }

    fn file(
        &mut self,
        path: &Path,
        found: &Metadata,
        mut copy: tempfile::SpooledTempFile,
    ) -> io::Result<()> {
        let size = copy.seek(io::SeekFrom::End(0))?;
        copy.rewind()?;
        let mut header = head(EntryType::Regular, Some(found));
        header.set_size(size);
        self.contents.sandbox_files += 1;
        self.contents.sandbox_bytes += size;
        self.to.append_data(&mut header, path, copy.take(size))
    }
}

fn head(kind: EntryType, found: Option<&Metadata>) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(0);
    header.set_mode(found.map_or(0o600, |found| found.mode() & 0o700));
    header.set_mtime(found.map_or(0, |found| found.mtime().max(0).cast_unsigned()));
    header
}

/// Why a file was not copied aside.
enum Aside {
    /// It could not be read.
    Source(io::Error),
    /// There is no room for the copy.
    Copy(io::Error),
}

/// Copies a file as it is now: its size holds then.
fn aside(dir: &Dir, name: &Path) -> Result<(Metadata, tempfile::SpooledTempFile), Aside> {
    let mut options = OpenOptions::new();
    options.read(true).follow(FollowSymlinks::No).nonblock(true);
    let mut file = dir.open_with(name, &options).map_err(Aside::Source)?;
    let found = file.metadata().map_err(Aside::Source)?;
    if !found.is_file() {
        return Err(Aside::Source(io::Error::other("it is no file any more")));
    }
    let mut copy = tempfile::spooled_tempfile(IN_MEMORY);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer).map_err(Aside::Source)? {
            0 => return Ok((found, copy)),
            read => copy.write_all(&buffer[..read]).map_err(Aside::Copy)?,
        }
    }
}

/// Folders that are being restored: none has its name before all are there.
#[derive(Debug)]
pub(super) struct Growing {
    root: Dir,
    within: Dir,
    ids: Vec<String>,
}

impl Growing {
    /// Begins in a folder of sandboxes; what a restore that was killed has left there goes.
    pub(super) fn begin(root: &Path) -> io::Result<Self> {
        let root = Dir::open_ambient_dir(root, ambient_authority())?;
        match root.remove_dir_all(GROWING) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        make(&root, Path::new(GROWING))?;
        let within = root.open_dir_nofollow(GROWING)?;
        Ok(Self {
            root,
            within,
            ids: Vec::new(),
        })
    }

    /// Takes an entry of the archive, if it is one of a conversation's folder.
    pub(super) fn take<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> io::Result<()> {
        let path = below(&entry.path()?)?;
        let mut names = path.components();
        if let (Some(Component::Normal(id)), None) = (names.next(), names.next()) {
            let id = id.to_string_lossy().into_owned();
            if self.root.symlink_metadata(&id).is_ok() {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    format!("there is a folder {id} already: nothing there is overwritten"),
                ));
            }
            self.ids.push(id);
        }
        match entry.header().entry_type() {
            EntryType::Directory => make(&self.within, &path),
            EntryType::Symlink => {
                let target = entry.link_name()?.unwrap_or_default();
                self.within.symlink_contents(target, &path)
            }
            EntryType::Regular => self.file(&path, entry),
            other => Err(io::Error::other(format!(
                "{other:?} is no entry of a backup"
            ))),
        }
    }

    fn file<R: Read>(&self, path: &Path, entry: &mut Entry<'_, R>) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options
            .write(true)
            .create_new(true)
            .mode(entry.header().mode()? & 0o700 | 0o600)
            .follow(FollowSymlinks::No);
        let mut file = self.within.open_with(path, &options)?.into_std();
        io::copy(entry, &mut file)?;
        let modified = Duration::from_secs(entry.header().mtime()?);
        if let Some(modified) = SystemTime::UNIX_EPOCH.checked_add(modified) {
            file.set_modified(modified)?;
        }
        file.sync_all()
    }

    /// Gives all folders their names.
    pub(super) fn place(&mut self) -> io::Result<()> {
        for (placed, id) in self.ids.iter().enumerate() {
            if let Err(error) = self.within.rename(id, &self.root, id) {
                self.ids.truncate(placed);
                return Err(error);
            }
        }
        self.root.remove_dir_all(GROWING)
    }

    /// Takes away what was placed, since the rows were not kept.
    pub(super) fn take_back(&self) {
        for id in &self.ids {
            if let Err(error) = self.root.remove_dir_all(id) {
                tracing::warn!(id, %error, "a restored folder is left");
            }
        }
    }
}

impl Drop for Growing {
    fn drop(&mut self) {
        match self.root.remove_dir_all(GROWING) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::debug!(%error, "what was restored in part is left for the next restore");
            }
            _ => {}
        }
    }
}

fn make(dir: &Dir, path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    dir.create_dir_with(path, &builder)
}

/// The path below the folder of all sandboxes; nothing but names.
fn below(path: &Path) -> io::Result<PathBuf> {
    let below = path.strip_prefix(SANDBOXES).map_err(io::Error::other)?;
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    if below.as_os_str().is_empty() || !below.components().all(is_plain) {
        return Err(io::Error::other(format!(
            "{} is no path of a backup",
            path.display()
        )));
    }
    Ok(below.to_owned())
}
