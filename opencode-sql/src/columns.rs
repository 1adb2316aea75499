//! How values stand in columns, on both databases alike.
//!
//! What has more than one field is JSON, which never holds the character NUL as
//! such. Other text that people or programs outside wrote goes through
//! [`escape`], because Postgres cannot hold that character.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;

use opencode_host::clock::Timestamp;
pub(crate) use opencode_host::store::column::to_json as json;
use opencode_host::store::column::{from_json, to_json};
use opencode_host::store::{StoreError, StoreResult};
use serde::Serialize;
use serde::de::value::{Error as WordError, StrDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer as _};

use crate::engine::Row;

/// Text as a column holds it: a backslash as `\\`, NUL as `\0`.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(['\\', '\0']) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        match letter {
            '\\' => escaped.push_str("\\\\"),
            '\0' => escaped.push_str("\\0"),
            other => escaped.push(other),
        }
    }
    Cow::Owned(escaped)
}

/// Text as it was; `None` when it is nothing that [`escape`] makes.
fn unescape(column: String) -> Option<String> {
    if !column.contains('\\') {
        return Some(column);
    }
    let mut text = String::with_capacity(column.len());
    let mut letters = column.chars();
    while let Some(letter) = letters.next() {
        text.push(match letter {
            '\\' => match letters.next()? {
                '\\' => '\\',
                '0' => '\0',
                _ => return None,
            },
            other => other,
        });
    }
    Some(text)
}

/// The JSON of a value that may be absent.
pub(crate) fn optional_json<T: Serialize>(value: Option<&T>) -> StoreResult<Option<String>> {
    value.map(to_json).transpose()
}

/// The word by which an enum without data is stored: the same as in JSON.
pub(crate) fn word<T: Serialize>(value: T) -> StoreResult<String> {
    to_json(&value).map(|quoted| quoted.trim_matches('"').to_owned())
}

/// Reads the columns of one row; what cannot be read is told with table, row and column.
#[derive(Debug)]
pub(crate) struct Columns<'r, R> {
    row: &'r R,
    table: &'static str,
    id: String,
}

impl<'r, R: Row> Columns<'r, R> {
    /// A row of `table` whose column `id` tells it apart.
    pub(crate) fn new(row: &'r R, table: &'static str, id: &str) -> StoreResult<Self> {
        let unknown = Self {
            row,
            table,
            id: "?".to_owned(),
        };
        let id = unknown.optional(id, row.text(id))?.unwrap_or_default();
        Ok(Self { id, ..unknown })
    }

    pub(crate) fn corrupt(&self, column: &str, why: impl Display) -> StoreError {
        StoreError::Corrupt {
            table: self.table,
            id: self.id.clone(),
            detail: format!("column {column}: {why}"),
        }
    }

    fn optional<T>(&self, column: &str, read: Result<Option<T>, String>) -> StoreResult<Option<T>> {
        read.map_err(|why| self.corrupt(column, why))
    }

    fn required<T>(&self, column: &str, read: Result<Option<T>, String>) -> StoreResult<T> {
        self.optional(column, read)?
            .ok_or_else(|| self.corrupt(column, "is NULL"))
    }

    pub(crate) fn optional_text(&self, column: &str) -> StoreResult<Option<String>> {
        let escaped = self.optional(column, self.row.text(column))?;
        let text = escaped
            .map(|text| unescape(text).ok_or_else(|| self.corrupt(column, "has a broken escape")));
        text.transpose()
    }

    pub(crate) fn text(&self, column: &str) -> StoreResult<String> {
        self.optional_text(column)?
            .ok_or_else(|| self.corrupt(column, "is NULL"))
    }

    /// Text that may have been cut in the middle of an escape.
    pub(crate) fn beginning(&self, column: &str) -> StoreResult<String> {
        let escaped = self.required(column, self.row.text(column))?;
        let slashes = escaped.len() - escaped.trim_end_matches('\\').len();
        let whole = &escaped[..escaped.len() - slashes % 2];
        unescape(whole.to_owned()).ok_or_else(|| self.corrupt(column, "has a broken escape"))
    }

