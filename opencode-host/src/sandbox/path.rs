//! A path that cannot lead out of a sandbox.

use std::fmt;
use std::str::FromStr;

use crate::visible::short;

/// The most names a path may have: folders this deep are neither listed nor made.
pub const MAX_DEPTH: usize = 16;

/// The longest name, in bytes, a Unix file system takes.
const MAX_NAME: usize = 255;

/// A path relative to a sandbox, of a file or folder in it.
///
/// - UTF-8, names separated by `/`, at least one and at most [`MAX_DEPTH`];
/// - no name is empty, `.`, `..`, longer than 255 bytes, or holds a control character (NUL among them).
///
/// So it is never absolute, and taken one name at a time from the sandbox's handle it cannot leave it
/// unless a link is followed, which nothing here does.
///
/// ```
/// use opencode_host::sandbox::SandboxPath;
///
/// let path: SandboxPath = "charts/sales.csv".parse()?;
/// assert_eq!(path.name(), "sales.csv");
/// for refused in ["/etc/passwd", "../x", "a//b", "a/./b", "", "a\0b"] {
///     assert!(refused.parse::<SandboxPath>().is_err());
/// }
/// # Ok::<(), opencode_host::sandbox::InvalidPath>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SandboxPath(String);

/// A path that is no [`SandboxPath`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path:?} is no path inside a sandbox: {reason}")]
pub struct InvalidPath {
    path: String,
    reason: &'static str,
}

impl SandboxPath {
    /// The whole path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its last name.
    pub fn name(&self) -> &str {
        self.split().1
    }

    /// The folders on the way, and the last name.
    pub(super) fn split(&self) -> (impl Iterator<Item = &str>, &str) {
        let (folders, name) = match self.0.rsplit_once('/') {
            Some((folders, name)) => (Some(folders), name),
            None => (None, self.0.as_str()),
        };
        (folders.into_iter().flat_map(|path| path.split('/')), name)
    }

    /// The path of an entry of this folder.
    #[cfg(feature = "files")]
    pub(super) fn join(&self, name: &str) -> Result<Self, InvalidPath> {
        format!("{self}/{name}").parse()
    }

    /// How many names it has.
    #[cfg(feature = "files")]
    pub(super) fn depth(&self) -> usize {
        self.0.split('/').count()
    }
}

impl FromStr for SandboxPath {
    type Err = InvalidPath;

    fn from_str(path: &str) -> Result<Self, InvalidPath> {
        let fault = |name: &str| match name {
            "" => Some("a name is empty, or the path is absolute"),
            "." | ".." => Some("`.` and `..` are not allowed"),
            _ if name.len() > MAX_NAME => Some("a name is longer than 255 bytes"),
            _ if name.chars().any(char::is_control) => Some("a name holds a control character"),
            _ => None,
        };
        let too_deep = || (path.split('/').count() > MAX_DEPTH).then_some("it is too deep");
        match path.split('/').find_map(fault).or_else(too_deep) {
            None => Ok(Self(path.to_owned())),
            Some(reason) => Err(InvalidPath {
                path: short(path, 200),
                reason,
            }),
        }
    }
}

impl fmt::Display for SandboxPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
