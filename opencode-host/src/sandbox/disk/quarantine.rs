//! Moving what OpenCode would take for its own out of an agent's reach.

use std::io;
use std::sync::Arc;

use cap_std::fs::Dir;
use uuid::Uuid;

use super::folder;
use crate::sandbox::{OwnConfiguration, Refusal, SandboxError, SandboxId};
use crate::visible::short;

/// Where moved entries lie: one folder for each sandbox. No [`SandboxId`] starts with a dot.
pub(super) const QUARANTINE: &str = ".quarantine";

/// Where what was moved out of the folder of all sandboxes lies.
const OF_ROOT: &str = ".root";

/// What OpenCode looks for in a session's folder, and in those above it, in lower case. `.opencode` and the
/// `opencode.json` files name plugins, tools, commands and servers to start; a `.git` moves the border of
/// `external_directory`, and its configuration names programs; `.claude` and `.agents` hold skills.
const NAMES: [&str; 6] = [
    ".agents",
    ".claude",
    ".git",
    ".opencode",
    "opencode.json",
    "opencode.jsonc",
];
/// What enters the system prompt.
const INSTRUCTIONS: [&str; 3] = ["agents.md", "claude.md", "context.md"];

/// How often entries that come back are moved away.
const ROUNDS: usize = 8;

/// How many characters of a name are told.
const SHOWN_NAME: usize = 80;

/// Where entries of one sandbox are moved to.
#[derive(Debug, Clone)]
pub(super) struct Quarantine {
    /// The folder of all sandboxes.
    pub(super) root: Arc<Dir>,
    pub(super) id: SandboxId,
}

impl Quarantine {
    /// Moves out of the sandbox, and of the folder that all of them are in, what `own` does not let stay. Returns the
    /// names that were found, those of the latter as `../NAME`.
    pub(super) fn clear(
        &self,
        sandbox: &Dir,
        own: OwnConfiguration,
    ) -> Result<Vec<String>, SandboxError> {
        let mut moved = self.move_out(sandbox, own, "", self.id.as_str())?;
        moved.extend(self.move_out(&self.root, own, "../", OF_ROOT)?);
        Ok(moved)
    }

    fn move_out(
        &self,
        folder: &Dir,
        own: OwnConfiguration,
        way: &str,
        aside: &str,
    ) -> Result<Vec<String>, SandboxError> {
        let told = |name: &str| short(&format!("{way}{name}"), SHOWN_NAME);
        let failed = |action, name: &str, source| SandboxError::Io {
            action,
            path: told(name),
            source,
        };
        let mut moved = Vec::new();
        for _ in 0..ROUNDS {
            let found = found(folder, own).map_err(|error| failed("list", ".", error))?;
            let Some((first, _)) = found.first() else {
                return Ok(moved);
            };
            let aside = self
                .open(aside)
                .map_err(|error| failed("make the quarantine for", first, error))?;
            for (name, canonical) in found {
                // The entry itself, at once and whatever it is: a link is not followed, a tree not walked.
                let new_name = format!("{}{canonical}", Uuid::now_v7().simple());
                match rustix::fs::renameat(folder, &*name, &aside, &*new_name) {
                    Ok(()) => moved.push(told(&name)),
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

    fn open(&self, name: &str) -> io::Result<Dir> {
        folder::make(&self.root, QUARANTINE)?;
        let all = folder::open(&self.root, QUARANTINE)?;
        folder::make(&all, name)?;
        folder::open(&all, name)
    }
}

/// The entries that are to be moved, by the name they have and the one OpenCode has for it.
fn found(folder: &Dir, own: OwnConfiguration) -> io::Result<Vec<(String, &'static str)>> {
    let mut found = Vec::new();
    for entry in folder.entries()? {
        let name = entry?.file_name();
        // What is not UTF-8 is none of them on any file system.
        if let Some(name) = name.to_str()
            && let Some(canonical) = moved_name(own, name)
        {
            found.push((name.to_owned(), canonical));
        }
    }
    Ok(found)
}

/// The name that OpenCode has for an entry, if it is to be moved out.
fn moved_name(own: OwnConfiguration, name: &str) -> Option<&'static str> {
    let instructions: &[&str] = match own {
        OwnConfiguration::Remove => &INSTRUCTIONS,
        OwnConfiguration::KeepInstructions => &[],
        OwnConfiguration::Keep => return None,
    };
    let mut known = NAMES.iter().chain(instructions);
    known.find(|known| is_named(name, known)).copied()
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
        for (name, canonical) in [
            ("AGENTS.md", "agents.md"),
            ("Claude.MD", "claude.md"),
            ("CONTEXT.md", "context.md"),
        ] {
            assert_eq!(moved_name(OwnConfiguration::Remove, name), Some(canonical));
            assert_eq!(moved_name(OwnConfiguration::KeepInstructions, name), None);
        }
        for name in [".claude", ".Agents", ".git"] {
            assert!(moved_name(OwnConfiguration::KeepInstructions, name).is_some());
            assert_eq!(moved_name(OwnConfiguration::Keep, name), None);
        }
        for name in [
            "opencode",
            ".opencode2",
            ".gitignore",
            ".github",
            "git",
            "",
            "my-opencode.json",
            "AGENTS.md.txt",
            "claude",
        ] {
            assert_eq!(moved_name(OwnConfiguration::Remove, name), None, "{name:?}");
        }
    }
}
