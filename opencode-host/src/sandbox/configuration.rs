//! What OpenCode would take from a sandbox for its own, and run.

use std::io;
use std::sync::Arc;

use cap_std::fs::Dir;
use uuid::Uuid;

use super::{Refusal, SandboxError, SandboxId, folder};
use crate::visible::short;

/// Where moved entries lie: one folder for each sandbox. No [`SandboxId`] starts with a dot.
pub(super) const QUARANTINE: &str = ".quarantine";

/// What OpenCode looks for in a session's folder, and in those above it. `.opencode` and the `opencode.json`
/// files name plugins, tools, commands and servers to start; a `.git` moves the border of
/// `external_directory`, and its configuration names programs.
const NAMES: [&str; 4] = [".git", ".opencode", "opencode.json", "opencode.jsonc"];

/// How often entries that come back are moved away.
const ROUNDS: usize = 8;

/// How many characters of a name are told.
const SHOWN_NAME: usize = 80;

/// What becomes of configuration of OpenCode's that is found in a conversation's sandbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OwnConfiguration {
    /// It is moved out before the server could read it: see
    /// [`Sandbox::remove_configuration`](super::Sandbox::remove_configuration).
    #[default]
    Remove,
    /// It stays, whoever wrote it: the agent too. For products that seed configuration, or that let the agent
    /// keep a Git repository, and whose server runs inside an isolation of the system.
    Keep,
}

/// Where entries of one sandbox are moved to.
#[derive(Debug, Clone)]
pub(super) struct Quarantine {
    /// The folder of all sandboxes.
    pub(super) root: Arc<Dir>,
    pub(super) id: SandboxId,
}

impl Quarantine {
    /// Moves out what has one of the [`NAMES`], and returns the names that were found.
    pub(super) fn clear(&self, sandbox: &Dir) -> Result<Vec<String>, SandboxError> {
        let mut moved = Vec::new();
        for _ in 0..ROUNDS {
            let found = found(sandbox).map_err(|error| failed("list", ".", error))?;
            if found.is_empty() {
                return Ok(moved);
            }
            let aside = self
                .open()
                .map_err(|error| failed("make the quarantine for", &found[0].0, error))?;
            for (name, canonical) in found {
                // The entry itself, at once and whatever it is: a link is not followed, a tree not walked.
                let new_name = format!("{}{canonical}", Uuid::now_v7().simple());
                match rustix::fs::renameat(sandbox, &*name, &aside, &*new_name) {
                    Ok(()) => moved.push(short(&name, SHOWN_NAME)),
                    Err(rustix::io::Errno::NOENT) => {}
                    Err(error) => return Err(failed("move away", &name, error.into())),
                }
            }
        }
        Err(SandboxError::Refused {
            path: moved.pop().unwrap_or_default(),
            reason: Refusal::Configuration,
        })
    }

    fn open(&self) -> io::Result<Dir> {
        folder::make(&self.root, QUARANTINE)?;
        let all = folder::open(&self.root, QUARANTINE)?;
        folder::make(&all, self.id.as_str())?;
        folder::open(&all, self.id.as_str())
    }
}

/// The entries that configure, by the name they have and the one OpenCode has for it.
fn found(sandbox: &Dir) -> io::Result<Vec<(String, &'static str)>> {
    let mut found = Vec::new();
    for entry in sandbox.entries()? {
        let name = entry?.file_name();
        // What is not UTF-8 is none of them on any file system.
        if let Some(name) = name.to_str()
            && let Some(canonical) = NAMES.iter().find(|canonical| is_named(name, canonical))
        {
            found.push((name.to_owned(), *canonical));
        }
    }
    Ok(found)
}

/// Whether some file system takes `name` for `canonical`: those that ignore case, and those that ignore
/// characters without a width. Not necessarily this machine's: the server may be on another one.
fn is_named(name: &str, canonical: &str) -> bool {
    let folded = name
        .chars()
        .filter(|c| !is_ignored(*c))
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase);
    folded.eq(canonical.chars())
}

/// What HFS+ leaves out when it compares names.
fn is_ignored(c: char) -> bool {
    matches!(
        c,
        '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}'
    )
}

fn failed(action: &'static str, name: &str, source: io::Error) -> SandboxError {
    SandboxError::Io {
        action,
        path: short(name, SHOWN_NAME),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_as_any_file_system_knows_them() {
        for name in [
            ".opencode",
            ".OpenCode",
            ".OPENCODE",
            ".open\u{200c}code",
            "\u{feff}.opencode",
        ] {
            assert!(is_named(name, ".opencode"), "{name:?}");
        }
        for name in ["opencode.json", "OPENCODE.JSON", "opencode.j\u{17f}on"] {
            assert!(is_named(name, "opencode.json"), "{name:?}");
        }
        assert!(is_named(".GIT", ".git"));
        for name in [
            "opencode",
            ".opencode2",
            ".gitignore",
            ".github",
            "git",
            "",
            "my-opencode.json",
        ] {
            assert!(
                NAMES.iter().all(|canonical| !is_named(name, canonical)),
                "{name:?}"
            );
        }
    }
}
