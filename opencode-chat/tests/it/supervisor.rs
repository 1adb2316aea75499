//! A server that the program starts, keeps running, and stops.
//!
//! The server is a script here, which tells what it was started with and sleeps; an impostor answers on its port.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use opencode_impostor::{Impostor, Script, Step, Streamed};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Chat, Running, is_gone};

/// Tells its arguments and its environment, leaves a process of another session behind, and sleeps.
const SERVER: &str = r#"#!/bin/sh
setsid sleep 600 &
echo "STARTED pid=$$ child=$! port=$5 password=$OPENCODE_SERVER_PASSWORD args=$* cwd=$(pwd) home=$HOME"
env | sort | sed 's/^/ENV /'
echo END
exec sleep 600
"#;

/// A program that is found as `opencode`.
struct Program {
    folder: tempfile::TempDir,
}

impl Program {
    fn new(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("opencode");
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    /// The program with this one on its `PATH`, and its log on standard error.
    fn chat(&self) -> Chat {
        let path = format!("{}:/usr/bin:/bin", self.folder.path().display());
        Chat::new()
            .variable("PATH", path)
            .variable("RUST_LOG", "opencode_chat=debug")
    }
}

/// What one start of the server told.
#[derive(Debug)]
struct Started {
    pid: i32,
    child: i32,
    port: u16,
    password: String,
    told: String,
}

impl Started {
    async fn by(running: &mut Running) -> Self {
        let first = running.logs("opencode: STARTED").await;
        let mut told = first.clone();
        loop {
            let line = running.logs("opencode: ").await;
            if line.contains("opencode: END") {
                break;
            }
            told.push_str(&line);
            told.push('\n');
        }
        let field = |name: &str| {
            let (_, rest) = first.split_once(&format!(" {name}=")).unwrap();
            rest.split(' ').next().unwrap().to_owned()
        };
        Self {
            pid: field("pid").parse().unwrap(),
            child: field("child").parse().unwrap(),
            port: field("port").parse().unwrap(),
            password: field("password"),
            told,
        }
    }

    /// An impostor where the server should be.
    async fn impostor(&self) -> Impostor {
        let steps = [Step::Text(
            Streamed::new("One two three.").gate("middle").gate_after(1),
        )];
        Impostor::builder()
            .port(self.port)
            .password(&*self.password)
            .script(Script::always(steps))
            .start()
            .await
            .unwrap()
    }

