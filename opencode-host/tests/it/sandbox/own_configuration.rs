//! What the server would take for its own configuration.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use opencode_host::sandbox::{OwnConfiguration, Refusal, SandboxError};

use super::{Home, mkfifo, never_blocks, refusal};

impl Home {
    /// What was moved out, as paths below the quarantine.
    fn quarantined(&self) -> Vec<std::path::PathBuf> {
        let folder = self.root.path().join(".quarantine/c1");
        let entries = fs::read_dir(folder).into_iter().flatten();
        let mut found: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        found.sort();
        found
    }
}

/// What is moved out, by name.
fn moved_out(home: &Home, own: OwnConfiguration) -> Vec<String> {
    let mut removed = home.sandbox.remove_configuration(own).unwrap();
    removed.sort();
    removed
}

#[test]
fn it_is_moved_out_whole_and_nothing_else_is() {
    let home = Home::new();
    assert_eq!(
        moved_out(&home, OwnConfiguration::Remove),
        [""; 0],
        "of a clean sandbox nothing"
    );
    assert!(
        !home.root.path().join(".quarantine").exists(),
        "made when it is needed"
    );
    let theirs = [
        ".opencode/plugin/x.js",
        ".git/config",
        "opencode.json",
        "OpenCode.JSONC",
        "AGENTS.md",
        "Claude.md",
        "CONTEXT.md",
        ".claude/skills/a/SKILL.md",
        ".agents/skills/a/SKILL.md",
    ];
    let spared = [
        ".opencode2/x.js",
        "notes/.opencode/plugin/x.js",
        "notes/opencode.json",
        "my-opencode.json",
        "notes/AGENTS.md",
        "notes/.claude/skills/a/SKILL.md",
        ".gitignore",
    ];
    for path in theirs.iter().chain(&spared) {
        let path = home.agent(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "mine").unwrap();
    }
    let removed = moved_out(&home, OwnConfiguration::Remove);
    assert_eq!(
        removed,
        [
            ".agents",
            ".claude",
            ".git",
            ".opencode",
            "AGENTS.md",
            "CONTEXT.md",
            "Claude.md",
            "OpenCode.JSONC",
            "opencode.json"
        ]
    );
    for path in theirs {
        assert!(!home.agent(path).exists(), "{path}");
    }
    for path in spared {
        assert!(home.agent(path).exists(), "{path}");
    }
    let kept = home.quarantined();
    assert_eq!(kept.len(), 9);
    let plugin = kept
        .iter()
        .find(|path| path.join("plugin/x.js").exists())
        .unwrap();
    assert_eq!(
        fs::read_to_string(plugin.join("plugin/x.js")).unwrap(),
        "mine"
    );
    assert_eq!(moved_out(&home, OwnConfiguration::Remove), [""; 0]);
}

#[test]
fn instructions_may_stay_and_skills_may_not() {
    let home = Home::new();
    for path in ["AGENTS.md", "CLAUDE.md", ".claude/skills/a/SKILL.md"] {
        let path = home.agent(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "mine").unwrap();
    }
    let clear = |own| moved_out(&home, own);
    assert_eq!(clear(OwnConfiguration::Keep), [""; 0]);
    assert_eq!(clear(OwnConfiguration::KeepInstructions), [".claude"]);
    let removed = clear(OwnConfiguration::Remove);
    assert_eq!(removed, ["AGENTS.md", "CLAUDE.md"]);
}

/// OpenCode looks in the folders above a session's too.
#[test]
fn what_lies_beside_the_sandboxes_is_moved_out_too() {
    let home = Home::new();
    let root = home.root.path();
    fs::create_dir_all(root.join(".opencode/plugin")).unwrap();
    symlink(home.outside(), root.join(".GIT")).unwrap();
    fs::write(root.join("AGENTS.md"), "mine").unwrap();
    fs::write(root.join("notes.md"), "mine").unwrap();
    fs::write(home.agent("opencode.json"), "{}").unwrap();
    let removed = moved_out(&home, OwnConfiguration::Remove);
    assert_eq!(
        removed,
        ["../.GIT", "../.opencode", "../AGENTS.md", "opencode.json"]
    );
    for gone in [".opencode", ".GIT", "AGENTS.md"] {
        assert!(root.join(gone).symlink_metadata().is_err(), "{gone}");
    }
    assert!(root.join("notes.md").exists());
    assert_eq!(home.quarantined().len(), 1);
    let kept = fs::read_dir(root.join(".quarantine/.root")).unwrap();
    assert_eq!(kept.count(), 3);
    assert!(home.root.remove(&"c1".parse().unwrap()).unwrap());
    assert!(root.join(".quarantine/.root").exists());
}

