//! What the application's own code notes when it runs, in a file that all workers append to: so that it can be counted, and
//! so that a worker can be killed in the middle of it.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::own_hooks::Call;
use crate::own_tool::Run;

/// The file.
#[derive(Clone, Debug)]
pub(crate) struct Notes(PathBuf);

/// One line of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Line {
    /// The process that wrote it.
    process: u32,
    #[serde(flatten)]
    note: Note,
}

/// What is noted.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "note", rename_all = "snake_case")]
pub(crate) enum Note {
    /// The tool begins to run.
    Ran(Run),
    /// A hook is called.
    HookBegun(Call),
    /// A hook is about to succeed.
    HookDone(Call),
}

impl Notes {
    /// Beside the folder of the sandboxes.
    pub(crate) fn beside(sandboxes: &Path) -> Self {
        Self(sandboxes.with_file_name("notes.jsonl"))
    }

    /// Adds a line, in one write, so that a process that is killed leaves whole ones.
    pub(crate) fn add(&self, note: Note) -> std::io::Result<()> {
        let line = Line {
            process: std::process::id(),
            note,
        };
        let line = format!("{}\n", serde_json::to_string(&line)?);
        let mut file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&self.0)?;
        file.write_all(line.as_bytes())
    }

    /// All of them.
    pub(crate) fn all(&self) -> anyhow::Result<Vec<Note>> {
        let lines = self.lines_from(0)?.into_iter();
        Ok(lines.map(|line| line.note).collect())
    }

    fn lines_from(&self, offset: u64) -> anyhow::Result<Vec<Line>> {
        let mut file = match std::fs::File::open(&self.0) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        file.seek(SeekFrom::Start(offset))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let lines = text.lines();
        Ok(lines.map(serde_json::from_str).collect::<Result<_, _>>()?)
    }

    /// A look at what is added from now on.
    pub(crate) fn watch(&self) -> Watch {
        Watch {
            notes: self.clone(),
            offset: self.len(),
        }
    }

    fn len(&self) -> u64 {
        self.0.metadata().map_or(0, |metadata| metadata.len())
    }
}

/// See [`Notes::watch`].
#[derive(Debug)]
pub(crate) struct Watch {
    notes: Notes,
    offset: u64,
}

impl Watch {
    /// The process that last began something since the last look.
    pub(crate) fn begun(&mut self) -> anyhow::Result<Option<u32>> {
        let len = self.notes.len();
        if len == self.offset {
            return Ok(None);
        }
        let lines = self.notes.lines_from(self.offset)?;
        self.offset = len;
        let mut begun = lines.into_iter().rev().filter_map(|line| match line.note {
            Note::Ran(_) | Note::HookBegun(_) => Some(line.process),
            Note::HookDone(_) => None,
        });
        Ok(begun.next())
    }
}
