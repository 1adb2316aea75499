//! Reading JSON as servers really send it.
//!
//! One odd thing costs itself: a character that is none becomes U+FFFD, an odd
//! number or field is read as absent, an odd part or record is left out, and
//! what stands beside it is kept. Everything that comes from a server is read
//! here, events, answers and lists alike, and what was skipped is counted
//! ([`Skipped`]). An answer that is no JSON at all is still an error.

mod mend;
pub(crate) mod shorten;
mod skipped;

use std::collections::HashMap;
use std::hash::Hash;

use serde::de::IgnoredAny;
use serde_json::{Map, Value};

pub(crate) use skipped::SkipListener;
pub use skipped::{Oddity, Skipped};

/// JSON of so many bytes is looked at for how many values it holds before it is read.
const LARGE: usize = 8 << 20;
/// The most values that one answer or event may hold. Each takes 32 bytes and more.
const MAX_VALUES: usize = 4 << 20;
/// How deep JSON that is kept as such may nest: arguments and details of tools. With what stands around it, it can
/// then be read by anything that reads 128 levels, as `serde_json` does by default.
const MAX_NESTING: usize = 100;
/// The longest id that is read, in bytes.
const MAX_ID: usize = 512;
/// The longest text of a few words that is read, in bytes: a reason, a title, a line of a plan.
const MAX_WORDS: usize = 16 << 10;
/// The most entries of a list of such texts.
const MAX_LIST: usize = 200;
/// No count is larger, of tokens or of milliseconds: the largest whole number of JavaScript.
const MAX_COUNT: f64 = 9_007_199_254_740_991.0;
/// No amount of money is larger.
const MAX_AMOUNT: f64 = 1e9;

/// Something that is read from a server's JSON.
pub(crate) trait Wire: Sized {
    /// What is counted where one in a list cannot be read.
    const ODD: Oddity = Oddity::Record;

    /// Reads it. `None` where too little is there to make something of.
    fn read(value: Value, skipped: &mut Skipped) -> Option<Self>;
}

/// Why bytes could not be read at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    #[error("it has over {MAX_VALUES} values")]
    TooMany,
}

/// Reads the first JSON value of `bytes`; what stands behind it does not matter.
pub(crate) fn value(bytes: &[u8], skipped: &mut Skipped) -> Result<Value, Unreadable> {
    if bytes.len() > LARGE && mend::values(bytes) > MAX_VALUES {
        return Err(Unreadable::TooMany);
    }
    let first = |bytes: &[u8]| {
        let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<Value>();
        values.next()
    };
    match first(bytes) {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => {
            let mended = mend::mend(bytes, skipped).and_then(|mended| first(&mended)?.ok());
            mended.ok_or(Unreadable::Json(error))
        }
        None => Ok(Value::Null),
    }
}

/// Whether `bytes` are one whole JSON value that begins so, and in which no string holds `text`. In doubt they are not.
pub(crate) fn lacks(bytes: &[u8], begin: u8, text: &str) -> bool {
    // Only such a text can stand in JSON in no other way, but for escapes that nobody needs.
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    text.bytes().all(|byte| is_plain(&byte))
        && bytes.trim_ascii_start().first() == Some(&begin)
        && memchr::memmem::find(bytes, text.as_bytes()).is_none()
        && memchr::memmem::find(bytes, b"\\u").is_none()
        && serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
}

impl Wire for Value {
    fn read(value: Value, _: &mut Skipped) -> Option<Self> {
        Some(value)
    }
}

/// Many of something, of which one may be looked for.
pub(crate) trait Many: Wire {
    /// The first byte of its JSON.
    const BEGIN: u8;
}

impl<T: Wire> Many for Vec<T> {
    const BEGIN: u8 = b'[';
}

impl<K: From<String> + Eq + Hash, T: Wire> Many for HashMap<K, T> {
    const BEGIN: u8 = b'{';
}

impl<T: Wire> Wire for Vec<T> {
    fn read(value: Value, skipped: &mut Skipped) -> Option<Self> {
        let Value::Array(values) = value else {
            return None;
        };
        Some(list(values, skipped))
    }
}

impl<K: From<String> + Eq + Hash, T: Wire> Wire for HashMap<K, T> {
    fn read(value: Value, skipped: &mut Skipped) -> Option<Self> {
        let Value::Object(entries) = value else {
            return None;
        };
        let mut read = Self::with_capacity(entries.len());
        for (key, value) in entries {
            match T::read(value, skipped) {
                Some(value) => drop(read.insert(K::from(key), value)),
                None => skipped.note(T::ODD),
            }
        }
        Some(read)
    }
}

/// Reads what can be read of a list.
pub(crate) fn list<T: Wire>(values: Vec<Value>, skipped: &mut Skipped) -> Vec<T> {
    let mut read = Vec::with_capacity(values.len());
    for value in values {
        match T::read(value, skipped) {
            Some(value) => read.push(value),
            None => skipped.note(T::ODD),
        }
    }
    read
}

