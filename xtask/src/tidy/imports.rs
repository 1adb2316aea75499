//! What imports what: crates point down only, and no files of a crate import each other in a circle.
//!
//! A path counts where it is written: in a `use`, or in code. A name that a page gives on from another file
//! (`pub use`) counts as that file's, so that importing it from the page is importing where it is. Giving a
//! name on is no import. Tests inside a file may use what they like.

use std::collections::{BTreeMap, BTreeSet};

use super::code::{line_of, only_code};
use super::finding::Finding;
use super::paths::{Import, imports, paths, without_tests};

/// The crates by floor. A crate uses those on floors below its own.
const FLOORS: [(&str, u8); 10] = [
    ("opencode-client", 0),
    ("opencode-impostor", 0),
    ("opencode-chromium", 0),
    ("xtask", 0),
    ("opencode-host", 1),
    ("opencode-sql", 2),
    ("opencode-axum", 2),
    ("opencode-chat", 3),
    ("opencode-bench", 3),
    ("help_desk", 3),
];

/// Files that may be in a circle: none are.
pub(super) const IN_CIRCLES: &[&str] = &[];

/// One file of a crate.
#[derive(Debug)]
struct Module {
    file: String,
    code: String,
    imports: Vec<Import>,
}

/// The modules of a crate by their paths.
type Modules = BTreeMap<Vec<String>, Module>;

/// Every import that points up, by the crates' manifests and what their code names.
pub(super) fn upward(files: &[(String, String)]) -> Vec<Finding> {
    let floor = |name: &str| FLOORS.iter().find(|(known, _)| *known == name);
    let mut findings = Vec::new();
    for (file, text) in files {
        let Some(&(name, own)) = file.split('/').next().and_then(floor) else {
            continue;
        };
        if !file
            .strip_prefix(name)
            .is_some_and(|rest| rest.starts_with("/src/"))
        {
            continue;
        }
        let code = without_tests(&only_code(text));
        for (at, path) in paths(&code) {
            let used = path[0].replace('_', "-");
            if let Some((used, other)) = floor(&used).copied()
                && used != name
                && other >= own
            {
                findings.push(Finding {
                    file: file.clone(),
                    line: line_of(&code, at),
                    message: format!("{name} does not use {used}: imports point down only"),
                });
            }
        }
    }
    findings
}

/// Every circle of files, by crate, but those of `known` files alone; and every known file that is in none.
pub(super) fn circles(files: &[(String, String)], known: &[&str]) -> Vec<Finding> {
    let mut crates: BTreeMap<&str, Modules> = BTreeMap::new();
    for (file, text) in files {
        let Some((name, inside)) = file.split_once("/src/") else {
            continue;
        };
        let Some(path) =
            module_path(inside).filter(|path| !path.iter().any(|name| name == "tests"))
        else {
            continue;
        };
        let code = without_tests(&only_code(text));
        let module = Module {
            file: file.clone(),
            imports: imports(&code),
            code,
        };
        crates.entry(name).or_default().insert(path, module);
    }
    let mut findings = Vec::new();
    let mut still = BTreeSet::new();
    for modules in crates.values() {
        for circle in circles_of(&edges(modules)) {
            let names: Vec<_> = circle
                .iter()
                .map(|path| modules[*path].file.as_str())
                .collect();
            still.extend(names.iter().copied());
            if names.iter().all(|name| known.contains(name)) {
                continue;
            }
            findings.push(Finding {
                file: names[0].to_owned(),
                line: 1,
                message: format!(
                    "these files import each other in a circle: {}",
                    names.join(", ")
                ),
            });
        }
    }
    for file in known.iter().filter(|file| !still.contains(*file)) {
        findings.push(Finding {
            file: (*file).to_owned(),
            line: 1,
            message: "it is in no circle any more: take it off the list of those that are"
                .to_owned(),
        });
    }
    findings
}

