//! A prompt that comes with files: the user's words, and where the agent finds what was uploaded.
//!
//! Each file is streamed into the conversation's sandbox under a safe name of its own. The agent is told both
//! names; the page later shows the one the user knows.
//!
//! ```
//! # use opencode_host::sandbox::SandboxRoot;
//! # use opencode_host::uploaded_files_prompt::UploadedFilesPrompt;
//! # let home = tempfile::tempdir().unwrap();
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let sandbox = SandboxRoot::open(home.path().join("sandboxes"))?.provision(&"c1".parse()?)?;
//! let mut prompt = UploadedFilesPrompt::new("What sold best?")
//!     .instruction("Read them before you answer.");
//! prompt.upload(&sandbox, "Sales 2026.csv", "text/csv", &b"item,sold\n"[..]).await?;
//!
//! assert_eq!(
//!     prompt.to_string(),
//!     "What sold best?\n\n\
//!      1 file was uploaded. Read them before you answer.\n\
//!      - \"Sales 2026.csv\", in the working folder as `Sales-2026.csv` (text/csv, 10 bytes)"
//! );
//! assert_eq!(prompt.original_names()["Sales-2026.csv"], "Sales 2026.csv");
//! # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap();
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use tokio::io::AsyncRead;

use crate::sandbox::{Sandbox, SandboxError, SandboxPath, Staged, blocking};
use crate::visible::short;

/// How many characters of an original name the agent is shown.
const SHOWN_NAME: usize = 200;

/// The longest sandbox name, in bytes: well under what file systems take, with room for a number.
const MAX_NAME: usize = 120;

/// How many names are tried for one file.
const MAX_ATTEMPTS: u32 = 10_000;

/// Names by which OpenCode finds its configuration or its rules in a folder (seen on 1.18.33). An upload must
/// not become either. Names that start with a dot do not get this far.
const RESERVED: &[&str] = &[
    "opencode.json",
    "opencode.jsonc",
    "agents.md",
    "claude.md",
    "context.md",
];

/// One uploaded file, as it lies in the sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadedFile {
    /// The name the user's computer had for it.
    pub original_name: String,
    /// Its name in the sandbox: one name, no folders.
    pub sandbox_name: String,
    /// Its MIME type, as it was uploaded.
    pub mime_type: String,
    /// Its size in bytes.
    pub size: u64,
}

/// The user's text and the uploaded files; its `Display` form is what the agent is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadedFilesPrompt {
    text: String,
    instruction: String,
    files: Vec<UploadedFile>,
}

impl UploadedFilesPrompt {
    /// The user's text, so far without files.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            instruction: String::new(),
            files: Vec::new(),
        }
    }

    /// The same files with another text.
    pub fn said(mut self, text: impl Into<String>) -> Self {
        self.text = text.into();
        self
    }

    /// A sentence of the product's about what the agent should do with the files; said only if there are any.
    pub fn instruction(mut self, sentence: impl Into<String>) -> Self {
        self.instruction = sentence.into();
        self
    }

    /// Copies one file into the sandbox and adds it to the prompt.
    ///
    /// It gets the first free name of `report.csv`, `report-2.csv`, … A file of that name that holds the
    /// very same bytes is used as it is, so that a turn that is run again after a crash finds its own
    /// uploads.
    ///
    /// # Errors
    ///
    /// [`SandboxError::Source`] when `content` fails, [`SandboxError::Io`] when the sandbox cannot be written,
    /// [`SandboxError::Exists`] when thousands of files have that name. The prompt is then as it was.
    pub async fn upload(
        &mut self,
        sandbox: &Sandbox,
        original_name: &str,
        mime_type: &str,
        content: impl AsyncRead + Unpin,
    ) -> Result<&UploadedFile, SandboxError> {
        let mut staged = sandbox.stage(content).await?;
        let (mut prompt, sandbox) = (self.clone(), sandbox.clone());
        let (original_name, mime_type) = (original_name.to_owned(), mime_type.to_owned());
        *self = blocking(move || {
            prompt.place(&mut staged, &sandbox, original_name, mime_type)?;
            Ok(prompt)
        })
        .await?;
        Ok(&self.files[self.files.len() - 1])
    }

    /// Gives a file its name in the sandbox and adds it to the prompt.
    pub(crate) fn place(
        &mut self,
        staged: &mut Staged,
        sandbox: &Sandbox,
        original_name: String,
        mime_type: String,
    ) -> Result<(), SandboxError> {
        let names = self.files.iter();
        let taken = names.map(|file| file.sandbox_name.to_lowercase()).collect();
        let sandbox_name = match staged.placed() {
            // By an earlier submit of the same files.
            Some(path) => path.to_string(),
            None => place(staged, sandbox, &safe_name(&original_name), &taken)?,
        };
        self.files.push(UploadedFile {
            original_name,
            sandbox_name,
            mime_type,
            size: staged.size(),
        });
        Ok(())
    }

    /// The files, in the order they were uploaded.
    pub fn files(&self) -> &[UploadedFile] {
        &self.files
    }

    /// From sandbox name to the name the user knows.
    pub fn original_names(&self) -> BTreeMap<String, String> {
        self.files
            .iter()
            .map(|file| (file.sandbox_name.clone(), file.original_name.clone()))
            .collect()
    }
}

