//! The real OpenCode server that the tests run: the npm package `opencode-ai` in the version that
//! `xtask/tools/package.json` pins, in `target/tools`.
//!
//! The server is one executable inside a package per platform, so no install script runs.

use std::env::consts::{ARCH, OS};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{process, workspace};

const PACKAGE: &str = include_str!("../tools/package.json");
const LOCK: &str = include_str!("../tools/package-lock.json");
const NPMRC: &str = include_str!("../tools/.npmrc");
/// Written last; holds the version and the path of the program.
const STAMP: &str = "opencode.installed";

/// The installed program, where it has the pinned version.
pub(crate) fn find() -> Result<Option<PathBuf>> {
    find_in(&workspace::target().join("tools"), &version()?)
}

fn find_in(folder: &Path, version: &str) -> Result<Option<PathBuf>> {
    let stamp = folder.join(STAMP);
    if !stamp.exists() {
        return Ok(None);
    }
    let text =
        fs::read_to_string(&stamp).with_context(|| format!("cannot read {}", stamp.display()))?;
    let program = text.trim_end().split_once(' ');
    Ok(program
        .filter(|(installed, _)| *installed == version)
        .map(|(_, program)| folder.join(program))
        .filter(|program| program.is_file()))
}

/// Installs the pinned version with npm, and says so.
pub(crate) fn install() -> Result<PathBuf> {
    if process::on_path("npm").is_none() {
        bail!("npm is missing: install Node.js 20 or newer, for example `apt-get install npm`");
    }
    let version = version()?;
    let folder = workspace::target_folder("tools")?;
    // Two runs at once share the folder: the second waits, then finds what the first installed.
    let lock = File::create(folder.join("lock"))?;
    lock.lock().context("cannot lock target/tools")?;
    if let Some(found) = find_in(&folder, &version)? {
        return Ok(found);
    }
    for (name, text) in [
        ("package.json", PACKAGE),
        ("package-lock.json", LOCK),
        (".npmrc", NPMRC),
    ] {
        fs::write(folder.join(name), text)?;
    }
    eprintln!("installing opencode-ai {version} with npm ...");
    if let Err(first) = npm_install(&folder) {
        eprintln!("npm failed, trying once more: {first:#}");
        npm_install(&folder)?;
    }
    let program = choose(&folder, &version)?;
    fs::write(folder.join(STAMP), format!("{version} {program}\n"))?;
    eprintln!("installed opencode-ai {version}: {program}");
    Ok(folder.join(program))
}

/// Not `npm ci`: that refuses a lock file without the packages of every platform. This one adds the missing
/// ones, in the exact versions that `opencode-ai` names.
fn npm_install(folder: &Path) -> Result<()> {
    let mut npm = Command::new("npm");
    npm.current_dir(folder).args([
        "install",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        "--include=optional",
    ]);
    process::output(&mut npm).map(|_| ())
}

/// The first of the installed programs that runs here, relative to `folder`.
fn choose(folder: &Path, version: &str) -> Result<String> {
    let names = platform_packages(OS, ARCH, has_avx2());
    let mut refused = Vec::new();
    for name in &names {
        let program = format!("node_modules/{name}/bin/opencode");
        if !folder.join(&program).is_file() {
            continue;
        }
        match answered_version(&folder.join(&program)) {
            Ok(answer) if answer == version => return Ok(program),
            Ok(answer) => refused.push(format!("{name} says it is {answer}")),
            Err(error) => refused.push(format!("{name}: {error:#}")),
        }
    }
    if refused.is_empty() {
        bail!("npm installed none of {}", names.join(", "));
    }
    bail!("no installed opencode runs here: {}", refused.join("; "))
}

/// What `program --version` prints, away from the person's own configuration.
fn answered_version(program: &Path) -> Result<String> {
    let home = tempfile::tempdir()?;
    let mut command = Command::new(program);
    command
        .arg("--version")
        .current_dir(home.path())
        .env_clear()
        .env("HOME", home.path())
        .env("OPENCODE_DISABLE_AUTOUPDATE", "1")
        .env("OPENCODE_DISABLE_MODELS_FETCH", "1");
    Ok(process::output(&mut command)?.trim().to_owned())
}