    /// The JSON in a column, unread.
    pub(crate) fn optional_raw(&self, column: &str) -> StoreResult<Option<String>> {
        self.optional(column, self.row.text(column))
    }

    pub(crate) fn optional_json<T: DeserializeOwned>(
        &self,
        column: &str,
    ) -> StoreResult<Option<T>> {
        let json = self.optional_raw(column)?;
        let value = json.map(|json| from_json(&json).map_err(|error| self.corrupt(column, error)));
        value.transpose()
    }

    pub(crate) fn json<T: DeserializeOwned>(&self, column: &str) -> StoreResult<T> {
        self.optional_json(column)?
            .ok_or_else(|| self.corrupt(column, "is NULL"))
    }

    pub(crate) fn optional_word<T: DeserializeOwned>(
        &self,
        column: &str,
    ) -> StoreResult<Option<T>> {
        let word = self.optional(column, self.row.text(column))?;
        let value = word.map(|word| {
            let word: StrDeserializer<'_, WordError> = word.as_str().into_deserializer();
            T::deserialize(word).map_err(|error| self.corrupt(column, error))
        });
        value.transpose()
    }

    pub(crate) fn word<T: DeserializeOwned>(&self, column: &str) -> StoreResult<T> {
        self.optional_word(column)?
            .ok_or_else(|| self.corrupt(column, "is NULL"))
    }

    pub(crate) fn id<T: FromStr<Err: Display>>(&self, column: &str) -> StoreResult<T> {
        let text = self.required(column, self.row.text(column))?;
        text.parse().map_err(|error| self.corrupt(column, error))
    }

    pub(crate) fn optional_id<T: FromStr<Err: Display>>(
        &self,
        column: &str,
    ) -> StoreResult<Option<T>> {
        let text = self.optional(column, self.row.text(column))?;
        let id = text.map(|text| text.parse().map_err(|error| self.corrupt(column, error)));
        id.transpose()
    }

    /// A count. No count is negative.
    pub(crate) fn count<T: TryFrom<i64, Error: Display>>(&self, column: &str) -> StoreResult<T> {
        let number = self.required(column, self.row.int(column))?;
        T::try_from(number).map_err(|error| self.corrupt(column, format!("{number}: {error}")))
    }

    pub(crate) fn flag(&self, column: &str) -> StoreResult<bool> {
        match self.required(column, self.row.int(column))? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.corrupt(column, format!("{other} is neither 0 nor 1"))),
        }
    }

    pub(crate) fn optional_time(&self, column: &str) -> StoreResult<Option<Timestamp>> {
        Ok(self.optional(column, self.row.int(column))?.map(Timestamp))
    }

    pub(crate) fn time(&self, column: &str) -> StoreResult<Timestamp> {
        self.required(column, self.row.int(column)).map(Timestamp)
    }

    pub(crate) fn real(&self, column: &str) -> StoreResult<f64> {
        self.row
            .real(column)
            .map_err(|why| self.corrupt(column, why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_comes_back() {
        for text in [
            "",
            "plain",
            "\\",
            "\0",
            "\\0",
            "\0\\\0",
            "a\\b\0c",
            "\\\\0",
            "\u{1F33B}\\",
        ] {
            let escaped = escape(text);
            assert!(!escaped.contains('\0'));
            assert_eq!(unescape(escaped.into_owned()).as_deref(), Some(text));
        }
    }

    #[test]
    fn different_texts_stay_different() {
        assert_ne!(escape("\0"), escape("\\0"));
        assert_ne!(escape("\\"), escape("\\\\"));
    }

    #[test]
    fn broken_escapes_are_told() {
        for broken in ["\\", "\\n", "a\\", "\\\\\\"] {
            assert_eq!(unescape(broken.to_owned()), None, "{broken}");
        }
    }
}
