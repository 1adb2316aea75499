//! Where sandboxes may be, and what they may be called.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use opencode_client::wire::{PermissionAction, PermissionRule};
use opencode_host::sandbox::{
    Refusal, RootError, SandboxId, SandboxRoot, default_permission_rules, own_configuration_rules,
};

use super::{Home, refusal};

#[test]
fn the_root_is_made_for_its_user_alone() {
    let dir = tempfile::tempdir().unwrap();
    let root = SandboxRoot::open(dir.path().join("a/b/sandboxes/")).unwrap();
    assert_eq!(
        root.path(),
        dir.path().canonicalize().unwrap().join("a/b/sandboxes")
    );
    let sandbox = root.provision(&"c1".parse().unwrap()).unwrap();
    for made in [root.path(), sandbox.path()] {
        let mode = fs::metadata(made).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{}", made.display());
    }
    // Opening it again finds what is there.
    let again = SandboxRoot::open(root.path()).unwrap();
    assert!(
        !again
            .provision(&"c1".parse().unwrap())
            .unwrap()
            .just_created()
    );
}

#[test]
fn a_linked_root_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("real")).unwrap();
    symlink(dir.path().join("real"), dir.path().join("link")).unwrap();
    symlink(dir.path().join("nowhere"), dir.path().join("dangling")).unwrap();
    for name in ["link", "link/", "link/.", "dangling"] {
        let error = SandboxRoot::open(dir.path().join(name)).unwrap_err();
        assert!(
            matches!(error, RootError::Symlink { .. }),
            "{name}: {error:?}"
        );
    }
    assert_eq!(fs::read_dir(dir.path().join("real")).unwrap().count(), 0);
    assert!(!dir.path().join("nowhere").exists());
}

#[test]
fn links_above_the_root_are_resolved() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("real")).unwrap();
    symlink(dir.path().join("real"), dir.path().join("link")).unwrap();
    let root = SandboxRoot::open(dir.path().join("link/sandboxes")).unwrap();
    assert_eq!(
        root.path(),
        dir.path().canonicalize().unwrap().join("real/sandboxes")
    );
}

#[test]
fn a_root_in_a_git_worktree_is_refused_and_nothing_is_made() {
    let dir = tempfile::tempdir().unwrap();
    // A checkout, a linked worktree or submodule (a file), and a link that leads into one.
    fs::create_dir_all(dir.path().join("checkout/.git")).unwrap();
    fs::create_dir(dir.path().join("linked")).unwrap();
    fs::write(dir.path().join("linked/.git"), "gitdir: elsewhere").unwrap();
    fs::create_dir(dir.path().join("checkout/src")).unwrap();
    symlink(dir.path().join("checkout/src"), dir.path().join("way")).unwrap();
    for (root, worktree) in [
        ("checkout", "checkout"),
        ("checkout/data/sandboxes", "checkout"),
        ("linked/sandboxes", "linked"),
        ("way/sandboxes", "checkout"),
    ] {
        let error = SandboxRoot::open(dir.path().join(root)).unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains(worktree) && message.contains("outside every Git worktree"),
            "{message}"
        );
        assert!(matches!(error, RootError::InGitWorktree { .. }), "{root}");
    }
    assert!(!dir.path().join("checkout/data").exists());
    assert!(!dir.path().join("linked/sandboxes").exists());
    assert!(!dir.path().join("checkout/src/sandboxes").exists());
}

#[test]
fn a_file_or_no_name_is_no_root() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let error = SandboxRoot::open(dir.path().join("file")).unwrap_err();
    assert!(matches!(error, RootError::NotAFolder { .. }), "{error:?}");
    for nameless in [Path::new("/"), &dir.path().join("a/..")] {
        let error = SandboxRoot::open(nameless).unwrap_err();
        assert!(matches!(error, RootError::Nameless { .. }), "{error:?}");
    }
    assert!(matches!(SandboxRoot::open(""), Err(RootError::Io { .. })));
}

