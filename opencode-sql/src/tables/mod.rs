//! The rules of the store, as work on rows: the same on both databases.

pub(crate) mod answers;
pub(crate) mod arrivals;
pub(crate) mod attachments;
pub(crate) mod backlog;
pub(crate) mod claims;
pub(crate) mod conversations;
pub(crate) mod effects;
pub(crate) mod endings;
pub(crate) mod forks;
pub(crate) mod leases;
pub(crate) mod ledger;
pub(crate) mod messages;
pub(crate) mod progress;
pub(crate) mod schedules;
pub(crate) mod servers;
pub(crate) mod submits;
pub(crate) mod tenants;
pub(crate) mod turns;
pub(crate) mod versions;
pub(crate) mod words;

/// How turn rows are written, and the newest way of writing them that is understood.
pub(crate) const ROW_VERSION: i64 = 1;
