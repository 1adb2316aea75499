//! The files that a turn's tools say they changed.
//!
//! `write` names the whole content. `edit` and `apply_patch` do not: what they
//! changed is read from the sandbox (seen on OpenCode 1.18.33). Paths are told
//! absolute; `relativePath` is relative to the worktree, which is `/` outside
//! Git, and so not used.

use std::collections::{BTreeMap, BTreeSet};

use opencode_client::Exchange;
use opencode_client::wire::{PartBody, ToolState};
use serde_json::Value;

use super::{Artifact, MAX_ARTIFACT};
use crate::sandbox::{Sandbox, SandboxError, SandboxPath};
use crate::visible::short;

/// How many characters of a path are told.
const SHOWN_PATH: usize = 200;

/// Why a file that a tool changed is no artifact.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It holds too much.
    #[error("it is larger than {cap} bytes")]
    TooLarge {
        /// The most it may have, in bytes.
        cap: u64,
    },
    /// It lies outside the sandbox, and its content was not told.
    #[error("it lies outside the sandbox")]
    Outside,
    /// Its content was not told, and there is no sandbox to read it from.
    #[error("there is no sandbox to read it from")]
    NoSandbox,
    /// Its name cannot be a file's name.
    #[error("its name is not plain text, or longer than 255 bytes")]
    Name,
    /// The sandbox did not give it.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}

/// A file that was not attached.
#[derive(Debug)]
pub struct Dropped {
    /// Its path, relative to the sandbox where it is in it. For people.
    pub path: String,
    /// Why.
    pub reason: FileError,
}

/// What the tools of one turn left behind, in the order it was last changed.
#[derive(Debug)]
pub struct ExchangeFiles<'a> {
    files: Vec<ExchangeFile<'a>>,
    shadowed: Vec<ExchangeFile<'a>>,
}

/// One file that tools changed.
#[derive(Debug)]
pub struct ExchangeFile<'a> {
    name: Option<String>,
    /// Where it is, in one spelling: relative to the sandbox where it is in it.
    place: String,
    path: String,
    content: Content<'a>,
}

#[derive(Clone, Debug)]
enum Content<'a> {
    /// The call says it all.
    Told(&'a str),
    /// It is to be read here.
    At(SandboxPath),
    Outside,
    NoSandbox,
}

impl<'a> ExchangeFiles<'a> {
    /// The files of an exchange: each as its last change left it, without those
    /// that were deleted or moved away later. Of two files of one name, in
    /// different folders, the one changed last. Nothing is read yet.
    pub fn of(exchange: &'a Exchange, sandbox: Option<&Sandbox>) -> Self {
        let mut touched = Touched {
            sandbox,
            order: 0,
            files: BTreeMap::new(),
        };
        let parts = exchange.messages.iter().flat_map(|message| &message.parts);
        for part in parts {
            if let PartBody::Tool(call) = &part.body
                && call.state.status == "completed"
            {
                touched.call(&call.tool, &call.state);
            }
        }
        let mut files: Vec<_> = touched.files.into_values().collect();
        files.sort_by_key(|(order, _)| std::cmp::Reverse(*order));
        let mut names = BTreeSet::new();
        let newest = files.into_iter().map(|(_, file)| file);
        let (mut files, shadowed): (Vec<_>, Vec<_>) =
            newest.partition(|file| file.name.is_none() || names.insert(file.name.clone()));
        files.reverse();
        Self { files, shadowed }
    }

    /// The files that have the name of one that was changed later, in another folder.
    pub(super) fn shadowed(&self) -> &[ExchangeFile<'a>] {
        &self.shadowed
    }

    /// The files, none read yet.
    pub fn files(&self) -> &[ExchangeFile<'a>] {
        &self.files
    }

    /// Reads all of them but those of the excluded names, and tells what could not be read.
    pub async fn read(
        &self,
        sandbox: Option<&Sandbox>,
        exclude: &BTreeSet<String>,
    ) -> (Vec<Artifact>, Vec<Dropped>) {
        let (mut artifacts, mut dropped) = (Vec::new(), Vec::new());
        for file in &self.files {
            if file.name().is_some_and(|name| exclude.contains(name)) {
                continue;
            }
            match file.read(sandbox).await {
                Ok(artifact) => artifacts.push(artifact),
                Err(reason) => dropped.push(Dropped {
                    path: file.path.clone(),
                    reason,
                }),
            }
        }
        (artifacts, dropped)
    }
}

