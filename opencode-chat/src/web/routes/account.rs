//! `/login`, `/logout`, `/password`: forms, as they work without a script too.

use std::net::IpAddr;

use askama::Template;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use serde::Deserialize;

use crate::people::{Accounts, PeopleError};
use crate::web::app::{Mine, Shared};
use crate::web::base_path::BasePath;
use crate::web::form::fields::Fields;
use crate::web::gate::{cookie, session_of};
use crate::web::next_page;
use crate::web::peer::Peer;
use crate::web::problem::Problem;
use crate::web::reader::Reader;
use crate::web::views::layout::Shell;

#[derive(Template)]
#[template(path = "login.html")]
struct Login<'a> {
    base: &'a BasePath,
    name: &'a str,
    next: &'a str,
    error: &'a str,
}

/// Where to go on.
#[derive(Debug, Deserialize)]
pub(crate) struct Asked {
    next: Option<String>,
}

/// `GET /login`
pub(crate) async fn ask(
    State(shared): State<Shared>,
    Query(asked): Query<Asked>,
) -> Result<Html<String>, Problem> {
    accounts(&shared).await?;
    let page = Login {
        base: shared.base(),
        name: "",
        next: asked
            .next
            .as_deref()
            .and_then(next_page::checked)
            .unwrap_or("/"),
        error: "",
    };
    Ok(Html(page.render()?))
}

/// The accounts, where there are any.
async fn accounts(shared: &Shared) -> Result<Accounts, Problem> {
    let accounts = shared.accounts().ok_or_else(Problem::no_such_page)?;
    if accounts.are_used().await? {
        Ok(accounts.clone())
    } else {
        Err(Problem::no_such_page())
    }
}

/// `POST /login`
pub(crate) async fn sign_in(
    State(shared): State<Shared>,
    Peer(peer): Peer,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    let accounts = accounts(&shared).await?;
    let (name, given) = (
        fields.first("name").unwrap_or_default(),
        fields.first("password").unwrap_or_default(),
    );
    let next = fields.first("next").unwrap_or("/");
    let known = match accounts.know(name, given, &address(peer, &headers)).await {
        Ok(known) => known,
        Err(error @ (PeopleError::Wrong | PeopleError::Wait(_))) => {
            let problem = Problem::from(error);
            let page = Login {
                base: shared.base(),
                name,
                next: next_page::checked(next).unwrap_or("/"),
                error: &problem.text,
            };
            return Ok((problem.status, Html(page.render()?)).into_response());
        }
        Err(error) => return Err(error.into()),
    };
    // Whoever had this browser before is not signed in in it any more.
    if let Some(before) = session_of(&headers) {
        accounts.end_session(&before).await?;
    }
    let token = accounts.begin_session(&known).await?;
    let cookie = cookie(shared.base(), &headers, Some(&token));
    let next = next_page::after(shared.base(), next);
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to(&next)).into_response())
}

/// Where somebody comes from. A proxy on this machine says whom it stands for.
fn address(peer: Option<IpAddr>, headers: &HeaderMap) -> String {
    let passed = headers.get_all("x-forwarded-for").iter().next_back();
    let passed = passed.and_then(|passed| passed.to_str().ok()?.rsplit(',').next());
    let passed = passed.and_then(|passed| passed.trim().parse::<IpAddr>().ok());
    let address = match peer {
        Some(peer) if !peer.to_canonical().is_loopback() => Some(peer),
        peer => passed.or(peer),
    };
    match address.map(|address| address.to_canonical()) {
        // One household has all addresses that begin so.
        Some(IpAddr::V6(address)) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
        Some(address) => address.to_string(),
        None => "unknown".to_owned(),
    }
}

/// `POST /logout`
pub(crate) async fn sign_out(
    State(shared): State<Shared>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let accounts = accounts(&shared).await?;
    if let Some(token) = session_of(&headers) {
        accounts.end_session(&token).await?;
    }
    let gone = cookie(shared.base(), &headers, None);
    let login = next_page::login(shared.base(), "");
    Ok(([(header::SET_COOKIE, gone)], Redirect::to(&login)).into_response())
}

#[derive(Template)]
#[template(path = "password.html")]
struct Password {
    base: BasePath,
    shell: Shell,
    name: String,
    error: String,
    done: bool,
}

/// `GET /password`
pub(crate) async fn password(Mine(app): Mine, reader: Reader) -> Result<Html<String>, Problem> {
    let name = app.visitor.name().ok_or_else(Problem::no_such_page)?;
    let page = Password {
        base: app.base.clone(),
        shell: Shell::new(&app, reader, None).await?,
        name: name.to_owned(),
        error: String::new(),
        done: false,
    };
    Ok(Html(page.render()?))
}

/// `POST /password`: this browser stays signed in, and no other.
pub(crate) async fn change_password(
    Mine(app): Mine,
    reader: Reader,
    Peer(peer): Peer,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    let (Some(accounts), Some(name)) = (&app.accounts, app.visitor.name()) else {
        return Err(Problem::no_such_page());
    };
    let field = |name| fields.first(name).unwrap_or_default();
    let changed = async {
        if field("new") != field("again") {
            let text = "The new password was not typed twice in the same way.";
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            return Err(Problem::new(status, "Nothing was changed", text));
        }
        let from = address(peer, &headers);
        let known = accounts.know(name, field("password"), &from).await;
        let known = known.map_err(|error| match error {
            PeopleError::Wrong => Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "Nothing was changed",
                "This is not the password that you have.",
            ),
            error => error.into(),
        })?;
        let known = accounts.change_password(&known, field("new")).await?;
        Ok(accounts.begin_session(&known).await?)
    };
    let changed: Result<String, Problem> = changed.await;
    let (error, status) = match &changed {
        Ok(_) => (String::new(), StatusCode::OK),
        Err(problem) => (problem.text.clone(), problem.status),
    };
    let page = Password {
        base: app.base.clone(),
        shell: Shell::new(&app, reader, None).await?,
        name: name.to_owned(),
        error,
        done: changed.is_ok(),
    };
    let mut response = (status, Html(page.render()?)).into_response();
    if let Ok(token) = changed {
        let cookie = cookie(&app.base, &headers, Some(&token));
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(response)
}
