//! The settings of a run: from options, else from the environment, else from a credential of systemd, else from the
//! configuration file, else the defaults.
//!
//! Each setting is defined once, as an option of `serve` with a variable of the environment. What comes from elsewhere
//! takes the place of the option's default, so that clap itself decides what goes before what.

mod file;
mod reload;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command as Definition, CommandFactory as _, FromArgMatches as _};

use crate::cli::{Cli, Command, has_password, is_secret, read_secret};
use file::{Entry, is_switch};
pub(crate) use reload::reload;

/// The settings that are secret, each with the one that names a file of it.
const SECRETS: [(&str, &str); 3] = [
    ("opencode-password", "opencode-password-file"),
    ("database", "database-url-file"),
    ("webhook-secret", "webhook-secret-file"),
];

/// What a run was told.
#[derive(Debug)]
pub(crate) struct Configured {
    pub(crate) command: Command,
    /// What is logged, if it was said.
    pub(crate) log: Option<String>,
    /// The settings that the command takes.
    pub(crate) settings: Vec<Setting>,
    /// What the person must know.
    pub(crate) warnings: Vec<String>,
}

/// Why there is nothing to run.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The command line is wrong, or asks for help.
    Usage(clap::Error),
    /// What else it is, for a person.
    Configuration(String),
}

impl From<clap::Error> for Refused {
    fn from(error: clap::Error) -> Self {
        Self::Usage(error)
    }
}

/// A setting as it is in effect.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    /// The name of its option.
    pub(crate) key: String,
    values: Option<Vec<String>>,
    is_switch: bool,
    is_list: bool,
    source: Source,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Option,
    Variable(String),
    /// A file with this secret alone.
    Secret(PathBuf),
    File(PathBuf, usize),
    Default,
}

/// Values that take the place of defaults, by the names of options.
type Layer = BTreeMap<String, (Vec<String>, Source)>;

/// Reads the settings of a run with these arguments.
pub(crate) fn read(mut arguments: Vec<OsString>) -> Result<Configured, Refused> {
    let mut told = Cli::command().try_get_matches_from(&arguments)?;
    if told.subcommand_name().is_none() {
        arguments.push("serve".into());
        told = Cli::command().try_get_matches_from(&arguments)?;
    }
    let cli = Cli::from_arg_matches(&told)?;
    let uses_file = cli
        .command
        .as_ref()
        .is_some_and(|command| command.store().is_some() || matches!(command, Command::Config(_)));
    let mut warnings = Vec::new();
    let layer = if uses_file {
        layer(&cli, &told, &mut warnings).map_err(Refused::Configuration)?
    } else {
        Layer::new()
    };
    let told = layered(&layer).try_get_matches_from(&arguments)?;
    let settings = effective(&told, &layer);
    let cli = Cli::from_arg_matches(&told)?;
    let command = cli.command.ok_or_else(|| {
        Refused::Configuration("no command was given: try `opencode-chat --help`".to_owned())
    })?;
    Ok(Configured {
        command,
        // An empty variable is none.
        log: cli.log.filter(|filter| !filter.is_empty()),
        settings,
        warnings,
    })
}

/// What the file and the credentials say.
fn layer(cli: &Cli, told: &ArgMatches, warnings: &mut Vec<String>) -> Result<Layer, String> {
    let mut layer = Layer::new();
    let usual = file::usual_place().filter(|path| path.exists());
    if let Some(path) = cli.config.clone().or(usual) {
        let file = file::read(&path, &settings())?;
        warnings.extend(file.warning);
        for Entry { key, values, line } in file.entries {
            layer.insert(key, (values, Source::File(path.clone(), line)));
        }
        for (secret, file) in SECRETS {
            if let (true, Some((_, Source::File(_, line)))) =
                (layer.contains_key(secret), layer.get(file))
            {
                let path = path.display();
                return Err(format!(
                    "{path}:{line}: `{secret}` and `{file}` are both given: leave one out"
                ));
            }
        }
    }
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    for (secret, file) in SECRETS {
        let is_told = |key| explicit(told, key).is_some();
        let credential = credentials.as_ref().map(|folder| folder.join(secret));
        // What goes before it decides which of the two it is.
        if is_told(secret) || is_told(file) {
            layer.remove(secret);
            layer.remove(file);
        } else if let Some(path) = credential.filter(|path| path.exists()) {
            layer.remove(file);
            let value = secret_of(&path, "the credential", warnings)?;
            layer.insert(secret.to_owned(), (vec![value], Source::Secret(path)));
        }
    }
    resolve_database(told, &mut layer, warnings)?;
    Ok(layer)
}

/// Reads the database's URL from its file, if it is there.
fn resolve_database(
    told: &ArgMatches,
    layer: &mut Layer,
    warnings: &mut Vec<String>,
) -> Result<(), String> {
    let [_, (secret, file), _] = SECRETS;
    let named = explicit(told, file).or_else(|| layer.get(file)?.0.first().cloned());
    let Some(named) = named.filter(|path| !path.is_empty()) else {
        return Ok(());
    };
    if explicit(told, secret).is_some() {
        return Err(format!(
            "two databases are given: leave out --{secret} (OPENCODE_CHAT_DATABASE) or --{file} \
             (OPENCODE_CHAT_DATABASE_URL_FILE)"
        ));
    }
    let path = PathBuf::from(named);
    let value = secret_of(&path, "the database's URL", warnings)?;
    layer.insert(secret.to_owned(), (vec![value], Source::Secret(path)));
    Ok(())
}

