//! What servers are called, and what they have in common.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The most characters that a server's name, or a label, may have.
pub const MAX_SERVER_NAME: usize = 64;

/// Why a text is no name of a server, and no label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} {:?} is not one: it has 1 to {MAX_SERVER_NAME} characters, each a letter from a to z or A to Z, a digit, \
     '.', '_' or '-'",
    text.chars().take(MAX_SERVER_NAME).collect::<String>()
)]
pub struct BadServerName {
    what: &'static str,
    text: String,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Takes a name of 1 to [`MAX_SERVER_NAME`] characters `[A-Za-z0-9._-]`.
            ///
            /// # Errors
            /// [`BadServerName`] for any other text.
            pub fn new(text: impl Into<String>) -> Result<Self, BadServerName> {
                let text = text.into();
                let is_good = |letter: u8| letter.is_ascii_alphanumeric() || b"._-".contains(&letter);
                if (1..=MAX_SERVER_NAME).contains(&text.len()) && text.bytes().all(is_good) {
                    Ok(Self(text))
                } else {
                    Err(BadServerName { what: $what, text })
                }
            }

            /// The name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadServerName;

            fn try_from(text: String) -> Result<Self, BadServerName> {
                Self::new(text)
            }
        }

        impl FromStr for $name {
            type Err = BadServerName;

            fn from_str(text: &str) -> Result<Self, BadServerName> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name!(
    /// The name of an OpenCode server: one for each set of sessions, and so for each data folder. Its address may change.
    ///
    /// ```
    /// # use opencode_host::store::ServerName;
    /// assert_eq!("eu-1".parse::<ServerName>().unwrap().as_str(), "eu-1");
    /// assert!("eu 1".parse::<ServerName>().is_err());
    /// ```
    ServerName,
    "the server name"
);

name!(
    /// What servers have in common, for [`Placement::Label`](crate::placement::Placement): `gpu`, `eu`.
    ServerLabel,
    "the server label"
);

/// The name of a server whose workers give it none: `default`.
impl Default for ServerName {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_plain() {
        for good in ["a", "eu-1", "A.b_c-9", &"x".repeat(MAX_SERVER_NAME)] {
            assert_eq!(ServerName::new(good).unwrap().as_str(), good);
        }
        let long = "x".repeat(MAX_SERVER_NAME + 1);
        for bad in [
            "",
            " ",
            "eu 1",
            "eu/1",
            "é",
            "a\0",
            "a\n",
            "deletion:a",
            &long,
        ] {
            let refused = ServerName::new(bad).unwrap_err();
            assert!(
                refused.to_string().starts_with("the server name"),
                "{bad:?}"
            );
            assert!(
                serde_json::from_value::<ServerLabel>(bad.into()).is_err(),
                "{bad:?}"
            );
        }
    }
}
