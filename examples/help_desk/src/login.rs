//! Who somebody is: names, passwords, cookies.

use anyhow::{Context as _, Result};
use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use axum::http::{HeaderMap, header};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::database::{Database, rows};

/// Somebody of a company's: the tenant of all that they see.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) company: String,
}

pub(crate) async fn add_user(database: &Database, user: &User, password: &str) -> Result<()> {
    let hash: PasswordHash = Argon2::default().hash_password(password.as_bytes())?;
    let insert = "INSERT INTO users (name, company, password_hash) VALUES ($1, $2, $3)";
    let added: sqlx::Result<Vec<()>> = rows!(
        database,
        insert,
        &user.name,
        &user.company,
        hash.to_string()
    );
    added.with_context(|| format!("cannot add {}: is the name taken?", user.name))?;
    Ok(())
}

/// A cookie for whoever knows the password.
pub(crate) async fn sign_in(
    database: &Database,
    name: &str,
    password: String,
) -> Result<Option<String>> {
    let query = "SELECT password_hash FROM users WHERE name = $1";
    let hashes: Vec<(String,)> = rows!(database, query, name)?;
    let is_right = tokio::task::spawn_blocking(move || {
        let matches = |hash: &str| {
            let hash = PasswordHash::new(hash);
            hash.is_ok_and(|hash| {
                Argon2::default()
                    .verify_password(password.as_bytes(), &hash)
                    .is_ok()
            })
        };
        hashes.iter().any(|(hash,)| matches(hash))
    });
    if !is_right.await? {
        return Ok(None);
    }
    let token = Uuid::new_v4().simple().to_string();
    let insert = "INSERT INTO sessions (token_hash, user_name) VALUES ($1, $2)";
    let _: Vec<()> = rows!(database, insert, hash_of(&token), name)?;
    // Strict: what other sites have a browser send comes without it.
    Ok(Some(format!(
        "session={token}; Path=/; HttpOnly; SameSite=Strict"
    )))
}

/// Whoever sent the request, by its cookie.
pub(crate) async fn signed_in(database: &Database, headers: &HeaderMap) -> Result<Option<User>> {
    let cookies = headers
        .get(header::COOKIE)
        .and_then(|cookies| cookies.to_str().ok());
    let mut cookies = cookies.unwrap_or_default().split("; ");
    let Some(token) = cookies.find_map(|cookie| cookie.strip_prefix("session=")) else {
        return Ok(None);
    };
    let query = "SELECT u.name, u.company FROM users u JOIN sessions s ON s.user_name = u.name WHERE s.token_hash = $1";
    let users: Vec<User> = rows!(database, query, hash_of(token))?;
    Ok(users.into_iter().next())
}

/// What the table has of a token, so that nobody who reads it can sign in.
fn hash_of(token: &str) -> String {
    format!("{:x}", Sha256::digest(token))
}
