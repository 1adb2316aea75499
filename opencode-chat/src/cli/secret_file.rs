//! A secret in a file of its own: one line, which only its owner should read.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// The longest secret in bytes, and the longest of several lines.
const LONGEST: usize = 4096;
const LONGEST_TEXT: usize = 64 << 10;

/// A password, or a URL with one.
#[derive(Default)]
pub(crate) struct Secret {
    /// The secret, if there is one.
    pub(crate) value: Option<String>,
    /// What the person must know about where it was found.
    pub(crate) warning: Option<String>,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret")
            .field("warning", &self.warning)
            .finish_non_exhaustive()
    }
}

/// Reads the one line of a file.
pub(crate) fn read(path: &Path) -> Result<Secret, String> {
    let secret = read_up_to(path, LONGEST)?;
    if secret
        .value
        .iter()
        .flat_map(|value| value.chars())
        .any(char::is_control)
    {
        return Err("it has more than one line, or control characters".to_owned());
    }
    Ok(secret)
}

/// Reads a file of several lines.
pub(crate) fn read_text(path: &Path) -> Result<Secret, String> {
    read_up_to(path, LONGEST_TEXT)
}

fn read_up_to(path: &Path, longest: usize) -> Result<Secret, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(longest as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() > longest {
        return Err(format!("it is longer than {longest} bytes"));
    }
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let value = text.trim_end_matches(['\r', '\n']);
    if value.is_empty() {
        return Err("it is empty".to_owned());
    }
    let is_open = metadata.is_file() && metadata.permissions().mode() & 0o077 != 0;
    Ok(Secret {
        value: Some(value.to_owned()),
        warning: is_open.then(|| {
            let path = path.display();
            format!("other users may read the password in {path}: chmod 600 {path}")
        }),
    })
}

/// Whether all values of a setting are secret.
pub(crate) fn is_secret(key: &str) -> bool {
    ["password", "secret", "token", "key"]
        .iter()
        .any(|end| key.ends_with(end))
}
