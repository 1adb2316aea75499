//! Sandboxes of a build without files: none can be made, so nothing here is ever called.

#![expect(
    clippy::unused_async,
    reason = "as the calls that a build with files waits for"
)]

use std::convert::Infallible;
use std::path::Path;
use std::time::SystemTime;

use tokio::io::AsyncRead;

use super::{InvalidPath, Listing, OwnConfiguration, SandboxError, SandboxId, SandboxPath};

/// The folder of all sandboxes.
#[derive(Debug, Clone)]
pub struct SandboxRoot(Infallible);

/// One conversation's folder.
#[derive(Debug, Clone)]
pub struct Sandbox(Infallible);

/// A file of a sandbox.
#[derive(Debug, Clone)]
pub struct SandboxFile(Infallible);

/// A file without a name in a sandbox.
#[derive(Debug)]
pub(crate) struct Staged(Infallible);

/// A folder, by its handle.
pub(crate) struct Dir(Infallible);

impl SandboxRoot {
    pub(crate) async fn stage(&self, _: impl AsyncRead + Unpin) -> Result<Staged, SandboxError> {
        match self.0 {}
    }

    pub(crate) fn path(&self) -> &Path {
        match self.0 {}
    }

    pub(crate) fn provision(&self, _: &SandboxId) -> Result<Sandbox, SandboxError> {
        match self.0 {}
    }

    pub(crate) fn find(&self, _: &SandboxId) -> Result<Option<Sandbox>, SandboxError> {
        match self.0 {}
    }

    pub(crate) fn remove(&self, _: &SandboxId) -> Result<bool, SandboxError> {
        match self.0 {}
    }

    pub(crate) fn sweep(&self, _: SystemTime) -> Result<usize, SandboxError> {
        match self.0 {}
    }
}

impl Sandbox {
    pub(crate) fn path(&self) -> &Path {
        match self.0 {}
    }

    pub(crate) async fn stage(&self, _: impl AsyncRead + Unpin) -> Result<Staged, SandboxError> {
        match self.0 {}
    }

    pub(crate) async fn write_new_async(
        &self,
        _: SandboxPath,
        _: impl AsyncRead + Unpin,
    ) -> Result<u64, SandboxError> {
        match self.0 {}
    }

    pub(crate) fn dir(&self) -> &Dir {
        match self.0 {}
    }

    pub(crate) async fn files_async(&self, _: SystemTime) -> Result<Listing, SandboxError> {
        match self.0 {}
    }

    pub(crate) fn file(&self, _: SandboxPath) -> Result<SandboxFile, SandboxError> {
        match self.0 {}
    }

    pub(crate) fn inside(&self, _: &str) -> Result<SandboxPath, InvalidPath> {
        match self.0 {}
    }

    pub(crate) fn remove_configuration(
        &self,
        _: OwnConfiguration,
    ) -> Result<Vec<String>, SandboxError> {
        match self.0 {}
    }
}

impl SandboxFile {
    pub(crate) fn path(&self) -> &SandboxPath {
        match self.0 {}
    }

    pub(crate) fn name(&self) -> &str {
        match self.0 {}
    }

    pub(crate) fn read(&self, _: u64) -> Result<Vec<u8>, SandboxError> {
        match self.0 {}
    }

    pub(crate) async fn read_async(&self, _: u64) -> Result<Vec<u8>, SandboxError> {
        match self.0 {}
    }
}

impl Staged {
    pub(crate) fn size(&self) -> u64 {
        match self.0 {}
    }

    pub(crate) fn read(&self) -> Result<std::fs::File, SandboxError> {
        match self.0 {}
    }

    pub(crate) fn placed(&self) -> Option<&SandboxPath> {
        match self.0 {}
    }

    pub(crate) fn take_back(&mut self, _: &Dir) -> Result<(), SandboxError> {
        match self.0 {}
    }

    pub(crate) fn place(&mut self, _: &Dir, _: &SandboxPath) -> Result<u64, SandboxError> {
        match self.0 {}
    }

    pub(crate) fn is_at(&self, _: &Dir, _: &SandboxPath) -> bool {
        match self.0 {}
    }
}
