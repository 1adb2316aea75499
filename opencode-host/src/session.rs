//! The upstream session of a conversation: minted once, whoever asks and from
//! wherever.

use std::time::Duration;

use opencode_client::wire::{NewSession, PermissionRule};
use opencode_client::{Client, Error as ClientError, SessionId};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::id::ConversationId;
use crate::product::{HookError, Product};
use crate::reporter::Severity;
use crate::store::{Conversation, SessionRecord, Store, StoreError};
use crate::telemetry::Telemetry;

/// How long a conversation's lock is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(20);
/// How long a mint may take while the lock is held.
const MINT_LIMIT: Duration = Duration::from_secs(15);

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The server.
    #[error(transparent)]
    Upstream(#[from] ClientError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The product could not say where the session works.
    #[error("no folder for the session: {0}")]
    Product(HookError),
}

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
    /// The rows.
    pub store: &'a dyn Store,
    /// Whose conversations they are.
    pub product: &'a dyn Product,
    /// Where swallowed errors go.
    pub telemetry: &'a Telemetry,
}

impl Session<'_> {
    /// The conversation's session, minted upstream when there is none, and told
    /// of the product's permission policy when that has changed.
    ///
    /// # Errors
    /// See [`SessionError`]. Nothing is left upstream.
    pub async fn ensure(&self, conversation: &Conversation) -> Result<Ensured, SessionError> {
        let rules = self.product.permission_rules(conversation);
        if let Some(record) = &conversation.session
            && record.policy == fingerprint(&rules)
        {
            return Ok(Ensured {
                record: record.clone(),
                just_created: false,
            });
        }
        let lock = self.store.lock_session(conversation.id, LOCK_WAIT).await?;
        match lock.current().cloned() {
            Some(record) if record.policy == fingerprint(&rules) => Ok(Ensured {
                record,
                just_created: false,
            }),
            Some(record) => self.update_policy(lock, record, &rules).await,
            None => self.mint(lock, conversation, rules).await,
        }
    }

    /// A fresh session in place of one that the server does not know any more.
    /// When somebody else has put a fresh one there already: that one.
    ///
    /// # Errors
    /// See [`SessionError`]. Nothing is left upstream.
    pub async fn recreate(
        &self,
        conversation: &Conversation,
        lost: &SessionId,
    ) -> Result<Ensured, SessionError> {
        let lock = self.store.lock_session(conversation.id, LOCK_WAIT).await?;
        if let Some(record) = lock.current().filter(|record| record.id != *lost) {
            return Ok(Ensured {
                record: record.clone(),
                just_created: false,
            });
        }
        let rules = self.product.permission_rules(conversation);
        self.mint(lock, conversation, rules).await
    }

    /// Stops what the session and its children do, as far as the server can be
    /// reached. Errors are reported.
    pub async fn abort(&self, conversation: ConversationId, session: &SessionId) -> bool {
        let mut stopped = true;
        if let Err(error) = self.client.abort(session).await {
            stopped = matches!(error, ClientError::SessionNotFound { .. });
            self.report(conversation, "abort", &error);
        }
        let children = match self.client.children(session).await {
            Ok(children) => children,
            Err(error) => {
                self.report(conversation, "children", &error);
                return stopped;
            }
        };
        for child in children {
            if let Err(error) = self.client.abort(&child.id).await {
                self.report(conversation, "abort", &error);
            }
        }
        stopped
    }

    async fn mint(
        &self,
        lock: Box<dyn crate::store::SessionLock>,
        conversation: &Conversation,
        rules: Vec<PermissionRule>,
    ) -> Result<Ensured, SessionError> {
        let directory = self
            .product
            .directory(conversation)
            .await
            .map_err(SessionError::Product)?;
        let policy = fingerprint(&rules);
        let new = NewSession {
            title: self.product.session_title(conversation),
            permission: rules,
            ..NewSession::default()
        };
        let client = match &directory {
            Some(directory) => &self.client.in_directory(directory.as_str()),
            None => self.client,
        };
        let minting = tokio::time::timeout(MINT_LIMIT, client.create_session(&new));
        let session = minting.await.map_err(|_| ClientError::Timeout {
            call: "POST /session".to_owned(),
            seconds: MINT_LIMIT.as_secs(),
        })??;
        let record = SessionRecord {
            id: session.id,
            directory: directory.or(session.directory),
            created_ms: session.time.created,
            policy,
        };
        match lock.set(&record).await {
            Ok(Ok(())) => Ok(Ensured {
                record,
                just_created: true,
            }),
            // Another process was quicker: its session stays, ours goes.
            Ok(Err(theirs)) => {
                self.discard(conversation.id, &record.id).await;
                Ok(Ensured {
                    record: *theirs,
                    just_created: false,
                })
            }
            Err(error) => {
                self.discard(conversation.id, &record.id).await;
                Err(error.into())
            }
        }
    }

    async fn update_policy(
        &self,
        lock: Box<dyn crate::store::SessionLock>,
        record: SessionRecord,
        rules: &[PermissionRule],
    ) -> Result<Ensured, SessionError> {
        self.client.append_permission(&record.id, rules).await?;
        let updated = SessionRecord {
            policy: fingerprint(rules),
            ..record
        };
        Ok(match lock.set(&updated).await? {
            Ok(()) => Ensured {
                record: updated,
                just_created: false,
            },
            Err(theirs) => Ensured {
                record: *theirs,
                just_created: false,
            },
        })
    }

    async fn discard(&self, conversation: ConversationId, session: &SessionId) {
        if let Err(error) = self.client.delete_session(session).await {
            self.report(conversation, "delete", &error);
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
