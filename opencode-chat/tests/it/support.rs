//! The built program, run as a person or another program runs it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use opencode_impostor::Impostor;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;

/// Nothing that is tested here takes so long; what hangs fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// The program with a data folder, and a server, of its own.
pub(crate) struct Chat {
    data: TempDir,
    url: Option<String>,
    variables: Vec<(String, String)>,
    descriptors: Option<u32>,
}

impl Chat {
    /// Without a server.
    pub(crate) fn new() -> Self {
        Self {
            data: tempfile::tempdir().unwrap(),
            url: None,
            variables: Vec::new(),
            descriptors: None,
        }
    }

    /// With this server.
    pub(crate) fn with(impostor: &Impostor) -> Self {
        Self::at(impostor.url())
    }

    /// With a server at this URL.
    pub(crate) fn at(url: impl Into<String>) -> Self {
        Self {
            url: Some(url.into()),
            ..Self::new()
        }
    }

    /// With a variable in its environment, which is otherwise empty.
    pub(crate) fn variable(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        let value = value.as_ref().to_str().unwrap().to_owned();
        self.variables.push((name.to_owned(), value));
        self
    }

    /// With so many descriptors, and no more.
    pub(crate) fn descriptors(self, descriptors: u32) -> Self {
        Self {
            descriptors: Some(descriptors),
            ..self
        }
    }

    /// The data folder.
    pub(crate) fn data(&self) -> &Path {
        self.data.path()
    }

    /// The database.
    pub(crate) fn database(&self) -> PathBuf {
        self.data().join("host.db")
    }

    /// The program with these arguments; its input is empty, its output kept.
    pub(crate) fn command(&self, args: &[impl AsRef<OsStr>]) -> Command {
        let program = env!("CARGO_BIN_EXE_opencode-chat");
        let mut command = match self.descriptors {
            None => Command::new(program),
            Some(descriptors) => {
                let mut shell = Command::new("/bin/sh");
                let limited = format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"");
                shell.args(["-c", &limited, program]);
                shell
            }
        };
        command
            .args(args)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.data().join("home"))
            // A guard that is killed leaves its folder.
            .env("TMPDIR", self.data())
            .env("OPENCODE_CHAT_DATA", self.data())
            .envs(
                self.url
                    .iter()
                    .map(|url| ("OPENCODE_BASE_URL", url.as_str())),
            )
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Starts it.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        Running::new(self.command(args))
    }

    /// Runs it to its end.
    pub(crate) async fn run(&self, args: &[impl AsRef<OsStr>]) -> Ran {
        Running::new(self.command(args)).end().await
    }

    /// Runs it to its end, with this on standard input.
    pub(crate) async fn run_with_input(&self, args: &[&str], input: impl AsRef<[u8]>) -> Ran {
        let mut command = self.command(args);
        command.stdin(Stdio::piped());
        let mut running = Running::new(command);
        let mut stdin = running.child.stdin.take().unwrap();
        // A program that has read enough closes the pipe.
        let _ = stdin.write_all(input.as_ref()).await;
        drop(stdin);
        running.end().await
    }

    /// `turn --json PROMPT …`.
    pub(crate) async fn turn(&self, prompt: &str, more: &[&str]) -> Ran {
        self.run(&[&["turn", "--json", prompt], more].concat())
            .await
    }

    /// What is stored.
    pub(crate) async fn show(&self) -> Vec<Value> {
        let ran = self.run(&["show", "--json"]).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.lines()
    }
}

/// A run under way.
pub(crate) struct Running {
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    heard: Vec<String>,
    log: UnboundedReceiver<String>,
    stderr: JoinHandle<String>,
}

