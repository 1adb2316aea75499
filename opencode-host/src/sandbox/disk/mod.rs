//! Sandboxes on this machine's disk.

mod file;
mod folder;
mod quarantine;
mod root;
mod walk;
mod write;

use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use cap_std::fs::Dir;
use tokio::io::AsyncRead;

use super::{InvalidPath, Listing, OwnConfiguration, SandboxError, SandboxPath, blocking};
pub use file::SandboxFile;
use quarantine::Quarantine;
pub use root::{RootError, SandboxRoot};
pub use walk::{MAX_ENTRIES, MAX_REFUSED};
pub(crate) use write::Staged;

/// One conversation's folder, held by a handle: renaming or replacing the folder on disk does not
/// redirect it.
#[derive(Debug, Clone)]
pub struct Sandbox {
    path: PathBuf,
    dir: Arc<Dir>,
    /// Where files grow before they appear; outside the agent's reach, on the same file system.
    staging: Arc<Dir>,
    quarantine: Quarantine,
    just_created: bool,
}

impl Sandbox {
    /// The folder's absolute path, to be given to OpenCode as the session's directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Did [`SandboxRoot::provision`] make the folder, rather than find it?
    #[doc(hidden)]
    pub fn just_created(&self) -> bool {
        self.just_created
    }

