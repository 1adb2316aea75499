//! The secret that a sender and a receiver share.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use secrecy::{ExposeSecret as _, SecretSlice};

/// How its text begins.
const PREFIX: &str = "whsec_";

/// How many bytes it may have, after the specification.
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// A secret that webhooks are signed with: `whsec_` and 24 to 64 bytes in base64. Made with
/// `echo whsec_$(openssl rand -base64 32)`, say. [`Debug`](fmt::Debug) does not show it.
///
/// ```
/// # use opencode_host::webhooks::WebhookSecret;
/// let secret: WebhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse()?;
/// assert!(!format!("{secret:?}").contains("MfKQ"));
/// # Ok::<_, opencode_host::webhooks::BadSecret>(())
/// ```
#[derive(Clone)]
pub struct WebhookSecret(SecretSlice<u8>);

/// Why a text is no secret. It does not say the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadSecret {
    /// It does not begin as one.
    #[error("a secret for webhooks begins with {PREFIX}")]
    Prefix,
    /// What follows is no base64.
    #[error("what follows {PREFIX} in a secret for webhooks is base64, and this is not")]
    Base64,
    /// It is too short or too long.
    #[error(
        "a secret for webhooks has {} to {} bytes, and this one has {bytes}: make one with `openssl rand -base64 32`",
        BYTES.start(), BYTES.end()
    )]
    Length {
        /// How many bytes it has.
        bytes: usize,
    },
}

impl FromStr for WebhookSecret {
    type Err = BadSecret;

    fn from_str(text: &str) -> Result<Self, BadSecret> {
        let coded = text.trim().strip_prefix(PREFIX).ok_or(BadSecret::Prefix)?;
        let bytes = SecretSlice::from(STANDARD.decode(coded).map_err(|_| BadSecret::Base64)?);
        let length = bytes.expose_secret().len();
        if BYTES.contains(&length) {
            Ok(Self(bytes))
        } else {
            Err(BadSecret::Length { bytes: length })
        }
    }
}

impl WebhookSecret {
    pub(super) fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.0.expose_secret())
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret")
    }
}
