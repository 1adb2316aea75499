//! Who asks for a page.

use opencode_host::store::Tenant;

use crate::people::User;

/// Whoever asks, as the gate has let them in.
#[derive(Clone, Debug)]
pub(crate) struct Visitor {
    /// Whose conversations they see.
    pub(crate) tenant: Tenant,
    /// None without accounts: the one local person.
    pub(crate) user: Option<User>,
}

impl Visitor {
    /// The one person that the chat knows without accounts.
    pub(crate) fn local() -> Self {
        Self {
            tenant: Tenant::default(),
            user: None,
        }
    }

    pub(crate) fn of(user: User) -> Self {
        Self {
            tenant: user.tenant.clone(),
            user: Some(user),
        }
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.user.as_ref().map(|user| user.name.as_str())
    }

    /// Whether the agent may ask them to run commands.
    pub(crate) fn may_run(&self) -> bool {
        self.user.as_ref().is_none_or(|user| user.may_run)
    }
}
