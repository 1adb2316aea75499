//! Rules for every text file.

use super::finding::Finding;
use super::words::{empty_word, has_extension};

/// More lines are two things in one file.
const MOST_LINES: usize = 600;
/// What a person wrote and reads as code.
const CODE: [&str; 8] = ["css", "html", "js", "py", "rs", "sh", "sql", "ts"];

/// Hosts that a build must not name: each machine reaches the registries its own way.
// In two parts, so that this file passes its own rule.
const HOSTS: [&str; 10] = [
    concat!("registry.npm", "js.org"),
    concat!("npm", "js.com"),
    concat!("crates", ".io"),
    concat!("py", "pi.org"),
    concat!("python", "hosted.org"),
    concat!("deb.", "debian.org"),
    concat!("security.", "debian.org"),
    concat!("archive.", "ubuntu.com"),
    concat!("proxy.", "golang.org"),
    concat!("ruby", "gems.org"),
];

/// Folders that only one machine has.
const FOLDERS: [&str; 4] = [
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
];

/// The rule for the path of a file.
pub(super) fn check_name(file: &str) -> Option<Finding> {
    empty_word(file).map(|word| Finding {
        file: file.to_owned(),
        line: 1,
        message: format!("`{word}` in a path says nothing: name what is in it"),
    })
}

/// The rules for the text of a file.
pub(super) fn check_text(file: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |line: usize, message: String| {
        findings.push(Finding {
            file: file.to_owned(),
            line,
            message,
        });
    };
    let lines = text.lines().count();
    if lines > MOST_LINES && is_ours(file) {
        find(
            MOST_LINES + 1,
            format!("{lines} lines: split it, {MOST_LINES} is the most"),
        );
    }
    for (index, line) in text.lines().enumerate() {
        // Cargo itself writes there where a package is from.
        if file != "Cargo.lock" {
            for host in HOSTS.iter().filter(|host| line.contains(**host)) {
                find(
                    index + 1,
                    format!("the host `{host}` of a package registry"),
                );
            }
        }
        for folder in FOLDERS.iter().filter(|folder| names_folder(line, folder)) {
            find(index + 1, format!("a path of one machine, `{folder}`"));
        }
    }
    findings
}

fn is_ours(file: &str) -> bool {
    let vendored = file.split('/').any(|part| part == "vendor") || file.contains(".min.");
    // Types for TypeScript, which a program makes.
    let made = file.ends_with(".d.ts");
    has_extension(file, &CODE) && !vendored && !made
}

/// True when `line` holds a path that begins with `folder`; in the middle of another path or of an address
/// it is something else.
fn names_folder(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + folder.len()..].chars().next();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-/~}>)$*:".contains(c))
            && after.is_some_and(|c| c.is_alphanumeric() || "._".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(file: &str, text: &str) -> Vec<usize> {
        check_text(file, text)
            .iter()
            .map(|finding| finding.line)
            .collect()
    }

    #[test]
    fn a_path_says_what_is_in_it() {
        assert!(check_name("a/src/utils.rs").is_some());
        assert!(check_name("a/tests/common/mod.rs").is_some());
        assert!(check_name("a/src/event_manager.rs").is_some());
        assert!(check_name("a/src/event_hub.rs").is_none());
    }

    #[test]
    fn a_long_file_of_our_own_is_found() {
        let long = "x\n".repeat(MOST_LINES + 1);
        for file in ["a.rs", "static/app.css", "migrations/1.sql"] {
            assert_eq!(lines(file, &long), [MOST_LINES + 1], "{file}");
            assert_eq!(lines(file, &long[2..]), [0; 0], "{file}");
        }
        for file in [
            "a.jsonl",
            "Cargo.lock",
            "docs/openapi.d.ts",
            "static/vendor/turbo.js",
            "turbo.min.js",
        ] {
            assert_eq!(lines(file, &long), [0; 0], "{file}");
        }
    }

    #[test]
    fn a_registry_is_found_everywhere_but_in_the_lock_file_of_cargo() {
        for host in HOSTS {
            let text = format!("one\nsee https://{host}/thing\n");
            assert_eq!(lines("README.md", &text), [2], "{host}");
            assert_eq!(lines("Cargo.lock", &text), [0; 0], "{host}");
        }
    }

    #[test]
    fn a_folder_of_one_machine_is_found() {
        for folder in FOLDERS {
            for text in [
                format!("{folder}me"),
                format!("\"{folder}me\""),
                format!("dir={folder}.config"),
            ] {
                assert_eq!(lines("a.md", &text), [1], "{text}");
            }
            for text in [
                format!("https://host{folder}me"),
                format!("$X{folder}me"),
                format!("{{dir}}{folder}me"),
                format!("href=\"{folder}\""),
            ] {
                assert_eq!(lines("a.md", &text), [0; 0], "{text}");
            }
        }
    }
}
