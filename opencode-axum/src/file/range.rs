//! Which bytes of a file a request asks for (RFC 9110, 13 and 14).

use std::ops::Range;

use axum::http::header::{HeaderMap, HeaderName, IF_NONE_MATCH, IF_RANGE, RANGE};

/// What to answer with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// 200, the whole.
    Whole,
    /// 206, these bytes.
    Part(Range<u64>),
    /// 304, nothing: the asker has it.
    Nothing,
    /// 416, nothing: there are no such bytes.
    Outside,
}

/// What these headers ask for, of a file of so many bytes under this entity tag.
pub(crate) fn asked(headers: &HeaderMap, tag: &str, size: u64) -> Asked {
    if let Some(known) = text(headers, &IF_NONE_MATCH)
        && known.split(',').any(|known| is_tag(known, tag))
    {
        return Asked::Nothing;
    }
    let Some(range) = text(headers, &RANGE) else {
        return Asked::Whole;
    };
    // A part of something else would not fit what the asker has. A date never matches: files here have none.
    if headers.contains_key(IF_RANGE) && text(headers, &IF_RANGE).map(str::trim) != Some(tag) {
        return Asked::Whole;
    }
    part(range, size).unwrap_or(Asked::Whole)
}

/// What a `Range` header says; `None` for several ranges, other units and what cannot be understood, all of which
/// may be answered with the whole.
fn part(range: &str, size: u64) -> Option<Asked> {
    let (unit, range) = range.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = range.trim().split_once('-')?;
    let range = if first.is_empty() {
        let length = number(last)?;
        size.saturating_sub(length)..size
    } else {
        let first = number(first)?;
        let last = if last.is_empty() {
            u64::MAX
        } else {
            number(last)?
        };
        if last < first {
            return None;
        }
        first..size.min(last.saturating_add(1))
    };
    Some(if range.is_empty() {
        Asked::Outside
    } else {
        Asked::Part(range)
    })
}

/// Digits alone; more of them than a number holds are the largest.
fn number(digits: &str) -> Option<u64> {
    let plain = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    plain.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// The weak comparison, which is the one for `If-None-Match`.
fn is_tag(known: &str, tag: &str) -> bool {
    let known = known.trim();
    known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: &str = "\"abc\"";

    fn headers(all: &[(HeaderName, &'static str)]) -> HeaderMap {
        let all = all
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()));
        all.collect()
    }

    #[test]
    fn ranges_are_what_the_standard_says() {
        use Asked::{Outside, Part, Whole};
        for (range, size, wanted) in [
            ("bytes=0-0", 10, Part(0..1)),
            ("bytes=0-9", 10, Part(0..10)),
            ("bytes=2-5", 10, Part(2..6)),
            ("bytes=5-", 10, Part(5..10)),
            ("bytes=9-100", 10, Part(9..10)),
            ("bytes=-3", 10, Part(7..10)),
            ("bytes=-30", 10, Part(0..10)),
            ("Bytes = 1-1", 10, Part(1..2)),
            ("bytes=0-99999999999999999999999999", 10, Part(0..10)),
            ("bytes=0-18446744073709551615", 10, Part(0..10)),
            ("bytes=10-", 10, Outside),
            ("bytes=10-20", 10, Outside),
            ("bytes=99999999999999999999999999-", 10, Outside),
            ("bytes=-0", 10, Outside),
            ("bytes=0-", 0, Outside),
            ("bytes=-1", 0, Outside),
            // Several are answered whole, as is what means nothing.
            ("bytes=0-1,3-4", 10, Whole),
            ("bytes=0-1, -1", 10, Whole),
            ("bytes=5-2", 10, Whole),
            ("bytes=-", 10, Whole),
            ("bytes=", 10, Whole),
            ("bytes=a-b", 10, Whole),
            ("bytes=+1-2", 10, Whole),
            ("bytes=1 - 2", 10, Whole),
            ("lines=0-1", 10, Whole),
            ("0-1", 10, Whole),
            ("", 10, Whole),
        ] {
            assert_eq!(
                asked(&headers(&[(RANGE, range)]), TAG, size),
                wanted,
                "{range} of {size}"
            );
        }
    }

    #[test]
    fn what_the_asker_has_decides_first() {
        use Asked::{Nothing, Part, Whole};
        let range = (RANGE, "bytes=0-0");
        for (all, wanted) in [
            (vec![(IF_NONE_MATCH, "\"abc\"")], Nothing),
            (vec![(IF_NONE_MATCH, "W/\"abc\"")], Nothing),
            (vec![(IF_NONE_MATCH, "\"x\", \"abc\"")], Nothing),
            (vec![(IF_NONE_MATCH, "*"), range.clone()], Nothing),
            (vec![(IF_NONE_MATCH, "\"ab\"")], Whole),
            (vec![(IF_NONE_MATCH, "abc"), range.clone()], Part(0..1)),
            (vec![(IF_RANGE, "\"abc\""), range.clone()], Part(0..1)),
            (vec![(IF_RANGE, "\"abd\""), range.clone()], Whole),
            (vec![(IF_RANGE, "W/\"abc\""), range.clone()], Whole),
            (
                vec![(IF_RANGE, "Sun, 22 Nov 2026 08:00:00 GMT"), range],
                Whole,
            ),
            (vec![(IF_RANGE, "\"abc\"")], Whole),
        ] {
            assert_eq!(asked(&headers(&all), TAG, 10), wanted, "{all:?}");
        }
    }
}
