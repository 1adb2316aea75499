//! Who is let in. With accounts, whoever has not signed in sees the page to do so, and nothing else.
//!
//! From the first user on a process asks for a login, and goes on to for as long as it runs: nobody opens the pages to
//! everybody by removing the last user. What cannot be looked up is not let in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};
use futures_util::stream::{self, StreamExt as _};
use tokio::time::{Instant, sleep_until};

use super::base_path::BasePath;
use super::in_words::sentence;
use super::next_page;
use super::problem::Problem;
use super::views::patch::is_script;
use super::visitor::Visitor;
use crate::people::{Accounts, PeopleError};

/// The cookie of a session.
pub(crate) const COOKIE: &str = "chat-session";
/// How often it is looked whether whoever reads a stream is still signed in.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What stands before the pages.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    accounts: Option<Accounts>,
    /// There was a user.
    is_used: Arc<AtomicBool>,
    base: BasePath,
}

impl Gate {
    pub(crate) fn new(accounts: Option<Accounts>, base: BasePath) -> Self {
        Self {
            accounts,
            is_used: Arc::default(),
            base,
        }
    }

    /// The accounts, if there are any.
    async fn accounts(&self) -> Result<Option<&Accounts>, PeopleError> {
        let Some(accounts) = &self.accounts else {
            return Ok(None);
        };
        if !self.is_used.load(Ordering::Relaxed) {
            if !accounts.are_used().await? {
                return Ok(None);
            }
            self.is_used.store(true, Ordering::Relaxed);
        }
        Ok(Some(accounts))
    }
}

/// Lets a request in as whoever makes it, or not.
pub(crate) async fn let_in(
    State(gate): State<Gate>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let Some(accounts) = gate.accounts().await? else {
        request.extensions_mut().insert(Visitor::local());
        return Ok(next.run(request).await);
    };
    let token = session_of(request.headers());
    let user = match &token {
        Some(token) => accounts.session(token).await?,
        None => None,
    };
    if let (Some(user), Some(token)) = (user, token) {
        request.extensions_mut().insert(Visitor::of(user));
        let response = next.run(request).await;
        return Ok(while_signed_in(response, accounts.clone(), token));
    }
    if is_open(request.uri().path()) {
        return Ok(next.run(request).await);
    }
    // A script, which follows no redirect, takes it for what it is, and keeps what was typed.
    let looks = matches!(*request.method(), Method::GET | Method::HEAD);
    if looks || is_script(request.headers()) {
        let wanted = if looks {
            request.uri().to_string()
        } else {
            String::new()
        };
        let login = next_page::login(&gate.base, &wanted);
        return Ok(Redirect::to(&login).into_response());
    }
    Err(Problem::signed_out())
}

/// What needs no login. The router of `/api` refuses whom the gate does not name, in its own words.
fn is_open(path: &str) -> bool {
    path == "/login"
        || path == "/health"
        || path == "/api"
        || path.starts_with("/assets/")
        || path.starts_with("/api/")
}

/// What a browser shows of its session.
pub(crate) fn session_of(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get_all(header::COOKIE).iter();
    let cookies = cookies.filter_map(|value| value.to_str().ok());
    let mut cookies = cookies.flat_map(|cookies| cookies.split(';'));
    let own = cookies.find_map(|cookie| {
        let (name, value) = cookie.trim().split_once('=')?;
        (name == COOKIE).then_some(value)
    });
    own.map(str::to_owned)
}

/// The cookie that a browser keeps of a session; none for one that has ended.
pub(crate) fn cookie(base: &BasePath, headers: &HeaderMap, token: Option<&str>) -> HeaderValue {
    let path = match base.to_string() {
        path if path.is_empty() => "/".to_owned(),
        path => path,
    };
    // A form says whether it was sent over https, also from behind a proxy.
    let origin = headers.get(header::ORIGIN).map(HeaderValue::as_bytes);
    let secure = if origin.is_some_and(|origin| origin.starts_with(b"https:")) {
        "; Secure"
    } else {
        ""
    };
    let (token, age) = match token {
        Some(token) => (token, crate::people::SESSION_KEPT.as_secs()),
        None => ("", 0),
    };
    let cookie =
        format!("{COOKIE}={token}; Path={path}; Max-Age={age}; HttpOnly; SameSite=Lax{secure}");
    // A path and a token are plain letters.
    HeaderValue::try_from(cookie).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// A stream ends when whoever reads it is not signed in any more.
fn while_signed_in(response: Response, accounts: Accounts, token: String) -> Response {
    let kind = response.headers().get(header::CONTENT_TYPE);
    let is_stream = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    if !is_stream {
        return response;
    }
    let (parts, body) = response.into_parts();
    let reading = Reading {
        body: body.into_data_stream(),
        accounts,
        token,
        look_at: Instant::now() + LOOK_EVERY,
    };
    let body = stream::unfold(reading, async |mut reading| {
        let piece = reading.next().await?;
        Some((piece, reading))
    });
    Response::from_parts(parts, Body::from_stream(body))
}

/// A stream under way.
struct Reading {
    body: BodyDataStream,
    accounts: Accounts,
    token: String,
    look_at: Instant,
}

impl Reading {
    async fn next(&mut self) -> Option<<BodyDataStream as futures_util::Stream>::Item> {
        loop {
            // A stream that is never silent is looked at too.
            tokio::select! {
                biased;
                () = sleep_until(self.look_at) => {}
                piece = self.body.next() => return piece,
            }
            match self.accounts.session(&self.token).await {
                Ok(None) => return None,
                Ok(Some(_)) => {}
                Err(error) => tracing::warn!(%error, "a stream's session"),
            }
            self.look_at = Instant::now() + LOOK_EVERY;
        }
    }
}

impl From<PeopleError> for Problem {
    fn from(error: PeopleError) -> Self {
        match error {
            PeopleError::Wrong => Self::new(
                StatusCode::UNAUTHORIZED,
                "Not signed in",
                "This name and this password do not belong together.",
            ),
            PeopleError::Wait(wait) => {
                let text = format!(
                    "Too many attempts have failed. Wait {} s, then try again.",
                    wait.as_secs() + 1
                );
                Self::new(StatusCode::TOO_MANY_REQUESTS, "Not so fast", text)
            }
            error @ PeopleError::Password => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "No password",
                sentence(&error),
            ),
            error => {
                tracing::error!(%error, "accounts");
                let text = "The accounts cannot be read. Try again in a moment.";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "Not right now", text)
            }
        }
    }
}
