//! When a schedule is due: a cron expression, by the clock of a time zone.

use std::fmt;
use std::str::FromStr as _;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

use crate::clock::Timestamp;

/// The longest cron expression, in bytes.
const MAX_EXPRESSION: usize = 200;

/// A cron expression and the time zone whose clock it means.
///
/// The expression has five fields: minute, hour, day of the month, month and day of the week (0 or 7 is Sunday). Each takes
/// numbers, `*`, ranges `1-5`, steps `*/15` and lists of these; months and days have names too, `L` is the last of something,
/// and `5#2` the second Friday. `@hourly`, `@daily`, `@weekly`, `@monthly` and `@yearly` stand for what they say. Where both
/// day fields say something, either is enough, as in Vixie cron.
///
/// Where a clock is put forward over the time of a day, it is due as soon as the clock has been; where one is put back, a fixed time is due once.
///
/// ```
/// use opencode_host::clock::Timestamp;
/// use opencode_host::recurrence::Recurrence;
///
/// let mornings = Recurrence::parse("30 8 * * MON-FRI", "Europe/Berlin")?;
/// // Saturday, 2026-10-24, 12:00 UTC: summer time ends before Monday, 8:30 in Berlin.
/// let next = mornings.after(Timestamp(1_792_843_200_000));
/// assert_eq!(next, Some(Timestamp(1_792_999_800_000)));
/// # Ok::<(), opencode_host::recurrence::RecurrenceError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Recurrence {
    cron: Cron,
    zone: Tz,
}

/// Why there is no such [`Recurrence`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecurrenceError {
    /// It is no cron expression.
    #[error(
        "{expression:?} is no cron expression of five fields (minute, hour, day, month, day of the week), \
         such as \"30 8 * * MON-FRI\": {why}"
    )]
    Expression {
        /// What was given.
        expression: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is no such time zone.
    #[error(
        "there is no time zone {name:?}: give a name of the IANA database, such as \"Europe/Berlin\" or \"UTC\""
    )]
    TimeZone {
        /// What was given.
        name: String,
    },
}

impl Recurrence {
    /// Reads a cron expression and the name of a time zone of the IANA database.
    ///
    /// # Errors
    /// See [`RecurrenceError`].
    pub fn parse(expression: &str, time_zone: &str) -> Result<Self, RecurrenceError> {
        let no_expression = |why: String| RecurrenceError::Expression {
            expression: beginning(expression),
            why,
        };
        if expression.len() > MAX_EXPRESSION {
            return Err(no_expression(format!("it has over {MAX_EXPRESSION} bytes")));
        }
        let parser = CronParser::builder();
        let parser = parser.seconds(Seconds::Disallowed).year(Year::Disallowed);
        let cron = parser.build().parse(expression);
        let zone = Tz::from_str(time_zone).map_err(|_| RecurrenceError::TimeZone {
            name: beginning(time_zone),
        })?;
        Ok(Self {
            cron: cron.map_err(|error| no_expression(error.to_string()))?,
            zone,
        })
    }

    /// The first time behind a moment; `None` where none ever comes, as of the 30th of February.
    pub fn after(&self, moment: Timestamp) -> Option<Timestamp> {
        let moment = DateTime::<Utc>::from_timestamp_millis(moment.0)?.with_timezone(&self.zone);
        let next = self.cron.find_next_occurrence(&moment, false).ok()?;
        Some(Timestamp(next.timestamp_millis()))
    }
}

impl fmt::Display for Recurrence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.cron.pattern, self.zone)
    }
}

/// As much of a text as an error shows.
fn beginning(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The moment of an RFC 3339 text.
    fn at(text: &str) -> Timestamp {
        let moment = DateTime::parse_from_rfc3339(text).unwrap();
        Timestamp(moment.timestamp_millis())
    }

    /// The times behind a moment.
    fn times<const N: usize>(expression: &str, zone: &str, from: &str) -> [Option<Timestamp>; N] {
        let recurrence = Recurrence::parse(expression, zone).unwrap();
        let mut last = at(from);
        [(); N].map(|()| {
            last = recurrence.after(last)?;
            Some(last)
        })
    }

    fn expected<const N: usize>(texts: [&str; N]) -> [Option<Timestamp>; N] {
        texts.map(|text| Some(at(text)))
    }

    #[test]
    fn times_are_those_of_the_zones_clock() {
        assert_eq!(
            times(
                "30 8 * * MON-FRI",
                "Europe/Berlin",
                "2026-10-23T08:00:00+02:00"
            ),
            expected(["2026-10-23T08:30:00+02:00", "2026-10-26T08:30:00+01:00"])
        );
        // A quarter of an hour in a zone that is 45 minutes off.
        assert_eq!(
            times(
                "*/15 9 * * *",
                "Asia/Kathmandu",
                "2026-01-01T09:14:59+05:45"
            ),
            expected(["2026-01-01T09:15:00+05:45", "2026-01-01T09:30:00+05:45"])
        );
        assert_eq!(
            times("@daily", "UTC", "2026-02-28T12:00:00Z"),
            expected(["2026-03-01T00:00:00Z"])
        );
        assert_eq!(
            times("0 12 29 2 *", "UTC", "2026-01-01T00:00:00Z"),
            expected(["2028-02-29T12:00:00Z", "2032-02-29T12:00:00Z"])
        );
    }

    #[test]
    fn a_clock_that_is_put_forward_or_back_neither_loses_nor_doubles_a_fixed_time() {
        // 02:30 is not on the clock of that day.
        let spring = times("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00+01:00");
        assert_eq!(
            spring,
            expected(["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"])
        );
        // And is on that of this day twice.
        let autumn = times("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00+02:00");
        assert_eq!(
            autumn,
            expected(["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"])
        );
    }

    #[test]
    fn a_time_that_never_comes_is_none() {
        assert_eq!(times("0 0 30 2 *", "UTC", "2026-01-01T00:00:00Z"), [None]);
        let recurrence = Recurrence::parse("* * * * *", "UTC").unwrap();
        assert_eq!(recurrence.after(Timestamp(i64::MAX)), None);
        assert_eq!(recurrence.after(Timestamp(i64::MIN)), None);
    }

    #[test]
    fn what_is_no_expression_and_no_zone_is_told() {
        let long = "1,".repeat(200);
        for wrong in [
            "",
            " ",
            "* * * *",
            "* * * * * *",
            "0 0 * * * * 2027",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 8",
            "a b c d e",
            "*/0 * * * *",
            "5-1 * * * *",
            "@reboot",
            "@",
            "-1 * * * *",
            "99999999999999999999 * * * *",
            "\u{0}",
            "* * * * é",
            &long,
        ] {
            match Recurrence::parse(wrong, "UTC") {
                Err(RecurrenceError::Expression { .. }) => {}
                other => panic!("{wrong:?}: {other:?}"),
            }
        }
        for wrong in [
            "",
            "Mars/Olympus",
            "Europe/Berlin ",
            "+01:00",
            "local",
            &long,
        ] {
            let told = Recurrence::parse("* * * * *", wrong)
                .unwrap_err()
                .to_string();
            assert!(told.contains("IANA"), "{wrong:?}: {told}");
        }
    }
}