impl Running {
    fn new(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, log) = unbounded_channel();
        let stderr = tokio::spawn(async move {
            let mut all = String::new();
            while let Ok(Some(line)) = stderr.next_line().await {
                all.push_str(&line);
                all.push('\n');
                let _ = sender.send(line);
            }
            all
        });
        Self {
            child,
            stdout,
            heard: Vec::new(),
            log,
            stderr,
        }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id().expect("it has ended")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.id().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for the next JSON line of this type on standard output.
    pub(crate) async fn hears(&mut self, kind: &str) -> Value {
        loop {
            let line = tokio::time::timeout(PATIENCE, self.stdout.next_line()).await;
            let line = line.expect("nothing came in time").unwrap();
            let line =
                line.unwrap_or_else(|| panic!("no {kind} came; what came: {:?}", self.heard));
            let value: Value = serde_json::from_str(&line).unwrap();
            self.heard.push(line);
            if value["type"] == kind {
                return value;
            }
        }
    }

    /// Waits for the next line on standard error that holds this.
    pub(crate) async fn logs(&mut self, words: &str) -> String {
        loop {
            let line = tokio::time::timeout(PATIENCE, self.log.recv()).await;
            let line = line.unwrap_or_else(|_| panic!("{words:?} was not logged in time"));
            let line = line.unwrap_or_else(|| panic!("it ended without {words:?}"));
            if line.contains(words) {
                return line;
            }
        }
    }

    /// The address that it serves at.
    pub(crate) async fn address(&mut self) -> String {
        let line = self.logs("open http://").await;
        let (_, address) = line.split_once("http://").unwrap();
        let end = address.find(|c: char| !c.is_ascii_digit() && !".:[]".contains(c));
        address[..end.unwrap_or(address.len())].to_owned()
    }

    /// Waits until it has ended.
    pub(crate) async fn end(mut self) -> Ran {
        let ended = async {
            while let Some(line) = self.stdout.next_line().await.unwrap() {
                self.heard.push(line);
            }
            self.child.wait().await.unwrap()
        };
        let status = tokio::time::timeout(PATIENCE, ended)
            .await
            .expect("it did not end in time");
        let mut stdout = self.heard.join("\n");
        if !stdout.is_empty() {
            stdout.push('\n');
        }
        // Something that it has left behind may hold the pipe.
        let stderr = tokio::time::timeout(PATIENCE, self.stderr).await;
        Ran {
            code: status.code().unwrap_or(-1),
            stdout,
            stderr: stderr.expect("its standard error stays open").unwrap(),
        }
    }
}

/// A finished run.
#[derive(Debug)]
pub(crate) struct Ran {
    /// The exit code; -1 for a run that a signal ended.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// The lines of standard output.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let parse =
            |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
        self.stdout.lines().map(parse).collect()
    }

    /// The lines of this type.
    pub(crate) fn of_type(&self, kind: &str) -> Vec<Value> {
        let mut lines = self.lines();
        lines.retain(|line| line["type"] == kind);
        lines
    }

    /// The last line, which is the result.
    #[track_caller]
    pub(crate) fn result(&self) -> Value {
        let last = self.lines().pop();
        let last = last.unwrap_or_else(|| panic!("no line on standard output: {self:?}"));
        assert_eq!(last["type"], "result", "{self:?}");
        last
    }

    /// The result of a turn that must have ended with this exit code and status.
    #[track_caller]
    pub(crate) fn ended(&self, code: i32, status: &str) -> Value {
        let result = self.result();
        assert_eq!(
            (self.code, &result["status"]),
            (code, &Value::from(status)),
            "{self:?}"
        );
        result
    }

    /// That it refused to work, and said why, in words a person can use.
    #[track_caller]
    pub(crate) fn refused(&self, why: &str) {
        assert_eq!(self.code, 2, "{self:?}");
        assert!(self.stderr.contains(why), "{why:?} is not in {self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
    }
}

/// Waits until there is no such process, or only what is left of it for its parent to see.
pub(crate) async fn is_gone(pid: i32) {
    let lives = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        stat.is_ok_and(|stat| !stat.rsplit_once(')').unwrap().1.starts_with(" Z"))
    };
    let gone = async {
        while lives() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let gone = tokio::time::timeout(PATIENCE, gone).await;
    gone.unwrap_or_else(|_| panic!("process {pid} lives on"));
}
