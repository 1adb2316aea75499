//! A real NATS server on loopback, for tests that stop and start it.
//!
//! `OPENCODE_HOST_NATS` names the program, else it is Debian's; `cargo xtask test` installs and names it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server that is stopped with the test.
#[derive(Debug)]
pub(crate) struct NatsServer {
    folder: tempfile::TempDir,
    port: u16,
    running: Option<Child>,
}

impl NatsServer {
    #[allow(dead_code, reason = "not every crate that has this file needs it")]
    pub(crate) fn start() -> Self {
        Self::with("")
    }

    /// With more lines of its configuration.
    pub(crate) fn with(lines: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Self {
            folder,
            port: 0,
            running: None,
        };
        server.run("-1", lines);
        let ports = server.running.as_ref().unwrap().id();
        let ports = server
            .folder
            .path()
            .join(format!("nats-server_{ports}.ports"));
        let since = Instant::now();
        while server.port == 0 {
            let text = std::fs::read_to_string(&ports).unwrap_or_default();
            let port = text.split_once("nats://127.0.0.1:").map(|(_, rest)| rest);
            let port = port.and_then(|rest| rest.split('"').next()?.parse().ok());
            server.port = port.unwrap_or(0);
            Self::is_patient(since);
        }
        server
    }

    fn run(&mut self, port: &str, lines: &str) {
        let (folder, program) = (self.folder.path(), program());
        let configuration = folder.join("nats.conf");
        let limits = "max_payload: 33554432\nmax_pending: 134217728\n";
        std::fs::write(&configuration, format!("{limits}{lines}\n")).unwrap();
        let started = Command::new(&program)
            .args(["-a", "127.0.0.1", "-p", port, "-c"])
            .arg(&configuration)
            .arg("--ports_file_dir")
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.running =
            Some(started.unwrap_or_else(|error| panic!("{}: {error}", program.display())));
    }

    fn is_patient(since: Instant) {
        assert!(
            since.elapsed() < Duration::from_secs(30),
            "nats-server does not start"
        );
        std::thread::sleep(Duration::from_millis(5));
    }

    /// Where it is.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://{}", self.address())
    }

    /// Kills it.
    pub(crate) fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.kill();
            let _ = running.wait();
        }
    }

    /// Starts it where it was, with these lines.
    #[allow(dead_code, reason = "not every crate that has this file restarts one")]
    pub(crate) fn start_again(&mut self, lines: &str) {
        assert!(self.running.is_none());
        self.run(&self.port.to_string(), lines);
        let since = Instant::now();
        while std::net::TcpStream::connect(self.address()).is_err() {
            Self::is_patient(since);
        }
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn program() -> PathBuf {
    let named = std::env::var_os("OPENCODE_HOST_NATS").map(PathBuf::from);
    let program = named.unwrap_or_else(|| Path::new("/usr/sbin/nats-server").to_owned());
    assert!(
        program.is_file(),
        "{} is no nats-server: run `cargo xtask setup`",
        program.display()
    );
    program
}
