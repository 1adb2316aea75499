//! A real OpenCode server, for the tests that must not be fooled by a double.
//!
//! [`RealServer`] runs `opencode serve` on loopback with folders of its own, so that nothing of the person who runs
//! the tests is read or changed. Use it with a [`ModelServer`](crate::ModelServer): no network is needed.
//!
//! The binary is `$OPENCODE_BIN`, else `opencode` on the `PATH`, else
//! `target/tools/node_modules/opencode-<platform>/bin/opencode` of this workspace. A test that cannot find it fails,
//! and says how to get it: tests that skip themselves prove nothing.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::ports;

/// A server boots in one to three seconds; a busy machine takes longer.
const BOOT: Duration = Duration::from_secs(60);
/// A request in the first moments of a server's life may never be answered: ask again soon.
const ASK: Duration = Duration::from_secs(1);

/// What a server takes for the outcome of its first start.
const INSTALLED: &str = r#"{"packages":{"":{"dependencies":{"@opencode-ai/plugin":"*"}}}}"#;

/// Spares a server, whose `XDG_CONFIG_HOME` this is, what it does first (1.18.33): it installs a package, from the
/// network and for a second of CPU, and in each folder it reads its catalogue of models, which takes 3 s.
///
/// Returns what `OPENCODE_MODELS_PATH` is to be: a catalogue without models. Those of the configuration are known still.
///
/// # Errors
/// When a file cannot be written there.
pub fn spare_first_start(config_home: &Path) -> io::Result<PathBuf> {
    let configuration = config_home.join("opencode");
    std::fs::create_dir_all(configuration.join("node_modules"))?;
    std::fs::write(configuration.join("package-lock.json"), INSTALLED)?;
    let models = config_home.join("models.json");
    std::fs::write(&models, "{}")?;
    Ok(models)
}

/// A running `opencode serve`. Killed when this is dropped.
#[derive(Debug)]
pub struct RealServer {
    binary: PathBuf,
    config: String,
    password: String,
    port: u16,
    folders: TempDir,
    models: PathBuf,
    environment: Vec<(String, String)>,
    child: Option<Child>,
}

/// Where the OpenCode binary is.
///
/// # Errors
/// There is none; the message says where it was looked for and how to get one.
pub fn find_binary() -> io::Result<PathBuf> {
    if let Some(named) = std::env::var_os("OPENCODE_BIN") {
        let path = PathBuf::from(named);
        return if path.is_file() {
            Ok(path)
        } else {
            Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("OPENCODE_BIN names {}, which is no file", path.display()),
            ))
        };
    }
    let on_path = std::env::var_os("PATH")
        .map(|paths| std::env::split_paths(&paths).collect::<Vec<_>>())
        .unwrap_or_default()
        .into_iter()
        .map(|folder| folder.join("opencode"));
    let platform = match (std::env::consts::OS, std::env::consts::ARCH) {
        ("macos", "aarch64") => "darwin-arm64",
        ("macos", _) => "darwin-x64",
        (_, "aarch64") => "linux-arm64",
        _ => "linux-x64",
    };
    let tools = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/tools/node_modules")
        .join(format!("opencode-{platform}/bin/opencode"));
    on_path
        .chain([tools.clone()])
        .find(|path| path.is_file())
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!(
                    "no OpenCode binary: set OPENCODE_BIN, or put `opencode` on the PATH, or install it with `npm \
                     install --prefix target/tools opencode-ai` (looked for {} too)",
                    tools.display()
                ),
            )
        })
}

impl RealServer {
    /// Starts a server with this configuration (see [`opencode_config`](crate::opencode_config)) and waits until it
    /// answers.
    ///
    /// # Errors
    /// There is no binary, it does not start, or it does not answer in time; the message holds what it printed.
    pub async fn start(config: &Value) -> io::Result<Self> {
        Self::start_binary(find_binary()?, config).await
    }

    /// As [`RealServer::start`], with these variables beside its own: to try settings.
    ///
    /// # Errors
    /// As [`RealServer::start`].
    pub async fn start_with(config: &Value, environment: &[(&str, &str)]) -> io::Result<Self> {
        let mut server = Self::new(find_binary()?, config)?;
        let pairs = environment.iter();
        server.environment = pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        server.boot_first().await?;
        Ok(server)
    }

    /// As [`RealServer::start`], with this binary: to try several versions.
    ///
    /// # Errors
    /// It does not start, or does not answer in time; the message holds what it printed.
    pub async fn start_binary(binary: PathBuf, config: &Value) -> io::Result<Self> {
        let mut server = Self::new(binary, config)?;
        server.boot_first().await?;
        Ok(server)
    }

