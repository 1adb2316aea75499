//! Rules of this repository that no compiler checks. Each finding names a file and a line.
//!
//! - No file of code is over 600 lines, except what others wrote (`vendor/`, `*.min.*`).
//! - No file, module or type is called after nothing in particular (`utils`, `manager` and the like).
//! - No text names the host of a package registry or a folder of somebody's machine.
//! - Crates import those below them only, and no files of a crate import each other in a circle.
//! - A file of more than 60 lines begins with a page: `//!`.
//! - No test is ignored, nothing is left to do, and every lint waiver has a reason.

mod code;
mod finding;
mod imports;
mod paths;
mod rust;
mod text;
mod words;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

pub(crate) use finding::Finding;
use words::has_extension;

use crate::process;

/// Checks every file below `root` that git tracks, or would.
pub(crate) fn check(root: &Path) -> Result<Vec<Finding>> {
    check_but(root, imports::IN_CIRCLES)
}

/// The same, with these files known to be in circles.
fn check_but(root: &Path, known: &[&str]) -> Result<Vec<Finding>> {
    let list = ["--cached", "--others", "--exclude-standard", "-z"];
    let files = process::output(
        Command::new("git")
            .current_dir(root)
            .arg("ls-files")
            .args(list),
    )
    .context("tidy asks git for the files of the repository")?;
    let mut findings = Vec::new();
    let mut sources = Vec::new();
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
            sources.push((file.to_owned(), text));
        }
    }
    findings.extend(imports::upward(&sources));
    findings.extend(imports::circles(&sources, known));
    findings.sort();
    findings.dedup();
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

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

        let found: Vec<_> = check_but(folder.path(), &[])
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
