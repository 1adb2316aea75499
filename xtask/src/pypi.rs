//! Programs of PyPI that tests run, each in a virtual environment of its own below `target`, with all its packages pinned.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{apt, process, workspace};

/// schemathesis, which makes requests of the description of opencode-axum's routes.
pub(crate) const SCHEMATHESIS: Package = Package {
    name: "schemathesis",
    program: "schemathesis",
    pinned: include_str!("../../opencode-axum/tests/schemathesis.txt"),
};
/// moto, whose S3 the blobs are tried on.
pub(crate) const MOTO: Package = Package {
    name: "moto",
    program: "moto_server",
    pinned: include_str!("../../opencode-host/tests/moto.txt"),
};

/// Written last; holds the list that was installed.
const STAMP: &str = "installed.txt";

/// A program and its packages.
#[derive(Debug)]
pub(crate) struct Package {
    /// The package that has the program, and the folder below `target`.
    pub(crate) name: &'static str,
    program: &'static str,
    /// What is installed: a package and its version in a line.
    pinned: &'static str,
}

impl Package {
    /// The program, where it is the one of the list.
    pub(crate) fn find(&self) -> Option<PathBuf> {
        self.find_in(&workspace::target().join(self.name))
    }

    fn find_in(&self, folder: &Path) -> Option<PathBuf> {
        let installed = fs::read_to_string(folder.join(STAMP)).ok()?;
        let program = folder.join("bin").join(self.program);
        (installed == self.pinned && program.is_file()).then_some(program)
    }

    /// Installs it with pip, and says so.
    pub(crate) fn install(&self) -> Result<()> {
        let folder = workspace::target_folder(self.name)?;
        // Two runs at once share the folder: the second waits, then finds what the first installed.
        let lock = File::create(folder.join("lock"))?;
        lock.lock()
            .with_context(|| format!("cannot lock {}", folder.display()))?;
        if self.find_in(&folder).is_some() {
            return Ok(());
        }
        eprintln!("installing {} with pip ...", self.name);
        if let Err(first) = environment(&folder) {
            // Debian's Python comes without it.
            eprintln!("python3 makes no virtual environment: {first:#}");
            apt::install("python3-venv")?;
            environment(&folder)?;
        }
        let list = folder.join("pinned.txt");
        fs::write(&list, self.pinned)?;
        if let Err(first) = pip(&folder, &list) {
            eprintln!("pip failed, trying once more: {first:#}");
            pip(&folder, &list)?;
        }
        fs::write(folder.join(STAMP), self.pinned)?;
        eprintln!("installed it in {}", folder.display());
        Ok(())
    }
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
        for package in [SCHEMATHESIS, MOTO] {
            let own = format!("{}==", package.name);
            assert!(package.pinned.lines().any(|line| line.starts_with(&own)));
            for line in package.pinned.lines() {
                let (name, version) = line.split_once("==").expect(line);
                let is_number = version.starts_with(|first: char| first.is_ascii_digit());
                assert!(!name.is_empty() && is_number);
            }
        }
    }

    #[test]
    fn only_a_finished_install_of_the_same_list_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        fs::create_dir(folder.join("bin")).unwrap();
        let program = folder.join("bin/schemathesis");
        fs::write(&program, "").unwrap();
        assert_eq!(SCHEMATHESIS.find_in(folder), None);
        fs::write(folder.join(STAMP), "schemathesis==1.0.0\n").unwrap();
        assert_eq!(SCHEMATHESIS.find_in(folder), None);
        fs::write(folder.join(STAMP), SCHEMATHESIS.pinned).unwrap();
        assert_eq!(SCHEMATHESIS.find_in(folder), Some(program));
    }
}
