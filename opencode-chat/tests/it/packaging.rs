//! What `packaging/` has for a machine's own programs, tried with them.
//!
//! `OPENCODE_HOST_SYSTEMD_ANALYZE` names the program; `cargo xtask test` installs and names it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::Chat;

const UNIT: &str = include_str!("../../../packaging/systemd/opencode-chat.service");
/// Where the unit has the program.
const INSTALLED: &str = "/usr/local/bin/opencode-chat";

fn analyze(args: &[&str], unit: &Path) -> Output {
    let program = std::env::var_os("OPENCODE_HOST_SYSTEMD_ANALYZE").map(PathBuf::from);
    let program =
        program.expect("OPENCODE_HOST_SYSTEMD_ANALYZE names no program: run `cargo xtask test`");
    Command::new(program).args(args).arg(unit).output().unwrap()
}

/// The unit with the program of this build, in a file.
fn unit(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("opencode-chat.service");
    let program = env!("CARGO_BIN_EXE_opencode-chat");
    std::fs::write(&path, text.replace(INSTALLED, program)).unwrap();
    path
}

#[test]
fn systemd_knows_all_of_the_unit_and_finds_it_hardened() {
    let folder = tempfile::tempdir().unwrap();
    let path = unit(folder.path(), UNIT);
    let verified = analyze(&["verify", "--man=no"], &path);
    // What it does not know it tells, and passes over.
    assert!(
        verified.status.success() && verified.stderr.is_empty(),
        "{verified:?}"
    );
    // An exposure of 2.0 at most, of 10; a unit without any of it has more than 9.
    let hardened = ["security", "--offline=true", "--threshold=20"];
    let found = analyze(&hardened, &path);
    assert!(found.status.success(), "{found:?}");

    let odd = unit(
        folder.path(),
        &UNIT.replace("ProtectHome=", "ProtectHomes="),
    );
    let told = analyze(&["verify", "--man=no"], &odd);
    let told = String::from_utf8(told.stderr).unwrap();
    assert!(told.contains("ProtectHomes"), "{told}");
    let bare = UNIT.split_once("NoNewPrivileges=").unwrap().0;
    let bare = unit(folder.path(), bare);
    assert!(!analyze(&hardened, &bare).status.success());
}

/// The program takes the arguments and the variables that the unit gives it.
#[tokio::test]
async fn the_program_starts_as_the_unit_says() {
    let start = UNIT
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="));
    let mut words = start.unwrap().split(' ');
    assert_eq!(
        (words.next(), words.next()),
        (Some(INSTALLED), Some("serve"))
    );
    let chat = Chat::new();
    let file = chat.data().join("config.toml");
    std::fs::write(&file, "listen = \"127.0.0.1:3999\"\n").unwrap();
    let args = words.map(|word| match word {
        "/etc/opencode-chat/config.toml" => file.to_str().unwrap(),
        other => other,
    });
    let args: Vec<_> = ["config"].into_iter().chain(args).collect();
    let mut command = chat.command(&args);
    for line in UNIT.lines() {
        if let Some((name, value)) = line
            .strip_prefix("Environment=")
            .and_then(|set| set.split_once('='))
        {
            command.env(name, value);
        }
    }
    let out = command.output().await.unwrap();
    let told = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success(), "{:?}", out.stderr);
    assert!(told.contains("127.0.0.1:3999"), "{told}");
    assert!(told.contains("data = \"/var/lib/opencode-chat\""), "{told}");
}
