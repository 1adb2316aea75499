//! Calls about sessions: made, read, listed, aborted, deleted.

use std::collections::HashMap;

use reqwest::Method;
use serde_json::json;

use super::client::Client;
use super::send::Call;
use crate::error::Error;
use crate::id::SessionId;
use crate::wire::{NewSession, PermissionRule, Session, SessionStatus, Todo};

impl Client {
    /// Makes a session: `POST /session`.
    ///
    /// # Errors
    /// See [`Error`]. After an ambiguous one a session may exist.
    pub async fn create_session(&self, session: &NewSession) -> Result<Session, Error> {
        self.json(Call::new(Method::POST, "/session").body(json!(session)))
            .await
    }

    /// One session: `GET /session/:id`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn session(&self, session: &SessionId) -> Result<Session, Error> {
        self.json(Call::on_session(Method::GET, session, "")).await
    }

    /// The sessions of the client's folder, of the whole server without one,
    /// newest first, those of sub-agents left out: `GET /session?roots=&limit=`.
    /// A server that knows neither parameter answers all.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn sessions(&self, limit: usize) -> Result<Vec<Session>, Error> {
        let call = Call::new(Method::GET, "/session")
            .query("roots", "true")
            .query("limit", limit.to_string());
        self.json(call).await
    }

    /// Those of [`Self::sessions`] in which this text stands anywhere, and possibly others. Where it stands in none of
    /// them, they are not read, however many there are.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn sessions_with(&self, text: &str, limit: usize) -> Result<Vec<Session>, Error> {
        let call = Call::new(Method::GET, "/session")
            .query("roots", "true")
            .query("limit", limit.to_string());
        Ok(self.json_with(call, text).await?.unwrap_or_default())
    }

    /// Appends permission rules: `PATCH /session/:id`. The last match wins, and
    /// the server never forgets earlier ones: send only a changed policy. Returns the session as it is now.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn append_permission(
        &self,
        session: &SessionId,
        rules: &[PermissionRule],
    ) -> Result<Session, Error> {
        let call =
            Call::on_session(Method::PATCH, session, "").body(json!({ "permission": rules }));
        self.json(call).await
    }

    /// Deletes a session: `DELETE /session/:id`. One that is gone already is fine.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn delete_session(&self, session: &SessionId) -> Result<(), Error> {
        match self
            .send(Call::on_session(Method::DELETE, session, ""))
            .await
        {
            Ok(_) | Err(Error::SessionNotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The sessions a session's sub-agents work in: `GET /session/:id/children`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn children(&self, session: &SessionId) -> Result<Vec<Session>, Error> {
        self.json(Call::on_session(Method::GET, session, "/children"))
            .await
    }

    /// The session's plan: `GET /session/:id/todo`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn todos(&self, session: &SessionId) -> Result<Vec<Todo>, Error> {
        self.json(Call::on_session(Method::GET, session, "/todo"))
            .await
    }

    /// The sessions that are not idle: `GET /session/status`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn statuses(&self) -> Result<HashMap<SessionId, SessionStatus>, Error> {
        self.json(Call::new(Method::GET, "/session/status")).await
    }

    /// What one session is doing. Absent from the server's map means idle.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn status(&self, session: &SessionId) -> Result<SessionStatus, Error> {
        let call = Call::new(Method::GET, "/session/status");
        // There may be thousands of others.
        let statuses: Option<HashMap<SessionId, SessionStatus>> =
            self.json_with(call, session.as_str()).await?;
        Ok(statuses
            .and_then(|mut statuses| statuses.remove(session))
            .unwrap_or(SessionStatus::Idle))
    }

    /// Stops what the session is doing: `POST /session/:id/abort`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn abort(&self, session: &SessionId) -> Result<(), Error> {
        self.send(Call::on_session(Method::POST, session, "/abort").body(json!({})))
            .await
            .map(drop)
    }
}
