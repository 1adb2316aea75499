//! What an edit or a patch changed, file by file.

use std::fmt;

use serde_json::{Map, Value};

use super::text::{said, text};

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// The file is new.
    Add,
    /// Its content changed.
    Update,
    /// The file is gone.
    Delete,
    /// The file has another name, and maybe another content.
    Move,
}

impl Change {
    /// The word OpenCode uses for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Move => "move",
        }
    }
}

/// The change of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileDiff<'a> {
    /// The file, as the server names it (an absolute path); its new name when it was moved.
    pub path: Option<&'a str>,
    /// What happened to it.
    pub change: Change,
    /// The change as a unified diff.
    pub patch: &'a str,
    /// Lines added.
    pub additions: u64,
    /// Lines removed.
    pub deletions: u64,
}

impl<'a> FileDiff<'a> {
    /// From `metadata` of an edit: `diff`, or the newer `filediff.patch`.
    fn of_edit(metadata: &'a Map<String, Value>, path: Option<&'a str>) -> Option<Self> {
        let filediff = metadata.get("filediff").unwrap_or(&Value::Null);
        let patch = metadata.get("diff").and_then(said);
        let patch = patch.or_else(|| text(filediff, "patch"))?;
        Some(Self::new(
            patch,
            text(filediff, "file").or(path),
            Change::Update,
            filediff,
        ))
    }

    /// From one of the `metadata.files` of a patch. Servers before 1.2 call the patch `diff`.
    fn of_patched(file: &'a Value) -> Option<Self> {
        let change = match text(file, "type") {
            Some("add") => Change::Add,
            Some("delete") => Change::Delete,
            Some("move") => Change::Move,
            _ => Change::Update,
        };
        let patch = text(file, "patch").or_else(|| text(file, "diff"))?;
        Some(Self::new(patch, patched_path(file), change, file))
    }

    fn new(patch: &'a str, path: Option<&'a str>, change: Change, counts: &Value) -> Self {
        let count = |key: &str, sign: char| {
            let given = counts.get(key).and_then(Value::as_u64);
            given.unwrap_or_else(|| count_lines(patch, sign))
        };
        Self {
            path,
            change,
            patch,
            additions: count("additions", '+'),
            deletions: count("deletions", '-'),
        }
    }
}

/// All that one tool call changed: at least one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diff<'a> {
    files: Vec<FileDiff<'a>>,
}

impl<'a> Diff<'a> {
    /// The changed files, in the server's order.
    pub fn files(&self) -> &[FileDiff<'a>] {
        &self.files
    }

    /// Lines added in all files.
    pub fn additions(&self) -> u64 {
        self.files
            .iter()
            .fold(0, |sum, file| sum.saturating_add(file.additions))
    }

    /// Lines removed in all files.
    pub fn deletions(&self) -> u64 {
        self.files
            .iter()
            .fold(0, |sum, file| sum.saturating_add(file.deletions))
    }

    /// Of an `edit` (its diff) or a `multiedit` (one result per edit).
    pub(super) fn of_edit(metadata: &'a Map<String, Value>, path: Option<&'a str>) -> Option<Self> {
        let files = match FileDiff::of_edit(metadata, path) {
            Some(file) => vec![file],
            None => items(metadata, "results")
                .filter_map(|result| FileDiff::of_edit(result.as_object()?, path))
                .collect(),
        };
        Self::some(files)
    }

    /// Of an `apply_patch`: its files' patches, else the joined diff.
    pub(super) fn of_patch(metadata: &'a Map<String, Value>) -> Option<Self> {
        let mut files: Vec<_> = items(metadata, "files")
            .filter_map(FileDiff::of_patched)
            .collect();
        if files.is_empty() {
            let joined = metadata.get("diff").and_then(said);
            let joined =
                joined.map(|patch| FileDiff::new(patch, None, Change::Update, &Value::Null));
            files.extend(joined);
        }
        Self::some(files)
    }

    fn some(files: Vec<FileDiff<'a>>) -> Option<Self> {
        (!files.is_empty()).then_some(Self { files })
    }
}

/// The unified diff of all files.
impl fmt::Display for Diff<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for file in &self.files {
            f.write_str(file.patch)?;
            if !file.patch.ends_with('\n') {
                f.write_str("\n")?;
            }
        }
        Ok(())
    }
}

/// The paths a patch touched, in order: of its metadata when it ran, else of the patch text itself.
pub(super) fn patched_paths<'a>(
    input: &'a Value,
    metadata: Option<&'a Map<String, Value>>,
) -> Vec<&'a str> {
    let files = metadata
        .into_iter()
        .flat_map(|metadata| items(metadata, "files"));
    let paths: Vec<_> = files.filter_map(patched_path).collect();
    if !paths.is_empty() {
        return paths;
    }
    let Some(patch) = text(input, "patchText") else {
        return paths;
    };
    patch
        .lines()
        .filter_map(|line| {
            let line = line.strip_prefix("*** ")?;
            let path = ["Add File: ", "Update File: ", "Delete File: "]
                .iter()
                .find_map(|head| line.strip_prefix(head))?
                .trim();
            (!path.is_empty()).then_some(path)
        })
        .collect()
}

/// `relativePath` is relative to the worktree, which is `/` outside Git: it comes last.
fn patched_path(file: &Value) -> Option<&str> {
    ["movePath", "filePath", "relativePath"]
        .iter()
        .find_map(|key| text(file, key))
}

/// Lines of a unified diff that begin with `sign`, its headers not counted.
fn count_lines(patch: &str, sign: char) -> u64 {
    let mut in_hunk = false;
    let mut count = 0;
    for line in patch.lines() {
        if line.starts_with("@@") {
            in_hunk = true;
        } else if line.starts_with("Index: ") || line.starts_with("diff ") {
            in_hunk = false;
        } else if in_hunk && line.starts_with(sign) {
            count += 1;
        }
    }
    count
}

fn items<'a>(fields: &'a Map<String, Value>, key: &str) -> impl Iterator<Item = &'a Value> {
    fields
        .get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}
