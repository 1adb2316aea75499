//! Signing and verifying after Standard Webhooks: `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use super::secret::WebhookSecret;

/// How old or new a webhook may be when it is received, by the receiver's clock: five minutes.
pub const TOLERANCE: Duration = Duration::from_secs(300);

/// A webhook as it was received: three headers, and the body as it came, before anything reads it as JSON.
///
/// ```
/// use std::time::{Duration, UNIX_EPOCH};
/// use opencode_host::webhooks::Received;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse()?;
/// let received = Received {
///     id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
///     timestamp: "1614265330",
///     signature: "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
///     body: br#"{"test": 2432232314}"#,
/// };
/// // Of a webhook that arrives now, it is `SystemTime::now()`.
/// let now = UNIX_EPOCH + Duration::from_secs(1_614_265_340);
/// received.verify(&secret, now)?;
///
/// let forged = Received { body: b"{}", ..received };
/// assert!(forged.verify(&secret, now).is_err());
/// # Ok(())
/// # }
/// ```
///
/// Behind it, look the id up before doing what the event asks for: it is the same when the event is sent again.
///
/// In axum, with `headers: HeaderMap` and `body: Bytes` as what a handler takes:
///
/// ```
/// # use std::time::SystemTime;
/// # use opencode_host::webhooks::{Received, VerifyError, WebhookSecret};
/// # use axum::{body::Bytes, http::{HeaderMap, StatusCode}};
/// # fn handle(secret: &WebhookSecret, headers: HeaderMap, body: Bytes) -> StatusCode {
/// let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
/// let received = Received {
///     id: header("webhook-id"),
///     timestamp: header("webhook-timestamp"),
///     signature: header("webhook-signature"),
///     body: &body,
/// };
/// match received.verify(secret, SystemTime::now()) {
///     Ok(()) => StatusCode::NO_CONTENT,
///     Err(_) => StatusCode::UNAUTHORIZED,
/// }
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// The header `webhook-id`.
    pub id: &'a str,
    /// The header `webhook-timestamp`: seconds since 1970, when this try was made.
    pub timestamp: &'a str,
    /// The header `webhook-signature`: one or several signatures with a space between.
    pub signature: &'a str,
    /// The body.
    pub body: &'a [u8],
}

/// Why a webhook is not to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// A header is missing or cannot be read.
    #[error("the webhook has no {0} that can be read")]
    Header(&'static str),
    /// It was sent too long ago, or is of the future.
    #[error("the webhook's timestamp is more than {} s from now", TOLERANCE.as_secs())]
    Time,
    /// It was not signed with this secret, or was changed.
    #[error("no signature of the webhook is of this secret")]
    Signature,
}

impl Received<'_> {
    /// Verifies that somebody who has the secret sent this, within [`TOLERANCE`] of `now`.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub fn verify(&self, secret: &WebhookSecret, now: SystemTime) -> Result<(), VerifyError> {
        if self.id.is_empty() {
            return Err(VerifyError::Header("webhook-id"));
        }
        let sent: u64 = self
            .timestamp
            .parse()
            .map_err(|_| VerifyError::Header("webhook-timestamp"))?;
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if now.abs_diff(sent) > TOLERANCE.as_secs() {
            return Err(VerifyError::Time);
        }
        let (key, signed) = (secret.key(), signed(self.id, self.timestamp, self.body));
        let is_good = |signature: &str| {
            let coded = signature.strip_prefix("v1,").unwrap_or_default();
            let bytes = STANDARD.decode(coded);
            bytes.is_ok_and(|bytes| hmac::verify(&key, &signed, &bytes).is_ok())
        };
        if self.signature.split(' ').any(is_good) {
            Ok(())
        } else {
            Err(VerifyError::Signature)
        }
    }
}

/// The header `webhook-signature`: a signature by each of the secrets.
pub(super) fn sign(secrets: &[WebhookSecret], id: &str, timestamp: &str, body: &[u8]) -> String {
    let signed = signed(id, timestamp, body);
    let signatures = secrets.iter().map(|secret| {
        let tag = hmac::sign(&secret.key(), &signed);
        format!("v1,{}", STANDARD.encode(tag))
    });
    signatures.collect::<Vec<_>>().join(" ")
}

fn signed(id: &str, timestamp: &str, body: &[u8]) -> Vec<u8> {
    [id.as_bytes(), timestamp.as_bytes(), body].join(&b'.')
}
