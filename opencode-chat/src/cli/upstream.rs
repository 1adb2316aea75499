//! Which OpenCode, and how it is reached.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args};

use super::SandboxArgs;
use super::secret_file::{Secret, read};
use crate::exit::Failure;
use crate::upstream::VariableName;

/// Which OpenCode, and how.
#[derive(Clone, Debug, Args)]
pub(crate) struct UpstreamArgs {
    /// A running OpenCode server. Without it: the program that the variable OPENCODE_BIN names, else `opencode` from
    /// PATH or DIR/tools, is started and stopped with this process; where there is none, a stand-in answers and says so
    #[arg(long, value_name = "URL", env = "OPENCODE_BASE_URL")]
    pub(crate) opencode_url: Option<String>,
    /// The user that the server at --opencode-url was started with, sent along with its password [default: opencode]
    #[arg(long, value_name = "NAME", env = "OPENCODE_SERVER_USERNAME")]
    pub(crate) opencode_username: Option<String>,
    /// The server's password. Every user of this machine sees it in the list of processes (ps): better set the variable,
    /// or give a file
    #[arg(
        long,
        value_name = "PASSWORD",
        env = "OPENCODE_SERVER_PASSWORD",
        hide_env_values = true
    )]
    pub(crate) opencode_password: Option<String>,
    /// A file with the server's password in its one line
    #[arg(long, value_name = "PATH", env = "OPENCODE_SERVER_PASSWORD_FILE")]
    pub(crate) opencode_password_file: Option<PathBuf>,
    /// A variable of this environment that a started OpenCode gets too, such as AWS_PROFILE, or AWS_* for all that begin
    /// so; give it once for each. The agent's shell can read it. Without it OpenCode gets PATH, HOME, locale, proxies,
    /// certificates, XDG_*, its own OPENCODE_* and the keys its providers document
    #[arg(
        long = "opencode-env",
        value_name = "NAME",
        env = "OPENCODE_CHAT_OPENCODE_ENV",
        value_delimiter = ','
    )]
    pub(crate) opencode_env: Vec<VariableName>,
    /// Start OpenCode with folders of its own, below DIR/opencode, instead of your configuration and credentials
    #[arg(
        long,
        env = "OPENCODE_CHAT_OPENCODE_ISOLATED",
        num_args = 0..=1,
        require_equals = true,
        default_value = "false",
        default_missing_value = "true",
        value_name = "true|false",
        hide_default_value = true,
        hide_possible_values = true,
        value_parser = FalseyValueParser::new(),
        action = ArgAction::Set
    )]
    pub(crate) opencode_isolated: bool,
    /// Let sub-agents of the server at --opencode-url work. They ask you for NOTHING: a shell command of theirs runs at
    /// once. Without this they are off there; those of a server that is started here ask as the agent does
    #[arg(
        long,
        env = "OPENCODE_CHAT_ALLOW_UNASKED_SUBAGENTS",
        num_args = 0..=1,
        require_equals = true,
        default_value = "false",
        default_missing_value = "true",
        value_name = "true|false",
        hide_default_value = true,
        hide_possible_values = true,
        value_parser = FalseyValueParser::new(),
        action = ArgAction::Set
    )]
    pub(crate) allow_unasked_subagents: bool,
    #[command(flatten)]
    pub(crate) sandbox: SandboxArgs,
}

impl UpstreamArgs {
    /// The password, from wherever it was given.
    pub(crate) fn password(&self) -> Result<Secret, Failure> {
        match (&self.opencode_password, &self.opencode_password_file) {
            (Some(_), Some(_)) => Err(Failure::configuration(
                "two passwords are given: leave out --opencode-password (OPENCODE_SERVER_PASSWORD) or \
                 --opencode-password-file (OPENCODE_SERVER_PASSWORD_FILE)",
            )),
            (None, Some(path)) => read(path).map_err(|why| {
                Failure::configuration(format!(
                    "cannot take the password from {}: {why} (--opencode-password-file)",
                    path.display()
                ))
            }),
            (value, None) => Ok(Secret {
                value: value.clone(),
                warning: None,
            }),
        }
    }
}

