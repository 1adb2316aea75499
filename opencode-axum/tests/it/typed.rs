//! The types of the routes for TypeScript, `docs/openapi.d.ts`: made of the description by openapi-typescript.

use std::path::{Path, PathBuf};

use opencode_impostor::Step;
use serde_json::json;
use tokio::process::Command;

use crate::clients::packages;
use crate::site::Site;

/// Set to write the types anew.
const BLESS: &str = "OPENCODE_BLESS";

fn kept() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.d.ts")
}

/// What a program of the packages says.
async fn said(program: &str, arguments: &[&Path]) -> String {
    let program = packages().join("node_modules/.bin").join(program);
    let run = Command::new(&program)
        .args(arguments)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8(run.stdout).unwrap();
    let error = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{}: {said}{error}", program.display());
    said
}

#[tokio::test]
async fn the_types_are_those_of_the_description() {
    let folder = tempfile::tempdir().unwrap();
    let description = folder.path().join("openapi.json");
    std::fs::write(&description, opencode_axum::openapi()).unwrap();
    let now = said("openapi-typescript", &[&description]).await;
    if std::env::var_os(BLESS).is_some() {
        std::fs::write(kept(), &now).unwrap();
    }
    let kept = std::fs::read_to_string(kept()).unwrap_or_default();
    assert!(
        kept == now,
        "docs/openapi.d.ts is not what the routes are: run the test with {BLESS}=1"
    );
}

/// The client's program says where the types hold what would be wrong (`@ts-expect-error`): tsc fails where they do not.
#[tokio::test]
async fn a_program_with_the_types_is_checked_and_reads_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::copy(kept(), path("openapi.d.ts")).unwrap();
    let program = include_str!("../clients/typed.ts");
    std::fs::write(path("typed.ts"), program).unwrap();
    let options = json!({
        "compilerOptions": {
            "strict": true, "noEmit": true, "target": "es2023", "lib": ["es2023", "dom", "dom.iterable", "dom.asynciterable"],
            "module": "preserve", "types": [], "skipLibCheck": false,
        },
        "files": ["typed.ts"],
    });
    std::fs::write(path("tsconfig.json"), options.to_string()).unwrap();
    said("tsc", &[Path::new("--project"), folder.path()]).await;
    let script = said("esbuild", &[&path("typed.ts"), Path::new("--format=esm")]).await;

    let site = Site::new([
        Step::question("Go on?", ["Yes"]),
        Step::text("It "),
        Step::text("grows."),
    ])
    .await;
    let address = site.serve().await;
    let run = Command::new("node")
        .args(["--input-type=module", "--eval", &script, "--"])
        .args([&format!("http://{address}/api"), "acme"])
        .kill_on_drop(true)
        .output();
    let run = tokio::time::timeout(crate::site::PATIENCE, run).await;
    let run = run.expect("the program does not end").unwrap();
    let error = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{error}");
    let said: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(
        said,
        json!({"status": "completed", "shown": "It grows.", "kept": "It grows."})
    );
}
