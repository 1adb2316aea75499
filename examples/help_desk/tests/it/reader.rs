//! Somebody with an empty folder and terminals.
//!
//! The machine is made ready for them: OpenCode with a model that follows a script, ports that are free, and this
//! workspace's crates in the place of the published ones, built with what the workspace's own tests have built.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use opencode_impostor::ModelServer;
use opencode_impostor::real::{find_binary, spare_first_start};
use tempfile::TempDir;

use crate::guide::workspace;

/// No command takes longer. The first one builds.
const PATIENCE: Duration = Duration::from_secs(600);

/// Behind a start, nothing is waited for longer.
const SIGHT: Duration = Duration::from_secs(180);

const CRATES: [&str; 5] = [
    "opencode-axum",
    "opencode-client",
    "opencode-host",
    "opencode-impostor",
    "opencode-sql",
];

/// Keeps no process of a terminal alive that nobody holds any more, whoever was killed: its standard input is closed then.
const WATCH: &str = "exec 3<&0 </dev/null\n{ cat <&3 >/dev/null; kill -9 -- -$$; } &\nexec 3<&-\n";

pub(crate) struct Reader {
    folder: TempDir,
    environment: Vec<(String, String)>,
    ports: [(&'static str, String); 3],
    terminals: BTreeMap<String, Terminal>,
    /// What the last command prints.
    log: PathBuf,
    seen: String,
    /// Nothing more comes there.
    is_over: bool,
    everything: String,
}

/// A command that runs, and what it started. Killed with the reader.
struct Terminal {
    shell: Child,
}

impl Terminal {
    fn signal(&self, name: &str) {
        let group = format!("-{}", self.shell.id());
        let mut kill = Command::new("kill");
        kill.args([name, "--", &group]).stderr(Stdio::null());
        kill.status().ok();
    }

    fn status(&mut self) -> Option<std::process::ExitStatus> {
        let mut status = None;
        until(PATIENCE, || {
            status = self.shell.try_wait().unwrap();
            status.is_some()
        });
        status
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.signal("-9");
        self.shell.wait().ok();
    }
}

impl Reader {
    pub(crate) fn new(model: &ModelServer) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["bin", "home", "tmp", "work", ".cargo"] {
            std::fs::create_dir(path(name)).unwrap();
        }
        std::os::unix::fs::symlink(find_binary().unwrap(), path("bin/opencode")).unwrap();
        std::fs::write(path(".cargo/config.toml"), configuration()).unwrap();
        std::fs::write(path("place"), path("work").display().to_string()).unwrap();
        std::fs::write(path("variables"), "").unwrap();
        let models = spare_first_start(&path("config")).unwrap();
        let ports = ["3000", "4096", "5000"].map(|port| (port, free_port()));
        Self {
            environment: environment(folder.path(), &ports[1].1, model, &models),
            folder,
            ports,
            terminals: BTreeMap::new(),
            log: PathBuf::new(),
            seen: String::new(),
            is_over: false,
            everything: String::new(),
        }
    }

    /// Whether any command of the first terminal has printed it.
    pub(crate) fn has_seen(&self, words: &str) -> bool {
        self.everything.contains(words)
    }

    /// Runs a command in the first terminal, to its end.
    pub(crate) fn run(&mut self, command: &str) {
        let folder = self.folder.path().display();
        // What the shell remembers, the next command finds.
        let script = format!(
            "set -a\n. {folder}/variables\n{command}\npwd > {folder}/place\n{{ export -p; declare -f; }} > {folder}/variables\n"
        );
        self.log = self.folder.path().join("log");
        let mut terminal = self.terminal(&script);
        let status = terminal.status();
        self.look();
        self.is_over = true;
        self.everything.push_str(&self.seen);
        let succeeded = status.is_some_and(|status| status.success());
        assert!(succeeded, "{command}{}", self.seen);
    }

    /// Starts a command in this terminal. What runs there is ended with Ctrl-C before.
    pub(crate) fn begin(&mut self, number: &str, command: &str) {
        if let Some(mut running) = self.terminals.remove(number) {
            running.signal("-INT");
            assert!(
                running.status().is_some_and(|status| status.success()),
                "what runs in terminal {number} does not end well with Ctrl-C"
            );
        }
        self.turn_to(number);
        let terminal = self.terminal(command);
        self.terminals.insert(number.to_owned(), terminal);
    }

    /// Looks at another terminal.
    pub(crate) fn turn_to(&mut self, number: &str) {
        self.log = self.folder.path().join(format!("terminal-{number}"));
        self.is_over = false;
    }

    /// Looks for what is to be seen: each line within what the last command prints, in this order.
    pub(crate) fn see(&mut self, lines: &str) {
        let lines = self.on_this_machine(lines);
        until(SIGHT, || {
            self.look();
            self.is_over || shows(&self.seen, &lines)
        });
        assert!(
            shows(&self.seen, &lines),
            "not seen:\n{lines}but:\n{}",
            self.seen
        );
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        let path = self.place().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, self.on_this_machine(text)).unwrap();
        if file == "Cargo.toml" {
            // The versions that the workspace was tried with.
            let lock = workspace().join("Cargo.lock");
            std::fs::copy(lock, path.with_extension("lock")).unwrap();
        }
    }

