//! A short run of chaos on each database. `cargo xtask chaos` runs longer ones.

use std::process::Command;

fn chaos(database: &str, seed: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_opencode-chaos"))
        .args(["run", "--turns", "40", "--stop-workers", "--limit", "150"])
        .args(["--seed", seed, "--database", database])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn turns_survive_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    chaos(
        &format!("sqlite://{}", folder.path().join("host.db").display()),
        "11",
    );
}
