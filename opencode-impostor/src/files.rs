//! The files that `write`, `edit` and `apply_patch` change, and what those tools say of it.
//!
//! A file is really changed only inside the session's directory, and only when that directory exists: a script with
//! `/etc/passwd` in it tells the story of a write and does nothing.

use std::fmt::Write as _;
use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::script::{ApplyPatch, Edit, PatchKind, WriteFile};

/// A tool call that changes files.
pub(crate) struct Change {
    pub(crate) tool: &'static str,
    pub(crate) input: Value,
    kind: Kind,
}

enum Kind {
    Write(WriteFile),
    Edit(Edit),
    Patch(ApplyPatch),
}

/// What a change did.
pub(crate) struct Done {
    pub(crate) output: String,
    pub(crate) title: String,
    pub(crate) metadata: Map<String, Value>,
    /// Path, and `add`, `change` or `unlink`.
    pub(crate) changed: Vec<(String, &'static str)>,
}

impl Change {
    pub(crate) fn write(directory: &str, file: &WriteFile) -> Self {
        Self {
            tool: "write",
            input: json!({"filePath": absolute(directory, &file.path), "content": file.content}),
            kind: Kind::Write(file.clone()),
        }
    }

    pub(crate) fn edit(directory: &str, edit: &Edit) -> Self {
        let path = absolute(directory, &edit.path);
        Self {
            tool: "edit",
            input: json!({"filePath": path, "oldString": edit.old, "newString": edit.new}),
            kind: Kind::Edit(edit.clone()),
        }
    }

    pub(crate) fn patch(directory: &str, patch: &ApplyPatch) -> Self {
        let mut text = String::from("*** Begin Patch\n");
        for file in &patch.files {
            let verb = match file.kind {
                PatchKind::Add => "Add",
                PatchKind::Update => "Update",
                PatchKind::Delete => "Delete",
            };
            writeln!(text, "*** {verb} File: {}", file.path).ok();
            let before = match file.kind {
                PatchKind::Update => read(directory, &file.path).unwrap_or_default(),
                _ => String::new(),
            };
            if file.kind == PatchKind::Update {
                text.push_str("@@\n");
            }
            for (sign, line) in hunk(&before, &file.content).lines {
                if file.kind != PatchKind::Delete {
                    writeln!(text, "{sign}{line}").ok();
                }
            }
        }
        text.push_str("*** End Patch");
        Self {
            tool: "apply_patch",
            input: json!({"patchText": text}),
            kind: Kind::Patch(patch.clone()),
        }
    }

