//! What an agent's commands can do to a real server that the program has started.

use std::path::Path;
use std::time::Duration;

use opencode_impostor::real::RealServer;
use opencode_impostor::{ModelScript, ModelServer, Round};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::real::{chat, only_sandbox};
use crate::support::is_gone;

const PATIENCE: Duration = Duration::from_secs(60);

/// A plugin that leaves this mark when it is run.
fn plugin(mark: &Path) -> String {
    let mark = json!(mark);
    format!(
        "import fs from \"node:fs\"; fs.writeFileSync({mark}, \"\"); export default {{ id: \"x\", setup() {{}} }}"
    )
}

/// What an approved command of the agent tries, to answer requests by itself. It tells where it found a password, and
/// what the server says to those that it tries.
const ATTACK: &str = r#"
env | grep -a ^OPENCODE_SERVER_PASSWORD | sed 's/^/FOUND env /'
for process in /proc/[0-9]*; do
  grep -aq "$XDG_DATA_HOME" $process/environ 2>/dev/null || [ $process = /proc/$OPENCODE_PID ] || continue
  tr '\0' '\n' < $process/environ | sed -n "s#^OPENCODE_SERVER_PASSWORD=..*#FOUND $process#p"
done 2>/dev/null
port=$(tr '\0' '\n' < /proc/$OPENCODE_PID/cmdline | sed -n '/^--port$/{n;p}')
for user in '' opencode: opencode:opencode; do
  for path in permission api/agent global/health; do
    curl -s -o /dev/null -w 'STATUS %{http_code}\n' ${user:+-u $user} http://127.0.0.1:$port/$path
  done
done
echo TRIED
"#;

#[tokio::test]
async fn an_approved_command_does_not_find_the_servers_password() {
    let attack = json!({"command": ATTACK, "description": "Look around"});
    let script = ModelScript::new().on(
        "[[attack]]",
        [Round::call("bash", attack), Round::text("Looked.")],
    );
    let model = ModelServer::scripted(script).await.unwrap();
    let chat = chat(&model);
    let args = ["--opencode-isolated", "--permission", "once"];
    let ran = chat.turn("[[attack]]", &args).await;
    let result = ran.ended(0, "completed");
    let told = result["tool_calls"][0]["output"].as_str().unwrap();
    assert!(told.contains("TRIED"), "{told}");
    assert!(!told.contains("FOUND"), "{told}");
    let statuses: Vec<&str> = told
        .lines()
        .filter(|line| line.starts_with("STATUS"))
        .collect();
    assert_eq!(statuses, ["STATUS 401"; 9], "{told}");
    assert!(!ran.stderr.contains("password"), "{ran:?}");
}

/// A process that re-makes a plugin in the session's folder, has a session of its own and does not end when asked to.
fn writer(mark: &Path) -> String {
    let plugin = plugin(mark);
    format!(
        r#"
cat > x.js <<'END'
{plugin}
END
rm -f writer
setsid sh -c 'trap "" HUP TERM; echo $$ > pid; mv pid writer
  while :; do mkdir -p .opencode/plugin; cp x.js .opencode/plugin/x.js; done' > /dev/null 2>&1 &
until [ -e writer ]; do :; done
"#
    )
}

/// OpenCode reads a folder's plugins once in its life. So no process of the agent's outlives a server, and the folder is
/// looked at before the next one reads it.
#[tokio::test]
async fn no_process_of_the_agents_writes_when_the_next_server_reads() {
    nothing_writes(writer, Some("completed")).await;
}

/// The same where the agent kills its server.
#[tokio::test]
async fn nor_does_one_whose_server_it_has_killed() {
    let killing = |mark: &Path| format!("{}\nkill -9 $OPENCODE_PID; sleep 600", writer(mark));
    nothing_writes(killing, None).await;
}

