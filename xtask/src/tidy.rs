//! Rules of this repository that no compiler checks. Each finding names a file and a line.
//!
//! - No file of code is over 600 lines, except what others wrote (`vendor/`, `*.min.*`).
//! - No file, module or type is called after nothing in particular (`utils`, `manager` and the like).
//! - No text names the host of a package registry or a folder of somebody's machine.
//! - No test is ignored, nothing is left to do, and every lint waiver has a reason.

mod code;
mod rust;
mod text;

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process;

/// Something to put right.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    file: String,
    /// Counted from 1.
    line: usize,
    message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}", self.file, self.line, self.message)
    }
}

/// Checks every file below `root` that git tracks, or would.
pub(crate) fn check(root: &Path) -> Result<Vec<Finding>> {
    let list = ["--cached", "--others", "--exclude-standard", "-z"];
    let files = process::output(
        Command::new("git")
            .current_dir(root)
            .arg("ls-files")
            .args(list),
    )
    .context("tidy asks git for the files of the repository")?;
    let mut findings = Vec::new();
    for file in files.split_terminator('\0') {
        findings.extend(text::check_name(file));
        let path = root.join(file);
        // Deleted but not committed yet, or a link.
        if !path.symlink_metadata().is_ok_and(|found| found.is_file()) {
            continue;
        }
        let bytes = fs::read(&path).with_context(|| format!("cannot read {file}"))?;
        // Images and the like.
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        findings.extend(text::check_text(file, &text));
        if has_extension(file, &["rs"]) {
            findings.extend(rust::check(file, &text));
        }
    }
    findings.sort();
    findings.dedup();
    Ok(findings)
}

fn has_extension(file: &str, extensions: &[&str]) -> bool {
    let found = Path::new(file).extension().and_then(|found| found.to_str());
    found.is_some_and(|found| extensions.contains(&found))
}

/// The words of a name in any of the usual spellings, in lower case.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut after_lower = false;
    for c in name.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && after_lower) {
            words.push(String::new());
        }
        if c.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
        after_lower = c.is_lowercase() || c.is_numeric();
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The first word of `name` that says nothing about what it names.
fn empty_word(name: &str) -> Option<String> {
    const EMPTY: [&str; 7] = [
        "util", "utils", "common", "manager", "managers", "helper", "helpers",
    ];
    words(name)
        .into_iter()
        .find(|word| EMPTY.contains(&word.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_in_every_spelling() {
        assert_eq!(words("turn_store"), ["turn", "store"]);
        assert_eq!(words("TurnStore"), ["turn", "store"]);
        assert_eq!(
            words(".ci/run-All2Go.rs"),
            ["ci", "run", "all2", "go", "rs"]
        );
        assert_eq!(empty_word("SessionManager"), Some("manager".into()));
        assert_eq!(empty_word("test_utils"), Some("utils".into()));
        assert_eq!(empty_word("uncommon_futility"), None);
    }

    #[test]
    fn the_files_of_a_repository_are_checked_whether_committed_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let git = |arguments: &[&str]| {
            process::output(
                Command::new("git")
                    .current_dir(folder.path())
                    .args(arguments),
            )
            .unwrap()
        };
        git(&["init", "-q"]);
        fs::write(folder.path().join(".gitignore"), "built").unwrap();
        fs::create_dir(folder.path().join("built")).unwrap();
        let ignored = "#[test]\n#[ignore]\nfn it() {}\n";
        for file in ["new.rs", "built/out.rs", "added.rs", "deleted.rs"] {
            fs::write(folder.path().join(file), ignored).unwrap();
        }
        fs::write(folder.path().join("image.png"), [0xff, 0xd8]).unwrap();
        git(&["add", "added.rs", "deleted.rs", "image.png"]);
        fs::remove_file(folder.path().join("deleted.rs")).unwrap();

        let found: Vec<_> = check(folder.path())
            .unwrap()
            .iter()
            .map(Finding::to_string)
            .collect();
        let message = "2: a test is ignored: fix it or delete it";
        assert_eq!(
            found,
            [format!("added.rs:{message}"), format!("new.rs:{message}")]
        );
    }
}