#[test]
fn identifiers() {
    let longest = "a".repeat(64);
    for id in [
        "a",
        "0",
        "C-1_b",
        "-",
        "019a2f3e-7b7c-7000-8000-000000000000",
        &longest,
    ] {
        assert_eq!(id.parse::<SandboxId>().unwrap().as_str(), id);
    }
    let too_long = "a".repeat(65);
    for id in [
        "", ".", "..", "a.b", "a/b", "/", "a b", "a\0", "a\n", "é", "日本", ".staging", &too_long,
    ] {
        let error = id.parse::<SandboxId>().unwrap_err().to_string();
        assert!(error.contains("use 1 to 64 of"), "{error}");
    }
}

#[test]
fn provision_finds_or_makes_a_folder_and_nothing_else() {
    let home = Home::new();
    let id = "c1".parse().unwrap();
    assert!(home.sandbox.just_created());
    assert!(!home.root.provision(&id).unwrap().just_created());
    assert_eq!(home.sandbox.path(), home.root.path().join("c1"));

    symlink(home.outside(), home.root.path().join("link")).unwrap();
    symlink("nowhere", home.root.path().join("dangling")).unwrap();
    fs::write(home.root.path().join("file"), "").unwrap();
    for (id, reason) in [
        ("link", Refusal::Symlink),
        ("dangling", Refusal::Symlink),
        ("file", Refusal::NotAFolder),
    ] {
        assert_eq!(
            refusal(home.root.provision(&id.parse().unwrap())),
            Some(reason)
        );
    }
}

#[test]
fn a_sandbox_is_the_folder_it_was_not_the_path() {
    let home = Home::new();
    fs::write(home.agent("a.txt"), "inside").unwrap();
    fs::rename(home.sandbox.path(), home.root.path().join("moved")).unwrap();
    symlink(home.outside(), home.sandbox.path()).unwrap();
    let listing = home.sandbox.files(SystemTime::UNIX_EPOCH).unwrap();
    let names: Vec<_> = listing.files.iter().map(|file| file.name()).collect();
    assert_eq!(names, ["a.txt"]);
    assert_eq!(listing.files[0].read(10).unwrap(), b"inside");
}

#[test]
fn remove_does_not_follow_links() {
    let home = Home::new();
    symlink(home.outside(), home.agent("link")).unwrap();
    fs::create_dir_all(home.agent("deep/er")).unwrap();
    fs::write(home.agent("deep/er/file"), "x").unwrap();
    let id = "c1".parse().unwrap();
    assert!(home.root.remove(&id).unwrap());
    assert!(!home.sandbox.path().exists());
    assert!(!home.root.remove(&id).unwrap());

    symlink(home.outside(), home.sandbox.path()).unwrap();
    // Whether the link itself goes is the system's business; what it points to stays.
    let _ = home.root.remove(&id);
    assert!(home.outside().join("secret.txt").exists());
}

#[test]
fn sweep_removes_what_crashed_copies_left() {
    let home = Home::new();
    let staging = home.root.path().join(".staging");
    let long_ago = SystemTime::now() - Duration::from_secs(100_000);
    let stale = fs::File::create(staging.join("1-1")).unwrap();
    stale.set_modified(long_ago).unwrap();
    fs::write(staging.join("1-2"), "growing").unwrap();
    let day = Duration::from_hours(24);
    assert_eq!(home.root.sweep(SystemTime::now() - day).unwrap(), 1);
    assert!(!staging.join("1-1").exists() && staging.join("1-2").exists());
}

#[test]
fn a_git_folder_of_the_agents_own_is_noticed() {
    let home = Home::new();
    assert!(!home.sandbox.is_git_worktree().unwrap());
    symlink("nowhere", home.agent(".git")).unwrap();
    assert!(home.sandbox.is_git_worktree().unwrap());
}

#[test]
fn rules() {
    let rule = |permission: &str| PermissionRule {
        permission: permission.to_owned(),
        pattern: "*".to_owned(),
        action: PermissionAction::Deny,
    };
    assert_eq!(
        default_permission_rules(),
        [rule("external_directory"), rule("bash")]
    );
    for rule in own_configuration_rules() {
        assert_eq!(
            (rule.permission.as_str(), rule.action),
            ("edit", PermissionAction::Deny)
        );
        assert_ne!(rule.pattern, "*");
    }
}
