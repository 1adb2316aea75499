use opencode_host::store::StoreError;
use sqlx::error::DatabaseError;

use crate::failure::Failure;

/// What a failure of Postgres means, and what can be done about it.
/// Codes: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
pub(super) fn failure(error: &sqlx::Error, place: &str) -> Failure {
    let unavailable = |why: String| Failure::Store(StoreError::Unavailable(why));
    match error {
        sqlx::Error::Database(error) => from_server(&**error, place),
        sqlx::Error::PoolTimedOut => unavailable(format!(
            "no connection to {place} was had in time: it cannot be reached, or is busy"
        )),
        sqlx::Error::Io(error) => unavailable(format!("the connection to {place} failed: {error}")),
        sqlx::Error::Tls(error) => unavailable(format!("no TLS connection to {place}: {error}")),
        sqlx::Error::Protocol(error) => {
            unavailable(format!("the connection to {place} broke: {error}"))
        }
        sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
            unavailable(format!("the connection to {place} is closed"))
        }
        other => Failure::Store(StoreError::Unexpected(format!("{place}: {other}"))),
    }
}

fn from_server(error: &dyn DatabaseError, place: &str) -> Failure {
    let message = error.message();
    let code = error.code().unwrap_or_default();
    let unavailable = |why: &str| StoreError::Unavailable(format!("{place}: {why} ({message})"));
    let wrong = |advice: &str| StoreError::Configuration(format!("{place}: {message}: {advice}"));
    Failure::Store(match &*code {
        // Serialization failure, deadlock.
        "40001" | "40P01" => return Failure::Conflict(format!("{place}: {message}")),
        "55P03" => StoreError::LockTimeout,
        "53100" => unavailable("its disk is full: free some space"),
        "57014" => unavailable("a statement took too long"),
        "28P01" | "28000" => wrong("check user and password, and pg_hba.conf"),
        "3D000" => wrong("create the database, or name another one"),
        "42501" => wrong("the user needs the right to create and change tables in this database"),
        "42P01" => wrong("the tables of the store are in another database, or were dropped"),
        "25006" => wrong("this server only reads: name the primary"),
        _ => match code.get(..2) {
            // Connection exceptions, insufficient resources, operator intervention, system errors.
            Some("08" | "53" | "57" | "58") => unavailable("not available"),
            // The server ended an idle transaction: the connection is gone.
            _ if code == "25P03" => unavailable("the transaction was idle for too long"),
            _ => StoreError::Unexpected(format!("{place}: {message} (code {code})")),
        },
    })
}
