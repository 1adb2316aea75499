//! Why webhooks are not taken.

/// How long the name of an endpoint may be.
pub(super) const MAX_NAME_CHARS: usize = 200;

/// Why webhooks are not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookError {
    /// The endpoint's name is empty or too long.
    #[error("an endpoint has a name of 1 to {} characters", MAX_NAME_CHARS)]
    Name,
    /// The address is none.
    #[error("the address of the endpoint {name:?} is no URL: {why}")]
    Url {
        /// The endpoint.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// It is not `https://`, nor `http://` to a loopback host.
    #[error(
        "the address of the endpoint {name:?} begins with {scheme}://: use https://; http:// is for localhost, 127.0.0.1 \
         and [::1] alone"
    )]
    NotHttps {
        /// The endpoint.
        name: String,
        /// How its address begins.
        scheme: String,
    },
    /// The address has a user or a password.
    #[error(
        "the address of the endpoint {name:?} has a user or a password, which are not sent: receivers know the sender by \
         the signature"
    )]
    Credentials {
        /// The endpoint.
        name: String,
    },
    /// There is no HTTP client to be had.
    #[error("cannot set up HTTP for webhooks: {0}")]
    Client(String),
}
