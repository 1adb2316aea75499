//! What a request says, read so that whatever cannot be read is a problem document.

use std::convert::Infallible;
use std::str::FromStr;

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{
    DefaultBodyLimit, FromRequest, FromRequestParts, OptionalFromRequest, OriginalUri,
    Query as AxumQuery, RawPathParams, Request,
};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderMap};
use axum::http::request::Parts;
use opencode_host::store::MAX_KEY_CHARS;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use utoipa::{IntoParams, ToSchema};

use crate::problem::Problem;
use crate::settings::Settings;

/// The last parameter of a path, which is an id. What is no id names nothing.
#[derive(Debug)]
pub(crate) struct Id<T>(pub(crate) T);

impl<S, T> FromRequestParts<S> for Id<T>
where
    S: Send + Sync,
    T: FromStr,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let [last] = last_parameters(parts, state).await?;
        Ok(Self(id(&last)?))
    }
}

/// The last parameters of a path: those before are the application's, where it has mounted the router.
pub(crate) async fn last_parameters<S, const N: usize>(
    parts: &mut Parts,
    state: &S,
) -> Result<[String; N], Problem>
where
    S: Send + Sync,
{
    let all = RawPathParams::from_request_parts(parts, state).await;
    let all = all.map_err(|_| nowhere())?;
    let all: Vec<_> = all.iter().map(|(_, value)| value.to_owned()).collect();
    let last = all.last_chunk::<N>();
    last.cloned().ok_or_else(nowhere)
}

/// An id, as a path has it.
pub(crate) fn id<T: FromStr>(text: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| nowhere())
}

/// The address names nothing.
pub(crate) fn nowhere() -> Problem {
    Problem::not_found("There is nothing at this address.")
}

/// The caller's key of a request, by which the same request is known again: the header `Idempotency-Key`.
#[derive(Debug, IntoParams)]
#[into_params(names("idempotency-key"), parameter_in = Header)]
pub(crate) struct ClientKey(
    /// A key of the caller's own for this request.
    #[param(min_length = 1, max_length = 512)]
    pub(crate) Option<String>,
);

impl<S: Send + Sync> FromRequestParts<S> for ClientKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut keys = parts.headers.get_all("idempotency-key").iter();
        let (Some(key), more) = (keys.next(), keys.next()) else {
            return Ok(Self(None));
        };
        let key = key.to_str().ok().filter(|key| !key.is_empty());
        match key {
            Some(key) if more.is_none() => Ok(Self(Some(key.to_owned()))),
            _ => {
                let detail = "The Idempotency-Key is one text of visible ASCII characters.";
                Err(Problem::unreadable("bad_idempotency_key", detail))
            }
        }
    }
}

/// The last parameter of a path, which is a name.
#[derive(Debug)]
pub(crate) struct Name(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let [last] = last_parameters(parts, state).await?;
        // Nothing can have such a name, and Postgres has no character U+0000.
        if last.contains('\0') || last.chars().nth(MAX_KEY_CHARS).is_some() {
            return Err(nowhere());
        }
        Ok(Self(last))
    }
}

/// The path below which browsers see the router: `/api`.
#[derive(Clone, Debug)]
pub(crate) struct Mount(pub(crate) String);

impl FromRequestParts<Settings> for Mount {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &Settings) -> Result<Self, Infallible> {
        if let Some(path) = &state.seen_at {
            return Ok(Self(path.clone()));
        }
        let OriginalUri(all) = OriginalUri::from_request_parts(parts, state).await?;
        let mount = all.path().strip_suffix(parts.uri.path());
        Ok(Self(mount.unwrap_or_default().to_owned()))
    }
}

/// A body of JSON that is read in place, and of which much may be passed over.
#[derive(Debug)]
pub(crate) struct Borrowed(Bytes);

/// How many times as large as another body it may be.
const MORE: usize = 8;

impl FromRequest<Settings> for Borrowed {
    type Rejection = Problem;

    async fn from_request(mut request: Request, state: &Settings) -> Result<Self, Problem> {
        check_type(request.headers())?;
        DefaultBodyLimit::max(state.max_body.saturating_mul(MORE)).apply(&mut request);
        let body = Bytes::from_request(request, state).await;
        let body = body.map_err(|rejection| unread(rejection.status()))?;
        Ok(Self(body))
    }
}

