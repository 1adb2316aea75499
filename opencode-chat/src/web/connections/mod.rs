//! The connections of browsers: how many, how long, and until when.
//!
//! A client that waits costs a descriptor and some memory, and nothing makes it go on. So each of its waits has a
//! bound ([`seats`]), the number of connections has one, and when that is reached the one that has waited longest
//! makes room: a thousand idle clients lock nobody out. A few further connections answer `/health` alone, so
//! that whoever watches over the process hears from it while all others are at work.
//!
//! Live streams wait for the agent, not for the client. They have no end of their own, and a share of the connections
//! that leaves room for pages ([`Bounds::streams`]).

mod body;
mod bounds;
mod seats;
mod socket;
#[cfg(test)]
mod tests;

use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::peer::Peer;
use super::problem::Problem;
use body::{Received, Sent};
pub(super) use bounds::Bounds;
use seats::{Place, Seats, Ticket};
use socket::Watched;

/// The most bytes of a request's head, and of a body that are held unread.
const MAX_HEAD: usize = 64 << 10;
/// How long requests under way have to end once the application is told to stop.
const GRACE: Duration = Duration::from_secs(10);
/// How long nothing is accepted after the system had no descriptor, or no memory, for it.
const PAUSE: Duration = Duration::from_millis(100);
/// How often waits are looked at.
const TICK: Duration = Duration::from_secs(1);

/// A request that came by a connection of the reserve.
#[derive(Clone, Copy, Debug)]
struct Crowded;

/// Answers `/health` alone where all other connections are taken.
pub(super) async fn room(request: Request, next: Next) -> Response {
    let is_crowded = request.extensions().get::<Crowded>().is_some();
    if is_crowded && request.uri().path() != "/health" {
        return Problem::crowded().into_response();
    }
    next.run(request).await
}

/// Serves until `shutdown`, and then what is under way, for [`GRACE`] at most.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
    shutdown: CancellationToken,
) {
    let seats = Seats::new(bounds);
    let tasks = TaskTracker::new();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut out_of_descriptors = false;
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            _ = ticks.tick() => {
                seats.end_overdue();
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => {
                out_of_descriptors = false;
                if let Err(error) = set_up(&stream) {
                    // The client is gone again.
                    tracing::debug!(%error, "connection");
                    continue;
                }
                // Without a ticket it is closed: every other one is at work.
                if let Some(ticket) = seats.admit() {
                    let router = router.clone();
                    tasks.spawn(attend(stream, from.ip(), ticket, router, shutdown.clone()));
                }
            }
            Err(error) if is_of_client(&error) => tracing::debug!(%error, "accept"),
            Err(error) => {
                if !std::mem::replace(&mut out_of_descriptors, true) {
                    tracing::warn!(%error, "no connection can be accepted for now");
                }
                seats.make_room();
                sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    tasks.close();
    if timeout(GRACE, tasks.wait()).await.is_err() {
        tracing::warn!(left = tasks.len(), "requests under way were cut off");
        seats.end_all();
        tasks.wait().await;
    }
}

/// Errors of one connection that was gone before it was taken.
fn is_of_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

/// Finds out about clients that are gone without a word, within three minutes.
fn set_up(stream: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, Duration::from_secs(60))?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(20))?;
    sockopt::set_tcp_keepcnt(stream, 6)?;
    Ok(())
}

/// Serves one connection to its end.
async fn attend(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    from: IpAddr,
    ticket: Ticket,
    router: Router,
    shutdown: CancellationToken,
) {
    let seat = Arc::clone(ticket.seat());
    let io = TokioIo::new(Watched::new(stream, Arc::clone(&seat)));
    let router = TowerToHyperService::new(router);
    let is_reserve = ticket.place() == Place::Reserve;
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        seat.work();
        let mut request = request.map(|body| Received::new(body, Arc::clone(&seat)));
        request.extensions_mut().insert(Peer(Some(from)));
        if is_reserve {
            request.extensions_mut().insert(Crowded);
        }
        let answer = hyper::service::Service::call(&router, request);
        let seat = Arc::clone(&seat);
        async move {
            let mut response = answer.await?;
            if is_reserve {
                let close = axum::http::HeaderValue::from_static("close");
                response
                    .headers_mut()
                    .insert(axum::http::header::CONNECTION, close);
            }
            Ok::<_, std::convert::Infallible>(response.map(|body| Sent::new(body, seat)))
        }
    });
    let mut builder = http1::Builder::new();
    // The seat's waits are looked at by one who knows them all.
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(MAX_HEAD);
    let mut connection = pin!(builder.serve_connection(io, service));
    let stopped = async {
        shutdown.cancelled().await;
        // A request that has not come whole was never taken.
        if seat.waits_for_request() {
            seat.end();
        }
    };
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = seat.ended() => return,
        () = stopped => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                served = connection => served,
                () = seat.ended() => return,
            }
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "connection");
    }
}
