//! Names taken apart.

use std::path::Path;

/// Whether the file's name ends in one of these.
pub(super) fn has_extension(file: &str, extensions: &[&str]) -> bool {
    let found = Path::new(file).extension().and_then(|found| found.to_str());
    found.is_some_and(|found| extensions.contains(&found))
}

/// The words of a name in any of the usual spellings, in lower case.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut after_lower = false;
    for c in name.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && after_lower) {
            words.push(String::new());
        }
        if c.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
        after_lower = c.is_lowercase() || c.is_numeric();
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The first word of `name` that says nothing about what it names.
pub(super) fn empty_word(name: &str) -> Option<String> {
    const EMPTY: [&str; 7] = [
        "util", "utils", "common", "manager", "managers", "helper", "helpers",
    ];
    words(name)
        .into_iter()
        .find(|word| EMPTY.contains(&word.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_in_every_spelling() {
        assert_eq!(words("turn_store"), ["turn", "store"]);
        assert_eq!(words("TurnStore"), ["turn", "store"]);
        assert_eq!(
            words(".ci/run-All2Go.rs"),
            ["ci", "run", "all2", "go", "rs"]
        );
        assert_eq!(empty_word("SessionManager"), Some("manager".into()));
        assert_eq!(empty_word("test_utils"), Some("utils".into()));
        assert_eq!(empty_word("uncommon_futility"), None);
    }
}