/// The module that a file below `src/` is; `None` for what is none.
fn module_path(inside: &str) -> Option<Vec<String>> {
    let stem = inside.strip_suffix(".rs")?;
    let mut path: Vec<String> = stem.split('/').map(str::to_owned).collect();
    if path.first().is_some_and(|first| first == "bin") {
        return None;
    }
    if path.last().is_some_and(|last| last == "mod") {
        path.pop();
    }
    if path.len() == 1 && (path[0] == "lib" || path[0] == "main") {
        path.pop();
    }
    Some(path)
}

/// Which modules each module imports.
fn edges(modules: &Modules) -> BTreeMap<&Vec<String>, BTreeSet<&Vec<String>>> {
    let mut edges: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (own, module) in modules {
        let written = module
            .imports
            .iter()
            .filter(|import| !import.is_given_on)
            .map(|import| import.path.clone())
            .chain(paths(&module.code).map(|(_, path)| path));
        for path in written {
            if let Some(absolute) = absolute(modules, own, &path)
                && let Some(target) = resolve(modules, &absolute, 8)
                && target != own
            {
                edges.entry(own).or_default().insert(target);
            }
        }
    }
    edges
}

/// A path as written in `own`, from the crate's root; `None` where it leads out of the crate.
fn absolute(modules: &Modules, own: &[String], path: &[String]) -> Option<Vec<String>> {
    let first = path.first()?.as_str();
    let (mut from, mut rest) = match first {
        "crate" => (Vec::new(), &path[1..]),
        "self" => (own.to_vec(), &path[1..]),
        "super" => (own.to_vec(), path),
        child => {
            let mut inside = own.to_vec();
            inside.push(child.to_owned());
            if !modules.contains_key(&inside) {
                return None;
            }
            (own.to_vec(), path)
        }
    };
    while rest.first().is_some_and(|first| first == "super") {
        from.pop()?;
        rest = &rest[1..];
    }
    from.extend(rest.iter().cloned());
    Some(from)
}

/// The module in which the thing at `path` is written, through at most so many names given on.
fn resolve<'a>(modules: &'a Modules, path: &[String], left: u8) -> Option<&'a Vec<String>> {
    let known = (0..=path.len())
        .rev()
        .find_map(|length| modules.get_key_value(&path[..length]));
    let (found, module) = known?;
    let Some(name) = path.get(found.len()).filter(|_| left > 0) else {
        return Some(found);
    };
    let given = module
        .imports
        .iter()
        .find(|import| import.is_given_on && import.name == *name);
    let Some(given) = given else {
        return Some(found);
    };
    let Some(mut onward) = absolute(modules, found, &given.path) else {
        // It comes from another crate: no file of this one.
        return None;
    };
    onward.extend(path[found.len() + 1..].iter().cloned());
    resolve(modules, &onward, left - 1)
}

