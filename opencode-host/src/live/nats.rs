//! A live bus over NATS: nodes send each other messages through its server, which keeps nothing.
//!
//! A node says on a subject that all hear which turns it watches, and at which address messages reach it
//! (`opencode_host.live.1.to.…`). One that runs such a turn sends its messages there, as many in a payload as one holds. A
//! node that comes, or comes back, asks the others to say again what they watch. What NATS loses is asked for again by
//! those who watch, as with any bus.

mod frames;
mod interests;
mod received;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, ServerError, Subscriber};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use rustls::crypto::CryptoProvider;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;

use self::frames::{SMALLEST, Said};
use self::interests::Interests;
use self::received::Received;
use super::bus::{BusError, Hint, Interest, LiveBus, LiveMessage, NodeId, Read};
use crate::id::TurnId;

/// Nodes whose payloads mean something else have another number.
const SUBJECTS: &str = "opencode_host.live.1";

/// The largest payload that is sent, where NATS takes it.
const PAYLOAD: usize = 1 << 20;

/// How often NATS is asked whether it is there.
const PING: Duration = Duration::from_secs(5);

/// How many payloads may wait for this process.
const WAITING: usize = 256;

/// How often what is old is forgotten, and how old it is.
const SWEEP: Duration = Duration::from_secs(20);
const KEPT: Duration = Duration::from_secs(60);

/// A live bus over NATS. All nodes of an installation have one, to the same NATS.
///
/// It needs a plain NATS server, without JetStream. Who may publish and subscribe at `opencode_host.live.>` there reads the
/// turns that are watched, as they run, and can show watchers anything; nothing of it is kept.
///
/// ```no_run
/// # async fn example(store: std::sync::Arc<dyn opencode_host::store::Store>) -> Result<(), Box<dyn std::error::Error>> {
/// use opencode_host::Host;
/// use opencode_host::live::NatsBus;
///
/// let bus = NatsBus::builder("nats://127.0.0.1:4222").connect().await?;
/// let host = Host::builder(store).live_bus(bus).build();
/// # Ok(())
/// # }
/// ```
pub struct NatsBus {
    shared: Arc<Shared>,
    hearing: AbortHandle,
}

/// Where NATS is, and as whom to go there.
#[derive(Clone)]
pub struct NatsBuilder {
    url: String,
    credentials: Option<String>,
}

/// Why there is no bus over NATS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NatsError {
    /// The address cannot be used.
    #[error("{url:?} is no address of NATS: give nats://HOST:PORT, or tls://HOST:PORT")]
    Address {
        /// The address, without credentials.
        url: String,
    },
    /// The credentials cannot be read.
    #[error(
        "the credentials of NATS cannot be read: {0}. They are a .creds file, USER:PASSWORD, or a token"
    )]
    Credentials(String),
    /// NATS refuses the credentials, or wants some.
    #[error("NATS at {place} refuses the credentials, or wants some: {why}")]
    Refused {
        /// Where it is.
        place: String,
        /// What the client says.
        why: String,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up for NATS: {0}")]
    Tls(String),
}

struct Shared {
    client: Client,
    place: String,
    inbox: Uuid,
    received: Mutex<Received>,
    interests: Mutex<Interests>,
    published: watch::Sender<()>,
    watched: watch::Sender<()>,
    connection: Arc<Connection>,
    /// A payload was passed over, which was said.
    is_odd: AtomicBool,
}

/// What is known of the connection.
#[derive(Debug, Default)]
struct Connection {
    made: Notify,
    /// Why there is none, or why it does not do.
    trouble: Mutex<Option<String>>,
    /// What the credentials do not allow.
    denied: Mutex<Option<String>>,
}

impl NatsBus {
    /// A bus to the NATS at this URL, such as `nats://127.0.0.1:4222`; `tls://…` wants TLS. A user and a password in it, or
    /// a token, are used where no other credentials are given. Several servers of a cluster are given with commas.
    pub fn builder(url: impl Into<String>) -> NatsBuilder {
        NatsBuilder {
            url: url.into(),
            credentials: None,
        }
    }
}

impl NatsBuilder {
    /// Credentials: the text of a `.creds` file, `USER:PASSWORD`, or a token.
    pub fn credentials(mut self, credentials: impl Into<String>) -> Self {
        self.credentials = Some(credentials.into());
        self
    }