impl fmt::Display for UploadedFilesPrompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match self.files.len() {
            0 => return Ok(()),
            1 => f.write_str("\n\n1 file was uploaded.")?,
            count => write!(f, "\n\n{count} files were uploaded.")?,
        }
        if !self.instruction.is_empty() {
            write!(f, " {}", self.instruction)?;
        }
        for file in &self.files {
            // Quoted and on one line: a file's name must not read as part of the prompt.
            let original = short(&file.original_name, SHOWN_NAME).replace('"', "'");
            let mime_type = short(&file.mime_type, SHOWN_NAME);
            let name = &file.sandbox_name;
            let size = Size(file.size);
            write!(
                f,
                "\n- \"{original}\", in the working folder as `{name}` ({mime_type}, {size})"
            )?;
        }
        Ok(())
    }
}

/// Gives the file the first name that is free, or already its own.
fn place(
    staged: &mut Staged,
    sandbox: &Sandbox,
    safe: &str,
    taken: &BTreeSet<String>,
) -> Result<String, SandboxError> {
    for attempt in 1..=MAX_ATTEMPTS {
        let name = numbered(safe, attempt);
        if taken.contains(&name.to_lowercase()) {
            continue;
        }
        let path: SandboxPath = name.parse()?;
        match staged.place(sandbox.dir(), &path) {
            Ok(_) => return Ok(name),
            Err(SandboxError::Exists { .. }) if staged.is_at(sandbox.dir(), &path) => {
                return Ok(name);
            }
            Err(SandboxError::Exists { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Err(SandboxError::Exists {
        path: safe.to_owned(),
    })
}

/// `report.csv`, `report-2.csv`, `report-3.csv`.
fn numbered(name: &str, attempt: u32) -> String {
    match (attempt, name.rsplit_once('.')) {
        (1, _) => name.to_owned(),
        (_, Some((stem, extension))) => format!("{stem}-{attempt}.{extension}"),
        (_, None) => format!("{name}-{attempt}"),
    }
}

/// A name made of letters, digits, `.`, `_` and `-`, not hidden, not too long, and none of OpenCode's own.
fn safe_name(original: &str) -> String {
    // Some browsers send the whole path.
    let last = original.rsplit(['/', '\\']).next().unwrap_or_default();
    let mut safe = String::new();
    for c in last.chars() {
        // Some systems spell é as e and a combining accent.
        if c.is_alphanumeric() || matches!(c, '.' | '_' | '\u{300}'..='\u{36f}') {
            safe.push(c);
        } else if !safe.ends_with('-') {
            safe.push('-');
        }
    }
    let edges = ['.', '-'];
    let safe = safe.trim_matches(edges);
    let (stem, extension) = match safe.rsplit_once('.') {
        Some((stem, extension)) if extension.len() <= 16 => (stem, extension),
        _ => (safe, ""),
    };
    let stem = cut(stem.trim_matches(edges), MAX_NAME).trim_end_matches(edges);
    let extension = extension.trim_matches(edges);
    let stem = if stem.is_empty() { "file" } else { stem };
    let name = match extension {
        "" => stem.to_owned(),
        extension => format!("{stem}.{extension}"),
    };
    if RESERVED.contains(&name.to_lowercase().as_str()) {
        format!("uploaded-{name}")
    } else {
        name
    }
}

/// At most `max` bytes of `text`, whole characters.
fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// A number of bytes as people read it.
pub(crate) struct Size(pub(crate) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
        if self.0 == 1 {
            return f.write_str("1 byte");
        }
        if self.0 < 1024 {
            return write!(f, "{} bytes", self.0);
        }
        let mut size = self.0 as f64 / 1024.0;
        let mut unit = 0;
        // Rounded to one digit, 1023.95 would show as 1024.0.
        while size >= 1023.95 && unit + 1 < UNITS.len() {
            size /= 1024.0;
            unit += 1;
        }
        write!(f, "{size:.1} {}", UNITS[unit])
    }
}