/// The groups of modules that all reach each other.
fn circles_of<'a>(
    edges: &BTreeMap<&'a Vec<String>, BTreeSet<&'a Vec<String>>>,
) -> Vec<BTreeSet<&'a Vec<String>>> {
    let reach = |from: &'a Vec<String>| {
        let mut reached = BTreeSet::new();
        let mut open = vec![from];
        while let Some(at) = open.pop() {
            for next in edges.get(at).into_iter().flatten() {
                if reached.insert(*next) {
                    open.push(next);
                }
            }
        }
        reached
    };
    let reached: BTreeMap<_, _> = edges.keys().map(|from| (*from, reach(from))).collect();
    let mut circles = BTreeSet::new();
    for (from, to) in &reached {
        if to.contains(from) {
            let back =
                |other: &&&Vec<String>| reached.get(**other).is_some_and(|to| to.contains(*from));
            circles.insert(to.iter().filter(back).copied().collect::<BTreeSet<_>>());
        }
    }
    circles.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(files: &[(&str, &str)]) -> Vec<(String, String)> {
        files
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect()
    }

    #[track_caller]
    fn finds(given: &[(&str, &str)], expected: &[&str]) {
        let found = circles(&files(given), &[]);
        let found: Vec<_> = found
            .iter()
            .map(|finding| finding.message.rsplit(": ").next().unwrap())
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn files_that_import_each_other_are_a_circle() {
        finds(
            &[
                ("c/src/lib.rs", "mod a; mod b; mod d;"),
                ("c/src/a.rs", "use crate::b::B;"),
                ("c/src/b.rs", "fn b() { super::d::d() }"),
                ("c/src/d.rs", "use super::{a::{self, A}};"),
            ],
            &["c/src/a.rs, c/src/b.rs, c/src/d.rs"],
        );
    }

    #[test]
    fn a_known_circle_is_let_be_until_it_is_none() {
        let given = [
            ("c/src/lib.rs", "mod a; mod b; mod d;"),
            ("c/src/a.rs", "use crate::b::B;"),
            ("c/src/b.rs", "use crate::a::A;"),
            ("c/src/d.rs", ""),
        ];
        let found = |known: &[&str]| {
            let found = circles(&files(&given), known);
            found
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; ")
        };
        assert_eq!(found(&["c/src/a.rs", "c/src/b.rs"]), "");
        assert!(found(&["c/src/a.rs"]).contains("in a circle"));
        let left = found(&["c/src/a.rs", "c/src/b.rs", "c/src/d.rs"]);
        assert!(
            left.starts_with("c/src/d.rs:1: it is in no circle any more"),
            "{left}"
        );
    }

    #[test]
    fn a_page_and_its_child_are_a_circle_when_each_uses_the_other() {
        finds(
            &[
                ("c/src/lib.rs", "mod page;"),
                ("c/src/page.rs", "mod child; use child::Child; struct Page;"),
                ("c/src/page/child.rs", "use super::Page;"),
            ],
            &["c/src/page.rs, c/src/page/child.rs"],
        );
    }

    #[test]
    fn a_name_is_imported_from_where_it_is() {
        finds(
            &[
                ("c/src/lib.rs", "mod page; mod other; pub use page::Child;"),
                (
                    "c/src/page/mod.rs",
                    "mod child; mod sibling; pub(crate) use child::Child;",
                ),
                ("c/src/page/child.rs", "use crate::other::Other;"),
                (
                    "c/src/page/sibling.rs",
                    "use super::Child; use crate::Child as Same;",
                ),
                ("c/src/other.rs", ""),
            ],
            &[],
        );
        // The circle shows through the page.
        finds(
            &[
                ("c/src/lib.rs", "mod page; mod other; pub use page::Child;"),
                (
                    "c/src/page/mod.rs",
                    "mod child; pub(crate) use child::Child;",
                ),
                ("c/src/page/child.rs", "use crate::other::Other;"),
                ("c/src/other.rs", "use crate::Child;"),
            ],
            &["c/src/other.rs, c/src/page/child.rs"],
        );
    }

    #[test]
    fn tests_comments_and_other_crates_are_no_imports() {
        finds(
            &[
                ("c/src/lib.rs", "mod a; mod b;"),
                ("c/src/a.rs", "use crate::b::B; use serde::b;"),
                (
                    "c/src/b.rs",
                    "// crate::a::A\nuse other::crate_::a; #[cfg(test)] mod tests { use crate::a::A; }",
                ),
            ],
            &[],
        );
    }

    #[test]
    fn crates_point_down_only() {
        let found = upward(&files(&[
            ("opencode-client/src/lib.rs", "use opencode_host::Host;"),
            (
                "opencode-impostor/src/lib.rs",
                "fn f() { opencode_client::f() }",
            ),
            (
                "opencode-chat/src/lib.rs",
                "use opencode_host::Host; use opencode_impostor::Impostor;",
            ),
            (
                "opencode-client/tests/it/main.rs",
                "use opencode_impostor::Impostor;",
            ),
        ]));
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "opencode-client/src/lib.rs:1: opencode-client does not use opencode-host: imports point down only",
                "opencode-impostor/src/lib.rs:1: opencode-impostor does not use opencode-client: imports point down only",
            ]
        );
    }
}
