//! `cargo xtask mutants`: whether the tests notice when the code is changed.
//!
//! cargo-mutants changes the code of an [`Area`] in one place at a time and runs the tests that are there for it. A
//! mutant that they do not notice is a survivor. The survivors that are accepted stand in `docs/mutants.md`, each with
//! a reason; one that does not stand there fails the command, and so does one that stands there and is noticed now.
//! Hundreds of builds take hours, so this is no part of the tests.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::cargo_tools::MUTANTS;
use crate::{process, workspace};

/// The accepted survivors, from the root of the workspace.
const ACCEPTED: &str = "docs/mutants.md";

/// Code that has to be held by its tests in every detail.
struct Area {
    package: &'static str,
    /// Files, as globs from the root of the workspace.
    files: &'static [&'static str],
    /// Arguments of nextest that choose the tests.
    tests: &'static [&'static str],
}

const AREAS: [Area; 5] = [
    Area {
        package: "opencode-client",
        files: &["opencode-client/src/sse.rs"],
        tests: &["--lib", "-E", "test(/^sse::/)"],
    },
    Area {
        package: "opencode-host",
        files: &[
            "opencode-host/src/turn/plan.rs",
            "opencode-host/src/turn/plan/step.rs",
            "opencode-host/src/turn/facts.rs",
            "opencode-host/src/turn/facts/*.rs",
        ],
        tests: &["--lib", "-E", "test(/^turn::(plan|facts|simulator)::/)"],
    },
    Area {
        package: "opencode-client",
        files: &["opencode-client/src/reply/**/*.rs"],
        tests: &["-E", "test(/^(reply|tapes|bounds|gaps|versions)::/)"],
    },
    Area {
        package: "opencode-host",
        files: &["opencode-host/src/sandbox/**/*.rs"],
        tests: &["-E", "test(/^(sandbox|folders)::/)"],
    },
    Area {
        package: "opencode-sql",
        files: &["opencode-sql/src/tables/**/*.rs"],
        tests: &[
            "-E",
            "test(/^(conformance|crowds|sqlite)::/) - test(/postgres/)",
        ],
    },
];

/// What cargo-mutants exits with when it has run: all noticed, some missed, some timed out.
const RAN: [i32; 3] = [0, 2, 3];

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only files of this glob, from the root of the workspace (repeatable)
    #[arg(long, value_name = "GLOB")]
    file: Vec<String>,
    /// How many builds run at once
    #[arg(long, default_value_t = 1)]
    jobs: u8,
}

/// A change of the code, by its file and what was done there. Lines move, so they are no part of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Mutant {
    file: String,
    change: String,
}

/// Changes the code and tells which survivors are not accepted.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let accepted = std::fs::read_to_string(workspace::root().join(ACCEPTED))
        .with_context(|| format!("cannot read {ACCEPTED}"))?;
    let mut accepted = listed(&accepted)?;
    let program = MUTANTS.find_or_install()?;
    let mut survivors = Vec::new();
    let mut files = BTreeSet::new();
    for (number, area) in AREAS.iter().enumerate() {
        let chosen = area.chosen(&program, &args.file)?;
        if chosen.is_empty() {
            continue;
        }
        survivors.extend(area.survivors(&program, &chosen, number, args.jobs)?);
        files.extend(chosen);
    }
    if files.is_empty() {
        bail!("no file of the areas that are changed is named so");
    }
    accepted.retain(|mutant| files.contains(&mutant.file));
    let Verdict { new, gone } = compare(survivors, accepted);
    for Mutant { file, change } in &new {
        println!("{file}: no test notices `{change}`: write one, or give a reason in {ACCEPTED}");
    }
    for Mutant { file, change } in &gone {
        println!(
            "{file}: `{change}` is noticed now, or there is no such code: take it off {ACCEPTED}"
        );
    }
    if new.is_empty() && gone.is_empty() {
        println!("every change is noticed, but those that {ACCEPTED} accepts");
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}

impl Area {
    /// The files of the area that one of `globs` names; all without one.
    fn chosen(&self, program: &Path, globs: &[String]) -> Result<Vec<String>> {
        let files = |globs: &mut dyn Iterator<Item = &str>| {
            let mut list = Command::new(program);
            list.current_dir(workspace::root());
            list.args(["mutants", "--list-files", "--package", self.package]);
            for glob in globs {
                list.args(["--file", glob]);
            }
            let listed = process::output(&mut list)?;
            Ok::<_, anyhow::Error>(listed.lines().map(str::to_owned).collect::<BTreeSet<_>>())
        };
        let own = files(&mut self.files.iter().copied())?;
        if globs.is_empty() {
            return Ok(own.into_iter().collect());
        }
        let wanted = files(&mut globs.iter().map(String::as_str))?;
        Ok(own.intersection(&wanted).cloned().collect())
    }

