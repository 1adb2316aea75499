//! `backup`: everything in one file.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use opencode_host::blobs::Digest;
use opencode_host::clock::{Clock as _, SystemClock};
use opencode_sql::{Dump, Options};
use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::runtime::Handle;

use crate::assembly::open_accounts;
use crate::backup::{self, blocking};
use crate::cli::BackupArgs;
use crate::exit::Failure;
use crate::product::{open_blobs, open_sandboxes};
use crate::terminal;

/// Writes a backup.
pub(crate) async fn run(args: BackupArgs) -> Result<ExitCode, Failure> {
    let to_stdout = args.file.as_os_str() == "-";
    let place = if to_stdout {
        None
    } else {
        Some(Place::new(&args.file)?)
    };
    if to_stdout && io::stdout().is_terminal() {
        return Err(Failure::configuration(
            "a backup is no text for a terminal: name a file, or pass it on with |",
        ));
    }
    let url = args.store.database_url();
    let dump = Dump::begin(&url, &Options::default()).await?;
    // Behind the rows' moment: nobody is missing whose rows are there.
    let users = open_accounts(&args.store).await?.rows().await?;
    let blobs = open_blobs(&args.store)?;
    let root = open_sandboxes(&args.sandbox, &args.store)?
        .path()
        .to_owned();
    let now = SystemClock.now();
    let runtime = Handle::current();
    let written = blocking(move || match place {
        None => {
            let out = BufWriter::new(io::stdout().lock());
            let (written, _) = backup::write(out, dump, &users, &blobs, &root, now, &runtime)?;
            Ok(written)
        }
        Some(place) => {
            let growing = BufWriter::new(place.grow()?);
            let (written, growing) =
                backup::write(growing, dump, &users, &blobs, &root, now, &runtime)?;
            place.keep(growing)?;
            Ok(written)
        }
    })
    .await?;
    let said = written.contents.in_words();
    if to_stdout {
        terminal::tell(said);
    } else {
        terminal::say(format_args!("{}: {said}", args.file.display()));
    }
    if written.left_out > 0 {
        terminal::tell(format_args!(
            "warning: left out of the agents' folders, since it is no file or cannot be read: {} entries",
            written.left_out
        ));
    }
    let lost = still_named(&url, written.without_bytes).await?;
    if lost.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::error(format!(
        "the backup is whole, but these files were missing or damaged before, and are not in it: {}. Take them from an \
         earlier backup",
        lost.join(", ")
    )))
}

/// Which of these files a row still names: the others were deleted while the backup was made.
async fn still_named(url: &str, digests: Vec<Digest>) -> Result<Vec<String>, Failure> {
    let mut lost: Vec<_> = digests.iter().map(Digest::to_string).collect();
    if lost.is_empty() {
        return Ok(lost);
    }
    let mut named = std::collections::HashSet::new();
    let mut dump = Dump::begin(url, &Options::default()).await?;
    let look = |row: String| {
        let row: Value = serde_json::from_str(&row).unwrap_or_default();
        named.extend(row["digest"].as_str().map(str::to_owned));
        Ok::<_, Failure>(())
    };
    dump.rows("attachments", look).await?;
    lost.retain(|digest| named.contains(digest));
    Ok(lost)
}

/// Where a backup is to be.
struct Place {
    file: PathBuf,
    folder: PathBuf,
}

impl Place {
    fn new(file: &Path) -> Result<Self, Failure> {
        let named = file.display();
        if file.symlink_metadata().is_ok() {
            return Err(Failure::configuration(format!(
                "{named} is there already, and is not overwritten: name another file"
            )));
        }
        let folder = match file.parent() {
            Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
            Some(folder) if file.file_name().is_some() => folder,
            _ => {
                return Err(Failure::configuration(format!(
                    "{named} is no name of a file"
                )));
            }
        };
        if !folder.is_dir() {
            return Err(Failure::configuration(format!(
                "there is no folder {}: make it, or name another place for the backup",
                folder.display()
            )));
        }
        Ok(Self {
            file: file.to_owned(),
            folder: folder.to_owned(),
        })
    }

    /// A file beside it, for this user alone, that goes with the process unless it is kept.
    fn grow(&self) -> Result<NamedTempFile, Failure> {
        let mut name = self.file.file_name().unwrap_or_default().to_owned();
        name.push(".");
        let grown = tempfile::Builder::new()
            .prefix(&name)
            .suffix(".partial")
            .tempfile_in(&self.folder);
        grown.map_err(|error| {
            Failure::configuration(format!(
                "cannot write into {}: {error}",
                self.folder.display()
            ))
        })
    }

    /// Gives the file its name, once all of it is on the disk.
    fn keep(&self, growing: BufWriter<NamedTempFile>) -> Result<(), Failure> {
        let kept = || {
            let mut file = growing
                .into_inner()
                .map_err(io::IntoInnerError::into_error)?;
            file.flush()?;
            file.as_file().sync_all()?;
            file.persist_noclobber(&self.file)
                .map_err(|error| error.error)?;
            File::open(&self.folder)?.sync_all()
        };
        kept().map_err(|error: io::Error| {
            Failure::error(format!("cannot write {}: {error}", self.file.display()))
        })
    }
}