    /// Waits until neither the server nor what it left behind is there.
    async fn is_gone(&self) {
        is_gone(self.pid).await;
        is_gone(self.child).await;
    }
}

fn pid_of(pid: i32) -> Pid {
    Pid::from_raw(pid).unwrap()
}

#[tokio::test]
async fn a_server_is_started_used_and_stopped() {
    let program = Program::new(SERVER);
    let chat = program
        .chat()
        .variable("OPENCODE_CHAT_LISTEN", "127.0.0.1:0")
        .variable("SOMETHING", "else")
        .variable("AWS_SECRET_ACCESS_KEY", "aws")
        .variable("PGPASSWORD", "pg")
        .variable("SENTRY_DSN", "sentry")
        .variable("OPENAI_API_KEY", "openai")
        .variable("OPENCODE_SERVER_PASSWORD", "another")
        .variable("AWS_PROFILE", "profile");
    let args = ["turn", "--json", "hello", "--opencode-env", "AWS_PROFILE"];
    let mut running = chat.start(&args);
    let started = Started::by(&mut running).await;
    let impostor = started.impostor().await;
    impostor.gate("middle").open();
    let ran = running.end().await;
    assert_eq!(ran.ended(0, "completed")["content"], "One two three.");
    started.is_gone().await;

    let told = &started.told;
    assert!(
        told.contains(&format!(
            "args=serve --hostname 127.0.0.1 --port {} cwd=",
            started.port
        )),
        "{told}"
    );
    assert!(started.password.len() >= 32, "{told}");
    assert!(
        told.contains("ENV OPENCODE_DISABLE_PROJECT_CONFIG=1"),
        "{told}"
    );
    assert!(told.contains("ENV OPENCODE_DISABLE_AUTOUPDATE=1"), "{told}");
    // The person's own, and nothing of this application's.
    assert!(
        told.contains(&format!("home={}", chat.data().join("home").display())),
        "{told}"
    );
    for passed in ["OPENAI_API_KEY=openai", "AWS_PROFILE=profile"] {
        assert!(told.contains(&format!("ENV {passed}")), "{told}");
    }
    for kept in [
        "SOMETHING",
        "AWS_SECRET",
        "PGPASSWORD",
        "SENTRY_DSN",
        "another",
    ] {
        assert!(!told.contains(kept), "{kept}: {told}");
    }
    assert!(!told.contains("ENV OPENCODE_CHAT_"), "{told}");
    // The folder it was started in was empty, and is gone.
    let (_, folder) = told.split_once("cwd=").unwrap();
    assert!(
        !Path::new(folder.split(' ').next().unwrap()).exists(),
        "{told}"
    );
}

#[tokio::test]
async fn an_isolated_server_has_folders_of_its_own() {
    let program = Program::new(SERVER);
    let chat = program.chat();
    let mut running = chat.start(&["turn", "--json", "hello", "--opencode-isolated"]);
    let started = Started::by(&mut running).await;
    let home = chat.data().join("opencode");
    for (name, folder) in [
        ("HOME", "home"),
        ("XDG_CONFIG_HOME", "config"),
        ("XDG_DATA_HOME", "data"),
    ] {
        let folder = home.join(folder);
        assert!(folder.is_dir());
        assert!(
            started
                .told
                .contains(&format!("ENV {name}={}", folder.display())),
            "{}",
            started.told
        );
    }
    running.signal(Signal::TERM);
    running.end().await;
    started.is_gone().await;
}

#[tokio::test]
async fn a_server_does_not_outlive_a_killed_parent() {
    let program = Program::new(SERVER);
    let chat = program.chat();
    let mut running = chat.start(&["turn", "--json", "hello"]);
    let started = Started::by(&mut running).await;
    let impostor = started.impostor().await;
    running.hears("part_delta").await;
    running.signal(Signal::KILL);
    assert_eq!(running.end().await.code, -1);
    started.is_gone().await;
    drop(impostor);
}

#[tokio::test]
async fn a_crashed_server_is_started_again_and_the_turn_goes_on() {
    let program = Program::new(SERVER);
    let chat = program.chat();
    let mut running = chat.start(&["turn", "--json", "hello"]);
    let first = Started::by(&mut running).await;
    let impostor = first.impostor().await;
    running.hears("part_delta").await;
    kill_process(pid_of(first.pid), Signal::KILL).unwrap();
    running.logs("OpenCode ended").await;
    let second = Started::by(&mut running).await;
    assert_eq!(
        (second.port, &second.password),
        (first.port, &first.password)
    );
    assert_ne!(second.pid, first.pid);
    first.is_gone().await;
    impostor.gate("middle").open();
    let result = running.end().await.ended(0, "completed");
    assert_eq!(result["content"], "One two three.");
    second.is_gone().await;
}

#[tokio::test]
async fn a_server_whose_guard_is_killed_is_stopped_and_started_again() {
    let program = Program::new(SERVER);
    let chat = program.chat();
    let mut running = chat.start(&["turn", "--json", "hello"]);
    let first = Started::by(&mut running).await;
    let impostor = first.impostor().await;
    running.hears("part_delta").await;
    kill_process(parent(first.pid), Signal::KILL).unwrap();
    let second = Started::by(&mut running).await;
    assert_eq!(second.port, first.port);
    // The one of another session too, before the next server reads anything.
    first.is_gone().await;
    impostor.gate("middle").open();
    running.end().await.ended(0, "completed");
    second.is_gone().await;
}

fn parent(pid: i32) -> Pid {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(')').unwrap();
    pid_of(rest.split_whitespace().nth(1).unwrap().parse().unwrap())
}

#[tokio::test]
async fn a_server_that_does_not_come_up_is_told_with_its_last_words() {
    let program = Program::new(
        "#!/bin/sh\necho 'no such configuration: \x1b[31mopencode.json\x1b[0m' >&2\nexit 7\n",
    );
    let chat = program.chat();
    let ran = chat.turn("hello", &[]).await;
    ran.refused("no such configuration: opencode.json");
    assert!(ran.stderr.contains("exit status: 7"), "{ran:?}");
    assert!(ran.stderr.contains("--opencode-url"), "{ran:?}");
    ran.ended(2, "failed");
    assert!(chat.show().await.is_empty());
    let ran = chat.run(&["doctor", "--json"]).await;
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stdout.contains("exit status: 7"), "{ran:?}");
    let ran = chat.run(&["serve", "--listen", "127.0.0.1:0"]).await;
    ran.refused("exit status: 7");

    let program = Program::new("#!/no/such/interpreter\n");
    program
        .chat()
        .turn("hello", &[])
        .await
        .refused("No such file");
}

#[tokio::test]
async fn the_program_can_be_named() {
    let named = Program::new(SERVER);
    let on_path = Program::new("#!/bin/sh\nexit 1\n");
    let chat = on_path
        .chat()
        .variable("OPENCODE_BIN", named.folder.path().join("opencode"));
    let mut running = chat.start(&["turn", "--json", "hello"]);
    let started = Started::by(&mut running).await;
    let impostor = started.impostor().await;
    impostor.gate("middle").open();
    running.end().await.ended(0, "completed");
    started.is_gone().await;

    let chat = on_path.chat().variable("OPENCODE_BIN", "/no/such/program");
    chat.turn("hello", &[])
        .await
        .refused("OPENCODE_BIN names /no/such/program");
    assert!(chat.show().await.is_empty());
}

#[tokio::test]
async fn a_program_in_the_tools_folder_is_found() {
    let program = Program::new(SERVER);
    let chat = Chat::new().variable("RUST_LOG", "opencode_chat=debug");
    let tools = chat.data().join("tools");
    std::fs::create_dir(&tools).unwrap();
    std::fs::copy(
        program.folder.path().join("opencode"),
        tools.join("opencode"),
    )
    .unwrap();
    let mut running = chat.start(&["turn", "--json", "hello"]);
    let started = Started::by(&mut running).await;
    running.signal(Signal::INT);
    running.end().await;
    started.is_gone().await;
}