    fn new(binary: PathBuf, config: &Value) -> io::Result<Self> {
        let folders = tempfile::Builder::new()
            .prefix("opencode-real-")
            .tempdir()?;
        std::fs::create_dir(folders.path().join("work"))?;
        let models = spare_first_start(&folders.path().join("config"))?;
        Ok(Self {
            binary,
            config: config.to_string(),
            password: format!("{:016x}", ports::random()),
            port: ports::free()?,
            folders,
            models,
            environment: Vec::new(),
            child: None,
        })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The password of user `opencode`.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The value of the `Authorization` header.
    pub fn authorization(&self) -> String {
        let pair = format!("opencode:{}", self.password);
        format!(
            "Basic {}",
            base64::engine::general_purpose::STANDARD.encode(pair)
        )
    }

    /// An empty folder to work in, outside every Git worktree unless the system's temporary folder is inside one.
    pub fn directory(&self) -> PathBuf {
        self.folders.path().join("work")
    }

    /// What the server printed so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folders.path().join("log")).unwrap_or_default()
    }

    /// Kills the server, as by `kill -9`, and everything it started.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            if let Some(group) = Pid::from_raw(child.id().cast_signed()) {
                kill_process_group(group, Signal::KILL).ok();
            }
            child.wait().ok();
        }
    }

    /// Kills the server if it lives, and starts it again on the same port with the same data.
    ///
    /// # Errors
    /// As [`RealServer::start`].
    pub async fn restart(&mut self) -> io::Result<()> {
        self.kill();
        self.boot().await
    }

    /// Another server may have taken the port in the meantime: then on another one.
    async fn boot_first(&mut self) -> io::Result<()> {
        for _ in 0..2 {
            match self.boot().await {
                Err(_) if ports::is_taken(self.port) => {
                    self.kill();
                    self.port = ports::free()?;
                }
                outcome => return outcome,
            }
        }
        self.boot().await
    }

    async fn boot(&mut self) -> io::Result<()> {
        let home = self.folders.path();
        let log = File::options()
            .create(true)
            .append(true)
            .open(home.join("log"))?;
        let mut command = Command::new(&self.binary);
        command
            .args(["serve", "--hostname", "127.0.0.1", "--port"])
            .arg(self.port.to_string())
            .current_dir(self.directory())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home.join("home"))
            .env("OPENCODE_DISABLE_AUTOUPDATE", "1")
            .env("OPENCODE_DISABLE_MODELS_FETCH", "1")
            .env("OPENCODE_MODELS_PATH", &self.models)
            .env("OPENCODE_DISABLE_AUTOCOMPACT", "1")
            .env("OPENCODE_CONFIG_CONTENT", &self.config)
            .env("OPENCODE_SERVER_PASSWORD", &self.password)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A group of its own, so that a launcher script and what it launched are killed together.
            .process_group(0);
        for (name, folder) in [
            ("XDG_CONFIG_HOME", "config"),
            ("XDG_DATA_HOME", "data"),
            ("XDG_CACHE_HOME", "cache"),
            ("XDG_STATE_HOME", "state"),
        ] {
            let folder = home.join(folder);
            std::fs::create_dir_all(&folder)?;
            command.env(name, folder);
        }
        std::fs::create_dir_all(home.join("home"))?;
        self.child = Some(command.spawn().map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", self.binary.display()))
        })?);
        let deadline = Instant::now() + BOOT;
        loop {
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait()?
            {
                return Err(self.failed(&format!("ended with {status}")));
            }
            // A password of its own: whoever else may listen there does not know it.
            if let Ok(Ok(200)) = tokio::time::timeout(ASK, self.health()).await {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(self.failed("did not answer in time"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn failed(&self, how: &str) -> io::Error {
        let log = self.log();
        let from = log.len().saturating_sub(2000);
        let tail = log.get(from..).unwrap_or(&log);
        io::Error::other(format!(
            "{} {how}; it printed:\n{tail}",
            self.binary.display()
        ))
    }

    /// The status of `GET /global/health`.
    async fn health(&self) -> io::Result<u16> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let mut socket = TcpStream::connect(address).await?;
        let request = format!(
            "GET /global/health HTTP/1.1\r\nHost: {address}\r\nAuthorization: {}\r\nConnection: close\r\n\r\n",
            self.authorization()
        );
        socket.write_all(request.as_bytes()).await?;
        let mut head = [0; 12];
        socket.read_exact(&mut head).await?;
        let status = std::str::from_utf8(&head[9..]).unwrap_or_default();
        status.parse().map_err(io::Error::other)
    }
}

impl Drop for RealServer {
    fn drop(&mut self) {
        self.kill();
    }
}
