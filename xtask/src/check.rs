//! `cargo xtask check`: everything that is wrong without a test being run.

use std::process::{Command, ExitCode};

use anyhow::{Result, bail};

use crate::cargo_tools::DENY;
use crate::stages::Stages;
use crate::{process, public_api, tidy, workspace};

/// Runs every check, also after one has failed.
pub(crate) fn run() -> ExitCode {
    let mut stages = Stages::begin();
    stages.run("tidy", tidy);
    stages.run("dependencies", dependencies);
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
    stages.run("public surface", || {
        public_api::run(&public_api::Args::default())
    });
    stages.run("features", features);
    // What each package holds, and that its manifest says what a registry asks for. That it builds is seen above.
    stages.run("packages", || {
        let publish = ["publish", "--workspace", "--dry-run", "--no-verify"];
        cargo(&publish, &["--locked", "--allow-dirty"])
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

/// Asks cargo-deny for licences, banned crates and sources. Advisories would have to be fetched.
pub(crate) fn dependencies() -> Result<()> {
    let mut deny = Command::new(DENY.find_or_install()?);
    deny.current_dir(workspace::root());
    deny.args(["--locked", "--all-features", "--log-level", "error"]);
    process::run(deny.args(["check", "bans", "licenses", "sources"]))
}

/// Builds the libraries with less than all of their features, and looks whether what they are to be spared is spared.
fn features() -> Result<()> {
    const LESS: [(&str, &str, &[&str]); 5] = [
        (
            "opencode-host",
            "",
            &[
                "object_store",
                "cap-std",
                "cap-fs-ext",
                "rmcp",
                "schemars",
                "jsonschema",
                "croner",
                "chrono-tz",
            ],
        ),
        (
            "opencode-host",
            "files",
            &["rmcp", "schemars", "jsonschema"],
        ),
        ("opencode-host", "tools", &["object_store", "cap-std"]),
        ("opencode-sql", "sqlite", &["object_store", "sqlx-postgres"]),
        (
            "opencode-sql",
            "postgres",
            &["object_store", "sqlx-sqlite", "libsqlite3-sys"],
        ),
    ];
    for (package, features, spared) in LESS {
        let build = [
            "--package",
            package,
            "--no-default-features",
            "--features",
            features,
        ];
        cargo(
            &["clippy", "--locked"],
            &[&build[..], &["--", "-D", "warnings"]].concat(),
        )?;
        let mut tree = workspace::cargo();
        tree.args(["tree", "--locked", "--edges", "normal", "--prefix", "none"]);
        let tree = process::output(tree.args(["--format", "{p}"]).args(build))?;
        for crate_name in spared {
            let is_it = |line: &str| line.split(' ').next() == Some(crate_name);
            if tree.lines().any(is_it) {
                bail!("{package} with features {features:?} alone builds {crate_name}");
            }
        }
    }
    Ok(())
}

fn cargo(action: &[&str], rest: &[&str]) -> Result<()> {
    process::run(workspace::cargo().args(action).args(rest))
}
