//! `cargo xtask licences`: the two rules of `deny.toml` that must hold for every build, checked without
//! another program: which licences a dependency may have, and which crates are banned. `deny.toml` is a
//! configuration of cargo-deny, which knows more rules.

use std::fs;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::{process, spdx, workspace};

/// The part of `deny.toml` that is read here.
#[derive(Debug, Deserialize)]
struct Rules {
    licenses: Licenses,
    bans: Bans,
}

#[derive(Debug, Deserialize)]
struct Licenses {
    allow: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Debug, Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

/// The part of `cargo metadata` that is read here.
#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    /// Absent for the packages of this workspace.
    source: Option<String>,
}

/// Checks every dependency, for all platforms and features, and returns how many there are.
///
/// # Errors
/// Names every dependency that is refused, each with the reason.
pub(crate) fn check() -> Result<usize> {
    let rules =
        fs::read_to_string(workspace::root().join("deny.toml")).context("cannot read deny.toml")?;
    let rules: Rules = basic_toml::from_str(&rules).context("deny.toml")?;
    let metadata = process::output(workspace::cargo().args([
        "metadata",
        "--format-version=1",
        "--locked",
        "--all-features",
    ]))?;
    let metadata: Metadata = serde_json::from_str(&metadata).context("cargo metadata")?;
    let dependencies: Vec<_> = metadata
        .packages
        .iter()
        .filter(|package| package.source.is_some())
        .collect();
    let refused: Vec<_> = dependencies
        .iter()
        .flat_map(|package| refusals(package, &rules))
        .collect();
    if !refused.is_empty() {
        bail!("refused by deny.toml:\n  {}", refused.join("\n  "));
    }
    Ok(dependencies.len())
}

/// Every reason not to use `package`.
fn refusals(package: &Package, rules: &Rules) -> Vec<String> {
    let Package { name, version, .. } = package;
    let mut refusals = Vec::new();
    if let Some(ban) = rules.bans.deny.iter().find(|ban| ban.name == *name) {
        refusals.push(format!("{name} {version} is banned: {}", ban.reason));
    }
    match package.license.as_deref() {
        None => refusals.push(format!("{name} {version} does not name its licence")),
        Some(licence) => match spdx::is_allowed(licence, &rules.licenses.allow) {
            Ok(true) => {}
            Ok(false) => refusals.push(format!("{name} {version} has the licence {licence}")),
            Err(error) => refusals.push(format!("{name} {version}: {error}")),
        },
    }
    refusals
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(license: Option<&str>) -> Package {
        Package {
            name: "thing".into(),
            version: "1.0.0".into(),
            license: license.map(String::from),
            source: Some("somewhere".into()),
        }
    }

    fn rules(text: &str) -> Rules {
        basic_toml::from_str(text).unwrap()
    }

    #[test]
    fn a_dependency_needs_an_allowed_licence() {
        let rules = rules("[licenses]\nallow = ['MIT']\n[bans]\ndeny = []");
        let refused = |licence| refusals(&package(licence), &rules).join("; ");
        assert_eq!(refused(Some("MIT OR GPL-3.0")), "");
        assert_eq!(
            refused(Some("GPL-3.0")),
            "thing 1.0.0 has the licence GPL-3.0"
        );
        assert_eq!(refused(None), "thing 1.0.0 does not name its licence");
        assert!(refused(Some("MIT OR")).contains("a licence is missing"));
    }

    #[test]
    fn a_banned_dependency_is_refused_with_the_reason() {
        let rules = rules(
            "[licenses]\nallow = ['MIT']\n[bans]\ndeny = [{ crate = 'thing', reason = 'it panics' }]",
        );
        let refused = refusals(&package(Some("MIT")), &rules);
        assert_eq!(refused, ["thing 1.0.0 is banned: it panics"]);
    }
}
