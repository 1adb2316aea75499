//! What a sandbox is called.

use std::fmt;
use std::str::FromStr;

use crate::visible::short;

/// The identifier of one sandbox: 1 to 64 of `0-9 A-Z a-z _ -`.
///
/// Where the file system ignores case, identifiers that differ in case alone are one sandbox.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SandboxId(String);

/// A text that is no [`SandboxId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no sandbox identifier: use 1 to 64 of 0-9, A-Z, a-z, `_` and `-`")]
pub struct InvalidSandboxId(String);

impl SandboxId {
    /// The identifier as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SandboxId {
    type Err = InvalidSandboxId;

    fn from_str(id: &str) -> Result<Self, InvalidSandboxId> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if (1..=64).contains(&id.len()) && id.bytes().all(allowed) {
            Ok(Self(id.to_owned()))
        } else {
            Err(InvalidSandboxId(short(id, 80)))
        }
    }
}

impl fmt::Display for SandboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
