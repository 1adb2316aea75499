//! Servers whose agents would do what the rules forbid.

use opencode_client::wire::{PermissionRule, Session as UpstreamSession};

/// The lowest version of OpenCode that asks before it writes outside a session's folder (1.1.11 does not).
pub const LOWEST_VERSION: [u64; 3] = [1, 1, 16];

/// Why nothing is asked of a server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnsafeServer {
    /// It does not give the session's rules back.
    #[error(
        "this OpenCode ignores permission rules: its agent would run commands unasked, so nothing was asked of it. \
         Update it (1.1.16 or newer): `npm install -g opencode-ai`"
    )]
    IgnoresRules,
    /// It is too old.
    #[error(
        "OpenCode {0} is too old: its agent would write outside its folder unasked, so nothing was asked of it. Update \
         it (1.1.16 or newer): `npm install -g opencode-ai`"
    )]
    TooOld(String),
}

impl UnsafeServer {
    /// Checks what a server says of its version. What does not read as a release (`local`, `0.0.0-dev-…`, nothing at
    /// all) is somebody's own build: it is judged by whether it keeps the rules, not by a number.
    ///
    /// # Errors
    /// [`UnsafeServer::TooOld`] below [`LOWEST_VERSION`].
    pub fn check_version(version: &str) -> Result<(), Self> {
        match release(version) {
            Some(release) if release < LOWEST_VERSION => Err(Self::TooOld(version.to_owned())),
            _ => Ok(()),
        }
    }

    /// Checks the answer to a request that gave a session its rules.
    ///
    /// # Errors
    /// [`UnsafeServer::IgnoresRules`] when it does not give them back.
    pub fn check_rules(session: &UpstreamSession, rules: &[PermissionRule]) -> Result<(), Self> {
        if session.permission.ends_with(rules) {
            Ok(())
        } else {
            Err(Self::IgnoresRules)
        }
    }
}

/// The three numbers of a released version.
fn release(version: &str) -> Option<[u64; 3]> {
    let version = version.trim().trim_start_matches('v');
    let numbers = version.split(['-', '+']).next().unwrap_or_default();
    let mut numbers = numbers.split('.').map(|number| number.parse().ok());
    let release = [numbers.next()??, numbers.next()??, numbers.next()??];
    (numbers.next().is_none() && release != [0, 0, 0]).then_some(release)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_below_the_lowest_are_refused() {
        for old in [
            "1.1.15",
            "1.1.11",
            "1.0.220",
            "0.15.2",
            "v1.1.0",
            "1.1.15-beta.1",
            " 1.1.9 ",
        ] {
            let refused = UnsafeServer::check_version(old);
            assert_eq!(refused, Err(UnsafeServer::TooOld(old.to_owned())));
        }
        for good in [
            "1.1.16",
            "1.1.65",
            "1.2.0",
            "1.18.33",
            "2.0.0",
            "v1.18.34",
            "1.10.0-rc1",
        ] {
            assert_eq!(UnsafeServer::check_version(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn what_is_no_release_is_not_judged_by_a_number() {
        for own in [
            "",
            "local",
            "0.0.0-dev-202511251200",
            "1.1",
            "1.1.x",
            "99999999999999999999.1.1",
        ] {
            assert_eq!(UnsafeServer::check_version(own), Ok(()), "{own}");
        }
    }
}
