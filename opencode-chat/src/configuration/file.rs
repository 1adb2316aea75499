//! The configuration file: TOML with one setting a line, each under the name of its option.
//!
//! It knows no setting by itself: what there is, and what each takes, it asks of the command line's definition. So a
//! setting is defined once, and its errors are the command line's, with the file and the line before them. A value of a
//! secret is never repeated.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};
use toml::de::{DeTable, DeValue};

use crate::cli::{has_password, is_secret};

/// The largest file in bytes.
const LARGEST: u64 = 1 << 20;

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) entries: Vec<Entry>,
    /// What the person must know of the file.
    pub(super) warning: Option<String>,
}

/// A setting in a file.
#[derive(Debug)]
pub(super) struct Entry {
    /// The name of the option, without dashes before it.
    pub(super) key: String,
    pub(super) values: Vec<String>,
    pub(super) line: usize,
}

/// Reads a file. `settings` has an option for each setting.
pub(super) fn read(path: &Path, settings: &Command) -> Result<File, String> {
    let failed = |error: &dyn std::fmt::Display| {
        format!("cannot read the configuration {}: {error}", path.display())
    };
    let file = std::fs::File::open(path).map_err(|error| failed(&error))?;
    let mode = file.metadata().map_err(|error| failed(&error))?;
    let mut text = String::new();
    let read = file.take(LARGEST + 1).read_to_string(&mut text);
    read.map_err(|error| failed(&error))?;
    if text.len() as u64 > LARGEST {
        return Err(failed(&"it is larger than 1 MiB"));
    }
    let mut file = parse(&text, path, settings)?;
    let of_secret = |entry: &Entry| {
        is_secret(&entry.key) || entry.values.iter().any(|value| has_password(value))
    };
    if mode.permissions().mode() & 0o077 != 0 && file.entries.iter().any(of_secret) {
        let path = path.display();
        file.warning = Some(format!(
            "other users may read the password in {path}: chmod 600 {path}, or name a file of its own for it"
        ));
    }
    Ok(file)
}

fn parse(text: &str, path: &Path, settings: &Command) -> Result<File, String> {
    let at = |byte: usize| {
        let before = text.as_bytes().iter().take(byte);
        before.filter(|byte| **byte == b'\n').count() + 1
    };
    let refused = |byte: usize, why: &str| format!("{}:{}: {why}", path.display(), at(byte));
    let table = DeTable::parse(text).map_err(|error| {
        let byte = error.span().map_or(0, |span| span.start);
        refused(byte, error.message())
    })?;
    let mut file = File::default();
    // In the order of the file, so that the first mistake is told.
    let mut pairs: Vec<_> = table.get_ref().iter().collect();
    pairs.sort_by_key(|(key, _)| key.span().start);
    for (key, value) in pairs {
        let byte = key.span().start;
        let name = key.get_ref().replace('_', "-");
        let told = |why: String| refused(byte, &format!("`{}` {why}", key.get_ref()));
        let of_name = |arg: &&Arg| arg.get_long() == Some(name.as_str());
        let Some(arg) = settings.get_arguments().find(of_name) else {
            return Err(told(format!("is no setting{}", nearest(settings, &name))));
        };
        if file.entries.iter().any(|entry| entry.key == name) {
            return Err(told("is given twice".to_owned()));
        }
        let values = values_of(arg, value.get_ref()).map_err(&told)?;
        for value in &values {
            check(settings, &name, value).map_err(&told)?;
        }
        file.entries.push(Entry {
            key: name,
            values,
            line: at(byte),
        });
    }
    Ok(file)
}

/// What stands in the file, as the command line would have it.
fn values_of(arg: &Arg, value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let is_switch = is_switch(arg);
    match value {
        DeValue::Boolean(on) if is_switch => Ok(vec![on.to_string()]),
        _ if is_switch => Err(format!("takes true or false, not {}", kind(value))),
        DeValue::Array(values) if matches!(arg.get_action(), ArgAction::Append) => {
            values.iter().map(|value| single(value.get_ref())).collect()
        }
        value => single(value).map(|value| vec![value]),
    }
}

