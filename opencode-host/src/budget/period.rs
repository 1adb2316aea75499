//! Calendar days and months, in UTC.

use std::fmt;

use chrono::{DateTime, Datelike as _, Days, Months, NaiveDate, NaiveTime};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// How long an allowance of a tenant lasts, before there is a new one: calendar days and months, in UTC.
///
/// ```
/// use opencode_host::budget::Period;
/// use opencode_host::clock::Timestamp;
///
/// let moment = Timestamp(1_709_251_199_999); // 2024-02-29, the last millisecond.
/// assert_eq!(Period::Day.end(moment), Timestamp(1_709_251_200_000));
/// assert_eq!(Period::Month.start(moment), Timestamp(1_706_745_600_000));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Period {
    /// A day.
    Day,
    /// A month.
    #[default]
    Month,
}

impl Period {
    /// When the period began that `now` is in.
    pub fn start(self, now: Timestamp) -> Timestamp {
        let first = self.first_day(now);
        first.map_or(Timestamp(0), midnight)
    }

    /// When the next period begins.
    pub fn end(self, now: Timestamp) -> Timestamp {
        let first = self.first_day(now);
        let next = first.and_then(|first| match self {
            Self::Day => first.checked_add_days(Days::new(1)),
            Self::Month => first.checked_add_months(Months::new(1)),
        });
        next.map_or(Timestamp(i64::MAX), midnight)
    }

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// `None` for a time so far away that no calendar has it.
    fn first_day(self, now: Timestamp) -> Option<NaiveDate> {
        let day = DateTime::from_timestamp_millis(now.0)?.date_naive();
        match self {
            Self::Day => Some(day),
            Self::Month => day.with_day(1),
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn midnight(day: NaiveDate) -> Timestamp {
    Timestamp(day.and_time(NaiveTime::MIN).and_utc().timestamp_millis())
}

/// A moment as people read it: `2026-12-01 00:00 UTC`.
pub(super) fn told(moment: Timestamp) -> String {
    DateTime::from_timestamp_millis(moment.0).map_or_else(
        || "some day".to_owned(),
        |moment| moment.format("%Y-%m-%d %H:%M UTC").to_string(),
    )
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
    fn a_period_is_of_the_calendar() {
        let moment = at("2026-12-31T23:59:59.999Z");
        assert_eq!(Period::Day.start(moment), at("2026-12-31T00:00:00Z"));
        assert_eq!(Period::Month.start(moment), at("2026-12-01T00:00:00Z"));
        for period in [Period::Day, Period::Month] {
            let next = period.end(moment);
            assert_eq!(next, at("2027-01-01T00:00:00Z"));
            // Its first moment is in it.
            assert_eq!(period.start(next), next);
        }
        assert_eq!(told(moment), "2026-12-31 23:59 UTC");
    }

    #[test]
    fn no_time_is_too_far_away() {
        for far in [i64::MIN, i64::MAX, 0, -1] {
            for period in [Period::Day, Period::Month] {
                let far = Timestamp(far);
                assert!(period.start(far) <= period.end(far));
                told(far);
            }
        }
    }
}
