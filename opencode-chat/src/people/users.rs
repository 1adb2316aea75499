//! Users: their names, their passwords, what they may do.

use opencode_host::clock::Timestamp;
use opencode_host::store::Tenant;
use uuid::Uuid;

use super::Accounts;
use super::database::{change, rows};
use super::error::PeopleError;
use super::password;

/// What users' tenants begin with.
const OF_USER: &str = "user:";
/// Characters of a name.
const MAX_NAME: usize = 64;

/// A user's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UserId(pub(super) Uuid);

impl std::fmt::Display for UserId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What a user is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sees what is theirs.
    User,
    /// Sees who there is, how many turns they have and what those cost, too: no contents.
    Admin,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Stays the same; a user who is added again under the same name has another one.
    pub id: UserId,
    /// Unique, in small letters.
    pub name: String,
    /// Whose conversations they see.
    pub tenant: Tenant,
    /// What they are.
    pub role: Role,
    /// Whether the agent may ask them to run commands and to leave its folder. It is refused both otherwise.
    pub may_run: bool,
    /// When they were added.
    pub created_at: Timestamp,
}

/// A user to be added.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// The name, in letters of any case.
    pub name: String,
    /// What they are.
    pub role: Role,
    /// Whether the agent may ask them to run commands and to leave its folder.
    pub may_run: bool,
    /// They are given the conversations of the time without accounts.
    pub takes_over: bool,
}

/// A row of the table.
type Row = (String, String, String, i64, i64, i64);

impl User {
    pub(super) fn of(
        (id, name, tenant, is_admin, may_run, created_at): Row,
    ) -> Result<Self, PeopleError> {
        let id = Uuid::parse_str(&id).map_err(|error| sqlx::Error::Decode(error.into()))?;
        Ok(Self {
            id: UserId(id),
            name,
            tenant: tenant.into(),
            role: if is_admin == 0 {
                Role::User
            } else {
                Role::Admin
            },
            may_run: may_run != 0,
            created_at: Timestamp(created_at),
        })
    }
}

/// A name as it is kept.
pub(super) fn name_of(name: &str) -> Result<String, PeopleError> {
    let kept = name.trim().to_ascii_lowercase();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-+@".contains(c);
    let begins = kept.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins && kept.len() <= MAX_NAME && kept.chars().all(is_plain) {
        Ok(kept)
    } else {
        Err(PeopleError::Name(name.to_owned()))
    }
}

impl Accounts {
    /// Whether there is a user, and so there are accounts.
    ///
    /// # Errors
    /// [`PeopleError::Database`].
    pub async fn are_used(&self) -> Result<bool, PeopleError> {
        let query = "SELECT id FROM chat_users LIMIT 1";
        let found: Vec<(String,)> = rows!(&self.database, query)?;
        Ok(!found.is_empty())
    }

    /// All users, by name.
    ///
    /// # Errors
    /// [`PeopleError::Database`].
    pub async fn users(&self) -> Result<Vec<User>, PeopleError> {
        let query =
            "SELECT id, name, tenant, is_admin, may_run, created_at FROM chat_users ORDER BY name";
        let found: Vec<Row> = rows!(&self.database, query)?;
        found.into_iter().map(User::of).collect()
    }

    /// The user of a name.
    ///
    /// # Errors
    /// [`PeopleError::Unknown`] when there is none, [`PeopleError::Database`].
    pub async fn user_named(&self, name: &str) -> Result<User, PeopleError> {
        let unknown = || PeopleError::Unknown(name.to_owned());
        let kept = name_of(name).map_err(|_| unknown())?;
        let query = "SELECT id, name, tenant, is_admin, may_run, created_at FROM chat_users WHERE name = $1";
        self.find(query, &kept).await?.ok_or_else(unknown)
    }

    /// The user whose conversations are this tenant's.
    ///
    /// # Errors
    /// [`PeopleError::Database`].
    pub async fn user_of(&self, tenant: &Tenant) -> Result<Option<User>, PeopleError> {
        let query = "SELECT id, name, tenant, is_admin, may_run, created_at FROM chat_users WHERE tenant = $1";
        self.find(query, tenant.as_str()).await
    }

    /// Whether the agent may ask for commands in this tenant's conversations. Those of users who were removed are refused;
    /// of tenants who are no users, it may.
    ///
    /// # Errors
    /// [`PeopleError::Database`].
    pub async fn may_run(&self, tenant: &Tenant) -> Result<bool, PeopleError> {
        let user = self.user_of(tenant).await?;
        let is_removed = user.is_none() && tenant.as_str().starts_with(OF_USER);
        Ok(!is_removed && user.is_none_or(|user| user.may_run))
    }

