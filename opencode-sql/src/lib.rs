//! The opencode-host store on SQLite and on Postgres.
