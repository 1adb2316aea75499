//! Where OpenCode reaches the tools: one listener for each worker that has some, and who may call what.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::calls::Calls;
use super::protocol::{Caller, Protocol};
use super::ready::ReadySet;
use super::token::Token;
use super::tool::ToolCall;
use crate::telemetry::Telemetry;

/// The most connections at once; further ones wait.
const CONNECTIONS: usize = 512;

/// How long a connection may rest, or take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long nothing is accepted where that has failed: descriptors may have run out.
const PAUSE: Duration = Duration::from_millis(100);

/// The longest name of a client that is taken over from a request, in bytes.
const LONGEST_CLIENT: usize = 64;

/// By which a client says that it is the one that was there before.
const CLIENT: HeaderName = HeaderName::from_static("mcp-session-id");

type Service = StreamableHttpService<Protocol, NeverSessionManager>;
type Answered = Response<BoxBody<Bytes, Infallible>>;

/// Serves the tools of a worker's turns. Nothing is listened to before there are some.
pub(crate) struct ToolServer {
    bind: SocketAddr,
    /// Where OpenCode finds it, if not at the address that it listens to.
    url: Option<String>,
    open: Arc<Open>,
    listening: tokio::sync::Mutex<Option<Listening>>,
}

struct Listening {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is offered now.
#[derive(Default)]
struct Open(Mutex<HashMap<Uuid, (Token, Arc<Calls>)>>);

impl Open {
    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, (Token, Arc<Calls>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The calls that a request is one of, if it knows the token.
    fn find(&self, path: &str, headers: &HeaderMap) -> Option<Arc<Calls>> {
        let id: Uuid = path.rsplit('/').next()?.parse().ok()?;
        let presented = headers.get(AUTHORIZATION)?.to_str().ok()?;
        let presented = presented.strip_prefix("Bearer ")?;
        let open = self.lock();
        let (token, calls) = open.get(&id)?;
        token.is(presented).then(|| Arc::clone(calls))
    }
}

/// Tools that can be called, as long as this lives.
pub(crate) struct Offering {
    id: Uuid,
    url: String,
    token: Token,
    calls: Arc<Calls>,
    open: Arc<Open>,
}

impl Offering {
    /// Where they are called.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What the caller has to know.
    pub(crate) fn token(&self) -> &Token {
        &self.token
    }

    /// Cuts off what runs, and runs nothing any more.
    pub(crate) fn stop(&self) {
        self.calls.stop();
    }
}

impl Drop for Offering {
    fn drop(&mut self) {
        self.open.lock().remove(&self.id);
        self.stop();
    }
}

impl ToolServer {
    /// Listens at `bind`, once there is something to be called; OpenCode finds it at `url`, or there.
    pub(crate) fn new(bind: SocketAddr, url: Option<String>) -> Self {
        Self {
            bind,
            url,
            open: Arc::default(),
            listening: tokio::sync::Mutex::default(),
        }
    }

    /// Lets tools be called for a turn.
    pub(crate) async fn offer(
        &self,
        tools: Arc<ReadySet>,
        of: ToolCall,
        telemetry: Telemetry,
    ) -> io::Result<Offering> {
        let address = self.listen().await?;
        let (id, token) = (Uuid::new_v4(), Token::random());
        let base = match &self.url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("http://{address}"),
        };
        let calls = Arc::new(Calls::new(tools, of, telemetry));
        let opened = (token.clone(), Arc::clone(&calls));
        self.open.lock().insert(id, opened);
        Ok(Offering {
            id,
            url: format!("{base}/{id}"),
            token,
            calls,
            open: Arc::clone(&self.open),
        })
    }

    /// Listens, unless that is done already.
    async fn listen(&self) -> io::Result<SocketAddr> {
        let mut listening = self.listening.lock().await;
        // The runtime that it was begun on may be gone.
        if let Some(listening) = &*listening
            && !listening.task.is_finished()
        {
            return Ok(listening.address);
        }
        let listener = TcpListener::bind(self.bind).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(accept(listener, Arc::clone(&self.open)));
        *listening = Some(Listening { address, task });
        Ok(address)
    }
}

async fn accept(listener: TcpListener, open: Arc<Open>) {
    // A token is asked of every request, whatever host it names.
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .disable_allowed_hosts();
    let service = Service::new(|| Ok(Protocol), Arc::default(), config);
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (open, service) = (Arc::clone(&open), service.clone());
                tokio::spawn(async move {
                    serve(stream, open, service).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "no connection to the tools was accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, open: Arc<Open>, service: Service) {
    let answering = service_fn(move |request| {
        let (open, service) = (Arc::clone(&open), service.clone());
        async move { Ok::<_, Infallible>(answer(&open, &service, request).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), answering)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to the tools broke");
    }
}

async fn answer(open: &Open, service: &Service, mut request: Request<Incoming>) -> Answered {
    let Some(calls) = open.find(request.uri().path(), request.headers()) else {
        let refusal = Full::new(Bytes::from_static(
            b"these tools are not offered, or not to you",
        ));
        let mut refused = Response::new(refusal.boxed());
        *refused.status_mut() = StatusCode::UNAUTHORIZED;
        return refused;
    };
    // Each client numbers its calls, from the first. It is given a name with the first answer, and says it from then on.
    let known = request.headers_mut().remove(CLIENT);
    let known = known.filter(|client| client.len() <= LONGEST_CLIENT);
    let client = known.as_ref().and_then(|client| client.to_str().ok());
    let client: Arc<str> = match client {
        Some(client) => client.into(),
        None => Uuid::new_v4().to_string().into(),
    };
    let caller = Caller {
        calls,
        client: Arc::clone(&client),
    };
    request.extensions_mut().insert(caller);
    // What follows may log what it is given.
    request.headers_mut().remove(AUTHORIZATION);
    let mut answered = service.handle(request).await;
    if let Ok(client) = HeaderValue::from_str(&client) {
        answered.headers_mut().insert(CLIENT, client);
    }
    answered
}
