//! Where settings come from, what goes before what, and what is said where one is wrong. No secret is shown.

use std::path::PathBuf;

use opencode_impostor::Impostor;
use rustix::process::Signal;

use crate::support::Chat;

/// A file of this text in the data folder.
fn file(chat: &Chat, name: &str, text: &str) -> PathBuf {
    let path = chat.data().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path
}

/// The line of a setting.
async fn line(chat: &Chat, args: &[&str], key: &str) -> String {
    let ran = chat.run(args).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let mut lines = ran.stdout.lines();
    let begins = |line: &&str| {
        line.trim_start_matches("# ")
            .starts_with(&format!("{key} "))
    };
    lines.find(begins).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn options_go_before_variables_and_variables_before_the_file() {
    let chat = Chat::new();
    let path = file(
        &chat,
        "c.toml",
        "timeout = 30\nlease = 5\nmax_upload = \"1M\"\nno-worker = true\nallowed_host = [\"a.example\"]\n",
    );
    let path = path.to_str().unwrap();
    let chat = chat
        .variable("OPENCODE_CHAT_CONFIG", path)
        .variable("OPENCODE_CHAT_LEASE", "6")
        .variable("OPENCODE_CHAT_MAX_UPLOAD", "2M");
    let args = ["config", "--max-upload", "3M", "--no-worker=false"];
    for (key, expected) in [
        ("timeout", format!("timeout = \"30\"  # {path}:1")),
        (
            "lease",
            "lease = \"6\"  # variable OPENCODE_CHAT_LEASE".to_owned(),
        ),
        ("max-upload", "max-upload = \"3M\"  # option".to_owned()),
        ("no-worker", "no-worker = false  # option".to_owned()),
        (
            "allowed-host",
            format!("allowed-host = [\"a.example\"]  # {path}:5"),
        ),
        (
            "listen",
            "listen = \"127.0.0.1:3000\"  # default".to_owned(),
        ),
        ("blobs", "# blobs is not set".to_owned()),
    ] {
        assert_eq!(line(&chat, &args, key).await, expected);
    }
    let by_default = line(&chat, &["config"], "no-worker").await;
    assert_eq!(by_default, format!("no-worker = true  # {path}:4"));
}

#[tokio::test]
async fn what_is_printed_is_a_file_of_the_same_settings() {
    let chat = Chat::new();
    let odd = "a \"quoted\" \\ name";
    let args = [
        "config",
        "--data",
        odd,
        "--no-worker",
        "--allowed-host",
        "a.example,b.example",
    ];
    let first = chat.run(&args).await;
    let path = file(&chat, "again.toml", &first.stdout);
    let values = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with("# "));
        lines
            .map(|line| line.rsplit_once("  # ").unwrap().0.to_owned())
            .collect()
    };
    // The variable of the tests goes before a file.
    let mut command = chat.command(&["config", "--config", path.to_str().unwrap()]);
    let again = command
        .env_remove("OPENCODE_CHAT_DATA")
        .output()
        .await
        .unwrap();
    let again = String::from_utf8(again.stdout).unwrap();
    assert!(
        values(&again).contains(&"no-worker = true".to_owned()),
        "{again}"
    );
    assert_eq!(values(&again), values(&first.stdout));
}

#[tokio::test]
async fn a_file_at_the_usual_place_is_read_by_every_command() {
    let chat = Chat::new();
    let text = "database = \"elsewhere/host.db\"\n";
    file(&chat, "home/.config/opencode-chat/config.toml", text);
    let mut command = chat.command(&["show"]);
    let shown = command.current_dir(chat.data()).output().await.unwrap();
    assert!(shown.status.success(), "{shown:?}");
    assert!(chat.data().join("elsewhere/host.db").exists());
    assert!(!chat.database().exists());
}

#[tokio::test]
async fn a_file_that_is_wrong_is_refused_before_anything_is_done() {
    for (text, why) in [
        (
            "lisen = \"x\"\n",
            ":1: `lisen` is no setting: did you mean `listen`?",
        ),
        (
            "\nlease = \"long\"\n",
            ":2: `lease` cannot be \"long\": give a number of seconds above 0",
        ),
        (
            "no-worker = 1\n",
            ":1: `no-worker` takes true or false, not a number",
        ),
        ("lease = \n", ":1: "),
        (
            "database = \"x\"\ndatabase-url-file = \"y\"\n",
            ":2: `database` and `database-url-file` are both given",
        ),
    ] {
        let chat = Chat::new();
        let path = file(&chat, "c.toml", text);
        let path = path.to_str().unwrap();
        for command in ["serve", "show", "config"] {
            let ran = chat.run(&[command, "--config", path]).await;
            ran.refused(&format!("{path}{why}"));
        }
        assert!(!chat.database().exists());
    }
    let chat = Chat::new();
    let ran = chat.run(&["show", "--config", "/nonexistent/c.toml"]).await;
    ran.refused("cannot read the configuration /nonexistent/c.toml");
    let ran = chat
        .run(&["show", "--database-url-file", "/nonexistent/url"])
        .await;
    ran.refused("cannot take the database's URL from /nonexistent/url");
}

