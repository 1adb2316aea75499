//! What each address does: one file per address or kind of form.

pub(crate) mod account;
pub(crate) mod answers;
pub(crate) mod assets;
pub(crate) mod conversation;
pub(crate) mod events;
pub(crate) mod file;
pub(crate) mod health;
pub(crate) mod home;
pub(crate) mod list;
pub(crate) mod metrics;
pub(crate) mod options;
pub(crate) mod prompts;
pub(crate) mod versions;
