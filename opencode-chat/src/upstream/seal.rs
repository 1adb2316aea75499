//! What keeps an agent from its server: a file that a server started here runs before there is a session.
//!
//! OpenCode takes its password from the environment alone, and hands that to each command of its agent; whoever has the
//! password answers every permission request himself. So `seal.js` takes it out of the server's environment once the
//! server has read it. It also keeps files in sandboxes from being run as a part of the server.
//!
//! The guard puts the file where the server, which is started in a folder of the guard's own, looks for plugins of that
//! folder. The second API of OpenCode (1.17.19 to 1.18.34 tried) runs it when it is first asked for something, and installs
//! nothing before; a plugin named in the configuration would have every folder wait for an installation from the
//! registry. [`Supervisor`](super::supervisor::Supervisor) asks, and looks whether the password is gone.
//!
//! Not sealed are older servers, and systems other than Linux, where every program of this user can read the
//! environment of the others. For root nothing is sealed but the environment: it reads the memory of any process.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;

/// What is said where the agent's shell can read the server's password.
pub(crate) const SHOWS_PASSWORD: &str = "the agent's shell can read OpenCode's password: a command that you approve can \
    answer every later question itself";

const PLUGIN: &str = include_str!("seal.js");

/// The variable with the server's password.
pub(super) const PASSWORD: &str = "OPENCODE_SERVER_PASSWORD";

/// What a guard is told on its standard input, in one line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Orders {
    /// The server's password.
    pub(super) password: String,
    /// The folder of all sandboxes.
    pub(super) sandboxes: String,
}

/// Puts the plugin into the folder that a server is started in.
pub(super) fn install(folder: &Path, sandboxes: &str) -> io::Result<()> {
    let plugins = folder.join(".opencode/plugin");
    std::fs::create_dir_all(&plugins)?;
    let sandboxes = json!(sandboxes);
    std::fs::write(
        plugins.join("seal.js"),
        format!("const sandboxes = {sandboxes}\n{PLUGIN}"),
    )
}

/// Whether another program of this user shows the server's password in its environment. Elsewhere than on Linux it may.
pub(super) fn shows(password: &str) -> bool {
    if !cfg!(target_os = "linux") {
        return true;
    }
    let variable = format!("{PASSWORD}={password}");
    let program = |process: &Path| std::fs::read_link(process.join("exe")).ok();
    let own = program(Path::new("/proc/self"));
    let shows = |process: &Path| {
        let environment = std::fs::read(process.join("environ")).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .any(|shown| shown == variable.as_bytes())
            // Processes of this program are closed to all but root.
            && program(process) != own
    };
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.map(|process| process.path()).any(|process| {
        let name = process.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.parse::<u32>().is_ok()) && shows(&process)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plugin_lies_where_plugins_are_looked_for() {
        let folder = tempfile::tempdir().unwrap();
        install(folder.path(), "/srv/\"odd\"\n").unwrap();
        let written = std::fs::read_to_string(folder.path().join(".opencode/plugin/seal.js"));
        let written = written.unwrap();
        assert!(
            written.starts_with("const sandboxes = \"/srv/\\\"odd\\\"\\n\"\n"),
            "{written}"
        );
        assert!(written.ends_with(PLUGIN));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_password_in_an_environment_is_found() {
        let password = uuid::Uuid::new_v4().to_string();
        assert!(!shows(&password));
        let mut child = std::process::Command::new("sleep")
            .arg("600")
            .env(PASSWORD, &password)
            .spawn()
            .unwrap();
        // The child has its environment once it runs its own program.
        while std::fs::read(format!("/proc/{}/cmdline", child.id())).unwrap() != b"sleep\x00600\0" {
            std::thread::yield_now();
        }
        assert!(shows(&password));
        // It is the whole value that counts.
        assert!(!shows(&password[1..]) && !shows(&password[..9]));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!shows(&password));
    }
}
