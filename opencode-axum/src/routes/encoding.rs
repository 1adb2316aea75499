//! In which encoding a turn is streamed: said by the query, or by the header `Accept`.

use axum::http::StatusCode;
use axum::http::header::{ACCEPT, HeaderMap};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::Error;
use utoipa::ToSchema;

use crate::problem::Problem;

/// An encoding of the stream of a turn: every change; or a UI message stream of the AI SDK.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Encoding {
    Changes,
    UiMessages,
}

/// What is wanted: by the query, else by `Accept: text/event-stream; encoding=ui-messages`, else every change.
pub(crate) fn wanted(query: Option<Encoding>, headers: &HeaderMap) -> Result<Encoding, Problem> {
    let mut refused = None;
    for range in headers.get_all(ACCEPT) {
        let range = range.to_str().unwrap_or_default();
        for range in range.split(',') {
            match accepted(range) {
                Ok(Some(encoding)) => return Ok(query.unwrap_or(encoding)),
                Ok(None) => {}
                Err(encoding) => refused = Some(format!("There is no encoding {encoding:?}.")),
            }
            refused.get_or_insert_with(|| "This is a text/event-stream.".to_owned());
        }
    }
    match (query, refused) {
        (_, Some(detail)) => Err(Problem::new(
            StatusCode::NOT_ACCEPTABLE,
            "not_acceptable",
            "Not in this form",
            detail,
        )),
        (Some(query), None) => Ok(query),
        (None, None) => Ok(Encoding::Changes),
    }
}

/// The encoding that a media range accepts; `None` where it is of another type.
fn accepted(range: &str) -> Result<Option<Encoding>, &str> {
    let mut parts = range.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default();
    if !["text/event-stream", "text/*", "*/*"].contains(&kind.to_ascii_lowercase().as_str()) {
        return Ok(None);
    }
    let named = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        let is_it = name.trim().eq_ignore_ascii_case("encoding");
        is_it.then(|| value.trim().trim_matches('"'))
    });
    let Some(named) = named else {
        return Ok(Some(Encoding::Changes));
    };
    let encoding = Encoding::deserialize(IntoDeserializer::<Error>::into_deserializer(named));
    encoding.map(Some).map_err(|_| named)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: Option<Encoding>, accept: &[&str]) -> Option<Encoding> {
        let mut headers = HeaderMap::new();
        for accept in accept {
            headers.append(ACCEPT, accept.parse().unwrap());
        }
        wanted(query, &headers).ok()
    }

    #[test]
    fn the_query_decides_then_the_header() {
        use Encoding::{Changes, UiMessages};
        for (query, accept, expected) in [
            (None, &[][..], Some(Changes)),
            (Some(UiMessages), &[], Some(UiMessages)),
            (None, &["*/*"], Some(Changes)),
            (None, &["text/event-stream"], Some(Changes)),
            (
                None,
                &["text/event-stream; encoding=ui-messages"],
                Some(UiMessages),
            ),
            (
                None,
                &["TEXT/event-stream;Encoding=\"ui-messages\";q=1"],
                Some(UiMessages),
            ),
            (
                None,
                &["text/html, text/event-stream;encoding=ui-messages"],
                Some(UiMessages),
            ),
            (None, &["text/html", "*/*;q=0.1"], Some(Changes)),
            (Some(UiMessages), &["text/event-stream"], Some(UiMessages)),
            (
                Some(Changes),
                &["text/event-stream;encoding=ui-messages"],
                Some(Changes),
            ),
            (None, &["text/html"], None),
            (Some(Changes), &["application/json"], None),
            (None, &["text/event-stream;encoding=morse"], None),
            (
                None,
                &["text/event-stream;encoding=morse", "*/*"],
                Some(Changes),
            ),
            (None, &[""], None),
        ] {
            assert_eq!(of(query, accept), expected, "{query:?} {accept:?}");
        }
    }
}
