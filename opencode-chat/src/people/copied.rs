//! Users as a backup has them.

use serde::{Deserialize, Serialize};

use super::Accounts;
use super::database::{change, rows};
use super::error::PeopleError;

/// A user's row. What they have signed in with is not in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UserRow {
    id: String,
    name: String,
    tenant: String,
    is_admin: i64,
    may_run: i64,
    password_hash: String,
    number: i64,
    created_at: i64,
}

type Columns = (String, String, String, i64, i64, String, i64, i64);

impl Accounts {
    /// All users, with the hashes of their passwords.
    ///
    /// # Errors
    /// [`PeopleError::Database`].
    pub(crate) async fn rows(&self) -> Result<Vec<UserRow>, PeopleError> {
        let query = "SELECT id, name, tenant, is_admin, may_run, password_hash, number, created_at \
                     FROM chat_users ORDER BY name";
        let found: Vec<Columns> = rows!(&self.database, query)?;
        let rows = found.into_iter().map(
            |(id, name, tenant, is_admin, may_run, password_hash, number, created_at)| UserRow {
                id,
                name,
                tenant,
                is_admin,
                may_run,
                password_hash,
                number,
                created_at,
            },
        );
        Ok(rows.collect())
    }

    /// Adds users as they were.
    ///
    /// # Errors
    /// [`PeopleError::Database`], where there is a user of the name too.
    pub(crate) async fn add_rows(&self, users: &[UserRow]) -> Result<(), PeopleError> {
        let insert = "INSERT INTO chat_users (id, name, tenant, is_admin, may_run, password_hash, number, created_at) \
                      VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        for user in users {
            change!(
                &self.database,
                insert,
                &user.id,
                &user.name,
                &user.tenant,
                user.is_admin,
                user.may_run,
                &user.password_hash,
                user.number,
                user.created_at,
            )?;
        }
        Ok(())
    }
}
