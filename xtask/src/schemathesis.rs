//! schemathesis, which makes requests of the description of opencode-axum's routes: the PyPI packages that
//! `opencode-axum/tests/schemathesis.txt` pins, in a virtual environment in `target/schemathesis`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{apt, process, workspace};

const PINNED: &str = include_str!("../../opencode-axum/tests/schemathesis.txt");
/// Written last; holds the list that was installed.
const STAMP: &str = "installed.txt";

/// The program, where it is the one of the list.
pub(crate) fn find() -> Option<PathBuf> {
    find_in(&workspace::target().join("schemathesis"))
}

fn find_in(folder: &Path) -> Option<PathBuf> {
    let installed = fs::read_to_string(folder.join(STAMP)).ok()?;
    let program = folder.join("bin/schemathesis");
    (installed == PINNED && program.is_file()).then_some(program)
}

/// Installs it with pip, and says so.
pub(crate) fn install() -> Result<()> {
    let folder = workspace::target_folder("schemathesis")?;
    // Two runs at once share the folder: the second waits, then finds what the first installed.
    let lock = File::create(folder.join("lock"))?;
    lock.lock().context("cannot lock target/schemathesis")?;
    if find_in(&folder).is_some() {
        return Ok(());
    }
    eprintln!("installing schemathesis with pip ...");
    if let Err(first) = environment(&folder) {
        // Debian's Python comes without it.
        eprintln!("python3 makes no virtual environment: {first:#}");
        apt::install("python3-venv")?;
        environment(&folder)?;
    }
    let list = folder.join("pinned.txt");
    fs::write(&list, PINNED)?;
    if let Err(first) = pip(&folder, &list) {
        eprintln!("pip failed, trying once more: {first:#}");
        pip(&folder, &list)?;
    }
    fs::write(folder.join(STAMP), PINNED)?;
    eprintln!("installed it in {}", folder.display());
    Ok(())
}

/// Makes the virtual environment.
fn environment(folder: &Path) -> Result<()> {
    let mut make = Command::new("python3");
    process::output(make.args(["-m", "venv"]).arg(folder)).map(|_| ())
}

fn pip(folder: &Path, list: &Path) -> Result<()> {
    let mut pip = Command::new(folder.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check"]);
    pip.args(["--no-deps", "--only-binary", ":all:", "--requirement"]);
    process::output(pip.arg(list)).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_is_pinned_to_one_version() {
        assert!(
            PINNED
                .lines()
                .any(|line| line.starts_with("schemathesis=="))
        );
        for line in PINNED.lines() {
            let (name, version) = line.split_once("==").expect(line);
            assert!(!name.is_empty() && version.starts_with(|first: char| first.is_ascii_digit()));
        }
    }

    #[test]
    fn only_a_finished_install_of_the_same_list_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        fs::create_dir(folder.join("bin")).unwrap();
        let program = folder.join("bin/schemathesis");
        fs::write(&program, "").unwrap();
        assert_eq!(find_in(folder), None);
        fs::write(folder.join(STAMP), "schemathesis==1.0.0\n").unwrap();
        assert_eq!(find_in(folder), None);
        fs::write(folder.join(STAMP), PINNED).unwrap();
        assert_eq!(find_in(folder), Some(program));
    }
}
