//! How a [`Client`] is built: address, credentials, headers, timeouts, listeners.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use rustls::crypto::CryptoProvider;
use rustls_platform_verifier::BuilderVerifierExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Semaphore;
use url::Url;

use super::client::Client;
use super::settings::Settings;
use crate::error::Error;

const DEFAULT_BASE_URL: &str = "http://127.0.0.1:4096";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_USERNAME: &str = "opencode";

/// What a [`Client`] is built from. Setters never fail; [`ClientBuilder::build`] does.
#[must_use]
pub struct ClientBuilder {
    base_url: String,
    username: String,
    password: Option<SecretString>,
    timeout: Duration,
    directory: Option<String>,
    workspace: Option<String>,
    headers: Vec<(String, SecretString)>,
    http: Option<reqwest::ClientBuilder>,
}

/// How many calls are under way at once, as a rule. Each has a connection of its own.
const IN_FLIGHT: usize = 128;

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Starts a client for the server at `base_url`, such as `http://127.0.0.1:4096`.
    pub fn builder(base_url: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(base_url)
    }

    /// A client from `OPENCODE_BASE_URL` (default `http://127.0.0.1:4096`),
    /// `OPENCODE_SERVER_USERNAME` (default `opencode`), `OPENCODE_SERVER_PASSWORD` and
    /// `OPENCODE_TIMEOUT` (seconds, default 120).
    ///
    /// # Errors
    /// [`Error::Configuration`] when one of them makes no sense.
    pub fn from_env() -> Result<Self, Error> {
        ClientBuilder::from_env()?.build()
    }
}

impl ClientBuilder {
    fn new(base_url: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            username: DEFAULT_USERNAME.to_owned(),
            password: None,
            timeout: DEFAULT_TIMEOUT,
            directory: None,
            workspace: None,
            headers: Vec::new(),
            http: None,
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

    /// A header of every call and every event stream, such as a gateway's token. Repeat it for each; the last of a
    /// name wins, over the password's `Authorization` too.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let value = SecretString::from(value.into());
        self.headers.push((name.into(), value));
        self
    }

    /// The HTTP client to build on: certificates of a client, roots of a company, a proxy. Redirects are not
    /// followed, whatever it says. Without one: the system's roots, with ring; and the system's proxy for https.
    ///
    /// Where neither the process nor a feature of reqwest provides TLS, give it a preconfigured TLS backend.
    pub fn http(mut self, http: reqwest::ClientBuilder) -> Self {
        self.http = Some(http);
        self
    }

    /// Makes the client. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Configuration`] when the URL is not an http or https one, or
    /// when it carries credentials; when the user name holds a colon, which HTTP Basic cannot carry; when a header is
    /// none; when TLS cannot be set up.
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
        let credentials = self.password.map(|password| {
            let credentials = format!("{}:{}", self.username, password.expose_secret());
            let credentials = base64::engine::general_purpose::STANDARD.encode(credentials);
            SecretString::from(format!("Basic {credentials}"))
        });
        let mut headers = HeaderMap::new();
        let basic = credentials.map(|credentials| (AUTHORIZATION.to_string(), credentials));
        for (name, value) in basic.into_iter().chain(self.headers) {
            let (name, value) = header(&name, &value)?;
            headers.insert(name, value);
        }
        let is_general = self.http.is_some() || base_url.scheme() != "http";
        let http = match self.http {
            Some(http) => http,
            None => plain_or_tls(&base_url)?,
        };
        let http = build(http.redirect(reqwest::redirect::Policy::none()))?;
        Ok(Client {
            http,
            directory: self.directory.map(Into::into),
            patience: None,
            settings: Arc::new(Settings {
                base_url,
                server,
                headers,
                is_general,
                timeout: self.timeout,
                workspace: self.workspace,
                on_request: None,
                on_skipped: None,
                in_flight: Arc::new(Semaphore::new(IN_FLIGHT)),
            }),
        })
    }
}

/// A header that no log shows.
fn header(name: &str, value: &SecretString) -> Result<(HeaderName, HeaderValue), Error> {
    let bad = || {
        Error::Configuration(format!(
            "{name:?} cannot be sent as a header with that value"
        ))
    };
    let mut value = HeaderValue::from_str(value.expose_secret()).map_err(|_| bad())?;
    value.set_sensitive(true);
    Ok((name.parse().map_err(|_| bad())?, value))
}

/// The client that is built on by itself.
fn plain_or_tls(base_url: &Url) -> Result<reqwest::ClientBuilder, Error> {
    let http = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(Duration::from_secs(30));
    let is_plain = base_url.scheme() == "http";
    let tls = tls(is_plain)
        .map_err(|error| Error::Configuration(format!("cannot set up TLS: {error}")))?;
    let http = http.tls_backend_preconfigured(tls);
    // Plain http is a server nearby; the event stream connects directly too.
    Ok(if is_plain { http.no_proxy() } else { http })
}

/// TLS with the provider that the process has chosen, else with ring, which is not made the process's. Plain http needs
/// no roots, and works on a machine that has none.
fn tls(is_plain: bool) -> Result<rustls::ClientConfig, rustls::Error> {
    let provider = CryptoProvider::get_default().cloned();
    let provider = provider.unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()));
    let versions = rustls::ClientConfig::builder_with_provider(provider);
    let roots = versions.with_safe_default_protocol_versions()?;
    let client = if is_plain {
        roots.with_root_certificates(rustls::RootCertStore::empty())
    } else {
        roots.with_platform_verifier()?
    };
    Ok(client.with_no_client_auth())
}

fn build(http: reqwest::ClientBuilder) -> Result<reqwest::Client, Error> {
    // reqwest panics where nothing provides TLS.
    let built = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| http.build()));
    let built = built.map_err(|_| {
        Error::Configuration(
            "cannot set up HTTP: no TLS provider. Enable a TLS feature of reqwest, install a rustls provider, or give \
             the HTTP client a preconfigured TLS backend"
                .to_owned(),
        )
    })?;
    built.map_err(|error| Error::Configuration(format!("cannot set up HTTP: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_tls_provider_is_made_the_processs() {
        for url in ["http://127.0.0.1:1", "https://127.0.0.1:1"] {
            Client::builder(url).build().unwrap();
        }
        assert!(CryptoProvider::get_default().is_none());
        // An HTTP client of the host's that has none is an error, not a panic.
        let none = Client::builder("https://127.0.0.1:1").http(reqwest::Client::builder());
        assert!(matches!(none.build(), Err(Error::Configuration(_))));
    }

    #[test]
    fn a_header_that_cannot_be_sent_is_an_error_without_its_value() {
        for (name, value) in [("x y", "secret"), ("x", "sec\nret"), ("", "secret")] {
            let built = Client::builder(DEFAULT_BASE_URL)
                .header(name, value)
                .build();
            let error = built.unwrap_err().to_string();
            assert!(!error.contains("ret"), "{error}");
        }
        let client = Client::builder(DEFAULT_BASE_URL).header("x-token", "secret");
        let client = client.build().unwrap();
        assert!(!format!("{client:?}{:?}", client.headers()).contains("secret"));
    }

    fn authorization(variables: &[(&str, &str)]) -> Option<String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let client = ClientBuilder::from_variables(variable).unwrap().build();
        let client = client.unwrap();
        let basic = client.headers().get(AUTHORIZATION)?.to_str().unwrap();
        let basic = basic.strip_prefix("Basic ")?.to_owned();
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
