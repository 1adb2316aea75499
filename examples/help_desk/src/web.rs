//! The routes of the application. Those of the agent's conversations are opencode-axum's, under `/api`.

use async_trait::async_trait;
use axum::extract::{Form, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use opencode_axum::{Api, Authorize, Caller, Problem};
use opencode_host::client::wire::Prompt;
use opencode_host::store::{StoreError, Tenant};
use opencode_host::{Host, SubmitOptions};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::database::{Database, Ticket};
use crate::login::{User, sign_in, signed_in};

#[derive(Clone)]
pub(crate) struct App {
    pub(crate) database: Database,
    pub(crate) host: Host,
}

pub(crate) fn router(app: App, stop: CancellationToken) -> Router {
    let api = Api::new(app.host.clone(), app.clone()).shutdown(stop);
    Router::new()
        .route("/", get(async || Html(include_str!("page.html"))))
        .route("/login", post(login))
        .route("/tickets", get(tickets).post(open_ticket))
        .with_state(app)
        .nest("/api", opencode_axum::router(api))
}

impl App {
    async fn user(&self, headers: &HeaderMap) -> Result<User, Problem> {
        let user = signed_in(&self.database, headers).await.map_err(fault)?;
        user.ok_or_else(|| Problem::unauthenticated("Cookie"))
    }
}

/// Whoever is signed in sees the conversations of their company.
#[async_trait]
impl Authorize for App {
    async fn authorize(&self, request: &Parts) -> Result<Caller, Problem> {
        let user = self.user(&request.headers).await?;
        Ok(Caller::new(user.company).named(user.name))
    }
}

/// What the store refuses is told as the router tells it. Of a fault of ours the log has all, the browser no more than that.
fn fault(error: impl Into<anyhow::Error>) -> Problem {
    match error.into().downcast::<StoreError>() {
        Ok(refused) => refused.into(),
        Err(error) => {
            tracing::error!("{error:#}");
            Problem::internal()
        }
    }
}

#[derive(Deserialize)]
struct Login {
    name: String,
    password: String,
}

async fn login(State(app): State<App>, Form(login): Form<Login>) -> Result<Response, Problem> {
    let cookie = sign_in(&app.database, &login.name, login.password)
        .await
        .map_err(fault)?;
    Ok(match cookie {
        Some(cookie) => ([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response(),
        None => (
            StatusCode::UNAUTHORIZED,
            "Nobody of that name has this password.",
        )
            .into_response(),
    })
}

async fn tickets(State(app): State<App>, headers: HeaderMap) -> Result<Json<Vec<Ticket>>, Problem> {
    let user = app.user(&headers).await?;
    let tickets = app.database.tickets(&user.company).await;
    tickets.map(Json).map_err(fault)
}

#[derive(Deserialize)]
struct NewTicket {
    title: String,
    text: String,
}

async fn open_ticket(
    State(app): State<App>,
    headers: HeaderMap,
    Json(new): Json<NewTicket>,
) -> Result<Json<Ticket>, Problem> {
    let user = app.user(&headers).await?;
    let id = Uuid::now_v7().to_string();
    let tenant = Tenant::from(user.company.as_str());
    let opened = app
        .host
        .open_conversation(&tenant, &format!("ticket-{id}"))
        .await;
    let conversation = opened.map_err(fault)?.id;
    let prompt = Prompt::text(format!("{}\n\n{}", new.title, new.text));
    let turn = app
        .host
        .prepare(conversation, prompt, SubmitOptions::default())
        .await?;
    let ticket = Ticket {
        id,
        company: user.company,
        title: new.title,
        conversation: conversation.to_string(),
        turn: turn.id.to_string(),
        answer: String::new(),
    };
    app.database
        .open_ticket(&ticket, turn)
        .await
        .map_err(fault)?;
    Ok(Json(ticket))
}
