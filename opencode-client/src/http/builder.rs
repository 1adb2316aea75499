use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Semaphore;
use url::Url;

use super::{Client, RequestTrace};
use crate::error::Error;
use crate::tolerant::{SkipListener, Skipped};

const DEFAULT_BASE_URL: &str = "http://127.0.0.1:4096";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_USERNAME: &str = "opencode";

/// What a [`Client`] is built from. Setters never fail; [`ClientBuilder::build`] does.
#[derive(Clone)]
#[must_use]
pub struct ClientBuilder {
    base_url: String,
    username: String,
    password: Option<SecretString>,
    timeout: Duration,
    directory: Option<String>,
    workspace: Option<String>,
    on_request: Option<RequestListener>,
    on_skipped: Option<SkipListener>,
}

pub(super) type RequestListener = Arc<dyn Fn(&RequestTrace<'_>) + Send + Sync>;

/// How many calls are under way at once, as a rule. Each has a connection of its own.
const IN_FLIGHT: usize = 128;

/// What all clones of a client share.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) base_url: Url,
    pub(crate) server: String,
    pub(crate) authorization: Option<SecretString>,
    pub(crate) timeout: Duration,
    pub(crate) workspace: Option<String>,
    pub(super) on_request: Option<RequestListener>,
    pub(super) on_skipped: Option<SkipListener>,
    /// Places for calls under way.
    pub(super) in_flight: Arc<Semaphore>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("server", &self.server)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl ClientBuilder {
    pub(super) fn new(base_url: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            username: DEFAULT_USERNAME.to_owned(),
            password: None,
            timeout: DEFAULT_TIMEOUT,
            directory: None,
            workspace: None,
            on_request: None,
            on_skipped: None,
        }
    }

    /// Starts from `OPENCODE_BASE_URL`, `OPENCODE_SERVER_USERNAME`, `OPENCODE_SERVER_PASSWORD` and
    /// `OPENCODE_TIMEOUT`.
    ///
    /// # Errors
    /// [`Error::Configuration`] when the timeout is not a positive number of seconds.
    pub fn from_env() -> Result<Self, Error> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let variable = |name| variable(name).filter(|value| !value.is_empty());
        let mut builder =
            Self::new(variable("OPENCODE_BASE_URL").unwrap_or_else(|| DEFAULT_BASE_URL.to_owned()));
        if let Some(username) = variable("OPENCODE_SERVER_USERNAME") {
            builder = builder.username(username);
        }
        if let Some(password) = variable("OPENCODE_SERVER_PASSWORD") {
            builder = builder.password(password);
        }
        if let Some(timeout) = variable("OPENCODE_TIMEOUT") {
            let seconds = timeout.parse::<f64>().ok().filter(|seconds| *seconds > 0.0);
            let timeout = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            builder = builder.timeout(timeout.ok_or_else(|| {
                Error::Configuration(
                    "OPENCODE_TIMEOUT must be a number of seconds above 0".to_owned(),
                )
            })?);
        }
        Ok(builder)
    }

    /// The user that the server was started with (`OPENCODE_SERVER_USERNAME`). Default `opencode`. Sent only along
    /// with a password.
    pub fn username(mut self, username: impl Into<String>) -> Self {
        self.username = username.into();
        self
    }

    /// The server's password (HTTP Basic).
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(SecretString::from(password.into()));
        self
    }

    /// How long one call may take, event streams excepted. Default 120 s. What is sent and
    /// received does not count: a large exchange gets a second more for every 64 KiB.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The folder the calls are about; the server's own without one.
    pub fn directory(mut self, directory: impl Into<String>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// The workspace the calls are about.
    pub fn workspace(mut self, workspace: impl Into<String>) -> Self {
        self.workspace = Some(workspace.into());
        self
    }

    /// Is told of every call when it is over. Must be quick.
    pub fn on_request(
        mut self,
        listener: impl Fn(&RequestTrace<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.on_request = Some(Arc::new(listener));
        self
    }

    /// Is told what of an answer or of events was mended or left out; see [`Skipped`]. Must be quick.
    pub fn on_skipped(mut self, listener: impl Fn(&str, &Skipped) + Send + Sync + 'static) -> Self {
        self.on_skipped = Some(Arc::new(listener));
        self
    }

    /// Makes the client. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Configuration`] when the URL is not an http or https one, or
    /// when it carries credentials; when the user name holds a colon, which HTTP Basic cannot carry.
    pub fn build(self) -> Result<Client, Error> {
        let base_url = Url::parse(self.base_url.trim_end_matches('/'))
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| {
                Error::Configuration(
                    "the OpenCode URL must look like http://127.0.0.1:4096 (http or https, host, port)".to_owned(),
                )
            })?;
        if !base_url.username().is_empty() || base_url.password().is_some() {
            return Err(Error::Configuration(
                "the OpenCode URL must not carry a user or password; give the password by itself"
                    .to_owned(),
            ));
        }
        if self.username.contains(':') {
            return Err(Error::Configuration(
                "the OpenCode user name (OPENCODE_SERVER_USERNAME) must not hold a colon"
                    .to_owned(),
            ));
        }
        let server = base_url.origin().ascii_serialization();
        let username = self.username;
        let authorization = self.password.map(|password| {
            let credentials = format!("{username}:{}", password.expose_secret());
            SecretString::from(format!(
                "Basic {}",
                base64::engine::general_purpose::STANDARD.encode(credentials)
            ))
        });
        // The process may have chosen a provider already: then that one stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(Duration::from_secs(30))
            .redirect(reqwest::redirect::Policy::none());
        if base_url.scheme() == "http" {
            // Plain http is a server nearby; the event stream connects directly too.
            http = http.no_proxy();
        }
        let http = http
            .build()
            .map_err(|error| Error::Configuration(format!("cannot set up HTTP: {error}")))?;
        Ok(Client {
            http,
            directory: self.directory.map(Into::into),
            patience: None,
            settings: Arc::new(Settings {
                base_url,
                server,
                authorization,
                timeout: self.timeout,
                workspace: self.workspace,
                on_request: self.on_request,
                on_skipped: self.on_skipped,
                in_flight: Arc::new(Semaphore::new(IN_FLIGHT)),
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authorization(variables: &[(&str, &str)]) -> Option<String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let client = ClientBuilder::from_variables(variable).unwrap().build();
        let client = client.unwrap();
        let basic = client.authorization()?.strip_prefix("Basic ")?.to_owned();
        let credentials = base64::engine::general_purpose::STANDARD.decode(basic);
        String::from_utf8(credentials.unwrap()).ok()
    }

    #[test]
    fn the_user_is_the_one_that_the_server_was_started_with() {
        let password = ("OPENCODE_SERVER_PASSWORD", "secret");
        for (name, user) in [
            (None, "opencode"),
            (Some(""), "opencode"),
            (Some("alice"), "alice"),
        ] {
            let name = name.map(|name| ("OPENCODE_SERVER_USERNAME", name));
            let variables: Vec<_> = name.into_iter().chain([password]).collect();
            let expected = format!("{user}:secret");
            assert_eq!(authorization(&variables), Some(expected));
        }
        assert_eq!(
            authorization(&[("OPENCODE_SERVER_USERNAME", "alice")]),
            None
        );
        let colon = Client::builder(DEFAULT_BASE_URL).username("a:b").build();
        assert!(matches!(colon, Err(Error::Configuration(_))));
    }
}