/// The fields of an object, taken out by name. A field that is absent or `null` says nothing; one of another shape
/// is counted and says nothing either.
pub(crate) struct Fields<'s> {
    map: Map<String, Value>,
    pub(crate) skipped: &'s mut Skipped,
}

impl<'s> Fields<'s> {
    /// `None` for anything but an object.
    pub(crate) fn of(value: Value, skipped: &'s mut Skipped) -> Option<Self> {
        match value {
            Value::Object(map) => Some(Self { map, skipped }),
            _ => None,
        }
    }

    /// The fields of an object inside this one.
    pub(crate) fn inside(&mut self, key: &str) -> Option<Fields<'_>> {
        let map = self.object(key)?;
        Some(Fields {
            map,
            skipped: self.skipped,
        })
    }

    pub(crate) fn take(&mut self, key: &str) -> Option<Value> {
        self.map.remove(key).filter(|value| !value.is_null())
    }

    fn shaped<T>(&mut self, key: &str, shape: impl FnOnce(Value) -> Option<T>) -> Option<T> {
        let shaped = shape(self.take(key)?);
        if shaped.is_none() {
            self.skipped.note(Oddity::Field);
        }
        shaped
    }

    pub(crate) fn has_text(&self, key: &str) -> bool {
        self.map.get(key).is_some_and(Value::is_string)
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.map.get(key).is_some_and(|value| !value.is_null())
    }

    pub(crate) fn text(&mut self, key: &str) -> Option<String> {
        self.shaped(key, text)
    }

    /// Text; of anything else its JSON.
    pub(crate) fn shown(&mut self, key: &str) -> Option<String> {
        self.take(key).map(shown)
    }

    /// An id. One that is empty, or over [`MAX_ID`], is none.
    pub(crate) fn id<T: From<String>>(&mut self, key: &str) -> Option<T> {
        let fits = |id: &String| (1..=MAX_ID).contains(&id.len());
        self.text(key).filter(fits).map(T::from)
    }

    /// A text of a few words: no more of it than [`MAX_WORDS`] is read.
    pub(crate) fn words(&mut self, key: &str) -> Option<String> {
        let mut words = self.text(key)?;
        self.cut(&mut words);
        Some(words)
    }

    /// As [`Self::words`]; of anything but text its JSON: what a person is to see must not be lost.
    pub(crate) fn shown_words(&mut self, key: &str) -> Option<String> {
        let mut words = self.shown(key)?;
        self.cut(&mut words);
        Some(words)
    }

    /// As [`Self::shown_words`], for one or a list of them.
    pub(crate) fn shown_list(&mut self, key: &str) -> Option<Vec<String>> {
        let values = match self.take(key)? {
            Value::Array(values) => values,
            one => vec![one],
        };
        let over = values.len().saturating_sub(MAX_LIST);
        let mut list: Vec<String> = values.into_iter().take(MAX_LIST).map(shown).collect();
        list.iter_mut().for_each(|words| self.cut(words));
        if over > 0 {
            self.skipped.note(Oddity::Nesting);
            list.push(format!("[… {over} more are left out]"));
        }
        Some(list)
    }

    fn cut(&mut self, words: &mut String) {
        if shorten::cut(words, MAX_WORDS) {
            self.skipped.note(Oddity::Nesting);
        }
    }

    pub(crate) fn flag(&mut self, key: &str) -> bool {
        self.shaped(key, |value| value.as_bool())
            .unwrap_or_default()
    }

    pub(crate) fn object(&mut self, key: &str) -> Option<Map<String, Value>> {
        self.shaped(key, |value| match value {
            Value::Object(map) => Some(map),
            _ => None,
        })
    }

    pub(crate) fn list<T: Wire>(&mut self, key: &str) -> Option<Vec<T>> {
        let values = self.shaped(key, |value| match value {
            Value::Array(values) => Some(values),
            _ => None,
        })?;
        Some(list(values, self.skipped))
    }

    /// A list of which no more than [`MAX_LIST`] are kept.
    pub(crate) fn first<T: Wire>(&mut self, key: &str) -> Vec<T> {
        let mut list = self.list(key).unwrap_or_default();
        if list.len() > MAX_LIST {
            self.skipped.note(Oddity::Nesting);
            list.truncate(MAX_LIST);
        }
        list
    }

    pub(crate) fn read<T: Wire>(&mut self, key: &str) -> Option<T> {
        let value = self.take(key)?;
        let read = T::read(value, self.skipped);
        if read.is_none() {
            self.skipped.note(T::ODD);
        }
        read
    }

    /// A whole number; fractions are rounded. One that makes no sense says nothing.
    pub(crate) fn count(&mut self, key: &str) -> Option<u64> {
        self.number(key, MAX_COUNT)
            .map(|number| number.round() as u64)
    }

    /// An amount of money. One that makes no sense says nothing.
    pub(crate) fn amount(&mut self, key: &str) -> Option<f64> {
        self.number(key, MAX_AMOUNT)
    }

    fn number(&mut self, key: &str, most: f64) -> Option<f64> {
        let value = self.take(key)?;
        let number = match &value {
            Value::String(text) => text.trim().parse().ok(),
            other => other.as_f64(),
        };
        let number = number.filter(|number| (0.0..=most).contains(number));
        if number.is_none() {
            self.skipped.note(Oddity::Number);
        }
        number
    }

    /// JSON that is kept as such, no deeper than [`MAX_NESTING`].
    pub(crate) fn json(&mut self, key: &str) -> Option<Value> {
        let mut value = self.take(key)?;
        flatten(&mut value, MAX_NESTING, self.skipped);
        Some(value)
    }

    /// As [`Self::json`], for details that are an object.
    pub(crate) fn details(&mut self, key: &str) -> Option<Map<String, Value>> {
        let mut details = self.object(key)?;
        for value in details.values_mut() {
            flatten(value, MAX_NESTING - 1, self.skipped);
        }
        Some(details)
    }
}