    /// Adds to a file: below a line that is there once, or at its end.
    pub(crate) fn add(&self, file: &str, line: Option<&str>, text: &str) {
        let path = self.place().join(file);
        let before = std::fs::read_to_string(&path).unwrap();
        let text = self.on_this_machine(text);
        let Some(line) = line else {
            std::fs::write(&path, before + &text).unwrap();
            return;
        };
        let mut after = String::new();
        let mut found = 0;
        for one in before.lines() {
            writeln!(after, "{one}").unwrap();
            if one.trim() == line {
                found += 1;
                after.push_str(&text);
            }
        }
        assert_eq!(found, 1, "{file} has no such line, or several: {line}");
        std::fs::write(&path, after).unwrap();
    }

    fn on_this_machine(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (port, free) in &self.ports {
            for before in ["127.0.0.1:", "--port "] {
                text = text.replace(&format!("{before}{port}"), &format!("{before}{free}"));
            }
        }
        text
    }

    /// The folder that the reader has gone to.
    fn place(&self) -> PathBuf {
        let place = std::fs::read_to_string(self.folder.path().join("place"));
        place.unwrap().trim_end().into()
    }

    fn terminal(&self, script: &str) -> Terminal {
        let log = std::fs::File::create(&self.log).unwrap();
        let script = self.on_this_machine(script);
        let mut shell = Command::new("bash");
        let shell = shell
            .args(["-c", &format!("set -euo pipefail\n{WATCH}{script}")])
            .current_dir(self.place())
            .env_clear()
            .envs(self.environment.clone())
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn();
        Terminal {
            shell: shell.unwrap(),
        }
    }

    fn look(&mut self) {
        let bytes = std::fs::read(&self.log).unwrap();
        self.seen = String::from_utf8_lossy(&bytes).into_owned();
    }
}

impl Drop for Reader {
    /// Takes what was built of the reader's own out of the workspace's folder.
    fn drop(&mut self) {
        self.terminals.clear();
        let mut clean = Command::new("cargo");
        clean
            .args(["clean", "--quiet", "--package", "support"])
            .current_dir(self.place())
            .env_clear()
            .envs(self.environment.clone());
        clean.status().ok();
    }
}

/// The workspace's crates and profile, so that what its tests have built is used again.
fn configuration() -> String {
    let manifest = std::fs::read_to_string(workspace().join("Cargo.toml")).unwrap();
    let mut configuration = String::new();
    let mut is_profile = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            is_profile = line.starts_with("[profile.dev");
        }
        if is_profile {
            writeln!(configuration, "{line}").unwrap();
        }
    }
    configuration.push_str("[patch.crates-io]\n");
    for name in CRATES {
        let path = workspace().join(name);
        writeln!(configuration, "{name} = {{ path = '{}' }}", path.display()).unwrap();
    }
    configuration
}

/// The variables of a terminal.
fn environment(
    folder: &Path,
    opencode_port: &str,
    model: &ModelServer,
    models: &Path,
) -> Vec<(String, String)> {
    let within = |name: &str| folder.join(name).display().to_string();
    let variable = |name| std::env::var(name).ok();
    let of_home = |name, folder: &str| {
        variable(name).unwrap_or_else(|| format!("{}/{folder}", variable("HOME").unwrap()))
    };
    let built = Path::new(env!("CARGO_BIN_EXE_help_desk"));
    let target = built.ancestors().nth(2).unwrap();
    let path = format!("{}:{}", within("bin"), variable("PATH").unwrap());
    let opencode = format!("http://127.0.0.1:{opencode_port}");
    let mut environment: Vec<_> = std::env::vars()
        .filter(|(name, _)| !is_of_this_test(name))
        .collect();
    environment.extend(
        [
            ("PATH", path),
            ("HOME", within("home")),
            ("TMPDIR", within("tmp")),
            ("CARGO_HOME", of_home("CARGO_HOME", ".cargo")),
            ("RUSTUP_HOME", of_home("RUSTUP_HOME", ".rustup")),
            ("CARGO_TARGET_DIR", target.display().to_string()),
            ("CARGO_NET_OFFLINE", "true".to_owned()),
            ("CARGO_INCREMENTAL", "0".to_owned()),
            ("OPENCODE_BASE_URL", opencode),
            (
                "OPENCODE_CONFIG_CONTENT",
                model.opencode_config().to_string(),
            ),
            ("OPENCODE_DISABLE_AUTOUPDATE", "1".to_owned()),
            ("OPENCODE_DISABLE_MODELS_FETCH", "1".to_owned()),
            ("OPENCODE_MODELS_PATH", models.display().to_string()),
            ("XDG_CONFIG_HOME", within("config")),
            ("XDG_DATA_HOME", within("data")),
            ("XDG_CACHE_HOME", within("cache")),
            ("XDG_STATE_HOME", within("state")),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    environment
}

/// What the runner of the tests sets, which nobody has in a terminal. Build scripts look at it: with it, everything above
/// them would be built anew, here and then in the workspace again.
fn is_of_this_test(name: &str) -> bool {
    let is_of = |owner: &str| name.starts_with(owner);
    (is_of("CARGO") && !is_of("CARGO_PROFILE_")) || is_of("NEXTEST") || is_of("OPENCODE_")
}

fn free_port() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port().to_string()
}

fn shows(seen: &str, lines: &str) -> bool {
    let mut rest = seen;
    lines.lines().all(|line| match rest.split_once(line) {
        Some((_, behind)) => {
            rest = behind;
            true
        }
        None => false,
    })
}

/// Looks again and again, for so long at most: processes of others tell nobody.
fn until(limit: Duration, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() && start.elapsed() < limit {
        std::thread::sleep(Duration::from_millis(50));
    }
}