/// Secrets on the command line, where every user of this machine can read them.
pub(crate) fn exposed(arguments: impl Iterator<Item = OsString>) -> Vec<&'static str> {
    let mut told = Vec::new();
    let mut before = String::new();
    for argument in arguments {
        let argument = argument.to_string_lossy();
        if argument == "--" {
            break;
        }
        if argument == "--opencode-password" || argument.starts_with("--opencode-password=") {
            told.push(
                "other users of this machine see the password in the list of processes (ps): give \
                 --opencode-password-file PATH, or set OPENCODE_SERVER_PASSWORD, instead of --opencode-password",
            );
        }
        if argument == "--webhook-secret" || argument.starts_with("--webhook-secret=") {
            told.push(
                "other users of this machine see the secret of webhooks in the list of processes (ps): give \
                 --webhook-secret-file PATH, or set OPENCODE_CHAT_WEBHOOK_SECRET, instead of --webhook-secret",
            );
        }
        let database = argument.strip_prefix("--database=");
        let database = database.or((before == "--database").then_some(&*argument));
        if database.is_some_and(has_password) {
            told.push(
                "other users of this machine see the database's password in the list of processes (ps): set \
                 OPENCODE_CHAT_DATABASE instead of --database",
            );
        }
        before = argument.into_owned();
    }
    told
}

/// Whether a URL has a password before its host, or among its parameters.
pub(crate) fn has_password(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else {
        return false;
    };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let user = authority.rsplit_once('@').map(|(user, _)| user);
    user.is_some_and(|user| user.contains(':')) || rest.contains("password=")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::os::unix::fs::PermissionsExt as _;

    #[derive(Debug, Parser)]
    struct Alone {
        #[command(flatten)]
        upstream: UpstreamArgs,
    }

    fn given(arguments: &[&str]) -> UpstreamArgs {
        Alone::parse_from([&["chat"], arguments].concat()).upstream
    }

    fn file(bytes: &[u8], mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn a_password_is_read_from_a_file() {
        for (bytes, password) in [
            ("secret\n", "secret"),
            ("secret", "secret"),
            ("secret\r\n", "secret"),
            (" se cret \n\n", " se cret "),
        ] {
            let file = file(bytes.as_bytes(), 0o600);
            let args = given(&["--opencode-password-file", file.path().to_str().unwrap()]);
            let found = args.password().unwrap();
            assert_eq!(found.value.as_deref(), Some(password), "{bytes:?}");
            assert_eq!(found.warning, None);
        }
    }

    #[test]
    fn a_password_file_that_others_read_is_told() {
        for mode in [0o644, 0o640, 0o604] {
            let file = file(b"secret\n", mode);
            let args = given(&["--opencode-password-file", file.path().to_str().unwrap()]);
            let warning = args.password().unwrap().warning.unwrap();
            assert!(warning.contains("chmod 600"), "{warning}");
            assert!(!warning.contains("secret"), "{warning}");
        }
    }

    #[test]
    fn a_password_file_that_is_none_is_refused() {
        let long = "x".repeat(4097);
        for (bytes, why) in [
            (&b""[..], "it is empty"),
            (b"\n\n", "it is empty"),
            (b"one\ntwo\n", "more than one line"),
            (b"\xff\xfe", "not UTF-8"),
            (long.as_bytes(), "longer than"),
        ] {
            let file = file(bytes, 0o600);
            let args = given(&["--opencode-password-file", file.path().to_str().unwrap()]);
            let failure = args.password().unwrap_err();
            assert!(failure.message().contains(why), "{failure:?}");
            assert!(
                failure.message().contains("--opencode-password-file"),
                "{failure:?}"
            );
        }
        for path in ["/nonexistent/password", "/"] {
            let args = given(&["--opencode-password-file", path]);
            assert!(args.password().unwrap_err().message().contains(path));
        }
        let both = given(&["--opencode-password=a", "--opencode-password-file", "/b"]);
        assert!(
            both.password()
                .unwrap_err()
                .message()
                .starts_with("two passwords")
        );
    }

    #[test]
    fn what_ps_shows_is_told() {
        let told = |arguments: &[&str]| exposed(arguments.iter().map(OsString::from)).len();
        for shown in [
            &["serve", "--opencode-password", "x"][..],
            &["--opencode-password=x"],
            &["--webhook-secret=x"],
            &["--database", "postgres://me:x@db/chat"],
            &["--database=postgres://db/chat?user=me&password=x"],
        ] {
            assert_eq!(told(shown), 1, "{shown:?}");
        }
        for hidden in [
            &["turn", "--opencode-password-file", "/run/secret"][..],
            &["turn", "--", "--opencode-password"],
            &["--database", "postgres://me@db/chat"],
            &["--database", "chat.db"],
            &["turn", "postgres://me:x@db/chat"],
        ] {
            assert_eq!(told(hidden), 0, "{hidden:?}");
        }
    }
}
