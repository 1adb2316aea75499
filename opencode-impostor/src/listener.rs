//! The socket: accepts connections, and does to each request what the faults say.
//!
//! Connections are served by hyper directly, because a fault must be able to close one without an answer, and a dying
//! server must take all of them with it.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use base64::Engine as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::faults::Action;
use crate::ledger::{self, Outcome};
use crate::odd;
use crate::prefixed::{Prefix, Prefixed};
use crate::requests::RequestNumber;
use crate::routes;
use crate::state::World;

/// A request body larger than this is refused: 64 MiB.
const BODY_LIMIT: usize = 64 << 20;

/// Serves until the world's present life is over, then closes everything at once.
pub(crate) async fn serve(world: Arc<World>, listener: TcpListener) {
    let life = world.life();
    let router = routes::router(world.clone());
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = life.cancelled() => break,
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        let Ok((socket, _)) = accepted else {
            // Out of file descriptors: let connections end first.
            tokio::task::yield_now().await;
            continue;
        };
        socket.set_nodelay(true).ok();
        let world = world.clone();
        let router = router.clone();
        connections.spawn(async move {
            let prefix = Prefix::default();
            let socket = Prefixed::new(socket, prefix.clone());
            let service = service_fn(move |request| {
                handle(world.clone(), router.clone(), prefix.clone(), request)
            });
            // An error here is a connection that a fault or the client closed.
            http1::Builder::new()
                .serve_connection(TokioIo::new(socket), service)
                .await
                .ok();
        });
    }
    drop(listener);
    connections.shutdown().await;
    world.die().await;
}

/// Closes the connection instead of answering.
#[derive(Debug)]
struct Dropped;

impl std::fmt::Display for Dropped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a fault dropped the connection")
    }
}

impl std::error::Error for Dropped {}

async fn handle(
    world: Arc<World>,
    router: Router,
    prefix: Prefix,
    request: Request<Incoming>,
) -> Result<Response<Body>, Dropped> {
    let (mut head, body) = request.into_parts();
    let body = axum::body::to_bytes(Body::new(body), BODY_LIMIT)
        .await
        .map_err(|_| Dropped)?;
    let method = head.method.as_str().to_owned();
    let path = head.uri.path().to_owned();
    let (number, actions, refused) = world.update(|state| {
        let number = state.ledger.record(ledger::Request {
            at_ms: world.elapsed_ms(),
            method: method.clone(),
            path: path.clone(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            body: readable(&body),
            outcome: Outcome::Pending,
        });
        let actions = state.faults.on_request(&method, &path);
        (number, actions, state.faults.refuses_auth())
    });
    head.extensions.insert(RequestNumber(number));

    for action in &actions {
        match action {
            Action::LoseRequest => {
                world.update(|state| state.ledger.set_outcome(number, Outcome::RequestLost));
                return Err(Dropped);
            }
            Action::Swallow => std::future::pending().await,
            Action::Informational(status) => {
                prefix.push(format!("HTTP/1.1 {status} Informational\r\n\r\n").as_bytes());
            }
            Action::Delay(ms) => tokio::time::sleep(std::time::Duration::from_millis(*ms)).await,
            Action::Hold(gate) => world.pass(gate).await,
            Action::Answer {
                status,
                content_type,
                body,
            } => {
                return Ok(finish(&world, number, canned(*status, content_type, body)));
            }
            _ => {}
        }
    }

    let mut response = if refused || !authorized(&world, head.headers.get(header::AUTHORIZATION)) {
        unauthorized()
    } else {
        let request = Request::from_parts(head, Body::from(body));
        match TowerToHyperService::new(router).call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    };

    for action in &actions {
        match action {
            Action::LoseResponse => {
                world.update(|state| state.ledger.set_outcome(number, Outcome::ResponseLost));
                return Err(Dropped);
            }
            Action::CutResponse => {
                world.update(|state| state.ledger.set_outcome(number, Outcome::ResponseLost));
                return Ok(half_of(response).await);
            }
            Action::SwallowResponse => std::future::pending().await,
            Action::DelayResponse(ms) => {
                tokio::time::sleep(std::time::Duration::from_millis(*ms)).await;
            }
            Action::HoldResponse(gate) => world.pass(gate).await,
            Action::AnswerAfter {
                status,
                content_type,
                body,
            } => response = canned(*status, content_type, body),
            _ => {}
        }
    }
    Ok(finish(&world, number, with_odd_json(response).await))
}

/// Puts in what no serialiser writes; see [`odd`].
async fn with_odd_json(response: Response<Body>) -> Response<Body> {
    let json = response.headers().get(header::CONTENT_TYPE);
    if json.is_none_or(|kind| kind != "application/json") {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX)
        .await
        .unwrap_or_default();
    let odd = match std::str::from_utf8(&body).map(odd::on_wire) {
        Ok(std::borrow::Cow::Owned(text)) => Body::from(text),
        _ => return Response::from_parts(head, Body::from(body)),
    };
    head.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(head, odd)
}

fn finish(world: &World, number: usize, response: Response<Body>) -> Response<Body> {
    let status = response.status().as_u16();
    world.update(|state| {
        state.ledger.set_outcome(number, Outcome::Answered(status));
    });
    response
}

fn readable(body: &Bytes) -> Value {
    if body.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(body)
        .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(body).into_owned()))
}

fn authorized(world: &World, header: Option<&HeaderValue>) -> bool {
    let Some(password) = &world.config.password else {
        return true;
    };
    let expected = base64::engine::general_purpose::STANDARD
        .encode(format!("{}:{password}", world.config.username));
    header
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .is_some_and(|(scheme, given)| scheme.eq_ignore_ascii_case("basic") && given == expected)
}

fn unauthorized() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    response.headers_mut().insert(
        header::WWW_AUTHENTICATE,
        HeaderValue::from_static("Basic realm=\"Secure Area\""),
    );
    response
}

fn canned(status: u16, content_type: &str, body: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_owned()));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Ok(value) = HeaderValue::from_str(content_type) {
        response.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    response
}

/// Announces the whole body, sends half of it, and breaks off.
async fn half_of(response: Response<Body>) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    let whole = axum::body::to_bytes(body, BODY_LIMIT)
        .await
        .unwrap_or_default();
    head.headers
        .insert(header::CONTENT_LENGTH, HeaderValue::from(whole.len()));
    let half = whole.slice(..whole.len() / 2);
    let pieces = [
        Ok(half),
        Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)),
    ];
    Response::from_parts(head, Body::from_stream(futures_util::stream::iter(pieces)))
}