    /// Connects. A NATS that is away is waited for in the background, and logged; watchers on other nodes get replies as
    /// they were last saved until it is there. It wants a tokio runtime.
    ///
    /// # Errors
    /// [`NatsError::Address`] and [`NatsError::Credentials`] for what cannot be read, [`NatsError::Refused`] where NATS
    /// does not let this node in, [`NatsError::Tls`] where this machine has no TLS.
    pub async fn connect(self) -> Result<NatsBus, NatsError> {
        let addresses = addresses(&self.url)?;
        let place = addresses.place.clone();
        let connection = Arc::new(Connection::default());
        let options = || self.options(&addresses, &connection);
        let client = match options()?.connect(addresses.urls.clone()).await {
            Ok(client) => client,
            Err(error) => match error.kind() {
                ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                    let why = error.to_string();
                    return Err(NatsError::Refused { place, why });
                }
                ConnectErrorKind::ServerParse => return Err(no_address(&place)),
                _ => {
                    tracing::warn!("cannot reach NATS at {place}: {error}; trying again");
                    connection.trouble(&error.to_string());
                    let waiting = options()?.retry_on_initial_connect();
                    let waiting = waiting.connect(addresses.urls.clone()).await;
                    waiting.map_err(|_| no_address(&place))?
                }
            },
        };
        NatsBus::over(client, place, connection).await
    }

    fn options(
        &self,
        addresses: &Addresses,
        connection: &Arc<Connection>,
    ) -> Result<ConnectOptions, NatsError> {
        let mut options = ConnectOptions::new()
            .name("opencode-host")
            .ping_interval(PING)
            .subscription_capacity(WAITING)
            .tls_client_config(tls().map_err(|error| NatsError::Tls(error.to_string()))?);
        let given = self.credentials.as_deref().map(str::trim);
        if let Some(credentials) = given.or(addresses.credentials.as_deref()) {
            options = if credentials.contains("-----BEGIN") {
                let read = options.credentials(credentials);
                read.map_err(|error| NatsError::Credentials(error.to_string()))?
            } else if let Some((user, password)) = credentials.split_once(':') {
                options.user_and_password(user.to_owned(), password.to_owned())
            } else if credentials.is_empty() || credentials.contains(char::is_whitespace) {
                let why = "they are empty, or have more than one line".to_owned();
                return Err(NatsError::Credentials(why));
            } else {
                options.token(credentials.to_owned())
            };
        }
        let connection = Arc::clone(connection);
        Ok(options.event_callback(move |event| {
            connection.hear(event);
            std::future::ready(())
        }))
    }
}

/// What a URL says.
struct Addresses {
    /// Without credentials.
    urls: Vec<String>,
    credentials: Option<String>,
    /// For people.
    place: String,
}

fn addresses(text: &str) -> Result<Addresses, NatsError> {
    let (mut urls, mut credentials) = (Vec::new(), None);
    for one in text.split(',') {
        let one = one.trim();
        // What stands before the host may be a secret.
        let shown = || one.rsplit('@').next().unwrap_or_default().to_owned();
        let mut url = Url::parse(one).map_err(|_| no_address(&shown()))?;
        let is_known = matches!(url.scheme(), "nats" | "tls") && url.host().is_some();
        if !is_known || !matches!(url.path(), "" | "/") {
            return Err(no_address(&shown()));
        }
        let plain = |text: &str| {
            let text = percent_decoded(text);
            text.ok_or_else(|| NatsError::Credentials("the URL's are not UTF-8".to_owned()))
        };
        let found = match (url.username(), url.password()) {
            ("", None) => None,
            (token, None) => Some(plain(token)?),
            (user, Some(password)) => Some(format!("{}:{}", plain(user)?, plain(password)?)),
        };
        credentials = credentials.or(found);
        let _ = (url.set_username(""), url.set_password(None));
        url.set_path("");
        urls.push(url.to_string());
    }
    let hosts = urls.iter().map(|url| url.rsplit('/').next().unwrap_or(url));
    let place = hosts.collect::<Vec<_>>().join(", ");
    Ok(Addresses {
        urls,
        credentials,
        place,
    })
}

fn percent_decoded(text: &str) -> Option<String> {
    // A pair of a form is decoded as these are, but for the plus.
    let text = format!("k={}", text.replace('+', "%2B"));
    let pair = url::form_urlencoded::parse(text.as_bytes()).next()?.1;
    (!pair.contains(char::REPLACEMENT_CHARACTER)).then(|| pair.into_owned())
}

