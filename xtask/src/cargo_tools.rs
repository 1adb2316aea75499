//! Programs that the checks run and cargo installs, each in a version of ours, installed below `target/tools`.

use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::{process, workspace};

/// A program that cargo installs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CargoTool {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
}

/// Licences, banned crates and sources of dependencies, by `deny.toml`.
pub(crate) const DENY: CargoTool = CargoTool {
    name: "cargo-deny",
    version: "0.20.2",
};

/// Changes of the code, each of which a test has to notice.
pub(crate) const MUTANTS: CargoTool = CargoTool {
    name: "cargo-mutants",
    version: "27.1.0",
};

/// The public items of a library.
pub(crate) const PUBLIC_API: CargoTool = CargoTool {
    name: "cargo-public-api",
    version: "0.52.0",
};

impl CargoTool {
    /// The program, installed where it is missing. That takes minutes, once.
    pub(crate) fn find_or_install(self) -> Result<PathBuf> {
        let Self { name, version } = self;
        let root = workspace::target_folder("tools")?.join(format!("{name}-{version}"));
        std::fs::create_dir_all(&root)?;
        let program = root.join("bin").join(name);
        // Two runs at once: the second waits, then finds what the first installed.
        let lock = File::create(root.join("lock"))?;
        lock.lock()
            .with_context(|| format!("cannot lock {}", root.display()))?;
        if !program.is_file() {
            eprintln!("xtask: installing {name} {version}");
            let mut install = workspace::cargo();
            install.args(["install", "--locked", "--debug", "--root"]);
            install.arg(&root).args([name, "--version", version]);
            // Not among what the workspace builds.
            process::run(install.env_remove("CARGO_TARGET_DIR"))?;
        }
        Ok(program)
    }
}
