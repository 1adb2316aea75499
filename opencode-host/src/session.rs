//! The upstream session of a conversation: minted once, whoever asks and from
//! wherever.
//!
//! A process may die between the post of a session and the write of its row,
//! and the post's answer may be lost. So that no session is left over then, each
//! carries a mark among its rules that follows from the row alone: the
//! conversation, and the session that it replaces. Whoever finds the row still
//! without a session looks for that mark before it mints another one.

mod error;
mod mark;
mod unsafe_server;
mod upheld;

use std::time::Duration;

use opencode_client::wire::{NewSession, PermissionRule, Session as UpstreamSession};
use opencode_client::{Client, Error as ClientError, SessionId};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use self::mark::Mark;
use crate::id::ConversationId;
use crate::product::{Product, TurnContext};
use crate::reporter::Severity;
use crate::store::{Owed, ServerName, SessionLock, SessionRecord, Store, StoreError, Swapped};
use crate::sub_agents::{RunsUnasked, SubAgents};
use crate::telemetry::Telemetry;

pub use error::SessionError;
pub use unsafe_server::{LOWEST_VERSION, UnsafeServer};

/// How long the server is given to let go of a deleted conversation's session.
pub(crate) const REMOVING: Duration = Duration::from_secs(5);
/// How long a conversation's lock is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(20);
/// How long a mint may take while the lock is held.
const MINT_LIMIT: Duration = Duration::from_secs(15);
/// How long a look for an earlier mint may take.
const LOOK_LIMIT: Duration = Duration::from_secs(5);
/// How long a session that nobody needs may take to be deleted.
const DISCARD_LIMIT: Duration = Duration::from_secs(5);
/// How many of a folder's newest sessions are looked through. A mint is looked
/// for soon after it was made.
const LOOKED_THROUGH: usize = 100;
/// The most sub-agents of a session that are told to stop.
const MOST_CHILDREN: usize = 256;

/// A conversation's session.
#[derive(Clone, Debug)]
pub struct Ensured {
    /// The session.
    pub record: SessionRecord,
    /// Whether this call minted it.
    pub just_created: bool,
}

/// Keeps the sessions of conversations.
#[derive(Clone, Copy, Debug)]
pub struct Session<'a> {
    /// The server.
    pub client: &'a Client,
    /// Its name.
    pub server: &'a ServerName,
    /// The rows.
    pub store: &'a dyn Store,
    /// Whose conversations they are.
    pub product: &'a dyn Product,
    /// What becomes of sub-agents where the product's rules hold an `ask`.
    pub sub_agents: &'a SubAgents,
    /// Where swallowed errors go.
    pub telemetry: &'a Telemetry,
}

