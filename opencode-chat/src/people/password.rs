//! Passwords: hashed by Argon2id, a few at a time.

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use tokio::sync::Semaphore;

use super::error::{MAX_PASSWORD, MIN_PASSWORD, PeopleError};

/// How many are hashed at once. Each takes 19 MiB and a processor meanwhile.
static ROOM: Semaphore = Semaphore::const_new(2);

/// What is kept of a password.
///
/// # Errors
/// [`PeopleError::Password`] when it is too short or too long.
pub(super) async fn hash(password: &str) -> Result<String, PeopleError> {
    if !(MIN_PASSWORD..=MAX_PASSWORD).contains(&password.len()) {
        return Err(PeopleError::Password);
    }
    let password = password.to_owned();
    apart(move || {
        let hash: PasswordHash = Argon2::default()
            .hash_password(password.as_bytes())
            .map_err(|error| PeopleError::Hash(error.to_string()))?;
        Ok(hash.to_string())
    })
    .await
}

/// Whether it is the password of this hash. Without a hash it takes as long, and is not.
pub(super) async fn is_of(password: &str, hash: Option<String>) -> Result<bool, PeopleError> {
    if password.len() > MAX_PASSWORD {
        return Ok(false);
    }
    let password = password.to_owned();
    apart(move || {
        let Some(hash) = hash else {
            let hashed: Result<PasswordHash, _> =
                Argon2::default().hash_password(password.as_bytes());
            return hashed
                .map(|_| false)
                .map_err(|error| PeopleError::Hash(error.to_string()));
        };
        let hash =
            PasswordHash::new(&hash).map_err(|error| PeopleError::Hash(error.to_string()))?;
        let verified = Argon2::default().verify_password(password.as_bytes(), &hash);
        Ok(verified.is_ok())
    })
    .await
}

/// Works on a thread of its own, when there is room.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PeopleError> + Send + 'static,
) -> Result<T, PeopleError> {
    let told = |error: &dyn std::fmt::Display| PeopleError::Hash(error.to_string());
    let _room = ROOM.acquire().await.map_err(|error| told(&error))?;
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| told(&error))?
}
