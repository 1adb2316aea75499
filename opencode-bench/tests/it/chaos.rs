//! A short run of chaos on each database. `cargo xtask chaos` runs longer ones.

use std::process::Command;

fn chaos(database: &str, seed: &str, more: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_opencode-chaos"))
        .args(["run", "--limit", "240", "--seed", seed])
        .args(["--database", database])
        .args(more)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Everything goes wrong.
const ALL: [&str; 3] = ["--turns", "20", "--stop-workers"];

#[test]
fn turns_survive_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite://{}", folder.path().join("host.db").display());
    chaos(&database, "11", &ALL);
}

#[tokio::test]
async fn turns_survive_on_postgres() {
    on_postgres("turns", "12", &ALL).await;
}

/// A real OpenCode calls the tools of workers that die.
mod real {
    #[tokio::test]
    async fn tools_are_called_once_and_for_nobody_else() {
        super::on_postgres("tools", "3", &["--turns", "10", "--opencode"]).await;
    }
}

/// Needs a server, as `cargo xtask test` starts one.
async fn on_postgres(of: &str, seed: &str, more: &[&str]) {
    const SERVER: &str = "OPENCODE_HOST_TEST_POSTGRES";
    let server = std::env::var(SERVER)
        .unwrap_or_else(|_| panic!("{SERVER} names no Postgres: use `cargo xtask test`"));
    let name = format!("chaos_{of}_{}", std::process::id());
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
    chaos(database.as_str(), seed, more);
    sql(format!("DROP DATABASE {name} WITH (FORCE)"))
        .execute(&mut on)
        .await
        .unwrap();
}