    /// Changes these files, and tells which changes no test noticed.
    fn survivors(
        &self,
        program: &Path,
        files: &[String],
        number: usize,
        jobs: u8,
    ) -> Result<Vec<Mutant>> {
        let folder = workspace::target_folder("mutants")?;
        let report = folder.join(format!("area-{number}"));
        let mut mutants = Command::new(program);
        mutants.current_dir(workspace::root());
        mutants.args([
            "mutants",
            "--package",
            self.package,
            "--test-tool",
            "nextest",
        ]);
        mutants.args([
            "--cap-lints",
            "true",
            "--no-times",
            "--jobs",
            &jobs.to_string(),
        ]);
        mutants.arg("--output").arg(&report);
        for file in files {
            mutants.args(["--file", file]);
        }
        mutants.args(["--", "--fail-fast"]).args(self.tests);
        // Dependencies are built once, whatever folder the code is copied to.
        mutants.env("CARGO_TARGET_DIR", folder.join("build"));
        let status = process::status(&mut mutants)?;
        if !status.code().is_some_and(|code| RAN.contains(&code)) {
            bail!("cargo-mutants could not run in {}: {status}", self.package);
        }
        let outcomes = report.join("mutants.out/outcomes.json");
        let text = std::fs::read_to_string(&outcomes)
            .with_context(|| format!("cannot read {}", outcomes.display()))?;
        Ok(missed(&serde_json::from_str(&text)?))
    }
}

/// The mutants that were missed, by the report of cargo-mutants. One that made the tests hang was noticed.
fn missed(report: &Value) -> Vec<Mutant> {
    let outcomes = report["outcomes"].as_array().into_iter().flatten();
    let missed = outcomes.filter(|outcome| outcome["summary"] == "MissedMutant");
    missed
        .filter_map(|outcome| {
            let mutant = &outcome["scenario"]["Mutant"];
            // `FILE:LINE:COLUMN: what was done`
            let (_, change) = mutant["name"].as_str()?.split_once(": ")?;
            Some(Mutant {
                file: mutant["file"].as_str()?.to_owned(),
                change: change.to_owned(),
            })
        })
        .collect()
}

/// The mutants of a list: below the heading of each file one to an item, in backquotes, and the reason behind it.
fn listed(text: &str) -> Result<Vec<Mutant>> {
    let mut mutants = Vec::new();
    let mut file = None;
    for (line, text) in text.lines().enumerate() {
        if let Some(heading) = text.strip_prefix("## ") {
            file = Some(heading.trim());
        } else if let Some(item) = text.strip_prefix("- `") {
            let change = item
                .split_once("`: ")
                .filter(|(_, reason)| !reason.trim().is_empty());
            let (Some(file), Some((change, _))) = (file, change) else {
                bail!(
                    "{ACCEPTED}:{}: a mutant stands below its file, in backquotes, with its reason",
                    line + 1
                );
            };
            mutants.push(Mutant {
                file: file.to_owned(),
                change: change.to_owned(),
            });
        }
    }
    Ok(mutants)
}

/// What is wrong with the survivors.
#[derive(Debug, PartialEq)]
struct Verdict {
    /// Survivors that are not accepted.
    new: Vec<Mutant>,
    /// Accepted ones that survive no more.
    gone: Vec<Mutant>,
}

/// Each item of the list accepts one survivor.
fn compare(survivors: Vec<Mutant>, mut accepted: Vec<Mutant>) -> Verdict {
    let mut new = Vec::new();
    for survivor in survivors {
        match accepted.iter().position(|mutant| *mutant == survivor) {
            Some(at) => drop(accepted.remove(at)),
            None => new.push(survivor),
        }
    }
    Verdict {
        new,
        gone: accepted,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mutant(file: &str, change: &str) -> Mutant {
        Mutant {
            file: file.to_owned(),
            change: change.to_owned(),
        }
    }

    #[test]
    fn the_list_that_is_kept_can_be_read() {
        let text = std::fs::read_to_string(workspace::root().join(ACCEPTED)).unwrap();
        for Mutant { file, .. } in listed(&text).unwrap() {
            assert!(workspace::root().join(&file).is_file(), "{file}");
        }
    }

    #[test]
    fn an_item_without_a_file_or_a_reason_is_an_error() {
        let read = listed("# Title\n## a.rs\n- `replace + with -`: equal.\n- no mutant\n").unwrap();
        assert_eq!(read, [mutant("a.rs", "replace + with -")]);
        for bad in ["- `x`: why", "## a.rs\n- `x`: ", "## a.rs\n- `x`"] {
            assert!(listed(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_was_missed_is_known_without_its_line() {
        let outcome = |summary: &str, line: u32| {
            let name = format!("c/a.rs:{line}:7: replace f -> Option<&str> with None");
            json!({"summary": summary, "scenario": {"Mutant": {"file": "c/a.rs", "name": name}}})
        };
        let report = json!({"outcomes": [
            {"summary": "Success", "scenario": "Baseline"},
            outcome("CaughtMutant", 1), outcome("MissedMutant", 2), outcome("Timeout", 3), outcome("Unviable", 4),
        ]});
        assert_eq!(
            missed(&report),
            [mutant("c/a.rs", "replace f -> Option<&str> with None")]
        );
    }

    #[test]
    fn each_item_accepts_one_survivor() {
        let (a, b) = (mutant("a.rs", "x"), mutant("b.rs", "x"));
        let verdict = compare(vec![a.clone(), a.clone()], vec![a.clone(), b.clone()]);
        assert_eq!(
            verdict,
            Verdict {
                new: vec![a],
                gone: vec![b]
            }
        );
    }
}
