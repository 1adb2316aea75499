//! `turns` against its own load server.

use std::process::Command;

use serde_json::Value;

#[test]
fn turns_are_measured_and_none_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let drawing = folder.path().join("cost.svg");
    for store in ["memory", "sqlite"] {
        let run = Command::new(env!("CARGO_BIN_EXE_opencode-bench"))
            .args(["turns", "--turns", "1,3", "--rate", "20", "--seconds", "1"])
            .args(["--store", store, "--json", "--svg"])
            .arg(&drawing)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success(), "{told}");
        let rows: Vec<Value> = String::from_utf8(run.stdout)
            .unwrap()
            .lines()
            .map(|row| serde_json::from_str(row).unwrap())
            .collect();
        let of = |column: &str| {
            rows.iter()
                .map(|row| row[column].clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(of("turns"), [1, 3]);
        assert_eq!(of("deltas"), [20, 60]);
        assert_eq!(of("lost"), [0, 0]);
        let drawn = std::fs::read_to_string(&drawing).unwrap();
        assert_eq!(drawn.matches("<circle").count(), 2, "{drawn}");
    }
}

#[test]
fn turns_that_cannot_be_kept_say_why() {
    let run = Command::new(env!("CARGO_BIN_EXE_opencode-bench"))
        .args([
            "turns",
            "--turns",
            "1",
            "--seconds",
            "1",
            "--store",
            "nonsense://",
        ])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&run.stderr);
    assert!(!run.status.success());
    assert!(told.contains("cannot open the store"), "{told}");
}