impl Session<'_> {
    /// The conversation's session, minted upstream when there is none, and told
    /// of the product's permission policy when that has changed.
    ///
    /// # Errors
    /// See [`SessionError`]. Nothing is left upstream.
    pub async fn ensure(&self, turn: &TurnContext) -> Result<Ensured, SessionError> {
        self.ensure_for(turn, None).await
    }

    /// As [`Session::ensure`], for a turn that has prompted a session: that one is not replaced under it.
    ///
    /// # Errors
    /// As for [`Session::ensure`].
    pub(crate) async fn ensure_for(
        &self,
        turn: &TurnContext,
        prompted: Option<&SessionId>,
    ) -> Result<Ensured, SessionError> {
        let conversation = &turn.conversation;
        let rules = self.rules(turn).await?;
        let is_given_up = |record: &SessionRecord| {
            let is_to_go = record.owed == Some(Owed::Replacement) && prompted != Some(&record.id);
            is_to_go || record.is_elsewhere(self.server)
        };
        if let Some(record) = &conversation.session
            && record.policy == fingerprint(&rules)
            && !is_given_up(record)
        {
            return Ok(Ensured {
                record: record.clone(),
                just_created: false,
            });
        }
        let lock = self.store.lock_session(conversation.id, LOCK_WAIT).await?;
        match lock.current().cloned() {
            Some(record) if is_given_up(&record) => self.mint(lock, turn, rules).await,
            Some(record) if record.policy == fingerprint(&rules) => Ok(Ensured {
                record,
                just_created: false,
            }),
            Some(record) => {
                self.warn(conversation.id, &rules);
                self.update_policy(lock, record, &rules).await
            }
            None => self.mint(lock, turn, rules).await,
        }
    }

    /// A fresh session in place of one that is lost. When somebody else has put a
    /// fresh one there already: that one. The lost one is deleted as far as the
    /// server still has it.
    ///
    /// # Errors
    /// See [`SessionError`]. Nothing is left upstream.
    pub async fn recreate(
        &self,
        turn: &TurnContext,
        lost: &SessionId,
    ) -> Result<Ensured, SessionError> {
        let conversation = turn.conversation.id;
        let lock = self.store.lock_session(conversation, LOCK_WAIT).await?;
        let replaced = lock.current().cloned();
        if let Some(record) = replaced.as_ref().filter(|record| record.id != *lost) {
            return Ok(Ensured {
                record: record.clone(),
                just_created: false,
            });
        }
        let rules = self.rules(turn).await?;
        self.mint(lock, turn, rules).await
    }

    /// Checks, before a prompt, that the server still does as the session's rules say: it may have been swapped.
    ///
    /// # Errors
    /// [`SessionError::Unsafe`] when it does not, [`SessionError::Upstream`] when it cannot be asked.
    pub(crate) async fn check(
        &self,
        client: &Client,
        turn: &TurnContext,
        session: &SessionId,
    ) -> Result<(), SessionError> {
        upheld::check(client, session, &self.rules(turn).await?).await
    }

    /// The rules of the conversation's session.
    async fn rules(&self, turn: &TurnContext) -> Result<Vec<PermissionRule>, SessionError> {
        let rules = self.product.permission_rules(turn).await;
        Ok(self
            .sub_agents
            .complete(rules.map_err(SessionError::Product)?))
    }

    /// Notes what is owed to a session, if the row still has that session and `change` makes something else of what
    /// it owes. Answers the session that the row has then, and whether this call has changed it.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn note_owed(
        &self,
        conversation: ConversationId,
        session: &SessionId,
        change: impl FnOnce(Option<Owed>) -> Option<Owed> + Send,
    ) -> Result<(SessionRecord, bool), StoreError> {
        let lock = self.store.lock_session(conversation, LOCK_WAIT).await?;
        let gone = || StoreError::NotFound {
            what: "session",
            id: session.to_string(),
        };
        let before = lock.current().cloned().ok_or_else(gone)?;
        if before.id != *session {
            return Ok((before, false));
        }
        let after = SessionRecord {
            owed: change(before.owed.clone()),
            ..before.clone()
        };
        if after == before {
            return Ok((before, false));
        }
        Ok(match lock.set(&after).await?.other()? {
            None => (after, true),
            Some(theirs) => (theirs, false),
        })
    }

    /// Another conversation that has a session in the client's folder.
    ///
    /// # Errors
    /// See [`ClientError`].
    #[cfg(feature = "tools")]
    pub(crate) async fn other_in(
        &self,
        client: &Client,
        own: ConversationId,
    ) -> Result<Option<String>, ClientError> {
        let own = own.to_string();
        let sessions = client.sessions(LOOKED_THROUGH).await?;
        let mut marked = sessions.iter().filter_map(Mark::conversation_of);
        Ok(marked.find(|marked| *marked != own).map(str::to_owned))
    }

    /// Stops what the session and the sessions below it do, as far as the server
    /// can be reached. What keeps a session below from being stopped is reported.
    ///
    /// # Errors
    /// What kept the session itself from being stopped.
    pub async fn abort(
        &self,
        conversation: ConversationId,
        session: &SessionRecord,
    ) -> Result<(), ClientError> {
        let mut stopped = Ok(());
        let mut tree = vec![(session.id.clone(), session.client(self.client))];
        let mut next = 0;
        // From the root down, so that what asks for more work is stopped before its children.
        while let Some((session, client)) = tree.get(next).cloned() {
            next += 1;
            match client.abort(&session).await {
                Ok(()) => {}
                // What is gone does nothing.
                Err(ClientError::SessionNotFound { .. }) => continue,
                Err(error) if next == 1 => stopped = Err(error),
                Err(error) => self.report(conversation, "abort", &error),
            }
            match client.children(&session).await {
                Ok(children) => {
                    for child in children {
                        if tree.len() < MOST_CHILDREN
                            && !tree.iter().any(|(known, _)| *known == child.id)
                        {
                            let below = match child.directory {
                                Some(directory) => client.in_directory(directory),
                                None => client.clone(),
                            };
                            tree.push((child.id, below));
                        }
                    }
                }
                Err(error) => self.report(conversation, "children", &error),
            }
        }
        stopped
    }

    /// Stops a session that no conversation names any more, and removes it.
    ///
    /// # Errors
    /// What kept it from being removed. That it is not there does not.
    pub async fn remove(
        &self,
        conversation: ConversationId,
        session: &SessionRecord,
    ) -> Result<(), ClientError> {
        if let Err(error) = self.abort(conversation, session).await {
            self.report(conversation, "abort", &error);
        }
        self.delete(session).await
    }

    async fn mint(
        &self,
        lock: Box<dyn SessionLock + '_>,
        turn: &TurnContext,
        rules: Vec<PermissionRule>,
    ) -> Result<Ensured, SessionError> {
        let conversation = &turn.conversation;
        let product = self.product;
        let directory = product.directory(turn).await;
        let directory = directory.map_err(SessionError::Product)?;
        let client = match &directory {
            Some(directory) => &self.client.in_directory(directory.as_str()),
            None => self.client,
        };
        let replaced = lock.current().cloned();
        let mark = Mark {
            conversation: conversation.id,
            replaces: replaced.as_ref().map(|record| record.id.clone()),
        };
        // Beside another server there may be another disk.
        let is_folder_new = replaced
            .as_ref()
            .is_none_or(|record| record.is_elsewhere(self.server));
        let policy = fingerprint(&rules);
        let mut found = self.minted_before(client, &mark).await?;
        let record_of = |session: UpstreamSession| SessionRecord {
            id: session.id,
            server: Some(self.server.clone()),
            directory: directory.clone().or(session.directory),
            created_ms: session.time.created,
            policy: policy.clone(),
            // What was said before it, it does not know.
            owed: (mark.replaces.is_some() || conversation.forked_from.is_some()).then_some(
                Owed::Transcript {
                    ids: None,
                    files: is_folder_new,
                },
            ),
        };
        let fresh = found.is_empty();
        let permission = [vec![mark.rule()], rules.clone()].concat();
        let session = if fresh {
            let title = product.session_title(turn).await;
            let new = NewSession {
                title: title.map_err(SessionError::Product)?,
                permission,
                ..NewSession::default()
            };
            self.create(client, &new, &mark).await?
        } else {
            let session = found.remove(0);
            if session.permission == permission {
                session
            } else {
                let client = record_of(session.clone()).client(self.client);
                client.append_permission(&session.id, &rules).await?
            }
        };
        // An older session names the version that made it, not the one that is there.
        let version = session.version.as_deref().filter(|_| fresh);
        let upheld = UnsafeServer::check_rules(&session, &rules)
            .and_then(|()| UnsafeServer::check_version(version.unwrap_or_default()));
        if let Err(refused) = upheld {
            self.discard(conversation.id, &record_of(session)).await;
            return Err(refused.into());
        }
        self.warn(conversation.id, &rules);
        let record = record_of(session);
        match lock.set(&record).await.and_then(Swapped::other) {
            Ok(None) => {
                // Whoever minted these finds the row taken.
                for other in found {
                    self.discard(conversation.id, &record_of(other)).await;
                }
                // Should the server have it still: no row names it any more. On another it is its workers'.
                if let Some(replaced) = &replaced
                    && !replaced.is_elsewhere(self.server)
                {
                    self.discard(conversation.id, replaced).await;
                }
                Ok(Ensured {
                    record,
                    just_created: true,
                })
            }
            // Another process was quicker: its session stays, ours goes.
            Ok(Some(theirs)) => {
                if theirs.id != record.id {
                    self.discard(conversation.id, &record).await;
                }
                Ok(Ensured {
                    record: theirs,
                    just_created: false,
                })
            }
            Err(error) => {
                // The answer may be lost, and the row written all the same.
                let row = self.store.conversation(conversation.id).await;
                if let Ok(Some(row)) = row
                    && row.session.as_ref() == Some(&record)
                {
                    self.telemetry.report(
                        &error,
                        Severity::Warning,
                        [("action", "session.set".into())],
                    );
                    return Ok(Ensured {
                        record,
                        just_created: true,
                    });
                }
                self.discard(conversation.id, &record).await;
                Err(error.into())
            }
        }
    }

    /// Mints a session. When it is not known whether that worked: the session
    /// that carries the mark, if there is one.
    async fn create(
        &self,
        client: &Client,
        new: &NewSession,
        mark: &Mark,
    ) -> Result<UpstreamSession, SessionError> {
        let minting = tokio::time::timeout(MINT_LIMIT, client.create_session(new)).await;
        let error = match minting {
            Ok(Ok(session)) => return Ok(session),
            Ok(Err(error)) => error,
            Err(_) => ClientError::Timeout {
                call: "POST /session".to_owned(),
                seconds: MINT_LIMIT.as_secs(),
            },
        };
        if matches!(
            error,
            ClientError::Connection { .. }
                | ClientError::Timeout { .. }
                | ClientError::Server { .. }
        ) && let Ok(mut found) = self.minted_before(client, mark).await
            && !found.is_empty()
        {
            return Ok(found.remove(0));
        }
        Err(error.into())
    }

    /// The sessions that carry the mark, oldest first.
    async fn minted_before(
        &self,
        client: &Client,
        mark: &Mark,
    ) -> Result<Vec<UpstreamSession>, SessionError> {
        let looking = tokio::time::timeout(
            LOOK_LIMIT,
            client.sessions_with(&mark.conversation.to_string(), LOOKED_THROUGH),
        )
        .await;
        let sessions = match looking {
            Ok(Ok(sessions)) => sessions,
            // A server that has no such list, or answers it with a page.
            Ok(Err(error @ (ClientError::BadRequest { .. } | ClientError::Server { .. }))) => {
                self.report(mark.conversation, "list", &error);
                return Ok(Vec::new());
            }
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => {
                return Err(ClientError::Timeout {
                    call: "GET /session".to_owned(),
                    seconds: LOOK_LIMIT.as_secs(),
                }
                .into());
            }
        };
        let mut found: Vec<_> = sessions
            .into_iter()
            .filter(|session| mark.is_on(session))
            .collect();
        found.sort_by(|one, other| {
            let age = |session: &UpstreamSession| (session.time.created, session.id.clone());
            age(one).cmp(&age(other))
        });
        Ok(found)
    }

    async fn update_policy(
        &self,
        lock: Box<dyn SessionLock + '_>,
        record: SessionRecord,
        rules: &[PermissionRule],
    ) -> Result<Ensured, SessionError> {
        let client = record.client(self.client);
        let told = self.sub_agents.change(rules);
        let session = client.append_permission(&record.id, &told).await?;
        UnsafeServer::check_rules(&session, rules)?;
        let updated = SessionRecord {
            policy: fingerprint(rules),
            ..record
        };
        let theirs = lock.set(&updated).await?.other()?;
        Ok(Ensured {
            record: theirs.unwrap_or(updated),
            just_created: false,
        })
    }

    /// Warns of sub-agents that ask for nothing.
    fn warn(&self, conversation: ConversationId, rules: &[PermissionRule]) {
        if self.sub_agents.run_unasked(rules) {
            let context = [("conversation", conversation.to_string().into())];
            self.telemetry
                .report(&RunsUnasked, Severity::Warning, context);
        }
    }

    async fn discard(&self, conversation: ConversationId, session: &SessionRecord) {
        if let Err(error) = self.delete(session).await {
            self.report(conversation, "delete", &error);
        }
    }

    async fn delete(&self, session: &SessionRecord) -> Result<(), ClientError> {
        let client = session.client(self.client);
        let deleting = client.delete_session(&session.id);
        let deleted = tokio::time::timeout(DISCARD_LIMIT, deleting).await;
        let late = |_| ClientError::Timeout {
            call: "DELETE /session/:id".to_owned(),
            seconds: DISCARD_LIMIT.as_secs(),
        };
        match deleted.map_err(late).flatten() {
            Err(ClientError::SessionNotFound { .. }) => Ok(()),
            deleted => deleted,
        }
    }

    fn report(&self, conversation: ConversationId, action: &str, error: &ClientError) {
        self.telemetry.report(
            error,
            Severity::Warning,
            [
                ("action", format!("session.{action}").into()),
                ("conversation", conversation.to_string().into()),
            ],
        );
    }
}

/// Tells two policies apart; `None` for no rules at all.
fn fingerprint(rules: &[PermissionRule]) -> Option<String> {
    if rules.is_empty() {
        return None;
    }
    let mut digest = Sha256::new();
    for rule in rules {
        // JSON keeps the fields apart, whatever they hold.
        digest.update(json!([rule.permission, rule.pattern, rule.action]).to_string());
    }
    let digest = digest.finalize();
    // The first half tells policies apart.
    let (half, _) = digest.split_first_chunk::<8>()?;
    Some(format!("{:016x}", u64::from_be_bytes(*half)))
}
