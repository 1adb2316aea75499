//! `cargo xtask public-api`: what the libraries offer, compared with what was agreed on.
//!
//! One file for each library below `docs/public-api` lists its public items, as cargo-public-api does. A change of the
//! surface is then seen where the change is read, and is never an accident.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use anyhow::{Context, Result, bail};

use crate::cargo_tools::PUBLIC_API;
use crate::{process, workspace};

/// The crates that others build on.
const LIBRARIES: [&str; 4] = [
    "opencode-client",
    "opencode-host",
    "opencode-sql",
    "opencode-axum",
];

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Write down today's surface as the agreed one
    #[arg(long)]
    bless: bool,
}

/// Compares each library with its list, or writes the list.
pub(crate) fn run(args: &Args) -> Result<()> {
    let lister = PUBLIC_API.find_or_install()?;
    document()?;
    let lists = workspace::root().join("docs/public-api");
    let mut changed = Vec::new();
    for library in LIBRARIES {
        let items = items(library, &lister)?;
        let list = lists.join(format!("{library}.txt"));
        if args.bless {
            fs::create_dir_all(&lists)?;
            fs::write(&list, items).with_context(|| format!("cannot write {}", list.display()))?;
            continue;
        }
        let differences = differences(&agreed(&list)?, &items);
        for line in &differences {
            println!("{library}: {line}");
        }
        if !differences.is_empty() {
            changed.push(library);
        }
    }
    if !changed.is_empty() {
        bail!(
            "the public surface of {} changed: run `cargo xtask public-api --bless` and look at the diff of docs/public-api",
            changed.join(" and ")
        );
    }
    Ok(())
}

/// The list that is checked in; empty where there is none yet.
fn agreed(list: &Path) -> Result<String> {
    match fs::read_to_string(list) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read.with_context(|| format!("cannot read {}", list.display())),
    }
}

/// Has rustdoc describe every library in JSON, with all features. The whole workspace is asked for, as the stage before
/// this one does, so that cargo finds the dependencies built with the features they have there.
fn document() -> Result<()> {
    let mut document = workspace::cargo();
    document.args(["doc", "--quiet", "--workspace", "--lib", "--no-deps"]);
    document.args(["--all-features", "--locked"]);
    document.env("RUSTDOC", unstable_rustdoc()?);
    let flags = "-Z unstable-options --output-format json --cap-lints allow";
    process::run(document.env("RUSTDOCFLAGS", flags))
}

/// The public items of a documented library, one a line, without what is derived.
fn items(library: &str, lister: &Path) -> Result<String> {
    let name = library.replace('-', "_");
    let json = workspace::target().join(format!("doc/{name}.json"));
    let mut list = Command::new(lister);
    list.arg("-sss").arg("--rustdoc-json").arg(json);
    process::output(&mut list).with_context(|| {
        format!(
            "{} {} cannot read what the rustdoc of this Rust writes: name a version that can in xtask/src/cargo_tools.rs",
            PUBLIC_API.name, PUBLIC_API.version
        )
    })
}

/// Rustdoc, with leave to write JSON, which is not stable yet. Given to cargo as a whole, that leave would have every
/// dependency built anew.
fn unstable_rustdoc() -> Result<PathBuf> {
    let script = workspace::target_folder("xtask")?.join("unstable-rustdoc");
    fs::write(
        &script,
        "#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec rustdoc \"$@\"\n",
    )?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    Ok(script)
}

/// The lines of one list only: `-` where it is gone, `+` where it is new.
fn differences(agreed: &str, found: &str) -> Vec<String> {
    let lines = |text: &'_ str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let (agreed, found) = (lines(agreed), lines(found));
    let gone = agreed.difference(&found).map(|line| format!("- {line}"));
    let new = found.difference(&agreed).map(|line| format!("+ {line}"));
    gone.chain(new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_and_what_is_new_is_told() {
        let agreed = "pub fn a()\npub fn b()\n";
        assert!(differences(agreed, agreed).is_empty());
        assert_eq!(
            differences(agreed, "pub fn b()\npub fn c()\n"),
            ["- pub fn a()", "+ pub fn c()"]
        );
    }
}