fn secret_of(path: &Path, what: &str, warnings: &mut Vec<String>) -> Result<String, String> {
    let secret = read_secret(path).and_then(|secret| {
        warnings.extend(secret.warning);
        secret.value.ok_or_else(|| "it is empty".to_owned())
    });
    secret.map_err(|why| format!("cannot take {what} from {}: {why}", path.display()))
}

/// What an option or a variable said.
fn explicit(told: &ArgMatches, key: &str) -> Option<String> {
    let (_, of_command) = told.subcommand()?;
    let id = key.replace('-', "_");
    match of_command.try_contains_id(&id) {
        Ok(true) => {}
        _ => return None,
    }
    let source = of_command.value_source(&id);
    let is_explicit = matches!(
        source,
        Some(ValueSource::CommandLine | ValueSource::EnvVariable)
    );
    let mut values = of_command.get_raw(&id)?;
    let value = values.next()?.to_string_lossy().into_owned();
    is_explicit.then_some(value)
}

/// The command line with other defaults.
fn layered(layer: &Layer) -> Definition {
    let given = |arg: Arg| match arg.get_long().and_then(|key| layer.get(key)) {
        // Help says nothing of the values: there are secrets among them.
        Some((values, _)) => arg.default_values(values.clone()).hide_default_value(true),
        None => arg,
    };
    Cli::command()
        .mut_args(given)
        .mut_subcommands(|command| command.mut_args(given))
}

/// An option for each setting, and nothing else. The environment does not reach it.
pub(crate) fn settings() -> Definition {
    let cli = Cli::command();
    let of_serve = cli.find_subcommand("serve").into_iter();
    let all = of_serve.flat_map(Definition::get_arguments);
    let of_all = cli.get_arguments().filter(|arg| arg.get_id() == "log");
    let plain = |arg: &Arg| arg.clone().env(None::<&str>).global(false);
    Definition::new("settings")
        .no_binary_name(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args(all.chain(of_all).map(plain))
}

/// The settings of the command that was given.
fn effective(told: &ArgMatches, layer: &Layer) -> Vec<Setting> {
    let Some((name, of_command)) = told.subcommand() else {
        return Vec::new();
    };
    let cli = Cli::command();
    let Some(definition) = cli.find_subcommand(name) else {
        return Vec::new();
    };
    let known = settings();
    let is_setting = |arg: &&Arg| {
        arg.get_long().is_some_and(|long| {
            known
                .get_arguments()
                .any(|arg| arg.get_long() == Some(long))
        })
    };
    let all = definition.get_arguments().chain(cli.get_arguments());
    all.filter(is_setting)
        .filter_map(|arg| {
            let key = arg.get_long()?.to_owned();
            let id = arg.get_id().as_str();
            let raw = of_command.try_get_raw(id).ok()?;
            let values = raw.map(|raw| {
                raw.map(|value| value.to_string_lossy().into_owned())
                    .collect()
            });
            let source = match of_command.value_source(id) {
                Some(ValueSource::CommandLine) => Source::Option,
                Some(ValueSource::EnvVariable) => {
                    let name = arg.get_env().unwrap_or_default();
                    Source::Variable(name.to_string_lossy().into_owned())
                }
                _ => layer
                    .get(&key)
                    .map_or(Source::Default, |(_, source)| source.clone()),
            };
            Some(Setting {
                key,
                values,
                is_switch: is_switch(arg),
                is_list: matches!(arg.get_action(), clap::ArgAction::Append),
                source,
            })
        })
        .collect()
}

impl Setting {
    /// Whether the value may not be shown.
    fn is_hidden(&self) -> bool {
        let mut values = self.values.iter().flatten();
        let is_known =
            |value: &String| has_password(value) || (self.key == "bus" && value.contains('@'));
        is_secret(&self.key) || values.any(is_known)
    }

    /// The value as the file would have it.
    fn value(&self) -> Option<String> {
        let values = self.values.as_ref()?;
        let first = values.first()?;
        Some(if self.is_switch {
            first.clone()
        } else if self.is_list {
            let all: Vec<_> = values.iter().map(|value| quoted(value)).collect();
            format!("[{}]", all.join(", "))
        } else {
            quoted(first)
        })
    }
}

/// One line of a configuration file. A value that is secret, or not there, is left out of it.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, source, .. } = self;
        match self.value() {
            Some(_) if self.is_hidden() => write!(f, "# {key} is hidden  # {source}"),
            Some(value) => write!(f, "{key} = {value}  # {source}"),
            None => write!(f, "# {key} is not set"),
        }
    }
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Option => f.write_str("option"),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::Secret(path) => write!(f, "file {}", path.display()),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.extend(format!("\\u{:04x}", u32::from(c)).chars()),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_a_variable_of_the_environment() {
        let cli = Cli::command();
        for name in ["serve", "worker"] {
            for arg in cli.find_subcommand(name).unwrap().get_arguments() {
                assert!(arg.get_env().is_some(), "{name} {}", arg.get_id());
            }
        }
    }

    #[test]
    fn a_worker_takes_no_setting_that_serve_does_not() {
        let known = settings();
        let cli = Cli::command();
        for arg in cli.find_subcommand("worker").unwrap().get_arguments() {
            let long = arg.get_long();
            assert!(
                known.get_arguments().any(|arg| arg.get_long() == long),
                "{long:?}"
            );
        }
    }

    #[test]
    fn a_text_is_read_as_it_was_written() {
        let text = "a \"b\" \\ c\n\u{7f}é";
        let line = format!("x = {}", quoted(text));
        let table = toml::de::DeTable::parse(&line).unwrap();
        let value = table.get_ref().get("x").unwrap().get_ref();
        assert_eq!(value.as_str(), Some(text));
    }
}
