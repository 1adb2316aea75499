//! Which name each of a turn's files is attached under.
//!
//! Its own name without folders, as long as one file has it. Of several in different folders one keeps it: the
//! one that a tool changed last, else the one nearest the top. The others are told apart by their folders:
//! `b/report.md` becomes `b-report.md`. This follows from the files' places alone, so that whoever attaches them
//! again, or at the same time, comes to the same names.

use std::collections::{HashMap, HashSet};

use super::exchange_files::{ExchangeFile, ExchangeFiles};
use crate::blobs::Digest;
use crate::sandbox::SandboxFile;
use crate::store::MAX_ATTACHMENT_NAME;

/// The names, by place.
#[derive(Debug, Default)]
pub(super) struct Naming {
    by_place: HashMap<String, String>,
    taken: HashSet<String>,
}

impl Naming {
    pub(super) fn of(tools: &ExchangeFiles<'_>, listed: &[SandboxFile]) -> Self {
        let mut naming = Self::default();
        let told = tools.files().iter().filter_map(place_and_name);
        let mut others: Vec<_> = listed
            .iter()
            .map(|file| (file.path().as_str(), file.name()))
            .collect();
        others.sort_by_key(|(place, _)| (place.matches('/').count(), *place));
        let shadowed = tools.shadowed().iter().filter_map(place_and_name);
        let all: Vec<_> = told.chain(others).chain(shadowed).collect();
        for (place, name) in &all {
            if !naming.by_place.contains_key(*place) && !naming.taken.contains(*name) {
                naming.give(place, (*name).to_owned());
            }
        }
        // By place, so that what came first does not matter.
        let mut rest: Vec<_> = all
            .into_iter()
            .filter(|(place, _)| !naming.by_place.contains_key(*place))
            .collect();
        rest.sort_unstable();
        rest.dedup();
        for (place, name) in rest {
            let distinct = distinct(place, name);
            // Fewer names are taken than there are numbers to try.
            let numbered = (2..naming.taken.len() + 3)
                .map(|number| fitted(&format!("{number}-{}", distinct.as_deref().unwrap_or(name))));
            let free = distinct
                .clone()
                .into_iter()
                .chain(numbered)
                .find(|name| !naming.taken.contains(name));
            if let Some(free) = free {
                naming.give(place, free);
            }
        }
        naming
    }

    fn give(&mut self, place: &str, name: String) {
        self.taken.insert(name.clone());
        self.by_place.insert(place.to_owned(), name);
    }

    /// The name of the file at this place, which has `name` without folders.
    pub(super) fn name<'a>(&'a self, place: &str, name: &'a str) -> &'a str {
        self.by_place.get(place).map_or(name, String::as_str)
    }
}

fn place_and_name<'a>(file: &'a ExchangeFile<'_>) -> Option<(&'a str, &'a str)> {
    Some((file.place(), file.name()?))
}

/// `a/b/report.md` becomes `a-b-report.md`. Of a path outside the sandbox only the last folder is told; at the
/// top there is none.
pub(super) fn distinct(place: &str, name: &str) -> Option<String> {
    let (folders, _) = place.rsplit_once('/')?;
    let told = match folders.rsplit_once('/') {
        Some((_, last)) if place.starts_with('/') => last,
        _ => folders,
    };
    if told.is_empty() {
        return None;
    }
    let joined = format!("{}-{name}", told.replace('/', "-"));
    if joined.chars().count() <= MAX_ATTACHMENT_NAME {
        return Some(joined);
    }
    let digest = Digest::of(place.as_bytes()).to_string();
    Some(fitted(&format!("{}-{name}", &digest[..8])))
}

/// The first eight characters and the end, with the extension, of what is too long.
fn fitted(name: &str) -> String {
    let length = name.chars().count();
    let Some(over) = length.checked_sub(MAX_ATTACHMENT_NAME + 1) else {
        return name.to_owned();
    };
    let kept = |(at, _): &(usize, char)| *at < 9 || *at > 9 + over;
    name.chars()
        .enumerate()
        .filter(kept)
        .map(|(_, c)| c)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_tell_files_apart() {
        for (place, name) in [
            ("b/report.md", Some("b-report.md")),
            ("a/b/report.md", Some("a-b-report.md")),
            ("/elsewhere/x/secret/report.md", Some("secret-report.md")),
            ("/report.md", None),
            ("report.md", None),
        ] {
            assert_eq!(distinct(place, "report.md").as_deref(), name, "{place}");
        }
    }

    #[test]
    fn a_long_path_becomes_a_name_that_fits() {
        let name = format!("{}.md", "é".repeat(120));
        let folder = "x".repeat(250);
        let [one, two] = ["a", "b"].map(|last| format!("{folder}/{last}/{name}"));
        let [one, two] = [one, two].map(|place| distinct(&place, &name).unwrap());
        assert_ne!(one, two);
        for name in [one, two] {
            assert!(name.chars().count() <= MAX_ATTACHMENT_NAME, "{name}");
            assert!(name.ends_with("éé.md"), "{name}");
        }
        let long = format!("{}.md", "n".repeat(252));
        let fits = distinct(&format!("a/{long}"), &long).unwrap();
        assert_eq!(fits.chars().count(), MAX_ATTACHMENT_NAME, "{fits}");
        assert!(fits.ends_with("nn.md"), "{fits}");
    }
}
