//! The fields of a form.

use axum::Form;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;

use crate::web::problem::Problem;

/// The most fields of a form: of a few bytes each, its text would make far more of them than anybody fills in.
const MAX_FIELDS: usize = 1024;

/// Names and values, in order. A name may come more than once.
#[derive(Debug)]
pub(crate) struct Fields(Vec<(String, String)>);

impl Fields {
    /// These fields.
    pub(crate) fn new(fields: Vec<(String, String)>) -> Self {
        Self(fields)
    }

    /// The first value of this name that holds more than white space.
    pub(crate) fn first(&self, name: &str) -> Option<&str> {
        let mut all = self
            .0
            .iter()
            .filter(|(known, _)| known == name)
            .map(|(_, value)| value.as_str());
        all.find(|value| !value.trim().is_empty())
    }

    /// The values of this name, empty ones left out.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.0.iter().filter(move |(known, _)| known == name);
        named
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.trim().is_empty())
    }

    /// The first value of this name, taken out.
    pub(crate) fn take(&mut self, name: &str) -> String {
        let at = self.0.iter().position(|(known, _)| known == name);
        at.map(|at| self.0.swap_remove(at).1).unwrap_or_default()
    }
}

impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let whole = Request::from_parts(parts.clone(), body);
        let bytes = match Bytes::from_request(whole, state).await {
            Ok(bytes) => bytes,
            Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                return Err(Problem::too_much());
            }
            Err(rejection) => return Err(unreadable(&rejection, rejection.status())),
        };
        if memchr::memchr_iter(b'&', &bytes).count() >= MAX_FIELDS {
            return Err(Problem::too_much());
        }
        let request = Request::from_parts(parts, Body::from(bytes));
        match Form::from_request(request, state).await {
            Ok(Form(fields)) => Ok(Self(fields)),
            Err(rejection) => Err(unreadable(&rejection, rejection.status())),
        }
    }
}

fn unreadable(rejection: &dyn std::fmt::Display, status: StatusCode) -> Problem {
    tracing::debug!(%rejection, "form");
    Problem::unreadable_form(status)
}
