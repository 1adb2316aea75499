//! Login and the sessions that come of it. A session ends when it is signed out of, when it was not used for
//! [`SESSION_KEPT`], when its user gets another password, and when its user is removed.

use std::time::Duration;

use super::Accounts;
use super::database::{change, rows};
use super::error::PeopleError;
use super::password;
use super::secret;
use super::users::{User, name_of};

/// How long a session is kept that is not used.
pub const SESSION_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// How often it is noted that a session is used.
const NOTED_EVERY: Duration = Duration::from_secs(24 * 3600);

/// A user who has shown their password.
#[derive(Clone, Debug)]
pub struct Known {
    /// Who they are.
    pub user: User,
    /// Which of their passwords it was.
    number: i64,
}

impl Accounts {
    /// The user of this name, if it is their password. Each attempt is counted, by name and by where it comes from: with
    /// more than a few that failed, the next one has to wait.
    ///
    /// # Errors
    /// [`PeopleError::Wrong`] when it is not, or nobody has this name; [`PeopleError::Wait`] when too many have failed.
    pub async fn know(&self, name: &str, given: &str, from: &str) -> Result<Known, PeopleError> {
        let kept = name_of(name).ok();
        self.attempt(kept.as_deref(), from).await?;
        let query = "SELECT id, password_hash, number FROM chat_users WHERE name = $1";
        let known: Vec<(String, String, i64)> = match &kept {
            Some(name) => rows!(&self.database, query, name)?,
            None => Vec::new(),
        };
        let known = known.into_iter().next();
        let hash = known.as_ref().map(|(_, hash, _)| hash.clone());
        // A name that nobody has takes as long.
        let is_right = password::is_of(given, hash).await?;
        let (Some((_, _, number)), Some(name), true) = (known, kept, is_right) else {
            return Err(PeopleError::Wrong);
        };
        self.succeeded(&name, from).await?;
        let user = match self.user_named(&name).await {
            Err(PeopleError::Unknown(_)) => return Err(PeopleError::Wrong),
            found => found?,
        };
        Ok(Known { user, number })
    }

    /// Begins a session: what the browser shows from now on.
    ///
    /// # Errors
    /// [`PeopleError::Database`].
    pub async fn begin_session(&self, known: &Known) -> Result<String, PeopleError> {
        let now = self.clock.now();
        let over = "DELETE FROM chat_sessions WHERE expires_at <= $1";
        change!(&self.database, over, now.0)?;
        let token = secret::new("");
        let insert = "INSERT INTO chat_sessions (token_hash, user_id, number, created_at, expires_at) \
                      VALUES ($1, $2, $3, $4, $5)";
        change!(
            &self.database,
            insert,
            secret::hash(&token),
            known.user.id.to_string(),
            known.number,
            now.0,
            now.after(SESSION_KEPT).0,
        )?;
        Ok(token)
    }

    /// Gives a user who is known another password: all their sessions end.
    ///
    /// # Errors
    /// Those of [`set_password`](Self::set_password).
    pub async fn change_password(&self, known: &Known, new: &str) -> Result<Known, PeopleError> {
        self.set_password(&known.user, new).await?;
        let query = "SELECT number FROM chat_users WHERE id = $1";
        let numbers: Vec<(i64,)> = rows!(&self.database, query, known.user.id.to_string())?;
        let number = numbers.first().map(|(number,)| *number);
        Ok(Known {
            user: known.user.clone(),
            number: number.ok_or_else(|| PeopleError::Unknown(known.user.name.clone()))?,
        })
    }

