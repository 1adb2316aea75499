//! What an application notes at a conversation or a turn.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The most bytes that metadata may have, as JSON.
pub const MAX_METADATA_BYTES: usize = 16 * 1024;

/// How deep metadata may nest.
const MAX_DEPTH: usize = 32;

/// What an application notes at a conversation or a turn: a JSON object of at most [`MAX_METADATA_BYTES`], which nests
/// at most 32 deep. It is kept as it is and said back wherever the row is; nothing here reads it.
///
/// ```
/// # use opencode_host::store::Metadata;
/// let noted = Metadata::try_from(serde_json::json!({ "ticket": 42 }))?;
/// assert_eq!(noted.get("ticket"), Some(&42.into()));
/// assert!(Metadata::try_from(serde_json::json!("ticket 42")).is_err());
/// # Ok::<_, opencode_host::store::MetadataError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct Metadata(Map<String, Value>);

/// Why something is not taken as metadata.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// It is no object.
    #[error("metadata is a JSON object, and this is {0}: put it into one, under a name")]
    NoObject(&'static str),
    /// It is too large.
    #[error(
        "the metadata has {bytes} bytes as JSON, and {MAX_METADATA_BYTES} are allowed: keep the rest in a table of your own"
    )]
    TooLarge {
        /// How many bytes it has.
        bytes: usize,
    },
    /// It nests too deep.
    #[error("the metadata nests deeper than {MAX_DEPTH} levels: flatten it")]
    TooDeep,
}

impl Metadata {
    /// Whether nothing is noted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is noted under a name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// What is noted, under its names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

impl TryFrom<Map<String, Value>> for Metadata {
    type Error = MetadataError;

    fn try_from(map: Map<String, Value>) -> Result<Self, MetadataError> {
        // Before it is written, which recurses.
        if map
            .values()
            .any(|value| !nests_within(value, MAX_DEPTH - 1))
        {
            return Err(MetadataError::TooDeep);
        }
        let bytes = serde_json::to_string(&map).map_or(usize::MAX, |json| json.len());
        if bytes > MAX_METADATA_BYTES {
            return Err(MetadataError::TooLarge { bytes });
        }
        Ok(Self(map))
    }
}

impl TryFrom<Value> for Metadata {
    type Error = MetadataError;

    fn try_from(value: Value) -> Result<Self, MetadataError> {
        match value {
            Value::Object(map) => map.try_into(),
            Value::Null => Err(MetadataError::NoObject("null")),
            Value::Bool(_) => Err(MetadataError::NoObject("a boolean")),
            Value::Number(_) => Err(MetadataError::NoObject("a number")),
            Value::String(_) => Err(MetadataError::NoObject("a string")),
            Value::Array(_) => Err(MetadataError::NoObject("an array")),
        }
    }
}

impl From<Metadata> for Value {
    fn from(metadata: Metadata) -> Self {
        Self::Object(metadata.0)
    }
}

fn nests_within(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(values) => {
            levels > 0 && values.iter().all(|value| nests_within(value, levels - 1))
        }
        Value::Object(map) => {
            levels > 0 && map.values().all(|value| nests_within(value, levels - 1))
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metadata_is_an_object_of_bounded_size_and_depth() {
        let nested = |levels: usize| (1..levels).fold(json!({}), |inner, _| json!({ "a": inner }));
        assert!(Metadata::try_from(nested(MAX_DEPTH)).is_ok());
        let deep = [nested(MAX_DEPTH + 1), nested(100)];
        for deep in deep {
            assert_eq!(Metadata::try_from(deep), Err(MetadataError::TooDeep));
        }
        // `{"a":"…"}` has eight bytes more than its text.
        let text = |bytes: usize| json!({ "a": "x".repeat(bytes - 8) });
        assert!(Metadata::try_from(text(MAX_METADATA_BYTES)).is_ok());
        let bytes = MAX_METADATA_BYTES + 1;
        assert_eq!(
            Metadata::try_from(text(bytes)),
            Err(MetadataError::TooLarge { bytes })
        );
        for (value, what) in [
            (json!(null), "null"),
            (json!(true), "a boolean"),
            (json!(1.5), "a number"),
            (json!("{}"), "a string"),
            (json!([{}]), "an array"),
        ] {
            let refused = MetadataError::NoObject(what);
            assert_eq!(Metadata::try_from(value.clone()), Err(refused.clone()));
            let read = serde_json::from_value::<Metadata>(value).unwrap_err();
            assert_eq!(read.to_string(), refused.to_string());
        }
    }
}
