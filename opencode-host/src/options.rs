//! What an application can say of its host and its workers, and what holds where it says nothing.

use std::time::Duration;

use crate::store::{Tenant, TenantShare};
use crate::turn::{DEFAULT_MAX_TRANSCRIPT, Limits};

/// The largest prompt, in bytes of text, unless the options say otherwise.
pub const DEFAULT_MAX_PROMPT: usize = 1 << 20;

/// How often a hook is tried, unless the options say otherwise: over about a day.
pub const DEFAULT_HOOK_ATTEMPTS: u32 = 20;

/// The most bytes of one upload unless the options say otherwise: 50 MiB.
pub const DEFAULT_MAX_UPLOAD: u64 = 50 * 1024 * 1024;

/// The most bytes of all uploads of one conversation unless the options say otherwise: 1 GiB.
pub const DEFAULT_UPLOAD_QUOTA: u64 = 1024 * 1024 * 1024;

/// What a [`Host`](crate::Host) takes from people, and how it follows what other processes do.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// Maximum prompt size in bytes of text. Default 1 MiB; longer prompts are refused.
    pub max_prompt: usize,
    /// Maximum size of one upload in bytes. Default 50 MiB; larger ones are refused.
    pub max_upload: u64,
    /// Maximum size in bytes of all uploads of one conversation together. Default 1 GiB; what exceeds it is refused.
    pub upload_quota: u64,
    /// How often the rows are looked at of turns that are watched here and run in another process, all at once. Default
    /// 500 ms.
    pub poll_interval: Duration,
    /// How long [`Host::answer`](crate::Host::answer) waits to hear from the turn's worker. Default 15 s; the answer is kept and sent also
    /// afterwards.
    pub answer_wait: Duration,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            max_prompt: DEFAULT_MAX_PROMPT,
            max_upload: DEFAULT_MAX_UPLOAD,
            upload_quota: DEFAULT_UPLOAD_QUOTA,
            poll_interval: Duration::from_millis(500),
            answer_wait: Duration::from_secs(15),
        }
    }
}

/// Deletes conversations that nobody has used for a time, as [`Host::delete_conversation`](crate::Host::delete_conversation)
/// does. One with a turn that is queued or runs is in use.
///
/// ```
/// # use std::time::Duration;
/// # use opencode_host::{Retention, WorkerOptions};
/// let month = Duration::from_secs(30 * 24 * 3600);
/// let options = WorkerOptions {
///     retention: vec![Retention::after(12 * month), Retention::after(month).of("trial")],
///     ..WorkerOptions::default()
/// };
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retention {
    /// How long a conversation is kept since its newest turn was submitted; since it was made, without one.
    pub after: Duration,
    /// Whose conversations; everybody's without it.
    pub tenant: Option<Tenant>,
}

impl Retention {
    /// Keeps everybody's conversations for so long.
    pub fn after(after: Duration) -> Self {
        let tenant = None;
        Self { after, tenant }
    }

    /// Keeps one tenant's for so long.
    #[must_use]
    pub fn of(self, tenant: impl Into<Tenant>) -> Self {
        Self {
            tenant: Some(tenant.into()),
            ..self
        }
    }
}

/// How a worker behaves.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// The limits of a turn.
    pub limits: Limits,
    /// How long a turn stays with a worker that does not renew its lease. Default 15 s.
    pub lease: Duration,
    /// How often a running reply is saved at most. Default 1 s.
    pub snapshot_interval: Duration,
    /// How often the worker looks for turns and cancels of other processes. Default 500 ms.
    pub poll_interval: Duration,
    /// Maximum number of turns that run at once. Default 2048; further ones wait. A turn that waits for a person is not
    /// counted, though it keeps its lease and goes on hearing its session; once it has its answer it goes on at once, so
    /// that there can be more than this for a while. No further turn begins until there are fewer.
    pub concurrency: usize,
    /// The share of tenants whose share is not set ([`Host::set_tenant_share`](crate::Host::set_tenant_share)). Default:
    /// weight 1, no bounds. The same for all workers on a store.
    pub tenant_share: TenantShare,
    /// Maximum size in bytes of the transcript that a session gets which takes the place of a lost or unreadable one.
    /// Default 32 KiB. What does not fit is cut, the oldest first, and the transcript says so; below 1 KiB there is
    /// none.
    pub max_transcript: usize,
    /// The age at which bytes that no message names are removed, once an hour; `None` for never. Only where no other
    /// store names the same blobs. Default: never.
    pub sweep: Option<Duration>,
    /// Which conversations are deleted after a time without use, once an hour. Default: none.
    pub retention: Vec<Retention>,
    /// While a turn waits for a person its timeout is paused, provided the server was heard from within this time.
    /// Default 45 s.
    pub heartbeat_limit: Duration,
    /// How long one call of a product's method, a hook or a transform may take. Default 30 s. What takes longer is
    /// left behind and reported: a policy that is not had fails the turn, a transform is passed over, and a hook is called
    /// again later.
    pub plug_in_limit: Duration,
    /// How long a server may be silent before it is gone, by the store's clock. Default 60 s. Its conversations with turns to
    /// be done then go on on other servers, if there are any: see [`Servers`](crate::store::Servers). Each worker
    /// asks its server about eight times in that, and every 10 s at least. The same for all workers on a store.
    pub server_gone_after: Duration,
    /// How often the hooks of a turn's end are tried before they are given up. Default 20, which is about a day: the pauses
    /// grow from a second to four hours. At least once.
    pub hook_attempts: u32,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            lease: Duration::from_secs(15),
            snapshot_interval: Duration::from_secs(1),
            poll_interval: Duration::from_millis(500),
            concurrency: 2048,
            tenant_share: TenantShare::default(),
            max_transcript: DEFAULT_MAX_TRANSCRIPT,
            sweep: None,
            retention: Vec::new(),
            heartbeat_limit: Duration::from_secs(45),
            plug_in_limit: Duration::from_secs(30),
            server_gone_after: Duration::from_secs(60),
            hook_attempts: DEFAULT_HOOK_ATTEMPTS,
        }
    }
}
