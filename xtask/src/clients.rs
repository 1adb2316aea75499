//! The clients that the tests of opencode-axum have talk to its router: the npm packages that
//! `opencode-axum/tests/clients/package-lock.json` pins, in `target/clients`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{process, workspace};

const PACKAGE: &str = include_str!("../../opencode-axum/tests/clients/package.json");
const LOCK: &str = include_str!("../../opencode-axum/tests/clients/package-lock.json");
const NPMRC: &str = include_str!("../../opencode-axum/tests/clients/.npmrc");
/// Written last; holds the lock file that was installed.
const STAMP: &str = "clients.installed";

/// The folder with the packages, where they are those of the lock file.
pub(crate) fn find() -> Option<PathBuf> {
    let folder = workspace::target().join("clients");
    is_in(&folder).then_some(folder)
}

fn is_in(folder: &Path) -> bool {
    let stamp = fs::read_to_string(folder.join(STAMP));
    stamp.is_ok_and(|installed| installed == LOCK) && folder.join("node_modules").is_dir()
}

/// Installs the packages with npm, and says so.
pub(crate) fn install() -> Result<()> {
    if process::on_path("npm").is_none() {
        bail!("npm is missing: install Node.js 20 or newer, for example `apt-get install npm`");
    }
    let folder = workspace::target_folder("clients")?;
    // Two runs at once share the folder: the second waits, then finds what the first installed.
    let lock = File::create(folder.join("lock"))?;
    lock.lock().context("cannot lock target/clients")?;
    if is_in(&folder) {
        return Ok(());
    }
    for (name, text) in [
        ("package.json", PACKAGE),
        ("package-lock.json", LOCK),
        (".npmrc", NPMRC),
    ] {
        fs::write(folder.join(name), text)?;
    }
    eprintln!("installing the clients of opencode-axum's tests with npm ...");
    if let Err(first) = npm(&folder) {
        eprintln!("npm failed, trying once more: {first:#}");
        npm(&folder)?;
    }
    fs::write(folder.join(STAMP), LOCK)?;
    eprintln!("installed them in {}", folder.display());
    Ok(())
}

fn npm(folder: &Path) -> Result<()> {
    let mut npm = Command::new("npm");
    npm.current_dir(folder)
        .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]);
    process::output(&mut npm).map(|_| ())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_lock_file_holds_each_package_with_a_hash_and_no_host() {
        let lock: Value = serde_json::from_str(LOCK).unwrap();
        let packages = lock["packages"].as_object().unwrap();
        for (name, package) in packages.iter().filter(|(name, _)| !name.is_empty()) {
            assert!(package["integrity"].is_string(), "{name}");
            assert!(package.get("resolved").is_none(), "{name}");
        }
        let pinned: Value = serde_json::from_str(PACKAGE).unwrap();
        assert_eq!(packages[""]["dependencies"], pinned["dependencies"]);
    }

    #[test]
    fn only_a_finished_install_of_the_same_packages_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert!(!is_in(folder));
        fs::create_dir(folder.join("node_modules")).unwrap();
        fs::write(folder.join(STAMP), "others").unwrap();
        assert!(!is_in(folder));
        fs::write(folder.join(STAMP), LOCK).unwrap();
        assert!(is_in(folder));
    }
}