    /// Does it. The error is the tool's.
    pub(crate) fn apply(&self, directory: &str) -> Result<Done, String> {
        match &self.kind {
            Kind::Write(file) => write(directory, file),
            Kind::Edit(file) => edit(directory, file),
            Kind::Patch(files) => patch(directory, files),
        }
    }
}

fn absolute(directory: &str, path: &str) -> String {
    Path::new(directory)
        .join(path)
        .to_string_lossy()
        .into_owned()
}

/// As the real server shows paths outside a Git worktree: relative to `/`.
fn relative(path: &str) -> String {
    path.trim_start_matches('/').to_owned()
}

/// The path on this machine, when the change may really be made.
fn real(directory: &str, path: &str) -> Option<PathBuf> {
    let root = Path::new(directory);
    let full = root.join(path);
    let inside = full.strip_prefix(root).ok()?;
    let plain = inside
        .components()
        .all(|component| matches!(component, Component::Normal(_)));
    (plain && root.is_absolute() && root.is_dir()).then_some(full)
}

fn read(directory: &str, path: &str) -> Option<String> {
    std::fs::read_to_string(real(directory, path)?).ok()
}

fn store(directory: &str, path: &str, content: &str) -> Result<(), String> {
    let Some(file) = real(directory, path) else {
        return Ok(());
    };
    if let Some(parent) = file.parent() {
        std::fs::create_dir_all(parent)
            .map_err(|error| format!("{}: {error}", parent.display()))?;
    }
    std::fs::write(&file, content).map_err(|error| format!("{}: {error}", file.display()))
}

fn write(directory: &str, file: &WriteFile) -> Result<Done, String> {
    let path = absolute(directory, &file.path);
    let exists = real(directory, &file.path).is_some_and(|path| path.exists());
    store(directory, &file.path, &file.content)?;
    Ok(Done {
        output: "Wrote file successfully.".into(),
        title: relative(&path),
        metadata: object(json!({"diagnostics": {}, "filepath": path, "exists": exists})),
        changed: vec![(path, if exists { "change" } else { "add" })],
    })
}

fn edit(directory: &str, edit: &Edit) -> Result<Done, String> {
    let path = absolute(directory, &edit.path);
    let before = read(directory, &edit.path).unwrap_or_else(|| edit.old.clone());
    if !before.contains(&edit.old) {
        return Err("oldString not found in content".into());
    }
    let after = before.replacen(&edit.old, &edit.new, 1);
    store(directory, &edit.path, &after)?;
    let diff = diff(&path, &before, &after);
    Ok(Done {
        output: "Edit applied successfully.".into(),
        title: relative(&path),
        metadata: object(json!({
            "diagnostics": {}, "diff": diff.text,
            "filediff": {
                "file": path, "patch": diff.text, "additions": diff.additions, "deletions": diff.deletions,
            },
        })),
        changed: vec![(path, "change")],
    })
}

fn patch(directory: &str, patch: &ApplyPatch) -> Result<Done, String> {
    let mut output = String::from("Success. Updated the following files:");
    let (mut diffs, mut files, mut changed) = (String::new(), Vec::new(), Vec::new());
    for file in &patch.files {
        let path = absolute(directory, &file.path);
        let before = read(directory, &file.path).unwrap_or_default();
        let (letter, kind, event, after) = match file.kind {
            PatchKind::Add => ('A', "add", "add", file.content.as_str()),
            PatchKind::Update => ('M', "update", "change", file.content.as_str()),
            PatchKind::Delete => ('D', "delete", "unlink", ""),
        };
        if file.kind == PatchKind::Delete {
            if let Some(file) = real(directory, &file.path) {
                std::fs::remove_file(&file)
                    .map_err(|error| format!("{}: {error}", file.display()))?;
            }
        } else {
            store(directory, &file.path, after)?;
        }
        let diff = diff(&path, &before, after);
        write!(output, "\n{letter} {}", relative(&path)).ok();
        diffs.push_str(&diff.text);
        diffs.push('\n');
        files.push(json!({
            "filePath": path, "relativePath": relative(&path), "type": kind, "patch": diff.text,
            "additions": diff.additions, "deletions": diff.deletions,
        }));
        changed.push((path, event));
    }
    Ok(Done {
        title: output.clone(),
        output,
        metadata: object(json!({"diff": diffs, "files": files, "diagnostics": {}})),
        changed,
    })
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

struct Hunk {
    /// Sign and line.
    lines: Vec<(char, String)>,
    additions: usize,
    deletions: usize,
}

struct Diff {
    text: String,
    additions: usize,
    deletions: usize,
}

/// One hunk from the first line that differs to the last, with all lines before and after as context: enough for the
/// short files of scripts.
fn hunk(before: &str, after: &str) -> Hunk {
    let old: Vec<&str> = before.lines().collect();
    let new: Vec<&str> = after.lines().collect();
    let same = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let tail = old[same..]
        .iter()
        .rev()
        .zip(new[same..].iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let mut lines = Vec::new();
    let mut push = |sign: char, part: &[&str]| {
        lines.extend(part.iter().map(|line| (sign, (*line).to_owned())));
    };
    push(' ', &old[..same]);
    push('-', &old[same..old.len() - tail]);
    push('+', &new[same..new.len() - tail]);
    push(' ', &old[old.len() - tail..]);
    Hunk {
        lines,
        additions: new.len() - tail - same,
        deletions: old.len() - tail - same,
    }
}

fn diff(path: &str, before: &str, after: &str) -> Diff {
    let hunk = hunk(before, after);
    let rule = "=".repeat(67);
    let range = |count: usize| match count {
        0 => "0,0".to_owned(),
        count => format!("1,{count}"),
    };
    let mut text = format!(
        "Index: {path}\n{rule}\n--- {path}\n+++ {path}\n@@ -{} +{} @@\n",
        range(before.lines().count()),
        range(after.lines().count())
    );
    for (sign, line) in &hunk.lines {
        text.push(*sign);
        text.push_str(line);
        text.push('\n');
    }
    Diff {
        text,
        additions: hunk.additions,
        deletions: hunk.deletions,
    }
}

#[cfg(test)]
mod tests {
    use super::{Change, diff, real};
    use crate::script::{Edit, WriteFile};

    #[test]
    fn a_diff_looks_like_the_real_ones() {
        let before = "# Report\n\nhello <b>world</b>\n";
        let after = "# Report\n\ngoodbye <b>world</b>\n";
        let made = diff("/w/report.md", before, after);
        assert!(made.text.ends_with(
            "@@ -1,3 +1,3 @@\n # Report\n \n-hello <b>world</b>\n+goodbye <b>world</b>\n"
        ));
        assert_eq!((made.additions, made.deletions), (1, 1));
    }

    #[test]
    fn nothing_outside_the_directory_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_str().unwrap();
        assert!(real(root, "a.txt").is_some());
        assert!(real(root, "../a.txt").is_none());
        assert!(real(root, "/etc/passwd").is_none());
        assert!(real("/no/such/folder", "a.txt").is_none());
    }

    #[test]
    fn files_are_really_written_and_edited() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_str().unwrap();
        let file = WriteFile {
            path: "deep/a.txt".into(),
            content: "one two\n".into(),
        };
        Change::write(root, &file).apply(root).ok().unwrap();
        let edit = Edit {
            path: "deep/a.txt".into(),
            old: "two".into(),
            new: "three".into(),
        };
        Change::edit(root, &edit).apply(root).ok().unwrap();
        let text = std::fs::read_to_string(folder.path().join("deep/a.txt")).unwrap();
        assert_eq!(text, "one three\n");
    }
}
