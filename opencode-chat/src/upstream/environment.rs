//! What a supervised server gets of this process's environment.
//!
//! OpenCode hands its environment to every command that its agent runs, so it gets no more than it needs: what any
//! program needs, the settings of OpenCode, and the keys that its providers document (`provider_variables.txt`: the
//! `env` names of models.dev as OpenCode 1.18.33 has them). Names that open more than models, such as `AWS_…` and
//! `GITHUB_TOKEN`, are passed when the person names them (`--opencode-env`), and so is anything else.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What any program needs.
const NEEDED: [&str; 29] = [
    "COLORTERM",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "HOME",
    "LANG",
    "LANGUAGE",
    "LD_LIBRARY_PATH",
    "LOCALE_ARCHIVE",
    "LOGNAME",
    "NIX_LD",
    "NIX_LD_LIBRARY_PATH",
    "NIX_SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "NODE_TLS_REJECT_UNAUTHORIZED",
    "NODE_USE_SYSTEM_CA",
    "NO_COLOR",
    "PATH",
    "REQUESTS_CA_BUNDLE",
    "SHELL",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TEMP",
    "TERM",
    "TMP",
    "TMPDIR",
    "TZ",
    "TZDIR",
    "USER",
    "USERNAME",
];
/// In upper case; programs read them in lower case too.
const PROXIES: [&str; 4] = ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"];
const PREFIXES: [&str; 3] = ["LC_", "OPENCODE_", "XDG_"];
const PROVIDERS: &str = include_str!("provider_variables.txt");

/// Set by this application, or its own.
const NEVER: [&str; 6] = [
    "OPENCODE_BASE_URL",
    "OPENCODE_BIN",
    "OPENCODE_SERVER_PASSWORD",
    "OPENCODE_SERVER_PASSWORD_FILE",
    "OPENCODE_SERVER_USERNAME",
    "OPENCODE_TIMEOUT",
];
const NEVER_PREFIX: &str = "OPENCODE_CHAT_";

/// How much of a configuration is read.
const CONFIGURATION: u64 = 1 << 20;
/// How long the name of a variable may be.
const LONGEST_NAME: usize = 200;

/// A variable that the person passes to the server, or with a `*` at its end all that begin so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VariableName(String);

