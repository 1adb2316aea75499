//! The seal of a backup: whether it is whole, and as it was made.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::path::Path;

use sha2::{Digest as _, Sha256};
use tar::Archive;

use super::{Contents, FORMAT, HEADER, Header, SEAL};
use crate::exit::Failure;

/// The digest of what was written so far.
pub(super) struct Sealing<W> {
    to: W,
    hasher: Sha256,
}

impl<W> Sealing<W> {
    pub(super) fn new(to: W) -> Self {
        Self {
            to,
            hasher: Sha256::new(),
        }
    }

    pub(super) fn digest(&self) -> String {
        in_digits(self.hasher.clone())
    }

    pub(super) fn into_inner(self) -> W {
        self.to
    }
}

impl<W: Write> Write for Sealing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn in_digits(hasher: Sha256) -> String {
    let digest: [u8; 32] = hasher.finalize().into();
    opencode_host::blobs::Digest::from_bytes(digest).to_string()
}

/// A backup that was found to be whole.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(super) file: File,
    pub(crate) header: Header,
    pub(crate) contents: Contents,
}

impl Whole {
    /// Reads all of a file, and looks whether it is a backup as it was made.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let named = path.display();
        let failed = |error: io::Error| {
            Failure::configuration(format!("cannot read the backup {named}: {error}"))
        };
        let mut file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.is_dir() {
            return Err(Failure::configuration(format!(
                "{named} is a folder: name the file that `backup` has made"
            )));
        }
        let header = header(&mut file).map_err(|why| {
            Failure::configuration(format!("{named} is no backup of opencode-chat: {why}"))
        })?;
        if header.format != FORMAT {
            return Err(Failure::configuration(format!(
                "{named} was made by a newer opencode-chat ({}), in a format that this one does not know: restore it with \
                 that version",
                header.version
            )));
        }
        let Some(end) = end(&mut file).map_err(|_| cut_off(path))? else {
            return Err(cut_off(path));
        };
        if digest(&mut file, end.at).map_err(failed)? != end.seal {
            return Err(Failure::configuration(format!(
                "the backup {named} is not as it was made: it was changed or damaged. Nothing was restored; take another one"
            )));
        }
        Ok(Self {
            file,
            header,
            contents: end.contents,
        })
    }

    /// Its entries from the first one on.
    pub(super) fn archive(&mut self) -> io::Result<Archive<&mut File>> {
        self.file.seek(SeekFrom::Start(0))?;
        Ok(Archive::new(&mut self.file))
    }
}

fn cut_off(path: &Path) -> Failure {
    Failure::configuration(format!(
        "the backup {} is not whole: it was cut off while it was made or copied. Nothing was restored; take another one",
        path.display()
    ))
}

/// What stands first.
fn header(file: &mut File) -> Result<Header, String> {
    let mut archive = Archive::new(file);
    let told = |error: io::Error| error.to_string();
    let first = archive.entries().map_err(told)?.next();
    let mut first = first.ok_or("it is empty")?.map_err(told)?;
    if first.path_bytes() != HEADER.as_bytes() {
        return Err(format!("it does not begin with {HEADER}"));
    }
    let mut text = String::new();
    let mut bounded = (&mut first).take(64 * 1024);
    bounded.read_to_string(&mut text).map_err(told)?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

/// How it ends.
struct End {
    /// Where the seal's entry begins.
    at: u64,
    seal: String,
    contents: Contents,
}

/// The last entries, where they are there.
fn end(file: &mut File) -> io::Result<Option<End>> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(0))?;
    let mut archive = Archive::new(file);
    let mut contents = None;
    for entry in archive.entries_with_seek()? {
        let mut entry = entry?;
        let name = entry.path_bytes().into_owned();
        let (at, size) = (entry.raw_header_position(), entry.size());
        if name == super::CONTENTS.as_bytes() {
            let mut text = String::new();
            entry.read_to_string(&mut text)?;
            contents = serde_json::from_str(&text).ok();
        } else if name == SEAL.as_bytes() {
            let mut seal = String::new();
            entry.read_to_string(&mut seal)?;
            // Its head, its one block, and two empty ones that end an archive.
            let is_last = size <= 512 && length == at + 4 * 512;
            return Ok(contents
                .filter(|_| is_last)
                .map(|contents| End { at, seal, contents }));
        }
    }
    Ok(None)
}

fn digest(file: &mut File, end: u64) -> io::Result<String> {
    file.seek(SeekFrom::Start(0))?;
    let mut hasher = Sha256::new();
    io::copy(&mut file.take(end), &mut hasher)?;
    Ok(in_digits(hasher))
}