/// The packages that may hold the program for a platform, best first: the plain x64 build needs AVX2, and
/// the musl builds start only where that is the C library.
fn platform_packages(os: &str, arch: &str, avx2: bool) -> Vec<String> {
    let os = if os == "macos" { "darwin" } else { os };
    let (arch, variants): (_, &[&str]) = match (arch, avx2) {
        ("x86_64", true) => ("x64", &["", "-musl", "-baseline", "-baseline-musl"]),
        ("x86_64", false) => ("x64", &["-baseline", "-baseline-musl"]),
        ("aarch64", _) => ("arm64", &["", "-musl"]),
        (other, _) => (other, &[""]),
    };
    let name = |variant| format!("opencode-{os}-{arch}{variant}");
    variants.iter().map(name).collect()
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    std::is_x86_feature_detected!("avx2")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx2() -> bool {
    false
}

/// The pinned version.
fn version() -> Result<String> {
    let package: Value = serde_json::from_str(PACKAGE).context("xtask/tools/package.json")?;
    let version = &package["dependencies"]["opencode-ai"];
    let version = version.as_str().filter(|version| is_exact(version));
    let pin = "xtask/tools/package.json must pin opencode-ai to one version";
    Ok(version.context(pin)?.to_owned())
}

fn is_exact(version: &str) -> bool {
    version.starts_with(|first: char| first.is_ascii_digit())
        && !version.contains([' ', '|', '*', 'x'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_holds_the_pinned_version_with_a_hash_and_no_host() {
        let lock: Value = serde_json::from_str(LOCK).unwrap();
        let package = &lock["packages"]["node_modules/opencode-ai"];
        assert_eq!(package["version"].as_str(), Some(&*version().unwrap()));
        assert!(package["integrity"].as_str().is_some());
        assert!(!LOCK.contains("://"));
    }

    #[test]
    fn a_range_is_not_a_pin() {
        assert!(is_exact("1.18.33"));
        for range in ["^1.18.33", "~1", "latest", "1.x", "1.18.33 || 2", "*", ""] {
            assert!(!is_exact(range), "{range}");
        }
    }

    #[test]
    fn the_package_is_chosen_by_platform() {
        let names = |os, arch, avx2| platform_packages(os, arch, avx2).join(" ");
        assert_eq!(
            names("linux", "x86_64", false),
            "opencode-linux-x64-baseline opencode-linux-x64-baseline-musl"
        );
        assert!(names("linux", "x86_64", true).starts_with("opencode-linux-x64 "));
        assert!(names("linux", "aarch64", false).starts_with("opencode-linux-arm64 "));
        assert!(names("macos", "aarch64", false).starts_with("opencode-darwin-arm64 "));
    }

    #[test]
    fn only_a_finished_install_of_the_same_version_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert_eq!(find_in(folder, "1.2.3").unwrap(), None);
        fs::write(folder.join(STAMP), "1.2.3 bin/opencode\n").unwrap();
        assert_eq!(find_in(folder, "1.2.3").unwrap(), None);
        fs::create_dir(folder.join("bin")).unwrap();
        fs::write(folder.join("bin/opencode"), "").unwrap();
        let program = folder.join("bin/opencode");
        assert_eq!(find_in(folder, "1.2.3").unwrap(), Some(program));
        assert_eq!(find_in(folder, "1.2.4").unwrap(), None);
    }

    #[test]
    fn a_program_that_does_not_run_is_not_chosen() {
        let folder = tempfile::tempdir().unwrap();
        let error = choose(folder.path(), "1.2.3").unwrap_err().to_string();
        assert!(
            error.starts_with("npm installed none of opencode-"),
            "{error}"
        );
        for name in platform_packages(OS, ARCH, has_avx2()) {
            let bin = folder.path().join("node_modules").join(name).join("bin");
            fs::create_dir_all(&bin).unwrap();
            fs::write(bin.join("opencode"), "not a program").unwrap();
        }
        let error = choose(folder.path(), "1.2.3").unwrap_err().to_string();
        assert!(error.starts_with("no installed opencode runs"), "{error}");
    }
}
