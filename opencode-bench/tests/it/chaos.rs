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

/// Needs a server, as `cargo xtask test` starts one.
#[tokio::test]
async fn turns_survive_on_postgres() {
    const SERVER: &str = "OPENCODE_HOST_TEST_POSTGRES";
    let server = std::env::var(SERVER)
        .unwrap_or_else(|_| panic!("{SERVER} names no Postgres: use `cargo xtask test`"));
    let name = format!("chaos_{}", std::process::id());
    let mut on = <sqlx::PgConnection as sqlx::Connection>::connect(&server)
        .await
        .unwrap();
    let sql = |text: String| sqlx::raw_sql(sqlx::AssertSqlSafe(text));
    sql(format!("CREATE DATABASE {name}"))
        .execute(&mut on)
        .await
        .unwrap();
    let mut database = url::Url::parse(&server).unwrap();
    database.set_path(&name);
    chaos(database.as_str(), "12");
    sql(format!("DROP DATABASE {name} WITH (FORCE)"))
        .execute(&mut on)
        .await
        .unwrap();
}