impl FromStr for VariableName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.strip_suffix('*').unwrap_or(text);
        if !is_name(name) {
            return Err(
                "give the name of a variable, such as AWS_PROFILE, or the beginning of several, such as AWS_*"
                    .to_owned(),
            );
        }
        if is_never(name) {
            return Err(format!(
                "{name} is this application's own: OpenCode does not get it"
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl VariableName {
    fn matches(&self, name: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == self.0,
        }
    }
}

/// The variables of a supervised server.
#[derive(Clone, Debug)]
pub(crate) struct Environment {
    /// What it gets.
    passed: Vec<(OsString, OsString)>,
    /// The names of what it does not get.
    kept: BTreeSet<String>,
}

impl Environment {
    /// Those of this process that a server gets, and what the person has named.
    pub(crate) fn of_this_process(named: &[VariableName]) -> Self {
        Self::of(std::env::vars_os(), named)
    }

    fn of(all: impl Iterator<Item = (OsString, OsString)>, named: &[VariableName]) -> Self {
        let mut environment = Self {
            passed: Vec::new(),
            kept: BTreeSet::new(),
        };
        for (name, value) in all {
            match name.to_str() {
                Some(text) if passes(text, named) => environment.passed.push((name, value)),
                Some(text) => {
                    environment.kept.insert(text.to_owned());
                }
                None => {}
            }
        }
        environment
    }

    /// What the server gets.
    pub(super) fn passed(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.passed.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Names that the person's configuration of OpenCode uses, which are set here and which the server does not get.
    /// The configuration of a server with folders of its own is below `isolated`.
    pub(crate) fn missed(&self, isolated: Option<&Path>) -> Vec<String> {
        let mut wanted = BTreeSet::new();
        for text in self.configurations(isolated) {
            wanted.extend(names_in(&text));
            if text.contains("amazon-bedrock") {
                wanted.extend(
                    self.kept
                        .iter()
                        .filter(|name| name.starts_with("AWS_"))
                        .cloned(),
                );
            }
        }
        let missed = wanted.intersection(&self.kept);
        missed.filter(|name| !is_never(name)).cloned().collect()
    }

    fn configurations(&self, isolated: Option<&Path>) -> Vec<String> {
        let value = |name: &str| {
            let mut passed = self.passed.iter();
            let (_, value) = passed.find(|(passed, value)| passed == name && !value.is_empty())?;
            Some(value)
        };
        let folder = |name: &str| value(name).map(PathBuf::from);
        let home = folder("HOME");
        let global = match isolated {
            Some(isolated) => Some(isolated.join("config")),
            None => folder("XDG_CONFIG_HOME").or(home.as_ref().map(|home| home.join(".config"))),
        };
        let folders = [
            global.map(|global| global.join("opencode")),
            home.filter(|_| isolated.is_none())
                .map(|home| home.join(".opencode")),
            folder("OPENCODE_CONFIG_DIR"),
        ];
        let files = folders.iter().flatten().flat_map(|folder| {
            ["config.json", "opencode.json", "opencode.jsonc"].map(|name| folder.join(name))
        });
        let mut texts: Vec<String> = files
            .chain(folder("OPENCODE_CONFIG"))
            .filter_map(|path| read(&path))
            .collect();
        texts.extend(
            value("OPENCODE_CONFIG_CONTENT").map(|text| text.to_string_lossy().into_owned()),
        );
        texts
    }
}

fn passes(name: &str, named: &[VariableName]) -> bool {
    if is_never(name) {
        return false;
    }
    NEEDED.contains(&name)
        || PROXIES.iter().any(|proxy| name.eq_ignore_ascii_case(proxy))
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || PROVIDERS.lines().any(|provider| provider == name)
        || named.iter().any(|named| named.matches(name))
}

fn is_never(name: &str) -> bool {
    NEVER.contains(&name) || name.starts_with(NEVER_PREFIX)
}

fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=LONGEST_NAME).contains(&name.len())
        && name.bytes().all(allowed)
        && !name.starts_with(|first: char| first.is_ascii_digit())
}

/// The beginning of a plain file.
fn read(path: &Path) -> Option<String> {
    if !path.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    File::open(path)
        .ok()?
        .take(CONFIGURATION)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The variables that a configuration names: `{env:NAME}`, and a provider's `"env": ["NAME", …]`.
fn names_in(text: &str) -> Vec<String> {
    let substituted = text
        .split("{env:")
        .skip(1)
        .filter_map(|rest| rest.split_once('}'));
    let substituted = substituted.map(|(name, _)| name.trim());
    let lists = text.split("\"env\"").skip(1).filter_map(|rest| {
        let list = rest
            .trim_start()
            .strip_prefix(':')?
            .trim_start()
            .strip_prefix('[')?;
        Some(list.split_once(']')?.0)
    });
    let listed = lists.flat_map(|list| list.split('"').skip(1).step_by(2));
    let names = substituted.chain(listed).filter(|name| is_name(name));
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| (name.into(), value.into()))
            .collect()
    }

    #[test]
    fn a_server_gets_what_it_needs_and_what_is_named() {
        for name in [
            "PATH",
            "HOME",
            "LC_ALL",
            "TZ",
            "XDG_CONFIG_HOME",
            "https_proxy",
            "NO_PROXY",
            "NODE_EXTRA_CA_CERTS",
            "OPENCODE_CONFIG_CONTENT",
            "OPENCODE_ENABLE_EXA",
            "ANTHROPIC_API_KEY",
            "OPENAI_API_KEY",
            "GEMINI_API_KEY",
            "AZURE_RESOURCE_NAME",
            "GOOGLE_VERTEX_PROJECT",
        ] {
            assert!(passes(name, &[]), "{name}");
        }
        for name in [
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_PROFILE",
            "PGPASSWORD",
            "PGHOST",
            "DATABASE_URL",
            "SENTRY_DSN",
            "GITHUB_TOKEN",
            "CLOUDFLARE_API_TOKEN",
            "GOOGLE_APPLICATION_CREDENTIALS",
            "SSH_AUTH_SOCK",
            "STRIPE_API_KEY",
            "SECRET_KEY_BASE",
            "LD_PRELOAD",
            "BUN_BE_BUN",
            "NODE_OPTIONS",
            "RUST_LOG",
            "SOMETHING",
            "",
        ] {
            assert!(!passes(name, &[]), "{name}");
        }
        let named = ["AWS_*", "SOMETHING"].map(|name| name.parse().unwrap());
        for name in ["AWS_PROFILE", "AWS_REGION", "SOMETHING"] {
            assert!(passes(name, &named), "{name}");
        }
        assert!(!passes("SOMETHING_ELSE", &named));
    }

    #[test]
    fn what_is_this_applications_own_is_never_passed() {
        let all = ["OPENCODE_*".parse().unwrap()];
        for name in NEVER.into_iter().chain(["OPENCODE_CHAT_DATABASE"]) {
            assert!(!passes(name, &all), "{name}");
            let refused = name.parse::<VariableName>().unwrap_err();
            assert!(refused.contains(name), "{refused}");
        }
        for bad in ["", "*", "A=B", "A B", "1A", "A*B", "É"] {
            assert!(bad.parse::<VariableName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_that_a_configuration_misses_are_found() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(".config/opencode");
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("opencode.jsonc");
        let text = r#"{"provider": {"acme": {"env": ["ACME_KEY", "ACME_OTHER"], "options": {"apiKey": "{env:CORP_KEY}"}},
            "amazon-bedrock": {}}, "x": "{env:UNSET} {env:PATH} {env:OPENCODE_SERVER_PASSWORD} {env:broken"}"#;
        std::fs::write(&file, text).unwrap();
        let all = variables(&[
            ("HOME", home.path().to_str().unwrap()),
            ("PATH", "/bin"),
            ("ACME_KEY", "a"),
            ("CORP_KEY", "b"),
            ("AWS_PROFILE", "c"),
            ("DATABASE_URL", "d"),
            ("INLINE", "e"),
            ("OPENCODE_SERVER_PASSWORD", "f"),
            ("OPENCODE_CONFIG_CONTENT", r#"{"a":"{env:INLINE}"}"#),
        ]);
        let missed = |named: &[VariableName], isolated: Option<&Path>| {
            Environment::of(all.clone().into_iter(), named).missed(isolated)
        };
        assert_eq!(
            missed(&[], None),
            ["ACME_KEY", "AWS_PROFILE", "CORP_KEY", "INLINE"]
        );
        let named = ["ACME_KEY", "AWS_*", "CORP_KEY"].map(|name| name.parse().unwrap());
        assert_eq!(missed(&named, None), ["INLINE"]);
        // The person's own files are not the isolated server's.
        assert_eq!(missed(&[], Some(&home.path().join("isolated"))), ["INLINE"]);
    }

    #[test]
    fn names_of_providers_are_in_order_and_open_models_alone() {
        let names: Vec<&str> = PROVIDERS.lines().collect();
        assert!(names.is_sorted(), "keep them sorted");
        assert!(
            names
                .iter()
                .all(|name| is_name(name) && !name.starts_with("AWS_"))
        );
    }
}