fn no_address(url: &str) -> NatsError {
    let url = url.to_owned();
    NatsError::Address { url }
}

/// With the provider that the process has chosen, else with ring, which is not made the process's.
fn tls() -> Result<rustls::ClientConfig, rustls::Error> {
    let provider = CryptoProvider::get_default().cloned();
    let provider = provider.unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()));
    let versions = rustls::ClientConfig::builder_with_provider(provider);
    let roots = versions.with_safe_default_protocol_versions()?;
    Ok(roots.with_platform_verifier()?.with_no_client_auth())
}

impl Connection {
    fn hear(&self, event: Event) {
        match event {
            Event::Connected => {
                *lock(&self.trouble) = None;
                *lock(&self.denied) = None;
                self.made.notify_one();
            }
            Event::ClientError(error) => self.trouble(&error.to_string()),
            Event::ServerError(ServerError::Other(what)) if what.contains("ermissions") => {
                *lock(&self.denied) = Some(what);
            }
            Event::ServerError(error) => self.trouble(&error.to_string()),
            _ => {}
        }
    }

    fn trouble(&self, why: &str) {
        *lock(&self.trouble) = Some(why.to_owned());
    }
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is in it is whole after each call.
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

impl NatsBus {
    async fn over(
        client: Client,
        place: String,
        connection: Arc<Connection>,
    ) -> Result<Self, NatsError> {
        let inbox = Uuid::new_v4();
        let mut subscriptions = Vec::new();
        for of in [
            "watched".to_owned(),
            "who".to_owned(),
            format!("to.{inbox}"),
        ] {
            let subscribed = client.subscribe(format!("{SUBJECTS}.{of}")).await;
            subscriptions.push(subscribed.map_err(|_| no_address(&place))?);
        }
        let shared = Arc::new(Shared {
            client,
            place,
            inbox,
            received: Mutex::default(),
            interests: Mutex::default(),
            published: watch::Sender::new(()),
            watched: watch::Sender::new(()),
            connection,
            is_odd: AtomicBool::new(false),
        });
        let hearing = tokio::spawn(hear(Arc::clone(&shared), subscriptions)).abort_handle();
        Ok(Self { shared, hearing })
    }
}

impl Drop for NatsBus {
    fn drop(&mut self) {
        self.hearing.abort();
    }
}

/// Takes what comes, until NATS is given up.
async fn hear(shared: Arc<Shared>, subscriptions: Vec<Subscriber>) {
    let Ok([mut watched, mut who, mut to]) = <[Subscriber; 3]>::try_from(subscriptions) else {
        return;
    };
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        tokio::select! {
            Some(message) = to.next() => shared.take(&message.payload),
            Some(message) = watched.next() => match Said::unpack(&message.payload) {
                Some(said) => {
                    lock(&shared.interests).hear(&said, Instant::now());
                    shared.watched.send_replace(());
                }
                None => shared.odd(),
            },
            Some(_) = who.next() => {
                let said = lock(&shared.interests).of_inbox(shared.inbox, Instant::now());
                for said in said {
                    // Who does not hear it now hears it in 10 s.
                    let _ = shared.say(&said).await;
                }
            }
            () = shared.connection.made.notified() => {
                // While there was no connection, others may have said what they watch.
                let _ = shared.send("who", Bytes::new()).await;
                shared.published.send_replace(());
                shared.watched.send_replace(());
            }
            _ = sweep.tick() => shared.sweep(KEPT),
            else => return,
        }
    }
}

impl Shared {
    fn take(&self, payload: &[u8]) {
        let Some(pieces) = frames::unpack(payload) else {
            return self.odd();
        };
        let (mut received, now) = (lock(&self.received), Instant::now());
        let mut has_come = false;
        for piece in pieces {
            has_come |= received.take(piece, now);
        }
        drop(received);
        if has_come {
            self.published.send_replace(());
        }
    }

    /// A payload says nothing that a node says. That is logged once.
    fn odd(&self) {
        if !self.is_odd.swap(true, Ordering::Relaxed) {
            let place = &self.place;
            tracing::warn!(
                "NATS at {place} brings at {SUBJECTS} what no node has sent; it is passed over"
            );
        }
    }

    fn sweep(&self, age: Duration) {
        lock(&self.received).sweep(age, Instant::now());
        lock(&self.interests).sweep(Instant::now());
    }

