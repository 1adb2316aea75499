//! Whose a conversation is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The most characters a tenant may have.
pub const MAX_TENANT_CHARS: usize = 128;

/// Whose a conversation is: an account, a company, a workspace of the application's, by whatever key it has there. A
/// conversation has one, which never changes, and names are unique within it.
///
/// The default is the empty one: of an application that does not tell its people apart, and of conversations that were
/// made before there were tenants.
///
/// ```
/// # use opencode_host::store::Tenant;
/// let acme = Tenant::from("acme");
/// assert_eq!(acme.as_str(), "acme");
/// assert_ne!(acme, Tenant::default());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tenant(String);

impl Tenant {
    /// The application's key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Tenant {
    fn from(key: &str) -> Self {
        Self(key.to_owned())
    }
}

impl From<String> for Tenant {
    fn from(key: String) -> Self {
        Self(key)
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