    /// Puts a product's starting files in, folders included, and returns the paths it wrote.
    ///
    /// A name that exists is left as it is, so that seeding again after a crash is harmless. The files'
    /// times are now: a listing from before the call has them in it.
    ///
    /// # Errors
    ///
    /// The first path that is no [`SandboxPath`], or that could not be written.
    pub fn seed<P: AsRef<str>, B: AsRef<[u8]>>(
        &self,
        files: impl IntoIterator<Item = (P, B)>,
    ) -> Result<Vec<SandboxPath>, SandboxError> {
        let mut written = Vec::new();
        for (path, bytes) in files {
            let path: SandboxPath = path.as_ref().parse()?;
            match self.write_new(&path, &mut bytes.as_ref()) {
                Ok(_) => written.push(path),
                Err(SandboxError::Exists { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }

    /// Copies `reader` into a new file and returns its size in bytes. Missing folders are made.
    ///
    /// The file appears when it is whole: neither the agent nor a crash leaves half of it under its name.
    /// Nothing that exists is overwritten, and no link is followed.
    ///
    /// # Errors
    ///
    /// [`SandboxError::Exists`] when the name is taken (by anything, a dangling symlink too),
    /// [`SandboxError::Refused`] when a folder on the way is a link, [`SandboxError::Source`] when `reader`
    /// fails, [`SandboxError::Io`] for the rest.
    pub fn write_new(
        &self,
        path: &SandboxPath,
        reader: &mut impl Read,
    ) -> Result<u64, SandboxError> {
        let mut staged = Staged::new(&self.staging)?;
        staged.copy_from(reader)?;
        staged.place(&self.dir, path)
    }

    /// [`Sandbox::write_new`] from an async reader; at no time is more than one chunk in memory.
    ///
    /// # Errors
    ///
    /// As [`Sandbox::write_new`].
    #[doc(hidden)]
    pub async fn write_new_async(
        &self,
        path: SandboxPath,
        reader: impl AsyncRead + Unpin,
    ) -> Result<u64, SandboxError> {
        let mut staged = self.stage(reader).await?;
        let dir = Arc::clone(&self.dir);
        blocking(move || staged.place(&dir, &path)).await
    }

    /// Copies an async reader into a file that has no name in the sandbox yet.
    pub(crate) async fn stage(
        &self,
        reader: impl AsyncRead + Unpin,
    ) -> Result<Staged, SandboxError> {
        Staged::copy_from_async(Arc::clone(&self.staging), reader).await
    }

    pub(crate) fn dir(&self) -> &Arc<Dir> {
        &self.dir
    }

    /// The regular files changed since `after`, minus 2 seconds of clock slack, in all folders but those
    /// whose name starts with a dot.
    ///
    /// # Errors
    ///
    /// [`SandboxError::Io`] when the sandbox's own folder cannot be read. What goes wrong deeper is in the
    /// [`Listing`].
    #[doc(hidden)]
    pub fn files(&self, after: SystemTime) -> Result<Listing, SandboxError> {
        walk::list(&self.dir, after)
    }

    /// [`Sandbox::files`] on a blocking thread.
    ///
    /// # Errors
    ///
    /// As [`Sandbox::files`].
    #[doc(hidden)]
    pub async fn files_async(&self, after: SystemTime) -> Result<Listing, SandboxError> {
        let dir = Arc::clone(&self.dir);
        blocking(move || walk::list(&dir, after)).await
    }

    /// Looks at one file.
    ///
    /// # Errors
    ///
    /// [`SandboxError::Gone`] when there is none, [`SandboxError::Refused`] when it is not a plain file of
    /// this sandbox's own.
    #[doc(hidden)]
    pub fn file(&self, path: SandboxPath) -> Result<SandboxFile, SandboxError> {
        SandboxFile::look(&self.dir, path)
    }

    /// A path as a tool call names it, absolute or relative to the sandbox, as a path of this sandbox.
    ///
    /// By name only: nothing is looked up.
    ///
    /// # Errors
    ///
    /// A path that leads elsewhere, or that goes through `..`.
    #[doc(hidden)]
    pub fn inside(&self, path: &str) -> Result<SandboxPath, InvalidPath> {
        let path = Path::new(path);
        let inside = path.strip_prefix(&self.path).unwrap_or(path);
        // What is not a plain name stays in, for the parser to refuse.
        let names: Vec<_> = inside
            .components()
            .filter(|component| *component != Component::CurDir)
            .map(|component| component.as_os_str().to_string_lossy())
            .collect();
        names.join("/").parse()
    }

    /// Moves out what OpenCode would take its configuration from: whatever is called `.opencode`,
    /// `opencode.json`, `opencode.jsonc`, `.git`, `.claude`, `.agents`, and unless `own` lets them stay `AGENTS.md`,
    /// `CLAUDE.md` or `CONTEXT.md` (in upper case or lower), at the top of the sandbox or in the folder of all
    /// sandboxes. Returns the names, mostly none; those of the latter as `../NAME`.
    ///
    /// OpenCode 1.18.33 looks for these from the session's folder upwards, never below it, and runs what they name,
    /// such as `.opencode/plugin/x.js`: at the first prompt in that folder after its start, at any first request when
    /// it is started without `OPENCODE_DISABLE_PROJECT_CONFIG`; skills and instructions enter the system prompt. An
    /// agent can make them with its file tools alone: the rules of
    /// [`own_configuration_rules`](super::own_configuration_rules) do not see a patch that moves a file there.
    ///
    /// They are moved, not deleted, to `.quarantine` beside the sandboxes, where no agent comes and a person
    /// may look; [`SandboxRoot::remove`] takes them with the sandbox. Links are moved as links.
    ///
    /// # Errors
    ///
    /// [`SandboxError::Io`] when one cannot be moved, [`SandboxError::Refused`] when somebody puts them back
    /// as fast as they are moved. No prompt should be sent then.
    #[doc(hidden)]
    pub fn remove_configuration(&self, own: OwnConfiguration) -> Result<Vec<String>, SandboxError> {
        self.quarantine.clear(&self.dir, own)
    }

    /// Has somebody made the sandbox a Git worktree of its own?
    ///
    /// An agent can, with its file tools alone, and such a `.git` may name another folder as the worktree,
    /// which OpenCode then takes for the agent's (seen on 1.18.33). [`Sandbox::remove_configuration`] moves it
    /// out.
    ///
    /// # Errors
    ///
    /// [`SandboxError::Io`] when the folder cannot be read.
    #[doc(hidden)]
    pub fn is_git_worktree(&self) -> Result<bool, SandboxError> {
        match self.dir.symlink_metadata(".git") {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(SandboxError::Io {
                action: "look at",
                path: ".git".to_owned(),
                source,
            }),
        }
    }
}