async fn nothing_writes(command: impl FnOnce(&Path) -> String, ends: Option<&str>) {
    let outside = tempfile::tempdir().unwrap();
    let mark = outside.path().join("mark");
    let write = json!({"command": command(&mark), "description": "Run"});
    let script = ModelScript::new()
        .on(
            "[[write]]",
            [Round::call("bash", write), Round::text("Written.")],
        )
        .on("[[plain]]", [Round::text("Plain.")]);
    let model = ModelServer::scripted(script).await.unwrap();
    let chat = chat(&model);
    let args = ["--opencode-isolated", "--permission", "once"];
    let ran = chat.turn("[[write]]", &args).await;
    if let Some(status) = ends {
        ran.ended(0, status);
    }
    let sandbox = only_sandbox(&chat);
    let pid = std::fs::read_to_string(sandbox.join("writer")).unwrap();
    is_gone(pid.trim().parse().unwrap()).await;
    // What it wrote last is there; so are other things that an agent may have written.
    std::fs::create_dir_all(sandbox.join(".opencode/plugin")).unwrap();
    std::fs::write(sandbox.join(".opencode/plugin/x.js"), plugin(&mark)).unwrap();
    std::fs::write(sandbox.join("AGENTS.md"), "Always answer in rhymes.").unwrap();
    let skill = sandbox.join(".claude/skills/zebra/SKILL.md");
    std::fs::create_dir_all(skill.parent().unwrap()).unwrap();
    std::fs::write(skill, "---\nname: zebra\ndescription: For zebras.\n---\n").unwrap();
    chat.turn("[[plain]]", &args).await.ended(0, "completed");
    assert!(!sandbox.join(".opencode").exists());
    assert!(!sandbox.join(".claude").exists());
    assert!(sandbox.join("AGENTS.md").exists());
    assert!(!mark.exists());
    for request in model.requests() {
        let request = request.to_string();
        assert!(
            !request.contains("rhymes") && !request.contains("zebra"),
            "{request}"
        );
    }
}

/// Asks until there is an answer: a request in a server's first moments may get none.
async fn ask(server: &RealServer, path: &str) {
    let once = async || {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port())).await?;
        let (authorization, close) = (server.authorization(), "connection: close\r\n\r\n");
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: {authorization}\r\n{close}");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer.starts_with("HTTP/1.1 200"))
    };
    let asking = async {
        while !matches!(
            tokio::time::timeout(PATIENCE / 30, once()).await,
            Ok(Ok(true))
        ) {}
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap();
}

async fn exists(mark: &Path) {
    let ran = async {
        while !mark.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let ran = tokio::time::timeout(PATIENCE, ran).await;
    ran.unwrap_or_else(|_| panic!("{} was never made", mark.display()));
}

/// Whatever is there when the server reads: other conversations' processes may write while it runs.
#[tokio::test]
async fn a_sealed_server_runs_nothing_that_lies_in_a_sandbox() {
    let model = ModelServer::start().await.unwrap();
    let settings = [("OPENCODE_DISABLE_PROJECT_CONFIG", "1")];
    let config = model.opencode_config();
    let server = RealServer::start_with(&config, &settings).await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let home = home.path().canonicalize().unwrap();
    let sandboxes = home.join("the sandboxes (1)");
    let write = |path: &Path, text: &str| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let sealed = home.join("sealed");
    let seal = format!(
        "const sandboxes = {}\n{}\nfs.writeFileSync({}, \"\")",
        json!(sandboxes),
        include_str!("../../src/upstream/seal.js"),
        json!(sealed)
    );
    write(&server.directory().join(".opencode/plugin/seal.js"), &seal);
    let path = |folder: &Path| {
        let folder = folder.to_str().unwrap().replace(' ', "%20");
        format!("/api/agent?location%5Bdirectory%5D={folder}")
    };
    ask(&server, "/api/agent").await;
    exists(&sealed).await;

    let (plain, named) = (sandboxes.join("plain"), sandboxes.join("named"));
    write(
        &plain.join(".opencode/plugin/x.js"),
        &plugin(&home.join("in-file")),
    );
    write(&home.join("target.js"), &plugin(&home.join("in-link")));
    let link = plain.join(".opencode/plugin/y.ts");
    std::os::unix::fs::symlink(home.join("target.js"), link).unwrap();
    write(&named.join("x.js"), &plugin(&home.join("in-name")));
    let url = format!("file://{}", named.join("x.js").display()).replace(' ', "%20");
    let configuration = json!({"plugins": ["./x.js", "../named/x.js", url]});
    write(&named.join("opencode.json"), &configuration.to_string());
    let elsewhere = home.join("elsewhere");
    write(
        &elsewhere.join(".opencode/plugin/x.js"),
        &plugin(&home.join("in-control")),
    );
    for folder in [&plain, &named, &elsewhere] {
        ask(&server, &path(folder)).await;
    }
    // The same is run where nothing keeps it from that.
    exists(&home.join("in-control")).await;
    for mark in ["in-file", "in-link", "in-name"] {
        assert!(!home.join(mark).exists(), "{mark}");
    }
    assert_eq!(model.requests().len(), 0);
}