#[test]
fn links_are_moved_and_not_followed() {
    let home = Home::new();
    symlink(home.outside(), home.agent(".opencode")).unwrap();
    symlink("nowhere", home.agent("opencode.json")).unwrap();
    symlink(
        home.outside().join("secret.txt"),
        home.agent("opencode.jsonc"),
    )
    .unwrap();
    mkfifo(&home.agent(".git"));
    let sandbox = home.sandbox.clone();
    let removed =
        never_blocks(move || sandbox.remove_configuration(OwnConfiguration::Remove)).unwrap();
    assert_eq!(removed.len(), 4);
    assert_eq!(fs::read_dir(home.sandbox.path()).unwrap().count(), 0);
    assert!(home.outside().join("secret.txt").exists());
    assert_eq!(
        home.quarantined()
            .iter()
            .filter(|path| path.is_symlink())
            .count(),
        3
    );
}

#[test]
fn a_sandbox_takes_its_quarantine_with_it_and_no_others() {
    let home = Home::new();
    let other = home.root.provision(&"c2".parse().unwrap()).unwrap();
    for sandbox in [&home.sandbox, &other] {
        fs::create_dir(sandbox.path().join(".opencode")).unwrap();
        assert_eq!(
            sandbox
                .remove_configuration(OwnConfiguration::Remove)
                .unwrap(),
            [".opencode"]
        );
    }
    assert!(home.root.remove(&"c1".parse().unwrap()).unwrap());
    assert_eq!(home.quarantined().len(), 0);
    assert!(home.root.path().join(".quarantine/c2").exists());
    assert!(!home.root.remove(&"c1".parse().unwrap()).unwrap());
}

#[test]
fn what_cannot_be_moved_is_an_error() {
    let home = Home::new();
    fs::write(home.root.path().join(".quarantine"), "in the way").unwrap();
    assert_eq!(
        moved_out(&home, OwnConfiguration::Remove),
        [""; 0],
        "not needed"
    );
    fs::write(home.agent("opencode.json"), "{}").unwrap();
    let failed = home
        .sandbox
        .remove_configuration(OwnConfiguration::Remove)
        .unwrap_err();
    assert!(
        matches!(&failed, SandboxError::Io { path, .. } if path == "opencode.json"),
        "{failed}"
    );
    assert!(home.agent("opencode.json").exists());
}

/// Somebody who makes it anew all the time is noticed, or too slow; nothing outside is touched.
#[test]
fn a_race_ends_in_a_clean_folder_or_an_error() {
    let home = Home::new();
    let (sandbox, done) = (home.sandbox.clone(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let _ = symlink(home.outside(), home.agent(".opencode"));
                let _ = fs::create_dir(home.agent(".opencode"));
                let _ = fs::rename(home.agent(".opencode"), home.agent("aside"));
                let _ = fs::remove_file(home.agent("aside"));
                let _ = fs::remove_dir(home.agent("aside"));
            }
        });
        for _ in 0..300 {
            let cleared = sandbox.remove_configuration(OwnConfiguration::Remove);
            assert!(
                cleared.is_ok() || refusal(cleared) == Some(Refusal::Configuration),
                "neither clean nor told"
            );
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(home.outside().join("secret.txt").exists());
    sandbox
        .remove_configuration(OwnConfiguration::Remove)
        .unwrap();
    assert!(home.agent(".opencode").symlink_metadata().is_err());
}

#[test]
fn a_large_folder_is_looked_through() {
    let home = Home::new();
    for number in 0..10_000 {
        fs::write(home.agent(&format!("{number}.txt")), "").unwrap();
    }
    fs::create_dir(home.agent(".opencode")).unwrap();
    assert_eq!(moved_out(&home, OwnConfiguration::Remove), [".opencode"]);
}