/// Leaves out what nests deeper than so many levels. What was read nests too little to exhaust the stack.
fn flatten(value: &mut Value, levels: usize, skipped: &mut Skipped) {
    let Some(below) = levels.checked_sub(1) else {
        if value.is_array() || value.is_object() {
            skipped.note(Oddity::Nesting);
            *value = mend::LEFT_OUT.into();
        }
        return;
    };
    match value {
        Value::Array(values) => values
            .iter_mut()
            .for_each(|value| flatten(value, below, skipped)),
        Value::Object(map) => map
            .values_mut()
            .for_each(|value| flatten(value, below, skipped)),
        _ => {}
    }
}

/// Text, and nothing else.
pub(crate) fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// Text as it is, anything else as JSON.
pub(crate) fn shown(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// Reads these with serde too, by the same rules: they stand in checkpoints and in NDJSON.
macro_rules! deserialize_tolerantly {
    ($($type:ty),+ $(,)?) => {$(
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = serde_json::Value::deserialize(deserializer)?;
                let read = <Self as $crate::tolerant::Wire>::read(value, &mut Default::default());
                read.ok_or_else(|| serde::de::Error::custom(concat!("no ", stringify!($type))))
            }
        }
    )+};
}
pub(crate) use deserialize_tolerantly;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_that_lacks_a_text_needs_no_reading() {
        let idle = br#" {"ses_1":{"type":"busy"},"ses_2":{"type":"retry"}} "#;
        assert!(lacks(idle, b'{', "ses_3"));
        assert!(!lacks(idle, b'{', "ses_2"));
        assert!(!lacks(idle, b'[', "ses_3"), "of another shape");
        assert!(lacks(b"[]", b'[', "ses_3"));
        // In doubt it is read.
        assert!(
            !lacks(idle, b'{', "a\"b"),
            "a text that JSON writes otherwise"
        );
        assert!(!lacks(br#"{"\u0073es_3":{}}"#, b'{', "ses_3"));
        for broken in ["", "{", "{}x", "{,}", "<html>", "null"] {
            assert!(!lacks(broken.as_bytes(), b'{', "ses_3"), "{broken:?}");
        }
    }

    #[test]
    fn numbers_are_rounded_and_what_makes_no_sense_says_nothing() {
        let mut skipped = Skipped::default();
        let value = json!({
            "whole": 50, "fraction": 50.5, "text": "50", "nothing": null,
            "negative": -1, "huge": 1e300, "most": u64::MAX, "word": "NaN", "words": "many", "list": [1], "zero": 0
        });
        let mut fields = Fields::of(value, &mut skipped).unwrap();
        assert_eq!(fields.count("whole"), Some(50));
        assert_eq!(fields.count("fraction"), Some(51));
        assert_eq!(fields.count("text"), Some(50));
        assert_eq!(fields.count("zero"), Some(0));
        assert_eq!(fields.count("nothing"), None);
        assert_eq!(fields.count("absent"), None);
        assert!(fields.skipped.is_empty());
        for odd in ["negative", "huge", "most", "word", "words", "list"] {
            assert_eq!(fields.count(odd), None, "{odd}");
        }
        assert_eq!(skipped.iter().collect::<Vec<_>>(), [(Oddity::Number, 6)]);
    }

    #[test]
    fn an_answer_of_too_many_values_is_refused_before_it_takes_memory() {
        let many = format!("[{}0]", "0,".repeat(MAX_VALUES));
        let mut skipped = Skipped::default();
        assert!(matches!(
            value(many.as_bytes(), &mut skipped),
            Err(Unreadable::TooMany)
        ));
        let long = format!("[\"{}\"]", ",[".repeat(MAX_VALUES));
        assert!(value(long.as_bytes(), &mut skipped).is_ok());
    }
}