#[tokio::test]
async fn secrets_come_from_credentials_and_files_and_are_not_shown() {
    let impostor = Impostor::builder()
        .password("hunter2")
        .start()
        .await
        .unwrap();
    let chat = Chat::with(&impostor);
    let url = format!("sqlite://{}", chat.data().join("named.db").display());
    file(&chat, "credentials/opencode-password", "hunter2\n");
    let named = file(&chat, "url", &url);
    let text = format!(
        "opencode-password = \"a-wrong-one\"\ndatabase-url-file = {:?}\n",
        named.to_str().unwrap()
    );
    let path = file(&chat, "c.toml", &text);
    let credentials = chat.data().join("credentials");
    let chat = chat
        .variable("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap())
        .variable("OPENCODE_CHAT_CONFIG", path.to_str().unwrap());
    let ran = chat.turn("[[text]]", &[]).await;
    ran.ended(0, "completed");
    // The file has a password, and whoever likes can read it.
    assert!(ran.stderr.contains("chmod 600"), "{ran:?}");
    assert!(chat.data().join("named.db").exists());
    let ran = chat.run(&["config"]).await;
    let hidden = format!(
        "# opencode-password is hidden  # file {}",
        credentials.join("opencode-password").display()
    );
    assert!(ran.stdout.contains(&hidden), "{ran:?}");
    assert!(
        ran.stdout.contains(&format!("database = \"{url}\"")),
        "{ran:?}"
    );
    // What is said on the command line goes before both.
    let ran = chat
        .turn("[[text]]", &["--opencode-password", "another"])
        .await;
    ran.refused("password");
    let of_postgres = "postgres://me:hunter3@db/chat";
    let chat = chat
        .variable("OPENCODE_CHAT_DATABASE", of_postgres)
        .variable("OPENCODE_SERVER_PASSWORD", "hunter4");
    for args in [
        &["config"][..],
        &["serve", "--help"],
        &["doctor", "--help"],
        &["show", "--lease"],
    ] {
        let ran = chat.run(args).await;
        let all = format!("{}{}", ran.stdout, ran.stderr);
        for secret in ["hunter", "a-wrong-one"] {
            assert!(!all.contains(secret), "{args:?} shows {secret}: {all}");
        }
    }
}

#[tokio::test]
async fn a_hang_up_has_the_log_changed_and_says_what_waits_for_a_restart() {
    let impostor = Impostor::start().await.unwrap();
    let chat = Chat::with(&impostor);
    let path = file(&chat, "c.toml", "log = \"info\"\n");
    let config = path.to_str().unwrap();
    let mut serving = chat.start(&["serve", "--listen", "127.0.0.1:0", "--config", config]);
    serving.logs("working on turns").await;
    std::fs::write(&path, "log = \"info\"\nlease = \"0\"\n").unwrap();
    serving.signal(Signal::HUP);
    let line = serving.logs("not reloaded").await;
    assert!(line.contains(":2: `lease` cannot be \"0\""), "{line}");
    std::fs::write(&path, "log = \"debug\"\nlease = \"20\"\n").unwrap();
    serving.signal(Signal::HUP);
    let line = serving.logs("restart this").await;
    assert!(line.ends_with("changed: lease"), "{line}");
    let line = serving.logs("reloaded").await;
    assert!(line.contains("changed=\"log\""), "{line}");
    // Calls to the server are told at this level.
    let turn = chat.run(&["submit", "[[text]]"]).await;
    assert_eq!(turn.code, 0, "{turn:?}");
    let line = serving.logs("opencode.request").await;
    assert!(line.contains("DEBUG"), "{line}");
    serving.signal(Signal::TERM);
    assert_eq!(serving.end().await.code, 0);
}

#[tokio::test]
async fn completions_and_manual_pages_are_made_of_the_commands() {
    let chat = Chat::new().variable("OPENCODE_SERVER_PASSWORD", "hunter2");
    let ran = chat.run(&["completions", "bash"]).await;
    assert!(ran.stdout.contains("--allowed-host"), "{ran:?}");
    let script = file(&chat, "completions", &ran.stdout);
    let checked = std::process::Command::new("bash")
        .arg("-n")
        .arg(&script)
        .status();
    assert!(checked.unwrap().success());
    let folder = chat.data().join("man1");
    let ran = chat.run(&["man", folder.to_str().unwrap()]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let page = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    assert!(page("opencode-chat.1").contains("doctor"));
    let serve = page("opencode-chat-serve.1");
    assert!(serve.contains("OPENCODE_SERVER_PASSWORD") && !serve.contains("hunter2"));
}
