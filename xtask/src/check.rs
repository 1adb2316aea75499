//! `cargo xtask check`: everything that is wrong without a test being run.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::stages::Stages;
use crate::{deny, process, tidy, workspace};

/// Runs every check, also after one has failed.
pub(crate) fn run() -> ExitCode {
    let mut stages = Stages::begin();
    stages.run("tidy", tidy);
    stages.run("licences", || deny::check().map(|_| ()));
    stages.run("format", || cargo(&["fmt", "--all", "--check"], &[]));
    stages.run("clippy", || {
        let clippy = ["clippy", "--workspace", "--all-targets"];
        let rest = ["--all-features", "--locked", "--", "-D", "warnings"];
        cargo(&clippy, &rest)
    });
    stages.run("rustdoc", || {
        let mut doc = workspace::cargo();
        doc.args(["doc", "--workspace", "--no-deps"]);
        doc.args(["--all-features", "--locked"]);
        process::run(doc.env("RUSTDOCFLAGS", "-D warnings"))
    });
    stages.finish("all checks passed")
}

/// Prints everything that is not tidy.
pub(crate) fn tidy() -> Result<()> {
    let findings = tidy::check(&workspace::root())?;
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => Ok(()),
        many => bail!("findings listed above: {many}"),
    }
}

fn cargo(action: &[&str], rest: &[&str]) -> Result<()> {
    process::run(workspace::cargo().args(action).args(rest))
}
