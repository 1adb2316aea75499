//! Files of a turn on the command line: in with the prompt, out with the answer.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use futures_util::StreamExt as _;
use opencode_host::Host;
use opencode_host::blobs::{BlobError, Blobs};
use opencode_host::id::ConversationId;
use opencode_host::store::{Attachment, StoreError};
use opencode_host::uploads::{UploadError, Uploads};
use opencode_host::visible;
use serde_json::{Value, json};
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

use crate::data_folder::shared_file_mode;
use crate::exit::Failure;

/// How many names are tried for one file.
const NAMES: usize = 1000;

/// A file as programs read it.
pub(crate) fn json_of(file: &Attachment) -> Value {
    json!({
        "name": file.name,
        "size": file.size,
        "mime_type": file.mime_type,
        "digest": file.digest,
        "source": file.source,
    })
}

/// Takes the files at these paths for a prompt; nothing without any.
pub(crate) async fn upload(
    host: &Host,
    conversation: ConversationId,
    paths: &[PathBuf],
) -> Result<Option<Uploads>, Failure> {
    if paths.is_empty() {
        return Ok(None);
    }
    let told = |path: &Path, error: &dyn std::error::Error| {
        let cause = error
            .source()
            .map(|cause| format!(": {cause}"))
            .unwrap_or_default();
        Failure::configuration(format!("{}: {error}{cause} (--file)", path.display()))
    };
    let mut uploads = host
        .uploads(conversation)
        .await
        .map_err(|error| Failure::error(error.to_string()))?;
    for path in paths {
        let file = open(path).await.map_err(|error| told(path, &error))?;
        // Without a name there is no file, and the path did not open.
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match uploads.add(&name, None, file).await {
            Ok(_) => {}
            Err(
                error @ (UploadError::TooMany
                | UploadError::Store(StoreError::QuotaExceeded { .. })
                | UploadError::Blob(BlobError::TooLarge { .. } | BlobError::Source(_))),
            ) => {
                return Err(told(path, &error));
            }
            Err(error) => return Err(Failure::error(told(path, &error).message())),
        }
    }
    Ok(Some(uploads))
}

/// Only what ends: a FIFO would be waited for, a device read for ever.
async fn open(path: &Path) -> io::Result<File> {
    if !fs::metadata(path).await?.is_file() {
        return Err(io::Error::other("it is no plain file"));
    }
    File::open(path).await
}

/// Refuses a folder that files cannot be saved to; made when there is none.
pub(crate) async fn prepare(folder: &Path) -> Result<(), Failure> {
    let made = fs::create_dir_all(folder).await;
    made.map_err(|error| {
        Failure::configuration(format!("{}: {error} (--artifacts)", folder.display()))
    })
}

/// Saves the files of an answer, each under its name or, where something else has that, a numbered one. Answers
/// where each was saved; a file that was there already, the same to the byte, is not saved again.
pub(crate) async fn save(
    blobs: &Blobs,
    files: &[Attachment],
    folder: &Path,
) -> Vec<Result<PathBuf, String>> {
    let mut saved = Vec::new();
    for file in files {
        let outcome = save_one(blobs, file, folder).await;
        saved.push(outcome.map_err(|error| format!("{:?} was not saved: {error}", file.name)));
    }
    saved
}

async fn save_one(blobs: &Blobs, file: &Attachment, folder: &Path) -> Result<PathBuf, String> {
    let name = safe_name(&file.name);
    let (stem, extension) = match name.rsplit_once('.') {
        Some((stem, extension)) => (stem, format!(".{extension}")),
        None => (name.as_str(), String::new()),
    };
    for number in 1..=NAMES {
        let numbered = if number == 1 {
            name.clone()
        } else {
            format!("{stem} ({number}){extension}")
        };
        let path = folder.join(numbered);
        match OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .await
        {
            Ok(mut to) => {
                let written = write(blobs, file, &mut to).await;
                // The person's to share, unlike what is in the data folder.
                let mode = Permissions::from_mode(shared_file_mode());
                let _ = to.set_permissions(mode).await;
                if written.is_err() {
                    // Half a file is worse than none.
                    let _ = fs::remove_file(&path).await;
                }
                return written.map(|()| path);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if is_same(blobs, file, &path).await {
                    return Ok(path);
                }
            }
            Err(error) => return Err(error.to_string()),
        }
    }
    Err(format!("{NAMES} files have its name"))
}

async fn write(blobs: &Blobs, file: &Attachment, to: &mut File) -> Result<(), String> {
    let mut from = blobs
        .get(&file.digest)
        .await
        .map_err(|error| error.to_string())?
        .into_reader();
    tokio::io::copy(&mut from, to)
        .await
        .map_err(|error| error.to_string())?;
    to.sync_all().await.map_err(|error| error.to_string())
}

/// Whether the file at `path` is this one already.
async fn is_same(blobs: &Blobs, file: &Attachment, path: &Path) -> bool {
    // No link is looked through, and nothing that blocks is opened.
    let plain = fs::symlink_metadata(path)
        .await
        .is_ok_and(|found| found.is_file() && found.len() == file.size);
    if !plain {
        return false;
    }
    same_bytes(blobs, file, path).await.unwrap_or(false)
}

/// Compares as the bytes come: files are as large as they are.
async fn same_bytes(
    blobs: &Blobs,
    file: &Attachment,
    path: &Path,
) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    let mut there = BufReader::new(File::open(path).await?);
    let mut ours = blobs.get(&file.digest).await?;
    let mut chunk_there = Vec::new();
    while let Some(chunk) = ours.next().await {
        let chunk = chunk?;
        chunk_there.resize(chunk.len(), 0);
        there.read_exact(&mut chunk_there).await?;
        if chunk_there != chunk {
            return Ok(false);
        }
    }
    // It may have grown since it was looked at.
    Ok(there.fill_buf().await?.is_empty())
}

/// A name that is one name, not hidden, shows what it is, and steers no terminal.
fn safe_name(name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|c| {
            if visible::is_hidden(c) || matches!(c, '/' | '\\') {
                '_'
            } else {
                c
            }
        })
        .collect();
    match plain.strip_prefix(['.', '-']) {
        Some(rest) => format!("_{rest}"),
        None if plain.is_empty() => "file".to_owned(),
        None => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::safe_name;

    #[test]
    fn names_stay_in_their_folder() {
        for (name, safe) in [
            ("report.md", "report.md"),
            ("../x", "_._x"),
            ("..", "_."),
            (".bashrc", "_bashrc"),
            ("-rf", "_rf"),
            ("a/b\\c\nd", "a_b_c_d"),
            ("", "file"),
            ("invoice\u{202e}fdp.exe", "invoice_fdp.exe"),
            ("a\u{200b}\u{2028}b\u{9b}", "a__b_"),
            ("e\u{301}te\u{301}.md", "e\u{301}te\u{301}.md"),
            ("Übersicht 1.md", "Übersicht 1.md"),
        ] {
            assert_eq!(safe_name(name), safe);
        }
    }
}
