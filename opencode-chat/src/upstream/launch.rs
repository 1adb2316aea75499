//! How a supervised server is started: its port, its password, its environment.

use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use opencode_client::Client;
use tokio::process::Command;
use uuid::Uuid;

use super::environment::Environment;
use super::seal::Orders;
use super::{guard, server_configuration};
use crate::exit::Failure;
use crate::product::permission_rules;

/// Ports that no system gives to outgoing connections (Linux begins at 32768), so that the server's stays free
/// until it is taken, and while a crashed server is away.
const PORTS: std::ops::Range<u16> = 18_000..32_000;

/// How one server is started, every time the same way.
#[derive(Debug)]
pub(super) struct Launch {
    program: PathBuf,
    port: u16,
    password: String,
    /// Folders of its own, instead of the person's.
    isolated: Option<PathBuf>,
    environment: Environment,
    /// The folder of all sandboxes.
    sandboxes: PathBuf,
    /// The person's configuration, with what makes sub-agents ask.
    configuration: String,
}

impl Launch {
    /// Chooses a free port and a random password. Makes the folder `isolated`, and what belongs in it.
    pub(super) fn new(
        program: &Path,
        isolated: Option<&Path>,
        sandboxes: &Path,
        environment: Environment,
    ) -> Result<Self, Failure> {
        let isolated = isolated.map(prepare).transpose()?;
        let port = free_port().map_err(|error| {
            Failure::configuration(format!("no free port on 127.0.0.1 for OpenCode: {error}"))
        })?;
        Ok(Self {
            program: program.to_owned(),
            port,
            password: Uuid::new_v4().simple().to_string(),
            isolated,
            environment,
            sandboxes: sandboxes.to_owned(),
            configuration: configured()?,
        })
    }

    /// Talks to the server, once it is there.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        Ok(Client::builder(self.url())
            .password(&*self.password)
            .build()?)
    }

    /// Talks to it as one who has no password.
    pub(super) fn stranger(&self) -> Result<Client, Failure> {
        Ok(Client::builder(self.url()).build()?)
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The server's password.
    pub(super) fn password(&self) -> &str {
        &self.password
    }

    /// The name of the program, for people.
    pub(super) fn name(&self) -> String {
        self.program.display().to_string()
    }

    /// The first line of the guard's standard input.
    pub(super) fn orders(&self) -> String {
        let orders = Orders {
            password: self.password.clone(),
            sandboxes: self.sandboxes.to_string_lossy().into_owned(),
        };
        format!("{}\n", serde_json::json!(orders))
    }

    /// The command that starts the server under a guard.
    pub(super) fn command(&self) -> io::Result<Command> {
        let port = self.port.to_string();
        let args = ["serve", "--hostname", "127.0.0.1", "--port", &port].map(OsString::from);
        let mut command = guard::command(&self.program, &args)?;
        command
            .env_clear()
            .envs(self.environment.passed())
            .env(CONFIGURATION, &self.configuration)
            // A server that replaces its own program in the middle of turns is nobody's wish.
            .env("OPENCODE_DISABLE_AUTOUPDATE", "1")
            // An agent can write to its sandbox: a configuration found there is not the server's, and its AGENTS.md no
            // part of the system prompt. Plugins found there are looked for all the same (1.18.33, at the first prompt
            // in that folder, with OPENCODE_PURE too): see `seal.js`.
            .env("OPENCODE_DISABLE_PROJECT_CONFIG", "1");
        if let Some(folder) = &self.isolated {
            command.env("OPENCODE_DISABLE_MODELS_FETCH", "1");
            for (name, folder) in folders(folder) {
                command.env(name, folder);
            }
        }
        Ok(command)
    }
}

fn folders(root: &Path) -> [(&'static str, PathBuf); 5] {
    [
        ("HOME", root.join("home")),
        ("XDG_CONFIG_HOME", root.join("config")),
        ("XDG_DATA_HOME", root.join("data")),
        ("XDG_CACHE_HOME", root.join("cache")),
        ("XDG_STATE_HOME", root.join("state")),
    ]
}

/// Makes the folders of an isolated server. It is started from another folder, so the path is made absolute.
fn prepare(root: &Path) -> Result<PathBuf, Failure> {
    let made = std::path::absolute(root).and_then(|root| {
        folders(&root)
            .iter()
            .try_for_each(|(_, folder)| std::fs::create_dir_all(folder))?;
        Ok(root)
    });
    made.map_err(|error| {
        Failure::configuration(format!("cannot make {} (--data): {error}", root.display()))
    })
}

/// The variable whose configuration OpenCode reads last.
const CONFIGURATION: &str = "OPENCODE_CONFIG_CONTENT";

/// The configuration of our environment, with what makes sub-agents ask.
fn configured() -> Result<String, Failure> {
    let given = std::env::var(CONFIGURATION).ok();
    server_configuration::asking(given.as_deref(), &permission_rules()).map_err(|error| {
        Failure::configuration(format!(
            "cannot add the permission rules to {CONFIGURATION}: {error}. Write it as plain JSON, without comments, or \
             put it in a file and name that with OPENCODE_CONFIG"
        ))
    })
}

fn free_port() -> io::Result<u16> {
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let random = || PORTS.start + (Uuid::new_v4().as_u128() % PORTS.len() as u128) as u16;
    match std::iter::repeat_with(random).take(50).find(is_free) {
        Some(port) => Ok(port),
        None => Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::ffi::OsStr;

    fn launched(isolated: Option<&Path>) -> Result<Launch, Failure> {
        let environment = Environment::of_this_process(&[]);
        let sandboxes = Path::new("/srv/sandboxes");
        Launch::new(Path::new("/bin/opencode"), isolated, sandboxes, environment)
    }

    fn environment(command: &Command) -> HashMap<&OsStr, Option<&OsStr>> {
        command.as_std().get_envs().collect()
    }

    #[test]
    fn the_password_is_neither_in_the_guards_environment_nor_on_its_command_line() {
        let launch = launched(None).unwrap();
        let command = launch.command().unwrap();
        let environment = environment(&command);
        let set = |name: &str| environment.get(OsStr::new(name)).copied().flatten();
        let shown = format!("{command:?}");
        assert!(!shown.contains(&launch.password), "{shown}");
        assert!(launch.orders().contains(&launch.password));
        assert_eq!(launch.orders().lines().count(), 1);
        assert_eq!(
            set("OPENCODE_DISABLE_PROJECT_CONFIG"),
            Some(OsStr::new("1"))
        );
        let home = std::env::var_os("HOME");
        assert_eq!(set("HOME"), home.as_deref());
        assert!(launch.password.len() >= 32);
        assert!(
            command
                .as_std()
                .get_args()
                .all(|arg| !arg.to_string_lossy().contains(&launch.password))
        );
        let other = launched(None).unwrap();
        assert_ne!(other.password, launch.password);
    }

    #[test]
    fn an_isolated_server_has_folders_of_its_own() {
        let data = tempfile::tempdir().unwrap();
        let root = data.path().join("opencode");
        let launch = launched(Some(&root)).unwrap();
        let command = launch.command().unwrap();
        let environment = environment(&command);
        for (name, folder) in folders(&root) {
            assert!(folder.is_dir());
            assert_eq!(
                environment.get(OsStr::new(name)),
                Some(&Some(folder.as_os_str())),
                "{name}"
            );
        }
        let file = data.path().join("file");
        std::fs::write(&file, "").unwrap();
        let failure = launched(Some(&file)).unwrap_err();
        assert!(failure.message().starts_with("cannot make "), "{failure:?}");
    }
}