impl Borrowed {
    pub(crate) fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Problem> {
        read(&self.0)
    }
}

/// JSON that is none, or says something else than is asked for.
pub(crate) fn unfit(what: &str, error: &serde_json::Error) -> Problem {
    let detail = format!("{what}: {error}.");
    if error.is_data() {
        Problem::unprocessable("bad_body", detail)
    } else {
        Problem::unreadable("bad_json", detail)
    }
}

/// The query of an address.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<S, T> FromRequestParts<S> for Query<T>
where
    S: Send + Sync,
    T: DeserializeOwned,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match AxumQuery::from_request_parts(parts, state).await {
            Ok(AxumQuery(query)) => Ok(Self(query)),
            Err(QueryRejection::FailedToDeserializeQueryString(error)) => {
                Err(Problem::unreadable("bad_query", error.body_text()))
            }
            Err(_) => Err(Problem::unreadable(
                "bad_query",
                "The query cannot be read.",
            )),
        }
    }
}

/// A body of JSON.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<S, T> FromRequest<S> for Json<T>
where
    S: Send + Sync,
    T: DeserializeOwned,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        check_type(request.headers())?;
        let body = Bytes::from_request(request, state).await;
        let body = body.map_err(|rejection| unread(rejection.status()))?;
        read(&body).map(Self)
    }
}

impl<S, T> OptionalFromRequest<S> for Json<T>
where
    S: Send + Sync,
    T: DeserializeOwned,
{
    type Rejection = Problem;

    /// No body is none, and needs no type.
    async fn from_request(request: Request, state: &S) -> Result<Option<Self>, Problem> {
        if request.headers().contains_key(CONTENT_TYPE) {
            let body = <Self as FromRequest<S>>::from_request(request, state).await?;
            return Ok(Some(body));
        }
        let body = Bytes::from_request(request, state).await;
        match body {
            Ok(body) if body.is_empty() => Ok(None),
            Ok(_) => Err(wrong_type("application/json")),
            Err(rejection) => Err(unread(rejection.status())),
        }
    }
}

/// Refuses a body that says to be something else than JSON.
fn check_type(headers: &HeaderMap) -> Result<(), Problem> {
    let kind = headers.get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(wrong_type("application/json"))
}

/// Reads JSON. All bodies are objects; a list of the values of one's fields would be read as well.
fn read<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, Problem> {
    if json.trim_ascii_start().starts_with(b"[") {
        let detail = "The body is a list, and is to be an object.";
        return Err(Problem::unprocessable("bad_body", detail));
    }
    serde_json::from_slice(json).map_err(|error| unfit("The body", &error))
}

/// A body that was not read to its end.
fn unread(status: StatusCode) -> Problem {
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        let detail = "The body is larger than this application takes.";
        return Problem::too_large("body_too_large", detail);
    }
    Problem::unreadable("cut_off", "The body could not be read to its end.")
}

/// What was sent is of another type than is taken.
pub(crate) fn wrong_type(wanted: &str) -> Problem {
    Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "wrong_content_type",
        "This is of another type",
        format!("Send {wanted}, and say so in the header Content-Type."),
    )
}

/// Reads a whole number, also one that is written with a fraction of zero: to JSON Schema that is an integer too.
pub(crate) fn whole<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<i64>,
{
    // Whole numbers up to there are exact.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let Some(number) = Option::<serde_json::Number>::deserialize(from)? else {
        return Ok(None);
    };
    let float = || {
        let float = number.as_f64()?;
        (float.fract() == 0.0 && float.abs() <= EXACT).then_some(float as i64)
    };
    let read = number.as_i64().or_else(float);
    let read = read.and_then(|number| T::try_from(number).ok());
    match read {
        Some(number) => Ok(Some(number)),
        None => Err(D::Error::custom(format_args!(
            "{number} is no whole number, or too large or small a one"
        ))),
    }
}

/// A text that a database can keep: Postgres has no character U+0000.
#[derive(Clone, Debug, Default, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, pattern = r"^[^\x00]*$")]
pub(crate) struct Text(pub(crate) String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        if text.contains('\0') {
            return Err(D::Error::custom("the character U+0000 cannot be kept"));
        }
        Ok(Self(text))
    }
}