    /// The user of a session, if it has not ended.
    ///
    /// # Errors
    /// [`PeopleError::Database`].
    pub async fn session(&self, token: &str) -> Result<Option<User>, PeopleError> {
        type Row = (String, String, String, i64, i64, i64, i64);
        let (hash, now) = (secret::hash(token), self.clock.now());
        let query = "SELECT u.id, u.name, u.tenant, u.is_admin, u.may_run, u.created_at, s.expires_at \
                     FROM chat_sessions s JOIN chat_users u ON u.id = s.user_id AND u.number = s.number \
                     WHERE s.token_hash = $1 AND s.expires_at > $2";
        let found: Vec<Row> = rows!(&self.database, query, &hash, now.0)?;
        let Some((id, name, tenant, is_admin, may_run, created_at, expires_at)) =
            found.into_iter().next()
        else {
            return Ok(None);
        };
        if expires_at < now.after(SESSION_KEPT).before(NOTED_EVERY).0 {
            let note = "UPDATE chat_sessions SET expires_at = $1 WHERE token_hash = $2";
            change!(&self.database, note, now.after(SESSION_KEPT).0, &hash)?;
        }
        User::of((id, name, tenant, is_admin, may_run, created_at)).map(Some)
    }

    /// Ends a session.
    ///
    /// # Errors
    /// [`PeopleError::Database`].
    pub async fn end_session(&self, token: &str) -> Result<(), PeopleError> {
        let delete = "DELETE FROM chat_sessions WHERE token_hash = $1";
        change!(&self.database, delete, secret::hash(token))?;
        Ok(())
    }

    /// Counts an attempt, or says how long the next one has to wait. It is counted before the password is looked at, so that
    /// many at once are no way around it.
    async fn attempt(&self, name: Option<&str>, from: &str) -> Result<(), PeopleError> {
        let now = self.clock.now();
        let old = "DELETE FROM chat_attempts WHERE until < $1";
        let forgotten = now.before(FORGOTTEN).0;
        change!(&self.database, old, forgotten)?;
        let (of_name, of_address) = (name.map(subject_of_name), subject_of_address(from));
        for (subject, free) in of_name
            .iter()
            .map(|subject| (subject, FREE_OF_NAME))
            .chain([(&of_address, FREE_OF_ADDRESS)])
        {
            // The wait grows with those that failed: 2 s, 10 s, 60 s.
            let count = "INSERT INTO chat_attempts (subject, failed, until) VALUES ($1, 1, $2) \
                         ON CONFLICT (subject) DO UPDATE SET failed = chat_attempts.failed + 1, \
                         until = $2 + CASE WHEN chat_attempts.failed < $3 THEN 0 WHEN chat_attempts.failed < 2 * $3 THEN 2000 \
                         WHEN chat_attempts.failed < 4 * $3 THEN 10000 ELSE 60000 END WHERE chat_attempts.until <= $2";
            if change!(&self.database, count, subject, now.0, free)? == 0 {
                let query = "SELECT until FROM chat_attempts WHERE subject = $1";
                let until: Vec<(i64,)> = rows!(&self.database, query, subject)?;
                let until = until.first().map_or(now.0, |(until,)| *until);
                let wait = opencode_host::clock::Timestamp(until).since(now);
                return Err(PeopleError::Wait(wait.max(Duration::from_secs(1))));
            }
        }
        Ok(())
    }

    /// Forgets what has failed with a name, and that this attempt could have.
    async fn succeeded(&self, name: &str, from: &str) -> Result<(), PeopleError> {
        let delete = "DELETE FROM chat_attempts WHERE subject = $1";
        change!(&self.database, delete, subject_of_name(name))?;
        let less = "UPDATE chat_attempts SET failed = failed - 1 WHERE subject = $1 AND failed > 0";
        change!(&self.database, less, subject_of_address(from))?;
        Ok(())
    }
}

/// Attempts of a name, and of an address, that have to wait for nothing. Many people may come from one address.
const FREE_OF_NAME: i64 = 5;
const FREE_OF_ADDRESS: i64 = 20;
/// How long failed attempts count.
const FORGOTTEN: Duration = Duration::from_secs(3600);

fn subject_of_name(name: &str) -> String {
    format!("name:{name}")
}

fn subject_of_address(address: &str) -> String {
    format!("address:{address}")
}
