//! The application's own users: who has which token, and whose conversation is which.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Form, FromRequestParts, State};
use axum::http::{StatusCode, header, request::Parts};
use axum::response::{IntoResponse as _, Redirect, Response};
use opencode_host::id::ConversationId;
use opencode_host::store::Tenant;
use serde::Deserialize;
use uuid::Uuid;

use super::App;
use super::failure::Failure;

/// The users table, by token. A real one is in the application's database.
pub(crate) type Users = Arc<Mutex<HashMap<String, User>>>;

/// One row of the users table.
#[derive(Clone)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) conversation: ConversationId,
}

#[derive(Deserialize)]
pub(crate) struct SignIn {
    name: String,
}

/// Signs somebody in. A real application checks a password here.
pub(crate) async fn sign_in(
    State(app): State<App>,
    Form(form): Form<SignIn>,
) -> Result<Response, Failure> {
    let token = Uuid::new_v4().to_string();
    let conversation = app
        .host
        .open_conversation(&Tenant::default(), &form.name)
        .await?
        .id;
    let user = User {
        name: form.name,
        conversation,
    };
    app.users
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(token.clone(), user);
    let cookie = format!("token={token}; HttpOnly; SameSite=Strict; Path=/");
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response())
}

/// Every other route needs somebody.
impl FromRequestParts<App> for User {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let cookies = parts
            .headers
            .get(header::COOKIE)
            .and_then(|value| value.to_str().ok());
        let token = cookies
            .unwrap_or_default()
            .split("; ")
            .find_map(|pair| pair.strip_prefix("token="));
        let users = app.users.lock().unwrap_or_else(PoisonError::into_inner);
        token
            .and_then(|token| users.get(token))
            .cloned()
            .ok_or(Failure(StatusCode::UNAUTHORIZED))
    }
}