    async fn find(&self, query: &'static str, value: &str) -> Result<Option<User>, PeopleError> {
        let found: Vec<Row> = rows!(&self.database, query, value)?;
        found.into_iter().next().map(User::of).transpose()
    }

    /// Looks whether a user could be added, before anybody thinks of a password.
    ///
    /// # Errors
    /// Those of [`add_user`](Self::add_user).
    pub async fn check_new(&self, new: &NewUser) -> Result<(), PeopleError> {
        let name = name_of(&new.name)?;
        match self.user_named(&name).await {
            Ok(_) => return Err(PeopleError::Taken(name)),
            Err(PeopleError::Unknown(_)) => {}
            Err(error) => return Err(error),
        }
        if new.takes_over
            && let Some(other) = self.user_of(&Tenant::default()).await?
        {
            return Err(PeopleError::TakenOver(other.name));
        }
        Ok(())
    }

    /// Adds a user with a password.
    ///
    /// # Errors
    /// [`PeopleError::Name`] and [`PeopleError::Password`] for what cannot be one, [`PeopleError::Taken`] when there is a
    /// user of this name, [`PeopleError::TakenOver`] when another one has the conversations of the time without accounts.
    pub async fn add_user(&self, new: &NewUser, password: &str) -> Result<User, PeopleError> {
        let name = name_of(&new.name)?;
        let hash = password::hash(password).await?;
        let id = Uuid::new_v4();
        let user = User {
            id: UserId(id),
            tenant: if new.takes_over {
                Tenant::default()
            } else {
                format!("{OF_USER}{id}").into()
            },
            name,
            role: new.role,
            may_run: new.may_run,
            created_at: self.clock.now(),
        };
        let insert = "INSERT INTO chat_users (id, name, tenant, is_admin, may_run, password_hash, number, created_at) \
                      VALUES ($1, $2, $3, $4, $5, $6, 0, $7)";
        let added = change!(
            &self.database,
            insert,
            id.to_string(),
            &user.name,
            user.tenant.as_str(),
            i64::from(user.role == Role::Admin),
            i64::from(user.may_run),
            hash,
            user.created_at.0,
        );
        match added {
            Ok(_) => Ok(user),
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {
                Err(match self.user_of(&user.tenant).await? {
                    Some(other) if other.name != user.name => PeopleError::TakenOver(other.name),
                    _ => PeopleError::Taken(user.name),
                })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether this is the user's password. Two are looked at at once at most.
    ///
    /// # Errors
    /// [`PeopleError::Database`], [`PeopleError::Hash`] when a stored hash cannot be read.
    pub async fn is_password(&self, user: &User, given: &str) -> Result<bool, PeopleError> {
        let query = "SELECT password_hash FROM chat_users WHERE id = $1";
        let hashes: Vec<(String,)> = rows!(&self.database, query, user.id.to_string())?;
        let hash = hashes.into_iter().next().map(|(hash,)| hash);
        password::is_of(given, hash).await
    }

    /// Gives a user another password, and ends their sessions.
    ///
    /// # Errors
    /// [`PeopleError::Password`] for what cannot be one, [`PeopleError::Unknown`] when the user is gone.
    pub async fn set_password(&self, user: &User, password: &str) -> Result<(), PeopleError> {
        let hash = password::hash(password).await?;
        // Sessions are of the number that was.
        let update = "UPDATE chat_users SET password_hash = $1, number = number + 1 WHERE id = $2";
        let changed = change!(&self.database, update, hash, user.id.to_string())?;
        if changed == 0 {
            return Err(PeopleError::Unknown(user.name.clone()));
        }
        Ok(())
    }

    /// Says what a user is, and whether the agent may ask them to run commands.
    ///
    /// # Errors
    /// [`PeopleError::Unknown`] when the user is gone.
    pub async fn set_role(
        &self,
        user: &User,
        role: Role,
        may_run: bool,
    ) -> Result<(), PeopleError> {
        let update = "UPDATE chat_users SET is_admin = $1, may_run = $2 WHERE id = $3";
        let (is_admin, may_run) = (i64::from(role == Role::Admin), i64::from(may_run));
        let id = user.id.to_string();
        if change!(&self.database, update, is_admin, may_run, id)? == 0 {
            return Err(PeopleError::Unknown(user.name.clone()));
        }
        Ok(())
    }

    /// Removes a user, and with them what they have signed in with. Their conversations stay.
    ///
    /// # Errors
    /// [`PeopleError::Unknown`] when the user is gone.
    pub async fn remove_user(&self, user: &User) -> Result<(), PeopleError> {
        let delete = "DELETE FROM chat_users WHERE id = $1";
        if change!(&self.database, delete, user.id.to_string())? == 0 {
            return Err(PeopleError::Unknown(user.name.clone()));
        }
        Ok(())
    }
}