fn single(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
            .map(|number| number.to_string())
            .map_err(|_| "is too large".to_owned()),
        DeValue::Float(number) => Ok(number.as_str().to_owned()),
        value => Err(format!("takes a text or a number, not {}", kind(value))),
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Whether an option is on or off.
pub(super) fn is_switch(arg: &Arg) -> bool {
    arg.get_num_args()
        .is_some_and(|range| range.min_values() == 0)
}

/// Asks the command line whether it would take this.
fn check(settings: &Command, key: &str, value: &str) -> Result<(), String> {
    let argument = format!("--{key}={value}");
    let Err(error) = settings.clone().try_get_matches_from([argument]) else {
        return Ok(());
    };
    if is_secret(key) || has_password(value) {
        return Err("cannot be read".to_owned());
    }
    if matches!(error.kind(), ErrorKind::ValueValidation) {
        let source = std::error::Error::source(&error).map(ToString::to_string);
        let why = source.unwrap_or_else(|| "it is malformed".to_owned());
        return Err(format!("cannot be {value:?}: {why}"));
    }
    let told = error.to_string();
    let first = told.lines().next().unwrap_or_default();
    Err(first.trim_start_matches("error: ").to_owned())
}

/// What may have been meant, as clap finds it.
fn nearest(settings: &Command, key: &str) -> String {
    let asked = settings.clone().try_get_matches_from([format!("--{key}")]);
    let error = asked.err();
    let found = error
        .as_ref()
        .and_then(|error| error.get(ContextKind::SuggestedArg));
    match found {
        Some(ContextValue::String(name)) => {
            format!(": did you mean `{}`?", name.trim_start_matches('-'))
        }
        _ => ". `opencode-chat config` lists them".to_owned(),
    }
}

/// Where the file is when nothing says so.
pub(super) fn usual_place() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let folder = set("XDG_CONFIG_HOME").map(PathBuf::from);
    let folder = folder.or_else(|| Some(PathBuf::from(set("HOME")?).join(".config")))?;
    Some(folder.join("opencode-chat").join("config.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::settings;

    fn told(text: &str) -> Result<Vec<(String, Vec<String>, usize)>, String> {
        let file = parse(text, Path::new("c.toml"), &settings())?;
        let entries = file.entries.into_iter();
        Ok(entries.map(|e| (e.key, e.values, e.line)).collect())
    }

    #[test]
    fn settings_are_read_under_the_names_of_options() {
        let text = "# one\nlisten = \"127.0.0.1:1\"\nmax_upload = \"5M\"\ntimeout = 30\nlease=1.5\n\
            allowed-host = [\"a.example\", \"b.example\"]\nno-worker = true\n";
        let all = told(text).unwrap();
        let one = |key: &str, values: &[&str], line| {
            let values = values.iter().map(|value| (*value).to_owned()).collect();
            (key.to_owned(), values, line)
        };
        assert_eq!(
            all,
            [
                one("listen", &["127.0.0.1:1"], 2),
                one("max-upload", &["5M"], 3),
                one("timeout", &["30"], 4),
                one("lease", &["1.5"], 5),
                one("allowed-host", &["a.example", "b.example"], 6),
                one("no-worker", &["true"], 7),
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_its_key() {
        for (text, why) in [
            (
                "\nlistne = \"x\"",
                "c.toml:2: `listne` is no setting: did you mean `listen`?",
            ),
            (
                "zzz = 1",
                "c.toml:1: `zzz` is no setting. `opencode-chat config` lists them",
            ),
            ("json = true", "c.toml:1: `json` is no setting"),
            ("[serve]\nlisten = 1", "c.toml:1: `serve` is no setting"),
            (
                "listen = \"here\"",
                "c.toml:1: `listen` cannot be \"here\": ",
            ),
            (
                "timeout = -1",
                "c.toml:1: `timeout` cannot be \"-1\": give a number of seconds above 0",
            ),
            (
                "listen = true",
                "c.toml:1: `listen` takes a text or a number, not true or false",
            ),
            (
                "listen = [\"a\"]",
                "c.toml:1: `listen` takes a text or a number, not a list",
            ),
            (
                "no-worker = \"yes\"",
                "c.toml:1: `no-worker` takes true or false, not a text",
            ),
            (
                "data = 2020-01-01",
                "c.toml:1: `data` takes a text or a number, not a date",
            ),
            (
                "max-upload = 1\nmax_upload = 2",
                "c.toml:2: `max_upload` is given twice",
            ),
            ("a = 1\nlisten = \"x", "c.toml:2: "),
        ] {
            let found = told(text).unwrap_err();
            assert!(found.starts_with(why), "{text:?}: {found}");
        }
    }

    #[test]
    fn a_malformed_secret_is_not_repeated() {
        for text in [
            "opencode-password = { hunter2 = 1 }",
            "opencode-password = \"hunter2",
            "opencode-password = hunter2",
            "opencode-url = [\"http://me:hunter2@x\"]",
        ] {
            let found = told(text).unwrap_err();
            assert!(!found.contains("hunter2"), "{found}");
        }
    }
}