impl ExchangeFile<'_> {
    /// Its name without folders; `None` when that cannot be a file's name.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Its path, relative to the sandbox where it is in it. For people, not to be opened.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Takes its content from the call, or reads it from the sandbox.
    ///
    /// # Errors
    /// See [`FileError`].
    pub async fn read(&self, sandbox: Option<&Sandbox>) -> Result<Artifact, FileError> {
        let name = self.name.clone().ok_or(FileError::Name)?;
        match (&self.content, sandbox) {
            (Content::Told(content), _) if content.len() as u64 > MAX_ARTIFACT => {
                Err(FileError::TooLarge { cap: MAX_ARTIFACT })
            }
            (Content::Told(content), _) => Ok(Artifact::new(name, content.as_bytes().to_vec())),
            (Content::At(path), Some(sandbox)) => {
                let (sandbox, path) = (sandbox.clone(), path.clone());
                let bytes =
                    crate::sandbox::blocking(move || sandbox.file(path)?.read(MAX_ARTIFACT));
                Ok(Artifact::new(name, bytes.await?))
            }
            (Content::Outside, _) => Err(FileError::Outside),
            (Content::NoSandbox | Content::At(_), _) => Err(FileError::NoSandbox),
        }
    }
}

/// What has been changed so far, by place.
struct Touched<'a, 's> {
    sandbox: Option<&'s Sandbox>,
    order: usize,
    files: BTreeMap<String, (usize, ExchangeFile<'a>)>,
}

impl<'a> Touched<'a, '_> {
    fn call(&mut self, tool: &str, state: &'a ToolState) {
        let input = state.input.as_ref();
        let field = |name: &str| input.and_then(|input| input.get(name)?.as_str());
        match tool {
            "write" => {
                if let (Some(path), Some(content)) = (field("filePath"), field("content")) {
                    self.change(path, Some(content));
                }
            }
            "edit" | "multiedit" => {
                if let Some(path) = field("filePath") {
                    self.change(path, None);
                }
            }
            "apply_patch" => {
                let files = state.metadata.as_ref().and_then(|all| all.get("files"));
                for file in files.and_then(Value::as_array).into_iter().flatten() {
                    self.patched(file);
                }
            }
            _ => {}
        }
    }

    fn patched(&mut self, file: &Value) {
        let field = |name: &str| file.get(name).and_then(Value::as_str);
        let Some(path) = field("filePath") else {
            return;
        };
        match (field("type"), field("movePath")) {
            (Some("delete"), _) => self.remove(path),
            (_, Some(moved)) => {
                self.remove(path);
                self.change(moved, None);
            }
            _ => self.change(path, None),
        }
    }

    /// Two spellings of a place in the sandbox are one place.
    fn place(&self, path: &str) -> (String, Option<SandboxPath>) {
        match self.sandbox.and_then(|sandbox| sandbox.inside(path).ok()) {
            Some(inside) => (inside.to_string(), Some(inside)),
            None => (path.to_owned(), None),
        }
    }

    fn remove(&mut self, path: &str) {
        let (place, _) = self.place(path);
        self.files.remove(&place);
    }

    fn change(&mut self, path: &str, told: Option<&'a str>) {
        let (place, inside) = self.place(path);
        let last = path.rsplit('/').next().unwrap_or_default();
        let name = last.parse::<SandboxPath>().ok().map(|_| last.to_owned());
        let shown = short(if inside.is_some() { &place } else { last }, SHOWN_PATH);
        let content = match (told, inside, self.sandbox) {
            (Some(content), ..) => Content::Told(content),
            (None, Some(path), _) => Content::At(path),
            (None, None, Some(_)) => Content::Outside,
            (None, None, None) => Content::NoSandbox,
        };
        self.order += 1;
        let file = ExchangeFile {
            name,
            place: place.clone(),
            path: shown,
            content,
        };
        self.files.insert(place, (self.order, file));
    }
}