    /// How large a payload may be, where there is a connection.
    fn room(&self) -> Result<usize, BusError> {
        let place = &self.place;
        if let Some(what) = &*lock(&self.connection.denied) {
            let wanted =
                "the credentials must allow to publish and subscribe at opencode_host.live.>";
            return Err(BusError::new(format_args!(
                "NATS at {place} says: {what}; {wanted}"
            )));
        }
        if self.client.connection_state() != State::Connected {
            let why = lock(&self.connection.trouble).clone();
            let why = why.unwrap_or_else(|| "the connection was lost".to_owned());
            return Err(BusError::new(format_args!(
                "no connection to NATS at {place}: {why}; trying again"
            )));
        }
        let room = self.client.max_payload().min(PAYLOAD);
        if room < SMALLEST {
            return Err(BusError::new(format_args!(
                "NATS at {place} takes {room} bytes at most (max_payload), and {SMALLEST} are wanted"
            )));
        }
        Ok(room)
    }

    async fn say(&self, said: &Said) -> Result<(), BusError> {
        for payload in said.pack(self.room()?) {
            self.send("watched", payload).await?;
        }
        Ok(())
    }

    async fn send(&self, to: &str, payload: Bytes) -> Result<(), BusError> {
        let sent = self.client.publish(format!("{SUBJECTS}.{to}"), payload);
        sent.await.map_err(|error| self.error(&error))
    }

    /// Waits until what was sent has left this process.
    async fn flush(&self) -> Result<(), BusError> {
        let flushed = self.client.flush().await;
        flushed.map_err(|error| self.error(&error))
    }

    fn error(&self, error: &dyn fmt::Display) -> BusError {
        BusError::new(format_args!("NATS at {}: {error}", self.place))
    }
}

#[async_trait]
impl LiveBus for NatsBus {
    async fn publish(&self, messages: &[LiveMessage]) -> Result<(), BusError> {
        let (shared, now) = (&self.shared, Instant::now());
        let room = shared.room()?;
        let mut by_inbox = std::collections::BTreeMap::<Uuid, Vec<&LiveMessage>>::new();
        {
            let interests = lock(&shared.interests);
            for message in messages {
                for inbox in interests.inboxes(message.turn, now) {
                    by_inbox.entry(inbox).or_default().push(message);
                }
            }
        }
        for (inbox, messages) in by_inbox {
            let to = format!("to.{inbox}");
            for payload in frames::pack(messages, room) {
                shared.send(&to, payload).await?;
            }
        }
        shared.flush().await
    }

    async fn read(&self, turns: &[Read]) -> Result<Vec<LiveMessage>, BusError> {
        // What has come before the connection was lost is read; that it was is an error of the next call.
        let found = lock(&self.shared.received).read(turns, Instant::now());
        if found.is_empty() {
            self.shared.room()?;
        }
        Ok(found)
    }

    async fn watch(
        &self,
        node: NodeId,
        turns: &[Interest],
        length: Duration,
    ) -> Result<(), BusError> {
        let shared = &self.shared;
        let said = Said {
            node,
            inbox: shared.inbox,
            length,
            interests: turns.to_vec(),
        };
        shared.say(&said).await?;
        shared.flush().await
    }

    async fn watched(
        &self,
        node: NodeId,
        turns: &[TurnId],
    ) -> Result<Vec<(NodeId, Interest)>, BusError> {
        let interests = lock(&self.shared.interests);
        Ok(interests.watched(node, turns, Instant::now()))
    }

    async fn sweep(&self, age: Duration) -> Result<(), BusError> {
        self.shared.sweep(age);
        Ok(())
    }

    async fn listen(&self, heard: &(dyn Fn(Hint) + Send + Sync)) {
        let mut published = self.shared.published.subscribe();
        let mut watched = self.shared.watched.subscribe();
        // What came before may have been missed.
        heard(Hint::Published);
        heard(Hint::Watched);
        loop {
            let (hint, changed) = tokio::select! {
                changed = published.changed() => (Hint::Published, changed),
                changed = watched.changed() => (Hint::Watched, changed),
            };
            if changed.is_err() {
                return;
            }
            heard(hint);
        }
    }
}

impl fmt::Debug for NatsBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsBus")
            .field("place", &self.shared.place)
            .finish_non_exhaustive()
    }
}

/// Without the credentials.
impl fmt::Debug for NatsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsBuilder").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
