//! What a browser says of whoever reads there, in cookies that the page's script sets.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use chrono::{DateTime, NaiveDate, TimeDelta};
use opencode_host::clock::Timestamp;

/// The most that a clock is before or behind UTC, in minutes.
const MAX_OFFSET: i64 = 16 * 60;

/// How somebody reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reader {
    /// How many minutes the reader's clock is before UTC.
    offset: i64,
}

impl<S: Sync> FromRequestParts<S> for Reader {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let cookies = parts.headers.get_all(header::COOKIE).iter();
        let cookies = cookies.filter_map(|value| value.to_str().ok());
        Ok(Self::of(cookies.flat_map(|cookies| cookies.split(';'))))
    }
}

impl Reader {
    fn of<'a>(cookies: impl Iterator<Item = &'a str>) -> Self {
        let mut reader = Self::default();
        for (name, value) in cookies.filter_map(|cookie| cookie.trim().split_once('=')) {
            if name == "chat-offset"
                && let Ok(offset) = value.parse::<i64>()
                && offset.abs() <= MAX_OFFSET
            {
                reader.offset = offset;
            }
        }
        reader
    }

    /// The day that a moment is on where the reader is.
    fn day(self, moment: Timestamp) -> Option<NaiveDate> {
        let moment = DateTime::from_timestamp_millis(moment.0)?;
        let moment = moment.checked_add_signed(TimeDelta::minutes(self.offset))?;
        Some(moment.date_naive())
    }

    /// The words for when something was, as it stands above what was then.
    pub(crate) fn when(self, now: Timestamp, then: Timestamp) -> String {
        let (Some(today), Some(day)) = (self.day(now), self.day(then)) else {
            return "Some day".to_owned();
        };
        match today.signed_duration_since(day).num_days() {
            ..=0 => "Today".to_owned(),
            1 => "Yesterday".to_owned(),
            2..=7 => "Previous 7 days".to_owned(),
            8..=30 => "Previous 30 days".to_owned(),
            _ => day.format("%B %Y").to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp(
            DateTime::parse_from_rfc3339(text)
                .unwrap()
                .timestamp_millis(),
        )
    }

    #[test]
    fn days_are_those_of_the_reader() {
        let now = at("2026-03-02T00:30:00Z");
        let reader = |cookies: &str| Reader::of(cookies.split(';'));
        for (cookies, then, told) in [
            ("", "2026-03-02T00:10:00Z", "Today"),
            ("", "2026-03-03T00:10:00Z", "Today"),
            ("", "2026-03-01T23:50:00Z", "Yesterday"),
            ("a=b; chat-offset=60", "2026-03-01T23:50:00Z", "Today"),
            ("chat-offset=-60", "2026-03-01T00:50:00Z", "Yesterday"),
            ("chat-offset=x", "2026-02-23T00:00:00Z", "Previous 7 days"),
            (
                "chat-offset=9999",
                "2026-02-22T00:00:00Z",
                "Previous 30 days",
            ),
            ("", "2025-12-24T00:00:00Z", "December 2025"),
        ] {
            assert_eq!(reader(cookies).when(now, at(then)), told, "{then}");
        }
        for far in [i64::MIN, i64::MAX] {
            reader("chat-offset=60").when(Timestamp(far), Timestamp(!far));
        }
    }
}
